//! What nodes of format version 1 said to each other, heard by this one: membership, publish links,
//! delivery links. Nodes of two releases share a cluster, so what is sent is the same, byte by byte.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::Code;
use fanfare_core::gap::Policy;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::link::{
    Attach, AttachId, Attached, EdgeSays, Ended, LeaderSays, Live, PublishAnswer, PublishRequest,
    Redirect, Run, Verdict,
};
use fanfare_core::message::{Ack, Content, Draft, Key, Message, Meta};
use fanfare_core::placement;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, Rules};
use fanfare_core::view::{
    Addresses, Bootstrap, Command, NewNode, NodeState, Outcome, Replica, StoreState, View,
};
use fanfare_host::golden::{self, Values};
use prost::Message as _;

use super::{link, membership};
use crate::members::{
    Adopt, AdoptError, Beat, Card, Envelope, HandOver, JoinError, Known, ProposeError,
    ReplicaStatus, Stage,
};
use crate::pb::peer as pb;

fn values(file: &str, now: &Values) -> Values {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    golden::values(&dir.join(file), now)
}

fn all(rows: Vec<(&str, Vec<u8>)>) -> Values {
    let named = rows
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes));
    named.collect()
}

/// A message of a release, as this one has it.
fn heard<T: prost::Message + Default>(old: &Values, name: &str) -> T {
    T::decode(old[name].as_slice()).unwrap()
}

fn addresses() -> Addresses {
    Addresses {
        edge: "10.0.0.2:8080".to_owned(),
        grpc: "10.0.0.2:9090".to_owned(),
        peer: "10.0.0.2:7070".to_owned(),
        ops: String::new(),
    }
}

fn card(member: bool) -> Card {
    let stage = Stage::Member {
        cluster: ClusterId(7 << 100),
        node: NodeId(2),
        generation: Generation(3),
        view: 41,
    };
    let known = Known {
        node: NodeId(2),
        generation: Generation(3),
        disk: DiskId(4 << 90),
        store: StoreState::DataLoss,
        state: NodeState::Draining,
        alive: true,
    };
    Card {
        name: "n2".to_owned(),
        addresses: addresses(),
        level: 2,
        stage: if member { stage } else { Stage::Empty },
        you: member.then_some(known),
    }
}

fn beat() -> Beat {
    Beat {
        generation: Generation(8),
        view: 9,
        leader: Some(NodeId(10)),
        replicas: vec![ReplicaStatus {
            shard: ShardId(1),
            replica: ReplicaId(2),
            term: Term(3),
            leads: true,
            applied: 4,
            behind: vec![(ReplicaId(5), 6), (ReplicaId(7), 0)],
        }],
        full: true,
        hand_over: Some(HandOver {
            shard: ShardId(11),
            term: Term(12),
            heir: ReplicaId(13),
        }),
    }
}

fn envelope() -> Envelope {
    Envelope {
        cluster: ClusterId(7 << 100),
        to: NodeId(2),
        from: NodeId(1),
        generation: Generation(3),
    }
}

fn adopt() -> Adopt {
    let (node, replica) = (NodeId(2), ReplicaId(2));
    let mut view = View::empty();
    view.apply(&Command::Bootstrap(Bootstrap {
        cluster: ClusterId(7 << 100),
        level: 2,
        payload_limit: 65_536,
        nodes: vec![NewNode {
            id: node,
            name: "n2".to_owned(),
            disk: DiskId(4 << 90),
            level: 2,
            addresses: addresses(),
        }],
        meta: vec![Replica { id: replica, node }],
        shards: placement::first(&BTreeSet::from([node]), 2),
    }));
    Adopt {
        cluster: ClusterId(7 << 100),
        node,
        disk: DiskId(4 << 90),
        view,
    }
}

fn proposed() -> Command {
    Command::ShardBegun { shard: ShardId(3) }
}

const WITHIN: Duration = Duration::from_millis(5_000);

#[test]
fn what_members_say() {
    let call = membership::propose_to_pb(envelope(), &proposed(), WITHIN);
    let member = AdoptError::Member {
        cluster: ClusterId(1),
        node: NodeId(2),
    };
    let elsewhere = ProposeError::NotLeader {
        leader: Some(NodeId(1)),
    };
    let now = all(vec![
        ("adopt", pb::AdoptRequest::from(&adopt()).encode_to_vec()),
        (
            "adopt_refused",
            pb::AdoptAnswer::from(Err(member.clone())).encode_to_vec(),
        ),
        ("beat", pb::Beat::from(beat()).encode_to_vec()),
        ("card_empty", pb::Card::from(card(false)).encode_to_vec()),
        ("card_member", pb::Card::from(card(true)).encode_to_vec()),
        ("envelope", pb::Envelope::from(envelope()).encode_to_vec()),
        (
            "join_closed",
            pb::JoinAnswer::from(Err(JoinError::Closed)).encode_to_vec(),
        ),
        (
            "join_taken",
            pb::JoinAnswer::from(Ok(NodeId(4))).encode_to_vec(),
        ),
        ("propose", call.encode_to_vec()),
        (
            "propose_done",
            pb::ProposeAnswer::from(Ok(Outcome::Done { version: 9 })).encode_to_vec(),
        ),
        (
            "propose_elsewhere",
            pb::ProposeAnswer::from(Err(elsewhere.clone())).encode_to_vec(),
        ),
    ]);
    let old = values("members.txt", &now);
    assert_eq!(old, now);
    assert_eq!(
        Adopt::try_from(heard::<pb::AdoptRequest>(&old, "adopt")),
        Ok(adopt())
    );
    assert_eq!(
        membership::adopted(heard(&old, "adopt_refused")),
        Ok(Err(member))
    );
    assert_eq!(Beat::try_from(heard::<pb::Beat>(&old, "beat")), Ok(beat()));
    for (name, of_member) in [("card_empty", false), ("card_member", true)] {
        assert_eq!(
            Card::try_from(heard::<pb::Card>(&old, name)),
            Ok(card(of_member))
        );
    }
    assert_eq!(
        Envelope::try_from(heard::<pb::Envelope>(&old, "envelope")),
        Ok(envelope())
    );
    assert_eq!(
        membership::joined(heard(&old, "join_closed")),
        Ok(Err(JoinError::Closed))
    );
    assert_eq!(
        membership::joined(heard(&old, "join_taken")),
        Ok(Ok(NodeId(4)))
    );
    let asked = membership::propose(heard(&old, "propose"));
    assert_eq!(asked, Ok((envelope(), proposed(), WITHIN)));
    let done = Outcome::Done { version: 9 };
    assert_eq!(
        membership::proposed(heard(&old, "propose_done")),
        Ok(Ok(done))
    );
    assert_eq!(
        membership::proposed(heard(&old, "propose_elsewhere")),
        Ok(Err(elsewhere))
    );
}

fn content() -> Content {
    let meta = Meta {
        content_type: "application/json".parse().unwrap(),
        event: Some("score".parse().unwrap()),
        ..Meta::default()
    };
    Content {
        payload: Bytes::from_static(b"{\"home\": 2}"),
        meta: Arc::new(meta),
    }
}

fn request() -> PublishRequest {
    PublishRequest {
        seq: 5,
        stream: 6,
        run: 7,
        shard: ShardId(8),
        draft: Draft {
            topic: "news".parse().unwrap(),
            content: content(),
            key: Some(Key::new(Bytes::from_static(b"k1")).unwrap()),
            key_age_ms: 900,
            ack: Ack::Committed,
            expect: Some(Position::new(7, 41)),
        },
        timeout_ms: 5_000,
    }
}

fn verdicts() -> Vec<(&'static str, PublishAnswer)> {
    let receipt = Receipt {
        topic: "news".parse().unwrap(),
        position: Some(Position::new(7, 42)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: true,
        dedup_remaining_ms: Some(119_000),
    };
    let refusal = Refusal::of_publish(Code::StorageFull, "the disk is full").retry_after(1_500);
    let redirect = Redirect {
        leader: Some(NodeId(3)),
        term: Term(9),
    };
    let verdicts = [
        ("verdict_placed", Verdict::Placed(receipt)),
        ("verdict_refused", Verdict::Refused(refusal)),
        ("verdict_reroute", Verdict::Reroute(redirect)),
    ];
    let answer = |(name, verdict)| (name, PublishAnswer { seq: 5, verdict });
    verdicts.into_iter().map(answer).collect()
}

fn edge_says() -> Vec<(&'static str, EdgeSays)> {
    let attach = Attach {
        id: AttachId(1),
        shard: ShardId(2),
        topic: "news".parse().unwrap(),
        after: Some(Position::new(7, 41)),
    };
    vec![
        ("edge_attach", EdgeSays::Attach(vec![attach])),
        ("edge_credit", EdgeSays::Credit(65_536)),
        (
            "edge_detach",
            EdgeSays::Detach(vec![AttachId(1), AttachId(2)]),
        ),
    ]
}

fn leader_says() -> Vec<(&'static str, LeaderSays)> {
    let message = Message {
        position: Position::new(7, 42),
        wall_ms: 1_772_360_130_123,
        content: content(),
    };
    let run = Run {
        after: Position::new(7, 41),
        messages: vec![Arc::new(message)],
    };
    let attached = Attached {
        id: AttachId(1),
        term: Term(9),
        head: Position::new(7, 42),
        start: Position::new(7, 1),
        exists: true,
        policy: Policy::from(&Rules::default()),
        live: Live::Yes(run.clone()),
    };
    let digest = LeaderSays::Digest {
        shard: ShardId(2),
        count: 3,
        sum: 4,
    };
    let gone = Ended::NotLeader(Redirect::default());
    vec![
        ("leader_attached", LeaderSays::Attached(attached)),
        ("leader_digest", digest),
        ("leader_ended", LeaderSays::Ended(AttachId(1), gone)),
        ("leader_run", LeaderSays::Run(AttachId(1), run)),
    ]
}

#[test]
fn what_edges_and_leaders_say() {
    let mut now = vec![("draft", link::request_to_pb(&request()).encode_to_vec())];
    for (name, said) in verdicts() {
        now.push((name, pb::Verdict::from(said).encode_to_vec()));
    }
    for (name, said) in edge_says() {
        now.push((name, pb::EdgeWord::from(said).encode_to_vec()));
    }
    for (name, said) in leader_says() {
        now.push((name, pb::LeaderWord::from(said).encode_to_vec()));
    }
    let now = all(now);
    let old = values("links.txt", &now);
    assert_eq!(old, now);
    let draft = link::request(heard(&old, "draft"), &mut super::content::Metas::default());
    assert_eq!(draft, Ok(request()));
    for (name, said) in verdicts() {
        assert_eq!(heard::<pb::Verdict>(&old, name).try_into(), Ok(said));
    }
    for (name, said) in edge_says() {
        assert_eq!(heard::<pb::EdgeWord>(&old, name).try_into(), Ok(said));
    }
    for (name, said) in leader_says() {
        assert_eq!(heard::<pb::LeaderWord>(&old, name).try_into(), Ok(said));
    }
}
