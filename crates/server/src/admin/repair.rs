//! What an operator asks about a group that lost its majority: what is left of it, and, if the loss is
//! accepted, its new beginning from the best copy. The judgement is the core's.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::receipt::Refusal;
use fanfare_core::repair::{Findings, Verdict, judge};
use fanfare_core::view::{self, Command, Outcome, StoreState, View};
use fanfare_rpc::public::{Repair, RepairWish};

use super::changes::named;
use super::{Admin, propose};

/// Views may change while copies are compared; so often it is done again.
const ATTEMPTS: u32 = 5;
/// A leader notices within an election timeout that it has lost its majority, and its node tells of
/// it within a second; so long a word against it is asked for again.
const NOTICED: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(250);

impl Admin {
    /// Looks at a group, and begins it anew if the wish accepts that and it may be done.
    pub(super) async fn look_and_repair(&self, wish: RepairWish) -> Result<Repair, Refusal> {
        let view = self.handle.newest_view();
        if let Some(shard) = wish.shard.filter(|shard| view.shard(*shard).is_none()) {
            let why = format!("there is no shard {shard}");
            return Err(Refusal::new(Code::InvalidArgument, why).field("shard"));
        }
        let lost = wish
            .lost
            .iter()
            .map(|name| Ok(named(&view, name, "lost")?.id));
        let lost: BTreeSet<NodeId> = lost.collect::<Result<_, Refusal>>()?;
        let findings = self.findings(wish.shard, &lost).await?;
        let Verdict::Ready { node, replica } = findings.verdict else {
            return Ok(Repair {
                findings,
                done: false,
            });
        };
        if !wish.accept_data_loss {
            return Ok(Repair {
                findings,
                done: false,
            });
        }
        match wish.shard {
            // On the node that has the copy, which the findings name.
            None if node != self.handle.identity().node => Ok(Repair {
                findings,
                done: false,
            }),
            None => {
                let repaired = self.handle.repair_meta(lost).await;
                repaired.map_err(|error| {
                    let why = format!("{:#}", anyhow::Error::from(error));
                    Refusal::new(Code::Internal, why)
                })?;
                tracing::warn!(from = %replica, "an operator accepted the loss of metadata");
                Ok(Repair {
                    findings,
                    done: true,
                })
            }
            Some(shard) => self.repair_shard(shard, &lost).await,
        }
    }

    /// What the reachable nodes have of the group, as soon as it is beyond doubt or no longer will be:
    /// right after the loss of a majority its leader does not know of it.
    async fn findings(
        &self,
        shard: Option<ShardId>,
        lost: &BTreeSet<NodeId>,
    ) -> Result<Findings, Refusal> {
        let mut found = self.look(shard, lost).await?;
        let asked = async {
            while found.are_doubtful() {
                tokio::time::sleep(ASK_AGAIN).await;
                found = self.look(shard, lost).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(NOTICED, asked).await {
            Ok(Err(refusal)) => Err(refusal),
            Ok(Ok(())) | Err(_) => Ok(found),
        }
    }

    /// A node that is said to be lost and answers is none.
    async fn look(
        &self,
        shard: Option<ShardId>,
        lost: &BTreeSet<NodeId>,
    ) -> Result<Findings, Refusal> {
        let answers = self.handle.survey().await;
        let view = self.handle.newest_view();
        if let Some(node) = lost.iter().find(|node| answers.contains_key(node)) {
            let name = view.nodes.get(node).map_or("", |row| row.name.as_str());
            let why = format!("node {name} answers: it is not lost");
            return Err(Refusal::new(Code::InvalidArgument, why).field("lost"));
        }
        Ok(judge(&view, shard, &answers, lost))
    }

    async fn repair_shard(
        &self,
        shard: ShardId,
        lost: &BTreeSet<NodeId>,
    ) -> Result<Repair, Refusal> {
        // First, so that none of them comes back into a group that is over.
        for node in self.unrecorded(lost) {
            propose(self.handle.clone(), Command::RecordDataLoss { node }).await?;
        }
        for _ in 0..ATTEMPTS {
            let base = self.handle.view().borrow().version;
            let findings = self.findings(Some(shard), lost).await?;
            let Verdict::Ready { node, replica } = findings.verdict else {
                return Ok(Repair {
                    findings,
                    done: false,
                });
            };
            match self.begin_anew(base, shard, node, replica).await? {
                Outcome::Done { version } | Outcome::Added { version, .. } => {
                    let mut views = self.handle.view();
                    // An error: the node stops, and nobody asks it any more.
                    drop(views.wait_for(|view| view.version >= version).await);
                    tracing::warn!(%shard, %node, from = %replica, "an operator accepted the loss of data");
                    return Ok(Repair {
                        findings,
                        done: true,
                    });
                }
                Outcome::Refused(view::Refusal::StalePlan { .. }) => {}
                Outcome::Refused(why) => {
                    return Err(Refusal::new(Code::InvalidArgument, why.to_string()));
                }
            }
        }
        let why = "the cluster changes too fast to compare copies: say it again";
        Err(Refusal::new(Code::NotReady, why).retry_after(1_000))
    }

    fn unrecorded(&self, lost: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let view = self.handle.view().borrow().clone();
        let counts = |id: &NodeId, view: &View| {
            let row = view.nodes.get(id);
            row.is_some_and(|row| row.store == StoreState::ReadWrite)
        };
        let lost = lost.iter().copied();
        lost.filter(|id| counts(id, &view)).collect()
    }

    async fn begin_anew(
        &self,
        base: u64,
        shard: ShardId,
        node: NodeId,
        from: ReplicaId,
    ) -> Result<Outcome, Refusal> {
        let command = Command::RepairShard {
            base,
            shard,
            node,
            from,
        };
        self.handle.propose(&command).await.map_err(super::failed)
    }
}
