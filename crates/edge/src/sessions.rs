//! The sessions of a node: their supervisor, counts and end.

/// Opens sessions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {}
