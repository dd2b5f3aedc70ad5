//! The driver for every platform: readiness by mio, and worker threads for what blocks.
//!
//! A call on a socket is tried at once, and where it would block, again at the next edge of readiness. Registration is
//! edge-triggered and for both directions, so a connection costs one registration in its life. Runs on the loop's thread.

use super::workers::{Given, Workers};
use super::{Completion, Driver, DriverSettings, Key, Primitive, Socket, Token, Value, Waker, cancelled};
use crate::error::{self, Error, Result};
use crate::sys::{Handle, Registration, Target};
use mio::{Events, Poll};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How many readiness events one look takes.
const EVENTS: usize = 1024;

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
    pending: Vec<Pending>,
    completed: Vec<Completion>,
    workers: Workers,
    settings: DriverSettings,
}

impl PollDriver {
    pub(crate) fn open(settings: DriverSettings) -> Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let mio_waker = mio::Waker::new(poll.registry(), WAKER)?;
        let waker = Waker::new(move || {
            // It fails only where the poll is gone, and then nobody is asleep.
            let _ = mio_waker.wake();
        });
        let driver = PollDriver {
            poll,
            events: Events::with_capacity(EVENTS),
            attached: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            completed: Vec::new(),
            workers: Workers::new(&settings, &waker),
            settings,
        };
        Ok((driver, waker))
    }

    fn complete(&mut self, token: Token, result: Result<Value>) {
        self.completed.push(Completion { token, result, done: 0 });
    }

    fn set_pending(&mut self, token: Token, pending: Pending) {
        let index = token as usize;
        if index >= self.pending.len() {
            self.pending.resize_with(index + 1, Pending::default);
        }
        self.pending[index] = pending;
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
                self.set_pending(token, Pending::Ready(primitive, key, direction));
            }
            Err(error) => self.complete(token, Err(error.into())),
            Ok(result) => self.complete(token, result),
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
            Primitive::Accept { listener } => Value::Opened(listener.handle.accept()?),
            Primitive::Connect { stream, address } => {
                // The second time round, the first has begun it.
                if self.attached[stream.key as usize].registration.is_some() {
                    stream.handle.connect_outcome()?;
                } else {
                    stream.handle.connect(*address)?;
                }
                Value::Nothing
            }
            Primitive::Receive { stream, into: Target::Caller(data) } => {
                let count = match data.regions().next() {
                    Some(region) => stream.handle.receive(region)?,
                    None => 0,
                };
                Value::Count(count)
            }
            Primitive::Receive { stream, into: Target::Lend(length) } => {
                let mut lent = match self.settings.buffers.take(*length) {
                    Ok(Some(lent)) => lent,
                    Ok(None) => return Ok(Ok(Value::Starved(*length as u64))),
                    Err(error) => return Ok(Err(error)),
                };
                let count = match lent.as_data().regions().next() {
                    Some(region) => stream.handle.receive(region)?,
                    None => 0,
                };
                if count == 0 { Value::Nothing } else { Value::Lent(lent.filled(count)) }
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
        let Some(token) = attached.waiting[direction as usize].take() else { return };
        if let Pending::Ready(primitive, ..) = std::mem::take(&mut self.pending[token as usize]) {
            self.attempt(token, primitive);
        }
    }

    fn submit_to_worker(&mut self, token: Token, primitive: Primitive) {
        match self.workers.submit(token, primitive) {
            Ok(given) => self.set_pending(token, Pending::Worker(given)),
            Err(error) => self.complete(token, Err(error)),
        }
    }

    fn take_results(&mut self) {
        while let Some(completion) = self.workers.result() {
            self.pending[completion.token as usize] = Pending::None;
            self.completed.push(completion);
        }
    }
}

impl Driver for PollDriver {
    fn attach(&mut self, _handle: &Arc<Handle>) -> Key {
        self.free.pop().unwrap_or_else(|| {
            self.attached.push(Attached::default());
            self.attached.len() as Key - 1
        })
    }

    fn detach(&mut self, key: Key) {
        let attached = std::mem::take(&mut self.attached[key as usize]);
        if let Some(registration) = attached.registration {
            // It fails where the system has dropped the registration by itself; it is gone either way.
            let _ = registration.remove(self.poll.registry());
        }
        self.free.push(key);
    }

    fn submit(&mut self, token: Token, primitive: Primitive) {
        match primitive {
            Primitive::Close { handle } if !handle.close_may_block() => {
                let result = handle.close().map(|()| Value::Nothing).map_err(Error::from);
                self.complete(token, result);
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
        let timeout = if self.completed.is_empty() { timeout } else { Some(Duration::ZERO) };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, timeout);
        for event in &events {
            if event.token() == WAKER {
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
        completed.append(&mut self.completed);
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn workers(&self) -> u32 {
        self.workers.threads()
    }
}

/// The socket and direction of a primitive that waits for readiness; None for one that needs a worker.
fn place_of(primitive: &Primitive) -> Option<(&Socket, Direction)> {
    Some(match primitive {
        Primitive::Accept { listener } => (listener, Direction::Read),
        Primitive::Receive { stream, .. } => (stream, Direction::Read),
        Primitive::Connect { stream, .. } | Primitive::Send { stream, .. } | Primitive::Shutdown { stream } => {
            (stream, Direction::Write)
        }
        _ => return None,
    })
}
