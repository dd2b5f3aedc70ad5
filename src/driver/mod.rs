//! Drivers carry out primitives, and know nothing else: not operations, not callers.
//!
//! A driver lives on the loop's thread. `submit` hands it a primitive under a token; some turn later `wait` hands back one
//! [`Completion`] with that token: always exactly one that ends it, also after `cancel`; a multishot primitive may have others
//! before that, which say so. This file holds the trait and the one place that chooses.

pub(crate) mod buffers;
mod poll;
#[cfg(target_os = "linux")]
mod uring;
mod workers;

use crate::error::{self, Error, Result};
use crate::sys::{Data, Handle, OpenFlags, Path, Region, StatTarget, Target};
use buffers::{Lent, Pool};
use std::ffi::c_void;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Which primitive a completion belongs to: the index of an operation, which has at most one primitive under way.
pub(crate) type Token = u32;

/// A stream's or listener's place in a driver.
pub(crate) type Key = u32;

/// A function of the caller's for a worker thread.
pub(crate) type WorkFunction = unsafe extern "C" fn(argument: *mut c_void) -> i64;

/// A stream or listener that a driver has attached.
#[derive(Clone)]
pub(crate) struct Socket {
    pub(crate) handle: Arc<Handle>,
    pub(crate) key: Key,
}

/// One thing that the system can do.
pub(crate) enum Primitive {
    Open {
        path: Path,
        flags: OpenFlags,
    },
    Read {
        file: Arc<Handle>,
        into: Target,
        offset: Option<u64>,
    },
    Write {
        file: Arc<Handle>,
        from: Data,
        offset: Option<u64>,
    },
    Sync {
        file: Arc<Handle>,
        data_only: bool,
    },
    Stat {
        file: Arc<Handle>,
        target: StatTarget,
    },
    Truncate {
        file: Arc<Handle>,
        length: u64,
    },
    StatPath {
        path: Path,
        follow: bool,
        target: StatTarget,
    },
    /// Open, read to the end, close.
    ReadPath {
        path: Path,
    },
    /// Open, write all, close.
    WritePath {
        path: Path,
        from: Data,
        flags: OpenFlags,
    },
    Close {
        handle: Handle,
    },
    /// One connection; `multishot`: one after the other, where the driver can.
    Accept {
        listener: Socket,
        #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only io_uring goes on by itself"))]
        multishot: bool,
    },
    Connect {
        stream: Socket,
        address: SocketAddr,
    },
    /// What there is; `multishot`: again and again, where the driver can.
    Receive {
        stream: Socket,
        into: Target,
        #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only io_uring goes on by itself"))]
        multishot: bool,
    },
    Send {
        stream: Socket,
        from: Data,
    },
    Shutdown {
        stream: Socket,
    },
    /// Call a function of the caller's; the region's address is its argument.
    Work {
        function: WorkFunction,
        argument: Region,
    },
}

/// What a primitive gave.
pub(crate) enum Value {
    Nothing,
    /// Nothing yet: ask the operation again what it needs.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only io_uring says so"))]
    Again,
    /// No lent buffer could be had now: there must be room for this many bytes first.
    Starved(u64),
    Count(usize),
    Lent(Lent),
    Opened(Handle),
    Number(i64),
}

/// The end of a primitive.
pub(crate) struct Completion {
    pub(crate) token: Token,
    pub(crate) result: Result<Value>,
    /// Where it failed: how many bytes were done before.
    pub(crate) done: u64,
    /// The primitive goes on: more completions of it will come.
    pub(crate) more: bool,
}

/// What the engine asks of a driver. All on the loop's thread.
pub(crate) trait Driver: Send {
    /// Makes a stream or listener known. It stays attached until `detach`, and open as long.
    fn attach(&mut self, handle: &Arc<Handle>) -> Key;

    /// Forgets one. Nothing may be under way on it.
    fn detach(&mut self, key: Key);

    /// Makes room to keep track of a token, so that nothing that is begun under it can fail for want of memory.
    fn reserve(&mut self, token: Token) -> Result<()>;

    /// Begins a primitive. It never blocks; what ends at once is handed out by the next `wait`.
    fn submit(&mut self, token: Token, primitive: Primitive);

    /// Asks a primitive to end early. It completes as cancelled or with its real result.
    fn cancel(&mut self, token: Token);

    /// Hands out what has completed. Where that is nothing, sleeps until something does, somebody uses the waker, or
    /// `timeout` has passed.
    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()>;

    /// Whether steps on a file cost no thread, so that a whole file is better read in steps than by one job.
    fn steps_are_cheap(&self) -> bool {
        false
    }

    /// How many worker threads there are.
    fn workers(&self) -> u32;

    /// Whether another driver can take over where `wait` has failed.
    fn is_replaceable(&self) -> bool {
        false
    }

    /// Gives all that is under way to another driver, and hands out what has completed or must be begun anew. On another
    /// thread, after the loop's own has ended.
    fn replace(self: Box<Self>) -> Result<(Box<dyn Driver>, Vec<Completion>)> {
        Err(Error::new(error::SL_ERR_INTERNAL))
    }
}

/// Wakes the loop's thread, and only where it sleeps.
pub(crate) struct Waker {
    asleep: AtomicBool,
    wakes: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Waker {
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Waker { asleep: AtomicBool::new(false), wakes: AtomicU64::new(0), wake: Box::new(wake) })
    }

    /// The loop's thread is about to sleep, and will look once more for work before it does.
    pub(crate) fn falls_asleep(&self) {
        // Both sides swap: whoever comes second sees what the first did before its swap. So either the loop sees the work, or
        // the one that brought it sees the loop asleep.
        self.asleep.swap(true, Ordering::SeqCst);
    }

    /// The loop's thread is up.
    pub(crate) fn is_up(&self) {
        self.asleep.swap(false, Ordering::SeqCst);
    }

    /// There is work, put before this call where the loop's thread looks for it.
    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            (self.wake)();
        }
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }
}

/// What a driver is made with.
#[derive(Clone)]
pub(crate) struct DriverSettings {
    pub(crate) max_file_threads: u32,
    pub(crate) max_work_threads: u32,
    /// What the driver's threads are to be marked with, see `thread_mark`.
    pub(crate) mark: u64,
    pub(crate) buffers: Arc<Pool>,
}

/// Which driver is wanted, or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DriverChoice {
    /// The fastest that works.
    Auto = 0,
    /// mio and a worker pool.
    Poll = 1,
    /// io_uring.
    Uring = 2,
}

impl DriverChoice {
    /// The choice that an SL_DRIVER_... number names.
    pub(crate) fn from_number(number: u32) -> Result<Self> {
        Ok(match number {
            0 => DriverChoice::Auto,
            1 => DriverChoice::Poll,
            2 => DriverChoice::Uring,
            _ => return Err(Error::invalid(format!("options: driver is {number}, not one of SL_DRIVER_..."))),
        })
    }
}

/// A driver, on the loop's thread.
pub(crate) struct Chosen {
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) kind: DriverChoice,
    pub(crate) reason: String,
}

/// Chooses and opens a driver. This is the only place that knows which there are.
pub(crate) fn choose(wanted: DriverChoice, settings: DriverSettings) -> Result<Chosen> {
    let (wanted, who) = match wanted {
        DriverChoice::Auto => from_environment()?,
        other => (other, "the loop's options"),
    };
    let reason = match wanted {
        DriverChoice::Poll => format!("poll, chosen by {who}"),
        DriverChoice::Auto | DriverChoice::Uring => match open_uring(settings.clone()) {
            Ok((driver, waker)) => {
                let reason = match wanted {
                    DriverChoice::Auto => "uring, the fastest that works here".to_owned(),
                    _ => format!("uring, chosen by {who}"),
                };
                return Ok(Chosen { driver, waker, kind: DriverChoice::Uring, reason });
            }
            Err(error) => match wanted {
                DriverChoice::Auto => format!("poll, because {}", error.detail),
                _ => format!("poll, though {who} asked for uring, because {}", error.detail),
            },
        },
    };
    let (driver, waker) = poll::PollDriver::open(settings)?;
    Ok(Chosen { driver: Box::new(driver), waker, kind: DriverChoice::Poll, reason })
}

type Opened = (Box<dyn Driver>, Arc<Waker>);

#[cfg(target_os = "linux")]
fn open_uring(settings: DriverSettings) -> Result<Opened> {
    let (driver, waker) = uring::UringDriver::open(settings)?;
    Ok((Box::new(driver), waker))
}

#[cfg(not(target_os = "linux"))]
fn open_uring(_: DriverSettings) -> Result<Opened> {
    Err(Error::with(error::SL_ERR_UNSUPPORTED, "this is not Linux"))
}

/// The environment's wish, for loops that have none of their own.
fn from_environment() -> Result<(DriverChoice, &'static str)> {
    const NAME: &str = "SIDELOOP_DRIVER";
    let choice = match std::env::var(NAME).as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("" | "auto") => DriverChoice::Auto,
        Ok("poll") => DriverChoice::Poll,
        Ok("uring") => DriverChoice::Uring,
        other => {
            return Err(Error::invalid(format!("the environment's {NAME} is {other:?}, not auto, poll or uring")));
        }
    };
    Ok((choice, NAME))
}

/// Makes a vector at least so long that `index` lies in it; grows by an eighth, so that little is made in vain.
pub(crate) fn reach<T: Default>(vector: &mut Vec<T>, index: u32) -> Result<()> {
    let wanted = index as usize + 1;
    if wanted > vector.len() {
        let more = (wanted - vector.len()).max(vector.len() / 8).max(64);
        vector.try_reserve_exact(more).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        vector.resize_with(vector.capacity(), T::default);
    }
    Ok(())
}

pub(crate) fn cancelled() -> Error {
    Error::new(error::SL_ERR_CANCELLED)
}
