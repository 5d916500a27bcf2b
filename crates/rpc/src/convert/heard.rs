//! What servers send, as a client reads it: statuses, events, pages, the cluster's overview.

use std::time::Duration;

use fanfare_core::code::{Advice, Outcome};
use fanfare_core::id::{Generation, NodeId, ReplicaId, Term};
use fanfare_core::name::TopicPattern;
use fanfare_core::position::Epoch;
use fanfare_core::rule::{RuleLayer, Rules};
use fanfare_core::view::{Addresses, NodeState, StoreState};
use tonic_types::{ErrorDetails, RpcStatusExt as _, StatusExt as _};

use super::message::{class, gap_of_pb, message_of_pb, real};
use super::refusal::{DOMAIN, refusal_of};
use super::{Malformed, pattern, required, topic};
use crate::client::not_connected;
use crate::heard::{
    CallError, Heard, HeardAnswer, HeardDisconnect, HeardGap, HeardItem, HeardPage, HeardReason,
    HeardSubscribed, NodeOverview, OtherRefusal, Overview, ReplicaOverview, ShardOverview,
};
use crate::pb::v1 as pb;
use crate::public::Sample;
use crate::topics::TopicInfo;

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        if let Some(why) = not_connected(&status) {
            return Self::NotSent(why.to_owned());
        }
        let nobody = || Self::NoAnswer(format!("{}: {}", status.code(), status.message()));
        told(&status.get_error_details(), status.message()).unwrap_or_else(nobody)
    }
}

impl From<Malformed> for CallError {
    fn from(bad: Malformed) -> Self {
        Self::NoAnswer(format!("the answer is not of this protocol: {bad}"))
    }
}

/// Why a draft of a publish stream was not placed.
pub(crate) fn draft_error(status: &tonic_types::Status) -> CallError {
    let nobody = || CallError::NoAnswer(status.message.clone());
    told(&status.get_error_details(), &status.message).unwrap_or_else(nobody)
}

/// A refusal of a node, of this version or a newer one.
fn told(details: &ErrorDetails, message: &str) -> Option<CallError> {
    if let Some(refusal) = refusal_of(details, message) {
        return Some(CallError::Refused(refusal));
    }
    let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
    let said = |name: &str| info.metadata.get(name).map(String::as_str);
    let outcomes = [Outcome::None, Outcome::NotPlaced, Outcome::Unknown];
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    Some(CallError::Other(OtherRefusal {
        code: info.reason.to_ascii_lowercase(),
        outcome: outcomes
            .into_iter()
            .find(|o| Some(o.as_str()) == said("outcome")),
        advice: said("advice").and_then(advice),
        detail: message.to_owned(),
        retry_after_ms: retry.map(millis),
    }))
}

fn advice(text: &str) -> Option<Advice> {
    [
        Advice::GiveUp,
        Advice::RetryLater,
        Advice::RetrySameKey,
        Advice::Reroute,
        Advice::Reauthenticate,
    ]
    .into_iter()
    .find(|advice| advice.as_str() == text)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text(raw: String) -> Option<String> {
    Some(raw).filter(|text| !text.is_empty())
}

impl TryFrom<pb::SubscribeResponse> for Heard {
    type Error = Malformed;

    fn try_from(pb::SubscribeResponse { event }: pb::SubscribeResponse) -> Result<Self, Malformed> {
        use pb::subscribe_response::Event;
        Ok(match event {
            Some(Event::Subscribed(subscribed)) => Self::Subscribed(subscribed.try_into()?),
            Some(Event::Items(pb::Items { items, cursor })) => Self::Items {
                items: heard_items(items)?,
                cursor: text(cursor),
            },
            Some(Event::Heartbeat(pb::Heartbeat {})) => Self::Heartbeat,
            Some(Event::Disconnect(pb::Disconnect {
                code,
                advice,
                retry_after_ms,
                cursor,
                detail,
            })) => Self::Disconnect(HeardDisconnect {
                code,
                advice,
                retry_after_ms,
                cursor: text(cursor),
                detail,
            }),
            None => Self::Other,
        })
    }
}

impl TryFrom<pb::Subscribed> for HeardSubscribed {
    type Error = Malformed;

    fn try_from(subscribed: pb::Subscribed) -> Result<Self, Malformed> {
        let pb::Subscribed {
            topic: name,
            class: of,
            answer,
            from,
            head,
            cursor,
        } = subscribed;
        let answer = match pb::Answer::try_from(answer) {
            Ok(pb::Answer::Recovered) => Some(HeardAnswer::Recovered),
            Ok(pb::Answer::Gap) => Some(HeardAnswer::Gap),
            Ok(pb::Answer::Latest) => Some(HeardAnswer::Latest),
            Ok(pb::Answer::Unspecified) | Err(_) => None,
        };
        Ok(Self {
            topic: topic(&name, "topic")?,
            class: class(of, "class").unwrap_or(None),
            answer,
            from: from.map(|p| real(p, "from")).transpose()?,
            head: real(required(head, "head")?, "head")?,
            cursor: text(cursor),
        })
    }
}

fn heard_items(items: Vec<pb::Item>) -> Result<Vec<HeardItem>, Malformed> {
    let read = |pb::Item { item }| match item {
        Some(pb::item::Item::Message(raw)) => {
            message_of_pb(raw).map(|(topic, message)| HeardItem::Message(topic, message))
        }
        Some(pb::item::Item::Gap(raw)) => heard_gap(raw).map(HeardItem::Gap),
        None => Ok(HeardItem::Other),
    };
    items.into_iter().map(read).collect()
}

/// A gap; one whose reason is not of this version is a gap all the same.
fn heard_gap(raw: pb::Gap) -> Result<HeardGap, Malformed> {
    let strange = match (
        pb::GapReason::try_from(raw.reason),
        pb::TrimmedBy::try_from(raw.by),
    ) {
        (Err(_) | Ok(pb::GapReason::Unspecified), _) => Some(HeardReason::Other(raw.reason)),
        (Ok(pb::GapReason::Trimmed), Err(_) | Ok(pb::TrimmedBy::Unspecified)) => {
            Some(HeardReason::TrimmedByOther)
        }
        (Ok(_), _) => None,
    };
    if let Some(reason) = strange {
        return Ok(HeardGap {
            topic: topic(&raw.topic, "topic")?,
            reason,
            from: required(raw.from, "from")?.into(),
            to: required(raw.to, "to")?.into(),
            missed: raw.missed,
        });
    }
    let (topic, gap) = gap_of_pb(raw)?;
    Ok(HeardGap {
        topic,
        reason: HeardReason::Known(gap.reason),
        from: gap.from,
        to: gap.to,
        missed: gap.missed,
    })
}

impl TryFrom<pb::PageResponse> for HeardPage {
    type Error = Malformed;

    fn try_from(page: pb::PageResponse) -> Result<Self, Malformed> {
        let pb::PageResponse {
            items,
            next,
            start,
            head,
            more,
        } = page;
        Ok(Self {
            items: heard_items(items)?,
            next: required(next, "next")?.into(),
            start: required(start, "start")?.into(),
            head: required(head, "head")?.into(),
            more,
        })
    }
}

impl TryFrom<pb::Topic> for TopicInfo {
    type Error = Malformed;

    fn try_from(info: pb::Topic) -> Result<Self, Malformed> {
        let pb::Topic {
            name,
            class: of,
            epoch,
            start,
            head,
            bytes,
            rules,
        } = info;
        let layer: RuleLayer = rules.unwrap_or_default().try_into()?;
        Ok(Self {
            name: topic(&name, "name")?,
            class: required(class(of, "class")?, "class")?,
            epoch: Epoch(epoch),
            start: required(start, "start")?.into(),
            head: required(head, "head")?.into(),
            bytes,
            rules: layer.over(&Rules::default()),
        })
    }
}

/// A pattern and its rules.
pub(crate) fn heard_rule(raw: pb::Rule) -> Result<(TopicPattern, RuleLayer), Malformed> {
    let pb::Rule { pattern: of, rules } = raw;
    Ok((
        pattern(&of, "pattern")?,
        rules.unwrap_or_default().try_into()?,
    ))
}

impl TryFrom<pb::TopicSample> for Sample {
    type Error = Malformed;

    fn try_from(sample: pb::TopicSample) -> Result<Self, Malformed> {
        let pb::TopicSample {
            topic: name,
            epoch,
            start,
            head,
        } = sample;
        Ok(Self {
            topic: topic(&name, "topic")?,
            epoch: Epoch(epoch),
            start: required(start, "start")?.into(),
            head: required(head, "head")?.into(),
        })
    }
}

impl From<pb::ClusterView> for Overview {
    fn from(view: pb::ClusterView) -> Self {
        let pb::ClusterView {
            version,
            nodes,
            shards,
        } = view;
        Self {
            version,
            nodes: nodes.into_iter().map(Into::into).collect(),
            shards: shards.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<pb::Node> for NodeOverview {
    fn from(node: pb::Node) -> Self {
        let pb::Node {
            id,
            generation,
            state,
            addresses,
            name,
            store,
            departing,
            heir,
            alive,
            meta_voter,
            full,
        } = node;
        let store = match pb::StoreState::try_from(store) {
            Ok(pb::StoreState::ReadWrite) => Some(StoreState::ReadWrite),
            Ok(pb::StoreState::DataLoss) => Some(StoreState::DataLoss),
            Ok(pb::StoreState::Gone) => Some(StoreState::Gone),
            Ok(pb::StoreState::Unspecified) | Err(_) => None,
        };
        let state = match pb::NodeState::try_from(state) {
            Ok(pb::NodeState::Active) => Some(NodeState::Active),
            Ok(pb::NodeState::Draining) => Some(NodeState::Draining),
            Ok(pb::NodeState::Gone) => Some(NodeState::Gone),
            Ok(pb::NodeState::Unspecified) | Err(_) => None,
        };
        let pb::Addresses {
            peer,
            edge,
            grpc,
            ops,
        } = addresses.unwrap_or_default();
        Self {
            id: NodeId(id),
            name,
            generation: Generation(generation),
            state,
            addresses: Addresses {
                peer,
                edge,
                grpc,
                ops,
            },
            store,
            departing,
            heir: heir.map(NodeId),
            alive,
            meta_voter,
            full,
        }
    }
}

impl From<pb::Shard> for ShardOverview {
    fn from(shard: pb::Shard) -> Self {
        let pb::Shard {
            leader,
            term,
            replicas,
            leaving,
        } = shard;
        let replica = |pb::Replica { id, node, behind }| ReplicaOverview {
            id: ReplicaId(id),
            node: NodeId(node),
            behind,
        };
        Self {
            leader: leader.map(NodeId),
            term: Term(term),
            replicas: replicas.into_iter().map(replica).collect(),
            leaving: leaving.into_iter().map(replica).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::code::Code;
    use fanfare_core::receipt::Refusal;

    use super::*;
    use crate::convert::refusal::status;

    #[test]
    fn a_refusal_keeps_its_code_and_outcome_and_silence_is_no_refusal() {
        let refusal = Refusal::of_publish(Code::NoQuorum, "no majority").retry_after(200);
        assert_eq!(
            CallError::from(status(&refusal, "r")),
            CallError::Refused(refusal)
        );
        let reset = tonic::Status::unavailable("connection reset");
        assert!(matches!(CallError::from(reset), CallError::NoAnswer(_)));
    }

    #[test]
    fn a_code_of_a_newer_server_keeps_what_it_says_to_do() {
        let mut details = ErrorDetails::new();
        let metadata = [("outcome", "not_placed"), ("advice", "reroute")];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
        details.set_error_info("ECLIPSE", DOMAIN, metadata);
        let status = tonic::Status::with_error_details(tonic::Code::Unavailable, "dark", details);
        let CallError::Other(other) = CallError::from(status) else {
            panic!("not a refusal")
        };
        assert_eq!(other.code, "eclipse");
        assert_eq!(other.outcome, Some(Outcome::NotPlaced));
        assert_eq!(other.advice, Some(Advice::Reroute));
    }

    #[test]
    fn a_gap_with_a_strange_reason_is_still_a_gap() {
        let gap = |reason, by| pb::Gap {
            topic: "news".to_owned(),
            reason,
            by,
            from: Some(pb::Position {
                epoch: 7,
                offset: 1,
            }),
            to: Some(pb::Position {
                epoch: 7,
                offset: 9,
            }),
            missed: None,
        };
        let reason = |reason, by| heard_gap(gap(reason, by)).unwrap().reason;
        assert_eq!(reason(99, 0), HeardReason::Other(99));
        let trimmed = pb::GapReason::Trimmed.into();
        assert_eq!(reason(trimmed, 99), HeardReason::TrimmedByOther);
    }
}
