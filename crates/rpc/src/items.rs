//! Items in gRPC's format, encoded once for all sessions. Encoded items can be cut and joined at
//! the borders of items; what is a session's own (frame, cursor) is added when it is sent.

use bytes::{Bytes, BytesMut};
use fanfare_core::gap::Gap;
use fanfare_core::link::Run;
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::convert::message::{gap_to_pb, message_to_pb};
use crate::pb::v1 as pb;

/// Field number of `Items.items`.
const ITEMS: u32 = 1;

/// A run in gRPC's format: whole items, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRun {
    bytes: Bytes,
    ends: Box<[u32]>,
}

impl EncodedRun {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is no message.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All messages, for [`Items::encoded`](crate::public::Items::encoded).
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The messages from the `skip`-th on, at most `take`: a slice, nothing is copied.
    pub fn cut(&self, skip: usize, take: usize) -> Bytes {
        let end_of = |count: usize| match count.min(self.ends.len()) {
            0 => 0,
            n => self.ends[n - 1] as usize,
        };
        self.bytes
            .slice(end_of(skip)..end_of(skip.saturating_add(take)))
    }
}

/// Encodes a run of `topic`.
pub fn encode_run(topic: &TopicName, run: &Run) -> EncodedRun {
    encode_messages(topic, run.messages.iter().map(AsRef::as_ref))
}

/// Encodes messages of `topic`.
pub fn encode_messages<'a>(
    topic: &TopicName,
    messages: impl IntoIterator<Item = &'a Message>,
) -> EncodedRun {
    let mut out = BytesMut::new();
    let mut ends = Vec::new();
    for message in messages {
        let item = pb::item::Item::Message(message_to_pb(topic, message));
        put(&mut out, &pb::Item { item: Some(item) });
        // A run is far below 4 GiB: at most 256 messages, or 64 KiB, or one payload.
        ends.push(u32::try_from(out.len()).unwrap_or(u32::MAX));
    }
    EncodedRun {
        bytes: out.freeze(),
        ends: ends.into(),
    }
}

/// Encodes a gap of `topic` as one item.
pub fn encode_gap(topic: &TopicName, gap: &Gap) -> Bytes {
    let mut out = BytesMut::new();
    let item = pb::item::Item::Gap(gap_to_pb(topic, gap));
    put(&mut out, &pb::Item { item: Some(item) });
    out.freeze()
}

/// Appends one entry of the repeated field `Items.items`.
fn put(out: &mut BytesMut, item: &pb::Item) {
    let len = item.encoded_len() as u64;
    out.reserve(encoded_len_varint(len) + 1 + item.encoded_len());
    encode_key(ITEMS, WireType::LengthDelimited, out);
    encode_varint(len, out);
    item.encode_raw(out);
}
