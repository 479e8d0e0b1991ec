//! The life-cycle table: how one observation changes one settle.
//!
//! [`transition`] is the only function that changes a record because of something learned, and
//! [`permit`] the only one that allows a send. Both are pure; the caller makes the result durable
//! by one compare-and-swap. `report.rs` judges what Douyin reports. docs/life-cycle.md prints the
//! table; every row and rule has a test in `state_tests`. Each rule prevents a known way to pay
//! twice or to tell a caller something false, so none may be relaxed because it looks redundant.

use super::change::{enter, fill, follow, grace_over, in_doubt, reject, says_taken, stop_sending};
use super::dispute::{contradict, resolve};
use super::ending::{end, stop};
use super::evidence::{Evidence, Unlisted};
use super::failure::Failure;
use super::ids::Repeats;
use super::observation::{
    AcceptedIds, Alert, Context, Learned, Lease, Observation, Policy, Scope, Transition,
};
use super::permission::Permission;
use super::reason::Reason;
use super::record::{Facts, Record, Source, State};
use super::report::reported;
use crate::clock::Timestamp;

/// Applies one observation. A duplicate changes nothing. `revision` grows exactly when a caller can
/// see a difference.
pub fn transition(before: &Record, seen: &Observation, context: &Context<'_>) -> Transition {
    let mut after = before.clone();
    let held = context.lease == Lease::Held;
    let alert = match &seen.learned {
        Learned::Accepted(ids) => match before.key.trade_system.repeats() {
            Repeats::Refused => accepted(&mut after, ids, seen, context),
            Repeats::AnsweredAlike => accepted_unproven(&mut after, seen, context),
        },
        Learned::Exists(failure) => exists(&mut after, failure, seen, context),
        Learned::Reported(reports) => reported(&mut after, reports, seen, context),
        Learned::Refused(failure) if held => refused(&mut after, failure, seen),
        Learned::Unknown(failure) if held => unknown(&mut after, failure, None, seen),
        Learned::Unlisted(failure) if held => unknown(&mut after, failure, Some(failure), seen),
        Learned::NotSent(failure) if held => {
            answered(&mut after, seen);
            unknown(&mut after, failure, None, seen)
        }
        Learned::Absent if held => absent(&mut after, seen, context),
        Learned::Elsewhere if held => elsewhere(&mut after, seen, context),
        Learned::Resolved { revision, verdict, decision } => {
            resolve(&mut after, *revision, *verdict, decision);
            None
        }
        Learned::Stopped { revision, decision } => {
            stop(&mut after, *revision, decision, context);
            None
        }
        Learned::Ended(ending) => {
            let answer = seen.without_the_word();
            let heard = answer.map(|answer| transition(before, &answer, context));
            let alert = heard.as_ref().and_then(|heard| heard.alert);
            after = heard.map_or_else(|| before.clone(), |heard| heard.record);
            end(before, &mut after, ending, seen, context);
            alert
        }
        Learned::Refused(_)
        | Learned::Unknown(_)
        | Learned::Unlisted(_)
        | Learned::NotSent(_)
        | Learned::Absent
        | Learned::Elsewhere => None,
    };
    Transition { record: counted(before, after, context.now), alert }
}

/// The record with this permission, or `None` if nothing may be sent. The send must wait until the
/// returned record is durable. `given` is the field of [`Context`].
pub fn permit(
    before: &Record,
    permission: Permission,
    given: Option<Timestamp>,
    policy: &Policy,
) -> Option<Record> {
    if !may_send(before, permission.time, policy) {
        return None;
    }
    let mut after = before.clone();
    after.evidence.permit(permission, given);
    after.version += 1;
    Some(after)
}

/// Whether the same bytes may be sent again.
///
/// Not after 23111 or another sign of a settle under the number. Not while a refusal waits for the
/// grace, because each send would start the grace again. Not in the last grace of the window, so
/// that what was sent is visible when the window ends. Not after the store went back, because a
/// refusal may have been told since. Not after an operator stopped it.
pub fn may_send(record: &Record, now: Timestamp, policy: &Policy) -> bool {
    let Some(request) = record.request() else {
        return false;
    };
    let evidence = &record.evidence;
    record.state == State::Submitting
        && evidence.exists_seen.is_none()
        && !evidence.set_back
        && !evidence.stopped
        && refusal(evidence, policy).is_none()
        && now < request.submit_before.minus(policy.grace)
}

/// Versions count every write, revisions what a caller can see.
fn counted(before: &Record, mut after: Record, now: Timestamp) -> Record {
    if after == *before {
        return after;
    }
    after.version = before.version + 1;
    let same_error = match (&before.last_error, &after.last_error) {
        (None, None) => true,
        (Some(before), Some(after)) => before.same_kind(after),
        (None, Some(_)) | (Some(_), None) => false,
    };
    let same = same_error
        && before.state == after.state
        && before.facts == after.facts
        && before.origin == after.origin
        && before.contradiction == after.contradiction
        && before.decision == after.decision;
    if !same {
        after.revision = before.revision + 1;
        after.update_time = now;
    }
    after
}

fn accepted(
    after: &mut Record,
    ids: &AcceptedIds,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    let accepted = State::Processing { settle_id: ids.settle_id.clone() };
    if is_second_acceptance(after, ids) {
        // The send stays unanswered, so the settle is in doubt until a query shows both.
        return contradict(after, &accepted, seen.source, context.now);
    }
    answered(after, seen);
    let facts = Facts {
        wallet_settle_id: ids.wallet_settle_id.clone(),
        inner_settle_id: ids.inner_settle_id.clone(),
        ..Facts::default()
    };
    match &after.state {
        State::Submitting => {
            enter(after, accepted);
            fill(after, &facts)
        }
        State::Rejected { .. } => {
            enter(after, accepted);
            fill(after, &facts);
            Some(Alert::AliveAfterRejection)
        }
        State::Processing { settle_id }
        | State::Succeeded { settle_id }
        | State::Failed { settle_id }
            if *settle_id == ids.settle_id =>
        {
            fill(after, &facts)
        }
        // A late acceptance of a settle that failed.
        _ if after.evidence.has_failed(&ids.settle_id) => None,
        // The recorded one has failed, or this would be a second acceptance.
        State::Processing { .. } => {
            follow(after, accepted);
            fill(after, &facts)
        }
        State::Succeeded { .. } | State::Failed { .. } => {
            contradict(after, &accepted, seen.source, context.now)
        }
    }
}

/// A settle exists under the number: of this send, of an earlier one, or another system's. Only a
/// report tells whose it is. The send stays unanswered, because it may have made the settle.
fn accepted_unproven(
    after: &mut Record,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    let unproven = Observation { answers: None, ..seen.clone() };
    exists(after, &Failure::own(Reason::NotShownYet), &unproven, context)
}

/// Whether Douyin accepted two sends under one number. It does so only if the first settle failed
/// and freed the number. Which of the two that was is not known until a FAIL is seen, because
/// acceptances may arrive in any order.
fn is_second_acceptance(record: &Record, ids: &AcceptedIds) -> bool {
    let State::Processing { settle_id } = &record.state else {
        return false;
    };
    let failed = |id| record.evidence.has_failed(id);
    *settle_id != ids.settle_id && !failed(settle_id) && !failed(&ids.settle_id)
}

/// A refusal ends the settle only if no other send is unanswered: 23112 to a re-send may mean that
/// the first send took the money.
fn refused(after: &mut Record, failure: &Failure, seen: &Observation) -> Option<Alert> {
    answered(after, seen);
    if after.state != State::Submitting {
        return None;
    }
    if !after.evidence.in_doubt() && after.evidence.exists_seen.is_none() {
        reject(after, failure.clone());
    } else {
        after.evidence.refused = Some(failure.clone());
        after.last_error = Some(failure.clone());
    }
    None
}

/// No definite answer. The same unlisted number in a row is counted, because it may be a refusal
/// that no document lists.
fn unknown(
    after: &mut Record,
    failure: &Failure,
    unlisted: Option<&Failure>,
    seen: &Observation,
) -> Option<Alert> {
    if after.state != State::Submitting {
        return None;
    }
    after.last_error = Some(failure.clone());
    if seen.source != Source::Create || (unlisted.is_some() && !counts_anew(after, seen)) {
        return None;
    }
    let times = match (&after.evidence.unlisted, unlisted) {
        (_, None) => None,
        (Some(last), Some(now)) if last.failure.same_kind(now) => Some(last.times + 1),
        (_, Some(_)) => Some(1),
    };
    after.evidence.unlisted = times.map(|times| Unlisted { failure: failure.clone(), times });
    None
}

/// Whether this observation was not counted before. One that is observed again after a commit in
/// doubt began at the same moment, so it does not count. A different moment counts, earlier or
/// later, because the clock may have been set in between.
fn counts_anew(after: &mut Record, seen: &Observation) -> bool {
    after.evidence.last_counted.replace(seen.begun) != Some(seen.begun)
}

fn exists(
    after: &mut Record,
    failure: &Failure,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    answered(after, seen);
    match after.state {
        State::Submitting => {
            stop_sending(after, context.now);
            after.last_error = Some(failure.clone());
            None
        }
        State::Rejected { .. } => Some(Alert::AliveAfterRejection),
        State::Processing { .. } | State::Succeeded { .. } | State::Failed { .. } => None,
    }
}

/// A query that found nothing. It means something only while submitting, and proves something only
/// if the query began when everything we sent would have been visible.
fn absent(after: &mut Record, seen: &Observation, context: &Context<'_>) -> Option<Alert> {
    if after.state != State::Submitting || seen.scope != Scope::Number {
        return None;
    }
    let policy = context.policy;
    let after_grace = grace_over(&after.evidence, seen.begun, context);
    if let Some(since) = after.evidence.exists_seen {
        let long = seen.begun >= since.plus(policy.exists_absent_max);
        return if long { exists_but_absent(after, after_grace) } else { None };
    }
    if after.evidence.in_doubt() && !(after_grace && policy.grace_proves) {
        return None;
    }
    if let Some(failure) = refusal(&after.evidence, policy).cloned() {
        if after_grace {
            reject(after, failure);
        }
        return None;
    }
    let set_back = after.evidence.set_back;
    let expired =
        after.request().is_some_and(|request| set_back || seen.begun >= request.submit_before);
    if expired && after_grace && counts_anew(after, seen) {
        after.evidence.empties_after_expiry += 1;
        let enough = after.evidence.empties_after_expiry >= 2;
        if enough && context.attempts >= policy.expiry_attempts_min {
            reject(after, Failure::own(Reason::SubmissionExpired));
        }
    }
    None
}

/// Everything that Douyin shows belongs to another number of ours, which Douyin takes for this one.
/// That explains why a settle exists under it. Else it counts as if nothing was found.
fn elsewhere(after: &mut Record, seen: &Observation, context: &Context<'_>) -> Option<Alert> {
    if after.state != State::Submitting || seen.scope != Scope::Number {
        return None;
    }
    if after.evidence.exists_seen.is_none() {
        return absent(after, seen, context);
    }
    if !in_doubt(after, seen, context) {
        let taken = after.last_error.take().filter(says_taken);
        let heard = after.evidence.refused.take().or(taken);
        reject(after, heard.unwrap_or_else(|| Failure::own(Reason::OutSettleNoExists)));
    }
    None
}

/// Douyin has said for long that a settle exists under the number, and no query shows it. The
/// settle ends only if every send of ours was answered, by what was learned: a FAIL, else a
/// refusal, else the taken number. Otherwise it stays for an operator.
fn exists_but_absent(after: &mut Record, after_grace: bool) -> Option<Alert> {
    if !after.evidence.in_doubt() && after_grace {
        if let Some(settle_id) = after.evidence.failed.last().cloned() {
            enter(after, State::Failed { settle_id });
        } else {
            let taken = after.last_error.take().filter(says_taken);
            let heard = after.evidence.refused.take().or(taken);
            reject(after, heard.unwrap_or_else(|| Failure::own(Reason::OutSettleNoExists)));
        }
    }
    Some(Alert::ExistsButAbsent)
}

/// What an empty query after the grace makes final: an answered refusal, or the same unlisted
/// number often enough.
pub(super) fn refusal<'a>(evidence: &'a Evidence, policy: &Policy) -> Option<&'a Failure> {
    let unlisted = evidence.unlisted.as_ref();
    let unlisted = unlisted.filter(|unlisted| unlisted.times >= policy.unlisted_times_max);
    evidence.refused.as_ref().or(unlisted.map(|unlisted| &unlisted.failure))
}

fn answered(after: &mut Record, seen: &Observation) {
    if let Some(permission) = seen.answers {
        after.evidence.answer(permission);
    }
}
