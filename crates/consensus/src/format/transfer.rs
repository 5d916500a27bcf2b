//! Bodies of a snapshot on its way: an offer, then chunks of the file, and what is said to them.

use bytes::Bytes;

use super::{Reader, Writer, malformed};
use crate::raft_types::{SnapshotMeta, StoredMembership, Vote};
use crate::{GroupId, Malformed};

/// How the metadata group is named where shards have their number.
const META: u64 = u64::MAX;

/// From who sends a snapshot.
#[derive(Debug)]
pub(crate) enum Part {
    /// What will come.
    Offer {
        vote: Vote,
        meta: SnapshotMeta,
        /// Bytes of the file.
        length: u64,
    },
    /// The file's bytes from `at`.
    Chunk { group: u64, at: u64, bytes: Bytes },
}

/// From who takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The bytes before this are taken.
    Taken(u64),
    /// All is taken, and being verified and installed.
    Working,
    /// Installed, or not needed, or the vote is higher and it is refused.
    Done(Vote),
    /// What came as a whole is no good snapshot.
    Corrupt(String),
    /// Nothing is taken: the node takes in as many as it can.
    Busy,
}

pub(crate) fn group_number(group: GroupId) -> u64 {
    match group {
        GroupId::Meta => META,
        GroupId::Shard(shard) => u64::from(shard.0),
    }
}

pub(crate) fn offer(vote: &Vote, meta: &SnapshotMeta, length: u64) -> Bytes {
    let mut out = Writer::versioned();
    out.byte(0);
    out.vote(vote);
    out.log_id(meta.last_log_id.as_ref());
    out.log_id(meta.last_membership.log_id().as_ref());
    out.membership(meta.last_membership.membership());
    out.long(length);
    out.finish()
}

pub(crate) fn chunk(group: GroupId, at: u64, bytes: &[u8]) -> Bytes {
    let mut out = Writer::versioned();
    out.reserve(bytes.len() + 32);
    out.byte(1);
    out.long(group_number(group));
    out.long(at);
    out.long(u64::from(crc32c::crc32c(bytes)));
    out.bytes(bytes);
    out.finish()
}

pub(crate) fn read_part(body: Bytes) -> Result<Part, Malformed> {
    let mut input = Reader::versioned(body, "part of a snapshot")?;
    let part = match input.byte()? {
        0 => {
            let (vote, last_log_id) = (input.vote()?, input.log_id()?);
            let (at, members) = (input.log_id()?, input.membership()?);
            let meta = SnapshotMeta {
                last_log_id,
                last_membership: StoredMembership::new(at, members),
            };
            let length = input.long()?;
            Part::Offer { vote, meta, length }
        }
        1 => {
            let (group, at, sum) = (input.long()?, input.long()?, input.long()?);
            let bytes = input.bytes()?;
            if u64::from(crc32c::crc32c(&bytes)) != sum {
                return Err(malformed("part of a snapshot: its checksum is wrong"));
            }
            Part::Chunk { group, at, bytes }
        }
        other => return Err(malformed(format!("part of a snapshot: kind {other}"))),
    };
    input.end()?;
    Ok(part)
}

pub(crate) fn reply(reply: &Reply) -> Bytes {
    let mut out = Writer::versioned();
    match reply {
        Reply::Taken(at) => {
            out.byte(0);
            out.long(*at);
        }
        Reply::Working => out.byte(1),
        Reply::Done(vote) => {
            out.byte(2);
            out.vote(vote);
        }
        Reply::Corrupt(why) => {
            out.byte(3);
            out.bytes(why.as_bytes());
        }
        Reply::Busy => out.byte(4),
    }
    out.finish()
}

pub(crate) fn read_reply(body: Bytes) -> Result<Reply, Malformed> {
    let mut input = Reader::versioned(body, "reply to a snapshot")?;
    let reply = match input.byte()? {
        0 => Reply::Taken(input.long()?),
        1 => Reply::Working,
        2 => Reply::Done(input.vote()?),
        3 => Reply::Corrupt(String::from_utf8_lossy(&input.bytes()?).into_owned()),
        4 => Reply::Busy,
        other => return Err(malformed(format!("reply to a snapshot: kind {other}"))),
    };
    input.end()?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::ShardId;

    use super::*;
    use crate::raft_types::LeaderId;

    #[test]
    fn a_chunk_reads_back_and_no_flipped_bit_does() {
        let body = chunk(GroupId::Shard(ShardId(7)), 4096, b"state");
        let Part::Chunk { group, at, bytes } = read_part(body.clone()).unwrap() else {
            panic!("no chunk");
        };
        assert_eq!((group, at, bytes.as_ref()), (7, 4096, &b"state"[..]));
        // The head of a body is told by the transport's own checksums; the bytes by ours.
        for bit in (body.len() - 5) * 8..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_part(Bytes::from(flipped)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn replies_read_back() {
        let vote = Vote {
            leader_id: LeaderId {
                term: 3,
                voted_for: 2,
            },
            committed: true,
        };
        let all = [
            Reply::Taken(9),
            Reply::Working,
            Reply::Done(vote),
            Reply::Corrupt("a block".to_owned()),
            Reply::Busy,
        ];
        for said in all {
            assert_eq!(read_reply(reply(&said)).unwrap(), said);
        }
    }
}
