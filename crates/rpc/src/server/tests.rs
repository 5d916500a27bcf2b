//! The public services as a client of their protobuf sees them, over scripted doors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::{Advice, Code};
use fanfare_core::gap::{Answer, Gap, GapReason, Page, TrimmedBy};
use fanfare_core::id::{NodeId, ReplicaId, ShardId, Term};
use fanfare_core::link::Run;
use fanfare_core::message::{Content, Draft, Message};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::repair::{Copy, Findings, Verdict};
use fanfare_core::rule::{Class, RuleLayer, Rules};
use fanfare_core::shard::At;
use fanfare_core::view::{Replica, ShardRow};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::{Health, PublicDoors, public_routes};
use crate::convert::refusal::refusal_of;
use crate::items::{encode_gap, encode_run};
use crate::pb::v1 as pb;
use crate::public::{
    Caller, Changed, ClusterAdmin, ClusterChange, ClusterStatus, Disconnect, Event, History,
    HistoryPage, HistoryRequest, Items, ListTopics, Publisher, Repair, RepairWish, STREAM_DRAFTS,
    Sample, ShardStatus, StreamAnswer, StreamDraft, SubscribeRequest, Subscribed, Subscriber,
    TopicAdmin, TopicDump, Upgraded,
};
use crate::testing::{Served, serve, view};
use crate::topics::TopicInfo;

mod admin;
mod client;
mod operator;
mod publish;
mod subscribe;

const LIMIT: u64 = 1_000;

/// Topic `full` is refused, `slow` is answered when the script is told, `hoard` when as many wait
/// as may, all else is placed at once.
#[derive(Default)]
struct Script {
    callers: Mutex<Vec<Caller>>,
    withins: Mutex<Vec<Duration>>,
    rules: Mutex<Vec<(TopicPattern, RuleLayer)>>,
    changes: Mutex<Vec<ClusterChange>>,
    /// What the answers to `slow` wait for.
    go: tokio::sync::Notify,
    tasks: TaskTracker,
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

fn place(draft: &Draft) -> Result<Receipt, Refusal> {
    if draft.topic.as_str() == "full" {
        let refusal = Refusal::of_publish(Code::StorageFull, "the disk is full");
        return Err(refusal.topic(draft.topic.clone()).retry_after(1_500));
    }
    Ok(Receipt {
        topic: draft.topic.clone(),
        position: Some(Position::new(7, 44)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: false,
        dedup_remaining_ms: draft.key.as_ref().map(|_| 120_000),
    })
}

impl Publisher for Arc<Script> {
    fn payload_limit(&self) -> u64 {
        LIMIT
    }

    fn publish(
        &self,
        caller: Caller,
        draft: Draft,
        within: Duration,
    ) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        self.callers.lock().unwrap().push(caller);
        self.withins.lock().unwrap().push(within);
        std::future::ready(place(&draft)).boxed()
    }

    fn publish_stream(
        &self,
        caller: Caller,
        mut drafts: mpsc::Receiver<StreamDraft>,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<StreamAnswer>, Refusal>> {
        if caller.authorization.as_deref() == Some("Bearer bad") {
            let refusal = Refusal::of_publish(Code::Unauthenticated, "the token is not good");
            return std::future::ready(Err(refusal)).boxed();
        }
        let (answers, rx) = mpsc::channel(4);
        let script = self.clone();
        self.tasks.spawn(async move {
            let mut hoard = Vec::new();
            while let Some(StreamDraft { seq, draft, within }) = drafts.recv().await {
                script.withins.lock().unwrap().push(within);
                if draft.topic.as_str() == "hoard" {
                    hoard.push(seq);
                    if hoard.len() < STREAM_DRAFTS {
                        continue;
                    }
                    let more = tokio::time::timeout(Duration::from_millis(200), drafts.recv());
                    assert!(more.await.is_err(), "more is read than may be unanswered");
                    for seq in hoard.drain(..) {
                        let result = place(&draft);
                        answers.send(StreamAnswer { seq, result }).await.unwrap();
                    }
                    continue;
                }
                if draft.topic.as_str() == "slow" {
                    script.go.notified().await;
                }
                if draft.topic.as_str() == "crash" {
                    return;
                }
                let answer = StreamAnswer {
                    seq,
                    result: place(&draft),
                };
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        std::future::ready(Ok(rx)).boxed()
    }
}

fn message(offset: u64) -> Arc<Message> {
    let content = Content {
        payload: Bytes::from(format!("m{offset}")),
        meta: Arc::default(),
    };
    Arc::new(Message {
        position: Position::new(7, offset),
        wall_ms: 1_500,
        content,
    })
}

fn gap() -> Gap {
    Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: Position::new(7, 2),
        to: Position::new(7, 9),
        missed: Some(7),
    }
}

impl Subscriber for Arc<Script> {
    fn subscribe(
        &self,
        caller: Caller,
        request: SubscribeRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Event>, Refusal>> {
        self.callers.lock().unwrap().push(caller);
        let news = topic("news");
        if request.topics[0].topic != news {
            let refusal = Refusal::new(Code::Forbidden, "no grant for it").topic(topic("vault"));
            return std::future::ready(Err(refusal)).boxed();
        }
        let run = Run {
            after: Position::new(7, 9),
            messages: vec![message(10), message(11), message(12)],
        };
        let run = encode_run(&news, &run);
        let cursor = || Some(Arc::from("C12"));
        let events = [
            Event::Subscribed(Subscribed {
                topic: news.clone(),
                class: Class::Durable,
                answer: Answer::Gap(gap()),
                head: Position::new(7, 12),
                cursor: "C2".to_owned(),
            }),
            Event::Items(Items {
                encoded: encode_gap(&news, &gap()),
                cursor: None,
            }),
            Event::Items(Items {
                encoded: run.cut(1, 1),
                cursor: None,
            }),
            Event::Items(Items {
                encoded: run.bytes().clone(),
                cursor: cursor(),
            }),
            Event::Heartbeat,
            Event::Disconnect(Disconnect {
                code: Code::Draining,
                advice: Advice::Reroute,
                retry_after_ms: Some(400),
                cursor: Some("C12".to_owned()),
                detail: "the node is leaving".to_owned(),
            }),
        ];
        let (tx, rx) = mpsc::channel(events.len());
        for event in events {
            tx.try_send(event).unwrap();
        }
        std::future::ready(Ok(rx)).boxed()
    }
}

impl History for Arc<Script> {
    fn page(
        &self,
        _caller: Caller,
        request: HistoryRequest,
    ) -> BoxFuture<'static, Result<HistoryPage, Refusal>> {
        assert_eq!(request.limit, 100);
        let page = Page {
            gap: Some(gap()),
            messages: vec![message(10)],
            head: Position::new(7, 12),
            start: Position::new(7, 10),
        };
        let page = HistoryPage {
            page,
            next: Position::new(7, 10),
            more: true,
        };
        std::future::ready(Ok(page)).boxed()
    }
}

fn info(name: &TopicName) -> TopicInfo {
    TopicInfo {
        name: name.clone(),
        class: Class::Durable,
        epoch: Epoch(7),
        start: Position::new(7, 1),
        head: Position::new(7, 12),
        bytes: 400,
        rules: Rules::default(),
    }
}

impl TopicAdmin for Arc<Script> {
    fn create(
        &self,
        _caller: Caller,
        name: TopicName,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>> {
        let made = TopicInfo {
            rules: rules.over(&Rules::default()),
            ..info(&name)
        };
        std::future::ready(Ok(made)).boxed()
    }

    fn get(
        &self,
        _caller: Caller,
        name: TopicName,
    ) -> BoxFuture<'static, Result<TopicInfo, Refusal>> {
        std::future::ready(match name.as_str() {
            "nothing" => Err(Refusal::new(Code::TopicNotFound, "").topic(name)),
            _ => Ok(info(&name)),
        })
        .boxed()
    }

    fn list(
        &self,
        _caller: Caller,
        request: ListTopics,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, Refusal>> {
        let all = ["a", "b", "c"].map(topic);
        let rest = all
            .iter()
            .filter(|name| request.after.as_ref().is_none_or(|a| *name > a));
        let page = rest.take(request.limit as usize).map(info).collect();
        std::future::ready(Ok(page)).boxed()
    }

    fn delete(
        &self,
        _caller: Caller,
        _name: TopicName,
        epoch: Option<Epoch>,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        assert_eq!(epoch, Some(Epoch(7)));
        std::future::ready(Ok(())).boxed()
    }

    fn put_rule(
        &self,
        _caller: Caller,
        pattern: TopicPattern,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        self.rules.lock().unwrap().push((pattern, rules));
        std::future::ready(Ok(())).boxed()
    }

    fn delete_rule(
        &self,
        _caller: Caller,
        pattern: TopicPattern,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        self.rules.lock().unwrap().retain(|row| row.0 != pattern);
        std::future::ready(Ok(())).boxed()
    }

    fn list_rules(
        &self,
        _caller: Caller,
    ) -> BoxFuture<'static, Result<Vec<(TopicPattern, RuleLayer)>, Refusal>> {
        std::future::ready(Ok(self.rules.lock().unwrap().clone())).boxed()
    }
}

fn status() -> ClusterStatus {
    let mut view = view(&[(1, "n1:7070".to_owned())]);
    let replica = |id| Replica {
        id: ReplicaId(id),
        node: NodeId(1),
    };
    let row = |id| ShardRow {
        id: ShardId(id),
        replicas: vec![replica(10 + u64::from(id)), replica(20)],
        leaving: Vec::new(),
        repaired: None,
        preferred: None,
        begun: true,
    };
    view.shards = vec![row(0), row(1)];
    let led = ShardStatus {
        leader: Some(NodeId(1)),
        term: Term(4),
        behind: vec![(ReplicaId(20), 3)],
    };
    ClusterStatus {
        view: Arc::new(view),
        shards: vec![led],
        alive: [NodeId(1)].into(),
        full: [NodeId(1)].into(),
    }
}

/// A public listener and a connection to it.
struct Public {
    script: Arc<Script>,
    channel: Channel,
    health: Health,
    _served: Served,
}

async fn public() -> Public {
    let script = Arc::new(Script::default());
    let doors = PublicDoors {
        publisher: Arc::new(script.clone()),
        subscriber: Arc::new(script.clone()),
        history: Arc::new(script.clone()),
        topics: Arc::new(script.clone()),
        cluster: Arc::new(script.clone()),
        request_ids: Arc::new(|| "r-7".to_owned()),
        tasks: TaskTracker::new(),
        max_message: 1 << 20,
    };
    let (routes, health) = public_routes(doors).unwrap();
    let served = serve(routes).await;
    let address = format!("http://{}", served.address);
    let channel = tonic::transport::Endpoint::from_shared(address)
        .unwrap()
        .connect()
        .await;
    Public {
        script,
        channel: channel.unwrap(),
        health,
        _served: served,
    }
}

/// What a status says by its details, and its request's id.
fn told(status: &tonic::Status) -> Refusal {
    let details = status.get_error_details();
    assert_eq!(details.request_info().unwrap().request_id, "r-7");
    refusal_of(&details, status.message()).unwrap()
}
