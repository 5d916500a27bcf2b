//! `fanfare serve`: one real node, from its configuration to its last line.

use std::process;

use fanfare_server::config::{Config, Layers};
use fanfare_server::node::{Deps, Mode, Node, Removed};
use fanfare_server::telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Serve;
use crate::failure::Failure;
use crate::output;

/// Shards of a cluster of one.
const SHARDS: u32 = 16;

pub fn run(args: &Serve) -> Result<(), Failure> {
    let config = load(args)?;
    telemetry::init(&config.logs)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config, args.single_node))
}

async fn serve(config: Config, single: bool) -> Result<(), Failure> {
    let grace = config.shutdown.grace;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let usage = |e: anyhow::Error| Failure::Usage(format!("{e:#}"));
    let deps = Deps::real(&config).await.map_err(usage)?;
    let mode = Mode {
        init: single.then_some(SHARDS),
        ..Mode::default()
    };
    let node = Box::pin(Node::start(config, deps, mode))
        .await
        .map_err(usage)?;
    let at = node.addresses();
    output::note(&format!(
        "listening: edge http://{}  grpc {}  peer {}  ops http://{}  (pid {})",
        at.edge,
        at.grpc,
        at.peer,
        at.ops,
        process::id()
    ));
    let fatal = tokio::select! { biased;
        fatal = node.ended() => Some(fatal),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    match fatal {
        // What a node cannot trust it does not write out either: no stages.
        // Nothing is wrong with it, and nobody should start it again.
        Some(fatal) if fatal.0.is::<Removed>() => {
            output::note(&fatal.0.to_string());
            node.shutdown(grace).await;
            Ok(())
        }
        Some(fatal) => Err(Failure::No(format!("{:#}", fatal.0))),
        None => {
            node.shutdown(grace).await;
            Ok(())
        }
    }
}

/// Reads the layers of the configuration.
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration file is no part of a node's disk"
)]
fn load(args: &Serve) -> Result<Config, Failure> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
        layers.file(&shown, &text);
    }
    layers.environment(std::env::vars());
    let texts = [
        ("cluster", args.cluster.clone()),
        ("name", args.name.clone()),
        (
            "data",
            args.data.as_ref().map(|path| path.display().to_string()),
        ),
        ("edge.listen", args.edge.map(|a| a.to_string())),
        ("grpc.listen", args.grpc.map(|a| a.to_string())),
        ("peer.listen", args.peer.map(|a| a.to_string())),
        ("ops.listen", args.ops.map(|a| a.to_string())),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            layers.flag(key, value);
        }
    }
    if !args.seeds.is_empty() {
        layers.flag("seeds", args.seeds.clone());
    }
    if args.insecure_open {
        layers.flag("insecure_open", true);
    }
    layers
        .resolve()
        .map_err(|problems| Failure::Usage(problems.to_string()))
}
