//! The stored form of what raft groups replicate: a byte that says the format's version, then
//! protobuf (package `fanfare.stored.v1`). Payloads of decoded values are slices of what was read.

mod block;
mod shard;
pub(crate) mod view;
mod view_command;

use bytes::{BufMut as _, Bytes, BytesMut};
use fanfare_core::shard::{Block, Entry};
use fanfare_core::view::{Command as ViewCommand, View};
use prost::Message;

pub use super::Malformed;
use crate::pb::stored as pb;

/// The format's version: the first byte of everything stored.
const VERSION: u8 = 1;

/// The stored form of an entry of a shard's log.
pub fn encode_entry(entry: &Entry) -> Bytes {
    put(&pb::ShardEntry::from(entry))
}

/// An entry of a shard's log.
pub fn decode_entry(stored: &Bytes) -> Result<Entry, Malformed> {
    take::<pb::ShardEntry>(stored)?.try_into()
}

/// The stored form of a block of a shard's snapshot.
pub fn encode_block(block: &Block) -> Bytes {
    put(&pb::Block::from(block))
}

/// A block of a shard's snapshot.
pub fn decode_block(stored: &Bytes) -> Result<Block, Malformed> {
    take::<pb::Block>(stored)?.try_into()
}

/// The stored form of a command of the metadata group.
pub fn encode_view_command(command: &ViewCommand) -> Bytes {
    put(&pb::ViewCommand::from(command))
}

/// A command of the metadata group.
pub fn decode_view_command(stored: &Bytes) -> Result<ViewCommand, Malformed> {
    take::<pb::ViewCommand>(stored)?.try_into()
}

/// The stored form of the whole view.
pub fn encode_view(view: &View) -> Bytes {
    put(&pb::View::from(view))
}

/// The whole view.
pub fn decode_view(stored: &Bytes) -> Result<View, Malformed> {
    take::<pb::View>(stored)?.try_into()
}

fn put(message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.encoded_len());
    out.put_u8(VERSION);
    message.encode_raw(&mut out);
    out.freeze()
}

fn take<T: Message + Default>(stored: &Bytes) -> Result<T, Malformed> {
    match stored.first() {
        Some(&VERSION) => {
            T::decode(stored.slice(1..)).map_err(|bad| Malformed::new("bytes", bad.to_string()))
        }
        Some(other) => Err(Malformed::new(
            "version",
            format!("{other} is not known; this is {VERSION}"),
        )),
        None => Err(Malformed::missing("version")),
    }
}

#[cfg(test)]
mod tests;
