//! How operations come in: checked, numbered, and then either carried out at once, where that takes no waiting, or handed over
//! to the loop's thread. On callers' threads.

use super::event::{Event, Route};
use super::queue::Which;
use super::{Command, Delivery, Engine, OpSlot, Resource, Start, Work};
use crate::error::{self, Error, Result};
use crate::headroom;
use crate::lock::RwLockReadGuard;
use crate::op::{Lane, Op, Outcome, TargetKind, Traits};
use crate::table::{Entry, Kind};
use std::sync::atomic::Ordering;

/// What one call may carry out on its caller's thread: so many operations, and bytes. Copying those takes some ten
/// microseconds.
const INLINE_OPERATIONS: usize = 32;
const INLINE_BYTES: usize = 128 << 10;

/// How one operation is to be delivered, and until when it may take.
pub(crate) struct OpOptions {
    /// How its events reach the caller.
    pub(crate) delivery: Delivery,
    /// What they carry.
    pub(crate) user_data: u64,
    /// The deadline from now; 0: none.
    pub(crate) timeout_ns: u64,
    /// Whether the caller's thread may carry it out.
    pub(crate) inline: bool,
}

/// What is to be submitted: the operation, what it works on, and how it is to be delivered.
pub(crate) type Submission = (Op, u64, OpOptions);

/// The submissions of one call: they share one wake and one delivery, at the end, and one allowance of what may be carried out
/// at once.
pub(crate) struct Batch<'a> {
    engine: &'a Engine,
    gate: Option<RwLockReadGuard<'a, bool>>,
    attempts: usize,
    bytes_left: usize,
    /// Operations that were carried out here.
    ended: [(Which, u32); INLINE_OPERATIONS],
    count: usize,
    /// Something was handed over; the loop was woken for that.
    hands_over: bool,
    woken: bool,
}

impl Engine {
    /// Submits operations, and wakes the loop once.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            engine: self,
            gate: None,
            attempts: 0,
            bytes_left: INLINE_BYTES,
            ended: [(Which::Events, 0); INLINE_OPERATIONS],
            count: 0,
            hands_over: false,
            woken: false,
        }
    }

    /// Makes room for what an operation may post, so that posting cannot fail.
    fn reserve_events(&self, route: Route, traits: Traits) -> Result<()> {
        let more = if traits.multishot() { self.max_unclaimed as usize } else { 0 };
        match route {
            Route::Dispatch => self.queue.reserve_line(Which::Calls, more),
            Route::Queue if more > 0 => self.queue.reserve_line(Which::Events, more),
            _ => Ok(()),
        }
    }

    /// Puts a command where the loop's thread finds it. The caller wakes the thread.
    fn hand_over(&self, command: Command) -> Result<()> {
        let mut inbox = self.inbox.lock();
        inbox.check()?;
        if inbox.make_place()? {
            headroom::check()?;
        }
        inbox.commands.push(command);
        self.asked.store(true, Ordering::Release);
        Ok(())
    }

    /// Turns an outcome into an event, but for what its operation knows. What was opened has its id already.
    pub(super) fn event(&self, outcome: Outcome) -> Event {
        let mut event = Event::default();
        match outcome {
            Outcome::Done(number) => event.result = number,
            Outcome::Failed(error, done) => event.fail(&error, done),
            Outcome::Opened(..) => event.fail(&Error::new(error::SL_ERR_INTERNAL), 0),
            Outcome::Lent(mut lent) => {
                let (length, pointer) = (lent.len(), lent.pointer());
                match self.buffers.insert(lent, |_| Ok(())) {
                    Ok(place) => event.lend(length, pointer, self.bits(Kind::Buffer, place)),
                    Err(error) => event.fail(&error, 0),
                }
            }
        }
        event
    }
}

impl<'a> Batch<'a> {
    /// Submits what `decode` makes of the caller's request. Whatever refuses it, it is counted.
    pub(crate) fn submit(&mut self, decode: impl FnOnce() -> Result<Submission>) -> Result<u64> {
        // It takes the loop a while to get up, during which the rest of the call can be prepared.
        if self.hands_over && !self.woken {
            self.engine.waker.wake();
            self.woken = true;
        }
        let accepted = decode().and_then(|(op, target, options)| self.accept(op, target, options));
        let tally = &self.engine.tally;
        if accepted.is_ok() { &tally.accepted } else { &tally.refused }.add(1);
        accepted
    }

    fn accept(&mut self, op: Op, target: u64, options: OpOptions) -> Result<u64> {
        let engine = self.engine;
        let traits = op.traits();
        let route = options.delivery.route;
        if traits.multishot() && route == Route::Handle {
            return Err(Error::with(error::SL_ERR_DELIVERY, "SL_DELIVER_HANDLE is not for multishot operations"));
        }
        // The resource stays locked until the operation is accepted: whoever comes next finds it busy, or closed.
        let (resource, target) = match op.target() {
            TargetKind::Loop => {
                engine.check_loop(target)?;
                (None, 0)
            }
            wanted => (Some(engine.resource(target, wanted)?), target),
        };
        let index = engine.ops.reserve(|slots| engine.queue.reserve(slots as usize))?;
        let accepted =
            engine.reserve_events(route, traits).and_then(|()| self.begin(index, op, target, options, resource));
        if accepted.is_err() {
            engine.ops.recycle([index]);
        }
        accepted
    }

    /// Carries an operation out in the slot that was set aside for it, or hands it over.
    fn begin(
        &mut self,
        index: u32,
        mut op: Op,
        target: u64,
        options: OpOptions,
        mut resource: Option<Entry<'a, Resource>>,
    ) -> Result<u64> {
        let engine = self.engine;
        let traits = op.traits();
        let OpOptions { delivery, user_data, timeout_ns, inline } = options;
        let lane = if traits.lane == Lane::Free { None } else { Some(traits.lane as usize) };
        let busy = resource.as_ref().zip(lane).is_some_and(|(resource, lane)| resource.busy[lane] > 0);
        if inline && engine.inline && !busy && self.allows(&op) {
            let handle = resource.as_ref().map(|resource| &*resource.handle);
            let outcome = op.attempt(handle, &engine.pool, self.bytes_left);
            // It may have taken a lent buffer, and given it back.
            engine.make_room(&engine.starved);
            if let Some(outcome) = outcome {
                let event = Event { kind: op.kind() as u16, user_data, ..engine.event(outcome) };
                // In a lane, the event must be in the queue before the resource is free for the next.
                return Ok(self.end(index, event, delivery, lane.is_some()));
            }
        }
        op.begins(&engine.clock);
        let deadline = if timeout_ns == 0 { 0 } else { engine.clock.after(timeout_ns) };
        let slot = OpSlot::new(Work::Live(op), delivery, user_data);
        let generation = engine.ops.fill(index, slot);
        let start = Start { index, traits, route: delivery.route, target, deadline };
        if let Err(error) = engine.hand_over(Command::Start(start)) {
            // A loop that fails at this very moment may have ended it already, with an event: then it was accepted.
            if engine.ops.clear_if(index, generation, OpSlot::is_live) {
                return Err(error);
            }
        }
        if let Some(resource) = &mut resource {
            if let Some(lane) = lane {
                resource.busy[lane] += 1;
            }
            if traits.closes() {
                resource.retire();
            }
        }
        self.hands_over = true;
        Ok(engine.bits(Kind::Operation, (index, generation)))
    }

    /// Whether this call may carry the operation out itself.
    fn allows(&mut self, op: &Op) -> bool {
        let engine = self.engine;
        let Some(bytes) = op.inline_bytes(&engine.pool) else { return false };
        // Others wait for lent memory, and it goes to them first.
        if bytes > self.bytes_left || self.attempts == INLINE_OPERATIONS || engine.starved.load(Ordering::SeqCst) {
            return false;
        }
        if self.gate.is_none() {
            // Never waited for: whoever closes it waits for those inside, and they may wait for a resource that is locked here.
            self.gate = engine.gate.try_read();
        }
        // Closed: handing it over says why.
        if self.gate.as_ref().is_none_or(|gate| **gate) {
            return false;
        }
        self.attempts += 1;
        self.bytes_left -= bytes;
        true
    }

    /// Ends an operation that was carried out here: its event is posted with those of the whole call, or at once.
    fn end(&mut self, index: u32, event: Event, delivery: Delivery, at_once: bool) -> u64 {
        let engine = self.engine;
        self.bytes_left = self.bytes_left.saturating_sub(usize::try_from(event.result).unwrap_or(0));
        let user_data = event.user_data;
        let generation = engine.ops.fill(index, OpSlot::new(Work::Ended(event, 0), delivery, user_data));
        engine.tally.ended.add(1);
        match delivery.route {
            // Nobody knows its id yet, so nobody waits for it.
            Route::Handle => {}
            Route::Thread => {
                engine.inbox.lock().ended.push(index);
                engine.asked.store(true, Ordering::Release);
                self.hands_over = true;
            }
            Route::Queue | Route::Dispatch => {
                let which = if delivery.route == Route::Queue { Which::Events } else { Which::Calls };
                if at_once {
                    engine.queue.post_last(std::iter::once((which, index)));
                } else {
                    self.ended[self.count] = (which, index);
                    self.count += 1;
                }
            }
        }
        engine.bits(Kind::Operation, (index, generation))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // Where the loop was woken early, it may have fallen asleep since.
        if self.hands_over {
            self.engine.waker.wake();
        }
        if self.count > 0 {
            self.engine.queue.post_last(self.ended[..self.count].iter().copied());
        }
    }
}
