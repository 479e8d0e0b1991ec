//! What a callback says and how it is signed (§3.1 to §3.3), but for those that are signed with a
//! token (`by_token.rs`).
//!
//! It writes bytes and headers, and does not know when they are sent or what follows.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;

use super::by_token;
use crate::choices::{AmountForm, AutoNumber, CallbackFields, Choices, Informing, QueryNames};
use crate::ids;
use crate::keys::PlatformKey;
use crate::odd;
use crate::query::detail;
use crate::rules::rake_fen;
use crate::settles::{AppliedSettle, Status};
use crate::signed::sha1_sign;
use crate::system::System;
use crate::systems::{CallbackForm, Reading};

pub(crate) const TIMESTAMP: HeaderName = HeaderName::from_static("byte-timestamp");
pub(crate) const NONCE: HeaderName = HeaderName::from_static("byte-nonce-str");
const SIGNATURE: HeaderName = HeaderName::from_static("byte-signature");

/// A callback as it leaves the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Everything about a callback but its body.
pub(super) struct Letterhead<'a> {
    pub(super) app_id: &'a str,
    pub(super) event_id: &'a str,
    pub(super) url: &'a str,
    pub(super) timestamp: String,
    pub(super) nonce: String,
    pub(super) log_id: String,
}

/// What an app's callbacks are signed with.
pub(super) struct Secrets<'a> {
    pub(super) key: &'a PlatformKey,
    pub(super) token: &'a str,
}

impl Secrets<'_> {
    /// A signature of other bytes, as it would stand in a callback of this form.
    pub(super) fn sign_another(&self, form: CallbackForm) -> String {
        match form {
            CallbackForm::Byte(_) => self.key.sign(b"another callback"),
            CallbackForm::Token => sha1_sign(&["another callback"], self.token),
        }
    }
}

/// How the callbacks of a system are written. One that a test forges for a system without any is
/// written as most are.
pub(super) fn form_of(system: System) -> CallbackForm {
    Reading::of(system).callback.unwrap_or(CallbackForm::Byte(None))
}

/// Signs a body and adds all headers.
pub(super) fn sent(
    head: &Letterhead<'_>,
    form: CallbackForm,
    secrets: &Secrets<'_>,
    body: Bytes,
) -> Arc<Sent> {
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type);
    if form == CallbackForm::Token {
        let body = by_token::signed(&body, &head.timestamp, &head.nonce, secrets.token);
        return Arc::new(Sent { headers, body });
    }
    let signature = secrets.key.sign(&signed_text(&head.timestamp, &head.nonce, &body));
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    put(SIGNATURE, &signature);
    put(TIMESTAMP, &head.timestamp);
    put(NONCE, &head.nonce);
    put(HeaderName::from_static("byte-identifyname"), identify_name(head.url));
    put(HeaderName::from_static("byte-logid"), &head.log_id);
    put(HeaderName::from_static("byte-eventid"), head.event_id);
    put(HeaderName::from_static("byte-env"), "prod");
    // Undocumented, seen in captures, and unusable for verification: 40 hex digits.
    put(HeaderName::from_static("signature"), &ids::hex_digits(40, &[head.app_id, &head.nonce]));
    Arc::new(Sent { headers, body })
}

/// 32 letters and digits, or up to four digits as in the samples of guaranteed payment.
pub(super) fn nonce(form: CallbackForm, seed: u64, name: &[&str]) -> String {
    match form {
        CallbackForm::Byte(_) => ids::nonce(seed, name),
        CallbackForm::Token => ids::short_nonce(seed, name),
    }
}

/// Puts another signature into a callback; empty: none.
pub(super) fn with_signature(mut sent: Sent, form: CallbackForm, signature: &str) -> Sent {
    match form {
        CallbackForm::Token => sent.body = by_token::with_signature(&sent.body, signature),
        CallbackForm::Byte(_) => {
            sent.headers.remove(SIGNATURE);
            let value = HeaderValue::try_from(signature).ok().filter(|text| !text.is_empty());
            if let Some(value) = value {
                sent.headers.insert(SIGNATURE, value);
            }
        }
    }
    sent
}

/// Three lines, each ended by LF.
pub(crate) fn signed_text(timestamp: &str, nonce: &str, body: &[u8]) -> Vec<u8> {
    let lines = [timestamp.as_bytes(), nonce.as_bytes(), body];
    lines.into_iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect()
}

/// Each event keeps its own through all attempts. Undocumented; in the form of a captured payment.
pub(super) fn event_id(settle: &AppliedSettle, status: Status, url: &str) -> String {
    let kind = match status {
        Status::Success => "SettleSuc",
        Status::Fail => "SettleFail",
        Status::Init | Status::Processing => "SettleProcessing",
    };
    let (path, app_id, settle_id) = (identify_name(url), &settle.app_id, &settle.settle_id);
    format!("basic_industry_{path}_{app_id}_{kind}DeveloperNotify_{settle_id}")
}

/// The path of the address, without its host.
fn identify_name(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let path = rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/");
    path.split(['?', '#']).next().unwrap_or(path)
}

/// Whether the simulator can send to this address.
///
/// Douyin demands https; a simulator is for loopback and test networks too, where http is enough.
///
/// # Errors
/// The end of a sentence that begins with the address.
pub fn check_callback_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("is no address: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("does not begin with http:// or https://".to_owned());
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(()),
        Some(_) | None => Err("has no host".to_owned()),
    }
}

/// The body that announces that a settle has this status since then.
pub(crate) fn body(settle: &AppliedSettle, status: Status, at_ms: u64, choices: &Choices) -> Bytes {
    let (version, msg, kind) = match form_of(settle.system) {
        CallbackForm::Byte(version) => {
            let version = version.unwrap_or(choices.callback_version).text();
            (
                Some(version),
                written(&msg(settle, status, at_ms, choices), settle, choices),
                "settle",
            )
        }
        CallbackForm::Token => {
            let (msg, kind) = by_token::msg(settle, status, at_ms, choices);
            (None, written(&msg, settle, choices), kind)
        }
    };
    let envelope = Envelope { version, msg, kind };
    serde_json::to_vec(&envelope).expect("texts can be written").into()
}

fn written(msg: &impl Serialize, settle: &AppliedSettle, choices: &Choices) -> String {
    let msg = match choices.informing {
        Informing::AsDocumented => serde_json::to_string(msg),
        Informing::Odd => serde_json::to_value(msg).map(|mut msg| {
            odd::make_odd(&mut msg, &settle.settle_id);
            String::from_utf8_lossy(&odd::written(&msg)).into_owned()
        }),
    };
    msg.expect("texts and numbers can be written")
}

/// The body of the request. `msg` is JSON inside a string.
#[derive(Serialize)]
struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    msg: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// In the order of captured callbacks.
#[derive(Serialize)]
struct Msg<'a> {
    app_id: &'a str,
    status: &'static str,
    order_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_order_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cp_extra: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// In milliseconds.
    event_time: Int64,
    settle_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_settle_no: Option<&'a str>,
    /// The old spelling of `out_settle_no`.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_settle_id: Option<&'a str>,
    rake: Int64,
    commission: Int64,
    settle_detail: String,
    settle_amount: Int64,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_auto_settle: Option<bool>,
}

/// An int64 in either of its two forms.
#[derive(Serialize)]
#[serde(untagged)]
enum Int64 {
    Number(i64),
    Text(String),
}

fn msg<'a>(settle: &'a AppliedSettle, status: Status, at_ms: u64, choices: &Choices) -> Msg<'a> {
    let int64 = |number: i64| match choices.callback_amounts {
        AmountForm::Number => Int64::Number(number),
        AmountForm::Text => Int64::Text(number.to_string()),
    };
    let fields = choices.callback_fields;
    let all_said = fields != CallbackFields::Sparse;
    let number = match (settle.is_auto_settle, choices.auto_out_settle_no) {
        (false, _) | (true, AutoNumber::SettleId) => Some(settle.out_settle_no.as_str()),
        (true, AutoNumber::Blank) => Some(""),
        (true, AutoNumber::Absent) => None,
    };
    let (out_settle_no, out_settle_id) = match choices.callback_names {
        QueryNames::New => (number, None),
        QueryNames::Of2023 => (None, number),
    };
    Msg {
        app_id: &settle.app_id,
        status: status.word(),
        order_id: &settle.order_id,
        item_order_id: match (settle.item_order_id.as_deref(), fields) {
            (Some(item_order_id), _) => Some(item_order_id),
            (None, CallbackFields::Padded) => Some(""),
            (None, CallbackFields::Captured | CallbackFields::Sparse) => None,
        },
        cp_extra: Some(settle.cp_extra.as_str()).filter(|text| !text.is_empty() || all_said),
        message: all_said.then(|| message(status)),
        event_time: int64(i64::try_from(at_ms).unwrap_or(i64::MAX)),
        settle_id: &settle.settle_id,
        out_settle_no,
        out_settle_id,
        rake: int64(rake_fen(settle.amount_fen)),
        commission: int64(settle.commission_fen),
        settle_detail: detail(settle, status, choices.detail_separator),
        settle_amount: int64(settle.amount_fen),
        is_auto_settle: all_said.then_some(settle.is_auto_settle),
    }
}

/// The reason. That of a success is captured, the others are made up.
pub(super) fn message(status: Status) -> &'static str {
    match status {
        Status::Success => "SUCCESS",
        Status::Fail => "分账失败",
        Status::Init | Status::Processing => "PROCESSING",
    }
}
