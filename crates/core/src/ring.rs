//! A queue in chunks that are shared when it is cloned: a clone costs one count for each chunk, and
//! who changes a shared chunk copies that one alone.

use std::collections::VecDeque;
use std::sync::Arc;

/// First in, first out, with access by place. All chunks but the first and the last hold `N`.
#[derive(Clone, Debug)]
pub(crate) struct Ring<T, const N: usize> {
    chunks: VecDeque<Arc<VecDeque<T>>>,
    len: usize,
}

impl<T, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T: Clone, const N: usize> Ring<T, N> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, item: T) {
        self.len += 1;
        if let Some(last) = self.chunks.back_mut()
            && last.len() < N
        {
            Arc::make_mut(last).push_back(item);
            return;
        }
        self.chunks.push_back(Arc::new(VecDeque::from([item])));
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = self.chunks.front_mut()?;
        let item = Arc::make_mut(first).pop_front();
        if first.is_empty() {
            self.chunks.pop_front();
        }
        self.len -= usize::from(item.is_some());
        item
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.chunks.front()?.front()
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.chunks.back()?.back()
    }

    /// The item at `place`, counted from the oldest, which is 0.
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        let first = self.chunks.front()?.len();
        match place.checked_sub(first) {
            None => self.chunks.front()?.get(place),
            Some(rest) => self.chunks.get(1 + rest / N)?.get(rest % N),
        }
    }

    /// From `place` on, the oldest first.
    pub(crate) fn iter_from(&self, place: usize) -> impl Iterator<Item = &T> {
        (place..self.len).map_while(|at| self.get(at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone, const N: usize> FromIterator<T> for Ring<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut ring = Self::default();
        items.into_iter().for_each(|item| ring.push(item));
        ring
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_is_a_queue_and_its_clones_stay_as_they_were(
            pushes in prop::collection::vec(prop::option::of(0_u32..100), 0..200),
            freeze in 0_usize..200,
        ) {
            let mut ring = Ring::<u32, 4>::default();
            let mut plain = VecDeque::new();
            let mut frozen = (ring.clone(), plain.clone());
            for (step, push) in pushes.into_iter().enumerate() {
                if step == freeze {
                    frozen = (ring.clone(), plain.clone());
                }
                match push {
                    Some(item) => {
                        ring.push(item);
                        plain.push_back(item);
                    }
                    None => prop_assert_eq!(ring.pop(), plain.pop_front()),
                }
                prop_assert_eq!(ring.len(), plain.len());
                prop_assert_eq!(ring.first(), plain.front());
                prop_assert_eq!(ring.last(), plain.back());
                prop_assert!((0..=plain.len()).all(|at| ring.get(at) == plain.get(at)));
                prop_assert!(ring.iter().eq(plain.iter()));
                prop_assert!(ring.iter_from(plain.len() / 2).eq(plain.iter().skip(plain.len() / 2)));
            }
            prop_assert!(frozen.0.iter().eq(frozen.1.iter()));
        }
    }
}
