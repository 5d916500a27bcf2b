//! A socket whose peer stopped reading is given up: no response waits for ever in a connection,
//! whatever protocol it carries. Sessions have a limit of their own, below this one, with a code.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_host::{Clock, Socket, Stream};
use futures_util::future::{BoxFuture, FutureExt as _};

/// A stream whose writes fail with `TimedOut` once one has waited for `limit` without progress.
pub(crate) fn impatient(stream: &Stream, clock: Arc<dyn Clock>, limit: Duration) -> Stream {
    Stream::new(Arc::new(Impatient {
        inner: Arc::clone(stream.socket()),
        clock,
        limit,
        patience: Mutex::new(None),
    }))
}

struct Impatient {
    inner: Arc<dyn Socket>,
    clock: Arc<dyn Clock>,
    limit: Duration,
    /// Runs while a write waits: nothing is kept for a socket that takes what it is given.
    patience: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Socket for Impatient {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_read_ready(cx)
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.try_read(buf)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = self.inner.poll_write_ready(cx);
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_ready() {
            *patience = None;
            return ready;
        }
        let timer = patience.get_or_insert_with(|| self.clock.sleep(self.limit));
        if timer.poll_unpin(cx).is_pending() {
            return Poll::Pending;
        }
        *patience = None;
        let why = "the peer has stopped reading";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.moved(self.inner.try_write(buf))
    }

    fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.moved(self.inner.try_write_vectored(bufs))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.inner.shutdown_write()
    }
}

impl Impatient {
    /// Bytes that were taken are progress, whoever asked for readiness before.
    fn moved(&self, written: io::Result<usize>) -> io::Result<usize> {
        if written.as_ref().is_ok_and(|bytes| *bytes > 0) {
            *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fanfare_host::RealClock;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(70);

    /// Takes bytes while it is open; never wakes anybody.
    #[derive(Default)]
    struct Peer {
        reads: AtomicBool,
    }

    impl Socket for Peer {
        fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn try_read(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match self.reads.load(Ordering::Relaxed) {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        }
        fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
            Ok(bufs.iter().map(|buf| buf.len()).sum())
        }
        fn shutdown_write(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connected() -> (Arc<Peer>, Stream, Arc<RealClock>) {
        let peer = Arc::new(Peer::default());
        let clock = Arc::new(RealClock::new());
        let stream = impatient(&Stream::new(peer.clone()), clock.clone(), LIMIT);
        (peer, stream, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stopped_reading_is_given_up() {
        let (_peer, mut stream, clock) = connected();
        let refused = stream.write_all(b"news").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(clock.now() >= LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_reads_again_in_time_is_not() {
        let (peer, mut stream, clock) = connected();
        for _ in 0..3 {
            peer.reads.store(false, Ordering::Relaxed);
            let resumes = async {
                clock.sleep(LIMIT - Duration::from_secs(1)).await;
                peer.reads.store(true, Ordering::Relaxed);
            };
            // The peer wakes nobody: join polls the write again when the pause is over.
            let (written, ()) = tokio::join!(stream.write_all(b"news"), resumes);
            written.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_without_asking_is_progress_too() {
        let (_peer, stream, clock) = connected();
        let wait = async |within: Duration| {
            let writable = stream.writable();
            tokio::select! { biased;
                given_up = writable => given_up.is_err(),
                () = clock.sleep(within) => false,
            }
        };
        assert!(!wait(Duration::from_millis(100)).await);
        assert_eq!(stream.try_write(b"news").unwrap(), 4);
        clock.sleep(LIMIT + Duration::from_secs(1)).await;
        assert!(!wait(LIMIT - Duration::from_secs(1)).await);
    }
}
