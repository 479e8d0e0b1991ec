//! The rules about permissions, processes and their clocks: whose time counts, what an answer
//! answers, what happens to a settle when the store goes back, and that no open settle is
//! forgotten.

use super::super::schedule::{By, Due, Schedule, Terms, Watched, next};
use super::*;
use ReportedStatus::{Fail, Processing, Success};
use StateKind as In;

/// A settle with one send, permitted by another process at this time of its clock.
fn permitted_elsewhere(time: Timestamp) -> Record {
    let mut record = submitting(1);
    let there = permission(OTHER, 5, time);
    record.evidence.open = vec![there];
    record.evidence.last_permission = Some(there);
    record.evidence.refused = Some(no_money());
    record
}

fn empty_query(record: &Record, begun: Timestamp, given: Option<Timestamp>) -> StateKind {
    let policy = Policy::default();
    let context = Context { now: begun, given, policy: &policy, lease: Lease::Held, attempts: 1 };
    let seen = query_at(begun, Learned::Absent);
    transition(record, &seen, &context).record.state.kind()
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3_600)
}

/// The clocks of two processes may differ by any amount, and a clock may be set between two starts.
#[test]
fn the_grace_of_another_process_begins_when_it_was_seen_whatever_its_clock_said() {
    let seen_at = at(1_000_000);
    let over = seen_at.plus(Duration::from_secs(10 + 600));
    for time in [seen_at.minus(days(3)), seen_at.plus(days(3))] {
        let record = permitted_elsewhere(time);
        let mut first_seen = FirstSeen::new(ME, None, 1);
        for now in [seen_at, seen_at.plus(days(9))] {
            let given = first_seen.given(&record, now);
            assert_eq!(given, Some(seen_at));
            assert_eq!(empty_query(&record, just_before(over), given), In::Submitting);
            assert_eq!(empty_query(&record, over, given), In::Rejected);
        }
    }
}

/// The store's lock keeps others out, so other processes have ended, and sent before this one
/// began.
#[test]
fn where_no_other_process_can_be_alive_the_grace_begins_with_this_one() {
    let started = at(1_000_000);
    let record = permitted_elsewhere(started.plus(days(3)));
    let mut first_seen = FirstSeen::new(ME, Some(started), 0);
    assert_eq!(first_seen.given(&record, started.plus(days(1))), Some(started));
}

#[test]
fn what_this_process_permitted_counts_from_its_own_time() {
    let record = submitting(1);
    for alone_since in [None, Some(at(500))] {
        let mut first_seen = FirstSeen::new(ME, alone_since, 0);
        assert_eq!(first_seen.given(&record, at(900)), Some(at(0)));
    }
}

#[test]
fn every_permission_of_another_process_is_seen_anew() {
    let mut record = permitted_elsewhere(at(0));
    let mut first_seen = FirstSeen::new(ME, None, 1);
    assert_eq!(first_seen.given(&record, at(10)), Some(at(10)));
    let later = permission(OTHER, 6, at(0));
    record.evidence.last_permission = Some(later);
    assert_eq!(first_seen.given(&record, at(700)), Some(at(700)));
    assert_eq!(first_seen.given(&record, at(800)), Some(at(700)));
}

/// Otherwise many settles would push each other out, and none would ever be proven.
#[test]
fn full_memory_takes_nothing_new_and_forgets_nothing_old() {
    let (one, two) = (numbered_elsewhere("one"), numbered_elsewhere("two"));
    let mut first_seen = FirstSeen::new(ME, None, 1);
    assert_eq!(first_seen.given(&one, at(1)), Some(at(1)));
    for now in [at(2), at(90_000)] {
        assert_eq!(first_seen.given(&two, now), None);
        assert_eq!(first_seen.given(&one, now), Some(at(1)));
    }
    assert_eq!(empty_query(&two, at(90_000), None), In::Submitting, "nothing is proven");
    // Once the first one has ended, there is room.
    let mut ended = one;
    ended.state = State::Rejected { rejection: no_money() };
    first_seen.given(&ended, at(90_001));
    assert_eq!(first_seen.given(&two, at(90_002)), Some(at(90_002)));
}

fn numbered_elsewhere(number: &str) -> Record {
    let mut record = permitted_elsewhere(at(0));
    record.key.out_settle_no = OutSettleNo::parse(number).unwrap();
    record
}

/// Otherwise what other replicas bring to its end would fill the memory for good.
#[test]
fn what_a_whole_round_has_not_met_makes_room() {
    let (met, ended) = (numbered_elsewhere("met"), numbered_elsewhere("ended"));
    let mut first_seen = FirstSeen::new(ME, None, 2);
    for record in [&met, &ended] {
        assert_eq!(first_seen.given(record, at(1)), Some(at(1)));
    }
    first_seen.end_round();
    assert_eq!(first_seen.remembered(), (2, Some(at(1))), "both were met in the first round");
    let new = numbered_elsewhere("new");
    assert_eq!(first_seen.given(&met, at(60)), Some(at(1)));
    assert_eq!(first_seen.given(&new, at(60)), None);
    first_seen.end_round();
    assert_eq!(first_seen.given(&new, at(61)), Some(at(61)));
    assert_eq!(first_seen.given(&met, at(900)), Some(at(1)), "and nothing old was forgotten");
}

/// They are most of what a replica meets, and would leave no room for those in doubt.
#[test]
fn settles_about_which_time_proves_nothing_take_no_room() {
    let of_another = |mut record: Record| {
        record.evidence.last_permission = Some(permission(OTHER, 5, at(0)));
        record
    };
    let mut first_seen = FirstSeen::new(ME, None, 9);
    for record in [processing(0), rejected()].map(of_another) {
        assert_eq!(first_seen.given(&record, at(7)), Some(at(7)));
        assert_eq!(first_seen.remembered(), (0, None));
    }
    for record in [processing(1), submitting(0), submitting(1)].map(of_another) {
        assert_eq!(first_seen.given(&record, at(7)), Some(at(7)));
        assert_eq!(first_seen.remembered().0, 1);
    }
}

/// A process with a longer timeout waits longer for its answer.
#[test]
fn the_longest_time_that_any_open_permission_lasts_counts() {
    let mut record = permitted_elsewhere(at(0));
    record.evidence.open[0].lasts = Duration::from_secs(100);
    record.evidence.last_permission = Some(permission(ME, 1, at(0)));
    let given = given(&record, at(0));
    assert_eq!(empty_query(&record, at(699), given), In::Submitting);
    assert_eq!(empty_query(&record, at(700), given), In::Rejected);
}

#[test]
fn an_answer_takes_its_own_permission_and_no_other() {
    let mut play = Play::of(&submitting(2));
    let second = play.record.evidence.open[1];
    let mut seen = answer(refused());
    seen.answers = Some(second.id);
    play.sees(&[seen.clone()]);
    let first = play.record.evidence.open.clone();
    assert_eq!((first.len(), play.kind()), (1, In::Submitting));
    // Recorded again, because its commit was in doubt.
    play.sees(&[seen]);
    assert_eq!((play.record.evidence.open.clone(), play.kind()), (first, In::Submitting));
}

#[test]
fn a_permission_whose_time_is_over_is_lost_when_the_next_one_is_given() {
    let mut play = Play::of(&submitting(2));
    let late = play.record.evidence.open[0].id;
    play.at(9);
    assert!(play.sends());
    assert_eq!((play.record.evidence.open.len(), play.record.evidence.lost), (3, 0));
    play.at(19);
    assert!(play.sends());
    assert_eq!((play.record.evidence.open.len(), play.record.evidence.lost), (1, 3));
    // Its answer comes too late to count.
    let mut seen = answer(not_sent());
    seen.answers = Some(late);
    play.sees(&[seen]);
    assert_eq!(play.unanswered(), 4);
}

/// As the store writes it when it begins a new generation.
fn set_back(record: &Record) -> Record {
    let mut record = record.clone();
    record.evidence.lost += 1;
    record.evidence.set_back = true;
    record.evidence.last_permission = Some(permission(OTHER, 0, at(0)));
    record
}

#[test]
fn a_settle_that_went_back_is_not_sent_again_and_followed_if_douyin_shows_it() {
    for before in [submitting(0), submitting(1)] {
        let mut play = Play::of(&set_back(&before));
        assert!(!play.sends());
        // A refusal of what was sent before does not end it, because more may have been sent since.
        play.sees(&[answer(refused())]);
        assert_eq!(play.kind(), In::Submitting);
        play.sees(&[query(60, found([ours("ots1", Success)]))]);
        assert_eq!(play.kind(), In::Succeeded);
    }
}

#[test]
fn a_settle_that_went_back_is_rejected_by_proof_without_waiting_for_its_window() {
    let record = set_back(&submitting(0));
    let policy = Policy::default();
    let mut record = record;
    for (begun, kind) in [(609, In::Submitting), (610, In::Submitting), (700, In::Rejected)] {
        let (now, given) = (at(begun), Some(at(0)));
        let context = Context { given, ..context(&record, now, &policy) };
        record = transition(&record, &query(begun, Learned::Absent), &context).record;
        assert_eq!(record.state.kind(), kind, "at {begun}");
    }
}

fn due_of_a_fact(before: &Record, after: &Record) -> Due {
    let (policy, schedule) = (Policy::default(), Schedule::default());
    let terms = Terms {
        now: at(0),
        policy: &policy,
        schedule: &schedule,
        watched: Watched::No,
        chance: 0.5,
        lease: Duration::from_secs(30),
        patience: Duration::from_secs(30),
    };
    next(before, after, By::WithoutLease, &terms).due
}

/// Its due row was removed when it ended, and only a fact can make it live again.
#[test]
fn a_settle_that_was_called_rejected_and_lives_is_due_at_once() {
    for seen in [answer(accepted("ots1")), callback(ours("ots1", Processing))] {
        let mut play = Play::of(&rejected());
        play.see(&seen);
        assert_eq!(play.kind(), In::Processing);
        let due = due_of_a_fact(&rejected(), &play.record);
        assert_eq!(due, Due::NotLater { wait: Duration::ZERO });
    }
}

/// The query about the contradiction ended its due row, and told nothing else of the settle.
#[test]
fn a_settle_that_is_known_in_part_after_an_operators_decision_is_asked_about() {
    let mut play = Play::of(&Record::adopted(key(), &ours("ots1", Success), at(0)));
    for seen in [callback(ours("ots1", Fail)), query(1, found([ours("ots1", Fail)]))] {
        assert_eq!(play.see(&seen), Some(Alert::Contradiction));
    }
    for verdict in [Verdict::Recorded, Verdict::Claimed] {
        let mut decided = play.clone();
        let revision = play.record.revision;
        let learned = Learned::Resolved { revision, verdict, decision: decision() };
        decided.sees(&[Observation { learned, source: Source::Operator, ..query(2, exists()) }]);
        assert!(decided.record.is_known_in_part());
        let due = due_of_a_fact(&play.record, &decided.record);
        assert_eq!(due, Due::NotLater { wait: Duration::ZERO }, "{verdict:?}");
    }
}
