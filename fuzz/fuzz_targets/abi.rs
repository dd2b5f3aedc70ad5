//! Bytes become a program of calls over the whole ABI, on simulated loops: valid and garbage arguments, ids of all kinds and ages.
//! At its end everything accepted has ended, no event came twice or from nowhere, the loops close, and no descriptor is left.
#![no_main]

mod adopt;
mod calls;
mod world;

use libfuzzer_sys::fuzz_target;
use sideloop::error::{SL_ERR_SHUT_DOWN, SL_ERR_STALE};
use sideloop::ffi::events::{Event, sl_dispatch, sl_op_poll, sl_wait};
use sideloop::ffi::lifecycle::*;
use std::path::PathBuf;
use std::sync::OnceLock;
use world::{OneLoop, World, arrived, check, counters, with};

/// So many calls are enough to bring anything about.
const CALLS: usize = 300;

const PLANS: [*const std::ffi::c_char; 8] = [
    c"".as_ptr(),
    c"".as_ptr(),
    c"read, write: short@0.5 EIO@0.1".as_ptr(),
    c"all: error@0.1".as_ptr(),
    c"all: delay=5ms@0.5".as_ptr(),
    c"accept, open: EMFILE@0.5".as_ptr(),
    c"close: EIO; all: short".as_ptr(),
    c"reed: EIO".as_ptr(),
];

fn open() {
    // SAFETY: integers, and a pointer that may be NULL.
    let mut options: LoopOptions = unsafe { std::mem::zeroed() };
    with(|world| {
        options.size = if world.one_in(64) { world.byte().into() } else { size_of::<LoopOptions>() as u32 };
        options.driver = SL_DRIVER_SIM;
        options.seed = 1 + u64::from(world.byte());
        options.faults = PLANS[world.below(PLANS.len())];
        let small = world.byte();
        options.max_operations = if small & 1 != 0 { 8 } else { 256 };
        options.max_unclaimed = if small & 2 != 0 { 1 } else { 16 };
        options.max_resources = if small & 4 != 0 { 3 } else { 64 };
        options.receive_buffer_size = 512;
        options.max_lent_bytes = if small & 8 != 0 { 1024 } else { 1 << 16 };
        options.flags = if small & 0xf0 == 0xf0 { small.into() } else { 0 };
    });
    if options.size == std::mem::offset_of!(LoopOptions, seed) as u32 {
        // Such programs know of no seeds, and so could not be repeated.
        return;
    }
    let mut id = 0;
    // SAFETY: both are on this stack.
    if check(unsafe { sl_loop_open(&options, &mut id) }) >= 0 {
        with(|world| {
            world.loops.push(OneLoop { id, ..OneLoop::default() });
            world.ids.push(id);
        });
    }
}

/// Closes a loop, and settles up: what it says that it discarded is what had not been taken.
fn close(id: u64, timeout: u64) -> i32 {
    let status = check(sl_loop_close(id, timeout));
    if status >= 0 {
        with(|world| {
            let place = world.place_of(id).expect("it was open");
            let one = &mut world.loops[place];
            one.closed = true;
            assert_eq!(status as u64, one.accepted - one.ended, "discarded");
        });
    }
    status
}

/// Takes everything of a loop that is shut down, by all the ways there are.
fn drain(id: u64) {
    let mut events: [Event; 16] = Default::default();
    let (mut queue, mut calls) = (0, 0);
    for _ in 0..20_000 {
        // SAFETY: room for sixteen.
        queue = unsafe { sl_wait(id, events.as_mut_ptr(), 16, 1_000_000_000) };
        events.iter().take(queue.max(0) as usize).for_each(|event| arrived(id, event));
        calls = sl_dispatch(id, 0, 1_000_000_000);
        if (queue, calls) == (SL_ERR_SHUT_DOWN, SL_ERR_SHUT_DOWN) {
            break;
        }
    }
    assert_eq!((queue, calls), (SL_ERR_SHUT_DOWN, SL_ERR_SHUT_DOWN), "it does not end: {:?}", counters(id).in_flight);
    let place = with(|world| world.place_of(id)).expect("it is open");
    let handles: Vec<u64> = with(|world| {
        let of_it = world.submitted.values().filter(|one| one.place == place && one.by_handle && !one.ended);
        of_it.map(|one| one.op).collect()
    });
    // Whose id nobody has, nobody can take: closing discards it.
    for op in handles.into_iter().filter(|op| *op != 0) {
        // SAFETY: room for one.
        assert_eq!(unsafe { sl_op_poll(op, events.as_mut_ptr()) }, 1);
        arrived(id, &events[0]);
    }
    let counted = counters(id);
    with(|world| {
        let one = &world.loops[place];
        assert_eq!((counted.accepted, counted.ended), (one.accepted, one.accepted));
        assert_eq!(counted.in_flight, one.accepted - one.ended);
        assert_eq!((counted.unclaimed, counted.resources), (0, 0));
    });
}

/// One call, whichever the next bytes say.
pub fn one_call() {
    match with(|world| world.below(24)) {
        0..=6 => calls::submit_one(),
        7..=10 => calls::submit(),
        11..=15 => calls::take(),
        16..=18 => calls::ask(),
        19..=21 => calls::give(),
        22 => {
            let (id, timeout, how) = with(|world| (world.any_id(), u64::from(world.byte()), world.below(4)));
            match how {
                0 => close(id, timeout * 1_000_000),
                1 => check(sl_loop_shutdown(id)),
                _ => 0,
            };
        }
        _ if with(|world| world.loops.len()) < 3 => open(),
        _ => {}
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// A folder of the process's own, and the one that it was started in, which the fuzzer's own paths may be relative to.
fn folders() -> &'static (PathBuf, PathBuf) {
    static FOLDERS: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("sideloop-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is a folder for temporary files");
        (folder, std::env::current_dir().expect("it was started somewhere"))
    })
}

fn run(input: &[u8]) {
    with(|world| *world = World::new(input));
    open();
    for _ in 0..CALLS {
        if with(|world| world.is_over()) {
            break;
        }
        one_call();
    }
    let ids: Vec<(u64, bool)> = with(|world| {
        let open: Vec<u64> = world.loops.iter().filter(|one| !one.closed).map(|one| one.id).collect();
        open.into_iter().map(|id| (id, world.one_in(2))).collect()
    });
    for (id, quietly) in ids {
        if !quietly {
            assert_eq!(check(sl_loop_shutdown(id)), 0);
            drain(id);
        }
        // A callback may have closed it.
        let status = close(id, SL_FOREVER);
        assert!(status >= 0 || status == SL_ERR_STALE, "{status}");
    }
    with(|world| *world = World::default());
}

fuzz_target!(|input: &[u8]| {
    let (folder, start) = folders();
    std::env::set_current_dir(folder).expect("it is there");
    let before = descriptors();
    run(input);
    assert_eq!(descriptors(), before, "descriptors are left open");
    for path in ["a.tmp/x", "b.tmp/x", "a.tmp", "b.tmp"] {
        let _ = std::fs::remove_file(path);
        let _ = std::fs::remove_dir(path);
    }
    std::env::set_current_dir(start).expect("it is there");
});
