//! Operations that need no system: timers, posts, work; and the closing of a resource.

use super::kinds::*;
use super::{Outcome, Step};
use crate::clock::Clock;
use crate::driver::{Completion, Primitive, Value, WorkFunction};
use crate::sys::Region;

/// A timer, a post, work, or a close.
#[allow(missing_docs, reason = "each variant has its constructor, documented below")]
pub(crate) enum TaskOp {
    Nop,
    Post { value: i64 },
    Timer { due: u64, period: u64 },
    Work { function: WorkFunction, argument: Region },
    Close,
}

impl TaskOp {
    /// Ends at once with 0.
    pub(crate) fn nop() -> Self {
        TaskOp::Nop
    }

    /// Ends at once with `value`.
    pub(crate) fn post(value: i64) -> Self {
        TaskOp::Post { value }
    }

    /// Fires `delay` nanoseconds after it begins, and every `period` nanoseconds after that where it is not 0.
    pub(crate) fn timer(delay: u64, period: u64) -> Self {
        TaskOp::Timer { due: delay, period }
    }

    /// From here on, `due` is an instant.
    pub(super) fn begins(&mut self, clock: &Clock) {
        if let TaskOp::Timer { due, .. } = self {
            *due = clock.after(*due);
        }
    }

    /// Calls a function on a worker thread, with the region's address as its argument.
    pub(crate) fn work(function: WorkFunction, argument: Region) -> Self {
        TaskOp::Work { function, argument }
    }

    /// Closes the resource; the engine does it, for it alone knows when nothing is under way there.
    pub(crate) fn close() -> Self {
        TaskOp::Close
    }

    pub(super) fn next(&mut self, clock: &Clock) -> Step {
        match self {
            TaskOp::Nop => Step::End(Outcome::Done(0)),
            TaskOp::Post { value } => Step::End(Outcome::Done(*value)),
            TaskOp::Timer { due, period } => fire(clock.now(), due, *period),
            TaskOp::Work { function, argument } => {
                Step::Run(Primitive::Work { function: *function, argument: *argument })
            }
            TaskOp::Close => Step::End(Outcome::internal()),
        }
    }

    pub(super) fn completed(&mut self, clock: &Clock, completion: Completion) -> Step {
        Step::End(match completion.result {
            Ok(Value::Again) => return self.next(clock),
            Ok(Value::Nothing) => Outcome::Done(0),
            Ok(Value::Number(number)) => Outcome::Done(number),
            Ok(_) => Outcome::internal(),
            Err(error) => Outcome::failed(error),
        })
    }

    pub(super) fn kind(&self) -> u32 {
        match self {
            TaskOp::Nop => SL_NOP,
            TaskOp::Post { .. } => SL_POST,
            TaskOp::Timer { .. } => SL_TIMER,
            TaskOp::Work { .. } => SL_WORK,
            TaskOp::Close => SL_CLOSE,
        }
    }

    pub(super) fn is_multishot(&self) -> bool {
        matches!(self, TaskOp::Timer { period: 1.., .. })
    }

    pub(super) fn is_timer(&self) -> bool {
        matches!(self, TaskOp::Timer { .. })
    }

    /// A post needs nobody else. A nop could do without, too, but it is there to go through the loop.
    pub(super) fn inline_bytes(&self) -> Option<usize> {
        matches!(self, TaskOp::Post { .. }).then_some(0)
    }

    pub(super) fn attempt(&mut self) -> Option<Outcome> {
        match self {
            TaskOp::Post { value } => Some(Outcome::Done(*value)),
            _ => None,
        }
    }
}

/// What a timer does at `now`: it counts the ticks since it last fired, and keeps to its beat whatever the delay.
fn fire(now: u64, due: &mut u64, period: u64) -> Step {
    if now < *due {
        return Step::Until(*due);
    }
    if period == 0 {
        return Step::End(Outcome::Done(1));
    }
    let ticks = (now - *due) / period + 1;
    *due = due.saturating_add(ticks.saturating_mul(period));
    Step::More(Outcome::Done(ticks as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_timer_counts_and_keeps_its_beat() {
        let mut due = 100;
        assert!(matches!(fire(99, &mut due, 10), Step::Until(100)));
        assert!(matches!(fire(100, &mut due, 10), Step::More(Outcome::Done(1))));
        assert_eq!(due, 110);
        assert!(matches!(fire(145, &mut due, 10), Step::More(Outcome::Done(4))));
        assert_eq!(due, 150);
        assert!(matches!(fire(150, &mut due, 0), Step::End(Outcome::Done(1))));
    }
}
