//! `fanfare serve`: one real node, from its configuration to its last line.

use std::process;

use fanfare_server::config::Config;
use fanfare_server::node::{Deps, Mode, Node, Removed};
use fanfare_server::telemetry;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Serve;
use crate::failure::Failure;
use crate::{configure, output};

/// Shards of a cluster of one.
const SHARDS: u32 = 16;

pub fn run(args: &Serve) -> Result<(), Failure> {
    let layers = configure::layers(args.config.as_deref(), true, &args.flags)?;
    let config = configure::resolve(layers)?;
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
