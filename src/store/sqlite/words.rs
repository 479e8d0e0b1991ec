//! How closed enums and small structures are spelled in the tables: one word per variant, JSON for
//! what is only read as a whole.
//!
//! The spelling is the store's own, so that renaming something in the code never changes a file. A
//! word that this version does not know makes its row unreadable, in Rust and (by
//! [`readable_sql`]) in SQL. It must not know which columns there are otherwise.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::settle::{
    DouyinError, Failure, Fen, MerchantUid, Permission, PermissionId, ProcessId, RULES,
    RecordedReason, SettleParam, Source, StateKind, TradeSystem,
};

/// An enum that is stored as a word.
pub(super) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;

    /// `None`: a newer version wrote it.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.word() == word)
    }
}

/// One list per enum gives both directions, so that none can forget a variant.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal,)* }) => {
        impl Word for $name {
            const ALL: &'static [Self] = &[$($name::$variant),*];

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }
    };
}

/// An `Origin` without its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OriginKind {
    Gateway,
    Platform,
}

words!(TradeSystem { General = "GENERAL", });
words!(OriginKind { Gateway = "GATEWAY", Platform = "PLATFORM", });
words!(StateKind {
    Submitting = "SUBMITTING",
    Processing = "PROCESSING",
    Succeeded = "SUCCEEDED",
    Failed = "FAILED",
    Rejected = "REJECTED",
});
words!(Source {
    Create = "CREATE",
    Query = "QUERY",
    Callback = "CALLBACK",
    Gateway = "GATEWAY",
    Operator = "OPERATOR",
});

/// The SQL condition that a row of `settle` holds only words that this version knows, and was not
/// written by newer rules.
pub(super) fn readable_sql() -> String {
    let conditions = [
        format!("settle.rules <= {RULES}"),
        one_of::<TradeSystem>("trade_system"),
        one_of::<OriginKind>("origin"),
        one_of::<StateKind>("state"),
        one_of::<StateKind>("contradiction_claimed"),
        one_of::<Source>("contradiction_source"),
    ];
    conditions.join(" AND ")
}

/// Null passes: a settle without a contradiction has no word there. Not `IN`: for a list SQLite
/// builds an index at every execution, which costs more than all the rest of a swap.
fn one_of<W: Word>(column: &str) -> String {
    let equals = |known: &W| format!("settle.{column} = '{}'", known.word());
    let equals: Vec<String> = W::ALL.iter().map(equals).collect();
    format!("({}) IS NOT FALSE", equals.join(" OR "))
}

/// The SQL condition that a settle is in one of the states `wanted`. A state that this version does
/// not know is never wanted.
pub(super) fn state_in_sql(wanted: fn(StateKind) -> bool) -> String {
    let states = StateKind::ALL.iter().copied().filter(|state| wanted(*state));
    let equals: Vec<String> =
        states.map(|state| format!("settle.state = '{}'", state.word())).collect();
    format!("({})", equals.join(" OR "))
}

/// A [`Failure`] as it is stored. A field more needs a migration: see `0001_settles.sql`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FailureJson<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    douyin: Option<DouyinErrorJson<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DouyinErrorJson<'a> {
    /// Programs that expect one leave a row without it alone, as they do with unknown words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    err_no: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_err_no: Option<i32>,
    #[serde(borrow)]
    err_msg: Cow<'a, str>,
    #[serde(borrow)]
    log_id: Cow<'a, str>,
    http_status: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleParamJson<'a> {
    #[serde(borrow)]
    merchant_uid: Cow<'a, str>,
    amount_fen: i64,
}

pub(super) fn failure_json(failure: &Failure) -> String {
    let stored = FailureJson {
        reason: Cow::Borrowed(failure.reason.as_str()),
        douyin: failure.douyin.as_ref().map(|said| DouyinErrorJson {
            err_no: said.err_no,
            sub_err_no: said.sub_err_no,
            err_msg: Cow::Borrowed(&said.err_msg),
            log_id: Cow::Borrowed(&said.log_id),
            http_status: said.http_status,
        }),
    };
    serde_json::to_string(&stored).expect("strings and numbers always have a JSON form")
}

/// `None`: not JSON that this version wrote.
pub(super) fn failure_from_json(json: &str) -> Option<Failure> {
    let stored: FailureJson<'_> = serde_json::from_str(json).ok()?;
    Some(Failure {
        reason: RecordedReason::parse(&stored.reason),
        douyin: stored.douyin.map(|said| DouyinError {
            err_no: said.err_no,
            sub_err_no: said.sub_err_no,
            err_msg: said.err_msg.into_owned(),
            log_id: said.log_id.into_owned(),
            http_status: said.http_status,
        }),
    })
}

/// A [`Permission`] as it is stored. A field more needs a migration: see `0001_settles.sql`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionJson {
    process: u64,
    number: u64,
    time_ms: i64,
    lasts_ms: u64,
}

impl From<&Permission> for PermissionJson {
    fn from(permission: &Permission) -> Self {
        Self {
            process: permission.id.process.0,
            number: permission.id.number,
            time_ms: permission.time.as_ms(),
            lasts_ms: u64::try_from(permission.lasts.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<PermissionJson> for Permission {
    fn from(stored: PermissionJson) -> Self {
        Self {
            id: PermissionId { process: ProcessId(stored.process), number: stored.number },
            time: Timestamp::from_ms(stored.time_ms),
            lasts: Duration::from_millis(stored.lasts_ms),
        }
    }
}

pub(super) fn permission_json(permission: &Permission) -> String {
    let stored = PermissionJson::from(permission);
    serde_json::to_string(&stored).expect("numbers always have a JSON form")
}

pub(super) fn permissions_json(permissions: &[Permission]) -> String {
    let stored: Vec<PermissionJson> = permissions.iter().map(PermissionJson::from).collect();
    serde_json::to_string(&stored).expect("numbers always have a JSON form")
}

/// `None`: not JSON that this version wrote.
pub(super) fn permission_from_json(json: &str) -> Option<Permission> {
    serde_json::from_str::<PermissionJson>(json).ok().map(Permission::from)
}

/// `None`: not JSON that this version wrote.
pub(super) fn permissions_from_json(json: &str) -> Option<Vec<Permission>> {
    let stored: Vec<PermissionJson> = serde_json::from_str(json).ok()?;
    Some(stored.into_iter().map(Permission::from).collect())
}

pub(super) fn settle_params_json(params: &[SettleParam]) -> String {
    let stored: Vec<SettleParamJson<'_>> = params
        .iter()
        .map(|param| SettleParamJson {
            merchant_uid: Cow::Borrowed(param.merchant_uid.as_str()),
            amount_fen: param.amount.get(),
        })
        .collect();
    serde_json::to_string(&stored).expect("strings and numbers always have a JSON form")
}

/// `None`: not JSON that this version wrote.
pub(super) fn settle_params_from_json(json: &str) -> Option<Vec<SettleParam>> {
    let stored: Vec<SettleParamJson<'_>> = serde_json::from_str(json).ok()?;
    let param = |stored: SettleParamJson<'_>| {
        let merchant_uid = MerchantUid::parse(stored.merchant_uid).ok()?;
        Some(SettleParam { merchant_uid, amount: Fen::new(stored.amount_fen) })
    };
    stored.into_iter().map(param).collect()
}
