//! What no caller can bring about: an engine whose driver fails under it, or has no memory for one operation.

use super::testing::*;
use super::*;
use crate::driver::Chosen;
use crate::op::file::FileOp;
use crate::op::task::TaskOp;
use crate::sys::Target;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

/// A loop on a stand-in that comes to grief once it has work.
fn open(grief: Option<fn() -> Result<()>>) -> (Arc<Engine>, Arc<Stage>) {
    let (settings, stage) = (settings(), Arc::new(Stage::default()));
    let shared = shared(&settings);
    let (waker, stand_in) = (stage.waker(), StandIn::new(stage.clone(), shared.pool.clone(), grief));
    let chosen = Box::new(move || {
        Ok(Chosen { driver: Box::new(stand_in), waker, kind: DriverChoice::Poll, reason: String::new() })
    });
    (Engine::start_on(LOOP, &settings, shared, chosen).unwrap(), stage)
}

fn everything_ends_with_an_error(grief: fn() -> Result<()>) {
    let (engine, _) = open(Some(grief));
    let never = u64::MAX / 4;
    let mut queued: Vec<u64> = (0..3).map(|_| submit(&engine, TaskOp::timer(never, 0), QUEUE).unwrap()).collect();
    let held = submit(&engine, TaskOp::timer(never, 0), HANDLE).unwrap();
    queued.push(submit(&engine, work(), QUEUE).unwrap());

    let event = engine.wait_op(held, FOREVER).unwrap().unwrap();
    assert_eq!((event.result, event.user_data), (i64::from(error::SL_ERR_INTERNAL), 7));
    let mut ended = Vec::new();
    while ended.len() < queued.len() {
        for event in take(&engine, FOREVER).unwrap() {
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
    assert_eq!(engine.close(FOREVER).unwrap(), 0);
}

#[test]
fn a_panic_on_the_loops_thread_ends_every_operation() {
    everything_ends_with_an_error(|| panic!("the driver panics, as this test wants it to"));
}

#[test]
fn a_failing_driver_ends_every_operation() {
    everything_ends_with_an_error(|| Err(Error::new(error::SL_ERR_OS)));
}

/// What an operation ends with.
fn result_of(engine: &Engine, target: u64, op: Op) -> i64 {
    let op = submit_on(engine, target, op, HANDLE).unwrap();
    engine.wait_op(op, FOREVER).unwrap().unwrap().result
}

#[test]
fn an_operation_without_a_place_is_counted_out_of_its_lane_where_it_has_one() {
    let (engine, stage) = open(None);
    let file = engine.adopt(|| Ok(crate::sys::tests::this_program())).unwrap();
    stage.full.store(true, Ordering::SeqCst);
    let in_no_lane = result_of(&engine, file, Op::File(FileOp::sync(false)));
    let in_a_lane = result_of(&engine, file, Op::File(FileOp::read(Target::Lend(0), None, false)));
    assert_eq!([in_no_lane, in_a_lane], [i64::from(error::SL_ERR_NO_MEMORY); 2]);
    stage.full.store(false, Ordering::SeqCst);
    // When this has ended, what the loop counts behind the events before is counted.
    assert_eq!(result_of(&engine, file, Op::File(FileOp::sync(false))), 0);
    assert_eq!(engine.resource(file, TargetKind::Any).unwrap().busy, [0, 0]);
    assert_eq!(engine.close(FOREVER).unwrap(), 0);
}

/// A stream of a loop, and its other end.
fn adopt_stream(engine: &Engine) -> (u64, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (engine.adopt(|| Ok(Handle::Stream(listener.accept()?.0.into()))).unwrap(), there)
}

#[test]
fn a_close_without_a_place_closes_all_the_same() {
    let (engine, stage) = open(None);
    let (stream, mut there) = adopt_stream(&engine);
    stage.full.store(true, Ordering::SeqCst);
    let closed = result_of(&engine, stream, Op::Task(TaskOp::close()));
    assert_eq!((closed, engine.counters().resources), (i64::from(error::SL_ERR_NO_MEMORY), 0));
    assert_eq!(there.read(&mut [0]).unwrap(), 0);
    assert_eq!(engine.close(FOREVER).unwrap(), 0);
}

#[test]
fn a_close_is_the_last_of_a_resource_also_where_a_cancel_comes_too_late() {
    let (engine, stage) = open(None);
    let (stream, _there) = adopt_stream(&engine);
    stage.stuck.store(true, Ordering::SeqCst);
    let sending = submit_on(&engine, stream, send(), QUEUE).unwrap();
    // When this has ended, that has begun.
    assert_eq!(result_of(&engine, engine.id(), Op::Task(work())), 1);
    let closing = submit_on(&engine, stream, Op::Task(TaskOp::close()), QUEUE).unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        ended.extend(take(&engine, FOREVER).unwrap().iter().map(|event| (event.op, event.result)));
    }
    assert_eq!(ended, [(sending, i64::from(error::SL_ERR_CANCELLED)), (closing, 0)]);
    assert_eq!(stage.closed.load(Ordering::Relaxed), 1);
    assert_eq!(engine.close(FOREVER).unwrap(), 0);
}
