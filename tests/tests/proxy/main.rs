//! Clients that reach the nodes through nginx, configured as deploy/nginx ships it: every transport
//! passes at once, and a node that dies or stops behind the proxy costs nobody a message. Where there is
//! no nginx, each story says so on a line and passes; `NGINX=required` makes that a failure.

mod nginx;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_checker::Event;
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::operator::fanfare;
use fanfare_tests::process::Processes;
use fanfare_tests::wait;
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Node, Session, Transport};
use nginx::Nginx;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);
const STORY: Duration = Duration::from_secs(600);
/// Far above what a message takes, far below what a held back one would wait for.
const AT_ONCE: Duration = Duration::from_secs(60);

/// Runs a story before the last two of three nodes, if there is an nginx.
fn story<F>(tell: impl FnOnce(Processes, Nginx) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    edited(|shipped| shipped, tell)
}

/// The same with a change to what is shipped. The nodes live as long as what they are moved into.
fn edited<F>(
    edit: impl Fn(String) -> String,
    tell: impl FnOnce(Processes, Nginx) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    if nginx::found().is_none() {
        let required = std::env::var("NGINX").is_ok_and(|value| value == "required");
        ensure!(!required, "there is no nginx (Debian: nginx-light)");
        let text = "\nproxy: NOT tried: there is no nginx on this machine";
        writeln!(std::io::stdout(), "{text}")?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let told = async {
        let dir = tempfile::tempdir()?;
        let cluster = Processes::start(3, dir.path(), 4).await?;
        let behind: Vec<Node> = cluster.nodes[1..].iter().map(|n| n.node.clone()).collect();
        let nginx = Nginx::start(&behind, edit).await?;
        tell(cluster, nginx).await
    };
    runtime.block_on(async { tokio::time::timeout(STORY, told).await })?
}

/// The next message of a session that stays open: one that is held back on its way never comes.
async fn at_once(session: &mut Session, what: &str) -> Result<String> {
    let message = tokio::time::timeout(AT_ONCE, session.message()).await;
    let message = message.with_context(|| format!("{what}: held back on the way"))?;
    Ok(message.with_context(|| what.to_owned())?.text())
}

#[test]
fn every_transport_passes_and_nothing_is_held_back() -> Result<()> {
    story(|cluster, nginx| async move {
        let _running = cluster;
        for transport in Transport::ALL {
            let topic = format!("pass.{transport}");
            let topics = [topic.as_str()];
            http::publish(&nginx.door.edge, &topic, "first").await?;
            let begin = Begin::From("earliest".to_owned());
            let mut session = Session::open(transport, &nginx.door, &topics, &begin).await?;
            for text in ["first", "second", "third"] {
                if text != "first" {
                    http::publish(&nginx.door.edge, &topic, text).await?;
                }
                let got = at_once(&mut session, topic.as_str()).await?;
                ensure!(got == text, "{topic}: {got} instead of {text}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_page_is_served_over_tls_and_http2() -> Result<()> {
    story(|cluster, nginx| async move {
        let _running = cluster;
        http::publish(&nginx.door.edge, "news", "over tls").await?;
        let url = format!("https://{}/v1/sse?topic=news&from=earliest", nginx.tls);
        let said = tempfile::NamedTempFile::new()?;
        let mut curl = Command::new("curl");
        curl.args([
            "--insecure",
            "--http2",
            "--no-buffer",
            "--include",
            "--silent",
            &url,
        ]);
        let curl = curl.stdin(Stdio::null()).stdout(said.reopen()?);
        let mut curl = Killed(curl.spawn().context("curl")?);
        wait::until("the event through TLS", AT_ONCE, || async {
            let text = std::fs::read_to_string(said.path())?;
            ensure!(text.starts_with("HTTP/2 200"), "{text}");
            ensure!(text.contains(r#""data":"over tls""#), "{text}");
            Ok(())
        })
        .await?;
        ensure!(curl.0.try_wait()?.is_none(), "the stream has ended");
        Ok(())
    })
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_node_killed_behind_the_proxy_costs_nobody_a_message() -> Result<()> {
    story(|mut cluster, nginx| async move {
        let plan = Plan {
            rate: 150,
            topics: 12,
            subscribers: 24,
            streams: 3,
            ..Plan::story()
        };
        let door = [nginx.door.clone()];
        let traffic = Traffic::start(&plan, &door).await?;
        traffic.acks(300, SOON).await?;
        for node in &cluster.nodes[1..] {
            let metrics = http::get(&node.ops, "/metrics").await?;
            let served = http::metrics(&metrics.text());
            let sessions = served.get("fanfare_sessions").copied().unwrap_or_default();
            ensure!(sessions > 0.0, "the proxy sent nobody to {}", node.name);
        }
        let victim = cluster.nodes.last_mut().context("no node")?;
        traffic.fault("kill", &victim.name);
        victim.kill()?;
        traffic.acks(300, SOON).await?;
        victim.start()?;
        victim.ready().await?;
        traffic.acks(300, SOON).await?;
        let (outcome, lines) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}\n{}", nginx.log());

        let mut carried: BTreeMap<String, String> = BTreeMap::new();
        let (mut heard, mut resumed) = (BTreeSet::new(), 0);
        for line in lines {
            match line.event {
                Event::Subscribe {
                    session, transport, ..
                } => drop(carried.insert(session, transport)),
                Event::Message { session, .. } => {
                    heard.insert(carried.get(&session).cloned().unwrap_or_default());
                }
                Event::Attached {
                    session, answer, ..
                } => resumed += usize::from(!session.ends_with("/0") && answer == "recovered"),
                _ => {}
            }
        }
        let all = Transport::ALL.map(|transport| transport.to_string());
        ensure!(
            heard == BTreeSet::from(all),
            "messages came over {heard:?} only"
        );
        ensure!(
            resumed > 0,
            "nobody had to resume: was the node behind the proxy?"
        );
        Ok(())
    })
}

#[test]
fn a_node_stopped_in_order_behind_the_proxy_fails_no_poll() -> Result<()> {
    story(|mut cluster, nginx| async move {
        http::publish(&nginx.door.edge, "news", "before").await?;
        let begin = Begin::From("earliest".to_owned());
        let mut stream = Session::open(Transport::Sse, &nginx.door, &["news"], &begin).await?;
        ensure!(at_once(&mut stream, "the stream").await? == "before");

        let stopping = cluster.nodes.last_mut().context("no node")?;
        stopping.signal("TERM")?;
        let mut polls = 0;
        let polled = async {
            loop {
                let answer =
                    http::get(&nginx.door.edge, "/v1/poll?topic=news&from=earliest").await?;
                ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
                polls += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let code = tokio::select! { biased;
            failed = polled => { let failed: Result<()> = failed; failed?; bail!("polled for ever") }
            code = stopping.exited(SOON) => code?,
        };
        ensure!(code == Some(0), "exit code {code:?}");
        ensure!(polls > 0, "it was gone before anybody polled");

        // Whoever was served there is told to come back, and goes on through the proxy.
        http::publish(&nginx.door.edge, "news", "after").await?;
        let mut cursor = stream.cursor().context("no cursor")?.to_owned();
        loop {
            match tokio::time::timeout(AT_ONCE, stream.next()).await?? {
                Some(Seen::Message(message)) => {
                    ensure!(message.text() == "after", "{}", message.text());
                    return Ok(());
                }
                Some(Seen::Attached(_) | Seen::Heartbeat) => {}
                Some(Seen::Disconnect { .. }) | None => {
                    cursor = stream.cursor().map_or(cursor, str::to_owned);
                    let begin = Begin::Cursor(cursor.clone());
                    let again = Session::open(Transport::Sse, &nginx.door, &["news"], &begin);
                    stream = again.await?;
                }
                Some(gap @ Seen::Gap(_)) => bail!("left out: {gap:?}"),
            }
        }
    })
}

#[test]
fn what_is_wrong_with_a_proxy_is_found_and_the_directive_named() -> Result<()> {
    let spoil = |shipped: String| {
        shipped
            .replace(
                "proxy_buffering off;",
                "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
            )
            // What it cuts it does not take for dead.
            .replace("max_fails=2", "max_fails=0")
            // What nginx does when nothing is said: then it holds back what does not fill a buffer.
            .replace("proxy_http_version 1.1;", "proxy_http_version 1.0;")
            .replace("proxy_read_timeout 75s;", "proxy_read_timeout 10s;")
            .replace("proxy_set_header Upgrade $http_upgrade;", "")
    };
    edited(spoil, |cluster, nginx| async move {
        let _running = cluster;
        let url = format!("http://{}", nginx.door.edge);
        let said = fanfare(&["doctor", &url, "--patience", "30s", "--json"], &[], SOON).await?;
        ensure!(said.code == Some(1), "{said}");
        let report: Value = serde_json::from_str(&said.stdout)?;
        for (fault, directive) in [
            ("buffering", "proxy_buffering off"),
            ("idle_cut", "proxy_read_timeout 75s"),
            ("no_upgrade", "proxy_set_header Upgrade"),
        ] {
            let findings = report["findings"].as_array().context("no findings")?;
            let found = findings.iter().find(|finding| finding["name"] == fault);
            let found = found.with_context(|| format!("no {fault} in {said}"))?;
            let advice = found["do"].to_string();
            ensure!(advice.contains(directive), "{fault}: {advice}");
            ensure!(!advice.contains("Caddy"), "nginx said its name: {advice}");
        }
        Ok(())
    })
}

#[test]
fn nothing_is_wrong_with_the_shipped_proxy() -> Result<()> {
    story(|cluster, nginx| async move {
        let _running = cluster;
        let url = format!("http://{}", nginx.door.edge);
        let grpc = format!("http://{}", nginx.door.grpc);
        // As slow as the machine may be: what is held back never comes.
        let args = ["doctor", &url, "--grpc", &grpc, "--within", "30s", "--json"];
        let said = fanfare(&args, &[], SOON).await?.done()?;
        let report: Value = serde_json::from_str(&said.stdout)?;
        ensure!(report["sound"] == true, "{said}");
        Ok(())
    })
}
