//! The form of answers: the envelopes and texts of Douyin's error pages.
//!
//! It knows the wire and the choices about it, and no rule that leads to an answer.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::choices::{Choices, Envelope, Informing, LogIdPlace};
use super::odd;

/// A complete HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    /// Goes into the header `x-tt-logid`.
    pub log_id: String,
    pub body: Bytes,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) err_no: i64,
    /// Follows the documented text, for a person who reads the answer.
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(err_no: i64) -> Self {
        Self { err_no, detail: String::new() }
    }

    pub(super) fn with(err_no: i64, detail: impl Into<String>) -> Self {
        Self { err_no, detail: detail.into() }
    }

    /// The documented text, and the detail.
    pub(super) fn text(&self) -> String {
        let text = text(self.err_no);
        if self.detail.is_empty() { text.to_owned() } else { format!("{text}: {}", self.detail) }
    }
}

/// Turns results into answers. One per request, because each answer has a log id of its own.
pub(super) struct Writer<'a> {
    pub(super) choices: &'a Choices,
    pub(super) log_id: String,
    pub(super) now_ms: u64,
}

impl Writer<'_> {
    /// The answer of settle_create or settle_query: `data`, or why it is refused.
    pub(super) fn settlement(self, result: Result<Value, Refusal>) -> Answer {
        match result {
            Ok(data) => self.success(data),
            Err(refusal) => self.refusal(&refusal),
        }
    }

    /// The answer of client_token. Its errors come with HTTP 200 and always in this envelope.
    pub(super) fn token(self, result: Result<Value, Refusal>) -> Answer {
        let body = match result {
            Ok(mut data) => {
                data["error_code"] = json!(0);
                data["description"] = json!("");
                json!({ "data": data, "message": "success" })
            }
            Err(refusal) => json!({
                "data": { "error_code": refusal.err_no, "description": refusal.text() },
                "message": "error",
            }),
        };
        self.json(StatusCode::OK, &body)
    }

    /// Success always has trade_basic's own form, which is documented. Only its text key varies.
    fn success(self, data: Value) -> Answer {
        let mut body = json!({ "err_no": 0, "data": data });
        let text_key = match self.choices.business_envelope {
            Envelope::ErrTips => "err_tips",
            Envelope::ErrMsg | Envelope::Extra | Envelope::DataMessage | Envelope::ErrorMessage => {
                "err_msg"
            }
        };
        body[text_key] = json!("");
        self.put_log_id(&mut body, "log_id");
        self.json(StatusCode::OK, &body)
    }

    pub(super) fn refusal(self, refusal: &Refusal) -> Answer {
        let (status, envelope) = match Layer::of(refusal.err_no) {
            Layer::Settlement => (self.choices.business_status, self.choices.business_envelope),
            Layer::Platform => (self.choices.platform_status, self.choices.platform_envelope),
        };
        let (err_no, text) = (refusal.err_no, refusal.text());
        let body = match envelope {
            Envelope::ErrMsg => {
                let mut body = json!({ "err_no": err_no, "err_msg": text });
                self.put_log_id(&mut body, "log_id");
                body
            }
            Envelope::ErrTips => {
                let mut body = json!({ "err_no": err_no, "err_tips": text });
                self.put_log_id(&mut body, "log_id");
                body
            }
            Envelope::Extra => self.extra(err_no, &text),
            Envelope::DataMessage => json!({
                "data": { "error_code": err_no, "description": text }, "message": "error",
            }),
            Envelope::ErrorMessage => json!({ "error": err_no, "message": text }),
        };
        self.json(status, &body)
    }

    /// The two-level envelope: a sub code appears below its parent class.
    fn extra(&self, err_no: i64, text: &str) -> Value {
        let (code, description, sub_code, sub_description) = if is_sub_code(err_no) {
            (self.choices.parent_err_no, "business failed", err_no, text)
        } else {
            (err_no, text, 0, "")
        };
        let mut extra = json!({
            "error_code": code,
            "description": description,
            "sub_error_code": sub_code,
            "sub_description": sub_description,
            "now": self.now_ms / 1000,
        });
        self.put_log_id(&mut extra, "logid");
        json!({ "data": { "error_code": code, "description": description }, "extra": extra })
    }

    fn put_log_id(&self, body: &mut Value, key: &str) {
        match self.choices.log_id {
            LogIdPlace::Body => body[key] = json!(self.log_id),
            LogIdPlace::HeaderOnly => {}
        }
    }

    fn json(self, status: StatusCode, body: &Value) -> Answer {
        let written = match self.choices.informing {
            Informing::AsDocumented => body.to_string().into(),
            Informing::Odd => {
                let mut body = body.clone();
                odd::make_odd(&mut body, &self.log_id);
                odd::written(&body)
            }
        };
        self.raw(status, "application/json; charset=utf-8", written)
    }

    pub(super) fn raw(self, status: StatusCode, content_type: &str, body: Bytes) -> Answer {
        Answer { status, content_type: content_type.to_owned(), log_id: self.log_id, body }
    }
}

/// Who refuses: the settlement system, or the platform in front of it.
enum Layer {
    Settlement,
    Platform,
}

impl Layer {
    fn of(err_no: i64) -> Self {
        match err_no {
            10_000 | 23_000..=23_999 => Self::Settlement,
            _ => Self::Platform,
        }
    }
}

/// Numbers that §1.8 marks "(sub)", and the business numbers, which appear as sub codes.
fn is_sub_code(err_no: i64) -> bool {
    matches!(err_no, 11_000..=11_999 | 13_000 | 20_000..=29_999)
}

/// The documented text of a number.
fn text(err_no: i64) -> &'static str {
    match err_no {
        10_000 => "param error",
        10_002 => "parameter error",
        10_003 => "client_key not exist",
        10_008 => "access_token invalid or expired",
        10_013 => "client_key or client_secret error",
        10_020 => "request too frequently",
        11_002 => "AccessToken illegal",
        12_001 => "too frequent, please retry later",
        23_000 => "system error",
        23_002 => "at least one of order id and settle id needed",
        23_024 => "item_order_id not exist",
        23_025 => "item_order_id not match out_order_no",
        23_101 => "order does not exist",
        23_102 => "order not pay",
        23_107 => "order not finish",
        23_111 => "out_settle_no has existed",
        23_112 => "no money to settle",
        23_113 => "order not allow settle",
        23_117 => "appID configured with automatic settlement",
        23_118 => "not allow entire settle",
        23_124 => "partial settle is grayscale",
        2_100_004 => "system busy",
        2_190_002 | 28_001_003 => "access_token invalid",
        2_190_008 | 28_001_008 => "access_token expired",
        28_001_005 => "internal error, please retry",
        _ => "error",
    }
}
