//! Lent memory: the buffers that the library gives to callers, counted against one limit.
//!
//! Taken by drivers on the loop's thread and on workers, returned by callers on any thread.

use crate::error::{self, Error, Result};
use crate::headroom;
use crate::lock::Mutex;
use crate::sys::{Data, Region};
use std::sync::Arc;

/// How many receive buffers are kept for the next receive.
const KEPT: usize = 256;

struct State {
    /// Receive buffers, all zero, ready to be lent.
    kept: Vec<Vec<u8>>,
    bytes: u64,
    count: u64,
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
    /// How many bytes at its front the caller may read; those behind it are zero, or are made so.
    filled: usize,
    /// Somebody may have written to it whose bytes are not counted.
    written: bool,
    counted: u64,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(receive_size: usize, limit: u64) -> Arc<Self> {
        Arc::new(Pool { receive_size, limit, state: Mutex::new(State { kept: Vec::new(), bytes: 0, count: 0 }) })
    }

    /// Lends a zeroed buffer of `length` bytes; 0: the size of a receive buffer. None: others must come back first.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Result<Option<Lent>> {
        let length = self.size_of(length);
        let Some(kept) = self.count(length)? else { return Ok(None) };
        let mut lent = Lent { bytes: kept, filled: 0, written: false, counted: length as u64, pool: self.clone() };
        if lent.bytes.is_empty() {
            reserve(&mut lent.bytes, length)?;
            lent.bytes.resize(length, 0);
        }
        Ok(Some(lent))
    }

    /// Lends an empty buffer with room for `length` bytes, to be filled by [`Lent::fill`]. None: others must come back first.
    pub(crate) fn take_empty(self: &Arc<Self>, length: usize) -> Result<Option<Lent>> {
        if self.count(length)?.is_none() {
            return Ok(None);
        }
        let mut lent =
            Lent { bytes: Vec::new(), filled: 0, written: false, counted: length as u64, pool: self.clone() };
        reserve(&mut lent.bytes, length)?;
        Ok(Some(lent))
    }

    /// Lends memory that is filled already. None: others must come back first.
    pub(crate) fn give(self: &Arc<Self>, bytes: Vec<u8>) -> Result<Option<Lent>> {
        let length = bytes.len();
        if self.count(length)?.is_none() {
            return Ok(None);
        }
        let lent = Lent { bytes, filled: length, written: false, counted: length as u64, pool: self.clone() };
        headroom::check_after(length)?;
        Ok(Some(lent))
    }

    /// The size of a buffer for at most `length` bytes of a stream: pieces of a stream are no larger than a receive buffer.
    pub(crate) fn piece(&self, length: usize) -> usize {
        self.size_of(length).min(self.receive_size)
    }

    /// As much of `length` as one buffer can hold at most.
    pub(crate) fn most(&self, length: usize) -> usize {
        length.min(usize::try_from(self.limit).unwrap_or(usize::MAX))
    }

    /// Whether a buffer for `length` bytes is more than may be lent at all.
    pub(crate) fn is_too_much(&self, length: usize) -> bool {
        self.size_of(length) as u64 > self.limit
    }

    /// How long a buffer is of which `length` bytes are asked for: 0 stands for the size of a receive buffer.
    pub(crate) fn size_of(&self, length: usize) -> usize {
        if length == 0 { self.receive_size } else { length }
    }

    /// Counts a buffer as lent; answers one that is kept, or an empty one to make. None: there is no room now.
    fn count(&self, length: usize) -> Result<Option<Vec<u8>>> {
        if length as u64 > self.limit {
            let detail = format!("{length} bytes are more than max_lent_bytes, {}", self.limit);
            return Err(Error::with(error::SL_ERR_NO_BUFFERS, detail));
        }
        let mut state = self.state.lock();
        let total = state.bytes.saturating_add(length as u64);
        if total > self.limit {
            return Ok(None);
        }
        state.bytes = total;
        state.count += 1;
        let kept = if length == self.receive_size { state.kept.pop() } else { None };
        Ok(Some(kept.unwrap_or_default()))
    }

    /// How many bytes there is room for now.
    pub(crate) fn room(&self) -> u64 {
        self.limit.saturating_sub(self.state.lock().bytes)
    }

    /// A zeroed receive buffer that is nobody's yet, for a driver to have ready.
    #[cfg(target_os = "linux")]
    pub(crate) fn spare(&self) -> Result<Vec<u8>> {
        if let Some(bytes) = self.state.lock().kept.pop() {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        reserve(&mut bytes, self.receive_size)?;
        bytes.resize(self.receive_size, 0);
        Ok(bytes)
    }

    /// Lends a spare buffer, also beyond the limit: bytes have arrived in it.
    #[cfg(target_os = "linux")]
    pub(crate) fn lend(self: &Arc<Self>, bytes: Vec<u8>) -> Lent {
        let counted = bytes.len() as u64;
        let mut state = self.state.lock();
        state.bytes += counted;
        state.count += 1;
        drop(state);
        Lent { bytes, filled: 0, written: false, counted, pool: self.clone() }
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

    /// How many buffers are out, and how many bytes.
    pub(crate) fn out(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.count, state.bytes)
    }
}

/// Memory for a buffer, where there is enough for everything else besides.
fn reserve(bytes: &mut Vec<u8>, length: usize) -> Result<()> {
    bytes.try_reserve_exact(length).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
    headroom::check_after(length)
}

impl Lent {
    /// The whole buffer as the target of a read, during which whoever reads keeps it.
    pub(crate) fn as_data(&mut self) -> Data {
        self.written = true;
        // SAFETY: a Vec's bytes stay where they are while it is not changed, and nothing here changes it after it is made;
        // the read that uses the region owns the buffer, so it ends before the buffer does.
        Data::One(unsafe { Region::new(self.bytes.as_mut_ptr(), self.bytes.len()) })
    }

    /// Says how many bytes at the front are good, and that no others were written.
    #[must_use]
    pub(crate) fn filled(mut self, count: usize) -> Self {
        self.filled = count;
        self.written = false;
        self
    }

    /// Fills the buffer by `read`, which appends to it at most as many bytes as it is told, and counts what it came to.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut Vec<u8>, u64) -> std::io::Result<()>) -> Result<()> {
        let most = self.pool.room() + self.counted;
        let outcome = read(&mut self.bytes, most);
        // Also what a failed read has left is not for the next owner.
        self.filled = self.bytes.len();
        outcome?;
        let length = self.bytes.len() as u64;
        let mut state = self.pool.state.lock();
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
        let room = bytes.capacity();
        let keep = bytes.len() == self.pool.receive_size;
        if keep {
            // What was written reaches nobody else; the rest is zero still.
            let written = if self.written { bytes.len() } else { self.filled };
            bytes[..written].fill(0);
        }
        let mut state = self.pool.state.lock();
        state.bytes -= self.counted;
        state.count -= 1;
        if keep && state.kept.len() < KEPT && state.kept.try_reserve(1).is_ok() {
            state.kept.push(bytes);
        } else {
            headroom::given_back(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_recovers() {
        let pool = Pool::new(1024, 2048);
        let first = pool.take(0).unwrap().unwrap();
        let second = pool.take(1000).unwrap().unwrap();
        assert!(pool.take(1024).unwrap().is_none());
        assert_eq!(pool.out(), (2, 2024));
        drop((first, second));
        assert_eq!(pool.out(), (0, 0));
        assert_eq!(pool.take(2049).err().unwrap().status, error::SL_ERR_NO_BUFFERS);
    }

    #[test]
    fn nothing_that_was_read_in_vain_reaches_the_next() {
        let pool = Pool::new(512, 4096);
        let mut lent = pool.take(0).unwrap().unwrap();
        let _ = lent.as_data();
        lent.bytes[400] = 7;
        drop(lent);
        assert!(pool.take(0).unwrap().unwrap().bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn nothing_of_one_owner_reaches_the_next() {
        let pool = Pool::new(512, 4096);
        let mut lent = pool.take(0).unwrap().unwrap();
        lent.bytes[..10].fill(7);
        drop(lent.filled(10));
        assert!(pool.take(0).unwrap().unwrap().bytes.iter().all(|byte| *byte == 0));
    }
}
