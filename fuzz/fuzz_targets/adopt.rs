//! Descriptors of the target's own, to give to loops: what is refused stays its own, and is closed here.

use crate::world::{check, with};
use sideloop::ffi::file::sl_file_adopt;
use sideloop::ffi::tcp::{sl_listener_adopt, sl_stream_adopt};
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Gives something to a loop as one thing or another.
pub fn adopt(loop_id: u64, what: usize, to: usize, id: &mut u64) {
    let made: Option<OwnedFd> = match what {
        3..=5 => UnixStream::pair().ok().map(|(here, there)| {
            with(|world| world.outside.push(there.into()));
            here.into()
        }),
        6 => TcpListener::bind("127.0.0.1:0").ok().map(OwnedFd::from),
        _ if to > 4 => None,
        _ => File::open("/dev/null").ok().map(OwnedFd::from),
    };
    let descriptor = made.as_ref().map_or(-1 - to as isize, |made| made.as_raw_fd() as isize);
    // What a read of could block for good is not for sl_file_adopt.
    let as_file = matches!(what, 7) && to != 1;
    // SAFETY: the id is the caller's variable.
    let status = check(unsafe {
        match (as_file, to) {
            (true, _) => sl_file_adopt(loop_id, descriptor, id),
            (false, 0) => sl_listener_adopt(loop_id, descriptor, id),
            (false, _) => sl_stream_adopt(loop_id, descriptor, id),
        }
    });
    if status >= 0 {
        // The loop's now.
        let _ = made.expect("nothing else is adopted").into_raw_fd();
    }
}
