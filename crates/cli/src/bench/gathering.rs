//! The outcome of a run, gathered from what its tasks have counted.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::outcome::{Delivered, Latency, Outcome, Published, Rate};
use super::plan::{Pace, Plan};
use super::shared::{Shared, TRANSPORTS, VIAS, Way};
use super::show::grouped;

impl Outcome {
    /// Of a run that stands so at `now`; who used what is not in it.
    pub(super) fn of(shared: &Shared, now: Duration) -> Self {
        let (from, to) = shared.window();
        let measured = to.min(now).saturating_sub(from);
        let vias = VIAS.iter().map(|row| row.1.to_owned());
        let (acked, by_via) = rates(vias, &shared.published, measured);
        let transports = TRANSPORTS.iter().map(ToString::to_string);
        let (all, by_transport) = rates(transports, &shared.delivered, measured);
        let counts = shared.submitted.iter();
        let sent = counts.map(|count| count.load(std::sync::atomic::Ordering::Acquire));
        Self {
            setting: setting(&shared.plan),
            measured,
            published: Published {
                sent: sent.sum(),
                acked,
                by_way: by_via,
                unsent: shared.unsent.get(),
                refused: shared.refused.all(),
                unknown: shared.unknown.all(),
            },
            delivered: Delivered {
                all,
                by_way: by_transport,
                gaps: shared.gaps(),
                foreign: shared.foreign.get(),
                attached: shared.sessions.get(),
                drops: shared.drops.get(),
                cuts: shared.cuts.all(),
                behind: 0,
            },
            failed: shared.failed.all(),
            report: shared.watch.report(),
            ..Self::default()
        }
    }
}

/// All ways together, and each that was used.
fn rates(
    names: impl Iterator<Item = String>,
    ways: &[Way],
    measured: Duration,
) -> (Rate, Vec<Rate>) {
    let mut latencies: Option<Histogram<u64>> = None;
    let mut all = Rate {
        way: "all".to_owned(),
        ..Rate::default()
    };
    let mut each = Vec::new();
    for (way, counts) in names.zip(ways).filter(|row| row.1.all.get() > 0) {
        let latency = counts.latency();
        let rate = match measured.is_zero() {
            true => 0.0,
            false => counts.measured.get() as f64 / measured.as_secs_f64(),
        };
        let row = Rate {
            way,
            count: counts.all.get(),
            rate,
            latency: Latency::of(&latency),
        };
        all.count += row.count;
        all.rate += row.rate;
        each.push(row);
        match &mut latencies {
            // All have the same bounds.
            Some(sum) => sum.add(latency).unwrap_or_default(),
            None => latencies = Some(latency),
        }
    }
    all.latency = latencies.map_or_else(Latency::default, |sum| Latency::of(&sum));
    (all, each)
}

/// What was asked for, in words.
fn setting(plan: &Plan) -> String {
    let number = |n: usize| grouped(u64::try_from(n).unwrap_or(u64::MAX));
    let pace = match plan.pace {
        Pace::Rate(rate) => format!("{rate} publishes a second"),
        Pace::InFlight(most) => format!("{} publishes in flight", number(most)),
    };
    let via: Vec<&str> = VIAS
        .iter()
        .filter(|row| plan.via.contains(&row.0))
        .map(|row| row.1)
        .collect();
    let (least, most) = plan.payload;
    let bytes = match least == most {
        true => format!("{least} B"),
        false => format!("{least} to {most} B"),
    };
    let transports: Vec<String> = plan.transports.iter().map(ToString::to_string).collect();
    let drops = match plan.drop_every {
        Some(every) => format!(", each dropping about every {every:?}"),
        None => String::new(),
    };
    let topics = match plan.topics {
        1 => "one topic".to_owned(),
        topics => format!("{} topics", number(topics)),
    };
    format!(
        "{pace} of {bytes} by {} publishers ({}) to {topics}; {} subscribers ({}){drops}",
        number(plan.lanes()),
        via.join(", "),
        number(plan.subscribers),
        transports.join(", "),
    )
}
