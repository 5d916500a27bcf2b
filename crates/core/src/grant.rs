//! What a bearer may do. Decided here, asked by the doors at subscribe, at every resume and page.

use crate::name::{TopicName, TopicPattern};

/// Rights of one bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub subscribe: Vec<TopicPattern>,
    pub publish: Vec<TopicPattern>,
    /// Polls and history pages alone.
    pub history: Vec<TopicPattern>,
    pub admin: bool,
    /// Open access: everything but system topics, and the admin services.
    open: bool,
}

impl Grants {
    /// The grants of a node without authentication.
    pub fn open() -> Self {
        Self {
            open: true,
            admin: true,
            ..Self::default()
        }
    }

    /// May hold a session on `topic`, and read all that is retained of it.
    pub fn may_subscribe(&self, topic: &TopicName) -> bool {
        (self.open && !topic.is_system()) || any(&self.subscribe, topic)
    }

    /// May poll `topic` and read its history.
    pub fn may_read(&self, topic: &TopicName) -> bool {
        self.may_subscribe(topic) || any(&self.history, topic)
    }

    /// May publish to `topic`; nobody may to the system's.
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        !topic.is_system() && (self.open || any(&self.publish, topic))
    }
}

fn any(patterns: &[TopicPattern], topic: &TopicName) -> bool {
    patterns.iter().any(|pattern| pattern.matches(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_alone_allows_reading_and_no_session() {
        let grants = Grants {
            history: vec!["news".parse().unwrap()],
            ..Grants::default()
        };
        let news = "news".parse().unwrap();
        assert!(grants.may_read(&news));
        assert!(!grants.may_subscribe(&news));
    }

    #[test]
    fn nobody_publishes_to_the_system() {
        let system = "$sys.probe".parse().unwrap();
        assert!(!Grants::open().may_publish(&system));
        let named = Grants {
            publish: vec!["$sys.*".parse().unwrap()],
            ..Grants::default()
        };
        assert!(!named.may_publish(&system));
    }
}
