//! Running hash over the shard's entries and over the blocks of its snapshots: xxh3-128, numbers
//! big endian, texts and bytes after their length. Part of the format.

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use super::block::{Block, Header, TopicRow};
use super::command::At;
use crate::dedup::Narrower;
use crate::gap::TrimmedBy;
use crate::history::Record;
use crate::position::Position;
use crate::rule::{Class, CreatePolicy, Html, RuleLayer, RuleTable, Slow};

/// See the file's header.
#[derive(Clone, Default)]
pub(super) struct Digest(Xxh3);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:032x})", self.finish())
    }
}

impl Digest {
    pub(super) fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    pub(super) fn wide(&mut self, number: u128) {
        self.0.update(&number.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    pub(super) fn position(&mut self, position: Position) {
        self.number(position.epoch.0);
        self.number(position.offset.0);
    }

    pub(super) fn at(&mut self, at: At) {
        self.number(at.term.0);
        self.number(at.index);
    }

    fn option(&mut self, value: Option<u64>) {
        self.number(u64::from(value.is_some()));
        self.number(value.unwrap_or(0));
    }

    fn age(&mut self, age: Option<Duration>) {
        self.option(age.map(|age| age.as_secs()));
        self.number(age.map_or(0, |age| u64::from(age.subsec_nanos())));
    }

    pub(super) fn finish(&self) -> u128 {
        self.0.digest128()
    }

    pub(super) fn layer(&mut self, layer: &RuleLayer) {
        self.option(layer.class.map(class));
        self.option(layer.retain_count);
        self.option(layer.retain_bytes);
        self.age(layer.retain_age);
        self.option(layer.slow.map(|slow| match slow {
            Slow::CatchUp => 1,
            Slow::Conflate => 2,
        }));
        self.option(layer.slow_lag);
        self.age(layer.dedup_age);
        self.option(layer.html.map(|html| match html {
            Html::Escape => 1,
            Html::Verbatim => 2,
        }));
    }

    pub(super) fn table(&mut self, table: &RuleTable) {
        self.number(table.version);
        self.number(match table.create {
            CreatePolicy::OnUse => 1,
            CreatePolicy::Explicit => 2,
        });
        self.number(table.max_topics);
        self.number(table.rows().len() as u64);
        for (pattern, layer) in table.rows() {
            self.text(pattern.as_str());
            self.layer(layer);
        }
    }

    /// Takes in a block, all but an `End`.
    pub(super) fn block(&mut self, block: &Block) {
        match block {
            Block::Header(header) => self.header(header),
            Block::Topics(rows) => rows.iter().for_each(|row| self.topic(row)),
            Block::History(records) => records.iter().for_each(|record| self.record(record)),
            Block::Keys { window_ms, rows } => {
                self.number(*window_ms);
                for row in rows {
                    row.hash.0.iter().for_each(|word| self.number(*word));
                    self.number(row.offset.0);
                    self.number(row.content);
                    self.number(row.time_ms);
                }
            }
            Block::Tombstones(stones) => {
                for stone in stones {
                    self.text(stone.topic.as_str());
                    self.number(stone.counter.0);
                    self.number(stone.time_ms);
                }
            }
            Block::End(_) => {}
        }
    }

    fn header(&mut self, header: &Header) {
        self.at(header.applied);
        self.number(u64::from(header.begun));
        self.number(header.running_ms);
        self.number(header.counter.0);
        self.number(header.hour_counter.0);
        self.number(u64::from(header.level));
        self.0.update(&header.secret.0);
        self.table(&header.rules);
        self.wide(header.chain);
        self.number(header.forgotten.0);
        self.number(header.repaired.0);
        self.text(header.sweep.as_ref().map_or("", |name| name.as_str()));
    }

    fn topic(&mut self, row: &TopicRow) {
        self.text(row.name.as_str());
        self.number(class(row.class));
        self.layer(&row.own);
        self.number(row.epoch.0);
        self.number(row.next.0);
        self.wide(row.start_chain);
        self.wide(row.head_chain);
        self.option(row.trimmed_by.map(|by| match by {
            TrimmedBy::Age => 1,
            TrimmedBy::Count => 2,
            TrimmedBy::Bytes => 3,
            TrimmedBy::Budget => 4,
        }));
        self.option(row.continues.map(|epoch| epoch.0));
        self.number(row.due_ms);
        let (narrow_ms, until_ms) = match row.window.narrower {
            Some(Narrower { ms, until_ms }) => (Some(ms), until_ms),
            None => (None, 0),
        };
        self.number(row.window.ms);
        self.option(narrow_ms);
        self.number(until_ms);
        self.number(row.retained);
        row.records.iter().for_each(|record| self.record(record));
    }

    fn record(&mut self, record: &Record) {
        self.position(record.message.position);
        self.number(record.message.wall_ms);
        self.number(record.message.content.hash64());
        self.number(record.time_ms);
    }
}

fn class(class: Class) -> u64 {
    match class {
        Class::Durable => 1,
        Class::Ephemeral => 2,
    }
}
