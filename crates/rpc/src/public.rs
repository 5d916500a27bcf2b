//! The services of the public gRPC listener, in core types: what `edge` and `server` implement and
//! this crate serves (protocol section 9). Nothing of protobuf or HTTP is in here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::{Advice, Code};
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Page, Since};
use fanfare_core::id::{NodeId, ReplicaId, ShardId, Term};
use fanfare_core::message::Draft;
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_core::repair::Findings;
use fanfare_core::rule::{Class, RuleLayer};
use fanfare_core::view::View;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::roster::{DisconnectWish, NodeCounts, SessionsPage, SessionsWish};
use crate::topics::TopicInfo;

/// Who calls, as far as the transport knows.
#[derive(Clone, Default)]
pub struct Caller {
    /// Metadata `authorization`, untouched. Never logged: `Debug` hides it.
    pub authorization: Option<String>,
    /// Where the connection comes from: the [`Remote`] that the accept loop put into the request.
    pub remote: Option<SocketAddr>,
    /// This request's id, for logs; errors carry it.
    pub request_id: String,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("authorized", &self.authorization.is_some())
            .field("remote", &self.remote)
            .field("request_id", &self.request_id)
            .finish()
    }
}

/// Request extension by which the accept loop tells where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub SocketAddr);

/// `fanfare.v1.Publisher`.
pub trait Publisher: Send + Sync + 'static {
    /// Largest payload the cluster takes now, in bytes. What is above never gets here.
    fn payload_limit(&self) -> u64;

    /// Places one draft, or says why not and what is known of its outcome. `within` is what is
    /// left of the caller's deadline.
    fn publish(
        &self,
        caller: Caller,
        draft: Draft,
        within: Duration,
    ) -> BoxFuture<'static, Result<Receipt, Refusal>>;

    /// Opens a publish stream (C3). Drafts of one topic must be placed and answered in the order
    /// they come; topics are independent. The end of `drafts` is the client's half-close: what was
    /// sent is still answered. The end of the answers leaves all that is unanswered unknown. At
    /// most [`STREAM_DRAFTS`] and [`STREAM_BYTES`] are unanswered, which the caller sees to.
    fn publish_stream(
        &self,
        caller: Caller,
        drafts: mpsc::Receiver<StreamDraft>,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<StreamAnswer>, Refusal>>;
}

/// Most drafts of a publish stream without an answer; then reading stops.
pub const STREAM_DRAFTS: usize = 1_024;
/// Most bytes, by [`Draft::cost`], of a publish stream without an answer; then reading stops.
pub const STREAM_BYTES: u64 = 8 << 20;

/// One draft of a publish stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDraft {
    /// Number of the draft in its stream: unique, ascending. Not the client's id.
    pub seq: u64,
    pub draft: Draft,
    /// The publisher's patience, from its arrival on.
    pub within: Duration,
}

/// What became of the draft `seq` of a publish stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAnswer {
    pub seq: u64,
    pub result: Result<Receipt, Refusal>,
}

/// `fanfare.v1.Subscriber`.
pub trait Subscriber: Send + Sync + 'static {
    /// Opens a session, or refuses all of it. The session ends when the events do, after an
    /// [`Event::Disconnect`] if there was time, or when the receiver is dropped (the client left).
    /// The channel is bounded: a full one is a slow consumer's socket.
    fn subscribe(
        &self,
        caller: Caller,
        request: SubscribeRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Event>, Refusal>>;
}

/// A wish for a session. Topics are not repeated, nor are two of equal hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// At least one. How many are allowed is the edge's to say.
    pub topics: Vec<Start>,
    /// Positions of topics whose `since` is `None`.
    pub cursor: Option<Cursor>,
    /// Silence after which a heartbeat is wanted, 5–55 s; `None`: the edge's default.
    pub heartbeat: Option<Duration>,
    /// True: `Items` carry a cursor with several topics too.
    pub cursors: bool,
}

/// From where one topic is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub topic: TopicName,
    /// Wins over the cursor; `None`: the cursor, else the head.
    pub since: Option<Since>,
    /// C23: attach only with a head at or above this.
    pub min_position: Option<Position>,
}

/// What a session hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The topic's answer (C13), before its items.
    Subscribed(Subscribed),
    /// 1–256 items, at most 256 KiB or one.
    Items(Items),
    Heartbeat,
    /// The session's end: the last event. The call's status says the same.
    Disconnect(Disconnect),
}

/// How a subscription began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub topic: TopicName,
    pub class: Class,
    pub answer: Answer,
    pub head: Position,
    /// Cursor of the session from here on, in text form.
    pub cursor: String,
}

/// Items in this wire's format, made by [`crate::items`]: encoded once, shared by all sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// One or more whole items, one after the other.
    pub encoded: Bytes,
    /// Cursor after the last of them, in text form: of a session with one topic, or if asked for.
    pub cursor: Option<Arc<str>>,
}

/// Why a session ends and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub code: Code,
    pub advice: Advice,
    pub retry_after_ms: Option<u64>,
    /// Cursor after the last item sent, in text form.
    pub cursor: Option<String>,
    pub detail: String,
}

/// `fanfare.v1.History`.
pub trait History: Send + Sync + 'static {
    /// A page of what is retained of a topic.
    fn page(
        &self,
        caller: Caller,
        request: HistoryRequest,
    ) -> BoxFuture<'static, Result<HistoryPage, Refusal>>;
}

/// A wish for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    pub topic: TopicName,
    /// `None`: from the start.
    pub after: Option<Position>,
    /// Most items, 1–1000.
    pub limit: u32,
    pub min_position: Option<Position>,
    /// How long to wait for a first item or for `min_position`, at most 50 s.
    pub wait: Duration,
}

/// A page and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    pub page: Page,
    pub next: Position,
    /// True if more follows now.
    pub more: bool,
}

/// `fanfare.v1.TopicAdmin`. Needs the grant `admin`, which the implementation checks.
pub trait TopicAdmin: Send + Sync + 'static {
    /// Makes a topic; `topic_exists` if it is there with other rules.
    fn create(
        &self,
        caller: Caller,
        name: TopicName,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>>;

    /// Describes a topic.
    fn get(
        &self,
        caller: Caller,
        name: TopicName,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>>;

    /// Topics in the order of their names.
    fn list(
        &self,
        caller: Caller,
        request: ListTopics,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, Refusal>>;

    /// Ends a topic; only if its epoch is `epoch`, if given.
    fn delete(
        &self,
        caller: Caller,
        name: TopicName,
        epoch: Option<Epoch>,
    ) -> BoxFuture<'static, Result<(), Refusal>>;

    /// Sets the rules of all topics that match.
    fn put_rule(
        &self,
        caller: Caller,
        pattern: TopicPattern,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<(), Refusal>>;

    /// Forgets the rules of a pattern; no error if there were none.
    fn delete_rule(
        &self,
        caller: Caller,
        pattern: TopicPattern,
    ) -> BoxFuture<'static, Result<(), Refusal>>;

    /// All patterns, from the least to the most specific.
    fn list_rules(
        &self,
        caller: Caller,
    ) -> BoxFuture<'static, Result<Vec<(TopicPattern, RuleLayer)>, Refusal>>;
}

/// Which topics to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTopics {
    /// `None`: all.
    pub pattern: Option<TopicPattern>,
    /// Only names above this one.
    pub after: Option<TopicName>,
    /// Most topics, 1–1000. Fewer than that are answered only if there are no more.
    pub limit: u32,
}

/// `fanfare.v1.ClusterAdmin`. Needs the grant `admin`, which the implementation checks.
pub trait ClusterAdmin: Send + Sync + 'static {
    /// The cluster as this node sees it.
    fn view(&self, caller: Caller) -> BoxFuture<'static, Result<ClusterStatus, Refusal>>;

    /// The same, now and on each change. A slow reader misses states, never the newest.
    fn watch_view(
        &self,
        caller: Caller,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<ClusterStatus>, Refusal>>;

    /// Where topics stand; those that do not exist are left out.
    fn sample(
        &self,
        caller: Caller,
        topics: Vec<TopicName>,
    ) -> BoxFuture<'static, Result<Vec<Sample>, Refusal>>;

    /// Raises the feature level by one step; refused while a node's binary does not know it.
    fn upgrade(&self, caller: Caller) -> BoxFuture<'static, Result<Upgraded, Refusal>>;

    /// All rows of a shard on this node, for comparison with other replicas.
    fn dump_shard(
        &self,
        caller: Caller,
        shard: ShardId,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<TopicDump>, Refusal>>;

    /// Changes who is in the cluster or who leads. Answered once the change is recorded.
    fn change(
        &self,
        caller: Caller,
        change: ClusterChange,
    ) -> BoxFuture<'static, Result<Changed, Refusal>>;

    /// What is left of a group that lost its majority; begins it anew if the wish accepts that.
    fn repair(
        &self,
        caller: Caller,
        wish: RepairWish,
    ) -> BoxFuture<'static, Result<Repair, Refusal>>;

    /// A page of this node's sessions.
    fn sessions(
        &self,
        caller: Caller,
        wish: SessionsWish,
    ) -> BoxFuture<'static, Result<SessionsPage, Refusal>>;

    /// Ends sessions of this node with `disconnected`; says how many were told.
    fn disconnect(
        &self,
        caller: Caller,
        wish: DisconnectWish,
    ) -> BoxFuture<'static, Result<u64, Refusal>>;

    /// What this node counts.
    fn counts(&self, caller: Caller) -> BoxFuture<'static, Result<NodeCounts, Refusal>>;
}

/// What an operator wants of the cluster's nodes. Nodes are named, or told by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterChange {
    /// The node is to lead nothing and have no sessions until it is started again.
    Drain { node: String },
    /// The node's replicas are to move away, and then it is removed for ever.
    Remove { node: String },
    /// The node is removed at once, though shards have fewer replicas then.
    RemoveNow { node: String },
    /// The node is to stay after all.
    Stay { node: String },
    /// As `Remove`, with the node that takes the replicas over.
    Replace { old: String, new: String },
    /// The node is to lead the shard.
    Transfer { shard: ShardId, node: String },
}

/// What an operator asks about a group that lost its majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairWish {
    /// `None`: the metadata.
    pub shard: Option<ShardId>,
    /// What only the lost copies had is lost. Else nothing is changed.
    pub accept_data_loss: bool,
    /// Silent nodes, by name or id, that will never come back with their data.
    pub lost: Vec<String>,
}

/// What was found of the group, and whether it began anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub findings: Findings,
    /// The new beginning is recorded.
    pub done: bool,
}

/// A change that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub node: NodeId,
    /// The view that holds it.
    pub version: u64,
}

/// What a wish to raise the feature level came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The cluster's level now.
    pub level: u32,
    /// The highest that the node that answers knows.
    pub known: u32,
    /// False if nothing was changed: the level is `known` already.
    pub raised: bool,
}

/// The view, and of each shard what its replicas say.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    pub view: Arc<View>,
    /// In the order of `view.shards`.
    pub shards: Vec<ShardStatus>,
    /// Nodes that this node hears, itself among them.
    pub alive: BTreeSet<NodeId>,
    /// Nodes whose disk has no room, by what they told last.
    pub full: BTreeSet<NodeId>,
}

/// A shard's leadership, as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStatus {
    pub leader: Option<NodeId>,
    pub term: Term,
    /// Entries each replica is behind; known on the leader alone.
    pub behind: Vec<(ReplicaId, u64)>,
}

/// Where a topic stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub topic: TopicName,
    pub epoch: Epoch,
    pub start: Position,
    pub head: Position,
}

/// One topic of a shard, as one replica holds it (contract section 11, `final`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDump {
    pub node: NodeId,
    pub topic: TopicName,
    pub class: Class,
    pub epoch: Epoch,
    pub start: Position,
    pub head: Position,
    /// Running hash over all slots below `start`.
    pub chain: u128,
    /// What is retained: offset and xxh3-128 of the payload.
    pub rows: Vec<(Offset, u128)>,
}
