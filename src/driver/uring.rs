//! The driver on io_uring (Linux): the kernel carries out files and sockets alike, and one system call a turn both submits and
//! waits. What the kernel has no opcode for, and functions of the caller's, go to the worker threads.
//!
//! Made and used on the loop's thread, which is the ring's single issuer.

mod flight;
mod lending;
mod setup;

use super::poll::PollDriver;
use super::workers::{Given, Workers};
use super::{Completion, Driver, DriverSettings, Key, Primitive, Token, Value, Waker, cancelled};
use crate::error::{self, Error, Result};
use crate::sys::{self, Handle, Target};
use flight::{Extra, Flight, What};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use lending::Lending;
use setup::Abilities;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// What completions belong to that belong to no operation.
const WAKE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// No wait is shorter: this kernel call is exact to the nanosecond, and timers close to each other are better fired together.
/// Other calls that wait are as late as that (timerslack, prctl(2)).
const SLACK: Duration = Duration::from_micros(50);

/// How many completions are copied out of the ring at a time.
const BATCH: usize = 64;

/// So many boxes are kept for the next flights.
const SPARE: usize = 256;

/// Where the primitive of a token is.
#[derive(Default)]
enum Pending {
    #[default]
    None,
    Kernel(Flight),
    Worker(Given),
}

pub(crate) struct UringDriver {
    /// Before what the kernel may write to: fields are dropped in this order.
    ring: IoUring,
    lending: Option<Lending>,
    abilities: Abilities,
    /// Being dropped: what ends now is not begun again.
    closing: bool,
    pending: Vec<Pending>,
    #[expect(clippy::vec_box, reason = "a submission may point into one: it must not move")]
    spare: Vec<Box<Extra>>,
    /// What stays open until a worker is done.
    held_open: Vec<(Token, Handle)>,
    in_kernel: u32,
    completed: Vec<Completion>,
    workers: Workers,
    wake: Arc<sys::EventCounter>,
    /// What the standing read of the wake counter writes to.
    wakes: Box<u64>,
    wake_stands: bool,
    /// Somebody has woken this thread since it last began to wait.
    woken: bool,
    /// The descriptors of attached sockets, by key.
    attached: Vec<Option<i32>>,
    free: Vec<Key>,
    /// What is queued for the kernel and was not taken yet, in its order, by the tokens.
    queued: VecDeque<u64>,
    /// The kernel takes nothing from this ring any more, and why.
    refused: Option<Error>,
    settings: DriverSettings,
}

impl UringDriver {
    /// Opens a ring, or says why there can be none.
    pub(crate) fn open(settings: DriverSettings) -> Result<(Self, Arc<Waker>)> {
        let (ring, abilities) = setup::open_ring()?;
        let wake = Arc::new(sys::EventCounter::new()?);
        let waker = Waker::new({
            let wake = wake.clone();
            move || wake.add()
        });
        let mut driver = UringDriver {
            ring,
            lending: None,
            abilities,
            closing: false,
            pending: Vec::new(),
            spare: Vec::new(),
            held_open: Vec::new(),
            in_kernel: 0,
            completed: Vec::new(),
            workers: Workers::new(&settings, &waker),
            wake,
            wakes: Box::new(0),
            wake_stands: false,
            woken: false,
            attached: Vec::new(),
            free: Vec::new(),
            queued: VecDeque::new(),
            refused: None,
            settings,
        };
        driver.watch_for_wakes();
        Ok((driver, waker))
    }

    /// A read of the wake counter always stands, so that a wake ends the wait for completions.
    fn watch_for_wakes(&mut self) {
        let target = (&raw mut *self.wakes).cast::<u8>();
        let entry = opcode::Read::new(Fd(self.wake.descriptor()), target, 8).build().user_data(WAKE);
        self.wake_stands = true;
        self.push(entry);
    }

    /// Queues an entry for the kernel.
    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entry points to is in a boxed `Extra` (or in `self.wakes`), which stays until the completion; the
        // caller's memory and the operation's handle stay until its last event, which comes later.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // Full: hand over what there is. If the kernel is short of something, its completions make room.
            if self.enter(Some(Duration::ZERO)).is_err() {
                // What was not taken is begun anew by the driver that takes over.
                break;
            }
            self.reap();
        }
        self.queued.push_back(entry.get_user_data());
    }

    /// Whether the kernel has taken the entry of a token out of the ring: otherwise it has done nothing of it.
    fn was_taken(&self, token: Token) -> bool {
        !self.queued.contains(&u64::from(token))
    }

    fn complete(&mut self, token: Token, result: Result<Value>) {
        self.completed.push(Completion { token, result, done: 0, more: false });
    }

    /// Gives a primitive to the kernel, or lets it wait for a lent buffer.
    fn launch(&mut self, token: Token, primitive: Primitive) -> Result<()> {
        let chooses = self.kernel_chooses(&primitive);
        let mut extra = flight::needs_extra(&primitive).then(|| self.extra());
        if let Primitive::Read { into: Target::Lend(length), .. }
        | Primitive::Receive { into: Target::Lend(length), .. } = &primitive
        {
            let pool = &self.settings.buffers;
            if chooses && pool.is_used_up() {
                self.complete(token, Ok(Value::Starved(pool.receive_size() as u64)));
                return Ok(());
            }
            if !chooses {
                let Some(lent) = pool.take(*length)? else {
                    self.complete(token, Ok(Value::Starved(*length as u64)));
                    return Ok(());
                };
                let mut holder = self.extra();
                holder.lent = Some(lent);
                extra = Some(holder);
            }
        }
        let multishot = self.abilities.multishot
            && match &primitive {
                Primitive::Accept { multishot, .. } => *multishot,
                Primitive::Receive { multishot, .. } => *multishot && chooses,
                _ => false,
            };
        let (flight, entry) = Flight::of(primitive, extra, chooses, multishot)?;
        self.pending[token as usize] = Pending::Kernel(flight);
        self.in_kernel += 1;
        self.push(entry.user_data(u64::from(token)));
        Ok(())
    }

    /// Whether the kernel shall choose the buffer of a receive when bytes arrive. Where it cannot be given any, the receive has
    /// one from the start.
    fn kernel_chooses(&mut self, primitive: &Primitive) -> bool {
        let Primitive::Receive { stream, into: Target::Lend(length), .. } = primitive else { return false };
        let pool = &self.settings.buffers;
        if *length > pool.receive_size() || stream.handle.is_pipe() || Lending::size_for(pool) == 0 {
            return false;
        }
        if self.lending.is_none() {
            self.lending = Lending::register(&self.ring, pool).ok();
        }
        self.lending.is_some()
    }

    fn extra(&mut self) -> Box<Extra> {
        self.spare.pop().unwrap_or_else(Extra::new)
    }

    fn keep(&mut self, extra: Option<Box<Extra>>) {
        let Some(mut extra) = extra else { return };
        extra.clear();
        if self.spare.len() < SPARE {
            self.spare.push(extra);
        }
    }

    fn submit_to_worker(&mut self, token: Token, primitive: Primitive) {
        match self.workers.submit(token, primitive) {
            Ok(given) => self.pending[token as usize] = Pending::Worker(given),
            Err(error) => self.complete(token, Err(error)),
        }
    }

    fn take_results(&mut self) {
        while let Some(completion) = self.workers.result() {
            if let Pending::Worker(given) = std::mem::take(&mut self.pending[completion.token as usize]) {
                self.workers.finished(given);
            }
            self.held_open.retain(|(token, _)| *token != completion.token);
            self.completed.push(completion);
        }
    }

    /// Takes what the kernel has completed.
    fn reap(&mut self) {
        loop {
            let mut entries = [const { MaybeUninit::uninit() }; BATCH];
            let entries: &[cqueue::Entry] = self.ring.completion().fill(&mut entries);
            for entry in entries {
                match entry.user_data() {
                    WAKE => (self.wake_stands, self.woken) = (false, true),
                    CANCEL => {}
                    token => self.landed(token as Token, entry),
                }
            }
            if entries.len() < BATCH {
                break;
            }
        }
        if !self.wake_stands && !self.closing {
            self.watch_for_wakes();
        }
        if let Some(lending) = &mut self.lending {
            // Asked for again when bytes arrive.
            let _ = lending.refill();
        }
    }

    fn landed(&mut self, token: Token, entry: &cqueue::Entry) {
        let (result, flags) = (entry.result(), entry.flags());
        let chosen = match (cqueue::buffer_select(flags), &mut self.lending) {
            (Some(number), Some(lending)) => Some(lending.take(number, result.max(0) as usize)),
            _ => None,
        };
        if cqueue::more(flags) {
            let result = match chosen {
                Some(lent) => lent.map(Value::Lent),
                // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
                None => Ok(Value::Opened(unsafe { Handle::from_accepted(result) })),
            };
            return self.completed.push(Completion { token, result, done: 0, more: true });
        }
        let Some(Pending::Kernel(mut flight)) = self.pending.get_mut(token as usize).map(std::mem::take) else {
            return;
        };
        self.in_kernel -= 1;
        let outcome = match chosen {
            Some(lent) if result > 0 => lent.map(Value::Lent),
            _ if flight.goes_again(result) || flight.chooses && result == -libc::ENOBUFS => match flight.cancelled {
                // The kernel was asked to cancel it, and found it on its way here.
                true => Err(cancelled()),
                false if result == -libc::ENOBUFS => self.out_of_buffers(),
                false => Ok(Value::Again),
            },
            _ if result == -libc::ECANCELED && !flight.cancelled => self.not_begun(&flight),
            _ => flight.value(result),
        };
        let opening = flight.extra.as_mut().and_then(|extra| Some((extra.path.take()?, extra.flags)));
        self.keep(flight.extra);
        match opening {
            Some((path, flags)) if flight.what == What::Open && !flight.cancelled && is_early(&outcome) => {
                if let Ok(Value::Opened(handle)) = outcome {
                    self.held_open.push((token, handle));
                }
                self.submit_to_worker(token, Primitive::Open { path, flags });
            }
            _ => self.complete(token, outcome),
        }
    }

    /// What becomes of a flight that the kernel has cancelled though nobody asked for it: it can start no thread of its own for it
    /// (RLIMIT_NPROC; io_wq_enqueue), or the thread that submitted it has ended. To the caller it is not cancelled.
    fn not_begun(&self, flight: &Flight) -> Result<Value> {
        match flight.what {
            _ if self.closing => self.lost(flight),
            // What was to be closed is closed when the flight is dropped.
            What::Close => Ok(Value::Nothing),
            _ => Err(std::io::Error::from_raw_os_error(libc::EAGAIN).into()),
        }
    }

    /// The kernel had no buffer left when bytes arrived: it gets new ones, or the loop's limit is reached.
    fn out_of_buffers(&mut self) -> Result<Value> {
        if let Some(lending) = &mut self.lending {
            lending.refill()?;
        }
        // Callers may have given buffers back since: then the kernel tries again, and so does this.
        let pool = &self.settings.buffers;
        Ok(if pool.is_used_up() { Value::Starved(pool.receive_size() as u64) } else { Value::Again })
    }

    /// Enters the kernel: submits, and waits for a completion for at most `timeout`.
    fn enter(&mut self, timeout: Option<Duration>) -> Result<()> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let entered = match timeout {
            Some(Duration::ZERO) => {
                let submission = self.ring.submission();
                let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                drop(submission);
                if idle { Ok(0) } else { self.ring.submit() }
            }
            Some(timeout) => {
                let timeout = Timespec::from(timeout.max(SLACK));
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
            None => self.ring.submit_and_wait(1),
        };
        let left = self.ring.submission().len();
        self.queued.drain(..self.queued.len() - left);
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            // Time is up; a debugger's stop; the kernel is short of memory or wants its completions taken first.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) | Ok(_) => Ok(()),
            Err((_, error)) => {
                let detail = format!("io_uring_enter: {error}");
                let error = Error { detail: detail.into(), ..Error::from(error) };
                self.refused = Some(error.clone());
                Err(error)
            }
        }
    }

    /// What becomes of a flight whose result will never be known: the thread that submitted it is gone, and with it all that the
    /// kernel was doing for it. What waited for a socket was not done. What was done to a file at an offset may be done again.
    fn lost(&self, flight: &Flight) -> Result<Value> {
        match flight.what {
            _ if flight.cancelled => Err(cancelled()),
            // It may be closed, and its number somebody else's.
            What::Close => Ok(Value::Nothing),
            // The kernel appends whatever the offset: then it would be there twice.
            What::Write if sys::appends(flight.fd) => Err(taken_away()),
            _ if flight.repeatable => Ok(Value::Again),
            _ => Err(taken_away()),
        }
    }
}

/// What becomes of a flight that the kernel never knew of: nothing of it was done.
fn untouched(flight: &Flight) -> Result<Value> {
    match flight.what {
        What::Close => Ok(Value::Nothing),
        _ if flight.cancelled => Err(cancelled()),
        _ => Ok(Value::Again),
    }
}

fn taken_away() -> Error {
    Error::with(error::SL_ERR_IO, "io_uring was taken away while this was under way")
}

/// Whether a file was opened too early: the kernel opens with O_NONBLOCK at first, which does not wait for a named pipe's other
/// end (fifo(7)). A worker opens it then, which does; until it has, what is open stays so, for the other end may have seen it.
fn is_early(opened: &Result<Value>) -> bool {
    match opened {
        Ok(Value::Opened(handle)) => handle.is_lonely_pipe(),
        Err(error) => error.os == libc::ENXIO,
        _ => false,
    }
}

impl Driver for UringDriver {
    fn attach(&mut self, handle: &Arc<Handle>) -> Key {
        // On a non-blocking descriptor the kernel says EAGAIN instead of waiting for readiness by itself.
        handle.set_nonblocking(false);
        let key = self.free.pop().unwrap_or_else(|| {
            self.attached.push(None);
            self.attached.len() as Key - 1
        });
        self.attached[key as usize] = Some(handle.descriptor() as i32);
        key
    }

    fn detach(&mut self, key: Key) {
        self.attached[key as usize] = None;
        self.free.push(key);
    }

    fn reserve(&mut self, token: Token) -> Result<()> {
        super::reach(&mut self.pending, token)
    }

    fn submit(&mut self, token: Token, primitive: Primitive) {
        match primitive {
            Primitive::Shutdown { stream } if stream.handle.is_pipe() => {
                self.complete(token, Err(Error::new(error::SL_ERR_UNSUPPORTED)));
            }
            primitive if !flight::is_native(&primitive, self.abilities) => self.submit_to_worker(token, primitive),
            primitive => {
                if let Err(error) = self.launch(token, primitive) {
                    self.complete(token, Err(error));
                }
            }
        }
    }

    fn cancel(&mut self, token: Token) {
        let Some(pending) = self.pending.get_mut(token as usize) else { return };
        match pending {
            Pending::None => return,
            Pending::Kernel(flight) => {
                flight.cancelled = true;
                let entry = opcode::AsyncCancel::new(u64::from(token)).build().user_data(CANCEL);
                return self.push(entry);
            }
            Pending::Worker(given) if !self.workers.cancel(given) => return,
            Pending::Worker(_) => {}
        }
        *pending = Pending::None;
        self.held_open.retain(|(held, _)| *held != token);
        self.complete(token, Err(cancelled()));
    }

    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        self.woken = false;
        self.take_results();
        self.reap();
        // A wake that has come is not waited for once more.
        let sleeps = self.completed.is_empty() && !self.woken;
        let timeout = if sleeps { timeout } else { Some(Duration::ZERO) };
        self.enter(timeout)?;
        self.reap();
        self.take_results();
        completed.append(&mut self.completed);
        Ok(())
    }

    fn steps_are_cheap(&self) -> bool {
        true
    }

    fn workers(&self) -> u32 {
        self.workers.threads()
    }

    fn is_replaceable(&self) -> bool {
        self.refused.is_some()
    }

    /// The thread that submitted everything has ended: no kernel thread works for it any more (do_exit, io_uring_clean_tctx), and
    /// what waits for readiness is dropped with the ring and never carried out.
    fn replace(mut self: Box<Self>) -> Result<(Box<dyn Driver>, Vec<Completion>)> {
        self.closing = true;
        self.reap();
        self.take_results();
        let (mut given, tokens) = (Vec::new(), self.pending.len());
        for (token, pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match pending {
                Pending::None => {}
                Pending::Worker(claim) => given.push((token as Token, claim)),
                Pending::Kernel(flight) => {
                    let taken = self.was_taken(token as Token);
                    let result = if taken { self.lost(&flight) } else { untouched(&flight) };
                    self.complete(token as Token, result);
                    // What the kernel has not taken closes here, with its flight.
                    if flight.what == What::Close && taken {
                        flight.forget();
                    }
                }
            }
        }
        for descriptor in self.attached.iter().flatten() {
            sys::set_nonblocking(*descriptor, true);
        }
        (self.in_kernel, self.wake_stands) = (0, false);
        let completed = std::mem::take(&mut self.completed);
        let workers = self.workers.take(&self.settings);
        let keys = (self.attached.len(), std::mem::take(&mut self.free));
        let driver = PollDriver::take_over(self.settings.clone(), workers, (tokens, given), keys, self.wake.clone())?;
        Ok((Box::new(driver), completed))
    }
}

impl Drop for UringDriver {
    /// The kernel gives everything back before the memory goes that it may still write to.
    fn drop(&mut self) {
        self.closing = true;
        for token in 0..self.pending.len() as Token {
            self.cancel(token);
        }
        self.wake.add();
        while self.in_kernel > 0 || self.wake_stands {
            if self.enter(None).is_err() {
                // The ring itself has failed: its memory, and what the kernel may still touch, is better lost than reused.
                std::mem::take(&mut self.pending).into_iter().for_each(std::mem::forget);
                std::mem::forget(std::mem::take(&mut self.wakes));
                return;
            }
            self.reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Socket;
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_a_failed_ring_may_still_write_to_is_nobody_elses() {
        let settings = DriverSettings::alone();
        let pool = settings.buffers.clone();
        let (mut driver, _) = match UringDriver::open(settings) {
            Ok(opened) => opened,
            Err(error) => return println!("skipped: {}", error.detail),
        };
        let (here, _there) = UnixStream::pair().unwrap();
        let handle = Arc::new(Handle::Stream(here.into()));
        let stream = Socket { key: driver.attach(&handle), handle: handle.clone() };
        driver.reserve(0).unwrap();
        // More than a receive buffer's bytes, for which the kernel is given memory at once.
        driver.submit(0, Primitive::Receive { stream, into: Target::Lend(1024), multishot: false });
        driver.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        assert_eq!(pool.out(), (1, 1024));
        driver.refused = Some(taken_away());
        drop(driver);
        assert_eq!(pool.out(), (1, 1024));
    }
}
