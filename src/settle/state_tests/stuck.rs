//! Which records are stuck, and by what kind. What only waits is not stuck.

use super::super::stuck::{AnswerKind, LastAnswers, Stuck, stuck};
use super::*;

fn last(kind: AnswerKind, times: u32) -> Option<LastAnswers> {
    Some(LastAnswers { kind, times, since: at(0) })
}

/// The kind of a record so many seconds after it was made.
fn kind(record: &Record, last: Option<LastAnswers>, seconds: i64) -> Option<Stuck> {
    stuck(record, last.as_ref(), at(seconds), &Policy::default())
}

#[test]
fn what_waits_or_has_ended_is_not_stuck() {
    for record in [submitting(0), submitting(1), submitting_exists(0), processing(0)] {
        assert_eq!(kind(&record, None, 5), None, "{record:?}");
        assert_eq!(kind(&record, last(AnswerKind::Unreadable, 2), 5), None);
        assert_eq!(kind(&record, last(AnswerKind::Absent, 99), GRACE_OVER - 11), None);
    }
    for record in [succeeded(), failed(), rejected()] {
        assert_eq!(kind(&record, last(AnswerKind::Unreadable, 99), 99 * HOUR), None);
    }
    assert_eq!(kind(&submitting(1), None, SENDING_ENDS), None);
}

#[test]
fn what_the_record_says_is_told_by_its_kind() {
    let mut record = processing(0);
    record.facts.settle_status = Some("CLOSED".to_owned());
    assert_eq!(kind(&record, None, 0), Some(Stuck::UnlistedStatus));
    for known in ["INIT", "PROCESSING", "SUCCESS", "FAIL"] {
        record.facts.settle_status = Some(known.to_owned());
        assert_eq!(kind(&record, None, 0), None, "{known}");
    }
    let mut play = Play::recorded();
    play.see(&answer(unlisted(98_765)));
    assert_eq!(kind(&play.record, None, 0), Some(Stuck::UnlistedAnswer));
    let mut play = Play::of(&succeeded());
    play.see(&query(1, found([ours("ots1", ReportedStatus::Fail)])));
    assert!(play.record.open_contradiction().is_some(), "{:?}", play.record);
    assert_eq!(kind(&play.record, None, 1), Some(Stuck::Contradiction));
}

#[test]
fn what_douyin_keeps_answering_is_told_by_its_kind() {
    for record in [submitting(1), processing(0), submitting_exists(1)] {
        let seen = kind(&record, last(AnswerKind::Unreadable, 3), 5);
        assert_eq!(seen, Some(Stuck::UnreadableAnswer));
    }
    let absent = last(AnswerKind::Absent, 3);
    assert_eq!(kind(&processing(0), absent, 599), None);
    assert_eq!(kind(&processing(0), absent, 600), Some(Stuck::NotShown));
    let exists = submitting_exists(1);
    let since = exists.evidence.exists_seen.unwrap().since(at(0));
    let since = i64::try_from(since.as_secs()).unwrap();
    assert_eq!(kind(&exists, absent, since + HOUR - 1), None);
    assert_eq!(kind(&exists, absent, since + HOUR), Some(Stuck::ExistsButAbsent));
    assert_eq!(kind(&exists, None, since + HOUR), Some(Stuck::ExistsButAbsent));
    let shown = last(AnswerKind::Shown, 1);
    assert_eq!(kind(&exists, shown, since + GRACE_OVER - 1), None);
    assert_eq!(kind(&exists, shown, since + GRACE_OVER), Some(Stuck::Unproven));
}

#[test]
fn a_window_that_is_over_for_a_grace_and_a_doubt_without_an_end_are_stuck() {
    assert_eq!(kind(&submitting(1), None, WINDOW_END + 599), None);
    assert_eq!(kind(&submitting(1), None, WINDOW_END + 600), Some(Stuck::WindowOver));
    let mut play = Play::of(&submitting(2));
    play.see(&answer(refused()));
    let policy = Policy { grace_proves: false, ..Policy::default() };
    let doubt = |seconds| stuck(&play.record, None, at(seconds), &policy);
    let sent = play.record.evidence.last_permit.unwrap().since(at(0));
    let sent = i64::try_from(sent.as_secs()).unwrap();
    assert_eq!(doubt(sent + GRACE_OVER - 1), None);
    assert_eq!(doubt(sent + GRACE_OVER), Some(Stuck::Doubt));
    assert_eq!(kind(&play.record, None, sent + GRACE_OVER), None, "the grace will end it");
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> =
        Stuck::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), Stuck::ALL.len());
}
