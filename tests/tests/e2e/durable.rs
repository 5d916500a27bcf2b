//! What was acked is there after a restart, with the same epochs and keys.

use anyhow::Result;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::http;
use fanfare_tests::wire::session::{Begin, Session, Transport};
use http::send;

#[test]
fn a_node_restarted_from_its_disk_has_everything() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=50).await?;
        let before = cluster.position("news", 50).await?;
        cluster.kill(0).await?;
        cluster.start_node(0).await?;
        assert_eq!(
            cluster.position("news", 50).await?,
            before,
            "the epoch is the same"
        );
        cluster.publish(0, "news", 51..=60).await?;
        let begin = Begin::From("earliest".to_owned());
        let mut session = Session::open(Transport::Ws, cluster.node(0), &["news"], &begin).await?;
        for n in 1..=60 {
            assert_eq!(session.message().await?.text(), n.to_string());
        }
        Ok(())
    })
}

#[test]
fn a_key_is_known_after_a_restart_and_takes_one_slot() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let publish = async |body: &'static str| {
            let headers = [("content-type", "text/plain"), ("idempotency-key", "k1")];
            let edge = &cluster.node(0).edge;
            send(
                edge,
                ::http::Method::POST,
                "/v1/publish?topic=news",
                &headers,
                body,
            )
            .await
        };
        let first = publish("hi").await?.json()?;
        assert_eq!(first["duplicate"], false, "{first}");
        let second = publish("hi").await?.json()?;
        assert_eq!(
            (&second["duplicate"], &second["position"]),
            (&true.into(), &first["position"])
        );
        cluster.kill(0).await?;
        cluster.start_node(0).await?;
        let third = publish("hi").await?.json()?;
        assert_eq!(
            (&third["duplicate"], &third["position"]),
            (&true.into(), &first["position"])
        );
        let other = publish("something else").await?;
        assert_eq!(other.status, 422);
        assert_eq!(other.json()?["code"], "idempotency_mismatch");
        Ok(())
    })
}
