//! Raft groups over one disk: the only crate that knows openraft, and it does not know what an
//! entry means. A group replicates commands of a `StateMachine`; they are stored and sent in the
//! form of a `Codec`; peers are reached over a `Wire`.
