//! The ledger: every accepted operation, and every event. It says what is wrong the moment that an event comes which should not:
//! a second last event, one of an operation that nobody submitted, one that does not fit its operation.

use sideloop::ffi::events::{Event, SL_EVENT_LENT, SL_EVENT_MORE};
use std::collections::HashMap;

/// What is known of one operation.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) kind: u32,
    pub(crate) delivery: u32,
    pub(crate) multishot: bool,
    pub(crate) last: Option<Event>,
    pub(crate) more: u64,
}

#[derive(Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    by_id: HashMap<u64, usize>,
    refused: u64,
    more: u64,
    /// A hash of all that has come, in its order.
    trace: u64,
    /// Which run this is: it stands in the upper half of every operation's user data.
    run: u64,
}

impl Ledger {
    pub(crate) fn new(run: u64) -> Self {
        Ledger { run, ..Ledger::default() }
    }

    /// What the next operation is to carry.
    pub(crate) fn next_user_data(&self) -> u64 {
        self.run << 32 | self.entries.len() as u64
    }

    pub(crate) fn accepted(&mut self, id: u64, kind: u32, delivery: u32, multishot: bool) -> Result<usize, String> {
        let index = self.entries.len();
        if let Some(other) = self.by_id.insert(id, index) {
            if self.entries[other].last.is_none() {
                return Err(format!("operations {other} and {index} have the same id"));
            }
        }
        self.entries.push(Entry { id, kind, delivery, multishot, last: None, more: 0 });
        Ok(index)
    }

    pub(crate) fn refused(&mut self) {
        self.refused += 1;
    }

    /// Enters an event, and answers whose it is.
    pub(crate) fn record(&mut self, event: &Event) -> Result<usize, String> {
        let (run, index) = (event.user_data >> 32, (event.user_data & 0xffff_ffff) as usize);
        if run != self.run {
            return Err(format!("an event of run {run} in run {}: after its loop was closed", self.run));
        }
        let entry =
            self.entries.get_mut(index).ok_or_else(|| format!("an event of operation {index}, which is unknown"))?;
        let about = || format!("operation {index} of kind {}: ", event.kind);
        if entry.last.is_some() {
            return Err(about() + "an event after its last one");
        }
        if event.op != entry.id || u32::from(event.kind) != entry.kind {
            return Err(about() + &format!("the event is of {:#x} and kind {}", event.op, entry.kind));
        }
        if event.flags & SL_EVENT_MORE != 0 {
            if !entry.multishot || event.result < 0 {
                return Err(about() + &format!("an event flagged MORE, result {}", event.result));
            }
            entry.more += 1;
            self.more += 1;
        } else {
            entry.last = Some(*event);
        }
        if (event.flags & SL_EVENT_LENT != 0) == event.data.is_null() {
            return Err(about() + "LENT and data do not agree");
        }
        // Ids differ from run to run.
        let result = if event.result > 1 << 40 { 1 } else { event.result };
        for part in [index as u64, result as u64, u64::from(event.flags), event.os_error as u64] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        Ok(index)
    }

    pub(crate) fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The operations whose last events have not come.
    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.entries.len()).filter(|index| self.entries[*index].last.is_none()).collect()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    /// Compares with what the loop has counted, while it is at rest and everything is taken.
    pub(crate) fn compare(&self, counters: &sideloop::ffi::lifecycle::Counters, lent: u64) -> Result<(), String> {
        let all = self.entries.len() as u64;
        let pairs = [
            ("accepted", counters.accepted, all),
            ("ended", counters.ended, all),
            ("refused", counters.refused, self.refused),
            ("more", counters.more, self.more),
            ("taken", counters.taken, all + self.more),
            ("in_flight", counters.in_flight, 0),
            ("unclaimed", counters.unclaimed, 0),
            ("lent_buffers", counters.lent_buffers, lent),
        ];
        match pairs.iter().find(|(_, theirs, ours)| theirs != ours) {
            Some((name, theirs, ours)) => Err(format!("at rest the loop counts {name} as {theirs}; it is {ours}")),
            None => Ok(()),
        }
    }
}
