//! The flags of `fanfare bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as Group;

use super::{Reach, Rules, duration};

/// Load a cluster and judge it: publishers and subscribers of every kind, each delivery checked as it
/// comes, latencies from the time at which a message was due.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare bench
      1,000 messages a second to 100 topics, 100 subscribers on all streaming transports
  fanfare bench --topics 1 --subscribers 1000 --transport ws --rate 500 --seconds 30
      one message to many; add --server-pid $(pidof fanfare) --limits for the price of a delivery
  fanfare bench --in-flight 256 --subscribers 0 --topics 200
      closed loop: how many acks a second there are with 256 drafts under way
  fanfare bench --url http://n1:8080,http://n2:8080 --grpc http://n1:9090,http://n2:9090 --drop-every 5s
      over several nodes; each subscriber drops its connection about every 5 s and resumes
  fanfare bench --via http,ws --payload 100-4k --json

Progress is shown on a terminal. Ctrl-C ends the load and reports what was done until then; a second
one ends at once. Exit codes: 0 nothing to say against it, 1 a promise was broken or a client gave
up, 2 usage, 3 no node was reached, 4 a node refused, 130 interrupted. docs/bench.md: how to read it.")]
pub struct Bench {
    /// Seconds of load that are measured.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Seconds of load before them, judged but not measured.
    #[arg(long, default_value_t = 3)]
    pub warmup: u64,
    /// Messages a second over all publishers, whatever becomes of them (open loop) [default: 1000].
    #[arg(long, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    /// Closed loop instead: so many drafts without an ack at a time, over all publishers.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub in_flight: Option<u16>,
    /// Publishers, each a connection of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub publishers: u16,
    /// How they publish, spread over them: grpc (a publish stream), http (a request after the other),
    /// ws.
    #[arg(long, default_value = "grpc", value_delimiter = ',', value_parser = ["grpc", "http", "ws"])]
    pub via: Vec<String>,
    /// Topics, one for all or many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub topics: u32,
    /// Subscribers, spread over topics, transports and addresses.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub subscribers: u32,
    /// Topics of one subscriber.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub topics_each: u8,
    /// How they receive, spread over them: ws, sse, longpoll, tail, grpc, poll (short polls).
    #[arg(
        long,
        default_value = "ws,sse,longpoll,tail,grpc",
        value_delimiter = ','
    )]
    pub transport: Vec<String>,
    /// Time between two short polls.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub poll_every: Duration,
    /// Bytes of a payload, or least and most: 128, 100-4k.
    #[arg(long, default_value = "128", value_parser = sizes)]
    pub payload: (usize, usize),
    /// Each subscriber drops its connection about so often, and resumes at the next address on the
    /// next transport.
    #[arg(long, value_parser = duration)]
    pub drop_every: Option<Duration>,
    /// How long subscribers may get nothing at the end while something acked is missing; what is
    /// missing then is lost.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub settle: Duration,
    /// Process of a node on this machine, for its CPU time and memory; may be repeated.
    #[arg(long, value_delimiter = ' ')]
    pub server_pid: Vec<u32>,
    /// Measure the machine's own limits too, before and after: a bare send on loopback, an fdatasync.
    #[arg(long)]
    pub limits: bool,
    /// Directory on the disk whose fdatasync is measured.
    #[arg(long, default_value = ".", requires = "limits")]
    pub limits_dir: PathBuf,
    /// First part of the topics' names; a number drawn for the run and the topic's follow.
    #[arg(long, default_value = "bench")]
    pub prefix: String,
    /// Leave the run's topics; else they are deleted at the end, through --grpc.
    #[arg(long)]
    pub keep_topics: bool,
    /// Threads of the load [default: as many as there are CPUs].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Print JSON at the end.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub rules: Rules,
    #[command(flatten)]
    pub reach: Reach,
}

/// `128` or `100-4k`: bytes, with `k` for 1,024.
fn sizes(raw: &str) -> Result<(usize, usize), String> {
    let one = |text: &str| -> Result<usize, String> {
        let (digits, unit) = match text.strip_suffix(['k', 'K']) {
            Some(digits) => (digits, 1_024),
            None => (text, 1),
        };
        let number: Option<usize> = digits.parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(unit));
        bytes.ok_or_else(|| format!("`{text}` is no number of bytes such as 128 or 4k"))
    };
    let (least, most) = match raw.split_once('-') {
        Some((least, most)) => (one(least)?, one(most)?),
        None => (one(raw)?, one(raw)?),
    };
    let smallest = fanfare_cli::bench::SMALLEST;
    if least < smallest {
        return Err(format!(
            "a payload that can be judged has at least {smallest} bytes"
        ));
    }
    match least <= most {
        true => Ok((least, most)),
        false => Err(format!("`{raw}` has its least above its most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_or_two() {
        assert_eq!(sizes("128"), Ok((128, 128)));
        assert_eq!(sizes("100-4k"), Ok((100, 4_096)));
        for bad in ["", "x", "4k-100", "-", "100-", "8", "99999999999999999999k"] {
            assert!(sizes(bad).is_err(), "{bad}");
        }
    }
}
