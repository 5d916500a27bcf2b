//! The receiving end of a node: finds the running replica a raft call is for.

use bytes::Bytes;

use crate::{Call, WireError};

/// Registry of the replicas that run on this node. A clone is the same door.
#[derive(Clone, Default)]
pub struct Door {}

impl Door {
    /// A door behind which nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers one raft call; [`WireError::NotHere`] if the replica does not run here (R1).
    pub async fn serve(&self, call: Call) -> Result<Bytes, WireError> {
        let _ = call;
        unimplemented!()
    }
}
