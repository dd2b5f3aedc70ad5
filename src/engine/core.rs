//! The loop's thread: takes commands, moves operations on, delivers their events, and sleeps in the driver.

mod life;
mod post;
mod rest;

pub(super) use life::{Stepping, run};

use super::event::Route;
use super::lanes::{Active, Known, Lanes, NONE, State, Stop};
use super::patience::Patience;
use super::queue::Line;
use super::timers::Timers;
use super::{Command, Engine, Inbox, Start, Work};
use crate::driver::{Completion, Driver, Primitive, Socket};
use crate::error::{self, Error, Result};
use crate::op::{Context, Lane, Op, Outcome, Place, Step};
use crate::sys::{Handle, HandleKind};
use crate::table::Id;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So many commands' room is kept for the next ones.
const KEPT: usize = 1024;

struct Core {
    engine: Arc<Engine>,
    driver: Box<dyn Driver>,
    lanes: Lanes,
    timers: Timers,
    /// Operations that go on in this turn.
    ready: VecDeque<u32>,
    paused: Vec<u32>,
    /// There is room again, among the events or the resources: `make_room` is to look who waited for that.
    room_made: bool,
    /// Who waits for a lent buffer, first come first served, and for how many bytes of room.
    starved: VecDeque<(u32, u64)>,
    /// Who has come due in this turn.
    due: Vec<u32>,
    commands: Vec<Command>,
    completed: Vec<Completion>,
    /// Completions for whose events there was no room, in their order.
    held: VecDeque<Completion>,
    /// What has come to pass and is not delivered yet: for the queue and for sl_dispatch; for this thread's callbacks.
    lines: [Line; 2],
    own: Line,
    /// Which resources' lanes have an operation less once that is delivered.
    left: Vec<(u64, Lane)>,
    /// How often this has delivered.
    deliveries: u64,
    /// Operations that have begun and not ended.
    running: usize,
    patience: Patience,
    shutting_down: bool,
}

impl Core {
    fn new(engine: Arc<Engine>, driver: Box<dyn Driver>, spin_ns: u64) -> Self {
        let mut lines: [Line; 3] = Default::default();
        for line in &mut lines {
            // Where there is no memory even for that, it is asked for again when it is used.
            let _ = line.reserve(post::GATHERED, post::GATHERED);
        }
        let [events, calls, own] = lines;
        Core {
            engine,
            driver,
            lanes: Lanes::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            room_made: false,
            starved: VecDeque::new(),
            due: Vec::new(),
            commands: Vec::new(),
            completed: Vec::new(),
            held: VecDeque::new(),
            lines: [events, calls],
            own,
            left: Vec::with_capacity(post::GATHERED),
            deliveries: 0,
            running: 0,
            patience: Patience::new(spin_ns),
            shutting_down: false,
        }
    }

    fn is_done(&self) -> bool {
        self.shutting_down && self.running == 0 && self.engine.resources.live() == 0
    }

    /// One turn: what was asked, what has come due, what has completed.
    fn turn(&mut self) -> Result<()> {
        self.engine.tally.turns.add(1);
        let before = self.posted();
        self.take_commands();
        self.make_room();
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
        // Whoever carries a simulated loop on may have waited for just this, and is to have it before time goes on.
        let news = self.engine.clock.is_simulated() && self.posted() != before;
        self.sleep(news)?;
        let mut completed = std::mem::take(&mut self.completed);
        for completion in completed.drain(..) {
            self.complete(completion);
        }
        self.completed = completed;
        self.make_room();
        self.move_on();
        self.deliver();
        Ok(())
    }

    /// How many events there have been.
    fn posted(&self) -> u64 {
        self.engine.tally.ended.get() + self.engine.tally.more.get()
    }

    fn take_commands(&mut self) {
        // Before the look: what comes after it sets this again.
        self.engine.asked.swap(false, Ordering::AcqRel);
        let mut commands = std::mem::take(&mut self.commands);
        let shut = {
            let mut inbox = self.engine.inbox.lock();
            std::mem::swap(&mut commands, &mut inbox.commands);
            take_ended(&mut inbox, &mut self.own);
            self.room_made |= std::mem::take(&mut inbox.room);
            inbox.shut
        };
        for command in commands.drain(..) {
            self.obey(command);
        }
        if shut && !self.shutting_down {
            self.shut_down();
        }
        // A flood leaves no more behind than a few kilobytes.
        if commands.capacity() > KEPT {
            commands.shrink_to(KEPT);
        }
        self.commands = commands;
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(start) => self.start(start),
            Command::Cancel(index, generation) => {
                if self.engine.ops.generation(index) == generation {
                    self.stop(index, Stop::Cancelled);
                }
            }
        }
    }

    /// Begins an operation.
    fn start(&mut self, start: Start) {
        let Start { index, traits, route, target, deadline } = start;
        let resource = match self.make_place(index).and_then(|()| self.find_resource(target, traits.closes())) {
            Ok(resource) => resource,
            Err(error) => {
                if target != 0 && traits.lane != Lane::Free {
                    self.left.push((target, traits.lane));
                }
                if traits.closes() {
                    self.close_retired(target);
                }
                return self.post_last(index, Outcome::failed(error));
            }
        };
        self.running += 1;
        let bounded = traits.multishot() && route != Route::Thread;
        let op = self.lanes.op(index);
        *op = Active::default();
        (op.state, op.deadline, op.traits, op.bounded) = (State::Ready, deadline, traits, bounded);
        if traits.closes() {
            return self.close(resource, index);
        }
        if resource != NONE && !self.lanes.enter(index, resource) {
            self.lanes.op(index).state = State::Queued;
        }
        if deadline != 0 && !self.set_timer(index) {
            return;
        }
        if self.lanes.op(index).state == State::Ready {
            self.go_on(index);
        }
    }

    /// Makes room for an operation wherever this thread keeps track of it, so that nothing can fail later.
    fn make_place(&mut self, index: u32) -> Result<()> {
        self.lanes.reserve(index)?;
        self.timers.reserve(index)?;
        self.driver.reserve(index)?;
        self.ready.try_reserve(1).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))
    }

    /// The index of an open resource, learnt of when its first operation comes; NONE for a target of 0. One that was closed meanwhile
    /// has another generation; only the operation that closed it may still find it.
    fn find_resource(&mut self, target: u64, closes: bool) -> Result<u32> {
        if target == 0 {
            return Ok(NONE);
        }
        let closed = || Error::new(error::SL_ERR_CANCELLED);
        let id = Id::from_bits(target)?;
        self.lanes.reserve_resource(id.index)?;
        if let Some(known) = self.lanes.known(id.index) {
            return if known.id == target && !known.closing { Ok(id.index) } else { Err(closed()) };
        }
        let entry = if closes {
            self.engine.resources.at(id.index).ok_or_else(closed)?
        } else {
            self.engine.resources.get(id.index, id.generation).map_err(|_| closed())?
        };
        let (handle, key) = (entry.handle.clone(), entry.key);
        drop(entry);
        self.learn(id.index, target, handle, key);
        Ok(id.index)
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
        let Active { traits, bounded, .. } = *self.lanes.op(index);
        if bounded && self.must_pause(index) {
            return self.pause(index);
        }
        if traits.opens() && !self.reserve(index) {
            return;
        }
        if let Some(step) = self.with_op(index, |op, cx| op.next(cx)) {
            self.follow(index, step);
        }
    }

    /// Calls with an operation, and what it works on.
    fn with_op<R>(&mut self, index: u32, call: impl FnOnce(&mut Op, &mut Context<'_>) -> R) -> Option<R> {
        let Active { resource, traits, bounded, .. } = *self.lanes.op(index);
        let ample = traits.multishot() && self.has_ample_room(traits, bounded);
        let place = self.lanes.known(resource).map_or(&Place::Loop, |known| &known.place);
        let mut slot = self.engine.ops.at(index)?;
        let Work::Live(op) = &mut slot.work else { return None };
        Some(call(
            op,
            &mut Context {
                place,
                buffers: &self.engine.pool,
                driver: &mut *self.driver,
                clock: &self.engine.clock,
                ample,
            },
        ))
    }

    /// Takes a completion. One that would post an event for which there is no room is held back.
    fn complete(&mut self, completion: Completion) {
        let index = completion.token;
        let Active { state, traits, stop, .. } = *self.lanes.op(index);
        match state {
            State::Running
                if traits.multishot() && stop != Some(Stop::Closed) && self.must_hold(index, &completion) =>
            {
                self.hold(completion);
            }
            State::Running | State::Committed => self.go_on_with(completion),
            _ => {}
        }
    }

    fn go_on_with(&mut self, completion: Completion) {
        let (index, more) = (completion.token, completion.more);
        if !more {
            self.lanes.op(index).state = State::Ready;
        }
        let Some(step) = self.with_op(index, |op, cx| op.completed(cx, completion)) else { return };
        match step {
            // The primitive is still under way; where the operation was asked to stop, so was the primitive.
            Step::More(outcome) if more => self.post_unless_stopped(index, outcome),
            _ if more => {}
            step => self.follow(index, step),
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
                self.end_stopped(index, stop.unwrap_or(Stop::Cancelled));
            }
            Step::End(outcome) => self.end(index, stopped(outcome, stop)),
            Step::More(outcome) => {
                self.post_unless_stopped(index, outcome);
                match stop {
                    Some(why) => self.end_stopped(index, why),
                    None => self.set_ready(index),
                }
            }
            Step::Finish(primitive) => self.finish(index, primitive),
            step if stop.is_some() => {
                // A primitive holds its resource open, which may be about to be closed.
                drop(step);
                self.end_stopped(index, stop.unwrap_or(Stop::Cancelled));
            }
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

    /// Sets an operation's timer to what comes first: the instant it sleeps for, or its deadline. False where there is no memory
    /// for that, which has ended the operation.
    fn set_timer(&mut self, index: u32) -> bool {
        let op = self.lanes.op(index);
        let set = match [op.wake_at, op.deadline].into_iter().filter(|at| *at != 0).min() {
            Some(at) => self.timers.set(index, at),
            None => {
                self.timers.remove(index);
                Ok(())
            }
        };
        set.map_err(|error| self.end(index, Outcome::failed(error))).is_ok()
    }

    fn expire(&mut self) {
        if self.timers.first().is_none() {
            return;
        }
        let now = self.engine.clock.now();
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
                self.stop(index, Stop::TimedOut);
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

    /// Asks an operation to end; where its primitive is under way, that must end first, and what is held back comes before.
    fn stop(&mut self, index: u32, why: Stop) {
        if !self.lanes.has(index) {
            return;
        }
        if why == Stop::Closed && self.lanes.op(index).holding {
            self.drop_held(index);
        }
        let op = self.lanes.op(index);
        let (first, holding) = (op.stop.is_none(), op.holding);
        match op.state {
            State::Absent | State::Committed => {}
            State::Running | State::Paused if holding || op.state == State::Running => {
                if first || why == Stop::Closed {
                    (op.stop, op.deadline) = (Some(why), 0);
                }
                if first {
                    self.set_timer(index);
                    if !holding {
                        self.driver.cancel(index);
                    }
                }
            }
            _ => self.end_stopped(index, why),
        }
    }

    fn end_stopped(&mut self, index: u32, why: Stop) {
        let undo = self.with_op(index, |op, _| op.undo(Error::new(why.status())));
        if let Some(primitive) = undo.flatten() {
            return self.finish(index, primitive);
        }
        let done = self.with_op(index, |op, _| op.done()).unwrap_or(0);
        self.end(index, Outcome::Failed(Error::new(why.status()), done));
    }

    /// Has an operation do what it must do before it ends.
    fn finish(&mut self, index: u32, primitive: Primitive) {
        let op = self.lanes.op(index);
        (op.state, op.deadline) = (State::Committed, 0);
        self.driver.submit(index, primitive);
    }

    /// Ends an operation: its place in its lane, its timer, and its last event.
    fn end(&mut self, index: u32, outcome: Outcome) {
        let Active { resource, traits, .. } = *self.lanes.op(index);
        self.lanes.op(index).state = State::Absent;
        self.timers.remove(index);
        self.running -= 1;
        if resource != NONE {
            if let Some(known) = self.lanes.known(resource).filter(|_| traits.lane != Lane::Free) {
                self.left.push((known.id, traits.lane));
            }
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
            (op.state, op.deadline) = (State::Committed, 0);
        }
        let Some(known) = self.lanes.known(resource) else { return };
        (known.closing, known.closed_by) = (true, by);
        if known.in_flight == 0 {
            return self.finish_close(resource);
        }
        for index in self.lanes.of_resource(resource) {
            self.stop(index, Stop::Closed);
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
        debug_assert!(handle.is_some(), "somebody still owns what is to be closed");
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
        self.room_made = true;
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        for index in 0..self.engine.ops.made() {
            self.stop(index, Stop::Closed);
        }
        for index in 0..self.engine.resources.made() {
            self.close_unasked(index);
        }
    }

    /// Closes a resource that the operation which was to close it had no memory for: its id is dead, so nobody else can.
    fn close_retired(&mut self, target: u64) {
        let Ok(id) = Id::from_bits(target) else { return };
        if self.engine.resources.at(id.index).is_some_and(|entry| entry.retires(id.generation)) {
            self.close_unasked(id.index);
        }
    }

    /// Closes a resource because the loop shuts down, or because nobody else can.
    fn close_unasked(&mut self, index: u32) {
        if self.lanes.known(index).is_some_and(|known| known.closing) {
            return;
        }
        if self.lanes.reserve_resource(index).is_err() {
            // Nothing was ever begun on it, so nothing keeps it from being closed on the spot.
            self.engine.resources.release(index);
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

/// Takes what ended on its caller's thread, and has a callback for the loop's.
fn take_ended(inbox: &mut Inbox, own: &mut Line) {
    inbox.ended.drain(..).for_each(|index| own.push_last(index));
}

/// What an operation ends with that was asked to stop.
fn stopped(outcome: Outcome, stop: Option<Stop>) -> Outcome {
    match (outcome, stop) {
        (Outcome::Failed(error, done), Some(why)) if error.status == error::SL_ERR_CANCELLED => {
            Outcome::Failed(Error::new(why.status()), done)
        }
        (outcome, _) => outcome,
    }
}
