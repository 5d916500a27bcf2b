//! What a subscriber has processed: which items are new, and from where to go on (protocol section
//! 12, rules 2 and 3). A value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_protocol::json::{Reason, Received};

/// How far a subscriber has processed its topics: the last cursor whose items are all processed,
/// and each topic's highest processed position since. Its text is a cursor alone, or a cursor and
/// a line `POSITION TOPIC` for each topic: keep it, and go on from it in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    cursor: Option<String>,
    highest: BTreeMap<TopicName, Position>,
}

impl Progress {
    /// Begins after a cursor.
    pub fn after(cursor: impl Into<String>) -> Self {
        Self {
            cursor: Some(cursor.into()),
            highest: BTreeMap::new(),
        }
    }

    /// The cursor to present; `None` if there is none yet.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The highest processed position of a topic, if any is known.
    pub fn highest(&self, topic: &TopicName) -> Option<Position> {
        self.highest.get(topic).copied()
    }

    /// True if the application should get the item: a message above the highest processed position,
    /// and every gap.
    pub fn is_new(&self, item: &Received) -> bool {
        match item {
            Received::Message(received) => self
                .highest(&received.topic)
                .is_none_or(|highest| received.message.position > highest),
            Received::Gap(_) => true,
            Received::Other(_) => false,
        }
    }

    /// The application is done with everything up to this item.
    pub fn on_processed(&mut self, mark: &Mark) {
        let Mark {
            topic,
            position,
            lowers,
        } = mark;
        let highest = self.highest.entry(topic.clone()).or_insert(*position);
        if *lowers || *position > *highest {
            *highest = *position;
        }
    }

    /// Everything before this cursor is processed.
    pub fn on_cursor(&mut self, cursor: String) {
        self.cursor = Some(cursor);
    }

    /// The topic is over: its position means nothing any more.
    pub fn on_topic_ended(&mut self, topic: &TopicName) {
        self.highest.remove(topic);
    }
}

/// What processing an item does to the highest position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    topic: TopicName,
    position: Position,
    /// Only by a gap `position_ahead`.
    lowers: bool,
}

impl Mark {
    /// The mark of an item; `None` for an item of a newer server.
    pub fn of(item: &Received) -> Option<Self> {
        match item {
            Received::Message(received) => Some(Self {
                topic: received.topic.clone(),
                position: received.message.position,
                lowers: false,
            }),
            Received::Gap(gap) => Some(Self {
                topic: gap.topic.clone(),
                position: gap.to,
                lowers: gap.reason == Reason::PositionAhead,
            }),
            Received::Other(_) => None,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cursor) = &self.cursor else {
            return Ok(());
        };
        writeln!(f, "{cursor}")?;
        for (topic, position) in &self.highest {
            writeln!(f, "{position} {topic}")?;
        }
        Ok(())
    }
}

impl FromStr for Progress {
    type Err = BadProgress;

    fn from_str(text: &str) -> Result<Self, BadProgress> {
        let mut lines = text.lines();
        let Some(cursor) = lines.next().filter(|line| !line.trim().is_empty()) else {
            return match text.trim().is_empty() {
                true => Ok(Self::default()),
                false => Err(BadProgress(1)),
            };
        };
        if cursor.trim().contains(char::is_whitespace) {
            return Err(BadProgress(1));
        }
        let mut progress = Self::after(cursor.trim());
        for (at, line) in lines.enumerate() {
            let row = line.split_once(' ').and_then(|(position, topic)| {
                Some((topic.trim().parse().ok()?, position.parse().ok()?))
            });
            let (topic, position) = row.ok_or(BadProgress(at + 2))?;
            progress.highest.insert(topic, position);
        }
        Ok(progress)
    }
}

/// A text that is no kept progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is neither a cursor (the first line) nor `POSITION TOPIC` (the others)")]
pub struct BadProgress(usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gap, message};

    fn take(progress: &mut Progress, item: &Received) -> bool {
        let new = progress.is_new(item);
        if new {
            progress.on_processed(&Mark::of(item).unwrap());
        }
        new
    }

    #[test]
    fn a_message_is_new_once_however_often_it_comes() {
        let mut progress = Progress::default();
        let got: Vec<bool> = [41, 42, 42, 41, 43]
            .map(|offset| take(&mut progress, &message("news", 7, offset)))
            .into();
        assert_eq!(got, [true, true, false, false, true]);
        assert!(
            take(&mut progress, &message("chat", 7, 1)),
            "topics are independent"
        );
        assert!(
            take(&mut progress, &message("news", 8, 1)),
            "a newer epoch is above"
        );
        assert!(
            !take(&mut progress, &message("news", 7, 99)),
            "an older one is not"
        );
    }

    #[test]
    fn every_gap_is_handed_on_and_raises_the_position() {
        let mut progress = Progress::default();
        take(&mut progress, &message("news", 7, 42));
        let trimmed = gap("news", "trimmed", "7-42", "7-100");
        assert!(take(&mut progress, &trimmed));
        assert!(!take(&mut progress, &message("news", 7, 100)));
        assert!(take(&mut progress, &trimmed), "told again after a resume");
        let strange = gap("news", "eclipse", "7-100", "7-110");
        assert!(take(&mut progress, &strange));
        assert_eq!(
            progress.highest(&"news".parse().unwrap()),
            Some(Position::new(7, 110))
        );
    }

    #[test]
    fn only_position_ahead_lowers_the_position() {
        let mut progress = Progress::default();
        take(&mut progress, &message("news", 7, 42));
        take(&mut progress, &gap("news", "trimmed", "7-1", "7-9"));
        assert!(!take(&mut progress, &message("news", 7, 10)));
        take(&mut progress, &gap("news", "position_ahead", "7-42", "7-9"));
        assert!(take(&mut progress, &message("news", 7, 10)));
    }

    #[test]
    fn progress_is_read_as_it_is_kept_and_a_bare_cursor_is_progress() {
        let mut progress = Progress::after("C42");
        take(&mut progress, &message("news", 7, 43));
        assert_eq!(progress.to_string(), "C42\n7-43 news\n");
        assert_eq!(progress.to_string().parse(), Ok(progress));
        assert_eq!("C42".parse(), Ok(Progress::after("C42")));
        assert_eq!("".parse(), Ok(Progress::default()));
        assert_eq!("C42\nnews".parse::<Progress>(), Err(BadProgress(2)));
        assert_eq!("not a cursor".parse::<Progress>(), Err(BadProgress(1)));
    }
}
