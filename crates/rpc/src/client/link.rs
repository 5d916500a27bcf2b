//! The sending end of publish and delivery links: what waits leaves as one message, and what never
//! left is told from what may have been seen.

use std::collections::VecDeque;

use fanfare_core::link::{EdgeSays, LeaderSays, PublishAnswer, PublishRequest, Redirect, Verdict};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::batch::{MAX_BYTES, batches};
use crate::convert::Malformed;
use crate::convert::link::request_to_pb;
use crate::pb::peer as pb;

use super::remote::Remote;

/// Values waiting on either side of a link, beside what the connection holds.
pub(crate) const LINK_QUEUE: usize = 256;

/// Carries a publish link until either side ends it. Drafts that never left get `Reroute`: they
/// are not placed by this sending.
pub(super) async fn publish(
    remote: Remote,
    mut drafts: mpsc::Receiver<PublishRequest>,
    answers: mpsc::Sender<PublishAnswer>,
) {
    let (uplink, body) = mpsc::channel(1);
    // The answer's head comes before any draft is taken: so a call that fails has sent nothing.
    let mut taken = VecDeque::new();
    let opened = match remote.request(ReceiverStream::new(body)) {
        Ok(call) => remote.links().publish(call).await.map_err(Into::into),
        Err(failure) => Err(failure),
    };
    match opened {
        Err(failure) => tracing::debug!(node = %remote.node(), %failure, "publish link refused"),
        Ok(response) => {
            let mut sent = std::pin::pin!(forward_drafts(&mut drafts, &mut taken, uplink));
            let mut received = std::pin::pin!(forward_verdicts(response.into_inner(), &answers));
            tokio::select! { biased;
                () = &mut received => {}
                () = &mut sent => received.await,
            }
        }
    }
    drafts.close();
    while let Some(unsent) = match taken.pop_front() {
        Some(unsent) => Some(unsent),
        None => drafts.recv().await,
    } {
        let verdict = Verdict::Reroute(Redirect::default());
        if answers
            .send(PublishAnswer {
                seq: unsent.seq,
                verdict,
            })
            .await
            .is_err()
        {
            break;
        }
    }
}

/// `taken` holds what was taken from the queue and has not left.
async fn forward_drafts(
    drafts: &mut mpsc::Receiver<PublishRequest>,
    taken: &mut VecDeque<PublishRequest>,
    uplink: mpsc::Sender<pb::Drafts>,
) {
    let mut waiting = Vec::new();
    while let Ok(room) = uplink.reserve().await {
        if taken.is_empty() {
            if drafts.recv_many(&mut waiting, LINK_QUEUE).await == 0 {
                return;
            }
            taken.extend(waiting.drain(..));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_BYTES
            && let Some(request) = taken.pop_front()
        {
            bytes += request.draft.cost();
            batch.push(request_to_pb(&request));
        }
        room.send(pb::Drafts { drafts: batch });
    }
}

async fn forward_verdicts(
    mut verdicts: tonic::Streaming<pb::Verdicts>,
    answers: &mpsc::Sender<PublishAnswer>,
) {
    loop {
        let pb::Verdicts { verdicts: batch } = match verdicts.message().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(code = %status.code(), why = status.message(), "publish link broke");
                return;
            }
        };
        for verdict in batch {
            match PublishAnswer::try_from(verdict) {
                Ok(answer) => {
                    if answers.send(answer).await.is_err() {
                        return;
                    }
                }
                Err(bad) => return malformed("publish", &bad),
            }
        }
    }
}

fn malformed(link: &'static str, bad: &Malformed) {
    tracing::warn!(link, %bad, "a node sent what this one does not understand");
}

/// Carries a delivery link until either side ends it.
pub(super) async fn deliver(
    remote: Remote,
    says: mpsc::Receiver<EdgeSays>,
    heard: mpsc::Sender<LeaderSays>,
) {
    let words = batches(says, |_| 0).map(|batch| pb::EdgeSays {
        words: batch.into_iter().map(Into::into).collect(),
    });
    let opened = match remote.request(words) {
        Ok(call) => remote.links().deliver(call).await.map_err(Into::into),
        Err(failure) => Err(failure),
    };
    let mut incoming = match opened {
        Ok(response) => response.into_inner(),
        Err(failure) => {
            tracing::debug!(node = %remote.node(), %failure, "delivery link refused");
            return;
        }
    };
    loop {
        let pb::LeaderSays { words } = tokio::select! { biased;
            () = heard.closed() => return,
            batch = incoming.message() => match batch {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(code = %status.code(), why = status.message(), "delivery link broke");
                    return;
                }
            },
        };
        for word in words {
            match LeaderSays::try_from(word) {
                Ok(word) => {
                    if heard.send(word).await.is_err() {
                        return;
                    }
                }
                Err(bad) => return malformed("delivery", &bad),
            }
        }
    }
}
