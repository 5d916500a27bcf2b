//! The drafts of one session: they wait for room one after the other, so that their order stays.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::receipt::{Receipt, Refusal};
use ractor::ActorRef;

use super::{Msg, Said, State};
use crate::publish::Room;

/// A publisher's deadline on a WebSocket.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);

impl State {
    pub(super) fn make_room(&mut self, myself: &ActorRef<Msg>) {
        let Some((_, draft)) = self.drafts.front() else {
            return;
        };
        let cost = draft.cost();
        let publisher = &self.sessions.state.publisher;
        let stream = self
            .stream
            .get_or_insert_with(|| Arc::new(publisher.stream()))
            .clone();
        let myself = myself.clone();
        self.sessions.state.deps.tracker.spawn(async move {
            myself.cast(Msg::Room(stream.room(cost).await)).ok();
        });
    }

    pub(super) fn room(&mut self, myself: &ActorRef<Msg>, room: Result<Room, Refusal>) {
        let Some((id, draft)) = self.drafts.pop_front() else {
            return;
        };
        match (room, &self.stream) {
            (Ok(room), Some(stream)) => {
                let published = stream.submit(self.control.grants(), room, draft, PUBLISH_WITHIN);
                let myself = myself.clone();
                self.sessions.state.deps.tracker.spawn(async move {
                    myself
                        .cast(Msg::Published {
                            id,
                            result: published.await,
                        })
                        .ok();
                });
            }
            (Err(refusal), _) => self.published(id, Err(refusal)),
            (Ok(_), None) => {}
        }
        self.make_room(myself);
    }

    pub(super) fn published(&mut self, id: u64, result: Result<Receipt, Refusal>) {
        match result {
            Ok(receipt) => self.answer(Some(id), &Said::Ack { id, receipt }),
            Err(refusal) => self.refuse(Some(id), refusal),
        }
    }
}
