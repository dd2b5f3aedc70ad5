//! The driver of simulated loops: it carries out the same primitives on the same files and sockets as any other, but when each
//! begins and ends, in which order, and whether a cancel comes in time is decided by chance from a seed, in a time of its own.
//! Whatever it does, some system might do.
//!
//! Files are done on the spot, and what happens to sockets and pipes is left to a poll driver. Time stands still while anything can
//! be done, and then jumps to the next instant at which something can. Runs on whichever thread carries the loop on.

use super::agenda::{Agenda, Entry};
use super::dice::Dice;
use super::faults::shorten;
use super::poll::PollDriver;
use super::{Completion, Driver, DriverSettings, Key, Primitive, Token, Value, Waker, cancelled, workers};
use crate::error::Result;
use crate::sys::{self, Handle};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What is on the agenda.
enum Item {
    Begin(Primitive),
    /// The primitive is done, and its end is about to be heard of.
    End(Completion),
    /// A cancel reaches the primitive, if it is still the same.
    Cancel(u64),
}

/// Where the primitive of a token is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    None,
    Queued(Entry),
    /// With the poll driver.
    Outside,
    Ending,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Which primitive of the token this is.
    number: u64,
    /// The primitive to begin again by itself, where it is one that goes on.
    again: Option<Primitive>,
    cancelled: bool,
}

pub(super) struct SimDriver {
    outside: PollDriver,
    dice: Dice,
    agenda: Agenda<(Token, Item)>,
    states: Vec<State>,
    landed: Vec<Completion>,
    /// What has ended and is not handed out.
    ended: VecDeque<Completion>,
    number: u64,
    steps_are_cheap: bool,
    settings: DriverSettings,
}

impl SimDriver {
    pub(super) fn open(settings: DriverSettings, seed: u64) -> Result<(Self, Arc<Waker>)> {
        let (outside, waker) = PollDriver::open(settings.clone())?;
        let mut dice = Dice::new(seed);
        let driver = SimDriver {
            outside,
            agenda: Agenda::default(),
            states: Vec::new(),
            landed: Vec::new(),
            ended: VecDeque::new(),
            number: 0,
            steps_are_cheap: dice.hits(0.5),
            dice,
            settings,
        };
        Ok((driver, waker))
    }

    /// How long something takes: mostly nothing, often about as long as a disk or a network, sometimes until one thinks that it hangs.
    fn latency(&mut self) -> u64 {
        match self.dice.below(512) {
            0..=255 => 0,
            256..=383 => self.dice.below(10_000),
            384..=479 => self.dice.below(1_000_000),
            480..=510 => self.dice.below(50_000_000),
            _ => self.dice.below(10_000_000_000),
        }
    }

    /// Puts an item down; what falls on the same instant comes in any order.
    fn plan(&mut self, after: u64, token: Token, item: Item) -> Entry {
        let rank = self.dice.next() as u32;
        self.agenda.insert(self.settings.clock.after(after), rank, (token, item))
    }

    fn queue(&mut self, token: Token, primitive: Primitive) {
        let after = self.latency();
        let entry = self.plan(after, token, Item::Begin(primitive));
        self.states[token as usize].phase = Phase::Queued(entry);
    }

    fn begin(&mut self, token: Token, mut primitive: Primitive) {
        let again = again(&primitive);
        // What every program must be able to take, for every system may do it.
        if self.dice.hits(0.2) {
            shorten(&mut primitive, &mut self.dice, &self.settings.buffers);
        }
        if waits_for_others(&primitive) {
            let state = &mut self.states[token as usize];
            (state.phase, state.again) = (Phase::Outside, again);
            return self.outside.submit(token, primitive);
        }
        let mut done = 0;
        let result = workers::run(primitive, &self.settings.buffers, &mut done);
        self.end_later(Completion { token, result, done, more: false });
    }

    fn end_later(&mut self, completion: Completion) {
        let token = completion.token;
        self.states[token as usize].phase = Phase::Ending;
        let after = self.latency();
        self.plan(after, token, Item::End(completion));
    }

    fn end(&mut self, mut completion: Completion) {
        let token = completion.token;
        let state = &mut self.states[token as usize];
        let goes_on = matches!(completion.result, Ok(Value::Opened(_) | Value::Lent(_)));
        match state.again.take().filter(|_| goes_on) {
            None => *state = State::default(),
            Some(_) if state.cancelled => {
                *state = State::default();
                completion.more = true;
                self.ended.push_back(completion);
                completion = Completion { token, result: Err(cancelled()), done: 0, more: false };
            }
            // The kernel ends a multishot when it pleases.
            Some(_) if self.dice.hits(1.0 / 16.0) => *state = State::default(),
            Some(primitive) => {
                completion.more = true;
                self.queue(token, primitive);
            }
        }
        self.ended.push_back(completion);
    }

    /// Does what is due, and answers whether there was anything.
    fn do_due(&mut self) -> bool {
        let mut some = false;
        while let Some((token, item)) = self.agenda.pop_due(self.settings.clock.now()) {
            some = true;
            match item {
                Item::Begin(primitive) => self.begin(token, primitive),
                Item::End(completion) => self.end(completion),
                Item::Cancel(number) => {
                    let state = &self.states[token as usize];
                    if state.number == number && state.phase == Phase::Outside {
                        self.outside.cancel(token);
                    }
                }
            }
        }
        some
    }

    /// Takes what has happened to sockets and pipes; answers whether somebody woke this thread.
    fn look_outside(&mut self) -> Result<bool> {
        let mut landed = std::mem::take(&mut self.landed);
        let looked = self.outside.take_all(&mut landed);
        self.take_landed(landed);
        looked
    }

    /// Waits until something happens to sockets or pipes, or somebody wakes this thread.
    fn wait_outside(&mut self) -> Result<()> {
        let mut landed = std::mem::take(&mut self.landed);
        let waited = self.outside.wait(None, &mut landed);
        self.take_landed(landed);
        waited
    }

    fn take_landed(&mut self, mut landed: Vec<Completion>) {
        for completion in landed.drain(..) {
            self.end_later(completion);
        }
        self.landed = landed;
    }

    /// Hands out all that has ended, or only some of it.
    fn hand_out(&mut self, completed: &mut Vec<Completion>) -> bool {
        let count = self.ended.len();
        let some = if self.dice.hits(0.5) { count } else { 1 + self.dice.below(8) as usize };
        completed.extend(self.ended.drain(..some.min(count)));
        count > 0
    }
}

/// Whether a primitive may have to wait for somebody outside of this loop, or for another one of its own primitives.
fn waits_for_others(primitive: &Primitive) -> bool {
    match primitive {
        Primitive::Accept { .. }
        | Primitive::Connect { .. }
        | Primitive::Receive { .. }
        | Primitive::Send { .. }
        | Primitive::Shutdown { .. } => true,
        Primitive::Open { path, .. } | Primitive::ReadPath { path } | Primitive::WritePath { path, .. } => {
            sys::is_named_pipe(path)
        }
        Primitive::Read { file, .. } | Primitive::Write { file, .. } | Primitive::Copy { from: file, .. } => {
            file.may_wait()
        }
        _ => false,
    }
}

/// What is to be begun again where a primitive goes on by itself.
fn again(primitive: &Primitive) -> Option<Primitive> {
    match primitive {
        Primitive::Accept { listener, multishot: true } => {
            Some(Primitive::Accept { listener: listener.clone(), multishot: true })
        }
        Primitive::Receive { stream, into, multishot: true } => {
            Some(Primitive::Receive { stream: stream.clone(), into: into.clone(), multishot: true })
        }
        _ => None,
    }
}

impl Driver for SimDriver {
    fn attach(&mut self, handle: &Arc<Handle>) -> Key {
        self.outside.attach(handle)
    }

    fn detach(&mut self, key: Key) {
        self.outside.detach(key);
    }

    fn reserve(&mut self, token: Token) -> Result<()> {
        super::reach(&mut self.states, token)?;
        self.outside.reserve(token)
    }

    fn submit(&mut self, token: Token, primitive: Primitive) {
        self.number += 1;
        self.states[token as usize] = State { number: self.number, ..State::default() };
        self.queue(token, primitive);
    }

    fn cancel(&mut self, token: Token) {
        let Some(state) = self.states.get_mut(token as usize) else { return };
        let (phase, number) = (state.phase, state.number);
        state.cancelled = true;
        let after = self.latency();
        match phase {
            Phase::None | Phase::Ending => {}
            // It comes too late: the primitive has begun by then.
            Phase::Queued(entry) if self.dice.hits(0.25) => {
                self.agenda.insert(entry.0.saturating_add(after), u32::MAX, (token, Item::Cancel(number)));
            }
            Phase::Queued(entry) => {
                drop(self.agenda.remove(entry));
                self.end_later(Completion { token, result: Err(cancelled()), done: 0, more: false });
            }
            Phase::Outside => {
                self.plan(after, token, Item::Cancel(number));
            }
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        let timeout = timeout.map_or(u64::MAX, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let clock = &self.settings.clock;
        let until = clock.after(timeout).min(clock.limit().max(clock.now()));
        loop {
            let woken = self.look_outside()?;
            let did = self.do_due();
            if self.hand_out(completed) || timeout == 0 || woken {
                return Ok(());
            }
            // That may have brought about something outside.
            if did {
                continue;
            }
            match self.agenda.first() {
                Some(at) if at <= until => self.settings.clock.advance(at),
                _ if until < u64::MAX => {
                    self.settings.clock.advance(until);
                    return Ok(());
                }
                // Nothing comes by itself, and nobody waits for less: this is until somebody outside does something.
                _ => return self.wait_outside(),
            }
        }
    }

    fn steps_are_cheap(&self) -> bool {
        self.steps_are_cheap
    }

    fn workers(&self) -> u32 {
        self.outside.workers()
    }
}
