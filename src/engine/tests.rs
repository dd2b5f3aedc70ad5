//! What no caller can bring about: an engine whose driver fails under it.

use super::testing::*;
use super::*;
use crate::driver::Chosen;
use crate::op::task::TaskOp;

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
