//! Blocks of a shard's snapshot.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fanfare_core::dedup::{KeyHash, KeyRow, Narrower, Window};
use fanfare_core::gap::TrimmedBy;
use fanfare_core::history::Record;
use fanfare_core::id::Term;
use fanfare_core::position::{Epoch, Offset};
use fanfare_core::shard::{At, Block, End, Header, Tombstone, TopicRow};

use super::shard::{known, secret};
use crate::convert::content::{self, Metas};
use crate::convert::{Malformed, id_bytes, id128, required, topic};
use crate::pb::stored as pb;
use crate::pb::stored::block as pbb;

/// Bytes of a stored row of the dedup table.
const KEY_ROW: usize = 40;

impl From<&Block> for pb::Block {
    fn from(block: &Block) -> Self {
        let block = match block {
            Block::Header(header) => pbb::Block::Header(header_to_pb(header)),
            Block::Topics(rows) => pbb::Block::Topics(pbb::Topics {
                rows: rows.iter().map(row_to_pb).collect(),
            }),
            Block::History(records) => pbb::Block::History(pbb::History {
                records: records_to_pb(records),
            }),
            Block::Keys { window_ms, rows } => pbb::Block::Keys(pbb::Keys {
                window_ms: *window_ms,
                rows: keys_to_pb(rows),
            }),
            Block::Tombstones(rows) => pbb::Block::Tombstones(pbb::Tombstones {
                rows: rows.iter().map(tombstone_to_pb).collect(),
            }),
            Block::End(End {
                topics,
                messages,
                keys,
                tombstones,
                checksum,
            }) => pbb::Block::End(pbb::End {
                topics: *topics,
                messages: *messages,
                keys: *keys,
                tombstones: *tombstones,
                checksum: id_bytes(*checksum),
            }),
        };
        Self { block: Some(block) }
    }
}

impl TryFrom<pb::Block> for Block {
    type Error = Malformed;

    fn try_from(pb::Block { block }: pb::Block) -> Result<Self, Malformed> {
        match required(block, "block")? {
            pbb::Block::Header(raw) => Ok(Self::Header(Box::new(header(raw)?))),
            pbb::Block::Topics(pbb::Topics { rows }) => {
                let mut metas = Metas::default();
                let rows = rows
                    .into_iter()
                    .enumerate()
                    .map(|(at, raw)| row(raw, &mut metas).map_err(|bad| bad.at("rows", at)));
                rows.collect::<Result<_, _>>().map(Self::Topics)
            }
            pbb::Block::History(pbb::History { records: raw }) => {
                records(raw, &mut Metas::default()).map(Self::History)
            }
            pbb::Block::Keys(pbb::Keys { window_ms, rows }) => Ok(Self::Keys {
                window_ms,
                rows: keys(rows)?,
            }),
            pbb::Block::Tombstones(pbb::Tombstones { rows }) => {
                let rows = rows.into_iter().map(tombstone);
                rows.collect::<Result<_, _>>().map(Self::Tombstones)
            }
            pbb::Block::End(pbb::End {
                topics,
                messages,
                keys,
                tombstones,
                checksum,
            }) => Ok(Self::End(End {
                topics,
                messages,
                keys,
                tombstones,
                checksum: id128(&checksum, "checksum")?,
            })),
        }
    }
}

fn header_to_pb(header: &Header) -> pbb::Header {
    let Header {
        applied: At { term, index },
        begun,
        running_ms,
        counter,
        hour_counter,
        level,
        secret,
        rules,
        chain,
        forgotten,
        repaired,
        sweep,
    } = header;
    pbb::Header {
        term: term.0,
        index: *index,
        begun: *begun,
        running_ms: *running_ms,
        counter: counter.0,
        hour_counter: hour_counter.0,
        level: *level,
        secret: secret.0.to_vec().into(),
        rules: Some(rules.into()),
        chain: id_bytes(*chain),
        forgotten: forgotten.0,
        repaired: repaired.0,
        sweep: sweep.as_ref().map(|name| name.as_str().to_owned()),
    }
}

fn header(raw: pbb::Header) -> Result<Header, Malformed> {
    let pbb::Header {
        term,
        index,
        begun,
        running_ms,
        counter,
        hour_counter,
        level,
        secret: raw_secret,
        rules,
        chain,
        forgotten,
        repaired,
        sweep,
    } = raw;
    Ok(Header {
        applied: At {
            term: Term(term),
            index,
        },
        begun,
        running_ms,
        counter: Epoch(counter),
        hour_counter: Epoch(hour_counter),
        level: known(level)?,
        secret: secret(&raw_secret)?,
        rules: required(rules, "rules")?.try_into()?,
        chain: id128(&chain, "chain")?,
        forgotten: Epoch(forgotten),
        repaired: Epoch(repaired),
        sweep: sweep.map(|name| topic(&name, "sweep")).transpose()?,
    })
}

fn row_to_pb(row: &TopicRow) -> pb::TopicRow {
    let TopicRow {
        name,
        class,
        own,
        epoch,
        next,
        start_chain,
        head_chain,
        trimmed_by,
        continues,
        due_ms,
        window: Window { ms, narrower },
        retained,
        records,
    } = row;
    pb::TopicRow {
        name: name.as_str().to_owned(),
        class: content::class_to_pb(*class),
        own: Some(own.into()),
        epoch: epoch.0,
        next: next.0,
        start_chain: id_bytes(*start_chain),
        head_chain: id_bytes(*head_chain),
        trimmed_by: match trimmed_by {
            None => 0,
            Some(TrimmedBy::Age) => 1,
            Some(TrimmedBy::Count) => 2,
            Some(TrimmedBy::Bytes) => 3,
            Some(TrimmedBy::Budget) => 4,
        },
        continues: continues.map(|Epoch(epoch)| epoch),
        due_ms: *due_ms,
        window_ms: *ms,
        narrower: narrower
            .map(|Narrower { ms, until_ms }| pb::topic_row::Narrower { ms, until_ms }),
        retained: *retained,
        records: records_to_pb(records),
    }
}

fn row(raw: pb::TopicRow, metas: &mut Metas) -> Result<TopicRow, Malformed> {
    let pb::TopicRow {
        name,
        class,
        own,
        epoch,
        next,
        start_chain,
        head_chain,
        trimmed_by,
        continues,
        due_ms,
        window_ms,
        narrower,
        retained,
        records: raw_records,
    } = raw;
    Ok(TopicRow {
        name: topic(&name, "name")?,
        class: content::class(class)?,
        own: required(own, "own")?.try_into()?,
        epoch: Epoch(epoch),
        next: Offset(next),
        start_chain: id128(&start_chain, "start_chain")?,
        head_chain: id128(&head_chain, "head_chain")?,
        trimmed_by: match trimmed_by {
            0 => None,
            1 => Some(TrimmedBy::Age),
            2 => Some(TrimmedBy::Count),
            3 => Some(TrimmedBy::Bytes),
            4 => Some(TrimmedBy::Budget),
            _ => return Err(Malformed::unknown("trimmed_by")),
        },
        continues: continues.map(Epoch),
        due_ms,
        window: Window {
            ms: window_ms,
            narrower: narrower
                .map(|pb::topic_row::Narrower { ms, until_ms }| Narrower { ms, until_ms }),
        },
        retained,
        records: records(raw_records, metas)?,
    })
}

fn records_to_pb(records: &[Record]) -> Vec<pb::Record> {
    // The hash is that of the payload: it is computed again when read.
    let record = |Record {
                      message,
                      time_ms,
                      hash: _,
                  }: &Record| pb::Record {
        message: Some(content::message_to_pb(message)),
        time_ms: *time_ms,
    };
    records.iter().map(record).collect()
}

fn records(raw: Vec<pb::Record>, metas: &mut Metas) -> Result<Vec<Record>, Malformed> {
    let record = |pb::Record { message, time_ms }: pb::Record| {
        let message = content::message(required(message, "records.message")?, metas)?;
        Ok(Record::new(Arc::new(message), time_ms))
    };
    raw.into_iter().map(record).collect()
}

fn keys_to_pb(rows: &[KeyRow]) -> Bytes {
    let mut out = BytesMut::with_capacity(rows.len() * KEY_ROW);
    for KeyRow {
        hash: KeyHash([high, low]),
        offset: Offset(offset),
        content,
        time_ms,
    } in rows
    {
        for word in [high, low, offset, content, time_ms] {
            out.put_u64(*word);
        }
    }
    out.freeze()
}

fn keys(mut raw: Bytes) -> Result<Vec<KeyRow>, Malformed> {
    if !raw.len().is_multiple_of(KEY_ROW) {
        return Err(Malformed::new("keys.rows", "ends within a row"));
    }
    let mut rows = Vec::with_capacity(raw.len() / KEY_ROW);
    while raw.has_remaining() {
        rows.push(KeyRow {
            hash: KeyHash([raw.get_u64(), raw.get_u64()]),
            offset: Offset(raw.get_u64()),
            content: raw.get_u64(),
            time_ms: raw.get_u64(),
        });
    }
    Ok(rows)
}

fn tombstone_to_pb(
    Tombstone {
        topic,
        counter,
        time_ms,
    }: &Tombstone,
) -> pb::Tombstone {
    pb::Tombstone {
        topic: topic.as_str().to_owned(),
        counter: counter.0,
        time_ms: *time_ms,
    }
}

fn tombstone(raw: pb::Tombstone) -> Result<Tombstone, Malformed> {
    let pb::Tombstone {
        topic: name,
        counter,
        time_ms,
    } = raw;
    Ok(Tombstone {
        topic: topic(&name, "topic")?,
        counter: Epoch(counter),
        time_ms,
    })
}
