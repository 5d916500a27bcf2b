//! Calls between members of a cluster.

use std::time::Duration;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::view::{Command, Outcome};

use super::stored::view::{state, state_to_pb, store, store_to_pb};
use super::view_refusal;
use super::{Malformed, id_bytes, id128, required};
use crate::members::{
    Adopt, AdoptError, Beat, CallError, Card, Envelope, HandOver, JoinError, Known, ProposeError,
    ReplicaStatus, Stage,
};
use crate::pb::peer as pb;

impl From<Envelope> for pb::Envelope {
    fn from(
        Envelope {
            cluster,
            to,
            from,
            generation,
        }: Envelope,
    ) -> Self {
        Self {
            cluster: id_bytes(cluster.0),
            to: to.0,
            from: from.0,
            generation: generation.0,
        }
    }
}

impl TryFrom<pb::Envelope> for Envelope {
    type Error = Malformed;

    fn try_from(envelope: pb::Envelope) -> Result<Self, Malformed> {
        let pb::Envelope {
            cluster,
            to,
            from,
            generation,
        } = envelope;
        Ok(Self {
            cluster: ClusterId(id128(&cluster, "envelope.cluster")?),
            to: NodeId(to),
            from: NodeId(from),
            generation: Generation(generation),
        })
    }
}

impl From<CallError> for pb::CallError {
    fn from(error: CallError) -> Self {
        use pb::call_error::{Empty, Error, NotForMe};
        let error = match error {
            CallError::NotForMe { cluster, node } => Error::NotForMe(NotForMe {
                cluster: cluster.map(|ClusterId(id)| id_bytes(id)),
                node: node.map(|NodeId(id)| id),
            }),
            CallError::OldGeneration {
                known: Generation(known),
            } => Error::OldGeneration(known),
            CallError::Unreachable(why) => Error::Unreachable(why),
            CallError::NoAnswer => Error::NoAnswer(Empty {}),
        };
        Self { error: Some(error) }
    }
}

impl TryFrom<pb::CallError> for CallError {
    type Error = Malformed;

    fn try_from(pb::CallError { error }: pb::CallError) -> Result<Self, Malformed> {
        use pb::call_error::{Empty, Error, NotForMe};
        Ok(match required(error, "error")? {
            Error::NotForMe(NotForMe { cluster, node }) => Self::NotForMe {
                cluster: cluster
                    .map(|raw| id128(&raw, "not_for_me.cluster").map(ClusterId))
                    .transpose()?,
                node: node.map(NodeId),
            },
            Error::OldGeneration(known) => Self::OldGeneration {
                known: Generation(known),
            },
            Error::Unreachable(why) => Self::Unreachable(why),
            Error::NoAnswer(Empty {}) => Self::NoAnswer,
        })
    }
}

impl From<Card> for pb::Card {
    fn from(
        Card {
            name,
            addresses,
            level,
            stage,
            you,
        }: Card,
    ) -> Self {
        let member = match stage {
            Stage::Empty => None,
            Stage::Member {
                cluster,
                node,
                generation,
                view,
            } => Some(pb::card::Member {
                cluster: id_bytes(cluster.0),
                node: node.0,
                generation: generation.0,
                view,
            }),
        };
        let known = |known: Known| {
            let Known {
                node,
                generation,
                disk,
                store,
                state,
                alive,
            } = known;
            pb::card::Known {
                node: node.0,
                generation: generation.0,
                disk: id_bytes(disk.0),
                store: store_to_pb(store).into(),
                state: state_to_pb(state).into(),
                alive,
            }
        };
        Self {
            name,
            addresses: Some(addresses.into()),
            level,
            member,
            you: you.map(known),
        }
    }
}

impl TryFrom<pb::Card> for Card {
    type Error = Malformed;

    fn try_from(card: pb::Card) -> Result<Self, Malformed> {
        let pb::Card {
            name,
            addresses,
            level,
            member,
            you,
        } = card;
        let stage = match member {
            None => Stage::Empty,
            Some(pb::card::Member {
                cluster,
                node,
                generation,
                view,
            }) => Stage::Member {
                cluster: ClusterId(id128(&cluster, "member.cluster")?),
                node: NodeId(node),
                generation: Generation(generation),
                view,
            },
        };
        let known = |known: pb::card::Known| {
            let pb::card::Known {
                node,
                generation,
                disk,
                store: raw,
                state: of,
                alive,
            } = known;
            Ok(Known {
                node: NodeId(node),
                generation: Generation(generation),
                disk: DiskId(id128(&disk, "you.disk")?),
                store: store(raw)?,
                state: state(of)?,
                alive,
            })
        };
        Ok(Self {
            name,
            addresses: addresses.unwrap_or_default().into(),
            level,
            stage,
            you: you.map(known).transpose()?,
        })
    }
}

impl From<&Adopt> for pb::AdoptRequest {
    fn from(
        Adopt {
            cluster,
            node,
            disk,
            view,
        }: &Adopt,
    ) -> Self {
        Self {
            cluster: id_bytes(cluster.0),
            node: node.0,
            disk: id_bytes(disk.0),
            view: Some(view.into()),
        }
    }
}

impl TryFrom<pb::AdoptRequest> for Adopt {
    type Error = Malformed;

    fn try_from(request: pb::AdoptRequest) -> Result<Self, Malformed> {
        let pb::AdoptRequest {
            cluster,
            node,
            disk,
            view,
        } = request;
        Ok(Self {
            cluster: ClusterId(id128(&cluster, "cluster")?),
            node: NodeId(node),
            disk: DiskId(id128(&disk, "disk")?),
            view: required(view, "view")?.try_into()?,
        })
    }
}

impl From<Result<(), AdoptError>> for pb::AdoptAnswer {
    fn from(result: Result<(), AdoptError>) -> Self {
        use pb::adopt_answer::{Done, Member, Result as Answer};
        let result = match result {
            Ok(()) => Answer::Done(Done {}),
            Err(AdoptError::Member { cluster, node }) => Answer::Member(Member {
                cluster: id_bytes(cluster.0),
                node: node.0,
            }),
            Err(AdoptError::NotInView) => Answer::NotInView(Done {}),
            Err(AdoptError::Disk(why)) => Answer::Disk(why),
            Err(AdoptError::Call(error)) => Answer::Call(error.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

/// The answer to an adoption.
pub(crate) fn adopted(raw: pb::AdoptAnswer) -> Result<Result<(), AdoptError>, Malformed> {
    use pb::adopt_answer::{Done, Member, Result as Answer};
    let pb::AdoptAnswer { result } = raw;
    Ok(Err(match required(result, "result")? {
        Answer::Done(Done {}) => return Ok(Ok(())),
        Answer::Member(Member { cluster, node }) => AdoptError::Member {
            cluster: ClusterId(id128(&cluster, "member.cluster")?),
            node: NodeId(node),
        },
        Answer::NotInView(Done {}) => AdoptError::NotInView,
        Answer::Disk(why) => AdoptError::Disk(why),
        Answer::Call(error) => AdoptError::Call(error.try_into()?),
    }))
}

/// A proposal to the metadata group.
pub(crate) fn propose_to_pb(
    envelope: Envelope,
    command: &Command,
    within: Duration,
) -> pb::ProposeRequest {
    pb::ProposeRequest {
        envelope: Some(envelope.into()),
        command: Some(command.into()),
        within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
    }
}

/// A proposal to the metadata group.
pub(crate) fn propose(raw: pb::ProposeRequest) -> Result<(Envelope, Command, Duration), Malformed> {
    let pb::ProposeRequest {
        envelope,
        command,
        within_ms,
    } = raw;
    Ok((
        required(envelope, "envelope")?.try_into()?,
        required(command, "command")?.try_into()?,
        Duration::from_millis(within_ms.into()),
    ))
}

impl From<Result<NodeId, JoinError>> for pb::JoinAnswer {
    fn from(result: Result<NodeId, JoinError>) -> Self {
        use pb::join_answer::{Empty, Result as Answer};
        let result = match result {
            Ok(NodeId(node)) => Answer::Node(node),
            Err(JoinError::Refused(refusal)) => Answer::Refused(view_refusal::to_pb(&refusal)),
            Err(JoinError::Closed) => Answer::Closed(Empty {}),
            Err(JoinError::Later(why)) => Answer::Later(why),
            Err(JoinError::Call(error)) => Answer::Call(error.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

/// The answer to a node that asks to be let in.
pub(crate) fn joined(raw: pb::JoinAnswer) -> Result<Result<NodeId, JoinError>, Malformed> {
    use pb::join_answer::{Empty, Result as Answer};
    let pb::JoinAnswer { result } = raw;
    Ok(match required(result, "result")? {
        Answer::Node(node) => Ok(NodeId(node)),
        Answer::Refused(refusal) => Err(JoinError::Refused(view_refusal::of_pb(refusal)?)),
        Answer::Closed(Empty {}) => Err(JoinError::Closed),
        Answer::Later(why) => Err(JoinError::Later(why)),
        Answer::Call(error) => Err(JoinError::Call(error.try_into()?)),
    })
}

impl From<Result<Outcome, ProposeError>> for pb::ProposeAnswer {
    fn from(result: Result<Outcome, ProposeError>) -> Self {
        use pb::propose_answer::{Added, Done, Empty, NotLeader, Result as Answer};
        let result = match result {
            Ok(Outcome::Done { version }) => Answer::Done(Done { version }),
            Ok(Outcome::Added {
                version,
                node,
                replica,
            }) => Answer::Added(Added {
                version,
                node: node.0,
                replica: replica.0,
            }),
            Ok(Outcome::Refused(refusal)) => Answer::Refused(view_refusal::to_pb(&refusal)),
            Err(ProposeError::NotLeader { leader }) => Answer::NotLeader(NotLeader {
                leader: leader.map(|NodeId(id)| id),
            }),
            Err(ProposeError::NoQuorum) => Answer::NoQuorum(Empty {}),
            Err(ProposeError::NotForMe) => Answer::NotForMe(Empty {}),
            Err(ProposeError::Unreachable(why)) => Answer::Unreachable(why),
            Err(ProposeError::Unknown) => Answer::Unknown(Empty {}),
        };
        Self {
            result: Some(result),
        }
    }
}

/// The answer to a proposal.
pub(crate) fn proposed(raw: pb::ProposeAnswer) -> Result<Result<Outcome, ProposeError>, Malformed> {
    use pb::propose_answer::{Added, Done, Empty, NotLeader, Result as Answer};
    let pb::ProposeAnswer { result } = raw;
    Ok(match required(result, "result")? {
        Answer::Done(Done { version }) => Ok(Outcome::Done { version }),
        Answer::Added(Added {
            version,
            node,
            replica,
        }) => Ok(Outcome::Added {
            version,
            node: NodeId(node),
            replica: ReplicaId(replica),
        }),
        Answer::Refused(refusal) => Ok(Outcome::Refused(view_refusal::of_pb(refusal)?)),
        Answer::NotLeader(NotLeader { leader }) => Err(ProposeError::NotLeader {
            leader: leader.map(NodeId),
        }),
        Answer::NoQuorum(Empty {}) => Err(ProposeError::NoQuorum),
        Answer::NotForMe(Empty {}) => Err(ProposeError::NotForMe),
        Answer::Unreachable(why) => Err(ProposeError::Unreachable(why)),
        Answer::Unknown(Empty {}) => Err(ProposeError::Unknown),
    })
}

impl From<Beat> for pb::Beat {
    fn from(
        Beat {
            generation,
            view,
            leader,
            replicas,
            full,
            hand_over,
        }: Beat,
    ) -> Self {
        use pb::replica_status::Behind;
        let status = |status: ReplicaStatus| {
            let ReplicaStatus {
                shard,
                replica,
                term,
                leads,
                applied,
                behind,
            } = status;
            let behind = behind
                .into_iter()
                .map(|(ReplicaId(replica), entries)| Behind { replica, entries });
            pb::ReplicaStatus {
                shard: shard.0,
                replica: replica.0,
                term: term.0,
                leads,
                applied,
                behind: behind.collect(),
            }
        };
        Self {
            generation: generation.0,
            view,
            leader: leader.map(|NodeId(id)| id),
            replicas: replicas.into_iter().map(status).collect(),
            full,
            hand_over: hand_over.map(|HandOver { shard, term, heir }| pb::HandOver {
                shard: shard.0,
                term: term.0,
                heir: heir.0,
            }),
        }
    }
}

impl TryFrom<pb::Beat> for Beat {
    type Error = Malformed;

    fn try_from(
        pb::Beat {
            generation,
            view,
            leader,
            replicas,
            full,
            hand_over,
        }: pb::Beat,
    ) -> Result<Self, Malformed> {
        use pb::replica_status::Behind;
        if replicas.len() > Self::MAX_REPLICAS {
            return Err(Malformed::new("replicas", "too many"));
        }
        let status = |status: pb::ReplicaStatus| {
            let pb::ReplicaStatus {
                shard,
                replica,
                term,
                leads,
                applied,
                behind,
            } = status;
            let behind = behind
                .into_iter()
                .map(|Behind { replica, entries }| (ReplicaId(replica), entries));
            ReplicaStatus {
                shard: ShardId(shard),
                replica: ReplicaId(replica),
                term: Term(term),
                leads,
                applied,
                behind: behind.collect(),
            }
        };
        Ok(Self {
            generation: Generation(generation),
            view,
            leader: leader.map(NodeId),
            replicas: replicas.into_iter().map(status).collect(),
            full,
            hand_over: hand_over.map(|pb::HandOver { shard, term, heir }| HandOver {
                shard: ShardId(shard),
                term: Term(term),
                heir: ReplicaId(heir),
            }),
        })
    }
}

#[cfg(test)]
mod tests;
