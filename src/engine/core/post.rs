//! What the loop's thread makes of an outcome: an event, and its way to the caller.

use super::super::event::{Event, Route, SL_EVENT_MORE};
use super::super::{SHARDS, Work};
use super::Core;
use crate::engine::lanes::Stop;
use crate::engine::queue::{Line, Taken};
use crate::error;
use crate::op::Outcome;
use crate::table::{Id, Kind};
use std::sync::atomic::Ordering;

/// So many events are gathered at most before they are delivered. Room for them is made once, so that it cannot be missing.
pub(super) const GATHERED: usize = 128;

impl Core {
    /// Turns an outcome into an event, but for what its operation knows.
    fn event(&mut self, index: u32, outcome: Outcome) -> Event {
        let Outcome::Opened(handle, key) = outcome else { return self.engine.event(outcome) };
        let place = self.take_reserved(index);
        Event { result: self.engine.add_resource(place, handle, key) as i64, ..Event::default() }
    }

    /// Posts an event flagged MORE, unless the operation was asked to stop: what it has opened since is closed again, and
    /// what there is no room for when its resource is closed is dropped.
    pub(super) fn post_unless_stopped(&mut self, index: u32, outcome: Outcome) {
        let op = *self.lanes.op(index);
        let unwanted = match op.stop {
            None => false,
            Some(Stop::Closed) if op.bounded && self.must_pause(index) => true,
            Some(_) => matches!(outcome, Outcome::Opened(..)),
        };
        if !unwanted {
            self.post_more(index, outcome);
        }
    }

    fn post_more(&mut self, index: u32, outcome: Outcome) {
        let event = self.event(index, outcome);
        let timer = self.lanes.op(index).traits.is_timer();
        let Some(mut slot) = self.engine.ops.at(index) else { return };
        let Work::Live(op) = &slot.work else { return };
        let op_id = self.engine.bits(Kind::Operation, (index, slot.generation()));
        let flags = event.flags | SL_EVENT_MORE;
        let event = Event { op: op_id, user_data: slot.user_data, kind: op.kind() as u16, flags, ..event };
        let (route, callback) = (slot.route, slot.callback);
        slot.tick_waits = timer && route != Route::Thread;
        drop(slot);
        self.engine.tally.more.add(1);
        self.posted = true;
        let call = (event, callback);
        match route {
            Route::Thread => self.own.push_more(call),
            route => {
                self.engine.unclaimed.fetch_add(1, Ordering::SeqCst);
                self.lines[usize::from(route == Route::Dispatch)].push_more(call);
            }
        }
        self.deliver_when_full();
    }

    pub(super) fn post_last(&mut self, index: u32, outcome: Outcome) {
        let event = self.event(index, outcome);
        let tally = &self.engine.tally;
        match event.result {
            result if result == i64::from(error::SL_ERR_CANCELLED) => tally.cancelled.add(1),
            result if result == i64::from(error::SL_ERR_TIMED_OUT) => tally.timed_out.add(1),
            _ => {}
        }
        let Some(mut slot) = self.engine.ops.at(index) else { return };
        let Work::Live(op) = &slot.work else { return };
        tally.ended.add(1);
        self.posted = true;
        let event = Event { user_data: slot.user_data, kind: op.kind() as u16, ..event };
        let route = slot.route;
        let delivered_in = if route == Route::Handle { 0 } else { self.deliveries + 1 };
        let op = std::mem::replace(&mut slot.work, Work::Ended(event, delivered_in));
        drop(slot);
        drop(op);
        match route {
            Route::Queue => self.lines[0].push_last(index),
            Route::Dispatch => self.lines[1].push_last(index),
            Route::Thread => self.own.push_last(index),
            Route::Handle => {
                let (lock, ended) = &self.engine.op_ended[index as usize % SHARDS];
                drop(lock.lock());
                ended.notify_all();
            }
        }
        self.deliver_when_full();
    }

    fn deliver_when_full(&mut self) {
        let full = self.lines.iter().chain([&self.own]).any(|line| line.len() >= GATHERED);
        if full || self.left.len() >= GATHERED {
            self.deliver();
        }
    }

    /// Hands over what has come to pass, and runs this thread's callbacks. They may bring new commands.
    pub(super) fn deliver(&mut self) {
        self.engine.queue.post(&mut self.lines);
        self.deliveries += 1;
        self.engine.deliveries.store(self.deliveries, Ordering::Release);
        // Only now: whoever finds a lane free, and goes on in it at once, comes after the events of those before.
        for (resource, lane) in self.left.drain(..) {
            let Ok(id) = Id::from_bits(resource) else { continue };
            if let Ok(mut resource) = self.engine.resources.get(id.index, id.generation) {
                resource.busy[lane as usize] -= 1;
            }
        }
        if !self.own.is_empty() {
            let mut own = std::mem::take(&mut self.own);
            self.run_own(&mut own);
            self.own = own;
        }
        self.engine.tally.workers.store(u64::from(self.driver.workers()), Ordering::Relaxed);
    }

    fn run_own(&self, own: &mut Line) {
        let id = self.engine.id();
        self.engine.tally.taken.add(own.len() as u64);
        while let Some(taken) = own.pop() {
            let call = match taken {
                Taken::More(call) => Some(call),
                Taken::Last(index) => {
                    let call = self.engine.take_last(index);
                    self.engine.ops.recycle([index]);
                    call
                }
            };
            if let Some((event, Some(callback))) = call {
                callback.run(id, &event);
            }
        }
    }
}
