//! The life-cycle table: one test per observation, one line per state.

use super::*;
use ReportedStatus::{Fail, Init, Processing, Success, Unlisted};

/// How much of a record an observation may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Nothing,
    /// Evidence only: nothing that a caller can see.
    Evidence,
    Visible,
}
use Change::{Evidence as Quietly, Nothing, Visible};
use StateKind as In;

struct Cell<'a> {
    before: Record,
    seen: &'a Observation,
}

fn on(before: Record, seen: &Observation) -> Cell<'_> {
    Cell { before, seen }
}

impl Cell<'_> {
    /// Checks one cell of the table and returns the record after it.
    fn gives(self, state: StateKind, change: Change, alert: Option<Alert>) -> Record {
        let mut play = Play::of(&self.before);
        let got_alert = play.see(self.seen);
        let after = play.record;
        let got_change = if after == self.before {
            Nothing
        } else if after.revision == self.before.revision {
            Quietly
        } else {
            Visible
        };
        let cell = format!("{:?} of {:?}", self.seen.learned, self.before);
        assert_eq!((after.state.kind(), got_change, got_alert), (state, change, alert), "{cell}");
        after
    }
}

#[test]
fn accepted_makes_it_processing_or_fills_in_or_contradicts() {
    let seen = &answer(accepted("ots1"));
    let after = on(submitting(1), seen).gives(In::Processing, Visible, None);
    assert_eq!(after.state, State::Processing { settle_id: id("ots1") });
    on(submitting_exists(1), seen).gives(In::Processing, Visible, None);
    on(processing(0), seen).gives(In::Processing, Nothing, None);
    on(processing(1), seen).gives(In::Processing, Quietly, None);
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected(), seen).gives(In::Processing, Visible, Some(Alert::AliveAfterRejection));
}

#[test]
fn an_acceptance_fills_in_the_other_ids_wherever_the_settle_is() {
    let wallet = Some(WalletSettleId::parse("7273").unwrap());
    let inner = Some(InnerSettleId::parse("7274").unwrap());
    let with_all = AcceptedIds {
        settle_id: id("ots1"),
        wallet_settle_id: wallet.clone(),
        inner_settle_id: inner.clone(),
    };
    let seen = &again(answer(Learned::Accepted(with_all)));
    for (before, state) in [
        (submitting(1), In::Processing),
        (processing(0), In::Processing),
        (succeeded(), In::Succeeded),
        (failed(), In::Failed),
    ] {
        let after = on(before, seen).gives(state, Visible, None);
        assert_eq!(
            (&after.facts.wallet_settle_id, &after.facts.inner_settle_id),
            (&wallet, &inner)
        );
    }
}

#[test]
fn accepted_under_another_id_replaces_a_settle_that_failed_and_contradicts_any_other() {
    let seen = &answer(accepted("ots2"));
    let mut failing = Play::of(&processing(1));
    failing.sees(&[callback(ours("ots1", Fail))]);
    let after = on(failing.record, seen).gives(In::Processing, Visible, None);
    assert_eq!(after.state, State::Processing { settle_id: id("ots2") });
    assert_eq!(after.contradiction, None);
    for (before, state) in [
        (processing(0), In::Processing),
        (processing(1), In::Processing),
        (succeeded(), In::Succeeded),
        (failed(), In::Failed),
    ] {
        let recorded = before.state.clone();
        let after = on(before, seen).gives(state, Visible, Some(Alert::Contradiction));
        assert_eq!(after.state, recorded);
        let contradiction = after.contradiction.unwrap();
        assert_eq!(contradiction.settle_id, id("ots2"));
        assert_eq!(contradiction.claimed, In::Processing);
    }
}

#[test]
fn refused_rejects_only_if_nothing_else_is_unanswered_and_nothing_exists() {
    let seen = &answer(refused());
    let after = on(submitting(1), seen).gives(In::Rejected, Visible, None);
    assert_eq!(after.state, State::Rejected { rejection: no_money() });
    let after = on(submitting(2), seen).gives(In::Submitting, Visible, None);
    assert_eq!(after.evidence.refused, Some(no_money()));
    assert_eq!(after.last_error, Some(no_money()));
    on(submitting_exists(1), seen).gives(In::Submitting, Visible, None);
    on(processing(0), seen).gives(In::Processing, Nothing, None);
    on(processing(1), seen).gives(In::Processing, Quietly, None);
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected(), seen).gives(In::Rejected, Nothing, None);
    let after = on(rejected_by_grace(), seen).gives(In::Rejected, Quietly, None);
    assert_eq!(after.evidence.unanswered(), 0);
}

#[test]
fn unknown_leaves_everything_but_the_last_error_as_it_is() {
    for learned in [timeout(), system_error(), unlisted(99)] {
        // An unknown outcome answers no send, even if the observation claims it.
        for seen in [&answer(learned.clone()), &again(answer(learned))] {
            let after = on(submitting(1), seen).gives(In::Submitting, Visible, None);
            assert_eq!(after.evidence.unanswered(), 1);
            on(submitting(2), seen).gives(In::Submitting, Visible, None);
            on(submitting_exists(1), seen).gives(In::Submitting, Visible, None);
            on(processing(1), seen).gives(In::Processing, Nothing, None);
            on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
            on(failed(), seen).gives(In::Failed, Nothing, None);
            on(rejected(), seen).gives(In::Rejected, Nothing, None);
            on(rejected_by_grace(), seen).gives(In::Rejected, Nothing, None);
        }
    }
}

#[test]
fn not_sent_takes_its_own_send_back_and_no_other() {
    let seen = &answer(not_sent());
    let after = on(submitting(1), seen).gives(In::Submitting, Visible, None);
    assert_eq!(after.evidence.unanswered(), 0);
    let after = on(submitting(2), seen).gives(In::Submitting, Visible, None);
    assert_eq!(after.evidence.unanswered(), 1);
    on(submitting_exists(1), seen).gives(In::Submitting, Visible, None);
    on(processing(0), seen).gives(In::Processing, Nothing, None);
    on(processing(1), seen).gives(In::Processing, Quietly, None);
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected_by_grace(), seen).gives(In::Rejected, Quietly, None);
}

#[test]
fn exists_is_remembered_and_ends_nothing() {
    let seen = &answer(exists());
    let after = on(submitting(1), seen).gives(In::Submitting, Visible, None);
    assert_eq!(after.evidence.exists_seen, Some(at(0)));
    assert_eq!(after.evidence.unanswered(), 0, "the send was answered: it made nothing new");
    on(submitting_exists(1), seen).gives(In::Submitting, Quietly, None);
    on(submitting_exists(0), seen).gives(In::Submitting, Nothing, None);
    on(processing(0), seen).gives(In::Processing, Nothing, None);
    on(processing(1), seen).gives(In::Processing, Quietly, None);
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    let alert = Some(Alert::AliveAfterRejection);
    on(rejected(), seen).gives(In::Rejected, Nothing, alert);
    on(rejected_by_grace(), seen).gives(In::Rejected, Quietly, alert);
}

#[test]
fn reported_init_or_processing_makes_it_processing() {
    for status in [Init, Processing] {
        let report = ours("ots1", status);
        for seen in [&callback(report.clone()), &query(0, found([report.clone()]))] {
            let after = on(submitting(1), seen).gives(In::Processing, Visible, None);
            assert_eq!(after.state, State::Processing { settle_id: id("ots1") });
            assert_eq!(after.evidence.unanswered(), 1, "a report answers no send");
            on(submitting_exists(2), seen).gives(In::Processing, Visible, None);
            let after = on(processing(0), seen).gives(In::Processing, Visible, None);
            assert_eq!(after.facts.settle_status, report.facts.settle_status);
            on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
            on(failed(), seen).gives(In::Failed, Nothing, None);
            let alert = Some(Alert::AliveAfterRejection);
            on(rejected(), seen).gives(In::Processing, Visible, alert);
        }
    }
}

#[test]
fn reported_success_is_the_end() {
    let seen = &callback(ours("ots1", Success));
    for unanswered in [0, 1, 2] {
        on(submitting(unanswered), seen).gives(In::Succeeded, Visible, None);
        on(processing(unanswered), seen).gives(In::Succeeded, Visible, None);
    }
    on(submitting_exists(1), seen).gives(In::Succeeded, Visible, None);
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    let after = on(failed(), seen).gives(In::Failed, Visible, Some(Alert::Contradiction));
    assert_eq!(after.contradiction.unwrap().claimed, In::Succeeded);
    on(rejected(), seen).gives(In::Succeeded, Visible, Some(Alert::AliveAfterRejection));
}

#[test]
fn reported_fail_ends_it_only_if_no_send_is_unanswered() {
    let seen = &callback(ours("ots1", Fail));
    on(submitting(0), seen).gives(In::Failed, Visible, None);
    on(submitting_exists(0), seen).gives(In::Failed, Visible, None);
    let after = on(submitting(1), seen).gives(In::Submitting, Quietly, None);
    assert_eq!(after.evidence.exists_seen, Some(at(0)));
    on(submitting_exists(1), seen).gives(In::Submitting, Quietly, None);
    on(processing(0), seen).gives(In::Failed, Visible, None);
    let after = on(processing(1), seen).gives(In::Processing, Quietly, None);
    assert_eq!(after.evidence.failed, [id("ots1")]);
    let after = on(succeeded(), seen).gives(In::Succeeded, Visible, Some(Alert::Contradiction));
    assert_eq!(after.contradiction.unwrap().claimed, In::Failed);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected(), seen).gives(In::Rejected, Nothing, Some(Alert::AliveAfterRejection));
}

#[test]
fn an_unlisted_status_is_kept_raw_and_changes_no_state() {
    let seen = &callback(ours("ots1", Unlisted));
    let after = on(submitting(1), seen).gives(In::Submitting, Visible, None);
    assert_eq!(after.facts.settle_status, Some("FROZEN".to_owned()));
    let sendable = may_send(&after, at(0), &Policy::default());
    assert!(!sendable, "something of ours exists there");
    on(processing(1), seen).gives(In::Processing, Visible, None);
    let after = on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    assert_eq!(after.facts.settle_status, Some("SUCCESS".to_owned()));
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected(), seen).gives(In::Rejected, Nothing, Some(Alert::AliveAfterRejection));
}

#[test]
fn foreign_takes_the_record_over_only_if_no_send_is_unanswered() {
    for status in [Init, Processing, Success, Fail] {
        let report = theirs("ots9", status);
        let seen = &callback(report.clone());
        let heard = [(submitting(0), None), (submitting_exists(0), Some(number_taken()))];
        for (before, refused) in heard {
            let after = on(before, seen).gives(report.state().kind(), Visible, None);
            assert_eq!(after.origin, Origin::Platform);
            assert_eq!(after.state, report.state());
            assert_eq!(after.facts, report.facts);
            let kept = super::super::Evidence { refused, ..Default::default() };
            assert_eq!((after.evidence, after.last_error), (kept, None));
        }
        let after = on(submitting(1), seen).gives(In::Submitting, Quietly, None);
        assert_eq!(after.evidence.exists_seen, Some(at(0)));
        on(submitting_exists(1), seen).gives(In::Submitting, Nothing, None);
        for (before, state) in [
            (processing(0), In::Processing),
            (processing(1), In::Processing),
            (succeeded(), In::Succeeded),
            (failed(), In::Failed),
            (rejected(), In::Rejected),
            (rejected_by_grace(), In::Rejected),
        ] {
            on(before, seen).gives(state, Nothing, Some(Alert::ForeignSettle));
        }
    }
}

#[test]
fn absent_changes_nothing_before_it_proves_something() {
    let seen = &query(GRACE_OVER, Learned::Absent);
    for unanswered in [0, 1, 2] {
        on(submitting(unanswered), seen).gives(In::Submitting, Nothing, None);
        on(submitting_exists(unanswered), seen).gives(In::Submitting, Nothing, None);
        on(processing(unanswered), seen).gives(In::Processing, Nothing, None);
    }
    let mut play = Play::of(&submitting(1));
    assert!(play.at(GRACE_OVER).sees([seen]).sends(), "may send again");
    on(succeeded(), seen).gives(In::Succeeded, Nothing, None);
    on(failed(), seen).gives(In::Failed, Nothing, None);
    on(rejected(), seen).gives(In::Rejected, Nothing, None);
}
