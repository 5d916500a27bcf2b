//! The table of keys against a plain `Vec`, and the window when rules change.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn rules(dedup_ms: u64) -> Rules {
    Rules {
        dedup_age: Duration::from_millis(dedup_ms),
        ..Rules::default()
    }
}

fn row(key: u64, offset: u64, time_ms: u64) -> KeyRow {
    KeyRow {
        hash: KeyHash([key, 0]),
        offset: Offset(offset),
        content: key,
        time_ms,
    }
}

#[test]
fn a_row_is_forty_bytes() {
    assert_eq!(size_of::<KeyRow>(), 40);
}

#[test]
fn a_key_is_of_one_topic_one_epoch_and_one_secret() {
    let key = |raw: &'static str| Key::new(Bytes::from_static(raw.as_bytes())).unwrap();
    let of = |secret: u8, topic: &str, epoch: u64, raw: &'static str| {
        let secret = Secret([secret; 32]);
        KeyHash::new(&secret, &topic.parse().unwrap(), Epoch(epoch), &key(raw))
    };
    let news = of(1, "news", 7, "a");
    assert_eq!(news, of(1, "news", 7, "a"));
    for other in [
        of(2, "news", 7, "a"),
        of(1, "new", 7, "a"),
        of(1, "news", 8, "a"),
        of(1, "news", 7, "b"),
    ] {
        assert_ne!(news, other);
    }
}

proptest! {
    #[test]
    fn a_key_is_known_for_its_window_and_forgotten_soon_after(
        steps in prop::collection::vec((0_u64..12, 0_u64..400, 0_usize..3), 1..300),
    ) {
        let windows = [50, 1_000, 3_000];
        let mut dedup = Dedup::default();
        let mut plain: Vec<(KeyRow, u64)> = Vec::new();
        let mut now = 0;
        for (step, (key, later, window)) in steps.into_iter().enumerate() {
            now += later;
            dedup.expire(now);
            let kept = |(row, window): &(KeyRow, u64)| now < row.time_ms + window + window / 1_000 + 10;
            plain.retain(kept);
            prop_assert_eq!(dedup.len(), plain.len());
            let ends = plain.iter().map(|(r, w)| r.time_ms + w + w / 1_000 + 10);
            prop_assert_eq!(dedup.next_expiry(), ends.min());
            for key in 0..12 {
                let known = plain.iter().find(|(row, _)| row.hash.0[0] == key);
                let left = |(row, w): &(KeyRow, u64)| (*row, (row.time_ms + w).saturating_sub(now));
                let found = dedup.find(KeyHash([key, 0]), now);
                prop_assert_eq!(found.map(|(row, left)| (*row, left)), known.map(left));
            }
            if !dedup.contains(KeyHash([key, 0])) {
                let row = row(key, step as u64, now);
                dedup.insert(windows[window], row);
                plain.push((row, windows[window]));
            }
        }
    }
}

#[test]
fn a_frozen_table_does_not_change() {
    let mut dedup = Dedup::default();
    (0..2_000).for_each(|key| dedup.insert(100, row(key, key + 1, key)));
    let frozen = dedup.freeze();
    dedup.expire(1_500);
    dedup.insert(100, row(9_999, 1, 1_500));
    let (window, rows) = &frozen[0];
    assert_eq!((*window, rows.len()), (100, 2_000));
    assert!(
        rows.iter()
            .zip(0..)
            .all(|(kept, key)| *kept == row(key, key + 1, key))
    );
}

#[test]
fn a_longer_window_does_not_vouch_for_keys_of_the_shorter_one() {
    let mut window = Window::default();
    window.observe(&rules(1_000), 10_000);
    assert!(!window.is_past(999, 10_000));
    assert!(window.is_past(1_000, 10_000));

    window.observe(&rules(60_000), 20_000);
    assert!(!window.is_past(999, 20_500), "a row would still be there");
    assert!(
        window.is_past(1_500, 20_500),
        "may have been forgotten at 20,000"
    );
    assert!(
        !window.is_past(1_500, 21_600),
        "first sent after the change"
    );
    assert!(window.is_past(30_000, 45_000));
    window.observe(&rules(60_000), 80_000);
    assert_eq!(window.narrower, None, "no key can be that old any more");
    assert!(!window.is_past(59_999, 80_000));
}

#[test]
fn the_shortest_of_several_windows_counts() {
    let mut window = Window::default();
    for (ms, now) in [(10_000, 0), (1_000, 5_000), (5_000, 6_000), (20_000, 7_000)] {
        window.observe(&rules(ms), now);
    }
    assert!(window.is_past(1_000, 7_500));
    assert!(!window.is_past(1_000, 8_500));
    assert!(window.is_past(2_000, 8_500));
}
