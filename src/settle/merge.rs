//! Merges two records of one settle.
//!
//! A report without an out_settle_no is recorded under Douyin's own number. If the gateway learns
//! the out_settle_no later (the answer to our own create came after the callback), that record is
//! merged into the record under the out_settle_no.

use super::ids::{OutSettleNo, SettleId};
use super::observation::{Context, Learned, Observation, Scope, Transition};
use super::record::{HistoryEntry, Origin, Record, Report, ReportedStatus, Source, StateKind};
use super::state::transition;

/// Whether the record is under Douyin's own number, so that it can be merged into another one.
pub(crate) fn can_be_merged(record: &Record) -> bool {
    let by_id = record.state.settle_id().map(OutSettleNo::of_settle_id);
    record.origin == Origin::Platform && by_id.as_ref() == Some(&record.key.out_settle_no)
}

/// Two records of one settle as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    pub after: Transition,
    /// What operators decided about the other record: entries of the history of the one that stays.
    pub kept: Vec<HistoryEntry>,
}

/// `after`, which follows `before`, together with what the other record of the same settle knows.
/// Callers saw the other record's revisions too, so the revisions go on above both. What operators
/// decided about the other one comes before the merge, each with a revision of its own.
pub fn merge(
    before: &Record,
    after: Transition,
    other: &Record,
    history: Vec<HistoryEntry>,
    context: &Context<'_>,
) -> Merged {
    let Some(settle_id) = after.record.state.settle_id() else {
        return Merged { after, kept: Vec::new() };
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
    let time = |record: &Record| record.decision.as_ref().map(|decision| decision.time);
    if time(other) > time(&record) {
        record.decision.clone_from(&other.decision);
    }
    let first = record.revision.max(other.revision + 1);
    let decided = history.into_iter().filter(|entry| entry.why.is_some());
    let kept: Vec<HistoryEntry> =
        decided.zip(first..).map(|(entry, revision)| HistoryEntry { revision, ..entry }).collect();
    record.version = before.version + 1;
    record.revision = kept.last().map_or(first, |last| last.revision + 1);
    record.update_time = context.now;
    Merged { after: Transition { record, alert: after.alert.or(alert) }, kept }
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
