//! A driver that makes another one fail as a fault plan says: primitives end with an error without being carried out, move fewer
//! bytes than they could, or begin later. On the loop's thread.

mod plan;

pub(crate) use plan::Plan;

use super::agenda::{Agenda, Entry};
use super::buffers::Pool;
use super::dice::Dice;
use super::{Completion, Driver, DriverSettings, Key, Primitive, Token, cancelled};
use crate::error::{Error, Result};
use crate::sys::{Handle, Target};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is put off.
enum Late {
    Begin(Primitive),
    Fail(Error),
}

pub(super) struct FaultyDriver {
    inner: Box<dyn Driver>,
    plan: Plan,
    dice: Dice,
    agenda: Agenda<(Token, Late)>,
    late: HashMap<Token, Entry>,
    completed: Vec<Completion>,
    settings: DriverSettings,
}

impl FaultyDriver {
    pub(super) fn new(inner: Box<dyn Driver>, plan: Plan, seed: u64, settings: DriverSettings) -> Self {
        FaultyDriver {
            inner,
            plan,
            dice: Dice::new(seed),
            agenda: Agenda::default(),
            late: HashMap::new(),
            completed: Vec::new(),
            settings,
        }
    }

    fn begin(&mut self, token: Token, what: Late) {
        match what {
            Late::Begin(primitive) => self.inner.submit(token, primitive),
            Late::Fail(error) => self.complete(token, error),
        }
    }

    fn complete(&mut self, token: Token, error: Error) {
        self.completed.push(Completion { token, result: Err(error), done: 0, more: false });
    }

    fn begin_due(&mut self) {
        while let Some((token, late)) = self.agenda.pop_due(self.settings.clock.now()) {
            self.late.remove(&token);
            self.begin(token, late);
        }
    }
}

/// Has a primitive move fewer bytes, where it moves any.
pub(super) fn shorten(primitive: &mut Primitive, dice: &mut Dice, pool: &Pool) {
    let mut some = |length: usize| 1 + dice.below(length as u64 - 1) as usize;
    match primitive {
        // What the system refuses as a whole, because it ends beyond all files, is not to be made good.
        Primitive::Read { offset: Some(offset), .. } | Primitive::Write { offset: Some(offset), .. }
            if *offset > i64::MAX as u64 / 2 => {}
        Primitive::Read { into, .. } | Primitive::Receive { into, .. } => match into {
            Target::Caller(data) if data.len() > 1 => data.truncate(some(data.len())),
            // More than may be lent at all is refused, and so is as much as that.
            Target::Lend(length) if pool.is_too_much(*length) => {}
            Target::Lend(length) => *length = some(pool.size_of(*length)),
            _ => {}
        },
        Primitive::Write { from, .. } | Primitive::Send { from, .. } if from.len() > 1 => {
            from.truncate(some(from.len()))
        }
        Primitive::Copy { length, .. } if *length > 1 => *length = some(*length),
        _ => {}
    }
}

impl Driver for FaultyDriver {
    fn attach(&mut self, handle: &Arc<Handle>) -> Key {
        self.inner.attach(handle)
    }

    fn detach(&mut self, key: Key) {
        self.inner.detach(key);
    }

    fn reserve(&mut self, token: Token) -> Result<()> {
        self.inner.reserve(token)
    }

    fn submit(&mut self, token: Token, mut primitive: Primitive) {
        let verdict = self.plan.judge(&primitive, &mut self.dice);
        if verdict.error.is_some() || verdict.short || verdict.delay_ns > 0 {
            self.settings.faults.fetch_add(1, Ordering::Relaxed);
        }
        if verdict.short {
            shorten(&mut primitive, &mut self.dice, &self.settings.buffers);
        }
        // One at a time, so that each is judged.
        if let Primitive::Accept { multishot, .. } | Primitive::Receive { multishot, .. } = &mut primitive {
            *multishot = false;
        }
        // Dropped where it is to fail, and with it what it was to close: a close that fails has closed all the same (close(2)).
        let what = verdict.error.map_or_else(|| Late::Begin(primitive), Late::Fail);
        if verdict.delay_ns == 0 {
            return self.begin(token, what);
        }
        let entry = self.agenda.insert(self.settings.clock.after(verdict.delay_ns), 0, (token, what));
        self.late.insert(token, entry);
    }

    fn cancel(&mut self, token: Token) {
        match self.late.remove(&token).and_then(|entry| self.agenda.remove(entry)) {
            Some(_) => self.complete(token, cancelled()),
            None => self.inner.cancel(token),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        self.begin_due();
        let timeout = match self.agenda.first() {
            _ if !self.completed.is_empty() => Some(Duration::ZERO),
            None => timeout,
            Some(at) => {
                let left = Duration::from_nanos(at.saturating_sub(self.settings.clock.now()));
                Some(timeout.map_or(left, |timeout| timeout.min(left)))
            }
        };
        let waited = self.inner.wait(timeout, completed);
        self.begin_due();
        completed.append(&mut self.completed);
        waited
    }

    // Whatever a step costs: a whole file fails where one of the things that it is made of does.
    fn steps_are_cheap(&self) -> bool {
        true
    }

    fn judges_steps(&self) -> bool {
        true
    }

    fn workers(&self) -> u32 {
        self.inner.workers()
    }

    fn is_replaceable(&self) -> bool {
        self.inner.is_replaceable()
    }

    fn replace(mut self: Box<Self>) -> Result<(Box<dyn Driver>, Vec<Completion>)> {
        let none: Box<dyn Driver> = Box::new(super::Gone);
        let (inner, completed) = std::mem::replace(&mut self.inner, none).replace()?;
        self.inner = inner;
        Ok((self, completed))
    }
}
