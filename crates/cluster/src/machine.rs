//! The view as the state machine of the metadata group.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fanfare_consensus::{Codec, FrozenState, LogPosition, Malformed, StateMachine};
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::view::{Command, Outcome, Refusal, View};
use tokio::sync::watch;

use crate::Routes;

/// Largest block of a snapshot, in bytes.
const BLOCK: usize = 1 << 20;

/// Applies commands to the view and publishes it after each that changed it.
pub struct MetaMachine {
    view: Arc<View>,
    codec: Arc<dyn Codec<View>>,
    published: watch::Sender<Arc<View>>,
    routes: Routes,
}

impl MetaMachine {
    /// The machine before its first entry, and where its views appear.
    #[must_use]
    pub fn new(
        codec: Arc<dyn Codec<View>>,
        published: watch::Sender<Arc<View>>,
        routes: Routes,
    ) -> Self {
        let view = Arc::new(View::empty());
        Self {
            view,
            codec,
            published,
            routes,
        }
    }

    /// Begins the metadata anew on `node`; its replica of the new group.
    pub(crate) fn repair(
        &mut self,
        node: NodeId,
        lost: &BTreeSet<NodeId>,
    ) -> Result<ReplicaId, Refusal> {
        let replica = Arc::make_mut(&mut self.view).repair_meta(node, lost)?;
        self.publish();
        Ok(replica)
    }

    fn publish(&self) {
        // Routes first: whoever sees the view can reach what is in it.
        self.routes.update(&self.view);
        self.published.send_replace(Arc::clone(&self.view));
    }
}

impl StateMachine for MetaMachine {
    type Command = Command;
    type Outcome = Outcome;

    fn apply(&mut self, _at: LogPosition, command: Option<&Command>) -> Option<Outcome> {
        let command = command?;
        let before = self.view.version;
        let outcome = Arc::make_mut(&mut self.view).apply(command);
        if self.view.version != before {
            self.publish();
        }
        Some(outcome)
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let frozen = Frozen {
            view: Some(Arc::clone(&self.view)),
            codec: Arc::clone(&self.codec),
        };
        Box::new(Blocks {
            frozen,
            rest: Bytes::new(),
        })
    }

    fn restore(&mut self, blocks: &mut dyn Iterator<Item = Bytes>) -> Result<(), Malformed> {
        let mut stored = BytesMut::new();
        for block in blocks {
            stored.extend_from_slice(&block);
        }
        self.view = Arc::new(self.codec.decode(&stored.freeze())?);
        self.publish();
        Ok(())
    }
}

struct Frozen {
    view: Option<Arc<View>>,
    codec: Arc<dyn Codec<View>>,
}

struct Blocks {
    frozen: Frozen,
    rest: Bytes,
}

impl FrozenState for Blocks {
    fn next_block(&mut self) -> Option<Bytes> {
        if let Some(view) = self.frozen.view.take() {
            self.rest = self.frozen.codec.encode(&view);
        }
        let next = self.rest.split_to(BLOCK.min(self.rest.len()));
        (!next.is_empty()).then_some(next)
    }
}
