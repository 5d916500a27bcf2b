//! The accept loop of every door: limits, timeouts, HTTP/1.1 and HTTP/2 on one port. A door hands
//! it a tower service; what is said over a connection is the service's affair.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use fanfare_host::{Clock, Listener};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tracing::{debug, warn};

use crate::stall::impatient;

/// Limits of a door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at once; one more is closed at accept.
    pub(crate) connections: usize,
    /// Time from accept to a whole first request head.
    pub(crate) header_timeout: Duration,
    /// Longest request head, in bytes.
    pub(crate) head_bytes: usize,
    /// Streams of one HTTP/2 connection.
    pub(crate) http2_streams: u32,
    /// Bytes a peer may send on an HTTP/2 stream before they are read.
    pub(crate) http2_window: u32,
    /// A connection whose writes make no progress for so long is closed.
    pub(crate) write_stall: Option<Duration>,
}

/// Above the limit of sessions (60 s), which end with a code where they can.
const WRITE_STALL: Duration = Duration::from_secs(70);

impl Limits {
    /// For a door anybody reaches.
    pub(crate) fn public(connections: usize, header_timeout: Duration) -> Self {
        Self {
            connections,
            header_timeout,
            head_bytes: 32 << 10,
            http2_streams: 256,
            http2_window: 256 << 10,
            write_stall: Some(WRITE_STALL),
        }
    }

    /// For the other nodes of the cluster.
    pub(crate) fn peers() -> Self {
        Self {
            connections: 1_024,
            header_timeout: Duration::from_secs(5),
            head_bytes: 32 << 10,
            http2_streams: 4_096,
            http2_window: 4 << 20,
            write_stall: None,
        }
    }
}

/// What an accept loop stands on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tracker: TaskTracker,
    /// Stop accepting, let requests in flight end.
    pub(crate) stop: CancellationToken,
    /// Drop what is still open.
    pub(crate) abort: CancellationToken,
}

/// Accepts until stopped, then lets what is in flight end until aborted. Returns once no
/// connection is left.
pub(crate) async fn accept<S>(
    door: &'static str,
    listener: Box<dyn Listener>,
    service: S,
    limits: Limits,
    ground: Ground,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let builder = builder(&limits);
    loop {
        let accepted = tokio::select! { biased;
            () = ground.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most often: the next attempt would fail as fast.
                warn!(door, error = %e, "cannot accept");
                ground.clock.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            debug!(door, %from, "closed at accept: too many connections");
            continue;
        };
        let stream = match limits.write_stall {
            Some(limit) => impatient(&stream, Arc::clone(&ground.clock), limit),
            None => stream,
        };
        let service = service.clone();
        let connection = builder.serve_connection_with_upgrades(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| answer(service.clone(), request, from)),
        );
        let connection = graceful.watch(connection.into_owned());
        let abort = ground.abort.clone();
        ground.tracker.spawn(async move {
            let _permit = permit;
            tokio::select! { biased;
                () = abort.cancelled() => {}
                ended = connection => if let Err(e) = ended {
                    debug!(door, %from, error = %e, "connection ended");
                }
            }
        });
    }
    drop(listener);
    tokio::select! { biased;
        () = ground.abort.cancelled() => {}
        () = graceful.shutdown() => {}
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.head_bytes)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .initial_stream_window_size(limits.http2_window)
        .initial_connection_window_size(limits.http2_window.saturating_mul(4))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}

async fn answer<S>(
    service: S,
    request: Request<Incoming>,
    from: SocketAddr,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut request = request.map(Body::new);
    request
        .extensions_mut()
        .insert(axum::extract::ConnectInfo(from));
    service.oneshot(request).await
}
