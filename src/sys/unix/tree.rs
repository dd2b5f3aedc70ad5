//! What the tree of directories is on Unix, where std does not say it: see ../tree.rs.

use super::{Handle, Path};
use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::fs::{DirBuilder, DirEntry, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, PermissionsExt};
use std::path::PathBuf;

/// Whether a directory can be made safe on the device, as a file can.
pub(crate) const SYNCS_DIRECTORIES: bool = true;

/// A path as std has it.
pub(crate) fn std_path(path: &Path) -> &std::path::Path {
    std::path::Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// A path made of one that we had.
pub(crate) fn to_path(path: PathBuf) -> Path {
    // What came from a C string has no NUL in it.
    CString::new(path.into_os_string().into_vec()).unwrap_or_default().into()
}

/// A name as the caller has it.
pub(crate) fn name_bytes(name: &OsStr) -> Cow<'_, [u8]> {
    Cow::Borrowed(name.as_bytes())
}

pub(crate) fn inode(entry: &DirEntry) -> u64 {
    entry.ino()
}

pub(crate) fn directory_builder(mode: u32) -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(mode);
    builder
}

pub(crate) fn symbolic_link(from: &std::path::Path, to: &std::path::Path, _directory: bool) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

pub(crate) fn set_permissions(file: &Handle, mode: u32) -> io::Result<()> {
    match file {
        Handle::File(file) => file.set_permissions(Permissions::from_mode(mode)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Gives what is there another name, where that is not taken.
#[cfg(target_os = "linux")]
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both paths end with a NUL and outlive the call.
    if unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // rename(2) has this error for a directory that is to move into itself; renameat2(2) also for a file system that does not
        // know the flag.
        error if error.raw_os_error() == Some(libc::EINVAL) && !leads_into(from, to) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        error => Err(error),
    }
}

#[cfg(target_os = "linux")]
fn leads_into(from: &Path, to: &Path) -> bool {
    let folder = super::super::tree::folder_of(to);
    match (std_path(from).canonicalize(), std_path(&folder).canonicalize()) {
        (Ok(from), Ok(folder)) => folder.starts_with(from),
        _ => false,
    }
}

#[cfg(target_vendor = "apple")]
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    // SAFETY: both paths end with a NUL and outlive the call.
    if unsafe { libc::renamex_np(from.as_ptr(), to.as_ptr(), libc::RENAME_EXCL) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        error => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn rename_to_new(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has the system copy from file to file, at their current positions; None where it does not. By its number: glibc has a function
/// for it only since 2.27.
#[cfg(target_os = "linux")]
pub(crate) fn copy_inside(from: &Handle, to: &Handle, length: usize) -> Option<usize> {
    let (from, to, here) = (from.fd(), to.fd(), std::ptr::null_mut::<libc::loff_t>());
    // SAFETY: NULL for the offsets stands for the current positions.
    let copy = || unsafe { libc::syscall(libc::SYS_copy_file_range, from, here, to, here, length, 0) } as isize;
    super::retry(copy).ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn copy_inside(_: &Handle, _: &Handle, _: usize) -> Option<usize> {
    None
}
