//! Worker threads for what blocks: files, and functions of the caller's. Each pool has its own, so that neither starves the
//! other.
//!
//! Jobs are given on the loop's thread; threads start when there is more work than idle threads, and end with the pool.

use super::buffers::Pool;
use super::{Completion, DriverSettings, Primitive, Token, Value, Waker};
use crate::error::{self, Error, Result};
use crate::sys::{self, Data, Handle, OpenFlags, Path, Target};
use crate::thread_mark;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A primitive that waits for a worker. Whoever takes it out, the worker or a cancel, has it.
pub(super) type Claim = Arc<Mutex<Option<Primitive>>>;

struct Job {
    token: Token,
    claim: Claim,
}

/// What the threads of a pool share.
struct Shared {
    jobs: Receiver<Job>,
    results: Sender<Completion>,
    waker: Arc<Waker>,
    settings: DriverSettings,
    idle: AtomicUsize,
}

/// A pool of worker threads.
pub(super) struct Workers {
    name: &'static str,
    max: usize,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn new(
        name: &'static str,
        max: u32,
        results: Sender<Completion>,
        waker: Arc<Waker>,
        settings: DriverSettings,
    ) -> Self {
        let (sender, jobs) = unbounded();
        let shared = Arc::new(Shared { jobs, results, waker, settings, idle: AtomicUsize::new(0) });
        Workers { name, max: max as usize, jobs: Some(sender), shared, threads: Vec::new() }
    }

    /// Gives a primitive to a worker. Where no thread can be had at all, answers why; nothing is under way then.
    pub(super) fn submit(&mut self, token: Token, primitive: Primitive) -> Result<Claim> {
        let waiting = self.shared.jobs.len();
        if waiting >= self.shared.idle.load(Ordering::SeqCst) && self.threads.len() < self.max {
            let shared = self.shared.clone();
            match sys::spawn_thread(self.name, move || work(&shared)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) if self.threads.is_empty() => return Err(error.into()),
                // Fewer threads than allowed still get everything done.
                Err(_) => {}
            }
        }
        let claim: Claim = Arc::new(Mutex::new(Some(primitive)));
        let jobs = self.jobs.as_ref().ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))?;
        jobs.send(Job { token, claim: claim.clone() }).map_err(|_| Error::new(error::SL_ERR_INTERNAL))?;
        Ok(claim)
    }

    pub(super) fn threads(&self) -> u32 {
        self.threads.len() as u32
    }
}

impl Drop for Workers {
    /// Waits for what has begun; what has not is dropped with the channel.
    fn drop(&mut self) {
        self.jobs = None;
        while self.shared.jobs.try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A worker's life.
fn work(shared: &Shared) {
    thread_mark::set(shared.settings.mark);
    loop {
        shared.idle.fetch_add(1, Ordering::SeqCst);
        let job = shared.jobs.recv();
        shared.idle.fetch_sub(1, Ordering::SeqCst);
        let Ok(job) = job else { return };
        let Some(primitive) = job.claim.lock().take() else { continue };
        drop(job.claim);
        let mut done = 0;
        // `primitive` is gone, and with it what it held open, before anybody hears of its end.
        let result = catch_unwind(AssertUnwindSafe(|| run(primitive, &shared.settings.buffers, &mut done)))
            .unwrap_or_else(|_| Err(Error::with(error::SL_ERR_INTERNAL, "a worker panicked")));
        // Nobody listens only when the whole loop is gone.
        let _ = shared.results.send(Completion { token: job.token, result, done });
        shared.waker.wake();
    }
}

/// Carries a primitive out on this thread, however long it takes.
fn run(primitive: Primitive, buffers: &Arc<Pool>, done: &mut u64) -> Result<Value> {
    Ok(match primitive {
        Primitive::Open { path, flags } => Value::Opened(Handle::open(&path, &flags)?),
        Primitive::Read { file, into: Target::Caller(data), offset } => Value::Count(file.read(&data, offset)?),
        Primitive::Read { file, into: Target::Lend(length), offset } => {
            let mut lent = buffers.take(length)?;
            let count = file.read(&lent.as_data(), offset)?;
            if count == 0 { Value::Nothing } else { Value::Lent(lent.filled(count)) }
        }
        Primitive::Write { file, from, offset } => Value::Count(file.write(&from, offset)?),
        Primitive::Sync { file, data_only } => done_by(file.sync(data_only)?),
        Primitive::Truncate { file, length } => done_by(file.truncate(length)?),
        Primitive::Stat { file } => Value::Stat(Box::new(file.stat()?)),
        Primitive::StatPath { path, follow } => Value::Stat(Box::new(Handle::stat_path(&path, follow)?)),
        Primitive::ReadPath { path } => read_path(&path, buffers)?,
        Primitive::WritePath { path, from, flags } => write_path(&path, from, &flags, done)?,
        Primitive::Close { handle } => done_by(handle.close()?),
        Primitive::Work { function, argument } => {
            // SAFETY: sl_work's caller promises that the function may be called with this argument on any thread.
            Value::Number(unsafe { function(argument.pointer().cast()) })
        }
        Primitive::Accept { .. }
        | Primitive::Connect { .. }
        | Primitive::Receive { .. }
        | Primitive::Send { .. }
        | Primitive::Shutdown { .. } => return Err(Error::new(error::SL_ERR_INTERNAL)),
    })
}

fn done_by((): ()) -> Value {
    Value::Nothing
}

fn read_path(path: &Path, buffers: &Arc<Pool>) -> Result<Value> {
    let file = Handle::open(path, &OpenFlags { read: true, ..OpenFlags::default() })?;
    // 0 for what has no length of its own, like files in /proc: read_to_end finds the end all the same.
    let expected = file.stat()?.length;
    let mut lent = buffers.take_empty(usize::try_from(expected).unwrap_or(usize::MAX))?;
    lent.fill(|bytes| file.read_to_end(bytes))?;
    Ok(if lent.len() == 0 { Value::Nothing } else { Value::Lent(lent) })
}

fn write_path(path: &Path, mut from: Data, flags: &OpenFlags, done: &mut u64) -> Result<Value> {
    let file = Handle::open(path, flags)?;
    let total = from.len();
    while from.len() > 0 {
        let count = file.write(&from, None)?;
        if count == 0 {
            return Err(Error::with(error::SL_ERR_IO, "the system writes 0 bytes"));
        }
        *done += count as u64;
        from.advance(count);
    }
    file.close()?;
    Ok(Value::Count(total))
}
