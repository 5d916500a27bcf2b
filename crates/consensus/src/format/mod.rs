//! The stored and sent form of openraft's structs: ours, little-endian, each versioned by its first
//! byte, so that openraft may change its own as it likes.

mod primitive;
mod rpc;
mod transfer;

use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;

use crate::raft_types::{Encoded, Entry, LogId, Membership, StoredMembership, Vote};
use crate::{Codec, Malformed, StateMachine};
pub(crate) use primitive::{Reader, Writer, malformed};
pub(crate) use rpc::{
    append_request, append_response, read_append_request, read_append_response,
    read_transfer_request, read_transfer_response, read_vote_request, read_vote_response,
    transfer_request, transfer_response, vote_request, vote_response,
};
pub(crate) use transfer::{Part, Reply, chunk, group_number, offer, read_part, read_reply, reply};

/// Version of everything in this room.
const VERSION: u8 = 1;

/// How to read an entry's payload.
const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// A vote, alone.
pub(crate) fn vote(vote: &Vote) -> Bytes {
    let mut out = Writer::versioned();
    out.vote(vote);
    out.finish()
}

/// Reads what [`vote`] wrote.
pub(crate) fn read_vote(bytes: &Bytes) -> Result<Vote, Malformed> {
    let mut input = Reader::versioned(bytes.clone(), "vote")?;
    let vote = input.vote()?;
    input.end()?;
    Ok(vote)
}

/// The head of a snapshot: the last entry in it, and the members then.
pub(crate) fn snapshot_head(last: Option<&LogId>, members: &StoredMembership) -> Bytes {
    let mut out = Writer::versioned();
    out.log_id(last);
    out.log_id(members.log_id().as_ref());
    out.membership(members.membership());
    out.finish()
}

/// Reads what [`snapshot_head`] wrote.
pub(crate) fn read_snapshot_head(
    bytes: Bytes,
) -> Result<(Option<LogId>, StoredMembership), Malformed> {
    let mut input = Reader::versioned(bytes, "snapshot head")?;
    let last = input.log_id()?;
    let at = input.log_id()?;
    let members = input.membership()?;
    input.end()?;
    Ok((last, StoredMembership::new(at, members)))
}

/// Form and bytes of an entry's payload.
pub(crate) fn payload<M: StateMachine>(entry: &Entry<M>) -> (u8, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(command) => (COMMAND, command.bytes.clone()),
        EntryPayload::Membership(members) => {
            let mut out = Writer::versioned();
            out.membership(members);
            (MEMBERSHIP, out.finish())
        }
    }
}

/// Reads what [`payload`] gave. `parsed` is the command, if it is at hand.
pub(crate) fn read_payload<C: Send + Sync + 'static>(
    form: u8,
    bytes: Bytes,
    parsed: Option<Arc<C>>,
    codec: &dyn Codec<C>,
) -> Result<EntryPayload<Encoded<C>, u64, openraft::EmptyNode>, Malformed> {
    match form {
        BLANK => Ok(EntryPayload::Blank),
        COMMAND => {
            let command = match parsed {
                Some(command) => command,
                None => Arc::new(codec.decode(&bytes)?),
            };
            Ok(EntryPayload::Normal(Encoded { bytes, command }))
        }
        MEMBERSHIP => {
            let mut input = Reader::versioned(bytes, "membership")?;
            let members: Membership = input.membership()?;
            input.end()?;
            Ok(EntryPayload::Membership(members))
        }
        _ => Err(malformed(format!("entry: form {form}"))),
    }
}
