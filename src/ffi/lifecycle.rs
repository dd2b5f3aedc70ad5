//! Loops
//!
//! A loop is one thread that carries out operations. A process may have up to 256 open at a time; they share nothing.
//!
//! # Faults
//!
//! To see how a program takes bad I/O, give its loop a fault plan: sl_loop_options.faults, or the environment variable SIDELOOP_FAULTS,
//! which needs no change of the program. A plan is a list of rules, separated by semicolons; a rule names kinds of operations, and
//! behind a colon what is to befall them:
//!
//! ```text
//! read, write: EIO@0.01 short@0.3; all: delay=5ms@0.1; accept: EMFILE#3
//! ```
//!
//! The kinds are open, read, write, sync, stat, truncate, close, accept, connect, receive, send, shutdown, work, copy,
//! remove, rename, make_directory, link, read_link, list, and all. What befalls them: the name of a system's error (EIO,
//! ENOSPC, ECONNRESET and the like), with which the operation ends without having been carried out; `error`, which is any
//! one that the kind may give; `short`, a read or write that moves fewer bytes than it could; `delay=...`, a beginning that
//! much later at most (ns, us, ms, s). @ gives a probability from 0 to 1, and # the number of the one time that it happens,
//! counted from 1 for each rule; without either it is always. Whole-file operations count as what they are made of. With a
//! plan, nothing is carried out on the submitting thread. sl_counters.faults counts.
//!
//! # Simulated loops
//!
//! A loop with SL_DRIVER_SIM works on the same files and sockets as any other, but looks for the program's weak points: completions come
//! in every order that is allowed, transfers are cut short, buffers are kept for long, cancels come too late, all by chance from a seed
//! that brings it all back (fault plans may add errors). Its time, by which timers, deadlines and timeouts go, stands still while
//! anything can be done, and then jumps: a test of an hour's timeout takes microseconds.
//!
//! A simulated loop has no thread: it goes on while some thread is in sl_poll, sl_wait, sl_dispatch, sl_op_poll, sl_op_wait,
//! sl_op_status or sl_loop_close, and callbacks and functions given to sl_work run there. As long as only one thread uses it, the
//! same seed and the same calls give the same events in the same order. Once two threads
//! wait at a time, or the wake descriptor is asked for, it gets a thread, and with it chance from outside. Sockets whose other end is not in the same program may look slower than they are, since
//! simulated time does not wait for them.

use super::status::Status;
use super::{Versioned, guard, not_null, read_optional, read_string, write_string, write_versioned};
pub use crate::engine::counters::{Counters, Loop};
use crate::engine::{self, Engine, Settings, registry};
use crate::error::{Error, Result};
use std::ffi::c_char;
use std::mem::offset_of;

/// A descriptor of the operating system: a file descriptor on Unix; on Windows a HANDLE (files) or a SOCKET (streams,
/// listeners, the wake descriptor).
pub type Descriptor = isize;

/// A timeout that never ends.
pub const SL_FOREVER: u64 = u64::MAX;

/// The driver is chosen by the environment variable SIDELOOP_DRIVER ("auto", "poll", "uring" or "sim") or, without it, is the
/// fastest that works here. (A program with more rights than whoever started it, such as a set-user-ID one, reads none of the
/// environment variables.)
pub const SL_DRIVER_AUTO: u32 = 0;
/// Readiness (epoll, kqueue, AFD) with a pool of threads for files. Works on every platform.
pub const SL_DRIVER_POLL: u32 = 1;
/// io_uring (Linux). Where it cannot be had, the loop runs on SL_DRIVER_POLL and sl_loop_driver says why.
pub const SL_DRIVER_URING: u32 = 2;

/// A simulation, for tests: the same operations on the same files and sockets, but their order, their delays, short transfers and
/// whether a cancel comes in time are decided by chance from sl_loop_options.seed, in a time of its own: see "Simulated loops".
pub const SL_DRIVER_SIM: u32 = 3;

/// The wake descriptor shall be a socket, for programs that can only wait for sockets. (On Windows it always is one.)
pub const SL_LOOP_WAKE_SOCKET: u32 = 1;
/// No operation of this loop is carried out on the thread that submits it: see "Submitting". For threads that must get back to
/// their own work at once, like that of a user interface.
pub const SL_LOOP_NO_INLINE: u32 = 2;

/// How a loop is to be. Set `size` to sizeof(sl_loop_options); leave what you do not care about 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LoopOptions {
    /// sizeof(sl_loop_options).
    pub size: u32,
    /// One of SL_DRIVER_....
    pub driver: u32,
    /// SL_LOOP_... bits.
    pub flags: u32,
    /// How many operations may be accepted whose last event is not taken yet: 1 to 4194304; 0 means 65536. Beyond it,
    /// submissions are refused with SL_ERR_AGAIN.
    pub max_operations: u32,
    /// How many SL_EVENT_MORE events (accepted connections, received pieces) may wait to be taken: 1 to 1048576; 0 means
    /// 4096. Beyond it, multishot operations pause until you take some; a timer counts its ticks meanwhile.
    pub max_unclaimed: u32,
    /// How many files, streams and listeners may be open in this loop: 1 to 4194304; 0 means 1048576.
    pub max_resources: u32,
    /// How many threads may do blocking file work: 1 to 256; 0 means 4. Started when needed.
    pub max_file_threads: u32,
    /// How many threads may run functions given to sl_work: 1 to 256; 0 means one per processor. Started when needed.
    pub max_work_threads: u32,
    /// How many bytes a lent receive buffer holds: 512 to 16777216; 0 means 16384.
    pub receive_buffer_size: u32,
    /// For how many microseconds a thread may look for what it waits for, awake, before it sleeps: the loop's for work, and those
    /// in sl_wait for events. 0 to 1000000; 0, the default, makes them sleep at once. It saves system calls and the time of
    /// waking, and costs processor time. They look only while what came lately came that soon: an idle loop still costs nothing.
    pub spin_us: u32,
    /// How many bytes of lent buffers may be out at a time: 0 means 268435456 (256 MiB). Beyond it, operations that need a
    /// lent buffer wait until one is released.
    pub max_lent_bytes: u64,
    /// What chance begins with, in a simulated loop and in a fault plan: the same seed, the same chance. 0 means the environment
    /// variable SIDELOOP_SEED or, without it, any; sl_loop_driver says which it was.
    pub seed: u64,
    /// A fault plan, as a string: see "Faults". NULL means the environment variable SIDELOOP_FAULTS or, without it, no faults; the
    /// empty string means none. Copied before the call returns.
    pub faults: *const c_char,
}

// SAFETY: repr(C), starts with its size, integers and a pointer that may be NULL.
unsafe impl Versioned for LoopOptions {
    const SIZES: &'static [u32] = &[offset_of!(LoopOptions, seed) as u32, size_of::<Self>() as u32];
}

// SAFETY: repr(C), starts with its size, integers only.
unsafe impl Versioned for Counters {
    const SIZES: &'static [u32] = &[offset_of!(Counters, faults) as u32, size_of::<Self>() as u32];
}

/// Opens a loop and starts its thread.
///
/// options: NULL for the defaults; read before the call returns. loop: receives the id. Close it with sl_loop_close.
///
/// Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID (which option is in sl_last_error), SL_ERR_STRUCT_SIZE, SL_ERR_AGAIN (256
/// loops are open), SL_ERR_TOO_MANY_FILES, SL_ERR_NO_MEMORY, and others of the system.
///
/// # Safety
/// `options` is NULL or a valid structure, `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_loop_open(options: *const LoopOptions, r#loop: *mut Loop) -> Status {
    guard(|| {
        not_null(r#loop, "loop")?;
        // SAFETY: all-zero is a valid value of this structure: integers, and a pointer that may be NULL.
        let default = unsafe { std::mem::zeroed::<LoopOptions>() };
        // SAFETY: the caller vouches for `options`.
        let options = unsafe { read_optional(options, "options", default) }?;
        // SAFETY: as above.
        let id = registry::open(unsafe { settings(&options) }?)?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { r#loop.write_unaligned(id) };
        Ok(0)
    })
}

/// Begins to shut a loop down, without waiting: nothing new is accepted (SL_ERR_SHUT_DOWN), every operation ends, as
/// cancelled where it has not already succeeded, and every resource closes. You can still take the events; when the
/// last is taken, sl_wait returns SL_ERR_SHUT_DOWN. Then sl_loop_close.
///
/// Any thread, also in callbacks. Calling it again is fine. Errors: those of the id.
#[unsafe(no_mangle)]
pub extern "C" fn sl_loop_shutdown(r#loop: Loop) -> Status {
    guard(|| {
        engine(r#loop)?.shut_down();
        Ok(0)
    })
}

/// Closes a loop: shuts it down, waits until its operations have ended and its threads are gone, and discards the events
/// that nobody took. When it returns 0 or more, no memory of yours is touched any more, no callback will begin (one that another thread
/// runs in sl_dispatch just now is not waited for), and the
/// loop's ids and lent buffers are dead. Threads that wait in sl_wait and the like return SL_ERR_SHUT_DOWN or SL_ERR_STALE.
///
/// timeout_ns: how long to wait; SL_FOREVER is usual. What cannot be interrupted (a function given to sl_work, a read from
/// a disk that hangs) must end first.
///
/// Returns how many operations' last events were discarded. Any thread but the loop's own. Errors: SL_ERR_DEADLOCK on a
/// thread of this loop, SL_ERR_TIMED_OUT (the loop stays shut down; call again), those of the id.
#[unsafe(no_mangle)]
pub extern "C" fn sl_loop_close(r#loop: Loop, timeout_ns: u64) -> Status {
    guard(|| registry::close(r#loop, timeout_ns).map(|discarded| discarded.min(i32::MAX as u64) as i32))
}

/// Says which driver the loop runs on now (io_uring may be taken away from a program at any time; its loops then go on with
/// SL_DRIVER_POLL): returns SL_DRIVER_POLL, SL_DRIVER_URING or SL_DRIVER_SIM, and writes the reason for the choice as a
/// sentence into `reason` (at most `capacity` bytes with the NUL at the end, cut where it does not fit). reason may be NULL
/// when capacity is 0.
///
/// Any thread. Errors: those of the id, SL_ERR_NULL.
///
/// # Safety
/// `reason` points to `capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_loop_driver(r#loop: Loop, reason: *mut c_char, capacity: usize) -> Status {
    guard(|| {
        let engine = engine(r#loop)?;
        let (kind, why) = engine.driver();
        // SAFETY: the caller vouches for the buffer.
        unsafe { write_string(&why, reason, capacity) }?;
        Ok(kind as i32)
    })
}

/// Reads the loop's counters. Each is exact; together they are a snapshot only while the loop is at rest.
///
/// counters: set its `size` first. Any thread. Errors: those of the id, SL_ERR_NULL, SL_ERR_STRUCT_SIZE.
///
/// # Safety
/// `counters` is NULL or a valid structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_loop_counters(r#loop: Loop, counters: *mut Counters) -> Status {
    guard(|| {
        let engine = engine(r#loop)?;
        // SAFETY: the caller vouches for `counters`.
        unsafe { write_versioned(counters, "counters", engine.counters()) }?;
        Ok(0)
    })
}

/// Gives the wake descriptor: readable exactly while events wait for sl_poll, sl_wait or sl_dispatch. Put it into the
/// poll, epoll, kqueue, select or GUI loop that you have, and call sl_poll or sl_dispatch when it is readable.
/// Do not read from it, write to it or close it: sideloop keeps it true.
///
/// It belongs to the loop and dies with it. Made at the first call; the same every time. Any thread. Errors: those of the
/// id, SL_ERR_NULL, SL_ERR_TOO_MANY_FILES.
///
/// # Safety
/// `descriptor` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_loop_wake_descriptor(r#loop: Loop, descriptor: *mut Descriptor) -> Status {
    guard(|| {
        let engine = engine(r#loop)?;
        not_null(descriptor, "descriptor")?;
        let wake = engine.wake_descriptor()?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { descriptor.write_unaligned(wake) };
        Ok(0)
    })
}

/// The engine that a loop's id names.
pub(super) fn engine(id: Loop) -> Result<std::sync::Arc<Engine>> {
    registry::find_loop(id)
}

/// The settings that options ask for.
///
/// # Safety
/// The strings in `options` are valid or NULL.
unsafe fn settings(options: &LoopOptions) -> Result<Settings> {
    let ranged = |name: &'static str, value: u32, low: u32, high: u32, default: u32| match value {
        0 => Ok(default),
        v if (low..=high).contains(&v) => Ok(v),
        v => Err(Error::invalid(format!("options: {name} is {v}, not 0 or {low} to {high}"))),
    };
    if options.flags & !(SL_LOOP_WAKE_SOCKET | SL_LOOP_NO_INLINE) != 0 {
        return Err(Error::invalid(format!("options: flags {:#x} has unknown bits", options.flags)));
    }
    let faults = if options.faults.is_null() {
        None
    } else {
        // SAFETY: not NULL, and the caller vouches for it.
        let text = unsafe { read_string(options.faults, "options: faults") }?;
        Some(text.into_string().map_err(|_| Error::invalid("options: faults is not UTF-8"))?)
    };
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get().min(256) as u32);
    Ok(Settings {
        driver: engine::DriverChoice::from_number(options.driver)?,
        seed: options.seed,
        faults,
        wake_socket: options.flags & SL_LOOP_WAKE_SOCKET != 0,
        inline: options.flags & SL_LOOP_NO_INLINE == 0,
        spin_ns: u64::from(ranged("spin_us", options.spin_us, 1, 1_000_000, 0)?) * 1000,
        max_operations: ranged("max_operations", options.max_operations, 1, 1 << 22, 65_536)?,
        max_unclaimed: ranged("max_unclaimed", options.max_unclaimed, 1, 1 << 20, 4096)?,
        max_resources: ranged("max_resources", options.max_resources, 1, 1 << 22, 1 << 20)?,
        max_file_threads: ranged("max_file_threads", options.max_file_threads, 1, 256, 4)?,
        max_work_threads: ranged("max_work_threads", options.max_work_threads, 1, 256, processors)?,
        receive_buffer_size: ranged("receive_buffer_size", options.receive_buffer_size, 512, 1 << 24, 16_384)?,
        max_lent_bytes: if options.max_lent_bytes == 0 { 256 << 20 } else { options.max_lent_bytes },
    })
}
