//! Publishers' order: of two drafts of one stream for one topic, neither sent again and both
//! acked, the first has the lower position (C3).

use std::collections::BTreeMap;

use crate::drafts::{DraftId, Drafts};
use crate::observation::Position;
use crate::verdict::{Report, Verdict};

/// The drafts of one topic, by stream, in the order of sending.
#[derive(Debug, Default)]
pub(crate) struct Order {
    sent: BTreeMap<String, Vec<DraftId>>,
}

impl Order {
    pub(crate) fn sent(&mut self, stream: String, draft: DraftId) {
        self.sent.entry(stream).or_default().push(draft);
    }

    pub(crate) fn judge(&self, topic: &str, drafts: &Drafts, report: &mut Report) {
        for (stream, sent) in &self.sent {
            let mut highest: Option<(Position, &str)> = None;
            for draft in sent.iter().filter_map(|id| drafts.get(*id)) {
                let Some(at) = draft.acked.filter(|_| draft.sendings == 1) else {
                    continue;
                };
                match highest {
                    Some((before, first)) if before > at => {
                        report.give(Verdict::PublisherOrder, topic, || {
                            format!(
                                "stream {stream} sent draft {first} before {}, placed at {before} and {at}",
                                draft.name
                            )
                        });
                    }
                    _ => highest = Some((at, &draft.name)),
                }
            }
        }
    }
}
