//! Drafts and verdicts of publish links; attachments and runs of delivery links.

use fanfare_core::code::{Code, Outcome};
use fanfare_core::gap::Policy;
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{
    Attach, AttachId, Attached, EdgeSays, Ended, LeaderSays, Live, PublishAnswer, PublishRequest,
    Redirect, Run, Verdict,
};
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, Html, Slow};

use super::content::{self, Metas};
use super::{Malformed, required, topic};
use crate::pb::peer as pb;

pub(crate) fn request_to_pb(request: &PublishRequest) -> pb::Draft {
    let PublishRequest {
        seq,
        stream,
        run,
        shard,
        draft,
        timeout_ms,
    } = request;
    pb::Draft {
        seq: *seq,
        stream: *stream,
        run: *run,
        shard: shard.0,
        timeout_ms: *timeout_ms,
        draft: Some(content::draft_to_pb(draft)),
    }
}

pub(crate) fn request(raw: pb::Draft, metas: &mut Metas) -> Result<PublishRequest, Malformed> {
    let pb::Draft {
        seq,
        stream,
        run,
        shard,
        timeout_ms,
        draft,
    } = raw;
    Ok(PublishRequest {
        seq,
        stream,
        run,
        shard: ShardId(shard),
        draft: content::draft(required(draft, "draft")?, metas)?,
        timeout_ms,
    })
}

impl From<PublishAnswer> for pb::Verdict {
    fn from(PublishAnswer { seq, verdict }: PublishAnswer) -> Self {
        let verdict = match verdict {
            Verdict::Placed(receipt) => pb::verdict::Verdict::Placed(receipt.into()),
            Verdict::Refused(refusal) => pb::verdict::Verdict::Refused(refusal.into()),
            Verdict::Reroute(redirect) => pb::verdict::Verdict::Reroute(redirect.into()),
        };
        Self {
            seq,
            verdict: Some(verdict),
        }
    }
}

impl TryFrom<pb::Verdict> for PublishAnswer {
    type Error = Malformed;

    fn try_from(pb::Verdict { seq, verdict }: pb::Verdict) -> Result<Self, Malformed> {
        let verdict = match required(verdict, "verdict")? {
            pb::verdict::Verdict::Placed(receipt) => Verdict::Placed(receipt.try_into()?),
            pb::verdict::Verdict::Refused(refusal) => Verdict::Refused(refusal.try_into()?),
            pb::verdict::Verdict::Reroute(redirect) => Verdict::Reroute(redirect.into()),
        };
        Ok(Self { seq, verdict })
    }
}

impl From<Redirect> for pb::Redirect {
    fn from(
        Redirect {
            leader,
            term: Term(term),
        }: Redirect,
    ) -> Self {
        Self {
            leader: leader.map(|NodeId(node)| node),
            term,
        }
    }
}

impl From<pb::Redirect> for Redirect {
    fn from(pb::Redirect { leader, term }: pb::Redirect) -> Self {
        Self {
            leader: leader.map(NodeId),
            term: Term(term),
        }
    }
}

pub(crate) fn class_to_pb(class: Class) -> pb::Class {
    match class {
        Class::Durable => pb::Class::Durable,
        Class::Ephemeral => pb::Class::Ephemeral,
    }
}

pub(crate) fn class(raw: i32) -> Result<Class, Malformed> {
    match pb::Class::try_from(raw) {
        Ok(pb::Class::Durable) => Ok(Class::Durable),
        Ok(pb::Class::Ephemeral) => Ok(Class::Ephemeral),
        Ok(pb::Class::Unspecified) | Err(_) => Err(Malformed::unknown("class")),
    }
}

impl From<Receipt> for pb::Receipt {
    fn from(receipt: Receipt) -> Self {
        let Receipt {
            topic,
            position,
            class,
            reached,
            duplicate,
            dedup_remaining_ms,
        } = receipt;
        let reached = match reached {
            Reached::None => pb::Reached::None,
            Reached::Ephemeral => pb::Reached::Ephemeral,
            Reached::Durable => pb::Reached::Durable,
        };
        Self {
            topic: topic.as_str().to_owned(),
            position: position.map(Into::into),
            class: class_to_pb(class).into(),
            reached: reached.into(),
            duplicate,
            dedup_remaining_ms,
        }
    }
}

impl TryFrom<pb::Receipt> for Receipt {
    type Error = Malformed;

    fn try_from(receipt: pb::Receipt) -> Result<Self, Malformed> {
        let pb::Receipt {
            topic: name,
            position,
            class: of,
            reached,
            duplicate,
            dedup_remaining_ms,
        } = receipt;
        let reached = match pb::Reached::try_from(reached) {
            Ok(pb::Reached::None) => Reached::None,
            Ok(pb::Reached::Ephemeral) => Reached::Ephemeral,
            Ok(pb::Reached::Durable) => Reached::Durable,
            Ok(pb::Reached::Unspecified) | Err(_) => return Err(Malformed::unknown("reached")),
        };
        Ok(Self {
            topic: topic(&name, "topic")?,
            position: position.map(Into::into),
            class: class(of)?,
            reached,
            duplicate,
            dedup_remaining_ms,
        })
    }
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            code,
            outcome,
            detail,
            field,
            topic,
            head,
            retry_after_ms,
        } = refusal;
        Self {
            code: code.as_str().to_owned(),
            outcome: outcome.as_str().to_owned(),
            detail,
            field,
            topic: topic.map(|name| name.as_str().to_owned()),
            head: head.map(Into::into),
            retry_after_ms,
        }
    }
}

impl TryFrom<pb::Refusal> for Refusal {
    type Error = Malformed;

    /// A code that this version does not know is told as `internal`, with its outcome: the other
    /// node is newer, and the client must not take its refusal for more than it is.
    fn try_from(refusal: pb::Refusal) -> Result<Self, Malformed> {
        let pb::Refusal {
            code,
            outcome,
            detail,
            field,
            topic: name,
            head,
            retry_after_ms,
        } = refusal;
        let outcome = match outcome.as_str() {
            "none" => Outcome::None,
            "not_placed" => Outcome::NotPlaced,
            "unknown" => Outcome::Unknown,
            _ => return Err(Malformed::unknown("outcome")),
        };
        Ok(Self {
            code: Code::by_name(&code).unwrap_or(Code::Internal),
            outcome,
            detail,
            field,
            topic: name.map(|name| topic(&name, "topic")).transpose()?,
            head: head.map(Into::into),
            retry_after_ms,
        })
    }
}

impl From<EdgeSays> for pb::EdgeWord {
    fn from(says: EdgeSays) -> Self {
        use pb::edge_word::{Attaches, Detaches, Word};
        let attach = |Attach {
                          id: AttachId(id),
                          shard,
                          topic,
                          after,
                      }: Attach| pb::Attach {
            id,
            shard: shard.0,
            topic: topic.as_str().to_owned(),
            after: after.map(Into::into),
        };
        let word = match says {
            EdgeSays::Attach(rows) => Word::Attach(Attaches {
                attach: rows.into_iter().map(attach).collect(),
            }),
            EdgeSays::Detach(ids) => Word::Detach(Detaches {
                ids: ids.into_iter().map(|AttachId(id)| id).collect(),
            }),
            EdgeSays::Credit(bytes) => Word::Credit(bytes),
        };
        Self { word: Some(word) }
    }
}

impl TryFrom<pb::EdgeWord> for EdgeSays {
    type Error = Malformed;

    fn try_from(pb::EdgeWord { word }: pb::EdgeWord) -> Result<Self, Malformed> {
        use pb::edge_word::{Attaches, Detaches, Word};
        let attach = |pb::Attach {
                          id,
                          shard,
                          topic: name,
                          after,
                      }: pb::Attach| {
            Ok(Attach {
                id: AttachId(id),
                shard: ShardId(shard),
                topic: topic(&name, "attach.topic")?,
                after: after.map(Into::into),
            })
        };
        match required(word, "word")? {
            Word::Attach(Attaches { attach: rows }) => rows
                .into_iter()
                .map(attach)
                .collect::<Result<_, _>>()
                .map(Self::Attach),
            Word::Detach(Detaches { ids }) => {
                Ok(Self::Detach(ids.into_iter().map(AttachId).collect()))
            }
            Word::Credit(bytes) => Ok(Self::Credit(bytes)),
        }
    }
}

impl From<&Run> for pb::Run {
    fn from(Run { after, messages }: &Run) -> Self {
        Self {
            after: Some((*after).into()),
            messages: content::messages_to_pb(messages),
        }
    }
}

impl TryFrom<pb::Run> for Run {
    type Error = Malformed;

    fn try_from(pb::Run { after, messages }: pb::Run) -> Result<Self, Malformed> {
        Ok(Self {
            after: position(after, "after")?,
            messages: content::messages(messages)?,
        })
    }
}

/// A required position.
pub(crate) fn position(
    raw: Option<crate::pb::stored::Position>,
    field: &'static str,
) -> Result<Position, Malformed> {
    required(raw, field).map(Into::into)
}

impl From<Policy> for pb::Policy {
    fn from(
        Policy {
            class,
            slow,
            slow_lag,
            html,
        }: Policy,
    ) -> Self {
        Self {
            class: class_to_pb(class).into(),
            conflate: match slow {
                Slow::CatchUp => false,
                Slow::Conflate => true,
            },
            slow_lag,
            html_verbatim: match html {
                Html::Escape => false,
                Html::Verbatim => true,
            },
        }
    }
}

impl TryFrom<pb::Policy> for Policy {
    type Error = Malformed;

    fn try_from(raw: pb::Policy) -> Result<Self, Malformed> {
        let pb::Policy {
            class: of,
            conflate,
            slow_lag,
            html_verbatim,
        } = raw;
        Ok(Self {
            class: class(of)?,
            slow: match conflate {
                false => Slow::CatchUp,
                true => Slow::Conflate,
            },
            slow_lag,
            html: match html_verbatim {
                false => Html::Escape,
                true => Html::Verbatim,
            },
        })
    }
}

impl From<LeaderSays> for pb::LeaderWord {
    fn from(says: LeaderSays) -> Self {
        use pb::leader_word::{AttachRun, Word};
        let word = match says {
            LeaderSays::Attached(attached) => Word::Attached(attached.into()),
            LeaderSays::Run(AttachId(id), run) => Word::Run(AttachRun {
                id,
                run: Some((&run).into()),
            }),
            LeaderSays::Ended(AttachId(id), why) => Word::Ended(ended_to_pb(id, &why)),
            LeaderSays::Digest {
                shard: ShardId(shard),
                count,
                sum,
            } => Word::Digest(pb::Digest { shard, count, sum }),
        };
        Self { word: Some(word) }
    }
}

impl TryFrom<pb::LeaderWord> for LeaderSays {
    type Error = Malformed;

    fn try_from(pb::LeaderWord { word }: pb::LeaderWord) -> Result<Self, Malformed> {
        use pb::leader_word::{AttachRun, Word};
        match required(word, "word")? {
            Word::Attached(attached) => attached.try_into().map(Self::Attached),
            Word::Run(AttachRun { id, run }) => {
                Ok(Self::Run(AttachId(id), required(run, "run")?.try_into()?))
            }
            Word::Ended(raw) => ended(raw),
            Word::Digest(pb::Digest { shard, count, sum }) => Ok(Self::Digest {
                shard: ShardId(shard),
                count,
                sum,
            }),
        }
    }
}

impl From<Attached> for pb::Attached {
    fn from(attached: Attached) -> Self {
        let Attached {
            id,
            term,
            head,
            start,
            exists,
            policy,
            live,
        } = attached;
        Self {
            id: id.0,
            term: term.0,
            head: Some(head.into()),
            start: Some(start.into()),
            exists,
            policy: Some(policy.into()),
            live: match live {
                Live::Yes(run) => Some((&run).into()),
                Live::No => None,
            },
        }
    }
}

impl TryFrom<pb::Attached> for Attached {
    type Error = Malformed;

    fn try_from(attached: pb::Attached) -> Result<Self, Malformed> {
        let pb::Attached {
            id,
            term,
            head,
            start,
            exists,
            policy,
            live,
        } = attached;
        Ok(Self {
            id: AttachId(id),
            term: Term(term),
            head: position(head, "head")?,
            start: position(start, "start")?,
            exists,
            policy: required(policy, "policy")?.try_into()?,
            live: match live {
                Some(run) => Live::Yes(run.try_into()?),
                None => Live::No,
            },
        })
    }
}

fn ended_to_pb(id: u64, why: &Ended) -> pb::Ended {
    use pb::ended::Reason;
    let (reason, redirect) = match why {
        Ended::NotLeader(redirect) => (Reason::NotLeader, Some((*redirect).into())),
        Ended::Lagging => (Reason::Lagging, None),
        Ended::StreamEnded => (Reason::StreamEnded, None),
        Ended::TopicNotFound => (Reason::TopicNotFound, None),
        Ended::Overloaded => (Reason::Overloaded, None),
    };
    pb::Ended {
        id,
        reason: reason.into(),
        redirect,
    }
}

fn ended(
    pb::Ended {
        id,
        reason,
        redirect,
    }: pb::Ended,
) -> Result<LeaderSays, Malformed> {
    use pb::ended::Reason;
    let why = match Reason::try_from(reason) {
        Ok(Reason::NotLeader) => Ended::NotLeader(redirect.unwrap_or_default().into()),
        Ok(Reason::Lagging) => Ended::Lagging,
        Ok(Reason::StreamEnded) => Ended::StreamEnded,
        Ok(Reason::TopicNotFound) => Ended::TopicNotFound,
        Ok(Reason::Overloaded) => Ended::Overloaded,
        Ok(Reason::Unspecified) | Err(_) => return Err(Malformed::unknown("ended.reason")),
    };
    Ok(LeaderSays::Ended(AttachId(id), why))
}

#[cfg(test)]
mod tests;
