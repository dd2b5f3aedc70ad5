//! Models: the hand-overs between threads, each run in every order in which its threads can meet. It is the real code that runs (the
//! engine, the loop's thread, the queue, the tables), on loom's locks and flags instead of std's (`crate::lock`); only the driver is a
//! stand-in. Run by `scripts/check-models.sh`, for it takes `--cfg loom`.
//!
//! What is not seen: numbers that are std's atomics are no places where threads meet; in models of the whole engine, threads are taken off
//! their processor at most `PREEMPTIONS` times against their will; and time does not pass, so that no timer's tick waits to be taken. Loom
//! takes sequentially consistent stores and loads for weaker ones than they are: where each of two threads writes and then looks at what the
//! other writes, one of them has to do it by a read-modify-write.

use super::queue::{Line, Taken, Which};
use super::testing::*;
use super::*;
use crate::op::file::FileOp;
use crate::op::task::TaskOp;
use crate::op::tcp::TcpOp;
use crate::sys;
use loom::thread::{self, JoinHandle as Joining};
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

/// How often threads may be taken off their processor against their will, in one order. Known mistakes of this sort need one or two;
/// another one makes it seven times as many orders.
const PREEMPTIONS: Option<usize> = Some(3);
/// Where there are few enough.
const ALL: Option<usize> = None;
const MANY: Option<usize> = Some(5);

/// In words. The stacks of loom's threads are too small for this code as it is compiled for tests.
const STACK: usize = 1 << 16;

fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Joining<T> {
    thread::Builder::new().stack_size(STACK).spawn(body).expect("a model has few threads")
}

/// Runs a model in every order, and says how many those were.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let (orders, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let (counted, model) = (orders.clone(), Arc::new(model));
    let mut builder = loom::model::Builder::new();
    // The environment's LOOM_MAX_PREEMPTIONS goes first.
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let bound = builder.preemption_bound.map_or("any number of".to_owned(), |most| format!("at most {most}"));
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let model = model.clone();
        spawn(move || model()).join().expect("the model holds");
    });
    let orders = orders.load(Ordering::Relaxed);
    println!("{name}: {orders} orders, {bound} preemptions, {:.1} s", begun.elapsed().as_secs_f64());
}

// ---------------------------------------------------------------------------------------------------------------------
// A loop whose driver only says that it has carried things out

/// A loop, its thread, and its driver's stage.
fn open() -> (Arc<Engine>, Joining<()>, Arc<Stage>) {
    open_with(&settings())
}

fn open_with(settings: &Settings) -> (Arc<Engine>, Joining<()>, Arc<Stage>) {
    let stage = Arc::new(Stage::default());
    let driver = (DriverChoice::Poll, String::new());
    let engine = Arc::new(Engine::new(LOOP, settings, shared(settings), stage.waker(), driver));
    let thread = spawn({
        let (engine, stand_in) = (engine.clone(), StandIn::new(stage.clone(), engine.pool.clone(), None));
        move || core::run(engine, Box::new(stand_in), 0)
    });
    (engine, thread, stage)
}

/// Takes a file into the loop.
fn adopt(engine: &Engine) -> Result<u64> {
    engine.adopt(|| Ok(Handle::File(std::fs::File::open("/dev/null")?)))
}

/// Takes all that is left of a loop that has shut down.
fn take_rest(engine: &Engine) -> Vec<u64> {
    let mut ended = Vec::new();
    loop {
        match take(engine, FOREVER) {
            Ok(events) => ended.extend(events.iter().map(|event| event.op)),
            Err(error) => {
                assert_eq!(error.status, error::SL_ERR_SHUT_DOWN);
                return ended;
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The inbox, `asked` and the waker

#[test]
fn nothing_is_left_behind_when_the_loop_falls_asleep() {
    explore("hand-over", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let other = spawn({
            let engine = engine.clone();
            move || submit(&engine, TaskOp::nop(), QUEUE).unwrap()
        });
        let mine = submit(&engine, TaskOp::nop(), QUEUE).unwrap();
        let mut ended = Vec::new();
        // Where the loop sleeps and nobody has woken it, all threads wait for ever, which loom tells.
        while ended.len() < 2 {
            ended.extend(take(&engine, FOREVER).unwrap().iter().map(|event| event.op));
        }
        let mut submitted = [mine, other.join().unwrap()];
        submitted.sort_unstable();
        ended.sort_unstable();
        assert_eq!(ended, submitted);
        engine.shut_down();
        running.join().unwrap();
    });
}

#[test]
fn a_cancelled_operation_ends_once_for_the_one_that_waits_for_it() {
    explore("cancel and wait", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let op = submit(&engine, work(), HANDLE).unwrap();
        let canceller = spawn({
            let engine = engine.clone();
            move || match engine.cancel(op) {
                Ok(()) => {}
                Err(error) => assert!([error::SL_ERR_ENDED, error::SL_ERR_STALE].contains(&error.status)),
            }
        });
        let event = engine.wait_op(op, FOREVER).unwrap().unwrap();
        assert_eq!(event.op, op);
        assert!([1, i64::from(error::SL_ERR_CANCELLED)].contains(&event.result), "{}", event.result);
        assert_eq!(engine.wait_op(op, 0).unwrap_err().status, error::SL_ERR_STALE);
        canceller.join().unwrap();
        engine.shut_down();
        running.join().unwrap();
        assert_eq!(take_rest(&engine), []);
    });
}

#[test]
fn a_file_is_closed_when_nobody_has_it_any_more() {
    explore("close and use", PREEMPTIONS, || {
        let (engine, running, stage) = open();
        let file = adopt(&engine).unwrap();
        let user = spawn({
            let engine = engine.clone();
            move || match submit_on(&engine, file, Op::File(FileOp::sync(false)), HANDLE) {
                Ok(op) => {
                    let event = engine.wait_op(op, FOREVER).unwrap().unwrap();
                    assert!([0, i64::from(error::SL_ERR_CANCELLED)].contains(&event.result), "{}", event.result);
                }
                Err(error) => assert_eq!(error.status, error::SL_ERR_STALE),
            }
        });
        let close = submit_on(&engine, file, Op::Task(TaskOp::close()), HANDLE).unwrap();
        assert_eq!(refusal_of(&engine, file), error::SL_ERR_STALE);
        assert_eq!(engine.wait_op(close, FOREVER).unwrap().unwrap().result, 0);
        assert_eq!(stage.closed.load(Ordering::Relaxed), 1);
        user.join().unwrap();
        assert_eq!(engine.counters().resources, 0);
        engine.shut_down();
        running.join().unwrap();
    });
}

#[test]
fn whoever_waits_for_lent_memory_has_what_is_given_back() {
    explore("lent memory", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let file = adopt(&engine).unwrap();
        let read = || {
            let op = Op::File(FileOp::read(sys::Target::Lend(0), Some(0), false));
            let op = submit_on(&engine, file, op, HANDLE).unwrap();
            let event = engine.wait_op(op, FOREVER).unwrap().unwrap();
            assert_eq!(event.result, 1);
            event.detail
        };
        let first = read();
        let owner = spawn({
            let engine = engine.clone();
            move || engine.release_buffer(first).unwrap()
        });
        let second = read();
        owner.join().unwrap();
        engine.release_buffer(second).unwrap();
        engine.shut_down();
        running.join().unwrap();
        assert_eq!(engine.pool.out(), (0, 0));
    });
}

#[test]
fn what_is_carried_out_here_comes_behind_what_was_handed_over_before() {
    explore("order", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let stream = engine.adopt(|| Ok(Handle::Stream(here.into()))).unwrap();
        let submit = |inline| {
            let options = OpOptions { delivery: QUEUE, user_data: 7, timeout_ns: 0, inline };
            engine.batch().submit(|| Ok((send(), stream, options))).unwrap()
        };
        // The second finds the stream busy, or free, at whichever moment.
        let sent = [submit(false), submit(true)];
        let mut ended = Vec::new();
        while ended.len() < 2 {
            ended.extend(take(&engine, FOREVER).unwrap().iter().map(|event| event.op));
        }
        assert_eq!(ended, sent);
        engine.shut_down();
        running.join().unwrap();
    });
}

#[test]
fn whoever_pauses_for_room_goes_on_when_events_are_taken() {
    explore("room", PREEMPTIONS, || {
        let (engine, running, stage) = open_with(&Settings { max_unclaimed: 1, max_lent_bytes: 2048, ..settings() });
        stage.stuck.store(true, Ordering::Relaxed);
        let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
        let stream = engine.adopt(|| Ok(Handle::Stream(here.into()))).unwrap();
        let receive = || {
            let op = Op::Tcp(TcpOp::receive(sys::Target::Lend(0), false, true));
            submit_on(&engine, stream, op, QUEUE).unwrap()
        };
        // Takes up all the room and ends, also without having paused itself. The other one may look for room when that is taken.
        engine.cancel(receive()).unwrap();
        receive();
        let mut results = Vec::new();
        while results.last() != Some(&0) {
            for event in take(&engine, FOREVER).unwrap() {
                results.push(event.result);
                if event.result > 0 {
                    engine.release_buffer(event.detail).unwrap();
                }
            }
        }
        assert_eq!(results, [1, i64::from(error::SL_ERR_CANCELLED), 1, 0]);
        engine.shut_down();
        running.join().unwrap();
    });
}

/// What is said of an id that is stale.
fn refusal_of(engine: &Engine, file: u64) -> i32 {
    submit_on(engine, file, Op::File(FileOp::sync(false)), HANDLE).unwrap_err().status
}

// ---------------------------------------------------------------------------------------------------------------------
// The gate, and the end of a loop

/// Submits one operation while the loop shuts down; what is accepted has one event, and what is refused none.
fn shut_down_meanwhile(op: fn() -> TaskOp) {
    let (engine, running, _) = open();
    let submitter = spawn({
        let engine = engine.clone();
        move || submit(&engine, op(), QUEUE)
    });
    engine.shut_down();
    assert_eq!(submit(&engine, op(), QUEUE).unwrap_err().status, error::SL_ERR_SHUT_DOWN);
    assert!(engine.queue.wait_finished(FOREVER));
    // From here on nothing comes: not even what a caller's thread has carried out itself.
    let ended = take_rest(&engine);
    match submitter.join().unwrap() {
        Ok(op) => assert_eq!(ended, [op]),
        Err(error) => assert_eq!((error.status, ended), (error::SL_ERR_SHUT_DOWN, vec![])),
    }
    running.join().unwrap();
    let counters = engine.counters();
    assert_eq!((counters.ended, counters.taken, counters.in_flight), (counters.accepted, counters.accepted, 0));
}

#[test]
fn what_is_handed_over_while_the_loop_shuts_down_ends_once_or_is_refused() {
    explore("shutdown, handed over", PREEMPTIONS, || shut_down_meanwhile(work));
}

#[test]
fn what_is_carried_out_while_the_loop_shuts_down_ends_once_or_is_refused() {
    explore("shutdown, carried out", PREEMPTIONS, || shut_down_meanwhile(|| TaskOp::post(5)));
}

#[test]
fn what_is_adopted_while_the_loop_shuts_down_is_closed_or_refused() {
    explore("shutdown, adopted", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let adopter = spawn({
            let engine = engine.clone();
            move || adopt(&engine).map_or_else(|error| assert_eq!(error.status, error::SL_ERR_SHUT_DOWN), drop)
        });
        engine.shut_down();
        running.join().unwrap();
        adopter.join().unwrap();
        assert_eq!(engine.counters().resources, 0);
        assert_eq!(engine.resources.live(), 0);
    });
}

#[test]
fn closing_lets_go_of_those_who_wait() {
    explore("close", PREEMPTIONS, || {
        let (engine, running, _) = open();
        let accepted = submit(&engine, TaskOp::nop(), QUEUE).unwrap();
        let waiter = spawn({
            let engine = engine.clone();
            move || match take(&engine, FOREVER) {
                Ok(events) => events.iter().map(|event| event.op).collect(),
                Err(error) => {
                    assert!([error::SL_ERR_SHUT_DOWN, error::SL_ERR_STALE].contains(&error.status));
                    vec![]
                }
            }
        });
        let discarded = engine.close(FOREVER).unwrap();
        let taken: Vec<u64> = waiter.join().unwrap();
        assert!(taken.is_empty() || taken == [accepted]);
        assert_eq!(taken.len() as u64 + discarded, 1);
        running.join().unwrap();
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// The queue of events, alone

fn post(queue: &Queue, index: u32) {
    queue.post_last(std::iter::once((Which::Events, index)));
}

fn take_one(queue: &Queue, timeout_ns: u64) -> Result<Option<u32>> {
    let mut index = None;
    queue.take(Which::Events, 1, timeout_ns, |taken| match taken {
        Taken::Last(last) => index = Some(last),
        Taken::More(_) => unreachable!("none is posted"),
    })?;
    Ok(index)
}

#[test]
fn whoever_sleeps_until_an_event_comes_is_woken() {
    explore("sleepers", MANY, || {
        let queue = Arc::new(Queue::new(0));
        let taker = || {
            let queue = queue.clone();
            spawn(move || take_one(&queue, FOREVER).unwrap())
        };
        let takers = [taker(), taker()];
        let poster = spawn({
            let queue = queue.clone();
            move || post(&queue, 1)
        });
        let mut lines = [Line::default(), Line::default()];
        lines[0].push_last(2);
        queue.post(&mut lines);
        let mut taken: Vec<_> = takers.map(|taker| taker.join().unwrap()).into();
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
        poster.join().unwrap();
    });
}

#[test]
fn the_end_wakes_everybody_who_sleeps() {
    explore("the end", ALL, || {
        let queue = Arc::new(Queue::new(0));
        let taker = || {
            let queue = queue.clone();
            spawn(move || take_one(&queue, FOREVER))
        };
        let takers = [taker(), taker()];
        post(&queue, 1);
        queue.finish();
        let taken = takers.map(|taker| taker.join().unwrap());
        assert_eq!(taken.iter().filter(|taken| matches!(taken, Ok(Some(1)))).count(), 1);
        assert_eq!(taken.iter().filter(|taken| taken.is_err()).count(), 1);
    });
}

#[test]
fn the_wake_descriptor_is_readable_exactly_while_events_wait() {
    fn readable(descriptor: isize) -> bool {
        let mut poll = libc::pollfd { fd: descriptor as i32, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, which outlives the call; it does not wait.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }
    explore("wake descriptor", ALL, || {
        let queue = Arc::new(Queue::new(0));
        let poster = spawn({
            let queue = queue.clone();
            move || (1..3).for_each(|index| post(&queue, index))
        });
        let taker = spawn({
            let queue = queue.clone();
            // It is made while events come, and this takes only one of them.
            move || {
                let descriptor = queue.wake_descriptor(false).unwrap();
                (descriptor, readable(descriptor) && take_one(&queue, 0).unwrap().is_some())
            }
        });
        poster.join().unwrap();
        let (descriptor, took) = taker.join().unwrap();
        for _ in usize::from(took)..2 {
            assert!(readable(descriptor));
            assert!(take_one(&queue, 0).unwrap().is_some());
        }
        assert!(!readable(descriptor));
        assert_eq!(take_one(&queue, 0).unwrap(), None);
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// The table of ids, alone

#[test]
fn an_id_never_names_what_came_into_its_slot_later() {
    explore("table", ALL, || {
        // One slot, so that the second value comes into the first one's.
        let table = Arc::new(Table::new(1, 5));
        let (index, generation) = table.insert("first", |_| Ok(())).unwrap();
        let replacer = spawn({
            let table = table.clone();
            move || {
                let mine = table.take(index, generation);
                // The slot is free for whoever comes now, also where somebody else has taken the value, as soon as he lets go.
                (mine.is_ok(), table.insert("second", |_| Ok(())))
            }
        });
        let taker = spawn({
            let table = table.clone();
            move || table.take(index, generation)
        });
        match table.get(index, generation) {
            Ok(entry) => assert_eq!(*entry, "first"),
            Err(error) => assert_eq!(error.status, error::SL_ERR_STALE),
        }
        let taken = taker.join().unwrap();
        let (replacer_took, second) = replacer.join().unwrap();
        assert!(taken.is_err() || taken.as_ref().is_ok_and(|value| *value == "first"));
        assert!(replacer_took != taken.is_ok(), "one of the two takes it");
        match second {
            Ok((index, generation)) => assert_eq!(table.take(index, generation).unwrap(), "second"),
            // Asked for between the other's taking the value and his giving the slot back.
            Err(error) => assert!(!replacer_took && error.status == error::SL_ERR_AGAIN),
        }
        assert_eq!(table.live(), 0);
    });
}

#[test]
fn values_stay_apart_while_the_table_grows() {
    explore("growing table", ALL, || {
        let table = Arc::new(Table::new(3, 5));
        let keeper = |value: u32| {
            let table = table.clone();
            move || {
                let (index, generation) = table.insert(value, |_| Ok(())).unwrap();
                assert_eq!(*table.get(index, generation).unwrap(), value);
                assert_eq!(table.take(index, generation).unwrap(), value);
                assert_eq!(table.get(index, generation).err().unwrap().status, error::SL_ERR_STALE);
            }
        };
        let others = [spawn(keeper(1)), spawn(keeper(2))];
        keeper(3)();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!((table.live(), table.made()), (0, table.made().min(3)));
    });
}
