//! Where events wait for whoever takes them: the queue, the callbacks of sl_dispatch, and the wake descriptor that tells of both.
//!
//! Filled by the loop's thread, emptied by any.

use super::event::{CallbackFunction, Event};
use super::patience::Patience;
use crate::clock;
use crate::error::{self, Error, Result};
use crate::lock::{AtomicBool, Condvar, Mutex, MutexGuard};
use crate::sys::Wake;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An event with what is to be called for it.
pub(super) type Call = (Event, Option<CallbackFunction>);

/// Stands in a line for an event flagged MORE; any other number is an operation's whose last event waits in its slot.
const MORE: u32 = u32::MAX;

/// Events of one sort, in their order. Last events wait in their operations' slots, which are their reserved places.
#[derive(Default)]
pub(super) struct Line {
    items: VecDeque<u32>,
    more: VecDeque<Call>,
}

/// What was taken out of a line.
pub(super) enum Taken {
    /// The last event of the operation with this index; it is in the slot.
    Last(u32),
    More(Call),
}

impl Line {
    pub(super) fn push_last(&mut self, index: u32) {
        self.items.push_back(index);
    }

    pub(super) fn push_more(&mut self, call: Call) {
        self.items.push_back(MORE);
        self.more.push_back(call);
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        match self.items.pop_front()? {
            MORE => self.more.pop_front().map(Taken::More),
            index => Some(Taken::Last(index)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Makes room for so many events in all, of which so many are flagged MORE.
    pub(super) fn reserve(&mut self, items: usize, more: usize) -> Result<()> {
        fn at_least<T>(line: &mut VecDeque<T>, count: usize) -> Result<()> {
            let missing = count.saturating_sub(line.len());
            line.try_reserve_exact(missing).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))
        }
        at_least(&mut self.items, items)?;
        at_least(&mut self.more, more)
    }

    fn append(&mut self, other: &mut Line) {
        self.items.extend(other.items.drain(..));
        self.more.extend(other.more.drain(..));
    }

    fn clear(&mut self) {
        self.items.clear();
        self.more.clear();
    }
}

/// Which of the two lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// For sl_poll and sl_wait.
    Events = 0,
    /// For sl_dispatch.
    Calls = 1,
}

#[derive(Default)]
struct State {
    lines: [Line; 2],
    /// How many threads sleep until something comes to each, and how long they look for it before.
    sleepers: [u32; 2],
    patience: [Patience; 2],
    wake: Option<Wake>,
    wake_is_set: bool,
    /// How many last events, and how many MORE, each line has room for.
    room: [usize; 2],
    more_room: [usize; 2],
    /// No event will come any more.
    finished: bool,
    /// The loop is closed.
    closed: bool,
}

/// The events that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Whether something waits in each line, for those that look without the lock.
    waiting: [AtomicBool; 2],
    came: [Condvar; 2],
    finished: Condvar,
}

impl State {
    /// Makes room in a line for so many last events, and so many flagged MORE.
    fn reserve(&mut self, line: usize, last: usize, more: usize) -> Result<()> {
        self.lines[line].reserve(last + more, more)?;
        (self.room[line], self.more_room[line]) = (last, more);
        Ok(())
    }

    /// The wake descriptor never lies: it is set and cleared under the lock under which events come and go.
    fn tell(&mut self) {
        let waiting = self.lines.iter().any(|line| !line.is_empty());
        if let Some(wake) = self.wake.as_ref().filter(|_| waiting != self.wake_is_set) {
            if waiting {
                wake.set();
            } else {
                wake.clear();
            }
            self.wake_is_set = waiting;
        }
    }
}

impl Queue {
    pub(super) fn new(spin_ns: u64) -> Self {
        let patience = [Patience::new(spin_ns), Patience::new(spin_ns)];
        Queue {
            state: Mutex::new(State { patience, ..State::default() }),
            waiting: Default::default(),
            came: Default::default(),
            finished: Condvar::new(),
        }
    }

    /// Makes room for the last events of `count` operations, so that posting one cannot fail.
    pub(super) fn reserve(&self, count: usize) -> Result<()> {
        let mut state = self.state.lock();
        let more = state.more_room;
        state.reserve(0, count, more[0])?;
        // The other line only where somebody uses it.
        if state.room[1] > 0 { state.reserve(1, count, more[1]) } else { Ok(()) }
    }

    /// Makes room where only some operations need it: for their callbacks in sl_dispatch, for their events flagged MORE.
    pub(super) fn reserve_line(&self, which: Which, more: usize) -> Result<()> {
        let mut state = self.state.lock();
        let (line, all) = (which as usize, state.room[0]);
        let more = more.max(state.more_room[line]);
        if state.room[line] < all || state.more_room[line] < more {
            state.reserve(line, all, more)?;
        }
        Ok(())
    }

    /// Adds what has come to pass: one lock, one wake.
    pub(super) fn post(&self, lines: &mut [Line; 2]) {
        let new = [lines[0].len(), lines[1].len()];
        if new == [0, 0] {
            return;
        }
        let mut state = self.state.lock();
        for (line, posted) in state.lines.iter_mut().zip(lines) {
            line.append(posted);
        }
        self.announce(state, new);
    }

    /// Adds last events that a caller's thread has brought about itself.
    pub(super) fn post_last(&self, posted: impl Iterator<Item = (Which, u32)>) {
        let mut state = self.state.lock();
        let mut new = [0, 0];
        for (which, index) in posted {
            state.lines[which as usize].push_last(index);
            new[which as usize] += 1;
        }
        self.announce(state, new);
    }

    fn announce(&self, mut state: MutexGuard<'_, State>, new: [usize; 2]) {
        for (waiting, new) in self.waiting.iter().zip(new) {
            if new > 0 {
                waiting.store(true, Ordering::Release);
            }
        }
        state.tell();
        let sleepers = state.sleepers;
        drop(state);
        for which in 0..2 {
            match new[which].min(sleepers[which] as usize) {
                0 => {}
                1 => self.came[which].notify_one(),
                _ => self.came[which].notify_all(),
            }
        }
    }

    /// Takes events, oldest first, waiting for the first at most `timeout_ns`; hands them to `take` under the lock.
    pub(super) fn take(
        &self,
        which: Which,
        most: usize,
        timeout_ns: u64,
        mut take: impl FnMut(Taken),
    ) -> Result<usize> {
        let mut state = self.wait(which, timeout_ns)?;
        let line = &mut state.lines[which as usize];
        let mut count = 0;
        while count < most {
            let Some(taken) = line.pop() else { break };
            take(taken);
            count += 1;
        }
        if count > 0 {
            self.waiting[which as usize].store(!line.is_empty(), Ordering::Release);
            state.tell();
        }
        Ok(count)
    }

    /// Waits for callbacks, and answers how many there are.
    pub(super) fn wait_calls(&self, timeout_ns: u64) -> Result<usize> {
        Ok(self.wait(Which::Calls, timeout_ns)?.lines[Which::Calls as usize].len())
    }

    /// Waits until something is there, the timeout, or the end. After a timeout, answers all the same.
    fn wait(&self, which: Which, timeout_ns: u64) -> Result<MutexGuard<'_, State>> {
        let line = which as usize;
        let mut state = self.state.lock();
        let mut until = None;
        loop {
            if state.closed {
                return Err(Error::new(error::SL_ERR_STALE));
            }
            if !state.lines[line].is_empty() {
                return Ok(state);
            }
            if state.finished {
                return Err(Error::new(error::SL_ERR_SHUT_DOWN));
            }
            if timeout_ns == 0 {
                return Ok(state);
            }
            let until = *until.get_or_insert_with(|| clock::after(timeout_ns));
            let window = state.patience[line].window();
            if window > 0 {
                drop(state);
                let found = self.look(which, until.min(clock::after(window)));
                state = self.state.lock();
                state.patience[line].looked(found);
                // What came after the last look counts as well.
                if found || !state.lines[line].is_empty() || state.finished || state.closed {
                    continue;
                }
            }
            let begun = state.patience[line].begins();
            state.sleepers[line] += 1;
            let (guard, woken) = sleep(&self.came[line], state, until);
            state = guard;
            state.sleepers[line] -= 1;
            let found = !state.lines[line].is_empty();
            state.patience[line].slept(begun, found);
            if !woken {
                return Ok(state);
            }
        }
    }

    /// Looks until something waits in a line, awake, without the lock; false where the instant comes first.
    fn look(&self, which: Which, until: u64) -> bool {
        loop {
            for _ in 0..32 {
                if self.waiting[which as usize].load(Ordering::Acquire) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if clock::now() >= until {
                return false;
            }
            // Whoever is to bring it may be waiting for this processor.
            std::thread::yield_now();
        }
    }

    /// Whoever looks for events without the lock is to look with it.
    fn end_looks(&self) {
        self.waiting.iter().for_each(|waiting| waiting.store(true, Ordering::Release));
    }

    /// The wake descriptor, made at the first call.
    pub(super) fn wake_descriptor(&self, socket: bool) -> Result<isize> {
        let mut state = self.state.lock();
        let descriptor = match &state.wake {
            Some(wake) => wake.descriptor(),
            None => state.wake.insert(Wake::new(socket)?).descriptor(),
        };
        state.tell();
        Ok(descriptor)
    }

    /// Says that no event will come any more.
    pub(super) fn finish(&self) {
        self.state.lock().finished = true;
        self.end_looks();
        self.finished.notify_all();
        self.came.iter().for_each(Condvar::notify_all);
    }

    /// Whether there is something to take, or never will be.
    pub(super) fn is_ready(&self, which: Which) -> bool {
        let state = self.state.lock();
        !state.lines[which as usize].is_empty() || state.finished || state.closed
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.lock().finished
    }

    /// Waits for `finish`; false after a timeout.
    pub(super) fn wait_finished(&self, timeout_ns: u64) -> bool {
        let until = clock::after(timeout_ns);
        let mut state = self.state.lock();
        while !state.finished {
            let (guard, woken) = sleep(&self.finished, state, until);
            state = guard;
            if !woken {
                return state.finished;
            }
        }
        true
    }

    /// Discards what nobody took, and lets everybody go who waits.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.lines.iter_mut().for_each(Line::clear);
        state.wake = None;
        drop(state);
        self.end_looks();
        self.came.iter().for_each(Condvar::notify_all);
    }
}

/// Sleeps on a condition until an instant; false where that has passed.
pub(super) fn sleep<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, until: u64) -> (MutexGuard<'a, T>, bool) {
    if until == u64::MAX {
        return (condition.wait(guard), true);
    }
    match until.saturating_sub(clock::now()) {
        0 => (guard, false),
        left => (condition.wait_for(guard, Duration::from_nanos(left)), true),
    }
}
