//! Events, as callers see them, and how each is delivered.

use super::counters::Loop;
use crate::error::{self, Error, Result};
use std::ffi::c_void;

/// The id of an operation.
pub type Op = u64;

/// More events of this operation will follow.
pub const SL_EVENT_MORE: u16 = 1;
/// `data` points to `result` bytes that the library lends, and `detail` is the sl_buffer to give to sl_buffer_release.
pub const SL_EVENT_LENT: u16 = 2;
/// The operation failed part-way: `result` is the error, `detail` the number of bytes that were done before it.
pub const SL_EVENT_PARTIAL: u16 = 4;

/// The event goes to the loop's queue: sl_poll, sl_wait.
pub const SL_DELIVER_QUEUE: u32 = 0;
/// The event stays with the operation: sl_op_poll, sl_op_wait. Not for multishot operations.
pub const SL_DELIVER_HANDLE: u32 = 1;
/// The callback runs inside sl_dispatch, on the thread that calls it.
pub const SL_DELIVER_DISPATCH: u32 = 2;
/// The callback runs on the loop's thread. It must not block; it may submit, cancel and close.
pub const SL_DELIVER_THREAD: u32 = 3;

/// What an operation has to say: 48 bytes, or 44 where pointers have 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What the submission gave as sl_options.user_data.
    pub user_data: u64,
    /// 0 or more: what the function that submitted it promises (a count of bytes, an id, ...); negative: an SL_ERR_....
    pub result: i64,
    /// The operation. With its last event taken, its id is stale.
    pub op: Op,
    /// A second number, as `flags` says: SL_EVENT_LENT: the lent buffer; SL_EVENT_PARTIAL: bytes done; else 0.
    pub detail: u64,
    /// What kind of operation: SL_FILE_READ, SL_TCP_ACCEPT, ....
    pub kind: u16,
    /// SL_EVENT_... bits.
    pub flags: u16,
    /// The system's own code where `result` is an error that the system gave; else 0.
    pub os_error: i32,
    /// The lent bytes (SL_EVENT_LENT), else NULL. Yours until sl_buffer_release or the end of the loop.
    pub data: *mut c_void,
}

impl Default for Event {
    fn default() -> Self {
        let data = std::ptr::null_mut();
        Event { user_data: 0, result: 0, op: 0, detail: 0, kind: 0, flags: 0, os_error: 0, data }
    }
}

impl Event {
    /// Makes it tell of an error, and of the bytes that were done before it.
    pub(crate) fn fail(&mut self, error: &Error, done: u64) {
        self.result = i64::from(error.status);
        self.os_error = error.os;
        if done > 0 {
            self.detail = done;
            self.flags |= SL_EVENT_PARTIAL;
        }
    }

    /// Makes it carry a lent buffer.
    pub(crate) fn lend(&mut self, length: usize, data: *mut u8, buffer: u64) {
        self.result = length as i64;
        self.data = data.cast();
        self.detail = buffer;
        self.flags |= SL_EVENT_LENT;
    }
}

// SAFETY: `data` is an address in lent memory that belongs to whoever holds the event; any thread may use it.
unsafe impl Send for Event {}

/// A callback. event: valid during the call only. Runs with none of the library's locks held, so that it may call any
/// function of this header. It must return normally: no longjmp, no C++ exception.
pub type Callback = Option<unsafe extern "C" fn(r#loop: Loop, event: *const Event)>;

/// How an operation's events reach the caller.
#[derive(Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) route: Route,
    /// What is called, for the last two routes.
    pub(crate) callback: Option<CallbackFunction>,
}

/// The way of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The loop's queue.
    Queue,
    /// With the operation.
    Handle,
    /// A callback in sl_dispatch.
    Dispatch,
    /// A callback on the loop's thread.
    Thread,
}

/// A callback of the caller's.
#[derive(Clone, Copy, Debug)]
pub struct CallbackFunction(unsafe extern "C" fn(Loop, *const Event));

impl CallbackFunction {
    /// Calls it. No lock of the library's is held.
    pub(crate) fn run(self, r#loop: Loop, event: &Event) {
        // SAFETY: whoever submitted the operation vouched for the callback as a function of this type; the event is valid
        // during the call.
        unsafe { (self.0)(r#loop, event) }
    }
}

impl Delivery {
    /// The delivery that an SL_DELIVER_... number and a callback name.
    pub(crate) fn from_parts(number: u32, callback: Callback) -> Result<Self> {
        let route = match number {
            SL_DELIVER_QUEUE => Route::Queue,
            SL_DELIVER_HANDLE => Route::Handle,
            SL_DELIVER_DISPATCH => Route::Dispatch,
            SL_DELIVER_THREAD => Route::Thread,
            _ => return Err(Error::invalid(format!("options: delivery is {number}, not one of SL_DELIVER_..."))),
        };
        let callback = callback.map(CallbackFunction);
        match (route, callback) {
            (Route::Queue | Route::Handle, Some(_)) => Err(Error::invalid("options: this delivery takes no callback")),
            (Route::Dispatch | Route::Thread, None) => {
                Err(Error::with(error::SL_ERR_NULL, "options: callback is NULL"))
            }
            _ => Ok(Delivery { route, callback }),
        }
    }
}
