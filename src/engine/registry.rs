//! The open loops of the process, by number. Any thread.
//!
//! An id carries its loop's number here. A forked child gets a registry of its own, because in the parent's a lock may be held
//! by a thread that the child does not have; the parent's is then only asked, without any lock, whether it knew a number.

use super::{Engine, Settings};
use crate::error::{self, Error, Result};
use crate::lock::RwLock;
use crate::sys;
use crate::table::{Id, Kind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// As many as the field for the loop in an id can tell apart.
const LOOPS: usize = 256;

struct Slot {
    live: AtomicBool,
    engine: RwLock<Option<Arc<Engine>>>,
}

/// The loops of one process in a line of forks.
struct Registry {
    fork: OnceLock<u64>,
    slots: [Slot; LOOPS],
    /// Counts the loops that were opened: each has another generation, and tries another slot first.
    opened: AtomicU32,
    /// The registry of the next process in the line.
    child: OnceLock<Box<Registry>>,
}

static FIRST: Registry = Registry::new();

impl Registry {
    const fn new() -> Self {
        Registry {
            fork: OnceLock::new(),
            slots: [const { Slot { live: AtomicBool::new(false), engine: RwLock::new(None) } }; LOOPS],
            opened: AtomicU32::new(0),
            child: OnceLock::new(),
        }
    }

    /// The registry of this process.
    fn current() -> &'static Registry {
        let fork = sys::fork_generation();
        let mut registry = &FIRST;
        while *registry.fork.get_or_init(|| fork) != fork {
            registry = registry.child.get_or_init(|| Box::new(Registry::new()));
        }
        registry
    }

    /// Whether a process that this one was forked from has a loop with this number.
    fn is_inherited(slot: usize) -> bool {
        let fork = sys::fork_generation();
        let mut registry = Some(&FIRST);
        while let Some(older) = registry.filter(|older| older.fork.get().is_some_and(|own| *own != fork)) {
            if older.slots[slot].live.load(Ordering::Relaxed) {
                return true;
            }
            registry = older.child.get().map(|child| &**child);
        }
        false
    }
}

/// Opens a loop.
pub(crate) fn open(settings: Settings) -> Result<u64> {
    let registry = Registry::current();
    let number = registry.opened.fetch_add(1, Ordering::Relaxed);
    for step in 0..LOOPS as u32 {
        let slot = (number.wrapping_add(step)) as usize % LOOPS;
        // The child keeps clear of its parent's numbers, so that the parent's ids stay recognisable.
        if Registry::is_inherited(slot) {
            continue;
        }
        let place = &registry.slots[slot];
        if place.live.swap(true, Ordering::AcqRel) {
            continue;
        }
        let id = Id { kind: Kind::Loop, slot: slot as u8, generation: number & 0x1fff_ffff, index: 0 };
        return match Engine::start(id, settings) {
            Ok(engine) => {
                *place.engine.write() = Some(engine);
                Ok(id.to_bits())
            }
            Err(error) => {
                place.live.store(false, Ordering::Release);
                Err(error)
            }
        };
    }
    Err(Error::with(error::SL_ERR_AGAIN, format!("{LOOPS} loops are open")))
}

/// The loop that an id of any kind belongs to.
pub(crate) fn find(id: u64) -> Result<Arc<Engine>> {
    let id = Id::from_bits(id)?;
    let slot = id.slot as usize;
    if let Some(engine) = &*Registry::current().slots[slot].engine.read() {
        return Ok(engine.clone());
    }
    Err(if Registry::is_inherited(slot) {
        Error::new(error::SL_ERR_FORKED)
    } else {
        Error::with(error::SL_ERR_STALE, "its loop is closed")
    })
}

/// The loop that a loop's id names.
pub(crate) fn find_loop(id: u64) -> Result<Arc<Engine>> {
    let parts = Id::from_bits(id)?;
    if parts.kind != Kind::Loop {
        return Err(Error::with(error::SL_ERR_WRONG_KIND, format!("loop: the id is of kind {:?}", parts.kind)));
    }
    let engine = find(id)?;
    if engine.id() != id {
        return Err(Error::with(error::SL_ERR_STALE, "the loop is closed"));
    }
    Ok(engine)
}

/// Refuses an id that does not carry the number of a loop.
pub(crate) fn check_same_loop(r#loop: u64, id: u64) -> Result<()> {
    if Id::from_bits(r#loop)?.slot == Id::from_bits(id)?.slot {
        return Ok(());
    }
    // Says so where that loop is closed, or the parent's of a forked process.
    find(id)?;
    Err(Error::with(error::SL_ERR_WRONG_KIND, "requests: a target belongs to another loop"))
}

/// Closes a loop; see `sl_loop_close`.
pub(crate) fn close(id: u64, timeout_ns: u64) -> Result<u64> {
    let engine = find_loop(id)?;
    let discarded = engine.close(timeout_ns)?;
    let slot = &Registry::current().slots[engine.slot() as usize];
    *slot.engine.write() = None;
    slot.live.store(false, Ordering::Release);
    Ok(discarded)
}
