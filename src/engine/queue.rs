//! Where events wait for whoever takes them: the queue, the callbacks of sl_dispatch, and the wake descriptor that tells of both.
//!
//! Filled by the loop's thread, emptied by any.

use super::event::{CallbackFunction, Event};
use crate::clock;
use crate::error::{self, Error, Result};
use crate::lock::{Condvar, Mutex, MutexGuard};
use crate::sys::Wake;
use std::collections::VecDeque;
use std::time::Duration;

/// An event with what is to be called for it.
pub(super) type Call = (Event, CallbackFunction);

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    calls: VecDeque<Call>,
    wake: Option<Wake>,
    wake_is_set: bool,
    /// How many events of either sort may come to wait.
    room: usize,
    /// No event will come any more.
    finished: bool,
    /// The loop is closed.
    closed: bool,
}

/// The events that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    events_came: Condvar,
    calls_came: Condvar,
    finished: Condvar,
}

impl State {
    /// The wake descriptor never lies: it is set and cleared under the lock under which events come and go.
    fn tell(&mut self) {
        let waiting = !self.events.is_empty() || !self.calls.is_empty();
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
    pub(super) fn new() -> Self {
        Queue {
            state: Mutex::new(State::default()),
            events_came: Condvar::new(),
            calls_came: Condvar::new(),
            finished: Condvar::new(),
        }
    }

    /// Makes room for `count` events, so that posting one cannot fail.
    pub(super) fn reserve(&self, count: usize) -> Result<()> {
        let mut state = self.state.lock();
        let more = count.saturating_sub(state.events.len());
        state.events.try_reserve_exact(more).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        state.room = count;
        Ok(())
    }

    /// Makes as much room for callbacks: only loops that use them pay for it.
    pub(super) fn reserve_calls(&self) -> Result<()> {
        let mut state = self.state.lock();
        let more = state.room.saturating_sub(state.calls.len());
        state.calls.try_reserve_exact(more).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))
    }

    /// Adds what has come to pass in a turn: one lock, one wake.
    pub(super) fn post(&self, events: &mut Vec<Event>, calls: &mut Vec<Call>) {
        if events.is_empty() && calls.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let (new_events, new_calls) = (events.len(), calls.len());
        state.events.extend(events.drain(..));
        state.calls.extend(calls.drain(..));
        state.tell();
        drop(state);
        notify(&self.events_came, new_events);
        notify(&self.calls_came, new_calls);
    }

    /// Takes events, oldest first, waiting for the first at most `timeout_ns`; hands them to `take` under the lock.
    pub(super) fn take(&self, most: usize, timeout_ns: u64, mut take: impl FnMut(Event)) -> Result<usize> {
        let mut state = self.wait(timeout_ns, &self.events_came, |state| !state.events.is_empty())?;
        let count = most.min(state.events.len());
        state.events.drain(..count).for_each(&mut take);
        if count > 0 {
            state.tell();
        }
        Ok(count)
    }

    /// Takes one callback.
    pub(super) fn take_call(&self) -> Option<Call> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let call = state.calls.pop_front()?;
        state.tell();
        Some(call)
    }

    /// Waits for callbacks, and answers how many there are.
    pub(super) fn wait_calls(&self, timeout_ns: u64) -> Result<usize> {
        Ok(self.wait(timeout_ns, &self.calls_came, |state| !state.calls.is_empty())?.calls.len())
    }

    /// Waits until `ready`, the timeout, or the end. After a timeout, answers all the same.
    fn wait(&self, timeout_ns: u64, came: &Condvar, ready: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        let mut until = None;
        loop {
            if state.closed {
                return Err(Error::new(error::SL_ERR_STALE));
            }
            if ready(&state) {
                return Ok(state);
            }
            if state.finished {
                return Err(Error::new(error::SL_ERR_SHUT_DOWN));
            }
            if timeout_ns == 0 {
                return Ok(state);
            }
            let until = *until.get_or_insert_with(|| clock::after(timeout_ns));
            let (guard, woken) = sleep(came, state, until);
            state = guard;
            if !woken {
                return Ok(state);
            }
        }
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
        self.finished.notify_all();
        self.events_came.notify_all();
        self.calls_came.notify_all();
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
        state.events.clear();
        state.calls.clear();
        state.wake = None;
        drop(state);
        self.events_came.notify_all();
        self.calls_came.notify_all();
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

fn notify(condition: &Condvar, count: usize) {
    match count {
        0 => {}
        1 => condition.notify_one(),
        _ => condition.notify_all(),
    }
}
