//! The one table of codes (protocol section 11): every refusal and ending, with its numbers for
//! HTTP, gRPC and WebSocket, the outcome of a publish, and the advice to the client.

mod meaning;

use std::fmt;

pub use meaning::Meaning;

/// What became of a publish that was not acked (C9). `None` for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    None,
    /// Not placed, and never will be.
    NotPlaced,
    /// It may be placed, now or later.
    Unknown,
}

impl Outcome {
    /// The outcome's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NotPlaced => "not_placed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the client should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    GiveUp,
    RetryLater,
    RetrySameKey,
    Reroute,
    Reauthenticate,
}

impl Advice {
    /// The advice's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GiveUp => "give_up",
            Self::RetryLater => "retry_later",
            Self::RetrySameKey => "retry_same_key",
            Self::Reroute => "reroute",
            Self::Reauthenticate => "reauthenticate",
        }
    }
}

/// gRPC's canonical codes, those used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grpc {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// One row of the table.
struct Row {
    name: &'static str,
    title: &'static str,
    /// HTTP status; 0 if it never answers a request.
    http: u16,
    grpc: Grpc,
    /// WebSocket close code; 0 if it never ends a session.
    ws: u16,
    /// Outcome of a publish refused by it.
    out: Outcome,
    advice: Advice,
}

macro_rules! codes {
    ($($variant:ident $name:literal $http:literal $grpc:ident $ws:literal $out:ident $advice:ident $title:literal;)*) => {
        /// Every way to be refused or ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        name: $name, title: $title, http: $http, grpc: Grpc::$grpc, ws: $ws,
                        out: Outcome::$out, advice: Advice::$advice,
                    },)*
                }
            }
        }
    };
}

codes! {
    InvalidArgument "invalid_argument" 400 InvalidArgument 4600 NotPlaced GiveUp "An argument is missing, unknown, malformed or out of range";
    InvalidTopic "invalid_topic" 400 InvalidArgument 4601 NotPlaced GiveUp "Not a topic name, or one that is reserved";
    BadCursor "bad_cursor" 400 InvalidArgument 4602 None GiveUp "Not a cursor: begin without one and assume a loss";
    InvalidPayload "invalid_payload" 400 InvalidArgument 0 NotPlaced GiveUp "The content type says JSON and the payload is not";
    ProtocolError "protocol_error" 400 InvalidArgument 4605 NotPlaced GiveUp "Not a frame of this protocol version";
    PayloadTooLarge "payload_too_large" 413 InvalidArgument 1009 NotPlaced GiveUp "A payload, line, batch or frame is above the limit";
    LimitExceeded "limit_exceeded" 403 ResourceExhausted 4606 NotPlaced GiveUp "A fixed limit is reached";
    ExpectationFailed "expectation_failed" 412 FailedPrecondition 0 NotPlaced GiveUp "The topic's head is not the expected one";
    IdempotencyMismatch "idempotency_mismatch" 422 FailedPrecondition 0 NotPlaced GiveUp "The key was used for another content";
    IdempotencyExpired "idempotency_expired" 422 FailedPrecondition 0 NotPlaced GiveUp "The key is older than the window; what its earlier sendings did stays unknown";
    Unauthenticated "unauthenticated" 401 Unauthenticated 4500 NotPlaced Reauthenticate "Credentials are needed, or those given are not good";
    TokenExpired "token_expired" 401 Unauthenticated 4501 NotPlaced Reauthenticate "The token has expired";
    Forbidden "forbidden" 403 PermissionDenied 4603 NotPlaced GiveUp "The credentials do not allow this";
    OriginNotAllowed "origin_not_allowed" 403 PermissionDenied 0 NotPlaced GiveUp "Requests from this origin or for this host are not allowed";
    TopicNotFound "topic_not_found" 404 NotFound 4604 NotPlaced GiveUp "No such topic, and topics are not made by use";
    TopicExists "topic_exists" 409 AlreadyExists 0 None GiveUp "The topic exists with other rules";
    NoRoute "no_route" 404 Unimplemented 0 NotPlaced GiveUp "No such route";
    MethodNotAllowed "method_not_allowed" 405 Unimplemented 0 NotPlaced GiveUp "The route does not take this method";
    RateLimited "rate_limited" 429 ResourceExhausted 4000 NotPlaced RetryLater "Too many requests";
    Overloaded "overloaded" 503 Unavailable 1013 NotPlaced RetryLater "The node has no room for this now";
    StorageFull "storage_full" 507 ResourceExhausted 0 NotPlaced RetryLater "The leader's disk is full";
    NoQuorum "no_quorum" 503 Unavailable 0 NotPlaced RetryLater "No leader, or one without a majority";
    DeadlineExceeded "deadline_exceeded" 503 DeadlineExceeded 0 NotPlaced RetryLater "The time was over before anything was proposed";
    NotReady "not_ready" 503 Unavailable 4100 NotPlaced Reroute "This node cannot answer truthfully now";
    Draining "draining" 503 Unavailable 1012 NotPlaced Reroute "This node is leaving";
    OutcomeUnknown "outcome_unknown" 504 Unknown 0 Unknown RetrySameKey "Proposed, and the result was not learned";
    Internal "internal" 500 Internal 1011 Unknown RetryLater "A bug of the server";
    SlowConsumer "slow_consumer" 0 Unavailable 1013 None RetryLater "A write made no progress for a minute";
    HeartbeatTimeout "heartbeat_timeout" 0 Unavailable 4001 None RetryLater "Nothing was heard from the client";
    HelloTimeout "hello_timeout" 0 Unavailable 4002 None RetryLater "No hello in time";
    SessionExpired "session_expired" 0 Unavailable 4101 None Reroute "The session has reached its longest age";
    Disconnected "disconnected" 0 PermissionDenied 4607 None GiveUp "Disconnected by an operator";
}

impl Code {
    /// The code's name on every wire.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What it means, in a sentence without a full stop.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// HTTP status, if it answers requests.
    pub fn http(self) -> Option<u16> {
        Some(self.row().http).filter(|status| *status != 0)
    }

    /// gRPC status.
    pub fn grpc(self) -> Grpc {
        self.row().grpc
    }

    /// WebSocket close code, if it ends sessions.
    pub fn ws(self) -> Option<u16> {
        Some(self.row().ws).filter(|code| *code != 0)
    }

    /// What became of a publish that this code refused.
    pub fn publish_outcome(self) -> Outcome {
        self.row().out
    }

    /// What the client should do; `internal` asks a publisher for the same key again.
    pub fn advice(self, outcome: Outcome) -> Advice {
        match (self, outcome) {
            (Self::Internal, Outcome::Unknown) => Advice::RetrySameKey,
            _ => self.row().advice,
        }
    }

    /// The code of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name_alone() {
        for code in Code::ALL {
            assert_eq!(Code::by_name(code.as_str()), Some(*code));
        }
        assert_eq!(Code::by_name("nonsense"), None);
    }

    #[test]
    fn only_two_codes_leave_a_publish_unknown() {
        let unknown: Vec<_> = Code::ALL
            .iter()
            .filter(|c| c.publish_outcome() == Outcome::Unknown)
            .collect();
        assert_eq!(unknown, [&Code::OutcomeUnknown, &Code::Internal]);
    }

    #[test]
    fn a_publisher_that_met_a_bug_sends_the_same_key_again() {
        assert_eq!(
            Code::Internal.advice(Outcome::Unknown),
            Advice::RetrySameKey
        );
        assert_eq!(Code::Internal.advice(Outcome::None), Advice::RetryLater);
    }
}
