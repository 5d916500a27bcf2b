//! Two nodes over loopback: the second serves a scripted broker, the first calls it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::Code;
use fanfare_core::gap::{Page, Policy, Since, Standing};
use fanfare_core::id::{Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::link::{
    Attach, AttachId, EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest,
    Redirect, Run, StandRequest, Verdict,
};
use fanfare_core::message::{Ack, Content, Draft, Message};
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::repair::Copy;
use fanfare_core::rule::Class;
use fanfare_core::view::{Addresses, Command, NodeState, Outcome, StoreState, View};
use fanfare_host::TcpConnector;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{At, ClientSettings, PeerClients};
use crate::identity::{Identity, Reason};
use crate::members::{
    Adopt, AdoptError, Beat, CallError, Card, Dial as _, Envelope, JoinError, Known, Members,
    ProposeError, Stage,
};
use crate::peer::{Peer, Peers as _};
use crate::raft::{RaftCall, RaftDoor, RaftError, RaftRoute};
use crate::server::{PeerDoors, peer_routes};
use crate::testing::{Knows, Served, identity, knows, nowhere, serve, view};
use crate::topics::{TopicCommand, TopicInfo};

mod heartbeats;
mod links;
mod members;
mod raft;

/// Answers every draft with its place in the link, one topic each; shard 99 never answers.
#[derive(Default)]
struct Script {
    edges: Mutex<BTreeSet<NodeId>>,
    tasks: TaskTracker,
    close: CancellationToken,
}

fn receipt(draft: &Draft, offset: u64) -> Receipt {
    Receipt {
        topic: draft.topic.clone(),
        position: Some(Position::new(7, offset)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: false,
        dedup_remaining_ms: None,
    }
}

fn message(offset: u64) -> Arc<Message> {
    let content = Content {
        payload: Bytes::from(vec![b'x'; 100]),
        meta: Arc::default(),
    };
    Arc::new(Message {
        position: Position::new(7, offset),
        wall_ms: 1,
        content,
    })
}

fn standing(head: u64) -> Standing {
    Standing {
        answer: fanfare_core::gap::Answer::Latest,
        start: Position::new(7, 1),
        head: Position::new(7, head),
        exists: true,
        policy: Policy::default(),
        term: Term(4),
    }
}

impl Peer for Script {
    fn publish(&self, mut drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        let (answers, rx) = mpsc::channel(4);
        self.tasks.spawn(async move {
            let mut offset = 0;
            while let Some(PublishRequest {
                seq, draft, shard, ..
            }) = drafts.recv().await
            {
                if shard == ShardId(99) {
                    continue;
                }
                offset += 1;
                let verdict = match shard {
                    ShardId(1) => Verdict::Reroute(Redirect {
                        leader: Some(NodeId(3)),
                        term: Term(5),
                    }),
                    ShardId(2) => {
                        Verdict::Refused(Refusal::of_publish(Code::StorageFull, "no room"))
                    }
                    _ => Verdict::Placed(receipt(&draft, offset)),
                };
                if answers.send(PublishAnswer { seq, verdict }).await.is_err() {
                    return;
                }
            }
        });
        rx
    }

    /// Sends a run of three after each attach, and ends when the edge does.
    fn deliver(
        &self,
        edge: NodeId,
        mut says: mpsc::Receiver<EdgeSays>,
    ) -> mpsc::Receiver<LeaderSays> {
        self.edges.lock().unwrap().insert(edge);
        let (words, rx) = mpsc::channel(4);
        self.tasks.spawn(async move {
            while let Some(said) = says.recv().await {
                let EdgeSays::Attach(rows) = said else {
                    continue;
                };
                for row in rows {
                    let run = Run {
                        after: row.after.unwrap_or(Position::new(7, 0)),
                        messages: (1..=3).map(message).collect(),
                    };
                    if words.send(LeaderSays::Run(row.id, run)).await.is_err() {
                        return;
                    }
                }
            }
        });
        rx
    }

    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        _wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        async move {
            if shard == ShardId(99) {
                std::future::pending::<()>().await;
            }
            (0..requests.len() as u64)
                .map(|head| Ok(standing(head)))
                .collect()
        }
        .boxed()
    }

    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        let messages = (request.after.offset.0 + 1..=5).map(message).collect();
        let page = Page {
            gap: None,
            messages,
            head: Position::new(7, 5),
            start: Position::new(7, 1),
        };
        std::future::ready(Ok(page)).boxed()
    }

    fn leader(&self, shard: ShardId) -> BoxFuture<'static, Redirect> {
        let redirect = Redirect {
            leader: Some(NodeId(shard.0.into())),
            term: Term(5),
        };
        std::future::ready(redirect).boxed()
    }

    fn topics(
        &self,
        shard: ShardId,
        _command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        async move {
            match shard {
                ShardId(99) => std::future::pending().await,
                _ => Err(NoRead::Refused(Refusal::new(
                    Code::TopicExists,
                    "with other rules",
                ))),
            }
        }
        .boxed()
    }
}

/// Gives every body back; replica 99 is elsewhere.
impl RaftDoor for Script {
    fn serve(
        &self,
        sender: NodeId,
        route: RaftRoute,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, RaftError>> {
        async move {
            match route.to {
                99 => Err(RaftError::NotHere),
                98 => std::future::pending().await,
                _ => Ok(Bytes::from([&[sender.0 as u8], &body[..]].concat())),
            }
        }
        .boxed()
    }

    /// One at a time; the first error ends it.
    fn serve_pipeline(
        &self,
        sender: NodeId,
        route: RaftRoute,
        mut bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, RaftError>>,
    ) -> BoxFuture<'static, ()> {
        let script = Self::default();
        async move {
            while let Some(body) = bodies.recv().await {
                let answer = script.serve(sender, route, body).await;
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        }
        .boxed()
    }
}

fn card() -> Card {
    Card {
        name: "n2".to_owned(),
        addresses: Addresses {
            peer: "n2:7070".to_owned(),
            ..Addresses::default()
        },
        level: 1,
        stage: Stage::Member {
            cluster: identity(2).cluster,
            node: NodeId(2),
            generation: Generation(3),
            view: 5,
        },
        you: Some(Known {
            node: NodeId(1),
            generation: Generation(2),
            disk: identity(1).disk,
            store: StoreState::ReadWrite,
            state: NodeState::Active,
            alive: false,
        }),
    }
}

impl Members for Script {
    fn identify(&self, _name: String) -> BoxFuture<'static, Result<Card, CallError>> {
        std::future::ready(Ok(card())).boxed()
    }

    fn adopt(&self, adopt: Adopt) -> BoxFuture<'static, Result<(), AdoptError>> {
        let Adopt { cluster, node, .. } = adopt;
        std::future::ready(match node {
            NodeId(2) => Ok(()),
            _ => Err(AdoptError::Member { cluster, node }),
        })
        .boxed()
    }

    fn join(&self, card: Card) -> BoxFuture<'static, Result<NodeId, JoinError>> {
        std::future::ready(match card.name.as_str() {
            "n4" => Ok(NodeId(4)),
            "stranger" => Err(JoinError::Closed),
            "taken" => Err(JoinError::Refused(fanfare_core::view::Refusal::NameTaken {
                node: NodeId(1),
            })),
            _ => Err(JoinError::Later("no leader".to_owned())),
        })
        .boxed()
    }

    fn propose(
        &self,
        _envelope: Envelope,
        command: Command,
        _within: Duration,
    ) -> BoxFuture<'static, Result<Outcome, ProposeError>> {
        async move {
            if let Command::SetLevel { level } = command {
                let refusal = fanfare_core::view::Refusal::LevelNotAbove { level };
                return Ok(Outcome::Refused(refusal));
            }
            if let Command::RemoveNode { .. } = command {
                std::future::pending::<()>().await;
            }
            Err(ProposeError::NotLeader {
                leader: Some(NodeId(1)),
            })
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        envelope: Envelope,
        beat: Beat,
    ) -> BoxFuture<'static, Result<Beat, CallError>> {
        std::future::ready(match envelope.to {
            NodeId(2) => Ok(beat),
            _ => Err(CallError::NotForMe {
                cluster: None,
                node: Some(NodeId(2)),
            }),
        })
        .boxed()
    }

    fn copies(&self, envelope: Envelope) -> BoxFuture<'static, Result<Vec<Copy>, CallError>> {
        let copies = [None, Some(ShardId(4))].map(|shard| Copy {
            shard,
            replica: ReplicaId(envelope.to.0),
            last: shard.map(|_| fanfare_core::shard::At {
                term: Term(3),
                index: 8,
            }),
            voters: vec![ReplicaId(1), ReplicaId(2)],
            serves: shard.is_none(),
        });
        std::future::ready(Ok(copies.to_vec())).boxed()
    }

    fn view(&self, _envelope: Envelope) -> BoxFuture<'static, Result<Arc<View>, CallError>> {
        std::future::ready(Ok(Arc::new(view(&[(2, "n2:7070".to_owned())])))).boxed()
    }
}

/// Node 2 serves; node 1 calls it.
struct Pair {
    clients: PeerClients,
    caller: Knows,
    callee: Knows,
    script: Arc<Script>,
    served: Served,
}

impl Pair {
    fn at(&self, node: u64) -> At {
        self.clients.at(NodeId(node)).unwrap()
    }
}

fn doors(script: &Arc<Script>, callee: &Knows) -> PeerDoors {
    PeerDoors {
        local: callee.local.clone(),
        peer: script.clone(),
        raft: script.clone(),
        members: script.clone(),
        tasks: TaskTracker::new(),
        close: script.close.clone(),
    }
}

async fn pair() -> Pair {
    let script = Arc::new(Script::default());
    let callee = knows(2, view(&[(1, nowhere().await), (2, nowhere().await)]));
    let served = serve(peer_routes(doors(&script, &callee))).await;
    let caller = knows(
        1,
        view(&[
            (1, nowhere().await),
            (2, served.address.to_string()),
            (3, nowhere().await),
        ]),
    );
    let settings = ClientSettings {
        question: Duration::from_millis(300),
        work: Duration::from_millis(600),
        ..Default::default()
    };
    let clients = PeerClients::new(
        Arc::new(Script::default()),
        caller.local.clone(),
        Arc::new(TcpConnector),
        TaskTracker::new(),
        settings,
    );
    Pair {
        clients,
        caller,
        callee,
        script,
        served,
    }
}

fn request(seq: u64, shard: u32) -> PublishRequest {
    let content = Content {
        payload: Bytes::from(seq.to_string()),
        meta: Arc::default(),
    };
    PublishRequest {
        seq,
        stream: 1,
        run: 0,
        shard: ShardId(shard),
        draft: Draft {
            topic: "news".parse().unwrap(),
            content,
            key: None,
            key_age_ms: 0,
            ack: Ack::Committed,
            expect: None,
        },
        timeout_ms: 1_000,
    }
}
