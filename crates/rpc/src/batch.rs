//! Streams that send what waits: everything that is queued leaves as one message, within bounds.

use std::collections::VecDeque;

use futures_util::Stream;
use tokio::sync::mpsc;

/// Most values of one message.
const MAX_COUNT: usize = 512;
/// A message is closed once its values cost this many bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

struct State<T> {
    queue: mpsc::Receiver<T>,
    /// Taken from the queue and not sent yet; fewer than `MAX_COUNT`.
    taken: VecDeque<T>,
}

/// What comes out of `queue`, as batches in order. Ends when the queue does.
pub(crate) fn batches<T: Send + 'static>(
    queue: mpsc::Receiver<T>,
    cost: fn(&T) -> u64,
) -> impl Stream<Item = Vec<T>> + Send + 'static {
    let state = State {
        queue,
        taken: VecDeque::new(),
    };
    futures_util::stream::unfold(state, move |mut state| async move {
        if state.taken.is_empty() {
            let mut taken = Vec::new();
            if state.queue.recv_many(&mut taken, MAX_COUNT).await == 0 {
                return None;
            }
            state.taken = taken.into();
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < MAX_BYTES
            && let Some(value) = state.taken.pop_front()
        {
            bytes += cost(&value);
            batch.push(value);
        }
        Some((batch, state))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_waits_leaves_together_and_in_order() {
        let (tx, rx) = mpsc::channel(10);
        for n in 0..3 {
            tx.send(n).await.unwrap();
        }
        let mut out = std::pin::pin!(batches(rx, |_| 1));
        assert_eq!(out.next().await, Some(vec![0, 1, 2]));
        tx.send(3).await.unwrap();
        drop(tx);
        assert_eq!(out.next().await, Some(vec![3]));
        assert_eq!(out.next().await, None);
    }

    #[tokio::test]
    async fn a_batch_is_closed_by_its_bytes() {
        let (tx, rx) = mpsc::channel(10);
        for n in [600_000_u64, 600_000, 2_000_000, 1] {
            tx.send(n).await.unwrap();
        }
        drop(tx);
        let out: Vec<_> = batches(rx, |n| *n).collect().await;
        assert_eq!(out, [vec![600_000, 600_000], vec![2_000_000], vec![1]]);
    }
}
