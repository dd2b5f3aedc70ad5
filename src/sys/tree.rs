//! The tree of directories: what is done to names, and to whole files by their names. std's calls, and by way of the platform
//! what differs from system to system. All of it may block, and belongs on a worker thread.

use super::platform::{self, Path, name_bytes, std_path, to_path};
use super::{Data, FileKind, Handle, OpenFlags, Region, writes_nothing};
use crate::error::{self, Error, Result};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;

/// How a name leads to what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Hard,
    Symbolic,
    /// Windows has another kind for these.
    SymbolicToDirectory,
}

/// What a directory says of one of its entries.
pub(crate) struct Entry<'a> {
    /// 0 where the system does not say.
    pub(crate) inode: u64,
    pub(crate) kind: Option<FileKind>,
    pub(crate) name: &'a [u8],
}

/// Appends an entry to a listing; ffi knows the layout.
pub(crate) type EntryPacker = fn(&mut Vec<u8>, &Entry<'_>) -> Result<()>;

/// How much is copied at a time where it goes through our memory.
const PORTION: usize = 256 << 10;

/// Removes a file or a link; or a directory that is empty.
pub(crate) fn remove(path: &Path, directory: bool) -> io::Result<()> {
    if directory { fs::remove_dir(std_path(path)) } else { fs::remove_file(std_path(path)) }
}

/// Gives what is there another name; `replace`: also one that is taken.
pub(crate) fn rename(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    if replace { fs::rename(std_path(from), std_path(to)) } else { platform::rename_to_new(from, to) }
}

/// Makes a directory.
pub(crate) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    platform::directory_builder(mode).create(std_path(path))
}

/// Makes a link; `from` is what it leads to.
pub(crate) fn link(from: &Path, to: &Path, kind: LinkKind) -> io::Result<()> {
    match kind {
        LinkKind::Hard => fs::hard_link(std_path(from), std_path(to)),
        _ => platform::symbolic_link(std_path(from), std_path(to), kind == LinkKind::SymbolicToDirectory),
    }
}

/// Says where a symbolic link leads.
pub(crate) fn read_link(path: &Path) -> io::Result<Vec<u8>> {
    Ok(name_bytes(fs::read_link(std_path(path))?.as_os_str()).into_owned())
}

/// Lists a directory into memory, up to `most` bytes.
pub(crate) fn list(path: &Path, pack: EntryPacker, most: usize) -> Result<Vec<u8>> {
    let mut listing = Vec::new();
    let path = std_path(path);
    // Windows has more than one error for that.
    let no_directory =
        |error| if cfg!(windows) && path.is_file() { io::ErrorKind::NotADirectory.into() } else { error };
    for entry in fs::read_dir(path).map_err(no_directory)? {
        let entry = entry?;
        let kind = entry.file_type().ok().map(FileKind::from);
        let name = entry.file_name();
        pack(&mut listing, &Entry { inode: platform::inode(&entry), kind, name: &name_bytes(&name) })?;
        if listing.len() > most {
            return Err(Error::with(error::SL_ERR_NO_BUFFERS, "the directory's listing is larger than max_lent_bytes"));
        }
    }
    Ok(listing)
}

/// A name in the same directory that nobody else has or guesses.
pub(crate) fn name_beside(path: &Path) -> Result<Path> {
    let path = std_path(path);
    if path.file_name().is_none() {
        return Err(Error::invalid("path does not end with the name of a file"));
    }
    // The hash of nothing, under a key that the system's random numbers have made.
    let number = RandomState::new().hash_one(());
    Ok(to_path(path.with_file_name(format!(".sideloop-{number:016x}"))))
}

/// The directory that a file is in.
pub(crate) fn folder_of(path: &Path) -> Path {
    let folder = std_path(path).parent().filter(|folder| !folder.as_os_str().is_empty());
    to_path(folder.unwrap_or(std::path::Path::new(".")).to_path_buf())
}

/// Makes a file that is to take the place of `of`: with the permissions of that, where it exists; else with `mode`.
pub(crate) fn open_replacement(path: &Path, of: &Path, mode: u32) -> Result<Handle> {
    let replaced = match Handle::stat_path(of, true) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Handle::open(path, &OpenFlags::new_file(mode))?);
        }
        Err(error) => return Err(error.into()),
    };
    match replaced.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(Error::new(error::SL_ERR_IS_DIRECTORY)),
        _ => return Err(Error::with(error::SL_ERR_UNSUPPORTED, "only a regular file can be replaced")),
    }
    // Nobody opens it before it has its permissions.
    let handle = Handle::open(path, &OpenFlags::new_file(0o600))?;
    platform::set_permissions(&handle, replaced.mode & 0o777).inspect_err(|_| {
        // Where this fails, too, there is nothing left to do.
        let _ = remove(path, false);
    })?;
    Ok(handle)
}

/// Copies at most `length` bytes from one file to another, at their current positions: 0 at the end, else as many as come at
/// once.
pub(crate) fn copy(from: &Handle, to: &Handle, length: usize) -> Result<usize> {
    // What the system does not copy by itself it may still read and write; and where it cannot, that says why. At the end of a
    // file that does not know its length (in /proc) it finds nothing to copy.
    match platform::copy_inside(from, to, length) {
        Some(count) if count > 0 => Ok(count),
        _ => copy_through_memory(from, to, length),
    }
}

fn copy_through_memory(from: &Handle, to: &Handle, length: usize) -> Result<usize> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(PORTION).map_err(|_| Error::new(error::SL_ERR_NO_MEMORY))?;
    let mut total = 0;
    while total < length {
        // SAFETY: the memory is ours, and stays where it is until this returns.
        let room = Data::One(unsafe { Region::new(memory.as_mut_ptr(), PORTION.min(length - total)) });
        let count = from.read(&room, None)?;
        let mut read = room.clone();
        read.truncate(count);
        write_all(to, read, &mut 0)?;
        total += count;
        // The end, or all there is for now.
        if count < room.len() {
            break;
        }
    }
    Ok(total)
}

/// Writes all at the current position, and counts what is `done`.
pub(crate) fn write_all(file: &Handle, mut from: Data, done: &mut u64) -> Result<()> {
    while from.len() > 0 {
        let count = file.write(&from, None)?;
        if count == 0 {
            return Err(writes_nothing());
        }
        *done += count as u64;
        from.advance(count);
    }
    Ok(())
}
