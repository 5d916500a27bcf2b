//! Commands for topics find their leaders; rules go to their keeper.

use std::sync::Mutex;

use super::*;
use crate::Edge;
use crate::config::EdgeConfig;
use crate::testing::{NODES, World};

#[derive(Default)]
struct Keeper(Mutex<Vec<TopicPattern>>);

impl RuleKeeper for Keeper {
    fn put(&self, pattern: TopicPattern, _: RuleLayer) -> BoxFuture<'static, Result<(), Refusal>> {
        self.0.lock().unwrap().push(pattern);
        std::future::ready(Ok(())).boxed()
    }

    fn delete(&self, pattern: TopicPattern) -> BoxFuture<'static, Result<(), Refusal>> {
        self.0.lock().unwrap().retain(|have| *have != pattern);
        std::future::ready(Ok(())).boxed()
    }
}

fn admin(edge: &Edge, keeper: &Arc<Keeper>) -> Arc<dyn TopicAdmin> {
    edge.topic_admin(keeper.clone())
}

fn count(count: u64) -> RuleLayer {
    RuleLayer {
        retain_count: Some(count),
        ..RuleLayer::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_made_described_listed_and_ended_on_its_leader() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    world.elect(Some(NODES[2]));
    let admin = admin(&edge, &Arc::default());
    let caller = Caller::default;
    let news: TopicName = "news".parse().unwrap();
    let made = admin
        .create(caller(), news.clone(), count(5))
        .await
        .unwrap();
    assert_eq!(made.rules.retain_count, 5);
    let other = admin
        .create(caller(), news.clone(), count(6))
        .await
        .unwrap_err();
    assert_eq!(
        (other.code, other.topic),
        (Code::TopicExists, Some(news.clone()))
    );
    for name in ["d", "b", "c", "a"] {
        admin
            .create(caller(), name.parse().unwrap(), RuleLayer::default())
            .await
            .unwrap();
    }
    let list = ListTopics {
        pattern: None,
        after: Some("a".parse().unwrap()),
        limit: 3,
    };
    let rows = admin.list(caller(), list).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["b", "c", "d"], "over all shards, in order");
    admin.delete(caller(), news.clone(), None).await.unwrap();
    assert_eq!(
        admin.get(caller(), news).await.unwrap_err().code,
        Code::TopicNotFound
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_there_is_no_quorum_after_a_while() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    world.elect(None);
    let start = deps.clock.now();
    let get = admin(&edge, &Arc::default()).get(Caller::default(), "news".parse().unwrap());
    assert_eq!(get.await.unwrap_err().code, Code::NoQuorum);
    assert!(deps.clock.now() - start < PATIENCE * 2);
}

#[tokio::test(start_paused = true)]
async fn rules_are_checked_and_then_kept() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let keeper = Arc::<Keeper>::default();
    let admin = admin(&edge, &keeper);
    let pattern: TopicPattern = "chat.>".parse().unwrap();
    let bad = admin
        .put_rule(Caller::default(), pattern.clone(), count(0))
        .await
        .unwrap_err();
    assert_eq!(
        (bad.code, bad.field.as_deref()),
        (Code::InvalidArgument, Some("retain_count"))
    );
    assert!(keeper.0.lock().unwrap().is_empty());
    admin
        .put_rule(Caller::default(), pattern.clone(), count(9))
        .await
        .unwrap();
    assert_eq!(*keeper.0.lock().unwrap(), std::slice::from_ref(&pattern));
    admin.delete_rule(Caller::default(), pattern).await.unwrap();
    assert!(keeper.0.lock().unwrap().is_empty());
    let stranger = Caller {
        authorization: Some("Bearer x".to_owned()),
        ..Caller::default()
    };
    assert_eq!(
        admin.list_rules(stranger).await.unwrap_err().code,
        Code::Unauthenticated
    );
    assert!(
        admin
            .list_rules(Caller::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_shard_can_hold_is_refused_with_what_would_fit() {
    let world = World::default();
    let (edge, _deps, view) = world.edge(EdgeConfig::default()).await;
    view.send_modify(|shared| {
        let mut told = fanfare_core::view::View::clone(shared);
        for node in told.nodes.values_mut() {
            node.history_budget = 1 << 20;
        }
        *shared = Arc::new(told);
    });
    let keeper = Arc::<Keeper>::default();
    let admin = admin(&edge, &keeper);
    let bytes = |bytes| RuleLayer {
        retain_bytes: Some(bytes),
        ..RuleLayer::default()
    };
    let caller = Caller::default;
    // Two shards on each node.
    let fits = 1 << 19;
    let pattern: TopicPattern = "chat.>".parse().unwrap();
    let bad = admin
        .put_rule(caller(), pattern.clone(), bytes(fits + 1))
        .await
        .unwrap_err();
    assert_eq!(
        (bad.code, bad.field.as_deref()),
        (Code::InvalidArgument, Some("retain_bytes"))
    );
    assert!(bad.detail.contains("at most 524288"), "{}", bad.detail);
    let name: TopicName = "chat.7".parse().unwrap();
    let bad = admin
        .create(caller(), name, bytes(fits + 1))
        .await
        .unwrap_err();
    assert_eq!(bad.field.as_deref(), Some("retain_bytes"));
    assert!(keeper.0.lock().unwrap().is_empty());
    admin
        .put_rule(caller(), pattern, bytes(fits))
        .await
        .unwrap();
}
