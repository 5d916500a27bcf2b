//! An event stream.

use std::collections::VecDeque;

use fanfare_protocol::sse::{CONTENT_TYPE, Parser, SseItem};
use hyper::body::Incoming;

use super::url::{self, Route};
use super::{Said, Wish, malformed, said};
use crate::endpoint::Address;
use crate::http::{Http, piece};
use crate::machine::Machine;
use crate::told::Ending;

/// Most bytes of an event: a payload of the largest limit, as JSON.
pub(super) const MAX_EVENT: usize = 16 << 20;

pub(crate) struct Sse {
    body: Incoming,
    parser: Parser,
    heard: VecDeque<SseItem>,
}

pub(super) async fn open(machine: &Machine, address: &Address, wish: Wish) -> Result<Sse, Ending> {
    let route = Route::Sse {
        heartbeat: wish.heartbeat,
    };
    let path = url::path(route, &wish, wish.cursor.as_deref());
    let request = url::get(&path, CONTENT_TYPE, &wish)?;
    let body = Http::new(machine.clone(), address.clone())
        .open(request)
        .await?;
    Ok(Sse {
        body,
        parser: Parser::new(MAX_EVENT),
        heard: VecDeque::new(),
    })
}

impl Sse {
    pub(super) async fn next(&mut self) -> Result<Said, Ending> {
        loop {
            match self.heard.pop_front() {
                Some(SseItem::Event(event)) => return said(event.into_frame().map_err(malformed)?),
                // When to come back is decided by advice, not by the stream's `retry`.
                Some(SseItem::Comment | SseItem::Retry(_)) => return Ok(Said::Alive),
                None => {}
            }
            let piece = piece(&mut self.body).await?;
            let mut items = Vec::new();
            self.parser.push(&piece, &mut items).map_err(malformed)?;
            self.heard.extend(items);
        }
    }
}
