//! Links and reads.

use super::*;

#[tokio::test]
async fn a_publish_link_keeps_its_order_and_answers_after_the_half_close() {
    let pair = pair().await;
    let peer = pair.clients.peer(NodeId(2)).unwrap();
    let (drafts, rx) = mpsc::channel(16);
    let mut answers = peer.publish(rx);
    let sending = async {
        for seq in 0..2_000 {
            drafts.send(request(seq, 0)).await.unwrap();
        }
        drop(drafts);
    };
    let receiving = async {
        for seq in 0..2_000 {
            let answer = answers.recv().await.unwrap();
            let placed = Verdict::Placed(receipt(&request(seq, 0).draft, seq + 1));
            assert_eq!(
                answer,
                PublishAnswer {
                    seq,
                    verdict: placed
                }
            );
        }
        assert_eq!(answers.recv().await, None);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn redirects_and_refusals_come_back_as_they_were_said() {
    let pair = pair().await;
    let (drafts, rx) = mpsc::channel(16);
    let mut answers = pair.clients.peer(NodeId(2)).unwrap().publish(rx);
    drafts.send(request(1, 1)).await.unwrap();
    let redirect = Redirect {
        leader: Some(NodeId(3)),
        term: Term(5),
    };
    assert_eq!(
        answers.recv().await.unwrap().verdict,
        Verdict::Reroute(redirect)
    );
    drafts.send(request(2, 2)).await.unwrap();
    let refusal = Refusal::of_publish(Code::StorageFull, "no room");
    assert_eq!(
        answers.recv().await.unwrap().verdict,
        Verdict::Refused(refusal)
    );
}

#[tokio::test]
async fn drafts_that_never_left_are_known_not_to_be_placed() {
    let pair = pair().await;
    let (drafts, rx) = mpsc::channel(16);
    for seq in 0..3 {
        drafts.send(request(seq, 0)).await.unwrap();
    }
    let mut answers = pair.clients.peer(NodeId(3)).unwrap().publish(rx);
    for seq in 0..3 {
        let verdict = Verdict::Reroute(Redirect::default());
        assert_eq!(answers.recv().await, Some(PublishAnswer { seq, verdict }));
    }
    assert_eq!(answers.recv().await, None);
}

#[tokio::test]
async fn a_draft_that_left_and_was_not_answered_is_unknown_when_the_link_ends() {
    let pair = pair().await;
    let (drafts, rx) = mpsc::channel(16);
    let mut answers = pair.clients.peer(NodeId(2)).unwrap().publish(rx);
    drafts.send(request(1, 99)).await.unwrap();
    drafts.send(request(2, 0)).await.unwrap();
    assert_eq!(answers.recv().await.unwrap().seq, 2);
    drop(drafts);
    assert_eq!(answers.recv().await, None);
}

#[tokio::test]
async fn a_delivery_link_carries_runs_and_names_the_edge() {
    let pair = pair().await;
    let (says, rx) = mpsc::channel(16);
    let mut words = pair.clients.peer(NodeId(2)).unwrap().deliver(NodeId(1), rx);
    let attach = |id| Attach {
        id: AttachId(id),
        shard: ShardId(0),
        topic: "news".parse().unwrap(),
        after: Some(Position::new(7, 0)),
    };
    says.send(EdgeSays::Attach(vec![attach(1), attach(2)]))
        .await
        .unwrap();
    for id in [1, 2] {
        let run = Run {
            after: Position::new(7, 0),
            messages: (1..=3).map(message).collect(),
        };
        assert_eq!(words.recv().await, Some(LeaderSays::Run(AttachId(id), run)));
    }
    assert_eq!(
        *pair.script.edges.lock().unwrap(),
        BTreeSet::from([NodeId(1)])
    );
    drop(says);
    assert_eq!(words.recv().await, None);
}

#[tokio::test]
async fn reads_are_answered_one_result_a_request() {
    let pair = pair().await;
    let peer = pair.clients.peer(NodeId(2)).unwrap();
    let wish = StandRequest {
        topic: "news".parse().unwrap(),
        since: Since::Latest,
        poll: false,
        min_position: None,
    };
    let standings = peer
        .stand(ShardId(0), vec![wish.clone(), wish.clone()], 0)
        .await;
    assert_eq!(standings, [Ok(standing(0)), Ok(standing(1))]);
    let page = PageRequest {
        shard: ShardId(0),
        topic: "news".parse().unwrap(),
        after: Position::new(7, 3),
        limit: 10,
        bytes: 1_000,
        leader: false,
    };
    assert_eq!(
        peer.page(page).await.unwrap().messages,
        [message(4), message(5)]
    );
    assert_eq!(peer.leader(ShardId(3)).await.leader, Some(NodeId(3)));
    let get = TopicCommand::Get {
        name: "news".parse().unwrap(),
    };
    let exists = Refusal::new(Code::TopicExists, "with other rules");
    assert_eq!(
        peer.topics(ShardId(0), get).await,
        Err(NoRead::Refused(exists))
    );
}

#[tokio::test]
async fn a_node_that_hangs_is_given_up_at_the_deadline() {
    let pair = pair().await;
    let peer = pair.clients.peer(NodeId(2)).unwrap();
    let wish = StandRequest {
        topic: "news".parse().unwrap(),
        since: Since::Latest,
        poll: false,
        min_position: None,
    };
    let standings = peer.stand(ShardId(99), vec![wish], 50).await;
    assert_eq!(standings, [Err(NoRead::Reroute(Redirect::default()))]);
    let delete = TopicCommand::Delete {
        name: "news".parse().unwrap(),
        epoch: None,
    };
    let Err(NoRead::Refused(refusal)) = peer.topics(ShardId(99), delete).await else {
        panic!("a change without answer must not look undone");
    };
    assert_eq!(refusal.code, Code::OutcomeUnknown);
}

#[tokio::test]
async fn the_local_peer_is_called_without_a_connection_and_gone_nodes_are_none() {
    let pair = pair().await;
    assert_eq!(
        pair.clients
            .peer(NodeId(1))
            .unwrap()
            .leader(ShardId(6))
            .await
            .leader,
        Some(NodeId(6))
    );
    assert!(pair.clients.peer(NodeId(8)).is_none());
    let mut later = view(&[(1, nowhere().await), (2, pair.served.address.to_string())]);
    later.nodes.get_mut(&NodeId(2)).unwrap().state = NodeState::Gone;
    pair.caller.view.send(Arc::new(later)).unwrap();
    assert!(pair.clients.peer(NodeId(2)).is_none());
}
