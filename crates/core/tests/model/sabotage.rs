//! Bugs that may be planted in the shells of the model, to prove that the model sees such bugs: those
//! of the test plan, by their numbers, and those that the model has found.

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// B2: a publish is answered when it is proposed.
    AckAtPropose,
    /// B3: a replica answers reads without asking a majority.
    AnswerUnconfirmed,
    /// B5: the rows of the dedup table are left out of snapshots.
    SnapshotWithoutKeys,
    /// B6: a resume below the start is answered *recovered*.
    RecoverBelowStart,
    /// B7: a new leader goes on with the epoch of an ephemeral stream.
    KeepEphemeralEpoch,
    /// B10: a slow session skips messages in silence.
    SkipWhenSlow,
    /// B12: a draft whose time is over after it was proposed is answered as not placed.
    RefuseProposed,
    /// B13: an edge answers `latest` from its relay.
    LatestFromRelay,
    /// B14: a replica goes by its own clock.
    OwnClock,
    /// A tail that changes but by a block is no news for sessions at its end.
    JumpUnsaid,
    /// A draft for an ephemeral stream passes those that wait for the stream to begin.
    PassWaiting,
    /// A draft for an ephemeral stream passes those of its topic that are on their way through the
    /// log, since the topic was durable a moment ago.
    PassLog,
}
