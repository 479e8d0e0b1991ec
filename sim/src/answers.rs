//! The form of answers: the envelopes and texts of Douyin's error pages.
//!
//! It knows the wire and the choices about it, and no rule that leads to an answer.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::choices::{Choices, Envelope, GuaranteedNames, Informing, LogIdPlace};
use super::endpoint::{Endpoint, Route};
use super::odd;
use super::systems::Shell;

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
    /// The fields that stand beside the error, if there are any.
    pub(super) beside: Option<Value>,
}

impl Refusal {
    pub(super) fn new(err_no: i64) -> Self {
        Self { err_no, detail: String::new(), beside: None }
    }

    pub(super) fn with(err_no: i64, detail: impl Into<String>) -> Self {
        Self { err_no, detail: detail.into(), beside: None }
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
    pub(super) route: Route,
    pub(super) log_id: String,
    pub(super) now_ms: u64,
}

impl Writer<'_> {
    /// The answer of any other call: what it carries, or why it is refused.
    pub(super) fn settlement(self, result: Result<Value, Refusal>) -> Answer {
        match result {
            Ok(data) => self.success(Some(data)),
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

    /// Success always has the system's own form, which is documented. Only the general system's
    /// text key varies. `None`: without the thing that was asked for.
    pub(super) fn success(self, data: Option<Value>) -> Answer {
        let shell = self.route.reading().shell;
        let mut body = match (shell, data) {
            (Shell::Beside, Some(fields)) => fields,
            (Shell::Beside, None) => json!({}),
            (Shell::ErrMsg | Shell::ErrTips | Shell::Extra, Some(data)) => json!({ "data": data }),
            (Shell::ErrMsg | Shell::ErrTips | Shell::Extra, None) => json!({}),
        };
        match shell {
            Shell::ErrMsg => {
                let err_tips = self.choices.business_envelope == Envelope::ErrTips;
                body[if err_tips { "err_tips" } else { "err_msg" }] = json!("");
                body["err_no"] = json!(0);
                self.put_log_id(&mut body, "log_id");
            }
            Shell::ErrTips | Shell::Beside => {
                let [number, text] = self.flat_names();
                body[text] = json!("success");
                body[number] = json!(0);
            }
            Shell::Extra => body["extra"] = self.extra_of((0, "success"), (0, "success")),
        }
        self.json(StatusCode::OK, &body)
    }

    pub(super) fn refusal(self, refusal: &Refusal) -> Answer {
        let shell = self.route.reading().shell;
        let (status, envelope) = match Layer::of(refusal.err_no) {
            Layer::Settlement => (self.choices.business_status, self.choices.business_envelope),
            Layer::Platform => (self.choices.platform_status, self.choices.platform_envelope),
        };
        // The other systems' pages leave less open: 200, and those of the older host one form.
        let (status, envelope) = match shell {
            Shell::ErrMsg => (status, envelope),
            Shell::Extra => (StatusCode::OK, envelope),
            Shell::ErrTips | Shell::Beside => (StatusCode::OK, Envelope::Own),
        };
        let (err_no, text) = (refusal.err_no, refusal.text());
        let flat = |number: &str, key: &str| {
            let mut body = json!({ number: err_no, key: text });
            self.put_log_id(&mut body, "log_id");
            body
        };
        let mut body = match (envelope, shell) {
            (Envelope::Own, Shell::ErrMsg) => flat("err_no", "err_msg"),
            (Envelope::Own, Shell::ErrTips | Shell::Beside) => {
                let [number, key] = self.flat_names();
                flat(number, key)
            }
            (Envelope::ErrTips, _) => flat("err_no", "err_tips"),
            (Envelope::Own, Shell::Extra) | (Envelope::Extra, _) => self.extra(err_no, &text),
            (Envelope::DataMessage, _) => json!({
                "data": { "error_code": err_no, "description": text }, "message": "error",
            }),
            (Envelope::ErrorMessage, _) => json!({ "error": err_no, "message": text }),
        };
        for (name, value) in refusal.beside.iter().filter_map(Value::as_object).flatten() {
            body[name] = value.clone();
        }
        self.json(status, &body)
    }

    /// The table of one page has other names than its sample.
    fn flat_names(&self) -> [&'static str; 2] {
        let by_the_table = self.choices.guaranteed_query_names == GuaranteedNames::Table;
        match (self.route.reading().shell, self.route.endpoint) {
            (Shell::Beside, Endpoint::Query) if by_the_table => ["error_no", "error_tips"],
            _ => ["err_no", "err_tips"],
        }
    }

    /// The two-level envelope: a sub code appears below its parent class.
    fn extra(&self, err_no: i64, text: &str) -> Value {
        let (parent, sub) = if is_sub_code(err_no) {
            ((self.choices.parent_err_no, "business failed"), (err_no, text))
        } else {
            ((err_no, text), (0, ""))
        };
        json!({
            "data": { "error_code": parent.0, "description": parent.1 },
            "extra": self.extra_of(parent, sub),
        })
    }

    fn extra_of(&self, parent: (i64, &str), sub: (i64, &str)) -> Value {
        let mut extra = json!({
            "error_code": parent.0,
            "description": parent.1,
            "sub_error_code": sub.0,
            "sub_description": sub.1,
            "now": self.now_ms,
        });
        self.put_log_id(&mut extra, "logid");
        extra
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
            1_000..=2_999 | 10_000 | 23_000..=23_999 => Self::Settlement,
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
        1_000 => "system error",
        2_000 => "no such record",
        2_008 => "sign error",
        2_010 | 10_000 => "param error",
        2_014 => "分账超过授权比例,或已无可分账金额",
        2_020 => "app_id error",
        10_002 => "parameter error",
        10_003 => "client_key not exist",
        10_008 => "access_token invalid or expired",
        10_013 => "client_key or client_secret error",
        10_020 => "request too frequently",
        11_002 => "AccessToken illegal",
        11_004 => "signature check failed",
        12_001 => "too frequent, please retry later",
        23_000 => "system error",
        23_002 => "at least one of order id and settle id needed",
        23_003 => "out_order_no is empty",
        23_004 => "out_settle_no is empty",
        23_005 => "settle_desc is empty",
        23_006 => "cp_extra is too long",
        23_007 => "settle_params is too long",
        23_008 => "receiver id is empty",
        23_009 => "receiver amount is less than 1",
        23_010 => "settle_desc is too long",
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
