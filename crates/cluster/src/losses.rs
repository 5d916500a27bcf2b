//! Replicas of shards whose data on this node is lost: the metadata is told, until each has a
//! successor under a fresh id. And data that no view knows, which is put aside (R9).

use std::sync::Arc;

use fanfare_consensus::{GroupId, Identity};
use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_core::view::{Command, Outcome, View};

use crate::cluster::{Registration, Shared};

/// Tells of losses, in rounds, until it is cancelled.
pub(crate) async fn report(shared: Arc<Shared>, me: Identity) {
    let mut registration = shared.registration.subscribe();
    let known = registration.wait_for(|known| *known == Registration::Done);
    if known.await.is_err() {
        return;
    }
    // From here on the view holds this start: what it does not know was not given to this node.
    shared.put_aside_strangers(me).await;
    let mut told: Option<String> = None;
    loop {
        let view = Arc::clone(&shared.views.borrow());
        let placed = |replica: ReplicaId| {
            let mut rows = view.shards.iter();
            rows.any(|row| row.begun && row.on(me.node) == Some(replica))
        };
        let lost = shared.deps.groups.store.lost().into_iter();
        let lost: Vec<ReplicaId> = lost
            .filter(|(group, _)| *group != GroupId::Meta)
            .map(|(_, replica)| replica)
            .filter(|replica| placed(*replica))
            .collect();
        if !lost.is_empty() {
            let command = Command::ReplicasLost {
                node: me.node,
                replicas: lost.clone(),
            };
            let time = shared.config.times.propose;
            let refused = match shared.propose(&command, time).await {
                Ok(Outcome::Done { .. } | Outcome::Added { .. }) => {
                    tracing::warn!(replicas = ?lost, "lost replicas are made anew under fresh ids");
                    None
                }
                Ok(Outcome::Refused(refusal)) => Some(refusal.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if refused.is_some() && refused != told {
                tracing::warn!(replicas = ?lost, why = refused, "losses are not recorded yet");
            }
            told = refused;
        }
        shared.deps.clock().sleep(shared.config.times.round).await;
    }
}

/// True if the view has the replica, or had it once: its id was given.
fn is_known(view: &View, group: GroupId, replica: ReplicaId) -> bool {
    match group {
        GroupId::Meta => view.meta.iter().any(|row| row.id == replica),
        GroupId::Shard(ShardId(shard)) => {
            replica.0 < view.next_replica && view.shard(ShardId(shard)).is_some()
        }
    }
}

impl Shared {
    async fn put_aside_strangers(&self, me: Identity) {
        let view = Arc::clone(&self.views.borrow());
        let stored = match self.stored_replicas().await {
            Ok(stored) => stored,
            Err(error) => return tracing::warn!(%error, "stored replicas cannot be listed"),
        };
        let door = &self.deps.groups.door;
        let strangers = stored.into_iter().filter(|(group, replica)| {
            !is_known(&view, *group, *replica) && !door.is_here(*group, *replica)
        });
        for (group, replica) in strangers {
            let store = self.deps.groups.store.clone();
            let moved = self.disk(move |_| {
                let moved = store.put_aside(group, replica);
                moved.map_err(|source| crate::HintError::Disk {
                    path: format!("{group:?}-{replica}").into(),
                    source,
                })
            });
            match moved.await {
                Ok(path) => tracing::warn!(
                    node = %me.node, ?group, %replica, path = %path.display(),
                    "no view knows this replica: its files are put aside"
                ),
                Err(error) => tracing::warn!(?group, %replica, %error, "not put aside"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fanfare_core::id::{ClusterId, DiskId, NodeId};
    use fanfare_core::placement;
    use fanfare_core::view::{Addresses, Bootstrap, NewNode, Replica};

    use super::*;

    fn view() -> View {
        let node = NodeId(1);
        let mut view = View::empty();
        let addresses = Addresses {
            peer: "n1:1".to_owned(),
            ..Addresses::default()
        };
        let made = view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(1),
            level: 1,
            payload_limit: 1,
            nodes: vec![NewNode {
                id: node,
                name: "n1".to_owned(),
                disk: DiskId(1),
                level: 1,
                addresses,
            }],
            meta: vec![Replica {
                id: ReplicaId(1),
                node,
            }],
            shards: placement::first(&BTreeSet::from([node]), 1),
        }));
        assert!(matches!(made, Outcome::Done { .. }), "{made:?}");
        view
    }

    #[test]
    fn a_replica_whose_id_was_never_given_or_of_no_shard_is_not_known() {
        let mut view = view();
        view.next_replica = 10;
        let shard = |id| GroupId::Shard(ShardId(id));
        assert!(is_known(&view, shard(0), ReplicaId(9)), "it has left");
        assert!(!is_known(&view, shard(0), ReplicaId(10)));
        assert!(!is_known(&view, shard(1), ReplicaId(9)));
        assert!(is_known(&view, GroupId::Meta, ReplicaId(1)));
        assert!(!is_known(&view, GroupId::Meta, ReplicaId(2)));
    }
}
