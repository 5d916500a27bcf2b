//! Positions: where a message stands in its topic's stream, and what may be compared with what.

use std::fmt;
use std::str::FromStr;

/// Identity of a topic's stream. Ordered: a higher one is a newer stream. Not raft's term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Place in a stream: 1, 2, 3 … without holes; 0 stands before the first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; 0 stays 0.
    pub fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// A slot of a topic, or the place between two: "all up to and including this one".
/// Ordered by epoch, then by offset. Written `EPOCH-OFFSET`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub epoch: Epoch,
    pub offset: Offset,
}

impl Position {
    /// `0-0`: as an expectation, "no message yet". No stream has epoch 0.
    pub const NONE: Self = Self {
        epoch: Epoch(0),
        offset: Offset(0),
    };

    /// The position (epoch, offset).
    pub const fn new(epoch: u64, offset: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            offset: Offset(offset),
        }
    }

    /// The next slot of the same stream.
    pub fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            offset: self.offset.next(),
        }
    }

    /// The slot before in the same stream; offset 0 stays 0.
    pub fn before(self) -> Self {
        Self {
            epoch: self.epoch,
            offset: self.offset.before(),
        }
    }

    /// The beginning of this position's stream.
    pub fn stream_start(self) -> Self {
        Self {
            epoch: self.epoch,
            offset: Offset(0),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.offset.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(raw: &str) -> Result<Self, BadPosition> {
        let (epoch, offset) = raw.split_once('-').ok_or(BadPosition)?;
        Ok(Self {
            epoch: Epoch(decimal(epoch)?),
            offset: Offset(decimal(offset)?),
        })
    }
}

/// A u64 in decimal without sign or leading zeros.
fn decimal(raw: &str) -> Result<u64, BadPosition> {
    let digits = !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_digit());
    let padded = raw.len() > 1 && raw.starts_with('0');
    if !digits || padded {
        return Err(BadPosition);
    }
    raw.parse().map_err(|_| BadPosition)
}

/// Why a text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is EPOCH-OFFSET, two decimal numbers without leading zeros, such as 7-42")]
pub struct BadPosition;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        let max = format!("{0}-{0}", u64::MAX);
        for text in ["7-42", "0-0", max.as_str()] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "7",
            "7-",
            "-1",
            "07-1",
            "7-01",
            "+7-1",
            "7-1-1",
            "7- 1",
            "18446744073709551616-0",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(BadPosition), "{bad}");
        }
    }

    #[test]
    fn positions_compare_as_numbers() {
        assert!(Position::new(7, 100) > Position::new(7, 42));
        assert!(Position::new(10, 0) > Position::new(9, 100));
    }
}
