//! The driver on io_uring (Linux): the kernel carries out files and sockets alike, and one system call a turn both submits and
//! waits. What the kernel has no opcode for, and functions of the caller's, go to the worker threads.
//!
//! Made and used on the loop's thread, which is the ring's single issuer.

mod lending;

use super::workers::{Given, Workers};
use super::{Completion, Driver, DriverSettings, Key, Lent, Primitive, Token, Value, Waker, cancelled};
use crate::error::{self, Error, Result};
use crate::sys::{self, Data, Handle, HandleKind, Region, Target};
use io_uring::register::Restriction;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use lending::Lending;
use socket2::SockAddr;
use std::io;
use std::mem::zeroed;
use std::sync::Arc;
use std::time::Duration;

/// Submissions that one turn gathers before it must enter the kernel.
const ENTRIES: u32 = 256;
/// Places for completions. When they are full, the kernel keeps what comes (IORING_FEAT_NODROP) until there is room: there may
/// be many more operations than that under way, for most of them wait.
const COMPLETIONS: u32 = 4096;
/// How many pieces one vectored operation takes: IOV_MAX.
const PIECES: usize = 1024;

/// What completions belong to that belong to no operation.
const WAKE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// What this driver submits. Without one of them it does not run; nothing else may be submitted to the ring.
const OPCODES: [u8; 16] = [
    opcode::OpenAt::CODE,
    opcode::Read::CODE,
    opcode::Readv::CODE,
    opcode::Write::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Statx::CODE,
    opcode::Close::CODE,
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Shutdown::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Nop::CODE,
];

/// A primitive with the kernel, and the memory that its submission points to. Boxed: it does not move before the completion.
struct Flight {
    primitive: Primitive,
    lent: Option<Lent>,
    /// The kernel chooses the buffer when bytes arrive.
    chooses: bool,
    cancelled: bool,
    pieces: Vec<libc::iovec>,
    message: libc::msghdr,
    address: Option<SockAddr>,
    statx: libc::statx,
}

/// Where the primitive of a token is.
#[derive(Default)]
enum Pending {
    #[default]
    None,
    Kernel(Box<Flight>),
    Worker(Given),
}

pub(crate) struct UringDriver {
    /// Before what the kernel may write to: fields are dropped in this order.
    ring: IoUring,
    lending: Option<Lending>,
    /// Being dropped: what ends now is not begun again.
    closing: bool,
    pending: Vec<Pending>,
    in_kernel: u32,
    completed: Vec<Completion>,
    workers: Workers,
    wake: Arc<sys::EventCounter>,
    /// What the standing read of the wake counter writes to.
    wakes: Box<u64>,
    wake_stands: bool,
    settings: DriverSettings,
}

impl UringDriver {
    /// Opens a ring, or says why there can be none.
    pub(crate) fn open(settings: DriverSettings) -> Result<(Self, Arc<Waker>)> {
        // A privileged program's ring would carry its privileges to whatever submits to it.
        if sys::is_privileged() {
            return Err(Error::with(error::SL_ERR_UNSUPPORTED, "io_uring is not used in set-user-ID programs"));
        }
        let ring = open_ring()?;
        let wake = Arc::new(sys::EventCounter::new()?);
        let waker = Waker::new({
            let wake = wake.clone();
            move || wake.add()
        });
        let mut driver = UringDriver {
            ring,
            lending: None,
            closing: false,
            pending: Vec::new(),
            in_kernel: 0,
            completed: Vec::new(),
            workers: Workers::new(&settings, &waker),
            wake,
            wakes: Box::new(0),
            wake_stands: false,
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

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what the entry points to is in a boxed flight (or in `self.wakes`), which stays until the completion; the
        // caller's memory stays until the operation's last event, which comes later.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // Full: hand over what there is. If the kernel is short of something, its completions make room.
            if self.ring.submit().is_err() {
                self.reap();
            }
        }
    }

    fn set_pending(&mut self, token: Token, pending: Pending) {
        let index = token as usize;
        if index >= self.pending.len() {
            self.pending.resize_with(index + 1, Pending::default);
        }
        self.pending[index] = pending;
    }

    fn complete(&mut self, token: Token, result: Result<Value>) {
        self.completed.push(Completion { token, result, done: 0 });
    }

    /// Gives a flight to the kernel, or lets it wait for a place there.
    fn launch(&mut self, token: Token, mut flight: Box<Flight>) {
        match self.lend(&mut flight) {
            Ok(None) => {}
            Ok(Some(needed)) => return self.complete(token, Ok(Value::Starved(needed))),
            Err(error) => return self.complete(token, Err(error)),
        }
        let entry = flight.entry().user_data(u64::from(token));
        self.set_pending(token, Pending::Kernel(flight));
        self.in_kernel += 1;
        self.push(entry);
    }

    /// Takes the lent buffer that a flight needs; answers how much room it needs where there is none.
    fn lend(&mut self, flight: &mut Flight) -> Result<Option<u64>> {
        let pool = &self.settings.buffers;
        if let Primitive::Receive { stream, into: Target::Lend(length) } = &flight.primitive {
            let fits = *length <= pool.receive_size() && !stream.handle.is_pipe();
            if fits && Lending::size_for(pool) > 0 {
                if pool.is_used_up() {
                    return Ok(Some(pool.receive_size() as u64));
                }
                if self.lending.is_none() {
                    self.lending = Some(Lending::register(&self.ring, pool)?);
                }
                flight.chooses = true;
                return Ok(None);
            }
        }
        if let Primitive::Read { into: Target::Lend(length), .. }
        | Primitive::Receive { into: Target::Lend(length), .. } = &flight.primitive
        {
            flight.lent = pool.take(*length)?;
            return Ok(if flight.lent.is_none() { Some(*length as u64) } else { None });
        }
        Ok(None)
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

    /// Takes what the kernel has completed.
    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else { break };
            match entry.user_data() {
                WAKE => {
                    self.wake_stands = false;
                    if !self.closing {
                        self.watch_for_wakes();
                    }
                }
                CANCEL => {}
                token => self.landed(token as Token, entry.result(), cqueue::buffer_select(entry.flags())),
            }
        }
        if let Some(lending) = &mut self.lending {
            lending.refill();
        }
    }

    fn landed(&mut self, token: Token, result: i32, buffer: Option<u16>) {
        let Some(Pending::Kernel(mut flight)) = self.pending.get_mut(token as usize).map(std::mem::take) else {
            return;
        };
        self.in_kernel -= 1;
        if let (Some(number), Some(lending)) = (buffer, &mut self.lending) {
            match lending.take(number, result.max(0) as usize) {
                Ok(lent) => flight.lent = Some(lent),
                Err(error) => return self.complete(token, Err(error)),
            }
        }
        let again = flight.goes_again(result) || flight.chooses && result == -libc::ENOBUFS;
        match again {
            // The kernel was asked to cancel it, and found it on its way here.
            true if flight.cancelled => return self.complete(token, Err(cancelled())),
            true if result == -libc::ENOBUFS => return self.out_of_buffers(token, flight),
            true => return self.launch(token, flight),
            false => {}
        }
        let result = flight.value(result);
        self.complete(token, result);
    }

    /// The kernel had no buffer left when bytes arrived: it gets new ones, or the loop's limit is reached.
    fn out_of_buffers(&mut self, token: Token, flight: Box<Flight>) {
        if let Some(lending) = &mut self.lending {
            lending.refill();
            if lending.is_empty() && !self.settings.buffers.is_used_up() {
                return self.complete(token, Err(Error::new(error::SL_ERR_NO_MEMORY)));
            }
        }
        // Where the limit is reached, launching says so.
        self.launch(token, flight);
    }

    /// Enters the kernel: submits, and waits for a completion for at most `timeout`.
    fn enter(&mut self, timeout: Option<Duration>) -> Result<()> {
        let entered = match timeout {
            Some(Duration::ZERO) => self.ring.submit(),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
            None => self.ring.submit_and_wait(1),
        };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            // Time is up; a debugger's stop; the kernel is short of memory or wants its completions taken first.
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) | Ok(_) => Ok(()),
            Err((_, error)) => Err(error.into()),
        }
    }
}

impl Driver for UringDriver {
    fn attach(&mut self, handle: &Arc<Handle>) -> Key {
        // On a non-blocking descriptor the kernel says EAGAIN instead of waiting for readiness by itself.
        handle.set_nonblocking(false);
        0
    }

    fn detach(&mut self, _key: Key) {}

    fn submit(&mut self, token: Token, primitive: Primitive) {
        match primitive {
            Primitive::Close { handle } if handle.kind() != HandleKind::File && handle.close_may_block() => {
                self.submit_to_worker(token, Primitive::Close { handle });
            }
            primitive @ (Primitive::Truncate { .. }
            | Primitive::ReadPath { .. }
            | Primitive::WritePath { .. }
            | Primitive::Work { .. }) => self.submit_to_worker(token, primitive),
            Primitive::Shutdown { stream } if stream.handle.is_pipe() => {
                self.complete(token, Err(Error::new(error::SL_ERR_UNSUPPORTED)));
            }
            primitive => self.launch(token, Flight::new(primitive)),
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
        self.complete(token, Err(cancelled()));
    }

    fn wait(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> Result<()> {
        self.take_results();
        self.reap();
        let timeout = if self.completed.is_empty() { timeout } else { Some(Duration::ZERO) };
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
                return;
            }
            self.reap();
        }
    }
}

impl Flight {
    fn new(primitive: Primitive) -> Box<Self> {
        Box::new(Flight {
            primitive,
            lent: None,
            chooses: false,
            cancelled: false,
            pieces: Vec::new(),
            // SAFETY: all-zero is a message without parts.
            message: unsafe { zeroed() },
            address: None,
            // SAFETY: all-zero is a value of this structure of integers.
            statx: unsafe { zeroed() },
        })
    }

    /// The submission, which points into this flight and to the caller's memory.
    fn entry(&mut self) -> squeue::Entry {
        match &self.primitive {
            Primitive::Open { path, flags } => opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
                .flags(sys::open_bits(flags))
                .mode(flags.mode)
                .build(),
            Primitive::Read { file, into, offset } => {
                let fd = fd_of(file);
                let offset = offset.unwrap_or(u64::MAX);
                match (into, &mut self.lent) {
                    (Target::Caller(data @ Data::Many(..)), _) => {
                        self.pieces = pieces_of(data);
                        opcode::Readv::new(fd, self.pieces.as_ptr(), self.pieces.len() as u32).offset(offset).build()
                    }
                    (into, lent) => {
                        let region = region_of(into, lent);
                        opcode::Read::new(fd, region.pointer(), length_of(region)).offset(offset).build()
                    }
                }
            }
            Primitive::Write { file, from, offset } => {
                let (fd, offset) = (fd_of(file), offset.unwrap_or(u64::MAX));
                match from {
                    Data::One(region) => {
                        opcode::Write::new(fd, region.pointer(), length_of(*region)).offset(offset).build()
                    }
                    Data::Many(..) => {
                        self.pieces = pieces_of(from);
                        opcode::Writev::new(fd, self.pieces.as_ptr(), self.pieces.len() as u32).offset(offset).build()
                    }
                }
            }
            Primitive::Sync { file, data_only } => {
                let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(fd_of(file)).flags(flags).build()
            }
            Primitive::Stat { file } => self.statx_entry(fd_of(file), c"".as_ptr(), libc::AT_EMPTY_PATH),
            Primitive::StatPath { path, follow } => {
                let flags = if *follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
                self.statx_entry(Fd(libc::AT_FDCWD), path.as_ptr(), flags)
            }
            Primitive::Close { handle } => opcode::Close::new(Fd(handle.descriptor() as i32)).build(),
            Primitive::Accept { listener } => {
                let none = std::ptr::null_mut();
                opcode::Accept::new(fd_of(&listener.handle), none, std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build()
            }
            Primitive::Connect { stream, address } => {
                let address = self.address.insert(SockAddr::from(*address));
                opcode::Connect::new(fd_of(&stream.handle), address.as_ptr().cast(), address.len()).build()
            }
            Primitive::Receive { stream, into } => {
                let (fd, region) = (fd_of(&stream.handle), region_of(into, &mut self.lent));
                if stream.handle.is_pipe() {
                    return opcode::Read::new(fd, region.pointer(), length_of(region)).offset(u64::MAX).build();
                }
                if self.chooses {
                    let most = if let Target::Lend(length) = into { *length as u32 } else { 0 };
                    let receive = opcode::Recv::new(fd, std::ptr::null_mut(), most).buf_group(lending::GROUP);
                    return receive.build().flags(squeue::Flags::BUFFER_SELECT);
                }
                opcode::Recv::new(fd, region.pointer(), length_of(region)).build()
            }
            Primitive::Send { stream, from } => {
                let fd = fd_of(&stream.handle);
                match from {
                    Data::One(region) if stream.handle.is_pipe() => {
                        opcode::Write::new(fd, region.pointer(), length_of(*region)).offset(u64::MAX).build()
                    }
                    Data::One(region) => {
                        opcode::Send::new(fd, region.pointer(), length_of(*region)).flags(libc::MSG_NOSIGNAL).build()
                    }
                    Data::Many(..) => {
                        self.pieces = pieces_of(from);
                        if stream.handle.is_pipe() {
                            let count = self.pieces.len() as u32;
                            return opcode::Writev::new(fd, self.pieces.as_ptr(), count).offset(u64::MAX).build();
                        }
                        self.message.msg_iov = self.pieces.as_mut_ptr();
                        self.message.msg_iovlen = self.pieces.len() as _;
                        opcode::SendMsg::new(fd, &self.message).flags(libc::MSG_NOSIGNAL as u32).build()
                    }
                }
            }
            Primitive::Shutdown { stream } => opcode::Shutdown::new(fd_of(&stream.handle), libc::SHUT_WR).build(),
            Primitive::Truncate { .. }
            | Primitive::ReadPath { .. }
            | Primitive::WritePath { .. }
            | Primitive::Work { .. } => opcode::Nop::new().build(),
        }
    }

    fn statx_entry(&mut self, fd: Fd, path: *const libc::c_char, flags: i32) -> squeue::Entry {
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        opcode::Statx::new(fd, path, (&raw mut self.statx).cast()).flags(flags).mask(mask).build()
    }

    /// Whether a result only means that it is to be tried again.
    fn goes_again(&self, result: i32) -> bool {
        match self.primitive {
            Primitive::Close { .. } => false,
            Primitive::Accept { .. } => sys::accepts_another(-result),
            _ => result == -libc::EINTR,
        }
    }

    /// What a completion means.
    fn value(self, result: i32) -> Result<Value> {
        if let Primitive::Close { handle } = self.primitive {
            // Only a close that was cancelled has left the descriptor open. Closing it again could hit another's.
            if result != -libc::ECANCELED {
                handle.forget();
            }
            return if result < 0 && result != -libc::EINTR { Err(system_error(result)) } else { Ok(Value::Nothing) };
        }
        if result < 0 {
            return Err(system_error(result));
        }
        Ok(match self.primitive {
            // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
            Primitive::Open { .. } => Value::Opened(unsafe { Handle::from_opened(result) }),
            // SAFETY: as above.
            Primitive::Accept { .. } => Value::Opened(unsafe { Handle::from_accepted(result) }),
            Primitive::Read { into, .. } | Primitive::Receive { into, .. } => match (into, self.lent) {
                (Target::Lend(_), Some(lent)) if result > 0 => Value::Lent(lent.filled(result as usize)),
                (Target::Lend(_), _) => Value::Nothing,
                (Target::Caller(_), _) => Value::Count(result as usize),
            },
            Primitive::Write { .. } | Primitive::Send { .. } => Value::Count(result as usize),
            Primitive::Stat { .. } | Primitive::StatPath { .. } => {
                Value::Stat(Box::new(sys::statx_to_stat(&self.statx)))
            }
            _ => Value::Nothing,
        })
    }
}

fn system_error(result: i32) -> Error {
    io::Error::from_raw_os_error(-result).into()
}

fn fd_of(handle: &Handle) -> Fd {
    Fd(handle.descriptor() as i32)
}

/// One system call takes at most this much (read(2), "NOTES"); the rest is for the next.
fn length_of(region: Region) -> u32 {
    region.len().min(0x7fff_f000) as u32
}

fn pieces_of(data: &Data) -> Vec<libc::iovec> {
    let piece = |region: Region| libc::iovec { iov_base: region.pointer().cast(), iov_len: region.len() };
    data.regions().take(PIECES).map(piece).collect()
}

/// Where the next bytes go: the first piece that is left of the caller's memory, or the lent buffer.
fn region_of(into: &Target, lent: &mut Option<Lent>) -> Region {
    let first = |data: &Data| data.regions().next();
    let region = match (into, lent) {
        (Target::Caller(data), _) => first(data),
        (Target::Lend(_), Some(lent)) => first(&lent.as_data()),
        (Target::Lend(_), None) => None,
    };
    // SAFETY: nothing is read or written at length 0.
    region.unwrap_or_else(|| unsafe { Region::new(std::ptr::null_mut(), 0) })
}

/// A ring with everything that this driver needs, or the reason why not.
fn open_ring() -> Result<IoUring> {
    let missing =
        |what: &str, error: io::Error| Error { detail: format!("{what}: {error}").into(), ..Error::from(error) };
    let ring = IoUring::builder()
        // The memory of the rings is not for a forked child.
        .dontfork()
        // Disabled at first: only then can restrictions be registered.
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS)
        .build(ENTRIES)
        .map_err(|error| missing("io_uring_setup", error))?;
    let params = ring.params();
    if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, "io_uring lacks NODROP or EXT_ARG"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| missing("io_uring's probe", error))?;
    if let Some(code) = OPCODES.iter().find(|code| !probe.is_supported(**code)) {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, format!("io_uring lacks opcode {code}")));
    }
    let mut allowed: Vec<Restriction> = OPCODES.iter().map(|code| Restriction::sqe_op(*code)).collect();
    allowed.push(Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()));
    // IORING_REGISTER_PBUF_RING.
    allowed.push(Restriction::register_op(22));
    ring.submitter().register_restrictions(&mut allowed).map_err(|error| missing("io_uring's restrictions", error))?;
    ring.submitter().register_enable_rings().map_err(|error| missing("io_uring, to be enabled", error))?;
    Ok(ring)
}
