//! Heartbeats that travel together: to a node whose end of the stream is scripted here, and to one
//! that serves its replicas.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_host::{Listener as _, TcpDoor};
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::*;
use crate::pb::peer as pb;
use crate::pb::peer::raft_server::{Raft, RaftServer};
use crate::server::Routes;

const SOON: Duration = Duration::from_secs(60);

type Sent = mpsc::Receiver<(pb::RaftCalls, Reply)>;
type Reply = mpsc::Sender<Result<pb::RaftAnswers, Status>>;

/// Tells of each message that came, and how to answer on its stream.
struct Scripted(mpsc::Sender<(pb::RaftCalls, Reply)>);

#[tonic::async_trait]
impl Raft for Scripted {
    async fn call(
        &self,
        _: tonic::Request<pb::RaftCall>,
    ) -> Result<Response<pb::RaftAnswer>, Status> {
        Err(Status::internal("a heartbeat on its own"))
    }

    type PipelineStream = BoxStream<'static, Result<pb::RaftAnswer, Status>>;

    async fn pipeline(
        &self,
        _: tonic::Request<Streaming<pb::RaftCall>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::internal("a heartbeat in a pipeline"))
    }

    type HeartbeatsStream = BoxStream<'static, Result<pb::RaftAnswers, Status>>;

    async fn heartbeats(
        &self,
        call: tonic::Request<Streaming<pb::RaftCalls>>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        let (reply, answers) = mpsc::channel(16);
        let (tell, mut incoming) = (self.0.clone(), call.into_inner());
        TaskTracker::new().spawn(async move {
            while let Ok(Some(calls)) = incoming.message().await {
                if tell.send((calls, reply.clone())).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}

/// Connections of node 1 to node 2 at `address`.
fn connected(address: String) -> (PeerClients, At) {
    let caller = knows(1, view(&[(2, address)]));
    let clients = PeerClients::new(
        Arc::new(Script::default()),
        caller.local,
        Arc::new(TcpConnector),
        TaskTracker::new(),
        ClientSettings::default(),
    );
    let at = clients.at(NodeId(2)).unwrap();
    (clients, at)
}

async fn scripted() -> (PeerClients, At, Sent, Served) {
    let (tell, sent) = mpsc::channel(16);
    let served = serve(Routes::new(RaftServer::new(Scripted(tell)))).await;
    let (clients, at) = connected(served.address.to_string());
    (clients, at, sent, served)
}

fn to(replica: u64) -> RaftRoute {
    RaftRoute {
        shard: Some(1),
        from: 5,
        to: replica,
        kind: 1,
    }
}

fn beat(
    clients: &PeerClients,
    at: &At,
    replica: u64,
) -> BoxFuture<'static, Result<Bytes, RaftError>> {
    clients.raft_heartbeat(at, to(replica), Bytes::from(vec![replica as u8]), SOON)
}

fn replica_of(numbered: &pb::raft_calls::Numbered) -> u64 {
    numbered.call.as_ref().unwrap().route.unwrap().to
}

/// Gives the body of a call back.
fn echo(pb::raft_calls::Numbered { number, call }: pb::raft_calls::Numbered) -> pb::RaftAnswers {
    let result = pb::raft_answer::Result::Body(call.unwrap().body);
    pb::RaftAnswers {
        answers: vec![pb::raft_answers::Numbered {
            number,
            answer: Some(pb::RaftAnswer {
                result: Some(result),
            }),
        }],
    }
}

#[tokio::test]
async fn heartbeats_sent_at_once_are_one_message_and_each_finds_its_answer() {
    let (clients, at, mut sent, _served) = scripted().await;
    for _ in 0..3 {
        let beats = (0..50).map(|replica| beat(&clients, &at, replica));
        let answering = async {
            let (pb::RaftCalls { calls }, reply) = sent.recv().await.unwrap();
            let order: Vec<u64> = calls.iter().map(replica_of).collect();
            assert_eq!(
                order,
                (0..50).collect::<Vec<u64>>(),
                "in the order they were sent"
            );
            // Answered each for itself, the last first.
            for call in calls.into_iter().rev() {
                reply.send(Ok(echo(call))).await.unwrap();
            }
        };
        let (answers, ()) = tokio::join!(join_all(beats), answering);
        for (replica, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, Ok(Bytes::from(vec![replica as u8])));
        }
    }
}

#[tokio::test]
async fn a_heartbeat_without_an_answer_holds_no_other() {
    let (clients, at, mut sent, _served) = scripted().await;
    let silent = beat(&clients, &at, 7);
    let others = join_all((10..20).map(|replica| beat(&clients, &at, replica)));
    let answering = async {
        for _ in 0..2 {
            let (calls, reply) = sent.recv().await.unwrap();
            for call in calls.calls {
                if replica_of(&call) != 7 {
                    reply.send(Ok(echo(call))).await.unwrap();
                }
            }
        }
    };
    let going_on = async {
        assert!(others.await.iter().all(Result::is_ok));
        assert!(beat(&clients, &at, 21).await.is_ok());
    };
    tokio::select! { biased;
        answer = silent => panic!("answered: {answer:?}"),
        _ = async { tokio::join!(going_on, answering) } => {}
    }
}

#[tokio::test]
async fn beyond_the_bound_a_heartbeat_is_refused_at_once() {
    // Connections are made and nothing on them is read.
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    let (clients, at) = connected(door.local_addr().unwrap().to_string());
    let mut beats: FuturesUnordered<_> = (0..2_049)
        .map(|replica| beat(&clients, &at, replica))
        .collect();
    let refused = beats.next().await.unwrap();
    assert!(
        matches!(refused, Err(RaftError::Unreachable(_))),
        "{refused:?}"
    );
    assert_eq!(beats.next().now_or_never(), None, "the others wait");
    // Who gives up makes no room: what waits is told by the queue's end alone.
    drop(beats);
    assert!(beat(&clients, &at, 1).await.is_err());
}

#[tokio::test]
async fn a_node_that_never_answers_is_sent_no_more_than_the_bound() {
    let (clients, at, mut sent, _served) = scripted().await;
    let mut reached = 0;
    while reached < 4_096 {
        let given_up = join_all((0..512).map(|replica| beat(&clients, &at, replica)));
        let message = async { sent.recv().await.unwrap().0.calls.len() };
        tokio::select! { biased;
            _ = given_up => panic!("answered"),
            count = message => reached += count,
        }
    }
    let refused = beat(&clients, &at, 1).await;
    assert!(
        matches!(refused, Err(RaftError::Unreachable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_and_the_next_heartbeat_opens_another() {
    let (clients, at, mut sent, _served) = scripted().await;
    let ending = async {
        let (_, reply) = sent.recv().await.unwrap();
        reply
            .send(Err(Status::unavailable("stopping")))
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(beat(&clients, &at, 1), ending);
    assert!(
        matches!(answer, Err(RaftError::Unreachable(_))),
        "{answer:?}"
    );
    let answering = async {
        let (mut calls, reply) = sent.recv().await.unwrap();
        reply.send(Ok(echo(calls.calls.remove(0)))).await.unwrap();
    };
    let (answer, ()) = tokio::join!(beat(&clients, &at, 2), answering);
    assert_eq!(answer, Ok(Bytes::from_static(b"\x02")));
}

#[tokio::test]
async fn a_node_that_does_not_know_the_stream_is_asked_once_and_called_then() {
    let script = Arc::new(Script::default());
    let doors = doors(&script, &knows(2, view(&[])));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let older = tower::service_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let refused: http::Response<String> = Status::unimplemented("").into_http();
        std::future::ready(Ok::<_, Infallible>(refused))
    });
    let routes = peer_routes(doors)
        .into_axum_router()
        .route_service("/fanfare.peer.v1.Raft/Heartbeats", older);
    let served = serve(Routes::from(routes)).await;
    let (clients, at) = connected(served.address.to_string());
    for _ in 0..2 {
        let beats = join_all((1..20).map(|replica| beat(&clients, &at, replica)));
        for (nth, answer) in beats.await.into_iter().enumerate() {
            assert_eq!(answer, Ok(Bytes::from(vec![1, nth as u8 + 1])));
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn replicas_of_a_node_answer_or_are_not_here_and_one_that_hangs_holds_none() {
    let pair = pair().await;
    let at = pair.at(2);
    let hangs = beat(&pair.clients, &at, 98);
    let going_on = async {
        for _ in 0..3 {
            let replicas = [7, 99, 8];
            let beats = join_all(replicas.map(|replica| beat(&pair.clients, &at, replica)));
            let [here, elsewhere, also] = beats.await.try_into().unwrap();
            assert_eq!(here, Ok(Bytes::from_static(b"\x01\x07")));
            assert_eq!(elsewhere, Err(RaftError::NotHere));
            assert_eq!(also, Ok(Bytes::from_static(b"\x01\x08")));
        }
        // Its replica has one in work: the next is not put behind it.
        let again = beat(&pair.clients, &at, 98).await;
        assert!(matches!(again, Err(RaftError::Failed(_))), "{again:?}");
    };
    tokio::select! { biased;
        answer = hangs => panic!("answered: {answer:?}"),
        () = going_on => {}
    }
}

#[tokio::test]
async fn an_open_stream_is_refused_once_the_node_is_another() {
    let pair = pair().await;
    let at = pair.at(2);
    assert!(beat(&pair.clients, &at, 7).await.is_ok());
    let again = Identity {
        node: NodeId(4),
        ..identity(2)
    };
    pair.callee.identity.send(Some(again)).unwrap();
    let Err(RaftError::Misdirected(refused)) = beat(&pair.clients, &at, 7).await else {
        panic!("taken by another node");
    };
    assert_eq!(
        (refused.reason, refused.node),
        (Reason::OtherNode, NodeId(4))
    );
    // A new stream is refused as well, when it is opened.
    let refused = beat(&pair.clients, &at, 7).await;
    assert!(
        matches!(refused, Err(RaftError::Misdirected(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_door_that_closes_ends_the_stream_with_what_waits_on_it() {
    let pair = pair().await;
    let at = pair.at(2);
    assert!(beat(&pair.clients, &at, 7).await.is_ok());
    let hangs = beat(&pair.clients, &at, 98);
    let closing = async { pair.script.close.cancel() };
    let (answer, ()) = tokio::join!(hangs, closing);
    assert!(
        matches!(answer, Err(RaftError::Unreachable(_))),
        "{answer:?}"
    );
}
