//! Words of Douyin that cannot both be true: how a contradiction begins, and how an operator ends
//! it.

use super::change::enter;
use super::observation::{Alert, Verdict};
use super::record::{Contradiction, Decision, Record, Source, State, StateKind};
use crate::clock::Timestamp;

pub(super) fn contradict(
    after: &mut Record,
    claimed: &State,
    source: Source,
    time: Timestamp,
) -> Option<Alert> {
    let settle_id = claimed.settle_id()?.clone();
    let claimed = claimed.kind();
    match &after.contradiction {
        Some(known) if known.resolved.is_none() => {}
        // An operator has decided about this word already, so a copy of it changes nothing.
        Some(known) if known.claimed == claimed && known.settle_id == settle_id => return None,
        Some(_) | None => {
            let resolved = None;
            let claim = Contradiction { claimed, settle_id, source, time, resolved };
            after.contradiction = Some(claim);
        }
    }
    Some(Alert::Contradiction)
}

/// Ends a contradiction as an operator decided. The word that was wrong is kept as resolved.
///
/// Only final settles are decided about, because before the end Douyin's next word may settle it. A
/// success is never left for another settle, because both may have been paid.
pub(super) fn resolve(after: &mut Record, verdict: Verdict, decision: Decision) {
    let Some(claim) = after.open_contradiction().cloned() else {
        return;
    };
    if !can_resolve(after, verdict) {
        return;
    }
    let mut resolved = Contradiction { resolved: Some(decision.time), ..claim };
    if verdict == Verdict::Claimed
        && let Some(recorded) = after.state.settle_id().cloned()
    {
        let settle_id = resolved.settle_id.clone();
        let claimed = match resolved.claimed {
            StateKind::Succeeded => State::Succeeded { settle_id },
            StateKind::Failed => State::Failed { settle_id },
            StateKind::Submitting | StateKind::Processing | StateKind::Rejected => {
                State::Processing { settle_id }
            }
        };
        resolved.claimed = after.state.kind();
        resolved.settle_id = recorded;
        after.facts = after.facts.of_the_request();
        enter(after, claimed);
    }
    after.contradiction = Some(resolved);
    after.decision = Some(decision);
}

/// Whether an operator may decide so about this settle's contradiction.
pub fn can_resolve(record: &Record, verdict: Verdict) -> bool {
    let Some(claim) = record.open_contradiction() else {
        return false;
    };
    let other = record.state.settle_id() != Some(&claim.settle_id);
    let leaves_a_success = record.state.kind() == StateKind::Succeeded && other;
    record.is_final() && (verdict == Verdict::Recorded || !leaves_a_success)
}
