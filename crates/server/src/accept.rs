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
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tracing::{debug, warn};

use crate::stall::impatient;
use crate::streams::{self, Streams};

/// Limits of a door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at once; one more is closed at accept.
    pub(crate) connections: usize,
    /// Time from accept to a whole first request head.
    pub(crate) header_timeout: Duration,
    /// Time without a request, or with a part of its head, after which an HTTP/1.1 connection is
    /// closed.
    pub(crate) idle_timeout: Duration,
    /// Longest request head, in bytes.
    pub(crate) head_bytes: usize,
    /// Streams of one HTTP/2 connection.
    pub(crate) http2_streams: u32,
    /// Bytes a peer may send on an HTTP/2 stream before they are read.
    pub(crate) http2_window: u32,
    /// A connection whose writes make no progress for so long is closed.
    pub(crate) write_stall: Option<Duration>,
}

/// Above the minute after which proxies and load balancers close their idle connections: who closes
/// first must be they, else a request meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(75);

/// Above the limit of sessions (60 s), which end with a code where they can.
const WRITE_STALL: Duration = Duration::from_secs(70);

impl Limits {
    /// For a door anybody reaches.
    pub(crate) fn public(connections: usize, header_timeout: Duration) -> Self {
        Self {
            connections,
            header_timeout,
            idle_timeout: IDLE,
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
            idle_timeout: IDLE,
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
        let asked = Arc::new(Notify::new());
        let first = first_request(Arc::clone(&asked), &*ground.clock, limits.header_timeout);
        let connection = builder.serve_connection_with_upgrades(
            TokioIo::new(stream),
            hyper::service::service_fn(move |request| {
                asked.notify_one();
                answer(service.clone(), request, from)
            }),
        );
        let connection = graceful.watch(connection.into_owned());
        let abort = ground.abort.clone();
        ground.tracker.spawn(async move {
            let _permit = permit;
            tokio::select! { biased;
                () = abort.cancelled() => debug!(door, %from, "connection cut off"),
                () = first => debug!(door, %from, "closed: it asked for nothing"),
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

fn builder(limits: &Limits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        // Runs between requests too, so it is the idle limit; the first head has its own.
        .header_read_timeout(limits.idle_timeout)
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

/// Completes if nothing was asked within `limit`: neither the detection of the protocol nor a
/// connection that sends nothing has a timer of its own.
fn first_request(
    asked: Arc<Notify>,
    clock: &dyn Clock,
    limit: Duration,
) -> impl Future<Output = ()> + Send + use<> {
    let over = clock.sleep(limit);
    async move {
        let heard = tokio::select! { biased;
            () = asked.notified() => true,
            () = over => false,
        };
        if heard {
            std::future::pending::<()>().await;
        }
    }
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
    if let Some(cut) = streams::cut() {
        request.extensions_mut().insert(cut);
    }
    service.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use fanfare_host::{Connector as _, Stream, TcpConnector, TcpDoor};
    use futures_util::future::{BoxFuture, FutureExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;

    use super::*;

    /// A clock that is moved by hand.
    #[derive(Clone)]
    struct Hands(watch::Sender<Duration>);

    impl Clock for Hands {
        fn now(&self) -> Duration {
            *self.0.borrow()
        }
        fn wall_ms(&self) -> u64 {
            0
        }
        fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
            let mut now = self.0.subscribe();
            async move { drop(now.wait_for(|now| *now >= at).await) }.boxed()
        }
    }

    struct Door {
        address: SocketAddr,
        hands: Hands,
        abort: CancellationToken,
    }

    impl Door {
        /// A door that answers everything.
        async fn open(limits: Limits) -> Self {
            let listener = TcpDoor::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let hands = Hands(watch::Sender::new(Duration::ZERO));
            let ground = Ground {
                clock: Arc::new(hands.clone()),
                tracker: TaskTracker::new(),
                stop: CancellationToken::new(),
                abort: CancellationToken::new(),
            };
            let abort = ground.abort.clone();
            let answers = tower::service_fn(async |_| Ok(Response::new(Body::from("here"))));
            let tracker = ground.tracker.clone();
            tracker.spawn(accept("test", Box::new(listener), answers, limits, ground));
            Self {
                address,
                hands,
                abort,
            }
        }

        async fn connect(&self) -> Stream {
            let address = self.address.to_string();
            TcpConnector.connect(&address).await.unwrap()
        }
    }

    impl Drop for Door {
        fn drop(&mut self) {
            self.abort.cancel();
        }
    }

    async fn ask(client: &mut Stream) {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "closed");
        }
    }

    fn limits() -> Limits {
        Limits::public(8, Duration::from_secs(5))
    }

    #[tokio::test]
    async fn who_asks_for_nothing_is_closed() {
        for said in [&b""[..], b"PRI * HTTP/2", b"GET / HT"] {
            let door = Door::open(limits()).await;
            let mut client = door.connect().await;
            client.write_all(said).await.unwrap();
            // Accepted, once its timer hears the clock.
            while door.hands.0.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            door.hands.0.send_replace(Duration::from_secs(5));
            let mut rest = Vec::new();
            let closed = client.read_to_end(&mut rest);
            let soon = Duration::from_secs(30);
            tokio::time::timeout(soon, closed).await.unwrap().ok();
        }
    }

    #[tokio::test]
    async fn who_has_asked_may_rest() {
        let door = Door::open(limits()).await;
        let mut client = door.connect().await;
        ask(&mut client).await;
        door.hands.0.send_replace(Duration::from_secs(70));
        ask(&mut client).await;
    }

    #[tokio::test]
    async fn a_rest_without_end_is_ended() {
        let idle_timeout = Duration::from_millis(50);
        let door = Door::open(Limits {
            idle_timeout,
            ..limits()
        });
        let door = door.await;
        let mut client = door.connect().await;
        ask(&mut client).await;
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
