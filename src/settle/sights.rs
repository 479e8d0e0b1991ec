//! When this process first saw what other processes permitted: whose clock counts.

use std::collections::HashMap;

use super::ids::Key;
use super::permission::{PermissionId, ProcessId};
use super::record::Record;
use crate::clock::Timestamp;

/// When this process first saw the last permission of each settle that another process drives.
///
/// The last one is enough: permissions of a settle are given one after the other, each on top of a
/// record that has the ones before it, so time that passed since the last one passed for all.
#[derive(Debug)]
pub struct Sights {
    process: ProcessId,
    /// When this process began, if no other one can be alive: whatever the others sent, they sent
    /// before that.
    alone_since: Option<Timestamp>,
    seen: HashMap<Key, (PermissionId, Timestamp)>,
    settles_max: usize,
}

impl Sights {
    /// `alone_since`: when this process began, if no other one works on the store.
    pub fn new(process: ProcessId, alone_since: Option<Timestamp>, settles_max: usize) -> Self {
        Self { process, alone_since, seen: HashMap::new(), settles_max }
    }

    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// By when, by this process's clock, every permission of the record had surely been given.
    /// `None`: it is not known, because there is no room to remember since when it was seen.
    ///
    /// `now` must have been read after the record: a process may stand still in between, and a
    /// moment from before would be too early.
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
            Some(sight) => {
                *sight = (last.id, now);
                Some(now)
            }
            // An old sight is never forgotten for a new one, or none would ever become old enough
            // to prove something.
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
