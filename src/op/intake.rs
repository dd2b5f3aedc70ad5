//! What reads and receives have in common: where the bytes go, and whether there are enough.

use crate::sys::{Data, Target};

pub(super) struct Intake {
    into: Target,
    /// Go on until the caller's memory is full or the end comes. Only with the caller's memory: what is cut short then is
    /// there for the caller to see.
    exact: bool,
    done: usize,
}

impl Intake {
    pub(super) fn new(into: Target, exact: bool) -> Self {
        Intake { into, exact, done: 0 }
    }

    /// Where the next bytes go.
    pub(super) fn target(&self) -> Target {
        self.into.clone()
    }

    /// Notes what has come, and answers whether more is wanted.
    pub(super) fn took(&mut self, count: usize) -> bool {
        self.done += count;
        let Target::Caller(data) = &mut self.into else { return false };
        data.advance(count);
        self.exact && count > 0 && data.len() > 0
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Whether the caller's memory has no room left.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.into, Target::Caller(data) if data.len() == 0)
    }

    pub(super) fn is_vectored(&self) -> bool {
        matches!(self.into, Target::Caller(Data::Many(..)))
    }
}
