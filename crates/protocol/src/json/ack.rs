//! Acks (protocol section 3): written by an edge, read by a client.

use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt};
use fanfare_core::rule::Class;

use super::item::Malformed;
use super::members::{Members, Wrong};
use super::write::{put_name, put_number, put_text, put_word};
use crate::spelling::{Named, Spelled};

/// Appends an ack as one JSON object.
pub fn put_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    out.push(b'{');
    put_members(out, receipt);
    out.push(b'}');
}

/// Appends the members of an ack to an object. Ack `none` has neither position nor `duplicate`.
pub(super) fn put_members(out: &mut Vec<u8>, receipt: &Receipt) {
    let Receipt {
        topic,
        position,
        class,
        reached,
        duplicate,
        dedup_remaining_ms,
    } = receipt;
    put_text(out, "topic", topic.as_str());
    if let Some(position) = position {
        put_word(out, "position", position);
    }
    put_word(out, "class", class.spelling());
    put_word(out, "reached", reached.spelling());
    if position.is_some() {
        put_number(out, "duplicate", duplicate);
    }
    if let Some(remaining) = dedup_remaining_ms {
        put_name(out, "dedup");
        out.push(b'{');
        put_number(out, "remaining_ms", remaining);
        out.push(b'}');
    }
}

/// An ack as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    pub topic: TopicName,
    /// Absent only for ack `none`.
    pub position: Option<Position>,
    pub class: Option<Named<Class>>,
    pub reached: Named<Reached>,
    pub duplicate: bool,
    /// ms of running time for which the key is still known.
    pub dedup_remaining_ms: Option<u64>,
}

impl Acked {
    /// Reads the body of an answer with status 200 or 202.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        let mut members = Members::read(json).ok_or(Malformed::NotAnObject)?;
        Ok(Self::of_members(&mut members)?)
    }

    pub(crate) fn of_members(members: &mut Members<'_>) -> Result<Self, Wrong> {
        let topic = members.need_parsed("topic")?;
        let position = members.parsed("position")?;
        let class = members.text("class")?.map(|text| Named::read(&text));
        let reached = Named::read(&members.need_text("reached")?);
        let duplicate = members.flag("duplicate")?.unwrap_or(false);
        let dedup_remaining_ms = match members.object("dedup")? {
            Some(mut dedup) => dedup.number("remaining_ms")?,
            None => None,
        };
        Ok(Self {
            topic,
            position,
            class,
            reached,
            duplicate,
            dedup_remaining_ms,
        })
    }
}

impl From<Receipt> for Acked {
    fn from(receipt: Receipt) -> Self {
        let Receipt {
            topic,
            position,
            class,
            reached,
            duplicate,
            dedup_remaining_ms,
        } = receipt;
        Self {
            topic,
            position,
            class: Some(class.into()),
            reached: reached.into(),
            duplicate,
            dedup_remaining_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topic;

    fn shown(receipt: &Receipt) -> String {
        let mut out = Vec::new();
        put_receipt(&mut out, receipt);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_acks_of_the_protocol_are_ours_byte_for_byte() {
        let committed = Receipt {
            topic: topic("news"),
            position: Some(Position::new(7, 42)),
            class: Class::Durable,
            reached: Reached::Durable,
            duplicate: false,
            dedup_remaining_ms: Some(120_000),
        };
        assert_eq!(
            shown(&committed),
            r#"{"topic":"news","position":"7-42","class":"durable","reached":"durable","duplicate":false,"dedup":{"remaining_ms":120000}}"#
        );
        let taken = Receipt {
            position: None,
            reached: Reached::None,
            dedup_remaining_ms: None,
            ..committed.clone()
        };
        assert_eq!(
            shown(&taken),
            r#"{"topic":"news","class":"durable","reached":"none"}"#
        );
        for receipt in [committed, taken] {
            assert_eq!(Acked::read(shown(&receipt).as_bytes()), Ok(receipt.into()));
        }
    }

    #[test]
    fn an_ack_of_a_newer_server_is_understood() {
        let json = br#"{"topic":"t","position":"1-1","class":"c","reached":"moon","duplicate":true,"x":1}"#;
        let acked = Acked::read(json).unwrap();
        assert_eq!(acked.reached.as_str(), "moon");
        assert!(acked.duplicate);
        assert!(Acked::read(b"{}").is_err());
        assert!(Acked::read(b"hello").is_err());
    }
}
