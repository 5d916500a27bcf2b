//! A connection in memory whose ends are sockets: bounded, so that a reader can be slow.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use fanfare_host::{Socket, Stream};

#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    ended: bool,
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct End {
    from: Arc<Mutex<Way>>,
    to: Arc<Mutex<Way>>,
    capacity: usize,
}

/// Two connected streams, each with room for so many bytes on the way to the other.
pub(crate) fn pipe(capacity: usize) -> (Stream, Stream) {
    let (one, two) = (Arc::<Mutex<Way>>::default(), Arc::<Mutex<Way>>::default());
    let end = |from: &Arc<Mutex<Way>>, to: &Arc<Mutex<Way>>| {
        Stream::new(Arc::new(End {
            from: from.clone(),
            to: to.clone(),
            capacity,
        }))
    };
    (end(&one, &two), end(&two, &one))
}

impl Way {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl Socket for End {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.from.lock().unwrap();
        if way.bytes.is_empty() && !way.ended && !way.gone {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut way = self.from.lock().unwrap();
        if way.bytes.is_empty() {
            return if way.ended || way.gone {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let count = buf.len().min(way.bytes.len());
        for (slot, byte) in buf.iter_mut().zip(way.bytes.drain(..count)) {
            *slot = byte;
        }
        way.wake();
        Ok(count)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.to.lock().unwrap();
        if way.bytes.len() >= self.capacity && !way.gone {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut way = self.to.lock().unwrap();
        if way.gone || way.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.capacity - way.bytes.len().min(self.capacity);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = room.min(buf.len());
        way.bytes.extend(&buf[..count]);
        way.wake();
        Ok(count)
    }

    fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for buf in bufs {
            match self.try_write(buf) {
                Ok(count) => {
                    written += count;
                    if count < buf.len() {
                        break;
                    }
                }
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let mut way = self.to.lock().unwrap();
        way.ended = true;
        way.wake();
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for way in [&self.from, &self.to] {
            let mut way = way.lock().unwrap();
            way.gone = true;
            way.wake();
        }
    }
}
