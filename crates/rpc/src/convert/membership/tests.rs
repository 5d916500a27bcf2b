//! What members say to each other arrives as it was said, the rarest refusal too.

use fanfare_core::rule::BadRule;
use fanfare_core::view::{Refusal, View};
use proptest::prelude::*;

use super::*;
use crate::convert::strategies as any_of;

fn over_the_wire<T: prost::Message + Default>(message: &T) -> T {
    T::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn refusals() -> Vec<Refusal> {
    let (node, shard) = (NodeId(3), ShardId(0));
    vec![
        Refusal::NotBootstrapped,
        Refusal::Bootstrapped {
            cluster: ClusterId(u128::MAX),
        },
        Refusal::BadBootstrap,
        Refusal::BadNode,
        Refusal::TooManyNodes,
        Refusal::UnknownNode { node },
        Refusal::NodeGone { node },
        Refusal::NameTaken { node },
        Refusal::WrongDisk {
            node,
            recorded: DiskId(7),
        },
        Refusal::DataLoss { node },
        Refusal::OldGeneration {
            node,
            recorded: Generation(5),
        },
        Refusal::BinaryTooOld { level: 2 },
        Refusal::LevelNotAbove { level: 2 },
        Refusal::NodeBelow { node, level: 2 },
        Refusal::LevelBelow { needs: 3, level: 2 },
        Refusal::NoMajority { shard: None },
        Refusal::NoMajority { shard: Some(shard) },
        Refusal::StalePlan { version: u64::MAX },
        Refusal::BadPlacement { shard },
        Refusal::NotBegun { shard },
        Refusal::UnknownShard { shard },
        Refusal::BadRule(BadRule {
            rule: "dedup_age",
            low: 1,
            high: 86_400,
        }),
        Refusal::RulesFull,
        Refusal::NoSuchRule,
    ]
}

#[test]
fn outcomes_of_proposals() {
    let mut results: Vec<_> = refusals()
        .into_iter()
        .map(|r| Ok(Outcome::Refused(r)))
        .collect();
    results.extend([
        Ok(Outcome::Done { version: 5 }),
        Ok(Outcome::Added {
            version: 5,
            node: NodeId(3),
            replica: ReplicaId(9),
        }),
        Err(ProposeError::NotLeader { leader: None }),
        Err(ProposeError::NotLeader {
            leader: Some(NodeId(1)),
        }),
        Err(ProposeError::NoQuorum),
        Err(ProposeError::NotForMe),
        Err(ProposeError::Unreachable("why".to_owned())),
        Err(ProposeError::Unknown),
    ]);
    for sent in results {
        let raw: pb::ProposeAnswer = over_the_wire(&sent.clone().into());
        assert_eq!(proposed(raw), Ok(sent));
    }
}

#[test]
fn outcomes_of_adoptions_and_calls() {
    let calls = [
        CallError::NotForMe {
            cluster: None,
            node: None,
        },
        CallError::NotForMe {
            cluster: Some(ClusterId(1)),
            node: Some(NodeId(2)),
        },
        CallError::OldGeneration {
            known: Generation(4),
        },
        CallError::Unreachable("why".to_owned()),
        CallError::NoAnswer,
    ];
    let mut results: Vec<_> = calls
        .into_iter()
        .map(|call| Err(AdoptError::Call(call)))
        .collect();
    results.extend([
        Ok(()),
        Err(AdoptError::Member {
            cluster: ClusterId(1),
            node: NodeId(2),
        }),
        Err(AdoptError::NotInView),
        Err(AdoptError::Disk("full".to_owned())),
    ]);
    for sent in results {
        let raw: pb::AdoptAnswer = over_the_wire(&sent.clone().into());
        assert_eq!(adopted(raw), Ok(sent));
    }
}

#[test]
fn cards_of_empty_nodes_and_of_members() {
    let known = Known {
        node: NodeId(2),
        generation: Generation(3),
        disk: DiskId(4),
        store: fanfare_core::view::StoreState::DataLoss,
        state: fanfare_core::view::NodeState::Draining,
        alive: true,
    };
    let member = Stage::Member {
        cluster: ClusterId(1),
        node: NodeId(2),
        generation: Generation(3),
        view: 0,
    };
    for (stage, you) in [(Stage::Empty, None), (member, Some(known))] {
        let sent = Card {
            name: "n2".to_owned(),
            addresses: fanfare_core::view::Addresses::default(),
            level: 1,
            stage,
            you,
        };
        let raw: pb::Card = over_the_wire(&sent.clone().into());
        assert_eq!(raw.try_into(), Ok(sent));
    }
}

#[test]
fn beats_say_all_of_each_replica_and_have_a_bound() {
    let status = ReplicaStatus {
        shard: ShardId(1),
        replica: ReplicaId(2),
        term: Term(3),
        leads: true,
        applied: 4,
        behind: vec![(ReplicaId(5), 6), (ReplicaId(7), 0)],
    };
    let beat = |count| Beat {
        generation: Generation(8),
        view: 9,
        leader: Some(NodeId(10)),
        replicas: vec![status.clone(); count],
        full: true,
        hand_over: Some(HandOver {
            shard: ShardId(11),
            term: Term(12),
            heir: ReplicaId(13),
        }),
    };
    let raw: pb::Beat = over_the_wire(&beat(2).into());
    assert_eq!(raw.try_into(), Ok(beat(2)));
    let raw: pb::Beat = beat(Beat::MAX_REPLICAS + 1).into();
    assert_eq!(Beat::try_from(raw).unwrap_err().field, "replicas");
}

proptest! {
    #[test]
    fn proposals(
        n in any::<[u64; 3]>(), cluster in any::<u128>(), command in any_of::view_command(),
        within in 0..100_000_u64,
    ) {
        let envelope = Envelope {
            cluster: ClusterId(cluster),
            to: NodeId(n[0]),
            from: NodeId(n[1]),
            generation: Generation(n[2]),
        };
        let within = Duration::from_millis(within);
        let raw = over_the_wire(&propose_to_pb(envelope, &command, within));
        prop_assert_eq!(propose(raw), Ok((envelope, command, within)));
    }

    #[test]
    fn adoptions(ids in any::<[u128; 2]>(), node in any::<u64>(), view in any_of::view()) {
        let sent = Adopt {
            cluster: ClusterId(ids[0]),
            node: NodeId(node),
            disk: DiskId(ids[1]),
            view,
        };
        let raw = over_the_wire(&pb::AdoptRequest::from(&sent));
        prop_assert_eq!(Adopt::try_from(raw), Ok(sent));
    }
}

#[test]
fn a_view_from_before_the_bootstrap_is_one() {
    let raw: crate::pb::stored::View = over_the_wire(&(&View::empty()).into());
    assert_eq!(View::try_from(raw), Ok(View::empty()));
}
