//! What each code means for people: when it is told, who may try again, and what to do. The numbers
//! are the table's; the sentences here are those of `fanfare errors` and `/v1/errors/CODE`.

use super::{Advice, Code, Outcome};

/// A code in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// When a node says it.
    pub when: &'static str,
    /// What the person who meets it does.
    pub remedy: &'static str,
}

impl Code {
    /// When it is told and what to do about it.
    pub fn meaning(self) -> Meaning {
        let (when, remedy) = self.words();
        Meaning { when, remedy }
    }

    /// Who may try again, and how, in one sentence.
    pub fn retry(self) -> &'static str {
        match (self.advice(Outcome::None), self.publish_outcome()) {
            (_, Outcome::Unknown) => {
                "A publisher sends the same draft again with the same idempotency key, so that it is \
                 placed once; a reader connects again with its cursor after a back-off."
            }
            (Advice::GiveUp, _) => "Nobody: the same request is refused again.",
            (Advice::RetryLater, _) => {
                "Anybody, after a back-off, not before `retry_after_ms` if that is said."
            }
            (Advice::Reroute, _) => {
                "Anybody, at once at another node; there, the cursor is as good."
            }
            (Advice::Reauthenticate, _) => "Whoever has got a new token, once.",
            (Advice::RetrySameKey, _) => "A publisher, with the same draft and the same key.",
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidArgument => (
                "A parameter, header or member is missing, not known, malformed or out of its range; \
                 `field` names it. A body with a Content-Encoding is refused like this too.",
                "Correct what `field` names. Nothing is clamped and nothing unknown is ignored, so a \
                 misspelt name is found at once.",
            ),
            Self::InvalidTopic => (
                "The name is not 1 to 255 visible ASCII characters in segments divided by dots, has a \
                 `*` or `>`, or begins with `$`, which is the system's.",
                "Choose another name; patterns are for rules and grants, not for topics.",
            ),
            Self::BadCursor => (
                "The text is not a cursor that any node gave: cut off, altered, or of a version that \
                 this node does not read.",
                "Keep cursors as they are. Without a good one begin anew with `from=earliest` or \
                 `from=latest`, and take it that messages may be missed.",
            ),
            Self::InvalidPayload => (
                "The content type says JSON, and the payload is not JSON.",
                "Send JSON, or name the type that it is.",
            ),
            Self::ProtocolError => (
                "What came is no frame of this protocol, or no WebSocket handshake. Behind a proxy \
                 that does not pass Upgrade on, each handshake ends like this.",
                "Look at the client's frames; through a proxy ask `fanfare doctor URL`.",
            ),
            Self::PayloadTooLarge => (
                "A payload, line, batch or frame is larger than the cluster takes (payload 64 KiB by \
                 default; `welcome.limits` says it).",
                "Send less: put large content elsewhere and publish its address.",
            ),
            Self::LimitExceeded => (
                "A fixed limit is reached: topics of one session, or of the cluster.",
                "Use another session for more topics; delete topics that nobody needs.",
            ),
            Self::ExpectationFailed => (
                "`expect` was not the topic's head: somebody else published first. `head` says where \
                 the topic stands.",
                "Read up to `head`, decide anew, publish with the new expectation.",
            ),
            Self::IdempotencyMismatch => (
                "The idempotency key was used for another content within the window.",
                "Draw a key for each draft; two drafts never share one.",
            ),
            Self::IdempotencyExpired => (
                "The key is older than the topic's window (`dedup_age`), so nobody knows any more \
                 whether an earlier sending was placed.",
                "Read the topic to see whether the message is there, then decide. Send repeats sooner, \
                 or let the topic keep keys longer.",
            ),
            Self::Unauthenticated => (
                "Credentials are needed here, or those given are malformed, revoked, or signed by \
                 nobody that the cluster knows. An open node, which has no key to check with, refuses \
                 every credential.",
                "Get a token and send it in Authorization, `hello` or the cookie; to an open node send \
                 none.",
            ),
            Self::TokenExpired => (
                "The token's `exp` is past. Open sessions end like this, too.",
                "Get a new token. On a WebSocket `refresh` in time keeps the session.",
            ),
            Self::Forbidden => (
                "The credentials are good, and their grants do not cover this topic or act.",
                "Ask who issues the tokens for the grant, or use the topic that it names.",
            ),
            Self::OriginNotAllowed => (
                "The page's origin, or the host name the request is for, is not one that the edge \
                 answers.",
                "The operator adds it to `edge.allowed_origins` or `edge.allowed_hosts`; `detail` says \
                 which.",
            ),
            Self::TopicNotFound => (
                "There is no such topic, and topics are not made by use here.",
                "Make it: `fanfare topic create NAME`; or look for the name: `fanfare topic list`.",
            ),
            Self::TopicExists => (
                "The topic is there with other rules than those asked for.",
                "Look at it: `fanfare topic show NAME`. Rules of all topics that match a pattern are \
                 changed by `fanfare topic set`.",
            ),
            Self::NoRoute => (
                "The path is none of this node's. Behind a proxy, a path prefix may have been left on \
                 or cut off.",
                "Compare the URL with the protocol's routes; with a prefix set `edge.base_path`.",
            ),
            Self::MethodNotAllowed => (
                "The path is there and does not take this method; `Allow` names those it takes.",
                "Use the method of the protocol's table: publishing is POST, reading GET.",
            ),
            Self::RateLimited => (
                "This client's address sends more requests a second than `edge.per_ip.requests`.",
                "Slow down; keep one stream open instead of polling. If all clients seem to come from \
                 one proxy, the operator names it in `edge.trusted_proxies`.",
            ),
            Self::Overloaded => (
                "The node has no room for this now: bytes of drafts in flight, sessions, or a queue.",
                "Back off with chance in it. If it lasts, add a node, or raise `edge.max_sessions` or \
                 `edge.publish_bytes`.",
            ),
            Self::StorageFull => (
                "The disk of the node that leads the topic's shard is below its reserve.",
                "The operator frees or adds space; `fanfare cluster status` shows the node as full.",
            ),
            Self::NoQuorum => (
                "The topic's shard has no leader now, or one without a majority of its replicas. \
                 Nothing was proposed.",
                "Try again: an election takes seconds. If it lasts, look at `fanfare cluster status` \
                 and start the nodes that are silent.",
            ),
            Self::DeadlineExceeded => (
                "The time given for the publish was over before it was proposed.",
                "Try again, with more time (`timeout`) if it happens often.",
            ),
            Self::NotReady => (
                "This node cannot answer truthfully: it does not know the topic's head, it is below \
                 `min_position`, or it has just started.",
                "Ask another node; if all say so, look at `fanfare cluster status`.",
            ),
            Self::Draining => (
                "The node is being stopped or drained; its sessions are sent to the others.",
                "Connect to another node with the cursor. Nothing is lost.",
            ),
            Self::OutcomeUnknown => (
                "The draft was proposed and the result was not learned, as when a leader dies. It may \
                 be placed, now or later.",
                "Send the same draft with the same key and its age until there is an answer.",
            ),
            Self::Internal => (
                "The node met a bug. It is counted and in its log under the request's id.",
                "Report it with the `request_id` and the node's log.",
            ),
            Self::SlowConsumer => (
                "Nothing that was written to the session has been taken for a minute: the client \
                 stands still, or its network does.",
                "Connect again with the cursor: what was missed follows. Read without stopping, or let \
                 the topic conflate (`slow conflate`).",
            ),
            Self::HeartbeatTimeout => (
                "Nothing was heard from the client for twice the heartbeat and 10 s.",
                "Connect again with the cursor; answer pings, as WebSocket libraries do by \
                 themselves.",
            ),
            Self::HelloTimeout => (
                "A WebSocket without `topic=` in its URL did not say `hello` within 10 s.",
                "Say `hello` first, or name the topics in the URL.",
            ),
            Self::SessionExpired => (
                "The session has reached the longest age that the node allows.",
                "Connect again with the cursor, elsewhere if you can.",
            ),
            Self::Disconnected => (
                "An operator ended the session with `fanfare disconnect`.",
                "Ask the operator; the client does not come back by itself.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_when_and_what_to_do_in_its_own_words() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let Meaning { when, remedy } = code.meaning();
            for text in [when, remedy] {
                assert!(text.ends_with('.') && text.len() > 20, "{code}: {text}");
                assert!(
                    seen.insert(text),
                    "{code} says what another code says: {text}"
                );
            }
        }
    }

    #[test]
    fn every_code_of_the_protocols_table_is_here_and_no_other() {
        let page = include_str!("../../../../docs/protocol.md");
        let (_, table) = page.split_once("| code | HTTP |").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let mut told: Vec<&str> = Vec::new();
        for row in rows {
            let cell = row.split('|').nth(1).unwrap();
            told.extend(cell.split('`').skip(1).step_by(2));
        }
        told.sort_unstable();
        let mut known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        known.sort_unstable();
        assert_eq!(known, told);
    }

    #[test]
    fn only_who_can_win_by_it_tries_again() {
        assert!(Code::Forbidden.retry().starts_with("Nobody"));
        assert!(Code::NotReady.retry().contains("another node"));
        assert!(
            Code::OutcomeUnknown
                .retry()
                .contains("same idempotency key")
        );
        assert!(Code::TokenExpired.retry().contains("new token"));
        assert!(Code::NoQuorum.retry().contains("back-off"));
    }
}
