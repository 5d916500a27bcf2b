//! A tail: lines of JSON.

use std::collections::VecDeque;

use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::ndjson::{CONTENT_TYPE, Lines};
use hyper::body::Incoming;

use super::sse::MAX_EVENT;
use super::url::{self, Route};
use super::{Said, Wish, malformed, said};
use crate::endpoint::Address;
use crate::http::{Http, piece};
use crate::machine::Machine;
use crate::told::Ending;

pub(crate) struct Tail {
    body: Incoming,
    lines: Lines,
    heard: VecDeque<Vec<u8>>,
}

pub(super) async fn open(machine: &Machine, address: &Address, wish: Wish) -> Result<Tail, Ending> {
    let route = Route::Tail {
        heartbeat: wish.heartbeat,
    };
    let path = url::path(route, &wish, wish.cursor.as_deref());
    let request = url::get(&path, CONTENT_TYPE, &wish)?;
    let body = Http::new(machine.clone(), address.clone())
        .open(request)
        .await?;
    Ok(Tail {
        body,
        lines: Lines::new(MAX_EVENT),
        heard: VecDeque::new(),
    })
}

impl Tail {
    pub(super) async fn next(&mut self) -> Result<Said, Ending> {
        loop {
            if let Some(line) = self.heard.pop_front() {
                return said(ServerFrame::read(&line).map_err(malformed)?);
            }
            let piece = piece(&mut self.body).await?;
            let heard = &mut self.heard;
            self.lines
                .push(&piece, |line| heard.push_back(line.to_vec()))
                .map_err(malformed)?;
        }
    }
}
