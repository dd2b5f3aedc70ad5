//! The error table: every status that crosses the ABI has its number, name and message here, and nowhere else.
//!
//! Used by every layer, on every thread. The C header, the Python exceptions and `sl_status_name` are made from it.
//! Numbers are append-only: a program compiled against an old header keeps its meaning.

use std::borrow::Cow;
use std::io;

/// The work was accepted, or the call succeeded.
pub const SL_OK: i32 = 0;
/// An argument is outside its range; `sl_last_error` names it.
pub const SL_ERR_INVALID: i32 = -1;
/// A pointer is NULL where NULL is not allowed.
pub const SL_ERR_NULL: i32 = -2;
/// The id was never issued by this library in this process.
pub const SL_ERR_BAD_ID: i32 = -3;
/// The id was valid once: what it named is closed, or has ended.
pub const SL_ERR_STALE: i32 = -4;
/// The id names something of another kind, or of another loop, than the call needs.
pub const SL_ERR_WRONG_KIND: i32 = -5;
/// A limit of the loop is reached; take events (or return buffers) and try again.
pub const SL_ERR_AGAIN: i32 = -6;
/// Memory could not be had.
pub const SL_ERR_NO_MEMORY: i32 = -7;
/// The operation was cancelled, by `sl_op_cancel`, by closing what it worked on, or by shutting down its loop.
pub const SL_ERR_CANCELLED: i32 = -8;
/// The deadline passed first.
pub const SL_ERR_TIMED_OUT: i32 = -9;
/// The loop is shutting down and accepts nothing new, or, for a wait, has no event left to wait for.
pub const SL_ERR_SHUT_DOWN: i32 = -10;
/// The call would wait for the very thread that makes it (a wait or a close on one of the loop's own threads).
pub const SL_ERR_DEADLOCK: i32 = -11;
/// The loop belongs to the parent of this forked process; open a new loop here.
pub const SL_ERR_FORKED: i32 = -12;
/// This platform, driver or kind of resource cannot do it.
pub const SL_ERR_UNSUPPORTED: i32 = -13;
/// A bug in the library: it caught itself in a state that should not exist.
pub const SL_ERR_INTERNAL: i32 = -14;
/// The operation has already ended; its event is waiting or taken.
pub const SL_ERR_ENDED: i32 = -15;
/// No lent buffer of this size can be had within the loop's limit.
pub const SL_ERR_NO_BUFFERS: i32 = -16;
/// The `size` at the start of a structure is none that any version of the library has used.
pub const SL_ERR_STRUCT_SIZE: i32 = -17;
/// The operation is delivered another way than this call collects it.
pub const SL_ERR_DELIVERY: i32 = -18;

/// No such file or directory.
pub const SL_ERR_NOT_FOUND: i32 = -32;
/// Permission denied.
pub const SL_ERR_PERMISSION: i32 = -33;
/// It exists already.
pub const SL_ERR_EXISTS: i32 = -34;
/// It is a directory.
pub const SL_ERR_IS_DIRECTORY: i32 = -35;
/// A part of the path is not a directory.
pub const SL_ERR_NOT_DIRECTORY: i32 = -36;
/// The directory is not empty.
pub const SL_ERR_NOT_EMPTY: i32 = -37;
/// No space is left on the device, or a quota is used up.
pub const SL_ERR_NO_SPACE: i32 = -38;
/// The file would become larger than the system allows.
pub const SL_ERR_FILE_TOO_LARGE: i32 = -39;
/// The file system is read-only.
pub const SL_ERR_READ_ONLY: i32 = -40;
/// The process or the system has too many open descriptors.
pub const SL_ERR_TOO_MANY_FILES: i32 = -41;
/// The name is too long.
pub const SL_ERR_NAME_TOO_LONG: i32 = -42;
/// Too many symbolic links, or a link where none is allowed.
pub const SL_ERR_LINKS: i32 = -43;
/// The descriptor is not open, or not open for this.
pub const SL_ERR_BAD_DESCRIPTOR: i32 = -44;
/// The device reports an input/output error.
pub const SL_ERR_IO: i32 = -45;
/// The resource cannot seek, so it has no offsets.
pub const SL_ERR_NO_SEEK: i32 = -46;
/// The file or device is in use.
pub const SL_ERR_BUSY: i32 = -47;

/// The other side does not read any more.
pub const SL_ERR_BROKEN_PIPE: i32 = -64;
/// Nobody listens at that address.
pub const SL_ERR_CONNECTION_REFUSED: i32 = -65;
/// The other side reset the connection.
pub const SL_ERR_CONNECTION_RESET: i32 = -66;
/// The connection was aborted on this side.
pub const SL_ERR_CONNECTION_ABORTED: i32 = -67;
/// The stream is not connected.
pub const SL_ERR_NOT_CONNECTED: i32 = -68;
/// The address is in use.
pub const SL_ERR_ADDRESS_IN_USE: i32 = -69;
/// The address does not belong to this machine.
pub const SL_ERR_ADDRESS_UNAVAILABLE: i32 = -70;
/// The network cannot be reached.
pub const SL_ERR_NETWORK_UNREACHABLE: i32 = -71;
/// The host cannot be reached.
pub const SL_ERR_HOST_UNREACHABLE: i32 = -72;

/// An error of the operating system that has no portable name; its own code tells which.
pub const SL_ERR_OS: i32 = -127;

/// One row of the table.
pub struct Entry {
    /// The number that crosses the ABI.
    pub status: i32,
    /// The name of the constant.
    pub name: &'static str,
    /// One line for a person; no capital at the start, no full stop.
    pub message: &'static str,
}

macro_rules! table {
    ($($name:ident: $message:literal,)*) => {
        &[$(Entry { status: $name, name: stringify!($name), message: $message }),*]
    };
}

/// Every status, its name and its message.
pub const TABLE: &[Entry] = table! {
    SL_OK: "success",
    SL_ERR_INVALID: "invalid argument",
    SL_ERR_NULL: "a required pointer is NULL",
    SL_ERR_BAD_ID: "no such id",
    SL_ERR_STALE: "the id is closed or has ended",
    SL_ERR_WRONG_KIND: "the id is of the wrong kind",
    SL_ERR_AGAIN: "a limit of the loop is reached, take events and try again",
    SL_ERR_NO_MEMORY: "out of memory",
    SL_ERR_CANCELLED: "cancelled",
    SL_ERR_TIMED_OUT: "timed out",
    SL_ERR_SHUT_DOWN: "the loop is shut down",
    SL_ERR_DEADLOCK: "the call would deadlock on this thread",
    SL_ERR_FORKED: "the loop belongs to the parent process",
    SL_ERR_UNSUPPORTED: "not supported here",
    SL_ERR_INTERNAL: "internal error of sideloop",
    SL_ERR_ENDED: "the operation has already ended",
    SL_ERR_NO_BUFFERS: "no lent buffer is free",
    SL_ERR_STRUCT_SIZE: "unknown structure size",
    SL_ERR_DELIVERY: "the operation is delivered in another way",
    SL_ERR_NOT_FOUND: "no such file or directory",
    SL_ERR_PERMISSION: "permission denied",
    SL_ERR_EXISTS: "already exists",
    SL_ERR_IS_DIRECTORY: "is a directory",
    SL_ERR_NOT_DIRECTORY: "not a directory",
    SL_ERR_NOT_EMPTY: "directory not empty",
    SL_ERR_NO_SPACE: "no space left",
    SL_ERR_FILE_TOO_LARGE: "file too large",
    SL_ERR_READ_ONLY: "read-only file system",
    SL_ERR_TOO_MANY_FILES: "too many open files",
    SL_ERR_NAME_TOO_LONG: "name too long",
    SL_ERR_LINKS: "too many symbolic links",
    SL_ERR_BAD_DESCRIPTOR: "bad descriptor",
    SL_ERR_IO: "input/output error",
    SL_ERR_NO_SEEK: "cannot seek",
    SL_ERR_BUSY: "resource busy",
    SL_ERR_BROKEN_PIPE: "broken pipe",
    SL_ERR_CONNECTION_REFUSED: "connection refused",
    SL_ERR_CONNECTION_RESET: "connection reset",
    SL_ERR_CONNECTION_ABORTED: "connection aborted",
    SL_ERR_NOT_CONNECTED: "not connected",
    SL_ERR_ADDRESS_IN_USE: "address in use",
    SL_ERR_ADDRESS_UNAVAILABLE: "address not available",
    SL_ERR_NETWORK_UNREACHABLE: "network unreachable",
    SL_ERR_HOST_UNREACHABLE: "host unreachable",
    SL_ERR_OS: "error of the operating system",
};

/// The row of `status`, if it has one.
pub fn lookup(status: i32) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.status == status)
}

/// A failure inside the library, on its way to the ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// A negative `SL_ERR_...`.
    pub status: i32,
    /// The operating system's own code (errno, or GetLastError on Windows); 0 where it said nothing.
    pub os: i32,
    /// What was wrong, as a sentence that names the argument; empty where the status says it all.
    pub detail: Cow<'static, str>,
}

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that its status explains.
    pub const fn new(status: i32) -> Self {
        Error { status, os: 0, detail: Cow::Borrowed("") }
    }

    /// An error with a sentence about what was wrong.
    pub fn with(status: i32, detail: impl Into<Cow<'static, str>>) -> Self {
        Error { status, os: 0, detail: detail.into() }
    }

    /// An argument out of range.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Error::with(SL_ERR_INVALID, detail)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let os = error.raw_os_error().unwrap_or(0);
        Error { status: status_of(&error), os, detail: Cow::Borrowed("") }
    }
}

/// The portable status of an operating system error. `std` already folds errno and Windows codes into kinds; what it
/// leaves without a stable kind is told apart by number.
fn status_of(error: &io::Error) -> i32 {
    use io::ErrorKind as K;
    match error.kind() {
        K::NotFound => SL_ERR_NOT_FOUND,
        K::PermissionDenied => SL_ERR_PERMISSION,
        K::AlreadyExists => SL_ERR_EXISTS,
        K::IsADirectory => SL_ERR_IS_DIRECTORY,
        K::NotADirectory => SL_ERR_NOT_DIRECTORY,
        K::DirectoryNotEmpty => SL_ERR_NOT_EMPTY,
        K::StorageFull | K::QuotaExceeded => SL_ERR_NO_SPACE,
        K::FileTooLarge => SL_ERR_FILE_TOO_LARGE,
        K::ReadOnlyFilesystem => SL_ERR_READ_ONLY,
        K::NotSeekable => SL_ERR_NO_SEEK,
        K::ResourceBusy | K::ExecutableFileBusy => SL_ERR_BUSY,
        K::OutOfMemory => SL_ERR_NO_MEMORY,
        K::TimedOut => SL_ERR_TIMED_OUT,
        K::Unsupported => SL_ERR_UNSUPPORTED,
        K::BrokenPipe => SL_ERR_BROKEN_PIPE,
        K::ConnectionRefused => SL_ERR_CONNECTION_REFUSED,
        K::ConnectionReset => SL_ERR_CONNECTION_RESET,
        K::ConnectionAborted => SL_ERR_CONNECTION_ABORTED,
        K::NotConnected => SL_ERR_NOT_CONNECTED,
        K::AddrInUse => SL_ERR_ADDRESS_IN_USE,
        K::AddrNotAvailable => SL_ERR_ADDRESS_UNAVAILABLE,
        K::NetworkUnreachable | K::NetworkDown => SL_ERR_NETWORK_UNREACHABLE,
        K::HostUnreachable => SL_ERR_HOST_UNREACHABLE,
        _ => error.raw_os_error().map_or(SL_ERR_OS, crate::sys::status_of_code).min(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_unique_and_negative() {
        for (i, entry) in TABLE.iter().enumerate() {
            assert!(entry.status <= 0, "{}", entry.name);
            assert!(TABLE[..i].iter().all(|other| other.status != entry.status), "{} is taken twice", entry.name);
        }
    }

    #[test]
    fn every_constant_has_a_row() {
        let constants = include_str!("error.rs").lines().filter(|line| line.starts_with("pub const SL_")).count();
        assert_eq!(constants, TABLE.len());
    }

    #[test]
    fn os_errors_are_portable() {
        assert_eq!(Error::from(io::Error::from(io::ErrorKind::ConnectionReset)).status, SL_ERR_CONNECTION_RESET);
        let missing = std::fs::File::open("no/such/file").unwrap_err();
        let error = Error::from(missing);
        assert_eq!(error.status, SL_ERR_NOT_FOUND);
        assert_ne!(error.os, 0);
    }
}
