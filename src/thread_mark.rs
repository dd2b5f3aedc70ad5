//! Marks the threads that belong to a loop with its id, so that a call which would wait for itself is refused.

use std::cell::Cell;

#[cfg(not(all(test, loom)))]
thread_local! {
    static MARK: Cell<u64> = const { Cell::new(0) };
}

// All threads of a model are one to the system.
#[cfg(all(test, loom))]
loom::thread_local! {
    static MARK: Cell<u64> = Cell::new(0);
}

/// Says that this thread belongs to the loop with this id.
pub(crate) fn set(id: u64) {
    MARK.with(|mark| mark.set(id));
}

/// The loop that this thread belongs to; 0 for the threads of callers.
pub(crate) fn get() -> u64 {
    MARK.try_with(Cell::get).unwrap_or(0)
}

/// Tells this thread from all others that there are. The standard library's handle of a thread would do, but it allocates one for
/// each thread that asks, and the main thread's is never freed.
pub(crate) fn this_thread() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}
