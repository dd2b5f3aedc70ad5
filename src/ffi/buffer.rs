//! Lent buffers
//!
//! Memory of the library that an event carries to you (SL_EVENT_LENT). It holds no bytes of anybody else.

use super::guard;
use super::status::Status;
use crate::engine::registry;

/// The id of a lent buffer.
pub type Buffer = u64;

/// Returns a lent buffer. Its bytes must not be touched any more.
///
/// Any thread. Errors: SL_ERR_STALE (returned already), and the others of the id.
#[unsafe(no_mangle)]
pub extern "C" fn sl_buffer_release(buffer: Buffer) -> Status {
    guard(|| {
        registry::find(buffer)?.release_buffer(buffer)?;
        Ok(0)
    })
}
