//! Worker threads for what blocks: files, and functions of the caller's. Each sort has its own, so that neither starves the
//! other.
//!
//! Jobs are given on the loop's thread; threads start when there is more work than idle threads, and end with the pool.

use super::buffers::Pool;
use super::{Completion, DriverSettings, Primitive, Token, Value, Waker};
use crate::error::{self, Error, Result};
use crate::lock::Mutex;
use crate::sys::{self, Data, FileKind, FileStat, Handle, OpenFlags, Path, StatTarget, Target};
use crate::thread_mark;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A primitive that waits for a worker. Whoever takes it out, the worker or a cancel, has it.
pub(super) struct Claim {
    to_work: bool,
    primitive: Mutex<Option<Primitive>>,
}

/// A primitive that was given to a worker.
pub(super) type Given = Arc<Claim>;

struct Job {
    token: Token,
    claim: Given,
}

/// What the threads of a pool share.
struct Shared {
    jobs: Receiver<Job>,
    results: Sender<Completion>,
    waker: Arc<Waker>,
    settings: DriverSettings,
    /// Jobs that are given and not finished: as many threads are wanted.
    unfinished: AtomicUsize,
}

/// A driver's workers.
pub(super) struct Workers {
    files: Crew,
    work: Crew,
    results: Receiver<Completion>,
}

impl Workers {
    pub(super) fn new(settings: &DriverSettings, waker: &Arc<Waker>) -> Self {
        let (sender, results) = unbounded();
        let crew = |name, max| Crew::new(name, max, sender.clone(), waker.clone(), settings.clone());
        Workers {
            files: crew("sideloop-file", settings.max_file_threads),
            work: crew("sideloop-work", settings.max_work_threads),
            results,
        }
    }

    /// Gives all threads and jobs away, and leaves none.
    #[cfg(target_os = "linux")]
    pub(super) fn take(&mut self, settings: &DriverSettings) -> Self {
        let waker = self.files.shared.waker.clone();
        std::mem::replace(self, Workers::new(settings, &waker))
    }

    /// Gives a primitive to a worker. Where no thread can be had at all, answers why; nothing is under way then.
    pub(super) fn submit(&mut self, token: Token, primitive: Primitive) -> Result<Given> {
        let to_work = matches!(primitive, Primitive::Work { .. });
        self.crew(to_work).submit(token, primitive)
    }

    /// Takes back what no worker has begun; false where one has: its real result comes.
    pub(super) fn cancel(&mut self, given: &Given) -> bool {
        self.crew(given.to_work).cancel(given)
    }

    /// Takes back the claim of a primitive that has completed.
    pub(super) fn finished(&mut self, given: Given) {
        let crew = self.crew(given.to_work);
        // The worker has let go of it before it said so.
        if crew.spare.len() < SPARE && Arc::strong_count(&given) == 1 {
            crew.spare.push(given);
        }
    }

    /// What has completed.
    pub(super) fn result(&self) -> Option<Completion> {
        self.results.try_recv().ok()
    }

    pub(super) fn threads(&self) -> u32 {
        (self.files.threads.len() + self.work.threads.len()) as u32
    }

    fn crew(&mut self, to_work: bool) -> &mut Crew {
        if to_work { &mut self.work } else { &mut self.files }
    }
}

/// One pool of worker threads.
struct Crew {
    name: &'static str,
    max: usize,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Claims that wait to be used again.
    spare: Vec<Given>,
    /// How many jobs were cancelled since the channel was last looked through.
    cancelled: usize,
}

/// So many claims are kept for the next jobs.
const SPARE: usize = 256;

/// So many cancelled jobs may lie in the channel before it is looked through.
const PURGE: usize = 256;

impl Crew {
    fn new(
        name: &'static str,
        max: u32,
        results: Sender<Completion>,
        waker: Arc<Waker>,
        settings: DriverSettings,
    ) -> Self {
        let (sender, jobs) = unbounded();
        let shared = Arc::new(Shared { jobs, results, waker, settings, unfinished: AtomicUsize::new(0) });
        Crew {
            name,
            max: max as usize,
            jobs: Some(sender),
            shared,
            threads: Vec::new(),
            spare: Vec::new(),
            cancelled: 0,
        }
    }

    fn submit(&mut self, token: Token, primitive: Primitive) -> Result<Given> {
        let unfinished = self.shared.unfinished.load(Ordering::SeqCst);
        if unfinished >= self.threads.len() && self.threads.len() < self.max {
            let shared = self.shared.clone();
            match sys::spawn_thread(self.name, move || work(&shared)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) if self.threads.is_empty() => return self.submit_to_nobody(token, primitive, error.into()),
                // Fewer threads than allowed still get everything done.
                Err(_) => {}
            }
        }
        let to_work = matches!(primitive, Primitive::Work { .. });
        let new = || Arc::new(Claim { to_work, primitive: Mutex::new(None) });
        let claim = self.spare.pop().unwrap_or_else(new);
        *claim.primitive.lock() = Some(primitive);
        let jobs = self.jobs.as_ref().ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))?;
        self.shared.unfinished.fetch_add(1, Ordering::SeqCst);
        jobs.send(Job { token, claim: claim.clone() }).map_err(|_| Error::new(error::SL_ERR_INTERNAL))?;
        Ok(claim)
    }

    /// No thread can be had. What cannot be left undone is done here, though it may take a while; the rest fails.
    fn submit_to_nobody(&mut self, token: Token, primitive: Primitive, error: Error) -> Result<Given> {
        let Primitive::Close { handle } = primitive else { return Err(error) };
        let result = handle.close().map(done_by).map_err(Error::from);
        // Both ends are here: it cannot fail.
        let _ = self.shared.results.send(Completion { token, result, done: 0, more: false });
        Ok(Arc::new(Claim { to_work: false, primitive: Mutex::new(None) }))
    }

    fn cancel(&mut self, claim: &Claim) -> bool {
        if claim.primitive.lock().take().is_none() {
            return false;
        }
        // The workers drop what is empty when they come to it. Where they never do, it must not pile up.
        self.cancelled += 1;
        if self.cancelled > PURGE && self.cancelled * 2 > self.shared.jobs.len() {
            self.purge();
        }
        true
    }

    /// Looks through the channel once, and drops what was cancelled.
    fn purge(&mut self) {
        self.cancelled = 0;
        let Some(jobs) = &self.jobs else { return };
        for _ in 0..self.shared.jobs.len() {
            let Ok(job) = self.shared.jobs.try_recv() else { break };
            if job.claim.primitive.lock().is_none() {
                self.shared.unfinished.fetch_sub(1, Ordering::SeqCst);
            } else {
                // Both ends are here: it cannot fail.
                let _ = jobs.send(job);
            }
        }
    }
}

impl Drop for Crew {
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
        let Ok(job) = shared.jobs.recv() else { return };
        let taken = job.claim.primitive.lock().take();
        let Some(primitive) = taken else {
            shared.unfinished.fetch_sub(1, Ordering::SeqCst);
            continue;
        };
        drop(job.claim);
        let mut done = 0;
        // `primitive` is gone, and with it what it held open, before anybody hears of its end.
        let result = catch_unwind(AssertUnwindSafe(|| run(primitive, &shared.settings.buffers, &mut done)))
            .unwrap_or_else(|_| Err(Error::with(error::SL_ERR_INTERNAL, "a worker panicked")));
        shared.unfinished.fetch_sub(1, Ordering::SeqCst);
        // Nobody listens only when the whole loop is gone.
        let _ = shared.results.send(Completion { token: job.token, result, done, more: false });
        shared.waker.wake();
    }
}

/// Carries a primitive out on this thread, however long it takes.
pub(super) fn run(primitive: Primitive, buffers: &Arc<Pool>, done: &mut u64) -> Result<Value> {
    Ok(match primitive {
        Primitive::Open { path, flags } => Value::Opened(Handle::open(&path, &flags)?),
        Primitive::Read { file, into: Target::Caller(data), offset } => Value::Count(file.read(&data, offset)?),
        Primitive::Read { file, into: Target::Lend(length), offset } => {
            let Some(mut lent) = buffers.take(length)? else { return Ok(Value::Starved(length as u64)) };
            let count = file.read(&lent.as_data(), offset)?;
            if count == 0 { Value::Nothing } else { Value::Lent(lent.filled(count)) }
        }
        Primitive::Write { file, from, offset } => Value::Count(file.write(&from, offset)?),
        Primitive::Sync { file, data_only } => done_by(file.sync(data_only)?),
        Primitive::Truncate { file, length } => done_by(file.truncate(length)?),
        Primitive::Stat { file, target } => stat(target, file.stat()?),
        Primitive::StatPath { path, follow, target } => stat(target, Handle::stat_path(&path, follow)?),
        Primitive::ReadPath { path } => read_path(&path, buffers)?,
        Primitive::WritePath { path, from, flags } => write_path(&path, from, &flags, done)?,
        Primitive::Close { handle } => done_by(handle.close()?),
        Primitive::OpenReplacement { path, of, mode } => Value::Opened(sys::open_replacement(&path, &of, mode)?),
        Primitive::Copy { from, to, length } => Value::Count(sys::copy(&from, &to, length)?),
        Primitive::Remove { path, directory } => done_by(sys::remove(&path, directory)?),
        Primitive::Rename { from, to, replace } => done_by(sys::rename(&from, &to, replace)?),
        Primitive::MakeDirectory { path, mode } => done_by(sys::make_directory(&path, mode)?),
        Primitive::Link { from, to, kind } => done_by(sys::link(&from, &to, kind)?),
        Primitive::ReadLink { path } => lend(sys::read_link(&path)?, buffers)?,
        Primitive::ListPath { path, pack } => lend(sys::list(&path, pack, buffers.most(usize::MAX))?, buffers)?,
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

fn stat(target: StatTarget, stat: FileStat) -> Value {
    target.fill(&stat);
    Value::Nothing
}

fn done_by((): ()) -> Value {
    Value::Nothing
}

fn read_path(path: &Path, buffers: &Arc<Pool>) -> Result<Value> {
    let file = Handle::open(path, &OpenFlags { read: true, ..OpenFlags::default() })?;
    let stat = file.stat()?;
    // 0 for what has no length of its own, like files in /proc: read_to_end finds the end all the same. A directory's is not
    // that of anything that can be read.
    let expected = if stat.kind == FileKind::File { stat.length } else { 0 };
    let length = usize::try_from(expected).unwrap_or(usize::MAX);
    let Some(mut lent) = buffers.take_empty(length)? else { return Ok(Value::Starved(expected)) };
    let mut most = 0;
    lent.fill(|bytes, room| {
        most = room;
        file.read_to_end(bytes, room.saturating_add(1))
    })?;
    if lent.len() as u64 > most {
        return Err(Error::with(error::SL_ERR_NO_BUFFERS, "the file is larger than there is room for"));
    }
    Ok(if lent.len() == 0 { Value::Nothing } else { Value::Lent(lent) })
}

/// Gives bytes of ours away.
fn lend(bytes: Vec<u8>, buffers: &Arc<Pool>) -> Result<Value> {
    let length = bytes.len();
    Ok(match buffers.give(bytes)? {
        _ if length == 0 => Value::Nothing,
        Some(lent) => Value::Lent(lent),
        None => Value::Starved(length as u64),
    })
}

fn write_path(path: &Path, from: Data, flags: &OpenFlags, done: &mut u64) -> Result<Value> {
    let file = Handle::open(path, flags)?;
    let total = from.len();
    sys::write_all(&file, from, done)?;
    file.close()?;
    Ok(Value::Count(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::this_program;

    #[test]
    fn where_no_thread_can_be_had_what_is_to_be_closed_is() {
        let mut workers = Workers::new(&DriverSettings::alone(), &Waker::new(|| {}));
        let why = || Error::new(error::SL_ERR_OS);
        let sync = Primitive::Sync { file: Arc::new(this_program()), data_only: false };
        assert_eq!(workers.files.submit_to_nobody(1, sync, why()).err().unwrap().status, error::SL_ERR_OS);
        assert!(workers.result().is_none());
        let close = Primitive::Close { handle: this_program() };
        assert!(workers.files.submit_to_nobody(2, close, why()).is_ok());
        let Completion { token, result, .. } = workers.result().unwrap();
        assert!(token == 2 && matches!(result, Ok(Value::Nothing)));
    }
}
