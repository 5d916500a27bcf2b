//! `fanfare bench`: what was typed becomes a plan; progress goes to a terminal, the outcome to
//! stdout, what it means to the exit code.

use std::time::Duration;

use fanfare_cli::bench::{self, BenchError, Outcome, Pace, Phase, Plan};
use fanfare_client::{Machine, Transport, Via};
use fanfare_core::rule::RuleLayer;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::args::Bench;
use crate::failure::Failure;
use crate::{output, paint, reach, topic};

/// Files that are open beside the clients' sockets.
const OTHERS: u64 = 64;

pub fn run(args: &Bench) -> Result<(), Failure> {
    let plan = plan(args)?;
    allow_sockets(&plan);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        runtime.worker_threads(usize::from(threads));
    }
    let runtime = runtime.enable_all().build()?;
    let outcome = runtime.block_on(carry_out(args, plan));
    runtime.shutdown_background();
    let outcome = outcome?;
    match args.json {
        true => output::line(&outcome.json().to_string())?,
        false => output::line(outcome.to_string().trim_end())?,
    }
    verdict(&outcome)
}

async fn carry_out(args: &Bench, plan: Plan) -> Result<Outcome, Failure> {
    let (interrupt, interrupts) = watch::channel(0);
    let machine = Machine {
        tokens: reach::tokens(&args.reach.token)?,
        ..Machine::real()
    };
    machine.tasks.spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            interrupt.send_modify(|count| *count += 1);
        }
    });
    let shown = paint::Progress::start();
    let ran = bench::run(plan, machine, interrupts, |progress| {
        shown.show(&line(progress));
    });
    let outcome = ran.await;
    shown.clear();
    outcome.map_err(|error| match error {
        BenchError::Plan(_) | BenchError::Machine(_) => Failure::Usage(error.to_string()),
        BenchError::Refused(told) => reach::refused(&told),
        BenchError::Unreachable(why) => Failure::Unreachable(format!(
            "cannot reach a node: {why}\nIs it running? Say where it is with --url and --grpc"
        )),
    })
}

/// What the exit code says.
fn verdict(outcome: &Outcome) -> Result<(), Failure> {
    let verdicts = outcome.verdicts();
    let failed: u64 = outcome.failed.values().sum();
    if verdicts > 0 {
        return Err(Failure::No(format!("promises were broken: {verdicts}")));
    }
    if outcome.interrupted {
        return Err(Failure::Interrupted);
    }
    if failed > 0 {
        return Err(Failure::No(format!("subscribers gave up: {failed}")));
    }
    let published = &outcome.published;
    match published.refused.iter().next() {
        Some((code, _)) if published.acked.count == 0 => Err(Failure::Refused {
            code: code.clone(),
            detail: "nothing was placed".to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn plan(args: &Bench) -> Result<Plan, Failure> {
    let usage = |flag: &str, why: &dyn std::fmt::Display| Failure::Usage(format!("{flag}: {why}"));
    let pace = match (args.in_flight, args.rate.unwrap_or(1_000.0)) {
        (Some(most), _) => Pace::InFlight(usize::from(most)),
        (None, rate) if rate.is_finite() && rate > 0.0 => Pace::Rate(rate),
        (None, _) => return Err(usage("--rate", &"messages a second, above 0")),
    };
    let via = args.via.iter().map(|name| match name.as_str() {
        "http" => Via::Http,
        "ws" => Via::Ws,
        _ => Via::Grpc,
    });
    let transports: Result<Vec<Transport>, _> = args.transport.iter().map(|t| t.parse()).collect();
    if args.subscribers > 0 && u32::from(args.topics_each) > args.topics {
        return Err(usage("--topics-each", &"more than there are topics"));
    }
    let rules = topic::layer(&args.rules);
    Ok(Plan {
        publishers: usize::from(args.publishers),
        via: via.collect(),
        pace,
        topics: usize::try_from(args.topics).unwrap_or(usize::MAX),
        prefix: args.prefix.clone(),
        rules: (rules != RuleLayer::default()).then_some(rules),
        keep_topics: args.keep_topics,
        subscribers: usize::try_from(args.subscribers).unwrap_or(usize::MAX),
        topics_each: usize::from(args.topics_each),
        transports: transports.map_err(|e| usage("--transport", &e))?,
        poll_every: args.poll_every,
        payload: args.payload,
        drop_every: args.drop_every,
        warmup: Duration::from_secs(args.warmup),
        time: Duration::from_secs(args.seconds),
        settle: args.settle,
        servers: args.server_pid.clone(),
        limits: args.limits.then(|| args.limits_dir.clone()),
        ..Plan::new(reach::endpoints(&args.reach)?)
    })
}

/// Asks the system for as many open files as the plan needs, and says if it gives fewer.
fn allow_sockets(plan: &Plan) {
    let clients = plan.subscribers.saturating_add(plan.publishers);
    let wanted = u64::try_from(clients)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = match limit.maximum {
        Some(maximum) => Some(maximum.min(wanted)),
        None => Some(wanted),
    };
    let allowed = limit.current.unwrap_or(wanted);
    if setrlimit(Resource::Nofile, limit).is_err() || allowed < wanted {
        output::note(&format!(
            "the system allows {allowed} open files, and {wanted} are needed: see ulimit -n"
        ));
    }
}

/// One line of progress.
fn line(progress: &bench::Progress) -> String {
    let bench::Progress {
        phase,
        at,
        of,
        attached,
        subscribers,
        acks,
        deliveries,
        ack_p99,
        delivery_p99,
        verdicts,
    } = progress;
    let name = match phase {
        Phase::Connecting => "connecting",
        Phase::Warmup => "warm-up",
        Phase::Measuring => "measuring",
        Phase::Settling => "settling",
        Phase::Reading => "reading out",
        Phase::Over => "over",
    };
    let p99 = |value: &Option<u64>| match value {
        Some(value) => format!(" (p99 {:.1} ms)", *value as f64 / 1e3),
        None => String::new(),
    };
    format!(
        "{name} {:.0}/{} s  {acks:.0} acks/s{}  {deliveries:.0} deliveries/s{}  {attached}/{subscribers} subscribers  {verdicts} verdicts",
        at.as_secs_f64(),
        of.as_secs(),
        p99(ack_p99),
        p99(delivery_p99),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn planned(line: &[&str]) -> Result<Plan, Failure> {
        let line = ["fanfare", "bench"].iter().chain(line);
        let Command::Bench(args) = Args::try_parse_from(line).unwrap().command else {
            panic!("another command")
        };
        plan(&args)
    }

    #[test]
    fn flags_become_a_plan() {
        let plan = planned(&[
            "--in-flight=8",
            "--via=ws,http",
            "--transport=sse",
            "--drop-every=5s",
            "--server-pid=1",
            "--server-pid=2",
            "--url=http://a:1,http://b:1",
        ])
        .unwrap();
        assert_eq!(plan.pace, Pace::InFlight(8));
        assert_eq!(plan.via, [Via::Ws, Via::Http]);
        assert_eq!(plan.transports, [Transport::Sse]);
        assert_eq!(plan.drop_every, Some(Duration::from_secs(5)));
        assert_eq!(plan.servers, [1, 2]);
        assert_eq!(
            (plan.endpoints.edges.len(), plan.rules, plan.limits),
            (2, None, None)
        );
        let ruled = planned(&["--class=ephemeral", "--limits"]).unwrap();
        assert!(ruled.rules.is_some() && ruled.limits.is_some());
    }

    #[test]
    fn wrong_usage_names_the_flag() {
        for (line, flag) in [
            (&["--rate=0"][..], "--rate"),
            (&["--transport=pigeon"], "--transport"),
            (&["--topics=2", "--topics-each=3"], "--topics-each"),
            (&["--url=n1"], ""),
        ] {
            let Err(Failure::Usage(text)) = planned(line) else {
                panic!("{line:?} was taken")
            };
            assert!(text.starts_with(flag), "{text}");
        }
        let both = ["fanfare", "bench", "--rate=1", "--in-flight=1"];
        assert!(Args::try_parse_from(both).is_err());
    }

    #[test]
    fn an_outcome_has_an_exit_code() {
        let mut outcome = Outcome::default();
        assert!(verdict(&outcome).is_ok());
        outcome.published.refused.insert("forbidden".to_owned(), 3);
        assert!(matches!(verdict(&outcome), Err(Failure::Refused { .. })));
        outcome.interrupted = true;
        assert!(matches!(verdict(&outcome), Err(Failure::Interrupted)));
        outcome
            .report
            .verdicts
            .insert(fanfare_checker::Verdict::Lost, 1);
        assert!(
            matches!(verdict(&outcome), Err(Failure::No(_))),
            "a broken promise wins"
        );
    }
}
