//! What the tests and the models of the engine share: loops on a stand-in for a driver, which only says that it has carried things
//! out, and what is submitted to them.

use super::*;
use crate::driver::{Completion, Driver, Primitive, Value};
use crate::op::task::TaskOp;
use crate::op::tcp::TcpOp;
use crate::sys;
use std::sync::atomic::{self, AtomicUsize};
use std::time::Duration;

pub(super) const FOREVER: u64 = u64::MAX;
pub(super) const QUEUE: Delivery = Delivery { route: Route::Queue, callback: None };
pub(super) const HANDLE: Delivery = Delivery { route: Route::Handle, callback: None };
pub(super) const LOOP: Id = Id { kind: Kind::Loop, slot: 255, generation: 1, index: 0 };

/// A little of everything, and room for one lent buffer.
pub(super) fn settings() -> Settings {
    Settings {
        driver: DriverChoice::Poll,
        seed: 0,
        faults: None,
        wake_socket: false,
        inline: true,
        spin_ns: 0,
        max_operations: 8,
        max_unclaimed: 8,
        max_resources: 8,
        max_file_threads: 1,
        max_work_threads: 1,
        receive_buffer_size: 512,
        max_lent_bytes: 512,
    }
}

pub(super) fn shared(settings: &Settings) -> open::Shared {
    open::Shared {
        pool: Pool::new(settings.receive_buffer_size as usize, settings.max_lent_bytes),
        clock: Clock::default(),
        faults: Arc::default(),
        inline: settings.inline,
        generations: 1,
    }
}

/// What is seen of a stand-in, and done to it, from other threads than the loop's.
#[derive(Default)]
pub(super) struct Stage {
    /// A wake stays until it is seen, as in a descriptor.
    woken: Mutex<bool>,
    came: Condvar,
    /// How many handles it was given to close.
    pub(super) closed: AtomicUsize,
    /// There is no memory to keep track of another operation. Std's: models need not look at who sees it when.
    pub(super) full: atomic::AtomicBool,
    /// Sends get nowhere, and cancels come too late.
    pub(super) stuck: atomic::AtomicBool,
}

impl Stage {
    pub(super) fn waker(self: &Arc<Self>) -> Arc<Waker> {
        let stage = self.clone();
        Waker::new(move || {
            *stage.woken.lock() = true;
            stage.came.notify_one();
        })
    }
}

/// A driver that says that it has carried things out, in the wait after they were begun.
pub(super) struct StandIn {
    stage: Arc<Stage>,
    pool: Arc<Pool>,
    begun: Vec<(u32, Primitive)>,
    ended: Vec<Completion>,
    /// How many pieces a stream brings before its end.
    pieces: usize,
    /// What becomes of the driver once it has been given work.
    grief: Option<fn() -> Result<()>>,
}

impl StandIn {
    pub(super) fn new(stage: Arc<Stage>, pool: Arc<Pool>, grief: Option<fn() -> Result<()>>) -> Self {
        StandIn { stage, pool, begun: Vec::new(), ended: Vec::new(), pieces: 2, grief }
    }

    fn is_stuck(&self) -> bool {
        self.stage.stuck.load(Ordering::SeqCst)
    }

    fn carry_out(&mut self, primitive: &Primitive) -> Value {
        let lent = || match self.pool.take(0).unwrap() {
            Some(lent) => Value::Lent(lent.filled(1)),
            None => Value::Starved(self.pool.piece(0) as u64),
        };
        match primitive {
            Primitive::Work { .. } => Value::Number(1),
            Primitive::Close { .. } => {
                self.stage.closed.fetch_add(1, Ordering::Relaxed);
                Value::Nothing
            }
            Primitive::Send { .. } => Value::Count(usize::from(!self.is_stuck())),
            Primitive::Read { .. } => lent(),
            Primitive::Receive { .. } if self.pieces > 0 => {
                self.pieces -= 1;
                lent()
            }
            _ => Value::Nothing,
        }
    }

    /// Takes a wake, and waits for one if it is to.
    fn sleep(&self, waits: bool) {
        let mut woken = self.stage.woken.lock();
        while waits && !*woken {
            woken = self.stage.came.wait(woken);
        }
        *woken = false;
    }
}

impl Driver for StandIn {
    fn attach(&mut self, _: &Arc<Handle>) -> u32 {
        0
    }
    fn detach(&mut self, _: u32) {}
    fn reserve(&mut self, _: u32) -> Result<()> {
        match self.stage.full.load(Ordering::SeqCst) {
            true => Err(Error::new(error::SL_ERR_NO_MEMORY)),
            false => Ok(()),
        }
    }
    fn submit(&mut self, token: u32, primitive: Primitive) {
        self.begun.push((token, primitive));
    }
    fn cancel(&mut self, token: u32) {
        let (before, late) = (self.begun.len(), self.is_stuck());
        self.begun.retain(|(begun, _)| late || *begun != token);
        if self.begun.len() < before {
            self.ended.push(Completion { token, result: Err(driver::cancelled()), done: 0, more: false });
        }
    }
    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        if let Some(grief) = self.grief.filter(|_| !self.begun.is_empty()) {
            return grief();
        }
        self.sleep(self.ended.is_empty() && self.begun.is_empty() && timeout.is_none());
        completed.append(&mut self.ended);
        for (token, primitive) in std::mem::take(&mut self.begun) {
            let result = Ok(self.carry_out(&primitive));
            completed.push(Completion { token, result, done: 0, more: false });
        }
        Ok(())
    }
    fn workers(&self) -> u32 {
        0
    }
}

pub(super) fn submit(engine: &Engine, op: TaskOp, delivery: Delivery) -> Result<u64> {
    submit_on(engine, engine.id(), Op::Task(op), delivery)
}

pub(super) fn submit_on(engine: &Engine, target: u64, op: Op, delivery: Delivery) -> Result<u64> {
    // What the stand-in answers for is not to be asked of the system.
    let inline = matches!(op, Op::Task(_));
    let options = OpOptions { delivery, user_data: 7, timeout_ns: 0, inline };
    engine.batch().submit(|| Ok((op, target, options)))
}

/// What takes a turn of the driver.
pub(super) fn work() -> TaskOp {
    extern "C" fn unused(_: *mut std::ffi::c_void) -> i64 {
        0
    }
    // SAFETY: a region of length 0 promises nothing.
    TaskOp::work(unused, unsafe { sys::Region::new(std::ptr::null_mut(), 0) })
}

/// Of one byte.
pub(super) fn send() -> Op {
    static BYTE: u8 = 0;
    // SAFETY: it stays for ever, and a send only reads it.
    Op::Tcp(TcpOp::send(sys::Data::One(unsafe { sys::Region::new((&raw const BYTE).cast_mut(), 1) })))
}

/// Takes events that wait, or waits for one.
pub(super) fn take(engine: &Engine, timeout_ns: u64) -> Result<Vec<Event>> {
    let mut out = [const { std::mem::MaybeUninit::uninit() }; 4];
    let count = engine.wait(&mut out, timeout_ns)?;
    // SAFETY: `wait` has written `count` events.
    Ok(out[..count].iter().map(|event| unsafe { event.assume_init() }).collect())
}
