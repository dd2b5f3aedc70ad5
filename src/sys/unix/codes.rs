//! The system's error codes: what they mean, and their names. Any thread.

use crate::error;

/// Names the codes that `std::io::ErrorKind` leaves unnamed.
pub(crate) fn status_of_code(code: i32) -> i32 {
    match code {
        libc::EMFILE | libc::ENFILE => error::SL_ERR_TOO_MANY_FILES,
        libc::ENAMETOOLONG => error::SL_ERR_NAME_TOO_LONG,
        libc::ELOOP | libc::EMLINK => error::SL_ERR_LINKS,
        libc::EBADF => error::SL_ERR_BAD_DESCRIPTOR,
        libc::EIO => error::SL_ERR_IO,
        libc::ENOBUFS => error::SL_ERR_NO_MEMORY,
        libc::EINVAL => error::SL_ERR_INVALID,
        libc::EOPNOTSUPP | libc::ENOTTY => error::SL_ERR_UNSUPPORTED,
        libc::ENXIO | libc::ENODEV => error::SL_ERR_NOT_FOUND,
        libc::ECANCELED => error::SL_ERR_CANCELLED,
        libc::EPROTO => error::SL_ERR_CONNECTION_ABORTED,
        _ => error::SL_ERR_OS,
    }
}

/// The code of an error that fault plans may name.
pub(crate) fn error_code(name: &str) -> Option<i32> {
    Some(match name {
        "EACCES" => libc::EACCES,
        "ECONNABORTED" => libc::ECONNABORTED,
        "ECONNREFUSED" => libc::ECONNREFUSED,
        "ECONNRESET" => libc::ECONNRESET,
        "EDQUOT" => libc::EDQUOT,
        "EFBIG" => libc::EFBIG,
        "EHOSTUNREACH" => libc::EHOSTUNREACH,
        "EIO" => libc::EIO,
        "EMFILE" => libc::EMFILE,
        "ENETUNREACH" => libc::ENETUNREACH,
        "ENFILE" => libc::ENFILE,
        "ENOBUFS" => libc::ENOBUFS,
        "ENOENT" => libc::ENOENT,
        "ENOMEM" => libc::ENOMEM,
        "ENOSPC" => libc::ENOSPC,
        "ENOTCONN" => libc::ENOTCONN,
        "EPERM" => libc::EPERM,
        "EPIPE" => libc::EPIPE,
        "EROFS" => libc::EROFS,
        "ETIMEDOUT" => libc::ETIMEDOUT,
        _ => return None,
    })
}
