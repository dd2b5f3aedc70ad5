//! The system calls that also run on callers' threads, without the C library between. Its functions of these names are cancellation
//! points (pthreads(7)): a caller's thread that is cancelled in the middle of one would be unwound through this library. And
//! keeping track of that takes longer than the rest of a small call. On Linux; any thread.

use libc::{c_int, c_void, msghdr, size_t, ssize_t};

/// read(2).
///
/// # Safety
/// As for the function of that name.
pub(super) unsafe fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: passed on from the caller.
    unsafe { libc::syscall(libc::SYS_read, fd, buffer, length) as ssize_t }
}

/// recv(2).
///
/// # Safety
/// As for the function of that name.
pub(super) unsafe fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    let none: *const c_void = std::ptr::null();
    // SAFETY: passed on from the caller; no address is asked for.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buffer, length, flags, none, none) as ssize_t }
}

/// send(2).
///
/// # Safety
/// As for the function of that name.
pub(super) unsafe fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    let none: *const c_void = std::ptr::null();
    // SAFETY: passed on from the caller; no address is given.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buffer, length, flags, none, 0) as ssize_t }
}

/// sendmsg(2).
///
/// # Safety
/// As for the function of that name.
pub(super) unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: passed on from the caller.
    unsafe { libc::syscall(libc::SYS_sendmsg, fd, message, flags) as ssize_t }
}
