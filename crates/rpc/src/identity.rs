//! Who calls whom (R1): every call between nodes carries the sender's and the receiver's identity;
//! the receiver refuses what is not for it and tells its own.

use std::sync::Arc;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_core::view::{NodeState, View};
use prost::Message as _;
use tokio::sync::watch;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use crate::convert::{id_bytes, id128};
use crate::pb::peer as pb;

/// Versions of the protocol between nodes that this binary speaks.
pub const PROTOCOL: std::ops::RangeInclusive<u32> = 1..=1;

/// Metadata of a call: `Header`.
const HEADER: &str = "fanfare-peer-bin";
/// Metadata of a refusal: `Misdirected`.
const REFUSED: &str = "fanfare-refused-bin";

/// A node's identity, from its marker; its generation is of this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub generation: Generation,
    pub disk: DiskId,
}

/// What this node knows of itself and of the others, now.
#[derive(Clone, Debug)]
pub struct Local {
    /// `None` until the node is a member of a cluster.
    pub identity: watch::Receiver<Option<Identity>>,
    pub view: watch::Receiver<Arc<View>>,
}

/// Why a node refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The receiver is no member of a cluster yet.
    NoIdentity,
    /// The call does not say who it is for and from.
    BadHeader,
    OtherCluster,
    OtherNode,
    /// The receiver has started again since, or not so often.
    OtherGeneration,
    /// The receiver's view has no such node, or another disk for it.
    SenderUnknown,
    /// The receiver knows a later start of the sender.
    SenderOld,
    /// No version of the protocol is common.
    Protocol,
}

/// A call that was refused before it was looked at: it did nothing. Says who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused ({reason:?}) by node {node}, generation {generation}, of cluster {cluster}")]
pub struct Misdirected {
    pub reason: Reason,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub generation: Generation,
    /// Version of the receiver's view.
    pub view: u64,
}

/// How strictly generations are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The caller must name this very start of this node.
    Exact,
    /// Calls between replicas: either side may have started again without the other knowing, else
    /// a cold start of all nodes would deadlock. The disk must be the known one.
    Raft,
}

impl Local {
    /// The metadata of a call to `to`; `None` while this node has no identity.
    pub(crate) fn header(&self, to: NodeId, generation: Generation) -> Option<BinaryMetadataValue> {
        let Identity {
            cluster,
            node,
            generation: own,
            disk,
        } = (*self.identity.borrow())?;
        let header = pb::Header {
            cluster: id_bytes(cluster.0),
            to: to.0,
            to_generation: generation.0,
            from: node.0,
            from_generation: own.0,
            disk: id_bytes(disk.0),
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            view: self.view.borrow().version,
        };
        Some(BinaryMetadataValue::from_bytes(&header.encode_to_vec()))
    }

    /// The sender of a call, if the call is for this node. Boxed: a status is large and rare.
    pub(crate) fn check(
        &self,
        metadata: &MetadataMap,
        check: Check,
    ) -> Result<NodeId, Box<tonic::Status>> {
        let identity = *self.identity.borrow();
        let view = self.view.borrow().clone();
        judge(metadata, identity, &view, check).map_err(|reason| {
            let own = identity.unwrap_or(Identity {
                cluster: ClusterId(0),
                node: NodeId(0),
                generation: Generation(0),
                disk: DiskId(0),
            });
            let refused = Misdirected {
                reason,
                cluster: own.cluster,
                node: own.node,
                generation: own.generation,
                view: view.version,
            };
            Box::new(refused.status())
        })
    }
}

fn judge(
    metadata: &MetadataMap,
    identity: Option<Identity>,
    view: &View,
    check: Check,
) -> Result<NodeId, Reason> {
    let own = identity.ok_or(Reason::NoIdentity)?;
    let raw = metadata.get_bin(HEADER).ok_or(Reason::BadHeader)?;
    let bytes = raw.to_bytes().map_err(|_| Reason::BadHeader)?;
    let header = pb::Header::decode(bytes).map_err(|_| Reason::BadHeader)?;
    let pb::Header {
        cluster,
        to,
        to_generation,
        from,
        from_generation,
        disk,
        protocol_min,
        protocol_max,
        view: _,
    } = header;
    let id = |raw: &[u8]| id128(raw, "header").map_err(|_| Reason::BadHeader);
    if id(&cluster)? != own.cluster.0 {
        return Err(Reason::OtherCluster);
    }
    if to != own.node.0 {
        return Err(Reason::OtherNode);
    }
    if protocol_max < *PROTOCOL.start() || protocol_min > *PROTOCOL.end() {
        return Err(Reason::Protocol);
    }
    let for_this_start = match check {
        Check::Exact => to_generation == own.generation.0,
        Check::Raft => to_generation <= own.generation.0,
    };
    if !for_this_start {
        return Err(Reason::OtherGeneration);
    }
    let from = NodeId(from);
    // A node that was given its id after this view may bring the newer one; nobody else will, if it
    // leads. Ids are never given again, so an old view has judged all below.
    let later = matches!(check, Check::Raft) && from.0 >= view.next_node;
    if view.is_bootstrapped() && !later {
        let known = view
            .nodes
            .get(&from)
            .filter(|node| node.state != NodeState::Gone);
        let known = known.ok_or(Reason::SenderUnknown)?;
        if id(&disk)? != known.disk.0 {
            return Err(Reason::SenderUnknown);
        }
        if from_generation < known.generation.0 {
            return Err(Reason::SenderOld);
        }
    }
    Ok(from)
}

/// Adds the header to a call.
pub(crate) fn put_header(metadata: &mut MetadataMap, header: BinaryMetadataValue) {
    metadata.insert_bin(HEADER, header);
}

impl Misdirected {
    fn status(&self) -> tonic::Status {
        let Self {
            reason,
            cluster,
            node,
            generation,
            view,
        } = *self;
        let reason = match reason {
            Reason::NoIdentity => pb::misdirected::Reason::NoIdentity,
            Reason::BadHeader => pb::misdirected::Reason::BadHeader,
            Reason::OtherCluster => pb::misdirected::Reason::Cluster,
            Reason::OtherNode => pb::misdirected::Reason::Node,
            Reason::OtherGeneration => pb::misdirected::Reason::Generation,
            Reason::SenderUnknown => pb::misdirected::Reason::SenderUnknown,
            Reason::SenderOld => pb::misdirected::Reason::SenderOld,
            Reason::Protocol => pb::misdirected::Reason::Protocol,
        };
        let message = pb::Misdirected {
            reason: reason.into(),
            cluster: id_bytes(cluster.0),
            node: node.0,
            generation: generation.0,
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            view,
        };
        let mut status = tonic::Status::failed_precondition(self.to_string());
        let value = BinaryMetadataValue::from_bytes(&message.encode_to_vec());
        status.metadata_mut().insert_bin(REFUSED, value);
        status
    }

    /// The refusal that a status carries, if it is one.
    pub(crate) fn of(status: &tonic::Status) -> Option<Self> {
        let raw = status.metadata().get_bin(REFUSED)?.to_bytes().ok()?;
        let pb::Misdirected {
            reason,
            cluster,
            node,
            generation,
            protocol_min: _,
            protocol_max: _,
            view,
        } = pb::Misdirected::decode(raw).ok()?;
        let reason = match pb::misdirected::Reason::try_from(reason).ok()? {
            pb::misdirected::Reason::Unspecified | pb::misdirected::Reason::BadHeader => {
                Reason::BadHeader
            }
            pb::misdirected::Reason::NoIdentity => Reason::NoIdentity,
            pb::misdirected::Reason::Cluster => Reason::OtherCluster,
            pb::misdirected::Reason::Node => Reason::OtherNode,
            pb::misdirected::Reason::Generation => Reason::OtherGeneration,
            pb::misdirected::Reason::SenderUnknown => Reason::SenderUnknown,
            pb::misdirected::Reason::SenderOld => Reason::SenderOld,
            pb::misdirected::Reason::Protocol => Reason::Protocol,
        };
        Some(Self {
            reason,
            cluster: ClusterId(id128(&cluster, "cluster").ok()?),
            node: NodeId(node),
            generation: Generation(generation),
            view,
        })
    }
}

#[cfg(test)]
mod tests;
