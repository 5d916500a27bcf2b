//! Lets a node in after the bootstrap. Whether it may come in, its join token says, which is not
//! looked at here.

use std::sync::Arc;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_core::view::{Command, Outcome, Refusal, View};
use fanfare_rpc::members::{Adopt, AdoptError, CallError, Card, Stage};

use crate::ask::within;
use crate::{ClusterHandle, ProposeFailed};

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
    #[error("this node is stopping")]
    Stopped,
}

impl ClusterHandle {
    /// Makes the empty node at `address` a member and returns its id. It begins as a learner of
    /// the metadata group. Of a member of this cluster it only returns the id.
    pub async fn admit(&self, address: &str) -> Result<NodeId, AdmitError> {
        let shared = self.shared();
        let silent = |source| AdmitError::Silent {
            address: address.to_owned(),
            source,
        };
        let card = shared.identify(address).await.map_err(silent)?;
        let own = self.identity().cluster;
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
        let (version, node) = match self.propose(&add).await? {
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
        let asked = shared.dial(address).adopt(adopt);
        let adopted = within(&**shared.deps.clock(), shared.config.times.call, asked).await;
        let adopted = adopted.unwrap_or(Err(AdoptError::Call(CallError::NoAnswer)));
        adopted.map_err(AdmitError::Adopt)?;
        Ok(node)
    }

    /// The disk of a node that was made known before and never started, or a new one.
    fn disk_for(&self, card: &Card) -> DiskId {
        let view = self.shared().newest_view();
        let begun = view
            .node_named(&card.name)
            .filter(|node| node.generation == Generation(0));
        begun.map_or_else(
            || DiskId(self.shared().deps.rng.next_u128()),
            |node| node.disk,
        )
    }

    async fn view_of(&self, version: u64) -> Result<Arc<View>, AdmitError> {
        let shared = self.shared();
        let mut views = self.view();
        tokio::select! {
            biased;
            () = shared.deps.stop.cancelled() => Err(AdmitError::Stopped),
            view = views.wait_for(|view| view.version >= version) => {
                view.map(|view| Arc::clone(&view)).map_err(|_| AdmitError::Stopped)
            }
        }
    }
}
