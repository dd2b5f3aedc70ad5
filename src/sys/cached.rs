//! File calls that do what needs no device, on Linux only, which can be asked for that: see the contract in mod.rs.

use super::unix::{retry, with_pieces};
use super::{Data, Handle, Path};
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernel, or a filter of system calls, does not know openat2(2) or what is asked of it: it need not be asked again.
static NO_OPEN: AtomicBool = AtomicBool::new(false);

impl Handle {
    pub(crate) const READS_NOW: bool = true;

    /// Reads what the page cache holds: preadv2(2), RWF_NOWAIT. Fewer bytes than asked for: the file ends there, or the cache.
    /// Any error, also that this file system cannot be asked: it may have to wait.
    pub(crate) fn read_now(&self, into: &Data, offset: u64) -> io::Result<usize> {
        let Ok(offset) = libc::off_t::try_from(offset) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let fd = self.fd();
        with_pieces(into, |pieces| {
            let count = pieces.len() as libc::c_int;
            // The system's call itself: the C library's is a cancellation point (pthreads(7)), which costs, and which this is not
            // to be. The offset goes in two halves, of which 64-bit systems look at the first alone.
            let (low, high) = (offset, (offset as u64 >> 32) as libc::off_t);
            let flags = libc::RWF_NOWAIT;
            // SAFETY: every piece is the caller's memory until the operation's last event, which comes after this call.
            retry(|| unsafe { libc::syscall(libc::SYS_preadv2, fd, pieces.as_ptr(), count, low, high, flags) } as isize)
        })
    }

    /// Opens a file for reading whose path the kernel knows by heart: openat2(2), RESOLVE_CACHED. O_NONBLOCK keeps it from
    /// waiting for a pipe's other end; on a regular file it means nothing.
    pub(crate) fn open_cached(path: &Path) -> io::Result<Handle> {
        if NO_OPEN.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // SAFETY: all-zero is a value of this structure of integers.
        let mut how: libc::open_how = unsafe { zeroed() };
        how.flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY) as u64;
        how.resolve = libc::RESOLVE_CACHED;
        let size = size_of::<libc::open_how>();
        // SAFETY: the path ends with a NUL, `how` has the size that is said, and both outlive the call.
        let opened = unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size) };
        if opened < 0 {
            let error = io::Error::last_os_error();
            // EINVAL: a kernel before RESOLVE_CACHED (Linux 5.12).
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)) {
                NO_OPEN.store(true, Ordering::Relaxed);
            }
            return Err(error);
        }
        // SAFETY: the system has just given us this descriptor, and nobody else has it.
        Ok(Handle::File(unsafe { File::from_raw_fd(opened as i32) }))
    }

    /// The length of a regular file; None of anything else. The kernel knows it of an open file (AT_STATX_DONT_SYNC). By its
    /// number: glibc has a function for it only since 2.28, musl since 1.2.5, and without that the library would not load.
    pub(crate) fn regular_length(&self) -> Option<u64> {
        // SAFETY: all-zero is a value of this structure of integers.
        let mut stat: libc::statx = unsafe { zeroed() };
        let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
        let mask = libc::STATX_TYPE | libc::STATX_SIZE;
        // SAFETY: an empty string and a structure of the right kind, which both outlive the call.
        let status = unsafe { libc::syscall(libc::SYS_statx, self.fd(), c"".as_ptr(), flags, mask, &raw mut stat) };
        let regular = u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG;
        (status == 0 && regular).then_some(stat.stx_size)
    }
}
