//! Problems (protocol section 11): a refusal as `application/problem+json` or as the members of an
//! `error` frame, and what a client makes of either.

use fanfare_core::code::{Advice, Code, Outcome};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;

use super::item::Malformed;
use super::members::{Members, Wrong};
use super::write::{put_number, put_text, put_text_if, put_word};
use crate::spelling::{Named, Spelled};

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// HTTP status of a refusal. A code that answers no request is 500.
pub fn status(refusal: &Refusal) -> u16 {
    refusal.code.http().unwrap_or(500)
}

/// Appends the body of a refusal. `status` is the answer's own: 415 has no code of its own.
pub fn put_problem(out: &mut Vec<u8>, refusal: &Refusal, status: u16, request_id: Option<&str>) {
    out.push(b'{');
    put_word(out, "type", format_args!("/v1/errors/{}", refusal.code));
    put_text(out, "title", refusal.code.title());
    put_number(out, "status", status);
    put_text(out, "detail", &refusal.detail);
    put_kind(out, refusal);
    put_text_if(out, "request_id", request_id);
    put_circumstances(out, refusal);
    out.push(b'}');
}

/// Appends the members that an `error` frame has of a problem.
pub(super) fn put_members(out: &mut Vec<u8>, refusal: &Refusal) {
    put_kind(out, refusal);
    put_circumstances(out, refusal);
    put_text(out, "detail", &refusal.detail);
}

fn put_kind(out: &mut Vec<u8>, refusal: &Refusal) {
    let Refusal { code, outcome, .. } = refusal;
    put_word(out, "code", code);
    put_word(out, "outcome", outcome.as_str());
    put_word(out, "advice", code.advice(*outcome).as_str());
}

fn put_circumstances(out: &mut Vec<u8>, refusal: &Refusal) {
    put_text_if(out, "field", refusal.field.as_deref());
    put_text_if(out, "topic", refusal.topic.as_ref().map(TopicName::as_str));
    if let Some(head) = refusal.head {
        put_word(out, "head", head);
    }
    if let Some(ms) = refusal.retry_after_ms {
        put_number(out, "retry_after_ms", ms);
    }
}

/// A refusal as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Named<Code>,
    /// Without one, a publish's outcome is unknown.
    pub outcome: Option<Named<Outcome>>,
    /// Without a known one, the client goes by status or close code (protocol section 12).
    pub advice: Option<Named<Advice>>,
    pub detail: String,
    pub field: Option<String>,
    pub topic: Option<TopicName>,
    pub head: Option<Position>,
    pub retry_after_ms: Option<u64>,
    pub request_id: Option<String>,
}

impl Problem {
    /// Reads the body of an answer that is a problem.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        let mut members = Members::read(json).ok_or(Malformed::NotAnObject)?;
        Ok(Self::of_members(&mut members)?)
    }

    pub(crate) fn of_members(members: &mut Members<'_>) -> Result<Self, Wrong> {
        fn named<T: Spelled>(
            members: &mut Members<'_>,
            name: &'static str,
        ) -> Result<Option<Named<T>>, Wrong> {
            Ok(members.text(name)?.map(|text| Named::read(&text)))
        }
        let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(Into::into);
        Ok(Self {
            code: named(members, "code")?.ok_or_else(|| Wrong::missing("code"))?,
            outcome: named(members, "outcome")?,
            advice: named(members, "advice")?,
            detail: owned(members.text("detail")?).unwrap_or_default(),
            field: owned(members.text("field")?),
            topic: members.parsed("topic")?,
            head: members.parsed("head")?,
            retry_after_ms: members.number("retry_after_ms")?,
            request_id: owned(members.text("request_id")?),
        })
    }

    /// What this says of a publish: only a definite failure says that nothing was placed.
    pub fn publish_outcome(&self) -> Outcome {
        match self.outcome.as_ref().and_then(Named::known) {
            Some(Outcome::NotPlaced) => Outcome::NotPlaced,
            Some(Outcome::None | Outcome::Unknown) | None => Outcome::Unknown,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            code,
            outcome,
            detail,
            field,
            topic,
            head,
            retry_after_ms,
        } = refusal;
        Self {
            code: code.into(),
            outcome: Some(outcome.into()),
            advice: Some(code.advice(outcome).into()),
            detail,
            field,
            topic,
            head,
            retry_after_ms,
            request_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topic;

    #[test]
    fn a_problem_has_its_members_in_order() {
        let refusal = Refusal {
            head: Some(Position::new(7, 42)),
            ..Refusal::of_publish(Code::ExpectationFailed, "the head is \"7-42\"")
                .field("expect")
                .topic(topic("news"))
        };
        let mut out = Vec::new();
        put_problem(&mut out, &refusal, status(&refusal), Some("r-1"));
        assert_eq!(
            String::from_utf8(out.clone()).unwrap(),
            r#"{"type":"/v1/errors/expectation_failed","title":"The topic's head is not the expected one","status":412,"detail":"the head is \"7-42\"","code":"expectation_failed","outcome":"not_placed","advice":"give_up","request_id":"r-1","field":"expect","topic":"news","head":"7-42"}"#
        );
        let read = Problem::read(&out).unwrap();
        let sent = Problem {
            request_id: Some("r-1".to_owned()),
            ..Problem::from(refusal)
        };
        assert_eq!(read, sent);
    }

    #[test]
    fn a_problem_without_an_outcome_leaves_a_publish_unknown() {
        let problem = |json: &str| Problem::read(json.as_bytes()).unwrap();
        assert_eq!(
            problem(r#"{"code":"no_quorum"}"#).publish_outcome(),
            Outcome::Unknown
        );
        assert_eq!(
            problem(r#"{"code":"x","outcome":"not_placed","advice":"dance"}"#).publish_outcome(),
            Outcome::NotPlaced
        );
        assert_eq!(
            problem(r#"{"code":"x","outcome":"vanished"}"#).publish_outcome(),
            Outcome::Unknown
        );
    }
}
