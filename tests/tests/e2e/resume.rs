//! Any cursor of any transport on any other transport and node: exactly what was missed, or a gap
//! that says what and why.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wait::soon;
use fanfare_tests::wire::grpc::pb;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(60);

/// Reads messages `first..=last` of a fresh session and gives its cursor.
async fn read(session: &mut Session, first: u64, last: u64) -> Result<String> {
    for n in first..=last {
        let message = soon("a message", SOON, session.message()).await??;
        assert_eq!(message.text(), n.to_string());
    }
    // A cursor may come with the write after the last message it covers.
    while session.cursor().is_none() {
        soon("the cursor", SOON, session.next()).await??;
    }
    Ok(session.cursor().context("no cursor")?.to_owned())
}

#[test]
fn a_cursor_of_each_transport_resumes_on_each_other_at_another_node() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let mut at = 0;
        for first in Transport::ALL {
            let topic = format!("resume.{first}");
            cluster.publish(0, &topic, 1..=5).await?;
            let begin = Begin::From("earliest".to_owned());
            let mut session =
                Session::open(first, cluster.node(at % 3), &[topic.as_str()], &begin).await?;
            let cursor = read(&mut session, 1, 5).await?;
            drop(session);
            cluster.publish(1, &topic, 6..=9).await?;
            for second in Transport::ALL {
                at += 1;
                let begin = Begin::Cursor(cursor.clone());
                let mut session =
                    Session::open(second, cluster.node(at % 3), &[topic.as_str()], &begin).await?;
                let answer = soon("the answer", SOON, session.next()).await??;
                let Some(Seen::Attached(answer)) = answer else {
                    anyhow::bail!("{first} to {second}: {answer:?}");
                };
                assert_eq!(answer.answer, "recovered", "{first} to {second}");
                assert_eq!(answer.from.map(|p| p.offset.0), Some(5));
                read(&mut session, 6, 9)
                    .await
                    .with_context(|| format!("{first} to {second}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_resume_below_the_start_is_told_a_gap_on_each_transport() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let rules = pb::Rules {
            retain_count: Some(10),
            ..pb::Rules::default()
        };
        cluster.put_rule("short.>", rules).await?;
        for transport in Transport::ALL {
            let topic = format!("short.{transport}");
            cluster.publish(0, &topic, 1..=30).await?;
            let begin = Begin::From(cluster.position(&topic, 5).await?);
            let mut session =
                Session::open(transport, cluster.node(0), &[topic.as_str()], &begin).await?;
            let answer = soon("the answer", SOON, session.next()).await??;
            assert!(
                matches!(&answer, Some(Seen::Attached(a)) if a.answer == "gap"),
                "{transport}: {answer:?}"
            );
            let gap = soon("the gap", SOON, session.next()).await??;
            let Some(Seen::Gap(gap)) = gap else {
                anyhow::bail!("{transport}: {gap:?}")
            };
            assert_eq!(
                (gap.reason.as_str(), gap.by.as_deref()),
                ("trimmed", Some("count"))
            );
            assert_eq!(
                (gap.from.offset.0, gap.to.offset.0, gap.missed),
                (5, 20, Some(15))
            );
            read(&mut session, 21, 30).await?;
        }
        Ok(())
    })
}

#[test]
fn a_position_ahead_of_the_head_is_told_and_goes_back() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=3).await?;
        for transport in Transport::ALL {
            let begin = Begin::From(cluster.position("news", 9).await?);
            let mut session = Session::open(transport, cluster.node(1), &["news"], &begin).await?;
            let answer = soon("the answer", SOON, session.next()).await??;
            assert!(
                matches!(&answer, Some(Seen::Attached(a)) if a.answer == "gap"),
                "{transport}: {answer:?}"
            );
            let gap = soon("the gap", SOON, session.next()).await??;
            let Some(Seen::Gap(gap)) = gap else {
                anyhow::bail!("{transport}: {gap:?}")
            };
            assert_eq!(gap.reason, "position_ahead");
            assert_eq!((gap.from.offset.0, gap.to.offset.0), (9, 3));
        }
        Ok(())
    })
}

#[test]
fn a_topic_created_again_is_a_new_epoch_and_its_readers_are_told() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=3).await?;
        let old = cluster.position("news", 3).await?;
        let begin = Begin::From(old.clone());
        let mut open = Session::open(Transport::Ws, cluster.node(2), &["news"], &begin).await?;
        assert!(matches!(
            soon("the answer", SOON, open.next()).await??,
            Some(Seen::Attached(_))
        ));

        cluster.delete_topic("news").await?;
        cluster.publish(0, "news", 1..=2).await?;
        for at in 0..2 {
            let mut session = match at {
                0 => Session::open(Transport::Sse, cluster.node(1), &["news"], &begin).await?,
                _ => std::mem::replace(
                    &mut open,
                    Session::open(Transport::ShortPoll, cluster.node(0), &["news"], &begin).await?,
                ),
            };
            let mut gaps = Vec::new();
            let mut texts = Vec::new();
            while texts.len() < 2 {
                match soon("the new stream", SOON, session.next()).await?? {
                    Some(Seen::Gap(gap)) => gaps.push(gap.reason),
                    Some(Seen::Message(message)) => texts.push(message.text()),
                    Some(Seen::Attached(_) | Seen::Heartbeat) => {}
                    other => anyhow::bail!("{other:?}"),
                }
            }
            assert_eq!(texts, ["1", "2"]);
            assert!(
                !gaps.is_empty() && gaps.iter().all(|g| g == "epoch_changed"),
                "{gaps:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_reader_of_an_absent_topic_gets_its_first_message_and_writes_nothing() -> Result<()> {
    Cluster::run(3, async |cluster| {
        // A long poll answers with its first message only: a story of its own.
        for transport in Transport::ALL
            .into_iter()
            .filter(|t| *t != Transport::LongPoll)
        {
            let topic = format!("absent.{transport}");
            let begin = Begin::From("latest".to_owned());
            let mut session =
                Session::open(transport, cluster.node(2), &[topic.as_str()], &begin).await?;
            let answer = soon("the answer", SOON, session.next()).await??;
            let Some(Seen::Attached(answer)) = answer else {
                anyhow::bail!("{transport}: {answer:?}")
            };
            assert_eq!(
                (answer.answer.as_str(), answer.head.offset.0),
                ("latest", 0)
            );
            assert!(
                !cluster.topic_exists(&topic).await?,
                "{transport} made a topic"
            );
            cluster.publish(1, &topic, 1..=3).await?;
            read(&mut session, 1, 3)
                .await
                .with_context(|| format!("{transport}"))?;
        }
        Ok(())
    })
}

#[test]
fn earliest_and_the_last_few_begin_where_they_say() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=10).await?;
        for transport in Transport::ALL {
            for (from, first) in [("earliest", 1), ("last:3", 8), ("last:1000", 1)] {
                let begin = Begin::From(from.to_owned());
                let mut session =
                    Session::open(transport, cluster.node(0), &["news"], &begin).await?;
                read(&mut session, first, 10)
                    .await
                    .with_context(|| format!("{transport} from {from}"))?;
            }
        }
        Ok(())
    })
}
