//! The commands that change the view.

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use fanfare_core::view::{Bootstrap, Command, NewNode, Placement};

use super::view::{replicas, replicas_to_pb};
use crate::convert::content::{create, explicit};
use crate::convert::{Malformed, id_bytes, id128, pattern, required};
use crate::pb::stored as pb;
use crate::pb::stored::view_command as pbc;

fn placements_to_pb(rows: &[Placement]) -> Vec<pb::Placement> {
    let placement = |Placement {
                         shard,
                         nodes,
                         preferred,
                     }: &Placement| pb::Placement {
        shard: shard.0,
        nodes: nodes.iter().map(|NodeId(node)| *node).collect(),
        preferred: preferred.map(|NodeId(node)| node),
    };
    rows.iter().map(placement).collect()
}

fn placements(raw: Vec<pb::Placement>) -> Vec<Placement> {
    let placement = |pb::Placement {
                         shard,
                         nodes,
                         preferred,
                     }: pb::Placement| Placement {
        shard: ShardId(shard),
        nodes: nodes.into_iter().map(NodeId).collect(),
        preferred: preferred.map(NodeId),
    };
    raw.into_iter().map(placement).collect()
}

fn new_node_to_pb(node: &NewNode) -> pb::NewNode {
    let NewNode {
        id,
        name,
        disk,
        level,
        addresses,
    } = node;
    pb::NewNode {
        id: id.0,
        name: name.clone(),
        disk: id_bytes(disk.0),
        level: *level,
        addresses: Some(addresses.clone().into()),
    }
}

fn new_node(raw: pb::NewNode) -> Result<NewNode, Malformed> {
    let pb::NewNode {
        id,
        name,
        disk,
        level,
        addresses,
    } = raw;
    Ok(NewNode {
        id: NodeId(id),
        name,
        disk: DiskId(id128(&disk, "disk")?),
        level,
        addresses: addresses.unwrap_or_default().into(),
    })
}

fn bootstrap_to_pb(bootstrap: &Bootstrap) -> pbc::Bootstrap {
    let Bootstrap {
        cluster,
        level,
        payload_limit,
        nodes,
        meta,
        shards,
    } = bootstrap;
    pbc::Bootstrap {
        cluster: id_bytes(cluster.0),
        level: *level,
        payload_limit: *payload_limit,
        nodes: nodes.iter().map(new_node_to_pb).collect(),
        meta: replicas_to_pb(meta),
        shards: placements_to_pb(shards),
    }
}

fn bootstrap(raw: pbc::Bootstrap) -> Result<Bootstrap, Malformed> {
    let pbc::Bootstrap {
        cluster,
        level,
        payload_limit,
        nodes,
        meta,
        shards,
    } = raw;
    Ok(Bootstrap {
        cluster: ClusterId(id128(&cluster, "bootstrap.cluster")?),
        level,
        payload_limit,
        nodes: nodes.into_iter().map(new_node).collect::<Result<_, _>>()?,
        meta: replicas(meta),
        shards: placements(shards),
    })
}

impl From<&Command> for pb::ViewCommand {
    fn from(command: &Command) -> Self {
        let command = match command {
            Command::Bootstrap(bootstrap) => pbc::Command::Bootstrap(bootstrap_to_pb(bootstrap)),
            Command::AddNode {
                name,
                disk,
                level,
                addresses,
            } => pbc::Command::AddNode(pbc::AddNode {
                name: name.clone(),
                disk: id_bytes(disk.0),
                level: *level,
                addresses: Some(addresses.clone().into()),
            }),
            Command::NodeStarted {
                node,
                generation,
                disk,
                level,
                addresses,
            } => pbc::Command::NodeStarted(pbc::NodeStarted {
                node: node.0,
                generation: generation.0,
                disk: id_bytes(disk.0),
                level: *level,
                addresses: Some(addresses.clone().into()),
            }),
            Command::Draining { node, generation } => pbc::Command::Draining(pbc::Draining {
                node: node.0,
                generation: generation.0,
            }),
            Command::RemoveNode { node: NodeId(node) } => {
                pbc::Command::RemoveNode(pbc::RemoveNode { node: *node })
            }
            Command::Depart { node, heir } => pbc::Command::Depart(pbc::Depart {
                node: node.0,
                heir: heir.map(|NodeId(heir)| heir),
            }),
            Command::Stay { node: NodeId(node) } => pbc::Command::Stay(pbc::Stay { node: *node }),
            Command::RepairShard {
                base,
                shard,
                node,
                from,
            } => pbc::Command::RepairShard(pbc::RepairShard {
                base: *base,
                shard: shard.0,
                node: node.0,
                from: from.0,
            }),
            Command::Left { shard, replicas } => pbc::Command::Left(pbc::Left {
                shard: shard.0,
                replicas: replicas.iter().map(|id| id.0).collect(),
            }),
            Command::RecordDataLoss { node: NodeId(node) } => {
                pbc::Command::RecordDataLoss(pbc::RecordDataLoss { node: *node })
            }
            Command::ReplicasLost { node, replicas } => {
                pbc::Command::ReplicasLost(pbc::ReplicasLost {
                    node: node.0,
                    replicas: replicas.iter().map(|id| id.0).collect(),
                })
            }
            Command::Place { base, rows } => pbc::Command::Place(pbc::Place {
                base: *base,
                rows: placements_to_pb(rows),
            }),
            Command::ShardBegun {
                shard: ShardId(shard),
            } => pbc::Command::ShardBegun(pbc::ShardBegun { shard: *shard }),
            Command::PutRule { pattern, rules } => pbc::Command::PutRule(pbc::PutRule {
                pattern: pattern.as_str().to_owned(),
                rules: Some(rules.into()),
            }),
            Command::DeleteRule { pattern } => pbc::Command::DeleteRule(pbc::DeleteRule {
                pattern: pattern.as_str().to_owned(),
            }),
            Command::SetCreatePolicy { create, max_topics } => {
                pbc::Command::SetCreatePolicy(pbc::SetCreatePolicy {
                    explicit: explicit(*create),
                    max_topics: *max_topics,
                })
            }
            Command::SetLevel { level } => pbc::Command::SetLevel(pbc::SetLevel { level: *level }),
            Command::SetBudget {
                node,
                generation,
                history,
            } => pbc::Command::SetBudget(pbc::SetBudget {
                node: node.0,
                generation: generation.0,
                history: *history,
            }),
        };
        Self {
            command: Some(command),
        }
    }
}

impl TryFrom<pb::ViewCommand> for Command {
    type Error = Malformed;

    fn try_from(pb::ViewCommand { command }: pb::ViewCommand) -> Result<Self, Malformed> {
        // A command of a level above this binary's reads as none.
        Ok(match command.ok_or(Malformed::newer("command"))? {
            pbc::Command::Bootstrap(raw) => Self::Bootstrap(bootstrap(raw)?),
            pbc::Command::AddNode(pbc::AddNode {
                name,
                disk,
                level,
                addresses,
            }) => Self::AddNode {
                name,
                disk: DiskId(id128(&disk, "add_node.disk")?),
                level,
                addresses: addresses.unwrap_or_default().into(),
            },
            pbc::Command::NodeStarted(raw) => {
                let pbc::NodeStarted {
                    node,
                    generation,
                    disk,
                    level,
                    addresses,
                } = raw;
                Self::NodeStarted {
                    node: NodeId(node),
                    generation: Generation(generation),
                    disk: DiskId(id128(&disk, "node_started.disk")?),
                    level,
                    addresses: addresses.unwrap_or_default().into(),
                }
            }
            pbc::Command::Draining(pbc::Draining { node, generation }) => Self::Draining {
                node: NodeId(node),
                generation: Generation(generation),
            },
            pbc::Command::RemoveNode(pbc::RemoveNode { node }) => {
                Self::RemoveNode { node: NodeId(node) }
            }
            pbc::Command::Depart(pbc::Depart { node, heir }) => Self::Depart {
                node: NodeId(node),
                heir: heir.map(NodeId),
            },
            pbc::Command::Stay(pbc::Stay { node }) => Self::Stay { node: NodeId(node) },
            pbc::Command::RepairShard(pbc::RepairShard {
                base,
                shard,
                node,
                from,
            }) => Self::RepairShard {
                base,
                shard: ShardId(shard),
                node: NodeId(node),
                from: ReplicaId(from),
            },
            pbc::Command::Left(pbc::Left { shard, replicas }) => Self::Left {
                shard: ShardId(shard),
                replicas: replicas.into_iter().map(ReplicaId).collect(),
            },
            pbc::Command::RecordDataLoss(pbc::RecordDataLoss { node }) => {
                Self::RecordDataLoss { node: NodeId(node) }
            }
            pbc::Command::ReplicasLost(pbc::ReplicasLost { node, replicas }) => {
                Self::ReplicasLost {
                    node: NodeId(node),
                    replicas: replicas.into_iter().map(ReplicaId).collect(),
                }
            }
            pbc::Command::Place(pbc::Place { base, rows }) => Self::Place {
                base,
                rows: placements(rows),
            },
            pbc::Command::ShardBegun(pbc::ShardBegun { shard }) => Self::ShardBegun {
                shard: ShardId(shard),
            },
            pbc::Command::PutRule(pbc::PutRule {
                pattern: which,
                rules,
            }) => Self::PutRule {
                pattern: pattern(&which, "put_rule.pattern")?,
                rules: required(rules, "put_rule.rules")?.try_into()?,
            },
            pbc::Command::DeleteRule(pbc::DeleteRule { pattern: which }) => Self::DeleteRule {
                pattern: pattern(&which, "delete_rule.pattern")?,
            },
            pbc::Command::SetCreatePolicy(raw) => {
                let pbc::SetCreatePolicy {
                    explicit,
                    max_topics,
                } = raw;
                Self::SetCreatePolicy {
                    create: create(explicit),
                    max_topics,
                }
            }
            pbc::Command::SetLevel(pbc::SetLevel { level }) => Self::SetLevel { level },
            pbc::Command::SetBudget(raw) => {
                let pbc::SetBudget {
                    node,
                    generation,
                    history,
                } = raw;
                Self::SetBudget {
                    node: NodeId(node),
                    generation: Generation(generation),
                    history,
                }
            }
        })
    }
}
