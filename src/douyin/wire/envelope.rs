//! The envelopes around an answer (1.8, "error envelopes seen"):
//!
//! ```text
//! {err_no, err_msg, log_id, data}                        trade_basic
//! {err_no, err_tips, log_id, data}                       some siblings, callbacks
//! {err_no, err_tips, …}, {error_no, error_tips, …}    ecpay, its fields beside the number
//! {data: {error_code, description}, extra: {error_code, description,
//!         sub_error_code, sub_description, logid, now}}  apps/trade/v2, old gateway
//! {data: {error_code, description, …}, message}          client_token
//! {error, message}                                       one sample
//! ```
//!
//! The numbers decide: each may stand at each level, and all must agree. `BaseResp` is what
//! internal services of the company wrap around answers (a guess that it may get out). It is no
//! number of this API, but it may deny a success.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::values::{Fields, integer, is_something, names_something};
use super::{Unreadable, json, lenient};
use crate::douyin::codes::{self, Row};
use crate::settle::{DouyinError, TradeSystem};

/// An answer out of its envelope.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::douyin) struct Answer {
    /// `None`: the answer has no number.
    pub(in crate::douyin) err_no: Option<i32>,
    pub(in crate::douyin) sub_err_no: Option<i32>,
    /// As Douyin wrote it. It may repeat what was sent.
    err_msg: String,
    pub(in crate::douyin) log_id: Option<String>,
    /// `null` if there is none.
    pub(in crate::douyin) data: Value,
    /// What stands beside it.
    pub(in crate::douyin) beside: Fields,
    /// It shows the id of a settle, with any number.
    pub(in crate::douyin) names_a_settle: bool,
}

/// The most that is kept of Douyin's message.
const ERR_MSG_BYTES_MAX: usize = 512;
/// The most that is kept of a log id; those seen have 34 to 60 bytes.
const LOG_ID_BYTES_MAX: usize = 128;

/// Takes an answer out of its envelope.
pub(in crate::douyin) fn read(content: &[u8]) -> Result<Answer, Unreadable> {
    if content.is_empty() {
        return Err(Unreadable("the answer is empty"));
    }
    // The parser limits its depth, the transport its size.
    let root = json::parse(content).ok_or(Unreadable("the answer is not JSON of one meaning"))?;
    let Value::Object(mut root) = root else {
        return Err(Unreadable("the answer is not a JSON object"));
    };
    let data = root.remove("data").unwrap_or(Value::Null);
    let none = Fields::new();
    let extra = root.get("extra").and_then(Value::as_object).unwrap_or(&none);
    let below = data.as_object().unwrap_or(&none);
    let err_no = err_no(&root, below, extra)?;
    let sub_err_no =
        one_number([number(extra, "sub_error_code")?, number(below, "sub_error_code")?])?;
    let sub_err_no = sub_err_no.filter(|sub_err_no| *sub_err_no != 0);
    if err_no == Some(0) && sub_err_no.is_some() {
        return Err(Unreadable("success with the number of an error below it"));
    }
    if err_no == Some(0) && is_denied(&root)? {
        return Err(Unreadable("success with an error around it"));
    }
    let message = first_text([
        (extra, "sub_description"),
        (&root, "err_msg"),
        (&root, "err_tips"),
        (&root, "error_tips"),
        (extra, "description"),
        (below, "description"),
        (&root, "message"),
    ]);
    let log_id = first_text([(&root, "log_id"), (extra, "logid"), (&root, "logid")]);
    let err_msg = message.unwrap_or_default();
    let log_id = log_id.as_deref().map(bounded_log_id);
    let found = root.get("settle_info").and_then(Value::as_object).unwrap_or(&none);
    let names_a_settle = [&root, below, found].into_iter().any(names_a_settle)
        || data
            .as_array()
            .is_some_and(|items| items.iter().filter_map(Value::as_object).any(names_a_settle));
    Ok(Answer { err_no, sub_err_no, err_msg, log_id, data, beside: root, names_a_settle })
}

fn names_a_settle(fields: &Fields) -> bool {
    ["settle_id", "settle_no"].into_iter().any(|name| names_something(fields, name))
}

/// Whether the wrapping around the answer says that it failed.
fn is_denied(root: &Fields) -> Result<bool, Unreadable> {
    for (wrapper, status) in [("BaseResp", "StatusCode"), ("base_resp", "status_code")] {
        if let Some(wrapper) = root.get(wrapper).and_then(Value::as_object)
            && integer(wrapper, status)?.is_some_and(|status| status != 0)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Success is 0. All places that have a number must agree.
fn err_no(root: &Fields, below: &Fields, extra: &Fields) -> Result<Option<i32>, Unreadable> {
    one_number([
        number(root, "err_no")?,
        number(root, "error_no")?,
        number(root, "error")?,
        number(root, "error_code")?,
        number(below, "error_code")?,
        number(below, "err_no")?,
        number(extra, "error_code")?,
        number(extra, "err_no")?,
    ])
}

/// A log id, cut if it is too long.
pub(in crate::douyin) fn bounded_log_id(log_id: &str) -> String {
    log_id.split_at(log_id.floor_char_boundary(LOG_ID_BYTES_MAX)).0.to_owned()
}

fn number(fields: &Fields, name: &'static str) -> Result<Option<i32>, Unreadable> {
    let number = integer(fields, name)?;
    number.map(|number| i32::try_from(number).map_err(|_| Unreadable(name))).transpose()
}

/// Envelopes repeat their number. If the copies differ, the answer cannot be used: one may say that
/// the money moves, and the other that it does not.
fn one_number<const N: usize>(copies: [Option<i32>; N]) -> Result<Option<i32>, Unreadable> {
    let mut numbers = copies.into_iter().flatten();
    let first = numbers.next();
    match numbers.all(|number| Some(number) == first) {
        true => Ok(first),
        false => Err(Unreadable("the answer contradicts itself in its number")),
    }
}

/// Texts only help people, so one of a wrong type does not make the answer unreadable.
fn first_text<const N: usize>(places: [(&Fields, &'static str); N]) -> Option<String> {
    places.into_iter().find_map(|(fields, name)| lenient::text(fields, name))
}

impl Answer {
    /// Whether it is an error or says that nothing was found. Taken for the answer to another
    /// request, it could end a settle that lives.
    pub(in crate::douyin) fn denies(&self) -> bool {
        self.err_no != Some(0) || !(is_something(&self.data) || self.names_a_settle)
    }

    /// The row of the error table that decides if this answers a call of a trade system, or of the
    /// platform itself; `None` for numbers that no document lists.
    pub(in crate::douyin) fn row(&self, trade_system: Option<TradeSystem>) -> Option<&'static Row> {
        codes::decisive(trade_system, self.err_no?, self.sub_err_no)
    }

    /// The error to record. A secret that Douyin repeats is taken out before the text is cut, so
    /// that no part of it remains.
    pub(in crate::douyin) fn error(
        &self,
        http_status: u16,
        log_id: Option<&str>,
        sent: &SecretString,
    ) -> DouyinError {
        let secret = sent.expose_secret();
        let mut err_msg = match secret.is_empty() {
            true => self.err_msg.clone(),
            false => self.err_msg.replace(secret, "[redacted]"),
        };
        err_msg.truncate(err_msg.floor_char_boundary(ERR_MSG_BYTES_MAX));
        DouyinError {
            err_no: self.err_no,
            sub_err_no: self.sub_err_no,
            err_msg,
            log_id: log_id.unwrap_or_default().to_owned(),
            http_status,
        }
    }
}
