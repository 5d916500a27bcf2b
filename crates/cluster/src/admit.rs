//! Lets a node in after the bootstrap. Whether it may come in by itself, the configuration says;
//! join tokens are not built.

use std::sync::Arc;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_core::view::{Command, Outcome, Refusal, View};
use fanfare_rpc::members::{Adopt, AdoptError, CallError, Card, JoinError, Stage};

use crate::ask::within;
use crate::cluster::Shared;
use crate::{Admission, ClusterHandle, ProposeFailed};

/// Why a node was not let in. Calling `admit` again is safe in all cases.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("the node at {address} does not answer")]
    Silent { address: String, source: CallError },
    #[error("the node is a member of cluster {cluster}")]
    Taken { cluster: ClusterId },
    #[error("the node was not made known to the metadata group")]
    Propose(#[from] ProposeFailed),
    #[error("the cluster refuses the node")]
    Refused(#[source] Refusal),
    #[error("the node was not adopted")]
    Adopt(#[source] AdoptError),
    /// This node is no member yet, or its cluster is not made.
    #[error("there is no cluster here")]
    NoCluster,
    #[error("this node is stopping")]
    Stopped,
}

impl ClusterHandle {
    /// Makes the empty node at `address` a member and returns its id. It begins as a learner of
    /// the metadata group. Of a member of this cluster it only returns the id.
    pub async fn admit(&self, address: &str) -> Result<NodeId, AdmitError> {
        self.shared().admit(address).await
    }
}

impl Shared {
    /// Lets in the node that asks with `card`, if it is that at the address it says.
    pub(crate) async fn join(&self, card: Card) -> Result<NodeId, JoinError> {
        if self.config.admission == Admission::Closed {
            return Err(JoinError::Closed);
        }
        match self.admit(&card.addresses.peer).await {
            Ok(node) => Ok(node),
            Err(AdmitError::Refused(refusal)) => Err(JoinError::Refused(refusal)),
            Err(error) => Err(JoinError::Later(crate::error::chain(&error))),
        }
    }

    async fn admit(&self, address: &str) -> Result<NodeId, AdmitError> {
        let own = self.member().ok_or(AdmitError::NoCluster)?.cluster;
        if !self.views.borrow().is_bootstrapped() {
            return Err(AdmitError::NoCluster);
        }
        let silent = |source| AdmitError::Silent {
            address: address.to_owned(),
            source,
        };
        let card = self.identify(address).await.map_err(silent)?;
        match card.stage {
            Stage::Member { cluster, node, .. } if cluster == own => return Ok(node),
            Stage::Member { cluster, .. } => return Err(AdmitError::Taken { cluster }),
            Stage::Empty => {}
        }
        let disk = self.disk_for(&card);
        let add = Command::AddNode {
            name: card.name,
            disk,
            level: card.level,
            addresses: card.addresses,
        };
        let (version, node) = match self.propose(&add, self.config.times.propose).await? {
            Outcome::Added { version, node, .. } => (version, node),
            Outcome::Refused(refusal) => return Err(AdmitError::Refused(refusal)),
            Outcome::Done { .. } => return Err(AdmitError::Propose(ProposeFailed::Unknown)),
        };
        let view = self.view_of(version).await?;
        let adopt = Adopt {
            cluster: own,
            node,
            disk,
            view: View::clone(&view),
        };
        let asked = self.dial(address).adopt(adopt);
        let adopted = within(&**self.deps.clock(), self.config.times.call, asked).await;
        let adopted = adopted.unwrap_or(Err(AdoptError::Call(CallError::NoAnswer)));
        adopted.map_err(AdmitError::Adopt)?;
        Ok(node)
    }

    /// The disk of a node that was made known before and never started, or a new one.
    fn disk_for(&self, card: &Card) -> DiskId {
        let view = self.newest_view();
        let begun = view
            .node_named(&card.name)
            .filter(|node| node.generation == Generation(0));
        begun.map_or_else(|| DiskId(self.deps.rng.next_u128()), |node| node.disk)
    }

    async fn view_of(&self, version: u64) -> Result<Arc<View>, AdmitError> {
        let mut views = self.views.subscribe();
        tokio::select! {
            biased;
            () = self.deps.stop.cancelled() => Err(AdmitError::Stopped),
            view = views.wait_for(|view| view.version >= version) => {
                view.map(|view| Arc::clone(&view)).map_err(|_| AdmitError::Stopped)
            }
        }
    }
}
