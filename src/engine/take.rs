//! How events go out: from the queue, from their operations, into the callbacks of sl_dispatch. On callers' threads.

use super::event::{CallbackFunction, Event, Route, SL_EVENT_MORE};
use super::queue::{Taken, Which};
use super::{Command, Engine, OpSlot, SHARDS, Work, queue};
use crate::clock;
use crate::error::{self, Error, Result};
use crate::lock::AtomicBool;
use crate::table::{Entry, Id, Kind};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// How many events are taken under one lock of the queue.
const BATCH: usize = 64;

/// Stands for an event that was taken as it is, among the operations whose last events are still in their slots.
const WHOLE: u32 = u32::MAX;

impl Engine {
    fn op_slot(&self, bits: u64) -> Result<(Id, Entry<'_, OpSlot>)> {
        let id = Id::from_bits(bits)?;
        if id.kind != Kind::Operation {
            return Err(Error::with(error::SL_ERR_WRONG_KIND, format!("op: the id is of kind {:?}", id.kind)));
        }
        Ok((id, self.ops.get(id.index, id.generation)?))
    }

    /// Asks an operation to end.
    pub(crate) fn cancel(&self, bits: u64) -> Result<()> {
        let (id, slot) = self.op_slot(bits)?;
        if !slot.is_live() {
            return Err(Error::new(error::SL_ERR_ENDED));
        }
        drop(slot);
        // Also while the loop shuts down, and from the last of the memory: it is how there comes to be more.
        let mut inbox = self.inbox.lock();
        inbox.make_place()?;
        inbox.commands.push(Command::Cancel(id.index, id.generation));
        drop(inbox);
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
        Ok(())
    }

    /// Whether an operation has ended, and its event can be taken.
    pub(crate) fn op_status(&self, bits: u64) -> Result<bool> {
        self.carry_on(0, || self.op_slot(bits).map_or(true, |(_, slot)| !slot.is_live()));
        let (_, slot) = self.op_slot(bits)?;
        Ok(matches!(slot.work, Work::Ended(_, delivered_in) if delivered_in <= self.deliveries.load(Ordering::Acquire)))
    }

    /// Takes the last event of an operation out of its slot, which is not used again before it is recycled. None: the loop was
    /// closed meanwhile, and has discarded it.
    pub(super) fn take_last(&self, index: u32) -> Option<(Event, Option<CallbackFunction>)> {
        let (generation, slot) = self.ops.empty(index)?;
        let Work::Ended(mut event, _) = slot.work else { return None };
        event.op = self.bits(Kind::Operation, (index, generation));
        Some((event, slot.callback))
    }

    /// Waits for the event of one operation, and takes it.
    pub(crate) fn wait_op(&self, bits: u64, timeout_ns: u64) -> Result<Option<Event>> {
        let index = Id::from_bits(bits)?.index;
        let timeout_ns = self.carry_on(timeout_ns, || self.op_slot(bits).map_or(true, |(_, slot)| !slot.is_live()));
        let (lock, ended) = &self.op_ended[index as usize % SHARDS];
        let until = clock::after(timeout_ns);
        loop {
            // The loop's thread takes this lock after it has put the event in, so it cannot slip by between look and sleep.
            let guard = lock.lock();
            let (_, slot) = self.op_slot(bits)?;
            if slot.route != Route::Handle {
                return Err(Error::with(error::SL_ERR_DELIVERY, "op: it was not submitted with SL_DELIVER_HANDLE"));
            }
            let live = slot.is_live();
            drop(slot);
            if !live {
                // Before the lock goes: whoever looks next finds the id stale, not an operation without its event.
                let (event, _) = self.take_last(index).ok_or_else(|| Error::new(error::SL_ERR_STALE))?;
                self.ops.recycle([index]);
                drop(guard);
                self.tally.taken.add(1);
                return Ok(Some(event));
            }
            if timeout_ns == 0 {
                return Ok(None);
            }
            self.refuse_own_thread()?;
            let (guard, woken) = queue::sleep(ended, guard, until);
            drop(guard);
            if !woken {
                return Ok(None);
            }
        }
    }

    /// Takes events from the queue into `out`.
    pub(crate) fn wait(&self, out: &mut [MaybeUninit<Event>], timeout_ns: u64) -> Result<usize> {
        if timeout_ns != 0 {
            self.refuse_own_thread()?;
        }
        let mut total = 0;
        // Taken while the loop is held: otherwise another thread that waits might take it, and this one come back with nothing.
        let timeout_ns = self.carry_on(timeout_ns, || {
            let taken = self.take_some(out, 0);
            total = *taken.as_ref().unwrap_or(&0);
            taken.is_err() || total > 0
        });
        if total == 0 {
            total = self.take_some(out, timeout_ns)?;
        }
        // The rest is there already, or not yet.
        while total > 0 && total < out.len() && total % BATCH == 0 {
            match self.take_some(&mut out[total..], 0) {
                Ok(0) | Err(_) => break,
                Ok(count) => total += count,
            }
        }
        Ok(total)
    }

    fn take_some(&self, out: &mut [MaybeUninit<Event>], timeout_ns: u64) -> Result<usize> {
        let most = out.len().min(BATCH);
        let mut indexes = [WHOLE; BATCH];
        let (mut at, mut more) = (0, 0);
        self.queue.take(Which::Events, most, timeout_ns, |taken| {
            match taken {
                Taken::Last(index) => indexes[at] = index,
                Taken::More((event, _)) => {
                    self.tick_taken(&event);
                    out[at].write(event);
                    more += 1;
                }
            }
            at += 1;
        })?;
        // Outside of the queue's lock: the loop may post meanwhile.
        let mut count = 0;
        while count < at {
            if indexes[count] != WHOLE {
                // A loop that was closed meanwhile has discarded it, and all others.
                let Some((event, _)) = self.take_last(indexes[count]) else { break };
                out[count].write(event);
            }
            count += 1;
        }
        self.tally.taken.add(count as u64);
        if at > more {
            self.ops.recycle(indexes[..at].iter().copied().filter(|index| *index != WHOLE));
        }
        self.more_taken(more as u64);
        Ok(count)
    }

    /// Waits for a callback and takes it; with it comes how many there were. None where there was none in time.
    pub(crate) fn wait_dispatch(&self, timeout_ns: u64) -> Result<Option<(usize, (Event, CallbackFunction))>> {
        if timeout_ns != 0 {
            self.refuse_own_thread()?;
        }
        let until = if timeout_ns == 0 { 0 } else { self.clock.after(timeout_ns) };
        let mut left = timeout_ns;
        loop {
            left = self.carry_on(left, || self.queue.is_ready(Which::Calls));
            let waiting = self.queue.wait_calls(left)?;
            if waiting == 0 {
                return Ok(None);
            }
            if let Some(call) = self.take_dispatch() {
                return Ok(Some((waiting, call)));
            }
            // Another thread was faster.
            left = until.saturating_sub(self.clock.now());
        }
    }

    /// Takes one callback.
    pub(crate) fn take_dispatch(&self) -> Option<(Event, CallbackFunction)> {
        let mut taken = None;
        self.queue.take(Which::Calls, 1, 0, |call| taken = Some(call)).ok()?;
        let (event, callback) = match taken? {
            Taken::Last(index) => {
                let call = self.take_last(index)?;
                self.ops.recycle([index]);
                call
            }
            Taken::More(call) => call,
        };
        self.tally.taken.add(1);
        if event.flags & SL_EVENT_MORE != 0 {
            self.tick_taken(&event);
            self.more_taken(1);
        }
        Some((event, callback?))
    }

    /// A timer whose tick is taken may post the next.
    fn tick_taken(&self, event: &Event) {
        if u32::from(event.kind) != crate::op::kinds::SL_TIMER {
            return;
        }
        let Ok(id) = Id::from_bits(event.op) else { return };
        if let Ok(mut slot) = self.ops.get(id.index, id.generation) {
            slot.tick_waits = false;
        }
    }

    /// Events flagged MORE were taken: there is room for others.
    fn more_taken(&self, count: u64) {
        if count > 0 {
            self.unclaimed.fetch_sub(count, Ordering::SeqCst);
            self.make_room(&self.paused);
        }
    }

    pub(super) fn make_room(&self, anybody: &AtomicBool) {
        if anybody.load(Ordering::SeqCst) && anybody.swap(false, Ordering::SeqCst) {
            self.notify_room();
        }
    }

    /// Takes a lent buffer back.
    pub(crate) fn release_buffer(&self, bits: u64) -> Result<()> {
        let id = Id::from_bits(bits)?;
        if id.kind != Kind::Buffer {
            return Err(Error::with(error::SL_ERR_WRONG_KIND, format!("buffer: the id is of kind {:?}", id.kind)));
        }
        drop(self.buffers.take(id.index, id.generation)?);
        self.make_room(&self.starved);
        Ok(())
    }
}
