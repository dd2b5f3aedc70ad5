//! Files on Windows: open, read, write, and what is known of them.

use super::{PORTION, Path};
use crate::sys::{Data, FileKind, FileStat, OpenFlags, Region};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle};
use std::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::Foundation as codes;
use windows_sys::Win32::Storage::FileSystem as fs;
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::CreateEventW;

/// The offset that means the end of the file, whatever else is writing there (WriteFile).
const END_OF_FILE: u64 = u64::MAX;

/// A file and its current position. The position is kept here because calls with an offset move the system's own. The engine
/// runs operations at the current position one after the other, so loading and storing it need not be one step.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    position: AtomicU64,
    append: bool,
    /// The caller opened it, so it may be one whose calls end later (FILE_FLAG_OVERLAPPED).
    adopted: bool,
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

impl OpenFile {
    /// Opens it.
    pub(super) fn open(path: &Path, flags: &OpenFlags) -> io::Result<Self> {
        let writes = flags.write || flags.append;
        if flags.truncate && !writes {
            // Windows cuts only what is open for writing.
            return Err(io::Error::from_raw_os_error(codes::ERROR_INVALID_PARAMETER as i32));
        }
        let mut access = 0;
        if flags.read {
            access |= codes::GENERIC_READ;
        }
        if writes {
            access |= codes::GENERIC_WRITE;
        }
        let mut options = OpenOptions::new();
        options
            // Satisfies what std demands of those who create; `access_mode` is what counts. So is `append` kept here: std's
            // would not let the file be cut. Sharing is std's default: everything, which is as Unix has it.
            .write(true)
            .access_mode(access)
            .create(flags.create)
            .create_new(flags.create && flags.exclusive)
            .truncate(flags.truncate)
            // With it directories can be opened, as on Unix: for reading only.
            .custom_flags(if writes { 0 } else { fs::FILE_FLAG_BACKUP_SEMANTICS });
        if flags.create && flags.mode & 0o222 == 0 {
            options.attributes(fs::FILE_ATTRIBUTE_READONLY);
        }
        match options.open(path) {
            Ok(file) => Ok(OpenFile { file, position: AtomicU64::new(0), append: flags.append, adopted: false }),
            Err(error) if is(&error, codes::ERROR_ACCESS_DENIED) && writes && path.is_dir() => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            Err(error) => Err(error),
        }
    }

    /// One call at an offset.
    fn transfer(&self, way: Way, region: Region, offset: u64) -> io::Result<usize> {
        let file = self.file.as_raw_handle();
        let mut at = OVERLAPPED::default();
        at.Anonymous.Anonymous.Offset = offset as u32;
        at.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
        // A file whose calls end later says so by an event; the file itself would be signalled by any of its calls.
        let event = if self.adopted { Some(new_event()?) } else { None };
        if let Some(event) = &event {
            // The low bit keeps the completion from a port that the caller may have tied the file to
            // (GetQueuedCompletionStatus).
            at.hEvent = event.as_raw_handle().map_addr(|address| address | 1);
        }
        let (pointer, length) = (region.pointer(), region.len().min(PORTION) as u32);
        let mut done = 0;
        // SAFETY: the region is the caller's memory until the operation's last event, which comes after this call; `at` and
        // `done` live until the call has ended, for which we wait below.
        let mut ok = unsafe {
            match way {
                Way::Read => fs::ReadFile(file, pointer, length, &mut done, &mut at) != 0,
                Way::Write => fs::WriteFile(file, pointer, length, &mut done, &mut at) != 0,
            }
        };
        if !ok && is(&io::Error::last_os_error(), codes::ERROR_IO_PENDING) {
            // SAFETY: `at` is what the call above was given, and `file` is open.
            ok = unsafe { GetOverlappedResult(file, &at, &mut done, 1) } != 0;
        }
        if ok {
            return Ok(done as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error().map_or(0, |code| code as u32) {
            codes::ERROR_HANDLE_EOF | codes::ERROR_BROKEN_PIPE if way == Way::Read => Ok(0),
            // The handle is not open for this, which Unix says with EBADF. A lock would be ERROR_LOCK_VIOLATION.
            codes::ERROR_ACCESS_DENIED => Err(io::Error::from_raw_os_error(codes::ERROR_INVALID_HANDLE as i32)),
            codes::ERROR_INVALID_FUNCTION | codes::ERROR_INVALID_PARAMETER if self.is_directory() => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            _ => Err(error),
        }
    }

    /// Piece after piece, until one is short. An error is told only where nothing was done before it: it will come again.
    fn transfer_all(&self, way: Way, data: &Data, mut offset: u64) -> io::Result<usize> {
        let mut total = 0;
        for region in data.regions() {
            match self.transfer(way, region, offset) {
                Ok(count) => {
                    total += count;
                    if offset != END_OF_FILE {
                        offset += count as u64;
                    }
                    if count < region.len() {
                        break;
                    }
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// A pipe has no offsets; other devices ignore them.
    fn check_offset(&self, offset: Option<u64>) -> io::Result<()> {
        // SAFETY: GetFileType only asks, and the handle is open.
        if offset.is_some() && unsafe { fs::GetFileType(self.file.as_raw_handle()) } == fs::FILE_TYPE_PIPE {
            return Err(io::ErrorKind::NotSeekable.into());
        }
        Ok(())
    }

    /// Takes over a file that the caller opened.
    pub(super) fn adopt(mut file: File) -> Self {
        // Nothing where there are no positions, and for a file whose calls end later.
        let position = file.stream_position().unwrap_or(0);
        OpenFile { file, position: AtomicU64::new(position), append: false, adopted: true }
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Closes it, and says what the system thought of that.
    pub(super) fn close(self) -> io::Result<()> {
        // SAFETY: `self` owned the handle and has just given it up.
        if unsafe { codes::CloseHandle(self.file.into_raw_handle()) } != 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    /// Reads at an offset or at the current position.
    pub(super) fn read(&self, into: &Data, offset: Option<u64>) -> io::Result<usize> {
        self.check_offset(offset)?;
        let at = offset.unwrap_or_else(|| self.position.load(Ordering::Relaxed));
        let count = self.transfer_all(Way::Read, into, at)?;
        if offset.is_none() {
            self.position.store(at + count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }

    /// Reads from the current position to the end.
    pub(super) fn read_to_end(&self, bytes: &mut Vec<u8>, most: u64) -> io::Result<()> {
        AtPosition(self).take(most).read_to_end(bytes).map(drop)
    }

    /// Writes at an offset or at the current position.
    pub(super) fn write(&self, from: &Data, offset: Option<u64>) -> io::Result<usize> {
        self.check_offset(offset)?;
        let at = match offset {
            _ if self.append => END_OF_FILE,
            Some(offset) => offset,
            None => self.position.load(Ordering::Relaxed),
        };
        let count = self.transfer_all(Way::Write, from, at)?;
        if offset.is_none() {
            // As on Unix, appending leaves the position behind what was written.
            let end = if self.append { self.file.metadata()?.file_size() } else { at + count as u64 };
            self.position.store(end, Ordering::Relaxed);
        }
        Ok(count)
    }

    fn is_directory(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.is_dir())
    }
}

/// Reads at our own position, for what std makes of reading.
struct AtPosition<'a>(&'a OpenFile);

impl Read for AtPosition<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the region is used in this call only, and `into` is ours as long.
        let region = unsafe { Region::new(into.as_mut_ptr(), into.len()) };
        self.0.read(&Data::One(region), None)
    }
}

/// Whether the system gave this code.
fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

fn new_event() -> io::Result<OwnedHandle> {
    // SAFETY: NULL is allowed for the security attributes and the name.
    let event = unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) };
    if event.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just given us this handle, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(event) })
}

/// Says what is known of a path.
pub(super) fn stat_path(path: &Path, follow: bool) -> io::Result<FileStat> {
    let reparse = if follow { 0 } else { fs::FILE_FLAG_OPEN_REPARSE_POINT };
    let mut options = OpenOptions::new();
    // No access at all is enough to ask, and is granted where reading is not.
    options.access_mode(0).custom_flags(fs::FILE_FLAG_BACKUP_SEMANTICS | reparse);
    match options.open(path) {
        Ok(file) => stat(&file),
        // Some of the system's own files can only be looked up in their directory, which std does.
        Err(error) if is(&error, codes::ERROR_SHARING_VIOLATION) => {
            let metadata = if follow { path.metadata() } else { path.symlink_metadata() };
            Ok(metadata_stat(&metadata?))
        }
        Err(error) => Err(error),
    }
}

/// Says what is known of an open file.
pub(super) fn stat(file: &File) -> io::Result<FileStat> {
    // SAFETY: GetFileType only asks, and the handle is open.
    if unsafe { fs::GetFileType(file.as_raw_handle()) } != fs::FILE_TYPE_DISK {
        return Ok(FileStat { kind: FileKind::Other, mode: 0o666, ..FileStat::default() });
    }
    let mut stat = metadata_stat(&file.metadata()?);
    let mut standard = fs::FILE_STANDARD_INFO::default();
    let (place, length) = ((&raw mut standard).cast(), size_of::<fs::FILE_STANDARD_INFO>() as u32);
    // SAFETY: `standard` is what this class of information fills, and `length` its size.
    if unsafe { fs::GetFileInformationByHandleEx(file.as_raw_handle(), fs::FileStandardInfo, place, length) } != 0 {
        stat.allocated = standard.AllocationSize.max(0) as u64;
        stat.links = standard.NumberOfLinks;
    }
    Ok(stat)
}

fn metadata_stat(metadata: &std::fs::Metadata) -> FileStat {
    /// From 1601, where Windows begins to count (in units of 100 ns), to 1970.
    const EPOCH: u64 = 116_444_736_000_000_000;
    let nanoseconds = |ticks: u64| match ticks {
        0 => 0,
        _ => (ticks as i64).saturating_sub(EPOCH as i64).saturating_mul(100),
    };
    FileStat {
        kind: metadata.file_type().into(),
        length: metadata.file_size(),
        mode: if metadata.file_attributes() & fs::FILE_ATTRIBUTE_READONLY == 0 { 0o666 } else { 0o444 },
        accessed_ns: nanoseconds(metadata.last_access_time()),
        modified_ns: nanoseconds(metadata.last_write_time()),
        created_ns: nanoseconds(metadata.creation_time()),
        ..FileStat::default()
    }
}
