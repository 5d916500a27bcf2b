//! What operators change of the cluster's nodes: drain, remove, replace, hand a shard over. Refused
//! here is what the metadata cannot see: that a group would lose, or lacks, a majority of nodes that
//! are heard.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_cluster::ProposeFailed;
use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::receipt::Refusal;
use fanfare_core::view::{self, Command, Node, NodeState, Outcome, ShardRow, View};
use fanfare_rpc::public::{Changed, ClusterChange};

use super::Admin;

/// Between two looks at who is heard, and how many more there are: five seconds, in which a node that
/// runs sends heartbeats several times.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: u32 = 20;

impl Admin {
    /// Nodes that this one hears, itself among them.
    pub(super) fn alive(&self) -> BTreeSet<NodeId> {
        let seen = self.handle.seen().into_iter();
        let heard = seen.filter(|(_, seen)| seen.alive).map(|(node, _)| node);
        heard.chain([self.handle.identity().node]).collect()
    }

    /// Checks and records a change. What is refused because a node is not heard is looked at again
    /// for a moment: a node that has just started, or joined, is heard by everyone a little later.
    pub(super) async fn carry_out(&self, change: ClusterChange) -> Result<Changed, Refusal> {
        if let ClusterChange::Transfer { shard, node } = &change {
            let view = self.handle.view().borrow().clone();
            return self.transfer(&view, *shard, node);
        }
        let mut looks_left = LOOKS;
        loop {
            let view = self.handle.view().borrow().clone();
            match checked(&view, &self.alive(), &change) {
                Ok((node, command)) => {
                    let version = self.record(&view, command).await?;
                    return Ok(Changed { node, version });
                }
                Err(Hindrance::Unheard(_)) if looks_left > 0 => looks_left -= 1,
                Err(Hindrance::Unheard(why) | Hindrance::Refused(why)) => return Err(why),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn record(&self, view: &View, command: Command) -> Result<u64, Refusal> {
        match self.handle.propose(&command).await {
            Ok(Outcome::Done { version } | Outcome::Added { version, .. }) => {
                let mut views = self.handle.view();
                // An error: the node stops, and nobody asks it any more.
                drop(views.wait_for(|view| view.version >= version).await);
                Ok(version)
            }
            Ok(Outcome::Refused(why)) => Err(refused(view, &why)),
            Err(why @ ProposeFailed::NoLeader) => {
                Err(refusal(Code::NoQuorum, why.to_string()).retry_after(1_000))
            }
            Err(why @ ProposeFailed::Unknown) => {
                Err(refusal(Code::OutcomeUnknown, why.to_string()))
            }
            Err(why @ ProposeFailed::Stopped) => Err(refusal(Code::Draining, why.to_string())),
        }
    }

    fn transfer(&self, view: &View, shard: ShardId, to: &str) -> Result<Changed, Refusal> {
        let to = named(view, to, "node")?;
        let Some(row) = view.shard(shard) else {
            let why = format!(
                "there is no shard {shard}: they are 0 to {}",
                view.shards.len() - 1
            );
            return Err(refusal(Code::InvalidArgument, why).field("shard"));
        };
        let Some(replica) = row.on(to.id) else {
            let why = format!(
                "{} has no replica of shard {shard}: name one of {}",
                to.name,
                names(view, row.replicas.iter().map(|r| r.node))
            );
            return Err(refusal(Code::InvalidArgument, why).field("node"));
        };
        let done = Changed {
            node: to.id,
            version: view.version,
        };
        let own = self.broker.status().into_iter().find(|s| s.shard == shard);
        match own {
            Some(own) if own.group.role.leads && own.replica == replica => Ok(done),
            Some(own) if own.group.role.leads && self.broker.transfer(shard, replica) => Ok(done),
            Some(_) | None => {
                let why = format!("this node does not lead shard {shard}: ask the one that does");
                Err(refusal(Code::NotReady, why))
            }
        }
    }
}

/// Why a change is not made.
enum Hindrance {
    /// Nodes are not heard, which may be over in a moment.
    Unheard(Refusal),
    /// Nothing but another wish helps.
    Refused(Refusal),
}

impl From<Refusal> for Hindrance {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

/// The node that a change is about, and the change as a command, if by this view and with these
/// nodes heard it may be made.
fn checked(
    view: &View,
    alive: &BTreeSet<NodeId>,
    change: &ClusterChange,
) -> Result<(NodeId, Command), Hindrance> {
    Ok(match change {
        ClusterChange::Drain { node } => {
            let node = named(view, node, "node")?;
            can_drain(view, alive, node).map_err(Hindrance::Unheard)?;
            let command = Command::Draining {
                node: node.id,
                generation: node.generation,
            };
            (node.id, command)
        }
        ClusterChange::Remove { node } => {
            let node = named(view, node, "node")?;
            can_move(view, alive, node).map_err(Hindrance::Unheard)?;
            (node.id, departs(node.id, None))
        }
        ClusterChange::RemoveNow { node } => {
            let node = named(view, node, "node")?;
            can_lose(view, alive, node).map_err(Hindrance::Unheard)?;
            (node.id, Command::RemoveNode { node: node.id })
        }
        ClusterChange::Stay { node } => {
            let node = named(view, node, "node")?;
            (node.id, Command::Stay { node: node.id })
        }
        ClusterChange::Replace { old, new } => {
            let old = named(view, old, "old")?;
            // One that has just joined may not be in the view of this node yet.
            let heir = named(view, new, "new").map_err(Hindrance::Unheard)?;
            if !alive.contains(&heir.id) {
                let why = format!("{} is not heard: start it, or name another", heir.name);
                let why = refusal(Code::InvalidArgument, why).field("new");
                return Err(Hindrance::Unheard(why));
            }
            can_move(view, alive, old).map_err(Hindrance::Unheard)?;
            (old.id, departs(old.id, Some(heir.id)))
        }
        ClusterChange::Transfer { .. } => {
            let why = "a transfer changes nothing of the cluster's nodes";
            return Err(Hindrance::Refused(refusal(Code::Internal, why.to_owned())));
        }
    })
}

fn departs(node: NodeId, heir: Option<NodeId>) -> Command {
    Command::Depart { node, heir }
}

fn refusal(code: Code, why: String) -> Refusal {
    Refusal::new(code, why)
}

/// The node of this name or id that is not gone.
pub(super) fn named<'a>(view: &'a View, name: &str, field: &str) -> Result<&'a Node, Refusal> {
    if let Some(node) = view.node_named(name) {
        return Ok(node);
    }
    let id = name.parse().ok().map(NodeId);
    let known = id.and_then(|id| view.nodes.get(&id));
    if let Some(node) = known.filter(|node| node.state != NodeState::Gone) {
        return Ok(node);
    }
    let gone = view.nodes.values().any(|node| node.name == name) || known.is_some();
    let why = match gone {
        true => format!("node {name} is gone already: there is nothing to do"),
        false => format!(
            "no node is named {name}: the nodes are {}",
            names(view, view.living().map(|node| node.id))
        ),
    };
    Err(refusal(Code::InvalidArgument, why).field(field))
}

fn name(view: &View, id: NodeId) -> String {
    let node = view.nodes.get(&id);
    node.map_or_else(|| id.to_string(), |node| node.name.clone())
}

fn names(view: &View, ids: impl Iterator<Item = NodeId>) -> String {
    let names: Vec<String> = ids.map(|id| name(view, id)).collect();
    names.join(", ")
}

/// True if more than half of a row's planned replicas are on nodes of `up`.
fn majority(view: &View, row: &ShardRow, up: impl Fn(NodeId) -> bool) -> bool {
    let counts = |id: NodeId| {
        let store = view.nodes.get(&id).map(|node| node.store);
        store == Some(view::StoreState::ReadWrite) && up(id)
    };
    row.replicas.iter().filter(|r| counts(r.node)).count() > row.replicas.len() / 2
}

/// A node that drains will be stopped: every shard must go on without it.
fn can_drain(view: &View, alive: &BTreeSet<NodeId>, node: &Node) -> Result<(), Refusal> {
    if !alive.contains(&node.id) {
        let why = format!(
            "{} is not heard: it does not run, so nothing drains",
            node.name
        );
        return Err(refusal(Code::InvalidArgument, why).field("node"));
    }
    closed(
        view,
        node,
        |id| id != node.id && alive.contains(&id),
        |row| row.on(node.id).is_some(),
    )
}

/// Replicas move only in groups that have a leader.
fn can_move(view: &View, alive: &BTreeSet<NodeId>, node: &Node) -> Result<(), Refusal> {
    closed(
        view,
        node,
        |id| alive.contains(&id),
        |row| row.present().any(|r| r.node == node.id),
    )
}

/// A node that goes at once takes its replicas with it.
fn can_lose(view: &View, alive: &BTreeSet<NodeId>, node: &Node) -> Result<(), Refusal> {
    closed(
        view,
        node,
        |id| id != node.id && alive.contains(&id),
        |row| row.present().any(|r| r.node == node.id),
    )
}

/// Refuses if a shard that `concerns` has no majority on nodes of `up`.
fn closed(
    view: &View,
    node: &Node,
    up: impl Fn(NodeId) -> bool,
    concerns: impl Fn(&ShardRow) -> bool,
) -> Result<(), Refusal> {
    let mut rows = view.shards.iter();
    let Some(row) = rows.find(|row| concerns(row) && !majority(view, row, &up)) else {
        return Ok(());
    };
    let lacking = row.replicas.iter().map(|r| r.node);
    let lacking = lacking.filter(|id| *id != node.id && !up(*id));
    let lacking = names(view, lacking);
    let what = match lacking.is_empty() {
        true => "add a node first".to_owned(),
        false => format!("start {lacking} first"),
    };
    let why = format!(
        "shard {} would have no majority without {}: {what}",
        row.id, node.name
    );
    Err(refusal(Code::NoQuorum, why))
}

/// What the metadata refused, and what to do.
fn refused(view: &View, why: &view::Refusal) -> Refusal {
    if let view::Refusal::TooFewNodes { .. } = why {
        let text = format!(
            "{why}; add a node first (`fanfare serve` with an empty disk and these nodes as seeds), \
             or say --fewer-replicas"
        );
        return refusal(Code::InvalidArgument, text);
    }
    if let view::Refusal::NoMajority { .. } = why {
        let text = format!("{why}; start the nodes that are away, or see `fanfare cluster repair`");
        return refusal(Code::NoQuorum, text);
    }
    if let view::Refusal::BadHeir { node } = why {
        let text = format!(
            "{} cannot take replicas over; name a node that stays and has its data",
            name(view, *node)
        );
        return refusal(Code::InvalidArgument, text);
    }
    refusal(Code::InvalidArgument, why.to_string())
}

#[cfg(test)]
mod tests;
