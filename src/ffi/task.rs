//! Timers, events of your own, work, and closing
//!
//! Times are nanoseconds of the monotonic clock, which no change of the date moves.

use super::events::Op as OpId;
use super::lifecycle::{Descriptor, Loop};
use super::request::*;
use super::status::Status;
use super::{guard, not_null};
use crate::engine::registry;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::op::task::TaskOp;
use crate::sys::Region;
use std::ffi::c_void;

/// Starts a timer: its first event comes `delay_ns` nanoseconds from now, never earlier. With a `period_ns` other than 0 it
/// goes on every `period_ns`, each event flagged SL_EVENT_MORE, until cancelled.
///
/// The event's result is how many times it has fired since its last event: 1, or more where you or the machine were too slow to
/// take each (ticks are counted, not queued). Cancel it with sl_op_cancel.
///
/// Any thread. Refused with: SL_ERR_INVALID (delay_ns or period_ns beyond INT64_MAX, period_ns below 1000), those of submission.
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_timer(
    r#loop: Loop,
    delay_ns: u64,
    period_ns: u64,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { length: delay_ns, offset: period_ns as i64, ..Request::new(SL_TIMER, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Posts an event of your own, whose result is `value` (0 or more): to wake another thread, or to pass it something.
///
/// Any thread. Refused with: SL_ERR_INVALID (value is negative), those of submission.
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_post(r#loop: Loop, value: i64, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { offset: value, ..Request::new(SL_POST, r#loop) }, options, op) }
}

/// Runs `function(argument)` on one of the loop's worker threads, for work that keeps a processor busy or blocks. The event's
/// result is what it returns: 0 or more is yours; a negative number is taken for an SL_ERR_....
///
/// function: must return normally (no longjmp, no C++ exception, no thread exit); may call any function of this header, except
/// to wait for or close this loop. argument: passed on as it is; what it points to is lent until the last event.
///
/// A function that has begun is not interrupted: cancel and deadline then wait for its end and report its result.
///
/// Any thread. Refused with: SL_ERR_NULL (function), those of submission.
///
/// # Safety
/// `function` may be called with `argument` on another thread; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_work(
    r#loop: Loop,
    function: WorkFunction,
    argument: *mut c_void,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: argument, work: function, ..Request::new(SL_WORK, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Does nothing, by way of the loop's thread. The event's result is 0.
///
/// Any thread. Refused with: those of submission.
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_nop(r#loop: Loop, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request::new(SL_NOP, r#loop), options, op) }
}

/// Closes a file, stream or listener. Its id is dead at once; its operations end, as cancelled where they have not already
/// succeeded; the descriptor is closed when none is under way any more. Then comes the event of this operation: its result is 0
/// or what close(2) reported. The event is the last that has to do with the resource.
///
/// A deadline or cancel does not stop it. Any thread. Refused with: those of the id and of submission (the resource then stays
/// open).
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_close(resource: u64, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request::new(SL_CLOSE, resource), options, op) }
}

/// Gives the descriptor of a file, stream or listener, for calls that sideloop does not have. It stays sideloop's: do not close
/// it, and do not use it after sl_close.
///
/// Any thread. Errors: SL_ERR_NULL, those of the id.
///
/// # Safety
/// `descriptor` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_descriptor_of(resource: u64, descriptor: *mut Descriptor) -> Status {
    guard(|| {
        not_null(descriptor, "descriptor")?;
        let got = registry::find(resource)?.descriptor_of(resource)?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { descriptor.write_unaligned(got) };
        Ok(0)
    })
}

/// Makes the operation that a request of this chapter describes.
///
/// # Safety
/// What the request points to is valid as its function says.
pub(super) unsafe fn decode(request: &Request) -> Result<Op> {
    check_flags(request.flags, 0)?;
    let op = match request.kind {
        SL_NOP => TaskOp::nop(),
        SL_POST if request.offset < 0 => {
            return Err(Error::invalid(format!("value is {}, negative", request.offset)));
        }
        SL_POST => TaskOp::post(request.offset),
        SL_TIMER => {
            let period = request.offset as u64;
            if request.length > i64::MAX as u64 || request.offset < 0 {
                return Err(Error::invalid("delay_ns or period_ns is more than INT64_MAX"));
            }
            if (1..1000).contains(&period) {
                return Err(Error::invalid(format!("period_ns is {period}, neither 0 nor 1000 or more")));
            }
            TaskOp::timer(request.length, period)
        }
        SL_WORK => {
            let function = request.work.ok_or_else(|| Error::with(crate::error::SL_ERR_NULL, "function"))?;
            // SAFETY: the argument is passed on to the function as it is, and never read here.
            TaskOp::work(function, unsafe { Region::new(request.buffer.cast(), 0) })
        }
        _ => TaskOp::close(),
    };
    Ok(Op::Task(op))
}
