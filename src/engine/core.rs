//! The loop's thread: takes commands, moves operations on, delivers their events, and sleeps in the driver.

mod post;

use super::event::{Delivery, Event};
use super::lanes::{Known, Lanes, NONE, State};
use super::queue::Call;
use super::timers::Timers;
use super::{Command, Engine};
use crate::driver::{Completion, Driver, Primitive, Socket};
use crate::error::{self, Error, Result};
use crate::op::{Context, Op, Outcome, Place, Step};
use crate::sys::{Handle, HandleKind};
use crate::table::Id;
use crate::{clock, thread_mark};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const DAY_NS: u64 = 86_400_000_000_000;

/// The life of the loop's thread.
pub(super) fn run(engine: Arc<Engine>, driver: Box<dyn Driver>) {
    thread_mark::set(engine.id());
    let mut core = Core::new(engine.clone(), driver);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        while !core.is_done() {
            core.turn()?;
        }
        Ok::<(), Error>(())
    }));
    if !matches!(lived, Ok(Ok(()))) {
        core.fail();
    }
    drop(core);
    engine.queue.finish();
}

struct Core {
    engine: Arc<Engine>,
    driver: Box<dyn Driver>,
    lanes: Lanes,
    timers: Timers,
    /// Operations that go on in this turn.
    ready: VecDeque<u32>,
    paused: Vec<u32>,
    /// Who waits for a lent buffer, first come first served, and for how many bytes of room.
    starved: VecDeque<(u32, u64)>,
    /// Who has come due in this turn.
    due: Vec<u32>,
    commands: Vec<Command>,
    completed: Vec<Completion>,
    events: Vec<Event>,
    calls: Vec<Call>,
    /// Callbacks for this thread.
    own_calls: Vec<Call>,
    /// How often this has delivered.
    deliveries: u64,
    /// Operations that have begun and not ended.
    running: usize,
    shutting_down: bool,
}

impl Core {
    fn new(engine: Arc<Engine>, driver: Box<dyn Driver>) -> Self {
        Core {
            engine,
            driver,
            lanes: Lanes::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            starved: VecDeque::new(),
            due: Vec::new(),
            commands: Vec::new(),
            completed: Vec::new(),
            events: Vec::new(),
            calls: Vec::new(),
            own_calls: Vec::new(),
            deliveries: 0,
            running: 0,
            shutting_down: false,
        }
    }

    fn is_done(&self) -> bool {
        self.shutting_down && self.running == 0 && self.engine.resources.live() == 0
    }

    /// One turn: what was asked, what has come due, what has completed.
    fn turn(&mut self) -> Result<()> {
        self.engine.tally.turns.add(1);
        std::mem::swap(&mut self.commands, &mut self.engine.inbox.lock().commands);
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            self.obey(command);
        }
        self.commands = commands;
        if !self.starved.is_empty() {
            self.feed_starved();
        }
        // First who is ready, then who is late: what can end by its deadline does, though the loop may come to it after that.
        self.move_on();
        self.expire();
        self.move_on();
        self.deliver();
        if self.is_done() {
            return Ok(());
        }
        self.sleep()?;
        let mut completed = std::mem::take(&mut self.completed);
        for completion in completed.drain(..) {
            self.complete(completion);
        }
        self.completed = completed;
        self.move_on();
        self.deliver();
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(index) => self.start(index),
            Command::Cancel(index, generation) => {
                if self.engine.ops.generation(index) == generation {
                    self.stop(index, error::SL_ERR_CANCELLED);
                }
            }
            Command::Room => self.make_room(),
            Command::ShutDown => self.shut_down(),
        }
    }

    /// Hands what is to be done to the driver, and takes what is done; asleep while there is neither.
    fn sleep(&mut self) -> Result<()> {
        // A day at most: systems take their timeouts in small integers.
        let timeout = self.timers.first().map(|at| at.saturating_sub(clock::now()).min(DAY_NS));
        if timeout == Some(0) || !self.ready.is_empty() {
            return self.driver.wait(Some(Duration::ZERO), &mut self.completed);
        }
        self.engine.waker.falls_asleep();
        let idle = self.engine.inbox.lock().commands.is_empty();
        let timeout = if idle { timeout.map(Duration::from_nanos) } else { Some(Duration::ZERO) };
        let waited = self.driver.wait(timeout, &mut self.completed);
        self.engine.waker.is_up();
        waited
    }

    /// Begins an operation.
    fn start(&mut self, index: u32) {
        let Some(slot) = self.engine.ops.at(index) else { return };
        let (target, deadline, lane, closes) = (slot.target, slot.deadline, slot.op.lane(), slot.op.is_close());
        drop(slot);
        self.running += 1;
        let op = self.lanes.op(index);
        (op.state, op.stop, op.wake_at, op.deadline) = (State::Ready, None, 0, deadline);
        (op.resource, op.reserved) = (NONE, NONE);
        if target != 0 {
            let resource = match self.find_resource(target, closes) {
                Some(resource) => resource,
                None => return self.end(index, Outcome::failed(Error::new(error::SL_ERR_CANCELLED))),
            };
            if closes {
                return self.close(resource, index);
            }
            if !self.lanes.enter(index, resource, lane) {
                self.lanes.op(index).state = State::Queued;
            }
        }
        self.set_timer(index);
        if self.lanes.op(index).state == State::Ready {
            self.ready.push_back(index);
        }
    }

    /// The index of an open resource, learnt of when its first operation comes. One that was closed meanwhile has another
    /// generation; only the operation that closed it may still find it.
    fn find_resource(&mut self, target: u64, closes: bool) -> Option<u32> {
        let id = Id::from_bits(target).ok()?;
        if let Some(known) = self.lanes.known(id.index) {
            return (known.id == target && !known.closing).then_some(id.index);
        }
        let entry = if closes {
            self.engine.resources.at(id.index)?
        } else {
            self.engine.resources.get(id.index, id.generation).ok()?
        };
        let (handle, key) = (entry.handle.clone(), entry.key);
        drop(entry);
        self.learn(id.index, target, handle, key);
        Some(id.index)
    }

    fn learn(&mut self, index: u32, id: u64, handle: Arc<Handle>, key: Option<u32>) {
        let place = match handle.kind() {
            HandleKind::File => Place::File(handle),
            _ => Place::Socket(Socket { key: key.unwrap_or_else(|| self.driver.attach(&handle)), handle }),
        };
        self.lanes.learn(index, Known::new(id, place));
    }

    /// Moves on who is ready. Ends may make others ready; a list instead of recursion keeps the stack flat.
    fn move_on(&mut self) {
        // Those that were ready when this began: whoever is ready again has its turn after the others, and after delivery.
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            if self.lanes.op(index).state == State::Ready {
                self.go_on(index);
            }
        }
    }

    fn go_on(&mut self, index: u32) {
        let Some(slot) = self.engine.ops.at(index) else { return };
        let multishot = slot.op.is_multishot() && !matches!(slot.delivery, Delivery::Thread(_));
        let (tick_waits, opens) = (slot.tick_waits, slot.op.opens());
        drop(slot);
        if multishot && self.must_pause(index, tick_waits) {
            self.lanes.op(index).state = State::Paused;
            self.paused.push(index);
            return;
        }
        if opens && !self.reserve(index) {
            return;
        }
        if let Some(step) = self.with_op(index, |op, cx| op.next(cx)) {
            self.follow(index, step);
        }
    }

    /// Whether there is no room for another event of a multishot operation. The flag is up before the second look: whoever
    /// makes room after that look sees it.
    fn must_pause(&self, index: u32, tick_waits: bool) -> bool {
        let engine = &self.engine;
        let full = || engine.unclaimed.load(Ordering::SeqCst) >= engine.max_unclaimed;
        if !tick_waits && !full() {
            return false;
        }
        engine.paused.store(true, Ordering::SeqCst);
        full() || engine.ops.at(index).is_some_and(|slot| slot.tick_waits)
    }

    fn with_op<R>(&mut self, index: u32, call: impl FnOnce(&mut Op, &mut Context<'_>) -> R) -> Option<R> {
        let resource = self.lanes.op(index).resource;
        let place = self.lanes.known(resource).map_or(&Place::Loop, |known| &known.place);
        let mut slot = self.engine.ops.at(index)?;
        Some(call(&mut slot.op, &mut Context { place, buffers: &self.engine.pool, driver: &mut *self.driver }))
    }

    fn complete(&mut self, completion: Completion) {
        let index = completion.token;
        if !matches!(self.lanes.op(index).state, State::Running | State::Closing) {
            return;
        }
        self.lanes.op(index).state = State::Ready;
        if let Some(step) = self.with_op(index, |op, cx| op.completed(cx, completion)) {
            self.follow(index, step);
        }
    }

    /// Sees to what an operation needs next.
    fn follow(&mut self, index: u32, step: Step) {
        let stop = self.lanes.op(index).stop;
        match step {
            Step::End(Outcome::Opened(_, key)) if stop.is_some() => {
                if let Some(key) = key {
                    self.driver.detach(key);
                }
                self.end_stopped(index, stop.unwrap_or(error::SL_ERR_CANCELLED));
            }
            Step::End(outcome) => self.end(index, stopped(outcome, stop)),
            Step::More(outcome) => {
                if !matches!((&outcome, stop), (Outcome::Opened(..), Some(_))) {
                    self.post_more(index, outcome);
                }
                match stop {
                    Some(status) => self.end_stopped(index, status),
                    None => self.set_ready(index),
                }
            }
            _ if stop.is_some() => self.end_stopped(index, stop.unwrap_or(error::SL_ERR_CANCELLED)),
            Step::Run(primitive) => {
                self.lanes.op(index).state = State::Running;
                self.driver.submit(index, primitive);
            }
            Step::Until(at) => {
                let op = self.lanes.op(index);
                (op.state, op.wake_at) = (State::Sleeping, at);
                self.set_timer(index);
            }
            Step::Starve(room) => self.starve(index, room),
        }
    }

    fn set_ready(&mut self, index: u32) {
        self.lanes.op(index).state = State::Ready;
        self.ready.push_back(index);
    }

    /// Sets the place of a resource aside before it is opened, so that nothing is opened in vain. Where there is none, a
    /// multishot operation waits until one is closed, and another one ends.
    fn reserve(&mut self, index: u32) -> bool {
        if self.lanes.op(index).reserved != NONE {
            return true;
        }
        match self.engine.resources.reserve(|_| Ok(())) {
            Ok(place) => {
                self.engine.reserved.fetch_add(1, Ordering::Relaxed);
                self.lanes.op(index).reserved = place;
                return true;
            }
            Err(error) if error.status == error::SL_ERR_AGAIN && self.is_multishot(index) => {
                self.lanes.op(index).state = State::Paused;
                self.paused.push(index);
            }
            Err(error) => self.end(index, Outcome::failed(error)),
        }
        false
    }

    /// The place that was set aside for what an operation has opened.
    fn take_reserved(&mut self, index: u32) -> u32 {
        self.engine.reserved.fetch_sub(1, Ordering::Relaxed);
        std::mem::replace(&mut self.lanes.op(index).reserved, NONE)
    }

    fn is_multishot(&self, index: u32) -> bool {
        self.engine.ops.at(index).is_some_and(|slot| slot.op.is_multishot())
    }

    /// An operation has found no lent buffer: it waits for its turn and for this much room.
    fn starve(&mut self, index: u32, room: u64) {
        self.lanes.op(index).state = State::Starved;
        let room = if room == 0 { self.engine.pool.piece(0) as u64 } else { room };
        self.starved.push_back((index, room));
        self.feed_starved();
    }

    /// Lets those go on for whom there is room, first come first served. The flag is up before the last look: whoever returns a
    /// buffer after that look sees it. Buffers that come back by themselves (a worker's read failed) come with a turn.
    fn feed_starved(&mut self) {
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

    /// Lets those go on who waited for room, among the events or among the resources.
    fn make_room(&mut self) {
        for index in std::mem::take(&mut self.paused) {
            if self.lanes.op(index).state == State::Paused {
                self.set_ready(index);
            }
        }
        self.feed_starved();
    }

    /// Sets an operation's timer to what comes first: the instant it sleeps for, or its deadline.
    fn set_timer(&mut self, index: u32) {
        let op = self.lanes.op(index);
        match [op.wake_at, op.deadline].into_iter().filter(|at| *at != 0).min() {
            Some(at) => self.timers.set(index, at),
            None => self.timers.remove(index),
        }
    }

    fn expire(&mut self) {
        if self.timers.first().is_none() {
            return;
        }
        let now = clock::now();
        // All first: whoever is woken has its deadline set again, and is to go on before that counts.
        let mut due = std::mem::take(&mut self.due);
        while let Some(index) = self.timers.pop_due(now) {
            due.push(index);
        }
        for index in due.drain(..) {
            let op = self.lanes.op(index);
            let wakes = op.state == State::Sleeping && op.wake_at != 0 && op.wake_at <= now;
            let late = op.deadline != 0 && op.deadline <= now;
            // What has come due by its deadline may say so: a timer fires.
            if wakes && (!late || op.wake_at <= op.deadline) {
                self.awake(index);
            } else if late {
                self.stop(index, error::SL_ERR_TIMED_OUT);
            } else {
                self.set_timer(index);
            }
        }
        self.due = due;
    }

    fn awake(&mut self, index: u32) {
        let op = self.lanes.op(index);
        op.wake_at = 0;
        self.set_ready(index);
        self.set_timer(index);
    }

    /// Asks an operation to end with `status`; where its primitive is under way, that must end first.
    fn stop(&mut self, index: u32, status: i32) {
        let op = self.lanes.op(index);
        match op.state {
            State::Absent | State::Closing => {}
            State::Running => {
                if op.stop.is_none() {
                    op.stop = Some(status);
                    op.deadline = 0;
                    self.set_timer(index);
                    self.driver.cancel(index);
                }
            }
            _ => self.end_stopped(index, status),
        }
    }

    fn end_stopped(&mut self, index: u32, status: i32) {
        let done = self.with_op(index, |op, _| op.done()).unwrap_or(0);
        self.end(index, Outcome::Failed(Error::new(status), done));
    }

    /// Ends an operation: its place in its lane, its timer, and its last event.
    fn end(&mut self, index: u32, outcome: Outcome) {
        let resource = self.lanes.op(index).resource;
        self.lanes.op(index).state = State::Absent;
        self.timers.remove(index);
        self.running -= 1;
        if resource != NONE {
            self.leave(index, resource);
        }
        if let Some(socket) = self.with_op(index, |op, _| op.abandon()).flatten() {
            self.driver.detach(socket.key);
        }
        self.post_last(index, outcome);
        if self.lanes.op(index).reserved != NONE {
            let place = self.take_reserved(index);
            self.recycle_resource(place);
        }
    }

    fn leave(&mut self, index: u32, resource: u32) {
        if let Some(next) = self.lanes.leave(index) {
            if self.lanes.op(next).state == State::Queued {
                self.set_ready(next);
            }
        }
        let Some(known) = self.lanes.known(resource) else { return };
        if known.closing && known.in_flight == 0 {
            self.finish_close(resource);
        }
    }

    /// Begins to close a resource: its operations end first. `by` is the operation that closes it, or NONE.
    fn close(&mut self, resource: u32, by: u32) {
        if by != NONE {
            let op = self.lanes.op(by);
            (op.state, op.deadline) = (State::Closing, 0);
        }
        let Some(known) = self.lanes.known(resource) else { return };
        (known.closing, known.closed_by) = (true, by);
        if known.in_flight == 0 {
            return self.finish_close(resource);
        }
        for index in self.lanes.of_resource(resource) {
            self.stop(index, error::SL_ERR_CANCELLED);
        }
    }

    /// Closes a resource on which nothing is under way any more.
    fn finish_close(&mut self, resource: u32) {
        let Some(known) = self.lanes.forget(resource) else { return };
        let by = known.closed_by;
        drop(self.engine.resources.clear(resource));
        let (handle, key) = known.into_parts();
        if let Some(key) = key {
            self.driver.detach(key);
        }
        // Everything that was under way has ended, and with it every other owner.
        let handle = handle.and_then(Arc::into_inner);
        self.recycle_resource(resource);
        match handle {
            Some(handle) if by != NONE => self.driver.submit(by, Primitive::Close { handle }),
            _ if by != NONE => self.end(by, Outcome::Done(0)),
            handle => drop(handle),
        }
    }

    /// Lets a resource's slot be used again; whoever waits for one may go on.
    fn recycle_resource(&mut self, index: u32) {
        self.engine.resources.recycle([index]);
        if !self.paused.is_empty() {
            self.make_room();
        }
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        for index in 0..self.engine.ops.made() {
            self.stop(index, error::SL_ERR_CANCELLED);
        }
        for index in 0..self.engine.resources.made() {
            self.close_unasked(index);
        }
    }

    /// Closes a resource because the loop shuts down.
    fn close_unasked(&mut self, index: u32) {
        if self.lanes.known(index).is_some_and(|known| known.closing) {
            return;
        }
        let Some(mut entry) = self.engine.resources.at(index) else { return };
        entry.retire();
        let (handle, key) = (entry.handle.clone(), entry.key);
        drop(entry);
        if self.lanes.known(index).is_none() {
            self.learn(index, 0, handle, key);
        } else {
            drop(handle);
        }
        self.close(index, NONE);
    }
}

/// What an operation ends with that was asked to stop.
fn stopped(outcome: Outcome, stop: Option<i32>) -> Outcome {
    match (outcome, stop) {
        (Outcome::Failed(error, done), Some(status)) if error.status == error::SL_ERR_CANCELLED => {
            Outcome::Failed(Error::new(status), done)
        }
        (outcome, _) => outcome,
    }
}

/// Stands where a driver was that is gone.
struct Gone;

impl Driver for Gone {
    fn attach(&mut self, _: &Arc<Handle>) -> u32 {
        0
    }
    fn detach(&mut self, _: u32) {}
    fn submit(&mut self, _: u32, _: Primitive) {}
    fn cancel(&mut self, _: u32) {}
    fn wait(&mut self, _: Option<Duration>, _: &mut Vec<Completion>) -> Result<()> {
        Ok(())
    }
    fn workers(&self) -> u32 {
        0
    }
}
