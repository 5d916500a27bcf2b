//! What the ephemeral streams of a reign retain: they share the shard's budget with what is in its
//! rows, and no row tells of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_core::name::TopicName;

/// Bytes by stream.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    total: u64,
    of: BTreeMap<TopicName, u64>,
}

impl Ledger {
    /// Bytes of all streams.
    pub(crate) fn total(&self) -> u64 {
        self.rows().total
    }

    /// The stream with the most bytes. Looks at every one.
    pub(crate) fn largest(&self) -> Option<(TopicName, u64)> {
        let rows = self.rows();
        let (topic, bytes) = rows.of.iter().max_by_key(|(_, bytes)| **bytes)?;
        Some((topic.clone(), *bytes))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's row, which goes with it.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    topic: TopicName,
    noted: u64,
}

impl Account {
    pub(crate) fn new(ledger: Arc<Ledger>, topic: TopicName) -> Self {
        Self {
            ledger,
            topic,
            noted: 0,
        }
    }

    /// The stream retains so much now.
    pub(crate) fn note(&mut self, bytes: u64) {
        if bytes == self.noted {
            return;
        }
        let mut rows = self.ledger.rows();
        rows.total = rows.total.saturating_sub(self.noted).saturating_add(bytes);
        match bytes {
            0 => drop(rows.of.remove(&self.topic)),
            bytes => drop(rows.of.insert(self.topic.clone(), bytes)),
        }
        drop(rows);
        self.noted = bytes;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.note(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_gives_back_what_it_had() {
        let ledger = Arc::new(Ledger::default());
        let account = |name: &str| Account::new(Arc::clone(&ledger), name.parse().unwrap());
        let (mut a, mut b) = (account("a"), account("b"));
        a.note(10);
        b.note(30);
        b.note(20);
        assert_eq!(ledger.total(), 30);
        assert_eq!(ledger.largest(), Some(("b".parse().unwrap(), 20)));
        drop(b);
        assert_eq!(ledger.total(), 10);
        a.note(0);
        assert_eq!((ledger.total(), ledger.largest()), (0, None));
    }
}
