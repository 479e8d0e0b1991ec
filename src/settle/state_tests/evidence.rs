//! The rules below the table about what may be believed: refusals, empty answers, FAIL and other
//! systems' settles while a send is unanswered, 23111, unlisted numbers, the end of the window.

use super::*;
use ReportedStatus::{Fail, Processing, Success};
use StateKind as In;

/// An empty query that would end the settle if it proved something.
struct Empty {
    begun: Timestamp,
    scope: Scope,
    lease: Lease,
    grace_proves: bool,
}

/// A query begun at the first moment at which it proves something, by the holder of the lease.
fn proving() -> Empty {
    Empty { begun: at(GRACE_OVER), scope: Scope::Number, lease: Lease::Held, grace_proves: true }
}

impl Empty {
    fn seen_by(&self, play: &mut Play) -> StateKind {
        self.learned_by(play, Learned::Absent)
    }

    /// May be recorded late: only when it began counts.
    fn learned_by(&self, play: &mut Play, learned: Learned) -> StateKind {
        play.policy.grace_proves = self.grace_proves;
        play.lease = self.lease;
        play.at(WINDOW_END)
            .see(&Observation { scope: self.scope, ..query_at(self.begun, learned) });
        play.kind()
    }
}

/// The proof with one condition missing, for each condition.
fn one_condition_short() -> [(&'static str, Empty); 5] {
    [
        ("begun just before the grace", Empty { begun: just_before(at(GRACE_OVER)), ..proving() }),
        ("begun before the send", Empty { begun: at(-1), ..proving() }),
        ("not by number", Empty { scope: Scope::Single, ..proving() }),
        ("the lease is lost", Empty { lease: Lease::Lost, ..proving() }),
        ("the grace proves nothing", Empty { grace_proves: false, ..proving() }),
    ]
}

#[test]
fn a_refused_resend_is_final_only_with_an_empty_query_begun_after_the_grace() {
    let mut play = Play::of(&submitting(2));
    play.sees(&[answer(refused())]);
    assert_eq!((play.kind(), play.unanswered()), (In::Submitting, 1));
    for (missing, empty) in one_condition_short() {
        assert_eq!(empty.seen_by(&mut play.clone()), In::Submitting, "{missing}");
    }
    assert_eq!(proving().seen_by(&mut play), In::Rejected);
    assert_eq!(play.record.state, State::Rejected { rejection: no_money() });
}

#[test]
fn an_unknown_outcome_is_never_treated_as_refused() {
    for learned in [timeout(), system_error(), unlisted(99)] {
        let mut play = Play::recorded();
        play.sees(&[answer(learned)]);
        assert_eq!(play.unanswered(), 1);
        for hours in 1..60 {
            let begun = hours * HOUR;
            play.at(begun).sees(&[query(begun, Learned::Absent)]);
        }
        assert_eq!(play.kind(), In::Submitting);
        assert!(play.sends(), "the same bytes may go out again");
    }
}

#[test]
fn an_acceptance_after_a_refused_resend_settles_the_matter() {
    let mut play = Play::of(&submitting(2));
    play.sees(&[answer(refused()), answer(accepted("ots1"))]);
    assert_eq!(play.kind(), In::Processing);
    assert_eq!(
        (play.record.evidence.refused.clone(), play.record.last_error.clone()),
        (None, None)
    );
}

#[test]
fn every_refusal_answered_is_a_rejection_even_where_the_grace_proves_nothing() {
    let mut play = Play::of(&submitting(2));
    play.policy.grace_proves = false;
    play.sees(&[answer(refused()), answer(refused())]);
    assert_eq!(play.kind(), In::Rejected);
}

#[test]
fn the_grace_starts_again_with_every_send() {
    let mut play = Play::recorded();
    play.at(300);
    assert!(play.sends());
    play.sees(&[answer(refused())]);
    let early = 300 + GRACE_OVER - 1;
    play.at(early).sees(&[query(early, Learned::Absent)]);
    assert_eq!(play.kind(), In::Submitting);
    play.at(early + 1).sees(&[query(early + 1, Learned::Absent)]);
    assert_eq!(play.kind(), In::Rejected);
}

#[test]
fn negative_evidence_of_a_lost_lease_changes_nothing() {
    let expired = WINDOW_END + GRACE_OVER;
    for learned in [refused(), timeout(), unlisted(99), not_sent()] {
        for before in [submitting(1), submitting(2), submitting_exists(1), processing(1)] {
            let mut play = Play::of(&before);
            play.lease = Lease::Lost;
            play.sees(&[answer(learned.clone())]);
            assert_eq!(play.record, before, "{learned:?}");
        }
    }
    for before in [submitting(1), submitting_exists(1), submitting_exists(0)] {
        let mut play = Play::of(&before);
        play.lease = Lease::Lost;
        play.at(expired).sees(&[query(expired, Learned::Absent)]);
        assert_eq!(play.record, before);
    }
}

#[test]
fn facts_count_with_and_without_the_lease() {
    let facts = [
        (answer(accepted("ots1")), In::Processing),
        (callback(ours("ots1", Processing)), In::Processing),
        (query(0, found([ours("ots1", Success)])), In::Succeeded),
    ];
    for (seen, state) in facts {
        let mut play = Play::recorded();
        play.lease = Lease::Lost;
        play.sees(&[seen]);
        assert_eq!(play.kind(), state);
    }
    let mut play = Play::recorded();
    play.lease = Lease::Lost;
    play.sees(&[answer(exists())]);
    assert!(play.record.evidence.exists_seen.is_some());
}

#[test]
fn in_doubt_fail_and_foreign_wait_for_a_query_by_number_after_the_grace_under_the_lease() {
    let fail = || found([ours("ots1", Fail)]);
    let foreign = || found([theirs("ots9", Processing)]);
    let cases = [
        ("FAIL while submitting", submitting(1), fail(), In::Failed),
        ("FAIL while processing", processing(1), fail(), In::Failed),
        ("Foreign while submitting", submitting(1), foreign(), In::Processing),
    ];
    for (case, before, learned, end) in cases {
        let kept = before.state.clone();
        for (missing, empty) in one_condition_short() {
            let mut play = Play::of(&before);
            empty.learned_by(&mut play, learned.clone());
            assert_eq!(play.record.state, kept, "{case}: {missing}");
            assert!(play.record.request().is_some(), "{case}: {missing}");
            assert!(!play.at(0).sends(), "{case}: {missing}: it stops sending");
        }
        let mut play = Play::of(&before);
        assert_eq!(proving().learned_by(&mut play, learned), end, "{case}");
        assert_eq!(play.record.request().is_some(), case.starts_with("FAIL"), "{case}");
    }
}

#[test]
fn in_doubt_no_callback_ends_anything_however_late_it_comes() {
    for report in [ours("ots1", Fail), theirs("ots9", Fail), theirs("ots9", Success)] {
        for before in [submitting(1), submitting_exists(2)] {
            let mut play = Play::of(&before);
            play.at(WINDOW_END + HOUR);
            play.see(&Observation { begun: at(WINDOW_END + HOUR), ..callback(report.clone()) });
            assert_eq!(play.record.state, State::Submitting);
            assert!(play.record.request().is_some());
        }
    }
}

#[test]
fn exists_and_still_absent_after_an_hour_rejects_only_if_all_sends_were_answered() {
    let hour = at(HOUR);
    for (unanswered, end) in [(0, In::Rejected), (1, In::Submitting)] {
        let mut play = Play::of(&submitting_exists(unanswered));
        play.at(HOUR);
        assert_eq!(play.see(&query_at(just_before(hour), Learned::Absent)), None);
        assert_eq!(play.kind(), In::Submitting);
        assert_eq!(play.see(&query_at(hour, Learned::Absent)), Some(Alert::ExistsButAbsent));
        assert_eq!(play.kind(), end, "{unanswered} unanswered");
    }
}

#[test]
fn the_hour_counts_from_the_first_23111() {
    let mut play = Play::of(&submitting_exists(1));
    play.at(1_000).sees(&[answer(exists())]);
    assert_eq!(play.record.evidence.exists_seen, Some(at(0)));
}

/// A rejection is shown for ever, and its reason decides what the caller does.
#[test]
fn the_rejection_of_a_taken_number_never_names_an_unknown_outcome() {
    let mut play = Play::of(&submitting(2));
    play.sees(&[answer(exists()), answer(not_sent())]);
    play.at(HOUR).see(&query(HOUR, Learned::Absent));
    let State::Rejected { rejection } = play.record.state else {
        panic!("all its sends were answered: {:?}", play.record.state);
    };
    assert_eq!(rejection.reason, Reason::OutSettleNoExists);
}

#[test]
fn a_settle_that_failed_in_doubt_is_never_rejected_as_if_it_had_not_existed() {
    let mut play = Play::of(&submitting(2));
    play.sees(&[callback(ours("ots1", Fail)), answer(refused()), answer(refused())]);
    assert_eq!(play.unanswered(), 0);
    play.at(HOUR).see(&query(HOUR, Learned::Absent));
    assert_ne!(play.kind(), In::Rejected, "Douyin accepted it once: it is FAILED or in doubt");
}

#[test]
fn the_same_unlisted_number_three_times_and_an_empty_query_after_the_grace_is_a_refusal() {
    let mut play = Play::recorded();
    play.sees(&[answer_at(0, unlisted(99))]);
    assert!(play.sends());
    play.sees(&[answer_at(1, unlisted(99))]);
    assert_eq!(proving().seen_by(&mut play.clone()), In::Submitting, "twice is not enough");
    assert!(play.at(0).sends());
    play.sees(&[answer_at(2, unlisted(99))]);
    assert!(!play.sends(), "another send would start the grace again");
    for (missing, empty) in one_condition_short() {
        assert_eq!(empty.seen_by(&mut play.clone()), In::Submitting, "{missing}");
    }
    assert_eq!(proving().seen_by(&mut play), In::Rejected);
    let rejection = failure(Reason::DouyinError, 99);
    assert_eq!(play.record.state, State::Rejected { rejection });
}

#[test]
fn unlisted_numbers_count_only_if_they_are_the_same_and_in_a_row() {
    for between in [unlisted(98), timeout(), system_error()] {
        let mut play = Play::of(&submitting(4));
        let row = [unlisted(99), unlisted(99), between.clone(), unlisted(99)];
        for (begun, learned) in (0..).zip(row) {
            play.sees(&[answer_at(begun, learned)]);
        }
        assert_eq!(proving().seen_by(&mut play), In::Submitting, "{between:?}");
        assert!(play.at(0).sends());
    }
}

#[test]
fn the_window_expires_with_the_second_empty_query_begun_after_it_and_after_the_grace() {
    for unanswered in [0, 1, 2] {
        let mut play = Play::of(&submitting(unanswered));
        let end = at(WINDOW_END);
        play.at(WINDOW_END + HOUR);
        for _ in 0..3 {
            play.sees(&[query_at(just_before(end), Learned::Absent)]);
        }
        play.sees(&[query_at(end, Learned::Absent)]);
        assert_eq!(play.kind(), In::Submitting, "one is not enough");
        play.sees(&[query(WINDOW_END + 60, Learned::Absent)]);
        let rejection = Failure::own(Reason::SubmissionExpired);
        assert_eq!(play.record.state, State::Rejected { rejection });
    }
}

/// If the grace proves nothing, only settles with a send in doubt wait for it.
#[test]
fn without_the_proof_by_grace_a_settle_expires_if_no_send_is_in_doubt() {
    for (unanswered, kind) in [(0, In::Rejected), (1, In::Submitting)] {
        let mut play = Play::of(&submitting(unanswered));
        play.policy.grace_proves = false;
        play.at(WINDOW_END + HOUR);
        play.sees(&[query(WINDOW_END, Learned::Absent), query(WINDOW_END + 60, Learned::Absent)]);
        assert_eq!(play.kind(), kind, "{unanswered} unanswered");
    }
}

/// The calls after the last possible permission end ten seconds after the window.
#[test]
fn a_send_permitted_at_the_last_moment_delays_expiry_until_its_grace_is_over() {
    let last = just_before(at(SENDING_ENDS));
    let mut play = Play::recorded();
    play.now = last;
    assert!(play.sends());
    let over = last.plus(Duration::from_secs(10 + 600));
    assert!(over > at(WINDOW_END));
    play.at(WINDOW_END + HOUR);
    for _ in 0..3 {
        play.sees(&[query_at(just_before(over), Learned::Absent)]);
    }
    assert_eq!(play.kind(), In::Submitting);
    play.sees(&[query_at(over, Learned::Absent), query(WINDOW_END + 60, Learned::Absent)]);
    assert_eq!(play.kind(), In::Rejected);
}

#[test]
fn expiry_is_one_condition_short_of_happening() {
    type Change = fn(&mut Play);
    let cases: [(&str, Change, u32); 4] = [
        ("nine attempts", |play| play.attempts = 9, 1),
        ("the lease is lost", |play| play.lease = Lease::Lost, 1),
        ("the grace proves nothing", |play| play.policy.grace_proves = false, 1),
        ("23111 was seen", |play| assert_eq!(play.see(&answer(exists())), None), 2),
    ];
    for (missing, change, unanswered) in cases {
        let mut play = Play::of(&submitting(unanswered));
        change(&mut play);
        for seconds in [0, 60, 120, 180] {
            let begun = WINDOW_END + seconds;
            play.at(begun).see(&query(begun, Learned::Absent));
        }
        assert_eq!(play.kind(), In::Submitting, "{missing}");
    }
    let mut play = Play::of(&submitting(1));
    for seconds in [0, 60, 120, 180] {
        let begun = WINDOW_END + seconds;
        play.at(begun).sees(&[query_by_id(begun, Learned::Absent)]);
    }
    assert_eq!(play.kind(), In::Submitting, "a query by id says nothing about the number");
}

#[test]
fn expiry_after_a_known_last_error_is_still_called_expiry() {
    let mut play = Play::of(&submitting(1));
    play.sees(&[answer(timeout())]);
    play.at(WINDOW_END).sees(&[query(WINDOW_END, Learned::Absent)]);
    play.sees(&[query(WINDOW_END + 1, Learned::Absent)]);
    let rejection = Failure::own(Reason::SubmissionExpired);
    assert_eq!(play.record.state, State::Rejected { rejection });
}

/// After a failed commit it is not known whether the first of the two was counted.
#[test]
fn the_same_empty_query_recorded_twice_is_one_empty_query() {
    let mut play = Play::of(&submitting(1));
    let empty = query(WINDOW_END, Learned::Absent);
    play.at(WINDOW_END).sees(&[empty.clone(), empty]);
    assert_eq!(play.kind(), In::Submitting, "expiry needs two queries");
}

/// The clock was days ahead when the first empty query was counted, and was corrected since.
#[test]
fn a_moment_of_another_clock_keeps_nothing_from_being_counted() {
    let mut play = Play::of(&submitting(1));
    play.record.evidence.empties_after_expiry = 1;
    play.record.evidence.last_counted = Some(at(WINDOW_END + 72 * HOUR));
    play.at(WINDOW_END).sees(&[query(WINDOW_END, Learned::Absent)]);
    assert_eq!(play.kind(), In::Rejected);
}

#[test]
fn the_same_unlisted_answer_recorded_twice_is_one_answer() {
    let mut play = Play::recorded();
    let seen = again(answer(unlisted(99)));
    play.sees([&seen]);
    let once = play.record.clone();
    play.sees(&[seen]);
    assert_eq!(play.record, once);
}
