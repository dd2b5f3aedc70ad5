//! A primitive with the kernel: what is submitted for it, what must stay where it is meanwhile, and what its result means.

use super::lending;
use super::setup::Abilities;
use crate::driver::buffers::Lent;
use crate::driver::{Primitive, Value};
use crate::error::{Error, Result};
use crate::sys::{self, Data, Handle, Path, Region, StatTarget, Target};
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use socket2::SockAddr;
use std::io;
use std::mem::zeroed;

/// How many pieces one vectored operation takes: IOV_MAX.
const PIECES: usize = 1024;

/// What a flight carries out: as much of its primitive as its end needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Open,
    /// Reads and receives, into memory of the caller's or lent.
    Read,
    ReadLent,
    /// Writes and sends.
    Write,
    Stat,
    Close,
    Accept,
    /// Those that give nothing but their end.
    Plain,
}

/// A primitive with the kernel.
pub(super) struct Flight {
    pub(super) what: What,
    pub(super) cancelled: bool,
    /// The kernel chooses the buffer when bytes arrive.
    pub(super) chooses: bool,
    /// It does no harm to do it twice.
    pub(super) repeatable: bool,
    /// What is written to; else -1.
    pub(super) fd: i32,
    pub(super) extra: Option<Box<Extra>>,
}

/// What a submission points to, or its end needs, beyond the caller's memory. Boxed, so that it does not move before the
/// completion; the boxes are used again.
pub(super) struct Extra {
    pub(super) lent: Option<Lent>,
    /// What is being closed.
    handle: Option<Handle>,
    pub(super) path: Option<Path>,
    /// How `path` is being opened.
    pub(super) flags: sys::OpenFlags,
    pieces: Vec<libc::iovec>,
    message: libc::msghdr,
    address: Option<SockAddr>,
    statx: libc::statx,
    target: Option<StatTarget>,
}

// SAFETY: the addresses in it are of memory that belongs to the operation, on whichever thread; the kernel alone reads them.
unsafe impl Send for Extra {}

impl Extra {
    pub(super) fn new() -> Box<Self> {
        Box::new(Extra {
            lent: None,
            handle: None,
            path: None,
            flags: sys::OpenFlags::default(),
            pieces: Vec::new(),
            // SAFETY: all-zero is a message without parts.
            message: unsafe { zeroed() },
            address: None,
            // SAFETY: all-zero is a value of this structure of integers.
            statx: unsafe { zeroed() },
            target: None,
        })
    }

    /// Lets go of everything that belongs to others.
    pub(super) fn clear(&mut self) {
        (self.lent, self.handle, self.path, self.address, self.target) = (None, None, None, None, None);
        self.pieces.clear();
    }

    fn take_pieces(&mut self, data: &Data) -> Result<(*const libc::iovec, u32)> {
        self.pieces.clear();
        let count = data.regions().take(PIECES).count();
        self.pieces.try_reserve(count).map_err(|_| Error::new(crate::error::SL_ERR_NO_MEMORY))?;
        let piece = |region: Region| libc::iovec { iov_base: region.pointer().cast(), iov_len: region.len() };
        self.pieces.extend(data.regions().take(PIECES).map(piece));
        Ok((self.pieces.as_ptr(), count as u32))
    }
}

/// Whether a primitive has a submission of its own; the others are for the workers.
pub(super) fn is_native(primitive: &Primitive, abilities: Abilities) -> bool {
    match primitive {
        Primitive::Truncate { .. } => abilities.truncate,
        // The kernel forgets to move the current position where an error cuts a write short.
        Primitive::Read { offset: None, .. } | Primitive::Write { offset: None, .. } => false,
        // Closing a socket with a linger time blocks, and the kernel would do it on the spot.
        Primitive::Close { handle } => handle.kind() == sys::HandleKind::File || !handle.close_may_block(),
        primitive => !is_for_workers(primitive),
    }
}

/// What the kernel would give to threads of its own right away, or has no opcode for.
fn is_for_workers(primitive: &Primitive) -> bool {
    matches!(
        primitive,
        Primitive::ReadPath { .. }
            | Primitive::WritePath { .. }
            | Primitive::OpenReplacement { .. }
            | Primitive::Copy { .. }
            | Primitive::Remove { .. }
            | Primitive::Rename { .. }
            | Primitive::MakeDirectory { .. }
            | Primitive::Link { .. }
            | Primitive::ReadLink { .. }
            | Primitive::ListPath { .. }
            | Primitive::Work { .. }
    )
}

/// What a primitive needs beyond the caller's memory.
pub(super) fn needs_extra(primitive: &Primitive) -> bool {
    match primitive {
        Primitive::Open { .. }
        | Primitive::Stat { .. }
        | Primitive::StatPath { .. }
        | Primitive::Close { .. }
        | Primitive::Connect { .. } => true,
        Primitive::Read { into: Target::Caller(data), .. }
        | Primitive::Write { from: data, .. }
        | Primitive::Send { from: data, .. } => matches!(data, Data::Many(..)),
        _ => false,
    }
}

impl Flight {
    /// The flight of a primitive, and its submission, which points into `extra` and to the caller's memory. `chooses`: the
    /// kernel chooses the buffer of this receive, and, `multishot`, goes on.
    pub(super) fn of(
        primitive: Primitive,
        mut extra: Option<Box<Extra>>,
        chooses: bool,
        multishot: bool,
    ) -> Result<(Flight, squeue::Entry)> {
        let repeatable = match &primitive {
            Primitive::Open { flags, .. } => !flags.create && !flags.truncate,
            _ => true,
        };
        let fd = if let Primitive::Write { file, .. } = &primitive { fd_of(file).0 } else { -1 };
        let (what, entry) = entry(primitive, extra.as_deref_mut(), chooses, multishot)?;
        Ok((Flight { what, cancelled: false, chooses, repeatable, fd, extra }, entry))
    }

    /// Whether a result only means that it is to be tried again.
    pub(super) fn goes_again(&self, result: i32) -> bool {
        match self.what {
            What::Close => false,
            What::Accept => sys::accepts_another(-result),
            _ => result == -libc::EINTR,
        }
    }

    /// Lets go of what was being closed without closing it.
    pub(super) fn forget(self) {
        if let Some(handle) = self.extra.and_then(|mut extra| extra.handle.take()) {
            handle.forget();
        }
    }

    /// What a completion means; leaves in `extra` what is not given on.
    pub(super) fn value(&mut self, result: i32) -> Result<Value> {
        let extra = self.extra.as_deref_mut();
        if self.what == What::Close {
            // Only a close that was cancelled has left the descriptor open. Closing it again could hit another's.
            if let (Some(handle), true) = (extra.and_then(|extra| extra.handle.take()), result != -libc::ECANCELED) {
                handle.forget();
            }
            return if result < 0 && result != -libc::EINTR { Err(system_error(result)) } else { Ok(Value::Nothing) };
        }
        if result < 0 {
            return Err(system_error(result));
        }
        Ok(match (self.what, extra) {
            // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
            (What::Open, _) => Value::Opened(unsafe { Handle::from_opened(result) }),
            // SAFETY: as above.
            (What::Accept, _) => Value::Opened(unsafe { Handle::from_accepted(result) }),
            (What::ReadLent, Some(Extra { lent, .. })) if result > 0 => match lent.take() {
                Some(lent) => Value::Lent(lent.filled(result as usize)),
                None => Value::Nothing,
            },
            (What::ReadLent, _) => Value::Nothing,
            (What::Read | What::Write, _) => Value::Count(result as usize),
            (What::Stat, Some(Extra { statx, target: Some(target), .. })) => {
                target.fill(&sys::statx_to_stat(statx));
                Value::Nothing
            }
            _ => Value::Nothing,
        })
    }
}

fn entry(
    primitive: Primitive,
    extra: Option<&mut Extra>,
    chooses: bool,
    multishot: bool,
) -> Result<(What, squeue::Entry)> {
    let missing = || Error::new(crate::error::SL_ERR_INTERNAL);
    Ok(match primitive {
        Primitive::Open { path, flags } => {
            let (bits, at) = (sys::open_bits(&flags), path.as_ptr());
            let extra = extra.ok_or_else(missing)?;
            (extra.path, extra.flags) = (Some(path), flags);
            (What::Open, opcode::OpenAt::new(Fd(libc::AT_FDCWD), at).flags(bits).mode(flags.mode).build())
        }
        Primitive::Read { file, into, offset } => read(fd_of(&file), &into, offset, extra)?,
        Primitive::Write { file, from, offset } => (What::Write, write(fd_of(&file), &from, offset, extra)?),
        Primitive::Sync { file, data_only } => {
            let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            (What::Plain, opcode::Fsync::new(fd_of(&file)).flags(flags).build())
        }
        Primitive::Truncate { file, length } => (What::Plain, opcode::Ftruncate::new(fd_of(&file), length).build()),
        Primitive::Stat { file, target } => {
            (What::Stat, statx(extra.ok_or_else(missing)?, fd_of(&file), None, libc::AT_EMPTY_PATH, target))
        }
        Primitive::StatPath { path, follow, target } => {
            let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
            (What::Stat, statx(extra.ok_or_else(missing)?, Fd(libc::AT_FDCWD), Some(path), flags, target))
        }
        Primitive::Close { handle } => {
            let fd = fd_of(&handle);
            extra.ok_or_else(missing)?.handle = Some(handle);
            (What::Close, opcode::Close::new(fd).build())
        }
        Primitive::Accept { listener, .. } if multishot => {
            (What::Accept, opcode::AcceptMulti::new(fd_of(&listener.handle)).flags(libc::SOCK_CLOEXEC).build())
        }
        Primitive::Accept { listener, .. } => {
            let none = std::ptr::null_mut();
            let accept = opcode::Accept::new(fd_of(&listener.handle), none, std::ptr::null_mut());
            (What::Accept, accept.flags(libc::SOCK_CLOEXEC).build())
        }
        Primitive::Connect { stream, address } => {
            let address = extra.ok_or_else(missing)?.address.insert(SockAddr::from(address));
            (What::Plain, opcode::Connect::new(fd_of(&stream.handle), address.as_ptr().cast(), address.len()).build())
        }
        Primitive::Receive { stream, into, .. } => {
            let fd = fd_of(&stream.handle);
            if stream.handle.is_pipe() {
                read(fd, &into, None, extra)?
            } else if chooses {
                (What::ReadLent, receive_chosen(fd, &into, multishot))
            } else {
                let (what, region) = place(&into, extra);
                (what, opcode::Recv::new(fd, region.pointer(), length_of(region)).build())
            }
        }
        Primitive::Send { stream, from } => {
            let fd = fd_of(&stream.handle);
            let send = if stream.handle.is_pipe() { write(fd, &from, None, extra)? } else { send(fd, &from, extra)? };
            (What::Write, send)
        }
        Primitive::Shutdown { stream } => {
            (What::Plain, opcode::Shutdown::new(fd_of(&stream.handle), libc::SHUT_WR).build())
        }
        _ => return Err(missing()),
    })
}

fn read(fd: Fd, into: &Target, offset: Option<u64>, extra: Option<&mut Extra>) -> Result<(What, squeue::Entry)> {
    // u64::MAX: at the current position, and what has none.
    let offset = offset.unwrap_or(u64::MAX);
    match (into, extra) {
        (Target::Caller(data @ Data::Many(..)), Some(extra)) => {
            let (pieces, count) = extra.take_pieces(data)?;
            Ok((What::Read, opcode::Readv::new(fd, pieces, count).offset(offset).build()))
        }
        (into, extra) => {
            let (what, region) = place(into, extra);
            Ok((what, opcode::Read::new(fd, region.pointer(), length_of(region)).offset(offset).build()))
        }
    }
}

fn write(fd: Fd, from: &Data, offset: Option<u64>, extra: Option<&mut Extra>) -> Result<squeue::Entry> {
    let offset = offset.unwrap_or(u64::MAX);
    match (from, extra) {
        (Data::Many(..), Some(extra)) => {
            let (pieces, count) = extra.take_pieces(from)?;
            Ok(opcode::Writev::new(fd, pieces, count).offset(offset).build())
        }
        _ => {
            let region = first(from);
            Ok(opcode::Write::new(fd, region.pointer(), length_of(region)).offset(offset).build())
        }
    }
}

fn send(fd: Fd, from: &Data, extra: Option<&mut Extra>) -> Result<squeue::Entry> {
    match (from, extra) {
        (Data::Many(..), Some(extra)) => {
            let (pieces, count) = extra.take_pieces(from)?;
            extra.message.msg_iov = pieces.cast_mut();
            extra.message.msg_iovlen = count as _;
            Ok(opcode::SendMsg::new(fd, &extra.message).flags(libc::MSG_NOSIGNAL as u32).build())
        }
        _ => {
            let region = first(from);
            Ok(opcode::Send::new(fd, region.pointer(), length_of(region)).flags(libc::MSG_NOSIGNAL).build())
        }
    }
}

/// A receive whose buffer the kernel chooses.
fn receive_chosen(fd: Fd, into: &Target, multishot: bool) -> squeue::Entry {
    if multishot {
        return opcode::RecvMulti::new(fd, lending::GROUP).build();
    }
    let most = if let Target::Lend(length) = into { *length as u32 } else { 0 };
    let receive = opcode::Recv::new(fd, std::ptr::null_mut(), most).buf_group(lending::GROUP);
    receive.build().flags(squeue::Flags::BUFFER_SELECT)
}

fn statx(extra: &mut Extra, fd: Fd, path: Option<Path>, flags: i32, target: StatTarget) -> squeue::Entry {
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let name = path.as_ref().map_or(c"".as_ptr(), |path| path.as_ptr());
    (extra.path, extra.target) = (path, Some(target));
    opcode::Statx::new(fd, name, (&raw mut extra.statx).cast()).flags(flags).mask(mask).build()
}

/// Where the next bytes go: the first piece that is left of the caller's memory, or the lent buffer.
fn place(into: &Target, extra: Option<&mut Extra>) -> (What, Region) {
    match (into, extra.and_then(|extra| extra.lent.as_mut())) {
        (Target::Caller(data), _) => (What::Read, first(data)),
        (Target::Lend(_), Some(lent)) => (What::ReadLent, first(&lent.as_data())),
        (Target::Lend(_), None) => (What::ReadLent, nothing()),
    }
}

fn first(data: &Data) -> Region {
    data.regions().next().unwrap_or_else(nothing)
}

fn nothing() -> Region {
    // SAFETY: nothing is read or written at length 0.
    unsafe { Region::new(std::ptr::null_mut(), 0) }
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
