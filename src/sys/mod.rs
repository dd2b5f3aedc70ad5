//! The platform: files, sockets, the wake descriptor, threads, fork. Everything above this folder is the same everywhere.
//!
//! `unix.rs` and `windows.rs` each provide the same items, and this is their contract:
//!
//! - `Path` is a path as the system takes it; `path` makes one from the bytes that the caller gave.
//! - `Handle` owns one open thing: a file, a stream (socket or pipe), a listener. Everything that is opened here is closed on
//!   exec. Streams and listeners are non-blocking, files are not. Dropping a handle closes it; `close` also says what the
//!   system thought of that.
//! - A call on a file may block, and belongs on a worker thread. A call on a stream or listener never blocks, and says
//!   `WouldBlock` where it would. All are repeated when a signal interrupts them, and none raises SIGPIPE that anybody notices.
//! - `receive_now` and `send_now` never block either, on any thread, whatever the descriptor's flags. `read_now`, `open_cached`
//!   and `regular_length` carry out what needs no device, where the system can be asked for that (`READS_NOW`).
//! - `Registration` ties a stream or listener to a mio registry. `attempt` wraps every non-blocking call on it, because
//!   Windows arms the next readiness event only when it sees the `WouldBlock`.
//! - `Wake` is a descriptor that is readable exactly while it is set.
//! - `spawn_thread` starts a thread that no signal of the host's is delivered to.
//! - `without_signals` calls on a thread of the host's so that a failed write raises no signal there either.
//! - `is_privileged`: the program has more rights than whoever started it, so what that one chose must not steer it.
//! - `fork_generation` grows in the child of every fork.
//! - `status_of_code` names the codes of the system that `std::io::ErrorKind` leaves unnamed; `error_code` gives the code of an
//!   error by its Unix name.
//! - What tree.rs does by way of the platform is said there.
//! - `may_wait` and `is_named_pipe` say what may have to wait for somebody else, though it is a file.

#[cfg(target_os = "linux")]
mod cached;
#[cfg(target_os = "linux")]
mod linux;
mod memory;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "linux")]
pub(crate) use linux::{EventCounter, appends, set_nonblocking, statx_to_stat};
pub(crate) use memory::{Data, FileKind, FileStat, Region, StatTarget, Target};
pub(crate) use platform::{
    Handle, Path, Registration, SYNCS_DIRECTORIES, Wake, adopt_file, adopt_listener, adopt_stream,
    check_file_descriptor, check_listener_descriptor, check_stream_descriptor, error_code, fork_generation,
    is_named_pipe, is_privileged, listen, path, spawn_thread, start_stream, status_of_code, without_signals,
};
pub(crate) use tree::{
    Entry, EntryPacker, LinkKind, copy, folder_of, link, list, make_directory, name_beside, open_replacement,
    read_link, remove, rename, write_all,
};
#[cfg(target_os = "linux")]
pub(crate) use unix::{accepts_another, open_bits};

use crate::error::{Error, Result};

/// How much stack a thread of ours has: what std gives by default, but not to be changed by the environment (RUST_MIN_STACK).
const THREAD_STACK: usize = 2 << 20;

/// What kind of open thing a handle is; each is an id of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleKind {
    /// A file: calls block.
    File,
    /// A stream socket or a pipe.
    Stream,
    /// A listening socket.
    Listener,
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the SL_OPEN_... flags, and documented there")]
pub(crate) struct OpenFlags {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub create: bool,
    pub exclusive: bool,
    pub truncate: bool,
    pub no_follow: bool,
    pub directory: bool,
    pub mode: u32,
}

impl OpenFlags {
    /// For a file that is made, where there must be none.
    pub(crate) fn new_file(mode: u32) -> Self {
        OpenFlags { write: true, create: true, exclusive: true, mode, ..OpenFlags::default() }
    }

    /// Refuses what this platform has not.
    pub(crate) fn checked(self) -> Result<Self> {
        if cfg!(windows) && (self.no_follow || self.directory) {
            return Err(Error::with(
                crate::error::SL_ERR_UNSUPPORTED,
                "flags: SL_OPEN_NO_FOLLOW and SL_OPEN_DIRECTORY are not for Windows",
            ));
        }
        Ok(self)
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are those of sl_listen_options, and documented there")]
pub(crate) struct ListenOptions {
    pub reuse_port: bool,
    pub ipv6_only: bool,
    pub backlog: i32,
}

/// An option of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the options are SL_STREAM_..., and documented there")]
pub(crate) enum SocketOption {
    NoDelay,
    KeepAlive,
    ReceiveBuffer,
    SendBuffer,
    Linger,
}

impl SocketOption {
    /// The option that an SL_STREAM_... number names.
    pub(crate) fn from_number(number: u32) -> Result<Self> {
        Ok(match number {
            1 => SocketOption::NoDelay,
            2 => SocketOption::KeepAlive,
            3 => SocketOption::ReceiveBuffer,
            4 => SocketOption::SendBuffer,
            5 => SocketOption::Linger,
            _ => return Err(Error::invalid(format!("option is {number}, not one of SL_STREAM_..."))),
        })
    }

    /// Sets it on a socket.
    pub(crate) fn set(self, socket: &socket2::Socket, value: i64) -> Result<()> {
        let bad = || Error::invalid(format!("value is {value}, which {self:?} does not take"));
        let switch = || match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(bad()),
        };
        let bytes = || if (1..=i64::from(i32::MAX)).contains(&value) { Ok(value as usize) } else { Err(bad()) };
        match self {
            SocketOption::NoDelay => socket.set_tcp_nodelay(switch()?)?,
            SocketOption::KeepAlive => socket.set_keepalive(switch()?)?,
            SocketOption::ReceiveBuffer => socket.set_recv_buffer_size(bytes()?)?,
            SocketOption::SendBuffer => socket.set_send_buffer_size(bytes()?)?,
            // A linger time would make close block, on the loop's thread, even for a non-blocking socket.
            SocketOption::Linger if value == -1 => socket.set_linger(None)?,
            SocketOption::Linger if value == 0 => socket.set_linger(Some(std::time::Duration::ZERO))?,
            SocketOption::Linger => return Err(bad()),
        }
        Ok(())
    }

    /// Reads it from a socket.
    pub(crate) fn get(self, socket: &socket2::Socket) -> Result<i64> {
        Ok(match self {
            SocketOption::NoDelay => i64::from(socket.tcp_nodelay()?),
            SocketOption::KeepAlive => i64::from(socket.keepalive()?),
            SocketOption::ReceiveBuffer => socket.recv_buffer_size()? as i64,
            SocketOption::SendBuffer => socket.send_buffer_size()? as i64,
            SocketOption::Linger => socket.linger()?.map_or(-1, |time| time.as_secs() as i64),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Handle {
    /// No other system can be asked to read only what is in memory.
    pub(crate) const READS_NOW: bool = false;

    pub(crate) fn read_now(&self, _: &Data, _: u64) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn open_cached(_: &Path) -> std::io::Result<Handle> {
        Err(std::io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn regular_length(&self) -> Option<u64> {
        None
    }
}

/// Makes a small call on a descriptor of ours that has no reason to fail, and makes it again where it has failed all the same, as
/// calls do under a tracer or a sandbox: a wake that is lost is a loop that sleeps for ever.
pub(crate) fn insist<T>(mut call: impl FnMut() -> std::io::Result<T>) {
    for _ in 0..100 {
        if call().is_ok() {
            return;
        }
        std::thread::yield_now();
    }
}

/// A write that does nothing and does not fail either: it would be made for ever.
pub(crate) fn writes_nothing() -> Error {
    Error::with(crate::error::SL_ERR_IO, "the system writes 0 bytes")
}

/// A bound, listening, non-blocking socket.
pub(crate) fn listening_socket(address: std::net::SocketAddr, options: &ListenOptions) -> Result<socket2::Socket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Said always: the default differs between systems.
        socket.set_only_v6(options.ipv6_only)?;
    }
    platform::share_address(&socket, options)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket's address as an IP address and port.
pub(crate) fn ip_address(address: &socket2::SockAddr) -> Result<std::net::SocketAddr> {
    address.as_socket().ok_or_else(|| Error::with(crate::error::SL_ERR_UNSUPPORTED, "not an IP socket"))
}
