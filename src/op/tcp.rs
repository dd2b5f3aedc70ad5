//! Operations on listeners and streams.

use super::intake::Intake;
use super::kinds::*;
use super::{Context, Lane, Outcome, Step, TargetKind};
use crate::clock;
use crate::driver::{Completion, Primitive, Socket, Value};
use crate::error::{self, Error, Result};
use crate::sys::{self, Data, Target};
use crate::table::Kind;
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
            Work::Accept { rest_until, .. } if *rest_until > clock::now() => return Ok(Step::Until(*rest_until)),
            Work::Accept { .. } => Primitive::Accept { listener: cx.socket()? },
            Work::Connect { address, stream } => {
                let handle = Arc::new(sys::start_stream(*address)?);
                let socket = Socket { key: cx.driver.attach(&handle), handle };
                *stream = Some(socket.clone());
                Primitive::Connect { stream: socket, address: *address }
            }
            Work::Receive { intake, .. } => {
                Primitive::Receive { stream: cx.socket()?, into: piece(intake.target(), cx) }
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
            Ok(value) => value,
            Err(error) => return self.failed(error),
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

    fn failed(&mut self, error: Error) -> Result<Step> {
        match &mut self.0 {
            Work::Accept { multishot: true, rest_until }
                if matches!(error.status, error::SL_ERR_TOO_MANY_FILES | error::SL_ERR_NO_MEMORY) =>
            {
                *rest_until = clock::after(REST_NS);
                Ok(Step::Until(*rest_until))
            }
            _ => Err(error),
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
fn piece(into: Target, cx: &Context<'_>) -> Target {
    match into {
        Target::Lend(length) => Target::Lend(cx.buffers.piece(length)),
        caller => caller,
    }
}
