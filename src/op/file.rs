//! Operations on files and paths.

use super::intake::Intake;
use super::kinds::*;
use super::whole::WholeRead;
use super::{Context, Lane, Outcome, Step, TargetKind};
use crate::driver::{Completion, Primitive, Value};
use crate::error::{self, Error, Result};
use crate::sys::{Data, OpenFlags, Path, StatTarget, Target};
use crate::table::Kind;

/// An operation on a file or a path.
pub(crate) struct FileOp(Work);

enum Work {
    Open { path: Path, flags: OpenFlags },
    Read { intake: Intake, offset: Option<u64> },
    Write { from: Data, offset: Option<u64>, done: usize },
    Sync { data_only: bool },
    Truncate { length: u64 },
    Stat { target: StatTarget },
    StatPath { path: Path, follow: bool, target: StatTarget },
    ReadPath { path: Path, steps: Option<WholeRead> },
    WritePath { path: Path, from: Data, flags: OpenFlags },
}

impl FileOp {
    /// Opens a file.
    pub(crate) fn open(path: Path, flags: OpenFlags) -> Self {
        FileOp(Work::Open { path, flags })
    }

    /// Reads at an offset or at the current position; `exact`: until full or the end.
    pub(crate) fn read(into: Target, offset: Option<u64>, exact: bool) -> Self {
        FileOp(Work::Read { intake: Intake::new(into, exact), offset })
    }

    /// Writes all, at an offset or at the current position.
    pub(crate) fn write(from: Data, offset: Option<u64>) -> Self {
        FileOp(Work::Write { from, offset, done: 0 })
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

    /// Says what is known of a path.
    pub(crate) fn stat_path(path: Path, follow: bool, target: StatTarget) -> Self {
        FileOp(Work::StatPath { path, follow, target })
    }

    /// Reads a whole file into a lent buffer.
    pub(crate) fn read_path(path: Path) -> Self {
        FileOp(Work::ReadPath { path, steps: None })
    }

    /// Writes a whole file.
    pub(crate) fn write_path(path: Path, from: Data, flags: OpenFlags) -> Self {
        FileOp(Work::WritePath { path, from, flags })
    }

    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Result<Step> {
        Ok(Step::Run(match &mut self.0 {
            Work::Open { path, flags } => Primitive::Open { path: path.clone(), flags: *flags },
            Work::Read { intake, offset } => {
                let offset = advanced(*offset, intake.done());
                Primitive::Read { file: cx.file()?, into: intake.target(), offset }
            }
            Work::Write { from, offset, done } => {
                if from.len() == 0 {
                    return Ok(Step::End(Outcome::Done(*done as i64)));
                }
                Primitive::Write { file: cx.file()?, from: from.clone(), offset: advanced(*offset, *done) }
            }
            Work::Sync { data_only } => Primitive::Sync { file: cx.file()?, data_only: *data_only },
            Work::Truncate { length } => Primitive::Truncate { file: cx.file()?, length: *length },
            Work::Stat { .. } => Primitive::Stat { file: cx.file()? },
            Work::StatPath { path, follow, .. } => Primitive::StatPath { path: path.clone(), follow: *follow },
            Work::ReadPath { path, steps } => {
                if cx.driver.steps_are_cheap() {
                    return steps.get_or_insert_default().next(path, cx);
                }
                Primitive::ReadPath { path: path.clone() }
            }
            Work::WritePath { path, from, flags } => {
                Primitive::WritePath { path: path.clone(), from: from.clone(), flags: *flags }
            }
        }))
    }

    pub(super) fn completed(&mut self, cx: &mut Context<'_>, completion: Completion) -> Result<Step> {
        let value = match completion.result {
            Ok(Value::Starved(needed)) => return Ok(Step::Starve(needed)),
            Ok(value) => value,
            Err(error) => return Ok(Step::End(Outcome::Failed(error, completion.done + self.done()))),
        };
        let outcome = match (&mut self.0, value) {
            (Work::ReadPath { path, steps: Some(steps) }, value) => return steps.completed(path, cx, value),
            (Work::Open { .. }, Value::Opened(handle)) => Outcome::Opened(handle, None),
            (Work::Read { intake, .. }, Value::Count(count)) => {
                if intake.took(count) {
                    return self.next(cx);
                }
                Outcome::Done(intake.done() as i64)
            }
            (Work::Read { .. } | Work::ReadPath { .. }, Value::Lent(lent)) => Outcome::Lent(lent),
            (Work::Write { from, done, .. }, Value::Count(count)) => {
                if count == 0 {
                    return Err(Error::with(error::SL_ERR_IO, "the system writes 0 bytes"));
                }
                *done += count;
                from.advance(count);
                return self.next(cx);
            }
            (Work::Stat { target } | Work::StatPath { target, .. }, Value::Stat(stat)) => {
                target.fill(&stat);
                Outcome::Done(0)
            }
            (Work::WritePath { .. }, Value::Count(count)) => Outcome::Done(count as i64),
            (Work::Sync { .. } | Work::Truncate { .. } | Work::Read { .. } | Work::ReadPath { .. }, Value::Nothing) => {
                Outcome::Done(0)
            }
            _ => Outcome::internal(),
        };
        Ok(Step::End(outcome))
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

    pub(super) fn abandon(&mut self) {
        if let Work::ReadPath { steps, .. } = &mut self.0 {
            *steps = None;
        }
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
            Work::StatPath { .. } => SL_PATH_STAT,
            Work::ReadPath { .. } => SL_PATH_READ,
            Work::WritePath { .. } => SL_PATH_WRITE,
        }
    }

    pub(super) fn target(&self) -> TargetKind {
        match &self.0 {
            Work::Open { .. } | Work::StatPath { .. } | Work::ReadPath { .. } | Work::WritePath { .. } => {
                TargetKind::Loop
            }
            _ => TargetKind::One(Kind::File),
        }
    }

    pub(super) fn lane(&self) -> Lane {
        match &self.0 {
            Work::Read { offset: None, .. } | Work::Write { offset: None, .. } => Lane::Read,
            _ => Lane::Free,
        }
    }
}

/// An offset moved on by what is done; the current position moves by itself.
fn advanced(offset: Option<u64>, done: usize) -> Option<u64> {
    offset.map(|at| at.saturating_add(done as u64))
}
