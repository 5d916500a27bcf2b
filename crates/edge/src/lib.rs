//! The front door of a node: HTTP routes, publishing, sessions and their transports. It knows a
//! topic's leader and readers; replicas and raft it does not know.

mod auth;
mod batch;
pub mod config;
mod cors;
mod cut;
pub mod directory;
mod grpc_publish;
mod http;
pub mod limits;
mod metrics;
mod problem;
pub mod publish;
mod reading;
mod relay;
mod routes;
mod session;
mod sessions;
mod single;
mod state;
#[cfg(test)]
mod testing;
pub mod topics;
mod transport;

pub use cut::Cut;
pub use metrics::Metrics;
pub use sessions::Roster;

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::receipt::Refusal;
use fanfare_rpc::public;
use tokio::sync::watch;

use auth::Door;
use config::{EdgeConfig, EdgeDeps};
use directory::Directory;
use grpc_publish::GrpcPublisher;
use http::Front;
use limits::Limiter;
use publish::Publisher;
use sessions::Sessions;
use state::{Drain, EdgeState};
use topics::{RuleKeeper, Topics};
use transport::grpc::GrpcReader;

/// How often a leaving edge looks whether its sessions are gone.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why there is no edge: the node ends.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("an actor of the edge did not start")]
    Actor(#[from] ractor::SpawnErr),
}

/// Refuses a caller that may not use an admin service.
pub type AdminGate = Arc<dyn Fn(&public::Caller) -> Result<(), Refusal> + Send + Sync>;

/// A node's front door. Everything it runs is on the tracker it was given.
pub struct Edge {
    front: Front,
    drain: watch::Sender<Option<Drain>>,
}

impl Edge {
    /// Starts the desk, the relays and the sessions' supervisor. No socket is opened: requests come
    /// through [`router`](Self::router) and the gRPC services.
    pub async fn build(config: EdgeConfig, deps: EdgeDeps) -> Result<Self, BuildError> {
        let (drain, draining) = watch::channel(None);
        let directory = Arc::new(Directory::new(&deps));
        let publisher = Publisher::start(
            &deps,
            config.publish.clone(),
            directory.clone(),
            draining.clone(),
        );
        let door = Door::new(config.policy);
        let limiter = Limiter::new(config.requests, config.trusted_proxies.clone());
        let state = Arc::new(EdgeState {
            config,
            deps,
            directory,
            publisher,
            door,
            limiter,
            draining,
        });
        let sessions = Sessions::start(state.clone()).await?;
        let front = Front { state, sessions };
        Ok(Self { front, drain })
    }

    /// The routes of the edge listener, every path of it.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .fallback(http::serve)
            .with_state(self.front.clone())
    }

    /// Who leads and who reads, as this edge knows.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.front.state.directory
    }

    /// Publishing without a transport, for the node itself.
    pub fn publisher(&self) -> &Publisher {
        &self.front.state.publisher
    }

    /// Sessions that are open here.
    pub fn sessions(&self) -> usize {
        self.front.sessions.count()
    }

    /// The list of sessions, for operators.
    pub fn roster(&self) -> Roster {
        Roster(self.front.sessions.clone())
    }

    /// `fanfare.v1.Publisher`.
    pub fn grpc_publisher(&self) -> Arc<dyn public::Publisher> {
        let state = self.front.state.clone();
        Arc::new(GrpcPublisher { state })
    }

    /// `fanfare.v1.Subscriber`.
    pub fn grpc_subscriber(&self) -> Arc<dyn public::Subscriber> {
        let sessions = self.front.sessions.clone();
        Arc::new(GrpcReader { sessions })
    }

    /// `fanfare.v1.History`.
    pub fn grpc_history(&self) -> Arc<dyn public::History> {
        let sessions = self.front.sessions.clone();
        Arc::new(GrpcReader { sessions })
    }

    /// Who may call the node's own admin services: those with the grant `admin`.
    pub fn admin_gate(&self) -> AdminGate {
        let state = self.front.state.clone();
        Arc::new(move |caller| topics::admit_admin(&state, caller))
    }

    /// `fanfare.v1.TopicAdmin`; the keeper proposes rules.
    pub fn topic_admin(&self, rules: Arc<dyn RuleKeeper>) -> Arc<dyn public::TopicAdmin> {
        let state = self.front.state.clone();
        Arc::new(Topics { state, rules })
    }

    /// Leaves: new publishes and sessions are sent elsewhere at once, sessions are told within
    /// `spread`. Completes once nothing is in flight; the caller brings the deadline.
    pub async fn drain(&self, spread: Duration) {
        self.drain.send_replace(Some(Drain { spread }));
        let clock = &self.front.state.deps.clock;
        while self.sessions() > 0 {
            clock.sleep(DRAIN_LOOK).await;
        }
        self.publisher().idle().await;
    }
}
