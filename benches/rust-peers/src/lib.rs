//! What the peers in Rust share, as `peers/common.h` for those in C: arguments, figures, clocks, and the loads themselves.
//! Counters are atomic only so that tasks of any runtime may hold them; each runtime has one thread.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The KEY=VALUE arguments of this program.
pub struct Arguments(Vec<String>);

impl Arguments {
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn number(&self, key: &str, otherwise: u64) -> u64 {
        self.text(key).map_or(otherwise, |text| text.parse().expect("a number"))
    }

    /// The end of the time that is given.
    pub fn end(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.number("ms", 300))
    }
}

/// A span of wall time and of processor time, from its making on.
pub struct Span {
    wall: Instant,
    cpu: u64,
}

impl Span {
    pub fn begin() -> Span {
        Span { cpu: cpu_ns(), wall: Instant::now() }
    }

    /// Prints what each of `count` operations has cost.
    pub fn report(&self, count: u64) {
        assert!(count > 0, "something was done");
        let (wall, cpu) = (self.wall.elapsed().as_nanos(), cpu_ns() - self.cpu);
        println!("{{\"ns\":{:.3},\"cpu_ns\":{:.3}}}", wall as f64 / count as f64, cpu as f64 / count as f64);
    }
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A work by name.
pub type Work = (&'static str, fn(&Arguments));

/// Runs the work that the command line names. The alarm ends what hangs, and the parent's end ends this.
pub fn run(works: &[Work]) {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    // SAFETY: neither touches memory of this program.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(60);
    }
    raise_descriptor_limit();
    match works.iter().find(|work| work.0 == name) {
        Some(work) => (work.1)(&Arguments(arguments.collect())),
        None => panic!("this peer does not do {name:?}"),
    }
}

fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// Reads of one cached file: random blocks until the time is over, or all blocks in order. Every 4 KiB of the file begin
/// with their own offset.
pub struct Reads {
    pub path: PathBuf,
    pub depth: u64,
    pub block: usize,
    blocks: u64,
    in_order: bool,
    random: AtomicU64,
    taken: AtomicU64,
    done: AtomicU64,
    end: Instant,
    begun: Span,
}

impl Reads {
    pub fn open(arguments: &Arguments) -> Reads {
        let path = PathBuf::from(arguments.text("file").expect("file=..."));
        let block = arguments.number("block", 4096);
        Reads {
            depth: arguments.number("depth", 1),
            block: block as usize,
            blocks: std::fs::metadata(&path).expect("the file is there").len() / block,
            path,
            in_order: arguments.number("in_order", 0) == 1,
            random: AtomicU64::new(88_172_645_463_325_252),
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            end: arguments.end(),
            begun: Span::begin(),
        }
    }

    /// The offset to read next; none: nothing more.
    pub fn next(&self) -> Option<u64> {
        let taken = self.taken.load(Relaxed);
        // The clock is asked now and then only.
        let over =
            if self.in_order { taken == self.blocks } else { taken.is_multiple_of(64) && Instant::now() >= self.end };
        if over {
            return None;
        }
        self.taken.store(taken + 1, Relaxed);
        Some(if self.in_order { taken } else { self.next_random() % self.blocks } * self.block as u64)
    }

    fn next_random(&self) -> u64 {
        let mut state = self.random.load(Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.store(state, Relaxed);
        state
    }

    pub fn done(&self, offset: u64, data: &[u8]) {
        assert!(data.len() == self.block && data[..8] == offset.to_ne_bytes());
        self.done.store(self.done.load(Relaxed) + 1, Relaxed);
    }

    pub fn report(&self) {
        self.begun.report(self.done.load(Relaxed));
    }
}

/// Whole files, each once in every pass. Each begins with its own number.
pub struct Files {
    pub depth: u64,
    paths: Vec<PathBuf>,
    total: u64,
    taken: AtomicU64,
    done: AtomicU64,
    begun: Span,
}

impl Files {
    pub fn open(arguments: &Arguments) -> Files {
        let folder = PathBuf::from(arguments.text("folder").expect("folder=..."));
        let paths: Vec<_> = (0..arguments.number("count", 10_000)).map(|i| folder.join(format!("{i:05}"))).collect();
        Files {
            depth: arguments.number("depth", 64),
            total: paths.len() as u64 * arguments.number("passes", 1),
            paths,
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            begun: Span::begin(),
        }
    }

    /// The number of the next file, and its path; none: nothing more.
    pub fn next(&self) -> Option<(u64, &PathBuf)> {
        let taken = self.taken.load(Relaxed);
        if taken == self.total {
            return None;
        }
        self.taken.store(taken + 1, Relaxed);
        let number = taken % self.paths.len() as u64;
        Some((number, &self.paths[number as usize]))
    }

    pub fn done(&self, number: u64, data: &[u8]) {
        assert!(data.len() == 4096 && data[..8] == number.to_ne_bytes());
        self.done.store(self.done.load(Relaxed) + 1, Relaxed);
    }

    pub fn report(&self) {
        assert_eq!(self.done.load(Relaxed), self.total);
        self.begun.report(self.total);
    }
}

/// Writes of 4 KiB, each made safe with fsync, to files of their own until the time is over.
pub struct Syncs {
    pub paths: Vec<PathBuf>,
    done: AtomicU64,
    end: Instant,
    begun: Span,
}

impl Syncs {
    pub fn open(arguments: &Arguments) -> Syncs {
        let folder = PathBuf::from(arguments.text("folder").expect("folder=..."));
        let paths: Vec<_> = (0..16).map(|i| folder.join(format!("sync-{i}"))).collect();
        for path in &paths {
            // What is allocated beforehand need not be allocated while the clock runs.
            std::fs::write(path, [0; 4096])
                .and_then(|()| File::open(path)?.sync_all())
                .expect("the folder is writable");
        }
        Syncs { paths, done: AtomicU64::new(0), end: arguments.end(), begun: Span::begin() }
    }

    pub fn next(&self) -> bool {
        Instant::now() < self.end
    }

    pub fn done(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    pub fn report(&self) {
        self.begun.report(self.done.load(Relaxed));
    }
}

/// Listens on a free port of this machine, which the first line of output tells. Connections take over TCP_NODELAY.
pub fn listen_here() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let yes: libc::c_int = 1;
    // SAFETY: the option's value outlives the call; a second listen only makes the backlog longer.
    unsafe {
        let value = (&raw const yes).cast();
        let length = size_of_val(&yes) as libc::socklen_t;
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, value, length);
        libc::listen(listener.as_raw_fd(), 4096);
    }
    listener.set_nonblocking(true)?;
    println!("{{\"port\":{}}}", listener.local_addr()?.port());
    Ok(listener)
}

/// Timers due within a second of their start, in whole milliseconds.
pub struct Timers {
    pub count: u64,
    random: u64,
    begun: Span,
}

/// What tokio's and compio's clocks are rounded to.
const GRAIN: Duration = Duration::from_millis(1);

impl Timers {
    pub fn open(arguments: &Arguments) -> Timers {
        Timers { count: arguments.number("count", 1_000_000), random: 88_172_645_463_325_252, begun: Span::begin() }
    }

    pub fn delay(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Duration::from_millis(self.random % 1000)
    }

    pub fn fired(due: Instant) {
        assert!(Instant::now() + GRAIN >= due, "no timer fires early");
    }

    pub fn report(&self) {
        self.begun.report(self.count);
    }
}

/// Opens and drops something until the time is over.
pub fn open_and_close<T>(arguments: &Arguments, open: impl Fn() -> T) {
    let end = arguments.end();
    let begun = Span::begin();
    let mut done = 0;
    while Instant::now() < end {
        drop(open());
        done += 1;
    }
    begun.report(done);
}
