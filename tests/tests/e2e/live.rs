//! Each transport gets what is published, live, in order, from any node.

use std::time::Duration;

use anyhow::Result;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wait::soon;
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(10);

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

#[test]
fn a_long_poll_waits_for_the_first_message() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=1).await?;
        let path = "/v1/poll?topic=news&from=latest&wait=20";
        let waiting = http::get(&cluster.node(1).edge, path);
        let publishing = async {
            // The poll must be waiting when the message comes: it is one of the node's sessions.
            cluster.sessions(1, 1).await?;
            cluster.publish(2, "news", 2..=2).await
        };
        let (answer, published) = tokio::join!(soon("the poll", SOON, waiting), publishing);
        published?;
        let body = answer??.json()?;
        assert_eq!(body["items"][0]["data"], "2");
        assert_eq!(body["items"].as_array().map(Vec::len), Some(1));
        Ok(())
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
