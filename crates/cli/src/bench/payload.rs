//! Payloads that say what they are: text with the run, the draft and its planned time, filled up,
//! and at the end a digest of all before it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use fanfare_checker::digest;

/// Bytes of the smallest payload.
pub const SMALLEST: usize = HEAD + DIGEST;
const HEAD: usize = 2 + 8 + 4 + 8 + 10 + 14;
const DIGEST: usize = 16;

/// What a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// Drawn for each run.
    pub(super) mark: u32,
    pub(super) lane: usize,
    pub(super) topic: usize,
    /// Number of the draft in its lane, from 0.
    pub(super) n: u64,
    /// When it was planned to be published, on the run's clock, in whole µs.
    pub(super) due: Duration,
}

/// What the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// As it was published.
    Whole(Label, u64),
    /// Of this run by its beginning, and not as any of its publishers makes them.
    Spoilt,
    /// Somebody else's.
    Foreign,
}

impl Label {
    /// A payload of `size` bytes, at least [`SMALLEST`], and its digest.
    pub(super) fn payload(&self, size: usize) -> (Bytes, u64) {
        let Self {
            mark,
            lane,
            topic,
            n,
            due,
        } = self;
        let micros = due.as_micros();
        let mut text = String::with_capacity(size.max(SMALLEST));
        // A string takes all that is written to it.
        write!(
            text,
            "fb{mark:08x}{lane:04x}{topic:08x}{n:010x}{micros:014x}"
        )
        .ok();
        let fill = size.saturating_sub(SMALLEST);
        let shift = usize::from(n.to_le_bytes()[0] % 26);
        let letters = ('a'..='z').cycle().skip(shift);
        text.extend(letters.take(fill));
        let digest = digest(text.as_bytes());
        write!(text, "{digest:016x}").ok();
        (Bytes::from(text), digest)
    }

    /// Reads a payload in the run with this mark.
    pub(super) fn read(payload: &[u8], mark: u32) -> Read {
        let begins = format!("fb{mark:08x}");
        if !payload.starts_with(begins.as_bytes()) {
            return Read::Foreign;
        }
        Self::read_own(payload, mark).unwrap_or(Read::Spoilt)
    }

    fn read_own(payload: &[u8], mark: u32) -> Option<Read> {
        let split = payload.len().checked_sub(DIGEST)?;
        let (said, told) = payload.split_at_checked(split)?;
        let number = |from: usize, len: usize| {
            let text = std::str::from_utf8(said.get(from..from.checked_add(len)?)?).ok()?;
            u64::from_str_radix(text, 16).ok()
        };
        let told = u64::from_str_radix(std::str::from_utf8(told).ok()?, 16).ok()?;
        if digest(said) != told {
            return None;
        }
        let label = Self {
            mark,
            lane: usize::try_from(number(10, 4)?).ok()?,
            topic: usize::try_from(number(14, 8)?).ok()?,
            n: number(22, 10)?,
            due: Duration::from_micros(number(32, 14)?),
        };
        Some(Read::Whole(label, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label {
        mark: 0xbeef,
        lane: 3,
        topic: 70_000,
        n: 12_345,
        due: Duration::from_micros(1_234_567),
    };

    #[test]
    fn a_payload_says_what_it_is_in_any_size() {
        for size in [SMALLEST, 128, 4_096] {
            let (payload, digest) = LABEL.payload(size);
            assert_eq!(payload.len(), size);
            assert_eq!(Label::read(&payload, 0xbeef), Read::Whole(LABEL, digest));
        }
        assert_eq!(LABEL.payload(0).0.len(), SMALLEST);
    }

    #[test]
    fn one_changed_byte_spoils_it() {
        let (payload, _) = LABEL.payload(128);
        for at in 10..payload.len() {
            let mut changed = payload.to_vec();
            changed[at] ^= 1;
            assert_eq!(Label::read(&changed, 0xbeef), Read::Spoilt, "byte {at}");
        }
        assert_eq!(Label::read(&payload[..40], 0xbeef), Read::Spoilt);
    }

    #[test]
    fn what_is_of_another_run_is_foreign() {
        let (payload, _) = LABEL.payload(128);
        assert_eq!(Label::read(&payload, 1), Read::Foreign);
        assert_eq!(Label::read(b"hello", 0xbeef), Read::Foreign);
        assert_eq!(Label::read(b"", 0xbeef), Read::Foreign);
    }
}
