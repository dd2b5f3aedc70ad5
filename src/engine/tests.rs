//! What no caller can bring about: an engine whose driver fails under it.

use super::*;
use crate::driver::Chosen;
use crate::driver::{Completion, Driver, Primitive};
use crate::op::task::TaskOp;
use crate::sys;
use std::mem::MaybeUninit;
use std::time::Duration;

const QUEUE: Delivery = Delivery { route: Route::Queue, callback: None };
const HANDLE: Delivery = Delivery { route: Route::Handle, callback: None };

/// How the driver comes to grief, once it has been given work.
#[derive(Clone, Copy)]
enum Grief {
    Panic,
    Error,
}

struct Doomed {
    grief: Grief,
    given: bool,
    woken: crossbeam_channel::Receiver<()>,
}

impl Driver for Doomed {
    fn attach(&mut self, _: &Arc<Handle>) -> u32 {
        0
    }
    fn detach(&mut self, _: u32) {}
    fn reserve(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
    fn submit(&mut self, _: u32, _: Primitive) {
        self.given = true;
    }
    fn cancel(&mut self, _: u32) {}
    fn wait(&mut self, timeout: Option<Duration>, _: &mut Vec<Completion>) -> Result<()> {
        match (self.given, self.grief) {
            (true, Grief::Panic) => panic!("the driver panics, as this test wants it to"),
            (true, Grief::Error) => Err(Error::new(error::SL_ERR_OS)),
            _ if timeout.is_none() => self.woken.recv().map_err(|_| Error::new(error::SL_ERR_INTERNAL)),
            _ => Ok(()),
        }
    }
    fn workers(&self) -> u32 {
        0
    }
}

fn doomed(grief: Grief) -> Arc<Engine> {
    let (sender, woken) = crossbeam_channel::unbounded();
    let settings = Settings {
        driver: DriverChoice::Poll,
        seed: 0,
        faults: None,
        wake_socket: false,
        inline: true,
        spin_ns: 0,
        max_operations: 1000,
        max_unclaimed: 10,
        max_resources: 10,
        max_file_threads: 1,
        max_work_threads: 1,
        receive_buffer_size: 512,
        max_lent_bytes: 1 << 20,
    };
    let chosen = Box::new(move || {
        Ok(Chosen {
            driver: Box::new(Doomed { grief, given: false, woken }),
            waker: Waker::new(move || {
                let _ = sender.send(());
            }),
            kind: DriverChoice::Poll,
            reason: String::new(),
        })
    });
    let shared = open::Shared {
        pool: Pool::new(512, 1 << 20),
        clock: Clock::default(),
        faults: Arc::default(),
        inline: true,
        generations: 1,
    };
    let id = Id { kind: Kind::Loop, slot: 255, generation: 1, index: 0 };
    Engine::start_on(id, &settings, shared, chosen).unwrap()
}

fn submit(engine: &Engine, op: TaskOp, delivery: Delivery) -> Result<u64> {
    engine
        .batch()
        .submit(|| Ok((Op::Task(op), engine.id(), OpOptions { delivery, user_data: 7, timeout_ns: 0, inline: true })))
}

fn everything_ends_with_an_error(grief: Grief) {
    let engine = doomed(grief);
    let never = u64::MAX / 4;
    let mut queued: Vec<u64> = (0..3).map(|_| submit(&engine, TaskOp::timer(never, 0), QUEUE).unwrap()).collect();
    let held = submit(&engine, TaskOp::timer(never, 0), HANDLE).unwrap();
    extern "C" fn unused(_: *mut std::ffi::c_void) -> i64 {
        0
    }
    // SAFETY: a region of length 0 promises nothing.
    let nothing = unsafe { sys::Region::new(std::ptr::null_mut(), 0) };
    queued.push(submit(&engine, TaskOp::work(unused, nothing), QUEUE).unwrap());

    let event = engine.wait_op(held, u64::MAX).unwrap().unwrap();
    assert_eq!((event.result, event.user_data), (i64::from(error::SL_ERR_INTERNAL), 7));
    let mut ended = Vec::new();
    while ended.len() < queued.len() {
        let mut out = [const { MaybeUninit::uninit() }; 8];
        let count = engine.wait(&mut out, u64::MAX).unwrap();
        for event in &out[..count] {
            // SAFETY: `wait` has written `count` events.
            let event = unsafe { event.assume_init() };
            assert_eq!(event.result, i64::from(error::SL_ERR_INTERNAL));
            ended.push(event.op);
        }
    }
    ended.sort_unstable();
    queued.sort_unstable();
    assert_eq!(ended, queued);
    let refused = submit(&engine, TaskOp::nop(), QUEUE).unwrap_err();
    assert_eq!(refused.status, error::SL_ERR_INTERNAL);
    let counters = engine.counters();
    assert_eq!((counters.accepted, counters.ended, counters.in_flight), (5, 5, 0));
    assert_eq!(engine.close(u64::MAX).unwrap(), 0);
}

#[test]
fn a_panic_on_the_loops_thread_ends_every_operation() {
    everything_ends_with_an_error(Grief::Panic);
}

#[test]
fn a_failing_driver_ends_every_operation() {
    everything_ends_with_an_error(Grief::Error);
}
