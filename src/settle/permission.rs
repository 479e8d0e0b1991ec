//! The permission to send once: who gave it, and for how long it lasts.
//!
//! Every process has its own clock, and times of two processes are never compared. A process knows
//! when it gave a permission. Of another process's permission it knows only when it first saw it
//! ([`super::FirstSeen`]), which is never too early.

use std::time::Duration;

use crate::clock::Timestamp;

/// One process of the gateway from its start to its end: a random number, different for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProcessId(pub u64);

/// Names one permission. An answer names the permission that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PermissionId {
    pub process: ProcessId,
    /// Counts the permissions of the process.
    pub number: u64,
}

/// The right to send the recorded bytes once. It is durable before the send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    pub id: PermissionId,
    /// When it was given, by the clock of its process.
    pub time: Timestamp,
    /// Nothing leaves, and no answer comes, later than this after `time`: the call timeout of its
    /// process.
    pub lasts: Duration,
}
