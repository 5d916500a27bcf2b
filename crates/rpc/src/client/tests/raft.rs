//! Raft calls, and who they are for.

use super::*;

#[tokio::test]
async fn a_call_for_another_start_of_the_node_is_refused_before_anything_is_sent() {
    let pair = pair().await;
    let again = Identity {
        generation: Generation(4),
        ..identity(2)
    };
    pair.callee.identity.send(Some(again)).unwrap();
    let (drafts, rx) = mpsc::channel(16);
    drafts.send(request(1, 0)).await.unwrap();
    let mut answers = pair.clients.peer(NodeId(2)).unwrap().publish(rx);
    let verdict = Verdict::Reroute(Redirect::default());
    assert_eq!(
        answers.recv().await,
        Some(PublishAnswer { seq: 1, verdict })
    );
    // Raft may call: it is how a node learns of its peers' new starts.
    let call = RaftCall {
        route: route(7),
        body: Bytes::from_static(b"v"),
        bulk: false,
    };
    let answer = pair
        .clients
        .raft(&pair.at(2), call, Duration::from_secs(5))
        .await;
    assert_eq!(answer, Ok(Bytes::from_static(b"\x01v")));
}

#[tokio::test]
async fn another_node_at_the_address_is_refused_and_named() {
    let pair = pair().await;
    let address = pair.served.address.to_string();
    pair.caller
        .view
        .send(Arc::new(view(&[(1, nowhere().await), (3, address)])))
        .unwrap();
    let call = RaftCall {
        route: route(7),
        body: Bytes::new(),
        bulk: false,
    };
    let answer = pair
        .clients
        .raft(&pair.at(3), call, Duration::from_secs(5))
        .await;
    let Err(RaftError::Misdirected(refused)) = answer else {
        panic!("taken by the wrong node: {answer:?}");
    };
    assert_eq!(
        (refused.reason, refused.node),
        (Reason::OtherNode, NodeId(2))
    );
}

fn route(to: u64) -> RaftRoute {
    RaftRoute {
        shard: Some(1),
        from: 5,
        to,
        kind: 2,
    }
}

#[tokio::test]
async fn raft_calls_are_answered_refused_or_given_up() {
    let pair = pair().await;
    let call = |to, bulk| RaftCall {
        route: route(to),
        body: Bytes::from_static(b"body"),
        bulk,
    };
    for bulk in [false, true] {
        let answer = pair
            .clients
            .raft(&pair.at(2), call(7, bulk), Duration::from_secs(5))
            .await;
        assert_eq!(answer, Ok(Bytes::from_static(b"\x01body")));
    }
    let elsewhere = pair
        .clients
        .raft(&pair.at(2), call(99, false), Duration::from_secs(5))
        .await;
    assert_eq!(elsewhere, Err(RaftError::NotHere));
    let hangs = pair
        .clients
        .raft(&pair.at(2), call(98, false), Duration::from_millis(100))
        .await;
    assert_eq!(hangs, Err(RaftError::Timeout));
    let nobody = pair
        .clients
        .raft(&pair.at(3), call(7, false), Duration::from_secs(5))
        .await;
    assert!(
        matches!(nobody, Err(RaftError::Unreachable(_))),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn a_pipeline_answers_in_the_order_of_its_bodies() {
    let pair = pair().await;
    let (bodies, rx) = mpsc::channel(4);
    let mut answers = pair.clients.raft_pipeline(&pair.at(2), route(7), false, rx);
    let sending = async {
        for n in 0..100_u8 {
            bodies.send(Bytes::from(vec![n])).await.unwrap();
        }
        drop(bodies);
    };
    let receiving = async {
        for n in 0..100_u8 {
            assert_eq!(answers.recv().await, Some(Ok(Bytes::from(vec![1, n]))));
        }
        assert_eq!(answers.recv().await, None);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_pipeline_ends_with_its_first_error() {
    let pair = pair().await;
    let (bodies, rx) = mpsc::channel(4);
    let mut answers = pair
        .clients
        .raft_pipeline(&pair.at(2), route(99), false, rx);
    bodies.send(Bytes::new()).await.unwrap();
    assert_eq!(answers.recv().await, Some(Err(RaftError::NotHere)));
    assert_eq!(answers.recv().await, None);
}
