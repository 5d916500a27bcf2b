//! An outcome as a table for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use fanfare_checker::{Verdict, Watch};

use super::limits::Limits;
use super::outcome::{Latency, Outcome, Rate, Used, share};

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        if self.interrupted {
            writeln!(f, "interrupted: this is what was done until then")?;
        }
        if !self.unreached.is_empty() {
            let list = self.unreached.join(", ");
            writeln!(f, "not reached, and left out: {list}")?;
        }
        writeln!(f, "measured for {:.1} s\n", self.measured.as_secs_f64())?;
        writeln!(
            f,
            "{:<20} {:>9} {:>11} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "a second", "in all", "p50", "p90", "p99", "p99.9", "max"
        )?;
        let Self {
            published,
            delivered,
            ..
        } = self;
        rows(f, "publish to ack", &published.acked, &published.by_way)?;
        rows(f, "publish to delivery", &delivered.all, &delivered.by_way)?;
        writeln!(f)?;
        self.troubles(f)?;
        self.judgement(f)?;
        self.machine(f)
    }
}

impl Outcome {
    /// What did not go as planned, a line each.
    fn troubles(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            delivered,
            failed,
            ..
        } = self;
        if published.unsent > 0 {
            let unsent = grouped(published.unsent);
            writeln!(
                f,
                "not sent       {unsent} that were due: the cluster or this process did not keep up"
            )?;
        }
        reasons(f, "refused", &published.refused)?;
        reasons(f, "unknown", &published.unknown)?;
        reasons(f, "gave up", failed)?;
        if delivered.drops > 0 {
            writeln!(
                f,
                "{:<14} {}, resumed",
                "dropped by us",
                grouped(delivered.drops)
            )?;
        }
        reasons(f, "sessions cut", &delivered.cuts)?;
        for (reason, gaps) in &delivered.gaps {
            let (told, missed) = (grouped(gaps.told), grouped(gaps.missed));
            writeln!(
                f,
                "{:<14} {told} {reason}, {missed} messages left out",
                "gaps told"
            )?;
        }
        if delivered.foreign > 0 {
            let foreign = grouped(delivered.foreign);
            writeln!(f, "{:<14} {foreign} messages of somebody else", "foreign")?;
        }
        if delivered.behind > 0 {
            let behind = grouped(delivered.behind);
            writeln!(
                f,
                "{:<14} {behind} subscribers had not everything at the end",
                "behind"
            )?;
        }
        Ok(())
    }

    fn judgement(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts = [
            ("lost", Verdict::Lost),
            ("repeated", Verdict::Repeated),
            ("skipped", Verdict::Skip),
            ("unsignalled gaps", Verdict::GapUnsignalled),
            ("out of order", Verdict::PublisherOrder),
        ];
        let words = counts.map(|(word, verdict)| format!("{} {word}", self.report.count(verdict)));
        writeln!(f, "{:<14} {}", "judged", words.join(", "))?;
        for verdict in Watch::JUDGED {
            let Some(witness) = self.report.first.get(&verdict) else {
                continue;
            };
            let count = self.report.count(verdict);
            writeln!(
                f,
                "  {verdict} {count}, first: {}: {}",
                witness.topic, witness.proof
            )?;
        }
        Ok(())
    }

    fn machine(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (pid, used) in &self.servers {
            self.used(f, &format!("server {pid}"), used)?;
        }
        self.used(f, "this process", &self.own)?;
        for limits in &self.limits {
            limits.row(f)?;
        }
        let Some(each) = self.cpu_of_a_delivery() else {
            return Ok(());
        };
        let beside = match self.limits.iter().map(|l| l.send_cpu).min() {
            Some(send) if !send.is_zero() => {
                let ratio = each.as_secs_f64() / send.as_secs_f64();
                format!(", {ratio:.2} of a bare send")
            }
            Some(_) | None => String::new(),
        };
        writeln!(
            f,
            "{:<14} {} of the servers' CPU, publishing included{beside}",
            "a delivery",
            nanos(each)
        )
    }

    fn used(&self, f: &mut Formatter<'_>, name: &str, used: &Used) -> fmt::Result {
        let cores = share(used.cpu, self.measured);
        let mib = used.resident as f64 / f64::from(1 << 20);
        writeln!(f, "{name:<14} {cores:.2} cores, {mib:.1} MiB")
    }
}

impl Limits {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            send_cpu,
            round,
            fdatasync,
            bytes,
        } = self;
        writeln!(
            f,
            "{:<14} send of {bytes} B {} of CPU; loopback there and back p50 {} p99 {}; fdatasync p50 {} p99 {}",
            "this machine",
            nanos(*send_cpu),
            micros(round.p50),
            micros(round.p99),
            micros(fdatasync.p50),
            micros(fdatasync.p99),
        )
    }
}

fn rows(f: &mut Formatter<'_>, name: &str, all: &Rate, by_way: &[Rate]) -> fmt::Result {
    row(f, name, all)?;
    if by_way.len() > 1 {
        for way in by_way {
            row(f, &format!("  {}", way.way), way)?;
        }
    }
    Ok(())
}

fn row(f: &mut Formatter<'_>, name: &str, rate: &Rate) -> fmt::Result {
    let Latency {
        count,
        p50,
        p90,
        p99,
        p999,
        max,
    } = rate.latency;
    let second = format!("{:.0}", rate.rate);
    let second = second.parse().map_or(second, grouped);
    write!(f, "{name:<20} {second:>9} {:>11}", grouped(rate.count))?;
    for value in [p50, p90, p99, p999, max] {
        let shown = if count == 0 {
            "-".to_owned()
        } else {
            micros(value)
        };
        write!(f, " {shown:>8}")?;
    }
    writeln!(f)
}

fn reasons(f: &mut Formatter<'_>, name: &str, all: &BTreeMap<String, u64>) -> fmt::Result {
    for (reason, count) in all {
        writeln!(f, "{name:<14} {} {reason}", grouped(*count))?;
    }
    Ok(())
}

/// A latency with three digits and its unit.
pub(super) fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} µs"),
        1_000..10_000 => format!("{:.2} ms", value as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", value as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", value as f64 / 1e3),
        _ => format!("{:.2} s", value as f64 / 1e6),
    }
}

fn nanos(time: Duration) -> String {
    match time.as_nanos() {
        value @ 0..1_000 => format!("{value} ns"),
        value => format!("{:.2} µs", value as f64 / 1e3),
    }
}

/// Digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use fanfare_checker::{Position, Reading};

    use super::*;

    #[test]
    fn numbers_are_read_by_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        let shown = [7, 1_234, 12_345, 123_456, 1_234_567].map(micros);
        assert_eq!(shown, ["7 µs", "1.23 ms", "12.3 ms", "123 ms", "1.23 s"]);
    }

    /// An outcome of a run in which alice lacks the second of two acked messages.
    fn with_a_loss() -> Outcome {
        let watch = Watch::new(vec!["news".to_owned()]);
        let at = |offset| Position { epoch: 7, offset };
        let mut alice = Reading::default();
        watch.attached(0, "alice", &mut alice, "latest", None, Some(at(0)));
        watch.acked(0, at(1), 1);
        watch.acked(0, at(2), 2);
        watch.message(0, "alice", &mut alice, at(1), Some(1));
        watch.finish(0, "alice", &alice);
        Outcome {
            report: watch.report(),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_loss_is_shown_with_its_proof_and_is_not_clean() {
        let outcome = with_a_loss();
        assert!(!outcome.is_clean());
        let text = outcome.to_string();
        assert!(text.contains("1 lost, 0 repeated"), "{text}");
        assert!(
            text.contains("LOST 1, first: news: subscriber alice has 7-1"),
            "{text}"
        );
        let json = outcome.json();
        assert_eq!(
            (&json["verdicts"]["LOST"], &json["clean"]),
            (&1.into(), &false.into())
        );
        assert_eq!(json["first"]["LOST"]["topic"], "news");
    }

    #[test]
    fn the_price_of_a_delivery_is_that_of_all_servers() {
        let mut outcome = Outcome {
            measured: Duration::from_secs(10),
            ..Outcome::default()
        };
        outcome.delivered.all.rate = 1_000.0;
        assert_eq!(outcome.cpu_of_a_delivery(), None);
        let used = Used {
            cpu: Duration::from_millis(5),
            resident: 1,
        };
        outcome.servers = vec![(1, used), (2, used)];
        assert_eq!(outcome.cpu_of_a_delivery(), Some(Duration::from_micros(1)));
    }
}
