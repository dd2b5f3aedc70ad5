//! Events
//!
//! What operations post, and the ways to take it. Each event is taken exactly once, by one thread.

use super::lifecycle::{Loop, engine};
use super::status::Status;
use super::{guard, not_null, write_optional};
pub use crate::engine::event::*;
use crate::engine::registry;
use crate::error::{Error, Result};
use std::mem::MaybeUninit;

/// Takes events from the loop's queue without blocking: at most `capacity`, oldest first.
///
/// Returns how many it wrote to `events`: 0 where none waits. Any thread; several may poll at once, and each event goes to
/// one of them. Errors: as for sl_wait.
///
/// # Safety
/// `events` points to room for `capacity` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_poll(r#loop: Loop, events: *mut Event, capacity: usize) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { sl_wait(r#loop, events, capacity, 0) }
}

/// Waits until events are in the loop's queue or `timeout_ns` nanoseconds have passed, and takes at most `capacity`, oldest
/// first. SL_FOREVER waits without end; 0 does not wait.
///
/// Returns how many it wrote to `events`: 0 after a timeout. Any thread but the loop's own. Errors: those of the id,
/// SL_ERR_NULL, SL_ERR_INVALID (it would wait with room for none), SL_ERR_DEADLOCK (it would wait on a thread of this
/// loop), SL_ERR_SHUT_DOWN (the loop is shut down and its last event is taken), SL_ERR_STALE (the loop was closed
/// meanwhile).
///
/// # Safety
/// `events` points to room for `capacity` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_wait(r#loop: Loop, events: *mut Event, capacity: usize, timeout_ns: u64) -> Status {
    guard(|| {
        let engine = engine(r#loop)?;
        if capacity == 0 {
            return if timeout_ns == 0 {
                Ok(0)
            } else {
                Err(Error::invalid("capacity is 0: no room for what is waited for"))
            };
        }
        not_null(events, "events")?;
        if !events.is_aligned() {
            return Err(Error::invalid("events is not aligned for sl_event"));
        }
        // More than this in one call gains nothing, and keeps a wild `capacity` from overflowing an address.
        let capacity = capacity.min(1 << 20);
        // SAFETY: aligned, not NULL, and the caller vouches for `capacity` events; MaybeUninit asks nothing of their bytes.
        let out = unsafe { std::slice::from_raw_parts_mut(events.cast::<MaybeUninit<Event>>(), capacity) };
        engine.wait(out, timeout_ns).map(|count| count as i32)
    })
}

/// Takes the event of one operation (SL_DELIVER_HANDLE) without blocking.
///
/// Returns 1 and writes `event` where the operation has ended, which makes its id stale; 0 where it is still under way.
/// Any thread. Errors: those of the id, SL_ERR_DELIVERY (the operation is not delivered this way), SL_ERR_NULL.
///
/// # Safety
/// `event` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_op_poll(op: Op, event: *mut Event) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { sl_op_wait(op, 0, event) }
}

/// Waits for the event of one operation (SL_DELIVER_HANDLE) for at most `timeout_ns` nanoseconds, and takes it.
///
/// Returns 1 and writes `event` where the operation has ended, which makes its id stale; 0 after a timeout. Where several
/// threads wait for the same operation, one gets the event and the others SL_ERR_STALE. Any thread but the loop's own.
/// Errors: those of the id, SL_ERR_DELIVERY, SL_ERR_NULL, SL_ERR_DEADLOCK.
///
/// # Safety
/// `event` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_op_wait(op: Op, timeout_ns: u64, event: *mut Event) -> Status {
    guard(|| {
        let engine = registry::find(op)?;
        not_null(event, "event")?;
        match engine.wait_op(op, timeout_ns)? {
            Some(taken) => {
                // SAFETY: not NULL, and the caller vouches for it.
                unsafe { write_optional(event, taken) };
                Ok(1)
            }
            None => Ok(0),
        }
    })
}

/// Says how an operation is doing, whatever its delivery, and takes nothing: 0 while it is under way, 1 when it has ended
/// and its event waits to be taken.
///
/// Any thread. Errors: SL_ERR_STALE (its last event is taken), and the others of the id.
#[unsafe(no_mangle)]
pub extern "C" fn sl_op_status(op: Op) -> Status {
    guard(|| registry::find(op)?.op_status(op).map(i32::from))
}

/// Asks an operation to end. It ends with SL_ERR_CANCELLED, or with its real result where that came first; either way by
/// exactly one last event. What a cancelled open, accept or connect had opened already is closed again.
///
/// Returns at once. Any thread. Errors: SL_ERR_ENDED (it has ended; its event waits), SL_ERR_NO_MEMORY
/// (nothing is asked; try again), those of the id.
#[unsafe(no_mangle)]
pub extern "C" fn sl_op_cancel(op: Op) -> Status {
    guard(|| {
        registry::find(op)?.cancel(op)?;
        Ok(0)
    })
}

/// Runs the callbacks of events that wait with SL_DELIVER_DISPATCH, on this thread, oldest first, at most `max` of them
/// (0: no limit but what waits when the call begins). Where none waits, it first waits for at most `timeout_ns` nanoseconds.
///
/// Returns how many callbacks it ran: 0 after a timeout. Any thread, also inside a callback. Errors: those of the id,
/// SL_ERR_DEADLOCK (it would wait on a thread of this loop), SL_ERR_SHUT_DOWN (shut down, and no event is left).
#[unsafe(no_mangle)]
pub extern "C" fn sl_dispatch(r#loop: Loop, max: usize, timeout_ns: u64) -> Status {
    guard(|| dispatch(r#loop, max, timeout_ns))
}

fn dispatch(id: Loop, max: usize, timeout_ns: u64) -> Result<i32> {
    let engine = engine(id)?;
    let Some((waiting, first)) = engine.wait_dispatch(timeout_ns)? else { return Ok(0) };
    let most = if max == 0 { waiting } else { waiting.min(max) };
    let (mut ran, mut next) = (0, Some(first));
    while let Some((event, callback)) = next {
        callback.run(id, &event);
        ran += 1;
        next = if ran < most { engine.take_dispatch() } else { None };
    }
    Ok(ran as i32)
}
