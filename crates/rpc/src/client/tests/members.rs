//! Membership.

use super::*;

fn envelope(to: u64) -> Envelope {
    Envelope {
        cluster: identity(1).cluster,
        to: NodeId(to),
        from: NodeId(1),
        generation: Generation(3),
    }
}

#[tokio::test]
async fn members_answer_over_the_wire_as_they_do_here() {
    let pair = pair().await;
    let members = pair.clients.members(&pair.served.address.to_string());
    assert_eq!(members.identify("n1".to_owned()).await, Ok(card()));
    let adopt = |node| Adopt {
        cluster: identity(1).cluster,
        node: NodeId(node),
        disk: identity(2).disk,
        view: view(&[]),
    };
    assert_eq!(members.adopt(adopt(2)).await, Ok(()));
    let taken = AdoptError::Member {
        cluster: identity(1).cluster,
        node: NodeId(5),
    };
    assert_eq!(members.adopt(adopt(5)).await, Err(taken));
    let named = |name: &str| Card {
        name: name.to_owned(),
        ..card()
    };
    let name_taken = fanfare_core::view::Refusal::NameTaken { node: NodeId(1) };
    for (name, answer) in [
        ("n4", Ok(NodeId(4))),
        ("stranger", Err(JoinError::Closed)),
        ("taken", Err(JoinError::Refused(name_taken))),
        ("early", Err(JoinError::Later("no leader".to_owned()))),
    ] {
        assert_eq!(members.join(named(name)).await, answer);
    }
    let beat = Beat {
        generation: Generation(3),
        view: 8,
        leader: Some(NodeId(1)),
        replicas: Vec::new(),
        full: true,
        hand_over: None,
    };
    assert_eq!(
        members.heartbeat(envelope(2), beat.clone()).await,
        Ok(beat.clone())
    );
    let stranger = CallError::NotForMe {
        cluster: None,
        node: Some(NodeId(2)),
    };
    assert_eq!(members.heartbeat(envelope(4), beat).await, Err(stranger));
    assert_eq!(
        *members.view(envelope(2)).await.unwrap(),
        view(&[(2, "n2:7070".to_owned())])
    );
    let within = Duration::from_secs(5);
    let level = members
        .propose(envelope(2), Command::SetLevel { level: 3 }, within)
        .await;
    let refused = fanfare_core::view::Refusal::LevelNotAbove { level: 3 };
    assert_eq!(level, Ok(Outcome::Refused(refused)));
    let begun = Command::ShardBegun { shard: ShardId(1) };
    let elsewhere = ProposeError::NotLeader {
        leader: Some(NodeId(1)),
    };
    assert_eq!(
        members.propose(envelope(2), begun, within).await,
        Err(elsewhere)
    );
}

#[tokio::test]
async fn a_proposal_that_was_sent_is_unknown_and_one_that_was_not_is_not() {
    let pair = pair().await;
    let remove = Command::RemoveNode { node: NodeId(4) };
    let within = Duration::from_millis(50);
    let members = pair.clients.members(&pair.served.address.to_string());
    assert_eq!(
        members.propose(envelope(2), remove.clone(), within).await,
        Err(ProposeError::Unknown)
    );
    for address in [nowhere().await, "no address".to_owned()] {
        let members = pair.clients.members(&address);
        let failed = members.propose(envelope(2), remove.clone(), within).await;
        assert!(
            matches!(failed, Err(ProposeError::Unreachable(_))),
            "{failed:?}"
        );
        let failed = members.identify("n1".to_owned()).await;
        assert!(
            matches!(failed, Err(CallError::Unreachable(_))),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn a_node_tells_of_its_copies() {
    let pair = pair().await;
    let copies = pair
        .clients
        .members(&pair.served.address.to_string())
        .copies(envelope(2))
        .await
        .unwrap();
    assert_eq!(copies.len(), 2);
    assert_eq!((copies[0].shard, copies[0].last), (None, None));
    assert_eq!(copies[1].last.unwrap().index, 8);
    assert_eq!(copies[1].voters, [ReplicaId(1), ReplicaId(2)]);
    assert!(copies[0].serves && !copies[1].serves);
}
