//! A well-behaved client of the two public protocols (protocol section 12): a publisher that keeps
//! order and never places twice, a subscriber that resumes over nodes and transports, an
//! administrator. The decisions are values: `course`, `progress`, `outbox`; the rest carries them.

mod admin;
mod course;
mod endpoint;
mod everywhere;
mod http;
mod machine;
mod ops;
mod outbox;
pub mod probe;
mod progress;
mod publisher;
mod sending;
mod socket;
mod subscriber;
mod told;
mod transport;

#[cfg(test)]
mod testing;

pub use admin::{Admin, AdminError, Made, init_cluster};
pub use course::{Course, Next, back_off};
pub use endpoint::{Address, BadEndpoint, Endpoints};
pub use everywhere::{Everywhere, Said};
pub use fanfare_core::repair::{Copy, Verdict};
pub use fanfare_protocol::json::ack::Acked;
pub use fanfare_protocol::json::is_json;
pub use fanfare_protocol::json::problem::Problem;
pub use fanfare_protocol::json::{Reason, Received, ReceivedGap, ReceivedMessage};
pub use fanfare_protocol::secret::Secret;
pub use fanfare_protocol::spelling::{AnswerKind, Named, Spelled};
pub use fanfare_rpc::client::Overviews;
pub use fanfare_rpc::heard::{NodeOverview, Overview, ReplicaOverview, ShardOverview};
pub use fanfare_rpc::public::{Changed, ClusterChange, Repair, RepairWish, Upgraded};
pub use fanfare_rpc::roster::{
    DisconnectWish, NodeCounts, SESSIONS_PAGE, SessionRow, SessionTopic, SessionsPage, SessionsWish,
};
pub use fanfare_rpc::topics::TopicInfo;
pub use machine::{FixedToken, Machine, Tokens};
pub use ops::{OpsAnswer, ask_ops};
pub use outbox::{Patience, PublishError};
pub use progress::{BadProgress, Mark, Progress};
pub use publisher::{Pending, PublishOptions, Publisher, Via};
pub use subscriber::{Event, Stopped, SubscribeOptions, Subscriber};
pub use told::{Ending, Status, Told};
pub use transport::{Attached, BadTransport, TopicEnd, Transport};
