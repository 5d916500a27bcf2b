//! Publishers' order: of two drafts of one stream for one topic, neither sent again and both
//! acked, the first has the lower position (C3).

use std::collections::BTreeMap;

use crate::observation::Position;
use crate::verdict::{Report, Verdict};

/// Sendings of one topic. Offers are kept by the order in which they were first sent on a stream.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By stream: (op, draft) in the order of sending.
    sent: BTreeMap<String, Vec<(u64, String)>>,
    acked: BTreeMap<u64, Position>,
    /// Sendings of each draft, on any stream.
    sendings: BTreeMap<String, u32>,
}

impl Order {
    pub(crate) fn sent(&mut self, stream: &str, op: u64, draft: &str) {
        *self.sendings.entry(draft.to_owned()).or_default() += 1;
        self.sent
            .entry(stream.to_owned())
            .or_default()
            .push((op, draft.to_owned()));
    }

    pub(crate) fn acked(&mut self, op: u64, at: Position) {
        self.acked.insert(op, at);
    }

    pub(crate) fn judge(&self, topic: &str, report: &mut Report) {
        for (stream, sent) in &self.sent {
            let once = |draft: &String| self.sendings.get(draft) == Some(&1);
            let mut highest: Option<(Position, &str)> = None;
            for (op, draft) in sent.iter().filter(|(_, draft)| once(draft)) {
                let Some(at) = self.acked.get(op) else {
                    continue;
                };
                if let Some((before, first)) = highest.filter(|(before, _)| before > at) {
                    report.give(Verdict::PublisherOrder, topic, || {
                        format!(
                            "stream {stream} sent draft {first} before {draft}, placed at {before} and {at}"
                        )
                    });
                } else {
                    highest = Some((*at, draft));
                }
            }
        }
    }
}
