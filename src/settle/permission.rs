//! The permission to send once: who gave it, and for how long it lasts.
//!
//! Every process has a clock of its own, and no two are ever compared. A process knows when it gave
//! a permission itself; of another process's it knows only when it first saw it
//! ([`super::Sights`]), which is never too early.

use std::time::Duration;

use crate::clock::Timestamp;

/// One process of the gateway from its start to its end: a random number, so that no two are alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProcessId(pub u64);

/// Names one permission. An answer names the one that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PermissionId {
    pub process: ProcessId,
    /// Counts the permissions of the process.
    pub number: u64,
}

/// The right to send the recorded bytes once; durable before the send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    pub id: PermissionId,
    /// When it was given, by the clock of its process.
    pub time: Timestamp,
    /// Nothing leaves later than this after `time`, and no answer comes later: the call timeout of
    /// its process.
    pub lasts: Duration,
}
