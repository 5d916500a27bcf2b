//! Each transport gets what is published, live, in order, from any node.

use std::time::Duration;

use anyhow::Result;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wait::soon;
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(60);

/// Opens a session and waits for its answer, so that what is published next is live.
async fn attached(
    cluster: &Cluster,
    at: usize,
    transport: Transport,
    topic: &str,
) -> Result<Session> {
    let begin = Begin::From("latest".to_owned());
    let mut session = Session::open(transport, cluster.node(at), &[topic], &begin).await?;
    let first = soon("the answer", SOON, session.next()).await??;
    assert!(
        matches!(&first, Some(Seen::Attached(a)) if a.answer == "latest"),
        "{first:?}"
    );
    Ok(session)
}

async fn delivers_live(cluster: &Cluster, at: usize, transport: Transport) -> Result<()> {
    let topic = format!("live.{transport}.{at}");
    cluster.publish(0, &topic, 1..=1).await?;
    let mut session = attached(cluster, at, transport, &topic).await?;
    cluster.publish(0, &topic, 2..=40).await?;
    for n in 2..=40 {
        let message = soon("a live message", SOON, session.message()).await??;
        assert_eq!(message.text(), n.to_string(), "{transport} at node {at}");
        assert_eq!(message.position.offset.0, n);
    }
    Ok(())
}

#[test]
fn every_transport_delivers_live_on_one_node() -> Result<()> {
    Cluster::run(1, async |cluster| {
        for transport in Transport::ALL
            .into_iter()
            .filter(|t| *t != Transport::LongPoll)
        {
            delivers_live(cluster, 0, transport).await?;
        }
        Ok(())
    })
}

#[test]
fn every_transport_delivers_live_on_every_node_of_three() -> Result<()> {
    Cluster::run(3, async |cluster| {
        for at in 0..3 {
            for transport in Transport::ALL
                .into_iter()
                .filter(|t| *t != Transport::LongPoll)
            {
                delivers_live(cluster, at, transport).await?;
            }
        }
        Ok(())
    })
}

/// Asks for the head, and waits from its cursor on, so that no message can come in between.
async fn a_long_poll_receives(cluster: &Cluster, topic: &str, next: u64) -> Result<()> {
    let edge = &cluster.node(1).edge;
    let head = http::get(edge, &format!("/v1/poll?topic={topic}&from=latest")).await?;
    let cursor = head.json()?["cursor"].as_str().unwrap_or("").to_owned();
    let path = format!("/v1/poll?topic={topic}&cursor={cursor}&wait=20");
    let publishing = async {
        cluster.sessions(1, 1).await?;
        cluster.publish(2, topic, next..=next).await
    };
    let waiting = soon("the poll", SOON, http::get(edge, &path));
    let (answer, published) = tokio::join!(waiting, publishing);
    published?;
    let body = answer??.json()?;
    assert_eq!(body["items"][0]["data"], next.to_string());
    assert_eq!(body["items"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn a_long_poll_waits_for_the_first_message() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=1).await?;
        a_long_poll_receives(cluster, "news", 2).await
    })
}

#[test]
fn a_long_poll_of_an_absent_topic_waits_for_its_first_message() -> Result<()> {
    Cluster::run(3, async |cluster| {
        // A poll of an absent topic writes nothing.
        http::get(&cluster.node(1).edge, "/v1/poll?topic=absent&from=latest").await?;
        assert!(!cluster.topic_exists("absent").await?);
        a_long_poll_receives(cluster, "absent", 1).await
    })
}

#[test]
fn several_topics_come_over_one_connection() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let topics = ["a", "b", "c"];
        let only = [
            Transport::Ws,
            Transport::Sse,
            Transport::Tail,
            Transport::Grpc,
        ];
        for transport in only {
            let begin = Begin::From("latest".to_owned());
            let mut session = Session::open(transport, cluster.node(1), &topics, &begin).await?;
            for _ in topics {
                let seen = soon("the answers", SOON, session.next()).await??;
                assert!(
                    matches!(seen, Some(Seen::Attached(_))),
                    "{transport}: {seen:?}"
                );
            }
            for topic in topics {
                http::publish(
                    &cluster.node(0).edge,
                    topic,
                    &format!("{transport} to {topic}"),
                )
                .await?;
            }
            let mut got = Vec::new();
            for _ in topics {
                let message = soon("the messages", SOON, session.message()).await??;
                assert_eq!(message.text(), format!("{transport} to {}", message.topic));
                got.push(message.topic);
            }
            got.sort();
            assert_eq!(got, topics);
        }
        Ok(())
    })
}
