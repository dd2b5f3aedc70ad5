//! The monotonic clock, as nanoseconds since the first look at it. Any thread.

use std::sync::OnceLock;
use std::time::Instant;

/// Now; never 0.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_nanos();
    u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
}

/// The instant `delay_ns` from now.
pub(crate) fn after(delay_ns: u64) -> u64 {
    now().saturating_add(delay_ns)
}
