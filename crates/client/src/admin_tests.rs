//! An administrator, and the act that makes a cluster, against a fake door.

use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_rpc::heard::{ReplicaOverview, ShardOverview};

use super::*;
use crate::testing::{FakeEdge, answer, machine, nowhere};

fn ops(edge: &FakeEdge) -> Address {
    Address::read(&format!("http://{}", edge.address)).unwrap()
}

#[tokio::test]
async fn a_cluster_is_made_by_one_post() {
    let edge = FakeEdge::start(|_| answer(200, r#"{"cluster":"c1","shards":64,"nodes":[]}"#)).await;
    let made = init_cluster(&machine(), &ops(&edge), 64).await.unwrap();
    assert_eq!((made.cluster.as_str(), made.shards), ("c1", 64));
    assert_eq!(edge.asked()[0].uri, "/cluster/init?shards=64");
}

#[tokio::test]
async fn why_a_cluster_is_not_made_is_told() {
    let edge =
        FakeEdge::start(|_| answer(409, r#"{"code":"not_ready","detail":"n2 is silent"}"#)).await;
    let Err(AdminError::Refused(told)) = init_cluster(&machine(), &ops(&edge), 4).await else {
        panic!("made")
    };
    assert_eq!(told.problem.code.known(), Some(Code::NotReady));
    assert_eq!(told.problem.detail, "n2 is silent");
    let plain = FakeEdge::start(|_| answer(403, "origin_not_allowed: no pages\n")).await;
    let Err(AdminError::Refused(told)) = init_cluster(&machine(), &ops(&plain), 4).await else {
        panic!("made")
    };
    assert_eq!(told.problem.detail, "origin_not_allowed: no pages");
    let address = Address::read(&format!("http://{}", nowhere().await)).unwrap();
    let failed = init_cluster(&machine(), &address, 4).await;
    assert!(matches!(failed, Err(AdminError::Unreachable(_))));
}

#[tokio::test]
async fn every_door_is_tried_before_nobody_is_reached() {
    let urls = [
        format!("http://{}", nowhere().await),
        format!("http://{}", nowhere().await),
    ];
    let endpoints = Endpoints::read(&[], &urls).unwrap();
    let failed = Admin::new(machine(), &endpoints).overview().await;
    assert!(
        matches!(failed, Err(AdminError::Unreachable(_))),
        "{failed:?}"
    );
}

#[test]
fn what_only_leaders_know_is_joined_in() {
    let replica = |behind| ReplicaOverview {
        id: ReplicaId(10),
        node: NodeId(1),
        behind,
    };
    let view = |behind| Overview {
        shards: vec![ShardOverview {
            replicas: vec![replica(behind)],
            ..ShardOverview::default()
        }],
        ..Overview::default()
    };
    assert_eq!(
        join_lag(view(None), &[view(None), view(Some(3))]),
        view(Some(3))
    );
    assert_eq!(join_lag(view(Some(1)), &[view(Some(3))]), view(Some(1)));
}
