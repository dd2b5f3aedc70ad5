//! Operations: each a small state machine that says what it needs next, and knows neither drivers nor callers.
//!
//! The engine asks `next` what an operation needs, sees to it, and tells it with `completed` what came of it. Cancel, deadline,
//! order, room for events and delivery are the engine's; an operation only says how far it has come. Runs on the loop's thread.

pub(crate) mod file;
mod intake;
pub(crate) mod kinds;
pub(crate) mod path;
pub(crate) mod task;
pub(crate) mod tcp;
mod whole_read;
mod whole_write;

use crate::clock::Clock;
use crate::driver::buffers::{Lent, Pool};
use crate::driver::{Completion, Driver, Key, Primitive, Socket};
use crate::error::{self, Error, Result};
use crate::sys::Handle;
use crate::table::Kind;
use std::sync::Arc;

/// An operation of any family.
pub(crate) enum Op {
    /// Open files, and opening them.
    File(file::FileOp),
    /// Paths.
    Path(path::PathOp),
    /// Listeners and streams.
    Tcp(tcp::TcpOp),
    /// Timers, posts, work, closing.
    Task(task::TaskOp),
}

/// What an operation needs next.
pub(crate) enum Step {
    /// This primitive; then `completed`.
    Run(Primitive),
    /// Likewise, also where the operation is to stop: it finishes what cannot be stopped any more, or takes back what was done.
    Finish(Primitive),
    /// This instant; then `next`.
    Until(u64),
    /// Room for this many bytes of lent memory, which is used up; then `next`.
    Starve(u64),
    /// Post this event, and then `next`.
    More(Outcome),
    /// Nothing: post this last event.
    End(Outcome),
}

/// What an event is made of.
pub(crate) enum Outcome {
    /// A number.
    Done(i64),
    /// Lent bytes.
    Lent(Lent),
    /// Something has been opened; with its key where it is attached to the driver already.
    Opened(Handle, Option<Key>),
    /// An error, and how many bytes were done before it.
    Failed(Error, u64),
}

impl Outcome {
    pub(crate) fn failed(error: Error) -> Self {
        Outcome::Failed(error, 0)
    }

    /// For a completion that makes no sense.
    pub(crate) fn internal() -> Self {
        Outcome::failed(Error::new(error::SL_ERR_INTERNAL))
    }
}

/// What the resource of an operation can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TargetKind {
    /// The loop itself.
    Loop,
    /// A resource of this kind.
    One(Kind),
    /// Any resource.
    Any,
}

/// Which queue of its resource an operation stands in. In the first two, one runs at a time, in the order submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Receives, accepts; what moves a file's current position.
    Read = 0,
    /// Sends.
    Write = 1,
    /// No order.
    Free = 2,
}

/// What the engine must know of an operation before it comes to it.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) lane: Lane,
    flags: u8,
}

impl Traits {
    const CLOSES: u8 = 1;
    const OPENS: u8 = 2;
    const MULTISHOT: u8 = 4;
    const TIMER: u8 = 8;

    fn new(lane: Lane) -> Self {
        Traits { lane, flags: 0 }
    }

    fn with(self, flag: u8, wanted: bool) -> Self {
        Traits { flags: self.flags | if wanted { flag } else { 0 }, ..self }
    }

    /// It closes its resource.
    pub(crate) fn closes(self) -> bool {
        self.flags & Self::CLOSES != 0
    }

    /// It opens resources.
    pub(crate) fn opens(self) -> bool {
        self.flags & Self::OPENS != 0
    }

    /// It posts events flagged MORE.
    pub(crate) fn multishot(self) -> bool {
        self.flags & Self::MULTISHOT != 0
    }

    /// It is a timer: a tick that waits to be taken holds back the next.
    pub(crate) fn is_timer(self) -> bool {
        self.flags & Self::TIMER != 0
    }
}

impl Default for Traits {
    fn default() -> Self {
        Traits::new(Lane::Free)
    }
}

/// The resource that an operation works on, where it works on one.
pub(crate) enum Place {
    Loop,
    File(Arc<Handle>),
    Socket(Socket),
}

/// What an operation may ask while it decides.
pub(crate) struct Context<'a> {
    pub(crate) place: &'a Place,
    pub(crate) buffers: &'a Arc<Pool>,
    pub(crate) driver: &'a mut dyn Driver,
    pub(crate) clock: &'a Clock,
    /// There is ample room for what a multishot operation brings, so that the driver may go on by itself.
    pub(crate) ample: bool,
}

impl Context<'_> {
    fn file(&self) -> Result<Arc<Handle>> {
        match self.place {
            Place::File(file) => Ok(file.clone()),
            _ => Err(Error::new(error::SL_ERR_INTERNAL)),
        }
    }

    fn socket(&self) -> Result<Socket> {
        match self.place {
            Place::Socket(socket) => Ok(socket.clone()),
            _ => Err(Error::new(error::SL_ERR_INTERNAL)),
        }
    }
}

impl Op {
    /// What it needs, at its start and whenever it goes on.
    pub(crate) fn next(&mut self, cx: &mut Context<'_>) -> Step {
        let step = match self {
            Op::File(op) => op.next(cx),
            Op::Path(op) => op.next(cx),
            Op::Tcp(op) => op.next(cx),
            Op::Task(op) => Ok(op.next(cx.clock)),
        };
        step.unwrap_or_else(|error| Step::End(Outcome::failed(error)))
    }

    /// What it needs after its primitive has completed.
    pub(crate) fn completed(&mut self, cx: &mut Context<'_>, completion: Completion) -> Step {
        let step = match self {
            Op::File(op) => op.completed(cx, completion),
            Op::Path(op) => op.completed(cx, completion),
            Op::Tcp(op) => op.completed(cx, completion),
            Op::Task(op) => Ok(op.completed(cx.clock, completion)),
        };
        step.unwrap_or_else(|error| Step::End(Outcome::Failed(error, self.done())))
    }

    /// How many bytes are done so far.
    pub(crate) fn done(&self) -> u64 {
        match self {
            Op::File(op) => op.done(),
            Op::Path(op) => op.done(),
            Op::Tcp(op) => op.done(),
            Op::Task(_) => 0,
        }
    }

    /// Lets go of what it holds, at its end; answers what it had attached to the driver and has not given on.
    pub(crate) fn abandon(&mut self) -> Option<Socket> {
        match self {
            Op::Path(op) => op.abandon(),
            Op::Tcp(op) => return op.abandon(),
            Op::File(_) | Op::Task(_) => {}
        }
        None
    }

    /// It is to stop for this reason: what must be carried out first, to take back what it has done.
    pub(crate) fn undo(&mut self, why: Error) -> Option<Primitive> {
        if let Op::Path(op) = self { op.undo(why) } else { None }
    }

    /// Its number in events.
    pub(crate) fn kind(&self) -> u32 {
        match self {
            Op::File(op) => op.kind(),
            Op::Path(op) => op.kind(),
            Op::Tcp(op) => op.kind(),
            Op::Task(op) => op.kind(),
        }
    }

    pub(crate) fn target(&self) -> TargetKind {
        match self {
            Op::File(op) => op.target(),
            Op::Path(_) => TargetKind::Loop,
            Op::Tcp(op) => op.target(),
            Op::Task(task::TaskOp::Close) => TargetKind::Any,
            Op::Task(_) => TargetKind::Loop,
        }
    }

    pub(crate) fn traits(&self) -> Traits {
        let free = Traits::default();
        match self {
            Op::File(op) => Traits::new(op.lane()).with(Traits::OPENS, op.opens()),
            Op::Tcp(op) => {
                let traits = Traits::new(op.lane()).with(Traits::OPENS, op.opens());
                traits.with(Traits::MULTISHOT, op.is_multishot())
            }
            Op::Path(_) => free,
            Op::Task(task::TaskOp::Close) => free.with(Traits::CLOSES, true),
            Op::Task(op) => free.with(Traits::MULTISHOT, op.is_multishot()).with(Traits::TIMER, op.is_timer()),
        }
    }

    /// How many bytes it moves at most, where it may be carried out on its caller's thread; None where it may not.
    pub(crate) fn inline_bytes(&self, buffers: &Pool) -> Option<usize> {
        match self {
            Op::File(op) => op.inline_bytes(buffers),
            Op::Path(op) => op.inline_bytes(buffers),
            Op::Tcp(op) => op.inline_bytes(buffers),
            Op::Task(op) => op.inline_bytes(),
        }
    }

    /// It is accepted: its time begins.
    pub(crate) fn begins(&mut self, clock: &Clock) {
        if let Op::Task(op) = self {
            op.begins(clock);
        }
    }

    /// Carries it out on its caller's thread as far as that goes without blocking, and answers what came of it; None where the
    /// loop must do it, or the rest of it. `handle` is that of its resource, where it works on one. `most`: how many bytes more than
    /// `inline_bytes` said, where only the attempt can tell.
    pub(crate) fn attempt(&mut self, handle: Option<&Handle>, buffers: &Arc<Pool>, most: usize) -> Option<Outcome> {
        match self {
            Op::File(op) => op.attempt(handle?, buffers),
            Op::Path(op) => op.attempt(buffers, most),
            Op::Tcp(op) => op.attempt(handle?, buffers),
            Op::Task(op) => op.attempt(),
        }
    }
}
