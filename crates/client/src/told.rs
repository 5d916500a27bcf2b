//! What a node said when it refused or ended something, the same for every transport, and the
//! advice to follow if it gave none that this version knows (protocol section 12, rule 1).

use std::fmt;
use std::time::Duration;

use fanfare_core::code::{Advice, Code, Outcome};
use fanfare_protocol::json::problem::Problem;
use fanfare_protocol::json::server_frame::Disconnect;
use fanfare_protocol::spelling::Named;
use fanfare_protocol::ws::{AfterClose, after_close};
use fanfare_rpc::heard::{CallError, HeardDisconnect, OtherRefusal};

/// Why a connection, session or request came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There was no connection: nothing was sent.
    NotConnected(String),
    /// It was cut or fell silent, without a word.
    Cut(String),
    /// A node said why.
    Told(Box<Told>),
}

/// A node's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub problem: Problem,
    /// The number that came with it.
    pub status: Status,
    /// Where the session stood after the last item sent.
    pub cursor: Option<String>,
}

/// The number of an answer or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Http(u16),
    Close(u16),
    None,
}

impl Told {
    /// A problem that came with a number.
    pub(crate) fn new(problem: Problem, status: Status) -> Self {
        Self {
            problem,
            status,
            cursor: None,
        }
    }

    /// An answer with a status and maybe a problem as its body.
    pub(crate) fn of_http(status: u16, body: &[u8]) -> Self {
        let problem = Problem::read(body).unwrap_or_else(|_| bare(format!("http_{status}")));
        Self::new(problem, Status::Http(status))
    }

    /// A close without a word before it; the reason is the code's name.
    pub(crate) fn of_close(status: u16, reason: &str) -> Self {
        let code = match reason {
            "" => format!("close_{status}"),
            code => code.to_owned(),
        };
        Self::new(bare(code), Status::Close(status))
    }

    /// What to do: as the node advised, else as the code is known to, else by the number.
    pub fn advice(&self) -> Advice {
        let problem = &self.problem;
        if let Some(advice) = problem.advice.as_ref().and_then(Named::known) {
            return advice;
        }
        if let Some(code) = problem.code.known() {
            let outcome = problem.outcome.as_ref().and_then(Named::known);
            return code.advice(outcome.unwrap_or(Outcome::None));
        }
        match self.status {
            Status::Http(400..=499) => Advice::GiveUp,
            Status::Close(status) => match after_close(status) {
                AfterClose::Reconnect => Advice::RetryLater,
                AfterClose::Elsewhere => Advice::Reroute,
                AfterClose::Reauthenticate => Advice::Reauthenticate,
                AfterClose::GiveUp => Advice::GiveUp,
            },
            Status::Http(_) | Status::None => Advice::RetryLater,
        }
    }

    /// The time the node asked to wait.
    pub fn retry_after(&self) -> Duration {
        Duration::from_millis(self.problem.retry_after_ms.unwrap_or(0))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { code, detail, .. } = &self.problem;
        match (detail.as_str(), code.known()) {
            ("", Some(known)) => write!(f, "{code}: {}", known.title()),
            ("", None) => write!(f, "{code}"),
            (detail, _) => write!(f, "{code}: {detail}"),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => write!(f, "not connected: {why}"),
            Self::Cut(why) => f.write_str(why),
            Self::Told(told) => fmt::Display::fmt(told, f),
        }
    }
}

impl From<Told> for Ending {
    fn from(told: Told) -> Self {
        Self::Told(Box::new(told))
    }
}

impl From<Disconnect> for Ending {
    fn from(end: Disconnect) -> Self {
        let Disconnect {
            code,
            advice,
            retry_after_ms,
            cursor,
            detail,
        } = end;
        let problem = Problem {
            advice,
            detail,
            retry_after_ms,
            ..bare_of(code)
        };
        let status = Status::None;
        Told {
            problem,
            status,
            cursor,
        }
        .into()
    }
}

impl From<HeardDisconnect> for Ending {
    fn from(end: HeardDisconnect) -> Self {
        let HeardDisconnect {
            code,
            advice,
            retry_after_ms,
            cursor,
            detail,
        } = end;
        Disconnect {
            code: Named::read(&code),
            advice: Some(Named::read(&advice)),
            retry_after_ms,
            cursor,
            detail,
        }
        .into()
    }
}

impl From<CallError> for Ending {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => Told::new(refusal.into(), Status::None).into(),
            CallError::Other(other) => Told::new(strange(other), Status::None).into(),
            CallError::NotSent(why) => Self::NotConnected(why),
            CallError::NoAnswer(why) => Self::Cut(why),
        }
    }
}

/// A refusal by a code of a newer node.
pub(crate) fn strange(other: OtherRefusal) -> Problem {
    let OtherRefusal {
        code,
        outcome,
        advice,
        detail,
        retry_after_ms,
    } = other;
    Problem {
        outcome: outcome.map(Into::into),
        advice: advice.map(Into::into),
        detail,
        retry_after_ms,
        ..bare(code)
    }
}

/// A problem that is a code and nothing else.
fn bare(code: impl AsRef<str>) -> Problem {
    bare_of(Named::read(code.as_ref()))
}

fn bare_of(code: Named<Code>) -> Problem {
    Problem {
        code,
        outcome: None,
        advice: None,
        detail: String::new(),
        field: None,
        topic: None,
        head: None,
        retry_after_ms: None,
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_the_nodes_then_the_codes_then_the_numbers() {
        let http = |status, body: &str| Told::of_http(status, body.as_bytes()).advice();
        let eclipse = r#"{"code":"eclipse","advice":"reroute"}"#;
        assert_eq!(http(400, eclipse), Advice::Reroute);
        let dance = r#"{"code":"no_quorum","advice":"dance"}"#;
        assert_eq!(http(503, dance), Advice::RetryLater);
        assert_eq!(http(418, r#"{"code":"teapot"}"#), Advice::GiveUp);
        assert_eq!(http(404, "<html>"), Advice::GiveUp);
        assert_eq!(http(502, "bad gateway"), Advice::RetryLater);
        let close = |status| Told::of_close(status, "").advice();
        assert_eq!(close(1006), Advice::RetryLater);
        assert_eq!(close(4199), Advice::Reroute);
        assert_eq!(close(4555), Advice::Reauthenticate);
        assert_eq!(close(4999), Advice::GiveUp);
        assert_eq!(Told::of_close(4999, "draining").advice(), Advice::Reroute);
    }

    #[test]
    fn a_word_is_shown_with_its_meaning() {
        let told = Told::of_http(401, br#"{"code":"token_expired"}"#);
        assert_eq!(told.to_string(), "token_expired: The token has expired");
    }
}
