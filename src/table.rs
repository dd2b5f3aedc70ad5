//! Ids, and the tables of numbered slots that they point into.
//!
//! An id carries kind, loop, generation and index, so that one that is stale, foreign or forged is recognised without
//! touching any memory but the table's own. Used by the engine, from every thread: each slot has its own lock, and finding a
//! slot takes none.

use crate::error::{self, Error, Result};
use crate::headroom;
use crate::lock::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::OnceLock;

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Loop = 1,
    Operation = 2,
    File = 3,
    Stream = 4,
    Listener = 5,
    Buffer = 6,
}

impl Kind {
    fn from_bits(bits: u64) -> Option<Kind> {
        Some(match bits {
            1 => Kind::Loop,
            2 => Kind::Operation,
            3 => Kind::File,
            4 => Kind::Stream,
            5 => Kind::Listener,
            6 => Kind::Buffer,
            _ => return None,
        })
    }
}

const INDEX_BITS: u32 = 22;
const GENERATION_BITS: u32 = 29;
const LOOP_BITS: u32 = 8;
const KIND_BITS: u32 = 4;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

/// The parts of an id, from its low bits up: index, generation, loop, kind. Bit 63 stays 0, so that an id fits the result of
/// an event beside negative errors; no kind is 0, so no id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) kind: Kind,
    pub(crate) slot: u8,
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

impl Id {
    pub(crate) fn to_bits(self) -> u64 {
        let mut bits = self.kind as u64;
        bits = bits << LOOP_BITS | u64::from(self.slot);
        bits = bits << GENERATION_BITS | u64::from(self.generation);
        bits << INDEX_BITS | u64::from(self.index)
    }

    pub(crate) fn from_bits(bits: u64) -> Result<Id> {
        let field = |shift: u32, width: u32| bits >> shift & ((1 << width) - 1);
        let kind = Kind::from_bits(bits >> (INDEX_BITS + GENERATION_BITS + LOOP_BITS) & ((1 << (KIND_BITS + 1)) - 1))
            .ok_or_else(|| Error::with(error::SL_ERR_BAD_ID, format!("{bits:#x} is no id")))?;
        Ok(Id {
            kind,
            slot: field(INDEX_BITS + GENERATION_BITS, LOOP_BITS) as u8,
            generation: field(INDEX_BITS, GENERATION_BITS) as u32,
            index: field(0, INDEX_BITS) as u32,
        })
    }
}

/// As many slots as an id can tell apart.
const MOST: u32 = 1 << INDEX_BITS;

/// The first chunk of slots. Each further one is twice as large as the one before, up to the largest, so that slots never move
/// and few are made in vain. (A model checks every order in which threads can meet, and is to come to the second use of a slot soon.)
const FIRST_CHUNK: u32 = if cfg!(all(test, loom)) { 1 } else { 64 };
const LARGEST_CHUNK: u32 = 1024;
/// So many chunks double; all others are of the largest size, and found by way of a group.
const DOUBLING: usize = (LARGEST_CHUNK / FIRST_CHUNK).ilog2() as usize + 1;
const GROUP: usize = 64;
const GROUPS: usize = (MOST / LARGEST_CHUNK) as usize / GROUP;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

struct Free {
    /// First in, first out: a slot rests as long as possible before its generation moves on.
    indexes: VecDeque<u32>,
    made: u32,
    live: u32,
}

type Chunk<T> = OnceLock<Box<[Mutex<Slot<T>>]>>;
type Group<T> = [Chunk<T>; GROUP];

/// Where a slot is: in one of the first chunks, or in one of a group's.
enum Place {
    First(usize, usize),
    Grouped(usize, usize, usize),
}

/// A table of slots with generations.
pub(crate) struct Table<T> {
    first: [Chunk<T>; DOUBLING],
    groups: [OnceLock<Box<Group<T>>>; GROUPS],
    free: Mutex<Free>,
    limit: u32,
    seed: u32,
}

/// A slot whose value is there, locked.
pub(crate) struct Entry<'a, T>(MutexGuard<'a, Slot<T>>);

impl<T> std::ops::Deref for Entry<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.value.as_ref().expect("an entry is made of a full slot")
    }
}

impl<T> std::ops::DerefMut for Entry<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.value.as_mut().expect("an entry is made of a full slot")
    }
}

impl<T> Entry<'_, T> {
    /// The generation of the ids that are good now.
    pub(crate) fn generation(&self) -> u32 {
        self.0.generation
    }

    /// Whether ids of this generation were made stale last.
    pub(crate) fn retires(&self, generation: u32) -> bool {
        self.0.generation == (generation + 1) & GENERATION_MASK
    }

    /// Makes every id of this slot stale, while the value stays until [`Table::release`].
    pub(crate) fn retire(&mut self) {
        self.0.generation = (self.0.generation + 1) & GENERATION_MASK;
    }
}

impl<T> Table<T> {
    /// An empty table of at most `limit` slots, whose generations begin at `seed`.
    pub(crate) fn new(limit: u32, seed: u32) -> Self {
        Table {
            first: [const { OnceLock::new() }; DOUBLING],
            groups: [const { OnceLock::new() }; GROUPS],
            free: Mutex::new(Free { indexes: VecDeque::new(), made: 0, live: 0 }),
            limit: limit.min(MOST),
            seed: seed & GENERATION_MASK,
        }
    }

    fn place(index: u32) -> Place {
        // The chunks before one of the doubling kind hold as many slots as it does, less those of the first.
        let number = index + FIRST_CHUNK;
        if number < 2 * LARGEST_CHUNK {
            let chunk = number.ilog2() - FIRST_CHUNK.ilog2();
            return Place::First(chunk as usize, (number - (FIRST_CHUNK << chunk)) as usize);
        }
        let beyond = (number - 2 * LARGEST_CHUNK) as usize;
        let chunk = beyond / LARGEST_CHUNK as usize;
        Place::Grouped(chunk / GROUP, chunk % GROUP, beyond % LARGEST_CHUNK as usize)
    }

    fn slot(&self, index: u32) -> Option<&Mutex<Slot<T>>> {
        match Self::place(index) {
            Place::First(chunk, offset) => self.first.get(chunk)?.get()?.get(offset),
            Place::Grouped(group, chunk, offset) => self.groups.get(group)?.get()?[chunk].get()?.get(offset),
        }
    }

    /// Puts a value in, and answers its index and generation. `grown` is told the number of slots before there are more, and
    /// can refuse.
    pub(crate) fn insert(&self, value: T, grown: impl FnOnce(u32) -> Result<()>) -> Result<(u32, u32)> {
        let index = self.reserve(grown)?;
        Ok((index, self.fill(index, value)))
    }

    /// Sets a slot aside, to be filled, or recycled.
    pub(crate) fn reserve(&self, grown: impl FnOnce(u32) -> Result<()>) -> Result<u32> {
        let mut free = self.free.lock();
        if free.live >= self.limit {
            return Err(Error::with(error::SL_ERR_AGAIN, format!("all {} are in use", self.limit)));
        }
        if free.indexes.is_empty() {
            self.grow(&mut free, grown)?;
        }
        free.live += 1;
        free.indexes.pop_front().ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))
    }

    /// Fills a slot that was set aside, and answers its generation.
    pub(crate) fn fill(&self, index: u32, value: T) -> u32 {
        let mut slot = self.slot(index).expect("a reserved index has a slot").lock();
        slot.value = Some(value);
        slot.generation
    }

    fn grow(&self, free: &mut Free, grown: impl FnOnce(u32) -> Result<()>) -> Result<()> {
        let no_memory = |_| Error::new(error::SL_ERR_NO_MEMORY);
        let place = Self::place(free.made);
        let size = match place {
            Place::First(chunk, _) => FIRST_CHUNK << chunk,
            Place::Grouped(..) => LARGEST_CHUNK,
        };
        // The last chunk is cut short: an index beyond its field in the id would be another slot's.
        let count = size.min(MOST - free.made);
        let total = free.made + count;
        let mut slots = Vec::new();
        slots.try_reserve_exact(count as usize).map_err(no_memory)?;
        free.indexes.try_reserve_exact(total as usize).map_err(no_memory)?;
        grown(total)?;
        headroom::check()?;
        slots.extend((0..count).map(|_| Mutex::new(Slot { generation: self.seed, value: None })));
        let chunk = match place {
            Place::First(chunk, _) => &self.first[chunk],
            Place::Grouped(group, chunk, _) => {
                &self.groups[group].get_or_init(|| Box::new([const { OnceLock::new() }; GROUP]))[chunk]
            }
        };
        let _ = chunk.set(slots.into_boxed_slice());
        free.indexes.extend(free.made..total);
        free.made = total;
        Ok(())
    }

    /// The value of an id's slot, locked.
    pub(crate) fn get(&self, index: u32, generation: u32) -> Result<Entry<'_, T>> {
        let slot = self.slot(index).ok_or_else(|| Error::new(error::SL_ERR_BAD_ID))?.lock();
        if slot.generation != generation || slot.value.is_none() {
            return Err(Error::new(error::SL_ERR_STALE));
        }
        Ok(Entry(slot))
    }

    /// The value of a slot whatever its generation, locked: for the loop's thread, which knows what it left there.
    pub(crate) fn at(&self, index: u32) -> Option<Entry<'_, T>> {
        let slot = self.slot(index)?.lock();
        slot.value.is_some().then_some(Entry(slot))
    }

    /// The generation that a slot has now.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |slot| slot.lock().generation)
    }

    /// Empties a slot and makes its ids stale; it is not used again before `recycle`.
    pub(crate) fn clear(&self, index: u32) -> Option<T> {
        self.empty(index).map(|(_, value)| value)
    }

    /// Likewise; answers also the generation that its ids had.
    pub(crate) fn empty(&self, index: u32) -> Option<(u32, T)> {
        let mut slot = self.slot(index)?.lock();
        let value = slot.value.take()?;
        let generation = slot.generation;
        slot.generation = (generation + 1) & GENERATION_MASK;
        Some((generation, value))
    }

    /// Empties an id's slot where `condition` holds of its value, and says whether it did.
    pub(crate) fn clear_if(&self, index: u32, generation: u32, condition: impl FnOnce(&T) -> bool) -> bool {
        let Ok(mut entry) = self.get(index, generation) else { return false };
        let clears = condition(&entry);
        if clears {
            entry.0.value = None;
            entry.retire();
        }
        clears
    }

    /// Lets cleared slots be used again.
    pub(crate) fn recycle(&self, indexes: impl IntoIterator<Item = u32>) {
        let mut free = self.free.lock();
        for index in indexes {
            // Never grows: `grow` made room for every index there is.
            free.indexes.push_back(index);
            free.live -= 1;
        }
    }

    /// Empties a slot, makes its ids stale, and lets it be used again.
    pub(crate) fn release(&self, index: u32) -> Option<T> {
        let value = self.clear(index)?;
        self.recycle([index]);
        Some(value)
    }

    /// Takes the value of an id out, makes the id stale, and lets the slot be used again.
    pub(crate) fn take(&self, index: u32, generation: u32) -> Result<T> {
        self.take_if(index, generation, |_| true)
    }

    /// Likewise, where `condition` holds; else the id counts as stale.
    pub(crate) fn take_if(&self, index: u32, generation: u32, condition: impl FnOnce(&T) -> bool) -> Result<T> {
        let mut entry = self.get(index, generation)?;
        if !condition(&entry) {
            return Err(Error::new(error::SL_ERR_STALE));
        }
        let value = entry.0.value.take();
        entry.retire();
        drop(entry);
        self.recycle([index]);
        value.ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))
    }

    /// How many slots are in use.
    pub(crate) fn live(&self) -> u32 {
        self.free.lock().live
    }

    /// How many more values there is a place for.
    pub(crate) fn room(&self) -> u32 {
        self.limit - self.live()
    }

    /// How many slots there are, used or not.
    pub(crate) fn made(&self) -> u32 {
        self.free.lock().made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_round_trip() {
        let id = Id { kind: Kind::Buffer, slot: 255, generation: GENERATION_MASK, index: (1 << INDEX_BITS) - 1 };
        assert_eq!(Id::from_bits(id.to_bits()).unwrap(), id);
        assert!(id.to_bits() as i64 > 0);
        for bits in [0, u64::MAX, 1 << 63, id.to_bits() | 1 << 63] {
            assert_eq!(Id::from_bits(bits).unwrap_err().status, error::SL_ERR_BAD_ID, "{bits:#x}");
        }
    }

    #[test]
    fn a_slot_has_one_life_per_generation() {
        let table = Table::new(3, GENERATION_MASK);
        let (index, generation) = table.insert("first", |_| Ok(())).unwrap();
        assert_eq!(*table.get(index, generation).unwrap(), "first");
        assert_eq!(table.release(index), Some("first"));
        assert_eq!(table.get(index, generation).err().unwrap().status, error::SL_ERR_STALE);
        assert_eq!(table.release(index), None);
        for _ in 0..3 {
            table.insert("again", |_| Ok(())).unwrap();
        }
        assert_eq!(table.insert("one more", |_| Ok(())).unwrap_err().status, error::SL_ERR_AGAIN);
        assert_eq!(table.live(), 3);
    }

    #[test]
    fn slots_stay_where_they_are_while_the_table_grows() {
        let table = Table::new(1 << 20, 7);
        let count = if cfg!(miri) { 300 } else { 5000u32 };
        let ids: Vec<_> = (0..count).map(|n| table.insert(n, |_| Ok(())).unwrap()).collect();
        for (n, (index, generation)) in ids.into_iter().enumerate() {
            assert_eq!(*table.get(index, generation).unwrap(), n as u32);
        }
        assert!(table.get(1 << 21, 7).is_err());
    }

    #[test]
    #[cfg_attr(miri, ignore = "four million steps take Miri hours")]
    fn no_index_is_larger_than_its_field_in_an_id() {
        let table = Table::new(u32::MAX, 0);
        for _ in 0..MOST {
            assert!(table.reserve(|_| Ok(())).unwrap() < MOST);
        }
        assert_eq!(table.insert((), |_| Ok(())).unwrap_err().status, error::SL_ERR_AGAIN);
    }
}
