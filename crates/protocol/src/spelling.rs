//! How the words of the vocabulary are spelled on the wire, and words a newer server may say.

use std::fmt;

use fanfare_core::code::{Advice, Code, Outcome};
use fanfare_core::gap::{Answer, GapReason, TrimmedBy};
use fanfare_core::message::Ack;
use fanfare_core::receipt::Reached;
use fanfare_core::rule::Class;

/// A word with one spelling.
pub trait Spelled: Copy + 'static {
    /// All words.
    const ALL: &'static [Self];

    /// As it is spelled on the wire.
    fn spelling(self) -> &'static str;

    /// The word of this spelling.
    fn spelled(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|word| word.spelling() == text)
    }
}

/// A word that was received: one of ours, or one that a newer server has and we treat as "other"
/// (protocol section 13).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named<T> {
    Known(T),
    Other(String),
}

impl<T: Spelled> Named<T> {
    /// Reads a word; any text is one.
    pub fn read(text: &str) -> Self {
        T::spelled(text).map_or_else(|| Self::Other(text.to_owned()), Self::Known)
    }

    /// As it is spelled on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(word) => word.spelling(),
            Self::Other(text) => text,
        }
    }

    /// The word, if it is one of ours.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<T> From<T> for Named<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: Spelled> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which answer attaching a topic got (C13), without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerKind {
    Recovered,
    Gap,
    Latest,
}

impl From<&Answer> for AnswerKind {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Recovered(_) => Self::Recovered,
            Answer::Gap(_) => Self::Gap,
            Answer::Latest => Self::Latest,
        }
    }
}

/// How a gap's reason is spelled; the limit that trimmed is spelled apart, in `by`.
pub fn reason_spelling(reason: GapReason) -> &'static str {
    match reason {
        GapReason::DataLoss => "data_loss",
        GapReason::EpochChanged => "epoch_changed",
        GapReason::PositionAhead => "position_ahead",
        GapReason::Trimmed(_) => "trimmed",
        GapReason::Conflated => "conflated",
    }
}

macro_rules! spelled {
    ($($word:ident { $($variant:ident $text:literal),* $(,)? })*) => {
        $(impl Spelled for $word {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn spelling(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        })*
    };
}

spelled! {
    Ack { Committed "committed", None "none" }
    Class { Durable "durable", Ephemeral "ephemeral" }
    Reached { None "none", Ephemeral "ephemeral", Durable "durable" }
    TrimmedBy { Age "age", Count "count", Bytes "bytes", Budget "budget" }
    AnswerKind { Recovered "recovered", Gap "gap", Latest "latest" }
}

impl Spelled for Outcome {
    const ALL: &'static [Self] = &[Self::None, Self::NotPlaced, Self::Unknown];

    fn spelling(self) -> &'static str {
        self.as_str()
    }
}

impl Spelled for Advice {
    const ALL: &'static [Self] = &[
        Self::GiveUp,
        Self::RetryLater,
        Self::RetrySameKey,
        Self::Reroute,
        Self::Reauthenticate,
    ];

    fn spelling(self) -> &'static str {
        self.as_str()
    }
}

impl Spelled for Code {
    const ALL: &'static [Self] = Self::ALL;

    fn spelling(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_come_back<T: Spelled + PartialEq + fmt::Debug>() {
        for word in T::ALL {
            assert_eq!(Named::read(word.spelling()), Named::Known(*word));
        }
        assert_eq!(Named::<T>::read("new").known(), None);
        assert_eq!(Named::<T>::read("new").as_str(), "new");
    }

    #[test]
    fn words_are_read_as_they_are_spelled() {
        all_come_back::<Ack>();
        all_come_back::<Class>();
        all_come_back::<Reached>();
        all_come_back::<TrimmedBy>();
        all_come_back::<AnswerKind>();
        all_come_back::<Outcome>();
        all_come_back::<Advice>();
        all_come_back::<Code>();
    }
}
