//! What is still in doubt about a settle: unanswered permissions, and what Douyin said meanwhile.

use std::time::Duration;

use super::failure::Failure;
use super::ids::SettleId;
use super::permission::{Permission, PermissionId};
use crate::clock::Timestamp;

/// How many failed settles of one number are remembered.
const FAILED_MAX: usize = 16;

/// What decides whether a refusal, a FAIL or an empty answer may be believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// Permissions that may still be answered. One is added durably *before* its send may happen.
    /// The definite answer that names it takes it away, or the proof that nothing left the machine.
    pub open: Vec<Permission>,
    /// How many permissions have an unknown outcome and can get no answer any more.
    pub lost: u32,
    /// The permission that was given last, answered or not. Time must pass from it on before an
    /// empty query proves something.
    pub last_permission: Option<Permission>,
    /// The store went back to an earlier state while this settle was open. What was told since may
    /// be forgotten, a refusal too, so nothing of it is ever sent again.
    pub set_back: bool,
    /// An operator stopped sending: no permission is given any more.
    pub stopped: bool,
    /// An operator stopped it again when nothing of ours could be on its way or invisible any
    /// more. What Douyin's support says after that stays true.
    pub stop_confirmed: bool,
    /// When 23111, or another sign that forbids a send, was first seen.
    pub exists_seen: Option<Timestamp>,
    /// The last refusal, which did not end the settle because another send was unanswered. In a
    /// record that became another system's: Douyin's answer that the number is taken.
    pub refused: Option<Failure>,
    /// Settles of ours that Douyin reported as FAIL while a send was unanswered, the newest last.
    /// Each may have freed the number for the next one, and has nothing more to say.
    pub failed: Vec<SettleId>,
    /// The same unlisted number, and how often it came in a row.
    pub unlisted: Option<Unlisted>,
    /// How many empty queries began after the submission window and after the grace.
    pub empties_after_expiry: u32,
    /// When the last observation began that the two fields above count.
    pub last_counted: Option<Timestamp>,
}

impl Evidence {
    /// Sends that may have taken effect unseen.
    pub fn unanswered(&self) -> u32 {
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.lost.saturating_add(open)
    }

    /// Whether a send may have taken effect unseen.
    pub fn in_doubt(&self) -> bool {
        !self.open.is_empty() || self.lost > 0
    }

    /// Whether Douyin reported this settle as FAIL. What it says of it besides is from before.
    pub fn has_failed(&self, settle_id: &SettleId) -> bool {
        self.failed.contains(settle_id)
    }

    pub(super) fn note_failed(&mut self, settle_id: &SettleId) {
        if self.has_failed(settle_id) {
            return;
        }
        // The newest counts: it may be the recorded one, which is left only if it has failed.
        if self.failed.len() >= FAILED_MAX {
            self.failed.remove(0);
        }
        self.failed.push(settle_id.clone());
    }

    /// How long after the last permission a send may leave or be answered.
    pub fn lasts(&self) -> Duration {
        let open = self.open.iter().chain(&self.last_permission);
        open.map(|permission| permission.lasts).max().unwrap_or_default()
    }

    /// Adds a permission. `given`: the latest moment, by the same clock, at which an earlier one
    /// was given. Permissions whose time is over become lost.
    pub(super) fn permit(&mut self, permission: Permission, given: Option<Timestamp>) {
        let over = |earlier: &Permission| {
            given.is_some_and(|given| permission.time >= given.plus(earlier.lasts))
        };
        let open = self.open.len();
        self.open.retain(|earlier| !over(earlier));
        let lost = u32::try_from(open - self.open.len()).unwrap_or(u32::MAX);
        self.lost = self.lost.saturating_add(lost);
        self.open.push(permission);
        self.last_permission = Some(permission);
    }

    /// The store went back to an earlier state while the settle was open, this many times since the
    /// evidence was written. `lost` stands for what may have been sent meanwhile.
    pub fn set_back(&mut self, times: u32, lost: Permission) {
        self.lost = self.lost.saturating_add(times);
        self.set_back = true;
        (self.stopped, self.stop_confirmed) = (false, false);
        self.last_permission = Some(lost);
    }

    /// The definite answer to one send: takes away its permission, if that is still there.
    pub(super) fn answer(&mut self, answered: PermissionId) {
        self.open.retain(|permission| permission.id != answered);
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unlisted {
    pub failure: Failure,
    pub times: u32,
}
