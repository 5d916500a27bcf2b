//! What wakes the supervisor: another view, another role of a replica, time.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::Role;
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
