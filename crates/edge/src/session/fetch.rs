//! The page a session's pump is waiting for: at most one at a time.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_core::gap::Page;
use fanfare_core::id::ShardId;
use fanfare_core::link::{PageRequest, Run};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_host::Clock;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::reading::Reading;

/// Pause before a page is asked for again that had nothing new.
const PAUSE: Duration = Duration::from_millis(200);

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) sub: u64,
    pub(crate) topic: TopicName,
    pub(crate) after: Position,
    /// Only the leader may answer.
    pub(crate) leader: bool,
    /// The last one had nothing new, or failed.
    pub(crate) pause: bool,
}

/// A page and what it was asked for.
pub(crate) type Fetched = (Want, Result<Page, Refusal>);

/// The pump's request for a page.
pub(crate) struct Fetch {
    reading: Arc<Reading>,
    clock: Arc<dyn Clock>,
    running: Option<BoxFuture<'static, Fetched>>,
}

impl Fetch {
    pub(crate) fn new(reading: Arc<Reading>, clock: Arc<dyn Clock>) -> Self {
        Self {
            reading,
            clock,
            running: None,
        }
    }

    /// Asks for a page, unless one is on its way.
    pub(crate) fn start(&mut self, want: Want) {
        if self.running.is_some() {
            return;
        }
        let (reading, clock) = (self.reading.clone(), self.clock.clone());
        let page = async move {
            if want.pause {
                clock.sleep(PAUSE).await;
            }
            let request = PageRequest {
                shard: ShardId(0),
                topic: want.topic.clone(),
                after: want.after,
                limit: Run::MAX_MESSAGES as u32,
                bytes: Run::MAX_BYTES,
                leader: want.leader,
            };
            let result = reading.page(&want.topic, request).await;
            (want, result)
        };
        self.running = Some(page.boxed());
    }

    /// The page, once it is there. Pending too if none was asked for.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fetched> {
        let Some(running) = &mut self.running else {
            return Poll::Pending;
        };
        let fetched = std::task::ready!(running.poll_unpin(cx));
        self.running = None;
        Poll::Ready(fetched)
    }
}
