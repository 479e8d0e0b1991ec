//! The life-cycle table: how one observation changes one settle.
//!
//! [`transition`] is the only function that changes a record because of something learned, and
//! [`permit`] the only one that allows a send. Both are pure; the caller makes the result durable
//! by one compare-and-swap. ARCHITECTURE.md prints the table; every row and rule has a test in
//! `state_tests.rs`. The rules close concrete ways to pay twice or to tell a caller something
//! false: none may be relaxed because it looks redundant.

use std::time::Duration;

use super::ids::{SettleId, WalletSettleId};
use super::proof::{Proof, pick, proof};
use super::record::{
    Contradiction, Evidence, Facts, Failure, Origin, Record, Report, ReportedStatus, Source, State,
    StateKind, Unlisted,
};
use crate::clock::Timestamp;

/// Something learned about a settle, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub learned: Learned,
    pub source: Source,
    /// When the call that learned it began. An empty query proves something only about the time
    /// before it began.
    pub begun: Timestamp,
    pub scope: Scope,
    pub answers: Answers,
    /// Douyin's log id of the message.
    pub log_id: Option<String>,
}

/// What was learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Douyin accepted the send.
    Accepted(AcceptedIds),
    /// Douyin refused this send. Proves nothing about any other send.
    Refused(Failure),
    /// Nobody knows whether the send took effect: timeout, reset, 5xx, 23000 and its like.
    Unknown(Failure),
    /// As `Unknown`, by a number that no table lists.
    Unlisted(Failure),
    /// Nothing left this machine.
    NotSent(Failure),
    /// Something exists under the number: 23111, or an acceptance that names no settle.
    Exists(Failure),
    /// Settles that Douyin holds under the number or id. Never empty: that is `Absent`.
    Reported(Vec<Report>),
    /// A query found nothing.
    Absent,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedIds {
    pub settle_id: SettleId,
    pub wallet_settle_id: Option<WalletSettleId>,
}

/// Whether the observation can have seen every settle under the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A query by `out_settle_no`.
    Number,
    /// One settle: an answer to a send, a callback, a query by `settle_id`.
    Single,
}

/// Whether the observation is the definite answer to one of our sends, still counted in
/// `unanswered`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    OneSend,
    /// Not to a send; or to one, but whether it was subtracted already is itself in doubt. Too
    /// large a count only costs time, too small a one costs money.
    Nothing,
}

/// Whether the observer still holds the right to call Douyin for this settle. Negative evidence
/// counts only then; acceptance and reports are facts that anyone may record, late or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    Held,
    Lost,
}

/// The knobs of the life cycle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long after a send took effect a query may still not see it ("visibility grace").
    pub grace: Duration,
    /// Whether an empty query begun after the grace proves that nothing took effect. If not,
    /// settles in doubt stay for an operator.
    pub grace_proves: bool,
    /// The most time between the permission to send and the last byte of the answer.
    pub call_timeout: Duration,
    /// How long a number may answer 23111 and yet be absent from queries before that is final.
    pub exists_absent_max: Duration,
    /// Calls to Douyin that must have been tried before the submission window may expire: clocks
    /// jump, attempts do not.
    pub expiry_attempts_min: u32,
    /// The same number, unknown to the table, counts as a refusal when it came this often.
    pub unlisted_times_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
            grace_proves: true,
            call_timeout: Duration::from_secs(10),
            exists_absent_max: Duration::from_secs(3600),
            expiry_attempts_min: 10,
            unlisted_times_max: 3,
        }
    }
}

/// What a transition depends on besides the record and the observation.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub policy: &'a Policy,
    pub lease: Lease,
    /// Calls to Douyin for this settle since it was created.
    pub attempts: u32,
}

/// The record after an observation; equal to the one before it if nothing changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    pub record: Record,
    /// Something a person must look at.
    pub alert: Option<Alert>,
}

/// What a person must look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alert {
    /// Douyin holds a settle of ours under a number that we called rejected.
    AliveAfterRejection,
    /// Douyin reports somebody else's settle under a number of ours.
    ForeignSettle,
    /// Douyin's word contradicts a final state.
    Contradiction,
    /// A fact differs from what Douyin said before; the first value was kept.
    DifferingFact,
    /// 23111 was answered, and yet no query finds the settle.
    ExistsButAbsent,
}

/// The rejection reason when the window ends without Douyin ever having accepted the settle.
pub const SUBMISSION_EXPIRED: &str = "SUBMISSION_EXPIRED";
/// The rejection reason when the number is taken and nothing of ours is alive under it.
pub const OUT_SETTLE_NO_EXISTS: &str = "OUT_SETTLE_NO_EXISTS";

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
        Learned::Unknown(failure) if held => unknown(&mut after, failure, None),
        Learned::Unlisted(failure) if held => unknown(&mut after, failure, Some(failure)),
        Learned::NotSent(failure) if held => {
            answered(&mut after, seen);
            unknown(&mut after, failure, None)
        }
        Learned::Absent if held => absent(&mut after, seen, context),
        Learned::Refused(_)
        | Learned::Unknown(_)
        | Learned::Unlisted(_)
        | Learned::NotSent(_)
        | Learned::Absent => None,
    };
    Transition { record: counted(before, after, context.now), alert }
}

/// The permission to send: the record with one more send unanswered, or `None` if nothing may be
/// sent. Nothing leaves before the returned record is durable.
pub fn permit(before: &Record, now: Timestamp, policy: &Policy) -> Option<Record> {
    if !may_send(before, now, policy) {
        return None;
    }
    let mut after = before.clone();
    after.evidence.unanswered += 1;
    after.evidence.last_permit = Some(now);
    after.version += 1;
    Some(after)
}

/// Whether another copy of the same bytes may go out.
///
/// Not after 23111 or anything else that shows a settle under the number; not while a refusal waits
/// for the grace to make it proof, because each send would start the grace again; not in the last
/// grace of the window, so that what was sent is visible when it ends.
pub fn may_send(record: &Record, now: Timestamp, policy: &Policy) -> bool {
    let Some(request) = record.request() else {
        return false;
    };
    let evidence = &record.evidence;
    record.state == State::Submitting
        && evidence.exists_seen.is_none()
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
    answered(after, seen);
    let accepted = State::Processing { settle_id: ids.settle_id.clone() };
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
        State::Processing { .. } | State::Succeeded { .. } | State::Failed { .. } => {
            contradict(after, &accepted, seen.source, context.now)
        }
    }
}

/// A refusal ends the settle only if no other send is unanswered: 23112 to a re-send may mean that
/// the first one took the money.
fn refused(after: &mut Record, failure: &Failure, seen: &Observation) -> Option<Alert> {
    answered(after, seen);
    if after.state != State::Submitting {
        return None;
    }
    if after.evidence.unanswered == 0 && after.evidence.exists_seen.is_none() {
        reject(after, failure.clone());
    } else {
        after.evidence.refused = Some(failure.clone());
        after.last_error = Some(failure.clone());
    }
    None
}

fn unknown(after: &mut Record, failure: &Failure, unlisted: Option<&Failure>) -> Option<Alert> {
    if after.state != State::Submitting {
        return None;
    }
    after.last_error = Some(failure.clone());
    let times = match (&after.evidence.unlisted, unlisted) {
        (_, None) => None,
        (Some(last), Some(now)) if last.failure.same_kind(now) => Some(last.times + 1),
        (_, Some(_)) => Some(1),
    };
    after.evidence.unlisted = times.map(|times| Unlisted { failure: failure.clone(), times });
    None
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

fn reported(
    after: &mut Record,
    reports: &[Report],
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    note_recorded_failure(after, reports);
    let report = pick(after, reports)?;
    let proven = proof(after, report);
    let recorded = after.state.settle_id() == Some(&report.settle_id);
    match after.state.kind() {
        StateKind::Submitting => match proven {
            Proof::Ours => reported_while_submitting(after, report, seen, context),
            Proof::Foreign if !in_doubt(after, seen, context) => {
                take_over(after, report);
                None
            }
            Proof::Foreign | Proof::Unproven => {
                stop_sending(after, context.now);
                None
            }
        },
        StateKind::Processing if recorded => {
            reported_while_processing(after, report, seen, context)
        }
        StateKind::Processing => reported_other_settle(after, report, proven),
        StateKind::Succeeded | StateKind::Failed => {
            let alive = proven == Proof::Ours && report.status != ReportedStatus::Fail;
            match (recorded, alive) {
                (true, _) => reported_when_final(after, report, seen, context),
                (false, true) => contradict(after, &report.state(), seen.source, context.now),
                (false, false) => Some(Alert::ForeignSettle),
            }
        }
        StateKind::Rejected => reported_after_rejection(after, report, proven),
    }
}

/// A FAIL of the recorded settle is remembered while it may not end it: a second settle of ours may
/// have taken the number that it freed.
fn note_recorded_failure(after: &mut Record, reports: &[Report]) {
    let State::Processing { settle_id } = &after.state else {
        return;
    };
    let failed =
        |report: &Report| report.settle_id == *settle_id && report.status == ReportedStatus::Fail;
    if after.evidence.unanswered > 0 && reports.iter().any(failed) {
        after.evidence.fail_seen = Some(settle_id.clone());
    }
}

fn reported_while_submitting(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Success => {}
        ReportedStatus::Fail if !in_doubt(after, seen, context) => {}
        ReportedStatus::Fail => {
            stop_sending(after, context.now);
            after.evidence.fail_seen = Some(report.settle_id.clone());
            return None;
        }
        ReportedStatus::Unlisted => {
            stop_sending(after, context.now);
            keep_status(after, &report.facts);
            return None;
        }
    }
    enter(after, report.state());
    fill(after, &report.facts)
}

fn reported_while_processing(
    after: &mut Record,
    report: &Report,
    seen: &Observation,
    context: &Context<'_>,
) -> Option<Alert> {
    match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted => {}
        ReportedStatus::Fail if in_doubt(after, seen, context) => return None,
        ReportedStatus::Success | ReportedStatus::Fail => enter(after, report.state()),
    }
    fill(after, &report.facts)
}

/// A report of another settle than the recorded one: followed only if the recorded one failed and
/// this one is proven ours.
fn reported_other_settle(after: &mut Record, report: &Report, proven: Proof) -> Option<Alert> {
    let failed = after.evidence.fail_seen.as_ref() == after.state.settle_id();
    let alive = match report.status {
        ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Success => true,
        ReportedStatus::Fail | ReportedStatus::Unlisted => false,
    };
    if failed && alive && proven == Proof::Ours {
        follow(after, report.state());
        return fill(after, &report.facts);
    }
    Some(Alert::ForeignSettle)
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
    fill(after, &report.facts)
}

/// What must not happen, and is told if it does: the money has moved.
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
            fill(after, &report.facts);
            Some(Alert::AliveAfterRejection)
        }
    }
}

/// A query that found nothing. Only while submitting does that mean something, and it becomes proof
/// only if the query began when everything we sent would have been visible.
fn absent(after: &mut Record, seen: &Observation, context: &Context<'_>) -> Option<Alert> {
    if after.state != State::Submitting || seen.scope != Scope::Number {
        return None;
    }
    let policy = context.policy;
    let after_grace = grace_over(&after.evidence, seen.begun, policy);
    let none_unanswered = after.evidence.unanswered == 0;
    if let Some(since) = after.evidence.exists_seen {
        if seen.begun < since.plus(policy.exists_absent_max) {
            return None;
        }
        if none_unanswered && after_grace {
            let last = after.evidence.refused.clone().or_else(|| after.last_error.clone());
            reject(after, last.unwrap_or_else(|| Failure::own(OUT_SETTLE_NO_EXISTS)));
        }
        return Some(Alert::ExistsButAbsent);
    }
    let proves = none_unanswered || (after_grace && policy.grace_proves);
    if !proves {
        return None;
    }
    if let Some(failure) = refusal(&after.evidence, policy) {
        let failure = failure.clone();
        if after_grace {
            reject(after, failure);
        }
        return None;
    }
    let expired = after.request().is_some_and(|request| seen.begun >= request.submit_before);
    if expired && after_grace {
        after.evidence.empties_after_expiry += 1;
        let enough = after.evidence.empties_after_expiry >= 2;
        if enough && context.attempts >= policy.expiry_attempts_min {
            reject(after, Failure::own(SUBMISSION_EXPIRED));
        }
    }
    None
}

/// What an empty query after the grace would make final: an answered refusal, or the same unlisted
/// number often enough.
fn refusal<'a>(evidence: &'a Evidence, policy: &Policy) -> Option<&'a Failure> {
    let unlisted = evidence.unlisted.as_ref();
    let unlisted = unlisted.filter(|unlisted| unlisted.times >= policy.unlisted_times_max);
    evidence.refused.as_ref().or(unlisted.map(|unlisted| &unlisted.failure))
}

/// Whether a query begun at `begun` must see everything that we ever sent.
fn grace_over(evidence: &Evidence, begun: Timestamp, policy: &Policy) -> bool {
    let Some(last_permit) = evidence.last_permit else {
        return true;
    };
    begun >= last_permit.plus(policy.call_timeout).plus(policy.grace)
}

/// Whether another send of ours may have taken effect unseen, so that a FAIL or a stranger's settle
/// must not end this one yet.
fn in_doubt(after: &Record, seen: &Observation, context: &Context<'_>) -> bool {
    let policy = context.policy;
    let sees_all = seen.scope == Scope::Number
        && context.lease == Lease::Held
        && grace_over(&after.evidence, seen.begun, policy);
    after.evidence.unanswered > 0 && !(policy.grace_proves && sees_all)
}

fn answered(after: &mut Record, seen: &Observation) {
    match seen.answers {
        Answers::OneSend => {
            after.evidence.unanswered = after.evidence.unanswered.saturating_sub(1);
        }
        Answers::Nothing => {}
    }
}

fn stop_sending(after: &mut Record, now: Timestamp) {
    after.evidence.exists_seen.get_or_insert(now);
}

fn enter(after: &mut Record, state: State) {
    after.state = state;
    after.last_error = None;
    after.evidence.refused = None;
}

/// Leaves a settle that failed for another one of ours: none of the old one's facts are its facts.
fn follow(after: &mut Record, state: State) {
    enter(after, state);
    after.facts = Facts::default();
    after.contradiction = None;
}

fn reject(after: &mut Record, rejection: Failure) {
    enter(after, State::Rejected { rejection });
}

/// The number is somebody else's and nothing of ours is alive under it: the record becomes theirs,
/// so that our content is never shown for their settle.
fn take_over(after: &mut Record, report: &Report) {
    after.origin = Origin::Platform;
    after.evidence = Evidence::default();
    after.facts = report.facts.clone();
    after.last_error = None;
    after.state = report.state();
}

fn contradict(
    after: &mut Record,
    claimed: &State,
    source: Source,
    time: Timestamp,
) -> Option<Alert> {
    let settle_id = claimed.settle_id()?.clone();
    let claimed = claimed.kind();
    after.contradiction.get_or_insert(Contradiction { claimed, settle_id, source, time });
    Some(Alert::Contradiction)
}

/// Fills in what is missing. What differs from an earlier word is kept out and told.
fn fill(after: &mut Record, new: &Facts) -> Option<Alert> {
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
    one(&mut old.settle_time, &new.settle_time, &mut differs);
    one(&mut old.auto_settle, &new.auto_settle, &mut differs);
    differs.then_some(Alert::DifferingFact)
}

/// Keeps Douyin's raw word, unless a later one is known already: reports arrive in any order.
fn keep_status(after: &mut Record, new: &Facts) {
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
