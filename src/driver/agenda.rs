//! What is to be done later, by instants: for the drivers that put things off. On the loop's thread.

use std::collections::BTreeMap;

/// Where an entry stands; so it can be taken out before its time.
pub(super) type Entry = (u64, u64);

/// Things to do, the earliest first.
pub(super) struct Agenda<T> {
    entries: BTreeMap<Entry, T>,
    count: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { entries: BTreeMap::new(), count: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts something down for an instant. What has the same instant comes in the order of `rank`, and then in that of this call.
    pub(super) fn insert(&mut self, at: u64, rank: u32, what: T) -> Entry {
        self.count += 1;
        let entry = (at, u64::from(rank) << 32 | (self.count & 0xffff_ffff));
        self.entries.insert(entry, what);
        entry
    }

    pub(super) fn remove(&mut self, entry: Entry) -> Option<T> {
        self.entries.remove(&entry)
    }

    /// The earliest instant.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the first thing whose instant is not after `now`.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<T> {
        if self.first()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, what)| what)
    }
}
