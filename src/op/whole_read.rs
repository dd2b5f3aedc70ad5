//! Reading a whole file, step by step, for drivers on which a step costs no thread: open, read until nothing comes, close. A
//! small file that is in memory is read on the spot. On the loop's thread.

use super::{Context, Outcome, Step};
use crate::driver::buffers::{Lent, Pool};
use crate::driver::{Primitive, Value};
use crate::error::{self, Error, Result};
use crate::sys::{Data, Handle, OpenFlags, Path, Target};
use std::sync::Arc;

/// What is read on the spot is no larger than this: copying it takes some ten microseconds.
const SMALL: usize = 128 << 10;

/// A file on its way into a lent buffer.
#[derive(Default)]
pub(super) struct WholeRead {
    file: Option<Arc<Handle>>,
    /// It is a regular file: it knows its length, and can be read at offsets.
    regular: bool,
    lent: Option<Lent>,
    filled: usize,
    /// How large the buffer must be; 0: as a receive buffer, which holds most of what does not know its length.
    room: usize,
    /// What was opened on the caller's thread and proved not to be a file. It stays open to the end: a pipe's writer that has
    /// found its reader must not lose it.
    #[expect(dead_code, reason = "it is only held")]
    probe: Option<Handle>,
}

impl WholeRead {
    pub(super) fn next(&mut self, path: &Path, cx: &Context<'_>) -> Result<Step> {
        let Some(file) = self.file.clone() else {
            let flags = OpenFlags { read: true, ..OpenFlags::default() };
            return Ok(Step::Run(Primitive::Open { path: path.clone(), flags }));
        };
        if self.lent.is_none() {
            let room = if self.room == 0 { cx.buffers.most(cx.buffers.piece(0)) } else { self.room };
            self.lent = cx.buffers.take(room)?;
            if self.lent.is_none() {
                return Ok(Step::Starve(room as u64));
            }
        }
        let Some(rest) = self.rest() else { return self.full(&file, path, cx) };
        // What is no regular file may not be able to seek.
        let offset = self.regular.then_some(self.filled as u64);
        Ok(Step::Run(Primitive::Read { file, into: Target::Caller(rest), offset }))
    }

    /// What is left of the buffer.
    fn rest(&mut self) -> Option<Data> {
        let mut data = self.lent.as_mut()?.as_data();
        data.advance(self.filled);
        (data.len() > 0).then_some(data)
    }

    /// The buffer is full: the file ends here, or the buffer must be larger.
    fn full(&mut self, file: &Handle, path: &Path, cx: &Context<'_>) -> Result<Step> {
        let length = match file.regular_length().map(usize::try_from) {
            Some(length) => length.map_err(|_| Error::new(error::SL_ERR_NO_BUFFERS))?,
            None => 0,
        };
        if length > 0 && length <= self.filled {
            return Ok(self.end());
        }
        let most = cx.buffers.most(usize::MAX);
        if self.filled >= most {
            return Err(Error::with(error::SL_ERR_NO_BUFFERS, "the file is larger than max_lent_bytes"));
        }
        self.grow(if length > 0 { length } else { self.filled.saturating_mul(2).min(most) }, cx.buffers)?;
        self.next(path, cx)
    }

    pub(super) fn completed(&mut self, path: &Path, cx: &Context<'_>, value: Value) -> Result<Step> {
        match value {
            Value::Again => {}
            Value::Opened(handle) => {
                let small = if cx.driver.judges_steps() { None } else { read_small(&handle, cx.buffers, SMALL) };
                if let Some(outcome) = small {
                    return Ok(Step::End(outcome));
                }
                let length = handle.regular_length();
                self.regular = length.is_some();
                if let Some(length) = length.filter(|_| self.room == 0) {
                    self.room = usize::try_from(length).map_err(|_| Error::new(error::SL_ERR_NO_BUFFERS))?;
                }
                self.file = Some(Arc::new(handle));
            }
            Value::Count(0) => return Ok(self.end()),
            Value::Count(count) => self.filled += count,
            _ => return Err(Error::new(error::SL_ERR_INTERNAL)),
        }
        self.next(path, cx)
    }

    fn end(&mut self) -> Step {
        let lent = self.lent.take().filter(|_| self.filled > 0);
        // Closing what was only read has nothing to write and nothing to say.
        self.file = None;
        Step::End(lent.map_or(Outcome::Done(0), |lent| Outcome::Lent(lent.filled(self.filled))))
    }

    fn grow(&mut self, room: usize, buffers: &Arc<Pool>) -> Result<()> {
        self.room = room;
        match (buffers.take(room)?, self.lent.take()) {
            (Some(mut larger), Some(lent)) => {
                larger.copy_from(&lent, self.filled);
                self.lent = Some(larger);
            }
            // What it holds itself may be what is missing: it starts again, with the right size at once.
            _ => (self.file, self.lent, self.filled) = (None, None, 0),
        }
        Ok(())
    }
}

/// Reads a file on the caller's thread; None where that could block. Then `steps` may have something to hold open.
pub(super) fn read_cached(
    path: &Path,
    steps: &mut Option<Box<WholeRead>>,
    buffers: &Arc<Pool>,
    most: usize,
) -> Option<Outcome> {
    let handle = Handle::open_cached(path).ok()?;
    let outcome = read_small(&handle, buffers, most);
    if outcome.is_none() && handle.regular_length().is_none() {
        *steps = Some(Box::new(WholeRead { probe: Some(handle), ..WholeRead::default() }));
    }
    outcome
}

/// Reads an open file that is small and in memory; None where it is not.
fn read_small(handle: &Handle, buffers: &Arc<Pool>, most: usize) -> Option<Outcome> {
    let length = handle.regular_length().and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= most.min(SMALL))?;
    // Files without a length (in /proc) have something to say all the same; small ones share one size of buffer.
    let room = if length < buffers.piece(0) { buffers.most(buffers.piece(0)).max(length) } else { length };
    let mut lent = buffers.take(room).ok()??;
    let mut filled = 0;
    loop {
        let mut rest = lent.as_data();
        rest.advance(filled);
        match handle.read_now(&rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(_) => return None,
        }
        if filled == length {
            break;
        }
        if filled == room {
            // It has no length, or grows while it is read.
            return None;
        }
    }
    Some(if filled == 0 { Outcome::Done(0) } else { Outcome::Lent(lent.filled(filled)) })
}
