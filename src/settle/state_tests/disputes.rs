//! Contradictions and how they end; two records of one settle.

use super::*;
use crate::settle::merge::{Merged, can_be_merged};
use crate::settle::{Unresolved, Verdict, can_resolve};

/// An operator decides about this record.
fn operator(record: &Record, verdict: Verdict) -> Observation {
    operator_at(record.revision, verdict, decision())
}

fn operator_at(revision: i64, verdict: Verdict, decision: Decision) -> Observation {
    let learned = Learned::Resolved { revision, verdict, decision };
    Observation { source: Source::Operator, ..again(answer(learned)) }
}

fn can(record: &Record, verdict: Verdict) -> Result<(), Unresolved> {
    can_resolve(record, record.revision, verdict).map(drop)
}

/// Merges without a history.
fn merge(before: &Record, after: Transition, other: &Record, context: &Context<'_>) -> Transition {
    crate::settle::merge::merge(before, after, other, Vec::new(), context).after
}

/// SUCCEEDED or FAILED, and Douyin said the opposite of the same settle.
fn disputed(first: ReportedStatus, second: ReportedStatus) -> Play {
    let mut play = Play::recorded();
    play.sees(&[answer(accepted("ots1")), callback(ours("ots1", first))]);
    assert_eq!(play.see(&callback(ours("ots1", second))), Some(Alert::Contradiction));
    assert!(play.record.open_contradiction().is_some() && play.record.owes_a_query());
    play
}

#[test]
fn the_recorded_word_can_stand() {
    let mut play = disputed(ReportedStatus::Success, ReportedStatus::Fail);
    let (state, facts, revision) =
        (play.record.state.clone(), play.record.facts.clone(), play.record.revision);
    assert_eq!(can(&play.record, Verdict::Recorded), Ok(()));
    let decided = operator_at(revision, Verdict::Recorded, decision_of("ops", 90));
    play.at(90).sees(&[decided]);
    assert_eq!((&play.record.state, &play.record.facts), (&state, &facts));
    assert_eq!(play.record.open_contradiction(), None);
    assert!(!play.record.owes_a_query());
    assert_eq!(play.record.revision, revision + 1);
    let Decision { by, why, time } = play.record.decision.clone().expect("it is kept");
    let by = by.as_ref().map(CallerName::as_str);
    assert_eq!((by, why.as_str(), time), (Some("ops"), "Douyin's support says so", at(90)));
}

#[test]
fn the_claimed_word_can_stand_and_what_it_means_is_asked_for() {
    let mut play = disputed(ReportedStatus::Fail, ReportedStatus::Success);
    assert_eq!(can(&play.record, Verdict::Claimed), Ok(()));
    let decided = operator(&play.record, Verdict::Claimed);
    play.at(90).sees(&[decided]);
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
    assert_eq!(play.record.open_contradiction(), None);
    assert_eq!(play.record.facts.settle_amount, None);
    assert!(play.record.owes_a_query(), "what the failed settle had is not what this one has");
    play.sees(&[callback(ours("ots1", ReportedStatus::Success))]);
    assert!(!play.record.owes_a_query());
}

/// The screen showed another word of Douyin's, or the other operator's decision was not seen.
#[test]
fn who_saw_another_revision_decides_nothing() {
    let play = disputed(ReportedStatus::Fail, ReportedStatus::Success);
    let revision = play.record.revision;
    for old in [revision - 1, revision + 1] {
        let told = can_resolve(&play.record, old, Verdict::Claimed);
        assert_eq!(told.map(drop), Err(Unresolved::AnotherRevision));
        let mut play = play.clone();
        let before = play.record.clone();
        play.sees(&[operator_at(old, Verdict::Claimed, decision())]);
        assert_eq!(play.record, before);
    }
    let mut play = play;
    let first = decision_of("alice", 3);
    play.sees(&[operator_at(revision, Verdict::Recorded, first.clone())]);
    play.sees(&[operator_at(revision, Verdict::Claimed, decision_of("bob", 3))]);
    assert_eq!((play.kind(), &play.record.decision), (StateKind::Failed, &Some(first)));
}

/// Its answer was on its way when the operator decided.
#[test]
fn a_word_from_before_the_decision_does_not_pay_the_query_that_it_asks_for() {
    let mut play = disputed(ReportedStatus::Fail, ReportedStatus::Success);
    play.sees(&[operator(&play.record, Verdict::Claimed)]);
    for early in [ReportedStatus::Init, ReportedStatus::Processing] {
        play.sees(&[query_by_id(0, found([ours("ots1", early)]))]);
        assert_eq!(play.record.facts.settle_status, None, "{early:?}");
        assert!(play.record.owes_a_query());
    }
    play.sees(&[query_by_id(0, found([ours("ots1", ReportedStatus::Success)]))]);
    assert_eq!(play.record.facts.settle_status.as_deref(), Some("SUCCESS"));
}

/// A replayed callback must not call an operator again about a resolved contradiction.
#[test]
fn the_same_word_again_does_not_open_what_was_resolved() {
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        let mut play = disputed(ReportedStatus::Success, ReportedStatus::Fail);
        play.sees(&[operator(&play.record, verdict)]);
        for again in [ReportedStatus::Success, ReportedStatus::Fail] {
            assert_eq!(play.see(&callback(ours("ots1", again))), None, "{verdict:?} {again:?}");
            assert_eq!(play.record.open_contradiction(), None);
        }
        // Another word is another contradiction.
        let other = callback(ours("ots2", ReportedStatus::Processing));
        assert_eq!(play.see(&other), Some(Alert::Contradiction));
        assert_eq!(play.record.open_contradiction().unwrap().settle_id, id("ots2"));
    }
}

/// The settle and the word together make a contradiction.
#[test]
fn what_was_resolved_about_one_settle_says_nothing_about_another() {
    let mut play = Play::of(&succeeded());
    for settle_id in ["ots2", "ots3"] {
        let other = callback(ours(settle_id, ReportedStatus::Processing));
        assert_eq!(play.see(&other), Some(Alert::Contradiction));
        assert_eq!(play.record.open_contradiction().unwrap().settle_id, id(settle_id));
        play.sees(&[operator(&play.record, Verdict::Recorded)]);
    }
    let grown = callback(ours("ots3", ReportedStatus::Success));
    assert_eq!(play.see(&grown), Some(Alert::Contradiction), "another word");
}

#[test]
fn a_success_is_never_left_for_another_settle() {
    let mut play = Play::recorded();
    play.sees(&[answer(accepted("ots1")), callback(ours("ots1", ReportedStatus::Success))]);
    play.see(&callback(ours("ots2", ReportedStatus::Processing)));
    assert_eq!(can(&play.record, Verdict::Claimed), Err(Unresolved::NotAllowed));
    let before = play.record.clone();
    play.sees(&[operator(&before, Verdict::Claimed)]);
    assert_eq!(play.record, before);
    assert_eq!(can(&play.record, Verdict::Recorded), Ok(()));
}

#[test]
fn what_is_not_disputed_or_not_final_is_not_decided_about() {
    let mut play = Play::recorded();
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        assert_eq!(can(&play.record, verdict), Err(Unresolved::NotDisputed));
    }
    // After two acceptances Douyin's next word may decide.
    assert!(play.sends());
    play.sees(&[answer(accepted("ots1"))]);
    assert_eq!(play.see(&answer(accepted("ots2"))), Some(Alert::Contradiction));
    assert!(play.record.open_contradiction().is_some() && !play.record.is_final());
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        assert_eq!(can(&play.record, verdict), Err(Unresolved::NotAllowed));
        let before = play.record.clone();
        play.sees(&[operator(&before, verdict)]);
        assert_eq!(play.record, before);
    }
}

/// The callback named no number and came before the answer to our create.
#[test]
fn a_record_under_douyins_own_number_is_merged_into_ours() {
    for (status, end) in [
        (ReportedStatus::Success, State::Succeeded { settle_id: id("ots1") }),
        (ReportedStatus::Fail, State::Failed { settle_id: id("ots1") }),
        (ReportedStatus::Processing, State::Processing { settle_id: id("ots1") }),
    ] {
        let mut play = Play::recorded();
        let report = Report { out_settle_no: None, ..ours("ots1", status) };
        let number = OutSettleNo::of_settle_id(&report.settle_id);
        let key = Key { out_settle_no: number, ..play.record.key.clone() };
        let mut other = Record::adopted(key, &report, at(0));
        other.revision = 5;
        assert!(can_be_merged(&other) && !can_be_merged(&play.record));

        let before = play.record.clone();
        play.sees(&[answer(accepted("ots1"))]);
        let policy = Policy::default();
        let now = at(1);
        let given = Some(at(0));
        let context = Context { now, given, policy: &policy, lease: Lease::Held, attempts: 1 };
        let after = Transition { record: play.record.clone(), alert: None };
        let merged = merge(&before, after, &other, &context).record;
        assert_eq!(merged.state, end);
        assert_eq!(merged.version, before.version + 1);
        assert_eq!(
            merged.revision, 6,
            "a caller that saw the other record sees its revisions go on"
        );
        assert_eq!(merged.key, before.key);
        assert_eq!(merged.evidence.unanswered(), 0);
        let amount = (status != ReportedStatus::Processing).then_some(report.facts.settle_amount);
        assert_eq!(merged.facts.settle_amount, amount.flatten());
    }
}

/// An open contradiction of the record that was merged into ours is not lost, and one that an
/// operator has decided about is not opened again.
#[test]
fn a_contradiction_is_merged_with_its_record() {
    for resolved in [None, Some(at(7))] {
        let mut play = Play::recorded();
        let report = Report { out_settle_no: None, ..ours("ots1", ReportedStatus::Success) };
        let number = OutSettleNo::of_settle_id(&report.settle_id);
        let key = Key { out_settle_no: number, ..play.record.key.clone() };
        let mut other = Record::adopted(key, &report, at(0));
        let (claimed, settle_id) = (StateKind::Failed, id("ots1"));
        let (source, time) = (Source::Callback, at(5));
        let claim = Contradiction { claimed, settle_id, source, time, resolved };
        other.contradiction = Some(claim.clone());

        let before = play.record.clone();
        play.sees(&[answer(accepted("ots1"))]);
        let policy = Policy::default();
        let now = at(1);
        let given = Some(at(0));
        let context = Context { now, given, policy: &policy, lease: Lease::Held, attempts: 1 };
        let after = Transition { record: play.record.clone(), alert: None };
        let merged = merge(&before, after, &other, &context).record;
        assert_eq!(merged.state.kind(), StateKind::Succeeded);
        assert_eq!(merged.contradiction, Some(claim));
        assert_eq!(merged.owes_a_query(), resolved.is_none());
    }
}

/// The later decision stands, and what was decided about the other record comes into the history
/// before the merge.
#[test]
fn what_operators_decided_outlives_the_merge() {
    let report = Report { out_settle_no: None, ..ours("ots1", ReportedStatus::Success) };
    let number = OutSettleNo::of_settle_id(&report.settle_id);
    let mut other = Record::adopted(Key { out_settle_no: number, ..key() }, &report, at(0));
    other.revision = 4;
    other.decision = Some(decision_of("alice", 5));
    let entry = |revision, why: Option<&str>| HistoryEntry {
        revision,
        why: why.map(|why| Why::parse(why).unwrap()),
        ..other.history_entry(Source::Operator, None)
    };
    let history = vec![entry(1, None), entry(2, Some("first")), entry(3, Some("second"))];
    let policy = Policy::default();
    let now = at(9);
    let context =
        Context { now, given: Some(at(0)), policy: &policy, lease: Lease::Held, attempts: 1 };
    for (own, stands) in [(None, "alice"), (Some(("bob", 4)), "alice"), (Some(("bob", 6)), "bob")] {
        let mut play = Play::of(&submitting(1));
        play.record.decision = own.map(|(by, seconds)| decision_of(by, seconds));
        let before = play.record.clone();
        play.sees(&[answer(accepted("ots1"))]);
        let after = Transition { record: play.record.clone(), alert: None };
        let Merged { after, kept } =
            crate::settle::merge::merge(&before, after, &other, history.clone(), &context);
        let decision = after.record.decision.unwrap();
        assert_eq!(decision.by.as_ref().map(CallerName::as_str), Some(stands));
        let kept: Vec<_> =
            kept.iter().map(|it| (it.revision, it.why.as_ref().unwrap().as_str())).collect();
        assert_eq!(kept, [(5, "first"), (6, "second")], "above what callers saw of either");
        assert_eq!(after.record.revision, 7);
    }
}

/// Our record keeps its own contradiction. A word against a state that ours is not in is none.
#[test]
fn a_contradiction_is_merged_only_into_a_record_without_one_and_in_the_same_state() {
    let claim = |seconds| {
        let (claimed, settle_id, source) = (StateKind::Failed, id("ots1"), Source::Callback);
        Some(Contradiction { claimed, settle_id, source, time: at(seconds), resolved: None })
    };
    let merged = |ours: &Record, status| {
        let report = Report { out_settle_no: None, ..self::ours("ots1", status) };
        let number = OutSettleNo::of_settle_id(&report.settle_id);
        let mut other = Record::adopted(Key { out_settle_no: number, ..key() }, &report, at(0));
        other.contradiction = claim(5);
        let policy = Policy::default();
        let now = at(1);
        let given = Some(at(0));
        let context = Context { now, given, policy: &policy, lease: Lease::Held, attempts: 1 };
        let after = Transition { record: ours.clone(), alert: None };
        merge(ours, after, &other, &context).record
    };
    let contradicted = Record { contradiction: claim(2), ..succeeded() };
    assert_eq!(merged(&contradicted, ReportedStatus::Success).contradiction, claim(2));
    assert_eq!(merged(&succeeded(), ReportedStatus::Success).contradiction, claim(5));
    let in_doubt = merged(&processing(1), ReportedStatus::Fail);
    assert_eq!((in_doubt.state.kind(), in_doubt.contradiction), (StateKind::Processing, None));
}

#[test]
fn only_a_record_under_douyins_own_number_can_be_merged() {
    let report = ours("ots1", ReportedStatus::Success);
    let named = Record::adopted(Play::recorded().record.key, &report, at(0));
    assert!(!can_be_merged(&named));
}

/// Our first send was accepted unseen and failed; the second one took the freed number.
#[test]
fn words_from_before_a_known_fail_contradict_nothing() {
    let both =
        |first, second| query(GRACE_OVER, found([ours("ots1", first), ours("ots2", second)]));
    for end in [ReportedStatus::Success, ReportedStatus::Fail] {
        let mut play = Play::of(&submitting(2));
        play.sees(&[both(ReportedStatus::Fail, end)]);
        assert!(play.record.is_final(), "{end:?}");
        for late in [ReportedStatus::Init, ReportedStatus::Processing, ReportedStatus::Fail] {
            let before = play.record.clone();
            let other =
                if play.record.state.settle_id() == Some(&id("ots1")) { "ots2" } else { "ots1" };
            assert_eq!(play.see(&callback(ours(other, late))), None, "{end:?} {late:?}");
            assert_eq!(play.record, before);
        }
        // That money moved after a FAIL is another matter.
        let paid = callback(ours("ots1", ReportedStatus::Success));
        assert_eq!(play.see(&paid), Some(Alert::Contradiction), "{end:?}");
    }
}

/// No query had shown the first one before its late word came.
#[test]
fn a_contradiction_is_over_when_douyin_shows_that_the_other_settle_failed() {
    let mut play = Play::of(&processing(1));
    play.sees(&[callback(ours("ots1", ReportedStatus::Success))]);
    let late = callback(ours("ots0", ReportedStatus::Processing));
    assert_eq!(play.see(&late), Some(Alert::Contradiction));
    assert!(play.record.owes_a_query());
    let revision = play.record.revision;
    let both = [ours("ots0", ReportedStatus::Fail), ours("ots1", ReportedStatus::Success)];
    play.sees(&[query(0, found(both))]);
    assert_eq!(play.record.contradiction, None);
    assert_eq!(play.record.revision, revision + 1, "its watchers learn it");
    assert!(!play.record.owes_a_query());
    assert_eq!(play.see(&late), None);
}

/// A contradiction that is over must not hide the one that the same answer brings.
#[test]
fn what_fails_now_contradicts_although_another_contradiction_is_over() {
    let mut play = Play::of(&processing(1));
    play.sees(&[callback(ours("ots1", ReportedStatus::Success))]);
    let late = callback(ours("ots0", ReportedStatus::Processing));
    assert_eq!(play.see(&late), Some(Alert::Contradiction));
    let both = [ours("ots0", ReportedStatus::Fail), ours("ots1", ReportedStatus::Fail)];
    assert_eq!(play.see(&query(0, found(both))), Some(Alert::Contradiction));
    let claim = play.record.open_contradiction().unwrap();
    assert_eq!((claim.claimed, &claim.settle_id), (StateKind::Failed, &id("ots1")));
}
