//! What the target knows of what it has asked for: the input that is left, the loops, every id it was ever given, and what has
//! become of each operation. Events are checked here: each belongs to an operation that was accepted, and none comes after its last.

use sideloop::error::SL_ERR_INTERNAL;
use sideloop::ffi::buffer::sl_buffer_release;
use sideloop::ffi::events::{Event, SL_EVENT_LENT, SL_EVENT_MORE};
use sideloop::ffi::lifecycle::Counters;
use sideloop::ffi::lifecycle::sl_loop_counters;
use sideloop::ffi::status::{sl_last_error, sl_status_name};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// An operation that was submitted.
pub struct Submitted {
    pub kind: u32,
    pub goes_on: bool,
    pub by_handle: bool,
    pub op: u64,
    pub place: usize,
    pub ended: bool,
}

/// A loop, and how many operations without a name of theirs it has accepted and ended.
#[derive(Default)]
pub struct OneLoop {
    pub id: u64,
    pub closed: bool,
    pub accepted: u64,
    pub ended: u64,
    pub nameless: u64,
}

#[derive(Default)]
pub struct World {
    input: Vec<u8>,
    at: usize,
    pub loops: Vec<OneLoop>,
    pub ids: Vec<u64>,
    pub submitted: HashMap<u64, Submitted>,
    pub next: u64,
    pub outside: Vec<OwnedFd>,
    /// Where somebody listens.
    pub port: u16,
    /// How deep in callbacks this is.
    pub depth: u32,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Looks at the world. Never across a call of the library, which may come back here.
pub fn with<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(look)
}

impl World {
    pub fn new(input: &[u8]) -> Self {
        World { input: input.to_vec(), next: 1, ..World::default() }
    }

    pub fn is_over(&self) -> bool {
        self.at >= self.input.len()
    }

    /// The next byte; 0 beyond the end.
    pub fn byte(&mut self) -> u8 {
        let byte = self.input.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// A loop's id, mostly.
    pub fn any_loop(&mut self) -> u64 {
        let count = self.loops.len();
        let chosen = self.byte();
        match chosen {
            0..=240 if count > 0 => self.loops[usize::from(chosen) % count].id,
            _ => self.any_id(),
        }
    }

    /// An id from before, of any kind and age; sometimes a forged one.
    pub fn any_id(&mut self) -> u64 {
        let chosen = usize::from(self.byte());
        let known = if self.ids.is_empty() { 0 } else { self.ids[self.ids.len() - 1 - chosen % self.ids.len()] };
        match chosen {
            0..=223 => known,
            224..=239 => known ^ 1 << self.below(64),
            240..=247 => self.number(),
            _ => u64::from(self.byte()),
        }
    }

    pub fn place_of(&self, id: u64) -> Option<usize> {
        self.loops.iter().position(|one| one.id == id && !one.closed)
    }

    /// Which loop an id is of, by its bits (docs/ARCHITECTURE.md, "Ids").
    pub fn loop_of(&self, id: u64) -> Option<usize> {
        self.loops.iter().rposition(|one| !one.closed && one.id >> 51 & 0xff == id >> 51 & 0xff)
    }
}

/// Checks a status: negative ones have a name and a sentence, and none says that the library has found itself wrong.
pub fn check(status: i32) -> i32 {
    if status < 0 {
        // SAFETY: both strings are the library's, static or valid until the next failure of this thread.
        let (name, sentence) = unsafe { (CStr::from_ptr(sl_status_name(status)), CStr::from_ptr(sl_last_error())) };
        assert_ne!(name, c"SL_ERR_?", "{status}");
        assert_ne!(status, SL_ERR_INTERNAL, "{sentence:?}");
        assert!(!sentence.is_empty(), "{name:?}");
    }
    status
}

/// Takes note of what was accepted.
pub fn accepted(user_data: u64, submitted: Submitted) {
    with(|world| {
        let one = &mut world.loops[submitted.place];
        one.accepted += 1;
        if submitted.op != 0 {
            world.ids.push(submitted.op);
        }
        if user_data == 0 {
            one.nameless += 1;
        } else {
            assert!(world.submitted.insert(user_data, submitted).is_none());
        }
    });
}

/// Takes note of an event, wherever it came from, and judges it.
pub fn arrived(loop_id: u64, event: &Event) {
    let last = event.flags & SL_EVENT_MORE == 0;
    assert_ne!(event.result, i64::from(SL_ERR_INTERNAL), "kind {}", event.kind);
    let release = with(|world| {
        let place = world.place_of(loop_id).expect("events come from open loops");
        if event.user_data == 0 {
            let one = &mut world.loops[place];
            one.nameless -= u64::from(last);
        } else {
            let submitted = world.submitted.get_mut(&event.user_data).expect("it was submitted");
            assert!(!submitted.ended, "an event after the last one, of kind {}", event.kind);
            assert_eq!(submitted.place, place);
            assert_eq!(submitted.kind, u32::from(event.kind));
            assert!(submitted.op == 0 || submitted.op == event.op);
            assert!(last || submitted.goes_on);
            submitted.ended = last;
        }
        world.loops[place].ended += u64::from(last);
        if event.result > i64::from(u32::MAX) {
            world.ids.push(event.result as u64);
        }
        if event.flags & SL_EVENT_LENT != 0 {
            world.ids.push(event.detail);
        }
        event.flags & SL_EVENT_LENT != 0 && !world.one_in(3)
    });
    if event.flags & SL_EVENT_LENT != 0 {
        assert!(event.result > 0 && !event.data.is_null());
        // SAFETY: the event lends that many bytes until they are released, which is below.
        let bytes = unsafe { std::slice::from_raw_parts(event.data.cast::<u8>(), event.result as usize) };
        std::hint::black_box(bytes.iter().fold(0u8, |sum, byte| sum ^ byte));
    }
    if release {
        assert_eq!(sl_buffer_release(event.detail), 0);
    }
}

/// What a loop says of itself.
pub fn counters(loop_id: u64) -> Counters {
    // SAFETY: all of it are integers.
    let mut counters: Counters = unsafe { std::mem::zeroed() };
    counters.size = size_of::<Counters>() as u32;
    // SAFETY: it is a structure of this size.
    assert_eq!(unsafe { sl_loop_counters(loop_id, &mut counters) }, 0);
    counters
}
