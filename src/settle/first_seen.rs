//! When this process first saw the permissions that other processes gave.

use std::collections::HashMap;

use super::ids::Key;
use super::permission::{PermissionId, ProcessId};
use super::record::{Record, State};
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
    seen: HashMap<Key, Sight>,
    settles_max: usize,
    /// Counts the rounds through all settles that are not at their end.
    round: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sight {
    permission: PermissionId,
    first: Timestamp,
    /// The round in which the settle was last looked at.
    round: u64,
}

impl FirstSeen {
    /// `alone_since`: when this process began, if no other process works on the store.
    pub fn new(process: ProcessId, alone_since: Option<Timestamp>, settles_max: usize) -> Self {
        Self { process, alone_since, seen: HashMap::new(), settles_max, round: 0 }
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
        let is_own = last.id.process == self.process;
        let is_remembered = !is_own && self.alone_since.is_none() && waits_for_time(record);
        if !is_remembered {
            self.seen.remove(&record.key);
            return Some(if is_own { last.time } else { self.alone_since.unwrap_or(now) });
        }
        let (room, round) = (self.seen.len() < self.settles_max, self.round);
        match self.seen.get_mut(&record.key) {
            Some(sight) if sight.permission == last.id => {
                sight.round = round;
                Some(sight.first)
            }
            Some(sight) => {
                *sight = Sight { permission: last.id, first: now, round };
                Some(now)
            }
            // Old entries are never dropped for new ones, or none would become old enough to prove
            // something.
            None if !room => None,
            None => {
                let sight = Sight { permission: last.id, first: now, round };
                self.seen.insert(record.key.clone(), sight);
                Some(now)
            }
        }
    }

    /// Every settle that is not at its end was looked at since the last call of this. What was not
    /// met has ended elsewhere, and makes room. If one was missed because it moved meanwhile, it is
    /// seen anew, which only makes its grace longer.
    pub fn end_round(&mut self) {
        let round = self.round;
        self.seen.retain(|_, sight| sight.round == round);
        self.round += 1;
    }

    /// How many settles are remembered, and the first sight that is longest ago.
    pub fn remembered(&self) -> (usize, Option<Timestamp>) {
        (self.seen.len(), self.seen.values().map(|sight| sight.first).min())
    }
}

/// Whether time can prove something about this settle: what was sent may still be unseen.
fn waits_for_time(record: &Record) -> bool {
    !record.is_final() && (record.state == State::Submitting || record.evidence.in_doubt())
}
