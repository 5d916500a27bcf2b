//! Administration, reflection and health.

use pb::cluster_admin_client::ClusterAdminClient;
use pb::topic_admin_client::TopicAdminClient;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use super::*;

#[tokio::test]
async fn topics_are_made_described_listed_and_deleted() {
    let public = public().await;
    let mut admin = TopicAdminClient::new(public.channel.clone());
    let rules = pb::Rules {
        retain_count: Some(5),
        retain_age: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        slow: pb::Slow::Conflate.into(),
        ..Default::default()
    };
    let create = pb::CreateTopicRequest {
        name: "news".to_owned(),
        rules: Some(rules),
    };
    let made = admin.create(create).await.unwrap().into_inner();
    let rules = made.rules.unwrap();
    assert_eq!(
        (rules.retain_count, rules.slow()),
        (Some(5), pb::Slow::Conflate)
    );
    assert_eq!(rules.dedup_age.unwrap().seconds, 120);
    assert_eq!(
        (made.epoch, made.bytes, made.class()),
        (7, 400, pb::Class::Durable)
    );

    let get = pb::GetTopicRequest {
        name: "nothing".to_owned(),
    };
    let status = admin.get(get).await.unwrap_err();
    assert_eq!(
        (status.code(), told(&status).code),
        (tonic::Code::NotFound, Code::TopicNotFound)
    );

    let list = |page_token: &str| pb::ListTopicsRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let first = admin.list(list("")).await.unwrap().into_inner();
    assert_eq!(
        (first.topics.len(), first.next_page_token.as_str()),
        (2, "b")
    );
    let rest = admin
        .list(list(&first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (rest.topics[0].name.as_str(), rest.next_page_token.as_str()),
        ("c", "")
    );
    let status = admin.list(list("a..b")).await.unwrap_err();
    assert_eq!(told(&status).field.as_deref(), Some("page_token"));

    let delete = pb::DeleteTopicRequest {
        name: "news".to_owned(),
        epoch: Some(7),
    };
    admin.delete(delete).await.unwrap();
}

#[tokio::test]
async fn rules_are_put_listed_and_forgotten_and_bad_ones_refused_by_their_field() {
    let public = public().await;
    let mut admin = TopicAdminClient::new(public.channel.clone());
    let put = |rules| pb::PutRuleRequest {
        pattern: "chat.>".to_owned(),
        rules: Some(rules),
    };
    let html = pb::Rules {
        html: pb::Html::Verbatim.into(),
        ..Default::default()
    };
    admin.put_rule(put(html)).await.unwrap();
    let listed = admin
        .list_rules(pb::ListRulesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        listed.rules,
        [pb::Rule {
            pattern: "chat.>".to_owned(),
            rules: Some(html)
        }]
    );
    let age = prost_types::Duration {
        seconds: -1,
        nanos: 0,
    };
    let bad = pb::Rules {
        dedup_age: Some(age),
        ..Default::default()
    };
    let status = admin.put_rule(put(bad)).await.unwrap_err();
    assert_eq!(told(&status).field.as_deref(), Some("rules.dedup_age"));
    let status = admin
        .put_rule(put(pb::Rules {
            class: 9,
            ..Default::default()
        }))
        .await
        .unwrap_err();
    assert_eq!(told(&status).field.as_deref(), Some("rules.class"));
    let forget = pb::DeleteRuleRequest {
        pattern: "chat.>".to_owned(),
    };
    admin.delete_rule(forget).await.unwrap();
    let listed = admin
        .list_rules(pb::ListRulesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.rules, []);
    let status = admin
        .delete_rule(pb::DeleteRuleRequest {
            pattern: "a*".to_owned(),
        })
        .await;
    assert_eq!(told(&status.unwrap_err()).field.as_deref(), Some("pattern"));
}

#[tokio::test]
async fn the_view_says_who_leads_and_who_is_behind() {
    let public = public().await;
    let mut admin = ClusterAdminClient::new(public.channel.clone());
    let view = admin
        .get_view(pb::GetViewRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (view.version, view.nodes[0].state()),
        (1, pb::NodeState::Active)
    );
    assert_eq!(view.nodes[0].addresses.as_ref().unwrap().peer, "n1:7070");
    let led = &view.shards[0];
    assert_eq!((led.leader, led.term), (Some(1), 4));
    assert_eq!(
        (led.replicas[0].behind, led.replicas[1].behind),
        (None, Some(3))
    );
    assert_eq!((view.shards[1].leader, view.shards.len()), (None, 2));
    let mut views = admin
        .watch_view(pb::WatchViewRequest {})
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        assert_eq!(views.message().await.unwrap(), Some(view.clone()));
    }
    assert_eq!(views.message().await.unwrap(), None);
    let topics = vec!["news".to_owned()];
    let samples = admin
        .sample(pb::SampleRequest { topics })
        .await
        .unwrap()
        .into_inner()
        .samples;
    assert_eq!(
        samples[0].head,
        Some(pb::Position {
            epoch: 7,
            offset: 12
        })
    );
}

#[tokio::test]
async fn changes_of_nodes_reach_the_door_as_they_are_meant() {
    let public = public().await;
    let mut admin = ClusterAdminClient::new(public.channel.clone());
    let node = || "n2".to_owned();
    let drained = admin
        .drain_node(pb::DrainNodeRequest { node: node() })
        .await;
    let drained = drained.unwrap().into_inner();
    assert_eq!((drained.node, drained.version), (2, 9));
    for (fewer_replicas, stay) in [(false, false), (true, false), (false, true)] {
        let request = pb::RemoveNodeRequest {
            node: node(),
            fewer_replicas,
            stay,
        };
        admin.remove_node(request).await.unwrap();
    }
    let request = pb::ReplaceNodeRequest {
        old: node(),
        new: "n4".to_owned(),
    };
    admin.replace_node(request).await.unwrap();
    let request = pb::TransferShardRequest {
        shard: 3,
        node: node(),
    };
    admin.transfer_shard(request).await.unwrap();
    let meant = [
        ClusterChange::Drain { node: node() },
        ClusterChange::Remove { node: node() },
        ClusterChange::RemoveNow { node: node() },
        ClusterChange::Stay { node: node() },
        ClusterChange::Replace {
            old: node(),
            new: "n4".to_owned(),
        },
        ClusterChange::Transfer {
            shard: ShardId(3),
            node: node(),
        },
    ];
    assert_eq!(*public.script.changes.lock().unwrap(), meant);
}

#[tokio::test]
async fn a_dump_has_every_topic_and_every_row() {
    let public = public().await;
    let mut admin = ClusterAdminClient::new(public.channel.clone());
    let mut dump = admin
        .dump_shard(pb::DumpShardRequest { shard: 1 })
        .await
        .unwrap()
        .into_inner();
    let empty = dump.message().await.unwrap().unwrap();
    assert_eq!((empty.topic.as_str(), empty.rows.len()), ("empty", 0));
    assert_eq!(empty.chain, 5_u128.to_be_bytes().as_slice());
    let mut offsets = Vec::new();
    while let Some(part) = dump.message().await.unwrap() {
        assert_eq!(part.topic, "long");
        assert_eq!(part.rows[0].hash.len(), 16);
        offsets.extend(part.rows.iter().map(|row| row.offset));
    }
    assert!(offsets.into_iter().eq(1..=25_000));
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let public = public().await;
    let call = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(public.channel.clone());
    let calls = futures_util::stream::iter([call]);
    let mut answers = client
        .server_reflection_info(calls)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
        answer
    else {
        panic!("no list");
    };
    let names: Vec<_> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in Health::SERVICES
        .into_iter()
        .chain(["grpc.health.v1.Health"])
    {
        assert!(
            names.iter().any(|name| name == service),
            "{service} is not in {names:?}"
        );
    }

    let call = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "fanfare.v1.Publisher".to_owned(),
            ),
        ),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(public.channel.clone());
    let calls = futures_util::stream::iter([call]);
    let mut answers = client
        .server_reflection_info(calls)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(
        answer,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    ));
}

#[tokio::test]
async fn health_says_what_the_node_says() {
    let public = public().await;
    let mut client = HealthClient::new(public.channel.clone());
    let mut check = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        client.check(request).await.unwrap().into_inner().status
    };
    for serving in [false, true, false] {
        public.health.set(serving).await;
        let status = match serving {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in [""].into_iter().chain(Health::SERVICES) {
            assert_eq!(check(service).await, status as i32, "{service}");
        }
    }
}

#[tokio::test]
async fn a_node_does_not_serve_until_it_says_so() {
    let public = public().await;
    let mut client = HealthClient::new(public.channel.clone());
    let request = HealthCheckRequest {
        service: "fanfare.v1.Publisher".to_owned(),
    };
    let answer = client.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn what_is_left_of_a_group_is_told_and_what_became_of_it() {
    let public = public().await;
    let mut admin = ClusterAdminClient::new(public.channel.clone());
    let asked = pb::RepairShardRequest {
        shard: 4,
        ..Default::default()
    };
    let told = admin.repair_shard(asked).await.unwrap().into_inner();
    assert_eq!(told.verdict(), pb::RepairVerdict::MayComeBack);
    assert_eq!((told.silent.as_slice(), told.voters), (&[2][..], 3));
    assert_eq!((told.copies[0].term, told.copies[0].index), (3, 80));
    assert!(!told.done);
}

#[tokio::test]
async fn a_raised_level_is_told() {
    let public = public().await;
    let mut admin = ClusterAdminClient::new(public.channel.clone());
    let asked = admin.upgrade_cluster(pb::UpgradeClusterRequest {}).await;
    let told = asked.unwrap().into_inner();
    assert_eq!((told.level, told.known, told.raised), (2, 3, true));
}
