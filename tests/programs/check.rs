//! Runs random programs, each twice on a simulated loop, and compares what each leaves behind.

use crate::counting::LIVE;
use crate::pinned;
use crate::program::{self, Program};
use crate::run;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use sideloop::ffi::lifecycle::{SL_DRIVER_POLL, SL_DRIVER_SIM, SL_DRIVER_URING};
use std::cell::Cell;
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As long as no program takes, however busy the machine is.
const WATCHDOG: Duration = Duration::from_secs(180);

/// How many programs were run.
static RUNS: AtomicU64 = AtomicU64::new(1);

/// What a program must leave as it was.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    allocations: i64,
}

impl Holdings {
    fn now() -> Self {
        let entries = |folder: &str| fs::read_dir(folder).expect("this is Linux").count();
        let (descriptors, threads) = (entries("/proc/self/fd"), entries("/proc/self/task"));
        Holdings { descriptors, threads, allocations: LIVE.load(Ordering::SeqCst) }
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Runs a program, and compares what it leaves behind; answers the trace.
fn run_once(driver: u32, program: &Program) -> Result<Option<u64>, String> {
    let before = Holdings::now();
    let trace = run::run(RUNS.fetch_add(1, Ordering::Relaxed), driver, program)?;
    let settles_until = Instant::now() + Duration::from_secs(10);
    loop {
        let after = Holdings::now();
        let same = (before.descriptors, before.allocations) == (after.descriptors, after.allocations);
        // The system takes a moment to clear away a thread that has ended: there may be one less of the run before.
        match after.threads.cmp(&before.threads) {
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal if same => return Ok(trace),
            std::cmp::Ordering::Greater if Instant::now() < settles_until => std::thread::yield_now(),
            _ => return Err(format!("before: {before:?}, after: {after:?}")),
        }
    }
}

/// Runs a program, on a simulated loop twice; answers whether there is such a driver.
fn try_out(driver: u32, program: &Program) -> Result<bool, String> {
    let trace = run_once(driver, program)?;
    if driver == SL_DRIVER_SIM {
        let again = run_once(driver, program)?;
        if trace != again {
            return Err(format!("the same seed gives {trace:x?} and {again:x?}"));
        }
    }
    Ok(trace.is_some())
}

/// Runs so many programs on a driver; answers how many steps there were, or None where there is no such driver.
fn run_many(driver: u32, cases: u32, seed: u64) -> Option<u64> {
    let config = Config { cases, max_shrink_iters: 3000, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (steps, there) = (Cell::new(0), Cell::new(true));
    let outcome = runner.run(&program::programs(40), |program| {
        steps.set(steps.get() + program.steps.len() as u64);
        there.set(try_out(driver, &program).map_err(TestCaseError::fail)?);
        Ok(())
    });
    match outcome {
        Err(TestError::Fail(reason, program)) => {
            panic!("driver {driver}, programs from seed {seed}: {reason}\nthe smallest program: {program:?}");
        }
        Err(other) => panic!("driver {driver}, programs from seed {seed}: {other}"),
        Ok(()) => {}
    }
    there.get().then(|| steps.get())
}

/// Ends the process where a program hangs. It is there before anything is counted, and allocates nothing after.
fn watch() {
    static BEGINS: Barrier = Barrier::new(2);
    std::thread::spawn(|| {
        BEGINS.wait();
        let mut seen = u64::MAX;
        loop {
            let now = RUNS.load(Ordering::Relaxed);
            if now == seen {
                eprintln!("a program hangs");
                std::process::abort();
            }
            seen = now;
            std::thread::sleep(WATCHDOG);
        }
    });
    BEGINS.wait();
}

pub(crate) fn all() {
    let cases = from_environment("SIDELOOP_PROGRAMS", 400) as u32;
    let seed = from_environment("SIDELOOP_PROGRAMS_SEED", 1);
    watch();
    for (driver, name, share) in [(SL_DRIVER_SIM, "sim", 1), (SL_DRIVER_POLL, "poll", 4), (SL_DRIVER_URING, "uring", 4)]
    {
        // What is made once in a process is made before anything is counted.
        run_many_warm(driver);
        for program in pinned::programs() {
            if let Err(error) = try_out(driver, &program) {
                panic!("driver {driver}, the pinned program of seed {}: {error}", program.seed);
            }
        }
        let begun = Instant::now();
        match run_many(driver, cases.div_ceil(share), seed) {
            Some(steps) => {
                println!(
                    "{name}: {} programs, {steps} steps, {:.1} s",
                    cases.div_ceil(share),
                    begun.elapsed().as_secs_f64()
                );
            }
            None => println!("skipped: there is no {name} here"),
        }
    }
}

/// Runs a few programs whose leavings do not count.
fn run_many_warm(driver: u32) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..5 {
        let tree = program::programs(40).new_tree(&mut runner).expect("every program can be made");
        let program = proptest::strategy::ValueTree::current(&tree);
        let _ = run::run(0, driver, &program);
    }
}
