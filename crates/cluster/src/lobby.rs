//! A node without a marker: has it lost its data, or is it new? Its seeds know. New, it asks to be let
//! into their cluster, or waits until there is one; it initialises nothing by itself.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::{ClusterId, Generation, NodeId};
use fanfare_core::view::{Command, Outcome, StoreState};
use fanfare_rpc::members::{Card, Envelope, JoinError, Known, ProposeError, Stage};

use crate::StartError;
use crate::cluster::Shared;

/// What a round of questions found.
enum Round {
    /// Nobody knows this node, or nobody can say. With the seeds that could let it in.
    New(Vec<String>),
    /// A node of this name is heard.
    Alive(NodeId),
    /// It is known, and its loss is not recorded yet.
    NotRecorded,
}

/// Waits until the node is adopted.
pub(crate) async fn wait(shared: &Arc<Shared>) -> Result<(), StartError> {
    let mut stage = shared.stage.subscribe();
    let mut alive_since: Option<Duration> = None;
    loop {
        let round = async {
            let round = shared.ask_who_i_am().await;
            // Only now it may be taken for a new one.
            shared.stage.send_if_modified(|stage| {
                let first = stage.is_none();
                stage.get_or_insert(Stage::Empty);
                first
            });
            round
        };
        let found = tokio::select! {
            biased;
            () = shared.deps.stop.cancelled() => return Err(StartError::Stopped),
            _ = stage.wait_for(|s| matches!(s, Some(Stage::Member { .. }))) => return Ok(()),
            round = round => round?,
        };
        let now = shared.deps.clock().now();
        match found {
            // A node that was killed a moment ago is heard for a while.
            Round::Alive(node) => {
                let since = *alive_since.get_or_insert(now);
                if now.saturating_sub(since) > 2 * shared.config.times.suspect {
                    let name = shared.config.name.clone();
                    return Err(StartError::NameInUse { name, node });
                }
            }
            Round::New(seeds) => {
                alive_since = None;
                tokio::select! {
                    biased;
                    () = shared.deps.stop.cancelled() => return Err(StartError::Stopped),
                    asked = shared.ask_to_join(&seeds) => asked?,
                }
            }
            Round::NotRecorded => alive_since = None,
        }
        tokio::select! {
            biased;
            () = shared.deps.stop.cancelled() => return Err(StartError::Stopped),
            _ = stage.wait_for(|s| matches!(s, Some(Stage::Member { .. }))) => return Ok(()),
            () = shared.deps.clock().sleep(shared.config.times.round) => {}
        }
    }
}

impl Shared {
    async fn ask_who_i_am(&self) -> Result<Round, StartError> {
        let mut members: Vec<(String, NodeId)> = Vec::new();
        let mut doors: Vec<String> = Vec::new();
        let mut found: Option<(ClusterId, Known)> = None;
        let mut alive = false;
        for answer in self.ask_seeds().await {
            let Ok(card) = answer.card else { continue };
            let Stage::Member {
                cluster,
                node,
                view,
                ..
            } = card.stage
            else {
                continue;
            };
            // Before its first view a cluster is being made, which adopts its seeds by itself.
            if view > 0 {
                doors.push(answer.seed.clone());
            }
            members.push((answer.seed, node));
            // A node that never started has nothing to lose: it is being adopted right now.
            let Some(you) = card.you.filter(|you| you.generation > Generation(0)) else {
                continue;
            };
            alive |= you.alive;
            // The most that any of them knows; a recorded loss is never taken back.
            let worse = found.is_none_or(|(_, known)| {
                (known.store, known.generation) < (you.store, you.generation)
            });
            if worse {
                found = Some((cluster, you));
            }
        }
        let Some((cluster, known)) = found else {
            return Ok(Round::New(doors));
        };
        let lost = StartError::DataLoss {
            name: self.config.name.clone(),
            cluster,
            node: known.node,
        };
        if known.store == StoreState::DataLoss {
            return Err(lost);
        }
        if alive {
            return Ok(Round::Alive(known.node));
        }
        match self.record_loss(cluster, known.node, &members).await {
            true => Err(lost),
            false => {
                tracing::warn!(
                    %cluster, node = %known.node,
                    "this node has lost its data; recording that waits for a metadata leader"
                );
                Ok(Round::NotRecorded)
            }
        }
    }

    /// Asks the seeds in turn to let this node in. The adoption tells of itself; an error is a
    /// refusal for good.
    async fn ask_to_join(&self, seeds: &[String]) -> Result<(), StartError> {
        for seed in seeds {
            let card = Card {
                name: self.config.name.clone(),
                addresses: self.config.addresses.clone(),
                level: self.config.level,
                stage: Stage::Empty,
                you: None,
            };
            match self.dial(seed).join(card).await {
                Ok(node) => {
                    tracing::info!(%node, by = %seed, "joined");
                    return Ok(());
                }
                Err(JoinError::Refused(refusal)) => return Err(StartError::Refused(refusal)),
                Err(JoinError::Closed) => {
                    tracing::warn!(by = %seed, "the cluster lets no node in by itself; waiting");
                }
                Err(why @ (JoinError::Later(_) | JoinError::Call(_))) => {
                    tracing::info!(%why, by = %seed, "not let in yet");
                }
            }
        }
        Ok(())
    }

    /// Has the loss recorded by whoever leads the metadata group.
    async fn record_loss(
        &self,
        cluster: ClusterId,
        me: NodeId,
        members: &[(String, NodeId)],
    ) -> bool {
        let time = self.config.times.call;
        let lost = || Command::RecordDataLoss { node: me };
        let envelope = |to| Envelope {
            cluster,
            to,
            from: me,
            generation: Generation(0),
        };
        for (seed, node) in members {
            let member = self.dial(seed);
            let mut answer = self
                .propose_at(&*member, envelope(*node), lost(), time)
                .await;
            if let Err(ProposeError::NotLeader {
                leader: Some(leader),
            }) = answer
                && let Some(Ok(view)) =
                    crate::ask::within(&**self.deps.clock(), time, member.view(envelope(*node)))
                        .await
                && let Some(row) = view.nodes.get(&leader)
            {
                let leading = self.dial(&row.addresses.peer);
                answer = self
                    .propose_at(&*leading, envelope(leader), lost(), time)
                    .await;
            }
            if matches!(answer, Ok(Outcome::Done { .. })) {
                return true;
            }
        }
        false
    }
}
