//! Standings, pages and topics on one replica.

use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, GapReason, Since};
use fanfare_core::link::{NoRead, StandRequest};
use fanfare_core::position::Position;
use fanfare_core::rule::{Class, RuleLayer};
use fanfare_rpc::topics::TopicCommand;

use crate::people::{Publisher, draft, page, stand, wish};
use crate::world::{SHARD, World, in_time};

fn code(no: NoRead) -> Code {
    match no {
        NoRead::Refused(refusal) => refusal.code,
        NoRead::Reroute(to) => panic!("sent to {to:?}"),
    }
}

#[tokio::test]
async fn a_standing_waits_for_the_wanted_position_and_not_for_ever() {
    let world = World::new(1).await;
    let peer = &world.node(1).peer;
    let mut alice = Publisher::of(peer);
    let first = alice.place(draft("news", "a")).await.position.unwrap();
    let wanted = StandRequest {
        min_position: Some(first.next()),
        ..wish("news", Since::Latest)
    };
    assert_eq!(
        code(stand(peer, wanted.clone(), 20).await.unwrap_err()),
        Code::NotReady
    );
    let waits = stand(peer, wanted, 20_000);
    let (standing, next) = tokio::join!(waits, alice.place(draft("news", "b")));
    assert_eq!(Some(standing.unwrap().head), next.position);
}

#[tokio::test]
async fn a_position_above_the_head_is_told_and_counted() {
    let world = World::new(1).await;
    let peer = &world.node(1).peer;
    let mut alice = Publisher::of(peer);
    let head = alice.place(draft("news", "a")).await.position.unwrap();
    let ahead = Position::new(head.epoch.0, 40);
    let standing = stand(peer, wish("news", Since::After(ahead)), 0)
        .await
        .unwrap();
    let Answer::Gap(gap) = standing.answer else {
        panic!("{:?}", standing.answer)
    };
    assert_eq!(
        (gap.reason, gap.from, gap.to),
        (GapReason::PositionAhead, ahead, head)
    );
    let page = page(peer, "news", ahead, true).await.unwrap();
    assert_eq!(
        page.gap.map(|gap| gap.reason),
        Some(GapReason::PositionAhead)
    );
    assert_eq!(world.node(1).broker.metrics().positions_ahead.get(), 2);
}

#[tokio::test]
async fn pages_bring_a_reader_to_the_head() {
    let world = World::new(1).await;
    let peer = &world.node(1).peer;
    let mut alice = Publisher::of(peer);
    let mut last = alice.place(draft("news", "0")).await.position.unwrap();
    for n in 1..250 {
        last = alice
            .place(draft("news", &n.to_string()))
            .await
            .position
            .unwrap();
    }
    let mut at = Position::new(last.epoch.0, 0);
    let mut pages = 0;
    while at < last {
        let page = page(peer, "news", at, false).await.unwrap();
        assert_eq!(page.messages.first().map(|m| m.position), Some(at.next()));
        at = page.messages.last().unwrap().position;
        pages += 1;
    }
    assert_eq!((at, pages), (last, 3));
}

#[tokio::test]
async fn topics_are_made_listed_and_ended() {
    let world = World::new(1).await;
    let peer = &world.node(1).peer;
    let topics = |command| in_time("topics", peer.topics(SHARD, command));
    let rules = RuleLayer {
        retain_count: Some(5),
        ..RuleLayer::default()
    };
    let create = TopicCommand::Create {
        name: "news".parse().unwrap(),
        rules: rules.clone(),
    };
    let made = topics(create.clone()).await.unwrap();
    assert_eq!(
        (made[0].class, made[0].rules.retain_count),
        (Class::Durable, 5)
    );
    assert_eq!(
        topics(create).await.unwrap(),
        made,
        "the same again changes nothing"
    );
    let other = RuleLayer {
        retain_count: Some(6),
        ..rules
    };
    let other = TopicCommand::Create {
        name: "news".parse().unwrap(),
        rules: other,
    };
    assert_eq!(code(topics(other).await.unwrap_err()), Code::TopicExists);
    let bad = RuleLayer {
        retain_count: Some(0),
        ..RuleLayer::default()
    };
    let bad = TopicCommand::Create {
        name: "bad".parse().unwrap(),
        rules: bad,
    };
    assert_eq!(code(topics(bad).await.unwrap_err()), Code::InvalidArgument);
    let list = TopicCommand::List {
        pattern: None,
        after: None,
        limit: 10,
    };
    assert_eq!(topics(list).await.unwrap(), made);
    let delete = TopicCommand::Delete {
        name: "news".parse().unwrap(),
        epoch: None,
    };
    topics(delete.clone()).await.unwrap();
    assert_eq!(code(topics(delete).await.unwrap_err()), Code::TopicNotFound);
    let get = TopicCommand::Get {
        name: "news".parse().unwrap(),
    };
    assert_eq!(code(topics(get).await.unwrap_err()), Code::TopicNotFound);
}

#[tokio::test]
async fn new_rules_of_the_view_reach_the_shard() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    for n in 0..10 {
        alice.place(draft("news", &n.to_string())).await;
    }
    world.change(|view| {
        view.rules.version += 1;
        let few = RuleLayer {
            retain_count: Some(3),
            ..RuleLayer::default()
        };
        assert!(view.rules.put("news".parse().unwrap(), few));
    });
    crate::world::eventually("the history is trimmed", || {
        let dump = world.node(1).broker.dump(SHARD).unwrap();
        dump.topics[0].records.len() == 3
    })
    .await;
}
