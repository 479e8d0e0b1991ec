//! The table says of each reason what every part of the gateway takes for granted.

use super::super::status::words;
use super::*;
use crate::douyin::codes;
use crate::settle::Failure;

#[test]
fn reasons_are_sorted_and_each_text_is_one_sentence() {
    assert!(TABLE.is_sorted_by_key(|row| row.reason.as_str()));
    for row in TABLE {
        for text in [row.meaning, row.advice] {
            assert!(text.ends_with('.') && !text.contains(". "), "{:?}", row.reason);
        }
        assert_eq!(row.meaning_zh.matches('。').count(), 1, "{:?}", row.reason);
        assert!(row.meaning_zh.ends_with('。'), "{:?}", row.reason);
    }
}

#[test]
fn each_reason_is_in_one_of_the_tables_or_told_as_one_that_is() {
    for reason in Reason::ALL {
        let own = TABLE.iter().filter(|row| row.reason == *reason).count();
        let douyins = usize::from(codes::row_for_reason(*reason).is_some());
        let told = words(&Failure::own(*reason)).reason;
        let inner = usize::from(told != *reason && row(told).is_some());
        assert_eq!(own + douyins + inner, 1, "{reason:?}");
    }
}

#[test]
fn a_reason_has_outcomes_exactly_if_a_create_can_be_answered_with_it() {
    for row in TABLE {
        let of_creates = row.rpcs.contains(&Rpc::CreateSettle);
        assert_eq!(!row.outcomes.is_empty(), of_creates, "{:?}", row.reason);
    }
}

#[test]
fn a_reason_that_asks_to_come_back_says_when() {
    for row in TABLE {
        let now = matches!(row.retry, Retry::Now(delay) if !delay.is_zero());
        let temporary = matches!(
            row.code,
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
        );
        assert_eq!(now, temporary, "{:?}", row.reason);
    }
}
