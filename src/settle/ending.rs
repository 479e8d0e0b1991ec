//! How an operator ends a settle about which Douyin gives no last word: first nothing is sent any
//! more, then the end that a person learned from Douyin is believed.
//!
//! docs/life-cycle.md says which accident each condition prevents.

use super::change::{enter, grace_over, reject, visible_from};
use super::failure::Failure;
use super::ids::SettleId;
use super::observation::{Context, End, Ending, Learned, Lease, Observation, Scope};
use super::proof::{Proof, proof};
use super::reason::Reason;
use super::record::{Decision, Record, Report, ReportedStatus, Source, State};
use crate::clock::Timestamp;

/// Why an operator may not stop or end a settle now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotNow {
    AlreadyFinal,
    /// It changed since the operator saw it.
    AnotherRevision,
    /// Douyin's next word ends it.
    NotInDoubt,
    NotStopped,
    /// The stop must be confirmed after the grace: Douyin gave no answer, or its answers prove
    /// nothing.
    NotConfirmed,
    /// Something of ours may be on its way, or not visible yet, until this moment. `None`: this
    /// process does not know when.
    TooEarly {
        until: Option<Timestamp>,
    },
}

/// Whether an operator may stop sending, who saw this revision.
pub fn can_stop(record: &Record, revision: i64) -> Result<(), NotNow> {
    if record.is_final() {
        Err(NotNow::AlreadyFinal)
    } else if record.revision != revision {
        Err(NotNow::AnotherRevision)
    } else if record.request().is_none() || !(record.state == State::Submitting || in_doubt(record))
    {
        Err(NotNow::NotInDoubt)
    } else {
        Ok(())
    }
}

/// Whether Douyin answered the last question before an operator's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    Answer,
    Nothing,
}

/// Whether an operator may end it, who saw this revision, if the last question begins at `begun`
/// and its answer does not say otherwise.
pub fn can_end(
    record: &Record,
    revision: i64,
    begun: Timestamp,
    heard: Heard,
    context: &Context<'_>,
) -> Result<(), NotNow> {
    can_stop(record, revision)?;
    let evidence = &record.evidence;
    let policy = context.policy;
    if !evidence.stopped {
        Err(NotNow::NotStopped)
    } else if !grace_over(evidence, begun, context) {
        Err(NotNow::TooEarly { until: visible_from(evidence, context.given, policy) })
    } else if !evidence.stop_confirmed && (heard == Heard::Nothing || !policy.grace_proves) {
        Err(NotNow::NotConfirmed)
    } else {
        Ok(())
    }
}

fn in_doubt(record: &Record) -> bool {
    record.evidence.in_doubt()
}

/// Sending stops for good. It is a decision of its own, so that it is durable before the grace
/// counts. Once the grace is over, another stop confirms it. The same operator's same words again
/// are no decision.
pub(super) fn stop(after: &mut Record, revision: i64, decision: &Decision, context: &Context<'_>) {
    if can_stop(after, revision).is_err() {
        return;
    }
    let evidence = &mut after.evidence;
    let was_stopped = std::mem::replace(&mut evidence.stopped, true);
    let confirms =
        was_stopped && !evidence.stop_confirmed && grace_over(evidence, context.now, context);
    evidence.stop_confirmed |= confirms;
    let is_repeat = after.decision.as_ref().is_some_and(|last| decision.repeats(last));
    if !was_stopped || confirms || !is_repeat {
        after.decision = Some(decision.clone());
    }
}

/// The operator's word, about a record that knows already what Douyin answered last. It counts only
/// if that answer says nothing else.
pub(super) fn end(
    before: &Record,
    heard: &mut Record,
    ending: &Ending,
    seen: &Observation,
    context: &Context<'_>,
) {
    let asked =
        seen.source == Source::Query && seen.scope == Scope::Number && context.lease == Lease::Held;
    let answered = if ending.found.is_some() { Heard::Answer } else { Heard::Nothing };
    let may = can_end(heard, ending.revision, seen.begun, answered, context);
    if !asked || may.is_err() || !agrees(before, heard, ending) {
        return;
    }
    match &ending.end {
        End::Rejected => reject(heard, Failure::own(Reason::EndedByOperator)),
        End::Succeeded { settle_id } => {
            leave(heard, settle_id);
            enter(heard, State::Succeeded { settle_id: settle_id.clone() });
        }
        End::Failed { settle_id } => {
            leave(heard, settle_id);
            enter(heard, State::Failed { settle_id: settle_id.clone() });
        }
    }
    heard.decision = Some(ending.decision.clone());
}

/// The facts of another settle are not those of this one.
fn leave(after: &mut Record, settle_id: &SettleId) {
    if after.state.settle_id().is_some_and(|recorded| recorded != settle_id) {
        after.facts = after.facts.of_the_request();
    }
}

/// Whether nothing that Douyin has shown speaks against the operator's word.
///
/// A settle that nothing proves to be ours or not is judged by the operator. So it speaks against
/// the word if this query is the first to show that a settle exists: the operator has not seen it.
fn agrees(before: &Record, record: &Record, ending: &Ending) -> bool {
    let is_judged = before.evidence.exists_seen.is_some();
    let is_unproven = |it: &Report| proof(record, it) == Proof::Unproven;
    let shown = match &ending.found {
        Some(Learned::Reported(reports)) => &reports[..],
        Some(Learned::Absent | Learned::Elsewhere) | None => &[],
        Some(
            Learned::Accepted(_)
            | Learned::Refused(_)
            | Learned::Unknown(_)
            | Learned::Unlisted(_)
            | Learned::NotSent(_)
            | Learned::Exists(_)
            | Learned::Resolved { .. }
            | Learned::Stopped { .. }
            | Learned::Ended(_),
        ) => return false,
    };
    let evidence = &record.evidence;
    let fails = |id: &SettleId| {
        shown.iter().any(|it| it.settle_id == *id && it.status == ReportedStatus::Fail)
    };
    // A second settle of ours, of which it is not known whether it failed.
    let disputed = record.open_contradiction().is_some_and(|claim| !fails(&claim.settle_id));
    let recorded = record.state.settle_id();
    // A settle that Douyin accepted is left only if it failed.
    let left =
        |id: &SettleId| recorded.is_none_or(|known| known == id || evidence.has_failed(known));
    match &ending.end {
        End::Rejected => {
            let unseen = |it: &Report| is_unproven(it) && !is_judged;
            let is_other = |it: &Report| !is_ours(record, it) && !unseen(it);
            // Only a settle of ours leaves Douyin's word for its status in a record like this.
            let was_shown = !evidence.failed.is_empty() || record.facts.settle_status.is_some();
            recorded.is_none() && !was_shown && shown.iter().all(is_other)
        }
        End::Succeeded { settle_id } => {
            let fits = |it: &Report| match it.status {
                ReportedStatus::Success | ReportedStatus::Unlisted => it.settle_id == *settle_id,
                ReportedStatus::Fail => it.settle_id != *settle_id,
                ReportedStatus::Init | ReportedStatus::Processing => false,
            };
            let all = all_fit(record, shown, settle_id, is_judged, fits);
            left(settle_id) && !evidence.has_failed(settle_id) && all
        }
        End::Failed { settle_id } => {
            let fits = |it: &Report| match it.status {
                ReportedStatus::Fail => true,
                ReportedStatus::Unlisted => it.settle_id == *settle_id,
                ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Success => {
                    false
                }
            };
            !disputed && left(settle_id) && all_fit(record, shown, settle_id, is_judged, fits)
        }
    }
}

/// Whether each settle fits that Douyin shows and that is ours, or that the operator calls ours.
fn all_fit(
    record: &Record,
    shown: &[Report],
    settle_id: &SettleId,
    is_judged: bool,
    fits: impl Fn(&Report) -> bool,
) -> bool {
    shown.iter().all(|it| match proof(record, it) {
        Proof::Foreign => it.settle_id != *settle_id,
        Proof::Unproven if it.settle_id != *settle_id && !is_ours(record, it) => {
            is_judged || fits(it)
        }
        Proof::Unproven | Proof::Ours => fits(it),
    })
}

fn is_ours(record: &Record, report: &Report) -> bool {
    proof(record, report) == Proof::Ours || record.state.settle_id() == Some(&report.settle_id)
}
