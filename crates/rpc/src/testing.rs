//! What tests of both ends share: routes served on loopback, and a cluster's view.

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_core::view::{Addresses, Node, NodeState, StoreState, View};
use fanfare_host::{Listener as _, TcpDoor};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::identity::{Identity, Local};
use crate::server::Routes;

/// Routes served until this is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

/// Serves `routes` over HTTP/2 on a free port.
pub(crate) async fn serve(routes: Routes) -> Served {
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let service = TowerToHyperService::new(routes.into_axum_router());
    let tasks = TaskTracker::new();
    let connections = tasks.clone();
    let accepting = tasks.spawn(async move {
        while let Ok((stream, _)) = door.accept().await {
            let service = service.clone();
            connections.spawn(async move {
                let builder = Builder::new(TokioExecutor::new()).http2_only();
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
    Served {
        address,
        _accepting: AbortOnDropHandle::new(accepting),
    }
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> String {
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    door.local_addr().unwrap().to_string()
}

pub(crate) fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId(9),
        node: NodeId(node),
        generation: Generation(3),
        disk: DiskId(node.into()),
    }
}

/// A view of nodes in generation 3, by id and peer address.
pub(crate) fn view(nodes: &[(u64, String)]) -> View {
    let node = |(id, peer): &(u64, String)| Node {
        id: NodeId(*id),
        name: format!("n{id}"),
        generation: Generation(3),
        level: 1,
        disk: DiskId((*id).into()),
        store: StoreState::ReadWrite,
        state: NodeState::Active,
        addresses: Addresses {
            peer: peer.clone(),
            ..Addresses::default()
        },
        history_budget: 0,
    };
    View {
        version: 1,
        cluster: ClusterId(9),
        nodes: nodes.iter().map(node).map(|node| (node.id, node)).collect(),
        ..View::empty()
    }
}

/// Node `node` and what it knows, with the ends by which it learns more.
pub(crate) struct Knows {
    pub(crate) local: Local,
    pub(crate) identity: watch::Sender<Option<Identity>>,
    pub(crate) view: watch::Sender<Arc<View>>,
}

pub(crate) fn knows(node: u64, view: View) -> Knows {
    let (identity, own) = watch::channel(Some(self::identity(node)));
    let (view, views) = watch::channel(Arc::new(view));
    Knows {
        local: Local {
            identity: own,
            view: views,
        },
        identity,
        view,
    }
}
