//! The tasks of HTTP/2 streams, each of which can be ended alone. A body whose client takes nothing is
//! not looked at any more, so that nothing inside it could end it.

use fanfare_edge::Cut;
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;

tokio::task_local! {
    static CUT: CancellationToken;
}

/// Runs streams until they are cut. A stream that is dropped resets itself and lets go of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = CancellationToken::new();
        let over = cut.clone();
        let run = async move {
            tokio::select! { biased;
                () = over.cancelled() => {}
                _ = stream => {}
            }
        };
        TokioExecutor::new().execute(CUT.scope(cut, run));
    }
}

/// Ends the stream of the request that is being answered; `None` over HTTP/1.1, where the
/// connection itself ends if its writes make no progress.
pub(crate) fn cut() -> Option<Cut> {
    CUT.try_with(|cut| Cut::new(cut.clone())).ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use bytes::Bytes;
    use fanfare_host::{Connector as _, Listener as _, RealClock, TcpConnector, TcpDoor};
    use http_body_util::BodyExt as _;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use hyper_util::server::conn::auto;
    use tokio::sync::mpsc;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::accept::{Ground, Limits, accept};

    /// Tells when it is let go.
    struct Held(mpsc::Sender<()>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.try_send(()).ok();
        }
    }

    #[tokio::test]
    async fn a_stream_whose_client_takes_nothing_is_cut_alone() {
        let tracker = TaskTracker::new();
        let (client, server) = tokio::io::duplex(64 << 10);
        let (gone, mut let_go) = mpsc::channel(8);
        let (cuts, mut begun) = mpsc::channel(8);
        let service = hyper::service::service_fn(move |_| {
            let (held, cuts) = (Held(gone.clone()), cuts.clone());
            async move {
                cuts.send(cut()).await.ok();
                let endless = futures_util::stream::repeat_with(move || {
                    let _held = &held;
                    Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1_000]))
                });
                Ok::<_, Infallible>(Response::new(Body::from_stream(endless)))
            }
        });
        tracker.spawn(async move {
            let builder = auto::Builder::new(Streams);
            let served = builder.serve_connection_with_upgrades(TokioIo::new(server), service);
            served.await.ok();
        });
        let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1_000)
            .handshake::<_, Body>(TokioIo::new(client));
        let (mut requests, connection) = handshake.await.unwrap();
        tracker.spawn(async move { drop(connection.await) });
        let ask = || {
            Request::get("http://edge.example/")
                .body(Body::empty())
                .unwrap()
        };
        let mut stuck = requests.send_request(ask()).await.unwrap().into_body();
        let cut = begun.recv().await.unwrap().expect("a stream of HTTP/2");
        let mut read = requests.send_request(ask()).await.unwrap().into_body();
        assert!(begun.recv().await.unwrap().is_some());
        assert!(let_go.try_recv().is_err());

        cut.now();
        let_go.recv().await.expect("its body is let go");
        while let Some(piece) = stuck.frame().await {
            if piece.is_err() {
                break;
            }
        }
        for _ in 0..10 {
            read.frame().await.unwrap().unwrap();
        }
        assert!(let_go.try_recv().is_err(), "the other goes on");
    }

    #[tokio::test]
    async fn a_door_says_how_a_stream_is_cut_and_that_a_connection_is_not() {
        let listener = TcpDoor::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ground = Ground {
            clock: Arc::new(RealClock::new()),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        let (tracker, abort) = (ground.tracker.clone(), ground.abort.clone());
        let service = tower::service_fn(async |request: Request<Body>| {
            let cuttable = request.extensions().get::<Cut>().is_some();
            Ok(Response::new(Body::from(cuttable.to_string())))
        });
        let limits = Limits::public(8, Duration::from_secs(60));
        tracker.spawn(accept("test", Box::new(listener), service, limits, ground));
        let ask = || Request::get("http://edge.example/").body(Body::empty());

        let stream = TokioIo::new(TcpConnector.connect(&address).await.unwrap());
        let executor = TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake::<_, _, Body>(executor, stream);
        let (mut requests, connection) = handshake.await.unwrap();
        tracker.spawn(async move { drop(connection.await) });
        let answer = requests.send_request(ask().unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "true");

        let stream = TokioIo::new(TcpConnector.connect(&address).await.unwrap());
        let handshake = hyper::client::conn::http1::handshake::<_, Body>(stream);
        let (mut requests, connection) = handshake.await.unwrap();
        tracker.spawn(async move { drop(connection.await) });
        let answer = requests.send_request(ask().unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "false");
        abort.cancel();
    }
}
