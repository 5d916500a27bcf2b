//! Sessions of a node and what it counts, on the wire.

use std::time::Duration;

use fanfare_core::id::NodeId;

use super::{Malformed, topic};
use crate::pb::v1 as pb;
use crate::roster::{
    DisconnectWish, NodeCounts, SESSIONS_PAGE, SessionRow, SessionTopic, SessionsPage, SessionsWish,
};

/// Rows of a page if nobody says.
const DEFAULT_PAGE: u32 = 100;

impl TryFrom<pb::ListSessionsRequest> for SessionsWish {
    type Error = Malformed;

    fn try_from(request: pb::ListSessionsRequest) -> Result<Self, Malformed> {
        let pb::ListSessionsRequest {
            page_size,
            page_token,
            subject,
            topic: name,
        } = request;
        let limit = match page_size {
            0 => DEFAULT_PAGE,
            size if size <= SESSIONS_PAGE => size,
            _ => {
                let why = format!("at most {SESSIONS_PAGE}");
                return Err(Malformed::new("page_size", why));
            }
        };
        let after = match page_token.as_str() {
            "" => None,
            token => {
                let number = token.parse().ok();
                Some(number.ok_or_else(|| Malformed::new("page_token", "no token of this call"))?)
            }
        };
        let name = match name.as_str() {
            "" => None,
            name => Some(topic(name, "topic")?),
        };
        Ok(Self {
            after,
            limit: usize::try_from(limit).unwrap_or(1),
            subject: (!subject.is_empty()).then_some(subject),
            topic: name,
        })
    }
}

impl From<SessionsPage> for pb::ListSessionsResponse {
    fn from(SessionsPage { sessions, next }: SessionsPage) -> Self {
        Self {
            sessions: sessions.into_iter().map(Into::into).collect(),
            next_page_token: next.map_or_else(String::new, |after| after.to_string()),
        }
    }
}

impl TryFrom<pb::ListSessionsResponse> for SessionsPage {
    type Error = Malformed;

    fn try_from(response: pb::ListSessionsResponse) -> Result<Self, Malformed> {
        let pb::ListSessionsResponse {
            sessions,
            next_page_token,
        } = response;
        let rows: Result<Vec<_>, _> = sessions.into_iter().map(SessionRow::try_from).collect();
        let next = match next_page_token.as_str() {
            "" => None,
            token => {
                let number = token.parse().ok();
                Some(number.ok_or_else(|| Malformed::new("next_page_token", "no number"))?)
            }
        };
        Ok(Self {
            sessions: rows?,
            next,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<SessionRow> for pb::Session {
    fn from(row: SessionRow) -> Self {
        let SessionRow {
            session,
            node: NodeId(node),
            transport,
            subject,
            topics,
            topic_count,
            lag,
            waiting_bytes,
            delivered,
            age,
        } = row;
        let topic = |SessionTopic {
                         topic,
                         position,
                         lag,
                     }| pb::SessionTopic {
            topic: topic.as_str().to_owned(),
            position: Some(position.into()),
            lag,
        };
        Self {
            session,
            node,
            transport,
            subject: subject.unwrap_or_default(),
            topics: topics.into_iter().map(topic).collect(),
            topic_count,
            lag,
            waiting_bytes,
            delivered,
            age_ms: millis(age),
        }
    }
}

impl TryFrom<pb::Session> for SessionRow {
    type Error = Malformed;

    fn try_from(row: pb::Session) -> Result<Self, Malformed> {
        let pb::Session {
            session,
            node,
            transport,
            subject,
            topics,
            topic_count,
            lag,
            waiting_bytes,
            delivered,
            age_ms,
        } = row;
        let one = |pb::SessionTopic {
                       topic: name,
                       position,
                       lag,
                   }| {
            Ok(SessionTopic {
                topic: topic(&name, "topics.topic")?,
                position: position
                    .map(Into::into)
                    .ok_or_else(|| Malformed::missing("topics.position"))?,
                lag,
            })
        };
        let topics: Result<Vec<_>, Malformed> = topics.into_iter().map(one).collect();
        Ok(Self {
            session,
            node: NodeId(node),
            transport,
            subject: (!subject.is_empty()).then_some(subject),
            topics: topics?,
            topic_count,
            lag,
            waiting_bytes,
            delivered,
            age: Duration::from_millis(age_ms),
        })
    }
}

impl TryFrom<pb::DisconnectRequest> for DisconnectWish {
    type Error = Malformed;

    fn try_from(pb::DisconnectRequest { whom }: pb::DisconnectRequest) -> Result<Self, Malformed> {
        use pb::disconnect_request::Whom;
        match whom {
            Some(Whom::Session(session)) if !session.is_empty() => Ok(Self::Session(session)),
            Some(Whom::Subject(subject)) if !subject.is_empty() => Ok(Self::Subject(subject)),
            Some(Whom::Session(_) | Whom::Subject(_)) | None => {
                Err(Malformed::new("whom", "a session or a subject is needed"))
            }
        }
    }
}

impl From<DisconnectWish> for pb::DisconnectRequest {
    fn from(wish: DisconnectWish) -> Self {
        use pb::disconnect_request::Whom;
        let whom = match wish {
            DisconnectWish::Session(session) => Whom::Session(session),
            DisconnectWish::Subject(subject) => Whom::Subject(subject),
        };
        Self { whom: Some(whom) }
    }
}

impl From<NodeCounts> for pb::NodeMetrics {
    fn from(
        NodeCounts {
            node: NodeId(node),
            at,
            values,
        }: NodeCounts,
    ) -> Self {
        Self {
            node,
            at_ms: millis(at),
            values,
        }
    }
}

impl From<pb::NodeMetrics> for NodeCounts {
    fn from(
        pb::NodeMetrics {
            node,
            at_ms,
            values,
        }: pb::NodeMetrics,
    ) -> Self {
        Self {
            node: NodeId(node),
            at: Duration::from_millis(at_ms),
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::position::Position;

    use super::*;

    #[test]
    fn a_page_of_sessions_comes_back_as_it_was_sent() {
        let row = SessionRow {
            session: "s-2-1f".to_owned(),
            node: NodeId(2),
            transport: "ws".to_owned(),
            subject: Some("alice".to_owned()),
            topics: vec![SessionTopic {
                topic: "news".parse().unwrap(),
                position: Position::new(7, 42),
                lag: Some(3),
            }],
            topic_count: 1,
            lag: 3,
            waiting_bytes: 10,
            delivered: 42,
            age: Duration::from_secs(5),
        };
        let page = SessionsPage {
            sessions: vec![row],
            next: Some(31),
        };
        let sent = pb::ListSessionsResponse::from(page.clone());
        assert_eq!(SessionsPage::try_from(sent).unwrap(), page);
        for wish in [
            DisconnectWish::Session("s-2-1f".to_owned()),
            DisconnectWish::Subject("alice".to_owned()),
        ] {
            let sent = pb::DisconnectRequest::from(wish.clone());
            assert_eq!(DisconnectWish::try_from(sent).unwrap(), wish);
        }
        assert!(DisconnectWish::try_from(pb::DisconnectRequest { whom: None }).is_err());
    }

    #[test]
    fn a_page_is_bounded_and_its_token_is_a_number() {
        let wish = |page_size, page_token: &str| {
            SessionsWish::try_from(pb::ListSessionsRequest {
                page_size,
                page_token: page_token.to_owned(),
                ..Default::default()
            })
        };
        assert_eq!(wish(0, "").unwrap().limit, 100);
        assert_eq!(wish(500, "9").unwrap().after, Some(9));
        assert!(wish(501, "").is_err() && wish(1, "x").is_err());
    }
}
