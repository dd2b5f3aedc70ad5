//! What a loop counts. Each number has one writer side and may be read from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// The id of a loop.
pub type Loop = u64;

/// What a loop has done so far, and what it holds now. Set `size` to sizeof(sl_counters) before the call.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Counters {
    /// sizeof(sl_counters).
    pub size: u32,
    /// Threads of this loop now: its own, and the workers.
    pub threads: u32,
    /// Operations accepted.
    pub accepted: u64,
    /// Submissions refused.
    pub refused: u64,
    /// Last events posted. When the loop is at rest this equals `accepted`.
    pub ended: u64,
    /// Events posted that were flagged SL_EVENT_MORE.
    pub more: u64,
    /// Events taken: by sl_poll, sl_wait, sl_op_poll and sl_op_wait, and given to callbacks.
    pub taken: u64,
    /// Operations that ended with SL_ERR_CANCELLED.
    pub cancelled: u64,
    /// Operations that ended with SL_ERR_TIMED_OUT.
    pub timed_out: u64,
    /// Operations accepted whose last event is not taken yet (see max_operations).
    pub in_flight: u64,
    /// SL_EVENT_MORE events that wait to be taken (see max_unclaimed).
    pub unclaimed: u64,
    /// Files, streams and listeners that are open (see max_resources).
    pub resources: u64,
    /// Lent buffers that are out.
    pub lent_buffers: u64,
    /// Bytes of lent buffers that are out (see max_lent_bytes).
    pub lent_bytes: u64,
    /// Turns of the loop: how often it looked for work.
    pub turns: u64,
    /// Wakes: how often another thread found the loop asleep and woke it.
    pub wakes: u64,
    /// Faults: how many operations a fault plan has had fail, fall short or wait (see sl_loop_options.faults).
    pub faults: u64,
}

/// One number that only grows.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers that a loop keeps itself; the others are asked of whoever knows.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    pub(crate) ended: Count,
    pub(crate) more: Count,
    pub(crate) taken: Count,
    pub(crate) cancelled: Count,
    pub(crate) timed_out: Count,
    pub(crate) turns: Count,
    pub(crate) workers: AtomicU64,
}
