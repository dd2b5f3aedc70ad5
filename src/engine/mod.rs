//! The engine: what is written once for all drivers and all operations.
//!
//! [`Engine`] is the side that callers' threads see: it checks, numbers and hands over operations, and gives out events. `core`
//! is the loop's thread. They share the tables (`crate::table`), the inbox below, and the queue of events.

mod core;
pub(crate) mod counters;
pub(crate) mod event;
mod lanes;
mod open;
mod queue;
pub(crate) mod registry;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use crate::driver::DriverChoice;
pub(crate) use event::Delivery;

use crate::driver::buffers::{Lent, Pool};
use crate::driver::{self, Waker};
use crate::error::{self, Error, Result};
use crate::lock::{Condvar, Mutex};
use crate::op::{Op, TargetKind};
use crate::sys::{Handle, HandleKind};
use crate::table::{Entry, Id, Kind, Table};
use crate::{clock, thread_mark};
use counters::{Counters, Tally};
use event::{Event, SL_EVENT_MORE};
use queue::{Call, Queue};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// How a loop is to be; the ranges are checked by ffi.
#[allow(missing_docs, reason = "the fields are those of sl_loop_options, and documented there")]
pub(crate) struct Settings {
    pub driver: DriverChoice,
    pub wake_socket: bool,
    pub max_operations: u32,
    pub max_unclaimed: u32,
    pub max_resources: u32,
    pub max_file_threads: u32,
    pub max_work_threads: u32,
    pub receive_buffer_size: u32,
    pub max_lent_bytes: u64,
}

/// How one operation is to be delivered, and until when it may take.
pub(crate) struct OpOptions {
    /// How its events reach the caller.
    pub delivery: Delivery,
    /// What they carry.
    pub user_data: u64,
    /// The deadline from now; 0: none.
    pub timeout_ns: u64,
}

/// An operation's slot: from its acceptance until its last event is taken.
struct OpSlot {
    op: Op,
    delivery: Delivery,
    user_data: u64,
    /// The resource it works on, or 0.
    target: u64,
    /// The instant of its deadline, or 0.
    deadline: u64,
    /// A timer's tick waits to be taken: the next ones are only counted.
    tick_waits: bool,
    /// It has ended; its last event is here where it is delivered with the operation.
    ended: Option<Option<Event>>,
    /// Which delivery of the loop's carries its last event to the queue.
    delivered_in: u64,
}

/// A resource's slot: from its opening until its descriptor is closed.
struct Resource {
    handle: Arc<Handle>,
    /// The driver's key of a stream that was attached before it had an id.
    key: Option<driver::Key>,
}

/// What callers tell the loop's thread.
enum Command {
    Start(u32),
    Cancel(u32, u32),
    /// Events were taken or buffers returned: who paused for that may go on.
    Room,
    ShutDown,
}

#[derive(Default)]
struct Inbox {
    commands: Vec<Command>,
    /// Nothing new is accepted.
    shut: bool,
    /// The loop's thread came to grief: what is submitted would never end.
    failed: bool,
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
    waker: Arc<Waker>,
    queue: Queue,
    op_ended: [(Mutex<()>, Condvar); SHARDS],
    tally: Tally,
    /// MORE events that wait to be taken.
    unclaimed: AtomicU64,
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
    driver_kind: DriverChoice,
    driver_reason: String,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn id(&self) -> u64 {
        self.id.to_bits()
    }

    fn slot(&self) -> u8 {
        self.id.slot
    }

    pub(crate) fn driver_kind(&self) -> DriverChoice {
        self.driver_kind
    }

    pub(crate) fn driver_reason(&self) -> &str {
        &self.driver_reason
    }

    /// An id of this loop.
    fn bits(&self, kind: Kind, (index, generation): (u32, u32)) -> u64 {
        Id { kind, slot: self.id.slot, generation, index }.to_bits()
    }

    /// Submits operations, and wakes the loop once.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { engine: self, submitted: false }
    }

    fn accept(&self, op: Op, target: u64, options: OpOptions) -> Result<u64> {
        if op.is_multishot() && matches!(options.delivery, Delivery::Handle) {
            return Err(Error::with(error::SL_ERR_DELIVERY, "SL_DELIVER_HANDLE is not for multishot operations"));
        }
        let closes = op.is_close();
        let wanted = op.target();
        // A close holds its resource's slot until it is accepted: then the id is dead, and only then.
        let mut resource = match wanted {
            TargetKind::Loop => {
                self.check_loop(target)?;
                None
            }
            wanted => Some(self.resource(target, wanted)?),
        };
        if !closes {
            resource = None;
        }
        let deadline = if options.timeout_ns == 0 { 0 } else { clock::after(options.timeout_ns) };
        let target = if wanted == TargetKind::Loop { 0 } else { target };
        let OpOptions { delivery, user_data, .. } = options;
        let slot =
            OpSlot { op, delivery, user_data, target, deadline, tick_waits: false, ended: None, delivered_in: 0 };
        let calls = matches!(delivery, Delivery::Dispatch(_));
        let place = self.ops.insert(slot, |slots| self.reserve_events(slots))?;
        if let Err(error) = if calls { self.queue.reserve_calls() } else { Ok(()) } {
            self.ops.release(place.0);
            return Err(error);
        }
        if let Err(error) = self.hand_over(Command::Start(place.0)) {
            // A loop that fails at this very moment may have ended it already, with an event: then it was accepted.
            if self.ops.take_if(place.0, place.1, |slot| slot.ended.is_none()).is_ok() {
                return Err(error);
            }
        }
        if let Some(mut resource) = resource {
            resource.retire();
        }
        Ok(self.bits(Kind::Operation, place))
    }

    /// Every operation may have one event flagged MORE beyond the limit under way, and its last.
    fn reserve_events(&self, slots: u32) -> Result<()> {
        self.queue.reserve(slots as usize * 2 + self.max_unclaimed as usize)
    }

    /// Puts a command where the loop's thread finds it. The caller wakes the thread.
    fn hand_over(&self, command: Command) -> Result<()> {
        let mut inbox = self.inbox.lock();
        if inbox.failed {
            return Err(Error::with(error::SL_ERR_INTERNAL, "the loop has failed; close it"));
        }
        if inbox.shut {
            return Err(Error::new(error::SL_ERR_SHUT_DOWN));
        }
        inbox.commands.try_reserve(1).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
        inbox.commands.push(command);
        Ok(())
    }

    /// Tells the loop's thread something that it must hear even while it shuts down.
    fn notify(&self, command: Command) {
        self.inbox.lock().commands.push(command);
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
        if inbox.shut {
            return Err(Error::new(error::SL_ERR_SHUT_DOWN));
        }
        let index = self.resources.reserve(|_| Ok(()))?;
        match open() {
            Ok(handle) => Ok(self.add_resource(index, handle, None)),
            Err(error) => {
                self.resources.recycle([index]);
                Err(error)
            }
        }
    }

    /// Puts something open into a slot that was set aside for it, and answers its id.
    fn add_resource(&self, index: u32, handle: Handle, key: Option<driver::Key>) -> u64 {
        let kind = resource_kind(&handle);
        let generation = self.resources.fill(index, Resource { handle: Arc::new(handle), key });
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

    fn op_slot(&self, bits: u64) -> Result<(Id, Entry<'_, OpSlot>)> {
        let id = Id::from_bits(bits)?;
        if id.kind != Kind::Operation {
            return Err(Error::with(error::SL_ERR_WRONG_KIND, format!("op: the id is of kind {:?}", id.kind)));
        }
        Ok((id, self.ops.get(id.index, id.generation)?))
    }

    /// Asks an operation to end.
    pub(crate) fn cancel(&self, bits: u64) -> Result<()> {
        let (id, slot) = self.op_slot(bits)?;
        if slot.ended.is_some() {
            return Err(Error::new(error::SL_ERR_ENDED));
        }
        drop(slot);
        self.notify(Command::Cancel(id.index, id.generation));
        Ok(())
    }

    /// Whether an operation has ended, and its event can be taken.
    pub(crate) fn op_status(&self, bits: u64) -> Result<bool> {
        let (_, slot) = self.op_slot(bits)?;
        Ok(slot.ended.is_some() && slot.delivered_in <= self.deliveries.load(Ordering::Acquire))
    }

    /// Waits for the event of one operation, and takes it.
    pub(crate) fn wait_op(&self, bits: u64, timeout_ns: u64) -> Result<Option<Event>> {
        let index = Id::from_bits(bits)?.index;
        let (lock, ended) = &self.op_ended[index as usize % SHARDS];
        let until = clock::after(timeout_ns);
        loop {
            // The loop's thread takes this lock after it has put the event in, so it cannot slip by between look and sleep.
            let guard = lock.lock();
            let (_, mut slot) = self.op_slot(bits)?;
            if !matches!(slot.delivery, Delivery::Handle) {
                return Err(Error::with(error::SL_ERR_DELIVERY, "op: it was not submitted with SL_DELIVER_HANDLE"));
            }
            if let Some(event) = slot.ended.as_mut().and_then(Option::take) {
                drop(slot);
                // Before the lock goes: whoever looks next finds the id stale, not an operation without its event.
                self.ops.release(index);
                drop(guard);
                self.tally.taken.add(1);
                return Ok(Some(event));
            }
            drop(slot);
            if timeout_ns == 0 {
                return Ok(None);
            }
            self.refuse_own_thread()?;
            let (guard, woken) = queue::sleep(ended, guard, until);
            drop(guard);
            if !woken {
                return Ok(None);
            }
        }
    }

    /// Takes events from the queue into `out`.
    pub(crate) fn wait(&self, out: &mut [MaybeUninit<Event>], timeout_ns: u64) -> Result<usize> {
        if timeout_ns != 0 {
            self.refuse_own_thread()?;
        }
        let mut place = out.iter_mut();
        let count = self.queue.take(place.len(), timeout_ns, |event| {
            if let Some(place) = place.next() {
                place.write(event);
            }
        })?;
        // SAFETY: `take` handed over `count` events, and each was written in turn.
        let taken = out[..count].iter().map(|event| unsafe { event.assume_init_ref() });
        self.taken(taken);
        Ok(count)
    }

    /// Waits for callbacks, and answers how many there are.
    pub(crate) fn wait_dispatch(&self, timeout_ns: u64) -> Result<usize> {
        if timeout_ns != 0 {
            self.refuse_own_thread()?;
        }
        self.queue.wait_calls(timeout_ns)
    }

    /// Takes one callback.
    pub(crate) fn take_dispatch(&self) -> Option<Call> {
        let call = self.queue.take_call()?;
        self.taken(std::iter::once(&call.0));
        Some(call)
    }

    /// Accounts for events that a caller now has: last events free their operation's place, others make room for more.
    fn taken<'a>(&self, events: impl Iterator<Item = &'a Event> + Clone) {
        let (mut count, mut more) = (0, 0);
        let index = |event: &Event| Id::from_bits(event.op).map(|id| id.index).ok();
        for event in events.clone() {
            count += 1;
            if event.flags & SL_EVENT_MORE == 0 {
                index(event).and_then(|index| self.ops.clear(index));
                continue;
            }
            more += 1;
            if u32::from(event.kind) == crate::op::kinds::SL_TIMER {
                if let Some(mut slot) = index(event).and_then(|index| self.ops.at(index)) {
                    slot.tick_waits = false;
                }
            }
        }
        self.tally.taken.add(count);
        if count > more {
            self.ops.recycle(events.filter(|event| event.flags & SL_EVENT_MORE == 0).filter_map(index));
        }
        if more > 0 {
            self.unclaimed.fetch_sub(more, Ordering::SeqCst);
            self.make_room(&self.paused);
        }
    }

    fn make_room(&self, anybody: &AtomicBool) {
        if anybody.load(Ordering::SeqCst) && anybody.swap(false, Ordering::SeqCst) {
            self.notify(Command::Room);
        }
    }

    /// Takes a lent buffer back.
    pub(crate) fn release_buffer(&self, bits: u64) -> Result<()> {
        let id = Id::from_bits(bits)?;
        if id.kind != Kind::Buffer {
            return Err(Error::with(error::SL_ERR_WRONG_KIND, format!("buffer: the id is of kind {:?}", id.kind)));
        }
        drop(self.buffers.take(id.index, id.generation)?);
        self.make_room(&self.starved);
        Ok(())
    }

    pub(crate) fn wake_descriptor(&self) -> Result<isize> {
        self.queue.wake_descriptor(self.wake_socket)
    }

    fn refuse_own_thread(&self) -> Result<()> {
        if thread_mark::get() == self.id() {
            return Err(Error::with(error::SL_ERR_DEADLOCK, "this is one of the loop's own threads"));
        }
        Ok(())
    }

    /// Begins to shut down.
    pub(crate) fn shut_down(&self) {
        let mut inbox = self.inbox.lock();
        if !std::mem::replace(&mut inbox.shut, true) {
            inbox.commands.push(Command::ShutDown);
            drop(inbox);
            self.waker.wake();
        }
    }

    /// Shuts down, waits for the end, and discards what nobody took; answers how many last events that was.
    fn close(&self, timeout_ns: u64) -> Result<u64> {
        self.refuse_own_thread()?;
        self.shut_down();
        if !self.queue.wait_finished(timeout_ns) {
            return Err(Error::new(error::SL_ERR_TIMED_OUT));
        }
        // Of several that close at once, one gets the thread.
        let thread = self.thread.lock().take().ok_or_else(|| Error::new(error::SL_ERR_STALE))?;
        let _ = thread.join();
        self.queue.close();
        let discarded = self.ops.live();
        // Cleared, not recycled: a thread that has just taken an event recycles its place itself.
        for index in 0..self.ops.made() {
            self.ops.clear(index);
        }
        for (lock, ended) in &self.op_ended {
            drop(lock.lock());
            ended.notify_all();
        }
        for index in 0..self.buffers.made() {
            self.buffers.release(index);
        }
        Ok(u64::from(discarded))
    }

    pub(crate) fn counters(&self) -> Counters {
        let tally = &self.tally;
        let (lent_buffers, lent_bytes) = self.pool.out();
        Counters {
            size: 0,
            threads: 1 + tally.workers.load(Ordering::Relaxed) as u32,
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
        }
    }
}

/// What is to be submitted: the operation, what it works on, and how it is to be delivered.
pub(crate) type Submission = (Op, u64, OpOptions);

/// Submissions that share one wake, at the end.
pub(crate) struct Batch<'a> {
    engine: &'a Engine,
    submitted: bool,
}

impl Batch<'_> {
    /// Submits what `decode` makes of the caller's request. Whatever refuses it, it is counted.
    pub(crate) fn submit(&mut self, decode: impl FnOnce() -> Result<Submission>) -> Result<u64> {
        let accepted = decode().and_then(|(op, target, options)| self.engine.accept(op, target, options));
        match &accepted {
            Ok(_) => {
                self.submitted = true;
                self.engine.tally.accepted.add(1);
            }
            Err(_) => self.engine.tally.refused.add(1),
        }
        accepted
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.engine.waker.wake();
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
