//! Receive buffers for the kernel to choose from when bytes arrive: a connection that waits holds none.
//!
//! They are the pool's, and count as lent from the moment that one has bytes for a caller. On the loop's thread.

use super::super::buffers::{Lent, Pool};
use crate::error::{self, Error, Result};
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only group of buffers that a ring has.
pub(super) const GROUP: u16 = 0;
/// As many buffers as the kernel is given at most; a power of two.
const MOST: u64 = 64;
/// The share of the loop's lent memory that may be with the kernel beyond the limit.
const SHARE: u64 = 16;
/// The kernel wants the ring at the start of a page (io_uring_register(2), IORING_REGISTER_PBUF_RING).
const PAGE: usize = 4096;

pub(super) struct Lending {
    entries: *mut BufRingEntry,
    layout: Layout,
    /// The buffers that the kernel has, by their number.
    buffers: Vec<Option<Vec<u8>>>,
    tail: u16,
    /// Numbers whose buffers went to callers and have not been replaced.
    missing: Vec<u16>,
    pool: Arc<Pool>,
}

// SAFETY: the memory of the ring belongs to it alone, and is used by one thread at a time, with `&mut`.
unsafe impl Send for Lending {}

impl Lending {
    /// How many buffers a pool can spare for the kernel; 0 where its limit is too tight for that.
    pub(super) fn size_for(pool: &Pool) -> u16 {
        let spare = (pool.limit() / SHARE / pool.receive_size() as u64).min(MOST);
        if spare == 0 { 0 } else { 1 << spare.ilog2() }
    }

    /// Registers a ring of buffers.
    pub(super) fn register(ring: &IoUring, pool: &Arc<Pool>) -> Result<Self> {
        let count = Lending::size_for(pool);
        let layout = Layout::array::<BufRingEntry>(usize::from(count).max(1))
            .and_then(|layout| layout.align_to(PAGE))
            .map_err(|_| Error::new(error::SL_ERR_INTERNAL))?;
        // SAFETY: the layout is not empty.
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if entries.is_null() {
            return Err(Error::new(error::SL_ERR_NO_MEMORY));
        }
        let mut lending = Lending {
            entries,
            layout,
            buffers: (0..count).map(|_| None).collect(),
            tail: 0,
            missing: (0..count).collect(),
            pool: pool.clone(),
        };
        // SAFETY: the memory holds `count` entries and is freed after the ring: see the order of UringDriver's fields.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, count, GROUP, 0) }
            .map_err(|error: io::Error| Error::from(error))?;
        // Asked for again when bytes arrive.
        let _ = lending.refill();
        Ok(lending)
    }

    /// Gives the kernel buffers in place of those that went to callers, as far as the loop's limit allows. It is an error where
    /// the kernel is left with none for want of memory; until then that can wait.
    pub(super) fn refill(&mut self) -> Result<()> {
        let before = self.tail;
        let offered = self.offer();
        if self.tail != before {
            // SAFETY: the ring's tail lies within its first entry, which is ours to write and the kernel's to read.
            let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
        if self.missing.len() == self.buffers.len() { offered } else { Ok(()) }
    }

    /// Puts buffers into the ring, before the kernel sees where it ends now.
    fn offer(&mut self) -> Result<()> {
        while !self.missing.is_empty() && !self.pool.is_used_up() {
            let mut bytes = self.pool.spare()?;
            let Some(number) = self.missing.pop() else { break };
            let place = usize::from(self.tail) & (self.buffers.len() - 1);
            // SAFETY: `place` is within the ring, and the kernel does not read an entry before the tail is past it.
            let entry = unsafe { &mut *self.entries.add(place) };
            entry.set_addr(bytes.as_mut_ptr() as u64);
            entry.set_len(bytes.len() as u32);
            entry.set_bid(number);
            self.buffers[usize::from(number)] = Some(bytes);
            self.tail = self.tail.wrapping_add(1);
        }
        Ok(())
    }

    /// The buffer that the kernel has chosen and filled with `count` bytes.
    pub(super) fn take(&mut self, number: u16, count: usize) -> Result<Lent> {
        let bytes = self.buffers.get_mut(usize::from(number)).and_then(Option::take);
        self.missing.push(number);
        let bytes = bytes.ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))?;
        Ok(self.pool.lend(bytes).filled(count))
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and the ring that used it is gone.
        unsafe { dealloc(self.entries.cast(), self.layout) };
    }
}
