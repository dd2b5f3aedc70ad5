//! What io_uring needs of the platform, on Linux only.

use super::{FileKind, FileStat, Handle};
use socket2::Socket;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};

/// A descriptor that wakes whoever reads it: eventfd(2), blocking, so that io_uring waits by itself.
pub(crate) struct EventCounter(File);

impl EventCounter {
    /// Makes one that stands at 0.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved; a negative result is an error.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just given us this descriptor, and nobody else has it.
        Ok(EventCounter(unsafe { File::from_raw_fd(fd) }))
    }

    /// Wakes its reader.
    pub(crate) fn add(&self) {
        // It could only block at a count near 2^64.
        super::insist(|| io::Write::write(&mut &self.0, &1u64.to_ne_bytes()));
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

impl Handle {
    /// A file that the kernel has opened for us.
    ///
    /// # Safety
    /// The descriptor is open, and nobody else has it.
    pub(crate) unsafe fn from_opened(fd: i32) -> Handle {
        // SAFETY: passed on from the caller.
        Handle::File(unsafe { File::from_raw_fd(fd) })
    }

    /// A connection that the kernel has accepted for us.
    ///
    /// # Safety
    /// The descriptor is open, and nobody else has it.
    pub(crate) unsafe fn from_accepted(fd: i32) -> Handle {
        // SAFETY: passed on from the caller.
        let socket = unsafe { Socket::from_raw_fd(fd) };
        // Fails on sockets that are not TCP, which is fine: there is nothing to delay.
        let _ = socket.set_tcp_nodelay(true);
        Handle::Stream(socket)
    }

    /// Whether calls on it say `WouldBlock` instead of waiting.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        set_nonblocking(self.descriptor() as i32, nonblocking);
    }

    /// Whether it is a named pipe that nobody has at the other end, or has said anything at.
    pub(crate) fn is_lonely_pipe(&self) -> bool {
        let Handle::File(file) = self else { return false };
        let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        // SAFETY: one structure, which outlives the call; it does not wait. A regular file always is ready.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) } != 0;
        !ready && file.metadata().is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()))
    }

    pub(crate) fn is_pipe(&self) -> bool {
        matches!(self, Handle::Pipe(_))
    }

    /// Lets go of a descriptor that the kernel has closed.
    pub(crate) fn forget(self) {
        let _ = match self {
            Handle::File(file) | Handle::Pipe(file) => file.into_raw_fd(),
            Handle::Stream(socket) | Handle::Listener(socket) => socket.into_raw_fd(),
        };
    }
}

/// Whether calls on a descriptor of ours say `WouldBlock` instead of waiting.
pub(crate) fn set_nonblocking(fd: i32, nonblocking: bool) {
    // SAFETY: these calls read and set the flags of a descriptor that we own. They do not fail on one that is open.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        let wanted = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
        if flags >= 0 && wanted != flags {
            libc::fcntl(fd, libc::F_SETFL, wanted);
        }
    }
}

/// Whether every write to a descriptor of ours goes to the end of its file.
pub(crate) fn appends(fd: i32) -> bool {
    // SAFETY: it only asks; -1, which is no descriptor, gives an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_APPEND != 0
}

/// What statx(2) says of a file.
pub(crate) fn statx_to_stat(from: &libc::statx) -> FileStat {
    let nanoseconds =
        |time: libc::statx_timestamp| time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec));
    FileStat {
        kind: match u32::from(from.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Link,
            _ => FileKind::Other,
        },
        length: from.stx_size,
        allocated: from.stx_blocks.saturating_mul(512),
        mode: u32::from(from.stx_mode) & 0o7777,
        links: from.stx_nlink,
        user: from.stx_uid,
        group: from.stx_gid,
        device: libc::makedev(from.stx_dev_major, from.stx_dev_minor),
        inode: from.stx_ino,
        accessed_ns: nanoseconds(from.stx_atime),
        modified_ns: nanoseconds(from.stx_mtime),
        changed_ns: nanoseconds(from.stx_ctime),
        created_ns: if from.stx_mask & libc::STATX_BTIME != 0 { nanoseconds(from.stx_btime) } else { 0 },
    }
}
