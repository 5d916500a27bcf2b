//! What a shard's leader proposes of its own, and what it does as time goes by.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::shard::{Command, Entry, Secret};

use crate::reign::{EPOCHS, Work, millis};
use crate::world::World;

impl World {
    /// What the leader would propose of its own now.
    pub(crate) fn chore_due(&self, shard: ShardId, node: NodeId) -> Option<Command> {
        let replica = &self.groups[&shard].replicas[&node];
        let reign = replica
            .reign
            .as_ref()
            .filter(|reign| reign.chore.is_none())?;
        if !self.truly_leads(shard, node) {
            return None;
        }
        let rows = &replica.rows;
        if !rows.begun() {
            return Some(Command::Begin {
                epoch_counter: 100 + u64::from(shard.0) * 1_000_000,
                secret: Secret([7; 32]),
                level: 1,
            });
        }
        if rows.rules_version() < self.rules.version {
            return Some(Command::SetRules(self.rules.clone()));
        }
        if reign.wants_epochs {
            return Some(Command::ReserveEpochs(EPOCHS));
        }
        if self.now < reign.retention_at {
            return None;
        }
        let running_ms = millis(reign.passed);
        let trim = rows.trim_for(self.share);
        trim.or_else(|| rows.needs_tick(running_ms).then_some(Command::Tick))
    }

    pub(crate) fn chore(&mut self, shard: ShardId, node: NodeId) {
        let Some(command) = self.chore_due(shard, node) else {
            return;
        };
        self.with_reign(shard, node, |world, reign| {
            if matches!(command, Command::Tick | Command::Trim { .. }) {
                reign.retention_at = world.now + Duration::from_secs(1);
            }
            let running_ms = world.running_ms(reign, shard, node);
            reign.chore = world.propose(
                shard,
                node,
                Entry {
                    running_ms,
                    command,
                },
            );
        });
    }

    /// Time has passed for a leader.
    pub(crate) fn tick_reign(&mut self, shard: ShardId, node: NodeId) {
        self.with_reign(shard, node, |world, reign| {
            world.running_ms(reign, shard, node);
            let late = |work: &Work| work.deadline <= world.now;
            let mut over = Vec::new();
            for works in reign.out.values_mut() {
                for slot in works {
                    over.extend(slot.take_if(|work| late(work)));
                }
            }
            let (waiting, open): (Vec<_>, VecDeque<_>) =
                std::mem::take(&mut reign.open).into_iter().fold(
                    (Vec::new(), VecDeque::new()),
                    |(mut out, mut kept), work| {
                        match late(&work) {
                            true => out.push(work),
                            false => kept.push_back(work),
                        }
                        (out, kept)
                    },
                );
            reign.open = open;
            reign.retry = true;
            for work in over {
                world.refuse(shard, node, &work, Code::OutcomeUnknown);
            }
            for work in waiting {
                world.refuse(shard, node, &work, Code::DeadlineExceeded);
            }
        });
    }
}
