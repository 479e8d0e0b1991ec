//! What Douyin reports, in an answer to a query or in a callback: whose settle it is, and what that
//! means for the record.

use super::change::{enter, fill, follow, in_doubt, keep_status, stop_sending, take_over};
use super::dispute::contradict;
use super::ids::Repeats;
use super::observation::{Alert, Context, Observation, Scope};
use super::proof::{Proof, pick, proof};
use super::record::{Contradiction, Record, Report, ReportedStatus, Source, State, StateKind};

/// Judges the settles that Douyin reports, and follows the right one.
pub(super) fn reported(
    after: &mut Record,
    reports: &[Report],
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    note_failures(after, reports, seen);
    // Before, because the same reports may hold another contradiction, which must not be lost; and
    // after, because they may end the settle.
    drop_what_failed(after);
    let alert = judge(after, reports, seen, context);
    drop_what_failed(after);
    alert
}

fn judge(
    after: &mut Record,
    reports: &[Report],
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    let report = pick(after, reports)?;
    let proven = proof(after, report);
    let recorded = after.state.settle_id() == Some(&report.settle_id);
    match after.state.kind() {
        StateKind::Submitting => first_report(after, report, seen, context),
        StateKind::Processing if recorded => {
            reported_while_processing(after, report, seen, context)
        }
        StateKind::Processing => reported_other_settle(after, report, proven),
        StateKind::Succeeded | StateKind::Failed => {
            let stale = is_stale(after, report);
            let alive = proven == Proof::Ours && report.status != ReportedStatus::Fail && !stale;
            match (recorded, alive) {
                (true, _) => reported_when_final(after, report, seen, context),
                (false, true) => contradict(after, &report.state(), seen.source, context.now),
                (false, false) if is_explained(after, report, proven) => None,
                (false, false) => Some(Alert::ForeignSettle),
            }
        }
        StateKind::Rejected => reported_after_rejection(after, report, proven),
    }
}

/// The first report while submitting. If it is another system's settle, it ends ours only if
/// nothing of ours can be alive under the number.
fn first_report(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    let doubt = may_be_another(after, seen, context);
    match proof(after, report) {
        Proof::Ours if seen.source == Source::Callback && !is_marked(after, report) => {
            // A callback shows no order, so a query decides.
            stop_sending(after, context.now);
            None
        }
        Proof::Ours => reported_while_submitting(after, report, seen, context),
        Proof::Foreign if !doubt => {
            take_over(after, report);
            None
        }
        // Not if it has a number like ours: it may be the settle of that number.
        Proof::Unproven
            if !after.evidence.in_doubt()
                && seen.scope == Scope::Number
                && !is_named_alike(after, report) =>
        {
            take_over(after, report);
            None
        }
        Proof::Unproven => {
            stop_sending(after, context.now);
            if doubt { None } else { Some(Alert::Unproven) }
        }
        Proof::Foreign => {
            stop_sending(after, context.now);
            None
        }
    }
}

/// Whether a settle of ours may exist beside the one that is shown. Not where a number has one
/// settle for ever.
fn may_be_another(after: &Record, seen: &Observation, context: &Context<'_>) -> bool {
    match after.key.trade_system.repeats() {
        Repeats::Refused => in_doubt(after, seen, context),
        Repeats::AnsweredAlike => false,
    }
}

fn is_named_alike(record: &Record, report: &Report) -> bool {
    let number = report.out_settle_no.as_ref();
    number.is_some_and(|number| number.is_like(&record.key.out_settle_no))
}

/// Whether the report has the text that we sent as `ext`.
fn is_marked(record: &Record, report: &Report) -> bool {
    let sent = record.request().and_then(|request| request.sent_ext.as_deref());
    sent.is_some() && report.facts.cp_extra.as_deref() == sent
}

/// Remembers which settles of ours have failed: a FAIL of the recorded one may not end it yet,
/// because a second one may have taken the freed number, and words from before the FAIL may still
/// come.
fn note_failures(after: &mut Record, reports: &[Report], seen: &Observation) {
    for report in reports.iter().filter(|report| report.status == ReportedStatus::Fail) {
        let claim = after.open_contradiction();
        let is_claimed = claim.is_some_and(|claim| claim.settle_id == report.settle_id);
        if !after.evidence.in_doubt() && !is_claimed {
            continue;
        }
        let is_noted = match (&after.state, after.state.settle_id() == Some(&report.settle_id)) {
            (State::Processing { .. }, true) => true,
            (_, true) => false,
            // What a callback shows without our mark, a query decides.
            (_, false) => {
                let is_told = seen.source != Source::Callback || is_marked(after, report);
                is_told && proof(after, report) == Proof::Ours
            }
        };
        if is_noted {
            after.evidence.note_failed(&report.settle_id);
        }
    }
}

/// A second settle that was alive and has failed contradicts the end of the recorded one no more.
fn drop_what_failed(after: &mut Record) {
    let recorded = after.state.settle_id();
    let is_over = |claim: &Contradiction| {
        claim.claimed == StateKind::Processing
            && recorded != Some(&claim.settle_id)
            && after.evidence.has_failed(&claim.settle_id)
    };
    if after.is_final() && after.open_contradiction().is_some_and(is_over) {
        after.contradiction = None;
    }
}

/// Whether the settle is known to have failed, and this is a word from before.
fn is_stale(record: &Record, report: &Report) -> bool {
    let is_final = match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted => false,
        ReportedStatus::Success | ReportedStatus::Fail => true,
    };
    !is_final && record.evidence.has_failed(&report.settle_id)
}

fn reported_while_submitting(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Success => {}
        ReportedStatus::Fail if !may_be_another(after, seen, context) => {}
        ReportedStatus::Fail => {
            stop_sending(after, context.now);
            return None;
        }
        ReportedStatus::Unlisted => {
            stop_sending(after, context.now);
            keep_status(after, &report.facts);
            return None;
        }
    }
    enter(after, report.state());
    fill(after, &report.lasting_facts())
}

fn reported_while_processing(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted => {}
        ReportedStatus::Fail if may_be_another(after, seen, context) => return None,
        ReportedStatus::Success | ReportedStatus::Fail => enter(after, report.state()),
    }
    fill(after, &report.lasting_facts())
}

/// A report of another settle than the recorded one. It is followed only if the recorded one failed
/// and this one is proven ours.
fn reported_other_settle(after: &mut Record, report: &Report, proven: Proof) -> Option<Alert> {
    let failed = after.state.settle_id().is_some_and(|id| after.evidence.has_failed(id));
    let alive = match report.status {
        ReportedStatus::Init | ReportedStatus::Processing => !is_stale(after, report),
        ReportedStatus::Success => true,
        ReportedStatus::Fail | ReportedStatus::Unlisted => false,
    };
    if failed && alive && proven == Proof::Ours {
        follow(after, report.state());
        return fill(after, &report.lasting_facts());
    }
    if is_explained(after, report, proven) { None } else { Some(Alert::ForeignSettle) }
}

/// Whether no person need look at this settle, which does not live: an unanswered send of ours
/// explains it, or it is known.
fn is_explained(after: &Record, report: &Report, proven: Proof) -> bool {
    let fails = report.status == ReportedStatus::Fail;
    let ours = proven == Proof::Ours && after.evidence.in_doubt();
    let known = after.evidence.has_failed(&report.settle_id);
    fails && (ours || known) || is_stale(after, report)
}

fn reported_when_final(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    let other_word = match (after.state.kind(), report.status) {
        (StateKind::Succeeded, ReportedStatus::Fail) => true,
        (StateKind::Failed, ReportedStatus::Success) => true,
        (_, ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted) => false,
        (_, ReportedStatus::Success | ReportedStatus::Fail) => false,
    };
    if other_word {
        return contradict(after, &report.state(), seen.source, context.now);
    }
    let mut facts = report.lasting_facts();
    // A word from before the end, in an answer that was on its way when an operator decided. With
    // it the settle would seem to be told, and would not be asked about.
    if matches!(report.status, ReportedStatus::Init | ReportedStatus::Processing) {
        facts.settle_status = None;
    }
    fill(after, &facts)
}

/// The money moved after a rejection. This must not happen, and raises an alert.
fn reported_after_rejection(after: &mut Record, report: &Report, proven: Proof) -> Option<Alert> {
    match (proven, report.status) {
        (Proof::Foreign | Proof::Unproven, _) => Some(Alert::ForeignSettle),
        (Proof::Ours, ReportedStatus::Fail | ReportedStatus::Unlisted) => {
            Some(Alert::AliveAfterRejection)
        }
        (
            Proof::Ours,
            ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Success,
        ) => {
            enter(after, report.state());
            fill(after, &report.lasting_facts());
            Some(Alert::AliveAfterRejection)
        }
    }
}
