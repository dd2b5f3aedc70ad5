//! The system's error codes: what they mean, and by which Unix names fault plans know them. Any thread.

use crate::error;
use windows_sys::Win32::Foundation as codes;
use windows_sys::Win32::Networking::WinSock as winsock;

/// Names the codes that `std::io::ErrorKind` leaves unnamed, or without a stable name.
pub(crate) fn status_of_code(code: i32) -> i32 {
    if let Ok(code) = u32::try_from(code) {
        match code {
            codes::ERROR_TOO_MANY_OPEN_FILES => return error::SL_ERR_TOO_MANY_FILES,
            codes::ERROR_NO_SYSTEM_RESOURCES
            | codes::ERROR_NOT_ENOUGH_QUOTA
            | codes::ERROR_WORKING_SET_QUOTA
            | codes::ERROR_COMMITMENT_LIMIT => return error::SL_ERR_NO_MEMORY,
            codes::ERROR_INVALID_HANDLE => return error::SL_ERR_BAD_DESCRIPTOR,
            codes::ERROR_SHARING_VIOLATION
            | codes::ERROR_LOCK_VIOLATION
            | codes::ERROR_DELETE_PENDING
            | codes::ERROR_USER_MAPPED_FILE => return error::SL_ERR_BUSY,
            codes::ERROR_FILENAME_EXCED_RANGE => return error::SL_ERR_NAME_TOO_LONG,
            codes::ERROR_CANT_RESOLVE_FILENAME | codes::ERROR_TOO_MANY_LINKS | codes::ERROR_STOPPED_ON_SYMLINK => {
                return error::SL_ERR_LINKS;
            }
            codes::ERROR_INVALID_NAME
            | codes::ERROR_BAD_PATHNAME
            | codes::ERROR_INVALID_PARAMETER
            | codes::ERROR_NEGATIVE_SEEK => return error::SL_ERR_INVALID,
            codes::ERROR_INVALID_FUNCTION | codes::ERROR_NOT_SUPPORTED => return error::SL_ERR_UNSUPPORTED,
            codes::ERROR_OPERATION_ABORTED | codes::ERROR_CANCELLED => return error::SL_ERR_CANCELLED,
            codes::ERROR_NETNAME_DELETED => return error::SL_ERR_CONNECTION_RESET,
            codes::ERROR_PRIVILEGE_NOT_HELD => return error::SL_ERR_PERMISSION,
            codes::ERROR_FILE_SYSTEM_LIMITATION => return error::SL_ERR_FILE_TOO_LARGE,
            codes::ERROR_CRC
            | codes::ERROR_SECTOR_NOT_FOUND
            | codes::ERROR_WRITE_FAULT
            | codes::ERROR_READ_FAULT
            | codes::ERROR_GEN_FAILURE
            | codes::ERROR_IO_DEVICE
            | codes::ERROR_FILE_CORRUPT
            | codes::ERROR_DISK_CORRUPT => return error::SL_ERR_IO,
            _ => {}
        }
    }
    match code {
        winsock::WSAEMFILE => error::SL_ERR_TOO_MANY_FILES,
        winsock::WSAENOBUFS => error::SL_ERR_NO_MEMORY,
        winsock::WSAENOTSOCK | winsock::WSAEBADF => error::SL_ERR_BAD_DESCRIPTOR,
        winsock::WSAEINVAL => error::SL_ERR_INVALID,
        winsock::WSAEOPNOTSUPP
        | winsock::WSAENOPROTOOPT
        | winsock::WSAEPROTONOSUPPORT
        | winsock::WSAESOCKTNOSUPPORT
        | winsock::WSAEPFNOSUPPORT
        | winsock::WSAEAFNOSUPPORT => error::SL_ERR_UNSUPPORTED,
        winsock::WSAESHUTDOWN => error::SL_ERR_BROKEN_PIPE,
        winsock::WSAENETRESET => error::SL_ERR_CONNECTION_RESET,
        winsock::WSAEHOSTDOWN => error::SL_ERR_HOST_UNREACHABLE,
        winsock::WSAECANCELLED => error::SL_ERR_CANCELLED,
        _ => error::SL_ERR_OS,
    }
}

/// The code that comes closest to an error that fault plans may name.
pub(crate) fn error_code(name: &str) -> Option<i32> {
    Some(match name {
        "EACCES" => codes::ERROR_ACCESS_DENIED as i32,
        "ECONNABORTED" => winsock::WSAECONNABORTED,
        "ECONNREFUSED" => winsock::WSAECONNREFUSED,
        "ECONNRESET" => winsock::WSAECONNRESET,
        "EDQUOT" => codes::ERROR_DISK_QUOTA_EXCEEDED as i32,
        "EFBIG" => codes::ERROR_FILE_TOO_LARGE as i32,
        "EHOSTUNREACH" => winsock::WSAEHOSTUNREACH,
        "EIO" => codes::ERROR_IO_DEVICE as i32,
        "EMFILE" | "ENFILE" => codes::ERROR_TOO_MANY_OPEN_FILES as i32,
        "ENETUNREACH" => winsock::WSAENETUNREACH,
        "ENOBUFS" => winsock::WSAENOBUFS,
        "ENOENT" => codes::ERROR_FILE_NOT_FOUND as i32,
        "ENOMEM" => codes::ERROR_NOT_ENOUGH_MEMORY as i32,
        "ENOSPC" => codes::ERROR_DISK_FULL as i32,
        "ENOTCONN" => winsock::WSAENOTCONN,
        "EPERM" => codes::ERROR_PRIVILEGE_NOT_HELD as i32,
        "EPIPE" => codes::ERROR_BROKEN_PIPE as i32,
        "EROFS" => codes::ERROR_WRITE_PROTECT as i32,
        "ETIMEDOUT" => winsock::WSAETIMEDOUT,
        _ => return None,
    })
}
