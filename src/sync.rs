//! The locks and channels of the small structures that many tasks share (`gateway/hub.rs`,
//! `gateway/in_flight.rs`).
//!
//! They take them from here and from nowhere else, so that `tests/interleavings` can compile the
//! same files once more over a `sync` in which every operation is a place where another task may
//! run.
//!
//! What it must not know: anything. It only names what others wrote.

pub(crate) mod bell;

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use tokio::sync::Mutex as AsyncMutex;
