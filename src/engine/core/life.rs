//! The life of the loop's thread: how it begins, how another one goes on for it when its driver is taken away, and how it ends, also
//! when something has gone wrong.

use super::Core;
use crate::driver::{self, Driver, DriverChoice};
use crate::engine::{Engine, OpSlot};
use crate::error::{self, Error, Result};
use crate::lock::HandOver;
use crate::op::Outcome;
use crate::sys;
use crate::table::Entry;
use crate::thread_mark;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A loop that somebody else's thread carries on.
pub(in crate::engine) struct Stepping(Box<Core>);

impl Stepping {
    pub(in crate::engine) fn new(engine: Arc<Engine>, driver: Box<dyn Driver>) -> Self {
        Stepping(Box::new(Core::new(engine, driver, 0)))
    }

    /// Has the loop make one turn on this thread; None where it was the last.
    pub(in crate::engine) fn step(mut self) -> Option<Self> {
        let core = &mut self.0;
        let turned = catch_unwind(AssertUnwindSafe(|| core.turn().map(|()| core.is_done())));
        match turned {
            Ok(Ok(false)) => return Some(self),
            Ok(Ok(true)) => end(*self.0),
            _ => end_failed(*self.0),
        }
        None
    }

    /// Has the loop go on by itself, on this thread.
    pub(in crate::engine) fn run(self) {
        thread_mark::set(self.0.engine.id());
        live(*self.0);
    }
}

/// The life of the loop's thread.
pub(in crate::engine) fn run(engine: Arc<Engine>, driver: Box<dyn Driver>, spin_ns: u64) {
    thread_mark::set(engine.id());
    live(Core::new(engine, driver, spin_ns));
}

fn live(mut core: Core) {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        while !core.is_done() {
            core.turn()?;
        }
        Ok::<(), Error>(())
    }));
    match lived {
        Ok(Ok(())) => end(core),
        Ok(Err(error)) if core.driver.is_replaceable() => succeed(core, error),
        _ => end_failed(core),
    }
}

fn end_failed(mut core: Core) {
    core.fail();
    end(core);
}

/// The last that is heard of a loop's thread comes when everything that was its own is gone.
fn end(core: Core) {
    let engine = core.engine.clone();
    drop(core);
    engine.queue.finish();
}

/// Has another thread go on, with another driver, when this one has ended.
fn succeed(core: Core, reason: Error) {
    let engine = core.engine.clone();
    let given = Arc::new(HandOver::<(Core, Option<JoinHandle<()>>)>::new());
    let receive = given.clone();
    let mut thread = engine.thread.lock();
    let spawned = sys::spawn_thread("sideloop", move || {
        let (mut core, predecessor) = receive.wait();
        if let Some(predecessor) = predecessor {
            let _ = predecessor.join();
        }
        thread_mark::set(core.engine.id());
        match catch_unwind(AssertUnwindSafe(|| core.replace_driver(&reason))) {
            Ok(Ok(())) => live(core),
            _ => end_failed(core),
        }
    });
    match spawned {
        Ok(successor) => {
            given.give((core, thread.replace(successor)));
        }
        Err(_) => {
            drop(thread);
            end_failed(core);
        }
    }
}

impl Core {
    /// Has another driver take over from one that failed.
    fn replace_driver(&mut self, reason: &Error) -> Result<()> {
        let driver = std::mem::replace(&mut self.driver, Box::new(driver::Gone));
        let (driver, completed) = driver.replace()?;
        self.driver = driver;
        *self.engine.driver.lock() = (DriverChoice::Poll, format!("poll, because {}", reason.detail));
        for completion in completed.into_iter().chain(std::mem::take(&mut self.completed)) {
            self.complete(completion);
        }
        Ok(())
    }

    /// The driver failed, or this thread panicked: every operation ends with an error, when nothing touches its memory any more.
    fn fail(&mut self) {
        *self.engine.gate.write() = true;
        {
            let mut inbox = self.engine.inbox.lock();
            (inbox.shut, inbox.failed) = (true, true);
            inbox.commands.clear();
            super::take_ended(&mut inbox, &mut self.own);
        }
        // Workers end with the driver; what a kernel still had in hand it gives back.
        self.driver = Box::new(driver::Gone);
        // What had completed and comes too late: opened things close and lent memory is back before anybody hears of an end.
        self.completed.clear();
        self.held.clear();
        for index in 0..self.engine.ops.made() {
            let live = self.engine.ops.at(index).is_some_and(|slot: Entry<'_, OpSlot>| slot.is_live());
            if live {
                self.post_last(index, Outcome::failed(Error::new(error::SL_ERR_INTERNAL)));
            }
        }
        for index in 0..self.engine.resources.made() {
            self.lanes.forget(index);
            self.engine.resources.release(index);
        }
        self.deliver();
    }
}
