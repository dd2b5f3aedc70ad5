//! Operations on listeners and streams.

use super::intake::Intake;
use super::kinds::*;
use super::{Context, Lane, Outcome, Step, TargetKind};
use crate::clock::Clock;
use crate::driver::buffers::Pool;
use crate::driver::{Completion, Primitive, Socket, Value};
use crate::error::{self, Error, Result};
use crate::sys::{self, Data, Handle, Target};
use crate::table::Kind;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// How long a multishot accept rests when the process is out of descriptors, or the system out of memory. The connection stays in the backlog, so trying at
/// once would only spin.
const REST_NS: u64 = 100_000_000;

/// An operation on a listener or a stream.
pub(crate) struct TcpOp(Work);

enum Work {
    Accept { multishot: bool, rest_until: u64 },
    Connect { address: SocketAddr, stream: Option<Socket> },
    Receive { intake: Intake, multishot: bool },
    Send { from: Data, done: usize },
    Shutdown,
}

impl TcpOp {
    /// Accepts one connection, or one after the other.
    pub(crate) fn accept(multishot: bool) -> Self {
        TcpOp(Work::Accept { multishot, rest_until: 0 })
    }

    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        TcpOp(Work::Connect { address, stream: None })
    }

    /// Receives what there is; `exact`: until full or the end; `multishot`: again and again.
    pub(crate) fn receive(into: Target, exact: bool, multishot: bool) -> Self {
        TcpOp(Work::Receive { intake: Intake::new(into, exact), multishot })
    }

    /// Sends all.
    pub(crate) fn send(from: Data) -> Self {
        TcpOp(Work::Send { from, done: 0 })
    }

    /// Ends the sending.
    pub(crate) fn shutdown() -> Self {
        TcpOp(Work::Shutdown)
    }

    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Result<Step> {
        Ok(Step::Run(match &mut self.0 {
            Work::Accept { rest_until, .. } if *rest_until > cx.clock.now() => return Ok(Step::Until(*rest_until)),
            Work::Accept { multishot, .. } => {
                Primitive::Accept { listener: cx.socket()?, multishot: *multishot && cx.ample }
            }
            Work::Connect { address, stream } => {
                let socket = match stream {
                    Some(socket) => socket.clone(),
                    None => {
                        let handle = Arc::new(sys::start_stream(*address)?);
                        stream.insert(Socket { key: cx.driver.attach(&handle), handle }).clone()
                    }
                };
                Primitive::Connect { stream: socket, address: *address }
            }
            // Asked for nothing, the system would wait for a byte all the same.
            Work::Receive { intake, .. } if intake.is_full() => {
                return Ok(Step::End(Outcome::Done(intake.done() as i64)));
            }
            Work::Receive { intake, multishot } => {
                let into = piece(intake.target(), cx.buffers);
                // Where the driver goes on by itself, it brings whole receive buffers.
                let whole = matches!(into, Target::Lend(length) if length == cx.buffers.piece(0));
                Primitive::Receive { stream: cx.socket()?, into, multishot: *multishot && whole && cx.ample }
            }
            Work::Send { from, done } => {
                if from.len() == 0 {
                    return Ok(Step::End(Outcome::Done(*done as i64)));
                }
                Primitive::Send { stream: cx.socket()?, from: from.clone() }
            }
            Work::Shutdown => Primitive::Shutdown { stream: cx.socket()? },
        }))
    }

    pub(super) fn completed(&mut self, cx: &mut Context<'_>, completion: Completion) -> Result<Step> {
        let value = match completion.result {
            Ok(Value::Starved(needed)) => return Ok(Step::Starve(needed)),
            Ok(Value::Again) => return self.next(cx),
            Ok(value) => value,
            Err(error) => return self.failed(cx.clock, error),
        };
        match (&mut self.0, value) {
            (Work::Accept { multishot: true, .. }, Value::Opened(handle)) => {
                Ok(Step::More(Outcome::Opened(handle, None)))
            }
            (Work::Accept { .. }, Value::Opened(handle)) => Ok(Step::End(Outcome::Opened(handle, None))),
            (Work::Connect { stream, .. }, Value::Nothing) => {
                let Some(Socket { handle, key }) = stream.take() else { return Ok(Step::End(Outcome::internal())) };
                // The driver has let go of the primitive, so this is the only owner.
                let handle = Arc::into_inner(handle).ok_or_else(|| Error::new(error::SL_ERR_INTERNAL))?;
                Ok(Step::End(Outcome::Opened(handle, Some(key))))
            }
            (Work::Receive { multishot: true, .. }, Value::Lent(lent)) => Ok(Step::More(Outcome::Lent(lent))),
            (Work::Receive { .. }, Value::Lent(lent)) => Ok(Step::End(Outcome::Lent(lent))),
            (Work::Receive { .. }, Value::Nothing) => Ok(Step::End(Outcome::Done(0))),
            (Work::Receive { intake, .. }, Value::Count(count)) => {
                if intake.took(count) {
                    return self.next(cx);
                }
                Ok(Step::End(Outcome::Done(intake.done() as i64)))
            }
            (Work::Send { from, done }, Value::Count(count)) => {
                *done += count;
                from.advance(count);
                self.next(cx)
            }
            (Work::Shutdown, Value::Nothing) => Ok(Step::End(Outcome::Done(0))),
            _ => Ok(Step::End(Outcome::internal())),
        }
    }

    fn failed(&mut self, clock: &Clock, error: Error) -> Result<Step> {
        match &mut self.0 {
            Work::Accept { multishot: true, rest_until }
                if matches!(error.status, error::SL_ERR_TOO_MANY_FILES | error::SL_ERR_NO_MEMORY) =>
            {
                *rest_until = clock.after(REST_NS);
                Ok(Step::Until(*rest_until))
            }
            _ => Err(error),
        }
    }

    /// Sends and single receives may be carried out on the caller's thread.
    pub(super) fn inline_bytes(&self, buffers: &Pool) -> Option<usize> {
        match &self.0 {
            Work::Receive { intake, multishot: false } => Some(match piece(intake.target(), buffers) {
                Target::Caller(data) => data.len(),
                Target::Lend(length) => length,
            }),
            Work::Send { from, .. } => Some(from.len()),
            _ => None,
        }
    }

    pub(super) fn attempt(&mut self, stream: &Handle, buffers: &Arc<Pool>) -> Option<Outcome> {
        match &mut self.0 {
            Work::Receive { intake, .. } => match piece(intake.target(), buffers) {
                Target::Lend(length) => receive_lent(stream, length, buffers),
                Target::Caller(_) => receive_now(stream, intake),
            },
            Work::Send { from, done } => {
                while from.len() > 0 {
                    match stream.send_now(from) {
                        Ok(count) => {
                            *done += count;
                            from.advance(count);
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                        Err(error) => return Some(Outcome::Failed(error.into(), *done as u64)),
                    }
                }
                Some(Outcome::Done(*done as i64))
            }
            _ => None,
        }
    }

    pub(super) fn done(&self) -> u64 {
        match &self.0 {
            Work::Receive { intake, .. } => intake.done() as u64,
            Work::Send { done, .. } => *done as u64,
            _ => 0,
        }
    }

    pub(super) fn opens(&self) -> bool {
        matches!(self.0, Work::Accept { .. } | Work::Connect { .. })
    }

    pub(super) fn abandon(&mut self) -> Option<Socket> {
        match &mut self.0 {
            Work::Connect { stream, .. } => stream.take(),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> u32 {
        match &self.0 {
            Work::Accept { .. } => SL_TCP_ACCEPT,
            Work::Connect { .. } => SL_TCP_CONNECT,
            Work::Receive { .. } => SL_STREAM_RECEIVE,
            Work::Send { from: Data::Many(..), .. } => SL_STREAM_SENDV,
            Work::Send { .. } => SL_STREAM_SEND,
            Work::Shutdown => SL_STREAM_SHUTDOWN,
        }
    }

    pub(super) fn target(&self) -> TargetKind {
        match &self.0 {
            Work::Accept { .. } => TargetKind::One(Kind::Listener),
            Work::Connect { .. } => TargetKind::Loop,
            _ => TargetKind::One(Kind::Stream),
        }
    }

    pub(super) fn lane(&self) -> Lane {
        match &self.0 {
            Work::Accept { .. } | Work::Receive { .. } => Lane::Read,
            Work::Send { .. } | Work::Shutdown => Lane::Write,
            Work::Connect { .. } => Lane::Free,
        }
    }

    pub(super) fn is_multishot(&self) -> bool {
        match &self.0 {
            Work::Accept { multishot, .. } | Work::Receive { multishot, .. } => *multishot,
            _ => false,
        }
    }
}

/// A lent buffer for a piece of a stream, no larger than the pieces that the loop receives.
fn piece(into: Target, buffers: &Pool) -> Target {
    match into {
        Target::Lend(length) => Target::Lend(buffers.piece(length)),
        caller => caller,
    }
}

/// Receives what there is into the caller's memory; None where there is nothing, or not enough.
fn receive_now(stream: &Handle, intake: &mut Intake) -> Option<Outcome> {
    loop {
        let Target::Caller(data) = intake.target() else { return None };
        let count = match data.regions().next().map_or(Ok(0), |region| stream.receive_now(region)) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Outcome::Failed(error.into(), intake.done() as u64)),
        };
        if !intake.took(count) {
            return Some(Outcome::Done(intake.done() as i64));
        }
    }
}

/// Receives what there is into a lent buffer; None where there is nothing, or no buffer.
fn receive_lent(stream: &Handle, length: usize, buffers: &Arc<Pool>) -> Option<Outcome> {
    let mut lent = buffers.take(length).ok()??;
    let region = lent.as_data().regions().next()?;
    match stream.receive_now(region) {
        Ok(0) => Some(Outcome::Done(0)),
        Ok(count) => Some(Outcome::Lent(lent.filled(count))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Outcome::failed(error.into())),
    }
}
