//! Operations on paths.

use super::kinds::*;
use super::whole_read::{self, WholeRead};
use super::whole_write::WholeWrite;
use super::{Context, Outcome, Step};
use crate::driver::buffers::Pool;
use crate::driver::{Completion, Primitive, Value};
use crate::error::{Error, Result};
use crate::sys::{Data, EntryPacker, Handle, LinkKind, OpenFlags, Path, StatTarget};
use std::sync::Arc;

/// An operation on a path, or on two.
pub(crate) struct PathOp(Work);

enum Work {
    Stat {
        path: Path,
        follow: bool,
        target: StatTarget,
    },
    Read {
        path: Path,
        steps: Option<Box<WholeRead>>,
    },
    Write {
        path: Path,
        from: Data,
        flags: OpenFlags,
    },
    /// Of this kind: a write that is no single job, or a copy.
    Steps {
        kind: u32,
        steps: Option<Box<WholeWrite>>,
    },
    Remove {
        path: Path,
        directory: bool,
    },
    Rename {
        from: Path,
        to: Path,
        replace: bool,
    },
    MakeDirectory {
        path: Path,
        mode: u32,
    },
    Link {
        from: Path,
        to: Path,
        kind: LinkKind,
    },
    ReadLink {
        path: Path,
    },
    List {
        path: Path,
        pack: EntryPacker,
    },
}

impl PathOp {
    /// Says what is known of a path.
    pub(crate) fn stat(path: Path, follow: bool, target: StatTarget) -> Self {
        PathOp(Work::Stat { path, follow, target })
    }

    /// Reads a whole file into a lent buffer.
    pub(crate) fn read(path: Path) -> Self {
        PathOp(Work::Read { path, steps: None })
    }

    /// Writes a whole file; `sync`: and makes it safe.
    pub(crate) fn write(path: Path, from: Data, flags: OpenFlags, sync: bool) -> Self {
        if sync {
            return Self::in_steps(SL_PATH_WRITE, WholeWrite::in_place(path, from, flags).synced(true));
        }
        PathOp(Work::Write { path, from, flags })
    }

    /// Puts a whole file in the place of another, or of none.
    pub(crate) fn replace(path: Path, from: Data, mode: u32, sync: bool) -> Result<Self> {
        Ok(Self::in_steps(SL_PATH_WRITE, WholeWrite::replacing(path, from, mode)?.synced(sync)))
    }

    /// Copies a whole file, likewise; or, not to `replace`, to where there is none.
    pub(crate) fn copy(from: Path, to: Path, replace: bool, mode: u32, sync: bool) -> Result<Self> {
        Ok(Self::in_steps(SL_PATH_COPY, WholeWrite::copying(from, to, replace, mode)?.synced(sync)))
    }

    /// Removes a file or a link; or a directory that is empty.
    pub(crate) fn remove(path: Path, directory: bool) -> Self {
        PathOp(Work::Remove { path, directory })
    }

    /// Gives what is there another name.
    pub(crate) fn rename(from: Path, to: Path, replace: bool) -> Self {
        PathOp(Work::Rename { from, to, replace })
    }

    /// Makes a directory.
    pub(crate) fn make_directory(path: Path, mode: u32) -> Self {
        PathOp(Work::MakeDirectory { path, mode })
    }

    /// Makes `to` another name of `from`, or a link that leads there.
    pub(crate) fn link(from: Path, to: Path, kind: LinkKind) -> Self {
        PathOp(Work::Link { from, to, kind })
    }

    /// Says where a symbolic link leads.
    pub(crate) fn read_link(path: Path) -> Self {
        PathOp(Work::ReadLink { path })
    }

    /// Says what is in a directory.
    pub(crate) fn list(path: Path, pack: EntryPacker) -> Self {
        PathOp(Work::List { path, pack })
    }

    fn in_steps(kind: u32, steps: WholeWrite) -> Self {
        PathOp(Work::Steps { kind, steps: Some(Box::new(steps)) })
    }

    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Result<Step> {
        if let Work::Write { path, from, flags } = &self.0 {
            // Each step may go wrong there.
            if cx.driver.judges_steps() {
                *self = Self::in_steps(SL_PATH_WRITE, WholeWrite::in_place(path.clone(), from.clone(), *flags));
            }
        }
        Ok(Step::Run(match &mut self.0 {
            Work::Stat { path, follow, target } => {
                Primitive::StatPath { path: path.clone(), follow: *follow, target: *target }
            }
            Work::Read { path, steps } => {
                if cx.driver.steps_are_cheap() {
                    return steps.get_or_insert_default().next(path, cx);
                }
                Primitive::ReadPath { path: path.clone() }
            }
            Work::Write { path, from, flags } => {
                Primitive::WritePath { path: path.clone(), from: from.clone(), flags: *flags }
            }
            Work::Steps { steps, .. } => return Ok(steps.as_mut().map_or_else(internal, |steps| steps.next())),
            Work::Remove { path, directory } => Primitive::Remove { path: path.clone(), directory: *directory },
            Work::Rename { from, to, replace } => {
                Primitive::Rename { from: from.clone(), to: to.clone(), replace: *replace }
            }
            Work::MakeDirectory { path, mode } => Primitive::MakeDirectory { path: path.clone(), mode: *mode },
            Work::Link { from, to, kind } => Primitive::Link { from: from.clone(), to: to.clone(), kind: *kind },
            Work::ReadLink { path } => Primitive::ReadLink { path: path.clone() },
            Work::List { path, pack } => Primitive::ListPath { path: path.clone(), pack: *pack },
        }))
    }

    pub(super) fn completed(&mut self, cx: &mut Context<'_>, completion: Completion) -> Result<Step> {
        if let Work::Steps { steps: Some(steps), .. } = &mut self.0 {
            return Ok(steps.completed(completion.result));
        }
        let value = match completion.result {
            Ok(Value::Starved(needed)) => return Ok(Step::Starve(needed)),
            Ok(value) => value,
            Err(error) => return Ok(Step::End(Outcome::Failed(error, completion.done))),
        };
        let outcome = match (&mut self.0, value) {
            (Work::Read { path, steps: Some(steps) }, value) if cx.driver.steps_are_cheap() => {
                return steps.completed(path, cx, value);
            }
            // A step that another driver has carried out: this one begins anew.
            (Work::Read { .. }, Value::Opened(_) | Value::Count(_)) => return self.next(cx),
            (_, Value::Again) => return self.next(cx),
            (Work::Read { .. } | Work::ReadLink { .. } | Work::List { .. }, Value::Lent(lent)) => Outcome::Lent(lent),
            (Work::Write { .. }, Value::Count(count)) => Outcome::Done(count as i64),
            (Work::Write { .. }, _) => Outcome::internal(),
            (_, Value::Nothing) => Outcome::Done(0),
            _ => Outcome::internal(),
        };
        Ok(Step::End(outcome))
    }

    /// Reads may be carried out on the caller's thread.
    pub(super) fn inline_bytes(&self, buffers: &Pool) -> Option<usize> {
        // Most files are no larger.
        (Handle::READS_NOW && matches!(self.0, Work::Read { .. })).then(|| buffers.piece(0))
    }

    pub(super) fn attempt(&mut self, buffers: &Arc<Pool>, most: usize) -> Option<Outcome> {
        match &mut self.0 {
            Work::Read { path, steps } => whole_read::read_cached(path, steps, buffers, most + buffers.piece(0)),
            _ => None,
        }
    }

    pub(super) fn done(&self) -> u64 {
        match &self.0 {
            Work::Steps { steps: Some(steps), .. } => steps.done(),
            _ => 0,
        }
    }

    pub(super) fn undo(&mut self, why: Error) -> Option<Primitive> {
        match &mut self.0 {
            Work::Steps { steps: Some(steps), .. } => steps.undo(why),
            _ => None,
        }
    }

    pub(super) fn abandon(&mut self) {
        match &mut self.0 {
            Work::Read { steps, .. } => *steps = None,
            Work::Steps { steps, .. } => *steps = None,
            _ => {}
        }
    }

    pub(super) fn kind(&self) -> u32 {
        match &self.0 {
            Work::Stat { .. } => SL_PATH_STAT,
            Work::Read { .. } => SL_PATH_READ,
            Work::Write { .. } => SL_PATH_WRITE,
            Work::Steps { kind, .. } => *kind,
            Work::Remove { .. } => SL_PATH_REMOVE,
            Work::Rename { .. } => SL_PATH_RENAME,
            Work::MakeDirectory { .. } => SL_PATH_MAKE_DIRECTORY,
            Work::Link { .. } => SL_PATH_LINK,
            Work::ReadLink { .. } => SL_PATH_READ_LINK,
            Work::List { .. } => SL_PATH_LIST,
        }
    }
}

fn internal() -> Step {
    Step::End(Outcome::internal())
}
