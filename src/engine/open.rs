//! How a loop begins. On the caller's thread, until the loop's own has its driver.

use super::counters::Tally;
use super::queue::Queue;
use super::{Engine, Inbox, Settings, core};
use crate::clock;
use crate::driver::buffers::Pool;
use crate::driver::{self, Chosen, DriverSettings};
use crate::error::{self, Error, Result};
use crate::lock::{HandOver, Mutex, RwLock};
use crate::sys;
use crate::table::{Id, Table};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

impl Engine {
    /// Starts a loop.
    pub(super) fn start(id: Id, settings: Settings) -> Result<Arc<Engine>> {
        let pool = Pool::new(settings.receive_buffer_size as usize, settings.max_lent_bytes);
        let driver_settings = DriverSettings {
            max_file_threads: settings.max_file_threads,
            max_work_threads: settings.max_work_threads,
            mark: id.to_bits(),
            buffers: pool.clone(),
        };
        let wanted = settings.driver;
        Engine::start_on(id, &settings, pool, move || driver::choose(wanted, driver_settings))
    }

    /// Starts the loop's thread, which opens its driver: to the kernel, a ring belongs to the thread that made it, and closing it
    /// would interrupt the system calls of that thread.
    pub(super) fn start_on(
        id: Id,
        settings: &Settings,
        pool: Arc<Pool>,
        open: impl FnOnce() -> Result<Chosen> + Send + 'static,
    ) -> Result<Arc<Engine>> {
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
        })?;
        let (waker, driver) = match opened.wait() {
            Ok(opened) => opened,
            Err(error) => {
                let _ = thread.join();
                return Err(error);
            }
        };
        let seed = seed();
        let engine = Arc::new(Engine {
            id,
            ops: Table::new(settings.max_operations, seed),
            resources: Table::new(settings.max_resources, seed),
            buffers: Table::new(u32::MAX, seed),
            pool,
            inbox: Mutex::new(Inbox::default()),
            asked: AtomicBool::new(false),
            gate: RwLock::new(false),
            inline: settings.inline,
            waker,
            queue: Queue::new(settings.spin_ns),
            op_ended: Default::default(),
            tally: Tally::default(),
            unclaimed: AtomicU64::new(0),
            max_unclaimed: u64::from(settings.max_unclaimed),
            paused: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            deliveries: AtomicU64::new(0),
            wake_socket: settings.wake_socket,
            driver: Mutex::new(driver),
            thread: Mutex::new(Some(thread)),
        });
        given.give(engine.clone());
        Ok(engine)
    }
}

/// Where a loop's generations begin: elsewhere than another's, so that ids of a loop that was closed stay recognisable.
fn seed() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::now()) as u32
}
