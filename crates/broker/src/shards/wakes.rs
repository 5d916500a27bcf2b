//! What wakes the supervisor: another view, another role of a replica, time.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{GroupId, Role};
use fanfare_core::id::ShardId;
use tokio::sync::watch;

use super::{Msg, ShardsRef};
use crate::parts::Parts;

/// Time between two ticks of each led shard.
const TICK: Duration = Duration::from_millis(250);

pub(super) fn follow_role(
    parts: &Arc<Parts>,
    shard: ShardId,
    mut role: watch::Receiver<Role>,
    me: &ShardsRef,
) {
    let (me, stop) = (me.clone(), parts.stop.clone());
    parts.groups.tasks.spawn(async move {
        role.mark_changed();
        loop {
            let changed = tokio::select! { biased;
                () = stop.cancelled() => return,
                changed = role.changed() => changed,
            };
            role.mark_unchanged();
            if me.cast(Msg::Role(shard)).is_err() || changed.is_err() {
                return;
            }
        }
    });
}

pub(super) fn follow_view(parts: &Arc<Parts>, me: &ShardsRef) {
    let (mut view, stop, me) = (parts.view.clone(), parts.stop.clone(), me.clone());
    parts.groups.tasks.spawn(async move {
        loop {
            let changed = tokio::select! { biased;
                () = stop.cancelled() => return,
                changed = view.changed() => changed,
            };
            if changed.is_err() || me.cast(Msg::View).is_err() {
                return;
            }
        }
    });
}

/// Looks once what is on the disk: a removal that a crash cut short is taken up again.
pub(super) fn find_stored(parts: &Arc<Parts>, me: &ShardsRef) {
    let (store, me) = (parts.groups.store.clone(), me.clone());
    parts
        .groups
        .tasks
        .spawn_blocking(move || match store.replicas() {
            Ok(found) => {
                let shards = found.into_iter().filter_map(|(group, id)| match group {
                    GroupId::Shard(shard) => Some((shard, id)),
                    GroupId::Meta => None,
                });
                // A supervisor that has stopped removes nothing.
                me.cast(Msg::Stored(shards.collect())).ok();
            }
            Err(error) => tracing::error!(%error, "the stored replicas cannot be listed"),
        });
}

pub(super) fn tick(parts: &Arc<Parts>, me: &ShardsRef) {
    let (clock, stop, me) = (
        Arc::clone(&parts.groups.clock),
        parts.stop.clone(),
        me.clone(),
    );
    parts.groups.tasks.spawn(async move {
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = clock.sleep(TICK) => {}
            }
            if me.cast(Msg::Tick).is_err() {
                return;
            }
        }
    });
}
