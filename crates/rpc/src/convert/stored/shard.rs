//! Entries of a shard's log.

use fanfare_core::position::{Epoch, Offset};
use fanfare_core::shard::{Batch, Command, Entry, Secret};

use crate::convert::content::{self, Metas};
use crate::convert::{Malformed, required, topic};
use crate::pb::stored as pb;
use crate::pb::stored::shard_entry as pbe;

impl From<&Entry> for pb::ShardEntry {
    fn from(
        Entry {
            running_ms,
            command,
        }: &Entry,
    ) -> Self {
        let command = match command {
            Command::Begin {
                epoch_counter,
                secret,
                level,
            } => pbe::Command::Begin(pbe::Begin {
                epoch_counter: *epoch_counter,
                secret: secret.0.to_vec().into(),
                level: *level,
            }),
            Command::Place(Batch { wall_ms, drafts }) => pbe::Command::Place(pbe::Place {
                wall_ms: *wall_ms,
                drafts: drafts.iter().map(content::draft_to_pb).collect(),
            }),
            Command::Create { topic, own } => pbe::Command::Create(pbe::Create {
                topic: topic.as_str().to_owned(),
                own: Some(own.into()),
            }),
            Command::Delete { topic, epoch } => pbe::Command::Delete(pbe::Delete {
                topic: topic.as_str().to_owned(),
                epoch: epoch.map(|Epoch(epoch)| epoch),
            }),
            Command::SetRules(table) => pbe::Command::SetRules(table.into()),
            Command::SetLevel(level) => pbe::Command::SetLevel(*level),
            Command::Trim {
                topic,
                epoch,
                through,
            } => pbe::Command::Trim(pbe::Trim {
                topic: topic.as_str().to_owned(),
                epoch: epoch.0,
                through: through.0,
            }),
            Command::ReserveEpochs(count) => pbe::Command::ReserveEpochs(*count),
            Command::Tick => pbe::Command::Tick(pbe::Tick {}),
            Command::Repair => pbe::Command::Repair(pbe::Repair {}),
        };
        Self {
            running_ms: *running_ms,
            command: Some(command),
        }
    }
}

impl TryFrom<pb::ShardEntry> for Entry {
    type Error = Malformed;

    fn try_from(
        pb::ShardEntry {
            running_ms,
            command,
        }: pb::ShardEntry,
    ) -> Result<Self, Malformed> {
        // A command of a level above this binary's reads as none.
        let command = match command.ok_or(Malformed::newer("command"))? {
            pbe::Command::Begin(pbe::Begin {
                epoch_counter,
                secret: raw,
                level,
            }) => Command::Begin {
                epoch_counter,
                secret: secret(&raw)?,
                level: known(level)?,
            },
            pbe::Command::Place(pbe::Place { wall_ms, drafts }) => {
                let mut metas = Metas::default();
                let drafts = drafts
                    .into_iter()
                    .enumerate()
                    .map(|(at, draft)| {
                        content::draft(draft, &mut metas).map_err(|bad| bad.at("drafts", at))
                    })
                    .collect::<Result<_, _>>()?;
                Command::Place(Batch { wall_ms, drafts })
            }
            pbe::Command::Create(pbe::Create { topic: name, own }) => Command::Create {
                topic: topic(&name, "create.topic")?,
                own: required(own, "create.own")?.try_into()?,
            },
            pbe::Command::Delete(pbe::Delete { topic: name, epoch }) => Command::Delete {
                topic: topic(&name, "delete.topic")?,
                epoch: epoch.map(Epoch),
            },
            pbe::Command::SetRules(table) => Command::SetRules(table.try_into()?),
            pbe::Command::SetLevel(level) => Command::SetLevel(known(level)?),
            pbe::Command::Trim(pbe::Trim {
                topic: name,
                epoch,
                through,
            }) => Command::Trim {
                topic: topic(&name, "trim.topic")?,
                epoch: Epoch(epoch),
                through: Offset(through),
            },
            pbe::Command::ReserveEpochs(count) => Command::ReserveEpochs(count),
            pbe::Command::Tick(pbe::Tick {}) => Command::Tick,
            pbe::Command::Repair(pbe::Repair {}) => Command::Repair,
        };
        Ok(Self {
            running_ms,
            command,
        })
    }
}

/// A feature level that apply can branch on; a higher one stops the replica.
pub(super) fn known(level: u32) -> Result<u32, Malformed> {
    match level <= fanfare_core::level::KNOWN {
        true => Ok(level),
        false => Err(Malformed::newer("level")),
    }
}

/// The 32 bytes of a secret.
pub(super) fn secret(raw: &[u8]) -> Result<Secret, Malformed> {
    raw.try_into()
        .map(Secret)
        .map_err(|_| Malformed::new("secret", "must have 32 bytes"))
}
