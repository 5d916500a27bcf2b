//! `fanfare cluster shards`, `drain`, `remove`, `replace`, `transfer`: has a change recorded, and shows
//! how far it is until it is done.

use std::io::IsTerminal as _;
use std::time::Duration;

use fanfare_client::{Admin, AdminError, ClusterChange, Machine, Overview, ShardOverview};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::view::NodeState;
use serde_json::json;

use super::show::{name_of, shards_json, shards_text};
use crate::args::{Drain, Remove, Replace, Shards, Transfer, Wait};
use crate::failure::Failure;
use crate::{output, reach};

/// Between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(500);
/// How long a leadership that was asked for is waited for before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

pub fn shards(args: Shards) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine| {
        let admin = Admin::new(machine, &endpoints);
        let overview = admin.joined().await.map_err(reach::admin(&args.reach))?;
        let node = match &args.node {
            Some(name) => Some(find(&overview, name)?),
            None => None,
        };
        let wanted = |row: &ShardOverview| node.is_none_or(|node| holds(row, node));
        output::line(&match args.json {
            true => shards_json(&overview, wanted).to_string(),
            false => shards_text(&overview, wanted),
        })
    })
}

pub fn drain(args: Drain) -> Result<(), Failure> {
    let name = args.node.clone();
    change(
        args.wait,
        ClusterChange::Drain { node: args.node },
        move |view, node| {
            let led = led(view, node);
            Progress {
                left: led,
                text: format!("{name} leads {led} shards"),
                done: led == 0,
                told: format!("{name} leads nothing and takes no sessions: it can be stopped"),
            }
        },
    )
}

pub fn remove(args: Remove) -> Result<(), Failure> {
    let Remove {
        node,
        fewer_replicas,
        stay,
        wait,
    } = args;
    let name = node.clone();
    let change_to = match (fewer_replicas, stay) {
        (_, true) => ClusterChange::Stay { node },
        (true, false) => ClusterChange::RemoveNow { node },
        (false, false) => ClusterChange::Remove { node },
    };
    change(wait, change_to, move |view, node| match stay {
        true => Progress {
            left: 0,
            text: String::new(),
            done: true,
            told: format!("{name} stays; it serves clients again when it is started again"),
        },
        false => leaving(view, node, &name),
    })
}

pub fn replace(args: Replace) -> Result<(), Failure> {
    let (old, new) = (args.old.clone(), args.new.clone());
    let change_to = ClusterChange::Replace {
        old: args.old,
        new: args.new,
    };
    change(args.wait, change_to, move |view, node| {
        let mut progress = leaving(view, node, &old);
        progress.told = format!("{old} is gone for ever, {new} has taken over");
        progress
    })
}

pub fn transfer(args: Transfer) -> Result<(), Failure> {
    let Transfer { shard, node, wait } = args;
    let endpoints = reach::endpoints(&wait.reach)?;
    let token = wait.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let failed = reach::admin(&wait.reach);
        let began = machine.clock.now();
        let mut asked: Option<Duration> = None;
        loop {
            let now = machine.clock.now();
            if asked.is_none_or(|at| now.saturating_sub(at) >= ASK_AGAIN) {
                match admin.transfer(ShardId(shard), &node).await {
                    // Another one leads by now: it is asked next.
                    Err(AdminError::Refused(told)) if asked.is_some() && is_reroute(&told) => {}
                    other => other.map_err(&failed)?,
                }
                asked = Some(now);
            }
            let view = admin.overview().await.map_err(&failed)?;
            let row = usize::try_from(shard)
                .ok()
                .and_then(|at| view.shards.get(at));
            let leader = row.and_then(|row| row.leader);
            if wait.no_wait || leader == Some(find(&view, &node)?) {
                let text = format!("{node} leads shard {shard}");
                return output::line(&match wait.json {
                    true => json!({ "shard": shard, "leader": leader.map(|id| id.0) }).to_string(),
                    false if wait.no_wait => format!("asked {node} to lead shard {shard}"),
                    false => text,
                });
            }
            if machine.clock.now().saturating_sub(began) >= wait.timeout {
                let now = leader.map_or_else(|| "nobody".to_owned(), |id| name_of(&view, id));
                let why =
                    "does it run, and is it close to the leader? See `fanfare cluster shards`";
                return Err(Failure::No(format!(
                    "{now} leads shard {shard}, not {node}: {why}"
                )));
            }
            machine.clock.sleep(LOOK / 5).await;
        }
    })
}

fn is_reroute(told: &fanfare_client::Told) -> bool {
    told.advice() == fanfare_core::code::Advice::Reroute
}

/// How far a change is.
struct Progress {
    left: usize,
    /// For people, while it is not done.
    text: String,
    done: bool,
    /// For people, once it is done.
    told: String,
}

/// Has a change recorded and shows its progress.
fn change(
    wait: Wait,
    change: ClusterChange,
    progress: impl Fn(&Overview, NodeId) -> Progress,
) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&wait.reach)?;
    let token = wait.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let failed = reach::admin(&wait.reach);
        let began = machine.clock.now();
        let changed = admin.change(&change).await.map_err(&failed)?;
        let Some(changed) = changed else {
            return Ok(());
        };
        let mut last = String::new();
        loop {
            match admin.overview().await {
                // A node that answers may be behind the one that recorded the change.
                Ok(view) if view.version >= changed.version => {
                    let now = progress(&view, changed.node);
                    if now.done || wait.no_wait {
                        return tell_end(&wait, changed.node, &now);
                    }
                    if now.text != last {
                        tell(&wait, changed.node, &now)?;
                        last.clone_from(&now.text);
                    }
                }
                Ok(_) => {}
                // It goes on without this command; a node may be stopping.
                Err(AdminError::Unreachable(_) | AdminError::NoAnswer(_)) => {}
                Err(error @ AdminError::Refused(_)) => return Err(failed(error)),
            }
            if machine.clock.now().saturating_sub(began) >= wait.timeout {
                let text = format!(
                    "not done in time, it goes on: {last}\nLook with `fanfare cluster status`, or ask \
                     again to wait on"
                );
                return Err(Failure::No(text));
            }
            machine.clock.sleep(LOOK).await;
        }
    })
}

fn tell(wait: &Wait, node: NodeId, now: &Progress) -> Result<(), Failure> {
    if wait.json {
        let line = json!({ "node": node.0, "done": false, "left": now.left, "text": now.text });
        return output::line(&line.to_string());
    }
    if std::io::stderr().is_terminal() {
        output::note(&now.text);
    }
    Ok(())
}

fn tell_end(wait: &Wait, node: NodeId, now: &Progress) -> Result<(), Failure> {
    output::line(&match (wait.json, now.done) {
        (true, done) => {
            let text = if done { &now.told } else { &now.text };
            json!({ "node": node.0, "done": done, "left": now.left, "text": text }).to_string()
        }
        (false, true) => now.told.clone(),
        (false, false) => format!("begun: {}", now.text),
    })
}

fn leaving(view: &Overview, node: NodeId, name: &str) -> Progress {
    let left = view.shards.iter().filter(|row| holds(row, node)).count();
    let moving = view.shards.iter().filter(|row| !row.leaving.is_empty());
    let row = view.nodes.iter().find(|row| row.id == node);
    let gone = row.is_none_or(|row| row.state == Some(NodeState::Gone));
    Progress {
        left,
        text: format!(
            "{name} has replicas of {left} shards; {} are moving",
            moving.count()
        ),
        done: gone && left == 0,
        told: format!("{name} is gone for ever"),
    }
}

fn holds(row: &ShardOverview, node: NodeId) -> bool {
    let mut replicas = row.replicas.iter().chain(&row.leaving);
    replicas.any(|replica| replica.node == node)
}

fn led(view: &Overview, node: NodeId) -> usize {
    let leads = |row: &&ShardOverview| row.leader == Some(node) || row.leader.is_none();
    let rows = view.shards.iter().filter(|row| holds(row, node));
    rows.filter(leads).count()
}

/// The node of this name or id.
fn find(view: &Overview, name: &str) -> Result<NodeId, Failure> {
    let there = || {
        view.nodes
            .iter()
            .filter(|node| node.state != Some(NodeState::Gone))
    };
    let named = there().find(|node| node.name == name);
    let id = name.parse().ok().map(NodeId);
    let node = named.or_else(|| there().find(|node| Some(node.id) == id));
    node.map(|node| node.id).ok_or_else(|| {
        let names: Vec<&str> = there().map(|node| node.name.as_str()).collect();
        Failure::Usage(format!(
            "no node is named {name}: the nodes are {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use fanfare_client::ReplicaOverview;
    use fanfare_core::id::ReplicaId;

    use super::*;

    fn row(leader: Option<u64>, on: &[u64], leaving: &[u64]) -> ShardOverview {
        let replica = |node: &u64| ReplicaOverview {
            id: ReplicaId(*node),
            node: NodeId(*node),
            behind: None,
        };
        ShardOverview {
            leader: leader.map(NodeId),
            replicas: on.iter().map(replica).collect(),
            leaving: leaving.iter().map(replica).collect(),
            ..ShardOverview::default()
        }
    }

    #[test]
    fn a_drain_is_done_when_the_node_leads_nothing_that_it_could_lead() {
        let view = |shards| Overview {
            shards,
            ..Overview::default()
        };
        let node = NodeId(1);
        assert_eq!(led(&view(vec![row(Some(1), &[1, 2], &[])]), node), 1);
        let nobody = row(None, &[1, 2], &[]);
        assert_eq!(led(&view(vec![nobody]), node), 1, "it may lead again");
        let others = vec![row(Some(2), &[1, 2], &[]), row(None, &[2, 3], &[])];
        assert_eq!(led(&view(others), node), 0);
    }

    #[test]
    fn a_node_is_gone_when_no_shard_has_it_and_the_view_says_so() {
        let mut view = Overview {
            shards: vec![row(Some(2), &[2, 3], &[1])],
            ..Overview::default()
        };
        assert!(!leaving(&view, NodeId(1), "n1").done);
        view.shards[0].leaving.clear();
        let now = leaving(&view, NodeId(1), "n1");
        assert!(now.done, "{}", now.text);
    }
}
