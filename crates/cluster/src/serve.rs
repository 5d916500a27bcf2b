//! The answers to other nodes' calls.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{Identity, ProposeError as GroupError};
use fanfare_core::id::{Generation, NodeId, ReplicaId};
use fanfare_core::repair::Copy;
use fanfare_core::view::{Command, Outcome, Refusal, View};
use fanfare_rpc::members::{
    Adopt, AdoptError, Beat, CallError, Card, Envelope, JoinError, Known, Members, ProposeError,
    Stage,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::Cluster;
use crate::cluster::Shared;
use crate::error::chain;
use crate::hint::Hint;

impl Members for Cluster {
    fn identify(&self, name: String) -> BoxFuture<'static, Result<Card, CallError>> {
        let card = self.shared.card(&name);
        async move { card.ok_or_else(|| CallError::Unreachable("the node starts".to_owned())) }
            .boxed()
    }

    fn adopt(&self, adopt: Adopt) -> BoxFuture<'static, Result<(), AdoptError>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.adopt(adopt).await }.boxed()
    }

    fn join(&self, card: Card) -> BoxFuture<'static, Result<NodeId, JoinError>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.join(card).await }.boxed()
    }

    fn propose(
        &self,
        envelope: Envelope,
        command: Command,
        within: Duration,
    ) -> BoxFuture<'static, Result<Outcome, ProposeError>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let own_loss = command
                == Command::RecordDataLoss {
                    node: envelope.from,
                };
            let known = shared.check(&envelope, own_loss);
            known.map_err(|_| ProposeError::NotForMe)?;
            shared.propose_here(command, within).await
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        envelope: Envelope,
        beat: Beat,
    ) -> BoxFuture<'static, Result<Beat, CallError>> {
        let answer = self.shared.check(&envelope, false).map(|()| {
            self.shared.hear(envelope.from, Some(beat));
            Beat {
                replicas: Vec::new(),
                ..self.shared.own_beat()
            }
        });
        async move { answer }.boxed()
    }

    fn copies(&self, envelope: Envelope) -> BoxFuture<'static, Result<Vec<Copy>, CallError>> {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.check(&envelope, false)?;
            shared.copies().await
        }
        .boxed()
    }

    fn view(&self, envelope: Envelope) -> BoxFuture<'static, Result<Arc<View>, CallError>> {
        let view = self.shared.check(&envelope, true);
        let view = view.map(|()| Arc::clone(&self.shared.views.borrow()));
        async move { view }.boxed()
    }
}

impl Shared {
    /// R1. `lost`: whether a node that has lost its data may call.
    fn check(&self, envelope: &Envelope, lost: bool) -> Result<(), CallError> {
        let me = self.member();
        let mine = me.is_some_and(|me| me.cluster == envelope.cluster && me.node == envelope.to);
        if !mine {
            let (cluster, node) = (me.map(|me| me.cluster), me.map(|me| me.node));
            return Err(CallError::NotForMe { cluster, node });
        }
        let view = self.newest_view();
        let recorded = view
            .nodes
            .get(&envelope.from)
            .map_or(Generation(0), |node| node.generation);
        match envelope.generation {
            Generation(0) if lost => Ok(()),
            sent if sent < recorded => Err(CallError::OldGeneration { known: recorded }),
            _ => Ok(()),
        }
    }

    fn card(&self, name: &str) -> Option<Card> {
        let view = self.newest_view();
        let stage = match (*self.stage.borrow())? {
            Stage::Member {
                cluster,
                node,
                generation,
                ..
            } => {
                let view = self.views.borrow().version;
                Stage::Member {
                    cluster,
                    node,
                    generation,
                    view,
                }
            }
            Stage::Empty => Stage::Empty,
        };
        let me = self.member().map(|me| me.node);
        let now = self.deps.clock().now();
        let you = view.node_named(name).map(|node| Known {
            node: node.id,
            generation: node.generation,
            disk: node.disk,
            store: node.store,
            state: node.state,
            alive: Some(node.id) == me || self.detector().is_alive(node.id, now),
        });
        Some(Card {
            name: self.config.name.clone(),
            addresses: self.config.addresses.clone(),
            level: self.config.level,
            stage,
            you,
        })
    }

    /// Becomes a member: the hint first, since the marker is what makes it true.
    pub(crate) async fn adopt(&self, adopt: Adopt) -> Result<(), AdoptError> {
        let _one = self.adoption.lock().await;
        let stage = *self.stage.borrow();
        match stage {
            None => {
                return Err(AdoptError::Call(CallError::Unreachable(
                    "the node starts".to_owned(),
                )));
            }
            Some(Stage::Member { cluster, node, .. }) => {
                let same = cluster == adopt.cluster && node == adopt.node;
                return if same {
                    Ok(())
                } else {
                    Err(AdoptError::Member { cluster, node })
                };
            }
            Some(Stage::Empty) => {}
        }
        let row = adopt.view.nodes.get(&adopt.node);
        let known = row.is_some_and(|row| {
            row.name == self.config.name
                && row.disk == adopt.disk
                && adopt.view.cluster == adopt.cluster
        });
        if !known || adopt.view.meta_on(adopt.node).is_none() {
            return Err(AdoptError::NotInView);
        }
        let dir = self.deps.dir.clone();
        let made = self.disk(move |disk| {
            disk.create_dir_all(&dir)
                .map_err(|source| crate::HintError::Disk { path: dir, source })
        });
        made.await
            .map_err(|error| AdoptError::Disk(chain(&error)))?;
        let hint = Hint {
            begun: false,
            view: adopt.view,
        };
        self.write_hint(hint)
            .await
            .map_err(|error| AdoptError::Disk(chain(&error)))?;
        let dir = self.deps.dir.clone();
        let (cluster, node, id) = (adopt.cluster, adopt.node, adopt.disk);
        let marker = self
            .disk(move |disk| Identity::create(disk, &dir, cluster, node, id))
            .await;
        let marker = marker.map_err(|error| AdoptError::Disk(chain(&error)))?;
        tracing::info!(%cluster, %node, "adopted");
        self.stage.send_replace(Some(Stage::Member {
            cluster,
            node,
            generation: marker.generation,
            view: 0,
        }));
        Ok(())
    }

    /// Proposes if this node leads the metadata group.
    pub(crate) async fn propose_here(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Outcome, ProposeError> {
        let Some(group) = self.group() else {
            return Err(ProposeError::NotLeader { leader: None });
        };
        let role = group.role().borrow().clone();
        if !role.leads {
            return Err(ProposeError::NotLeader {
                leader: self.leader_node(role.leader),
            });
        }
        // In the log it would stop those that cannot read it. The level only rises.
        let (needs, level) = (command.level(), self.views.borrow().level);
        if needs > level.max(1) {
            return Ok(Outcome::Refused(Refusal::LevelBelow { needs, level }));
        }
        match group.propose(role.term, command, within).await {
            Ok((_, outcome)) => Ok(outcome),
            Err(GroupError::NotLeader { leader }) => Err(ProposeError::NotLeader {
                leader: self.leader_node(leader),
            }),
            Err(GroupError::Stopped) => Err(ProposeError::NotLeader { leader: None }),
            Err(GroupError::NoQuorum) => Err(ProposeError::NoQuorum),
            Err(GroupError::Unknown) => Err(ProposeError::Unknown),
        }
    }

    /// The node of the replica that leads.
    pub(crate) fn leader_node(&self, leader: Option<ReplicaId>) -> Option<NodeId> {
        self.deps.routes.replica(leader?).map(|target| target.node)
    }
}
