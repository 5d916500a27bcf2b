//! Ephemeral topics: live and short-lived, outside the log, honest about it.

use std::time::Duration;

use anyhow::Result;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wait::soon;
use fanfare_tests::wire::grpc::pb;
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(60);

fn ephemeral() -> pb::Rules {
    pb::Rules {
        class: pb::Class::Ephemeral.into(),
        ..pb::Rules::default()
    }
}

#[test]
fn an_ephemeral_topic_acks_what_it_is_and_delivers() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.put_rule("live.>", ephemeral()).await?;
        let mut sessions = Vec::new();
        for transport in [Transport::Ws, Transport::Sse, Transport::Grpc] {
            let begin = Begin::From("latest".to_owned());
            let mut session =
                Session::open(transport, cluster.node(1), &["live.score"], &begin).await?;
            let answer = soon("the answer", SOON, session.next()).await??;
            assert!(
                matches!(&answer, Some(Seen::Attached(a)) if a.class == "ephemeral"),
                "{answer:?}"
            );
            sessions.push(session);
        }
        for n in 1..=10 {
            let path = "/v1/publish?topic=live.score";
            let answer =
                http::post(&cluster.node(2).edge, path, "text/plain", n.to_string()).await?;
            let body = answer.json()?;
            assert_eq!(
                (&body["class"], &body["reached"]),
                (&"ephemeral".into(), &"ephemeral".into())
            );
        }
        for session in &mut sessions {
            for n in 1..=10 {
                let message = soon("a message", SOON, session.message()).await??;
                assert_eq!(message.text(), n.to_string());
            }
        }
        Ok(())
    })
}

#[test]
fn a_new_leader_begins_a_new_epoch_and_says_so() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.put_rule("live.>", ephemeral()).await?;
        cluster.publish(0, "live.score", 1..=5).await?;
        let leader = cluster.leader_of("live.score").await?;
        let reader = (leader + 1) % 3;
        let begin = Begin::From("latest".to_owned());
        let mut session =
            Session::open(Transport::Ws, cluster.node(reader), &["live.score"], &begin).await?;
        soon("the answer", SOON, session.next()).await??;
        cluster.kill(leader).await?;
        cluster.new_leader_of("live.score", leader).await?;
        cluster.publish(reader, "live.score", 6..=7).await?;
        let mut seen = Vec::new();
        while seen.last().map(String::as_str) != Some("7") {
            match soon("the new reign", SOON, session.next()).await?? {
                Some(Seen::Gap(gap)) => seen.push(gap.reason),
                Some(Seen::Message(message)) => seen.push(message.text()),
                Some(Seen::Attached(_) | Seen::Heartbeat) => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
        assert_eq!(seen, ["epoch_changed", "6", "7"]);
        Ok(())
    })
}
