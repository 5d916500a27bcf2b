//! `fanfare-measure`: memory of idle sessions, cost of a delivery, latency of a durable ack, each
//! beside the machine's own in the same run.

use std::io::Write as _;

use clap::Parser;
use fanfare_tests::measure::{
    self, AckPlan, FailoverPlan, FanoutPlan, IdleClusterPlan, IdlePlan, PositionsPlan, TopicsPlan,
    TransferPlan,
};

/// Figures of this machine. Build with --release before you believe them.
///
/// Examples:
///
///     fanfare-measure idle --subscribers 10000
///     taskset -c 1 fanfare-measure fanout --in-flight 32
///     fanfare-measure acks --rate 1000
#[derive(Parser)]
#[command(name = "fanfare-measure", verbatim_doc_comment)]
enum Command {
    Idle(IdlePlan),
    Fanout(FanoutPlan),
    Acks(AckPlan),
    Transfers(TransferPlan),
    IdleCluster(IdleClusterPlan),
    Topics(TopicsPlan),
    Failover(FailoverPlan),
    Positions(PositionsPlan),
    /// What `fanout` compares with, as a process of its own.
    #[command(hide = true)]
    BareSends {
        sockets: usize,
        rounds: usize,
        bytes: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let text = match command {
        Command::Idle(plan) => runtime.block_on(measure::idle(&plan))?,
        Command::Fanout(plan) => runtime.block_on(measure::fanout(&plan))?,
        Command::Acks(plan) => runtime.block_on(measure::acks(&plan))?,
        Command::IdleCluster(plan) => runtime.block_on(measure::idle_cluster(&plan))?,
        Command::Topics(plan) => runtime.block_on(measure::topics(&plan))?,
        Command::Failover(plan) => runtime.block_on(measure::failover(&plan))?,
        Command::Positions(plan) => measure::positions(&plan)?,
        // Its nodes have runtimes of their own.
        Command::Transfers(plan) => measure::transfers(&plan)?,
        Command::BareSends {
            sockets,
            rounds,
            bytes,
        } => {
            return measure::bare_sends(sockets, rounds, bytes);
        }
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
