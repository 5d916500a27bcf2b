//! The shard's state machine: topics by name; `apply(Command) -> Outcome`; snapshot and restore.
