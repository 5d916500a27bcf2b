//! Listener, connector and the byte stream they hand out. A stream's socket can be shared: a
//! second holder may write to it without owning the reading side.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt as _, poll_fn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connected socket that never waits by itself: readiness, then a try.
pub trait Socket: Send + Sync + 'static {
    /// Ready once `try_read` may give something. One task may wait at a time.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Reads what is there; `WouldBlock` if nothing is.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize>;
    /// Ready once `try_write` may take something. One task may wait at a time.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Writes what fits; `WouldBlock` if nothing does.
    fn try_write(&self, buf: &[u8]) -> io::Result<usize>;
    /// Writes what fits of several buffers, in order.
    fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize>;
    /// Ends the writing side: the other end reads what was written, then its end.
    fn shutdown_write(&self) -> io::Result<()>;
}

/// A byte stream. What `accept` and `connect` hand out.
#[derive(Clone)]
pub struct Stream {
    socket: Arc<dyn Socket>,
}

impl Stream {
    /// A stream over a socket.
    pub fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket }
    }

    /// The socket, to share: whoever holds it may write while another reads.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// Writes what fits now; `WouldBlock` if nothing does.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.try_write(buf)
    }

    /// Completes once `try_write` may take something.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.socket.poll_write_ready(cx)).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            std::task::ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buf.initialize_unfilled()) {
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown_write())
    }
}

/// Where connections come in.
pub trait Listener: Send + Sync + 'static {
    /// The next connection and the address it came from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>>;
    /// The address listened on.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// How connections are made.
pub trait Connector: Send + Sync + 'static {
    /// Connects to `HOST:PORT`. Waits as long as the machine does: bring a deadline.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Stream>>;
}

/// A TCP socket. Dropping the last holder closes it.
struct TcpSocket(tokio::net::TcpStream);

impl Socket for TcpSocket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Write).map_err(io::Error::from)
    }
}

fn tcp(stream: tokio::net::TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(Stream::new(Arc::new(TcpSocket(stream))))
}

/// Listens on TCP.
pub struct TcpDoor(tokio::net::TcpListener);

impl TcpDoor {
    /// Binds `HOST:PORT`; port 0 takes a free one.
    #[expect(clippy::disallowed_methods, reason = "this is the real listener")]
    pub async fn bind(address: &str) -> io::Result<Self> {
        tokio::net::TcpListener::bind(address).await.map(Self)
    }
}

impl Listener for TcpDoor {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async {
            let (stream, from) = self.0.accept().await?;
            Ok((tcp(stream)?, from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Connects by TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    #[expect(clippy::disallowed_methods, reason = "this is the real connector")]
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Stream>> {
        let address = address.to_owned();
        async move { tcp(tokio::net::TcpStream::connect(address).await?) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_shared_socket_writes_while_its_owner_reads() -> io::Result<()> {
        let door = TcpDoor::bind("127.0.0.1:0").await?;
        let address = door.local_addr()?.to_string();
        let (client, server) = tokio::join!(TcpConnector.connect(&address), door.accept());
        let (mut client, (mut server, _)) = (client?, server?);

        let writer = server.socket().clone();
        client.write_all(b"ping").await?;
        let mut read = [0; 4];
        server.read_exact(&mut read).await?;
        assert_eq!(&read, b"ping");
        assert_eq!(writer.try_write(b"pong")?, 4);
        client.read_exact(&mut read).await?;
        assert_eq!(&read, b"pong");

        client.shutdown().await?;
        assert_eq!(server.read(&mut read).await?, 0);
        Ok(())
    }
}
