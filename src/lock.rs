//! Locks, conditions and reader-writer locks: std's, without its poisoning, which has nothing to say here: a panic inside the
//! library is caught, and fails the loop as a whole. And the flags by which threads hand over to each other, so that all of that
//! can be had from loom instead, which runs every order in which threads can meet (`engine/models.rs`). Any thread.
//!
//! Not parking_lot's: that keeps the threads that wait in one table of the process, whose entries lie on their stacks. A forked
//! child inherits the table without the threads, and its own waits then walk over memory that is something else by now. std's
//! are futexes, each on its own.

#[cfg(all(test, loom))]
use loom::sync;
#[cfg(not(all(test, loom)))]
use std::sync;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

pub(crate) use sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like `lock`, where that need not wait.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn new(value: T) -> Self {
        RwLock(sync::RwLock::new(value))
    }

    /// Nothing of loom's can be made before its model runs.
    #[cfg(all(test, loom))]
    pub(crate) fn new(value: T) -> Self {
        RwLock(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Like `read`, where that need not wait.
    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar(sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for at most `time`. Wakes without reason, too.
    pub(crate) fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Hands one value from one thread to another that waits for it.
pub(crate) struct HandOver<T> {
    value: Mutex<Option<T>>,
    came: Condvar,
}

impl<T> HandOver<T> {
    pub(crate) fn new() -> Self {
        HandOver { value: Mutex::new(None), came: Condvar::new() }
    }

    pub(crate) fn give(&self, value: T) {
        *self.value.lock() = Some(value);
        self.came.notify_one();
    }

    pub(crate) fn wait(&self) -> T {
        let mut value = self.value.lock();
        loop {
            if let Some(value) = value.take() {
                return value;
            }
            value = self.came.wait(value);
        }
    }
}
