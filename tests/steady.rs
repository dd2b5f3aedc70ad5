//! In the steady state an operation allocates nothing: every allocation of the process is counted while the same operations are
//! carried out over and over, on every driver; and a batch wakes the loop at most once.
#![cfg(unix)]

#[path = "common/counting.rs"]
mod counting;

use counting::ALLOCATIONS;
use sideloop::ffi::buffer::sl_buffer_release;
use sideloop::ffi::events::{Event, SL_EVENT_LENT, sl_wait};
use sideloop::ffi::file::*;
use sideloop::ffi::lifecycle::*;
use sideloop::ffi::request::*;
use sideloop::ffi::tcp::*;
use std::mem::zeroed;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// What is counted is the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A list may still find its largest size by chance; an allocation for each operation makes thousands.
const GROWTH: u64 = 8;

const PATIENCE: u64 = 30_000_000_000;
const BATCH: usize = 32;

struct TestLoop {
    id: u64,
    driver: i32,
}

impl TestLoop {
    fn open(driver: u32) -> Self {
        // SAFETY: all-zero is a value of these options.
        let mut options: LoopOptions = unsafe { zeroed() };
        (options.size, options.driver) = (size_of::<LoopOptions>() as u32, driver);
        let mut id = 0;
        // SAFETY: both are valid.
        assert_eq!(unsafe { sl_loop_open(&options, &mut id) }, 0);
        // SAFETY: no reason is asked for.
        TestLoop { id, driver: unsafe { sl_loop_driver(id, std::ptr::null_mut(), 0) } }
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters { size: size_of::<Counters>() as u32, ..Counters::default() };
        // SAFETY: it is valid.
        assert_eq!(unsafe { sl_loop_counters(self.id, &mut counters) }, 0);
        counters
    }

    /// Submits all, and takes their events.
    fn carry_out(&self, requests: &[Request]) {
        // SAFETY: an array of valid requests.
        let accepted = unsafe { sl_submit(self.id, requests.as_ptr(), requests.len(), std::ptr::null_mut()) };
        assert_eq!(accepted as usize, requests.len());
        let mut left = requests.len();
        while left > 0 {
            // SAFETY: all-zero is an event.
            let mut events: [Event; BATCH] = unsafe { zeroed() };
            // SAFETY: room for so many events.
            let count = unsafe { sl_wait(self.id, events.as_mut_ptr(), BATCH, PATIENCE) };
            assert!(count > 0, "{count}");
            for event in &events[..count as usize] {
                assert!(event.result >= 0, "kind {}: {}", event.kind, event.result);
                if event.flags & SL_EVENT_LENT != 0 {
                    assert_eq!(sl_buffer_release(event.detail), 0);
                }
            }
            left -= count as usize;
        }
    }

    fn assert_no_allocations(&self, requests: &[Request]) {
        let allocations = self.allocations(requests);
        assert!(allocations <= GROWTH, "{allocations} allocations in 1000 rounds of {}", requests.len());
    }

    /// Carries the same out again and again, and answers how many allocations a thousand rounds make.
    fn allocations(&self, requests: &[Request]) -> u64 {
        (0..500).for_each(|_| self.carry_out(requests));
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        (0..1000).for_each(|_| self.carry_out(requests));
        ALLOCATIONS.load(Ordering::SeqCst) - before
    }
}

impl Drop for TestLoop {
    fn drop(&mut self) {
        sl_loop_close(self.id, SL_FOREVER);
    }
}

fn request(kind: u32, target: u64) -> Request {
    // SAFETY: all-zero is a value of this structure.
    Request { size: size_of::<Request>() as u32, kind, target, ..unsafe { zeroed() } }
}

/// The same, also handed over to the loop.
fn both_ways(requests: Vec<Request>) -> Vec<Request> {
    let handed =
        requests.iter().map(|request| Request { options: SL_OPTION_NO_INLINE, ..*request }).collect::<Vec<_>>();
    requests.into_iter().chain(handed).collect()
}

fn on_every_driver(test: impl Fn(&TestLoop)) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for driver in [SL_DRIVER_POLL, SL_DRIVER_URING] {
        let opened = TestLoop::open(driver);
        if opened.driver == driver as i32 {
            test(&opened);
        } else {
            println!("skipped: no io_uring here");
        }
    }
}

#[test]
fn tasks_allocate_nothing() {
    on_every_driver(|tested| {
        let timer = Request { length: 1000, ..request(SL_TIMER, tested.id) };
        let deadline = Request { timeout_ns: PATIENCE, ..request(SL_NOP, tested.id) };
        let requests = both_ways(vec![request(SL_NOP, tested.id), request(SL_POST, tested.id), timer, deadline]);
        tested.assert_no_allocations(&requests);
    });
}

#[test]
fn files_allocate_nothing() {
    let path = std::env::temp_dir().join(format!("sideloop-steady-{}", std::process::id()));
    std::fs::write(&path, vec![7; 65536]).unwrap();
    on_every_driver(|tested| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut id = 0;
        // SAFETY: the descriptor is given away.
        assert_eq!(unsafe { sl_file_adopt(tested.id, file.into_raw_fd() as isize, &mut id) }, 0);
        let mut bytes = vec![7u8; 8192];
        let buffer = bytes.as_mut_ptr().cast();
        let read = Request { buffer, length: 4096, offset: 4096, ..request(SL_FILE_READ, id) };
        let lent = Request { length: 4096, ..request(SL_FILE_READ, id) };
        let slices = [Slice { data: buffer, length: 100 }, Slice { data: buffer.wrapping_byte_add(100), length: 100 }];
        // The pieces are copied, in one allocation.
        let pieces = Request { buffer: slices.as_ptr().cast_mut().cast(), length: 2, ..request(SL_FILE_READV, id) };
        tested.assert_no_allocations(&both_ways(vec![read]));
        assert!(tested.allocations(&both_ways(vec![pieces])) <= 2 * 2 * 1000 + GROWTH);
        let write = Request {
            buffer: buffer.wrapping_byte_add(4096),
            length: 4096,
            offset: 8192,
            ..request(SL_FILE_WRITE, id)
        };
        let mut stat: Stat = unsafe_zeroed();
        stat.size = size_of::<Stat>() as u32;
        let stat = Request { buffer: (&raw mut stat).cast(), ..request(SL_FILE_STAT, id) };
        let allocations = tested.allocations(&[write, stat]);
        // The channel to the workers makes a block for every 31 jobs, and so does the one back.
        let most = if tested.driver == SL_DRIVER_POLL as i32 { 2 * 2 * 1000 / 31 + GROWTH } else { GROWTH };
        assert!(allocations <= most, "{allocations}, not {most}");
        // Lent memory of another size than a receive buffer's is made for each.
        let allocations = tested.allocations(&both_ways(vec![lent]));
        assert!(allocations <= 2 * 1000 + most.max(GROWTH), "{allocations}");
    });
    std::fs::remove_file(&path).unwrap();
}

fn unsafe_zeroed<T: Copy>() -> T {
    // SAFETY: used for the C structures above, for which all-zero is a value.
    unsafe { zeroed() }
}

#[test]
fn streams_allocate_nothing() {
    on_every_driver(|tested| {
        let (here, there) = UnixStream::pair().unwrap();
        let mut ids = [0; 2];
        for (end, id) in [here, there].into_iter().zip(&mut ids) {
            // SAFETY: the descriptor is given away.
            assert_eq!(unsafe { sl_stream_adopt(tested.id, end.into_raw_fd() as isize, id) }, 0);
        }
        let mut bytes = vec![7u8; 256];
        let buffer = bytes.as_mut_ptr().cast();
        let send = Request { buffer, length: 64, ..request(SL_STREAM_SEND, ids[0]) };
        let into = Request { buffer: buffer.wrapping_byte_add(128), length: 64, ..request(SL_STREAM_RECEIVE, ids[1]) };
        let lent = request(SL_STREAM_RECEIVE, ids[1]);
        tested.assert_no_allocations(&both_ways(vec![send, into]));
        tested.assert_no_allocations(&[send, lent]);
        // The receive waits until the send comes.
        let handed = Request { options: SL_OPTION_NO_INLINE, ..send };
        tested.assert_no_allocations(&[lent, handed]);
    });
}

#[test]
fn a_batch_wakes_the_loop_at_most_once() {
    on_every_driver(|tested| {
        let requests = vec![request(SL_NOP, tested.id); BATCH];
        tested.carry_out(&requests);
        let before = tested.counters();
        let rounds = 500;
        (0..rounds).for_each(|_| tested.carry_out(&requests));
        let after = tested.counters();
        // Once early, and once more where the loop was so quick that it slept again before the batch was complete.
        assert!(after.wakes - before.wakes <= 2 * rounds, "{} wakes", after.wakes - before.wakes);
        // What is carried out on this thread wakes nobody.
        let posts = vec![request(SL_POST, tested.id); BATCH];
        let before = tested.counters().wakes;
        (0..rounds).for_each(|_| tested.carry_out(&posts));
        assert_eq!(tested.counters().wakes, before);
    });
}
