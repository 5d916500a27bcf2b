//! Bad input is refused with its code and the field as it was sent; nothing is clamped.

use anyhow::Result;
use bytes::Bytes;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::grpc::pb::publisher_client::PublisherClient;
use fanfare_tests::wire::grpc::pb::subscriber_client::SubscriberClient;
use fanfare_tests::wire::grpc::{self, pb};
use fanfare_tests::wire::http;
use tonic_types::StatusExt as _;

use ::http::Method;

#[test]
fn every_reader_refuses_bad_queries_by_name() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        let cases = [
            ("", "topic", "invalid_argument"),
            ("topic=bad%20topic", "topic", "invalid_topic"),
            ("topic=a&topic=a", "topic", "invalid_argument"),
            ("topic=a&from=yesterday", "from", "invalid_argument"),
            ("topic=a&from=last:0", "from", "invalid_argument"),
            ("topic=a&cursor=AQHOpqnA", "cursor", "bad_cursor"),
            ("topic=a&colour=red", "colour", "invalid_argument"),
            ("topic=a&min_position=7", "min_position", "invalid_argument"),
        ];
        for route in ["poll", "sse", "tail"] {
            for (query, field, code) in cases {
                let answer = http::get(edge, &format!("/v1/{route}?{query}")).await?;
                assert_eq!(answer.status, 400, "{route}?{query}: {}", answer.text());
                assert_eq!(answer.header("content-type"), "application/problem+json");
                let body = answer.json()?;
                assert_eq!(
                    (&body["code"], &body["field"]),
                    (&code.into(), &field.into()),
                    "{body}"
                );
                assert_eq!(body["advice"], "give_up");
                assert!(!answer.header("fanfare-request-id").is_empty());
            }
        }
        let own = [
            ("poll", "limit=0", "limit"),
            ("poll", "wait=51", "wait"),
            ("sse", "heartbeat=4", "heartbeat"),
        ];
        for (route, query, field) in own {
            let answer = http::get(edge, &format!("/v1/{route}?topic=a&{query}")).await?;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()?["field"]),
                (400, &field.into())
            );
        }
        Ok(())
    })
}

#[test]
fn publishing_refuses_what_it_cannot_place() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        let post = async |query: &str, kind: &str, body: Vec<u8>| {
            http::post(edge, &format!("/v1/publish?{query}"), kind, body).await
        };
        let cases: [(&str, &str, Vec<u8>, u16, &str); 6] = [
            (
                "topic=bad%20topic",
                "text/plain",
                b"x".to_vec(),
                400,
                "invalid_topic",
            ),
            (
                "topic=$sys.a",
                "text/plain",
                b"x".to_vec(),
                400,
                "invalid_topic",
            ),
            (
                "topic=a",
                "application/json",
                b"{".to_vec(),
                400,
                "invalid_payload",
            ),
            (
                "topic=a",
                "text/plain",
                vec![b'x'; 65_537],
                413,
                "payload_too_large",
            ),
            (
                "topic=a&event=open",
                "text/plain",
                b"x".to_vec(),
                400,
                "invalid_argument",
            ),
            (
                "topic=a&tag=novalue",
                "text/plain",
                b"x".to_vec(),
                400,
                "invalid_argument",
            ),
        ];
        for (query, kind, body, status, code) in cases {
            let answer = post(query, kind, body).await?;
            assert_eq!(answer.status, status, "{query}: {}", answer.text());
            let body = answer.json()?;
            assert_eq!(
                (&body["code"], &body["outcome"]),
                (&code.into(), &"not_placed".into())
            );
        }
        assert!(
            !cluster.topic_exists("a").await?,
            "nothing refused makes a topic"
        );
        let missing = http::get(edge, "/v1/nowhere").await?;
        assert_eq!(
            (missing.status.as_u16(), &missing.json()?["code"]),
            (404, &"no_route".into())
        );
        let method = http::send(edge, Method::DELETE, "/v1/poll", &[], Bytes::new()).await?;
        assert_eq!(method.json()?["code"], "method_not_allowed");
        let errors = http::get(edge, "/v1/errors/bad_cursor").await?;
        assert_eq!(errors.status, 200);
        assert!(errors.header("content-type").starts_with("text/plain"));
        Ok(())
    })
}

#[test]
fn a_strange_origin_gets_no_answer_it_can_read() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        let ask = async |origin: &str, host: &str| {
            let headers = [("origin", origin), ("host", host)];
            http::send(
                edge,
                Method::GET,
                "/v1/poll?topic=a",
                &headers,
                Bytes::new(),
            )
            .await
        };
        let own = ask("http://localhost:3000", edge).await?;
        assert_eq!(
            own.header("access-control-allow-origin"),
            "http://localhost:3000"
        );
        let strange = ask("https://evil.example", edge).await?;
        assert_eq!(strange.header("access-control-allow-origin"), "");
        Ok(())
    })
}

#[test]
fn grpc_names_the_field_and_the_outcome() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let channel = grpc::channel(&cluster.node(0).grpc).await?;
        let draft = pb::Draft {
            topic: "bad topic".to_owned(),
            ..pb::Draft::default()
        };
        let request = pb::PublishRequest { draft: Some(draft) };
        let status = PublisherClient::new(channel.clone())
            .publish(request)
            .await
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INVALID_TOPIC", "fanfare")
        );
        assert_eq!(
            info.metadata.get("outcome").map(String::as_str),
            Some("not_placed")
        );
        assert_eq!(
            info.metadata.get("advice").map(String::as_str),
            Some("give_up")
        );
        assert!(
            info.metadata
                .get("field")
                .is_some_and(|f| f.contains("topic"))
        );

        let request = pb::SubscribeRequest {
            cursor: "AQHOpqnA".to_owned(),
            ..Default::default()
        };
        let status = SubscriberClient::new(channel)
            .subscribe(request)
            .await
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        Ok(())
    })
}

#[test]
fn a_credential_that_cannot_be_checked_opens_no_admin_service() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let channel = grpc::channel(&cluster.node(0).grpc).await?;
        let mut admin = pb::cluster_admin_client::ClusterAdminClient::new(channel);
        let with_token = |body| {
            let mut request = tonic::Request::new(body);
            let token = "Bearer forged".parse().expect("ASCII");
            request.metadata_mut().insert("authorization", token);
            request
        };
        let refused = admin
            .get_view(with_token(pb::GetViewRequest {}))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        let mut dump = tonic::Request::new(pb::DumpShardRequest { shard: 0 });
        dump.metadata_mut()
            .insert("authorization", "Bearer forged".parse()?);
        let refused = admin.dump_shard(dump).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        assert!(admin.get_view(pb::GetViewRequest {}).await.is_ok());
        Ok(())
    })
}
