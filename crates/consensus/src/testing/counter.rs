//! A toy machine: it adds numbers up and remembers each.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::{Codec, FrozenState, LogPosition, Malformed, StateMachine};

/// What a `Counter` holds; a clone reads the same state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    numbers: Vec<u64>,
    seen: Option<LogPosition>,
}

impl Counter {
    /// All numbers so far, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().numbers.clone()
    }
}

impl StateMachine for Counter {
    type Command = u64;
    /// How many numbers there are now.
    type Outcome = usize;

    fn apply(&mut self, at: LogPosition, command: Option<&u64>) -> Option<usize> {
        let mut state = self.0.lock().unwrap();
        assert!(state.seen < Some(at), "{at:?} after {:?}", state.seen);
        state.seen = Some(at);
        state.numbers.extend(command);
        command.map(|_| state.numbers.len())
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let state = self.0.lock().unwrap().clone();
        let mut blocks: Vec<Bytes> = state
            .numbers
            .chunks(3)
            .map(|some| {
                some.iter()
                    .flat_map(|number| number.to_le_bytes())
                    .collect()
            })
            .collect();
        blocks.reverse();
        Box::new(Blocks(blocks))
    }

    fn restore(&mut self, blocks: &mut dyn Iterator<Item = Bytes>) -> Result<(), Malformed> {
        let mut numbers = Vec::new();
        for block in blocks {
            for number in block.chunks(8) {
                let number = number.try_into().map_err(|_| bad())?;
                numbers.push(u64::from_le_bytes(number));
            }
        }
        *self.0.lock().unwrap() = State {
            numbers,
            seen: None,
        };
        Ok(())
    }
}

struct Blocks(Vec<Bytes>);

impl FrozenState for Blocks {
    fn next_block(&mut self) -> Option<Bytes> {
        self.0.pop()
    }
}

fn bad() -> Malformed {
    Malformed {
        what: "number".to_owned(),
    }
}

/// Eight bytes a number.
pub(crate) struct Numbers;

impl Codec<u64> for Numbers {
    fn encode(&self, command: &u64) -> Bytes {
        Bytes::copy_from_slice(&command.to_le_bytes())
    }

    fn decode(&self, stored: &Bytes) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(
            stored.as_ref().try_into().map_err(|_| bad())?,
        ))
    }
}
