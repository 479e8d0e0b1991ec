//! The locks and channels of the small structures that many tasks share (`gateway/hub.rs`,
//! `gateway/in_flight.rs`).
//!
//! They use only what this module names, so that `tests/interleavings` can compile the same files
//! over another `sync`, in which other tasks may run at every operation.
//!
//! What it must not know: anything. It only names what is written elsewhere.

pub(crate) mod bell;

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use tokio::sync::Mutex as AsyncMutex;
