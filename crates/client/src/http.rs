//! HTTP/1.1 to one edge over the machine's connector: requests one after the other on a connection
//! that is kept, and bodies that are read piece by piece.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use crate::endpoint::Address;
use crate::machine::Machine;
use crate::told::{Ending, Told};

/// How long a connection may take to be made.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// Most bytes of a body that is read whole: a poll's is 1 MiB of payload and its JSON.
const MAX_BODY: usize = 32 << 20;

/// A way to one edge. The connection is made when it is needed.
pub(crate) struct Http {
    machine: Machine,
    address: Address,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    pub(crate) fn new(machine: Machine, address: Address) -> Self {
        Self {
            machine,
            address,
            kept: None,
        }
    }

    async fn connected(&mut self) -> Result<SendRequest<Full<Bytes>>, Ending> {
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream = connect(&self.machine, &self.address).await?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(not_connected)?;
        self.machine.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an edge broke");
            }
        });
        Ok(sender)
    }

    /// Sends a request and waits for the head of its answer, without a deadline. `NotConnected`
    /// alone says that nothing was sent.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Ending> {
        let host = self.address.as_str().parse().map_err(not_connected)?;
        request.headers_mut().insert(header::HOST, host);
        let mut sender = self.connected().await?;
        let answered = sender.send_request(request).await;
        let response = answered.map_err(|error| match error.is_canceled() {
            true => not_connected(error),
            false => Ending::Cut(error.to_string()),
        })?;
        self.kept = Some(sender);
        Ok(response)
    }

    /// The same, and the whole body.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Ending> {
        let (parts, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|error| Ending::Cut(format!("the answer was cut: {error}")))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// Opens a stream: an answer with status 200 and its body.
    pub(crate) async fn open(&mut self, request: Request<Full<Bytes>>) -> Result<Incoming, Ending> {
        let response = self.send(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body();
        if status == 200 {
            return Ok(body);
        }
        let read = Limited::new(body, MAX_BODY).collect().await;
        let bytes = read.map(|body| body.to_bytes()).unwrap_or_default();
        Err(Told::of_http(status, &bytes).into())
    }
}

/// Connects to an edge in time.
pub(crate) async fn connect(
    machine: &Machine,
    address: &Address,
) -> Result<fanfare_host::Stream, Ending> {
    let late = || Ending::NotConnected(format!("{address}: no connection in time"));
    tokio::select! { biased;
        connected = machine.connector.connect(address.as_str()) => {
            connected.map_err(|error| Ending::NotConnected(format!("{address}: {error}")))
        }
        () = machine.clock.sleep(CONNECT) => Err(late()),
    }
}

fn not_connected(error: impl std::fmt::Display) -> Ending {
    Ending::NotConnected(error.to_string())
}

/// The next piece of a stream's body. Safe to cancel.
pub(crate) async fn piece(body: &mut Incoming) -> Result<Bytes, Ending> {
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(data);
                }
            }
            Some(Err(error)) => return Err(Ending::Cut(format!("the stream was cut: {error}"))),
            None => return Err(Ending::Cut("the stream was cut".to_owned())),
        }
    }
}
