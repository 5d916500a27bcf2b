//! Between protobuf and core types, a file for each message family. Everything is taken apart
//! completely, so that a new field breaks the build; what cannot be is refused by its field.

pub(crate) mod cluster;
pub(crate) mod content;
#[cfg(test)]
mod golden_tests;
pub(crate) mod heard;
pub(crate) mod history;
pub(crate) mod link;
pub(crate) mod membership;
pub(crate) mod message;
pub(crate) mod raft;
pub(crate) mod read;
pub(crate) mod refusal;
pub(crate) mod repair;
pub(crate) mod roster;
pub(crate) mod session;
pub mod stored;
#[cfg(test)]
mod strategies;
pub(crate) mod topics;
mod view_refusal;

use std::borrow::Cow;

use bytes::Bytes;
use fanfare_core::code::Code;
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::receipt::Refusal;

/// A message that cannot be what it claims to be: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {detail}")]
pub struct Malformed {
    /// Path of the field in its message, such as `draft.key`.
    pub field: Cow<'static, str>,
    /// For people.
    pub detail: Cow<'static, str>,
    /// What a client is told that sent it.
    pub code: Code,
}

impl Malformed {
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
            code: Code::InvalidArgument,
        }
    }

    pub(crate) fn missing(field: &'static str) -> Self {
        Self::new(field, "missing")
    }

    /// What only a newer binary knows: this replica must not go on.
    pub(crate) fn newer(field: &'static str) -> Self {
        Self::new(field, "of a newer feature level than this binary knows")
    }

    /// A value that this version does not know.
    pub(crate) fn unknown(field: &'static str) -> Self {
        Self::new(field, "not a value of this version")
    }

    pub(crate) fn code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// The same, of the message that has this one as its field `outer`.
    pub(crate) fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field).into(),
            ..self
        }
    }

    /// The same, of the message that has this one as element `at` of its field `outer`.
    pub(crate) fn at(self, outer: &str, at: usize) -> Self {
        Self {
            field: format!("{outer}[{at}].{}", self.field).into(),
            ..self
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(
        Malformed {
            field,
            detail,
            code,
        }: Malformed,
    ) -> Self {
        Self::new(code, detail).field(field)
    }
}

/// To another node: between nodes a malformed message is a bug, not a client's mistake.
impl From<Malformed> for tonic::Status {
    fn from(bad: Malformed) -> Self {
        Self::invalid_argument(bad.to_string())
    }
}

/// A topic's name, refused as `invalid_topic`.
pub(crate) fn topic(raw: &str, field: &'static str) -> Result<TopicName, Malformed> {
    raw.parse()
        .map_err(|bad: fanfare_core::name::BadTopicName| {
            Malformed::new(field, bad.to_string()).code(Code::InvalidTopic)
        })
}

/// A topic pattern, refused as `invalid_argument`.
pub(crate) fn pattern(raw: &str, field: &'static str) -> Result<TopicPattern, Malformed> {
    raw.parse()
        .map_err(|bad: fanfare_core::name::BadTopicName| Malformed::new(field, bad.to_string()))
}

/// A required message.
pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::missing(field))
}

/// An identity of 16 bytes, big endian.
pub(crate) fn id128(raw: &[u8], field: &'static str) -> Result<u128, Malformed> {
    let bytes = raw
        .try_into()
        .map_err(|_| Malformed::new(field, "must have 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The 16 bytes of an identity.
pub(crate) fn id_bytes(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}
