//! WebSocket: handshake, frames in, and the task of a connection, which reads and is the session's
//! pump. What is sent goes through the delivery state, never beside it.

mod connection;
mod wire;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use fanfare_host::Stream;
use fanfare_protocol::header::{Offer, SUBPROTOCOL, subprotocol, wrong_subprotocol};
use fanfare_protocol::query::ReadQuery;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::auth::Bearer;
use crate::sessions::Sessions;

/// Answers a handshake whose method and origin were checked. What the URL has wrong, credentials
/// too, is told after the upgrade, by `disconnect` and close code. `Err` is told over HTTP.
pub(crate) fn serve(
    sessions: &Sessions,
    mut request: Request<Body>,
    opening: Result<(ReadQuery, Bearer), Refusal>,
) -> Result<Response, Refusal> {
    let seat = sessions.admit()?;
    let (accept, confirmed) = handshake(request.headers())?;
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Refusal::new(
            Code::ProtocolError,
            "a WebSocket needs HTTP/1.1",
        ));
    };
    let tracker = sessions.state.deps.tracker.clone();
    let sessions = sessions.clone();
    tracker.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(auto::upgrade::Parts { io, read_buf, .. }) =
            auto::upgrade::downcast::<TokioIo<Stream>>(upgraded)
        else {
            tracing::error!("a WebSocket came over a stream that is not the accept loop's");
            return;
        };
        // Copied and dropped: else hyper's buffer lives as long as the session.
        let early = read_buf.to_vec();
        drop(read_buf);
        connection::run(sessions, seat, io.into_inner(), early, opening).await;
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if confirmed {
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    Ok(response)
}

/// The answer to the client's key, and whether our subprotocol was offered (RFC 6455, 4.2).
fn handshake(headers: &HeaderMap) -> Result<(HeaderValue, bool), Refusal> {
    let has = |name: HeaderName, token: &str| {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let wrong = |detail: &str| Refusal::new(Code::ProtocolError, detail);
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err(wrong(
            "this route speaks WebSocket: `Connection: Upgrade`, `Upgrade: websocket`",
        ));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version.as_bytes() != b"13")
    {
        return Err(wrong("`Sec-WebSocket-Version` must be 13").field("Sec-WebSocket-Version"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&[][..], HeaderValue::as_bytes);
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    if decoded.map_or(0, |bytes| bytes.len()) != 16 {
        return Err(
            wrong("`Sec-WebSocket-Key` must be 16 bytes in base64").field("Sec-WebSocket-Key")
        );
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let confirmed = match subprotocol(values.filter_map(|value| value.to_str().ok())) {
        Offer::None => false,
        Offer::Ours => true,
        Offer::Others => return Err(wrong_subprotocol()),
    };
    let accept = HeaderValue::try_from(derive_accept_key(key));
    let accept = accept.map_err(|_| wrong("`Sec-WebSocket-Key` is malformed"))?;
    Ok((accept, confirmed))
}
