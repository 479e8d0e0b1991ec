//! The life-cycle table: how one observation changes one settle.
//!
//! [`transition`] is the only function that changes a record because of something learned, and
//! [`permit`] the only one that allows a send. Both are pure; the caller makes the result durable
//! by one compare-and-swap. What Douyin reports is judged in `report.rs`. docs/life-cycle.md prints
//! the table; every row and rule has a test in `state_tests`. The rules close concrete ways to pay
//! twice or to tell a caller something false: none may be relaxed because it looks redundant.

use super::dispute::{contradict, resolve};
use super::evidence::{Evidence, Unlisted};
use super::observation::{
    AcceptedIds, Alert, Context, Learned, Lease, Observation, Policy, Scope, Transition,
};
use super::permission::Permission;
use super::reason::Reason;
use super::record::{Facts, Failure, Origin, Record, Report, Source, State};
use super::report::reported;
use crate::clock::Timestamp;

/// Applies one observation. Duplicates change nothing; `revision` grows exactly when a caller can
/// see a difference.
pub fn transition(before: &Record, seen: &Observation, context: &Context<'_>) -> Transition {
    let mut after = before.clone();
    let held = context.lease == Lease::Held;
    let alert = match &seen.learned {
        Learned::Accepted(ids) => accepted(&mut after, ids, seen, context),
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
        Learned::Resolved(verdict) => {
            resolve(&mut after, *verdict, context.now);
            None
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

/// The record with this permission, or `None` if nothing may be sent. Nothing leaves before the
/// returned record is durable. `given` is that of [`Context`].
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

/// Whether another copy of the same bytes may go out.
///
/// Not after 23111 or anything else that shows a settle under the number; not while a refusal waits
/// for the grace to make it proof, because each send would start the grace again; not in the last
/// grace of the window, so that what was sent is visible when it ends; not after the store went
/// back, because a refusal may have been told since.
pub fn may_send(record: &Record, now: Timestamp, policy: &Policy) -> bool {
    let Some(request) = record.request() else {
        return false;
    };
    let evidence = &record.evidence;
    record.state == State::Submitting
        && evidence.exists_seen.is_none()
        && !evidence.set_back
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
        && before.contradiction == after.contradiction;
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
        // Not subtracted: the settle stays in doubt until a query shows both.
        return contradict(after, &accepted, seen.source, context.now);
    }
    answered(after, seen);
    let facts = Facts { wallet_settle_id: ids.wallet_settle_id.clone(), ..Facts::default() };
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
        State::Processing { settle_id } if after.evidence.fail_seen.as_ref() == Some(settle_id) => {
            follow(after, accepted);
            fill(after, &facts)
        }
        // The settle that failed, accepted late: the record follows the other one already.
        State::Processing { .. } => None,
        State::Succeeded { .. } | State::Failed { .. } => {
            contradict(after, &accepted, seen.source, context.now)
        }
    }
}

/// Whether Douyin accepted two sends under one number. It does so only after the first settle
/// failed and freed the number; which of the two that was is unknown until a FAIL is seen, because
/// acceptances may arrive in either order.
fn is_second_acceptance(record: &Record, ids: &AcceptedIds) -> bool {
    let State::Processing { settle_id } = &record.state else {
        return false;
    };
    let failed = record.evidence.fail_seen.as_ref();
    *settle_id != ids.settle_id && failed != Some(settle_id) && failed != Some(&ids.settle_id)
}

/// A refusal ends the settle only if no other send is unanswered: 23112 to a re-send may mean that
/// the first one took the money.
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

/// No definite answer. The same unlisted number, answered to one send after the other, is counted:
/// it may be a refusal that no document names.
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

/// Whether an observation of a kind that is counted was not counted before: one that is observed
/// again after a commit in doubt is the same one, and began at the same moment. Which of two
/// moments is the later one says nothing: the clock may have been set in between.
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

/// A query that found nothing. Only while submitting does that mean something, and it becomes proof
/// only if the query began when everything we sent would have been visible.
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
/// That explains why something exists under it; for anything else it is as if nothing was found.
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

/// Something exists under the number and no query finds it, for long. Ends only if every send of
/// ours was answered, and by the truest word that was heard; else it stays for an operator.
fn exists_but_absent(after: &mut Record, after_grace: bool) -> Option<Alert> {
    if !after.evidence.in_doubt() && after_grace {
        if let Some(settle_id) = after.evidence.fail_seen.clone() {
            enter(after, State::Failed { settle_id });
        } else {
            let taken = after.last_error.take().filter(says_taken);
            let heard = after.evidence.refused.take().or(taken);
            reject(after, heard.unwrap_or_else(|| Failure::own(Reason::OutSettleNoExists)));
        }
    }
    Some(Alert::ExistsButAbsent)
}

fn says_taken(failure: &Failure) -> bool {
    failure.reason == Reason::OutSettleNoExists
}

/// What an empty query after the grace would make final: an answered refusal, or the same unlisted
/// number often enough.
fn refusal<'a>(evidence: &'a Evidence, policy: &Policy) -> Option<&'a Failure> {
    let unlisted = evidence.unlisted.as_ref();
    let unlisted = unlisted.filter(|unlisted| unlisted.times >= policy.unlisted_times_max);
    evidence.refused.as_ref().or(unlisted.map(|unlisted| &unlisted.failure))
}

/// Whether a query begun at `begun` must see everything that we ever sent: the grace is over since
/// the last moment at which something permitted could leave.
fn grace_over(evidence: &Evidence, begun: Timestamp, context: &Context<'_>) -> bool {
    let visible = |given: Timestamp| given.plus(evidence.lasts()).plus(context.policy.grace);
    evidence.last_permission.is_none() || context.given.is_some_and(|given| begun >= visible(given))
}

/// Whether another send of ours may have taken effect unseen, so that a FAIL or a stranger's settle
/// must not end this one yet.
pub(super) fn in_doubt(after: &Record, seen: &Observation, context: &Context<'_>) -> bool {
    let policy = context.policy;
    let sees_all = seen.scope == Scope::Number
        && context.lease == Lease::Held
        && grace_over(&after.evidence, seen.begun, context);
    after.evidence.in_doubt() && !(policy.grace_proves && sees_all)
}

fn answered(after: &mut Record, seen: &Observation) {
    if let Some(permission) = seen.answers {
        after.evidence.answer(permission);
    }
}

pub(super) fn stop_sending(after: &mut Record, now: Timestamp) {
    after.evidence.exists_seen.get_or_insert(now);
}

pub(super) fn enter(after: &mut Record, state: State) {
    after.state = state;
    after.last_error = None;
    // Why a number was not ours stays true, however far its settle gets.
    if after.request().is_some() {
        after.evidence.refused = None;
    }
}

/// Leaves a settle that failed for another one of ours: none of the old one's facts are its facts.
pub(super) fn follow(after: &mut Record, state: State) {
    enter(after, state);
    after.facts = Facts::default();
    after.contradiction = None;
}

fn reject(after: &mut Record, rejection: Failure) {
    enter(after, State::Rejected { rejection });
}

/// Another system uses the number and nothing of ours is alive under it: the record becomes that of
/// its settle, so that a caller never sees our content for it. Of ours only Douyin's answer that
/// the number is taken is kept: it is the answer to a caller that repeats the create.
pub(super) fn take_over(after: &mut Record, report: &Report) {
    let refused = after.last_error.take().filter(says_taken);
    after.origin = Origin::Platform;
    let set_back = after.evidence.set_back;
    after.evidence = Evidence { refused, set_back, ..Evidence::default() };
    after.facts = report.lasting_facts();
    after.state = report.state();
}

/// Fills in what is missing. What differs from an earlier word is kept out and told.
pub(super) fn fill(after: &mut Record, new: &Facts) -> Option<Alert> {
    fn one<T: Clone + PartialEq>(old: &mut Option<T>, new: &Option<T>, differs: &mut bool) {
        match (&old, new) {
            (_, None) => {}
            (None, Some(_)) => old.clone_from(new),
            (Some(old), Some(new)) => *differs |= old != new,
        }
    }
    keep_status(after, new);
    let platform = after.origin == Origin::Platform;
    let old = &mut after.facts;
    let mut differs = false;
    if platform {
        one(&mut old.out_order_no, &new.out_order_no, &mut differs);
        one(&mut old.item_order_id, &new.item_order_id, &mut differs);
        one(&mut old.cp_extra, &new.cp_extra, &mut differs);
    }
    one(&mut old.wallet_settle_id, &new.wallet_settle_id, &mut differs);
    one(&mut old.order_id, &new.order_id, &mut differs);
    one(&mut old.settle_amount, &new.settle_amount, &mut differs);
    one(&mut old.rake, &new.rake, &mut differs);
    one(&mut old.commission, &new.commission, &mut differs);
    one(&mut old.platform_ticket, &new.platform_ticket, &mut differs);
    one(&mut old.settle_detail, &new.settle_detail, &mut differs);
    one(&mut old.message, &new.message, &mut differs);
    // A callback and a query may mean different moments: what comes first stays.
    one(&mut old.settle_time, &new.settle_time, &mut false);
    one(&mut old.auto_settle, &new.auto_settle, &mut differs);
    differs.then_some(Alert::DifferingFact)
}

/// Keeps Douyin's raw word, unless a later one is known already: reports arrive in any order.
pub(super) fn keep_status(after: &mut Record, new: &Facts) {
    let rank = |status: &Option<String>| match status.as_deref() {
        None => 0,
        Some("INIT") => 1,
        Some("PROCESSING") => 2,
        Some("SUCCESS" | "FAIL") => 4,
        Some(_) => 3,
    };
    if rank(&new.settle_status) > rank(&after.facts.settle_status) {
        after.facts.settle_status.clone_from(&new.settle_status);
    }
}
