//! sideloop - asynchronous I/O behind a C ABI.
//!
//! # What it does
//!
//! A loop runs on a thread of its own. Your program hands it reads, writes, connections, timers and other work; each
//! submission returns at once with the id of an operation. You carry on, and collect one event per operation when it
//! suits you.
//!
//! # Ids
//!
//! Loops, operations, files, streams, listeners and lent buffers are all named by 64-bit ids, never by pointers. An id
//! is never 0 and never negative when read as int64_t. A stale, forged or foreign id is an error (SL_ERR_STALE,
//! SL_ERR_BAD_ID, SL_ERR_WRONG_KIND), not undefined behaviour. You never free an operation: it ends with its last event.
//!
//! # How events reach you
//!
//! You choose it for every operation (sl_options.delivery):
//!
//! - SL_DELIVER_QUEUE (the default): take many at once with sl_poll or sl_wait, or let the wake descriptor
//!   (sl_loop_wake_descriptor) tell the poll, epoll, select or GUI loop that you have already.
//! - SL_DELIVER_HANDLE: the event stays with the operation: sl_op_poll, sl_op_wait.
//! - SL_DELIVER_DISPATCH: a callback that runs inside sl_dispatch, on the thread that calls it.
//! - SL_DELIVER_THREAD: a callback that runs on the loop's own thread. The fastest; it must not block.
//!
//! Every accepted operation ends with exactly one last event, whatever happens. Multishot operations (SL_MULTISHOT, and
//! timers with a period) post any number of events flagged SL_EVENT_MORE before it.
//!
//! # Errors
//!
//! Functions return an sl_status: 0 or more is success, negative is one of SL_ERR_... . What cannot be accepted is
//! refused at once and leaves no trace; output arguments are written on success only. sl_last_error and
//! sl_last_os_error say, for the calling thread, what was wrong with its last refused call. A failed operation's
//! event carries the same numbers in `result`, and the system's own code in `os_error`.
//!
//! # Ownership
//!
//! Memory that you hand over (a buffer to read into, data to write, an sl_stat to fill) belongs to the operation from
//! submission to its last event: keep it valid and do not touch it. Paths, addresses, option structures, and arrays of
//! sl_slice are copied at submission; you may free them when the call returns. Give NULL instead of a buffer to read,
//! and the library lends you one of its own: the event is flagged SL_EVENT_LENT and you return it with
//! sl_buffer_release. Closing a loop ends all operations and takes all lent memory back.
//!
//! # Threads
//!
//! Any thread may call any function at any time, also from inside callbacks. An operation is under way as soon as it is
//! submitted: its event may come, on another thread, before the call that submitted it has returned. What would deadlock (to wait for a loop, or
//! close it, on one of its own threads) is refused with SL_ERR_DEADLOCK. On one stream, receives complete in the order
//! submitted, and so do sends. File operations at an explicit offset have no order; those at the file's current position
//! (SL_OFFSET_CURRENT) run in the order submitted. The loop's threads block all signals. After fork, calls on the parent's
//! loops return SL_ERR_FORKED in the child, which may open a loop of its own.
//!
//! # A complete program
//!
//! ```c
//! #include <sideloop.h>
//! #include <inttypes.h>
//! #include <stdio.h>
//!
//! int main(int argc, char **argv)
//! {
//!     const char *path = argc > 1 ? argv[1] : "/etc/hostname";
//!     sl_loop loop;
//!     if (sl_loop_open(NULL, &loop) < 0) {
//!         fprintf(stderr, "sl_loop_open: %s\n", sl_last_error());
//!         return 1;
//!     }
//!
//!     /* Say what you want: the whole file, in memory that the library lends. */
//!     sl_op op;
//!     if (sl_path_read(loop, path, NULL, &op) < 0) {
//!         fprintf(stderr, "sl_path_read: %s\n", sl_last_error());
//!         return 1;
//!     }
//!
//!     /* ... carry on; then take the event (here: wait up to five seconds for it). */
//!     sl_event event;
//!     int code = 1;
//!     if (sl_wait(loop, &event, 1, UINT64_C(5000000000)) == 1) {
//!         if (event.result < 0) {
//!             fprintf(stderr, "%s: %s\n", path, sl_status_message((sl_status)event.result));
//!         } else {
//!             printf("%s: %" PRId64 " bytes\n", path, event.result);
//!             fwrite(event.data, 1, (size_t)event.result, stdout);
//!             sl_buffer_release(event.detail);
//!             code = 0;
//!         }
//!     }
//!     sl_loop_close(loop, SL_FOREVER);
//!     return code;
//! }
//! ```

// This file: the guard that every exported function runs under, the last error of each thread, and the readers of the
// caller's memory. Called on the caller's threads. One module below is one chapter of include/sideloop.h, in this order.

pub mod status;
pub mod lifecycle;
pub mod events;
pub mod request;
pub mod buffer;
pub mod file;
pub mod path;
pub mod address;
pub mod tcp;
pub mod task;

use crate::error::{self, Error, Result};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

struct LastError {
    message: CString,
    os: i32,
}

thread_local! {
    static LAST_ERROR: RefCell<LastError> = RefCell::new(LastError { message: CString::default(), os: 0 });
}

/// Runs the body of an exported function: a panic does not cross the ABI, an error becomes its status and is remembered
/// for `sl_last_error` on this thread.
fn guard(body: impl FnOnce() -> Result<i32>) -> i32 {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(_) => Error::with(error::SL_ERR_INTERNAL, "sideloop panicked; please report this"),
    };
    let status = error.status;
    remember(error);
    status
}

fn remember(error: Error) {
    let text = match error::lookup(error.status) {
        Some(entry) if error.detail.is_empty() => entry.message.to_owned(),
        Some(entry) => format!("{}: {}", entry.message, error.detail),
        None => error.detail.into_owned(),
    };
    // A thread that is being torn down has no place left for it; the status was returned all the same.
    let _ = LAST_ERROR.try_with(|last| {
        *last.borrow_mut() = LastError { message: CString::new(text).unwrap_or_default(), os: error.os };
    });
}

/// A structure of the ABI that starts with its own size.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `u32` that holds its size, and all-zero bytes are a valid value.
unsafe trait Versioned: Copy {
    /// The sizes that this structure has had, oldest first; the last is today's.
    const SIZES: &'static [u32];
}

/// Reads a caller's structure of any known version; fields that the caller's version lacks are zero.
///
/// # Safety
/// `source` is NULL or points to as many readable bytes as its first field says.
unsafe fn read_versioned<T: Versioned>(source: *const T, what: &'static str) -> Result<T> {
    not_null(source, what)?;
    // SAFETY: `source` is not NULL, so the caller vouches for at least its size field.
    let size = unsafe { source.cast::<u32>().read_unaligned() };
    if !T::SIZES.contains(&size) {
        return Err(bad_size(what, size, T::SIZES));
    }
    // SAFETY: `Versioned` promises that all-zero is a value.
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: `size` is one of SIZES, none larger than T, and the caller vouches for that many readable bytes.
    unsafe { std::ptr::copy_nonoverlapping(source.cast::<u8>(), (&raw mut value).cast::<u8>(), size as usize) };
    Ok(value)
}

/// Like [`read_versioned`], where NULL stands for `default`.
///
/// # Safety
/// As for [`read_versioned`].
unsafe fn read_optional<T: Versioned>(source: *const T, what: &'static str, default: T) -> Result<T> {
    if source.is_null() {
        return Ok(default);
    }
    // SAFETY: passed on from the caller.
    unsafe { read_versioned(source, what) }
}

/// Fills a caller's structure of any known version: as much of `value` as its size field says it holds.
///
/// # Safety
/// `target` is NULL or points to as many writable bytes as its first field says.
unsafe fn write_versioned<T: Versioned>(target: *mut T, what: &'static str, value: T) -> Result<()> {
    not_null(target, what)?;
    // SAFETY: `target` is not NULL, so the caller vouches for at least its size field.
    let size = unsafe { target.cast::<u32>().read_unaligned() };
    if !T::SIZES.contains(&size) {
        return Err(bad_size(what, size, T::SIZES));
    }
    let body = size as usize - 4;
    // SAFETY: the caller vouches for `size` writable bytes; the size field itself stays as the caller wrote it.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>().add(4), target.cast::<u8>().add(4), body);
    }
    Ok(())
}

fn bad_size(what: &'static str, size: u32, sizes: &[u32]) -> Error {
    Error::with(error::SL_ERR_STRUCT_SIZE, format!("{what}: size is {size}, this library knows {sizes:?}"))
}

/// Writes an output argument that may be NULL.
///
/// # Safety
/// `target` is NULL or writable.
unsafe fn write_optional<T>(target: *mut T, value: T) {
    if !target.is_null() {
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { target.write_unaligned(value) };
    }
}

fn not_null<T>(pointer: *const T, what: &'static str) -> Result<()> {
    if pointer.is_null() { Err(Error::with(error::SL_ERR_NULL, what)) } else { Ok(()) }
}

/// Copies a string of the caller.
///
/// # Safety
/// `text` is NULL or a string that ends with a NUL byte.
unsafe fn read_string(text: *const c_char, what: &'static str) -> Result<CString> {
    not_null(text, what)?;
    // SAFETY: not NULL, and the caller vouches for the NUL at its end.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len() + 1).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
    copy.extend_from_slice(bytes);
    CString::new(copy).map_err(|_| Error::invalid(what))
}

/// Copies `text` into the caller's buffer with a NUL at its end, cut where it does not fit; answers the length that the
/// whole text has without the NUL.
///
/// # Safety
/// `target` is NULL or points to `capacity` writable bytes.
unsafe fn write_string(text: &str, target: *mut c_char, capacity: usize) -> Result<i32> {
    if capacity > 0 {
        not_null(target, "buffer is NULL but its capacity is not 0")?;
        let length = text.len().min(capacity - 1);
        // SAFETY: `length + 1 <= capacity` bytes of the caller's are written.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), target.cast::<u8>(), length);
            target.add(length).write(0);
        }
    }
    Ok(text.len() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_cross_the_abi() {
        let status = guard(|| panic!("on purpose"));
        assert_eq!(status, error::SL_ERR_INTERNAL);
        // SAFETY: the string is this thread's, and nothing fails between the two calls.
        let message = unsafe { CStr::from_ptr(status::sl_last_error()) };
        assert!(message.to_string_lossy().contains("panicked"), "{message:?}");
    }

    #[test]
    fn an_error_is_remembered_with_its_code() {
        let missing = std::fs::File::open("no/such/file").map(drop).map_err(Error::from);
        let os = missing.clone().unwrap_err().os;
        assert_eq!(guard(|| missing.map(|()| 0)), error::SL_ERR_NOT_FOUND);
        assert_eq!(status::sl_last_os_error(), os);
    }
}
