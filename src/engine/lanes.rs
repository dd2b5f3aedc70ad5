//! What the loop's thread alone knows of each operation and resource: who stands in which lane, who is under way, who was asked
//! to stop. Plain vectors by index; no locks.

use crate::driver::{self, Key};
use crate::error::{self, Result};
use crate::op::{Lane, Place, Traits};
use crate::sys::Handle;
use std::sync::Arc;

/// No operation.
pub(super) const NONE: u32 = u32::MAX;

/// Where an operation is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Not here: not begun, or ended.
    #[default]
    Absent,
    /// Behind another one of its lane.
    Queued,
    /// About to go on, in this turn.
    Ready,
    /// Its primitive is with the driver.
    Running,
    /// It waits for an instant.
    Sleeping,
    /// It waits for room among the events.
    Paused,
    /// It waits for a lent buffer.
    Starved,
    /// It ends by itself, whatever is asked of it: it closes a resource, or cannot leave what it does half done.
    Committed,
}

/// An operation under way.
#[derive(Clone, Copy)]
pub(super) struct Active {
    pub(super) state: State,
    /// It may post only as many events flagged MORE as there is room for.
    pub(super) bounded: bool,
    /// Its primitive was asked to end because there is no room.
    pub(super) pausing: bool,
    pub(super) traits: Traits,
    /// Completions of it are held back.
    pub(super) holding: bool,
    /// Why it is to end, where it was asked to stop.
    pub(super) stop: Option<Stop>,
    /// The instant it sleeps for, and that of its deadline; 0: none.
    pub(super) wake_at: u64,
    pub(super) deadline: u64,
    /// The resource slot that is set aside for what it opens, or NONE.
    pub(super) reserved: u32,
    pub(super) resource: u32,
    previous: u32,
    next: u32,
}

impl Default for Active {
    fn default() -> Self {
        Active {
            state: State::Absent,
            bounded: false,
            pausing: false,
            holding: false,
            traits: Traits::default(),
            stop: None,
            wake_at: 0,
            deadline: 0,
            reserved: NONE,
            resource: NONE,
            previous: NONE,
            next: NONE,
        }
    }
}

/// Why an operation ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled,
    TimedOut,
    /// Its resource is closed, or the loop shuts down: what there is no room for is nobody's any more.
    Closed,
}

impl Stop {
    /// The status that it ends with.
    pub(super) fn status(self) -> i32 {
        match self {
            Stop::Cancelled | Stop::Closed => error::SL_ERR_CANCELLED,
            Stop::TimedOut => error::SL_ERR_TIMED_OUT,
        }
    }
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

/// A resource with operations, or on its way to be closed.
pub(super) struct Known {
    /// Its id; 0: none is known at this index.
    pub(super) id: u64,
    pub(super) place: Place,
    lanes: [List; 3],
    pub(super) in_flight: u32,
    pub(super) closing: bool,
    /// The operation that closes it.
    pub(super) closed_by: u32,
}

impl Known {
    pub(super) fn new(id: u64, place: Place) -> Self {
        let empty = List { head: NONE, tail: NONE };
        Known { id, place, lanes: [empty; 3], in_flight: 0, closing: false, closed_by: NONE }
    }

    /// Gives up the handle, and the driver's key.
    pub(super) fn into_parts(self) -> (Option<Arc<Handle>>, Option<Key>) {
        match self.place {
            Place::Loop => (None, None),
            Place::File(handle) => (Some(handle), None),
            Place::Socket(socket) => (Some(socket.handle), Some(socket.key)),
        }
    }
}

/// All operations and resources that the loop's thread has to do with.
#[derive(Default)]
pub(super) struct Lanes {
    active: Vec<Active>,
    known: Vec<Option<Known>>,
}

impl Lanes {
    /// Makes room for an operation.
    pub(super) fn reserve(&mut self, index: u32) -> Result<()> {
        driver::reach(&mut self.active, index)
    }

    pub(super) fn op(&mut self, index: u32) -> &mut Active {
        &mut self.active[index as usize]
    }

    /// Whether there is such an operation at all.
    pub(super) fn has(&self, index: u32) -> bool {
        self.active.get(index as usize).is_some_and(|op| op.state != State::Absent)
    }

    pub(super) fn known(&mut self, index: u32) -> Option<&mut Known> {
        self.known.get_mut(index as usize)?.as_mut()
    }

    /// Makes room for a resource.
    pub(super) fn reserve_resource(&mut self, index: u32) -> Result<()> {
        driver::reach(&mut self.known, index)
    }

    pub(super) fn learn(&mut self, index: u32, known: Known) {
        self.known[index as usize] = Some(known);
    }

    pub(super) fn forget(&mut self, index: u32) -> Option<Known> {
        self.known.get_mut(index as usize)?.take()
    }

    /// Puts an operation at the end of a lane of its resource, and answers whether it may begin.
    pub(super) fn enter(&mut self, index: u32, resource: u32) -> bool {
        let lane = self.op(index).traits.lane;
        let Some(known) = self.known(resource) else { return false };
        known.in_flight += 1;
        let list = &mut known.lanes[lane as usize];
        let previous = std::mem::replace(&mut list.tail, index);
        if previous == NONE {
            list.head = index;
        } else {
            self.op(previous).next = index;
        }
        let op = self.op(index);
        (op.resource, op.previous, op.next) = (resource, previous, NONE);
        lane == Lane::Free || previous == NONE
    }

    /// Takes an operation out of its lane, and answers the one that may begin now.
    pub(super) fn leave(&mut self, index: u32) -> Option<u32> {
        let Active { resource, traits: Traits { lane, .. }, previous, next, .. } = *self.op(index);
        let known = self.known(resource)?;
        known.in_flight -= 1;
        let list = &mut known.lanes[lane as usize];
        if previous == NONE {
            list.head = next;
        }
        if next == NONE {
            list.tail = previous;
        }
        if previous != NONE {
            self.op(previous).next = next;
        }
        if next != NONE {
            self.op(next).previous = previous;
        }
        let begins = previous == NONE && next != NONE && lane != Lane::Free;
        begins.then_some(next)
    }

    /// The operations of a resource, those first that came last: so none begins because the one before it is stopped.
    pub(super) fn of_resource(&mut self, resource: u32) -> Vec<u32> {
        let Some(known) = self.known(resource) else { return Vec::new() };
        let mut all = Vec::with_capacity(known.in_flight as usize);
        for list in known.lanes {
            let mut index = list.tail;
            while index != NONE {
                all.push(index);
                index = self.op(index).previous;
            }
        }
        all
    }
}
