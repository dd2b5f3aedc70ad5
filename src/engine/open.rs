//! How a loop begins. On the caller's thread, until the loop's own has its driver.

use super::core::Stepping;
use super::counters::Tally;
use super::queue::Queue;
use super::stepped::Stepped;
use super::{Engine, Inbox, Settings, core};
use crate::clock::{self, Clock};
use crate::driver::buffers::Pool;
use crate::driver::{self, Chosen, DriverChoice, DriverSettings, Waker, Wish};
use crate::error::{self, Error, Result};
use crate::lock::{self, AtomicBool, HandOver, Mutex, RwLock};
use crate::sys;
use crate::table::{Id, Table};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// How a driver is opened, on the thread that it is going to run on.
type Open = Box<dyn FnOnce() -> Result<Chosen> + Send>;

impl Engine {
    /// Starts a loop.
    pub(super) fn start(id: Id, settings: Settings) -> Result<Arc<Engine>> {
        let wish = Wish::new(settings.driver, settings.seed, settings.faults.as_deref())?;
        let (simulated, seed) = (wish.is_simulation(), wish.seed);
        let shared = Shared {
            pool: Pool::new(settings.receive_buffer_size as usize, settings.max_lent_bytes),
            clock: if simulated { Clock::simulated() } else { Clock::default() },
            faults: Arc::default(),
            inline: settings.inline && !wish.wants_all(),
            generations: if simulated { seed as u32 } else { random_generation() },
        };
        let driver_settings = DriverSettings {
            max_file_threads: settings.max_file_threads,
            max_work_threads: settings.max_work_threads,
            mark: id.to_bits(),
            buffers: shared.pool.clone(),
            clock: shared.clock.clone(),
            faults: shared.faults.clone(),
        };
        let open = Box::new(move || driver::choose(wish, driver_settings));
        if simulated {
            Engine::start_stepped(id, &settings, shared, open)
        } else {
            Engine::start_on(id, &settings, shared, open)
        }
    }

    /// Starts the loop's thread, which opens its driver: to the kernel, a ring belongs to the thread that made it, and closing it
    /// would interrupt the system calls of that thread.
    pub(super) fn start_on(id: Id, settings: &Settings, shared: Shared, open: Open) -> Result<Arc<Engine>> {
        let opened = Arc::new(HandOver::new());
        let given = Arc::new(HandOver::<Arc<Engine>>::new());
        let (tell, receive) = (opened.clone(), given.clone());
        let spin_ns = settings.spin_ns;
        let thread = sys::spawn_thread("sideloop", move || {
            let chosen = catch_unwind(AssertUnwindSafe(open))
                .unwrap_or_else(|_| Err(Error::with(error::SL_ERR_INTERNAL, "opening the driver panicked")));
            match chosen {
                Ok(Chosen { driver, waker, kind, reason }) => {
                    tell.give(Ok((waker, (kind, reason))));
                    core::run(receive.wait(), driver, spin_ns);
                }
                Err(error) => tell.give(Err(error)),
            }
        })
        .map_err(|error| Error {
            detail: format!("starting the loop's thread: {error}").into(),
            ..Error::from(error)
        })?;
        match opened.wait() {
            Ok((waker, driver)) => {
                let engine = Arc::new(Engine::new(id, settings, shared, waker, driver));
                *engine.thread.lock() = Some(thread);
                given.give(engine.clone());
                Ok(engine)
            }
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Starts a loop without a thread.
    fn start_stepped(id: Id, settings: &Settings, shared: Shared, open: Open) -> Result<Arc<Engine>> {
        let Chosen { driver, waker, kind, reason } = open()?;
        let engine = Arc::new(Engine::new(id, settings, shared, waker, (kind, reason)));
        engine.stepped.hold(Stepping::new(engine.clone(), driver));
        Ok(engine)
    }

    pub(super) fn new(
        id: Id,
        settings: &Settings,
        shared: Shared,
        waker: Arc<Waker>,
        driver: (DriverChoice, String),
    ) -> Self {
        let Shared { pool, clock, faults, inline, generations } = shared;
        Engine {
            id,
            ops: Table::new(settings.max_operations, generations),
            resources: Table::new(settings.max_resources, generations),
            buffers: Table::new(u32::MAX, generations),
            pool,
            inbox: Mutex::new(Inbox::default()),
            asked: AtomicBool::new(false),
            gate: RwLock::new(false),
            inline,
            waker,
            queue: Queue::new(settings.spin_ns),
            op_ended: Default::default(),
            tally: Tally::default(),
            unclaimed: lock::AtomicU64::new(0),
            max_unclaimed: u64::from(settings.max_unclaimed),
            paused: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            deliveries: AtomicU64::new(0),
            wake_socket: settings.wake_socket,
            driver: Mutex::new(driver),
            stepped: Stepped::new(clock.is_simulated()),
            clock,
            faults,
            thread: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }
}

/// What a loop has in common with its driver, and what follows from the choice of that.
pub(super) struct Shared {
    pub(super) pool: Arc<Pool>,
    pub(super) clock: Clock,
    pub(super) faults: Arc<AtomicU64>,
    /// Whether callers' threads may carry out anything.
    pub(super) inline: bool,
    /// Where the generations of ids begin.
    pub(super) generations: u32,
}

/// Where a loop's generations begin: elsewhere than another's, so that ids of a loop that was closed stay recognisable.
fn random_generation() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::now()) as u32
}
