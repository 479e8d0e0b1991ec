//! What an operator is told about a settle is what the rules do.

use super::super::explain::{Explanation, Situation, explain};
use super::super::stuck::Stuck;
use super::*;

fn explained(record: &Record, now: Timestamp, policy: &Policy) -> Explanation {
    let given = given(record, now);
    explain(record, &Situation { now, policy, given, stuck: None, paused: None })
}

/// Of a record whose grace proves something, just after it was made.
fn told(record: &Record) -> Explanation {
    explained(record, at(1), &Policy::default())
}

/// Two sends without an answer, and a refusal of one of them.
fn refused_in_doubt() -> Record {
    let mut play = Play::of(&submitting(2));
    play.sees(&[answer(refused())]);
    play.record
}

/// Submitting, and Douyin reported a FAIL while a send had no answer.
fn one_failed() -> Record {
    let mut play = Play::of(&submitting(1));
    play.sees(&[query(1, found([ours("ots1", ReportedStatus::Fail)]))]);
    assert_eq!(play.record.evidence.failed, [id("ots1")]);
    play.record
}

/// As `processing(1)`, and Douyin reported that it failed.
fn perhaps_failed() -> Record {
    let mut play = Play::of(&processing(1));
    play.sees(&[query(1, found([ours("ots1", ReportedStatus::Fail)]))]);
    play.record
}

/// A query that begins earlier than the told moment does not end the settle, and one that begins
/// then does.
#[test]
fn the_moment_that_is_told_is_the_one_from_which_a_query_decides() {
    let fail = || found([ours("ots1", ReportedStatus::Fail)]);
    let over = submitting(1);
    let cases = [
        (refused_in_doubt(), at(1), Learned::Absent, StateKind::Rejected),
        (submitting_exists(0), at(1), Learned::Absent, StateKind::Rejected),
        (over, at(WINDOW_END), Learned::Absent, StateKind::Rejected),
        (one_failed(), at(1), fail(), StateKind::Failed),
        (processing(1), at(1), fail(), StateKind::Failed),
        (perhaps_failed(), at(1), fail(), StateKind::Failed),
    ];
    for (record, now, learned, end) in cases {
        let Explanation { words, until } = explained(&record, now, &Policy::default());
        let until = until.unwrap_or_else(|| panic!("no moment: {words}"));
        assert!(words.contains("then"), "{words}");
        let ends = |begun: [Timestamp; 2]| {
            let mut play = Play::of(&record);
            for begun in begun {
                play.now = begun;
                play.see(&query_at(begun, learned.clone()));
            }
            play.kind()
        };
        let later = until.plus(Duration::from_secs(1));
        let early = just_before(until);
        assert_eq!(ends([just_before(early), early]), record.state.kind(), "{words}");
        assert_eq!(ends([until, later]), end, "{words}");
    }
}

#[test]
fn what_may_be_sent_is_told_with_the_moment_at_which_that_ends() {
    for record in [submitting(0), submitting(1)] {
        let Explanation { words, until } = told(&record);
        let until = until.expect("sending ends");
        assert!(words.contains("until then"), "{words}");
        assert!(may_send(&record, just_before(until), &Policy::default()));
        assert!(!may_send(&record, until, &Policy::default()));
    }
    let words = told(&submitting(2)).words;
    assert!(words.contains("2 sends have no answer"), "{words}");
}

#[test]
fn a_settle_of_which_an_operator_stopped_sending_is_not_said_to_be_sent_again() {
    let mut record = submitting(1);
    record.evidence.stopped = true;
    let Explanation { words, until } = told(&record);
    assert!(words.starts_with("An operator stopped sending"), "{words}");
    assert!(until.is_some_and(|until| until >= at(WINDOW_END)), "the window ends it: {until:?}");
}

#[test]
fn where_only_a_person_can_decide_no_moment_is_told() {
    let policy = Policy { grace_proves: false, ..Policy::default() };
    let over = explained(&submitting(1), at(WINDOW_END), &policy);
    let told = |record: &Record| explained(record, at(1), &policy);
    for explanation in
        [over, told(&refused_in_doubt()), told(&perhaps_failed()), told(&submitting_exists(1))]
    {
        assert!(explanation.words.contains("operator"), "{explanation:?}");
        assert_eq!(explanation.until, None, "{explanation:?}");
    }
}

#[test]
fn a_settle_that_has_ended_says_so_and_a_disputed_one_calls_for_a_decision() {
    for record in [succeeded(), failed(), rejected()] {
        assert_eq!(told(&record), Explanation { words: "It has ended.".into(), until: None });
    }
    let mut play = Play::of(&succeeded());
    play.see(&query(1, found([ours("ots1", ReportedStatus::Fail)])));
    let words = told(&play.record).words;
    for part in ["SUCCEEDED", "FAILED", "operator"] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn what_is_stuck_or_paused_is_told_too() {
    let mut seen = std::collections::BTreeSet::new();
    let (record, policy, reason) =
        (processing(0), Policy::default(), RecordedReason::Known(Reason::UpstreamRateLimited));
    for stuck in Stuck::ALL {
        let situation = Situation {
            now: at(1),
            policy: &policy,
            given: None,
            stuck: Some(stuck),
            paused: Some(&reason),
        };
        let words = explain(&record, &situation).words;
        assert!(words.contains("UPSTREAM_RATE_LIMITED"), "{words}");
        assert!(seen.insert(words), "{stuck:?} has the words of another kind");
    }
}
