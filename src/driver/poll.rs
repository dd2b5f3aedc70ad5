//! The driver for every platform: readiness by mio, and worker threads for what blocks.
//!
//! A call on a socket is tried at once, and where it would block, again at the next edge of readiness. Registration is
//! edge-triggered and for both directions, so a connection costs one registration in its life. Runs on the loop's thread.

use super::workers::{Given, Workers};
use super::{Completion, Driver, DriverSettings, Key, Primitive, Socket, Token, Value, Waker, cancelled};
use crate::error::{self, Error, Result};
use crate::sys::{self, Handle, Registration, Target};
use mio::{Events, Poll};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How many readiness events one look takes.
const EVENTS: usize = 1024;

/// A read of at most this many bytes is tried here before it goes to a worker: what is in memory takes less than the way there
/// and back.
const SMALL: usize = 64 << 10;

/// Receives that wait untried are tried in every so many turns, also where this thread never sleeps.
const TRIED: u32 = 16;

/// The waker's place among the keys.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// The directions of a stream; accepting is reading, connecting is writing.
#[derive(Clone, Copy)]
enum Direction {
    Read = 0,
    Write = 1,
}

/// A stream or listener: its registration, from the first time that a call would block, and who waits for what.
#[derive(Default)]
struct Attached {
    registration: Option<Registration>,
    waiting: [Option<Token>; 2],
    /// The last receive took less than it could have: there is probably no more for now.
    emptied: bool,
    /// The receive that waits has not been tried; and its key is in the list of those.
    untried: bool,
    listed: bool,
}

/// Where the primitive of a token is.
#[derive(Default)]
enum Pending {
    #[default]
    None,
    Ready(Primitive, Key, Direction),
    Worker(Given),
}

pub(crate) struct PollDriver {
    poll: Poll,
    events: Events,
    attached: Vec<Attached>,
    free: Vec<Key>,
    /// Streams whose receives wait untried.
    untried: Vec<Key>,
    rounds: u32,
    pending: Vec<Pending>,
    completed: Vec<Completion>,
    workers: Workers,
    settings: DriverSettings,
    /// What wakes this driver where it goes on for another.
    #[cfg(target_os = "linux")]
    wake: Option<Arc<sys::EventCounter>>,
}

impl PollDriver {
    pub(crate) fn open(settings: DriverSettings) -> Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let mio_waker = mio::Waker::new(poll.registry(), WAKER)?;
        let waker = Waker::new(move || {
            sys::insist(|| mio_waker.wake());
        });
        let workers = Workers::new(&settings, &waker);
        Ok((Self::new(poll, workers, settings), waker))
    }

    fn new(poll: Poll, workers: Workers, settings: DriverSettings) -> Self {
        PollDriver {
            poll,
            events: Events::with_capacity(EVENTS),
            attached: Vec::new(),
            free: Vec::new(),
            untried: Vec::new(),
            rounds: 0,
            pending: Vec::new(),
            completed: Vec::new(),
            workers,
            settings,
            #[cfg(target_os = "linux")]
            wake: None,
        }
    }

    /// Goes on for a driver that cannot: with its workers; so many tokens, and what the workers were given; so many keys of
    /// which these are free; and what wakes it.
    #[cfg(target_os = "linux")]
    pub(super) fn take_over(
        settings: DriverSettings,
        workers: Workers,
        (tokens, given): (usize, Vec<(Token, Given)>),
        (keys, free): (usize, Vec<Key>),
        wake: Arc<sys::EventCounter>,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        // Each wake adds to the counter, and each is an edge.
        let descriptor = wake.descriptor();
        poll.registry().register(&mut mio::unix::SourceFd(&descriptor), WAKER, mio::Interest::READABLE)?;
        let mut driver = Self::new(poll, workers, settings);
        (driver.free, driver.wake) = (free, Some(wake));
        driver.attached.resize_with(keys, Attached::default);
        driver.pending.resize_with(tokens, Pending::default);
        for (token, given) in given {
            driver.pending[token as usize] = Pending::Worker(given);
        }
        Ok(driver)
    }

    fn complete(&mut self, token: Token, result: Result<Value>) {
        self.completed.push(Completion { token, result, done: 0, more: false });
    }

    /// Tries a call on a socket, and waits for readiness where it would block.
    fn attempt(&mut self, token: Token, primitive: Primitive) {
        let Some((socket, direction)) = place_of(&primitive) else {
            return self.complete(token, Err(Error::new(error::SL_ERR_INTERNAL)));
        };
        let key = socket.key;
        let call = || self.call(&primitive);
        let attempt = match &self.attached[key as usize].registration {
            Some(registration) => registration.attempt(call),
            None => call(),
        };
        match attempt {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = self.register(key, &primitive) {
                    return self.complete(token, Err(error.into()));
                }
                self.attached[key as usize].waiting[direction as usize] = Some(token);
                self.pending[token as usize] = Pending::Ready(primitive, key, direction);
            }
            Err(error) => self.complete(token, Err(error.into())),
            Ok(result) => {
                self.attached[key as usize].emptied = took_less(&primitive, &result);
                self.complete(token, result);
            }
        }
    }

    /// Has a receive wait that would most probably find nothing: where more comes soon, its readiness comes with it, and the
    /// call is saved. It may be wrong (more came before the last call, and was not taken: urgent data, the end of the stream), so
    /// it is tried all the same before this thread sleeps.
    fn postpone(&mut self, token: Token, key: Key, primitive: Primitive) {
        if let Err(error) = self.register(key, &primitive) {
            return self.complete(token, Err(error.into()));
        }
        let attached = &mut self.attached[key as usize];
        attached.waiting[Direction::Read as usize] = Some(token);
        (attached.emptied, attached.untried) = (false, true);
        if !std::mem::replace(&mut attached.listed, true) {
            self.untried.push(key);
        }
        self.pending[token as usize] = Pending::Ready(primitive, key, Direction::Read);
    }

    fn try_untried(&mut self) {
        let mut untried = std::mem::take(&mut self.untried);
        for key in untried.drain(..) {
            self.attached[key as usize].listed = false;
            if self.attached[key as usize].untried {
                self.ready(key, Direction::Read);
            }
        }
        self.untried = untried;
    }

    /// Takes all that can be had without waiting; answers whether somebody woke this thread.
    pub(super) fn take_all(&mut self, completed: &mut Vec<Completion>) -> Result<bool> {
        let looked = self.look(Some(Duration::ZERO));
        self.try_untried();
        completed.append(&mut self.completed);
        looked
    }

    /// Looks who is ready, for at most `timeout`; answers whether somebody woke this thread.
    fn look(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let mut woken = false;
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, timeout);
        for event in &events {
            if event.token() == WAKER {
                woken = true;
                continue;
            }
            let key = event.token().0 as Key;
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.ready(key, Direction::Read);
            }
            if event.is_writable() || event.is_write_closed() || event.is_error() {
                self.ready(key, Direction::Write);
            }
        }
        self.events = events;
        self.take_results();
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(woken),
        }
    }

    /// Registers at the first call that would block. If it is ready by now, mio says so at once: registering is an edge.
    fn register(&mut self, key: Key, primitive: &Primitive) -> io::Result<()> {
        let attached = &mut self.attached[key as usize];
        if attached.registration.is_none() {
            let Some((socket, _)) = place_of(primitive) else { return Ok(()) };
            let token = mio::Token(key as usize);
            attached.registration = Some(Registration::new(&socket.handle, self.poll.registry(), token)?);
        }
        Ok(())
    }

    /// The non-blocking call of a primitive: the system's error, or else our own result.
    fn call(&self, primitive: &Primitive) -> io::Result<Result<Value>> {
        Ok(Ok(match primitive {
            Primitive::Accept { listener, .. } => Value::Opened(listener.handle.accept()?),
            Primitive::Connect { stream, address } => {
                // The second time round, the first has begun it.
                if self.attached[stream.key as usize].registration.is_some() {
                    stream.handle.connect_outcome()?;
                } else {
                    stream.handle.connect(*address)?;
                }
                Value::Nothing
            }
            Primitive::Receive { stream, into: Target::Caller(data), .. } => {
                let count = match data.regions().next() {
                    Some(region) => stream.handle.receive(region)?,
                    None => 0,
                };
                Value::Count(count)
            }
            Primitive::Receive { stream, into: Target::Lend(length), .. } => {
                let mut lent = match self.settings.buffers.take(*length) {
                    Ok(Some(lent)) => lent,
                    Ok(None) => return Ok(Ok(Value::Starved(*length as u64))),
                    Err(error) => return Ok(Err(error)),
                };
                let received = match lent.as_data().regions().next() {
                    Some(region) => stream.handle.receive(region),
                    None => Ok(0),
                };
                let lent = lent.filled(*received.as_ref().unwrap_or(&0));
                if received? == 0 { Value::Nothing } else { Value::Lent(lent) }
            }
            Primitive::Send { stream, from } => Value::Count(stream.handle.send(from)?),
            Primitive::Shutdown { stream } => {
                stream.handle.shutdown()?;
                Value::Nothing
            }
            _ => return Ok(Err(Error::new(error::SL_ERR_INTERNAL))),
        }))
    }

    /// Tries again what waited for this readiness.
    fn ready(&mut self, key: Key, direction: Direction) {
        let Some(attached) = self.attached.get_mut(key as usize) else { return };
        if matches!(direction, Direction::Read) {
            // There is more, whether somebody waits for it now or not.
            attached.emptied = false;
        }
        let Some(token) = attached.waiting[direction as usize].take() else { return };
        attached.untried &= !matches!(direction, Direction::Read);
        if let Pending::Ready(primitive, ..) = std::mem::take(&mut self.pending[token as usize]) {
            self.attempt(token, primitive);
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
            self.completed.push(completion);
        }
    }
}

impl Driver for PollDriver {
    fn attach(&mut self, handle: &Arc<Handle>) -> Key {
        // The driver before this one, if there was one, accepted streams in blocking mode, and this may be the first that is done
        // with one of those.
        #[cfg(target_os = "linux")]
        if self.wake.is_some() {
            handle.set_nonblocking(true);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = handle;
        self.free.pop().unwrap_or_else(|| {
            self.attached.push(Attached::default());
            self.attached.len() as Key - 1
        })
    }

    fn detach(&mut self, key: Key) {
        let attached = std::mem::take(&mut self.attached[key as usize]);
        // The key stays in the list, for whoever gets it next.
        self.attached[key as usize].listed = attached.listed;
        if let Some(registration) = attached.registration {
            // It fails where the system has dropped the registration by itself; it is gone either way.
            let _ = registration.remove(self.poll.registry());
        }
        self.free.push(key);
    }

    fn reserve(&mut self, token: Token) -> Result<()> {
        super::reach(&mut self.pending, token)
    }

    fn submit(&mut self, token: Token, primitive: Primitive) {
        match primitive {
            Primitive::Read { ref file, into: Target::Caller(ref data), offset: Some(offset) }
                if data.len() <= SMALL && file.read_now(data, offset).is_ok_and(|count| count == data.len()) =>
            {
                self.complete(token, Ok(Value::Count(data.len())));
            }
            Primitive::Close { handle } if !handle.close_may_block() => {
                let result = handle.close().map(|()| Value::Nothing).map_err(Error::from);
                self.complete(token, result);
            }
            Primitive::Receive { ref stream, .. } if self.attached[stream.key as usize].emptied => {
                self.postpone(token, stream.key, primitive);
            }
            primitive if place_of(&primitive).is_some() => self.attempt(token, primitive),
            primitive => self.submit_to_worker(token, primitive),
        }
    }

    fn cancel(&mut self, token: Token) {
        let Some(pending) = self.pending.get_mut(token as usize) else { return };
        match pending {
            Pending::None => return,
            Pending::Ready(_, key, direction) => self.attached[*key as usize].waiting[*direction as usize] = None,
            Pending::Worker(given) if !self.workers.cancel(given) => return,
            Pending::Worker(_) => {}
        }
        *pending = Pending::None;
        self.complete(token, Err(cancelled()));
    }

    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        self.take_results();
        // Whoever never sleeps tries them now and then.
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds % TRIED == 0 {
            self.try_untried();
        }
        let timeout = if self.completed.is_empty() { timeout } else { Some(Duration::ZERO) };
        let sleeps = timeout != Some(Duration::ZERO);
        let mut looked = self.look(if self.untried.is_empty() { timeout } else { Some(Duration::ZERO) });
        // A wake that has come is not waited for once more.
        if sleeps && matches!(looked, Ok(false)) && self.completed.is_empty() && !self.untried.is_empty() {
            self.try_untried();
            looked = self.look(if self.completed.is_empty() { timeout } else { Some(Duration::ZERO) });
        }
        completed.append(&mut self.completed);
        looked.map(drop)
    }

    fn workers(&self) -> u32 {
        self.workers.threads()
    }
}

/// Whether a receive was given less than it had room for. On Windows the call that finds nothing must be made: only then comes
/// the next readiness.
fn took_less(primitive: &Primitive, result: &Result<Value>) -> bool {
    let Primitive::Receive { into, .. } = primitive else { return false };
    let taken = match result {
        Ok(Value::Lent(lent)) => lent.len(),
        Ok(Value::Count(count)) => *count,
        _ => 0,
    };
    let room = match into {
        Target::Lend(length) => *length,
        Target::Caller(data) => data.regions().next().map_or(0, |region| region.len()),
    };
    cfg!(unix) && taken > 0 && taken < room
}

/// The socket and direction of a primitive that waits for readiness; None for one that needs a worker.
fn place_of(primitive: &Primitive) -> Option<(&Socket, Direction)> {
    Some(match primitive {
        Primitive::Accept { listener, .. } => (listener, Direction::Read),
        Primitive::Receive { stream, .. } => (stream, Direction::Read),
        Primitive::Connect { stream, .. } | Primitive::Send { stream, .. } | Primitive::Shutdown { stream } => {
            (stream, Direction::Write)
        }
        _ => return None,
    })
}
