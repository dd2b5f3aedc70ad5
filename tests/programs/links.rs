//! The links of a random program: two streams of one loop, connected with each other. What comes out at one end is what went in at
//! the other, in its order, from the first byte on, whatever was cancelled, cut or refused on the way.

use crate::program::{Manner, Step, Taking};
use crate::run::{self, Outcome, Run};
use sideloop::ffi::address::{Address, sl_address_parse};
use sideloop::ffi::events::{Event, SL_EVENT_MORE, SL_EVENT_PARTIAL};
use sideloop::ffi::request::*;
use sideloop::ffi::tcp::*;
use std::collections::BTreeSet;
use std::mem::zeroed;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::null;

const AT_ONCE: Manner = Manner { delivery: 0, deadline_us: 0, inline: true };

/// What an operation on a link is to come to.
pub(crate) enum Check {
    Accepted,
    Connected,
    Sent,
    Received { most: usize },
    Nothing,
}

/// What went in at one end, and what came out at the other: operations in the order submitted.
#[derive(Default)]
struct Direction {
    sends: Vec<usize>,
    receives: Vec<usize>,
}

#[derive(Default)]
pub(crate) struct Link {
    /// The stream at each end, while it is open.
    ends: [Option<u64>; 2],
    /// What goes to each end.
    to: [Direction; 2],
    accepted: Vec<u64>,
    connected: Option<u64>,
    /// An end is closed or has ended its sending: errors are in order.
    pub(crate) is_rough: bool,
}

impl Link {
    fn operations(&self) -> Vec<usize> {
        self.to.iter().flat_map(|to| to.sends.iter().chain(&to.receives)).copied().collect()
    }
}

impl Run {
    pub(crate) fn link_step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Connect { link, tcp, multishot, manner } => self.connect(link, tcp, multishot, manner),
            Step::Send { link, end, length, vectored, manner } => self.send(link, end, length.into(), vectored, manner),
            Step::Receive { link, end, length, taking, manner } => {
                self.receive(link, end, length.into(), taking, manner)
            }
            Step::ShutDown { link, end, manner } => {
                let Some(id) = self.links[link].ends[end] else { return Ok(()) };
                let request = self.request(SL_STREAM_SHUTDOWN, id);
                let check = run::Check::Link(link, Check::Nothing);
                if let Some(index) = self.submit(request, manner, check, Vec::new())? {
                    self.links[link].is_rough = true;
                    self.links[link].to[1 - end].sends.push(index);
                }
                Ok(())
            }
            Step::CloseEnd { link, end, manner } => self.close_end(link, end, manner).map(drop),
            _ => Ok(()),
        }
    }

    fn send(&mut self, link: usize, end: usize, length: usize, vectored: bool, manner: Manner) -> Outcome {
        let Some(id) = self.links[link].ends[end] else { return Ok(()) };
        let mut bytes: Vec<u8> =
            (0..length.max(1)).map(|at| (self.ledger.len() * 89 + at * 3 + at / 256) as u8).collect();
        let mut request = self.request(if vectored { SL_STREAM_SENDV } else { SL_STREAM_SEND }, id);
        (request.buffer, request.length) = (bytes.as_mut_ptr().cast(), bytes.len() as u64);
        let slices = if vectored { crate::files::pieces(&mut bytes) } else { Vec::new() };
        let check = run::Check::Link(link, Check::Sent);
        if let Some(index) = self.submit_vectored(request, manner, check, bytes, slices)? {
            self.links[link].to[1 - end].sends.push(index);
        }
        Ok(())
    }

    fn receive(&mut self, link: usize, end: usize, length: usize, taking: Taking, manner: Manner) -> Outcome {
        let Some(id) = self.links[link].ends[end] else { return Ok(()) };
        let length = length.max(1);
        let lent = matches!(taking, Taking::Lent | Taking::Multishot);
        let mut memory = vec![0; if lent { 0 } else { length }];
        let mut request = self.request(SL_STREAM_RECEIVE, id);
        request.length = if taking == Taking::Multishot { 0 } else { length as u64 };
        request.buffer = if lent { std::ptr::null_mut() } else { memory.as_mut_ptr().cast() };
        request.flags = match taking {
            Taking::Exact => SL_EXACT,
            Taking::Multishot => SL_MULTISHOT,
            _ => 0,
        };
        let check = run::Check::Link(link, Check::Received { most: if lent { 4096 } else { length } });
        if let Some(index) = self.submit(request, manner, check, memory)? {
            self.links[link].to[end].receives.push(index);
        }
        Ok(())
    }

    /// Makes a link, by way of a listener or as a pair, where there is none.
    fn connect(&mut self, link: usize, tcp: bool, multishot: bool, manner: Manner) -> Outcome {
        if self.links[link].ends.iter().any(Option::is_some) {
            return Ok(());
        }
        // What was under way on the last one ends with it.
        for index in self.links[link].operations() {
            self.wait_for(index)?;
        }
        self.verify_link(link)?;
        self.links[link] = Link::default();
        if tcp { self.connect_tcp(link, multishot, manner) } else { self.adopt_pair(link) }
    }

    fn adopt_pair(&mut self, link: usize) -> Outcome {
        let (one, other) = UnixStream::pair().map_err(|error| error.to_string())?;
        for (end, stream) in [one, other].into_iter().enumerate() {
            let descriptor = stream.into_raw_fd();
            let mut id = 0;
            // SAFETY: the descriptor is open and nobody else's; the output is writable.
            let adopted = unsafe { sl_stream_adopt(self.id, descriptor as isize, &mut id) };
            if adopted == 0 {
                self.links[link].ends[end] = Some(id);
            } else if self.program.tight && adopted == sideloop::error::SL_ERR_AGAIN {
                // SAFETY: a refused descriptor stays the caller's.
                drop(unsafe { <UnixStream as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
                self.links[link].is_rough = true;
            } else {
                return Err(format!("sl_stream_adopt: {adopted}"));
            }
        }
        Ok(())
    }

    fn connect_tcp(&mut self, link: usize, multishot: bool, manner: Manner) -> Outcome {
        // SAFETY: all-zero is an address, and the text ends with a NUL; the outputs are writable.
        let (mut address, mut listener): (Address, u64) = (unsafe { zeroed() }, 0);
        // SAFETY: as above.
        let listening = unsafe {
            sl_address_parse(c"127.0.0.1:0".as_ptr(), &mut address);
            sl_tcp_listen(self.id, &address, null(), &mut listener)
        };
        if listening != 0 {
            let full = self.program.tight && listening == sideloop::error::SL_ERR_AGAIN;
            return if full { Ok(()) } else { Err(format!("sl_tcp_listen: {listening}")) };
        }
        // SAFETY: it is writable.
        unsafe { sl_local_address(listener, &mut address) };
        let flags = if multishot { SL_MULTISHOT } else { 0 };
        let accept = Request { flags, ..self.request(SL_TCP_ACCEPT, listener) };
        let accept = self.submit(accept, manner, run::Check::Link(link, Check::Accepted), Vec::new())?;
        let connect = Request { buffer: (&raw mut address).cast(), ..self.request(SL_TCP_CONNECT, self.id) };
        let connect = self.submit(connect, manner, run::Check::Link(link, Check::Connected), Vec::new())?;
        if let Some(index) = connect {
            self.wait_for(index)?;
        }
        // Where it has not connected, nobody else will. A multishot accept goes on until its listener is closed.
        let lonely = self.links[link].connected.is_none();
        if let Some(index) = accept.filter(|_| !multishot) {
            if lonely {
                self.cancel(index)?;
            }
            self.wait_for(index)?;
        }
        self.close_listener(listener, accept)?;
        let mut accepted = std::mem::take(&mut self.links[link].accepted).into_iter();
        self.links[link].ends = [self.links[link].connected.take(), accepted.next()];
        self.links[link].is_rough = self.links[link].ends.iter().any(Option::is_none);
        accepted.try_for_each(|id| self.close_resource(id))
    }

    fn close_listener(&mut self, listener: u64, accept: Option<usize>) -> Outcome {
        if let Some(index) = accept {
            self.extras[index].may_stop = true;
        }
        self.close_resource(listener)?;
        accept.map_or(Ok(()), |index| self.wait_for(index))
    }

    /// Closes something, and waits for that.
    fn close_resource(&mut self, id: u64) -> Outcome {
        loop {
            let check = run::Check::Exactly(0);
            if let Some(index) = self.submit(self.request(SL_CLOSE, id), AT_ONCE, check, Vec::new())? {
                return self.wait_for(index);
            }
            // Full: something must end first.
            let Some(first) = self.ledger.open().first().copied() else { return Err("full of nothing".to_owned()) };
            self.cancel(first)?;
            self.wait_for(first)?;
        }
    }

    /// Closes one end; what is under way there ends.
    fn close_end(&mut self, link: usize, end: usize, manner: Manner) -> Result<bool, String> {
        let Some(id) = self.links[link].ends[end] else { return Ok(false) };
        let manner = Manner { deadline_us: 0, ..manner };
        let check = run::Check::Link(link, Check::Nothing);
        let Some(index) = self.submit(self.request(SL_CLOSE, id), manner, check, Vec::new())? else { return Ok(false) };
        self.links[link].ends[end] = None;
        self.links[link].is_rough = true;
        for index in self.links[link].operations() {
            self.extras[index].may_stop = true;
        }
        self.links[link].to[end].sends.push(index);
        Ok(true)
    }

    /// Closes both ends, and waits until all is over that was under way there.
    pub(crate) fn close_link(&mut self, link: usize) -> Outcome {
        for end in 0..2 {
            if self.links[link].ends[end].is_some() && !self.close_end(link, end, AT_ONCE)? {
                let id = self.links[link].ends[end].take();
                for index in self.links[link].operations() {
                    self.extras[index].may_stop = true;
                }
                self.links[link].is_rough = true;
                id.map_or(Ok(()), |id| self.close_resource(id))?;
            }
        }
        for index in self.links[link].operations() {
            self.wait_for(index)?;
        }
        Ok(())
    }

    /// What an event of a link's operation says of it.
    pub(crate) fn judge_link(&mut self, index: usize, event: &Event) -> Outcome {
        let run::Check::Link(link, check) = &self.extras[index].check else { return Ok(()) };
        let (link, result) = (&mut self.links[*link], event.result);
        match check {
            Check::Accepted if result > 0 => link.accepted.push(result as u64),
            Check::Connected if result > 0 => link.connected = Some(result as u64),
            Check::Sent if result >= 0 && result as usize != self.extras[index].memory.len() => {
                return Err(format!("{result} of {} bytes sent", self.extras[index].memory.len()));
            }
            Check::Received { most } if result > *most as i64 => {
                return Err(format!("{result} bytes received where at most {most} were wanted"));
            }
            Check::Nothing if result > 0 => return Err(format!("result {result}")),
            _ => {}
        }
        if event.flags & SL_EVENT_MORE == 0
            && !self.extras[index].memory.is_empty()
            && matches!(check, Check::Received { .. })
        {
            let count = if event.flags & SL_EVENT_PARTIAL != 0 { event.detail } else { result.max(0) as u64 };
            let extra = &mut self.extras[index];
            extra.chunks = extra.memory[..count as usize].to_vec();
        }
        Ok(())
    }

    /// Compares what came out of a link, whose operations are over, with what went in.
    pub(crate) fn verify_link(&mut self, link: usize) -> Outcome {
        for end in 0..2 {
            let sent: Vec<_> = self.links[link].to[end].sends.iter().map(|index| self.sent(*index)).collect();
            let mut received = Vec::new();
            for index in &self.links[link].to[end].receives {
                received.extend_from_slice(&self.extras[*index].chunks);
                if self.ledger.entry(*index).last.is_none() {
                    break;
                }
            }
            let (at, all) = (explained(&received, &sent), received.len());
            if at < all {
                return Err(format!(
                    "link {link}: of {all} bytes that came to end {end}, number {at} did not go in there"
                ));
            }
        }
        Ok(())
    }

    /// What may have gone of a send that is over, and how much of it went before anything of the next send did.
    fn sent(&self, index: usize) -> (&[u8], usize) {
        let extra = &self.extras[index];
        let memory = &extra.memory[..];
        let done = match self.ledger.entry(index).last {
            Some(event) if event.result >= 0 => event.result as usize,
            Some(event) if event.flags & SL_EVENT_PARTIAL != 0 => event.detail as usize,
            Some(_) => 0,
            // Its event was discarded with the loop. Where it may have ended early, those behind it went on all the same.
            None if self.program.faults || extra.deadline || extra.may_stop => return (memory, 0),
            // Only the end of the loop may have cut it short, and those behind it with it.
            None => memory.len(),
        };
        let done = done.min(memory.len());
        (&memory[..done], done)
    }
}

/// How many of the bytes that were received can have come of sends, in their order: of each, any number of its bytes from the
/// first on, but no fewer than it says before anything of the next one.
fn explained(received: &[u8], sends: &[(&[u8], usize)]) -> usize {
    // Where in the received bytes a send may begin: there are many places once a send may have ended early.
    let (mut begins, mut most) = (BTreeSet::from([0]), 0);
    for (bytes, least) in sends {
        let mut ends = BTreeSet::new();
        for at in begins {
            let rest = &received[at..];
            let same = rest.iter().zip(*bytes).take_while(|(one, other)| one == other).count();
            most = most.max(at + same);
            ends.extend((rest.len().min(*least)..=same).map(|count| at + count));
        }
        begins = ends;
    }
    most
}
