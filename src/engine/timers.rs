//! The instants that operations wait for: a heap that knows where each operation stands in it, so that one that ends early
//! leaves at once. On the loop's thread.

use crate::driver;
use crate::error::{self, Error, Result};
use crate::headroom;

/// Four children a node: fewer levels than two, and they share a cache line.
const ARITY: usize = 4;

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    index: u32,
}

/// Where an operation's entry stands in the heap, plus one; 0: nowhere.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place(u32);

const NOWHERE: Place = Place(0);

impl Place {
    fn of(position: usize) -> Self {
        Place(position as u32 + 1)
    }

    fn position(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// The earliest instant first; at most one for each operation.
#[derive(Default)]
pub(super) struct Timers {
    heap: Vec<Entry>,
    places: Vec<Place>,
}

impl Timers {
    /// Makes room for an operation.
    pub(super) fn reserve(&mut self, index: u32) -> Result<()> {
        driver::reach(&mut self.places, index)
    }

    /// Sets or moves an operation's instant. It fails only for want of memory, and only where there was none before.
    pub(super) fn set(&mut self, index: u32, at: u64) -> Result<()> {
        if let Some(position) = self.places[index as usize].position() {
            self.heap[position].at = at;
            self.settle(position);
            return Ok(());
        }
        if self.heap.len() == self.heap.capacity() {
            // By an eighth, so that little is reserved in vain.
            let more = (self.heap.len() / 8).max(64);
            self.heap.try_reserve_exact(more).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
            headroom::check()?;
        }
        self.heap.push(Entry { at, index });
        self.up(self.heap.len() - 1);
        Ok(())
    }

    /// Takes an operation's instant out, if it has one.
    pub(super) fn remove(&mut self, index: u32) {
        let Some(place) = self.places.get_mut(index as usize) else { return };
        let Some(place) = std::mem::replace(place, NOWHERE).position() else { return };
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// The earliest instant.
    pub(super) fn first(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Takes out an operation whose instant is not after `now`.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<u32> {
        let entry = *self.heap.first().filter(|entry| entry.at <= now)?;
        self.remove(entry.index);
        Some(entry.index)
    }

    fn settle(&mut self, place: usize) {
        let place = self.up(place);
        self.down(place);
    }

    fn up(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent].at <= entry.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    fn down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(child) = (first..last).min_by_key(|child| self.heap[*child].at) else { break };
            if self.heap[child].at >= entry.at {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.index as usize] = Place::of(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_in_order_through_sets_moves_and_removals() {
        let mut timers = Timers::default();
        let mut expected = std::collections::BTreeMap::new();
        let mut random = 1u64;
        for round in 0..if cfg!(miri) { 60 } else { 20_000u32 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (random >> 33) as u32 % 500;
            if random >> 62 == 0 {
                timers.remove(index);
                expected.remove(&index);
            } else {
                let at = random >> 40;
                timers.reserve(index).unwrap();
                timers.set(index, at).unwrap();
                expected.insert(index, at);
            }
            assert_eq!(timers.first(), expected.values().min().copied(), "round {round}");
        }
        let mut last = 0;
        while let Some(at) = timers.first() {
            assert!(at >= last && (at == 0 || timers.pop_due(at - 1).is_none()));
            let index = timers.pop_due(at).unwrap();
            assert_eq!(expected.remove(&index), Some(at));
            last = at;
        }
        assert!(expected.is_empty());
    }
}
