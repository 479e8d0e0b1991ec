//! The small changes of which the rows of the life-cycle table consist. Only `state.rs`,
//! `report.rs`, `dispute.rs` and `ending.rs` use them.

use super::evidence::Evidence;
use super::failure::Failure;
use super::observation::{Alert, Context, Lease, Observation, Policy, Scope};
use super::reason::Reason;
use super::record::{Facts, Origin, Record, Report, State};
use crate::clock::Timestamp;

/// Whether a query begun at `begun` must see everything that we ever sent: the grace has passed
/// since the last moment at which a permitted send could leave.
pub(super) fn grace_over(evidence: &Evidence, begun: Timestamp, context: &Context<'_>) -> bool {
    let visible = visible_from(evidence, context.given, context.policy);
    evidence.last_permission.is_none() || visible.is_some_and(|visible| begun >= visible)
}

/// From when on a query must see everything that we ever sent; `None`: it is not known. `given` is
/// the field of [`Context`].
pub(super) fn visible_from(
    evidence: &Evidence,
    given: Option<Timestamp>,
    policy: &Policy,
) -> Option<Timestamp> {
    given.map(|given| given.plus(evidence.lasts()).plus(policy.grace))
}

/// Whether another send of ours may have taken effect unseen. Then a FAIL or another system's
/// settle must not end this one yet.
pub(super) fn in_doubt(after: &Record, seen: &Observation, context: &Context<'_>) -> bool {
    let policy = context.policy;
    let sees_all = seen.scope == Scope::Number
        && context.lease == Lease::Held
        && grace_over(&after.evidence, seen.begun, context);
    after.evidence.in_doubt() && !(policy.grace_proves && sees_all)
}

pub(super) fn stop_sending(after: &mut Record, now: Timestamp) {
    after.evidence.exists_seen.get_or_insert(now);
}

pub(super) fn enter(after: &mut Record, state: State) {
    after.state = state;
    after.last_error = None;
    // A record that became another system's keeps the reason why the number was not ours.
    if after.request().is_some() {
        after.evidence.refused = None;
    }
}

/// Leaves a settle that failed for another settle of ours. Facts of the old one are dropped.
pub(super) fn follow(after: &mut Record, state: State) {
    enter(after, state);
    after.facts = Facts::default();
    after.contradiction = None;
}

pub(super) fn reject(after: &mut Record, rejection: Failure) {
    enter(after, State::Rejected { rejection });
}

/// Another system uses the number and nothing of ours is alive under it. The record becomes that
/// system's settle, so that a caller never sees our content for it. Only Douyin's answer that the
/// number is taken is kept, for a caller that repeats the create.
pub(super) fn take_over(after: &mut Record, report: &Report) {
    let refused = after.last_error.take().filter(says_taken);
    after.origin = Origin::Platform;
    let set_back = after.evidence.set_back;
    after.evidence = Evidence { refused, set_back, ..Evidence::default() };
    after.decision = None;
    after.facts = report.lasting_facts();
    after.state = report.state();
}

/// Fills in missing facts. A fact that differs from the recorded one is not taken, and raises an
/// alert.
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
    one(&mut old.inner_settle_id, &new.inner_settle_id, &mut differs);
    one(&mut old.order_id, &new.order_id, &mut differs);
    one(&mut old.settle_amount, &new.settle_amount, &mut differs);
    one(&mut old.rake, &new.rake, &mut differs);
    one(&mut old.commission, &new.commission, &mut differs);
    one(&mut old.platform_ticket, &new.platform_ticket, &mut differs);
    one(&mut old.settle_detail, &new.settle_detail, &mut differs);
    one(&mut old.message, &new.message, &mut differs);
    // A callback and a query may mean different moments, so the first one stays, without an alert.
    one(&mut old.settle_time, &new.settle_time, &mut false);
    one(&mut old.auto_settle, &new.auto_settle, &mut differs);
    differs.then_some(Alert::DifferingFact)
}

/// Keeps Douyin's raw status, unless a later one is known already: reports arrive in any order.
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

pub(super) fn says_taken(failure: &Failure) -> bool {
    failure.reason == Reason::OutSettleNoExists
}
