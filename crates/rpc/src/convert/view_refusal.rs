//! Why the metadata refused a command, on the way back to who proposed it.

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ShardId};
use fanfare_core::rule::BadRule;
use fanfare_core::view::Refusal;

use super::{Malformed, id_bytes, id128, required};
use crate::pb::peer as pb;
use crate::pb::peer::view_refusal::Kind;

/// Rules that have a range, as `BadRule` names them.
const RULES: [&str; 5] = [
    "retain_count",
    "retain_bytes",
    "retain_age",
    "slow_lag",
    "dedup_age",
];

/// Everything but the kind is zero unless the kind has it.
pub(super) fn to_pb(refusal: &Refusal) -> pb::ViewRefusal {
    let of = |kind: Kind| pb::ViewRefusal {
        kind: kind.into(),
        ..Default::default()
    };
    let node = |kind, NodeId(node): NodeId| pb::ViewRefusal { node, ..of(kind) };
    let shard = |kind, ShardId(id): ShardId| pb::ViewRefusal {
        shard: Some(id),
        ..of(kind)
    };
    let number = |kind, number: u64| pb::ViewRefusal { number, ..of(kind) };
    match refusal {
        Refusal::NotBootstrapped => of(Kind::NotBootstrapped),
        Refusal::Bootstrapped { cluster } => pb::ViewRefusal {
            id: id_bytes(cluster.0),
            ..of(Kind::Bootstrapped)
        },
        Refusal::BadBootstrap => of(Kind::BadBootstrap),
        Refusal::BadNode => of(Kind::BadNode),
        Refusal::TooManyNodes => of(Kind::TooManyNodes),
        Refusal::UnknownNode { node: id } => node(Kind::UnknownNode, *id),
        Refusal::NodeGone { node: id } => node(Kind::NodeGone, *id),
        Refusal::NameTaken { node: id } => node(Kind::NameTaken, *id),
        Refusal::WrongDisk { node: id, recorded } => pb::ViewRefusal {
            id: id_bytes(recorded.0),
            ..node(Kind::WrongDisk, *id)
        },
        Refusal::DataLoss { node: id } => node(Kind::DataLoss, *id),
        Refusal::OldGeneration { node: id, recorded } => pb::ViewRefusal {
            number: recorded.0,
            ..node(Kind::OldGeneration, *id)
        },
        Refusal::BinaryTooOld { level } => number(Kind::BinaryTooOld, (*level).into()),
        Refusal::LevelNotAbove { level } => number(Kind::LevelNotAbove, (*level).into()),
        Refusal::NodeBelow { node: id, level } => pb::ViewRefusal {
            number: (*level).into(),
            ..node(Kind::NodeBelow, *id)
        },
        Refusal::LevelBelow { needs, level } => pb::ViewRefusal {
            low: (*level).into(),
            ..number(Kind::LevelBelow, (*needs).into())
        },
        Refusal::NoMajority { shard: id } => pb::ViewRefusal {
            shard: id.map(|ShardId(id)| id),
            ..of(Kind::NoMajority)
        },
        Refusal::TooFewNodes {
            shard: id,
            replicas,
            nodes,
        } => pb::ViewRefusal {
            low: (*replicas).into(),
            high: (*nodes).into(),
            ..shard(Kind::TooFewNodes, *id)
        },
        Refusal::BadHeir { node: id } => node(Kind::BadHeir, *id),
        Refusal::StalePlan { version } => number(Kind::StalePlan, *version),
        Refusal::BadPlacement { shard: id } => shard(Kind::BadPlacement, *id),
        Refusal::NotBegun { shard: id } => shard(Kind::NotBegun, *id),
        Refusal::UnknownShard { shard: id } => shard(Kind::UnknownShard, *id),
        Refusal::BadRule(BadRule { rule, low, high }) => pb::ViewRefusal {
            rule: (*rule).to_owned(),
            low: *low,
            high: *high,
            ..of(Kind::BadRule)
        },
        Refusal::RulesFull => of(Kind::RulesFull),
        Refusal::NoSuchRule => of(Kind::NoSuchRule),
    }
}

pub(super) fn of_pb(raw: pb::ViewRefusal) -> Result<Refusal, Malformed> {
    let pb::ViewRefusal {
        kind,
        id,
        node,
        number,
        shard,
        rule,
        low,
        high,
    } = raw;
    let kind = Kind::try_from(kind).map_err(|_| Malformed::unknown("refused.kind"))?;
    let id = || id128(&id, "refused.id");
    let node = NodeId(node);
    let level =
        || u32::try_from(number).map_err(|_| Malformed::new("refused.number", "is no level"));
    let shard_id = || required(shard.map(ShardId), "refused.shard");
    Ok(match kind {
        Kind::Unspecified => return Err(Malformed::unknown("refused.kind")),
        Kind::NotBootstrapped => Refusal::NotBootstrapped,
        Kind::Bootstrapped => Refusal::Bootstrapped {
            cluster: ClusterId(id()?),
        },
        Kind::BadBootstrap => Refusal::BadBootstrap,
        Kind::BadNode => Refusal::BadNode,
        Kind::TooManyNodes => Refusal::TooManyNodes,
        Kind::UnknownNode => Refusal::UnknownNode { node },
        Kind::NodeGone => Refusal::NodeGone { node },
        Kind::NameTaken => Refusal::NameTaken { node },
        Kind::WrongDisk => Refusal::WrongDisk {
            node,
            recorded: DiskId(id()?),
        },
        Kind::DataLoss => Refusal::DataLoss { node },
        Kind::OldGeneration => Refusal::OldGeneration {
            node,
            recorded: Generation(number),
        },
        Kind::BinaryTooOld => Refusal::BinaryTooOld { level: level()? },
        Kind::LevelNotAbove => Refusal::LevelNotAbove { level: level()? },
        Kind::NodeBelow => Refusal::NodeBelow {
            node,
            level: level()?,
        },
        Kind::LevelBelow => Refusal::LevelBelow {
            needs: level()?,
            level: u32::try_from(low).map_err(|_| Malformed::new("refused.low", "is no level"))?,
        },
        Kind::NoMajority => Refusal::NoMajority {
            shard: shard.map(ShardId),
        },
        Kind::TooFewNodes => Refusal::TooFewNodes {
            shard: shard_id()?,
            replicas: u32::try_from(low).unwrap_or(u32::MAX),
            nodes: u32::try_from(high).unwrap_or(u32::MAX),
        },
        Kind::BadHeir => Refusal::BadHeir { node },
        Kind::StalePlan => Refusal::StalePlan { version: number },
        Kind::BadPlacement => Refusal::BadPlacement { shard: shard_id()? },
        Kind::NotBegun => Refusal::NotBegun { shard: shard_id()? },
        Kind::UnknownShard => Refusal::UnknownShard { shard: shard_id()? },
        Kind::BadRule => Refusal::BadRule(BadRule {
            rule: RULES
                .into_iter()
                .find(|name| *name == rule)
                .unwrap_or("rules"),
            low,
            high,
        }),
        Kind::RulesFull => Refusal::RulesFull,
        Kind::NoSuchRule => Refusal::NoSuchRule,
    })
}
