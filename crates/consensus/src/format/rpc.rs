//! Bodies of raft calls and their answers.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{Reader, Writer, malformed};
use crate::raft_types::{Entry, LogId, Types, Vote};
use crate::{Codec, Malformed, StateMachine};

/// Bytes of an entry beside its payload.
const ENTRY_HEAD: usize = 8 + 8 + 1 + 4;

pub(crate) fn append_request<M: StateMachine>(request: &AppendEntriesRequest<Types<M>>) -> Bytes {
    let payloads: Vec<(u8, Bytes)> = request.entries.iter().map(super::payload::<M>).collect();
    let mut out = Writer::versioned();
    out.reserve(
        payloads
            .iter()
            .map(|(_, bytes)| ENTRY_HEAD + bytes.len())
            .sum(),
    );
    out.vote(&request.vote);
    out.log_id(request.prev_log_id.as_ref());
    out.log_id(request.leader_commit.as_ref());
    out.length(request.entries.len());
    for (entry, (form, bytes)) in request.entries.iter().zip(payloads) {
        out.long(entry.log_id.leader_id.term);
        out.long(entry.log_id.index);
        out.byte(form);
        out.bytes(&bytes);
    }
    out.finish()
}

pub(crate) fn read_append_request<M: StateMachine>(
    body: Bytes,
    codec: &dyn Codec<M::Command>,
) -> Result<AppendEntriesRequest<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "append request")?;
    let vote = input.vote()?;
    let prev_log_id = input.log_id()?;
    let leader_commit = input.log_id()?;
    let count = input.length(ENTRY_HEAD)?;
    let mut entries: Vec<Entry<M>> = Vec::with_capacity(count);
    for _ in 0..count {
        let leader_id = crate::raft_types::CommittedLeaderId::new(input.long()?);
        let log_id = LogId {
            leader_id,
            index: input.long()?,
        };
        let form = input.byte()?;
        // A copy: a slice would keep the whole body for as long as the entry is cached.
        let bytes = Bytes::copy_from_slice(&input.bytes()?);
        let payload = super::read_payload(form, bytes, None, codec)?;
        entries.push(openraft::Entry { log_id, payload });
    }
    input.end()?;
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

pub(crate) fn append_response<M: StateMachine>(
    response: &AppendEntriesResponse<Types<M>>,
) -> Bytes {
    let mut out = Writer::versioned();
    match response {
        AppendEntriesResponse::Success => out.byte(0),
        AppendEntriesResponse::PartialSuccess(last) => {
            out.byte(1);
            out.log_id(last.as_ref());
        }
        AppendEntriesResponse::Conflict => out.byte(2),
        AppendEntriesResponse::HigherVote(vote) => {
            out.byte(3);
            out.vote(vote);
        }
    }
    out.finish()
}

pub(crate) fn read_append_response<M: StateMachine>(
    body: Bytes,
) -> Result<AppendEntriesResponse<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "append response")?;
    let response = match input.byte()? {
        0 => AppendEntriesResponse::Success,
        1 => AppendEntriesResponse::PartialSuccess(input.log_id()?),
        2 => AppendEntriesResponse::Conflict,
        3 => AppendEntriesResponse::HigherVote(input.vote()?),
        other => return Err(malformed(format!("append response: kind {other}"))),
    };
    input.end()?;
    Ok(response)
}

pub(crate) fn vote_request<M: StateMachine>(request: &VoteRequest<Types<M>>) -> Bytes {
    let mut out = Writer::versioned();
    out.vote(&request.vote);
    out.log_id(request.last_log_id.as_ref());
    out.flag(request.leadership_transfer);
    out.finish()
}

pub(crate) fn read_vote_request<M: StateMachine>(
    body: Bytes,
) -> Result<VoteRequest<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "vote request")?;
    let mut request = VoteRequest::new(input.vote()?, input.log_id()?);
    request.leadership_transfer = input.flag()?;
    input.end()?;
    Ok(request)
}

pub(crate) fn vote_response<M: StateMachine>(response: &VoteResponse<Types<M>>) -> Bytes {
    let mut out = Writer::versioned();
    out.vote(&response.vote);
    out.log_id(response.last_log_id.as_ref());
    out.flag(response.vote_granted);
    out.finish()
}

pub(crate) fn read_vote_response<M: StateMachine>(
    body: Bytes,
) -> Result<VoteResponse<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "vote response")?;
    let (vote, last) = (input.vote()?, input.log_id()?);
    let granted = input.flag()?;
    input.end()?;
    Ok(VoteResponse::new(vote, last, granted))
}

pub(crate) fn transfer_request<M: StateMachine>(
    request: &TransferLeaderRequest<Types<M>>,
) -> Bytes {
    let mut out = Writer::versioned();
    out.vote(request.from_leader());
    out.long(*request.to_node_id());
    out.log_id(request.last_log_id());
    out.finish()
}

pub(crate) fn read_transfer_request<M: StateMachine>(
    body: Bytes,
) -> Result<TransferLeaderRequest<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "transfer request")?;
    let (from, to): (Vote, u64) = (input.vote()?, input.long()?);
    let request = TransferLeaderRequest::new(from, to, input.log_id()?);
    input.end()?;
    Ok(request)
}

pub(crate) fn transfer_response<M: StateMachine>(
    response: &TransferLeaderResponse<Types<M>>,
) -> Bytes {
    let mut out = Writer::versioned();
    match response {
        Ok(()) => out.byte(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.byte(1);
            out.vote(expected);
            out.vote(actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.byte(2);
            out.log_id(expected.as_ref());
            out.log_id(actual.as_ref());
        }
    }
    out.finish()
}

pub(crate) fn read_transfer_response<M: StateMachine>(
    body: Bytes,
) -> Result<TransferLeaderResponse<Types<M>>, Malformed> {
    let mut input = Reader::versioned(body, "transfer response")?;
    let response = match input.byte()? {
        0 => Ok(()),
        1 => {
            let (expected, actual) = (input.vote()?, input.vote()?);
            Err(TransferLeaderError::VoteChanged { expected, actual })
        }
        2 => {
            let (expected, actual) = (input.log_id()?, input.log_id()?);
            Err(TransferLeaderError::LogNotFlushed { expected, actual })
        }
        other => return Err(malformed(format!("transfer response: kind {other}"))),
    };
    input.end()?;
    Ok(response)
}
