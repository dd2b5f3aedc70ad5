//! What the tree of directories is on Windows, where std does not say it: see ../tree.rs.

use super::{Handle, Path};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{DirBuilder, DirEntry};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::PathBuf;
use windows_sys::Win32::Storage::FileSystem as fs;

/// Directories are not open for that.
pub(crate) const SYNCS_DIRECTORIES: bool = false;

/// A path as std has it.
pub(crate) fn std_path(path: &Path) -> &std::path::Path {
    path
}

/// A path made of one that we had.
pub(crate) fn to_path(path: PathBuf) -> Path {
    path.into()
}

/// A name as the caller has it: what is no text cannot be told.
pub(crate) fn name_bytes(name: &OsStr) -> Cow<'_, [u8]> {
    Cow::Owned(name.to_string_lossy().into_owned().into_bytes())
}

pub(crate) fn inode(_: &DirEntry) -> u64 {
    0
}

pub(crate) fn directory_builder(_mode: u32) -> DirBuilder {
    DirBuilder::new()
}

pub(crate) fn symbolic_link(from: &std::path::Path, to: &std::path::Path, directory: bool) -> io::Result<()> {
    use std::os::windows::fs::{symlink_dir, symlink_file};
    if directory { symlink_dir(from, to) } else { symlink_file(from, to) }
}

/// A file that may not be written cannot be replaced either, so there is nothing to keep.
pub(crate) fn set_permissions(_: &Handle, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Gives what is there another name, where that is not taken.
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let wide = |path: &Path| path.as_os_str().encode_wide().chain([0]).collect::<Vec<u16>>();
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both names end with a NUL and outlive the call.
    if unsafe { fs::MoveFileExW(from.as_ptr(), to.as_ptr(), 0) } != 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(crate) fn copy_inside(_: &Handle, _: &Handle, _: usize) -> Option<usize> {
    None
}
