//! The platform on Windows: see the contract in mod.rs.

mod file;
mod status;
mod tree;
pub(crate) use self::status::{error_code, status_of_code};
pub(crate) use self::tree::{
    SYNCS_DIRECTORIES, copy_inside, directory_builder, inode, name_bytes, rename_to_new, set_permissions, std_path,
    symbolic_link, to_path,
};

use self::file::OpenFile;
use super::{Data, FileKind, FileStat, HandleKind, ListenOptions, OpenFlags, Region, SocketOption};
use crate::error::{self, Error, Result};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::windows::io::{
    AsRawHandle, AsRawSocket, FromRawHandle, FromRawSocket, IntoRawSocket, RawHandle, RawSocket,
};
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use windows_sys::Win32::Foundation as codes;
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Storage::FileSystem as fs;
use windows_sys::Win32::System::LibraryLoader as loader;

/// How many pieces one send takes; more are left to the next call.
const PIECES: usize = 64;

/// How much one system call is given: Windows counts in 32 bits, and what is short is carried on by the caller.
const PORTION: usize = 1 << 30;

/// A path: Windows keeps names in UTF-16, so what the caller gives must be text.
pub(crate) type Path = Arc<std::path::Path>;

/// Makes a path from the caller's bytes.
pub(crate) fn path(bytes: CString) -> Result<Path> {
    match bytes.into_string() {
        Ok(text) => Ok(PathBuf::from(text).into()),
        Err(_) => Err(Error::invalid("path is not UTF-8")),
    }
}

/// One open thing.
#[derive(Debug)]
pub(crate) enum Handle {
    /// Blocking file I/O.
    File(OpenFile),
    /// A non-blocking stream socket.
    Stream(Socket),
    /// A non-blocking listening socket.
    Listener(Socket),
}

impl Handle {
    /// Opens a file.
    pub(crate) fn open(path: &Path, flags: &OpenFlags) -> io::Result<Handle> {
        OpenFile::open(path, flags).map(Handle::File)
    }

    /// Which kind it is.
    pub(crate) fn kind(&self) -> HandleKind {
        match self {
            Handle::File(_) => HandleKind::File,
            Handle::Stream(_) => HandleKind::Stream,
            Handle::Listener(_) => HandleKind::Listener,
        }
    }

    /// The HANDLE or SOCKET as a number.
    pub(crate) fn descriptor(&self) -> isize {
        match self {
            Handle::File(file) => file.file().as_raw_handle() as isize,
            Handle::Stream(socket) | Handle::Listener(socket) => socket.as_raw_socket() as isize,
        }
    }

    fn file(&self) -> io::Result<&OpenFile> {
        match self {
            Handle::File(file) => Ok(file),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn stream(&self) -> io::Result<&Socket> {
        match self {
            Handle::Stream(socket) => Ok(socket),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Reads a file, at an offset or at its current position.
    pub(crate) fn read(&self, into: &Data, offset: Option<u64>) -> io::Result<usize> {
        self.file()?.read(into, offset)
    }

    /// Reads a file from its current position to its end, behind what is in `bytes` already.
    pub(crate) fn read_to_end(&self, bytes: &mut Vec<u8>, most: u64) -> io::Result<()> {
        self.file()?.read_to_end(bytes, most)
    }

    /// Writes a file, at an offset or at its current position; perhaps not all.
    pub(crate) fn write(&self, from: &Data, offset: Option<u64>) -> io::Result<usize> {
        self.file()?.write(from, offset)
    }

    /// Makes what was written safe on the device. Windows does not tell data from the rest.
    pub(crate) fn sync(&self, _data_only: bool) -> io::Result<()> {
        self.file()?.file().sync_all()
    }

    /// Cuts or extends a file.
    pub(crate) fn truncate(&self, length: u64) -> io::Result<()> {
        self.file()?.file().set_len(length)
    }

    /// Says what is known of a file.
    pub(crate) fn stat(&self) -> io::Result<FileStat> {
        file::stat(self.file()?.file())
    }

    /// Whether reading or writing it may have to wait for somebody else: a pipe, a console.
    pub(crate) fn may_wait(&self) -> bool {
        self.stat().map_or(true, |stat| stat.kind == FileKind::Other)
    }

    /// Says what is known of a path.
    pub(crate) fn stat_path(path: &Path, follow: bool) -> io::Result<FileStat> {
        file::stat_path(path, follow)
    }

    /// Accepts a connection.
    pub(crate) fn accept(&self) -> io::Result<Handle> {
        let Handle::Listener(listener) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let socket = loop {
            match listener.accept() {
                // The connection that was waiting is gone (accept, WSAECONNRESET): look for the next.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {}
                other => break other?.0,
            }
        };
        socket.set_nonblocking(true)?;
        // Fails on sockets that are not TCP, which is fine: there is nothing to delay.
        let _ = socket.set_tcp_nodelay(true);
        Ok(Handle::Stream(socket))
    }

    /// Begins to connect. `WouldBlock`: under way, ask `connect_outcome` when it is writable.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        self.stream()?.connect(&SockAddr::from(address))
    }

    /// How connecting went, once the stream is writable.
    pub(crate) fn connect_outcome(&self) -> io::Result<()> {
        let socket = self.stream()?;
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
        let socket = self.stream()?;
        if into.len() == 0 {
            return Ok(0);
        }
        // SAFETY: the region is the caller's memory, which nobody else uses until the operation's last event; that comes after
        // this call.
        socket.recv(unsafe { std::slice::from_raw_parts_mut(into.pointer().cast(), into.len().min(PORTION)) })
    }

    /// Likewise: streams are non-blocking here.
    pub(crate) fn receive_now(&self, into: Region) -> io::Result<usize> {
        self.receive(into)
    }

    /// See `send`.
    pub(crate) fn send_now(&self, from: &Data) -> io::Result<usize> {
        self.send(from)
    }

    /// Sends what the system takes.
    pub(crate) fn send(&self, from: &Data) -> io::Result<usize> {
        let socket = self.stream()?;
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (mut count, mut room) = (0, PORTION);
        for region in from.regions().take(PIECES) {
            let length = region.len().min(room);
            // SAFETY: the region is the caller's memory, which nobody writes to until the operation's last event; that comes
            // after this call.
            pieces[count] = IoSlice::new(unsafe { std::slice::from_raw_parts(region.pointer(), length) });
            count += 1;
            room -= length;
            if room == 0 {
                break;
            }
        }
        match &pieces[..count] {
            [] => Ok(0),
            [piece] => socket.send(piece),
            pieces => socket.send_vectored(pieces),
        }
    }

    /// Ends the sending.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.stream()?.shutdown(std::net::Shutdown::Write)
    }

    /// Closes it, and says what the system thought of it. The descriptor is gone either way.
    pub(crate) fn close(self) -> io::Result<()> {
        let socket = match self {
            Handle::File(file) => return file.close(),
            Handle::Stream(socket) | Handle::Listener(socket) => socket.into_raw_socket(),
        };
        // SAFETY: `self` owned the socket and has just given it up.
        if unsafe { winsock::closesocket(socket as winsock::SOCKET) } == 0 {
            return Ok(());
        }
        // WSAGetLastError is GetLastError.
        Err(io::Error::last_os_error())
    }

    fn socket(&self) -> Result<&Socket> {
        match self {
            Handle::Stream(socket) | Handle::Listener(socket) => Ok(socket),
            Handle::File(_) => Err(Error::with(error::SL_ERR_UNSUPPORTED, "not a socket")),
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

    /// Whether closing may take its time: a file's does, and so may a socket's on which somebody has set a linger time.
    pub(crate) fn close_may_block(&self) -> bool {
        self.socket().map_or(true, |socket| matches!(socket.linger(), Ok(Some(time)) if !time.is_zero()))
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

/// Sees to it that nobody else listens at the address: on Windows SO_REUSEADDR would let anybody. (Old connections that linger
/// are no hindrance here.)
pub(super) fn share_address(socket: &Socket, options: &ListenOptions) -> Result<()> {
    if options.reuse_port {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, "flags: SL_LISTEN_REUSE_PORT is not for Windows"));
    }
    let yes = 1i32.to_ne_bytes();
    let raw = socket.as_raw_socket() as winsock::SOCKET;
    // SAFETY: `yes` is the four bytes that the length says.
    let failed = unsafe {
        winsock::setsockopt(raw, winsock::SOL_SOCKET, winsock::SO_EXCLUSIVEADDRUSE, yes.as_ptr(), yes.len() as i32)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
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

/// Refuses what is not an open handle of something that has a file type.
pub(crate) fn check_file_descriptor(descriptor: isize) -> Result<()> {
    // Handles are positive; a negative number names the process, the thread, or (to GetFileType) a standard stream.
    if descriptor > 0 {
        // SAFETY: GetFileType only asks; a number that is no handle gives an error.
        let kind = unsafe { fs::GetFileType(descriptor as RawHandle) };
        // SAFETY: it only reads the thread's last error.
        if kind != fs::FILE_TYPE_UNKNOWN || unsafe { codes::GetLastError() } == codes::NO_ERROR {
            return Ok(());
        }
    }
    Err(Error::with(error::SL_ERR_BAD_DESCRIPTOR, format!("descriptor {descriptor} is not open")))
}

fn integer_option(descriptor: isize, option: i32) -> Option<i32> {
    let mut value = [0; 4];
    let mut length = value.len() as i32;
    // SAFETY: `value` and `length` describe four writable bytes; a number that is no socket gives an error.
    let status = unsafe {
        winsock::getsockopt(descriptor as winsock::SOCKET, winsock::SOL_SOCKET, option, value.as_mut_ptr(), &mut length)
    };
    (status == 0).then_some(i32::from_ne_bytes(value))
}

/// Refuses what is not a stream socket that listens, or does not.
fn check_socket(descriptor: isize, listens: bool, wanted: &str) -> Result<()> {
    let kind = integer_option(descriptor, winsock::SO_TYPE);
    if kind == Some(winsock::SOCK_STREAM) {
        // SO_ACCEPTCONN may be given as one byte.
        let accepts = integer_option(descriptor, winsock::SO_ACCEPTCONN).is_some_and(|value| value != 0);
        if accepts == listens {
            return Ok(());
        }
    } else if kind.is_none() {
        check_file_descriptor(descriptor)?;
    }
    Err(Error::with(error::SL_ERR_UNSUPPORTED, format!("descriptor {descriptor} is not a {wanted}")))
}

/// Refuses what is not a stream socket.
pub(crate) fn check_stream_descriptor(descriptor: isize) -> Result<()> {
    check_socket(descriptor, false, "connected stream socket")
}

/// Refuses what is not a listening stream socket.
pub(crate) fn check_listener_descriptor(descriptor: isize) -> Result<()> {
    check_socket(descriptor, true, "listening socket")
}

/// Keeps a handle from being inherited by the processes that the host starts.
fn keep_from_children(descriptor: isize) -> io::Result<()> {
    // SAFETY: it sets a flag of a handle that the caller gives us.
    let ok = unsafe { codes::SetHandleInformation(descriptor as RawHandle, codes::HANDLE_FLAG_INHERIT, 0) };
    if ok != 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a file handle over. Where it fails, the handle stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_file(descriptor: isize) -> Result<Handle> {
    keep_from_children(descriptor)?;
    // SAFETY: passed on from the caller.
    let file = unsafe { File::from_raw_handle(descriptor as RawHandle) };
    Ok(Handle::File(OpenFile::adopt(file)))
}

/// Takes a socket over. Where it fails, the socket stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
unsafe fn adopt_socket(descriptor: isize) -> Result<Socket> {
    // Some layers of the system give sockets that are no kernel handles, and those are never inherited.
    let _ = keep_from_children(descriptor);
    // SAFETY: passed on from the caller.
    let socket = ManuallyDrop::new(unsafe { Socket::from_raw_socket(descriptor as RawSocket) });
    socket.set_nonblocking(true)?;
    Ok(ManuallyDrop::into_inner(socket))
}

/// Takes a stream socket over. Where it fails, the socket stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_stream(descriptor: isize) -> Result<Handle> {
    // SAFETY: passed on from the caller.
    Ok(Handle::Stream(unsafe { adopt_socket(descriptor) }?))
}

/// Takes a listening socket over. Where it fails, the socket stays the caller's.
///
/// # Safety
/// It is open, and the caller gives it away.
pub(crate) unsafe fn adopt_listener(descriptor: isize) -> Result<Handle> {
    // SAFETY: passed on from the caller.
    Ok(Handle::Listener(unsafe { adopt_socket(descriptor) }?))
}

/// A stream or listener in a mio registry: edge-triggered, for both directions.
///
/// mio registers its own types only, so this is one with the handle's socket in it, which it does not own: it is never dropped as
/// it is, and makes no call but to the registry. A listener is taken for a stream too: the registry sees no difference.
#[derive(Debug)]
pub(crate) struct Registration(ManuallyDrop<mio::net::TcpStream>);

impl Registration {
    /// Registers; the handle must be deregistered before it is closed.
    pub(crate) fn new(handle: &Handle, registry: &Registry, token: Token) -> io::Result<Self> {
        let Ok(socket) = handle.socket() else { return Err(io::ErrorKind::Unsupported.into()) };
        // SAFETY: the socket is open; it stays the handle's, because `drop` gives it up unclosed.
        let stream = unsafe { mio::net::TcpStream::from_raw_socket(socket.as_raw_socket()) };
        let mut registration = Registration(ManuallyDrop::new(stream));
        registry.register(&mut *registration.0, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(registration)
    }

    /// Makes a non-blocking call on the handle. Where it says `WouldBlock`, mio asks for the next event.
    pub(crate) fn attempt<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(call)
    }

    /// Takes it out of the registry.
    pub(crate) fn remove(mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut *self.0)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: this is the end of `self`, which nobody uses any more.
        let stream = unsafe { ManuallyDrop::take(&mut self.0) };
        let _the_handles = stream.into_raw_socket();
    }
}

/// A descriptor that is readable exactly while it is set: one end of a connection to ourselves, as Windows can wait for nothing
/// else in the way that hosts do. Not thread-safe: its owner keeps it behind a lock.
#[derive(Debug)]
pub(crate) struct Wake {
    reader: Socket,
    writer: Socket,
}

impl Wake {
    /// Makes one, not set. It is a socket always.
    pub(crate) fn new(_socket: bool) -> io::Result<Self> {
        let options = ListenOptions { reuse_port: false, ipv6_only: false, backlog: 16 };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = super::listening_socket(address, &options).map_err(|error| match error.os {
            0 => io::ErrorKind::Unsupported.into(),
            code => io::Error::from_raw_os_error(code),
        })?;
        listener.set_nonblocking(false)?;
        let writer = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        writer.connect(&listener.local_addr()?)?;
        let ours = writer.local_addr()?;
        // Anybody on this machine can connect to the listener: go on until it is us.
        let reader = loop {
            let (reader, peer) = listener.accept()?;
            if peer.as_socket() == ours.as_socket() {
                break reader;
            }
        };
        for socket in [&reader, &writer] {
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Wake { reader, writer })
    }

    /// The socket to wait for.
    pub(crate) fn descriptor(&self) -> isize {
        self.reader.as_raw_socket() as isize
    }

    /// Makes it readable. Called when it is not.
    pub(crate) fn set(&self) {
        // Cannot fail: the buffer is empty.
        let _ = self.writer.send(&[1]);
        // The byte may arrive a little later than that. It must not arrive after a `clear` that looks for it, nor after the caller
        // has been told that there is something to see.
        let mut poll = winsock::WSAPOLLFD {
            fd: self.reader.as_raw_socket() as winsock::SOCKET,
            events: winsock::POLLRDNORM,
            revents: 0,
        };
        // The limit is for a host that reads what is not its own.
        // SAFETY: `poll` is the one entry that the count says.
        unsafe { winsock::WSAPoll(&mut poll, 1, 1000) };
    }

    /// Makes it unreadable. Called when it is readable.
    pub(crate) fn clear(&self) {
        let mut bytes = [MaybeUninit::uninit(); 8];
        let _ = self.reader.recv(&mut bytes);
    }
}

/// Starts a thread. Windows has no signals to block.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    static PINNED: Once = Once::new();
    PINNED.call_once(|| {
        let flags = loader::GET_MODULE_HANDLE_EX_FLAG_PIN | loader::GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
        let mut module = std::ptr::null_mut();
        // Our threads outlive a FreeLibrary, so our code must too. Where this fails, it is as safe as any other DLL.
        // SAFETY: the address is one in this very module, and `module` is writable.
        unsafe {
            loader::GetModuleHandleExW(flags, (fork_generation as fn() -> u64 as *const u16).cast(), &mut module)
        };
    });
    std::thread::Builder::new().name(name.to_owned()).stack_size(super::THREAD_STACK).spawn(body)
}

/// Calls on a thread that is not ours. Windows sends no signals.
pub(crate) fn without_signals<R>(call: impl FnOnce() -> R) -> R {
    call()
}

/// Whether the program has more rights than whoever started it: Windows has no such programs.
pub(crate) fn is_privileged() -> bool {
    false
}

/// Whether opening it waits for another end: Windows' named pipes do not, they are there or not.
pub(crate) fn is_named_pipe(_: &Path) -> bool {
    false
}

/// How many forks lie between the first caller's process and this one: Windows has none.
pub(crate) fn fork_generation() -> u64 {
    0
}
