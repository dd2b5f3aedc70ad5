//! Memory that is left for others: where it is nearly used up, what is large is refused, so that what is small and cannot be
//! refused (a thread's name, the text of an error, a list that grows by a few places) is still there. The allocator ends the
//! process where one of those fails. Any thread.

use crate::error::{self, Error, Result};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ample for everything small that is asked for before something large is refused.
const HEADROOM: usize = 1 << 20;

/// How many bytes were taken since it was last found, less what was given back.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Refuses where less than the headroom is left. It is asked for and given back, which touches none of it.
pub(crate) fn check() -> Result<()> {
    let mut probe = Vec::<u8>::new();
    let had = probe.try_reserve_exact(HEADROOM);
    // Otherwise the compiler may leave out an allocation that nobody uses.
    black_box(&mut probe);
    had.map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
    TAKEN.store(0, Ordering::Relaxed);
    Ok(())
}

/// Likewise for what comes often, and has just taken so many bytes: looks only where half of the headroom may be gone since it was
/// last found.
pub(crate) fn check_after(bytes: usize) -> Result<()> {
    let taken = TAKEN.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes);
    if taken < HEADROOM / 2 { Ok(()) } else { check() }
}

/// What was taken has been given back.
pub(crate) fn given_back(bytes: usize) {
    let less = |taken: usize| Some(taken.saturating_sub(bytes));
    let _ = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}
