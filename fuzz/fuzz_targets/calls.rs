//! From bytes to calls: every function of the header, with arguments that are right, nearly right and wrong. Pointers are NULL or
//! good: wild ones are outside of the contract.

use crate::world::{Submitted, World, accepted, arrived, check, with};
use sideloop::ffi::address::Address;
use sideloop::ffi::events::*;
use sideloop::ffi::file::*;
use sideloop::ffi::path::*;
use sideloop::ffi::lifecycle::sl_loop_counters;
use sideloop::ffi::lifecycle::sl_loop_driver;
use sideloop::ffi::request::*;
use sideloop::ffi::task::*;
use sideloop::ffi::tcp::*;
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

/// Memory that operations read and write: static, since it is theirs for as long as they like.
const AREA: usize = 1 << 13;
struct Area(std::cell::UnsafeCell<[u64; AREA / 8]>);
// SAFETY: nobody looks at what is in it, and only one thread uses the library here.
unsafe impl Sync for Area {}
static AREA_OF_ALL: Area = Area(std::cell::UnsafeCell::new([0; AREA / 8]));

const PATHS: [*const c_char; 8] = [
    c"a.tmp".as_ptr(),
    c"b.tmp".as_ptr(),
    c"".as_ptr(),
    c".".as_ptr(),
    c"missing/x".as_ptr(),
    c"a.tmp/x".as_ptr(),
    c"\xff\xfe.tmp".as_ptr(),
    null(),
];
const KINDS: [u32; 31] = [
    SL_NOP,
    SL_POST,
    SL_WORK,
    SL_TIMER,
    SL_CLOSE,
    SL_FILE_OPEN,
    SL_FILE_READ,
    SL_FILE_WRITE,
    SL_FILE_READV,
    SL_FILE_WRITEV,
    SL_FILE_SYNC,
    SL_FILE_STAT,
    SL_FILE_TRUNCATE,
    SL_PATH_STAT,
    SL_PATH_READ,
    SL_PATH_WRITE,
    SL_PATH_REMOVE,
    SL_PATH_RENAME,
    SL_PATH_MAKE_DIRECTORY,
    SL_PATH_LINK,
    SL_PATH_READ_LINK,
    SL_PATH_LIST,
    SL_PATH_COPY,
    SL_TCP_ACCEPT,
    SL_TCP_CONNECT,
    SL_STREAM_RECEIVE,
    SL_STREAM_SEND,
    SL_STREAM_SENDV,
    SL_STREAM_SHUTDOWN,
    0,
    99,
];
/// So many nanoseconds at most pass in one wait, so that timers do not fire without end.
const PATIENCE: u64 = 50_000_000;

pub fn memory(offset: usize) -> *mut c_void {
    // SAFETY: the offset is within the area.
    unsafe { AREA_OF_ALL.0.get().cast::<u8>().add(offset % (AREA / 2)).cast() }
}

fn some_memory(world: &mut World) -> *mut c_void {
    if world.one_in(8) { null_mut() } else { memory(world.below(256)) }
}

/// A length for that memory: within its half, or beyond what any memory can have.
fn some_length(world: &mut World) -> u64 {
    match world.below(10) {
        0 => 0,
        1 => 1,
        2 => u64::MAX - world.below(3) as u64,
        3 => i64::MAX as u64 + world.below(2) as u64,
        4..=6 => world.below(64) as u64,
        _ => (world.below(16) * 256 + world.below(256)) as u64,
    }
}

/// Near the start, so that no file becomes large, or so far that every system refuses it.
fn some_offset(world: &mut World) -> i64 {
    match world.below(8) {
        0 => [-2, i64::MIN, i64::MAX, i64::MAX - 10][world.below(4)],
        1..=3 => SL_OFFSET_CURRENT,
        _ => world.below(256) as i64 * 16,
    }
}

fn some_flags(world: &mut World) -> u32 {
    match world.below(8) {
        0 => world.number() as u32,
        1..=4 => world.below(4) as u32,
        _ => world.below(256) as u32,
    }
}

fn some_time(world: &mut World) -> u64 {
    match world.below(6) {
        0 => 0,
        1 => world.number(),
        2 => world.below(256) as u64 * 1000,
        _ => world.below(256) as u64 * 100_000,
    }
}

unsafe extern "C" fn on_event(loop_id: u64, event: *const Event) {
    // SAFETY: valid during the call.
    let event = unsafe { &*event };
    arrived(loop_id, event);
    let depth = with(|world| {
        world.depth += 1;
        world.depth
    });
    if depth < 3 && with(|world| world.one_in(2)) {
        crate::one_call();
    }
    with(|world| world.depth -= 1);
}

unsafe extern "C" fn on_work(argument: *mut c_void) -> i64 {
    argument as i64 & 0xff
}

/// An operation, described by bytes: with all that its kind needs, and more.
fn request(world: &mut World) -> Request {
    let kind = KINDS[world.below(KINDS.len())];
    let of_loop = matches!(
        kind,
        SL_NOP
            | SL_POST
            | SL_WORK
            | SL_TIMER
            | SL_FILE_OPEN
            | SL_PATH_STAT..=SL_PATH_READ_LINK
            | SL_PATH_LIST
            | SL_PATH_COPY
            | SL_TCP_CONNECT
    );
    let size = size_of::<Request>() as u32;
    let delivery = world.below(17) as u32 % 5;
    let user_data = world.next;
    world.next += 1;
    let mut request = Request {
        size: if world.one_in(64) { world.below(256) as u32 } else { size },
        kind,
        target: if of_loop { world.any_loop() } else { world.any_id() },
        buffer: some_memory(world),
        length: some_length(world),
        offset: some_offset(world),
        flags: some_flags(world),
        mode: if world.one_in(16) { world.number() as u32 } else { 0 },
        delivery: if world.one_in(32) { world.number() as u32 } else { delivery % 4 },
        options: if world.one_in(32) { 2 } else { world.below(2) as u32 },
        user_data,
        timeout_ns: if world.one_in(3) { some_time(world) } else { 0 },
        callback: if delivery >= SL_DELIVER_DISPATCH && !world.one_in(16) { Some(on_event) } else { None },
        work: if kind == SL_WORK && !world.one_in(16) { Some(on_work) } else { None },
    };
    aim(world, &mut request);
    request
}

/// Sees to it that what is an address is one of the right thing.
fn aim(world: &mut World, request: &mut Request) {
    let path = PATHS[world.below(PATHS.len() * 2) % PATHS.len()].cast_mut().cast();
    match request.kind {
        SL_FILE_OPEN => (request.buffer, request.mode) = (path, 0o600),
        SL_PATH_READ | SL_PATH_REMOVE | SL_PATH_READ_LINK | SL_PATH_LIST => request.buffer = path,
        SL_PATH_MAKE_DIRECTORY => (request.buffer, request.mode) = (path, 0o700),
        SL_PATH_RENAME | SL_PATH_LINK | SL_PATH_COPY => {
            // A link does not lead to where more would be left behind.
            let from = if request.kind == SL_PATH_LINK { PATHS[1].cast_mut().cast() } else { path };
            let to = PATHS[world.below(PATHS.len())];
            (request.buffer, request.offset, request.mode) = (from, to as i64, 0o600);
        }
        SL_PATH_WRITE => {
            (request.offset, request.buffer, request.mode) = (some_memory(world) as i64, path, 0o600);
        }
        SL_PATH_STAT => (request.offset, request.buffer) = (stat(world) as i64, path),
        SL_FILE_STAT => request.buffer = stat(world).cast(),
        SL_TCP_CONNECT => request.buffer = address(world).cast(),
        SL_FILE_READV | SL_FILE_WRITEV | SL_STREAM_SENDV => (request.buffer, request.length) = slices(world),
        SL_FILE_TRUNCATE if request.length > AREA as u64 => request.length = u64::MAX,
        // Rarely enough that a wait ends.
        SL_TIMER => {
            request.length = some_time(world);
            request.offset = [0, 0, 999, i64::MIN, 1_000_000, 20_000_000][world.below(6)];
        }
        SL_POST => request.offset = world.below(256) as i64 - 16,
        _ => {}
    }
}

/// A place for a stat, behind the memory of the other operations. Its size is written now: nothing else is ever put there.
fn stat(world: &mut World) -> *mut Stat {
    let chosen = world.below(16);
    if chosen == 15 {
        return null_mut();
    }
    let place: *mut Stat = memory(0).wrapping_byte_add(AREA / 2 + 512 + chosen * 128).cast();
    let size = if chosen == 14 { 3 } else { size_of::<Stat>() as u32 };
    // SAFETY: 128 bytes of the area's second half, aligned to 8; an operation that has it writes the same size there.
    unsafe { (*place).size = size };
    place
}

/// Copied at submission, so it may lie in a place that is used again.
fn address(world: &mut World) -> *mut Address {
    let place: *mut Address = memory(0).wrapping_byte_add(AREA - 1024).cast();
    let mut made = Address { family: 4, port: 1, reserved: 0, scope: 0, bytes: [0; 16] };
    made.bytes[0] = 127;
    made.bytes[3] = 1;
    match world.below(8) {
        0 => return null_mut(),
        1 => made.family = world.below(256) as u32,
        2 => made.reserved = 1,
        3 => {}
        _ => made.port = world.port,
    }
    // SAFETY: within the area's second half, where no operation has memory but for stats, which end before it.
    unsafe { place.write(made) };
    place
}

fn slices(world: &mut World) -> (*mut c_void, u64) {
    let place: *mut Slice = memory(0).wrapping_byte_add(AREA - 512).cast();
    for number in 0..4 {
        let slice = Slice { data: some_memory(world), length: some_length(world).min(AREA as u64) as usize % 1000 };
        // SAFETY: as for addresses; room for four.
        unsafe { place.add(number).write(slice) };
    }
    if world.one_in(16) {
        return (place.cast(), [1025, u64::MAX][world.below(2)]);
    }
    (if world.one_in(16) { null_mut() } else { place.cast() }, world.below(5) as u64)
}

/// What is to be known of an operation that may be accepted.
fn described(world: &World, request: &Request, op: u64) -> Option<Submitted> {
    let multishot = request.flags & SL_MULTISHOT != 0;
    let goes_on = match request.kind {
        SL_TIMER => request.offset != 0,
        SL_TCP_ACCEPT | SL_STREAM_RECEIVE => multishot,
        _ => false,
    };
    let place = world.loop_of(request.target)?;
    let by_handle = request.delivery == SL_DELIVER_HANDLE;
    Some(Submitted { kind: request.kind, goes_on, by_handle, op, place, ended: false })
}

/// Submits up to four operations at once.
pub fn submit() {
    let (loop_id, requests, with_ops) = with(|world| {
        let loop_id = world.any_loop();
        let mut requests: Vec<Request> = (0..world.below(4)).map(|_| request(world)).collect();
        // A batch is of one loop.
        requests.iter_mut().filter(|_| !world.one_in(16)).filter(|request| request.kind <= SL_TIMER).for_each(
            |request| {
                request.target = loop_id;
            },
        );
        (loop_id, requests, !world.one_in(4))
    });
    let mut ops = [0; 4];
    let out = if with_ops { ops.as_mut_ptr() } else { null_mut() };
    let pointer = if requests.is_empty() { null() } else { requests.as_ptr() };
    // SAFETY: as many requests as it says, whose addresses are good or NULL; room for four ids.
    let status = check(unsafe { sl_submit(loop_id, pointer, requests.len(), out) });
    for (request, op) in requests.iter().zip(ops).take(status.max(0) as usize) {
        let submitted = with(|world| described(world, request, op)).expect("what was accepted is of an open loop");
        accepted(request.user_data, submitted);
    }
    assert!(status.max(0) as usize <= requests.len());
}

/// Submits one operation by the function of its own.
pub fn submit_one() {
    let (mut request, with_op, with_options, size) = with(|world| {
        let size = if world.one_in(32) { world.below(64) as u32 } else { size_of::<Options>() as u32 };
        (request(world), !world.one_in(4), !world.one_in(8), size)
    });
    let options = Options {
        size,
        delivery: request.delivery,
        user_data: request.user_data,
        timeout_ns: request.timeout_ns,
        callback: request.callback,
        flags: request.options,
        reserved: 0,
    };
    if !with_options {
        (request.user_data, request.delivery) = (0, SL_DELIVER_QUEUE);
    }
    let mut op = 0;
    let out = if with_op { &raw mut op } else { null_mut() };
    let status = check(call_of(&request, if with_options { &options } else { null() }, out));
    if status >= 0 && KINDS[..KINDS.len() - 2].contains(&request.kind) {
        assert!(!with_op || op != 0);
        let submitted = with(|world| described(world, &request, op)).expect("what was accepted is of an open loop");
        accepted(request.user_data, submitted);
    } else {
        assert_eq!(op, 0);
    }
}

fn call_of(request: &Request, options: *const Options, op: *mut u64) -> i32 {
    let Request { target, buffer, offset, flags, mode, .. } = *request;
    let length = request.length as usize;
    // SAFETY: `aim` has made every address what this kind needs, or NULL; `options` and `op` are good or NULL.
    unsafe {
        match request.kind {
            SL_NOP => sl_nop(target, options, op),
            SL_POST => sl_post(target, offset, options, op),
            SL_WORK => sl_work(target, request.work, buffer, options, op),
            SL_TIMER => sl_timer(target, request.length, offset as u64, options, op),
            SL_CLOSE => sl_close(target, options, op),
            SL_FILE_OPEN => sl_file_open(target, buffer.cast(), flags, mode, options, op),
            SL_FILE_READ => sl_file_read(target, buffer, length, offset, flags, options, op),
            SL_FILE_WRITE => sl_file_write(target, buffer, length, offset, flags, options, op),
            SL_FILE_READV => sl_file_readv(target, buffer.cast(), length, offset, flags, options, op),
            SL_FILE_WRITEV => sl_file_writev(target, buffer.cast(), length, offset, flags, options, op),
            SL_FILE_SYNC => sl_file_sync(target, flags, options, op),
            SL_FILE_STAT => sl_file_stat(target, buffer.cast(), options, op),
            SL_FILE_TRUNCATE => sl_file_truncate(target, request.length, options, op),
            SL_PATH_STAT => sl_path_stat(target, buffer.cast(), flags, offset as *mut Stat, options, op),
            SL_PATH_READ => sl_path_read(target, buffer.cast(), options, op),
            SL_PATH_WRITE => {
                sl_path_write(target, buffer.cast(), offset as *const c_void, length, flags, mode, options, op)
            }
            SL_PATH_REMOVE => sl_path_remove(target, buffer.cast(), flags, options, op),
            SL_PATH_RENAME => sl_path_rename(target, buffer.cast(), offset as *const c_char, flags, options, op),
            SL_PATH_MAKE_DIRECTORY => sl_path_make_directory(target, buffer.cast(), mode, options, op),
            SL_PATH_LINK => sl_path_link(target, buffer.cast(), offset as *const c_char, flags, options, op),
            SL_PATH_READ_LINK => sl_path_read_link(target, buffer.cast(), options, op),
            SL_PATH_LIST => sl_path_list(target, buffer.cast(), options, op),
            SL_PATH_COPY => sl_path_copy(target, buffer.cast(), offset as *const c_char, flags, mode, options, op),
            SL_TCP_ACCEPT => sl_tcp_accept(target, flags, options, op),
            SL_TCP_CONNECT => sl_tcp_connect(target, buffer.cast(), options, op),
            SL_STREAM_RECEIVE => sl_stream_receive(target, buffer, length, flags, options, op),
            SL_STREAM_SEND => sl_stream_send(target, buffer, length, flags, options, op),
            SL_STREAM_SENDV => sl_stream_sendv(target, buffer.cast(), length, options, op),
            SL_STREAM_SHUTDOWN => sl_stream_shutdown(target, options, op),
            _ => 0,
        }
    }
}

/// Takes events by one of the ways there are.
pub fn take() {
    let (loop_id, op, capacity, timeout, how) = with(|world| {
        let timeout = some_time(world) % PATIENCE;
        (world.any_loop(), world.any_id(), world.below(9), timeout, world.below(8))
    });
    let mut events: [Event; 8] = Default::default();
    let out = if capacity == 0 { null_mut() } else { events.as_mut_ptr() };
    // SAFETY: room for eight events, or NULL where it says that there is none.
    let (status, of) = unsafe {
        match how {
            0 | 1 => (sl_poll(loop_id, out, capacity), loop_id),
            2..=4 => (sl_wait(loop_id, out, capacity, timeout), loop_id),
            5 => {
                check(sl_dispatch(loop_id, capacity, timeout));
                return;
            }
            6 => (sl_op_wait(op, timeout, out), 0),
            _ => (sl_op_poll(op, out), 0),
        }
    };
    for event in &events[..check(status).max(0) as usize] {
        let of = if of == 0 { with(|world| world.loop_of(op).map(|place| world.loops[place].id)) } else { Some(of) };
        arrived(of.expect("events come from open loops"), event);
    }
}

/// Asks without submitting anything.
pub fn ask() {
    let (loop_id, id, how, value) =
        with(|world| (world.any_loop(), world.any_id(), world.below(16), some_offset(world)));
    let (mut text, mut number, mut descriptor) = ([0 as c_char; 64], 0i64, 0isize);
    let mut address = Address { family: 0, port: 0, reserved: 0, scope: 0, bytes: [0; 16] };
    let capacity = value.unsigned_abs() as usize % 65;
    // SAFETY: integers only.
    let mut counters: sideloop::ffi::lifecycle::Counters = unsafe { std::mem::zeroed() };
    counters.size = value as u32;
    // SAFETY: everything is on this stack, and as large as it says; or NULL.
    let status = unsafe {
        match how {
            0 => sl_op_status(id),
            1..=3 => sl_op_cancel(id),
            4 => sideloop::ffi::buffer::sl_buffer_release(id),
            5 => sl_loop_driver(loop_id, text.as_mut_ptr(), capacity),
            6 => sl_loop_counters(loop_id, &mut counters),
            7 => sl_stream_set(id, value as u32 % 8, [-1, 0, 1, value][capacity % 4].min(1)),
            8 => sl_stream_get(id, value as u32 % 8, &mut number),
            9 | 10 => {
                let status = sl_local_address(id, &mut address);
                if status >= 0 {
                    with(|world| world.port = address.port);
                }
                status
            }
            11 => sl_peer_address(id, &mut address),
            12 => sl_descriptor_of(id, &mut descriptor),
            // Not where it would be had: it would bring a thread.
            13 => sideloop::ffi::lifecycle::sl_loop_wake_descriptor(loop_id, null_mut()),
            14 => sideloop::ffi::address::sl_address_format(&address, text.as_mut_ptr(), capacity),
            _ => text_of_address(value),
        }
    };
    check(status);
}

/// Reads an address from bytes of the input.
fn text_of_address(length: i64) -> i32 {
    let mut text = [0u8; 33];
    with(|world| {
        text[..length.unsigned_abs() as usize % 33].iter_mut().for_each(|letter| *letter = world.byte());
    });
    let mut address = Address { family: 0, port: 0, reserved: 0, scope: 0, bytes: [0; 16] };
    // SAFETY: the last byte is 0; the address is on this stack.
    let status = unsafe { sideloop::ffi::address::sl_address_parse(text.as_ptr().cast(), &mut address) };
    if status >= 0 {
        let mut out = [0 as c_char; 64];
        // SAFETY: as above.
        let length = check(unsafe { sideloop::ffi::address::sl_address_format(&address, out.as_mut_ptr(), 64) });
        assert!((1..64).contains(&length));
    }
    status
}

/// Makes or gives resources: listeners, ends of pairs and pipes, files.
pub fn give() {
    let (loop_id, how, to) = with(|world| (world.any_loop(), world.below(8), world.below(8)));
    let mut id = 0;
    if how < 3 {
        let options = ListenOptions {
            size: if to == 7 { 3 } else { size_of::<ListenOptions>() as u32 },
            flags: to as u32 % 4,
            backlog: 4,
            reserved: 0,
        };
        let address = Address {
            family: 4,
            port: 0,
            reserved: 0,
            scope: 0,
            bytes: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        // SAFETY: all of it is on this stack.
        check(unsafe { sl_tcp_listen(loop_id, &address, &options, &mut id) });
    } else {
        crate::adopt::adopt(loop_id, how, to, &mut id);
    }
    if id != 0 {
        with(|world| world.ids.push(id));
    }
}
