//! The codecs that nodes of stories store and send with: those of real nodes.

use bytes::Bytes;
use fanfare_consensus::{Codec, Malformed};
use fanfare_core::view::{Command, View};
use fanfare_rpc::convert::stored;

/// The stored form of commands and views, as nodes have it.
pub(super) struct Stored;

impl Codec<Command> for Stored {
    fn encode(&self, command: &Command) -> Bytes {
        stored::encode_view_command(command)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Command, Malformed> {
        stored::decode_view_command(bytes).map_err(|bad| Malformed {
            what: bad.to_string(),
        })
    }
}

impl Codec<View> for Stored {
    fn encode(&self, view: &View) -> Bytes {
        stored::encode_view(view)
    }

    fn decode(&self, bytes: &Bytes) -> Result<View, Malformed> {
        stored::decode_view(bytes).map_err(|bad| Malformed {
            what: bad.to_string(),
        })
    }
}
