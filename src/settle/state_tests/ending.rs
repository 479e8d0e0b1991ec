//! How an operator ends a settle: each condition, what Douyin's last answer forbids, and what
//! happens when Douyin says otherwise later.

use super::*;
use ReportedStatus::{Fail, Init, Processing, Success, Unlisted};

fn stop(revision: i64) -> Observation {
    stop_by(decision(), revision)
}

fn stop_by(decision: Decision, revision: i64) -> Observation {
    let learned = Learned::Stopped { revision, decision };
    Observation { source: Source::Operator, ..again(answer(learned)) }
}

/// A query begun when it proves something, whose answer the operator's word follows.
fn ended(revision: i64, end: End, found: Learned) -> Observation {
    ended_after(revision, end, Some(found))
}

fn ended_after(revision: i64, end: End, found: Option<Learned>) -> Observation {
    let decision = decision_of("ops", GRACE_OVER);
    let ending = Ending { end, revision, decision, found };
    query(GRACE_OVER, Learned::Ended(Box::new(ending)))
}

fn failed_as(settle_id: &str) -> End {
    End::Failed { settle_id: id(settle_id) }
}

fn succeeded_as(settle_id: &str) -> End {
    End::Succeeded { settle_id: id(settle_id) }
}

/// In doubt, and stopped when that may have been on its way.
fn stopped_once(before: &Record) -> Play {
    let mut play = Play::of(before);
    let revision = play.record.revision;
    play.at(0).sees(&[stop(revision)]);
    assert_eq!(play.record.revision, revision + 1, "callers see that an operator decided");
    play.at(GRACE_OVER);
    play
}

/// In doubt for as long as the grace proves nothing, and stopped again when nothing can be on its
/// way.
fn stopped(before: &Record) -> Play {
    let mut play = stopped_once(before);
    play.policy.grace_proves = false;
    let again = decision_of("ops", GRACE_OVER);
    play.sees(&[stop_by(again, play.record.revision)]);
    assert!(play.record.evidence.stop_confirmed);
    play
}

/// The state that this word leads to after this answer.
fn end(play: &Play, end: End, found: Learned) -> State {
    let mut play = play.clone();
    play.see(&ended(play.record.revision, end, found));
    play.record.state
}

#[test]
fn after_the_stop_nothing_is_permitted_and_the_word_of_the_operator_ends_it() {
    let mut play = stopped(&submitting(1));
    assert!(!play.at(1).sends());
    play.at(GRACE_OVER);
    play.sees(&[ended(play.record.revision, End::Rejected, Learned::Absent)]);
    let rejection = Failure::own(Reason::EndedByOperator);
    assert_eq!(play.record.state, State::Rejected { rejection });
    assert_eq!(play.record.decision.as_ref().map(|decision| decision.time), Some(at(GRACE_OVER)));
    assert!(!play.sends());
}

#[test]
fn without_any_one_condition_the_word_ends_nothing() {
    let play = stopped(&submitting(1));
    let revision = play.record.revision;
    let good = ended(revision, End::Rejected, Learned::Absent);
    let early = just_before(at(GRACE_OVER));
    let short = [
        ("another revision", ended(revision - 1, End::Rejected, Learned::Absent)),
        ("before the grace", Observation { begun: early, ..good.clone() }),
        ("not by number", Observation { scope: Scope::Single, ..good.clone() }),
        ("not a query", Observation { source: Source::Callback, ..good.clone() }),
    ];
    for (missing, seen) in &short {
        let mut play = play.clone();
        play.sees([seen]);
        assert_eq!(play.kind(), StateKind::Submitting, "{missing}");
    }
    let mut without_lease = play.clone();
    without_lease.lease = Lease::Lost;
    without_lease.sees([&good]);
    assert_eq!(without_lease.kind(), StateKind::Submitting);
    for grace_proves in [true, false] {
        let mut unstopped = Play::of(&submitting(1));
        unstopped.policy.grace_proves = grace_proves;
        unstopped.at(GRACE_OVER).sees(&[ended(1, End::Rejected, Learned::Absent)]);
        assert_eq!(unstopped.kind(), StateKind::Submitting);
    }
    let mut all = play;
    all.sees(&[good]);
    assert_eq!(all.kind(), StateKind::Rejected);
}

#[test]
fn why_an_operator_may_not_is_said() {
    let policy = Policy::default();
    let can = |record: &Record, revision, now| {
        can_end(record, revision, at(now), Heard::Answer, &context(record, at(now), &policy))
    };
    let play = stopped_once(&submitting(1));
    let until = Some(at(GRACE_OVER));
    assert_eq!(can(&play.record, 2, GRACE_OVER), Ok(()));
    assert_eq!(can(&play.record, 2, 5), Err(NotNow::TooEarly { until }));
    assert_eq!(can(&play.record, 1, GRACE_OVER), Err(NotNow::AnotherRevision));
    assert_eq!(can(&submitting(1), 1, GRACE_OVER), Err(NotNow::NotStopped));
    assert_eq!(can(&succeeded(), succeeded().revision, 5), Err(NotNow::AlreadyFinal));
    let doubting = Policy { grace_proves: false, ..Policy::default() };
    for (policy, heard) in [(&policy, Heard::Nothing), (&doubting, Heard::Answer)] {
        let can = |record: &Record| {
            let context = context(record, at(GRACE_OVER), policy);
            can_end(record, record.revision, at(GRACE_OVER), heard, &context)
        };
        assert_eq!(can(&play.record), Err(NotNow::NotConfirmed), "{heard:?}");
        assert_eq!(can(&stopped(&submitting(1)).record), Ok(()), "{heard:?}");
    }
    let answered = processing(0);
    assert_eq!(can_stop(&answered, answered.revision), Err(NotNow::NotInDoubt));
    let adopted = Record::adopted(key(), &bare("ots1", Processing), at(0));
    assert_eq!(can_stop(&adopted, 1), Err(NotNow::NotInDoubt));
}

#[test]
fn what_douyin_shows_last_decides_against_the_operator() {
    let play = stopped(&submitting(1));
    for status in [Init, Processing] {
        let after = end(&play, End::Rejected, found([ours("ots1", status)]));
        assert_eq!(after, State::Processing { settle_id: id("ots1") });
        let after = end(&play, failed_as("ots1"), found([ours("ots1", status)]));
        assert_eq!(after, State::Processing { settle_id: id("ots1") });
    }
    let after = end(&play, failed_as("ots1"), found([ours("ots1", Success)]));
    assert_eq!(after, State::Succeeded { settle_id: id("ots1") });
    // Something of ours was taken, so "nothing of ours" is false.
    for status in [Fail, Unlisted] {
        let after = end(&play, End::Rejected, found([ours("ots1", status)]));
        assert_eq!(after, State::Submitting, "{status:?}");
    }
    let after = end(&play, succeeded_as("ots1"), found([ours("ots1", Fail)]));
    assert_eq!(after, State::Submitting);
    let after = end(&play, succeeded_as("ots9"), found([theirs("ots9", Success)]));
    assert_eq!(after, State::Submitting, "that settle is another system's");
    let mut seen_before = play;
    seen_before.sees(&[callback(ours("ots1", Fail))]);
    assert_eq!(end(&seen_before, End::Rejected, Learned::Absent), State::Submitting);
}

#[test]
fn what_douyin_leaves_open_the_operator_decides() {
    let play = stopped(&submitting(1));
    let failed = || State::Failed { settle_id: id("ots1") };
    let succeeded = || State::Succeeded { settle_id: id("ots1") };
    assert_eq!(end(&play, failed_as("ots1"), Learned::Absent), failed());
    assert_eq!(end(&play, failed_as("ots1"), found([ours("ots1", Fail)])), failed());
    assert_eq!(end(&play, succeeded_as("ots1"), Learned::Absent), succeeded());
    let unlisted = || found([ours("ots1", Unlisted)]);
    let mut seen_before = play.clone();
    seen_before.sees(&[query(GRACE_OVER, unlisted())]);
    for (word, state) in [(failed_as("ots1"), failed()), (succeeded_as("ots1"), succeeded())] {
        assert_eq!(end(&play, word.clone(), unlisted()), State::Submitting, "that is news");
        assert_eq!(end(&seen_before, word, unlisted()), state);
    }
    let strangers = found([theirs("ots9", Success)]);
    let rejection = Failure::own(Reason::EndedByOperator);
    assert_eq!(end(&play, End::Rejected, strangers), State::Rejected { rejection });
}

/// Under a number that Douyin may take for ours.
fn maybe_ours(status: ReportedStatus) -> Report {
    let number = OutSettleNo::parse("S-1").unwrap();
    Report { out_settle_no: Some(number), ..ours("ots2", status) }
}

/// A settle that may be ours is shown for the first time by the query that comes before the end:
/// the operator has not seen it.
#[test]
fn a_settle_that_may_be_ours_forbids_an_end_by_an_operator_who_has_not_seen_it() {
    let play = stopped(&submitting(1));
    let mut seen_before = play.clone();
    seen_before.sees(&[query(GRACE_OVER, found([maybe_ours(Processing)]))]);
    let rejection = Failure::own(Reason::EndedByOperator);
    let rejected = State::Rejected { rejection };
    let failed = State::Failed { settle_id: id("ots1") };
    for status in [Init, Processing, Success] {
        for (word, state) in [(End::Rejected, &rejected), (failed_as("ots1"), &failed)] {
            let after = end(&play, word.clone(), found([maybe_ours(status)]));
            assert_eq!(after, State::Submitting, "{word:?} {status:?}");
            assert_eq!(end(&seen_before, word, found([maybe_ours(status)])), *state, "{status:?}");
        }
    }
}

/// A second settle of ours may have taken the number that the first one's FAIL freed.
#[test]
fn an_accepted_settle_is_left_only_if_it_failed() {
    let play = stopped(&processing(1));
    let settle_id = play.record.state.settle_id().expect("it is accepted").clone();
    let kept = play.record.state.clone();
    let own = settle_id.as_str();
    assert_eq!(end(&play, End::Rejected, Learned::Absent), kept);
    assert_eq!(end(&play, failed_as("other"), Learned::Absent), kept);
    assert_eq!(end(&play, succeeded_as("other"), Learned::Absent), kept);
    assert_eq!(end(&play, failed_as(own), found([ours(own, Processing)])), kept);
    let after = end(&play, failed_as(own), found([ours(own, Fail), ours("other", Processing)]));
    assert_eq!(after, State::Processing { settle_id: id("other") });
    let after = end(&play, failed_as(own), found([ours(own, Fail)]));
    assert_eq!(after, State::Failed { settle_id: settle_id.clone() });
    let mut failed = play;
    failed.sees(&[callback(ours(own, Fail))]);
    let after = end(&failed, succeeded_as("other"), Learned::Absent);
    assert_eq!(after, State::Succeeded { settle_id: id("other") });
    assert_eq!(end(&failed, succeeded_as(own), Learned::Absent), kept);
}

/// One of the two failed, and it is not known which.
#[test]
fn a_second_acceptance_forbids_failed_until_douyin_shows_that_it_failed_too() {
    let mut play = Play::of(&processing(1));
    assert_eq!(play.see(&answer(accepted("second"))), Some(Alert::Contradiction));
    let own = play.record.state.settle_id().unwrap().as_str().to_owned();
    let play = stopped(&play.record);
    let kept = play.record.state.clone();
    assert_eq!(end(&play, failed_as(&own), found([ours(&own, Fail)])), kept);
    let both = found([ours(&own, Fail), ours("second", Fail)]);
    assert_eq!(end(&play, failed_as(&own), both), State::Failed { settle_id: id(&own) });
}

#[test]
fn when_douyin_says_otherwise_later_the_money_is_not_hidden() {
    let mut play = stopped(&submitting(1));
    play.sees(&[ended(play.record.revision, End::Rejected, Learned::Absent)]);
    assert_eq!(play.see(&callback(ours("ots1", Success))), Some(Alert::AliveAfterRejection));
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
    for (word, later) in [(failed_as("ots1"), Success), (succeeded_as("ots1"), Fail)] {
        let mut play = stopped(&submitting(1));
        play.sees(&[ended(play.record.revision, word, Learned::Absent)]);
        assert!(play.record.owes_a_query(), "a decision brings no facts");
        let ended = play.record.state.clone();
        assert_eq!(play.see(&callback(ours("ots1", later))), Some(Alert::Contradiction));
        assert_eq!(play.record.state, ended);
    }
}

/// Douyin's answers cannot be read, or it rejects the credentials of the app.
#[test]
fn without_an_answer_the_word_counts_only_after_a_stop_that_was_confirmed() {
    let rejection = Failure::own(Reason::EndedByOperator);
    let once = stopped_once(&submitting(1));
    let twice = stopped(&submitting(1));
    for (play, state) in [(once, State::Submitting), (twice, State::Rejected { rejection })] {
        let mut play = play.clone();
        play.sees(&[ended_after(play.record.revision, End::Rejected, None)]);
        assert_eq!(play.record.state, state);
    }
    // What Douyin has told before speaks against it all the same.
    let mut play = stopped(&submitting(1));
    play.sees(&[callback(ours("ots1", Fail))]);
    play.sees(&[ended_after(play.record.revision, End::Rejected, None)]);
    assert_eq!(play.kind(), StateKind::Submitting);
}

#[test]
fn a_stop_is_confirmed_only_once_nothing_can_be_on_its_way() {
    let mut play = stopped_once(&submitting(1));
    let revision = play.record.revision;
    let mut stops_at = |seconds, seen| {
        play.at(seconds).sees(&[stop_by(decision_of("ops", seconds), seen)]);
        (play.record.evidence.stop_confirmed, play.record.revision)
    };
    assert_eq!(stops_at(GRACE_OVER - 1, revision), (false, revision));
    assert_eq!(stops_at(GRACE_OVER, revision), (true, revision + 1));
    assert_eq!(stops_at(GRACE_OVER + 1, revision + 1), (true, revision + 1), "it is confirmed");
    // The first stop says nothing about what Douyin was asked before it, however late it comes.
    let mut late = Play::of(&submitting(1));
    late.at(GRACE_OVER).sees(&[stop(1)]);
    assert!(late.record.evidence.stopped && !late.record.evidence.stop_confirmed);
}

#[test]
fn a_stop_by_another_operator_is_recorded_and_the_same_one_again_is_not() {
    let mut play = stopped_once(&submitting(1));
    let (first, revision) = (play.record.decision.clone(), play.record.revision);
    let again = Decision { time: at(5), ..decision() };
    play.at(5).sees(&[stop_by(again, revision)]);
    assert_eq!((&play.record.decision, play.record.revision), (&first, revision));
    let other = decision_of("bob", 6);
    play.at(6).sees(&[stop_by(other.clone(), revision)]);
    assert_eq!((&play.record.decision, play.record.revision), (&Some(other), revision + 1));
    let why = Why::parse("ticket 4712").unwrap();
    let another = Decision { why, ..decision_of("bob", 7) };
    play.at(7).sees(&[stop_by(another.clone(), revision + 1)]);
    assert_eq!(play.record.decision, Some(another));
    let old = decision_of("alice", 8);
    let before = play.record.clone();
    play.at(8).sees(&[stop_by(old, revision)]);
    assert_eq!(play.record, before, "it saw another revision");
}

/// Douyin showed it once with a status that no document lists, and does not show it any more.
#[test]
fn a_settle_of_ours_that_was_shown_is_never_called_rejected() {
    let mut play = stopped(&submitting(1));
    play.sees(&[query(GRACE_OVER, found([ours("ots1", Unlisted)]))]);
    assert_eq!(end(&play, End::Rejected, Learned::Absent), State::Submitting);
    assert_eq!(
        end(&play, failed_as("ots1"), Learned::Absent),
        State::Failed { settle_id: id("ots1") }
    );
}
