//! THE ERROR TABLE: what every number of Douyin's means for money, for the caller and for the next
//! try. A new number is one row, and a new reason a variant of [`Reason`].
//!
//! Each trade system has numbers of its own (`family/codes.rs`), and all share those of the
//! platform (`codes/platform.rs`). Numbers that share a reason mean the same in every table.
//!
//! What it must not know: how an answer is transported or parsed. `tonic::Code` is the only part of
//! gRPC that is used below floor 3, because the table has a column for it.

pub(super) mod kinds;
mod named;
mod platform;

use std::collections::BTreeSet;
use std::time::Duration;

pub use named::named_fields;

use super::system;
use crate::settle::{DouyinError, Reason, TradeSystem};

/// One number of Douyin's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    pub err_no: i32,
    /// The stable name. Numbers with the same name share the gRPC code and the handling.
    pub reason: Reason,
    pub code: tonic::Code,
    pub handling: Handling,
    pub retry: Retry,
    pub about: About,
    /// The field of CreateSettleRequest that Douyin complains about, as in the proto. If the number
    /// does not name it, the message may, see [`named_fields`].
    pub field: Option<&'static str>,
    /// What happened: one sentence.
    pub meaning: &'static str,
    pub meaning_zh: &'static str,
    /// What to do: one sentence. It never says under which out_settle_no, because that depends on
    /// the outcome, and the same number can come with any outcome.
    pub advice: &'static str,
}

/// What a number means for the request that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handling {
    /// This request took no effect.
    Refused,
    /// It may have taken effect.
    Unknown,
    /// A settle with its out_settle_no exists.
    Exists,
    /// It took no effect because of the access token. It is worth one repeat with another token.
    Reauthenticate,
    /// As `Unknown`, and the whole app must slow down.
    Throttled,
}

/// When another try makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// After this delay, with nothing changed.
    Now(Duration),
    /// After something outside the call has changed.
    AfterChange,
    Never,
}

/// What a failure is about. Together with the gRPC code it decides which details an error has
/// beside those that all errors have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    Request,
    Order,
    Item,
    Settle,
    App,
    Gateway,
    Douyin,
}

/// The numbers that a trade system does not share with the platform: tables, of which the last one
/// that lists a number decides about it.
fn own(trade_system: TradeSystem) -> &'static [&'static [Row]] {
    system::of(trade_system).codes
}

/// Every number with the trade systems whose calls may be answered with it, sorted by number. Rows
/// of two systems that differ in anything are two.
pub fn table() -> Vec<(&'static Row, Vec<TradeSystem>)> {
    let mut table: Vec<(&'static Row, Vec<TradeSystem>)> = Vec::new();
    for trade_system in TradeSystem::ALL {
        for row in rows(trade_system) {
            match table.iter_mut().find(|(known, _)| *known == row) {
                Some((_, systems)) => systems.push(trade_system),
                None => table.push((row, vec![trade_system])),
            }
        }
    }
    table.sort_by_key(|(row, _)| row.err_no);
    table
}

/// Every number that a call of a trade system may be answered with, sorted.
pub fn rows(trade_system: TradeSystem) -> Vec<&'static Row> {
    let tables = [platform::TABLE].into_iter().chain(own(trade_system).iter().copied());
    let numbers = tables.flatten().map(|row| row.err_no).collect::<BTreeSet<_>>();
    numbers.into_iter().filter_map(|err_no| row(Some(trade_system), err_no)).collect()
}

/// The row of a number that answers a call of this trade system, or a call of the platform's own;
/// `None` if no document lists it.
pub fn row(trade_system: Option<TradeSystem>, err_no: i32) -> Option<&'static Row> {
    let tables =
        [platform::TABLE].into_iter().chain(trade_system.map_or(&[][..], own).iter().copied());
    tables.rev().find_map(|table| {
        let found = table.binary_search_by_key(&err_no, |row| row.err_no).ok()?;
        table.get(found)
    })
}

/// Whether any table lists the number.
pub(super) fn is_listed(err_no: i32) -> bool {
    let systems = TradeSystem::ALL.iter().map(|system| Some(*system));
    systems.chain([None]).any(|system| row(system, err_no).is_some())
}

/// The row with the texts of a reason: the first row that has it.
pub fn row_for_reason(reason: Reason) -> Option<&'static Row> {
    rows_for_reason(reason).next()
}

/// The row with the texts of a recorded failure: of the rows with its reason the one with its
/// number (the second number before the first), else the first row of the reason.
pub fn row_of(reason: Reason, said: Option<&DouyinError>) -> Option<&'static Row> {
    let numbers = said.map(|said| [said.sub_err_no, said.err_no]);
    let mut numbers = numbers.into_iter().flatten().flatten();
    let exact = numbers.find_map(|number| rows_for_reason(reason).find(|r| r.err_no == number));
    exact.or_else(|| row_for_reason(reason))
}

fn rows_for_reason(reason: Reason) -> impl Iterator<Item = &'static Row> {
    let own = TradeSystem::ALL.into_iter().flat_map(|system| own(system).iter().copied());
    let tables = [platform::TABLE].into_iter().chain(own);
    tables.flatten().chain([other()]).filter(move |row| row.reason == reason)
}

/// The row of every number that no table lists.
pub fn other() -> &'static Row {
    &kinds::OTHER
}

/// The row that decides about an answer with a number and perhaps a second one below it: the row of
/// the second number if it is listed and not 0, else that of the first.
///
/// Except if no row lists the second number, and the first one is a refusal or only names a class.
/// 2190004 ("capability missing") was seen above an ordinary 23002, so it may stand above anything,
/// also above a failure that is no refusal. Such a pair counts as an unlisted number.
pub fn decisive(
    trade_system: Option<TradeSystem>,
    err_no: i32,
    sub_err_no: Option<i32>,
) -> Option<&'static Row> {
    let first = row(trade_system, err_no);
    match sub_err_no {
        None | Some(0) => first,
        Some(second) => row(trade_system, second)
            .or_else(|| first.filter(|parent| parent.speaks_for_any_second_number())),
    }
}

impl Row {
    fn speaks_for_any_second_number(&self) -> bool {
        match self.handling {
            Handling::Refused => false,
            Handling::Unknown => self.reason != kinds::CLASS_ONLY.reason,
            Handling::Exists | Handling::Reauthenticate | Handling::Throttled => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const GENERAL: Option<TradeSystem> = Some(TradeSystem::General);

    fn all() -> Vec<&'static Row> {
        table().into_iter().map(|(row, _)| row).collect()
    }

    #[test]
    fn numbers_are_sorted_and_unique() {
        let own = TradeSystem::ALL.into_iter().flat_map(|system| own(system).iter().copied());
        let tables = own.chain([platform::TABLE]);
        for table in tables {
            assert!(table.windows(2).all(|pair| pair[0].err_no < pair[1].err_no));
        }
        for system in TradeSystem::ALL {
            let rows = rows(system);
            assert!(rows.windows(2).all(|pair| pair[0].err_no < pair[1].err_no), "{system:?}");
            assert_eq!(row(Some(system), 0), None, "0 is no error");
            for each in rows {
                assert_eq!(row(Some(system), each.err_no), Some(each));
            }
        }
    }

    #[test]
    fn a_call_of_the_platform_is_answered_with_its_numbers_only() {
        assert!(platform::TABLE.iter().all(|each| row(None, each.err_no) == Some(each)));
        assert_eq!(row(None, 23112), None);
        assert_eq!(decisive(None, 2191009, Some(23112)), None);
    }

    /// What is wrong with the credentials proves nothing about the order.
    #[test]
    fn a_rejected_signature_refuses_nothing_where_calls_are_signed() {
        for system in TradeSystem::ALL {
            let row = row(Some(system), 11004).unwrap();
            let is_signed = system == TradeSystem::Industry;
            let handling = if is_signed { Handling::Reauthenticate } else { Handling::Refused };
            assert_eq!(row.handling, handling, "{system:?}");
        }
    }

    #[test]
    fn a_recorded_failure_is_told_by_the_row_of_its_number() {
        let said = |err_no, sub_err_no| DouyinError {
            err_no: Some(err_no),
            sub_err_no,
            err_msg: String::new(),
            log_id: String::new(),
            http_status: 200,
        };
        let told = |reason, err_no, sub| row_of(reason, Some(&said(err_no, sub))).unwrap().err_no;
        let permission = Reason::UpstreamPermissionMissing;
        assert_eq!(told(permission, 11006, None), 11006);
        assert_eq!(told(permission, 2190004, Some(11006)), 11006);
        assert_eq!(told(permission, 2190004, Some(0)), 2190004);
        assert_eq!(told(Reason::NoMoneyToSettle, 2191009, Some(23112)), 23112);
        // The number has another reason by itself than after a fetch of a token.
        let rejected = Reason::UpstreamCredentialsRejected;
        assert_eq!(row_of(rejected, Some(&said(10002, None))), row_for_reason(rejected));
        assert_eq!(row_of(Reason::DouyinError, Some(&said(99999, None))), Some(other()));
        assert_eq!(row_of(Reason::SubmissionExpired, None), None);
    }

    #[test]
    fn each_text_is_one_sentence() {
        for row in all().into_iter().chain([other()]) {
            for text in [row.meaning, row.advice] {
                assert!(text.ends_with('.') && !text.contains(". "), "one sentence: {row:?}");
            }
            assert_eq!(row.meaning_zh.matches('。').count(), 1, "{row:?}");
            assert!(row.meaning_zh.ends_with('。'), "{row:?}");
        }
    }

    #[test]
    fn numbers_that_share_a_reason_share_code_and_handling() {
        for row in all() {
            let speaker = row_for_reason(row.reason).unwrap();
            assert_eq!(row.code, speaker.code, "{row:?}");
            assert_eq!(row.handling, speaker.handling, "{row:?}");
            assert_eq!(row.about, speaker.about, "{row:?}");
        }
        assert_eq!(row_for_reason(Reason::DouyinError), Some(other()));
        assert!(all().iter().all(|row| row.reason != Reason::DouyinError), "they have no number");
    }

    #[test]
    fn a_retry_now_is_advised_exactly_where_nothing_outside_must_change() {
        for row in all() {
            let now = matches!(row.retry, Retry::Now(delay) if !delay.is_zero());
            let transient = match row.handling {
                Handling::Unknown | Handling::Throttled => true,
                Handling::Refused | Handling::Exists | Handling::Reauthenticate => false,
            };
            assert_eq!(now, transient, "{row:?}");
        }
    }

    /// The numbers of the pages that the sources in `kinds.rs` name; written out a second time on
    /// purpose. Second numbers are those that stand below a class.
    #[test]
    fn every_number_of_both_levels_that_a_page_lists_is_there() {
        let settle_create =
            [10000, 23000, 23024, 23025, 23101, 23102, 23107, 23111, 23112, 23113, 23117, 23118];
        let family = [23124, 23001, 23002, 23003, 23004, 23005, 23006, 23007, 23008, 23009, 23010];
        let platform = [
            28001003, 28001008, 2190002, 2190008, 10008, 11016, 28001005, 2100004, 2191000, 12001,
            12002, 10020, 2190001, 28003017, 2100005, 28001007, 10002, 2100007, 2190004, 28001014,
            28001018, 28001019, 10004, 28001016, 2190016, 40006, 2191001, 2191002, 2191003,
            2191004, 2191005, 2191006, 2191007, 2191008, 2191009,
        ];
        let second = [11001, 11002, 11004, 11006, 13000, 20000, 20001, 20005, 21000];
        for err_no in [&settle_create[..], &family, &platform, &second].concat() {
            assert!(row(GENERAL, err_no).is_some(), "{err_no}");
        }
        for err_no in second {
            assert_eq!(
                decisive(GENERAL, 2191009, Some(err_no)),
                row(GENERAL, err_no),
                "below a class"
            );
            assert_eq!(decisive(GENERAL, err_no, None), row(GENERAL, err_no), "and by itself");
        }
    }

    /// The mapping that callers rely on; written out a second time on purpose.
    #[test]
    fn the_promised_codes_and_reasons_are_kept() {
        let promised: &[(&[i32], Code, &str)] = &[
            (&[10000], Code::InvalidArgument, "PARAM_ERROR"),
            (&[23000], Code::Unavailable, "SYSTEM_ERROR"),
            (&[2191000, 13000], Code::Unavailable, "SYSTEM_ERROR"),
            (&[28001005, 2100004], Code::Unavailable, "SYSTEM_BUSY"),
            (&[23024], Code::NotFound, "ITEM_ORDER_NOT_FOUND"),
            (&[23025], Code::InvalidArgument, "ITEM_ORDER_MISMATCH"),
            (&[23101], Code::NotFound, "ORDER_NOT_FOUND"),
            (&[23102], Code::FailedPrecondition, "ORDER_NOT_PAID"),
            (&[23107], Code::FailedPrecondition, "ORDER_NOT_FINISHED"),
            (&[23111], Code::AlreadyExists, "OUT_SETTLE_NO_EXISTS"),
            (&[23112], Code::FailedPrecondition, "NO_MONEY_TO_SETTLE"),
            (&[23113], Code::FailedPrecondition, "ORDER_NOT_SETTLEABLE"),
            (&[23117], Code::FailedPrecondition, "AUTOMATIC_SETTLEMENT_CONFIGURED"),
            (&[23118], Code::FailedPrecondition, "ENTIRE_SETTLE_NOT_ALLOWED"),
            (&[23124], Code::FailedPrecondition, "PARTIAL_SETTLE_NOT_ENABLED"),
            (
                &[28001003, 28001008, 2190002, 2190008, 10008, 11002, 11016],
                Code::FailedPrecondition,
                "UPSTREAM_CREDENTIALS_REJECTED",
            ),
            (&[12001], Code::ResourceExhausted, "UPSTREAM_RATE_LIMITED"),
            (&[10020, 2190001, 28003017], Code::ResourceExhausted, "UPSTREAM_QUOTA_EXHAUSTED"),
            (
                &[28001014, 2190004, 10004, 28001018, 28001019, 2100007],
                Code::FailedPrecondition,
                "UPSTREAM_PERMISSION_MISSING",
            ),
            (&[2190016, 28001016], Code::PermissionDenied, "UPSTREAM_APP_DISABLED"),
            (&[40006], Code::PermissionDenied, "UPSTREAM_IP_NOT_ALLOWED"),
        ];
        for (numbers, code, reason) in promised {
            for err_no in *numbers {
                let row = row(GENERAL, *err_no).unwrap();
                assert_eq!((row.code, row.reason.as_str()), (*code, *reason), "{err_no}");
            }
        }
        for err_no in 23001..=23010 {
            let row = row(GENERAL, err_no).unwrap();
            assert_eq!(row.code, Code::InvalidArgument, "{err_no}");
            assert!(row.field.is_some(), "{err_no}");
        }
    }

    #[test]
    fn the_second_number_decides_if_it_is_listed() {
        let reason = |err_no, sub| decisive(GENERAL, err_no, sub).map(|row| row.reason.as_str());
        assert_eq!(reason(2191009, Some(23112)), Some("NO_MONEY_TO_SETTLE"));
        assert_eq!(reason(2190004, Some(23000)), Some("SYSTEM_ERROR"));
        assert_eq!(reason(2190004, Some(0)), Some("UPSTREAM_PERMISSION_MISSING"));
        assert_eq!(reason(2190004, None), Some("UPSTREAM_PERMISSION_MISSING"));
        assert_eq!(reason(2190008, Some(11003)), Some("UPSTREAM_CREDENTIALS_REJECTED"));
        assert_eq!(reason(2191000, Some(99999)), Some("SYSTEM_ERROR"));
    }

    #[test]
    fn an_unlisted_second_number_below_a_refusal_or_a_class_is_an_unlisted_number() {
        assert_eq!(decisive(GENERAL, 2190004, Some(99999)), None);
        assert_eq!(decisive(GENERAL, 2191009, Some(99999)), None);
        assert_eq!(decisive(GENERAL, 2191009, None).unwrap().handling, Handling::Unknown);
        assert_eq!(decisive(GENERAL, 99999, None), None);
    }
}
