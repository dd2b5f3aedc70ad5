//! Drivers carry out primitives, and know nothing else: not operations, not callers.
//!
//! A driver lives on the loop's thread. `submit` hands it a primitive under a token; some turn later `wait` hands back one
//! [`Completion`] with that token: always exactly one that ends it, also after `cancel`; a multishot primitive may have others
//! before that, which say so. This file holds the trait and the one place that chooses.

mod agenda;
pub(crate) mod buffers;
mod dice;
mod faults;
mod poll;
mod sim;
#[cfg(target_os = "linux")]
mod uring;
mod workers;

use crate::clock::Clock;
use crate::error::{self, Error, Result};
use crate::headroom;
use crate::lock::AtomicBool;
use crate::sys::{self, Data, EntryPacker, Handle, LinkKind, OpenFlags, Path, Region, StatTarget, Target};
use buffers::{Lent, Pool};
use faults::Plan;
use std::ffi::c_void;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Make the file that is to take the place of another, where there is one: see `sys::open_replacement`.
    OpenReplacement {
        path: Path,
        of: Path,
        mode: u32,
    },
    /// At most so many bytes, from one file to the other, at their current positions.
    Copy {
        from: Arc<Handle>,
        to: Arc<Handle>,
        length: usize,
    },
    Remove {
        path: Path,
        directory: bool,
    },
    Rename {
        from: Path,
        to: Path,
        replace: bool,
    },
    MakeDirectory {
        path: Path,
        mode: u32,
    },
    Link {
        from: Path,
        to: Path,
        kind: LinkKind,
    },
    ReadLink {
        path: Path,
    },
    ListPath {
        path: Path,
        pack: EntryPacker,
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

    /// Whether whole files are to be read and written in steps, each of them by way of the driver, so that each can go wrong there.
    fn judges_steps(&self) -> bool {
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
    pub(crate) clock: Clock,
    /// Where faults are counted.
    pub(crate) faults: Arc<AtomicU64>,
}

#[cfg(test)]
impl DriverSettings {
    /// For a driver that has no engine.
    fn alone() -> Self {
        DriverSettings {
            max_file_threads: 1,
            max_work_threads: 1,
            mark: 0,
            buffers: Pool::new(512, 1 << 20),
            clock: Clock::default(),
            faults: Arc::default(),
        }
    }
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
    /// A simulation.
    Sim = 3,
}

impl DriverChoice {
    /// The choice that an SL_DRIVER_... number names.
    pub(crate) fn from_number(number: u32) -> Result<Self> {
        Ok(match number {
            0 => DriverChoice::Auto,
            1 => DriverChoice::Poll,
            2 => DriverChoice::Uring,
            3 => DriverChoice::Sim,
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

/// What a loop's options and the environment ask for. Made on the caller's thread.
pub(crate) struct Wish {
    choice: DriverChoice,
    /// Who chose it.
    who: &'static str,
    plan: Plan,
    /// What the chance in a simulation or a fault plan begins with.
    pub(crate) seed: u64,
}

impl Wish {
    /// `choice`: Auto leaves it to the environment, and so do a `seed` of 0 and no `faults`.
    pub(crate) fn new(choice: DriverChoice, seed: u64, faults: Option<&str>) -> Result<Self> {
        let (choice, who) = match choice {
            DriverChoice::Auto => {
                (from_environment("SIDELOOP_DRIVER", parse_driver)?.unwrap_or(choice), "SIDELOOP_DRIVER")
            }
            other => (other, "the loop's options"),
        };
        let plan = match faults {
            Some(text) => Plan::parse(text)?,
            None => from_environment("SIDELOOP_FAULTS", Plan::parse)?.unwrap_or_default(),
        };
        let seed = match seed {
            0 => from_environment("SIDELOOP_SEED", parse_seed)?.unwrap_or_else(random_seed),
            seed => seed,
        };
        Ok(Wish { choice, who, plan, seed })
    }

    pub(crate) fn is_simulation(&self) -> bool {
        self.choice == DriverChoice::Sim
    }

    /// Whether everything is to go by way of the driver, so that it can go wrong there.
    pub(crate) fn wants_all(&self) -> bool {
        self.is_simulation() || !self.plan.is_empty()
    }
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // 0 stands for none.
    RandomState::new().hash_one(0).max(1)
}

/// What the environment says, for loops whose options leave it open. A program with more rights than whoever started it does not
/// listen: that one could have its I/O fail.
fn from_environment<T>(name: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    if sys::is_privileged() {
        return Ok(None);
    }
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let named = |error: Error| Error { detail: format!("the environment's {name}: {}", error.detail).into(), ..error };
    let text = text.to_str().ok_or_else(|| named(Error::invalid("it is not Unicode")))?;
    parse(text).map(Some).map_err(named)
}

fn parse_driver(text: &str) -> Result<DriverChoice> {
    Ok(match text {
        "auto" => DriverChoice::Auto,
        "poll" => DriverChoice::Poll,
        "uring" => DriverChoice::Uring,
        "sim" => DriverChoice::Sim,
        other => return Err(Error::invalid(format!("{other:?} is not auto, poll, uring or sim"))),
    })
}

fn parse_seed(text: &str) -> Result<u64> {
    let seed = text.parse().ok().filter(|seed| *seed > 0);
    seed.ok_or_else(|| Error::invalid(format!("{text:?} is not a whole number from 1 to 2^64 - 1")))
}

/// Chooses and opens a driver. This is the only place that knows which there are.
pub(crate) fn choose(wish: Wish, settings: DriverSettings) -> Result<Chosen> {
    let Wish { choice, who, plan, seed } = wish;
    let same = settings.clone();
    let mut chosen = match choice {
        DriverChoice::Sim => {
            let (driver, waker) = sim::SimDriver::open(settings, seed)?;
            Chosen { driver: Box::new(driver), waker, kind: DriverChoice::Sim, reason: format!("sim, chosen by {who}") }
        }
        DriverChoice::Poll => open_poll(settings, format!("poll, chosen by {who}"))?,
        DriverChoice::Auto | DriverChoice::Uring => match open_uring(settings.clone()) {
            Ok((driver, waker)) => {
                let reason = match choice {
                    DriverChoice::Auto => "uring, the fastest that works here".to_owned(),
                    _ => format!("uring, chosen by {who}"),
                };
                Chosen { driver, waker, kind: DriverChoice::Uring, reason }
            }
            Err(error) => open_poll(
                settings,
                match choice {
                    DriverChoice::Auto => format!("poll, because {}", error.detail),
                    _ => format!("poll, though {who} asked for uring, because {}", error.detail),
                },
            )?,
        },
    };
    if choice == DriverChoice::Sim || !plan.is_empty() {
        chosen.reason.push_str(&format!(", seed {seed}"));
    }
    if !plan.is_empty() {
        chosen.reason.push_str(", with faults");
        chosen.driver = Box::new(faults::FaultyDriver::new(chosen.driver, plan, seed, same));
    }
    Ok(chosen)
}

fn open_poll(settings: DriverSettings, reason: String) -> Result<Chosen> {
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

/// Stands where a driver was that is gone.
pub(crate) struct Gone;

impl Driver for Gone {
    fn attach(&mut self, _: &Arc<Handle>) -> u32 {
        0
    }
    fn detach(&mut self, _: u32) {}
    fn reserve(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
    fn submit(&mut self, _: u32, _: Primitive) {}
    fn cancel(&mut self, _: u32) {}
    fn wait(&mut self, _: Option<Duration>, _: &mut Vec<Completion>) -> Result<()> {
        Ok(())
    }
    fn workers(&self) -> u32 {
        0
    }
}

/// Makes a vector at least so long that `index` lies in it; grows by an eighth, so that little is made in vain.
pub(crate) fn reach<T: Default>(vector: &mut Vec<T>, index: u32) -> Result<()> {
    let wanted = index as usize + 1;
    if wanted > vector.len() {
        let more = (wanted - vector.len()).max(vector.len() / 8).max(64);
        vector.try_reserve_exact(more).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        headroom::check()?;
        vector.resize_with(vector.capacity(), T::default);
    }
    Ok(())
}

pub(crate) fn cancelled() -> Error {
    Error::new(error::SL_ERR_CANCELLED)
}
