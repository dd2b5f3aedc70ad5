//! What a style's process measures about itself. It lives on the style's main thread; c/tour.c and
//! python/coroutines.py measure the same in the same way.
//!
//! The question is how long the main thread could not have done anything else (drawn a frame, answered a click). So it
//! calls `tick` whenever it has a moment, and the longest time between two ticks is the answer. A wait that anything
//! could have cut short counts as free for as long as it was meant to take: only its lateness is held against it.

use crate::hash::Sum;
use std::fs;
use std::time::{Duration, Instant};

/// How long a main thread with nothing to do waits before it looks again.
pub(crate) const WAIT: Duration = Duration::from_millis(1);

/// How often progress is reported and threads are counted.
const REPORT: Duration = Duration::from_millis(25);

pub(crate) struct Meter {
    start: Instant,
    cpu_at_start: Option<u64>,
    free_at: Instant,
    longest: Duration,
    reported: Instant,
    /// The most threads that were seen alive at a time, with the main thread.
    pub(crate) at_once: u64,
    /// How many threads there were in all, with the main thread.
    pub(crate) started: u64,
}

impl Meter {
    pub(crate) fn start() -> Meter {
        let now = Instant::now();
        Meter {
            start: now,
            cpu_at_start: main_thread_cpu_ns(),
            free_at: now,
            longest: Duration::ZERO,
            reported: now,
            at_once: 1,
            started: 1,
        }
    }

    /// The main thread has a moment.
    pub(crate) fn tick(&mut self, done: impl FnOnce() -> Sum) {
        self.free_from(Instant::now(), done);
    }

    /// The main thread comes back from a wait of at most WAIT that began at its last tick.
    pub(crate) fn waited(&mut self, done: impl FnOnce() -> Sum) {
        let now = Instant::now();
        self.free_at = now.min(self.free_at + WAIT);
        self.free_from(now, done);
    }

    fn free_from(&mut self, now: Instant, done: impl FnOnce() -> Sum) {
        self.longest = self.longest.max(now - self.free_at);
        self.free_at = now;
        if now - self.reported >= REPORT {
            self.reported = now;
            let done = done();
            println!("progress\t{}\t{}", done.files, done.bytes);
            self.at_once = self.at_once.max(status_field("Threads:").unwrap_or(0));
        }
    }

    /// The work is done: prints what was measured.
    pub(crate) fn finish(mut self, sum: Sum, failed: &[(usize, String)]) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.free_at);
        let cpu = main_thread_cpu_ns().zip(self.cpu_at_start).map(|(now, start)| now - start);
        for (index, reason) in failed {
            println!("failed\t{index}\t{reason}");
        }
        let optional = |number: Option<u64>| number.map_or("-".to_string(), |number| number.to_string());
        println!(
            "result\tfiles={}\tbytes={}\thash={:016x}\ttime={}\tblocked={}\tcpu={}\tstarted={}\tat_once={}\tmemory={}",
            sum.files,
            sum.bytes,
            sum.hash,
            (now - self.start).as_nanos(),
            self.longest.as_nanos(),
            optional(cpu),
            self.started.max(self.at_once),
            self.at_once,
            optional(status_field("VmHWM:").map(|kib| kib * 1024)),
        );
    }
}

/// A number of /proc/self/status (Linux). The peak of memory comes from here and not from getrusage, whose figure begins
/// with that of the process that started this one.
fn status_field(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor time of the calling thread (Linux).
fn main_thread_cpu_ns() -> Option<u64> {
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}
