//! The scripted cluster, and what is heard of it: sessions, counts.

use std::collections::BTreeMap;

use fanfare_host::TcpConnector;

use super::*;
use crate::client::{ClientSettings, PublicClient};
use crate::roster::{
    DisconnectWish, NodeCounts, SessionRow, SessionTopic, SessionsPage, SessionsWish,
};

impl ClusterAdmin for Arc<Script> {
    fn view(&self, _caller: Caller) -> BoxFuture<'static, Result<ClusterStatus, Refusal>> {
        std::future::ready(Ok(status())).boxed()
    }

    fn watch_view(
        &self,
        _caller: Caller,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<ClusterStatus>, Refusal>> {
        let (tx, rx) = mpsc::channel(2);
        tx.try_send(status()).unwrap();
        tx.try_send(status()).unwrap();
        std::future::ready(Ok(rx)).boxed()
    }

    fn sample(
        &self,
        _caller: Caller,
        topics: Vec<TopicName>,
    ) -> BoxFuture<'static, Result<Vec<Sample>, Refusal>> {
        let sample = |topic| Sample {
            topic,
            epoch: Epoch(7),
            start: Position::new(7, 1),
            head: Position::new(7, 12),
        };
        std::future::ready(Ok(topics.into_iter().map(sample).collect())).boxed()
    }

    fn change(
        &self,
        _caller: Caller,
        change: ClusterChange,
    ) -> BoxFuture<'static, Result<Changed, Refusal>> {
        self.changes.lock().unwrap().push(change);
        let (node, version) = (NodeId(2), 9);
        std::future::ready(Ok(Changed { node, version })).boxed()
    }

    fn sessions(
        &self,
        _caller: Caller,
        wish: SessionsWish,
    ) -> BoxFuture<'static, Result<SessionsPage, Refusal>> {
        std::future::ready(Ok(sessions(&wish))).boxed()
    }

    fn disconnect(
        &self,
        _caller: Caller,
        wish: DisconnectWish,
    ) -> BoxFuture<'static, Result<u64, Refusal>> {
        let told = u64::from(wish == DisconnectWish::Subject("alice".to_owned()));
        std::future::ready(Ok(told)).boxed()
    }

    fn counts(&self, _caller: Caller) -> BoxFuture<'static, Result<NodeCounts, Refusal>> {
        std::future::ready(Ok(counts())).boxed()
    }

    fn upgrade(&self, _caller: Caller) -> BoxFuture<'static, Result<Upgraded, Refusal>> {
        let done = Upgraded {
            level: 2,
            known: 3,
            raised: true,
        };
        async move { Ok(done) }.boxed()
    }

    fn repair(
        &self,
        _caller: Caller,
        wish: RepairWish,
    ) -> BoxFuture<'static, Result<Repair, Refusal>> {
        let (node, replica, term) = (NodeId(1), ReplicaId(4), Term(3));
        let copy = Copy {
            shard: wish.shard,
            replica,
            last: Some(At { term, index: 80 }),
            voters: Vec::new(),
            serves: false,
        };
        let verdict = match wish.lost.is_empty() {
            true => Verdict::MayComeBack,
            false => Verdict::Ready { node, replica },
        };
        let findings = Findings {
            copies: vec![(node, copy)],
            voters: 3,
            silent: vec![NodeId(2)],
            verdict,
        };
        let done = wish.accept_data_loss;
        std::future::ready(Ok(Repair { findings, done })).boxed()
    }

    fn dump_shard(
        &self,
        _caller: Caller,
        _shard: ShardId,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<TopicDump>, Refusal>> {
        let dump = |name, rows: u64| TopicDump {
            node: NodeId(1),
            topic: topic(name),
            class: Class::Durable,
            epoch: Epoch(7),
            start: Position::new(7, 1),
            head: Position::new(7, rows),
            chain: 5,
            rows: (1..=rows)
                .map(|n| (Offset(n), u128::from(n) << 64))
                .collect(),
        };
        let (tx, rx) = mpsc::channel(2);
        tx.try_send(dump("empty", 0)).unwrap();
        tx.try_send(dump("long", 25_000)).unwrap();
        std::future::ready(Ok(rx)).boxed()
    }
}

/// Node 2 has two sessions, 31 and 47.
fn sessions(wish: &SessionsWish) -> SessionsPage {
    let row = |number: u64| SessionRow {
        session: format!("s-2-{number:x}"),
        node: NodeId(2),
        transport: "ws".to_owned(),
        subject: wish.subject.clone(),
        topics: vec![SessionTopic {
            topic: topic("news"),
            position: Position::new(7, 42),
            lag: Some(3),
        }],
        topic_count: 1,
        lag: 3,
        waiting_bytes: 0,
        delivered: 42,
        age: Duration::from_secs(5),
    };
    let after = wish.after.unwrap_or(0);
    let numbers = [31, 47].into_iter().filter(|number| *number > after);
    let mut left: Vec<u64> = numbers.collect();
    let more = left.len() > wish.limit;
    left.truncate(wish.limit);
    SessionsPage {
        next: left.last().copied().filter(|_| more),
        sessions: left.into_iter().map(row).collect(),
    }
}

fn counts() -> NodeCounts {
    NodeCounts {
        node: NodeId(2),
        at: Duration::from_secs(9),
        values: BTreeMap::from([("delivered".to_owned(), 42)]),
    }
}

#[tokio::test]
async fn sessions_come_in_pages_and_are_ended_by_subject() {
    let public = public().await;
    let client = PublicClient::connect(
        &public._served.address.to_string(),
        Arc::new(TcpConnector),
        TaskTracker::new(),
        ClientSettings::default(),
    )
    .unwrap();
    let mut wish = SessionsWish {
        limit: 1,
        subject: Some("alice".to_owned()),
        topic: Some(topic("news")),
        ..SessionsWish::default()
    };
    let first = client.sessions(&wish).await.unwrap();
    assert_eq!(
        (first.sessions[0].session.as_str(), first.next),
        ("s-2-1f", Some(31))
    );
    assert_eq!(first.sessions[0].subject.as_deref(), Some("alice"));
    wish.after = first.next;
    let second = client.sessions(&wish).await.unwrap();
    assert_eq!(
        (second.sessions[0].session.as_str(), second.next),
        ("s-2-2f", None)
    );
    let alice = DisconnectWish::Subject("alice".to_owned());
    assert_eq!(client.disconnect(alice).await.unwrap(), 1);
    let nobody = DisconnectWish::Session("s-2-0".to_owned());
    assert_eq!(client.disconnect(nobody).await.unwrap(), 0);
    assert_eq!(client.counts().await.unwrap(), counts());
}
