//! When the loop's thread, or one of its operations, has to wait: for work, for room among the events or the resources, for lent
//! memory. On the loop's thread.

use super::Core;
use crate::clock;
use crate::driver::{Completion, Value};
use crate::engine::Engine;
use crate::engine::lanes::{NONE, State};
use crate::error::{self, Error, Result};
use crate::op::{Outcome, Traits};
use std::sync::atomic::Ordering;
use std::time::Duration;

const DAY_NS: u64 = 86_400_000_000_000;

/// How many connections the system may hand over at once, and how many pieces: no fewer than a listener's backlog as a rule
/// has, and than there are buffers for the kernel to choose from.
const BACKLOG: u64 = 1024;
const BUFFERS: u64 = 256;

impl Core {
    /// Hands what is to be done to the driver, and takes what is done; asleep while there is neither, unless somebody is to hear
    /// of `news` first.
    pub(super) fn sleep(&mut self, news: bool) -> Result<()> {
        // A day at most: systems take their timeouts in small integers.
        let timeout = self.timers.first().map(|at| at.saturating_sub(self.engine.clock.now()).min(DAY_NS));
        if news || timeout == Some(0) || !self.ready.is_empty() || self.room_made {
            return self.driver.wait(Some(Duration::ZERO), &mut self.completed);
        }
        let window = self.patience.window();
        // Not for a timer: that will not come sooner.
        if window > 0 && timeout.is_none_or(|timeout| timeout > window) && self.look(window)? {
            return Ok(());
        }
        self.engine.waker.falls_asleep();
        let timeout = if self.is_asked() { Some(Duration::ZERO) } else { timeout.map(Duration::from_nanos) };
        let begun = self.patience.begins();
        let waited = self.driver.wait(timeout, &mut self.completed);
        self.engine.waker.is_up();
        let came = !self.completed.is_empty() || self.is_asked();
        self.patience.slept(begun, came);
        waited
    }

    /// Looks for work for a while, awake.
    fn look(&mut self, window_ns: u64) -> Result<bool> {
        let until = clock::after(window_ns);
        loop {
            self.driver.wait(Some(Duration::ZERO), &mut self.completed)?;
            if !self.completed.is_empty() || self.is_asked() {
                self.patience.looked(true);
                return Ok(true);
            }
            if clock::now() >= until {
                self.patience.looked(false);
                return Ok(false);
            }
            // Whoever is to bring it may be waiting for this processor.
            std::thread::yield_now();
        }
    }

    fn is_asked(&self) -> bool {
        self.engine.asked.load(Ordering::SeqCst) || self.engine.stepped.is_called_off()
    }

    /// Whether there is no room for another event of a multishot operation. The flag is up before the second look: whoever
    /// makes room after that look sees it.
    pub(super) fn must_pause(&mut self, index: u32) -> bool {
        let timer = self.lanes.op(index).traits.is_timer();
        let engine = &self.engine;
        let tick_waits = || timer && engine.ops.at(index).is_some_and(|slot| slot.tick_waits);
        let full = |unclaimed| unclaimed >= engine.max_unclaimed;
        if !tick_waits() && !full(engine.unclaimed.load(Ordering::SeqCst)) {
            return false;
        }
        engine.paused.store(true, Ordering::SeqCst);
        // It adds nothing, but comes before or after the subtraction of whoever takes: that one is seen here, or sees the flag.
        full(engine.unclaimed.fetch_add(0, Ordering::SeqCst)) || tick_waits()
    }

    pub(super) fn pause(&mut self, index: u32) {
        self.lanes.op(index).state = State::Paused;
        // Those that have ended meanwhile stay in the list until it is looked through; not for ever.
        if self.paused.len() > 2 * self.running + 64 {
            let lanes = &mut self.lanes;
            self.paused.retain(|index| lanes.op(*index).state == State::Paused);
            self.paused.sort_unstable();
            self.paused.dedup();
        }
        self.paused.push(index);
    }

    /// Whether a completion cannot be made an event now: others are held back before it, or there is no room for the event, or
    /// none for what was opened.
    pub(super) fn must_hold(&mut self, index: u32, completion: &Completion) -> bool {
        let op = *self.lanes.op(index);
        match &completion.result {
            // It was paused, and this is its end; it goes on where it can.
            Err(error) if op.pausing && error.status == error::SL_ERR_CANCELLED => true,
            _ if op.holding => true,
            // It is closed again.
            Ok(Value::Opened(_)) if op.stop.is_some() => false,
            Ok(Value::Opened(_)) if op.traits.opens() && self.set_place_aside(index).is_err() => true,
            Ok(Value::Opened(_) | Value::Lent(_)) => op.bounded && self.must_pause(index),
            _ => false,
        }
    }

    /// Holds a completion back, and has the primitive end, where it goes on.
    pub(super) fn hold(&mut self, completion: Completion) {
        let index = completion.token;
        let op = self.lanes.op(index);
        if completion.more {
            if !std::mem::replace(&mut op.pausing, true) {
                self.driver.cancel(index);
            }
        } else {
            // Only the driver's answer to that: nothing is held back with it.
            let cancelled = |error: &Error| error.status == error::SL_ERR_CANCELLED;
            let answer = op.pausing && completion.result.as_ref().is_err_and(cancelled);
            op.pausing = false;
            if answer {
                return if op.holding { self.pause(index) } else { self.go_on_or_end(index) };
            }
            self.pause(index);
        }
        self.lanes.op(index).holding = true;
        self.held.push_back(completion);
    }

    /// There is room again: an operation goes on, or ends if it was asked to meanwhile.
    fn go_on_or_end(&mut self, index: u32) {
        match self.lanes.op(index).stop {
            Some(why) => self.end_stopped(index, why),
            None => self.set_ready(index),
        }
    }

    /// Lets those go on who waited for room, among the events or among the resources.
    pub(super) fn make_room(&mut self) {
        if !std::mem::take(&mut self.room_made) {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        for completion in &held {
            self.lanes.op(completion.token).holding = false;
        }
        for completion in held.drain(..) {
            let index = completion.token;
            if self.must_hold(index, &completion) {
                self.lanes.op(index).holding = true;
                self.held.push_back(completion);
            } else {
                self.go_on_with(completion);
            }
        }
        for index in std::mem::take(&mut self.paused) {
            match self.lanes.op(index) {
                op if op.state != State::Paused => {}
                op if op.holding => self.paused.push(index),
                _ => self.go_on_or_end(index),
            }
        }
        self.feed_starved();
    }

    /// Drops what is held back of an operation whose resource is closed: nobody is to have it any more.
    pub(super) fn drop_held(&mut self, index: u32) {
        self.lanes.op(index).holding = false;
        self.held.retain(|completion| completion.token != index);
    }

    /// Whether there is room for much more than a multishot operation brings before it can be told to end.
    pub(super) fn has_ample_room(&self, traits: Traits, bounded: bool) -> bool {
        let engine = &self.engine;
        let events = engine.max_unclaimed.saturating_sub(engine.unclaimed.load(Ordering::Relaxed));
        let (wanted, places) = if traits.opens() { (BACKLOG, engine.resources.room()) } else { (BUFFERS, u32::MAX) };
        (!bounded || events >= wanted) && u64::from(places) >= BACKLOG
    }

    /// Sets the place of a resource aside before it is opened, so that nothing is opened in vain.
    fn set_place_aside(&mut self, index: u32) -> Result<()> {
        if self.lanes.op(index).reserved == NONE {
            let place = self.engine.resources.reserve(|_| Ok(()))?;
            self.engine.reserved.fetch_add(1, Ordering::Relaxed);
            self.lanes.op(index).reserved = place;
        }
        Ok(())
    }

    /// Whether there is a place for what an operation is to open. Where there is none, a multishot operation waits until one is
    /// closed, and another one ends.
    pub(super) fn reserve(&mut self, index: u32) -> bool {
        match self.set_place_aside(index) {
            Ok(()) => return true,
            Err(error) if error.status == error::SL_ERR_AGAIN && self.lanes.op(index).traits.multishot() => {
                self.pause(index);
            }
            Err(error) => self.end(index, Outcome::failed(error)),
        }
        false
    }

    /// The place that was set aside for what an operation has opened.
    pub(super) fn take_reserved(&mut self, index: u32) -> u32 {
        self.engine.reserved.fetch_sub(1, Ordering::Relaxed);
        std::mem::replace(&mut self.lanes.op(index).reserved, NONE)
    }

    /// An operation has found no lent buffer: it waits for its turn and for this much room.
    pub(super) fn starve(&mut self, index: u32, room: u64) {
        self.lanes.op(index).state = State::Starved;
        let room = if room == 0 { self.engine.pool.piece(0) as u64 } else { room };
        self.starved.push_back((index, room));
        self.feed_starved();
    }

    /// Lets those go on for whom there is room, first come first served. The flag is up before the last look: whoever returns a
    /// buffer after that look sees it. Buffers that come back by themselves (a worker's read failed) come with a turn.
    pub(super) fn feed_starved(&mut self) {
        let mut granted = 0;
        while let Some((index, needed)) = self.starved.front().copied() {
            let fits = |engine: &Engine| granted + needed <= engine.pool.room();
            if self.lanes.op(index).state != State::Starved {
                self.starved.pop_front();
            } else if fits(&self.engine) {
                granted += needed;
                self.starved.pop_front();
                self.set_ready(index);
            } else {
                self.engine.starved.store(true, Ordering::SeqCst);
                if !fits(&self.engine) {
                    return;
                }
            }
        }
    }
}
