//! Publishing as every door uses it: streams of drafts go in, each ends in an ack or a refusal.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_core::grant::Grants;
use fanfare_core::message::Draft;
use fanfare_core::receipt::{Receipt, Refusal};

/// Where drafts go. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {}

impl Publisher {
    /// Opens a publish stream (C3): one HTTP request, one WebSocket, one gRPC call.
    pub fn stream(&self) -> PublishStream {
        PublishStream {}
    }
}

/// One publish stream. Dropping it leaves what was submitted to its end.
pub struct PublishStream {}

impl PublishStream {
    /// Waits for room for a draft that takes so many bytes ([`Draft::cost`]): at most
    /// `room_wait`, then `overloaded`. Await one before the next, so that the order is yours.
    pub async fn room(&self, _cost: u64) -> Result<Room, Refusal> {
        std::future::pending().await
    }

    /// Takes the draft; the order of these calls is the order of placing (C3), whether or not the
    /// answers are awaited. Checks the grant, the topic and the payload's size. A draft with ack
    /// `none` is answered at once. `timeout` is the publisher's deadline from now on.
    pub fn submit(
        &self,
        _grants: &Grants,
        _room: Room,
        _draft: Draft,
        _timeout: Duration,
    ) -> Published {
        Published {}
    }
}

/// Room for one draft among those in flight.
pub struct Room {}

/// The end of one draft. Dropping it does not take the draft back.
pub struct Published {}

impl Future for Published {
    type Output = Result<Receipt, Refusal>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}
