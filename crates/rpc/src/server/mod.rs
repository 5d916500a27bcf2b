//! The serving ends: services for the peer listener and for the public one. Accepting connections
//! is the server's.

mod call;
mod cluster;
mod heartbeats;
mod history;
mod members;
mod peer;
mod publisher;
mod raft;
mod subscriber;
mod topics;
mod window;

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
pub use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::client::MAX_MESSAGE;
use crate::identity::Local;
use crate::members::Members;
use crate::pb;
use crate::peer::Peer;
use crate::public::{ClusterAdmin, History, Publisher, Subscriber, TopicAdmin};
use crate::raft::RaftDoor;

/// What is served to other nodes.
pub struct PeerDoors {
    /// This node and its view, against which every call is checked.
    pub local: Local,
    pub peer: Arc<dyn Peer>,
    pub raft: Arc<dyn RaftDoor>,
    pub members: Arc<dyn Members>,
    /// Links' tasks run here.
    pub tasks: TaskTracker,
    /// Ends the streams of heartbeats, which have no end of their own.
    pub close: CancellationToken,
}

/// The services of the peer listener.
pub fn peer_routes(doors: PeerDoors) -> Routes {
    let PeerDoors {
        local,
        peer,
        raft,
        members,
        tasks,
        close,
    } = doors;
    let links = peer::PeerService {
        local: local.clone(),
        peer,
        tasks: tasks.clone(),
    };
    let raft = raft::RaftService {
        local,
        door: raft,
        tasks,
        close,
    };
    let members = members::MembersService(members);
    Routes::new(
        pb::peer::peer_server::PeerServer::new(links.clone())
            .max_decoding_message_size(MAX_MESSAGE),
    )
    .add_service(pb::peer::bulk_server::BulkServer::new(links))
    .add_service(
        pb::peer::raft_server::RaftServer::new(raft).max_decoding_message_size(MAX_MESSAGE),
    )
    .add_service(
        pb::peer::members_server::MembersServer::new(members)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE),
    )
}

/// What is served to clients.
pub struct PublicDoors {
    pub publisher: Arc<dyn Publisher>,
    pub subscriber: Arc<dyn Subscriber>,
    pub history: Arc<dyn History>,
    pub topics: Arc<dyn TopicAdmin>,
    pub cluster: Arc<dyn ClusterAdmin>,
    /// Gives each call its id, for logs and errors.
    pub request_ids: Arc<dyn Fn() -> String + Send + Sync>,
    /// Publish streams' tasks run here.
    pub tasks: TaskTracker,
    /// Largest message taken, in bytes. Above the payload limit by 64 KiB at least, or a payload
    /// that is too large is refused without a code of the protocol.
    pub max_message: usize,
}

/// The services of the public listener, with reflection and health. Not serving, says health,
/// until [`Health::set`] says so.
pub fn public_routes(doors: PublicDoors) -> Result<(Routes, Health), ReflectionError> {
    let PublicDoors {
        publisher,
        subscriber,
        history,
        topics,
        cluster,
        request_ids,
        tasks,
        max_message,
    } = doors;
    let calls = call::Calls(request_ids);
    let publisher = publisher::PublisherService {
        door: publisher,
        calls: calls.clone(),
        tasks,
    };
    let subscriber = subscriber::SubscriberService {
        door: subscriber,
        calls: calls.clone(),
    };
    let history = history::HistoryService {
        door: history,
        calls: calls.clone(),
    };
    let topics = topics::TopicAdminService {
        door: topics,
        calls: calls.clone(),
    };
    let cluster = cluster::ClusterAdminService {
        door: cluster,
        calls,
    };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::PUBLIC)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let unusable = |bad: tonic_reflection::server::Error| ReflectionError(bad.to_string());
    let (reporter, health) = health_reporter();
    let routes = Routes::new(
        pb::v1::publisher_server::PublisherServer::new(publisher)
            .max_decoding_message_size(max_message),
    )
    .add_service(pb::subscriber::subscriber_server::SubscriberServer::new(
        subscriber,
    ))
    .add_service(pb::v1::history_server::HistoryServer::new(history))
    .add_service(pb::v1::topic_admin_server::TopicAdminServer::new(topics))
    .add_service(pb::v1::cluster_admin_server::ClusterAdminServer::new(
        cluster,
    ))
    .add_service(health)
    .add_service(reflection().build_v1().map_err(unusable)?)
    .add_service(reflection().build_v1alpha().map_err(unusable)?);
    let health = Health(reporter);
    // Nobody else has the reporter yet, so nothing is waited for.
    health.set(false).now_or_never();
    Ok((routes, health))
}

/// The descriptors compiled into this binary do not fit together: a bug of the build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the descriptors of the public services cannot be used: {0}")]
pub struct ReflectionError(String);

/// What `grpc.health.v1.Health` answers, for the whole server and for each service.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// The services that health knows, beside the whole server (the empty name).
    pub const SERVICES: [&str; 5] = [
        "fanfare.v1.Publisher",
        "fanfare.v1.Subscriber",
        "fanfare.v1.History",
        "fanfare.v1.TopicAdmin",
        "fanfare.v1.ClusterAdmin",
    ];

    /// Says whether the node serves; watchers are told.
    pub async fn set(&self, serving: bool) {
        let status = match serving {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in [""].into_iter().chain(Self::SERVICES) {
            self.0.set_service_status(service, status).await;
        }
    }
}

#[cfg(test)]
mod tests;
