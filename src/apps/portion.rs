//! Which part of every app's budget this process may use: one of as many parts as there are living
//! processes on the store.
//!
//! What it must not know: who counts them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, Uptime};

/// Cheap to clone; clones are the same portion.
#[derive(Clone, Debug)]
pub(crate) struct Portion(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    current: Mutex<Current>,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    /// How many processes share the budget.
    replicas: u32,
    /// When the portion ends unless it is renewed, by the clock that runs while the machine is
    /// suspended: a process that wakes up has none until the others know of it again. `None`:
    /// never.
    ends: Option<Uptime>,
}

impl Portion {
    /// All of it, for the only process on its store.
    pub(crate) fn whole(clock: Clock) -> Self {
        let current = Current { replicas: 1, ends: None };
        Self(Arc::new(Inner { clock, current: Mutex::new(current) }))
    }

    /// Nothing yet, for one of several processes.
    pub(crate) fn nothing(clock: Clock) -> Self {
        let current = Current { replicas: 1, ends: Some(clock.uptime()) };
        Self(Arc::new(Inner { clock, current: Mutex::new(current) }))
    }

    /// One of so many parts, until then.
    pub(crate) fn renew(&self, replicas: u32, ends: Uptime) {
        *self.current() = Current { replicas: replicas.max(1), ends: Some(ends) };
    }

    /// Whether this process has one: it can write to the store, and the others count it.
    pub(crate) fn is_there(&self) -> bool {
        self.replicas().is_some()
    }

    /// In how many parts the budget is divided now; `None`: this process has none of them.
    pub(super) fn replicas(&self) -> Option<u32> {
        let Current { replicas, ends } = *self.current();
        ends.is_none_or(|ends| self.0.clock.uptime() < ends).then_some(replicas)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No code can panic while holding this lock.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
