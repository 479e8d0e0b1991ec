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
pub(super) fn resolve(after: &mut Record, revision: i64, verdict: Verdict, decision: &Decision) {
    let Ok(claim) = can_resolve(after, revision, verdict).cloned() else {
        return;
    };
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
    after.decision = Some(decision.clone());
}

/// Why an operator may not decide so about a contradiction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unresolved {
    NotDisputed,
    /// It changed since the operator saw it.
    AnotherRevision,
    /// It is not final, or a success would be left for another settle.
    NotAllowed,
}

/// The contradiction about which an operator may decide so, who saw this revision.
///
/// Only final settles are decided about, because before the end Douyin's next word may settle it. A
/// success is never left for another settle, because both may have been paid.
pub fn can_resolve(
    record: &Record,
    revision: i64,
    verdict: Verdict,
) -> Result<&Contradiction, Unresolved> {
    let claim = record.open_contradiction().ok_or(Unresolved::NotDisputed)?;
    let other = record.state.settle_id() != Some(&claim.settle_id);
    let leaves_a_success = record.state.kind() == StateKind::Succeeded && other;
    if record.revision != revision {
        Err(Unresolved::AnotherRevision)
    } else if !record.is_final() || verdict == Verdict::Claimed && leaves_a_success {
        Err(Unresolved::NotAllowed)
    } else {
        Ok(claim)
    }
}
