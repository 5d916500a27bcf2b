//! What a client of the public services hears, in core types: answers, events of sessions, the
//! cluster as an administrator sees it. Values of a newer server are kept as "other".

use fanfare_core::code::{Advice, Code, Outcome};
use fanfare_core::gap::GapReason;
use fanfare_core::id::{Generation, NodeId, ReplicaId, Term};
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::Class;
use fanfare_core::view::{Addresses, NodeState, StoreState};

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node refused: act by the code's advice. The outcome is that of a publish.
    #[error("{}: {}", .0.code, .0.detail)]
    Refused(Refusal),
    /// The node refused by a code that a newer version has: act by its advice.
    #[error("{}: {}", .0.code, .0.detail)]
    Other(OtherRefusal),
    /// There was no connection, so nothing was sent: another address may do.
    #[error("not connected: {0}")]
    NotSent(String),
    /// Sent, and not answered by a node: a publish is unknown, another call may be repeated.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// A refusal by a code that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRefusal {
    /// As the protocol spells codes: lower case.
    pub code: String,
    /// Of a publish; `None` if the status said none, which is unknown.
    pub outcome: Option<Outcome>,
    /// `None`: none, or one of a newer version.
    pub advice: Option<Advice>,
    pub detail: String,
    pub retry_after_ms: Option<u64>,
}

/// One event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Subscribed(HeardSubscribed),
    /// Items, and where the session stands after the last of them, if that was said.
    Items {
        items: Vec<HeardItem>,
        cursor: Option<String>,
    },
    Heartbeat,
    Disconnect(HeardDisconnect),
    /// An event of a newer server: passed over.
    Other,
}

/// The answer to attaching a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardSubscribed {
    pub topic: TopicName,
    /// `None`: one of a newer server.
    pub class: Option<Class>,
    /// `None`: one of a newer server.
    pub answer: Option<HeardAnswer>,
    /// Absent with `Latest`.
    pub from: Option<Position>,
    pub head: Position,
    pub cursor: Option<String>,
}

/// Which answer attaching a topic got (C13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardAnswer {
    Recovered,
    Gap,
    Latest,
}

/// An item of a topic's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeardItem {
    Message(TopicName, Message),
    Gap(HeardGap),
    /// An item of a newer server: passed over.
    Other,
}

/// All slots after `from` up to and including `to` are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardGap {
    pub topic: TopicName,
    pub reason: HeardReason,
    pub from: Position,
    pub to: Position,
    pub missed: Option<u64>,
}

/// Why slots are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardReason {
    Known(GapReason),
    /// Trimmed, by a limit of a newer server.
    TrimmedByOther,
    /// A reason of a newer server, by its number.
    Other(i32),
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardDisconnect {
    pub code: String,
    pub advice: String,
    pub retry_after_ms: Option<u64>,
    pub cursor: Option<String>,
    pub detail: String,
}

impl HeardDisconnect {
    /// The code, if it is one of this version.
    pub fn known(&self) -> Option<Code> {
        Code::by_name(&self.code)
    }
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardPage {
    pub items: Vec<HeardItem>,
    /// Where the next page begins.
    pub next: Position,
    pub start: Position,
    pub head: Position,
    /// True if more follows now.
    pub more: bool,
}

/// The cluster as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    pub version: u64,
    pub nodes: Vec<NodeOverview>,
    /// By shard id, from 0.
    pub shards: Vec<ShardOverview>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOverview {
    pub id: NodeId,
    /// Empty if the server does not say it.
    pub name: String,
    pub generation: Generation,
    /// `None`: a state of a newer server.
    pub state: Option<NodeState>,
    pub addresses: Addresses,
    /// `None`: a state of a newer server, or an older one that does not say it.
    pub store: Option<StoreState>,
    /// To be removed once others have its replicas.
    pub departing: bool,
    /// Who is to take its replicas over.
    pub heir: Option<NodeId>,
    /// The node that answers hears it, or is it.
    pub alive: bool,
    /// It should vote in the metadata group.
    pub meta_voter: bool,
    /// The free space of its disk is below its reserve.
    pub full: bool,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardOverview {
    pub leader: Option<NodeId>,
    pub term: Term,
    pub replicas: Vec<ReplicaOverview>,
    /// Planned no more, and not let go by the group yet.
    pub leaving: Vec<ReplicaOverview>,
}

/// One replica of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOverview {
    pub id: ReplicaId,
    pub node: NodeId,
    /// Entries behind the leader; `None` if the node asked does not know it.
    pub behind: Option<u64>,
}
