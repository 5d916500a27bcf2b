//! `fanfare dev`: whole nodes in this process and a list of what to try.

use std::time::Duration;

use fanfare_server::config::{LogFormat, Logs};
use fanfare_server::dev::{self, Addresses, Cluster, Plan, SHARDS};
use fanfare_server::telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Dev;
use crate::failure::Failure;
use crate::output;

pub fn run(args: &Dev) -> Result<(), Failure> {
    let usage = |e: anyhow::Error| Failure::Usage(format!("{e:#}"));
    telemetry::init(&Logs {
        filter: args.log.clone(),
        format: LogFormat::Text,
    })
    .map_err(usage)?;
    let nodes: Option<Vec<Addresses>> = (1..=args.nodes)
        .map(|i| Addresses::of(i, args.port_offset))
        .collect();
    let nodes =
        nodes.ok_or_else(|| Failure::Usage("--port-offset: there is no such port".to_owned()))?;
    dev::prepare(&args.dir, args.fresh).map_err(usage)?;
    let plan = Plan {
        nodes,
        dir: args.dir.clone(),
        shards: SHARDS,
        workers: 2,
        grace: Duration::from_secs(3),
        history_budget: None,
        election: None,
        logs: None,
        spare: 0,
        times: None,
        faults: Vec::new(),
        barriers: Vec::new(),
    };
    output::note(&format!(
        "starting {} nodes, data in {} …",
        args.nodes,
        args.dir.display()
    ));
    let cluster = Cluster::start(&plan).map_err(usage)?;
    output::line(&welcome(&plan))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(until_told(&cluster))?;
    output::note("stopping …");
    cluster.stop();
    match ended {
        Some(why) => Err(Failure::No(why)),
        None => Ok(()),
    }
}

/// Waits for a signal; gives the reason if a node ended by itself before.
async fn until_told(cluster: &Cluster) -> Result<Option<String>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! { biased;
            _ = terminate.recv() => return Ok(None),
            _ = interrupt.recv() => return Ok(None),
            _ = look.tick() => if let Some(why) = cluster.ended() {
                return Ok(Some(why));
            },
        }
    }
}

fn welcome(plan: &Plan) -> String {
    let mut text = String::from("\nfanfare is up.\n\n");
    for (i, node) in plan.nodes.iter().enumerate() {
        let number = i + 1;
        text += &format!(
            "  n{number}   http://{}   grpc {}   ops http://{}\n",
            node.edge, node.grpc, node.ops
        );
    }
    let (first, last) = (plan.nodes.first(), plan.nodes.last());
    let (Some(first), Some(last)) = (first, last) else {
        return text;
    };
    text += &format!(
        "
Try, in another terminal:

  curl -N 'http://{last}/v1/sse?topic=news'
  curl 'http://{first}/v1/publish?topic=news' -d 'hello'
  curl 'http://{last}/v1/poll?topic=news'
  curl -X POST 'http://{first}/dev/nodes/{n}/kill'    # and …/start; also stop, pause, resume

Everybody on this machine may publish and subscribe. Ctrl-C stops it; the data stays in {dir}.
",
        first = first.edge,
        last = last.edge,
        n = plan.nodes.len(),
        dir = plan.dir.display(),
    );
    text
}
