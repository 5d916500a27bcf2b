//! Joins the stored format of `rpc` to what `consensus` asks of a codec: neither knows the other.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_consensus::{Codec, Malformed};
use fanfare_core::shard::{Block, Entry};
use fanfare_core::view::{Command, View};
use fanfare_rpc::convert::stored;

/// A pair of functions of the stored format.
struct Stored<C> {
    encode: fn(&C) -> Bytes,
    decode: fn(&Bytes) -> Result<C, stored::Malformed>,
}

impl<C: 'static> Codec<C> for Stored<C> {
    fn encode(&self, value: &C) -> Bytes {
        (self.encode)(value)
    }

    fn decode(&self, bytes: &Bytes) -> Result<C, Malformed> {
        (self.decode)(bytes).map_err(|bad| Malformed {
            what: bad.to_string(),
        })
    }
}

/// Entries of shards.
pub(crate) fn entries() -> Arc<dyn Codec<Entry>> {
    Arc::new(Stored {
        encode: stored::encode_entry,
        decode: stored::decode_entry,
    })
}

/// Blocks of shards' snapshots.
pub(crate) fn blocks() -> Arc<dyn Codec<Block>> {
    Arc::new(Stored {
        encode: stored::encode_block,
        decode: stored::decode_block,
    })
}

/// Commands of the metadata group.
pub(crate) fn commands() -> Arc<dyn Codec<Command>> {
    Arc::new(Stored {
        encode: stored::encode_view_command,
        decode: stored::decode_view_command,
    })
}

/// The whole view.
pub(crate) fn views() -> Arc<dyn Codec<View>> {
    Arc::new(Stored {
        encode: stored::encode_view,
        decode: stored::decode_view,
    })
}
