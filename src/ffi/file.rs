//! Files
//!
//! Files are opened close-on-exec, without O_NONBLOCK. The blocking work is done on the loop's file threads, or by the kernel,
//! never on your thread. For files by their names see "Paths".

use super::events::Op as OpId;
use super::lifecycle::{Descriptor, Loop};
use super::request::*;
use super::status::Status;
use super::{Versioned, guard, not_null, path};
use crate::engine::registry;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::op::file::FileOp;
use crate::sys::{self, Data, FileKind, FileStat, OpenFlags, Region, StatTarget, Target};
use std::ffi::{c_char, c_void};

/// The id of an open file.
pub type File = u64;

/// At the file's current position, which moves on by what is read or written. Such operations run in the order submitted.
pub const SL_OFFSET_CURRENT: i64 = -1;

/// Open for reading.
pub const SL_OPEN_READ: u32 = 1;
/// Open for writing.
pub const SL_OPEN_WRITE: u32 = 2;
/// Every write goes to the end of the file, whatever its offset; implies SL_OPEN_WRITE.
pub const SL_OPEN_APPEND: u32 = 4;
/// Create the file where it does not exist.
pub const SL_OPEN_CREATE: u32 = 8;
/// With SL_OPEN_CREATE: fail with SL_ERR_EXISTS where it does.
pub const SL_OPEN_EXCLUSIVE: u32 = 16;
/// Cut an existing file to length 0.
pub const SL_OPEN_TRUNCATE: u32 = 32;
/// Fail with SL_ERR_LINKS where the last part of the path is a symbolic link (O_NOFOLLOW). Not on Windows.
pub const SL_OPEN_NO_FOLLOW: u32 = 64;
/// Fail with SL_ERR_NOT_DIRECTORY where it is not a directory (O_DIRECTORY). Not on Windows.
pub const SL_OPEN_DIRECTORY: u32 = 128;

/// The directory does not say which (sl_path_list).
pub const SL_TYPE_UNKNOWN: u32 = 0;
/// A regular file.
pub const SL_TYPE_FILE: u32 = 1;
/// A directory.
pub const SL_TYPE_DIRECTORY: u32 = 2;
/// A symbolic link.
pub const SL_TYPE_LINK: u32 = 3;
/// A device, a socket, a pipe or something else.
pub const SL_TYPE_OTHER: u32 = 4;

/// A piece of memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slice {
    /// Its address.
    pub data: *mut c_void,
    /// Its length in bytes.
    pub length: usize,
}

/// What is known of a file. Set `size` to sizeof(sl_stat) before you submit. Times are nanoseconds since 1970 (UTC).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stat {
    /// sizeof(sl_stat).
    pub size: u32,
    /// One of SL_TYPE_....
    pub r#type: u32,
    /// Length in bytes.
    pub length: u64,
    /// Bytes that it takes up on the device.
    pub allocated: u64,
    /// Permissions, as st_mode & 07777 (on Windows 0444 or 0666).
    pub mode: u32,
    /// How many names it has; 0 where the system does not say.
    pub links: u32,
    /// Its owner; 0 on Windows.
    pub user: u32,
    /// Its group; 0 on Windows.
    pub group: u32,
    /// The device that it is on; 0 on Windows.
    pub device: u64,
    /// Its number on that device; 0 on Windows.
    pub inode: u64,
    /// When it was last read.
    pub accessed_ns: i64,
    /// When it was last written.
    pub modified_ns: i64,
    /// When its contents or attributes last changed; 0 on Windows.
    pub changed_ns: i64,
    /// When it was created; 0 where the system does not say.
    pub created_ns: i64,
}

// SAFETY: repr(C), starts with its size, integers only.
unsafe impl Versioned for Stat {
    const SIZES: &'static [u32] = &[size_of::<Self>() as u32];
}

pub(super) const OPEN_FLAGS: u32 = SL_OPEN_READ
    | SL_OPEN_WRITE
    | SL_OPEN_APPEND
    | SL_OPEN_CREATE
    | SL_OPEN_EXCLUSIVE
    | SL_OPEN_TRUNCATE
    | SL_OPEN_NO_FOLLOW
    | SL_OPEN_DIRECTORY;

/// Opens a file. The event's result is the sl_file.
///
/// path: copied. flags: SL_OPEN_...; one of READ, WRITE and APPEND at least. mode: the permissions of a file that is created,
/// like 0644, less the process's umask.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission (see sl_request). Ends with the errors of open(2).
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_open(
    r#loop: Loop,
    path: *const c_char,
    flags: u32,
    mode: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), flags, mode, ..Request::new(SL_FILE_OPEN, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Reads at most `length` bytes at `offset` (bytes from the start, or SL_OFFSET_CURRENT). The event's result is how many: 0 at
/// the end of the file, fewer than `length` where the file had no more just then.
///
/// buffer: yours, lent to the operation until its last event; or NULL for a lent buffer of up to `length` bytes.
/// flags: SL_EXACT (buffer must not be NULL) reads on until `length` bytes or the end of the file; fewer than `length` then means the end.
///
/// Any thread. Refused with: SL_ERR_INVALID (length beyond SSIZE_MAX, offset below -1, unknown flags), those of the id and of
/// submission. Ends with the errors of read(2), SL_ERR_NO_BUFFERS, SL_ERR_NO_SEEK.
///
/// # Safety
/// `buffer` is NULL or `length` writable bytes until the last event; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_read(
    file: File,
    buffer: *mut c_void,
    length: usize,
    offset: i64,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer, length: length as u64, offset, flags, ..Request::new(SL_FILE_READ, file) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Writes all `length` bytes at `offset` (bytes from the start, or SL_OFFSET_CURRENT). The event's result is `length`; or an
/// error, with SL_EVENT_PARTIAL and the number of bytes written before it in `detail` where there were any.
///
/// data: lent to the operation until its last event. flags: 0.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of the id and of submission. Ends with the errors of write(2).
///
/// # Safety
/// `data` is `length` readable bytes until the last event; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_write(
    file: File,
    data: *const c_void,
    length: usize,
    offset: i64,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = data.cast_mut();
    let request = Request { buffer, length: length as u64, offset, flags, ..Request::new(SL_FILE_WRITE, file) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Reads into `count` pieces of memory, one after the other (at most 1024); otherwise like sl_file_read.
///
/// slices: the array is copied; the memory it names is lent to the operation until its last event.
///
/// # Safety
/// `slices` holds `count` elements that name writable memory; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_readv(
    file: File,
    slices: *const Slice,
    count: usize,
    offset: i64,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = slices.cast_mut().cast();
    let request = Request { buffer, length: count as u64, offset, flags, ..Request::new(SL_FILE_READV, file) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Writes `count` pieces of memory, one after the other (at most 1024); otherwise like sl_file_write.
///
/// slices: the array is copied; the memory it names is lent to the operation until its last event.
///
/// # Safety
/// `slices` holds `count` elements that name readable memory; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_writev(
    file: File,
    slices: *const Slice,
    count: usize,
    offset: i64,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = slices.cast_mut().cast();
    let request = Request { buffer, length: count as u64, offset, flags, ..Request::new(SL_FILE_WRITEV, file) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Makes what was written before safe on the device (fsync; with SL_DATA_ONLY fdatasync). The event's result is 0. It covers
/// the writes whose events were posted before this call.
///
/// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of fsync(2).
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_sync(file: File, flags: u32, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { flags, ..Request::new(SL_FILE_SYNC, file) }, options, op) }
}

/// Says what is known of an open file. The event's result is 0.
///
/// stat: set its `size` first; lent to the operation until its last event, and written where that is a success.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_STRUCT_SIZE, those of the id and of submission.
///
/// # Safety
/// `stat` is NULL or a valid structure until the last event; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_stat(file: File, stat: *mut Stat, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { buffer: stat.cast(), ..Request::new(SL_FILE_STAT, file) }, options, op) }
}

/// Makes a file `length` bytes long: cuts it, or adds zeros. The event's result is 0.
///
/// Any thread. Refused with: SL_ERR_INVALID (length beyond INT64_MAX), those of the id and of submission. Ends with the errors
/// of ftruncate(2).
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_truncate(file: File, length: u64, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { length, ..Request::new(SL_FILE_TRUNCATE, file) }, options, op) }
}

/// Gives an open file descriptor (on Windows a HANDLE) of yours to a loop, which closes it from then on.
///
/// The descriptor should be of something that read(2) can block on without harm: a regular file, a directory, a device. For
/// sockets and pipes see sl_stream_adopt.
///
/// Any thread. Errors: SL_ERR_NULL, SL_ERR_BAD_DESCRIPTOR (the descriptor stays yours, as after every error), SL_ERR_AGAIN, those
/// of the id.
///
/// # Safety
/// `descriptor` is yours to give away; `file` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_file_adopt(r#loop: Loop, descriptor: Descriptor, file: *mut File) -> Status {
    guard(|| {
        let engine = registry::find_loop(r#loop)?;
        not_null(file, "file")?;
        sys::check_file_descriptor(descriptor)?;
        // SAFETY: it is open, and the caller gives it away; `adopt` gives it back where it fails.
        let id = engine.adopt(|| unsafe { sys::adopt_file(descriptor) })?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { file.write_unaligned(id) };
        Ok(0)
    })
}

/// Makes the operation that a request of this chapter describes.
///
/// # Safety
/// What the request points to is valid as its function says.
pub(super) unsafe fn decode(request: &Request) -> Result<Op> {
    let flags = request.flags;
    // SAFETY (of all below): the caller vouches for the memory that the request names.
    let op = match request.kind {
        SL_FILE_OPEN => {
            check_flags(flags, OPEN_FLAGS)?;
            if flags & (SL_OPEN_READ | SL_OPEN_WRITE | SL_OPEN_APPEND) == 0 {
                return Err(Error::invalid("flags has none of SL_OPEN_READ, SL_OPEN_WRITE and SL_OPEN_APPEND"));
            }
            // SAFETY: see above.
            FileOp::open(unsafe { path::read_path(request) }?, open_flags(flags, request.mode)?)
        }
        SL_FILE_READ => {
            check_flags(flags, SL_EXACT)?;
            // SAFETY: see above.
            let into = unsafe { read_target(request.buffer, request.length) }?;
            check_exact(flags & SL_EXACT != 0, &into)?;
            FileOp::read(into, offset(request.offset)?, flags & SL_EXACT != 0)
        }
        SL_FILE_READV => {
            check_flags(flags, SL_EXACT)?;
            // SAFETY: see above.
            let into = unsafe { read_slices(request.buffer.cast(), request.length) }?;
            FileOp::read(Target::Caller(into), offset(request.offset)?, flags & SL_EXACT != 0)
        }
        SL_FILE_WRITE => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            let from = unsafe { read_data(request.buffer, request.length, "data") }?;
            FileOp::write(from, offset(request.offset)?)
        }
        SL_FILE_WRITEV => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            let from = unsafe { read_slices(request.buffer.cast(), request.length) }?;
            FileOp::write(from, offset(request.offset)?)
        }
        SL_FILE_SYNC => {
            check_flags(flags, SL_DATA_ONLY)?;
            FileOp::sync(flags & SL_DATA_ONLY != 0)
        }
        SL_FILE_STAT => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            FileOp::stat(unsafe { read_stat_target(request.buffer.cast()) }?)
        }
        _ => {
            check_flags(flags, 0)?;
            FileOp::truncate(bounded(request.length, "length")?)
        }
    };
    Ok(Op::File(op))
}

pub(super) fn open_flags(flags: u32, mode: u32) -> Result<OpenFlags> {
    let mode = checked_mode(mode)?;
    if flags & SL_OPEN_EXCLUSIVE != 0 && flags & SL_OPEN_CREATE == 0 {
        return Err(Error::invalid("flags has SL_OPEN_EXCLUSIVE without SL_OPEN_CREATE"));
    }
    if flags & SL_OPEN_TRUNCATE != 0 && flags & (SL_OPEN_WRITE | SL_OPEN_APPEND) == 0 {
        return Err(Error::invalid("flags has SL_OPEN_TRUNCATE without SL_OPEN_WRITE or SL_OPEN_APPEND"));
    }
    if flags & SL_OPEN_CREATE != 0 && flags & (SL_OPEN_WRITE | SL_OPEN_APPEND) == 0 {
        return Err(Error::invalid("flags has SL_OPEN_CREATE without SL_OPEN_WRITE or SL_OPEN_APPEND"));
    }
    let has = |bit: u32| flags & bit != 0;
    OpenFlags {
        read: has(SL_OPEN_READ),
        write: has(SL_OPEN_WRITE),
        append: has(SL_OPEN_APPEND),
        create: has(SL_OPEN_CREATE),
        exclusive: has(SL_OPEN_EXCLUSIVE),
        truncate: has(SL_OPEN_TRUNCATE),
        no_follow: has(SL_OPEN_NO_FOLLOW),
        directory: has(SL_OPEN_DIRECTORY),
        mode,
    }
    .checked()
}

/// The permissions of something new.
pub(super) fn checked_mode(mode: u32) -> Result<u32> {
    if mode <= 0o7777 { Ok(mode) } else { Err(Error::invalid(format!("mode {mode:#o} is more than 07777"))) }
}

fn offset(offset: i64) -> Result<Option<u64>> {
    match offset {
        SL_OFFSET_CURRENT => Ok(None),
        0.. => Ok(Some(offset as u64)),
        _ => Err(Error::invalid(format!("offset is {offset}, neither SL_OFFSET_CURRENT nor 0 or more"))),
    }
}

/// A number that a `ssize_t` (and on every platform an `i64`) can hold.
fn bounded(value: u64, what: &'static str) -> Result<u64> {
    if value <= isize::MAX as u64 {
        Ok(value)
    } else {
        Err(Error::invalid(format!("{what} is {value}, more than SSIZE_MAX")))
    }
}

/// # Safety
/// `data` is NULL or `length` bytes, valid until the operation's last event.
pub(super) unsafe fn read_data(data: *mut c_void, length: u64, what: &'static str) -> Result<Data> {
    let length = bounded(length, "length")? as usize;
    if length > 0 {
        not_null(data, what)?;
    }
    // SAFETY: passed on from the caller.
    Ok(Data::One(unsafe { Region::new(data.cast(), length) }))
}

/// # Safety
/// `buffer` is NULL or `length` writable bytes, valid until the operation's last event.
pub(super) unsafe fn read_target(buffer: *mut c_void, length: u64) -> Result<Target> {
    if buffer.is_null() && length > 0 {
        return Ok(Target::Lend(bounded(length, "length")? as usize));
    }
    // SAFETY: passed on from the caller.
    Ok(Target::Caller(unsafe { read_data(buffer, length, "buffer") }?))
}

/// An exact read that is cut short leaves what it had in the caller's memory; lent memory would be lost with it.
pub(super) fn check_exact(exact: bool, into: &Target) -> Result<()> {
    if exact && matches!(into, Target::Lend(_)) {
        return Err(Error::invalid("SL_EXACT needs a buffer of yours"));
    }
    Ok(())
}

/// # Safety
/// `slices` is NULL or `count` slices of memory that is valid until the operation's last event.
pub(super) unsafe fn read_slices(slices: *const Slice, count: u64) -> Result<Data> {
    if count > 1024 {
        return Err(Error::invalid(format!("count is {count}, more than 1024")));
    }
    if count > 0 {
        not_null(slices, "slices")?;
    }
    let mut regions = Vec::with_capacity(count as usize);
    let mut total = 0u64;
    for index in 0..count as usize {
        // SAFETY: the caller vouches for `count` slices.
        let slice = unsafe { slices.add(index).read_unaligned() };
        if slice.length > 0 {
            not_null(slice.data, "slices: data")?;
        }
        total = total.saturating_add(slice.length as u64);
        // SAFETY: the caller vouches for the memory of every slice.
        regions.push(unsafe { Region::new(slice.data.cast(), slice.length) });
    }
    bounded(total, "slices: the sum of length")?;
    Ok(Data::many(regions))
}

/// # Safety
/// `stat` is NULL or a valid sl_stat until the operation's last event.
pub(super) unsafe fn read_stat_target(stat: *mut Stat) -> Result<StatTarget> {
    // SAFETY: the caller vouches for `stat`; its size field tells how much of it there is.
    let size = unsafe { super::read_versioned(stat.cast_const(), "stat") }?.size;
    // SAFETY: as above, until the last event.
    Ok(StatTarget::new(unsafe { Region::new(stat.cast(), size as usize) }, fill_stat))
}

/// The number of a kind in what the caller sees.
pub(super) fn type_of(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => SL_TYPE_FILE,
        FileKind::Directory => SL_TYPE_DIRECTORY,
        FileKind::Link => SL_TYPE_LINK,
        FileKind::Other => SL_TYPE_OTHER,
    }
}

/// Fills a caller's structure, as much of it as there is. Runs on the loop's thread, before the operation's last event.
fn fill_stat(place: Region, from: &FileStat) {
    let stat = Stat {
        size: place.len() as u32,
        r#type: type_of(from.kind),
        length: from.length,
        allocated: from.allocated,
        mode: from.mode,
        links: from.links,
        user: from.user,
        group: from.group,
        device: from.device,
        inode: from.inode,
        accessed_ns: from.accessed_ns,
        modified_ns: from.modified_ns,
        changed_ns: from.changed_ns,
        created_ns: from.created_ns,
    };
    // SAFETY: `read_stat_target` took the length from the caller's size field, which is at most the size of a Stat.
    unsafe { std::ptr::copy_nonoverlapping((&raw const stat).cast::<u8>(), place.pointer(), place.len()) };
}
