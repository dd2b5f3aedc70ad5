//! The platform on Unix: see the contract in mod.rs.

#[cfg(target_os = "linux")]
mod call;
#[cfg(not(target_os = "linux"))]
use libc as call;
mod codes;
mod process;
mod tree;
pub(crate) use codes::{error_code, status_of_code};
pub(crate) use process::{Wake, fork_generation, is_privileged, spawn_thread, without_signals};
pub(crate) use tree::{
    SYNCS_DIRECTORIES, copy_inside, directory_builder, inode, name_bytes, rename_to_new, set_permissions, std_path,
    symbolic_link, to_path,
};

use super::{Data, FileStat, HandleKind, ListenOptions, OpenFlags, Region, SocketOption};
use crate::error::{self, Error, Result};
use libc::c_int;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// How many pieces one system call takes: IOV_MAX is 1024 on Linux, macOS and the BSDs, and sideloop takes no more.
const PIECES: usize = 1024;

/// Linux and the BSDs take the wish for no SIGPIPE with the call; Apple's systems take it with the socket (socket2 sets it).
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: c_int = 0;

/// A path: any bytes but NUL. Cheap to clone.
pub(crate) type Path = Arc<CStr>;

/// Makes a path from the caller's bytes.
pub(crate) fn path(bytes: CString) -> Result<Path> {
    Ok(bytes.into())
}

/// Whether opening it waits for another end (fifo(7)).
pub(crate) fn is_named_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std_path(path).metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// One open thing.
#[derive(Debug)]
pub(crate) enum Handle {
    /// Blocking file I/O.
    File(File),
    /// A non-blocking stream socket.
    Stream(Socket),
    /// One end of a pipe, non-blocking.
    Pipe(File),
    /// A non-blocking listening socket.
    Listener(Socket),
}

/// Repeats a call that a signal interrupted (our threads block signals, but a debugger's stop interrupts all the same).
pub(super) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The flags of open(2).
pub(crate) fn open_bits(flags: &OpenFlags) -> c_int {
    let access = match (flags.read, flags.write || flags.append) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        _ => libc::O_RDONLY,
    };
    let wanted = [
        (flags.append, libc::O_APPEND),
        (flags.create, libc::O_CREAT),
        (flags.exclusive, libc::O_EXCL),
        (flags.truncate, libc::O_TRUNC),
        (flags.no_follow, libc::O_NOFOLLOW),
        (flags.directory, libc::O_DIRECTORY),
    ];
    wanted.into_iter().filter(|(wanted, _)| *wanted).fold(libc::O_CLOEXEC | access, |bits, (_, bit)| bits | bit)
}

impl Handle {
    /// Opens a file.
    pub(crate) fn open(path: &Path, flags: &OpenFlags) -> io::Result<Handle> {
        let bits = open_bits(flags);
        // SAFETY: the path ends with a NUL and outlives the call.
        let fd = retry(|| unsafe { libc::open(path.as_ptr(), bits, flags.mode as libc::c_uint) } as isize)?;
        // SAFETY: the system has just given us this descriptor, and nobody else has it.
        Ok(Handle::File(unsafe { File::from_raw_fd(fd as RawFd) }))
    }

    /// Which kind it is.
    pub(crate) fn kind(&self) -> HandleKind {
        match self {
            Handle::File(_) => HandleKind::File,
            Handle::Stream(_) | Handle::Pipe(_) => HandleKind::Stream,
            Handle::Listener(_) => HandleKind::Listener,
        }
    }

    /// The descriptor's number.
    pub(crate) fn descriptor(&self) -> isize {
        self.fd() as isize
    }

    pub(super) fn fd(&self) -> RawFd {
        match self {
            Handle::File(file) | Handle::Pipe(file) => file.as_raw_fd(),
            Handle::Stream(socket) | Handle::Listener(socket) => socket.as_raw_fd(),
        }
    }

    /// Reads a file, at an offset or at its current position.
    pub(crate) fn read(&self, into: &Data, offset: Option<u64>) -> io::Result<usize> {
        let fd = self.fd();
        with_pieces(into, |pieces| {
            let (pointer, count) = (pieces.as_ptr(), pieces.len() as c_int);
            match offset {
                // SAFETY: every piece is the caller's memory until the operation's last event, which comes after this call.
                Some(at) => retry(|| unsafe { libc::preadv(fd, pointer, count, at as libc::off_t) } as isize),
                // SAFETY: as above.
                None => retry(|| unsafe { libc::readv(fd, pointer, count) } as isize),
            }
        })
    }

    /// Reads a file from its current position to its end, or until `most` bytes, behind what is in `bytes` already.
    pub(crate) fn read_to_end(&self, bytes: &mut Vec<u8>, most: u64) -> io::Result<()> {
        match self {
            Handle::File(file) => io::Read::read_to_end(&mut io::Read::take(file, most), bytes).map(drop),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes a file, at an offset or at its current position; perhaps not all.
    pub(crate) fn write(&self, from: &Data, offset: Option<u64>) -> io::Result<usize> {
        let fd = self.fd();
        with_pieces(from, |pieces| {
            let (pointer, count) = (pieces.as_ptr(), pieces.len() as c_int);
            match offset {
                // SAFETY: every piece is the caller's memory until the operation's last event, which comes after this call.
                Some(at) => retry(|| unsafe { libc::pwritev(fd, pointer, count, at as libc::off_t) } as isize),
                // SAFETY: as above.
                None => retry(|| unsafe { libc::writev(fd, pointer, count) } as isize),
            }
        })
    }

    /// Makes what was written safe on the device.
    pub(crate) fn sync(&self, data_only: bool) -> io::Result<()> {
        match self {
            Handle::File(file) if data_only => file.sync_data(),
            Handle::File(file) => file.sync_all(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Cuts or extends a file.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        match self {
            Handle::File(file) => file.set_len(length),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Says what is known of a file.
    pub(crate) fn stat(&self) -> io::Result<FileStat> {
        match self {
            Handle::File(file) => Ok(file_stat(&file.metadata()?)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether reading or writing it may have to wait for somebody else: a named pipe, a terminal.
    pub(crate) fn may_wait(&self) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let Handle::File(file) = self else { return true };
        file.metadata().is_ok_and(|metadata| {
            !metadata.is_file() && !metadata.is_dir() && {
                let kind = metadata.file_type();
                kind.is_fifo() || kind.is_socket() || kind.is_char_device() && std::io::IsTerminal::is_terminal(file)
            }
        })
    }

    /// Says what is known of a path.
    pub(crate) fn stat_path(path: &Path, follow: bool) -> io::Result<FileStat> {
        let path = std_path(path);
        let metadata = if follow { path.metadata() } else { path.symlink_metadata() };
        Ok(file_stat(&metadata?))
    }

    /// Accepts a connection.
    pub(crate) fn accept(&self) -> io::Result<Handle> {
        let Handle::Listener(listener) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let socket = loop {
            match accept_nonblocking(listener) {
                Err(error) if error.raw_os_error().is_some_and(accepts_another) => {}
                other => break other?,
            }
        };
        // Fails on sockets that are not TCP, which is fine: there is nothing to delay.
        let _ = socket.set_tcp_nodelay(true);
        Ok(Handle::Stream(socket))
    }

    /// Begins to connect. `WouldBlock`: under way, ask `connect_outcome` when it is writable.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let Handle::Stream(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        match socket.connect(&SockAddr::from(address)) {
            // EALREADY, EISCONN: another driver has begun it.
            Err(error) => match error.raw_os_error() {
                Some(libc::EINPROGRESS | libc::EINTR | libc::EALREADY) => Err(io::ErrorKind::WouldBlock.into()),
                Some(libc::EISCONN) => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    /// How connecting went, once the stream is writable.
    pub(crate) fn connect_outcome(&self) -> io::Result<()> {
        let Handle::Stream(socket) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            // Writable, but not yet for this reason: wait on.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
            other => other.map(drop),
        }
    }

    /// Receives what there is.
    pub(crate) fn receive(&self, into: Region) -> io::Result<usize> {
        self.receive_with(into, 0)
    }

    /// Likewise, also where the descriptor itself is one that waits. What cannot be asked that way (a pipe) says `WouldBlock`.
    pub(crate) fn receive_now(&self, into: Region) -> io::Result<usize> {
        match self {
            Handle::Stream(_) => self.receive_with(into, libc::MSG_DONTWAIT),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn receive_with(&self, into: Region, flags: c_int) -> io::Result<usize> {
        let (fd, pointer, length) = (self.fd(), into.pointer().cast(), into.len());
        match self {
            // SAFETY: the region is the caller's memory until the operation's last event, which comes after this call.
            Handle::Stream(_) => retry(|| unsafe { call::recv(fd, pointer, length, flags) }),
            // SAFETY: as above.
            _ => retry(|| unsafe { call::read(fd, pointer, length) }),
        }
    }

    /// Sends what the system takes.
    pub(crate) fn send(&self, from: &Data) -> io::Result<usize> {
        self.send_with(from, NO_SIGNAL)
    }

    /// Likewise, also where the descriptor itself is one that waits. What cannot be asked that way (a pipe) says `WouldBlock`.
    pub(crate) fn send_now(&self, from: &Data) -> io::Result<usize> {
        match self {
            Handle::Stream(_) => self.send_with(from, NO_SIGNAL | libc::MSG_DONTWAIT),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn send_with(&self, from: &Data, flags: c_int) -> io::Result<usize> {
        let fd = self.fd();
        match (self, from) {
            (Handle::Stream(_), Data::One(region)) => {
                // SAFETY: the region is the caller's memory until the operation's last event, which comes after this call.
                retry(|| unsafe { call::send(fd, region.pointer().cast(), region.len(), flags) })
            }
            (Handle::Stream(_), _) => with_pieces(from, |pieces| {
                // SAFETY: all-zero is a message without address, control data and flags.
                let mut message: libc::msghdr = unsafe { zeroed() };
                message.msg_iov = pieces.as_ptr().cast_mut();
                message.msg_iovlen = pieces.len() as _;
                // SAFETY: `message` names the pieces, which outlive the call; their memory is the caller's until the last event.
                retry(|| unsafe { call::sendmsg(fd, &message, flags) })
            }),
            // A pipe has no MSG_NOSIGNAL; SIGPIPE stays pending on our thread, which blocks it.
            _ => self.write(from, None),
        }
    }

    /// Ends the sending.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Handle::Stream(socket) => socket.shutdown(std::net::Shutdown::Write),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether closing may take its time: a file may have to be written, and somebody may have set a linger time on a socket,
    /// during which close(2) blocks even where the socket does not.
    pub(crate) fn close_may_block(&self) -> bool {
        match self {
            Handle::File(_) => true,
            Handle::Pipe(_) => false,
            Handle::Stream(socket) | Handle::Listener(socket) => {
                matches!(socket.linger(), Ok(Some(time)) if !time.is_zero())
            }
        }
    }

    /// Closes it, and says what close(2) thought of it. The descriptor is gone either way: on Linux also after EINTR.
    pub(crate) fn close(self) -> io::Result<()> {
        let fd = match self {
            Handle::File(file) | Handle::Pipe(file) => file.into_raw_fd(),
            Handle::Stream(socket) | Handle::Listener(socket) => socket.into_raw_fd(),
        };
        // SAFETY: `self` owned the descriptor and has just given it up.
        if unsafe { libc::close(fd) } == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        }
    }

    fn socket(&self) -> Result<&Socket> {
        match self {
            Handle::Stream(socket) | Handle::Listener(socket) => Ok(socket),
            _ => Err(Error::with(error::SL_ERR_UNSUPPORTED, "not a socket")),
        }
    }

    /// The address of this side.
    pub(crate) fn local_address(&self) -> Result<SocketAddr> {
        super::ip_address(&self.socket()?.local_addr()?)
    }

    /// The address of the other side.
    pub(crate) fn peer_address(&self) -> Result<SocketAddr> {
        super::ip_address(&self.socket()?.peer_addr()?)
    }

    /// Sets an option.
    pub(crate) fn set_option(&self, option: SocketOption, value: i64) -> Result<()> {
        option.set(self.socket()?, value)
    }

    /// Reads an option.
    pub(crate) fn get_option(&self, option: SocketOption) -> Result<i64> {
        option.get(self.socket()?)
    }
}

/// Calls with the pieces of memory that are left, as many as one system call is given.
pub(super) fn with_pieces(data: &Data, call: impl FnOnce(&[libc::iovec]) -> io::Result<usize>) -> io::Result<usize> {
    let mut pieces = [const { MaybeUninit::<libc::iovec>::uninit() }; PIECES];
    let mut count = 0;
    for (piece, region) in pieces.iter_mut().zip(data.regions()) {
        piece.write(libc::iovec { iov_base: region.pointer().cast(), iov_len: region.len() });
        count += 1;
    }
    // SAFETY: the first `count` pieces have just been written.
    call(unsafe { std::slice::from_raw_parts(pieces.as_ptr().cast(), count) })
}

/// Whether an error of accept(2) is about the connection that was waiting, and gone: then the next one counts ("Error handling").
pub(crate) fn accepts_another(code: c_int) -> bool {
    matches!(
        code,
        libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
    )
}

#[cfg(target_os = "linux")]
fn accept_nonblocking(listener: &Socket) -> io::Result<Socket> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let none = std::ptr::null_mut();
    // SAFETY: accept4(2) allows NULL for an address that is not wanted.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, std::ptr::null_mut(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just given us this descriptor, and nobody else has it.
    Ok(unsafe { Socket::from_raw_fd(fd) })
}

#[cfg(not(target_os = "linux"))]
fn accept_nonblocking(listener: &Socket) -> io::Result<Socket> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn file_stat(metadata: &std::fs::Metadata) -> FileStat {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let created = metadata.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    FileStat {
        kind: metadata.file_type().into(),
        length: metadata.size(),
        // st_blocks counts units of 512 bytes whatever the file system's block size (stat(3type)).
        allocated: metadata.blocks().saturating_mul(512),
        mode: metadata.mode() & 0o7777,
        links: metadata.nlink().min(u64::from(u32::MAX)) as u32,
        user: metadata.uid(),
        group: metadata.gid(),
        device: metadata.dev(),
        inode: metadata.ino(),
        accessed_ns: nanoseconds(metadata.atime(), metadata.atime_nsec()),
        modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        created_ns: created.map_or(0, |time| time.as_nanos().min(i64::MAX as u128) as i64),
    }
}

/// Lets a listener be opened again while old connections of its address linger, and shared where that is asked for.
pub(super) fn share_address(socket: &Socket, options: &ListenOptions) -> Result<()> {
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    Ok(())
}

/// Listens at an address.
pub(crate) fn listen(address: SocketAddr, options: &ListenOptions) -> Result<Handle> {
    Ok(Handle::Listener(super::listening_socket(address, options)?))
}

/// A stream that is not connected yet.
pub(crate) fn start_stream(address: SocketAddr) -> io::Result<Handle> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(Handle::Stream(socket))
}

fn bad_descriptor(descriptor: isize) -> Error {
    Error::with(error::SL_ERR_BAD_DESCRIPTOR, format!("descriptor {descriptor} is not open"))
}

fn open_descriptor(descriptor: isize) -> Result<RawFd> {
    let fd = RawFd::try_from(descriptor).map_err(|_| bad_descriptor(descriptor))?;
    // SAFETY: F_GETFD only asks; a number that is no descriptor gives EBADF.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(bad_descriptor(descriptor));
    }
    Ok(fd)
}

fn integer_option(fd: RawFd, option: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` and `length` describe four writable bytes.
    let status = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &mut length) };
    (status == 0).then_some(value)
}

fn is_pipe(fd: RawFd) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills `stat` where it returns 0, and only then is it read.
    unsafe { libc::fstat(fd, stat.as_mut_ptr()) == 0 && stat.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO }
}

/// Refuses what is not an open descriptor.
pub(crate) fn check_file_descriptor(descriptor: isize) -> Result<()> {
    open_descriptor(descriptor).map(drop)
}

/// Refuses what is neither a stream socket nor a pipe.
pub(crate) fn check_stream_descriptor(descriptor: isize) -> Result<()> {
    let fd = open_descriptor(descriptor)?;
    let listens = integer_option(fd, libc::SO_ACCEPTCONN).is_some_and(|value| value != 0);
    if is_pipe(fd) || (integer_option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM) && !listens) {
        return Ok(());
    }
    Err(Error::with(
        error::SL_ERR_UNSUPPORTED,
        format!("descriptor {descriptor} is neither a connected stream socket nor a pipe"),
    ))
}

/// Refuses what is not a listening stream socket.
pub(crate) fn check_listener_descriptor(descriptor: isize) -> Result<()> {
    let fd = open_descriptor(descriptor)?;
    if integer_option(fd, libc::SO_ACCEPTCONN).is_some_and(|value| value != 0) {
        return Ok(());
    }
    Err(Error::with(error::SL_ERR_UNSUPPORTED, format!("descriptor {descriptor} is not a listening socket")))
}

/// Makes a descriptor close-on-exec, and a stream or listener non-blocking as well.
fn prepare(fd: RawFd, nonblocking: bool) -> io::Result<()> {
    // SAFETY: these calls read and set flags of a descriptor that the caller gives us.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags < 0 || libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        if nonblocking {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            if flags < 0 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Takes a file descriptor over. Where it fails, the descriptor stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_file(descriptor: isize) -> Result<Handle> {
    prepare(descriptor as RawFd, false)?;
    // SAFETY: passed on from the caller.
    Ok(Handle::File(unsafe { File::from_raw_fd(descriptor as RawFd) }))
}

/// Takes a stream socket or pipe over. Where it fails, the descriptor stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_stream(descriptor: isize) -> Result<Handle> {
    let fd = descriptor as RawFd;
    prepare(fd, true)?;
    // SAFETY: passed on from the caller.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    if is_pipe(fd) {
        return Ok(Handle::Pipe(owned.into()));
    }
    let socket = Socket::from(owned);
    #[cfg(target_vendor = "apple")]
    let _ = socket.set_nosigpipe(true);
    Ok(Handle::Stream(socket))
}

/// Takes a listening socket over. Where it fails, the descriptor stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_listener(descriptor: isize) -> Result<Handle> {
    prepare(descriptor as RawFd, true)?;
    // SAFETY: passed on from the caller.
    Ok(Handle::Listener(unsafe { Socket::from_raw_fd(descriptor as RawFd) }))
}

/// A stream or listener in a mio registry: edge-triggered, for both directions.
#[derive(Debug)]
pub(crate) struct Registration(RawFd);

impl Registration {
    /// Registers; the handle must be deregistered before it is closed.
    pub(crate) fn new(handle: &Handle, registry: &Registry, token: Token) -> io::Result<Self> {
        let fd = handle.fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Registration(fd))
    }

    /// Makes a non-blocking call on the handle.
    pub(crate) fn attempt<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        call()
    }

    /// Takes it out of the registry.
    pub(crate) fn remove(self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.0))
    }
}
