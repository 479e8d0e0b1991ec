//! When this process first saw the permissions that other processes gave.

use std::collections::HashMap;

use super::ids::Key;
use super::permission::{PermissionId, ProcessId};
use super::record::Record;
use crate::clock::Timestamp;

/// When this process first saw the last permission of each settle that another process works on.
///
/// The last permission is enough: each one is given on top of a record that has those before it, so
/// the time since the last one has passed for all.
#[derive(Debug)]
pub struct FirstSeen {
    process: ProcessId,
    /// When this process began, if no other process can be alive: what others sent, they sent
    /// before.
    alone_since: Option<Timestamp>,
    seen: HashMap<Key, (PermissionId, Timestamp)>,
    settles_max: usize,
}

impl FirstSeen {
    /// `alone_since`: when this process began, if no other process works on the store.
    pub fn new(process: ProcessId, alone_since: Option<Timestamp>, settles_max: usize) -> Self {
        Self { process, alone_since, seen: HashMap::new(), settles_max }
    }

    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// The latest moment, by this process's clock, at which a permission of the record was given.
    /// `None`: it is not known, because there was no room to remember when it was first seen.
    ///
    /// Read `now` after the record. The process may stand still in between, and a moment from
    /// before would be too early.
    pub fn given(&mut self, record: &Record, now: Timestamp) -> Option<Timestamp> {
        let Some(last) = record.evidence.last_permission else {
            return Some(now);
        };
        if record.is_final() || last.id.process == self.process || self.alone_since.is_some() {
            self.seen.remove(&record.key);
        }
        if last.id.process == self.process {
            return Some(last.time);
        }
        if self.alone_since.is_some() {
            return self.alone_since;
        }
        let room = self.seen.len() < self.settles_max;
        match self.seen.get_mut(&record.key) {
            Some((id, since)) if *id == last.id => Some(*since),
            Some(seen) => {
                *seen = (last.id, now);
                Some(now)
            }
            // Old entries are never dropped for new ones, or none would become old enough to prove
            // something.
            None if !room => None,
            None => {
                if !record.is_final() {
                    self.seen.insert(record.key.clone(), (last.id, now));
                }
                Some(now)
            }
        }
    }
}
