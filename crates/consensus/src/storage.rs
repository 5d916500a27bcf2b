//! openraft's log storage, thin, over the node's log.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use crate::raft_types::{Entry, LogId, Types, Vote, log_id, position};
use crate::wal::{Job, Log, Read, Record, RecordKind};
use crate::{Codec, StateMachine, format};

/// Bytes of entries that are read at once.
const PAGE: usize = 4 << 20;

/// One replica's part of the log.
pub(crate) struct LogStore<M: StateMachine> {
    log: Log,
    replica: u64,
    codec: Arc<dyn Codec<M::Command>>,
}

impl<M: StateMachine> LogStore<M> {
    pub(crate) fn new(log: Log, replica: u64, codec: Arc<dyn Codec<M::Command>>) -> Self {
        Self {
            log,
            replica,
            codec,
        }
    }

    fn entry(&self, read: Read) -> io::Result<Entry<M>> {
        let parsed = read
            .parsed
            .and_then(|parsed| parsed.downcast::<M::Command>().ok());
        let payload = format::read_payload(read.form, read.payload, parsed, self.codec.as_ref())
            .map_err(io::Error::other)?;
        let at = crate::LogPosition {
            term: fanfare_core::id::Term(read.term),
            index: read.index,
        };
        Ok(openraft::Entry {
            log_id: log_id(at),
            payload,
        })
    }

    pub(crate) fn read(&self, from: u64, to: u64, limit: usize) -> io::Result<Vec<Entry<M>>> {
        let found = self.log.read(self.replica, from, to, limit)?;
        found.into_iter().map(|read| self.entry(read)).collect()
    }

    async fn note(&self, record: Record) -> io::Result<()> {
        let mut job = Job::new(self.replica, vec![record]);
        job.hurry = false;
        self.log.submit(job).await
    }
}

impl<M: StateMachine> Clone for LogStore<M> {
    fn clone(&self) -> Self {
        Self {
            log: self.log.clone(),
            replica: self.replica,
            codec: Arc::clone(&self.codec),
        }
    }
}

/// The half-open range that `range` is.
fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&at) => at.saturating_add(1),
        Bound::Excluded(&at) => at,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl<M: StateMachine> RaftLogReader<Types<M>> for LogStore<M> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry<M>>> {
        let (from, to) = ends(&range);
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry<M>>> {
        self.read(start, end, PAGE)
    }

    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry<M>>> + Send {
        let (from, to) = ends(&range);
        let store = self.clone();
        let pages = stream::unfold(Some(from), move |next| {
            let page = next.map(|from| store.read(from, to, PAGE));
            async move {
                match page? {
                    Ok(entries) => {
                        let last = entries.last()?.log_id.index;
                        Some((Ok(entries), Some(last + 1)))
                    }
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Box::pin(pages.flat_map(|page| {
            stream::iter(match page {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        }))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.log.extent(self.replica).vote;
        vote.map(|bytes| format::read_vote(&bytes))
            .transpose()
            .map_err(io::Error::other)
    }
}

impl<M: StateMachine> RaftLogStorage<Types<M>> for LogStore<M> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<M>>> {
        let extent = self.log.extent(self.replica);
        Ok(LogState {
            last_purged_log_id: extent.purged.map(log_id),
            last_log_id: extent.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = Record::vote(format::vote(vote));
        self.log
            .submit_and_wait(Job::new(self.replica, vec![record]))
            .await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.note(Record::committed(committed.map(|id| position(&id))))
            .await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.extent(self.replica).committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<M>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry<M>> + Send,
        I::IntoIter: Send,
    {
        let mut records = Vec::new();
        for entry in entries {
            let (form, bytes) = format::payload::<M>(&entry);
            let at = position(&entry.log_id);
            let mut record = Record::entry(at.term.0, at.index, form, bytes);
            if let openraft::EntryPayload::Normal(encoded) = entry.payload {
                let parsed: Arc<dyn Any + Send + Sync> = encoded.command;
                record.parsed = Some(parsed);
            }
            records.push(record);
        }
        let mut job = Job::new(self.replica, records);
        job.done = Some(Box::new(move |result| callback.io_completed(result)));
        self.log.submit(job).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.note(Record::new(RecordKind::Truncation, 0, from))
            .await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let at = position(&upto);
        self.note(Record::new(RecordKind::Purge, at.term.0, at.index))
            .await
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
