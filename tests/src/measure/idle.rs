//! Memory of an idle WebSocket subscriber: the server's resident memory with so many of them, less
//! that without, a connection.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::proc;
use crate::process::Processes;
use crate::wait;
use crate::wire::http;
use crate::wire::ws::Ws;

/// Memory a connection of idle WebSocket subscribers on one node.
#[derive(Clone, Debug, clap::Args)]
pub struct IdlePlan {
    /// Subscribers, each of one of 100 topics.
    #[arg(long, default_value_t = 10_000)]
    pub subscribers: usize,
    /// Seconds they stay before memory is read.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
}

/// Measures; prints a line.
pub async fn idle(plan: &IdlePlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let cluster = Processes::single(dir.path()).await?;
    let node = &cluster.nodes[0];
    let pid = node.pid().context("not running")?;
    for n in 0..100 {
        http::publish(&node.node.edge, &format!("idle.{n}"), "x").await?;
    }
    let before = proc::resident(pid)?;
    let mut open = Vec::with_capacity(plan.subscribers);
    for n in 0..plan.subscribers {
        let mut ws = Ws::open(&node.node.edge, "").await?;
        ws.send(&json!({"type": "hello"})).await?;
        ensure!(ws.frame().await?["type"] == "welcome");
        let topic = format!("idle.{}", n % 100);
        ws.send(&json!({"type": "subscribe", "id": 1, "topic": topic}))
            .await?;
        ensure!(ws.frame().await?["type"] == "subscribed");
        open.push(ws);
    }
    let sessions = wait::until("all sessions", Duration::from_secs(30), || async {
        let text = http::get(&node.ops, "/metrics").await?.text();
        let open = http::metrics(&text)
            .get("fanfare_sessions")
            .copied()
            .unwrap_or(0.0);
        ensure!(open as usize == plan.subscribers, "{open}");
        Ok(open)
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let after = proc::resident(pid)?;
    // One message to each: what it leaves behind is part of a session's memory.
    for n in 0..100 {
        http::publish(&node.node.edge, &format!("idle.{n}"), "y").await?;
    }
    for ws in &mut open {
        ensure!(ws.frame().await?["type"] == "items");
    }
    let served = proc::resident(pid)?;
    let each = |bytes: u64| (bytes.saturating_sub(before)) as f64 / 1_024.0 / sessions;
    Ok(format!(
        "{sessions} idle WebSocket subscribers: {:.2} KiB a connection ({:.1} MiB before, {:.1} MiB with them); {:.2} KiB after one message to each",
        each(after),
        before as f64 / 1_048_576.0,
        after as f64 / 1_048_576.0,
        each(served),
    ))
}
