//! How a subscriber gets its answer: from the relay's tail if that alone can say, else from the
//! topic's leader.

use std::time::Duration;

use fanfare_core::gap::{Since, Standing};
use fanfare_core::link::StandRequest;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;

use super::pour::Tape;
use crate::sessions::Sessions;

/// A wish for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) topic: TopicName,
    pub(crate) since: Since,
    pub(crate) min_position: Option<Position>,
    /// How long `min_position` is waited for.
    pub(crate) wait: Duration,
    pub(crate) poll: bool,
}

impl Wish {
    /// A stream's.
    pub(crate) fn stream(topic: TopicName, since: Since, min_position: Option<Position>) -> Self {
        Self {
            topic,
            since,
            min_position,
            wait: crate::reading::READY_WITHIN,
            poll: false,
        }
    }
}

/// A topic with its answer.
pub(crate) struct Attached {
    pub(crate) topic: TopicName,
    pub(crate) tape: Tape,
    pub(crate) standing: Standing,
}

/// The answer to a wish, and a lease on the topic's relay.
pub(crate) async fn attach(sessions: &Sessions, wish: Wish) -> Result<Attached, Refusal> {
    let relay = sessions.relays().lease(&wish.topic);
    let known = match (wish.since, wish.min_position) {
        (Since::After(at), None) => relay.stand(at),
        _ => None,
    };
    let standing = match known {
        Some(standing) => standing,
        None => stand(sessions, &wish).await?,
    };
    Ok(Attached {
        topic: wish.topic,
        tape: Tape::Relay(relay),
        standing,
    })
}

/// The leader's answer to a wish.
pub(crate) async fn stand(sessions: &Sessions, wish: &Wish) -> Result<Standing, Refusal> {
    let request = StandRequest {
        topic: wish.topic.clone(),
        since: wish.since,
        poll: wish.poll,
        min_position: wish.min_position,
    };
    sessions.reading().stand(request, wish.wait).await
}

/// The answers to several wishes, asked for at once; the first refusal refuses all.
pub(crate) async fn attach_all(
    sessions: &Sessions,
    wishes: Vec<Wish>,
) -> Result<Vec<Attached>, Refusal> {
    let all = wishes.into_iter().map(|wish| attach(sessions, wish));
    futures_util::future::try_join_all(all).await
}
