//! Each stream in turn of its life: it opens, says its first words, brings a message, beats.

use std::sync::Arc;
use std::time::Duration;

use fanfare_client::probe::{Flow, Live, Probe, Shut, Silence, Waited};
use fanfare_core::name::TopicName;
use fanfare_host::{Clock, Rng};

use super::advice::Fault;
use super::report::{Section, shown};

/// Silence before a heartbeat: the shortest that an edge takes.
const BEAT: Duration = Duration::from_secs(5);

/// What all checks have in common.
#[derive(Clone)]
pub(super) struct Ward {
    pub(super) probe: Probe,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) topic: TopicName,
    /// What is later is slow, or held back.
    pub(super) within: Duration,
    /// Why nothing can be published.
    pub(super) mute: Option<String>,
}

impl Ward {
    pub(super) fn after(&self, time: Duration) -> Duration {
        self.clock.now().saturating_add(time)
    }

    /// A text that no other message has.
    pub(super) fn mark(&self) -> String {
        format!("fanfare-doctor-{:016x}", self.rng.next_u64())
    }

    /// Publishes a mark; how long its ack took, or why there is none.
    pub(super) async fn publish(&self, mark: &str) -> Result<Duration, String> {
        let limit = self.within.max(Duration::from_secs(5)) * 2;
        let answered = self.probe.publish(&self.topic, mark, limit).await;
        let answered = answered.map_err(|silence| silence.to_string())?;
        match answered.status {
            200 => Ok(answered.whole),
            status => Err(match answered.refusal() {
                Some((code, detail)) => format!("{code}: {detail}"),
                None => format!("HTTP {status} without a code"),
            }),
        }
    }
}

/// The whole check of one stream, but for its patience.
pub(super) async fn check(ward: Ward, flow: Flow) -> (Section, Option<String>) {
    let mut section = Section::default();
    let mut live = ward.probe.stream(flow, &ward.topic, BEAT);
    live_check(&ward, flow, &mut live, &mut section).await;
    (section, live.proxy().map(ToOwned::to_owned))
}

async fn live_check(ward: &Ward, flow: Flow, live: &mut Live, section: &mut Section) {
    let name = flow.name();
    let began = ward.clock.now();
    // Three times as long as is good: late and never are two faults.
    let first = live.first(ward.after(ward.within * 3)).await;
    let began_late = match first {
        Waited::Heard(at) => {
            let took = at.saturating_sub(began);
            section.time("first bytes", took);
            took > ward.within
        }
        Waited::Late => false,
        Waited::Shut(shut) => return section_shut(section, flow, &shut, ward, began),
    };
    if began_late {
        let what = format!(
            "the first bytes came after {}",
            section
                .times
                .last()
                .map_or_else(String::new, |t| shown(t.1))
        );
        section.find(Fault::SlowFirstByte, name, what);
    }
    if let Some(why) = &ward.mute {
        if first == Waited::Late {
            let what = format!(
                "nothing of the answer came within {}",
                shown(ward.within * 3)
            );
            section.find(Fault::Buffering, name, what);
        }
        let text = format!("whether a message comes at once, since publishing is refused ({why})");
        section.not_made.push(text);
    } else {
        // What is published before the topic is attached is not owed to a stream from `latest`. Held
        // back, this word shows in the message that does not come either.
        let attached = live.text("subscribed", ward.after(ward.within * 3));
        if let Waited::Shut(shut) = attached.await {
            return section_shut(section, flow, &shut, ward, began);
        }
        let mark = ward.mark();
        match ward.publish(&mark).await {
            Err(why) => section
                .not_made
                .push(format!("whether a message comes at once ({why})")),
            Ok(_) => {
                let acked = ward.clock.now();
                match live.text(&mark, acked.saturating_add(ward.within)).await {
                    Waited::Heard(at) => section.time("message", at.saturating_sub(acked)),
                    Waited::Late => {
                        let nothing = match first {
                            Waited::Late => "neither the first bytes nor a message",
                            Waited::Heard(_) | Waited::Shut(_) => "no message",
                        };
                        let what = format!(
                            "{nothing} came within {} of the publish's ack",
                            shown(ward.within)
                        );
                        return section.find(Fault::Buffering, name, what);
                    }
                    Waited::Shut(shut) => return section_shut(section, flow, &shut, ward, began),
                }
            }
        }
    }
    beat(ward, flow, live, section).await;
}

/// The first heartbeat: what comes after a silence. Messages of the other checks come before it.
async fn beat(ward: &Ward, flow: Flow, live: &mut Live, section: &mut Section) {
    loop {
        let quiet_since = live.heard_at();
        let late = quiet_since.saturating_add(BEAT + ward.within);
        match live.more(late.max(ward.clock.now())).await {
            Waited::Heard(at) => {
                let silence = at.saturating_sub(quiet_since);
                if silence >= BEAT / 2 {
                    return section.time("heartbeat", silence);
                }
            }
            Waited::Late => {
                let what = format!(
                    "no heartbeat came within {}, asked for every {}",
                    shown(BEAT + ward.within),
                    shown(BEAT)
                );
                return section.find(Fault::Buffering, flow.name(), what);
            }
            Waited::Shut(shut) => return section_shut(section, flow, &shut, ward, quiet_since),
        }
    }
}

/// A stream that did not open or has ended.
fn section_shut(section: &mut Section, flow: Flow, shut: &Shut, ward: &Ward, since: Duration) {
    let after = shown(ward.clock.now().saturating_sub(since));
    let name = flow.name();
    match shut {
        Shut::Silence(Silence::NotConnected(why)) => {
            section.find(Fault::Unreachable, name, why.clone());
        }
        Shut::Silence(silence @ (Silence::Cut(_) | Silence::Late)) => {
            let fault = match flow {
                Flow::Ws => Fault::NoUpgrade,
                Flow::Sse | Flow::Tail => Fault::IdleCut,
            };
            section.find(fault, name, format!("{silence}, after {after}"));
        }
        Shut::Answered(answered) => {
            let status = answered.status;
            let refusal = answered.refusal();
            let code = refusal.as_ref().map(|(code, _)| code.as_str());
            let (fault, what) = match (flow, code, answered.ours) {
                // The handshake was good when it left.
                (Flow::Ws, Some("protocol_error"), _) => (
                    Fault::NoUpgrade,
                    "the edge got the handshake without its Upgrade".to_owned(),
                ),
                (_, Some(code), true) => {
                    let detail = refusal.as_ref().map_or("", |(_, detail)| detail.as_str());
                    (Fault::Refused, format!("{code}: {detail}"))
                }
                (_, _, false) if matches!(status, 502..=504) => (
                    Fault::Unreachable,
                    format!("something between answers {status}: it does not reach the edge"),
                ),
                (Flow::Ws, _, _) => (
                    Fault::NoUpgrade,
                    format!("the handshake was answered with {status}, not 101"),
                ),
                (Flow::Sse | Flow::Tail, _, _) => (
                    Fault::Unreachable,
                    format!("something that is no edge answers {status}"),
                ),
            };
            section.find(fault, name, what);
        }
        Shut::Cut(how) => {
            section.find(Fault::IdleCut, name, format!("cut after {after}: {how}"));
        }
        Shut::Told(code) => {
            let text = format!("the node ended the stream with `{code}`: fanfare errors {code}");
            section.not_made.push(text);
        }
    }
}
