//! Contradictions and how they end; two records of one settle.

use super::*;
use crate::settle::merge::{can_be_merged, merge};
use crate::settle::{Verdict, can_resolve};

fn operator(verdict: Verdict) -> Observation {
    let why = Why::parse("Douyin's support says so").unwrap();
    let (source, learned) = (Source::Operator, Learned::Resolved { verdict, why });
    let by = CallerName::parse("ops").ok();
    Observation { learned, source, by, ..callback(ours("ots1", ReportedStatus::Success)) }
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
    assert!(can_resolve(&play.record, Verdict::Recorded));
    play.at(90).sees(&[operator(Verdict::Recorded)]);
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
    assert!(can_resolve(&play.record, Verdict::Claimed));
    play.at(90).sees(&[operator(Verdict::Claimed)]);
    assert_eq!(play.record.state, State::Succeeded { settle_id: id("ots1") });
    assert_eq!(play.record.open_contradiction(), None);
    assert_eq!(play.record.facts.settle_amount, None);
    assert!(play.record.owes_a_query(), "what the failed settle had is not what this one has");
    play.sees(&[callback(ours("ots1", ReportedStatus::Success))]);
    assert!(!play.record.owes_a_query());
}

/// A replayed callback must not call an operator again about a resolved contradiction.
#[test]
fn the_same_word_again_does_not_open_what_was_resolved() {
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        let mut play = disputed(ReportedStatus::Success, ReportedStatus::Fail);
        play.sees(&[operator(verdict)]);
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
        play.sees(&[operator(Verdict::Recorded)]);
    }
    let grown = callback(ours("ots3", ReportedStatus::Success));
    assert_eq!(play.see(&grown), Some(Alert::Contradiction), "another word");
}

#[test]
fn a_success_is_never_left_for_another_settle() {
    let mut play = Play::recorded();
    play.sees(&[answer(accepted("ots1")), callback(ours("ots1", ReportedStatus::Success))]);
    play.see(&callback(ours("ots2", ReportedStatus::Processing)));
    assert!(!can_resolve(&play.record, Verdict::Claimed));
    let before = play.record.clone();
    play.sees(&[operator(Verdict::Claimed)]);
    assert_eq!(play.record, before);
    assert!(can_resolve(&play.record, Verdict::Recorded));
}

#[test]
fn what_is_not_disputed_or_not_final_is_not_decided_about() {
    let mut play = Play::recorded();
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        assert!(!can_resolve(&play.record, verdict));
    }
    // After two acceptances Douyin's next word may decide.
    assert!(play.sends());
    play.sees(&[answer(accepted("ots1"))]);
    assert_eq!(play.see(&answer(accepted("ots2"))), Some(Alert::Contradiction));
    assert!(play.record.open_contradiction().is_some() && !play.record.is_final());
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        assert!(!can_resolve(&play.record, verdict));
        let before = play.record.clone();
        play.sees(&[operator(verdict)]);
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
