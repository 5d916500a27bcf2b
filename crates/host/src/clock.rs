//! Time as an argument: monotonic for everything that decides, wall clock for display and expiry.

use std::time::Duration;

use futures_util::future::BoxFuture;

/// A node's clock. Simulations and skew tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since an origin that is fixed for this clock.
    fn now(&self) -> Duration;

    /// Wall clock, ms since 1970 UTC. May jump; never decides about order or retention.
    fn wall_ms(&self) -> u64;

    /// Completes once `now()` is at least `at`.
    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()>;

    /// Completes after `time`.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now().saturating_add(time))
    }
}

/// The machine's clock, on tokio's timers (so a test that pauses tokio's time pauses it too).
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: tokio::time::Instant,
}

impl RealClock {
    /// A clock whose monotonic time begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    #[expect(clippy::new_without_default, reason = "reads the machine's clock")]
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Duration {
        tokio::time::Instant::now().saturating_duration_since(self.origin)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.origin + at))
    }
}
