//! Which records are stuck, and of which kind. A settle that only waits is not stuck.

use super::super::stuck::{AnswerKind, Circumstances, LastAnswers, Stuck, stuck};
use super::*;

/// The process of these tests began before everything in them.
const START: Timestamp = Timestamp::from_ms(-1_000_000_000);

fn last(kind: AnswerKind, times: u32) -> Option<LastAnswers> {
    Some(LastAnswers { kind, times, since: at(0) })
}

/// The kind of a record this many seconds after it was made.
fn kind(record: &Record, last: Option<LastAnswers>, seconds: i64) -> Option<Stuck> {
    kind_by(&Policy::default(), START, record, last, seconds)
}

fn kind_by(
    policy: &Policy,
    started: Timestamp,
    record: &Record,
    last: Option<LastAnswers>,
    seconds: i64,
) -> Option<Stuck> {
    stuck(record, &Circumstances { now: at(seconds), started, policy, last })
}

#[test]
fn what_waits_or_has_ended_is_not_stuck() {
    for record in [submitting(0), submitting(1), submitting_exists(0), processing(0)] {
        assert_eq!(kind(&record, None, 5), None, "{record:?}");
        assert_eq!(kind(&record, last(AnswerKind::Unreadable, 4), HOUR), None);
        assert_eq!(kind(&record, last(AnswerKind::Unreadable, 99), 599), None);
        assert_eq!(kind(&record, last(AnswerKind::Absent, 99), 599), None);
    }
    for record in [succeeded(), failed(), rejected()] {
        assert_eq!(kind(&record, last(AnswerKind::Unreadable, 99), 99 * HOUR), None);
    }
    assert_eq!(kind(&submitting(1), None, SENDING_ENDS), None);
    assert_eq!(kind(&submitting_exists(1), None, 9 * HOUR), None, "Douyin was not asked yet");
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
        let seen = kind(&record, last(AnswerKind::Unreadable, 5), 600);
        assert_eq!(seen, Some(Stuck::UnreadableAnswer));
    }
    let absent = last(AnswerKind::Absent, 5);
    assert_eq!(kind(&processing(0), absent, 600), Some(Stuck::NotShown));
    let exists = submitting_exists(1);
    let since = exists.evidence.exists_seen.unwrap().since(at(0));
    let since = i64::try_from(since.as_secs()).unwrap();
    assert_eq!(kind(&exists, absent, since + HOUR - 1), None);
    assert_eq!(kind(&exists, absent, since + HOUR), Some(Stuck::ExistsButAbsent));
    let shown = last(AnswerKind::Shown, 5);
    assert_eq!(kind(&exists, shown, GRACE_OVER - 1), None);
    assert_eq!(kind(&exists, shown, GRACE_OVER), Some(Stuck::Unproven));
}

/// Each waits for one whole grace of the process that looks, also for a send of another process.
#[test]
fn a_window_that_is_over_and_a_doubt_without_an_end_are_stuck() {
    let over = WINDOW_END + GRACE_OVER + 600;
    assert_eq!(kind(&submitting(1), None, over - 1), None);
    assert_eq!(kind(&submitting(1), None, over), Some(Stuck::WindowOver));
    let young = kind_by(&Policy::default(), at(over - 1), &submitting(1), None, over);
    assert_eq!(young, None);
    let mut play = Play::of(&submitting(2));
    play.see(&answer(refused()));
    let policy = Policy { grace_proves: false, ..Policy::default() };
    let doubt = |started, seconds| kind_by(&policy, started, &play.record, None, seconds);
    let sent = play.record.evidence.last_permission.unwrap().time.since(at(0));
    let sent = i64::try_from(sent.as_secs()).unwrap();
    assert_eq!(doubt(START, sent + GRACE_OVER - 1), None);
    assert_eq!(doubt(START, sent + GRACE_OVER), Some(Stuck::Doubt));
    assert_eq!(doubt(at(sent + 1), sent + GRACE_OVER), None);
    assert_eq!(kind(&play.record, None, sent + GRACE_OVER), None, "the grace will end it");
}

/// Whatever else keeps it from its end.
#[test]
fn what_an_operator_stopped_and_can_end_waits_for_its_operator() {
    let stopped = |before: &Record| {
        let mut record = before.clone();
        record.evidence.stopped = true;
        record
    };
    let mut unlisted = Play::recorded();
    unlisted.see(&answer(self::unlisted(98_765)));
    for record in
        [submitting(1), submitting(0), submitting_exists(1), unlisted.record, processing(1)]
    {
        let record = stopped(&record);
        let sent = record.evidence.last_permission.unwrap().time.since(at(0));
        let over = i64::try_from(sent.as_secs()).unwrap() + GRACE_OVER;
        assert_ne!(kind(&record, None, over - 1), Some(Stuck::Stopped), "{record:?}");
        assert_eq!(kind(&record, None, over), Some(Stuck::Stopped), "{record:?}");
    }
    // Douyin's next word ends it.
    assert_eq!(kind(&stopped(&processing(0)), None, HOUR), None);
    assert_eq!(kind(&stopped(&rejected()), None, HOUR), None);
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> =
        Stuck::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), Stuck::ALL.len());
}
