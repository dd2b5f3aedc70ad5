//! What the loop's thread makes of an outcome: an event, and its way to the caller.

use super::super::event::{CallbackFunction, Delivery, Event, SL_EVENT_LENT, SL_EVENT_MORE, SL_EVENT_PARTIAL};
use super::super::{OpSlot, SHARDS};
use super::{Core, Gone};
use crate::error::{self, Error};
use crate::op::Outcome;
use crate::table::Kind;
use std::ptr;
use std::sync::atomic::Ordering;

impl Core {
    /// Turns an outcome into an event of the operation.
    fn event(&mut self, index: u32, outcome: Outcome, last: bool) -> Option<(Event, Delivery)> {
        let mut event = Event {
            user_data: 0,
            result: 0,
            op: 0,
            detail: 0,
            kind: 0,
            flags: if last { 0 } else { SL_EVENT_MORE },
            os_error: 0,
            data: ptr::null_mut(),
        };
        match outcome {
            Outcome::Done(number) => event.result = number,
            Outcome::Failed(error, done) => fail(&mut event, &error, done),
            Outcome::Opened(handle, key) => {
                let place = self.take_reserved(index);
                event.result = self.engine.add_resource(place, handle, key) as i64;
            }
            Outcome::Lent(mut lent) => {
                let (length, pointer) = (lent.len() as i64, lent.pointer());
                match self.engine.buffers.insert(lent, |_| Ok(())) {
                    Ok(place) => {
                        event.result = length;
                        event.data = pointer.cast();
                        event.detail = self.engine.bits(Kind::Buffer, place);
                        event.flags |= SL_EVENT_LENT;
                    }
                    Err(error) => fail(&mut event, &error, 0),
                }
            }
        }
        let generation = self.engine.ops.generation(index);
        let mut slot = self.engine.ops.at(index)?;
        event.user_data = slot.user_data;
        event.op = self.engine.bits(Kind::Operation, (index, generation));
        event.kind = slot.op.kind() as u16;
        if last {
            self.engine.tally.ended.add(1);
            slot.ended = Some(None);
            slot.delivered_in = self.deliveries + 1;
        } else if slot.op.is_timer() && !matches!(slot.delivery, Delivery::Thread(_)) {
            slot.tick_waits = true;
        }
        Some((event, slot.delivery))
    }

    pub(super) fn post_more(&mut self, index: u32, outcome: Outcome) {
        let Some((event, delivery)) = self.event(index, outcome, false) else { return };
        self.engine.tally.more.add(1);
        if let Delivery::Thread(callback) = delivery {
            return self.own_calls.push((event, callback));
        }
        self.engine.unclaimed.fetch_add(1, Ordering::SeqCst);
        match delivery {
            Delivery::Dispatch(callback) => self.calls.push((event, callback)),
            _ => self.events.push(event),
        }
    }

    pub(super) fn post_last(&mut self, index: u32, outcome: Outcome) {
        let Some((event, delivery)) = self.event(index, outcome, true) else { return };
        match event.result {
            result if result == i64::from(error::SL_ERR_CANCELLED) => self.engine.tally.cancelled.add(1),
            result if result == i64::from(error::SL_ERR_TIMED_OUT) => self.engine.tally.timed_out.add(1),
            _ => {}
        }
        match delivery {
            Delivery::Queue => self.events.push(event),
            Delivery::Dispatch(callback) => self.calls.push((event, callback)),
            Delivery::Thread(callback) => {
                self.engine.ops.release(index);
                self.own_calls.push((event, callback));
            }
            Delivery::Handle => self.keep(index, event),
        }
    }

    /// Leaves an event with its operation, for whoever waits for just this one.
    fn keep(&self, index: u32, event: Event) {
        if let Some(mut slot) = self.engine.ops.at(index) {
            slot.ended = Some(Some(event));
            slot.delivered_in = 0;
        }
        let (lock, ended) = &self.engine.op_ended[index as usize % SHARDS];
        drop(lock.lock());
        ended.notify_all();
    }

    /// Hands over what has come to pass, and runs this thread's callbacks. They may bring new commands.
    pub(super) fn deliver(&mut self) {
        self.engine.queue.post(&mut self.events, &mut self.calls);
        self.deliveries += 1;
        self.engine.deliveries.store(self.deliveries, Ordering::Release);
        if !self.own_calls.is_empty() {
            let mut calls = std::mem::take(&mut self.own_calls);
            self.engine.tally.taken.add(calls.len() as u64);
            let id = self.engine.id();
            calls.drain(..).for_each(|(event, callback): (Event, CallbackFunction)| callback.run(id, &event));
            self.own_calls = calls;
        }
        self.engine.tally.workers.store(u64::from(self.driver.workers()), Ordering::Relaxed);
    }

    /// The driver failed, or this thread panicked: every operation ends with an error, when nothing touches its memory any more.
    pub(super) fn fail(&mut self) {
        {
            let mut inbox = self.engine.inbox.lock();
            (inbox.shut, inbox.failed) = (true, true);
            inbox.commands.clear();
        }
        // Workers end with the driver; what a kernel still had in hand it gives back.
        self.driver = Box::new(Gone);
        for index in 0..self.engine.ops.made() {
            let unended =
                self.engine.ops.at(index).is_some_and(|slot: crate::table::Entry<'_, OpSlot>| slot.ended.is_none());
            if unended {
                self.post_last(index, Outcome::failed(Error::new(error::SL_ERR_INTERNAL)));
            }
        }
        for index in 0..self.engine.resources.made() {
            self.lanes.forget(index);
            self.engine.resources.release(index);
        }
        self.deliver();
    }
}

fn fail(event: &mut Event, error: &Error, done: u64) {
    event.result = i64::from(error.status);
    event.os_error = error.os;
    if done > 0 {
        event.detail = done;
        event.flags |= SL_EVENT_PARTIAL;
    }
}
