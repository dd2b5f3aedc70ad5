//! The three styles that need no library: one after the other, a thread per file, a pool. Each runs on the main thread
//! of a process of its own, which the tour starts with a hidden argument.

use crate::hash::{Sum, reason};
use crate::meter::{Meter, WAIT};
use crate::walk;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

/// As many as sideloop uses for files by default.
pub(crate) const POOL_THREADS: usize = 4;

/// A thread that nobody has joined yet keeps its stack, and each stack takes a few of the mappings that a process may
/// have (65530 by default on Linux). Where those run out inside a new thread, the process is aborted; so after this many,
/// all are joined.
const UNJOINED: usize = 10_000;

type Outcome = (usize, io::Result<Sum>);

/// What has been collected.
#[derive(Default)]
struct Tally {
    sum: Sum,
    failed: Vec<(usize, String)>,
}

impl Tally {
    fn add(&mut self, (index, outcome): Outcome) {
        match outcome {
            Ok(sum) => self.sum.add(sum),
            Err(error) => self.failed.push((index, reason(&error))),
        }
    }
}

/// Runs the style that `letter` names over the files in `list`.
pub(crate) fn run(letter: &str, list: &Path) -> Result<(), String> {
    let files = walk::read_list(list).map_err(|error| format!("the list of files: {error}"))?;
    match letter {
        "a" => serial(&files),
        "b" => thread_per_file(files),
        "c" => pool(files),
        _ => return Err(format!("there is no style {letter}")),
    }
    Ok(())
}

fn read(index: usize, path: &Path) -> Outcome {
    (index, fs::read(path).map(|contents| Sum::of_file(index, &contents)))
}

/// (a) The main thread reads. It is free between two files.
fn serial(files: &[PathBuf]) {
    let mut meter = Meter::start();
    let mut tally = Tally::default();
    for (index, path) in files.iter().enumerate() {
        tally.add(read(index, path));
        meter.tick(|| tally.sum);
    }
    meter.finish(tally.sum, &tally.failed);
}

/// (b) Every file gets a thread; the main thread starts them all and then joins them all. Where the system refuses to
/// start one more, it joins those that it has and goes on.
fn thread_per_file(files: Vec<PathBuf>) {
    let files = Arc::new(files);
    let (alive, peak) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
    let mut meter = Meter::start();
    let mut tally = Tally::default();
    let mut running = Vec::new();
    let mut index = 0;
    let mut refused = false;
    while index < files.len() {
        let (shared, alive, peak) = (Arc::clone(&files), Arc::clone(&alive), Arc::clone(&peak));
        let spawned = thread::Builder::new().spawn(move || {
            peak.fetch_max(alive.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let outcome = read(index, &shared[index]);
            alive.fetch_sub(1, Ordering::Relaxed);
            outcome
        });
        match spawned {
            Ok(handle) => {
                running.push(handle);
                meter.started += 1;
                index += 1;
            }
            Err(error) if running.is_empty() => {
                println!("stop\tnot even one thread could be started: {error}");
                return;
            }
            Err(error) => {
                if !refused {
                    println!("note\tthe system refused to start more than {} threads: {error}", running.len());
                    refused = true;
                }
                join(&mut running, &mut tally, &mut meter);
            }
        }
        meter.tick(|| tally.sum);
        if running.len() == UNJOINED {
            join(&mut running, &mut tally, &mut meter);
        }
    }
    join(&mut running, &mut tally, &mut meter);
    meter.at_once = meter.at_once.max(peak.load(Ordering::Relaxed));
    meter.finish(tally.sum, &tally.failed);
}

fn join(running: &mut Vec<thread::JoinHandle<Outcome>>, tally: &mut Tally, meter: &mut Meter) {
    for handle in running.drain(..) {
        if let Ok(outcome) = handle.join() {
            tally.add(outcome);
        }
        meter.tick(|| tally.sum);
    }
}

/// (c) A few threads take one file after the other; the main thread takes what they send, and is free meanwhile.
fn pool(files: Vec<PathBuf>) {
    let (sender, receiver) = mpsc::channel();
    let files = Arc::new(files);
    let next = Arc::new(AtomicUsize::new(0));
    let mut meter = Meter::start();
    let mut tally = Tally::default();
    for _ in 0..POOL_THREADS {
        let (files, next, sender) = (Arc::clone(&files), Arc::clone(&next), sender.clone());
        let worker = move || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = files.get(index) else { return };
                if sender.send(read(index, path)).is_err() {
                    return;
                }
            }
        };
        match thread::Builder::new().spawn(worker) {
            Ok(_) => meter.started += 1,
            Err(error) => println!("note\tthe pool has a thread less: {error}"),
        }
    }
    meter.at_once = meter.started;
    drop(sender);
    meter.tick(|| tally.sum);
    loop {
        match receiver.recv_timeout(WAIT) {
            Ok(outcome) => {
                meter.waited(|| tally.sum);
                tally.add(outcome);
                meter.tick(|| tally.sum);
            }
            Err(RecvTimeoutError::Timeout) => meter.waited(|| tally.sum),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    meter.finish(tally.sum, &tally.failed);
}
