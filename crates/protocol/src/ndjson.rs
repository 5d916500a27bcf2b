//! Lines of JSON: cut out of a stream that a client reads (protocol section 8), and the
//! answers to a batch of drafts (section 3). The drafts themselves are `json::draft`'s.

use fanfare_core::receipt::{Receipt, Refusal};

use crate::json::ack::{Acked, put_receipt};
use crate::json::problem::{Problem, put_problem, status};
use crate::json::{Malformed, Members, Wrong, put_name, put_number};

/// The media type of lines of JSON.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// Cuts a stream into lines, bounded.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    rest: Vec<u8>,
}

impl Lines {
    /// `limit`: most bytes of a line.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            rest: Vec::new(),
        }
    }

    /// Takes the next piece and hands each whole line to `take`, without its line feed. Empty lines
    /// are passed over.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), Malformed> {
        let mut piece = piece;
        loop {
            let end = piece.iter().position(|b| *b == b'\n');
            let part = &piece[..end.unwrap_or(piece.len())];
            if self.rest.len() + part.len() > self.limit {
                return Err(Malformed::TooLong { limit: self.limit });
            }
            let Some(end) = end else {
                self.rest.extend_from_slice(part);
                return Ok(());
            };
            if self.rest.is_empty() {
                take_unless_blank(part, &mut take);
            } else {
                self.rest.extend_from_slice(part);
                take_unless_blank(&self.rest, &mut take);
                self.rest.clear();
            }
            piece = &piece[end + 1..];
        }
    }

    /// True if the stream may end here: no line is half read.
    pub fn is_clean(&self) -> bool {
        self.rest.is_empty()
    }
}

fn take_unless_blank(line: &[u8], take: &mut impl FnMut(&[u8])) {
    if !line.trim_ascii().is_empty() {
        take(line);
    }
}

/// Appends the answer to a draft that was taken, with its line feed.
pub fn put_batch_ack(out: &mut Vec<u8>, index: usize, receipt: &Receipt) {
    out.push(b'{');
    put_number(out, "index", index);
    put_name(out, "ack");
    put_receipt(out, receipt);
    out.extend_from_slice(b"}\n");
}

/// Appends the answer to a draft that was refused, with its line feed.
pub fn put_batch_error(
    out: &mut Vec<u8>,
    index: usize,
    refusal: &Refusal,
    request_id: Option<&str>,
) {
    out.push(b'{');
    put_number(out, "index", index);
    put_name(out, "error");
    put_problem(out, refusal, status(refusal), request_id);
    out.extend_from_slice(b"}\n");
}

/// The answer to one draft of a batch, as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAnswer {
    pub index: u64,
    pub verdict: Result<Acked, Problem>,
}

impl BatchAnswer {
    /// Reads a line. An index that never gets one is unknown.
    pub fn read(line: &[u8]) -> Result<Self, Malformed> {
        let mut members = Members::read(line).ok_or(Malformed::NotAnObject)?;
        let index = members
            .number("index")?
            .ok_or_else(|| Wrong::missing("index"))?;
        let verdict = match members.object("ack")? {
            Some(mut ack) => Ok(Acked::of_members(&mut ack)?),
            None => {
                let error = members.object("error")?;
                let mut error = error.ok_or_else(|| Wrong::missing("error"))?;
                Err(Problem::of_members(&mut error)?)
            }
        };
        Ok(Self { index, verdict })
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::code::Code;
    use fanfare_core::position::Position;
    use fanfare_core::receipt::Reached;
    use fanfare_core::rule::Class;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::topic;

    #[test]
    fn each_line_is_answered_by_its_index() {
        let receipt = Receipt {
            topic: topic("news"),
            position: Some(Position::new(7, 42)),
            class: Class::Ephemeral,
            reached: Reached::Ephemeral,
            duplicate: true,
            dedup_remaining_ms: None,
        };
        let refusal = Refusal::of_publish(Code::InvalidArgument, "unknown member").field("colour");
        let mut out = Vec::new();
        put_batch_ack(&mut out, 0, &receipt);
        put_batch_error(&mut out, 1, &refusal, None);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"index":0,"ack":{"topic":"news","position":"7-42","class":"ephemeral","reached":"ephemeral","duplicate":true}}"#
        );
        assert!(
            lines[1].starts_with(r#"{"index":1,"error":{"type":"/v1/errors/invalid_argument","#)
        );
        let answers: Vec<_> = lines
            .iter()
            .map(|l| BatchAnswer::read(l.as_bytes()).unwrap())
            .collect();
        assert_eq!(answers[0].verdict, Ok(receipt.into()));
        assert_eq!(
            answers[1],
            BatchAnswer {
                index: 1,
                verdict: Err(refusal.into())
            }
        );
    }

    proptest! {
        #[test]
        fn lines_come_whole_however_they_are_cut(lines in prop::collection::vec("[a-z]{1,20}", 1..8), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let stream = lines.join("\n") + "\n";
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let (mut cutter, mut got) = (Lines::new(20), Vec::new());
            for two in ends.windows(2) {
                let piece = &stream.as_bytes()[two[0]..two[1]];
                cutter.push(piece, |line| got.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
            }
            prop_assert!(cutter.is_clean());
            prop_assert_eq!(got, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut cutter = Lines::new(4);
        cutter.push(b"abc", |_| {}).unwrap();
        assert_eq!(
            cutter.push(b"de", |_| {}),
            Err(Malformed::TooLong { limit: 4 })
        );
    }
}
