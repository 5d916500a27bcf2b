//! The codec of sessions: answers leave as they were encoded, once for all sessions, and only the
//! frame and the cursor are a session's own.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::pb::v1 as pb;

/// Field number of `SubscribeResponse.items`.
const ITEMS: u32 = 2;
/// Field number of `Items.cursor`.
const CURSOR: u32 = 2;

/// An answer of `Subscribe`.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// A rare one, encoded when it is sent.
    Plain(pb::SubscribeResponse),
    /// `SubscribeResponse.items`: encoded entries of `Items.items`, and the cursor after them.
    Items {
        encoded: Bytes,
        cursor: Option<Arc<str>>,
    },
}

impl Ready {
    fn put(&self, out: &mut impl BufMut) {
        match self {
            Self::Plain(answer) => answer.encode_raw(out),
            Self::Items { encoded, cursor } => {
                let cursor = cursor.as_deref().unwrap_or("");
                let tail = match cursor.len() {
                    0 => 0,
                    n => 1 + encoded_len_varint(n as u64) + n,
                };
                encode_key(ITEMS, WireType::LengthDelimited, out);
                encode_varint((encoded.len() + tail) as u64, out);
                out.put_slice(encoded);
                if tail > 0 {
                    encode_key(CURSOR, WireType::LengthDelimited, out);
                    encode_varint(cursor.len() as u64, out);
                    out.put_slice(cursor.as_bytes());
                }
            }
        }
    }
}

/// Writes a [`Ready`], reads a protobuf message.
pub(crate) struct ReadyCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ReadyCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Default + Send + 'static> Codec for ReadyCodec<Ready, U> {
    type Encode = Ready;
    type Decode = U;
    type Encoder = ReadyEncoder;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ReadyEncoder {
        ReadyEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<U, U>::raw_decoder(BufferSettings::default())
    }
}

/// Writes a [`Ready`].
pub(crate) struct ReadyEncoder;

impl Encoder for ReadyEncoder {
    type Item = Ready;
    type Error = Status;

    fn encode(&mut self, item: Ready, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(out);
        Ok(())
    }

    /// A session that waits holds this much: a small buffer that grows for what it carries.
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(512, 32 << 10)
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::gap::{Gap, GapReason, TrimmedBy};
    use fanfare_core::position::Position;

    use super::*;
    use crate::items::encode_gap;

    #[test]
    fn ready_items_are_what_protobuf_would_have_written() {
        let gap = Gap {
            reason: GapReason::Trimmed(TrimmedBy::Age),
            from: Position::new(7, 42),
            to: Position::new(7, 100),
            missed: Some(58),
        };
        let encoded = encode_gap(&"news".parse().unwrap(), &gap);
        for cursor in [None, Some(Arc::from("AQHOpqnAjq0BJAdk_dlU1A"))] {
            let ready = Ready::Items {
                encoded: encoded.clone(),
                cursor: cursor.clone(),
            };
            let mut wire = Vec::new();
            ready.put(&mut wire);
            let read = pb::SubscribeResponse::decode(wire.as_slice()).unwrap();
            assert_eq!(read.encode_to_vec(), wire);
            let Some(pb::subscribe_response::Event::Items(items)) = read.event else {
                panic!("not items");
            };
            assert_eq!(items.items.len(), 1);
            assert_eq!(items.cursor, cursor.as_deref().unwrap_or(""));
        }
    }
}
