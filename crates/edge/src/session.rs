//! One session: delivery (behind a small lock, on the path of every message) and control (an actor).

pub(crate) mod actor;
pub(crate) mod attach;
pub(crate) mod body;
pub(crate) mod delivery;
pub(crate) mod fetch;
mod locked;
pub(crate) mod pour;
pub(crate) mod wire;

#[cfg(test)]
pub(crate) mod stage;
