//! What is stored is read back as it was; what is not whole is refused.

use fanfare_core::shard::Command;
use proptest::prelude::*;

use super::*;
use crate::convert::strategies;

proptest! {
    #[test]
    fn entries_are_read_as_they_were_stored(entry in strategies::entry()) {
        prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }

    #[test]
    fn blocks_are_read_as_they_were_stored(block in strategies::block()) {
        prop_assert_eq!(decode_block(&encode_block(&block)), Ok(block));
    }

    #[test]
    fn commands_of_the_metadata_are_read_as_they_were_stored(
        command in strategies::view_command(),
    ) {
        prop_assert_eq!(decode_view_command(&encode_view_command(&command)), Ok(command));
    }

    #[test]
    fn views_are_read_as_they_were_stored(view in strategies::view()) {
        prop_assert_eq!(decode_view(&encode_view(&view)), Ok(view));
    }

    /// Replicas compare checksums of what they stored: equal values have equal bytes.
    #[test]
    fn equal_values_have_equal_bytes(entry in strategies::entry(), block in strategies::block()) {
        let again = decode_entry(&encode_entry(&entry)).unwrap();
        prop_assert_eq!(encode_entry(&again), encode_entry(&entry));
        let again = decode_block(&encode_block(&block)).unwrap();
        prop_assert_eq!(encode_block(&again), encode_block(&block));
    }

    #[test]
    fn a_cut_entry_is_no_other_entry(entry in strategies::entry(), cut in 0.0..1.0_f64) {
        let stored = encode_entry(&entry);
        let len = (stored.len() as f64 * cut) as usize;
        prop_assert_ne!(decode_entry(&stored.slice(..len)), Ok(entry));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_and_never_panic(bytes in any::<Vec<u8>>()) {
        let mut stored = vec![VERSION];
        stored.extend(bytes);
        let stored = Bytes::from(stored);
        let read = (decode_entry(&stored), decode_block(&stored), decode_view(&stored));
        if let Ok(entry) = read.0 {
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }

    #[test]
    fn payloads_are_slices_of_what_was_read(draft in strategies::draft()) {
        let batch = fanfare_core::shard::Batch { wall_ms: 1, drafts: vec![draft] };
        let entry = Entry { running_ms: 1, command: Command::Place(batch) };
        let stored = encode_entry(&entry);
        let Ok(Entry { command: Command::Place(batch), .. }) = decode_entry(&stored) else {
            panic!("not a batch");
        };
        let payload = &batch.drafts[0].content.payload;
        let within = stored.as_ptr_range();
        prop_assert!(payload.is_empty() || within.contains(&payload.as_ptr()));
    }
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut stored = encode_view(&View::empty()).to_vec();
    stored[0] = 9;
    let refused = decode_view(&stored.into()).unwrap_err();
    assert_eq!(refused.to_string(), "`version`: 9 is not known; this is 1");
    assert_eq!(decode_view(&Bytes::new()).unwrap_err().field, "version");
}

/// The first bytes of an entry, as release 1 wrote them: what is stored is read for ever.
#[test]
fn the_format_of_a_tick_is_pinned() {
    let entry = Entry {
        running_ms: 300,
        command: Command::Tick,
    };
    let stored = Bytes::from_static(&[1, 0x08, 0xac, 0x02, 0x52, 0x00]);
    assert_eq!(encode_entry(&entry), stored);
    assert_eq!(decode_entry(&stored), Ok(entry));
}

/// A replica stops at what it could only apply wrongly.
#[test]
fn what_only_a_newer_binary_knows_is_refused_as_such() {
    let newer = |command| {
        let entry = Entry {
            running_ms: 1,
            command,
        };
        decode_entry(&encode_entry(&entry)).unwrap_err().to_string()
    };
    let why = newer(Command::SetLevel(fanfare_core::level::KNOWN + 1));
    assert!(why.contains("newer feature level"), "{why}");
    // Fields 60 and 61 of an entry and of a command: nothing that there is.
    let entry = Bytes::from_static(&[1, 0x08, 0x05, 0xe2, 0x03, 0x00]);
    let why = decode_entry(&entry).unwrap_err().to_string();
    assert!(why.contains("newer feature level"), "{why}");
    let command = Bytes::from_static(&[1, 0xea, 0x03, 0x00]);
    let why = decode_view_command(&command).unwrap_err().to_string();
    assert!(why.contains("newer feature level"), "{why}");
}
