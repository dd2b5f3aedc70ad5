//! Simulated loops: they have no thread of their own. Whoever polls or waits carries the loop on meanwhile, one turn at a time, so
//! that all that one thread does with it happens in the same order every time. On callers' threads.
//!
//! Only where somebody asks for the wake descriptor, and so is going to wait elsewhere, or where two threads wait at once, does the
//! loop get a thread.

use super::Engine;
use super::core::Stepping;
use crate::error::Result;
use crate::lock::{HandOver, Mutex, MutexGuard};
use crate::{sys, thread_mark};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// For how long a simulated time may go on while somebody looks once.
const LOOK_NS: u64 = 1_000_000;

/// Whoever waits carries it on.
const STEPPED: u8 = 0;
/// It is to get a thread; whoever carries it on is to let go of it.
const CALLED_OFF: u8 = 1;
/// It has a thread, as other loops have.
const FREE: u8 = 2;

/// A loop that is carried on by those who wait; empty where it has a thread, or has ended.
pub(super) struct Stepped {
    stepping: Mutex<Option<Stepping>>,
    state: AtomicU8,
    /// Who carries it on just now.
    by: Mutex<Option<usize>>,
}

impl Stepped {
    pub(super) fn new(simulated: bool) -> Self {
        let state = AtomicU8::new(if simulated { STEPPED } else { FREE });
        Stepped { stepping: Mutex::new(None), state, by: Mutex::new(None) }
    }

    pub(super) fn hold(&self, stepping: Stepping) {
        *self.stepping.lock() = Some(stepping);
    }

    /// Whether whoever carries it on must not sleep, because somebody waits for him to let go.
    pub(super) fn is_called_off(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CALLED_OFF
    }

    fn is_free(&self) -> bool {
        self.state.load(Ordering::SeqCst) == FREE
    }

    fn call_off(&self) {
        let _ = self.state.compare_exchange(STEPPED, CALLED_OFF, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether this thread carries it on: then it is in a callback of it.
    pub(super) fn is_by_this_thread(&self) -> bool {
        !self.is_free() && *self.by.lock() == Some(thread_mark::this_thread())
    }
}

impl Engine {
    /// Carries a simulated loop on until `ready`, or until its time has gone on by `timeout_ns`; where that is 0, by one turn. Answers
    /// for how long the caller is to wait by itself after that, which for other loops is all of it.
    pub(super) fn carry_on(&self, timeout_ns: u64, mut ready: impl FnMut() -> bool) -> u64 {
        if self.stepped.is_free() || self.stepped.is_by_this_thread() {
            return timeout_ns;
        }
        let until = self.clock.after(if timeout_ns == 0 { LOOK_NS } else { timeout_ns });
        loop {
            let Some(mut place) = self.stepping(timeout_ns) else { return 0 };
            if self.stepped.is_called_off() && self.give_thread(&mut place).is_ok() {
                return timeout_ns;
            }
            if ready() {
                return 0;
            }
            let Some(stepping) = place.take() else { return timeout_ns };
            self.clock.set_limit(until);
            *place = self.step(stepping);
            drop(place);
            if timeout_ns == 0 || self.clock.now() >= until {
                return 0;
            }
        }
    }

    /// Gets hold of the loop. Where another thread has it, that is one too many: from here on it goes on by itself. None where that
    /// is not to be waited for.
    fn stepping(&self, timeout_ns: u64) -> Option<MutexGuard<'_, Option<Stepping>>> {
        if let Some(place) = self.stepped.stepping.try_lock() {
            return Some(place);
        }
        self.stepped.call_off();
        self.notify_room();
        (timeout_ns > 0).then(|| self.stepped.stepping.lock())
    }

    /// One turn on this thread, which is the loop's own meanwhile.
    fn step(&self, stepping: Stepping) -> Option<Stepping> {
        let before = thread_mark::get();
        thread_mark::set(self.id());
        *self.stepped.by.lock() = Some(thread_mark::this_thread());
        let stepping = sys::without_signals(|| stepping.step());
        *self.stepped.by.lock() = None;
        thread_mark::set(before);
        stepping
    }

    /// Gives a simulated loop a thread: from here on it goes on by itself.
    pub(super) fn run_freely(&self) -> Result<()> {
        self.stepped.call_off();
        if self.stepped.is_free() || self.stepped.is_by_this_thread() {
            // Whoever called the callback that this is called in sees to it.
            return Ok(());
        }
        self.notify_room();
        self.give_thread(&mut self.stepped.stepping.lock())
    }

    fn give_thread(&self, place: &mut Option<Stepping>) -> Result<()> {
        if place.is_some() {
            self.clock.set_limit(u64::MAX);
            let given = Arc::new(HandOver::new());
            let receive = given.clone();
            let thread = sys::spawn_thread("sideloop", move || {
                if let Some(stepping) = receive.wait() {
                    Stepping::run(stepping);
                }
            })?;
            *self.thread.lock() = Some(thread);
            given.give(place.take());
        }
        self.stepped.state.store(FREE, Ordering::SeqCst);
        Ok(())
    }
}
