//! Paths
//!
//! Whole files, directories and links by their names. Paths are bytes on Unix and UTF-8 on Windows, and end with a NUL; they are
//! copied at submission. What is not absolute begins at the current directory of the moment in which it is carried out.

use super::events::Op as OpId;
use super::file::{
    OPEN_FLAGS, SL_OPEN_CREATE, SL_OPEN_DIRECTORY, SL_OPEN_READ, SL_OPEN_TRUNCATE, SL_OPEN_WRITE, SL_TYPE_UNKNOWN, Stat,
};
use super::file::{checked_mode, open_flags, read_data, read_stat_target, type_of};
use super::lifecycle::Loop;
use super::read_string;
use super::request::*;
use super::status::Status;
use crate::error::{self, Error, Result};
use crate::op::Op;
use crate::op::path::PathOp;
use crate::sys::{self, LinkKind};
use std::ffi::{c_char, c_void};

/// sl_path_write: the file is there whole or not at all. It is written under a name that nobody knows, in the same directory, and
/// then renamed.
pub const SL_WRITE_REPLACE: u32 = 256;
/// sl_path_write, sl_path_copy: the event comes when the file, and its name in its directory, are safe on the device (fsync).
pub const SL_WRITE_SYNC: u32 = 512;

/// An entry of a directory, as sl_path_list gives it. Its name follows it: `name_length` bytes, then a NUL, then zeros up to
/// `length`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListEntry {
    /// Its number on the device; 0 on Windows.
    pub inode: u64,
    /// How many bytes this entry takes with its name, a multiple of 8: the next one begins so many bytes on.
    pub length: u32,
    /// How many bytes its name has, which is no path; on Windows UTF-8.
    pub name_length: u16,
    /// One of SL_TYPE_....
    pub r#type: u16,
}

/// Says what is known of a path. The event's result is 0.
///
/// flags: SL_NO_FOLLOW for a symbolic link itself. stat: as for sl_file_stat.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_STRUCT_SIZE, those of submission. Ends with the errors of
/// stat(2).
///
/// # Safety
/// `path` is a string; `stat` is NULL or a valid structure until the last event; `options` is NULL or valid; `op` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_stat(
    r#loop: Loop,
    path: *const c_char,
    flags: u32,
    stat: *mut Stat,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = path.cast_mut().cast();
    let request = Request { buffer, offset: stat as isize as i64, flags, ..Request::new(SL_PATH_STAT, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Reads a whole file in one operation: opens it, reads to its end, closes it. The event's result is the length, and `data`
/// and `detail` a lent buffer with the contents (no buffer where the file is empty).
///
/// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of open(2) and read(2), and
/// SL_ERR_NO_BUFFERS where the file is larger than the loop's max_lent_bytes.
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_read(
    r#loop: Loop,
    path: *const c_char,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), ..Request::new(SL_PATH_READ, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Writes a whole file in one operation: opens it, writes all of `data`, closes it. The event's result is `length`; or an
/// error, with SL_EVENT_PARTIAL and the bytes written before it.
///
/// data: lent to the operation until its last event. flags: SL_OPEN_..., and SL_WRITE_SYNC; without any of the former,
/// SL_OPEN_CREATE | SL_OPEN_TRUNCATE. SL_OPEN_WRITE is implied. mode: as for sl_file_open.
///
/// With SL_WRITE_REPLACE (and no SL_OPEN_...) what was there before stays as it is until the new file takes its place, and for
/// good where the operation fails, is cancelled or past its deadline; the new file's owner is who made it, its permissions
/// (0777) are those of the file that it replaces. A symbolic link is replaced itself. What is neither a regular file nor absent
/// is SL_ERR_IS_DIRECTORY or SL_ERR_UNSUPPORTED. A program that ends meanwhile may leave a file ".sideloop-..." behind. On
/// Windows a file that is read-only cannot be replaced, nor one that somebody has opened without sharing.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of open(2), write(2),
/// close(2), and as the flags say, fsync(2) and rename(2). Where only the sync of the directory fails, the file is written all
/// the same.
///
/// # Safety
/// `path` is a string; `data` is `length` readable bytes until the last event; `options` is NULL or valid; `op` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_write(
    r#loop: Loop,
    path: *const c_char,
    data: *const c_void,
    length: usize,
    flags: u32,
    mode: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request {
        buffer: path.cast_mut().cast(),
        length: length as u64,
        offset: data as isize as i64,
        flags,
        mode,
        ..Request::new(SL_PATH_WRITE, r#loop)
    };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Copies a file's contents. The event's result is how many bytes. The new file takes the place of what is at `to` as with
/// SL_WRITE_REPLACE of sl_path_write: whole or not at all, also where `from` is the same file.
///
/// mode: the permissions of the new file where there was none, as for sl_file_open. flags: SL_NO_REPLACE ends with
/// SL_ERR_EXISTS where anything is at `to`; the new file is then seen while it grows, and removed where the copy does not come
/// to its end. SL_WRITE_SYNC. The system copies by itself what it can (copy_file_range(2)). A cancel or a deadline ends a copy
/// after at most 8 MiB more.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of open(2), read(2) and
/// those of sl_path_write.
///
/// # Safety
/// `from` and `to` are strings; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_copy(
    r#loop: Loop,
    from: *const c_char,
    to: *const c_char,
    flags: u32,
    mode: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { flags, mode, ..two_paths(SL_PATH_COPY, r#loop, from, to) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Removes a file, or a symbolic link itself (unlink); with SL_DIRECTORY a directory that is empty (rmdir). The event's result
/// is 0. What is open stays usable until it is closed. On Windows a link to a directory is removed with SL_DIRECTORY.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of unlink(2) and rmdir(2).
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_remove(
    r#loop: Loop,
    path: *const c_char,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), flags, ..Request::new(SL_PATH_REMOVE, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Gives what is at `from` the name `to`, on the same file system. The event's result is 0. What was at `to` is replaced in the
/// same moment: a file by what is no directory, an empty directory by a directory (not on Windows).
///
/// flags: SL_NO_REPLACE ends with SL_ERR_EXISTS where anything is at `to`, and with SL_ERR_UNSUPPORTED where the system or the
/// file system cannot rename like that.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of rename(2).
///
/// # Safety
/// `from` and `to` are strings; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_rename(
    r#loop: Loop,
    from: *const c_char,
    to: *const c_char,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { flags, ..two_paths(SL_PATH_RENAME, r#loop, from, to) }, options, op) }
}

/// Makes a directory. The event's result is 0.
///
/// mode: its permissions, like 0755, less the process's umask; without meaning on Windows.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of mkdir(2).
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_make_directory(
    r#loop: Loop,
    path: *const c_char,
    mode: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), mode, ..Request::new(SL_PATH_MAKE_DIRECTORY, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Makes `to` another name of the file `from` (link); with SL_SYMBOLIC a link with the text `from`, which is not looked at
/// (symlink). The event's result is 0. Where something is at `to`, it ends with SL_ERR_EXISTS.
///
/// flags: SL_SYMBOLIC, and with it SL_DIRECTORY for a link to a directory, which is of another kind on Windows, and means nothing
/// elsewhere. Windows lets not everybody make symbolic links (SL_ERR_PERMISSION).
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of link(2) and symlink(2).
///
/// # Safety
/// `from` and `to` are strings; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_link(
    r#loop: Loop,
    from: *const c_char,
    to: *const c_char,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { flags, ..two_paths(SL_PATH_LINK, r#loop, from, to) }, options, op) }
}

/// Says where a symbolic link leads. The event's result is the length of that, and `data` and `detail` a lent buffer with it,
/// without a NUL.
///
/// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of readlink(2), among them SL_ERR_INVALID
/// where it is no symbolic link, and SL_ERR_NO_BUFFERS.
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_read_link(
    r#loop: Loop,
    path: *const c_char,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), ..Request::new(SL_PATH_READ_LINK, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Lists a directory: all of its entries but "." and "..", in no order. The event's result is a length, and `data` and `detail`
/// a lent buffer with as many bytes: one sl_entry with its name after the other, each at an address that is a multiple of 8 (no
/// buffer where the directory is empty). Entries that come or go meanwhile may be in it or not.
///
/// Any thread. Refused with: SL_ERR_NULL, those of submission. Ends with the errors of opendir(3) and readdir(3), and
/// SL_ERR_NO_BUFFERS where the list is larger than the loop's max_lent_bytes.
///
/// # Safety
/// `path` is a string; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_path_list(
    r#loop: Loop,
    path: *const c_char,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: path.cast_mut().cast(), ..Request::new(SL_PATH_LIST, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// A request with two paths.
fn two_paths(kind: u32, r#loop: Loop, from: *const c_char, to: *const c_char) -> Request {
    Request { buffer: from.cast_mut().cast(), offset: to as isize as i64, ..Request::new(kind, r#loop) }
}

/// Makes the operation that a request of this chapter describes.
///
/// # Safety
/// What the request points to is valid as its function says.
pub(super) unsafe fn decode(request: &Request) -> Result<Op> {
    let flags = request.flags;
    // SAFETY (of all below): the caller vouches for the memory that the request names.
    let op = match request.kind {
        SL_PATH_STAT => {
            check_flags(flags, SL_NO_FOLLOW)?;
            // SAFETY: see above.
            let target = unsafe { read_stat_target(request.offset as isize as *mut Stat) }?;
            // SAFETY: see above.
            PathOp::stat(unsafe { read_path(request) }?, flags & SL_NO_FOLLOW == 0, target)
        }
        SL_PATH_READ => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            PathOp::read(unsafe { read_path(request) }?)
        }
        // SAFETY: see above.
        SL_PATH_WRITE => unsafe { decode_write(request) }?,
        SL_PATH_COPY => {
            check_flags(flags, SL_NO_REPLACE | SL_WRITE_SYNC)?;
            // SAFETY: see above.
            let (from, to) = unsafe { (read_path(request)?, read_other_path(request)?) };
            let (replace, sync) = (flags & SL_NO_REPLACE == 0, flags & SL_WRITE_SYNC != 0);
            PathOp::copy(from, to, replace, checked_mode(request.mode)?, sync)?
        }
        SL_PATH_REMOVE => {
            check_flags(flags, SL_DIRECTORY)?;
            // SAFETY: see above.
            PathOp::remove(unsafe { read_path(request) }?, flags & SL_DIRECTORY != 0)
        }
        SL_PATH_RENAME => {
            check_flags(flags, SL_NO_REPLACE)?;
            // SAFETY: see above.
            let (from, to) = unsafe { (read_path(request)?, read_other_path(request)?) };
            PathOp::rename(from, to, flags & SL_NO_REPLACE == 0)
        }
        SL_PATH_MAKE_DIRECTORY => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            PathOp::make_directory(unsafe { read_path(request) }?, checked_mode(request.mode)?)
        }
        SL_PATH_LINK => {
            let kind = link_kind(flags)?;
            // SAFETY: see above.
            let (from, to) = unsafe { (read_path(request)?, read_other_path(request)?) };
            PathOp::link(from, to, kind)
        }
        SL_PATH_READ_LINK => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            PathOp::read_link(unsafe { read_path(request) }?)
        }
        _ => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            PathOp::list(unsafe { read_path(request) }?, pack_entry)
        }
    };
    Ok(Op::Path(op))
}

/// # Safety
/// As for [`decode`].
unsafe fn decode_write(request: &Request) -> Result<PathOp> {
    let (flags, sync) = (request.flags & !SL_WRITE_SYNC, request.flags & SL_WRITE_SYNC != 0);
    check_flags(flags, OPEN_FLAGS & !SL_OPEN_READ & !SL_OPEN_DIRECTORY | SL_WRITE_REPLACE)?;
    // SAFETY: passed on from the caller.
    let from = unsafe { read_data(request.offset as isize as *mut c_void, request.length, "data") }?;
    if flags & SL_WRITE_REPLACE != 0 {
        if flags != SL_WRITE_REPLACE {
            return Err(Error::invalid("flags has SL_WRITE_REPLACE with SL_OPEN_..."));
        }
        // SAFETY: as above.
        return PathOp::replace(unsafe { read_path(request) }?, from, checked_mode(request.mode)?, sync);
    }
    let flags = if flags == 0 { SL_OPEN_CREATE | SL_OPEN_TRUNCATE } else { flags };
    let flags = open_flags(flags | SL_OPEN_WRITE, request.mode)?;
    // SAFETY: as above.
    Ok(PathOp::write(unsafe { read_path(request) }?, from, flags, sync))
}

fn link_kind(flags: u32) -> Result<LinkKind> {
    match flags {
        0 => Ok(LinkKind::Hard),
        SL_SYMBOLIC => Ok(LinkKind::Symbolic),
        _ if flags == SL_SYMBOLIC | SL_DIRECTORY => Ok(LinkKind::SymbolicToDirectory),
        SL_DIRECTORY => Err(Error::invalid("flags has SL_DIRECTORY without SL_SYMBOLIC")),
        _ => check_flags(flags, SL_SYMBOLIC | SL_DIRECTORY).map(|()| LinkKind::Hard),
    }
}

/// # Safety
/// The request's buffer is NULL or a string.
pub(super) unsafe fn read_path(request: &Request) -> Result<sys::Path> {
    // SAFETY: passed on from the caller.
    sys::path(unsafe { read_string(request.buffer.cast(), "path") }?)
}

/// # Safety
/// The request's offset is 0 or the address of a string.
unsafe fn read_other_path(request: &Request) -> Result<sys::Path> {
    // SAFETY: passed on from the caller.
    sys::path(unsafe { read_string(request.offset as isize as *const c_char, "to") }?)
}

/// Appends an entry to a listing. Runs on a worker thread.
fn pack_entry(listing: &mut Vec<u8>, entry: &sys::Entry<'_>) -> Result<()> {
    // No system has names as long as this can count.
    let name_length = entry.name.len().min(usize::from(u16::MAX));
    let length = (size_of::<ListEntry>() + name_length + 1).next_multiple_of(8);
    listing.try_reserve(length).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
    let end = listing.len() + length;
    listing.extend(entry.inode.to_ne_bytes());
    listing.extend((length as u32).to_ne_bytes());
    listing.extend((name_length as u16).to_ne_bytes());
    listing.extend((entry.kind.map_or(SL_TYPE_UNKNOWN, type_of) as u16).to_ne_bytes());
    listing.extend(&entry.name[..name_length]);
    listing.resize(end, 0);
    Ok(())
}
