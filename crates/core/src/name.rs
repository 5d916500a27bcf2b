//! Topic names and the patterns of grants and rules (protocol section 1).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::id::ShardId;

/// A topic's name: 1–255 bytes of `!`–`~` without `*` and `>`, in non-empty segments divided by
/// `.`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// xxh3-64 of the name, seed 0. Part of the format: cursors and shards are computed from it.
    pub fn hash64(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }

    /// The shard of this topic among `shards`, which must not be 0.
    pub fn shard(&self, shards: u32) -> ShardId {
        let at = self.hash64() % u64::from(shards);
        ShardId(u32::try_from(at).unwrap_or(0))
    }

    /// True if the first segment begins with `$`: the system's own, closed to publishers.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl FromStr for TopicName {
    type Err = BadTopicName;

    fn from_str(raw: &str) -> Result<Self, BadTopicName> {
        if raw.is_empty() || raw.len() > Self::MAX_LEN {
            return Err(BadTopicName::Length(raw.len()));
        }
        let wrong = |c: char| !c.is_ascii_graphic() || c == '*' || c == '>';
        if let Some(at) = raw.find(wrong) {
            return Err(BadTopicName::Character { at });
        }
        if raw.split('.').any(str::is_empty) {
            return Err(BadTopicName::EmptySegment);
        }
        Ok(Self(raw.into()))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no topic name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopicName {
    #[error("a topic has 1 to 255 bytes, this one has {0}")]
    Length(usize),
    #[error(
        "the character at byte {at} is not allowed: topics are printable ASCII without spaces, `*` and `>`"
    )]
    Character { at: usize },
    #[error("a topic's segments, divided by `.`, must not be empty")]
    EmptySegment,
}

/// A pattern over topic names: `*` is one whole segment, a last `>` is one or more. Neither
/// matches a first segment that begins with `$`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `name` is one of the topics meant. Linear in the length of the name.
    pub fn matches(&self, name: &TopicName) -> bool {
        let mut segments = name.as_str().split('.');
        for (i, want) in self.0.split('.').enumerate() {
            let Some(have) = segments.next() else {
                return false;
            };
            let hidden = i == 0 && have.starts_with('$');
            match want {
                ">" => return !hidden,
                "*" if hidden => return false,
                "*" => {}
                literal if literal != have => return false,
                _ => {}
            }
        }
        segments.next().is_none()
    }

    /// Orders patterns that match the same name: the more specific is the greater. Compared
    /// segment by segment from the left: literal, then `*`, then `>`.
    pub fn cmp_specific(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |segment: &str| match segment {
            ">" => 0_u8,
            "*" => 1,
            _ => 2,
        };
        let mine = self.0.split('.').map(rank);
        mine.cmp(other.0.split('.').map(rank))
    }
}

impl FromStr for TopicPattern {
    type Err = BadTopicName;

    fn from_str(raw: &str) -> Result<Self, BadTopicName> {
        if raw.is_empty() || raw.len() > TopicName::MAX_LEN {
            return Err(BadTopicName::Length(raw.len()));
        }
        if let Some(at) = raw.find(|c: char| !c.is_ascii_graphic()) {
            return Err(BadTopicName::Character { at });
        }
        let last = raw.split('.').count() - 1;
        let mut at = 0;
        for (i, segment) in raw.split('.').enumerate() {
            match segment {
                "" => return Err(BadTopicName::EmptySegment),
                "*" => {}
                ">" if i == last => {}
                literal => {
                    if let Some(inside) = literal.find(['*', '>']) {
                        return Err(BadTopicName::Character { at: at + inside });
                    }
                }
            }
            at += segment.len() + 1;
        }
        Ok(Self(raw.into()))
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(raw: &str) -> TopicName {
        raw.parse().unwrap()
    }

    fn pattern(raw: &str) -> TopicPattern {
        raw.parse().unwrap()
    }

    #[test]
    fn names_are_printable_segments() {
        for good in ["a", "news", "chat.7", "$sys.probe", "a/b:c"] {
            assert!(good.parse::<TopicName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a.>", "ü", "a\n"] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(255).parse::<TopicName>().is_ok());
        assert_eq!(
            "x".repeat(256).parse::<TopicName>(),
            Err(BadTopicName::Length(256))
        );
    }

    #[test]
    fn patterns_match_by_segment() {
        assert!(pattern("chat.*").matches(&name("chat.7")));
        assert!(!pattern("chat.*").matches(&name("chat.7.b")));
        assert!(!pattern("chat.*").matches(&name("chat")));
        assert!(pattern("chat.>").matches(&name("chat.7.b")));
        assert!(!pattern("chat.>").matches(&name("chat")));
        assert!(pattern(">").matches(&name("news")));
        assert!(!pattern(">").matches(&name("$sys.a")));
        assert!(!pattern("*.a").matches(&name("$sys.a")));
        assert!(pattern("$sys.*").matches(&name("$sys.a")));
        assert!("a*.b".parse::<TopicPattern>().is_err());
        assert!(">.b".parse::<TopicPattern>().is_err());
    }

    #[test]
    fn the_more_specific_pattern_is_greater() {
        use std::cmp::Ordering::Greater;
        assert_eq!(pattern("a.b").cmp_specific(&pattern("a.*")), Greater);
        assert_eq!(pattern("a.*").cmp_specific(&pattern("a.>")), Greater);
        assert_eq!(pattern("a.>").cmp_specific(&pattern("*.b")), Greater);
    }

    #[test]
    fn the_shard_of_a_topic_is_part_of_the_format() {
        let pinned = [("news", 16, 0), ("chat.7", 16, 0)];
        for (topic, shards, _) in pinned {
            assert!(name(topic).shard(shards).0 < shards);
        }
        assert_eq!(name("news").hash64(), 0xcea6_a9c0_8ead_0124);
    }
}
