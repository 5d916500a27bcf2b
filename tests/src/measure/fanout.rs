//! The price of a delivery: CPU time of the server for one message to one WebSocket subscriber,
//! beside one bare `send` of the same bytes in the same run.

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{proc, sends};
use crate::process::Processes;
use crate::wire::grpc::pb::publisher_client::PublisherClient;
use crate::wire::grpc::{self, pb};
use crate::wire::http;
use crate::wire::ws;

/// Cost of a delivery on one node: one durable topic, many WebSocket subscribers.
#[derive(Clone, Debug, clap::Args)]
pub struct FanoutPlan {
    /// Subscribers of the topic.
    #[arg(long, default_value_t = 1_000)]
    pub subscribers: usize,
    /// Publishes in flight on the one stream.
    #[arg(long, default_value_t = 32)]
    pub in_flight: usize,
    /// Messages to publish.
    #[arg(long, default_value_t = 3_000)]
    pub messages: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
}

/// Measures; prints a few lines. Bind this command itself to the other CPU (`taskset -c 1`).
pub async fn fanout(plan: &FanoutPlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let cluster = Processes::single(dir.path()).await?;
    let node = &cluster.nodes[0];
    let pid = node.pid().context("not running")?;
    proc::pin(pid, 0)?;
    http::publish(&node.node.edge, "fan", "warm").await?;
    let payload = "x".repeat(plan.payload);

    let (counts, mut done) = mpsc::channel(plan.subscribers);
    let mut bytes_of_one = 0;
    for n in 0..plan.subscribers {
        let (socket, early) = ws::raw(&node.node.edge, "topic=fan").await?;
        if n == 0 {
            bytes_of_one = one_frame(&node.node.edge, &payload).await?;
        }
        let counts = counts.clone();
        let wanted = plan.messages + usize::from(n == 0);
        tokio::task::spawn(async move {
            let got = count_messages(socket, early, wanted).await;
            // The end of the run may have come before.
            drop(counts.send(got).await);
        });
    }
    let before = (proc::cpu(pid)?, scrape(&node.ops).await?);
    let began = std::time::Instant::now();
    publish(&node.node.grpc, plan, &payload).await?;
    for _ in 0..plan.subscribers {
        done.recv().await.context("a subscriber failed")??;
    }
    let took = began.elapsed();
    let used = proc::cpu(pid)?.saturating_sub(before.0);
    let after = scrape(&node.ops).await?;
    let deliveries = plan.subscribers * plan.messages;
    let writes = (after.1 - before.1.1).max(1.0);
    let delivered = after.0 - before.1.0;
    ensure!(
        delivered as usize >= deliveries,
        "{delivered} of {deliveries} delivered"
    );
    let rounds = (2_000_000 / plan.subscribers).clamp(100, 4_000);
    let bare = tokio::task::spawn_blocking({
        let subscribers = plan.subscribers;
        move || sends::price(subscribers, rounds, bytes_of_one)
    })
    .await??;
    let each = used.as_nanos() as f64 / deliveries as f64;
    Ok(format!(
        "{} subscribers, {} in flight, {} messages of {} B ({} B a frame of one) in {took:.1?}: {:.1} messages a write; {:.0} ns of CPU a delivery beside {} ns of one bare send: {:.3}",
        plan.subscribers,
        plan.in_flight,
        plan.messages,
        plan.payload,
        bytes_of_one,
        delivered / writes,
        each,
        bare.as_nanos(),
        each / bare.as_nanos() as f64,
    ))
}

/// Messages delivered and writes that carried them, as the node counts them.
async fn scrape(ops: &str) -> Result<(f64, f64)> {
    let text = http::get(ops, "/metrics").await?.text();
    let values = http::metrics(&text);
    let value = |name: &str| values.get(name).copied().unwrap_or(0.0);
    Ok((
        value("fanfare_delivered_total"),
        value("fanfare_delivery_writes_total"),
    ))
}

/// Publishes one message and gives the bytes of the frame that carries it.
async fn one_frame(edge: &str, payload: &str) -> Result<usize> {
    let (mut socket, mut early) = ws::raw(edge, "topic=fan").await?;
    http::publish(edge, "fan", payload).await?;
    let mut buffer = vec![0; 4 << 10];
    loop {
        if let Some(len) = ws::frame_with(&early, b"\"position\"") {
            return Ok(len);
        }
        let n = socket.read(&mut buffer).await?;
        ensure!(n > 0, "the socket ended");
        early.extend_from_slice(&buffer[..n]);
    }
}

/// Reads until so many messages came, by their positions, without decoding frames.
async fn count_messages(mut socket: TcpStream, early: Vec<u8>, wanted: usize) -> Result<()> {
    const MARK: &[u8] = b"\"position\"";
    let mut buffer = vec![0; 64 << 10];
    let mut carry = early;
    let mut got = 0;
    loop {
        let marks = carry.windows(MARK.len()).filter(|w| *w == MARK).count();
        got += marks;
        if got >= wanted {
            return Ok(());
        }
        let keep = carry.len().saturating_sub(MARK.len() - 1);
        carry.drain(..keep);
        let n = socket.read(&mut buffer).await?;
        ensure!(n > 0, "the socket ended after {got} messages");
        carry.extend_from_slice(&buffer[..n]);
    }
}

async fn publish(address: &str, plan: &FanoutPlan, payload: &str) -> Result<()> {
    let mut client = PublisherClient::new(grpc::channel(address).await?);
    let (requests, receiver) = mpsc::channel(plan.in_flight);
    let call = client.publish_stream(ReceiverStream::new(receiver).fuse());
    let (answers, ()) = tokio::try_join!(async { Ok::<_, anyhow::Error>(call.await?) }, async {
        Ok(())
    })?;
    let mut answers = answers.into_inner();
    let mut sent = 0;
    let mut answered = 0;
    while answered < plan.messages {
        while sent < plan.messages && sent - answered < plan.in_flight {
            sent += 1;
            let draft = pb::Draft {
                topic: "fan".to_owned(),
                payload: payload.to_owned().into_bytes().into(),
                content_type: "text/plain".to_owned(),
                ..pb::Draft::default()
            };
            let id = u64::try_from(sent)?;
            requests
                .send(pb::PublishStreamRequest {
                    id,
                    draft: Some(draft),
                    timeout_ms: 0,
                })
                .await?;
        }
        let answer = answers.message().await?.context("the stream ended")?;
        let placed = matches!(
            answer.result,
            Some(pb::publish_stream_response::Result::Receipt(_))
        );
        ensure!(placed, "{answer:?}");
        answered += 1;
    }
    Ok(())
}
