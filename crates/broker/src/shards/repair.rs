//! A shard that begins anew after an operator accepted the loss of its majority: its first replica is
//! made here from the copy that was left, and what is of the group before stops.

use std::sync::Arc;

use fanfare_consensus::{
    GroupId, LogPosition, RefoundError, StartError, StateMachine as _, refound,
};
use fanfare_core::id::ShardId;
use fanfare_core::shard::{Command, Entry};
use fanfare_core::view::Repaired;

use super::{Msg, ShardsRef, State};
use crate::directory::Local;
use crate::machine::{Replica, ShardMachine};
use crate::parts::Parts;

/// Makes the first replica of a shard that begins anew, unless it is there already. `shards`: of the
/// cluster.
pub(super) async fn begin_anew(
    parts: &Parts,
    shard: ShardId,
    repaired: Repaired,
    shards: u32,
) -> Result<(), StartError> {
    let group = GroupId::Shard(shard);
    let Repaired { from, to } = repaired;
    let stored = |why: String| StartError::Stored(why);
    let store = parts.groups.store.clone();
    let found = tokio::task::spawn_blocking(move || store.holds(group, to)).await;
    let found = found.map_err(|error| stored(error.to_string()))?;
    if found.map_err(|error| stored(error.to_string()))? {
        return Ok(());
    }
    let machine = ShardMachine::new(Arc::new(Replica::new(shards)), Arc::clone(&parts.blocks));
    // The first thing of the new group: whoever follows the shard is told of the loss.
    let repair = move |machine: &mut ShardMachine, at: LogPosition| {
        let entry = Entry {
            running_ms: 0,
            command: Command::Repair,
        };
        machine.apply(at, Some(&entry));
        Ok(to)
    };
    let entries = Arc::clone(&parts.entries);
    let founded = refound(&parts.groups, group, from, machine, entries, repair).await;
    let founded = founded.map_err(|error| match error {
        RefoundError::Running(replica) => StartError::Running(replica),
        error @ (RefoundError::Nothing(_) | RefoundError::Stored { .. }) => {
            stored(with_source(&error))
        }
    })?;
    tracing::warn!(
        %shard, %from, %to, term = %founded.at.term, index = founded.at.index,
        "a shard begins anew from this copy; what only the others had is lost"
    );
    Ok(())
}

/// An error and its source in one line.
fn with_source(error: &RefoundError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Removes the copy that a shard began anew from: the new replica has all of it.
pub(super) async fn drop_source(parts: &Parts, shard: ShardId, repaired: Repaired) {
    let (store, group) = (parts.groups.store.clone(), GroupId::Shard(shard));
    let from = repaired.from;
    let listed = tokio::task::spawn_blocking(move || store.replicas()).await;
    let there = listed.is_ok_and(|listed| listed.is_ok_and(|all| all.contains(&(group, from))));
    if there && let Err(error) = parts.groups.store.remove(group, from).await {
        tracing::warn!(%shard, replica = %from, %error, "the copy a shard began anew from stays");
    }
}

impl State {
    /// Stops a replica of a group that is over and keeps what it has on the disk: it may have
    /// messages that the operator gave up.
    pub(super) fn set_aside(&mut self, shard: ShardId, local: Local, me: &ShardsRef) {
        drop(self.end_reign(shard));
        self.parts.directory.remove(shard);
        let (id, me) = (local.id, me.clone());
        tracing::warn!(
            %shard, replica = %id,
            "the shard began anew elsewhere: this replica stops, and its files are kept"
        );
        self.parts.groups.tasks.spawn(async move {
            local.group.stop().await;
            // A supervisor that has stopped starts no other.
            me.cast(Msg::Retired(shard, id)).ok();
        });
    }
}
