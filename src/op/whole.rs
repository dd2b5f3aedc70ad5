//! Reading a whole file, step by step, for drivers on which a step costs no thread: open, read until nothing comes, close.

use super::{Context, Outcome, Step};
use crate::driver::buffers::{Lent, Pool};
use crate::driver::{Primitive, Value};
use crate::error::{self, Error, Result};
use crate::sys::{Data, Handle, OpenFlags, Path, Target};
use std::sync::Arc;

/// A file on its way into a lent buffer.
#[derive(Default)]
pub(super) struct WholeRead {
    file: Option<Arc<Handle>>,
    lent: Option<Lent>,
    filled: usize,
    /// How large the buffer must be; 0: as a receive buffer, which holds most files.
    room: usize,
}

impl WholeRead {
    pub(super) fn next(&mut self, path: &Path, cx: &Context<'_>) -> Result<Step> {
        let Some(file) = self.file.clone() else {
            let flags = OpenFlags { read: true, ..OpenFlags::default() };
            return Ok(Step::Run(Primitive::Open { path: path.clone(), flags }));
        };
        if self.lent.is_none() {
            self.lent = cx.buffers.take(self.room)?;
            if self.lent.is_none() {
                return Ok(Step::Starve(self.room as u64));
            }
        }
        let Some(rest) = self.rest() else {
            // Full, and perhaps not at the end: how long is it?
            return Ok(Step::Run(Primitive::Stat { file }));
        };
        // From the current position: what cannot seek is read as well.
        Ok(Step::Run(Primitive::Read { file, into: Target::Caller(rest), offset: None }))
    }

    /// What is left of the buffer.
    fn rest(&mut self) -> Option<Data> {
        let mut data = self.lent.as_mut()?.as_data();
        data.advance(self.filled);
        (data.len() > 0).then_some(data)
    }

    pub(super) fn completed(&mut self, path: &Path, cx: &Context<'_>, value: Value) -> Result<Step> {
        match value {
            Value::Opened(handle) => self.file = Some(Arc::new(handle)),
            Value::Count(0) => {
                let lent = self.lent.take().filter(|_| self.filled > 0);
                // Closing what was only read has nothing to write and nothing to say.
                self.file = None;
                return Ok(Step::End(lent.map_or(Outcome::Done(0), |lent| Outcome::Lent(lent.filled(self.filled)))));
            }
            Value::Count(count) => self.filled += count,
            Value::Stat(stat) => self.grow(stat.length, cx.buffers)?,
            _ => return Err(Error::new(error::SL_ERR_INTERNAL)),
        }
        self.next(path, cx)
    }

    /// Makes the buffer larger than the file: the byte more is where its end shows.
    fn grow(&mut self, length: u64, buffers: &Arc<Pool>) -> Result<()> {
        let length = usize::try_from(length).ok().and_then(|length| length.checked_add(1));
        let length = length.ok_or_else(|| Error::new(error::SL_ERR_NO_BUFFERS))?;
        self.room = length.max(self.filled.saturating_mul(2));
        match (buffers.take(self.room)?, self.lent.take()) {
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
