//! Two records of one settle become one.
//!
//! The gateway records a report that names no developer's number under Douyin's own number. If it
//! learns the developer's number later (the answer to our own create came after the callback), the
//! record under Douyin's number is merged into the other one.

use super::ids::{OutSettleNo, SettleId};
use super::observation::{Context, Learned, Observation, Scope, Transition};
use super::record::{Origin, Record, Report, ReportedStatus, Source, StateKind};
use super::state::transition;

/// Whether the record is under Douyin's own number of the settle, because no other one was known.
pub(crate) fn yields(record: &Record) -> bool {
    let by_id = record.state.settle_id().map(OutSettleNo::of_settle_id);
    record.origin == Origin::Platform && by_id.as_ref() == Some(&record.key.out_settle_no)
}

/// What follows `before` by `after`, with what the absorbed record of the same settle knows. Its
/// revisions were shown as the settle's, so the revisions go on above them.
pub fn absorb(
    before: &Record,
    after: Transition,
    absorbed: &Record,
    context: &Context<'_>,
) -> Transition {
    let Some(settle_id) = after.record.state.settle_id() else {
        return after;
    };
    let learned = Learned::Reported(vec![report(absorbed, settle_id.clone())]);
    let seen = Observation {
        learned,
        source: Source::Gateway,
        begun: context.now,
        scope: Scope::Single,
        answers: None,
        log_id: None,
    };
    let Transition { mut record, alert } = transition(&after.record, &seen, context);
    // What Douyin said against its own word, open or decided about, it said of this settle.
    if record.contradiction.is_none() && record.state == absorbed.state {
        record.contradiction.clone_from(&absorbed.contradiction);
    }
    record.version = before.version + 1;
    record.revision = record.revision.max(absorbed.revision + 1);
    record.update_time = context.now;
    Transition { record, alert: after.alert.or(alert) }
}

/// What an adopted record was learned from, put together again.
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
