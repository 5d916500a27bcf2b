//! Copies of groups, and what may be done about a group that lost its majority.

use fanfare_core::id::{NodeId, ReplicaId, ShardId, Term};
use fanfare_core::repair::{Copy, Findings, Verdict};
use fanfare_core::shard::At;

use super::{Malformed, required};
use crate::pb::peer;
use crate::pb::v1 as pb;
use crate::public::{Repair, RepairWish};

/// Most nodes that may be named as lost: more than any cluster has.
const MAX_LOST: usize = 1_000;

impl From<Copy> for peer::Copy {
    fn from(copy: Copy) -> Self {
        let Copy {
            shard,
            replica: ReplicaId(replica),
            last,
            voters,
            serves,
        } = copy;
        Self {
            shard: shard.map(|ShardId(shard)| shard),
            replica,
            last: last.map(|at| peer::LogPosition {
                term: at.term.0,
                index: at.index,
            }),
            voters: voters.into_iter().map(|id| id.0).collect(),
            serves,
        }
    }
}

impl From<peer::Copy> for Copy {
    fn from(copy: peer::Copy) -> Self {
        let peer::Copy {
            shard,
            replica,
            last,
            voters,
            serves,
        } = copy;
        let at = |peer::LogPosition { term, index }: peer::LogPosition| At {
            term: Term(term),
            index,
        };
        Self {
            shard: shard.map(ShardId),
            replica: ReplicaId(replica),
            last: last.map(at),
            voters: voters.into_iter().map(ReplicaId).collect(),
            serves,
        }
    }
}

/// The wish of a request, for one shard or for the metadata.
pub(crate) fn wish(
    shard: Option<u32>,
    accept_data_loss: bool,
    lost: Vec<String>,
) -> Result<RepairWish, Malformed> {
    if lost.len() > MAX_LOST {
        return Err(Malformed::new("lost", format!("at most {MAX_LOST}")));
    }
    Ok(RepairWish {
        shard: shard.map(ShardId),
        accept_data_loss,
        lost,
    })
}

impl From<Repair> for pb::RepairResponse {
    fn from(Repair { findings, done }: Repair) -> Self {
        let Findings {
            copies,
            voters,
            silent,
            verdict,
        } = findings;
        let copy = |(node, copy): (NodeId, Copy)| pb::GroupCopy {
            node: node.0,
            replica: copy.replica.0,
            term: copy.last.map_or(0, |at| at.term.0),
            index: copy.last.map_or(0, |at| at.index),
        };
        let ready = |replica| Self {
            replica,
            ..Default::default()
        };
        let (verdict, node, rest) = match verdict {
            Verdict::Serves { node } => (pb::RepairVerdict::Serves, Some(node), ready(0)),
            Verdict::Majority { .. } => (pb::RepairVerdict::Majority, None, ready(0)),
            Verdict::MayComeBack => (pb::RepairVerdict::MayComeBack, None, ready(0)),
            Verdict::NoCopy => (pb::RepairVerdict::NoCopy, None, ready(0)),
            Verdict::Ready { node, replica } => {
                (pb::RepairVerdict::Ready, Some(node), ready(replica.0))
            }
        };
        Self {
            copies: copies.into_iter().map(copy).collect(),
            voters: u32::try_from(voters).unwrap_or(u32::MAX),
            silent: silent.into_iter().map(|id| id.0).collect(),
            verdict: verdict.into(),
            node: node.map(|id| id.0),
            done,
            ..rest
        }
    }
}

/// What a node answered, of this group.
pub(crate) fn repair(raw: pb::RepairResponse, shard: Option<ShardId>) -> Result<Repair, Malformed> {
    let kind = raw.verdict();
    let pb::RepairResponse {
        copies,
        voters,
        silent,
        verdict: _,
        node,
        replica,
        done,
    } = raw;
    let node = || required(node.map(NodeId), "node");
    let verdict = match kind {
        pb::RepairVerdict::Unspecified => return Err(Malformed::unknown("verdict")),
        pb::RepairVerdict::Serves => Verdict::Serves { node: node()? },
        pb::RepairVerdict::Majority => Verdict::Majority {
            reachable: copies.len(),
        },
        pb::RepairVerdict::MayComeBack => Verdict::MayComeBack,
        pb::RepairVerdict::NoCopy => Verdict::NoCopy,
        pb::RepairVerdict::Ready => Verdict::Ready {
            node: node()?,
            replica: ReplicaId(replica),
        },
    };
    let copy = |copy: pb::GroupCopy| {
        let pb::GroupCopy {
            node,
            replica,
            term,
            index,
        } = copy;
        let term = Term(term);
        let copy = Copy {
            shard,
            replica: ReplicaId(replica),
            last: Some(At { term, index }),
            voters: Vec::new(),
            serves: false,
        };
        (NodeId(node), copy)
    };
    let findings = Findings {
        copies: copies.into_iter().map(copy).collect(),
        voters: usize::try_from(voters).unwrap_or(usize::MAX),
        silent: silent.into_iter().map(NodeId).collect(),
        verdict,
    };
    Ok(Repair { findings, done })
}
