//! Versions and errors
//!
//! A status is 0 or positive on success and negative on failure. The numbers never change their meaning.

use super::LAST_ERROR;
use crate::error::lookup;
use std::ffi::{CStr, c_char};

/// Returned by every function: 0 or positive is success (a count, where the function says so), negative an SL_ERR_....
pub type Status = i32;

/// The version of the ABI that this header describes. It grows when something is added; a library whose
/// sl_abi_version() is at least this serves a program compiled against this header. The bits from 16 up are the number in
/// the shared library's name: where they differ, program and library cannot work together.
pub const SL_ABI_VERSION: u32 = 2;

/// Says which ABI the loaded library has (compare with SL_ABI_VERSION). Any thread; never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_abi_version() -> u32 {
    SL_ABI_VERSION
}

/// Says the library's version, like "0.1.0". The string is static. Any thread; never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => unreachable!(),
    };
    VERSION.as_ptr()
}

/// Says the name of a status, like "SL_ERR_STALE"; "SL_ERR_?" for a number that is none.
///
/// The string is static. Any thread; never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_status_name(status: Status) -> *const c_char {
    interned(status, false)
}

/// Says in a few words what a status means, like "the id is closed or has ended"; "unknown status" for a number that is
/// none.
///
/// The string is static. Any thread; never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_status_message(status: Status) -> *const c_char {
    interned(status, true)
}

/// Says what was wrong with the last call that failed on the calling thread: the meaning of its status and which
/// argument it was about. "" where none has failed yet.
///
/// The string belongs to the library and is valid until the next call of this thread that fails. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().message.as_ptr()).unwrap_or(c"".as_ptr())
}

/// Gives the operating system's own code (errno, or GetLastError on Windows) for the last call that failed on the
/// calling thread; 0 where the system was not involved. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn sl_last_os_error() -> i32 {
    LAST_ERROR.try_with(|last| last.borrow().os).unwrap_or(0)
}

/// The table's strings with a NUL at the end, made once.
fn interned(status: Status, message: bool) -> *const c_char {
    use std::ffi::CString;
    use std::sync::OnceLock;
    type Row = (CString, CString);
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let text = |s: &str| CString::new(s).unwrap_or_default();
        crate::error::TABLE.iter().map(|entry| (text(entry.name), text(entry.message))).collect()
    });
    match lookup(status).and_then(|entry| crate::error::TABLE.iter().position(|e| e.status == entry.status)) {
        Some(row) if message => rows[row].1.as_ptr(),
        Some(row) => rows[row].0.as_ptr(),
        None if message => c"unknown status".as_ptr(),
        None => c"SL_ERR_?".as_ptr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abi_version_begins_with_the_number_in_the_shared_librarys_name() {
        assert_eq!((SL_ABI_VERSION >> 16).to_string(), env!("SIDELOOP_SONAME_VERSION"));
    }
}
