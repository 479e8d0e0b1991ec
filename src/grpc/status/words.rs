//! The words of the two tables for a failure.

use std::time::Duration;

use tonic::Code;

use super::super::reasons::{self, Outcome};
use super::{DOMAIN_DOUYIN, DOMAIN_GATEWAY};
use crate::douyin::codes::{self, About, Handling, Retry};
use crate::settle::{Failure, Reason};

/// A row of a table, applied to one failure.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub code: Code,
    pub reason: Reason,
    pub domain: &'static str,
    pub meaning: &'static str,
    pub meaning_zh: &'static str,
    pub advice: &'static str,
    pub retry: Retry,
    pub about: About,
    /// Of CreateSettleRequest.
    pub field: Option<&'static str>,
    /// What Douyin's number means for the request; `None`: the reason is the gateway's own.
    pub handling: Option<Handling>,
}

/// The words for a recorded failure. The several causes of "no usable answer" are one reason to a
/// caller, because the caller does the same after each.
pub(crate) fn words(failure: &Failure) -> Words {
    let Some(reason) = failure.reason.known() else {
        return Words::own(Reason::InternalError);
    };
    // Several numbers may share a reason, so the row of the number has the exact words.
    if let Some(row) = codes::row_of(reason, failure.douyin.as_ref()) {
        return Words::of_douyin(row);
    }
    let told = if is_no_usable_answer(reason) { Reason::UpstreamUnavailable } else { reason };
    Words::own(told)
}

fn is_no_usable_answer(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamTimeout
            | Reason::UpstreamUnreachable
            | Reason::UpstreamConnectionLost
            | Reason::UpstreamBadAnswer
            | Reason::UpstreamHttpError
            | Reason::SendTooLate
    )
}

/// The words for a failure of a create whose outcome is known.
///
/// While the outcome is unknown, the caller repeats with the same number whatever the last answer
/// was: that answer may be about a repeat whose original was taken. Only if nothing is sent before
/// a person repairs the app, it waits for that. Once the outcome is refused, the number is used up.
pub(crate) fn words_for(failure: &Failure, outcome: Outcome) -> Words {
    let mut words = words(failure);
    let said_of_a_send = match words.handling {
        Some(Handling::Reauthenticate) | None => false,
        Some(Handling::Refused | Handling::Unknown | Handling::Exists | Handling::Throttled) => {
            true
        }
    };
    match (outcome, words.retry) {
        (Outcome::Unknown, Retry::Never | Retry::AfterChange) if said_of_a_send => {
            words.retry = Retry::Now(Duration::from_secs(5));
            words.advice = "Repeat the same call until the outcome is known.";
        }
        (Outcome::Refused, Retry::Now(_)) => {
            words.retry = Retry::Never;
            words.advice = "Pay the intent under another out_settle_no if it is still wanted.";
        }
        (Outcome::Unknown | Outcome::Refused | Outcome::NotSent, _) => {}
    }
    words
}

impl Words {
    fn of_douyin(row: &codes::Row) -> Self {
        Self {
            code: row.code,
            reason: row.reason,
            domain: DOMAIN_DOUYIN,
            meaning: row.meaning,
            meaning_zh: row.meaning_zh,
            advice: row.advice,
            retry: row.retry,
            about: row.about,
            field: row.field,
            handling: Some(row.handling),
        }
    }

    pub(super) fn own(reason: Reason) -> Self {
        let row = reasons::row(reason).expect("each reason of the gateway's own has a row");
        Self {
            code: row.code,
            reason: row.reason,
            domain: DOMAIN_GATEWAY,
            meaning: row.meaning,
            meaning_zh: row.meaning_zh,
            advice: row.advice,
            retry: row.retry,
            about: row.about,
            field: None,
            handling: None,
        }
    }
}
