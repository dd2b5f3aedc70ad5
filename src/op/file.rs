//! Operations on open files, and opening them.

use super::intake::Intake;
use super::kinds::*;
use super::{Context, Lane, Outcome, Step, TargetKind};
use crate::driver::buffers::{Lent, Pool};
use crate::driver::{Completion, Primitive, Value};
use crate::error::Result;
use crate::sys::{self, Data, Handle, OpenFlags, Path, StatTarget, Target};
use crate::table::Kind;
use std::sync::Arc;

/// An operation on a file.
pub(crate) struct FileOp(Work);

enum Work {
    Open { path: Path, flags: OpenFlags },
    Read { intake: Intake, offset: Offset },
    Write { from: Data, offset: Offset, done: usize },
    Sync { data_only: bool },
    Truncate { length: u64 },
    Stat { target: StatTarget },
}

impl FileOp {
    /// Opens a file.
    pub(crate) fn open(path: Path, flags: OpenFlags) -> Self {
        FileOp(Work::Open { path, flags })
    }

    /// Reads at an offset or at the current position; `exact`: until full or the end.
    pub(crate) fn read(into: Target, offset: Option<u64>, exact: bool) -> Self {
        FileOp(Work::Read { intake: Intake::new(into, exact), offset: Offset::new(offset) })
    }

    /// Writes all, at an offset or at the current position.
    pub(crate) fn write(from: Data, offset: Option<u64>) -> Self {
        FileOp(Work::Write { from, offset: Offset::new(offset), done: 0 })
    }

    /// Makes what was written safe.
    pub(crate) fn sync(data_only: bool) -> Self {
        FileOp(Work::Sync { data_only })
    }

    /// Cuts or extends.
    pub(crate) fn truncate(length: u64) -> Self {
        FileOp(Work::Truncate { length })
    }

    /// Says what is known of an open file.
    pub(crate) fn stat(target: StatTarget) -> Self {
        FileOp(Work::Stat { target })
    }

    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Result<Step> {
        Ok(Step::Run(match &mut self.0 {
            Work::Open { path, flags } => Primitive::Open { path: path.clone(), flags: *flags },
            Work::Read { intake, offset } => {
                Primitive::Read { file: cx.file()?, into: intake.target(), offset: offset.advanced(intake.done()) }
            }
            Work::Write { from, offset, done } => {
                if from.len() == 0 {
                    return Ok(Step::End(Outcome::Done(*done as i64)));
                }
                Primitive::Write { file: cx.file()?, from: from.clone(), offset: offset.advanced(*done) }
            }
            Work::Sync { data_only } => Primitive::Sync { file: cx.file()?, data_only: *data_only },
            Work::Truncate { length } => Primitive::Truncate { file: cx.file()?, length: *length },
            Work::Stat { target } => Primitive::Stat { file: cx.file()?, target: *target },
        }))
    }

    pub(super) fn completed(&mut self, cx: &mut Context<'_>, completion: Completion) -> Result<Step> {
        let value = match completion.result {
            Ok(Value::Starved(needed)) => return Ok(Step::Starve(needed)),
            Ok(value) => value,
            Err(error) => return Ok(Step::End(Outcome::Failed(error, completion.done + self.done()))),
        };
        let outcome = match (&mut self.0, value) {
            (_, Value::Again) => return self.next(cx),
            (Work::Open { .. }, Value::Opened(handle)) => Outcome::Opened(handle, None),
            (Work::Read { intake, .. }, Value::Count(count)) => {
                if intake.took(count) {
                    return self.next(cx);
                }
                Outcome::Done(intake.done() as i64)
            }
            (Work::Read { .. }, Value::Lent(lent)) => Outcome::Lent(lent),
            (Work::Write { from, done, .. }, Value::Count(count)) => {
                if count == 0 {
                    return Err(sys::writes_nothing());
                }
                *done += count;
                from.advance(count);
                return self.next(cx);
            }
            (Work::Open { .. } | Work::Write { .. }, _) => Outcome::internal(),
            (_, Value::Nothing) => Outcome::Done(0),
            _ => Outcome::internal(),
        };
        Ok(Step::End(outcome))
    }

    /// Reads that may be carried out on the caller's thread: those that the kernel can be asked for what is in memory of.
    pub(super) fn inline_bytes(&self, buffers: &Pool) -> Option<usize> {
        if !Handle::READS_NOW {
            return None;
        }
        match &self.0 {
            Work::Read { intake, offset } if !offset.is_current() => Some(match intake.target() {
                Target::Caller(data) => data.len(),
                Target::Lend(0) => buffers.piece(0),
                Target::Lend(length) => length,
            }),
            _ => None,
        }
    }

    /// Errors are the loop's to find: whatever the kernel says here, there it says what counts.
    pub(super) fn attempt(&mut self, file: &Handle, buffers: &Arc<Pool>) -> Option<Outcome> {
        match &mut self.0 {
            Work::Read { intake, offset: Offset(offset) } => match intake.target() {
                Target::Lend(length) => read_lent(file, *offset, buffers.take(length).ok()??),
                Target::Caller(_) => read_now(file, *offset, intake),
            },
            _ => None,
        }
    }

    pub(super) fn done(&self) -> u64 {
        match &self.0 {
            Work::Read { intake, .. } => intake.done() as u64,
            Work::Write { done, .. } => *done as u64,
            _ => 0,
        }
    }

    pub(super) fn opens(&self) -> bool {
        matches!(self.0, Work::Open { .. })
    }

    pub(super) fn kind(&self) -> u32 {
        match &self.0 {
            Work::Open { .. } => SL_FILE_OPEN,
            Work::Read { intake, .. } if intake.is_vectored() => SL_FILE_READV,
            Work::Read { .. } => SL_FILE_READ,
            Work::Write { from: Data::Many(..), .. } => SL_FILE_WRITEV,
            Work::Write { .. } => SL_FILE_WRITE,
            Work::Sync { .. } => SL_FILE_SYNC,
            Work::Truncate { .. } => SL_FILE_TRUNCATE,
            Work::Stat { .. } => SL_FILE_STAT,
        }
    }

    pub(super) fn target(&self) -> TargetKind {
        match &self.0 {
            Work::Open { .. } => TargetKind::Loop,
            _ => TargetKind::One(Kind::File),
        }
    }

    pub(super) fn lane(&self) -> Lane {
        match &self.0 {
            Work::Read { offset, .. } | Work::Write { offset, .. } if offset.is_current() => Lane::Read,
            _ => Lane::Free,
        }
    }
}

/// Reads what is in memory into the caller's; None where not all is that was asked for and the file has.
fn read_now(file: &Handle, offset: u64, intake: &mut Intake) -> Option<Outcome> {
    loop {
        let Target::Caller(data) = intake.target() else { return None };
        let count = file.read_now(&data, offset.checked_add(intake.done() as u64)?).ok()?;
        intake.took(count);
        if count == 0 || count == data.len() {
            return Some(Outcome::Done(intake.done() as i64));
        }
    }
}

/// Likewise, into a lent buffer.
fn read_lent(file: &Handle, offset: u64, mut lent: Lent) -> Option<Outcome> {
    let mut filled = 0;
    loop {
        let mut rest = lent.as_data();
        rest.advance(filled);
        let left = rest.len();
        let count = file.read_now(&rest, offset.checked_add(filled as u64)?).ok()?;
        filled += count;
        if count == 0 || count == left {
            return Some(if filled == 0 { Outcome::Done(0) } else { Outcome::Lent(lent.filled(filled)) });
        }
    }
}

/// Where in a file: an offset, or the current position. A number, so that operations stay small; offsets end at i64::MAX.
#[derive(Clone, Copy)]
struct Offset(u64);

impl Offset {
    const CURRENT: Offset = Offset(u64::MAX);

    fn new(offset: Option<u64>) -> Self {
        offset.map_or(Offset::CURRENT, Offset)
    }

    fn is_current(self) -> bool {
        self.0 == u64::MAX
    }

    /// Moved on by what is done; the current position moves by itself.
    fn advanced(self, done: usize) -> Option<u64> {
        (!self.is_current()).then(|| self.0.saturating_add(done as u64))
    }
}
