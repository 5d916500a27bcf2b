//! What a client takes from its machine and its user: clock, chance, connector, tasks, credentials.

use std::sync::Arc;

use fanfare_host::{Clock, Connector, RealClock, Rng, SystemRng, TcpConnector};
use fanfare_protocol::secret::Secret;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio_util::task::TaskTracker;

/// Where credentials come from.
pub trait Tokens: Send + Sync + 'static {
    /// A JWT or API key; `None`: none. `renew` is true if a node did not take the last one.
    fn token(&self, renew: bool) -> BoxFuture<'static, Option<Secret>>;
}

/// No credentials, or always the same.
#[derive(Clone, Debug, Default)]
pub struct FixedToken(pub Option<Secret>);

impl Tokens for FixedToken {
    fn token(&self, _renew: bool) -> BoxFuture<'static, Option<Secret>> {
        std::future::ready(self.0.clone()).boxed()
    }
}

/// A client's surroundings. A clone is the same.
#[derive(Clone)]
pub struct Machine {
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Rng>,
    pub connector: Arc<dyn Connector>,
    /// Connections and publishers run on it; wait for it to see them end.
    pub tasks: TaskTracker,
    pub tokens: Arc<dyn Tokens>,
}

impl Machine {
    /// The real machine, without credentials.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(RealClock::new()),
            chance: Arc::new(SystemRng),
            connector: Arc::new(TcpConnector),
            tasks: TaskTracker::new(),
            tokens: Arc::new(FixedToken::default()),
        }
    }

    /// The value of an `authorization` header.
    pub(crate) async fn authorization(&self, renew: bool) -> Option<String> {
        let token = self.tokens.token(renew).await?;
        Some(format!("Bearer {}", token.expose()))
    }
}
