//! Snapshots: what is in them, and what is refused.

use super::*;

/// A shard with something of everything.
fn full() -> World {
    let mut world = World::new();
    let own = RuleLayer {
        retain_count: Some(3),
        retain_age: Some(Duration::from_millis(12_345)),
        ..RuleLayer::default()
    };
    world.create("news", own).unwrap();
    world.create("ticker", ephemeral()).unwrap();
    for n in 0..5 {
        world
            .later(1_000)
            .place(keyed("news", "a", &format!("k{n}")));
    }
    world.publish("gone");
    world.delete("gone").unwrap();
    world.publish("chat");
    world
}

#[test]
fn a_restored_shard_is_the_same_and_goes_on_alike() {
    let mut world = full();
    let mut restored = Shard::restore(SHARDS, world.blocks()).unwrap();
    let again: Vec<_> = restored.freeze().blocks().collect();
    assert_eq!(again, world.blocks());
    assert_eq!(restored.bytes(), world.shard.bytes());
    assert_eq!(restored.key_count(), 5);
    for command in [
        place(vec![keyed("news", "a", "k4"), draft("gone", "b")]),
        Command::Tick,
    ] {
        let running_ms = world.later(20_000).now;
        let outcome = world.apply(command.clone());
        let entry = Entry {
            running_ms,
            command,
        };
        let next = at(world.log.len() - 1);
        assert_eq!(
            restored.apply(next, &entry),
            (outcome, world.effects.clone())
        );
        assert_eq!(restored.chain(), world.shard.chain());
    }
}

#[test]
fn a_frozen_shard_does_not_see_what_comes_after() {
    let mut world = full();
    let frozen = world.shard.freeze();
    let before = world.blocks();
    world.publish("news");
    world.place(keyed("chat", "x", "y"));
    world.delete("chat").unwrap();
    world.later(HOUR).apply(Command::Tick);
    assert_eq!(frozen.blocks().collect::<Vec<_>>(), before);
}

#[test]
fn large_topics_and_many_rows_are_cut_into_blocks() {
    let mut world = World::new();
    let own = RuleLayer {
        retain_bytes: Some(1 << 30),
        ..RuleLayer::default()
    };
    world.create("large", own).unwrap();
    let payload = "x".repeat(60_000);
    for n in 0..60 {
        world.place(keyed("large", &payload, &format!("{n}")));
    }
    let many = (0..10_000).map(|n| keyed("many", "a", &format!("{n}")));
    world.apply(place(many.collect()));
    let blocks = world.blocks();
    let cost = |records: &[crate::history::Record]| -> u64 {
        records.iter().map(|r| r.message.content.cost()).sum()
    };
    let mut histories = 0;
    for block in &blocks {
        match block {
            Block::Topics(rows) => {
                let costs = rows.iter().map(|row| cost(&row.records));
                assert!(costs.sum::<u64>() < Block::TARGET_BYTES + 61_000);
            }
            Block::History(records) => {
                histories += 1;
                assert!(cost(records) < Block::TARGET_BYTES + 61_000);
            }
            Block::Keys { rows, .. } => assert!(rows.len() <= Block::MAX_ROWS),
            Block::Header(_) | Block::Tombstones(_) | Block::End(_) => {}
        }
    }
    assert!(histories >= 3);
    let restored = Shard::restore(SHARDS, blocks.clone()).unwrap();
    assert_eq!(restored.freeze().blocks().collect::<Vec<_>>(), blocks);
}

#[test]
fn a_snapshot_without_one_of_its_blocks_is_none() {
    let blocks = full().blocks();
    assert!(blocks.len() >= 5);
    for missing in 0..blocks.len() {
        let mut rest = blocks.clone();
        rest.remove(missing);
        assert!(
            Shard::restore(SHARDS, rest).is_err(),
            "without block {missing}"
        );
    }
    for twice in 0..blocks.len() {
        let mut more = blocks.clone();
        more.insert(twice, blocks[twice].clone());
        assert!(Shard::restore(SHARDS, more).is_err(), "block {twice} twice");
    }
}

#[test]
fn a_changed_row_is_noticed() {
    let blocks = full().blocks();
    let changed = |change: &dyn Fn(&mut Block)| {
        let mut blocks = blocks.clone();
        blocks.iter_mut().for_each(change);
        assert_ne!(blocks, full().blocks(), "the change did something");
        Shard::restore(SHARDS, blocks).err()
    };
    let in_header = |edit: fn(&mut Header)| {
        changed(&move |block| {
            if let Block::Header(header) = block {
                edit(header);
            }
        })
    };
    let checksum = Some(BadSnapshot::Checksum);
    assert_eq!(in_header(|header| header.running_ms += 1), checksum);
    assert_eq!(in_header(|header| header.secret.0[31] ^= 1), checksum);
    assert_eq!(in_header(|header| header.forgotten.0 += 1), checksum);
    let in_news = |edit: fn(&mut TopicRow)| {
        changed(&move |block| {
            if let Block::Topics(rows) = block {
                rows.iter_mut()
                    .filter(|row| row.name.as_str() == "news")
                    .for_each(edit);
            }
        })
    };
    let news = Some(BadSnapshot::Topic(name("news")));
    assert_eq!(in_news(|row| row.next.0 += 1), news);
    assert_eq!(in_news(|row| row.head_chain ^= 1), news);
    assert_eq!(in_news(|row| row.records.truncate(1)), news);
    assert_eq!(in_news(|row| row.records.swap(0, 1)), news);
    assert_eq!(in_news(|row| row.retained = u64::MAX), news);
    assert_eq!(in_news(|row| row.window.ms += 1), checksum);
    assert_eq!(in_news(|row| row.own.slow_lag = Some(9)), checksum);
    let payload = |row: &mut TopicRow| {
        let mut message = crate::message::Message::clone(&row.records[0].message);
        message.content = content("forged");
        row.records[0] = crate::history::Record::new(Arc::new(message), row.records[0].time_ms);
    };
    assert_eq!(in_news(payload), news);
}

#[test]
fn the_dump_tells_what_the_contract_asks_for() {
    let world = full();
    let frozen = world.shard.freeze();
    let dump: Vec<_> = frozen.dump().collect();
    let names: Vec<_> = dump.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["chat", "news", "ticker"]);
    let news = &dump[1];
    assert_eq!((news.start, news.head), (pos(101, 3), pos(101, 5)));
    let hash = crate::history::payload_hash(b"a");
    let chain = [1, 2].iter().fold(0, |chain, offset| {
        crate::history::chain_step(chain, Offset(*offset), hash)
    });
    assert_eq!(news.chain, chain);
    assert!(news.records.iter().all(|record| record.hash == hash));
}
