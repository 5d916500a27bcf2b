//! Opaque raft calls.

use bytes::Bytes;

use super::{Malformed, required};
use crate::pb::peer as pb;
use crate::raft::{RaftError, RaftRoute};

pub(crate) fn route_to_pb(
    RaftRoute {
        shard,
        from,
        to,
        kind,
    }: &RaftRoute,
) -> pb::RaftRoute {
    pb::RaftRoute {
        shard: *shard,
        from: *from,
        to: *to,
        kind: u32::from(*kind),
    }
}

pub(crate) fn route(raw: pb::RaftRoute) -> Result<RaftRoute, Malformed> {
    let pb::RaftRoute {
        shard,
        from,
        to,
        kind,
    } = raw;
    Ok(RaftRoute {
        shard,
        from,
        to,
        kind: u8::try_from(kind).map_err(|_| Malformed::unknown("route.kind"))?,
    })
}

pub(crate) fn answer_to_pb(answer: Result<Bytes, RaftError>) -> pb::RaftAnswer {
    let result = match answer {
        Ok(body) => pb::raft_answer::Result::Body(body),
        Err(RaftError::NotHere) => pb::raft_answer::Result::NotHere(true),
        Err(error) => pb::raft_answer::Result::Failed(error.to_string()),
    };
    pb::RaftAnswer {
        result: Some(result),
    }
}

pub(crate) fn answer_of(pb::RaftAnswer { result }: pb::RaftAnswer) -> Result<Bytes, RaftError> {
    match required(result, "result").map_err(|bad| RaftError::Failed(bad.to_string()))? {
        pb::raft_answer::Result::Body(body) => Ok(body),
        pb::raft_answer::Result::NotHere(_) => Err(RaftError::NotHere),
        pb::raft_answer::Result::Failed(why) => Err(RaftError::Failed(why)),
    }
}
