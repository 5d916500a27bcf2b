//! A publisher against a scripted gRPC door and a fake edge.

use std::sync::{Arc, Mutex};

use fanfare_core::code::Code;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::Class;
use fanfare_host::{Listener as _, TcpDoor};
use fanfare_rpc::public::{self, Caller, StreamAnswer};
use fanfare_rpc::server::{PublicDoors, public_routes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::*;
use crate::testing::{FakeEdge, ack_json, answer, cut_after, draft, machine, nowhere};

/// What a fake node does with the n-th draft it gets.
type Script = fn(usize, &Draft) -> Act;

enum Act {
    Place,
    Duplicate,
    Refuse(Code),
    /// Ends the stream without an answer.
    Break,
}

struct Node {
    script: Script,
    got: Mutex<Vec<Draft>>,
    tasks: TaskTracker,
}

fn receipt(draft: &Draft, number: usize, duplicate: bool) -> Receipt {
    Receipt {
        topic: draft.topic.clone(),
        position: Some(Position::new(7, number as u64)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate,
        dedup_remaining_ms: Some(120_000),
    }
}

fn no_route<T: Send + 'static>() -> BoxFuture<'static, Result<T, Refusal>> {
    std::future::ready(Err(Refusal::new(Code::NoRoute, "not in this test"))).boxed()
}

#[derive(Clone)]
struct Shared(Arc<Node>);

impl public::Publisher for Shared {
    fn payload_limit(&self) -> u64 {
        1 << 16
    }

    fn publish(
        &self,
        _: Caller,
        _: Draft,
        _: Duration,
    ) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        no_route()
    }

    fn publish_stream(
        &self,
        _: Caller,
        mut drafts: mpsc::Receiver<StreamDraft>,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<StreamAnswer>, Refusal>> {
        let (answers, rx) = mpsc::channel(64);
        let node = self.0.clone();
        self.0.tasks.spawn(async move {
            while let Some(StreamDraft { seq, draft, .. }) = drafts.recv().await {
                let number = {
                    let mut got = node.got.lock().unwrap();
                    got.push(draft.clone());
                    got.len()
                };
                let result = match (node.script)(number, &draft) {
                    Act::Place => Ok(receipt(&draft, number, false)),
                    Act::Duplicate => Ok(receipt(&draft, number, true)),
                    Act::Refuse(code) => Err(Refusal::of_publish(code, "as scripted")),
                    Act::Break => return,
                };
                answers.send(StreamAnswer { seq, result }).await.unwrap();
            }
        });
        std::future::ready(Ok(rx)).boxed()
    }
}

/// Doors that this test does not use.
struct Closed;

impl public::Subscriber for Closed {
    fn subscribe(
        &self,
        _: Caller,
        _: public::SubscribeRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<public::Event>, Refusal>> {
        no_route()
    }
}

impl public::History for Closed {
    fn page(
        &self,
        _: Caller,
        _: public::HistoryRequest,
    ) -> BoxFuture<'static, Result<public::HistoryPage, Refusal>> {
        no_route()
    }
}

mod closed {
    //! The administrators' doors, closed.

    use fanfare_core::id::ShardId;
    use fanfare_core::name::{TopicName, TopicPattern};
    use fanfare_core::position::Epoch;
    use fanfare_core::rule::RuleLayer;
    use fanfare_rpc::public::{
        ClusterAdmin, ClusterStatus, ListTopics, Sample, TopicAdmin, TopicDump,
    };
    use fanfare_rpc::topics::TopicInfo;

    use super::*;

    type Answer<T> = BoxFuture<'static, Result<T, Refusal>>;

    impl TopicAdmin for Closed {
        fn create(&self, _: Caller, _: TopicName, _: RuleLayer) -> Answer<TopicInfo> {
            no_route()
        }
        fn get(&self, _: Caller, _: TopicName) -> Answer<TopicInfo> {
            no_route()
        }
        fn list(&self, _: Caller, _: ListTopics) -> Answer<Vec<TopicInfo>> {
            no_route()
        }
        fn delete(&self, _: Caller, _: TopicName, _: Option<Epoch>) -> Answer<()> {
            no_route()
        }
        fn put_rule(&self, _: Caller, _: TopicPattern, _: RuleLayer) -> Answer<()> {
            no_route()
        }
        fn delete_rule(&self, _: Caller, _: TopicPattern) -> Answer<()> {
            no_route()
        }
        fn list_rules(&self, _: Caller) -> Answer<Vec<(TopicPattern, RuleLayer)>> {
            no_route()
        }
    }

    impl ClusterAdmin for Closed {
        fn view(&self, _: Caller) -> Answer<ClusterStatus> {
            no_route()
        }
        fn watch_view(&self, _: Caller) -> Answer<mpsc::Receiver<ClusterStatus>> {
            no_route()
        }
        fn sample(&self, _: Caller, _: Vec<TopicName>) -> Answer<Vec<Sample>> {
            no_route()
        }
        fn upgrade(&self, _: Caller) -> Answer<fanfare_rpc::public::Upgraded> {
            no_route()
        }
        fn change(
            &self,
            _: Caller,
            _: fanfare_rpc::public::ClusterChange,
        ) -> Answer<fanfare_rpc::public::Changed> {
            no_route()
        }
        fn repair(
            &self,
            _: Caller,
            _: fanfare_rpc::public::RepairWish,
        ) -> Answer<fanfare_rpc::public::Repair> {
            no_route()
        }
        fn dump_shard(&self, _: Caller, _: ShardId) -> Answer<mpsc::Receiver<TopicDump>> {
            no_route()
        }
        fn sessions(
            &self,
            _: Caller,
            _: fanfare_rpc::roster::SessionsWish,
        ) -> Answer<fanfare_rpc::roster::SessionsPage> {
            no_route()
        }
        fn disconnect(&self, _: Caller, _: fanfare_rpc::roster::DisconnectWish) -> Answer<u64> {
            no_route()
        }
        fn counts(&self, _: Caller) -> Answer<fanfare_rpc::roster::NodeCounts> {
            no_route()
        }
    }
}

/// A gRPC door whose publish streams follow `script`.
struct Served {
    node: Arc<Node>,
    url: String,
    _accepting: AbortOnDropHandle<()>,
}

async fn node(script: Script) -> Served {
    let node = Arc::new(Node {
        script,
        got: Mutex::default(),
        tasks: TaskTracker::new(),
    });
    let closed = Arc::new(Closed);
    let doors = PublicDoors {
        publisher: Arc::new(Shared(node.clone())),
        subscriber: closed.clone(),
        history: closed.clone(),
        topics: closed.clone(),
        cluster: closed,
        request_ids: Arc::new(|| "r".to_owned()),
        tasks: TaskTracker::new(),
        max_message: 1 << 20,
    };
    let (routes, _) = public_routes(doors).unwrap();
    let service = TowerToHyperService::new(routes.into_axum_router());
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", door.local_addr().unwrap());
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
        node,
        url,
        _accepting: AbortOnDropHandle::new(accepting),
    }
}

impl Served {
    fn got(&self) -> Vec<Draft> {
        self.node.got.lock().unwrap().clone()
    }
}

fn grpc(nodes: &[&Served]) -> Endpoints {
    let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
    Endpoints::read(&[], &urls).unwrap()
}

fn numbered(n: usize) -> Draft {
    let mut draft = draft("news", None);
    draft.content.payload = Bytes::from(format!("m{n}"));
    draft
}

fn payloads(drafts: &[Draft]) -> Vec<String> {
    let text = |draft: &Draft| String::from_utf8(draft.content.payload.to_vec()).unwrap();
    drafts.iter().map(text).collect()
}

#[tokio::test]
async fn many_drafts_are_in_flight_and_keep_their_order() {
    let served = node(|_, _| Act::Place).await;
    let publisher = Publisher::start(machine(), grpc(&[&served]), PublishOptions::default());
    let mut pending = Vec::new();
    for n in 1..=300 {
        pending.push(publisher.submit(numbered(n)).await.unwrap());
    }
    for (n, pending) in (1..).zip(&mut pending) {
        let acked = pending.outcome().await.unwrap();
        assert_eq!(acked.position, Some(Position::new(7, n)));
    }
    let got = served.got();
    assert_eq!(
        payloads(&got),
        (1..=300).map(|n| format!("m{n}")).collect::<Vec<_>>()
    );
    let keys: std::collections::BTreeSet<_> = got.iter().map(|draft| draft.key.clone()).collect();
    assert_eq!(keys.len(), 300, "a key for each");
    assert!(
        got.iter()
            .all(|draft| draft.key.as_ref().unwrap().as_bytes().len() == 36)
    );
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_with_the_same_drafts_keys_and_order() {
    let served = node(|number, _| match number {
        1 => Act::Break,
        2 => Act::Duplicate,
        _ => Act::Place,
    })
    .await;
    let publisher = Publisher::start(machine(), grpc(&[&served]), PublishOptions::default());
    let mut first = publisher.submit(numbered(1)).await.unwrap();
    let mut second = publisher.submit(numbered(2)).await.unwrap();
    let acked = first.outcome().await.unwrap();
    assert!(acked.duplicate, "it had been placed");
    second.outcome().await.unwrap();
    let got = served.got();
    let again: Vec<_> = got.iter().filter(|d| d.content.payload == "m1").collect();
    assert_eq!(again.len(), 2);
    assert_eq!(again[0].key, again[1].key);
    assert!(again[1].key_age_ms > 0, "the key has aged");
    let last: Vec<String> = payloads(&got[got.len() - 2..]);
    assert_eq!(last, ["m1", "m2"]);
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_again_and_a_refusal_is_told() {
    let served = node(|number, _| match number {
        1 => Act::Refuse(Code::OutcomeUnknown),
        2 => Act::Place,
        _ => Act::Refuse(Code::IdempotencyMismatch),
    })
    .await;
    let publisher = Publisher::start(machine(), grpc(&[&served]), PublishOptions::default());
    let acked = publisher.publish(numbered(1)).await.unwrap();
    assert_eq!(acked.position, Some(Position::new(7, 2)));
    let Err(PublishError::Refused(told)) = publisher.publish(numbered(2)).await else {
        panic!("not refused")
    };
    assert_eq!(told.problem.code.known(), Some(Code::IdempotencyMismatch));
    assert_eq!(served.got().len(), 3, "a definite failure is not repeated");
}

#[tokio::test]
async fn without_a_key_an_unknown_draft_is_sent_once() {
    let served = node(|_, _| Act::Break).await;
    let options = PublishOptions {
        keys: false,
        ..PublishOptions::default()
    };
    let publisher = Publisher::start(machine(), grpc(&[&served]), options);
    let outcome = publisher.publish(numbered(1)).await;
    assert!(
        matches!(outcome, Err(PublishError::Unknown(_))),
        "{outcome:?}"
    );
    assert_eq!(served.got().len(), 1);
}

#[tokio::test]
async fn a_leaving_nodes_drafts_go_to_the_next_one() {
    let leaving = node(|_, _| Act::Refuse(Code::Draining)).await;
    let staying = node(|_, _| Act::Place).await;
    let endpoints = grpc(&[&leaving, &staying]);
    let publisher = Publisher::start(machine(), endpoints, PublishOptions::default());
    publisher.publish(numbered(1)).await.unwrap();
    assert_eq!(payloads(&staying.got()), ["m1"]);
}

#[tokio::test]
async fn where_nobody_listens_a_draft_is_known_not_to_be_sent() {
    let url = format!("http://{}", nowhere().await);
    let endpoints = Endpoints::read(&[], &[url]).unwrap();
    let publisher = Publisher::start(machine(), endpoints, PublishOptions::default());
    let outcome = publisher.publish(numbered(1)).await;
    assert!(
        matches!(outcome, Err(PublishError::Unreachable(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn dropping_the_publisher_lets_its_drafts_end_and_then_its_task() {
    let served = node(|_, _| Act::Place).await;
    let machine = machine();
    let publisher = Publisher::start(machine.clone(), grpc(&[&served]), PublishOptions::default());
    let mut pending = publisher.submit(numbered(1)).await.unwrap();
    drop(publisher);
    pending.outcome().await.unwrap();
    machine.tasks.close();
    machine.tasks.wait().await;
}

#[tokio::test]
async fn over_http_an_unknown_draft_is_repeated_with_the_age_of_its_key() {
    let edge = FakeEdge::start(|number| match number {
        0 => answer(
            504,
            r#"{"code":"outcome_unknown","outcome":"unknown","advice":"retry_same_key"}"#,
        ),
        1 => cut_after(&[r#"{"topic":"#]),
        2 => answer(
            503,
            r#"{"code":"no_quorum","outcome":"not_placed","advice":"retry_later"}"#,
        ),
        3 => answer(200, &ack_json("news", 45)),
        _ => answer(
            413,
            r#"{"code":"payload_too_large","outcome":"not_placed","advice":"give_up"}"#,
        ),
    })
    .await;
    let options = PublishOptions {
        via: Via::Http,
        ..PublishOptions::default()
    };
    let publisher = Publisher::start(machine(), FakeEdge::endpoints(&[&edge]), options);
    let acked = publisher.publish(numbered(1)).await.unwrap();
    assert_eq!(acked.position, Some(Position::new(7, 45)));
    let asked = edge.asked();
    assert_eq!(asked.len(), 4);
    assert!(
        asked
            .iter()
            .all(|a| a.headers["idempotency-key"] == asked[0].headers["idempotency-key"])
    );
    assert!(asked.iter().all(|a| a.body == "m1"));
    assert!(!asked[0].headers.contains_key("idempotency-age"));
    assert!(asked[3].headers.contains_key("idempotency-age"));
    let refused = publisher.publish(numbered(2)).await;
    assert!(
        matches!(refused, Err(PublishError::Refused(_))),
        "{refused:?}"
    );
}
