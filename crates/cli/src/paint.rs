//! Colours and progress: on a terminal only, and no colour where NO_COLOR is set (no-color.org) or
//! the terminal is dumb. Through a pipe nothing but the words.

use std::io::{IsTerminal as _, Write as _};

/// What a terminal shows in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Good,
    Bad,
    Warn,
    Faint,
    Strong,
}

/// Puts colour on words, or does not.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For what is written to stdout.
    pub fn stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// For what is written to stderr.
    pub fn stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    /// Without colour, wherever it goes.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { on: false }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "whether there is colour is the terminal's to say"
    )]
    fn of(terminal: bool) -> Self {
        let plain = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        Self {
            on: terminal && !plain && !dumb,
        }
    }

    /// The words in colour, on a terminal that has it.
    pub fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Warn => "33",
            Ink::Faint => "2",
            Ink::Strong => "1",
        };
        match self.on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// One line on stderr that the next one takes the place of; nothing without a terminal.
#[derive(Debug)]
pub struct Progress {
    shows: bool,
}

impl Progress {
    /// Progress on stderr, if that is a terminal.
    pub fn start() -> Self {
        Self {
            shows: std::io::stderr().is_terminal(),
        }
    }

    /// Shows what is going on.
    pub fn show(&self, text: &str) {
        self.put(&format!("\r\x1b[K{text}"));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.put("\r\x1b[K");
    }

    fn put(&self, text: &str) {
        if self.shows {
            let mut out = std::io::stderr().lock();
            // Nobody is there to be told if that fails.
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Words in lines of at most `width` characters; lines after the first begin with `indent` spaces.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals() {
        assert_eq!(Paint { on: false }.ink(Ink::Bad, "no"), "no");
        assert_eq!(Paint { on: true }.ink(Ink::Bad, "no"), "\x1b[31mno\x1b[0m");
    }

    #[test]
    fn long_sentences_are_wrapped_under_their_beginning() {
        assert_eq!(
            wrap("one two three four", 2, 10),
            "one two\n  three\n  four"
        );
        assert_eq!(wrap("", 2, 10), "");
        assert_eq!(wrap("unbreakable-word", 2, 10), "unbreakable-word");
    }
}
