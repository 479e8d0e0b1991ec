//! The shortest ways to pay twice with one rule of the life cycle left out, played against the real
//! functions. Each test has the name of that rule (`but-…`), and ends where the broken variant
//! would have told its caller to pay again.
//!
//! Two are missing, because floor 0 has no part in them: `but-not_sent-frees` (a promise of the
//! contract), and the fence of a permission (a condition of the store's write; what `permit`
//! refuses is here).

use super::*;
use ReportedStatus::{Fail, Processing, Success};
use StateKind as In;

/// Two sends are in flight: the creator's, and the poller's after it took the lease.
fn two_in_flight() -> Play {
    Play::of(&submitting(2))
}

/// The caller was told nothing that would permit another number.
fn nothing_told(play: &Play) {
    assert!(play.record.request().is_some(), "told that another system has the number");
    let told = matches!(play.kind(), In::Rejected | In::Failed);
    assert!(!told, "told: {:?}", play.record.state);
}

#[test]
fn but_recreate_by_any_repeat() {
    let mut play = Play::recorded();
    play.sees(&[answer(refused())]);
    assert_eq!(play.kind(), In::Rejected);
    assert!(!play.sends(), "a repeat of the create never sends again");
}

#[test]
fn but_plus_one_unfenced_after_a_strangers_fail() {
    let mut play = Play::recorded();
    play.sees(&[callback(theirs("ots0", Fail))]);
    nothing_told(&play);
    assert!(!play.sends());
    let mut play = Play::of(&submitting(0));
    play.sees(&[callback(theirs("ots0", Fail))]);
    assert!(!play.sends(), "told that another system has the number, so never sends again");
}

#[test]
fn but_plus_one_unfenced_after_a_refusal() {
    let mut play = two_in_flight();
    play.sees(&[answer(refused())]);
    nothing_told(&play);
    play.sees(&[answer(refused())]);
    assert_eq!(play.kind(), In::Rejected);
    assert!(!play.sends());
}

#[test]
fn but_plus_one_unfenced_after_a_fail() {
    let mut play = Play::recorded();
    play.sees(&[answer(accepted("ots0")), callback(ours("ots0", Fail))]);
    assert_eq!(play.kind(), In::Failed);
    assert!(!play.sends());
}

#[test]
fn but_query_begun_before_grace() {
    let mut play = Play::recorded();
    play.record = request_with_window(&play.record, 605);
    play.at(GRACE_OVER + HOUR);
    let begun = just_before(at(GRACE_OVER));
    play.sees(&[query_at(begun, Learned::Absent), query_at(begun, Learned::Absent)]);
    nothing_told(&play);
}

#[test]
fn but_fail_at_once() {
    let mut play = two_in_flight();
    play.sees(&[callback(ours("ots0", Fail))]);
    nothing_told(&play);
    play.at(GRACE_OVER);
    let both = found([ours("ots0", Fail), ours("ots1", Success)]);
    play.sees(&[query(GRACE_OVER, both)]);
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
}

#[test]
fn but_stranger_at_once() {
    let mut play = Play::recorded();
    play.sees(&[callback(theirs("ots0", Fail))]);
    nothing_told(&play);
    play.at(GRACE_OVER);
    let both = found([theirs("ots0", Fail), ours("ots1", Success)]);
    play.sees(&[query(GRACE_OVER, both)]);
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
}

#[test]
fn but_callback_ends_in_doubt() {
    for report in [theirs("ots0", Fail), ours("ots0", Fail)] {
        for mut play in [Play::recorded(), two_in_flight()] {
            let late = GRACE_OVER + HOUR;
            play.at(late).sees(&[Observation { begun: at(late), ..callback(report.clone()) }]);
            nothing_told(&play);
        }
    }
}

/// Douyin accepts a second send only because the first settle failed. So the acceptance of another
/// settle means a failure, whenever the FAIL itself is seen.
#[test]
fn but_first_id_stays_when_both_acceptances_come_before_the_fail() {
    let mut play = two_in_flight();
    play.see(&answer(accepted("ots0")));
    play.see(&answer(accepted("ots1")));
    play.see(&callback(ours("ots0", Fail)));
    nothing_told(&play);
}

#[test]
fn but_first_id_stays_when_the_first_acceptance_comes_last() {
    let mut play = two_in_flight();
    play.see(&answer(accepted("ots1")));
    play.see(&answer(accepted("ots0")));
    play.see(&callback(ours("ots0", Fail)));
    nothing_told(&play);
    play.see(&callback(ours("ots1", Success)));
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
}

#[test]
fn but_first_id_stays_when_the_fail_comes_between_the_acceptances() {
    let mut play = two_in_flight();
    let seen = [answer(accepted("ots0")), callback(ours("ots0", Fail)), answer(accepted("ots1"))];
    play.sees(&seen);
    nothing_told(&play);
    play.sees(&[callback(ours("ots1", Success))]);
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
}

#[test]
fn but_first_id_stays_when_a_stranger_failed_first() {
    let mut play = Play::recorded();
    play.at(GRACE_OVER);
    let both = found([theirs("ots0", Fail), ours("ots1", Processing)]);
    play.sees(&[query(GRACE_OVER, both)]);
    assert_eq!(play.record.state, State::Processing { settle_id: id("ots1") });
}

#[test]
fn but_foreign_reopens_rejected() {
    for mut play in [Play::of(&rejected()), Play::of(&rejected_by_grace())] {
        let before = play.record.clone();
        let alert = play.see(&callback(theirs("ots0", Success)));
        assert_eq!(alert, Some(Alert::ForeignSettle));
        assert_eq!(play.record, before);
    }
}

#[test]
fn but_exists_reopens_rejected() {
    let mut play = two_in_flight();
    play.sees(&[answer(refused())]);
    play.at(GRACE_OVER).sees(&[query(GRACE_OVER, Learned::Absent)]);
    assert_eq!(play.kind(), In::Rejected);
    assert!(play.see(&answer(exists())).is_some());
    assert_eq!(play.kind(), In::Rejected);
    assert!(!play.sends());
}

#[test]
fn but_exists_is_unknown() {
    let mut play = Play::recorded();
    play.sees(&[answer(timeout())]);
    play.at(GRACE_OVER).sees(&[query(GRACE_OVER, found([theirs("ots0", Success)]))]);
    assert_eq!(play.record.origin, Origin::Platform, "the caller learns whose number it is");
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots0") });
}

#[test]
fn but_fence_and_absent_by_generation() {
    let mut play = Play::of(&rejected_by_grace());
    let before = play.record.clone();
    assert!(!play.sends(), "there is no second generation");
    play.lease = Lease::Lost;
    play.sees(&[query(GRACE_OVER, Learned::Absent), answer(refused())]);
    assert_eq!(play.record, before);
}

#[test]
fn mutant_refusal_of_a_resend_is_proof() {
    let mut play = two_in_flight();
    play.sees(&[answer(refused())]);
    nothing_told(&play);
    play.sees(&[callback(ours("ots0", Success))]);
    assert_eq!(play.kind(), In::Succeeded);
}

#[test]
fn mutant_no_grace() {
    let mut play = Play::recorded();
    play.record = request_with_window(&play.record, 1);
    play.at(WINDOW_END);
    play.sees(&[query(1, Learned::Absent), query(2, Learned::Absent)]);
    nothing_told(&play);
    let mut play = two_in_flight();
    play.sees(&[answer(refused()), query(1, Learned::Absent)]);
    nothing_told(&play);
}

/// The stale worker's query began when the grace of all sends that it knew was over. Another send
/// left while its answer was on the way.
#[test]
fn mutant_no_fence() {
    for report in [ours("ots0", Fail), theirs("ots0", Processing)] {
        for lease in [Lease::Lost, Lease::Held] {
            let mut play = Play::recorded();
            play.at(GRACE_OVER);
            assert!(play.sends());
            play.lease = lease;
            play.at(3 * GRACE_OVER).sees(&[query(GRACE_OVER, found([report.clone()]))]);
            nothing_told(&play);
        }
    }
}

/// Not in the model: an acceptance that names no settle ("err_no 0 without an id"). It must count
/// as an answer to no send, because it does not prove that nothing of ours exists.
#[test]
fn an_acceptance_without_an_id_leaves_its_send_in_doubt() {
    let nameless = again(answer(Learned::Exists(Failure::own(Reason::AcceptedWithoutId))));
    let mut play = Play::recorded();
    play.sees(&[nameless.clone(), callback(theirs("ots0", Fail))]);
    nothing_told(&play);
    play.at(HOUR).see(&query(HOUR, Learned::Absent));
    nothing_told(&play);
    let mut play = two_in_flight();
    play.sees(&[answer(accepted("ots0")), nameless, callback(ours("ots0", Fail))]);
    nothing_told(&play);
}

fn request_with_window(record: &Record, ends: i64) -> Record {
    let mut record = record.clone();
    let mut request = request(Mark::On);
    request.submit_before = at(ends);
    record.origin = Origin::Gateway(request);
    record
}

#[test]
fn a_window_shorter_than_the_grace_permits_no_second_send() {
    let mut play = Play::recorded();
    play.record = request_with_window(&play.record, 600);
    assert!(!play.sends());
    assert_eq!(play.see(&callback(ours("ots0", Processing))), None);
}
