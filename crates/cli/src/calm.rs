//! Whether a cluster is calm: every node answers, every shard is led, and every replica keeps up.
//! What an operator waits for before the next step.

use std::time::Duration;

use fanfare_client::{Admin, Endpoints, Machine, Overview, ShardOverview};
use fanfare_core::view::NodeState;

use crate::failure::Failure;
use crate::output;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Entries that a replica may be behind: what a busy shard writes in a moment.
const NEAR: u64 = 1_000;
/// Replicas of a shard, if there are nodes enough.
const REPLICAS: usize = 3;

/// Waits for calm, for at most `limit`; says on stderr what it waits for whenever that changes.
pub async fn wait(machine: &Machine, admin: &Admin, limit: Duration) -> Result<Overview, Failure> {
    let end = machine.clock.now() + limit;
    let mut last = String::new();
    loop {
        let why = match admin.joined().await {
            Ok(overview) => match lack(machine, &overview).await {
                None => return Ok(overview),
                Some(why) => why,
            },
            Err(error) => error.to_string(),
        };
        if machine.clock.now() >= end {
            return Err(Failure::No(format!("not calm after {limit:?}: {why}")));
        }
        if why != last {
            output::note(&format!("waiting: {why}"));
            last = why;
        }
        machine.clock.sleep(LOOK).await;
    }
}

async fn lack(machine: &Machine, overview: &Overview) -> Option<String> {
    if let Some(why) = unsettled(overview) {
        return Some(why);
    }
    for node in here(overview) {
        let answers = async {
            let url = format!("http://{}", node.addresses.grpc);
            let endpoints = Endpoints::read(&[], &[url]).ok()?;
            let told = Admin::new(machine.clone(), &endpoints);
            told.overview().await.ok()
        };
        let answers = tokio::select! { biased;
            told = answers => told,
            () = machine.clock.sleep(LOOK * 4) => None,
        };
        match answers {
            None => return Some(format!("{} does not answer", node.name)),
            Some(told) if told.version < overview.version => {
                return Some(format!("{} has not heard the newest view", node.name));
            }
            Some(_) => {}
        }
    }
    None
}

fn here(overview: &Overview) -> impl Iterator<Item = &fanfare_client::NodeOverview> {
    let nodes = overview.nodes.iter();
    nodes.filter(|node| node.state != Some(NodeState::Gone))
}

/// The first shard that is not as it will be when all is done.
fn unsettled(overview: &Overview) -> Option<String> {
    let wanted = REPLICAS.min(here(overview).count());
    let shards = overview.shards.iter().enumerate();
    shards
        .map(|(id, shard)| shard_lacks(overview, id, shard, wanted))
        .find_map(|why| why)
}

fn shard_lacks(
    overview: &Overview,
    id: usize,
    shard: &ShardOverview,
    wanted: usize,
) -> Option<String> {
    let name = |node| crate::cluster::name_of(overview, node);
    let Some(leader) = shard.leader else {
        return Some(format!("shard {id} has no leader"));
    };
    let has = shard.replicas.len();
    if has != wanted {
        return Some(format!("shard {id} has {has} of {wanted} replicas"));
    }
    if let Some(replica) = shard.leaving.first() {
        let on = name(replica.node);
        return Some(format!("shard {id} still moves away from {on}"));
    }
    for replica in &shard.replicas {
        let on = name(replica.node);
        if !here(overview).any(|node| node.id == replica.node) {
            return Some(format!("shard {id} still has a replica on {on}"));
        }
        match replica.behind {
            Some(behind) if behind > NEAR => {
                return Some(format!("shard {id} on {on} is {behind} entries behind"));
            }
            None if replica.node != leader => {
                return Some(format!("shard {id} is not heard of on {on}"));
            }
            Some(_) | None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use fanfare_client::{NodeOverview, ReplicaOverview};
    use fanfare_core::id::{Generation, NodeId, ReplicaId, Term};
    use fanfare_core::view::{Addresses, StoreState};

    use super::*;

    fn overview(leader: Option<u64>, behind: [Option<u64>; 3]) -> Overview {
        let node = |id| NodeOverview {
            id: NodeId(id),
            name: format!("n{id}"),
            generation: Generation(1),
            state: Some(NodeState::Active),
            addresses: Addresses::default(),
            store: Some(StoreState::ReadWrite),
            departing: false,
            heir: None,
            alive: true,
            meta_voter: true,
            full: false,
        };
        let replica = |(node, behind)| ReplicaOverview {
            id: ReplicaId(node),
            node: NodeId(node),
            behind,
        };
        Overview {
            version: 1,
            nodes: [1, 2, 3].map(node).to_vec(),
            shards: vec![ShardOverview {
                leader: leader.map(NodeId),
                term: Term(1),
                replicas: (1..).zip(behind).map(replica).collect(),
                leaving: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_shard_that_is_led_and_near_is_settled() {
        assert_eq!(
            unsettled(&overview(Some(1), [None, Some(0), Some(9)])),
            None
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = |overview| unsettled(&overview).unwrap_or_default();
        assert_eq!(why(overview(None, [None; 3])), "shard 0 has no leader");
        let far = overview(Some(1), [None, Some(5_000), Some(0)]);
        assert_eq!(why(far), "shard 0 on n2 is 5000 entries behind");
        let silent = overview(Some(1), [Some(0), Some(0), None]);
        assert_eq!(why(silent), "shard 0 is not heard of on n3");
        let mut left = overview(Some(1), [None, Some(0), Some(0)]);
        left.nodes[2].state = Some(NodeState::Gone);
        assert_eq!(why(left), "shard 0 has 3 of 2 replicas");
    }
}
