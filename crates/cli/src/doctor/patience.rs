//! Streams that are left alone for longer than proxies like: with the heartbeat that clients use,
//! which must keep them open, and with the longest, which shows how patient the way is.

use std::time::Duration;

use fanfare_client::probe::{Flow, Shut, Waited};

use super::advice::Fault;
use super::report::{Section, shown};
use super::streams::Ward;

/// What clients ask for.
const USUAL: Duration = Duration::from_secs(15);
/// The longest that an edge takes.
const LONGEST: Duration = Duration::from_secs(55);
/// A long poll that is said to be safe behind proxies.
const WAIT: Duration = Duration::from_secs(25);

/// Watches one kind of stream for so long.
pub(super) async fn watch(ward: Ward, flow: Flow, patience: Duration) -> Section {
    let usual = stays(&ward, flow, USUAL, patience);
    let longest = stays(&ward, flow, LONGEST, patience);
    let (usual, longest) = tokio::join!(usual, longest);
    let mut section = Section::default();
    let kept = usual.is_ok();
    match usual {
        Ok(()) => section.time("stayed open", patience),
        Err(cut) => {
            let what = format!(
                "cut after {} though heartbeats came every {}: {}",
                shown(cut.after),
                shown(USUAL),
                cut.how
            );
            section.find(cut.fault, flow.name(), what);
        }
    }
    match longest {
        Err(cut) if kept && cut.fault == Fault::IdleCut => section.notes.push(format!(
            "silent for {}, it is cut: heartbeats above that are too slow here",
            shown(cut.quiet)
        )),
        Ok(()) | Err(_) => {}
    }
    section
}

struct Ended {
    fault: Fault,
    after: Duration,
    /// How long it was silent before.
    quiet: Duration,
    how: String,
}

/// Holds a stream until `patience` is over; then it must still bring a message.
async fn stays(ward: &Ward, flow: Flow, beat: Duration, patience: Duration) -> Result<(), Ended> {
    let began = ward.clock.now();
    let end = began.saturating_add(patience);
    let mut live = ward.probe.stream(flow, &ward.topic, beat);
    let ended = |live: &fanfare_client::probe::Live, fault, how: String| {
        let now = ward.clock.now();
        Ended {
            fault,
            after: now.saturating_sub(began),
            quiet: now.saturating_sub(live.heard_at()),
            how,
        }
    };
    while ward.clock.now() < end {
        let late = live
            .heard_at()
            .saturating_add(beat + ward.within.max(Duration::from_secs(3)));
        match live.more(late.min(end)).await {
            Waited::Heard(_) => {}
            Waited::Late if ward.clock.now() >= end => {}
            Waited::Late => {
                let how = "nothing comes, not even heartbeats".to_owned();
                return Err(ended(&live, Fault::Buffering, how));
            }
            Waited::Shut(shut) => {
                return told(shut).map_err(|how| ended(&live, Fault::IdleCut, how));
            }
        }
    }
    if ward.mute.is_some() {
        return Ok(());
    }
    let mark = ward.mark();
    if ward.publish(&mark).await.is_err() {
        return Ok(());
    }
    match live.text(&mark, ward.after(ward.within)).await {
        Waited::Heard(_) => Ok(()),
        Waited::Late => {
            let how = "it is open, and a message that was acked does not come".to_owned();
            Err(ended(&live, Fault::Buffering, how))
        }
        Waited::Shut(shut) => told(shut).map_err(|how| ended(&live, Fault::IdleCut, how)),
    }
}

/// An end that the node itself announced is nobody's fault between.
fn told(shut: Shut) -> Result<(), String> {
    match shut {
        Shut::Told(_) => Ok(()),
        Shut::Cut(how) => Err(how),
        Shut::Silence(silence) => Err(silence.to_string()),
        Shut::Answered(answered) => Err(format!("answered with {}", answered.status)),
    }
}

/// A long poll with nothing to say, through whatever cuts requests that are slow.
pub(super) async fn poll(ward: Ward, topic: String, patience: Duration) -> Section {
    let mut section = Section::default();
    let wait = WAIT.min(patience).as_secs().max(1);
    let path = format!("/v1/poll?topic={topic}&from=latest&wait={wait}");
    let limit = Duration::from_secs(wait) + ward.within + Duration::from_secs(10);
    match ward.probe.get(&path, limit).await {
        Ok(answered) if answered.status == 200 && answered.ours => {
            section.time("empty poll", answered.whole);
        }
        Ok(answered) if answered.ours => {
            let (code, detail) = answered.refusal().unwrap_or_default();
            section
                .not_made
                .push(format!("a long poll of {wait} s ({code}: {detail})"));
        }
        Ok(answered) => {
            let what = format!(
                "a poll with wait={wait} was answered with {} after {}, not by the edge",
                answered.status,
                shown(answered.whole)
            );
            section.find(Fault::IdleCut, "longpoll", what);
        }
        Err(silence) => {
            let what = format!("a poll with wait={wait} came to nothing: {silence}");
            section.find(Fault::IdleCut, "longpoll", what);
        }
    }
    section
}
