//! What edges and shard leaders say to each other, as values: drafts and their verdicts on the
//! publish link, attachments and runs on the delivery link. Who carries it is not in here.

use std::sync::Arc;

use crate::gap::{Policy, Since};
use crate::id::{NodeId, ShardId, Term};
use crate::message::{Draft, Message};
use crate::name::TopicName;
use crate::position::Position;
use crate::receipt::{Receipt, Refusal};

/// One draft on the way from an edge to a shard's leader. Edge and leader number the *runs* of
/// each (publish stream, shard): the first verdict `Reroute` closes the run, and the leader gives
/// it to all that follow in it, until the edge opens the next and sends again, in order, all that
/// is unanswered. So the order of a stream survives redirects (C3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Number of this request on the link; its verdict carries it.
    pub seq: u64,
    /// The publish stream, unique on the link. Drafts of one stream and shard come in order.
    pub stream: u64,
    /// The run of (stream, shard) this draft belongs to; only grows.
    pub run: u32,
    pub shard: ShardId,
    pub draft: Draft,
    /// ms left of the publisher's deadline when it was sent.
    pub timeout_ms: u32,
}

/// The end of one request of the publish link. Verdicts may come in any order but, for drafts of
/// one (stream, topic), in the order of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAnswer {
    pub seq: u64,
    pub verdict: Verdict,
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Placed(Receipt),
    /// Final; `outcome` says whether it may be placed.
    Refused(Refusal),
    /// Not proposed here: another node may lead. Not placed by this sending.
    Reroute(Redirect),
}

/// Who leads, as far as a node knows that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    pub leader: Option<NodeId>,
    pub term: Term,
}

/// One attachment: a topic on a delivery link. Numbers are the edge's, never used twice on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachId(pub u64);

/// What an edge says on a delivery link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeSays {
    /// Begin these attachments.
    Attach(Vec<Attach>),
    /// End these; nothing more of them is sent once the leader has seen it.
    Detach(Vec<AttachId>),
    /// The edge has taken so many bytes of runs: the leader may send as many again.
    Credit(u64),
}

/// Wish to follow a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    pub id: AttachId,
    pub shard: ShardId,
    pub topic: TopicName,
    /// The relay's last position; `None`: from the head on.
    pub after: Option<Position>,
}

/// What a leader says on a delivery link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderSays {
    Attached(Attached),
    Run(AttachId, Run),
    /// The attachment is over: the edge attaches again, where `Ended` says.
    Ended(AttachId, Ended),
    /// Each second, for each shard with live attachments on this link: their count and the
    /// wrapping sum of [`digest_term`] over them. Silence for 3 s, or a mismatch twice in a row,
    /// makes the edge attach all of the shard again.
    Digest {
        shard: ShardId,
        count: u64,
        sum: u64,
    },
}

/// The beginning of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub id: AttachId,
    pub term: Term,
    pub head: Position,
    pub start: Position,
    pub exists: bool,
    pub policy: Policy,
    pub live: Live,
}

/// Whether runs follow an [`Attached`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// `run` (maybe empty) brings the edge from its `after` to the head; what follows comes as runs.
    Yes(Run),
    /// The edge is too far behind, or its position is not one of this stream: nothing follows. It
    /// reads pages up to the head, or begins at the head, and attaches again.
    No,
}

/// Contiguous messages of one topic: `messages[0]` follows `after` in the same stream, unless
/// `after` ends an older stream and the first message begins a new one (C27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub after: Position,
    pub messages: Vec<Arc<Message>>,
}

impl Run {
    /// Most messages of a run on its way to sessions.
    pub const MAX_MESSAGES: usize = 256;
    /// Most bytes of a run, unless it is one message.
    pub const MAX_BYTES: u64 = 64 << 10;

    /// The position after its last message.
    pub fn end(&self) -> Position {
        self.messages
            .last()
            .map_or(self.after, |message| message.position)
    }

    /// Bytes it takes of a budget.
    pub fn cost(&self) -> u64 {
        self.messages
            .iter()
            .map(|message| message.content.cost())
            .sum()
    }
}

/// Why an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This node does not lead the shard any more.
    NotLeader(Redirect),
    /// The link's credit is used up and too much waits: read pages, then attach again.
    Lagging,
    /// The topic was deleted or its stream ended: attach again to see what stands in its place.
    StreamEnded,
    /// `create = explicit` and no such topic.
    TopicNotFound,
    /// No room for more attachments on this node.
    Overloaded,
}

/// A wish for the standing of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandRequest {
    pub topic: TopicName,
    pub since: Since,
    /// A poll's: its counter moves at most once an hour while there is no topic (C27).
    pub poll: bool,
    /// Answer only with a head at or above this (C23).
    pub min_position: Option<Position>,
}

/// Why a node did not answer a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRead {
    /// Ask the leader; this node is not it.
    Reroute(Redirect),
    /// Told to the client as it is.
    Refused(Refusal),
}

/// A wish for a page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub shard: ShardId,
    pub topic: TopicName,
    pub after: Position,
    /// At most so many messages, and at most so many bytes but at least one message.
    pub limit: u32,
    pub bytes: u64,
    /// True: only the shard's leader may answer (ephemeral topics, positions ahead of a replica).
    pub leader: bool,
}

/// The share of one attachment in a [`LeaderSays::Digest`]: xxh3-64 of the topic's hash, epoch and
/// offset, each u64 big endian.
pub fn digest_term(topic_hash: u64, head: Position) -> u64 {
    let mut bytes = [0_u8; 24];
    bytes[..8].copy_from_slice(&topic_hash.to_be_bytes());
    bytes[8..16].copy_from_slice(&head.epoch.0.to_be_bytes());
    bytes[16..].copy_from_slice(&head.offset.0.to_be_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
