//! Who is taken for gone on a WebSocket, and who is not: those who are silent, slow, or only read.

use std::time::Duration;

use fanfare_core::rule::Slow;
use fanfare_protocol::json::server_frame::ServerFrame;

use super::client::{Socket, one, subscribed};
use super::ws::{many, theatre};

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_sent_away() {
    let theatre = theatre().await;
    let mut silent = Socket::open(&theatre, "/v1/ws").await;
    assert_eq!(silent.ending().await, ("hello_timeout".to_owned(), 4002));
    drop(silent);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_without_a_word_is_noticed() {
    let theatre = theatre().await;
    let mut socket = Socket::open(&theatre, "/v1/ws?topic=news&heartbeat=5").await;
    socket.frame().await;
    subscribed(socket.frame().await);
    // The connection stays, but nobody reads or answers pings.
    theatre
        .until("the session is over", || theatre.sessions().count() == 0)
        .await;
    let lived = theatre.deps.clock.now();
    assert!((20..30).contains(&lived.as_secs()), "{lived:?}");
    drop(socket);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_is_kept() {
    let theatre = theatre().await;
    let mut socket = Socket::open(&theatre, "/v1/ws?topic=news&heartbeat=5").await;
    socket.frame().await;
    subscribed(socket.frame().await);
    for _ in 0..10 {
        assert_eq!(socket.frame().await, ServerFrame::Heartbeat);
    }
    let at = theatre.stage.publish("news", "still here");
    assert_eq!(one(socket.frame().await), format!("{at} still here"));
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_reads_a_busy_topic_is_kept() {
    let theatre = theatre().await;
    let mut socket = Socket::open(&theatre, "/v1/ws?topic=news&heartbeat=5").await;
    socket.frame().await;
    subscribed(socket.frame().await);
    for n in 1..=60 {
        theatre.deps.clock.sleep(Duration::from_secs(2)).await;
        let at = theatre.stage.publish("news", &n.to_string());
        assert_eq!(socket.one_item().await, format!("{at} {n}"));
    }
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_a_busy_topic_that_is_gone_without_a_word_is_noticed() {
    let theatre = theatre().await;
    let mut socket = Socket::open(&theatre, "/v1/ws?topic=news&heartbeat=5").await;
    socket.frame().await;
    subscribed(socket.frame().await);
    let begin = theatre.deps.clock.now();
    while theatre.sessions().count() > 0 {
        // All of it fits on the way to the client, which neither reads nor answers.
        theatre.stage.publish("news", "?");
        theatre.deps.clock.sleep(Duration::from_secs(1)).await;
    }
    let lived = (theatre.deps.clock.now() - begin).as_secs();
    assert!((20..30).contains(&lived), "{lived} s");
    drop(socket);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_sent_away() {
    let theatre = theatre().await;
    theatre.stage.rules(&many(Slow::CatchUp));
    let mut socket = Socket::with_room(&theatre, "/v1/ws?topic=news", 300).await;
    socket.frame().await;
    subscribed(socket.frame().await);
    for _ in 0..100 {
        theatre.stage.publish("news", &"z".repeat(1_000));
    }
    let begin = theatre.deps.clock.now();
    theatre
        .until("the session is over", || theatre.sessions().count() == 0)
        .await;
    let lived = (theatre.deps.clock.now() - begin).as_secs();
    assert!((60..70).contains(&lived), "{lived} s");
    drop(socket);
    theatre.close().await;
}
