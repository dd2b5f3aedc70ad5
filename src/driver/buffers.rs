//! Lent memory: the buffers that the library gives to callers, counted against one limit.
//!
//! Taken by drivers on the loop's thread and on workers, returned by callers on any thread.

use crate::error::{self, Error, Result};
use crate::sys::{Data, Region};
use parking_lot::Mutex;
use std::sync::Arc;

/// How many receive buffers are kept for the next receive.
const KEPT: usize = 256;

struct State {
    /// Receive buffers, all zero, ready to be lent.
    kept: Vec<Vec<u8>>,
    bytes: u64,
    count: u64,
    /// How many have come back so far.
    returned: u64,
}

/// Where lent buffers come from.
pub(crate) struct Pool {
    receive_size: usize,
    limit: u64,
    state: Mutex<State>,
}

/// A buffer that is out. Dropping it returns it.
pub(crate) struct Lent {
    bytes: Vec<u8>,
    /// How many bytes at its front the caller may read; those behind it are zero.
    filled: usize,
    counted: u64,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(receive_size: usize, limit: u64) -> Arc<Self> {
        Arc::new(Pool {
            receive_size,
            limit,
            state: Mutex::new(State { kept: Vec::new(), bytes: 0, count: 0, returned: 0 }),
        })
    }

    /// Lends a zeroed buffer of `length` bytes; 0: the size of a receive buffer.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Result<Lent> {
        let length = if length == 0 { self.receive_size } else { length };
        let kept = self.count(length as u64, length == self.receive_size)?;
        let mut lent = Lent { bytes: kept.unwrap_or_default(), filled: 0, counted: length as u64, pool: self.clone() };
        if lent.bytes.is_empty() {
            lent.bytes.try_reserve_exact(length).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
            lent.bytes.resize(length, 0);
        }
        Ok(lent)
    }

    /// Lends an empty buffer with room for `length` bytes, to be filled by [`Lent::fill`].
    pub(crate) fn take_empty(self: &Arc<Self>, length: usize) -> Result<Lent> {
        self.count(length as u64, false)?;
        let mut lent = Lent { bytes: Vec::new(), filled: 0, counted: length as u64, pool: self.clone() };
        lent.bytes.try_reserve_exact(length).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        Ok(lent)
    }

    /// A zeroed receive buffer that is nobody's yet, for a driver to have ready. None: there is no memory.
    #[cfg(target_os = "linux")]
    pub(crate) fn spare(&self) -> Option<Vec<u8>> {
        if let Some(bytes) = self.state.lock().kept.pop() {
            return Some(bytes);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.receive_size).ok()?;
        bytes.resize(self.receive_size, 0);
        Some(bytes)
    }

    /// Lends a spare buffer, also beyond the limit: bytes have arrived in it.
    #[cfg(target_os = "linux")]
    pub(crate) fn lend(self: &Arc<Self>, bytes: Vec<u8>) -> Lent {
        let counted = bytes.len() as u64;
        let mut state = self.state.lock();
        state.bytes += counted;
        state.count += 1;
        drop(state);
        Lent { bytes, filled: 0, counted, pool: self.clone() }
    }

    /// Whether another receive buffer would go beyond the limit.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_used_up(&self) -> bool {
        self.state.lock().bytes.saturating_add(self.receive_size as u64) > self.limit
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn receive_size(&self) -> usize {
        self.receive_size
    }

    fn count(&self, length: u64, keep: bool) -> Result<Option<Vec<u8>>> {
        let mut state = self.state.lock();
        let total = state.bytes.saturating_add(length);
        if total > self.limit {
            // Whoever wants it can wait for what is out to come back, see `can_wait`.
            return Err(Error::new(error::SL_ERR_NO_BUFFERS));
        }
        state.bytes = total;
        state.count += 1;
        Ok(if keep { state.kept.pop() } else { None })
    }

    /// Whether waiting can help: something is out that may come back.
    pub(crate) fn can_wait(&self) -> bool {
        self.state.lock().count > 0
    }

    /// Grows whenever a buffer comes back.
    pub(crate) fn returned(&self) -> u64 {
        self.state.lock().returned
    }

    /// How many buffers are out, and how many bytes.
    pub(crate) fn out(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.count, state.bytes)
    }
}

impl Lent {
    /// The whole buffer as the target of a read, during which whoever reads keeps it.
    pub(crate) fn as_data(&mut self) -> Data {
        // SAFETY: a Vec's bytes stay where they are while it is not changed, and nothing here changes it after it is made;
        // the read that uses the region owns the buffer, so it ends before the buffer does.
        Data::One(unsafe { Region::new(self.bytes.as_mut_ptr(), self.bytes.len()) })
    }

    /// Says how many bytes at the front are good.
    #[must_use]
    pub(crate) fn filled(mut self, count: usize) -> Self {
        self.filled = count;
        self
    }

    /// Fills the buffer by `read`, which appends to it, and counts what it came to.
    pub(crate) fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut Vec<u8>) -> std::result::Result<usize, E>,
    ) -> std::result::Result<(), E> {
        self.filled = read(&mut self.bytes)?;
        let length = self.bytes.capacity() as u64;
        let mut state = self.pool.state.lock();
        // A file that grew while it was read goes over the limit by what it grew.
        state.bytes = state.bytes - self.counted + length;
        self.counted = length;
        Ok(())
    }

    /// Copies the first `count` bytes of another.
    pub(crate) fn copy_from(&mut self, other: &Lent, count: usize) {
        self.bytes[..count].copy_from_slice(&other.bytes[..count]);
        self.filled = count;
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    pub(crate) fn pointer(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let keep = bytes.len() == self.pool.receive_size;
        if keep {
            // What was filled reaches nobody else; the rest is zero still.
            bytes[..self.filled].fill(0);
        }
        let mut state = self.pool.state.lock();
        state.bytes -= self.counted;
        state.count -= 1;
        state.returned += 1;
        if keep && state.kept.len() < KEPT && state.kept.try_reserve(1).is_ok() {
            state.kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_recovers() {
        let pool = Pool::new(1024, 2048);
        let first = pool.take(0).unwrap();
        let second = pool.take(1000).unwrap();
        assert_eq!(pool.take(1024).err().unwrap().status, error::SL_ERR_NO_BUFFERS);
        assert_eq!(pool.out(), (2, 2024));
        drop((first, second));
        assert_eq!(pool.out(), (0, 0));
        assert!(pool.take(2049).is_err());
        assert!(!pool.can_wait());
    }

    #[test]
    fn nothing_of_one_owner_reaches_the_next() {
        let pool = Pool::new(512, 4096);
        let mut lent = pool.take(0).unwrap();
        lent.bytes[..10].fill(7);
        drop(lent.filled(10));
        assert!(pool.take(0).unwrap().bytes.iter().all(|byte| *byte == 0));
    }
}
