//! Merges two records of one settle.
//!
//! A report without an out_settle_no is recorded under Douyin's own number. If the gateway learns
//! the out_settle_no later (the answer to our own create came after the callback), that record is
//! merged into the record under the out_settle_no.

use super::ids::{OutSettleNo, SettleId};
use super::observation::{Context, Learned, Observation, Scope, Transition};
use super::record::{Origin, Record, Report, ReportedStatus, Source, StateKind};
use super::state::transition;

/// Whether the record is under Douyin's own number, so that it can be merged into another one.
pub(crate) fn can_be_merged(record: &Record) -> bool {
    let by_id = record.state.settle_id().map(OutSettleNo::of_settle_id);
    record.origin == Origin::Platform && by_id.as_ref() == Some(&record.key.out_settle_no)
}

/// `after`, which follows `before`, together with what the other record of the same settle knows.
/// Callers saw the other record's revisions too, so the revisions go on above both.
pub fn merge(
    before: &Record,
    after: Transition,
    other: &Record,
    context: &Context<'_>,
) -> Transition {
    let Some(settle_id) = after.record.state.settle_id() else {
        return after;
    };
    let learned = Learned::Reported(vec![report(other, settle_id.clone())]);
    let seen = Observation {
        learned,
        source: Source::Gateway,
        begun: context.now,
        scope: Scope::Single,
        answers: None,
        log_id: None,
        by: None,
    };
    let Transition { mut record, alert } = transition(&after.record, &seen, context);
    // A contradiction of the other record, open or resolved, is about the same settle.
    if record.contradiction.is_none() && record.state == other.state {
        record.contradiction.clone_from(&other.contradiction);
    }
    if record.decision.is_none() {
        record.decision.clone_from(&other.decision);
    }
    record.version = before.version + 1;
    record.revision = record.revision.max(other.revision + 1);
    record.update_time = context.now;
    Transition { record, alert: after.alert.or(alert) }
}

/// The report from which an adopted record could have been made.
fn report(record: &Record, settle_id: SettleId) -> Report {
    let status = match record.state.kind() {
        StateKind::Submitting | StateKind::Processing | StateKind::Rejected => {
            ReportedStatus::Processing
        }
        StateKind::Succeeded => ReportedStatus::Success,
        StateKind::Failed => ReportedStatus::Fail,
    };
    let item = record.facts.item_order_id.as_ref().map(|item| item.as_str().to_owned());
    Report { settle_id, status, out_settle_no: None, item, facts: record.facts.clone() }
}
