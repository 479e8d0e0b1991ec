//! How structures are stored that are only read whole: as JSON.
//!
//! The names are the store's own, so that renaming something in the code never changes a file. A
//! field that this version does not know makes the value unreadable. Absent values are left out.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::Word;
use crate::clock::Timestamp;
use crate::settle::{
    CallerName, Content, Decision, DouyinError, Evidence, Ext, Facts, Failure, Fen, HistoryEntry,
    InnerSettleId, Invalid, ItemOrderId, MerchantUid, NotifyUrl, OrderId, OutOrderNo, Permission,
    PermissionId, ProcessId, RecordedReason, Request, SettleDesc, SettleId, SettleParam, Source,
    StateKind, Unlisted, WalletSettleId, Why,
};
use crate::trace::TraceParent;

/// A structure that is stored as JSON.
pub(super) trait Stored: Sized {
    fn to_json(&self) -> String;

    /// `None`: JSON that this version did not write.
    fn from_json(json: &str) -> Option<Self>;
}

/// Text as it is stored, borrowed from what is written or read.
type Text<'a> = Option<Cow<'a, str>>;

fn text(text: &str) -> Text<'_> {
    Some(Cow::Borrowed(text))
}

/// A name, parsed as at the edge.
fn name<T>(text: Text<'_>, parse: fn(String) -> Result<T, Invalid>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => parse(text.into_owned()).ok().map(Some),
    }
}

fn owned(text: Text<'_>) -> Option<String> {
    text.map(Cow::into_owned)
}

fn write(stored: &impl Serialize) -> String {
    serde_json::to_string(stored).expect("strings and numbers always have a JSON form")
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

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
    /// Earlier versions require this field: they neither claim nor rewrite a row without it.
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

impl<'a> From<&'a Failure> for FailureJson<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self {
            reason: Cow::Borrowed(failure.reason.as_str()),
            douyin: failure.douyin.as_ref().map(|said| DouyinErrorJson {
                err_no: said.err_no,
                sub_err_no: said.sub_err_no,
                err_msg: Cow::Borrowed(&said.err_msg),
                log_id: Cow::Borrowed(&said.log_id),
                http_status: said.http_status,
            }),
        }
    }
}

impl From<FailureJson<'_>> for Failure {
    fn from(stored: FailureJson<'_>) -> Self {
        Self {
            reason: RecordedReason::parse(&stored.reason),
            douyin: stored.douyin.map(|said| DouyinError {
                err_no: said.err_no,
                sub_err_no: said.sub_err_no,
                err_msg: said.err_msg.into_owned(),
                log_id: said.log_id.into_owned(),
                http_status: said.http_status,
            }),
        }
    }
}

impl Stored for Failure {
    fn to_json(&self) -> String {
        write(&FailureJson::from(self))
    }

    fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str::<FailureJson<'_>>(json).ok().map(Failure::from)
    }
}

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

impl Stored for Permission {
    fn to_json(&self) -> String {
        write(&PermissionJson::from(self))
    }

    fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str::<PermissionJson>(json).ok().map(Permission::from)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceJson<'a> {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open: Vec<PermissionJson>,
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_permission: Option<PermissionJson>,
    #[serde(default, skip_serializing_if = "is_false")]
    set_back: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    stopped: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    stop_confirmed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exists_seen_ms: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    refused: Option<FailureJson<'a>>,
    /// Rules before 4 remembered one.
    #[serde(borrow, default, skip_serializing)]
    fail_seen: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    unlisted: Option<UnlistedJson<'a>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    empties_after_expiry: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_counted_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnlistedJson<'a> {
    #[serde(borrow)]
    failure: FailureJson<'a>,
    times: u32,
}

impl Stored for Evidence {
    fn to_json(&self) -> String {
        write(&EvidenceJson {
            open: self.open.iter().map(PermissionJson::from).collect(),
            lost: self.lost,
            last_permission: self.last_permission.as_ref().map(PermissionJson::from),
            set_back: self.set_back,
            stopped: self.stopped,
            stop_confirmed: self.stop_confirmed,
            exists_seen_ms: self.exists_seen.map(Timestamp::as_ms),
            refused: self.refused.as_ref().map(FailureJson::from),
            fail_seen: None,
            failed: self.failed.iter().map(|id| Cow::Borrowed(id.as_str())).collect(),
            unlisted: self.unlisted.as_ref().map(|unlisted| UnlistedJson {
                failure: FailureJson::from(&unlisted.failure),
                times: unlisted.times,
            }),
            empties_after_expiry: self.empties_after_expiry,
            last_counted_ms: self.last_counted.map(Timestamp::as_ms),
        })
    }

    fn from_json(json: &str) -> Option<Self> {
        let stored: EvidenceJson<'_> = serde_json::from_str(json).ok()?;
        Some(Self {
            open: stored.open.into_iter().map(Permission::from).collect(),
            lost: stored.lost,
            last_permission: stored.last_permission.map(Permission::from),
            set_back: stored.set_back,
            stopped: stored.stopped,
            stop_confirmed: stored.stop_confirmed,
            exists_seen: stored.exists_seen_ms.map(Timestamp::from_ms),
            refused: stored.refused.map(Failure::from),
            failed: (stored.fail_seen.into_iter().chain(stored.failed))
                .map(|id| SettleId::parse(&*id).ok())
                .collect::<Option<_>>()?,
            unlisted: stored.unlisted.map(|unlisted| Unlisted {
                failure: Failure::from(unlisted.failure),
                times: unlisted.times,
            }),
            empties_after_expiry: stored.empties_after_expiry,
            last_counted: stored.last_counted_ms.map(Timestamp::from_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactsJson<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    wallet_settle_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    inner_settle_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    order_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    out_order_no: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    item_order_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    cp_extra: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    settle_status: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settle_amount_fen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rake_fen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commission_fen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform_ticket_fen: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    settle_detail: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    message: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settle_time_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auto_settle: Option<bool>,
}

impl Stored for Facts {
    fn to_json(&self) -> String {
        write(&FactsJson {
            wallet_settle_id: self.wallet_settle_id.as_ref().and_then(|id| text(id.as_str())),
            inner_settle_id: self.inner_settle_id.as_ref().and_then(|id| text(id.as_str())),
            order_id: self.order_id.as_ref().and_then(|id| text(id.as_str())),
            out_order_no: self.out_order_no.as_ref().and_then(|no| text(no.as_str())),
            item_order_id: self.item_order_id.as_ref().and_then(|id| text(id.as_str())),
            cp_extra: self.cp_extra.as_deref().and_then(text),
            settle_status: self.settle_status.as_deref().and_then(text),
            settle_amount_fen: self.settle_amount.map(Fen::get),
            rake_fen: self.rake.map(Fen::get),
            commission_fen: self.commission.map(Fen::get),
            platform_ticket_fen: self.platform_ticket.map(Fen::get),
            settle_detail: self.settle_detail.as_deref().and_then(text),
            message: self.message.as_deref().and_then(text),
            settle_time_ms: self.settle_time.map(Timestamp::as_ms),
            auto_settle: self.auto_settle,
        })
    }

    fn from_json(json: &str) -> Option<Self> {
        let stored: FactsJson<'_> = serde_json::from_str(json).ok()?;
        Some(Self {
            wallet_settle_id: name(stored.wallet_settle_id, WalletSettleId::parse)?,
            inner_settle_id: name(stored.inner_settle_id, InnerSettleId::parse)?,
            order_id: name(stored.order_id, OrderId::parse)?,
            out_order_no: name(stored.out_order_no, OutOrderNo::parse)?,
            item_order_id: name(stored.item_order_id, ItemOrderId::parse)?,
            cp_extra: owned(stored.cp_extra),
            settle_status: owned(stored.settle_status),
            settle_amount: stored.settle_amount_fen.map(Fen::new),
            rake: stored.rake_fen.map(Fen::new),
            commission: stored.commission_fen.map(Fen::new),
            platform_ticket: stored.platform_ticket_fen.map(Fen::new),
            settle_detail: owned(stored.settle_detail),
            message: owned(stored.message),
            settle_time: stored.settle_time_ms.map(Timestamp::from_ms),
            auto_settle: stored.auto_settle,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionJson<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    by: Text<'a>,
    #[serde(borrow)]
    why: Cow<'a, str>,
    time_ms: i64,
}

impl Stored for Decision {
    fn to_json(&self) -> String {
        write(&DecisionJson {
            by: self.by.as_ref().and_then(|by| text(by.as_str())),
            why: Cow::Borrowed(self.why.as_str()),
            time_ms: self.time.as_ms(),
        })
    }

    fn from_json(json: &str) -> Option<Self> {
        let stored: DecisionJson<'_> = serde_json::from_str(json).ok()?;
        Some(Self {
            by: name(stored.by, CallerName::parse)?,
            why: Why::parse(stored.why.into_owned()).ok()?,
            time: Timestamp::from_ms(stored.time_ms),
        })
    }
}

/// Everything of a request except the bytes that are sent, which have their own column.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestJson<'a> {
    #[serde(borrow)]
    out_order_no: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    item_order_id: Text<'a>,
    #[serde(borrow)]
    settle_desc: Cow<'a, str>,
    #[serde(borrow)]
    settle_params: Vec<SettleParamJson<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    ext: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    notify_url: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    sent_ext: Text<'a>,
    submit_before_ms: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    created_by: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    trace: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleParamJson<'a> {
    #[serde(borrow)]
    merchant_uid: Cow<'a, str>,
    amount_fen: i64,
}

pub(super) fn request_json(request: &Request) -> String {
    let content = &request.content;
    let params = content.settle_params.iter().map(|param| SettleParamJson {
        merchant_uid: Cow::Borrowed(param.merchant_uid.as_str()),
        amount_fen: param.amount.get(),
    });
    write(&RequestJson {
        out_order_no: Cow::Borrowed(content.out_order_no.as_str()),
        item_order_id: content.item_order_id.as_ref().and_then(|id| text(id.as_str())),
        settle_desc: Cow::Borrowed(content.settle_desc.as_str()),
        settle_params: params.collect(),
        ext: content.ext.as_ref().and_then(|ext| text(ext.as_str())),
        notify_url: content.notify_url.as_ref().and_then(|url| text(url.as_str())),
        sent_ext: request.sent_ext.as_deref().and_then(text),
        submit_before_ms: request.submit_before.as_ms(),
        created_by: request.created_by.as_ref().and_then(|by| text(by.as_str())),
        trace: request.trace.as_ref().and_then(|trace| text(trace.as_str())),
    })
}

/// `None`: JSON that this version did not write.
pub(super) fn request_from_json(json: &str, body: String) -> Option<Request> {
    let stored: RequestJson<'_> = serde_json::from_str(json).ok()?;
    let param = |stored: SettleParamJson<'_>| {
        let merchant_uid = MerchantUid::parse(stored.merchant_uid).ok()?;
        Some(SettleParam { merchant_uid, amount: Fen::new(stored.amount_fen) })
    };
    let content = Content {
        out_order_no: OutOrderNo::parse(stored.out_order_no.into_owned()).ok()?,
        item_order_id: name(stored.item_order_id, ItemOrderId::parse)?,
        settle_desc: SettleDesc::parse(stored.settle_desc.into_owned()).ok()?,
        settle_params: stored.settle_params.into_iter().map(param).collect::<Option<_>>()?,
        ext: name(stored.ext, Ext::parse)?,
        notify_url: name(stored.notify_url, NotifyUrl::parse)?,
    };
    let submit_before = Timestamp::from_ms(stored.submit_before_ms);
    let created_by = name(stored.created_by, CallerName::parse)?;
    let request = Request::new(content, owned(stored.sent_ext), body, submit_before);
    let trace = match &stored.trace {
        Some(trace) => Some(TraceParent::parse(trace)?),
        None => None,
    };
    Some(Request { created_by, trace, ..request })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryEntryJson<'a> {
    revision: i64,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    log_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<FailureJson<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    by: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    why: Text<'a>,
    time_ms: i64,
}

impl Stored for HistoryEntry {
    fn to_json(&self) -> String {
        write(&HistoryEntryJson {
            revision: self.revision,
            state: Cow::Borrowed(self.state.word()),
            source: Cow::Borrowed(self.source.word()),
            log_id: self.log_id.as_deref().and_then(text),
            error: self.error.as_ref().map(FailureJson::from),
            by: self.by.as_ref().and_then(|by| text(by.as_str())),
            why: self.why.as_ref().and_then(|why| text(why.as_str())),
            time_ms: self.time.as_ms(),
        })
    }

    fn from_json(json: &str) -> Option<Self> {
        let stored: HistoryEntryJson<'_> = serde_json::from_str(json).ok()?;
        Some(Self {
            revision: stored.revision,
            state: StateKind::from_word(&stored.state)?,
            source: Source::from_word(&stored.source)?,
            log_id: owned(stored.log_id),
            error: stored.error.map(Failure::from),
            by: name(stored.by, CallerName::parse)?,
            why: name(stored.why, Why::parse)?,
            time: Timestamp::from_ms(stored.time_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_rules_before_4_names_one_failed_settle() {
        let failed = SettleId::parse("ots1").unwrap();
        let read = Evidence::from_json(r#"{"lost":1,"fail_seen":"ots1"}"#).unwrap();
        assert_eq!(read, Evidence { lost: 1, failed: vec![failed], ..Evidence::default() });
        let json = r#"{"failed":["ots1","ots2"]}"#;
        assert_eq!(Evidence::from_json(json).unwrap().to_json(), json);
    }
}
