//! Two numbers that Douyin takes for one: `S-1` is recorded, and a query for `s-1` shows its
//! settle.

use super::super::proof::{Proof, proof};
use super::*;

fn number(text: &str) -> OutSettleNo {
    OutSettleNo::parse(text).unwrap()
}

fn alike(status: ReportedStatus) -> Report {
    Report { out_settle_no: Some(number("S-1")), ..ours("ots1", status) }
}

fn elsewhere(seconds: i64) -> Observation {
    query(seconds, Learned::Elsewhere)
}

#[test]
fn only_case_and_spaces_at_the_ends_make_two_numbers_alike() {
    for like in ["S-1", " s-1", "s-1 ", " S-1 "] {
        assert!(number(like).is_like(&number("s-1")), "{like}");
    }
    for unlike in ["s-1", "s-2", "s 1", "s-1x"] {
        assert!(!number(unlike).is_like(&number("s-1")), "{unlike}");
    }
    assert!(number("Ä分").is_like(&number("ä分")));
}

/// It may be our own settle, written differently, or the settle of the other number. Our mark does
/// not tell, because it does not cover the number.
#[test]
fn a_settle_with_a_number_like_ours_is_neither_ours_nor_foreign() {
    for status in [ReportedStatus::Processing, ReportedStatus::Success, ReportedStatus::Fail] {
        assert_eq!(proof(&submitting(1), &alike(status)), Proof::Unproven);
        for record in [submitting(1), submitting_exists(0), submitting_exists(1)] {
            let mut world = Play::of(&record);
            world.at(2 * HOUR);
            world.see(&query(2 * HOUR - 1, found([alike(status)])));
            assert_eq!(world.kind(), StateKind::Submitting);
            assert!(world.record.request().is_some(), "the record stays ours");
            assert!(!world.sends());
        }
    }
}

/// 23111 is explained and every send was answered, so nothing of ours is alive under the number.
#[test]
fn a_settle_that_is_recorded_elsewhere_ends_the_one_whose_number_is_like_its_own() {
    let mut world = Play::of(&submitting_exists(0));
    world.at(5).see(&elsewhere(5));
    assert_eq!(world.kind(), StateKind::Rejected);
}

#[test]
fn in_doubt_it_ends_only_by_a_query_begun_after_the_grace() {
    let mut world = Play::of(&submitting_exists(1));
    world.at(GRACE_OVER).see(&elsewhere(GRACE_OVER - 1));
    assert_eq!(world.kind(), StateKind::Submitting);
    world.lease = Lease::Lost;
    world.at(GRACE_OVER + 1).see(&elsewhere(GRACE_OVER + 1));
    assert_eq!(world.kind(), StateKind::Submitting, "it is negative evidence");
    world.lease = Lease::Held;
    world.see(&elsewhere(GRACE_OVER + 1));
    assert_eq!(world.kind(), StateKind::Rejected);
    let mut world = Play::of(&submitting_exists(1));
    world.policy.grace_proves = false;
    world.at(9 * HOUR).see(&elsewhere(9 * HOUR));
    assert_eq!(world.kind(), StateKind::Submitting);
}

/// An inexact query says nothing about a create, which may be exact.
#[test]
fn before_anything_says_that_the_number_is_taken_it_is_as_if_nothing_was_found() {
    for record in [submitting(0), submitting(1)] {
        let (mut one, mut other) = (Play::of(&record), Play::of(&record));
        one.at(5).see(&elsewhere(5));
        other.at(5).see(&query(5, Learned::Absent));
        assert_eq!(one.record, other.record);
        assert!(one.sends());
    }
}

#[test]
fn later_it_changes_nothing() {
    for record in [processing(0), succeeded()] {
        let mut world = Play::of(&record);
        world.at(HOUR).see(&elsewhere(HOUR));
        assert_eq!(world.record, record);
    }
}
