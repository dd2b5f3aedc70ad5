//! Time: the monotonic clock, as nanoseconds since the first look at it; or, for a simulated loop, a time of its own that only
//! moves when it is moved. Any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Where a simulated time begins.
const BEGINNING: u64 = 1_000_000_000;

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

/// The clock of one loop.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<Simulated>>);

struct Simulated {
    now: AtomicU64,
    /// Nobody waits for longer than this.
    limit: AtomicU64,
}

impl Clock {
    /// A time that begins now and stands still.
    pub(crate) fn simulated() -> Self {
        let limit = AtomicU64::new(u64::MAX);
        Clock(Some(Arc::new(Simulated { now: AtomicU64::new(BEGINNING), limit })))
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.as_ref().map_or_else(now, |simulated| simulated.now.load(Ordering::Acquire))
    }

    pub(crate) fn after(&self, delay_ns: u64) -> u64 {
        self.now().saturating_add(delay_ns)
    }

    /// Moves a simulated time on.
    pub(crate) fn advance(&self, to: u64) {
        if let Some(simulated) = &self.0 {
            simulated.now.fetch_max(to, Ordering::AcqRel);
        }
    }

    /// Says until when somebody waits, beyond which a simulated time is not to move.
    pub(crate) fn set_limit(&self, limit: u64) {
        if let Some(simulated) = &self.0 {
            simulated.limit.store(limit, Ordering::Release);
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.0.as_ref().map_or(u64::MAX, |simulated| simulated.limit.load(Ordering::Acquire))
    }
}
