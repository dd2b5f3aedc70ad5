//! The engine: what is written once for all drivers and all operations.
//!
//! [`Engine`] is the side that callers' threads see: it checks, numbers and hands over operations, and gives out events. `core`
//! is the loop's thread. They share the tables (`crate::table`), the inbox below, and the queue of events.

mod core;
pub(crate) mod counters;
pub(crate) mod event;
mod lanes;
#[cfg(all(test, loom))]
mod models;
mod open;
mod patience;
mod queue;
#[cfg(not(all(test, loom)))]
pub(crate) mod registry;
mod stepped;
mod submit;
mod take;
#[cfg(test)]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
mod timers;

pub(crate) use crate::driver::DriverChoice;
pub(crate) use event::Delivery;
pub(crate) use submit::{OpOptions, Submission};

use crate::clock::Clock;
use crate::driver::buffers::{Lent, Pool};
use crate::driver::{self, Waker};
use crate::error::{self, Error, Result};
use crate::lock::{self, AtomicBool, Condvar, Mutex, RwLock};
use crate::op::{Op, TargetKind, Traits};
use crate::sys::{Handle, HandleKind};
use crate::table::{Entry, Id, Kind, Table};
use crate::thread_mark;
use counters::{Counters, Tally};
use event::{CallbackFunction, Event, Route};
use queue::Queue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use stepped::Stepped;

/// How a loop is to be; the ranges are checked by ffi.
#[allow(missing_docs, reason = "the fields are those of sl_loop_options, and documented there")]
pub(crate) struct Settings {
    pub driver: DriverChoice,
    pub seed: u64,
    pub faults: Option<String>,
    pub wake_socket: bool,
    pub inline: bool,
    pub spin_ns: u64,
    pub max_operations: u32,
    pub max_unclaimed: u32,
    pub max_resources: u32,
    pub max_file_threads: u32,
    pub max_work_threads: u32,
    pub receive_buffer_size: u32,
    pub max_lent_bytes: u64,
}

/// An operation's slot: from its acceptance until its last event is taken.
struct OpSlot {
    work: Work,
    user_data: u64,
    callback: Option<CallbackFunction>,
    route: Route,
    /// A timer's tick waits to be taken: the next ones are only counted.
    tick_waits: bool,
}

/// An operation under way, or what it ended with.
enum Work {
    Live(Op),
    /// Its last event, but for the id; and which delivery of the loop's brings it to where it can be taken.
    Ended(Event, u64),
}

impl OpSlot {
    fn new(work: Work, delivery: Delivery, user_data: u64) -> Self {
        OpSlot { work, user_data, callback: delivery.callback, route: delivery.route, tick_waits: false }
    }

    fn is_live(&self) -> bool {
        matches!(self.work, Work::Live(_))
    }
}

/// A resource's slot: from its opening until its descriptor is closed.
struct Resource {
    handle: Arc<Handle>,
    /// The driver's key of a stream that was attached before it had an id.
    key: Option<driver::Key>,
    /// How many operations are accepted whose events are not on their way yet, in the read and in the write lane: while there
    /// are any, the next one must stand behind them.
    busy: [u32; 2],
}

/// What the loop's thread needs to begin an operation, besides its slot.
struct Start {
    index: u32,
    traits: Traits,
    route: Route,
    /// The resource it works on, or 0.
    target: u64,
    /// The instant of its deadline, or 0.
    deadline: u64,
}

/// What callers tell the loop's thread.
enum Command {
    Start(Start),
    Cancel(u32, u32),
}

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    /// Operations that ended on their callers' threads, and whose callbacks are for the loop's.
    ended: Vec<u32>,
    /// Events were taken or buffers returned: who paused for that may go on.
    room: bool,
    /// Nothing new is accepted; the loop's thread, which sees it behind all commands, is to shut down.
    shut: bool,
    /// The loop's thread came to grief: what is submitted would never end.
    failed: bool,
}

impl Inbox {
    /// Whether anything new is accepted; if not, why.
    fn check(&self) -> Result<()> {
        match (self.failed, self.shut) {
            (true, _) => Err(Error::with(error::SL_ERR_INTERNAL, "the loop has failed; close it")),
            (_, true) => Err(Error::new(error::SL_ERR_SHUT_DOWN)),
            _ => Ok(()),
        }
    }

    /// Makes a place for a command; answers whether that took more memory.
    fn make_place(&mut self) -> Result<bool> {
        let full = self.commands.len() == self.commands.capacity();
        self.commands.try_reserve(1).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        Ok(full)
    }
}

/// Threads that wait for single operations sleep on one of these.
const SHARDS: usize = 16;

/// One loop, as its callers see it.
pub(crate) struct Engine {
    id: Id,
    ops: Table<OpSlot>,
    resources: Table<Resource>,
    buffers: Table<Lent>,
    pool: Arc<Pool>,
    inbox: Mutex<Inbox>,
    /// There is something in the inbox.
    asked: AtomicBool,
    /// Held for reading by whoever carries an operation out on his own thread; true: nothing new is accepted. So nothing ends
    /// that way any more once the loop shuts down.
    gate: RwLock<bool>,
    /// Whether callers' threads may carry out anything at all.
    inline: bool,
    waker: Arc<Waker>,
    queue: Queue,
    op_ended: [(Mutex<()>, Condvar); SHARDS],
    tally: Tally,
    /// MORE events that wait to be taken.
    unclaimed: lock::AtomicU64,
    max_unclaimed: u64,
    /// Some multishot operation waits for room among the events.
    paused: AtomicBool,
    /// Resource slots that are set aside for what operations under way may open.
    reserved: AtomicU64,
    /// Some operation waits for a lent buffer.
    starved: AtomicBool,
    /// How often the loop has delivered.
    deliveries: AtomicU64,
    wake_socket: bool,
    driver: Mutex<(DriverChoice, String)>,
    clock: Clock,
    faults: Arc<AtomicU64>,
    /// The loop itself, while whoever waits carries it on: see `stepped`.
    stepped: Stepped,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Somebody is closing the loop, or has.
    closed: AtomicBool,
}

impl Engine {
    pub(crate) fn id(&self) -> u64 {
        self.id.to_bits()
    }

    fn slot(&self) -> u8 {
        self.id.slot
    }

    /// Which driver runs, and why.
    pub(crate) fn driver(&self) -> (DriverChoice, String) {
        self.driver.lock().clone()
    }

    /// An id of this loop.
    fn bits(&self, kind: Kind, (index, generation): (u32, u32)) -> u64 {
        Id { kind, slot: self.id.slot, generation, index }.to_bits()
    }

    /// Tells the loop's thread that there is room, or just to look. It takes no memory, for nobody could be told that there is none.
    fn notify_room(&self) {
        self.inbox.lock().room = true;
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn check_loop(&self, id: u64) -> Result<()> {
        if id == self.id() {
            return Ok(());
        }
        match Id::from_bits(id)?.kind {
            Kind::Loop => Err(Error::with(error::SL_ERR_STALE, "the loop is closed")),
            kind => Err(Error::with(error::SL_ERR_WRONG_KIND, format!("loop: the id is of kind {kind:?}"))),
        }
    }

    /// The slot of an open resource, locked.
    fn resource(&self, bits: u64, wanted: TargetKind) -> Result<Entry<'_, Resource>> {
        let id = Id::from_bits(bits)?;
        let wrong = || Error::with(error::SL_ERR_WRONG_KIND, format!("the id is of kind {:?}", id.kind));
        match wanted {
            TargetKind::One(kind) if kind != id.kind => return Err(wrong()),
            TargetKind::Any if !matches!(id.kind, Kind::File | Kind::Stream | Kind::Listener) => return Err(wrong()),
            _ => {}
        }
        let entry = self.resources.get(id.index, id.generation)?;
        if resource_kind(&entry.handle) != id.kind {
            return Err(Error::new(error::SL_ERR_BAD_ID));
        }
        Ok(entry)
    }

    /// Takes something open into the loop: sets its place aside first, so that `open` takes nothing that has none.
    pub(crate) fn adopt(&self, open: impl FnOnce() -> Result<Handle>) -> Result<u64> {
        // Under the inbox's lock: what is adopted before a shutdown is found by it, and nothing is adopted after.
        let inbox = self.inbox.lock();
        inbox.check()?;
        let index = self.resources.reserve(|_| Ok(()))?;
        match open() {
            Ok(handle) => Ok(self.add_resource(index, handle, None)),
            Err(error) => {
                self.resources.recycle([index]);
                drop(inbox);
                // Whoever found no place meanwhile may have this one.
                self.notify_room();
                Err(error)
            }
        }
    }

    /// Puts something open into a slot that was set aside for it, and answers its id.
    fn add_resource(&self, index: u32, handle: Handle, key: Option<driver::Key>) -> u64 {
        let kind = resource_kind(&handle);
        let generation = self.resources.fill(index, Resource { handle: Arc::new(handle), key, busy: [0; 2] });
        self.bits(kind, (index, generation))
    }

    /// Calls with the open stream that an id names; it is not closed meanwhile.
    pub(crate) fn with_stream<R>(&self, id: u64, call: impl FnOnce(&Handle) -> Result<R>) -> Result<R> {
        call(&self.resource(id, TargetKind::One(Kind::Stream))?.handle)
    }

    /// Calls with the open stream or listener that an id names; it is not closed meanwhile.
    pub(crate) fn with_socket<R>(&self, id: u64, call: impl FnOnce(&Handle) -> Result<R>) -> Result<R> {
        let entry = self.resource(id, TargetKind::Any)?;
        if entry.handle.kind() == HandleKind::File {
            return Err(Error::with(error::SL_ERR_WRONG_KIND, "the id is of kind File"));
        }
        call(&entry.handle)
    }

    pub(crate) fn descriptor_of(&self, id: u64) -> Result<isize> {
        Ok(self.resource(id, TargetKind::Any)?.handle.descriptor())
    }

    pub(crate) fn wake_descriptor(&self) -> Result<isize> {
        // Whoever has it waits elsewhere.
        self.run_freely()?;
        self.queue.wake_descriptor(self.wake_socket)
    }

    fn refuse_own_thread(&self) -> Result<()> {
        // A callback of a simulated loop may carry on another one, whose mark the thread bears meanwhile.
        if thread_mark::get() == self.id() || self.stepped.is_by_this_thread() {
            return Err(Error::with(error::SL_ERR_DEADLOCK, "this is one of the loop's own threads"));
        }
        Ok(())
    }

    /// Begins to shut down.
    pub(crate) fn shut_down(&self) {
        *self.gate.write() = true;
        let mut inbox = self.inbox.lock();
        if !std::mem::replace(&mut inbox.shut, true) {
            drop(inbox);
            self.asked.store(true, Ordering::Release);
            self.waker.wake();
        }
    }

    /// Shuts down, waits for the end, and discards what nobody took; answers how many last events that was.
    fn close(&self, timeout_ns: u64) -> Result<u64> {
        self.refuse_own_thread()?;
        self.shut_down();
        let timeout_ns = self.carry_on(timeout_ns, || self.queue.is_finished());
        if !self.queue.wait_finished(timeout_ns) {
            return Err(Error::new(error::SL_ERR_TIMED_OUT));
        }
        // Of several that close at once, one does.
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Error::new(error::SL_ERR_STALE));
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.queue.close();
        // Cleared, not recycled: a thread that has just taken an event recycles its place itself.
        let discarded = (0..self.ops.made()).filter(|index| self.ops.clear(*index).is_some()).count();
        for (lock, ended) in &self.op_ended {
            drop(lock.lock());
            ended.notify_all();
        }
        for index in 0..self.buffers.made() {
            self.buffers.release(index);
        }
        Ok(discarded as u64)
    }

    pub(crate) fn counters(&self) -> Counters {
        let tally = &self.tally;
        let (lent_buffers, lent_bytes) = self.pool.out();
        Counters {
            size: 0,
            threads: u32::from(self.thread.lock().is_some()) + tally.workers.load(Ordering::Relaxed) as u32,
            accepted: tally.accepted.get(),
            refused: tally.refused.get(),
            ended: tally.ended.get(),
            more: tally.more.get(),
            taken: tally.taken.get(),
            cancelled: tally.cancelled.get(),
            timed_out: tally.timed_out.get(),
            in_flight: u64::from(self.ops.live()),
            unclaimed: self.unclaimed.load(Ordering::Relaxed),
            resources: u64::from(self.resources.live()).saturating_sub(self.reserved.load(Ordering::Relaxed)),
            lent_buffers,
            lent_bytes,
            turns: tally.turns.get(),
            wakes: self.waker.wakes(),
            faults: self.faults.load(Ordering::Relaxed),
        }
    }
}

fn resource_kind(handle: &Handle) -> Kind {
    match handle.kind() {
        HandleKind::File => Kind::File,
        HandleKind::Stream => Kind::Stream,
        HandleKind::Listener => Kind::Listener,
    }
}
