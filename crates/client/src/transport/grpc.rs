//! A session over gRPC.

use fanfare_core::gap::GapReason;
use fanfare_protocol::json::{Reason, Received, ReceivedGap, ReceivedMessage};
use fanfare_protocol::spelling::{AnswerKind, Named};
use fanfare_rpc::client::{Events, PublicClient};
use fanfare_rpc::heard::{Heard, HeardAnswer, HeardGap, HeardItem, HeardReason, HeardSubscribed};
use fanfare_rpc::public::{Start, SubscribeRequest};

use super::{Attached, Said, Wish};
use crate::told::Ending;

pub(crate) struct Grpc {
    events: Events,
}

pub(super) async fn open(client: PublicClient, wish: Wish) -> Result<Grpc, Ending> {
    let Wish {
        topics,
        cursor,
        heartbeat,
        fresh,
        authorization,
    } = wish;
    let bad = || Ending::NotConnected("the token has characters that no header has".to_owned());
    let client = match authorization {
        Some(value) => client.authorized(&value).ok_or_else(bad)?,
        None => client,
    };
    // `at` wins over the cursor in this call, so topics that the cursor may hold go without one.
    let resumes = cursor.is_some();
    let start = |(topic, since)| Start {
        since: Some(since).filter(|_| !resumes || fresh.contains(&topic)),
        topic,
        min_position: None,
    };
    let request = SubscribeRequest {
        topics: topics.into_iter().map(start).collect(),
        cursor: None,
        heartbeat: Some(heartbeat),
        cursors: true,
    };
    let events = client.subscribe(request, cursor).await?;
    Ok(Grpc { events })
}

impl Grpc {
    pub(super) async fn next(&mut self) -> Result<Said, Ending> {
        let Some(heard) = self.events.next().await? else {
            return Err(Ending::Cut("the stream ended".to_owned()));
        };
        Ok(match heard {
            Heard::Subscribed(HeardSubscribed {
                topic,
                class: _,
                answer,
                from,
                head,
                cursor,
            }) => {
                let answer = match answer {
                    Some(HeardAnswer::Recovered) => AnswerKind::Recovered.into(),
                    Some(HeardAnswer::Gap) => AnswerKind::Gap.into(),
                    Some(HeardAnswer::Latest) => AnswerKind::Latest.into(),
                    None => Named::Other("other".to_owned()),
                };
                let attached = Attached {
                    topic,
                    answer,
                    from,
                    head,
                };
                Said::Attached(attached, cursor)
            }
            Heard::Items { items, cursor } => {
                Said::Items(items.into_iter().map(received).collect(), cursor)
            }
            Heard::Heartbeat | Heard::Other => Said::Alive,
            Heard::Disconnect(end) => return Err(end.into()),
        })
    }
}

fn received(item: HeardItem) -> Received {
    match item {
        HeardItem::Message(topic, message) => Received::Message(ReceivedMessage { topic, message }),
        HeardItem::Gap(HeardGap {
            topic,
            reason,
            from,
            to,
            missed,
        }) => Received::Gap(ReceivedGap {
            topic,
            reason: match reason {
                HeardReason::Known(GapReason::Trimmed(by)) => Reason::Trimmed(Some(by)),
                HeardReason::Known(known) => known.into(),
                HeardReason::TrimmedByOther => Reason::Trimmed(None),
                HeardReason::Other(number) => Reason::Other(format!("reason_{number}")),
            },
            from,
            to,
            missed,
        }),
        HeardItem::Other => Received::Other("other".to_owned()),
    }
}
