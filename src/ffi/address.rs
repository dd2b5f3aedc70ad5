//! Addresses
//!
//! An IP address and a port, as numbers. Names are not looked up here.

use super::status::Status;
use super::{guard, not_null, read_string, write_string};
use crate::error::{Error, Result};
use std::ffi::c_char;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// IPv4.
pub const SL_IPV4: u32 = 4;
/// IPv6.
pub const SL_IPV6: u32 = 6;

/// An address. Make one with sl_address_parse, or fill it in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Address {
    /// SL_IPV4 or SL_IPV6.
    pub family: u32,
    /// The port, in the machine's own byte order.
    pub port: u16,
    /// Must be 0.
    pub reserved: u16,
    /// IPv6: the scope id (the number of an interface), for link-local addresses; else 0.
    pub scope: u32,
    /// The address, first byte first: 4 bytes for IPv4 (the others 0), 16 for IPv6.
    pub bytes: [u8; 16],
}

/// Reads an address with a port from text: `127.0.0.1:80` or `[::1]:80` (`[fe80::1%2]:80` with a scope).
///
/// Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID.
///
/// # Safety
/// `text` is a string; `address` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_address_parse(text: *const c_char, address: *mut Address) -> Status {
    guard(|| {
        not_null(address, "address")?;
        // SAFETY: the caller vouches for `text`.
        let text = unsafe { read_string(text, "text") }?;
        let parsed: SocketAddr = text
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::invalid(format!("text {text:?} is not like 127.0.0.1:80 or [::1]:80")))?;
        // SAFETY: not NULL, and the caller vouches for it.
        unsafe { address.write_unaligned(to_abi(parsed)) };
        Ok(0)
    })
}

/// Writes an address as text, in the form that sl_address_parse reads, into `text` (at most `capacity` bytes with the NUL at
/// the end, cut where it does not fit; 64 are always enough).
///
/// Returns the length of the whole text without the NUL. Any thread. Errors: SL_ERR_NULL, SL_ERR_INVALID.
///
/// # Safety
/// `address` is NULL or valid; `text` points to `capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sl_address_format(address: *const Address, text: *mut c_char, capacity: usize) -> Status {
    guard(|| {
        // SAFETY: the caller vouches for both.
        unsafe { write_string(&read(address)?.to_string(), text, capacity) }
    })
}

/// Reads a caller's address.
///
/// # Safety
/// `address` is NULL or valid.
pub(super) unsafe fn read(address: *const Address) -> Result<SocketAddr> {
    not_null(address, "address")?;
    // SAFETY: not NULL, and the caller vouches for it.
    let address = unsafe { address.read_unaligned() };
    if address.reserved != 0 {
        return Err(Error::invalid("address: reserved is not 0"));
    }
    match address.family {
        SL_IPV4 => {
            let [a, b, c, d, ..] = address.bytes;
            Ok(SocketAddr::V4(SocketAddrV4::new([a, b, c, d].into(), address.port)))
        }
        SL_IPV6 => Ok(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(address.bytes), address.port, 0, address.scope))),
        family => Err(Error::invalid(format!("address: family is {family}, neither SL_IPV4 nor SL_IPV6"))),
    }
}

/// Writes an address for a caller.
pub(super) fn to_abi(address: SocketAddr) -> Address {
    let mut bytes = [0; 16];
    let (family, scope) = match address {
        SocketAddr::V4(v4) => {
            bytes[..4].copy_from_slice(&v4.ip().octets());
            (SL_IPV4, 0)
        }
        SocketAddr::V6(v6) => {
            bytes = v6.ip().octets();
            (SL_IPV6, v6.scope_id())
        }
    };
    Address { family, port: address.port(), reserved: 0, scope, bytes }
}
