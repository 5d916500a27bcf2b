//! Joins the opaque raft calls of `rpc` to the wire and the door of `consensus`: neither knows the
//! other. Which node holds a replica is looked up in the cluster's address book.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fanfare_cluster::Routes;
use fanfare_consensus::{Call, Door, GroupId, Kind, Route, Wire, WireError};
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_rpc::client::{At, PeerClients};
use fanfare_rpc::raft::{RaftCall, RaftDoor, RaftError, RaftRoute};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Longest time for a call; raft's own deadlines are shorter.
const CALL: Duration = Duration::from_secs(5);
/// The number of snapshots among the kinds of calls: these go over the bulk connection.
const SNAPSHOT: u8 = 5;

/// The way to other replicas. The connections come later than the wire: they need what is built
/// on it.
#[derive(Clone)]
pub(crate) struct RaftWire {
    pub(crate) routes: Routes,
    pub(crate) clients: Arc<OnceLock<PeerClients>>,
    pub(crate) tasks: TaskTracker,
}

impl RaftWire {
    fn find(&self, to: ReplicaId) -> Result<(&PeerClients, At), WireError> {
        let clients = self.clients.get().ok_or(WireError::NoAddress(to))?;
        let target = self.routes.replica(to).ok_or(WireError::NoAddress(to))?;
        let at = At {
            node: target.node,
            generation: target.generation,
            address: target.address,
        };
        Ok((clients, at))
    }
}

impl Wire for RaftWire {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let Call { route, kind, body } = call;
        let asked = self.find(route.to).map(|(clients, at)| {
            let call = RaftCall {
                route: to_rpc(route, kind),
                body,
                bulk: false,
            };
            clients.raft(&at, call, CALL)
        });
        async move { asked?.await.map_err(from_rpc) }.boxed()
    }

    fn heartbeat(&self, route: Route, body: Bytes) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let asked = self.find(route.to).map(|(clients, at)| {
            clients.raft_heartbeat(&at, to_rpc(route, Kind::Append), body, CALL)
        });
        async move { asked?.await.map_err(from_rpc) }.boxed()
    }

    fn appends(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        self.pipeline(route, Kind::Append, bodies)
    }

    fn snapshot(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        self.pipeline(route, Kind::Snapshot, bodies)
    }
}

impl RaftWire {
    fn pipeline(
        &self,
        route: Route,
        kind: Kind,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, rx) = mpsc::channel(8);
        let found = self.find(route.to);
        let mut opened = match found {
            Ok((clients, at)) => {
                let bulk = kind == Kind::Snapshot;
                clients.raft_pipeline(&at, to_rpc(route, kind), bulk, bodies)
            }
            Err(error) => {
                // The channel is new and empty.
                drop(answers.try_send(Err(error)));
                return rx;
            }
        };
        self.tasks.spawn(async move {
            loop {
                let answer = tokio::select! { biased;
                    () = answers.closed() => return,
                    answer = opened.recv() => answer,
                };
                let Some(answer) = answer else { return };
                if answers.send(answer.map_err(from_rpc)).await.is_err() {
                    return;
                }
            }
        });
        rx
    }
}

/// The receiving end of this node.
pub(crate) struct RaftService(pub(crate) Door);

impl RaftDoor for RaftService {
    fn serve(
        &self,
        _sender: NodeId,
        route: RaftRoute,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, RaftError>> {
        let door = self.0.clone();
        async move {
            let (route, kind) = from_route(route)?;
            door.serve(Call { route, kind, body })
                .await
                .map_err(to_error)
        }
        .boxed()
    }

    fn serve_pipeline(
        &self,
        _sender: NodeId,
        route: RaftRoute,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, RaftError>>,
    ) -> BoxFuture<'static, ()> {
        let door = self.0.clone();
        async move {
            let (route, kind) = match from_route(route) {
                Ok(known) => known,
                // A caller that is gone needs no answer.
                Err(error) => return drop(answers.send(Err(error)).await),
            };
            let (inner, mut given) = mpsc::channel::<Result<Bytes, WireError>>(8);
            let forward = async {
                while let Some(answer) = given.recv().await {
                    if answers.send(answer.map_err(to_error)).await.is_err() {
                        return;
                    }
                }
            };
            let serve = async {
                match kind {
                    Kind::Snapshot => door.serve_snapshot(route, bodies, inner).await,
                    Kind::Append | Kind::Vote | Kind::PreVote | Kind::Transfer => {
                        door.serve_appends(route, bodies, inner).await;
                    }
                }
            };
            tokio::join!(serve, forward);
        }
        .boxed()
    }
}

fn to_rpc(route: Route, kind: Kind) -> RaftRoute {
    let shard = match route.group {
        GroupId::Meta => None,
        GroupId::Shard(shard) => Some(shard.0),
    };
    let kind = match kind {
        Kind::Append => 1,
        Kind::Vote => 2,
        Kind::PreVote => 3,
        Kind::Transfer => 4,
        Kind::Snapshot => SNAPSHOT,
    };
    RaftRoute {
        shard,
        from: route.from.0,
        to: route.to.0,
        kind,
    }
}

fn from_route(route: RaftRoute) -> Result<(Route, Kind), RaftError> {
    let kind = match route.kind {
        1 => Kind::Append,
        2 => Kind::Vote,
        3 => Kind::PreVote,
        4 => Kind::Transfer,
        SNAPSHOT => Kind::Snapshot,
        other => return Err(RaftError::Failed(format!("unknown kind of call: {other}"))),
    };
    let group = route
        .shard
        .map_or(GroupId::Meta, |shard| GroupId::Shard(ShardId(shard)));
    Ok((
        Route {
            group,
            from: ReplicaId(route.from),
            to: ReplicaId(route.to),
        },
        kind,
    ))
}

fn from_rpc(error: RaftError) -> WireError {
    match error {
        RaftError::NotHere => WireError::NotHere,
        RaftError::Timeout => WireError::Timeout,
        other @ (RaftError::UnknownNode
        | RaftError::Misdirected(_)
        | RaftError::Unreachable(_)
        | RaftError::Failed(_)) => WireError::Unreachable(other.to_string()),
    }
}

fn to_error(error: WireError) -> RaftError {
    match error {
        WireError::NotHere => RaftError::NotHere,
        WireError::Timeout => RaftError::Timeout,
        WireError::NoAddress(_) => RaftError::UnknownNode,
        WireError::Unreachable(why) => RaftError::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_come_back_as_they_were_sent() {
        for group in [
            GroupId::Meta,
            GroupId::Shard(ShardId(0)),
            GroupId::Shard(ShardId(7)),
        ] {
            for kind in [
                Kind::Append,
                Kind::Vote,
                Kind::PreVote,
                Kind::Transfer,
                Kind::Snapshot,
            ] {
                let route = Route {
                    group,
                    from: ReplicaId(1),
                    to: ReplicaId(2),
                };
                assert_eq!(from_route(to_rpc(route, kind)), Ok((route, kind)));
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let route = RaftRoute {
            shard: None,
            from: 1,
            to: 2,
            kind: 9,
        };
        assert!(from_route(route).is_err());
    }
}
