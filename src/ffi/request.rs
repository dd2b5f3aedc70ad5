//! Submitting
//!
//! Every function below that ends in `options, op` submits one operation. The same operations can be described by
//! sl_request and submitted many in one call.
//!
//! What takes no waiting is carried out at once, on the thread that submits it, for going to another thread and back takes
//! longer: a send for which the system has room, a receive for which bytes are there, a read of a file that is in memory (on
//! Linux), a post. A call does no more than 32 operations and 128 KiB of that, which takes some ten microseconds; the rest goes
//! to the loop. The event is ready when the call returns. Its order and its delivery are the same as ever: callbacks run where
//! they always run. SL_OPTION_NO_INLINE turns this off for an operation, SL_LOOP_NO_INLINE for a loop.

use super::events::{Callback, Op as OpId};
use super::lifecycle::Loop;
use super::status::Status;
use super::{Versioned, file, guard, not_null, path, read_optional, read_versioned, task, tcp, write_optional};
use crate::engine::{Delivery, OpOptions, Submission, registry};
use crate::error::{Error, Result};
use crate::op::Op;
pub use crate::op::kinds::*;
use std::ffi::c_void;

/// Reads: until the buffers are full or the end is reached, instead of what there is.
pub const SL_EXACT: u32 = 1;
/// Accepts and receives: go on, with an event flagged SL_EVENT_MORE for each, until cancelled or ended by an error or by
/// the end of the stream.
pub const SL_MULTISHOT: u32 = 2;
/// sl_file_sync: the data and what is needed to read it back, not the times (fdatasync).
pub const SL_DATA_ONLY: u32 = 4;
/// sl_path_stat: of a symbolic link itself (lstat).
pub const SL_NO_FOLLOW: u32 = 8;
/// sl_path_rename, sl_path_copy: not where there is something already.
pub const SL_NO_REPLACE: u32 = 16;
/// sl_path_remove: of a directory; sl_path_link: to a directory.
pub const SL_DIRECTORY: u32 = 32;
/// sl_path_link: a symbolic link.
pub const SL_SYMBOLIC: u32 = 64;

/// The operation is not carried out on the thread that submits it.
pub const SL_OPTION_NO_INLINE: u32 = 1;

/// Function on a worker thread: see sl_work.
pub type WorkFunction = Option<unsafe extern "C" fn(argument: *mut c_void) -> i64>;

/// How one operation is to be delivered, and until when it may take. Set `size` to sizeof(sl_options) and leave what you do
/// not care about 0. NULL instead of a pointer to it means all 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// sizeof(sl_options).
    pub size: u32,
    /// One of SL_DELIVER_....
    pub delivery: u32,
    /// Comes back in every event of the operation.
    pub user_data: u64,
    /// After this many nanoseconds the operation ends with SL_ERR_TIMED_OUT unless it has ended before; 0: no deadline.
    pub timeout_ns: u64,
    /// The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    pub callback: Callback,
    /// SL_OPTION_... bits.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), starts with its size; zero integers and a NULL callback are valid.
unsafe impl Versioned for Options {
    // The first version ended with the callback.
    const SIZES: &'static [u32] = &[size_of::<Self>() as u32 - 8, size_of::<Self>() as u32];
}

const NO_OPTIONS: Options =
    Options { size: 0, delivery: 0, user_data: 0, timeout_ns: 0, callback: None, flags: 0, reserved: 0 };

/// One operation, described. Which fields count depends on `kind`; set the others to 0.
///
/// | kind | target | buffer | length | offset | flags | mode |
/// |---|---|---|---|---|---|---|
/// | SL_NOP | loop | | | | | |
/// | SL_POST | loop | | | value | | |
/// | SL_WORK (and `work`) | loop | argument | | | | |
/// | SL_TIMER | loop | | delay_ns | period_ns | | |
/// | SL_CLOSE | resource | | | | | |
/// | SL_FILE_OPEN | loop | path | | | SL_OPEN_... | mode |
/// | SL_FILE_READ, SL_FILE_WRITE | file | bytes | length | offset | flags | |
/// | SL_FILE_READV, SL_FILE_WRITEV | file | sl_slice array | count | offset | flags | |
/// | SL_FILE_SYNC | file | | | | flags | |
/// | SL_FILE_STAT | file | sl_stat | | | | |
/// | SL_FILE_TRUNCATE | file | | length | | | |
/// | SL_PATH_STAT | loop | path | | address of the sl_stat | flags | |
/// | SL_PATH_READ | loop | path | | | | |
/// | SL_PATH_WRITE | loop | path | length | address of the data | SL_OPEN_..., SL_WRITE_... | mode |
/// | SL_PATH_REMOVE | loop | path | | | flags | |
/// | SL_PATH_RENAME, SL_PATH_LINK | loop | path `from` | | address of the path `to` | flags | |
/// | SL_PATH_MAKE_DIRECTORY | loop | path | | | | mode |
/// | SL_PATH_READ_LINK, SL_PATH_LIST | loop | path | | | | |
/// | SL_PATH_COPY | loop | path `from` | | address of the path `to` | flags | mode |
/// | SL_TCP_ACCEPT | listener | | | | flags | |
/// | SL_TCP_CONNECT | loop | sl_address | | | | |
/// | SL_STREAM_RECEIVE, SL_STREAM_SEND | stream | bytes | length | | flags | |
/// | SL_STREAM_SENDV | stream | sl_slice array | count | | | |
/// | SL_STREAM_SHUTDOWN | stream | | | | | |
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    /// sizeof(sl_request).
    pub size: u32,
    /// Which operation: SL_FILE_READ, ....
    pub kind: u32,
    /// The loop, file, stream or listener that it works on.
    pub target: u64,
    /// An address, as the table says.
    pub buffer: *mut c_void,
    /// A length, count or time, as the table says.
    pub length: u64,
    /// An offset, or what the table says.
    pub offset: i64,
    /// SL_EXACT, SL_MULTISHOT, ... or SL_OPEN_..., as the table says.
    pub flags: u32,
    /// The permissions of a file that is created (like 0644; on Windows only whether anybody may write counts); else 0.
    pub mode: u32,
    /// One of SL_DELIVER_....
    pub delivery: u32,
    /// SL_OPTION_... bits.
    pub options: u32,
    /// Comes back in every event of the operation.
    pub user_data: u64,
    /// The deadline in nanoseconds from now; 0: none.
    pub timeout_ns: u64,
    /// The callback, for SL_DELIVER_DISPATCH and SL_DELIVER_THREAD; else NULL.
    pub callback: Callback,
    /// The function, for SL_WORK; else NULL.
    pub work: WorkFunction,
}

// SAFETY: repr(C), starts with its size; zero integers, NULL addresses and NULL functions are valid.
unsafe impl Versioned for Request {
    const SIZES: &'static [u32] = &[size_of::<Self>() as u32];
}

impl Request {
    /// A request of this kind for this target; the rest is 0.
    pub(super) const fn new(kind: u32, target: u64) -> Self {
        Request {
            size: size_of::<Self>() as u32,
            kind,
            target,
            buffer: std::ptr::null_mut(),
            length: 0,
            offset: 0,
            flags: 0,
            mode: 0,
            delivery: 0,
            options: 0,
            user_data: 0,
            timeout_ns: 0,
            callback: None,
            work: None,
        }
    }
}

/// Submits `count` operations in one call: the loop is woken once at most.
///
/// requests: an array; every element's `size` is sizeof(sl_request). ops: NULL, or room for `count` ids.
///
/// Returns how many were accepted, counted from the first. Where that is fewer than `count`, the next one was refused, and
/// sl_last_error says why; it and those after it left no trace. Returns the error itself where the first is refused.
/// Any thread. Errors: those of the single functions, SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_WRONG_KIND (a target belongs to
/// another loop).
///
/// # Safety
/// The arrays hold `count` elements, and what the requests point to is valid as for the single functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_submit(r#loop: Loop, requests: *const Request, count: usize, ops: *mut OpId) -> Status {
    guard(|| {
        let engine = registry::find_loop(r#loop)?;
        if count == 0 {
            return Ok(0);
        }
        not_null(requests, "requests")?;
        if count > 1 << 20 {
            return Err(Error::invalid(format!("count is {count}, more than 1048576")));
        }
        let mut batch = engine.batch();
        let mut accepted = 0;
        while accepted < count {
            // SAFETY: `accepted < count`, and the caller vouches for `count` elements of each array.
            let outcome = batch.submit(|| {
                // SAFETY: as above.
                let request = unsafe { read_versioned(requests.add(accepted), "requests") }?;
                registry::check_same_loop(r#loop, request.target)?;
                // SAFETY: the caller vouches for what the request points to.
                unsafe { submission(&request) }
            });
            match outcome {
                Ok(_) if ops.is_null() => {}
                // SAFETY: as above.
                Ok(id) => unsafe { ops.add(accepted).write_unaligned(id) },
                Err(error) if accepted == 0 => return Err(error),
                Err(error) => {
                    super::remember(error);
                    break;
                }
            }
            accepted += 1;
        }
        Ok(accepted as i32)
    })
}

/// The one way in of every function that submits a single operation.
///
/// # Safety
/// `options` is NULL or valid, `op` is NULL or writable, and what the request points to is valid as its function says.
pub(super) unsafe fn submit_one(mut request: Request, options: *const Options, op: *mut OpId) -> Status {
    guard(|| {
        let engine = registry::find(request.target)?;
        let id = engine.batch().submit(|| {
            // SAFETY: the caller vouches for `options`.
            let options = unsafe { read_optional(options, "options", NO_OPTIONS) }?;
            request.delivery = options.delivery;
            request.user_data = options.user_data;
            request.timeout_ns = options.timeout_ns;
            request.callback = options.callback;
            request.options = options.flags;
            if options.reserved != 0 {
                return Err(Error::invalid("options: reserved is not 0"));
            }
            // SAFETY: the caller vouches for what the request points to.
            unsafe { submission(&request) }
        })?;
        // SAFETY: the caller vouches for `op`.
        unsafe { write_optional(op, id) };
        Ok(0)
    })
}

/// Makes a submission of a request.
///
/// # Safety
/// What the request points to is valid as its function says.
unsafe fn submission(request: &Request) -> Result<Submission> {
    // SAFETY: passed on from the caller.
    Ok((unsafe { decode(request) }?, request.target, op_options(request)?))
}

/// Makes the operation that a request describes, or says what is wrong with it.
///
/// # Safety
/// What the request points to is valid as its function says.
unsafe fn decode(request: &Request) -> Result<Op> {
    // SAFETY: passed on from the caller.
    unsafe {
        match request.kind {
            SL_NOP | SL_POST | SL_WORK | SL_TIMER | SL_CLOSE => task::decode(request),
            SL_FILE_OPEN..=SL_FILE_TRUNCATE => file::decode(request),
            SL_PATH_STAT..=SL_PATH_READ_LINK | SL_PATH_LIST | SL_PATH_COPY => path::decode(request),
            SL_TCP_ACCEPT..=SL_STREAM_SHUTDOWN => tcp::decode(request),
            kind => Err(Error::invalid(format!("request: kind {kind} is unknown"))),
        }
    }
}

fn op_options(request: &Request) -> Result<OpOptions> {
    let delivery = Delivery::from_parts(request.delivery, request.callback)?;
    if request.options & !SL_OPTION_NO_INLINE != 0 {
        return Err(Error::invalid(format!("options {:#x} has unknown bits", request.options)));
    }
    let inline = request.options & SL_OPTION_NO_INLINE == 0;
    Ok(OpOptions { delivery, user_data: request.user_data, timeout_ns: request.timeout_ns, inline })
}

/// Refuses flag bits that this kind of operation does not have.
pub(super) fn check_flags(flags: u32, allowed: u32) -> Result<()> {
    if flags & !allowed == 0 {
        Ok(())
    } else {
        Err(Error::invalid(format!("flags {flags:#x} has bits that this operation does not know")))
    }
}
