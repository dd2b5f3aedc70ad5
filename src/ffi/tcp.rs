//! Listeners and streams
//!
//! A stream is a connection: TCP over IPv4 or IPv6, or (on Unix) any stream socket or pipe that you adopt. Receives complete in
//! the order submitted, and so do sends; the two directions are independent. One that fails or is cancelled does not stop those
//! behind it: what the other side receives are the bytes that each send's event says were taken, one send after the other.
//! Neither side ever raises SIGPIPE.

use super::address::{self, Address};
use super::events::Op as OpId;
use super::file::{Slice, check_exact, read_data, read_slices, read_target};
use super::lifecycle::{Descriptor, Loop};
use super::request::*;
use super::status::Status;
use super::{Versioned, guard, not_null, read_optional};
use crate::engine::registry;
use crate::error::{Error, Result};
use crate::op::Op;
use crate::op::tcp::TcpOp;
use crate::sys::{self, ListenOptions as SysListenOptions, SocketOption, Target};
use std::ffi::c_void;

/// The id of a listening socket.
pub type Listener = u64;

/// The id of a stream.
pub type Stream = u64;

/// Several sockets may listen at the address, and share its connections (SO_REUSEPORT). Not on Windows.
pub const SL_LISTEN_REUSE_PORT: u32 = 1;
/// An IPv6 listener takes IPv6 connections only, not also IPv4 ones.
pub const SL_LISTEN_IPV6_ONLY: u32 = 2;

/// How to listen. Set `size` to sizeof(sl_listen_options); leave what you do not care about 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListenOptions {
    /// sizeof(sl_listen_options).
    pub size: u32,
    /// SL_LISTEN_... bits.
    pub flags: u32,
    /// How many connections the system may hold that are not accepted yet; 0 means 1024.
    pub backlog: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), starts with its size, integers only.
unsafe impl Versioned for ListenOptions {
    const SIZES: &'static [u32] = &[size_of::<Self>() as u32];
}

/// 1: small pieces leave at once (TCP_NODELAY); 0: they may wait to be joined. New streams have 1.
pub const SL_STREAM_NO_DELAY: u32 = 1;
/// 1: ask a silent peer now and then whether it lives (SO_KEEPALIVE).
pub const SL_STREAM_KEEP_ALIVE: u32 = 2;
/// Bytes of the system's receive buffer (SO_RCVBUF). Linux doubles what it is told.
pub const SL_STREAM_RECEIVE_BUFFER: u32 = 3;
/// Bytes of the system's send buffer (SO_SNDBUF). Linux doubles what it is told.
pub const SL_STREAM_SEND_BUFFER: u32 = 4;
/// What closing does with bytes not yet sent (SO_LINGER): -1: sends them behind your back (the default); 0: throws them away
/// and resets the connection.
pub const SL_STREAM_LINGER: u32 = 5;

/// Listens for TCP connections at an address, with SO_REUSEADDR (on Windows: exclusively). Port 0 lets the system choose one:
/// see sl_local_address.
///
/// options: NULL for the defaults. listener: receives the id. Then sl_tcp_accept.
///
/// Any thread; does not block. Errors: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_ADDRESS_IN_USE, SL_ERR_ADDRESS_UNAVAILABLE,
/// SL_ERR_PERMISSION, SL_ERR_AGAIN (max_resources), SL_ERR_TOO_MANY_FILES, those of the id.
///
/// # Safety
/// `address` and `options` are NULL or valid; `listener` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_tcp_listen(
    r#loop: Loop,
    address: *const Address,
    options: *const ListenOptions,
    listener: *mut Listener,
) -> Status {
    guard(|| {
        let engine = registry::find_loop(r#loop)?;
        not_null(listener, "listener")?;
        // SAFETY: the caller vouches for `address`.
        let address = unsafe { address::read(address) }?;
        let default = ListenOptions { size: 0, flags: 0, backlog: 0, reserved: 0 };
        // SAFETY: the caller vouches for `options`.
        let options = unsafe { read_optional(options, "options", default) }?;
        check_flags(options.flags, SL_LISTEN_REUSE_PORT | SL_LISTEN_IPV6_ONLY)?;
        if options.backlog > i32::MAX as u32 || options.reserved != 0 {
            return Err(Error::invalid("options: backlog is more than INT32_MAX, or reserved is not 0"));
        }
        let how = SysListenOptions {
            reuse_port: options.flags & SL_LISTEN_REUSE_PORT != 0,
            ipv6_only: options.flags & SL_LISTEN_IPV6_ONLY != 0,
            backlog: if options.backlog == 0 { 1024 } else { options.backlog as i32 },
        };
        let id = engine.adopt(|| sys::listen(address, &how))?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { listener.write_unaligned(id) };
        Ok(0)
    })
}

/// Accepts a connection. The event's result is the sl_stream.
///
/// flags: SL_MULTISHOT accepts one after the other, each with an event flagged SL_EVENT_MORE; it pauses while the loop's
/// max_unclaimed events wait for you, and while the process is out of descriptors.
///
/// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of accept(2).
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_tcp_accept(
    listener: Listener,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request { flags, ..Request::new(SL_TCP_ACCEPT, listener) }, options, op) }
}

/// Connects to an address by TCP. The event's result is the sl_stream.
///
/// address: copied. Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of submission. Ends with the errors of
/// connect(2), like SL_ERR_CONNECTION_REFUSED; give a timeout_ns, for the system's own may be minutes.
///
/// # Safety
/// `address` and `options` are NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_tcp_connect(
    r#loop: Loop,
    address: *const Address,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer: address.cast_mut().cast(), ..Request::new(SL_TCP_CONNECT, r#loop) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Receives from a stream. The event's result is how many bytes: 0 where the other side has ended its sending.
///
/// buffer: `length` bytes of yours, lent to the operation until its last event; or NULL for a lent buffer of up to `length`
/// bytes, where 0 means the loop's receive_buffer_size. flags: SL_EXACT (buffer must not be NULL) goes on until `length` bytes or
/// the end (fewer then means the end). SL_MULTISHOT (buffer must be NULL) posts each piece as it comes, flagged
/// SL_EVENT_MORE, until the last event with 0 or an error; it pauses while the loop's lent memory or max_unclaimed is used up.
///
/// Any thread. Refused with: SL_ERR_INVALID, those of the id and of submission. Ends with the errors of recv(2). An operation
/// cancelled part-way with SL_EXACT reports what it had received with SL_EVENT_PARTIAL.
///
/// # Safety
/// `buffer` is NULL or `length` writable bytes until the last event; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_receive(
    stream: Stream,
    buffer: *mut c_void,
    length: usize,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let request = Request { buffer, length: length as u64, flags, ..Request::new(SL_STREAM_RECEIVE, stream) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Sends all `length` bytes. The event's result is `length`; or an error, with SL_EVENT_PARTIAL and the number of bytes that the
/// system had taken before it in `detail` where there were any.
///
/// data: lent to the operation until its last event. flags: 0.
///
/// Any thread. Refused with: SL_ERR_NULL, SL_ERR_INVALID, those of the id and of submission. Ends with the errors of send(2).
///
/// # Safety
/// `data` is `length` readable bytes until the last event; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_send(
    stream: Stream,
    data: *const c_void,
    length: usize,
    flags: u32,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = data.cast_mut();
    let request = Request { buffer, length: length as u64, flags, ..Request::new(SL_STREAM_SEND, stream) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Sends `count` pieces of memory, one after the other (at most 1024); otherwise like sl_stream_send.
///
/// slices: the array is copied; the memory it names is lent to the operation until its last event.
///
/// # Safety
/// `slices` holds `count` elements that name readable memory; `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_sendv(
    stream: Stream,
    slices: *const Slice,
    count: usize,
    options: *const Options,
    op: *mut OpId,
) -> Status {
    let buffer = slices.cast_mut().cast();
    let request = Request { buffer, length: count as u64, ..Request::new(SL_STREAM_SENDV, stream) };
    // SAFETY: passed on from the caller.
    unsafe { submit_one(request, options, op) }
}

/// Ends this side's sending, after the sends submitted before it: the other side then receives 0. Receiving goes on. The event's
/// result is 0. Not for pipes: close them instead.
///
/// Any thread. Refused with: those of the id and of submission. Ends with SL_ERR_NOT_CONNECTED, SL_ERR_UNSUPPORTED (a pipe).
///
/// # Safety
/// `options` is NULL or valid; `op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_shutdown(stream: Stream, options: *const Options, op: *mut OpId) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { submit_one(Request::new(SL_STREAM_SHUTDOWN, stream), options, op) }
}

/// Sets an option of a stream: SL_STREAM_....
///
/// Any thread; at once. Errors: SL_ERR_INVALID (which option, which value), SL_ERR_UNSUPPORTED (a pipe), those of the id and of
/// setsockopt(2).
#[unsafe(no_mangle)]
pub extern "C" fn sl_stream_set(stream: Stream, option: u32, value: i64) -> Status {
    guard(|| {
        let option = SocketOption::from_number(option)?;
        registry::find(stream)?.with_stream(stream, |handle| handle.set_option(option, value))?;
        Ok(0)
    })
}

/// Reads an option of a stream: SL_STREAM_....
///
/// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_INVALID, SL_ERR_UNSUPPORTED (a pipe), those of the id and of getsockopt(2).
///
/// # Safety
/// `value` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_get(stream: Stream, option: u32, value: *mut i64) -> Status {
    guard(|| {
        not_null(value, "value")?;
        let option = SocketOption::from_number(option)?;
        let got = registry::find(stream)?.with_stream(stream, |handle| handle.get_option(option))?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { value.write_unaligned(got) };
        Ok(0)
    })
}

/// Says the address of this side of a stream, or the address that a listener listens at (with the port that the system chose).
///
/// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_UNSUPPORTED (not an IP socket), those of the id.
///
/// # Safety
/// `address` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_local_address(stream_or_listener: u64, address: *mut Address) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { address_of(stream_or_listener, address, sys::Handle::local_address) }
}

/// Says the address of the other side of a stream.
///
/// Any thread; at once. Errors: SL_ERR_NULL, SL_ERR_NOT_CONNECTED, SL_ERR_UNSUPPORTED (not an IP socket), those of the id.
///
/// # Safety
/// `address` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_peer_address(stream: Stream, address: *mut Address) -> Status {
    // SAFETY: passed on from the caller.
    unsafe { address_of(stream, address, sys::Handle::peer_address) }
}

/// Gives a connected stream socket of yours (on Unix also one end of a pipe) to a loop, which from then on makes it block or not
/// as it needs, and closes it.
///
/// Any thread. Errors: SL_ERR_NULL, SL_ERR_BAD_DESCRIPTOR (the descriptor stays yours, as after every error), SL_ERR_UNSUPPORTED
/// (neither a socket nor a pipe), SL_ERR_AGAIN, those of the id.
///
/// # Safety
/// `descriptor` is yours to give away; `stream` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_stream_adopt(r#loop: Loop, descriptor: Descriptor, stream: *mut Stream) -> Status {
    guard(|| {
        let engine = registry::find_loop(r#loop)?;
        not_null(stream, "stream")?;
        sys::check_stream_descriptor(descriptor)?;
        // SAFETY: it is open, and the caller gives it away; `adopt` gives it back where it fails.
        let id = engine.adopt(|| unsafe { sys::adopt_stream(descriptor) })?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { stream.write_unaligned(id) };
        Ok(0)
    })
}

/// Gives a listening stream socket of yours to a loop, which from then on makes it block or not as it needs, and closes it.
///
/// Any thread. Errors: as for sl_stream_adopt.
///
/// # Safety
/// `descriptor` is yours to give away; `listener` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_listener_adopt(r#loop: Loop, descriptor: Descriptor, listener: *mut Listener) -> Status {
    guard(|| {
        let engine = registry::find_loop(r#loop)?;
        not_null(listener, "listener")?;
        sys::check_listener_descriptor(descriptor)?;
        // SAFETY: it is open, and the caller gives it away; `adopt` gives it back where it fails.
        let id = engine.adopt(|| unsafe { sys::adopt_listener(descriptor) })?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { listener.write_unaligned(id) };
        Ok(0)
    })
}

/// Makes the operation that a request of this chapter describes.
///
/// # Safety
/// What the request points to is valid as its function says.
pub(super) unsafe fn decode(request: &Request) -> Result<Op> {
    let flags = request.flags;
    // SAFETY (of all below): the caller vouches for the memory that the request names.
    let op = match request.kind {
        SL_TCP_ACCEPT => {
            check_flags(flags, SL_MULTISHOT)?;
            TcpOp::accept(flags & SL_MULTISHOT != 0)
        }
        SL_TCP_CONNECT => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            TcpOp::connect(unsafe { address::read(request.buffer.cast()) }?)
        }
        SL_STREAM_RECEIVE => {
            check_flags(flags, SL_EXACT | SL_MULTISHOT)?;
            let (exact, multishot) = (flags & SL_EXACT != 0, flags & SL_MULTISHOT != 0);
            if multishot && (exact || !request.buffer.is_null()) {
                return Err(Error::invalid(
                    "SL_MULTISHOT goes with lent buffers only (buffer NULL), and not with SL_EXACT",
                ));
            }
            // SAFETY: see above.
            let into = unsafe { receive_target(request) }?;
            check_exact(exact, &into)?;
            TcpOp::receive(into, exact, multishot)
        }
        SL_STREAM_SEND => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            TcpOp::send(unsafe { read_data(request.buffer, request.length, "data") }?)
        }
        SL_STREAM_SENDV => {
            check_flags(flags, 0)?;
            // SAFETY: see above.
            TcpOp::send(unsafe { read_slices(request.buffer.cast(), request.length) }?)
        }
        _ => {
            check_flags(flags, 0)?;
            TcpOp::shutdown()
        }
    };
    Ok(Op::Tcp(op))
}

/// # Safety
/// As for `sl_stream_receive`.
unsafe fn receive_target(request: &Request) -> Result<Target> {
    if request.buffer.is_null() && request.length == 0 {
        return Ok(Target::Lend(0));
    }
    // SAFETY: passed on from the caller.
    unsafe { read_target(request.buffer, request.length) }
}

/// # Safety
/// `address` is NULL or writable.
unsafe fn address_of(
    id: u64,
    address: *mut Address,
    which: impl FnOnce(&sys::Handle) -> Result<std::net::SocketAddr>,
) -> Status {
    guard(|| {
        not_null(address, "address")?;
        let got = registry::find(id)?.with_socket(id, which)?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { address.write_unaligned(address::to_abi(got)) };
        Ok(0)
    })
}
