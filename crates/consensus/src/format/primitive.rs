//! Numbers, log ids, votes and memberships, in and out of bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::EmptyNode;

use super::VERSION;
use crate::Malformed;
use crate::raft_types::{CommittedLeaderId, LeaderId, LogId, Membership, Vote};

pub(crate) fn malformed(what: impl Into<String>) -> Malformed {
    Malformed { what: what.into() }
}

/// Writes a struct.
pub(crate) struct Writer(BytesMut);

impl Writer {
    pub(crate) fn versioned() -> Self {
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(VERSION);
        Self(out)
    }

    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.put_u8(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    pub(crate) fn long(&mut self, long: u64) {
        self.0.put_u64_le(long);
    }

    /// A length. Nothing here is longer than 4 GiB: callers bound it.
    pub(crate) fn length(&mut self, length: usize) {
        self.0.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.put_slice(bytes);
    }

    pub(crate) fn log_id(&mut self, id: Option<&LogId>) {
        self.flag(id.is_some());
        if let Some(id) = id {
            self.long(id.leader_id.term);
            self.long(id.index);
        }
    }

    pub(crate) fn vote(&mut self, vote: &Vote) {
        self.long(vote.leader_id.term);
        self.long(vote.leader_id.voted_for);
        self.flag(vote.committed);
    }

    pub(crate) fn membership(&mut self, members: &Membership) {
        let configs = members.get_joint_config();
        self.length(configs.len());
        for voters in configs {
            self.length(voters.len());
            voters.iter().for_each(|id| self.long(*id));
        }
        let nodes: Vec<u64> = members.nodes().map(|(id, _)| *id).collect();
        self.length(nodes.len());
        nodes.into_iter().for_each(|id| self.long(id));
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads a struct; `what` names it in errors.
pub(crate) struct Reader {
    bytes: Bytes,
    what: &'static str,
}

impl Reader {
    pub(crate) fn versioned(bytes: Bytes, what: &'static str) -> Result<Self, Malformed> {
        let mut reader = Self { bytes, what };
        let version = reader.byte()?;
        if version != VERSION {
            return Err(malformed(format!("{what}: version {version}")));
        }
        Ok(reader)
    }

    fn bad(&self, why: &str) -> Malformed {
        malformed(format!("{}: {why}", self.what))
    }

    fn need(&self, bytes: usize) -> Result<(), Malformed> {
        if self.bytes.len() < bytes {
            Err(self.bad("too short"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.bytes.get_u8())
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn long(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.bytes.get_u64_le())
    }

    /// A number of things of at least `each` bytes, which so many bytes can hold.
    pub(crate) fn length(&mut self, each: usize) -> Result<usize, Malformed> {
        self.need(4)?;
        let length = usize::try_from(self.bytes.get_u32_le()).unwrap_or(usize::MAX);
        self.need(length.saturating_mul(each))?;
        Ok(length)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.length(1)?;
        Ok(self.bytes.split_to(length))
    }

    pub(crate) fn log_id(&mut self) -> Result<Option<LogId>, Malformed> {
        if !self.flag()? {
            return Ok(None);
        }
        let leader_id = CommittedLeaderId::new(self.long()?);
        Ok(Some(LogId {
            leader_id,
            index: self.long()?,
        }))
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, Malformed> {
        let leader_id = LeaderId {
            term: self.long()?,
            voted_for: self.long()?,
        };
        Ok(Vote {
            leader_id,
            committed: self.flag()?,
        })
    }

    pub(crate) fn membership(&mut self) -> Result<Membership, Malformed> {
        let mut configs = Vec::new();
        for _ in 0..self.length(4)? {
            let mut voters = BTreeSet::new();
            for _ in 0..self.length(8)? {
                voters.insert(self.long()?);
            }
            configs.push(voters);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.length(8)? {
            nodes.insert(self.long()?, EmptyNode {});
        }
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|error| self.bad(&error.to_string()))
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.bad("too long"))
        }
    }
}
