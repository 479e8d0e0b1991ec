//! Douyin's JSON: what is sent, and what is read from answers.
//!
//! Written strictly. Read by what hangs on it: err_no, the status word, the ids and what proves
//! whose settle it is decide, and are read strictly (`values`): where one of them cannot be
//! understood, or two contradict each other, the whole message is unreadable, because an answer
//! that is guessed at may move money twice. Everything else informs, and is read leniently
//! (`lenient`): it never keeps a settle from its end.
//!
//! What it must not know: HTTP statuses, tokens, what a number of Douyin's means.

mod callback;
mod envelope;
mod items;
mod json;
mod lenient;
mod moment;
#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod tests;
mod values;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::settle::{
    AcceptedIds, AppId, Content, Key, NotifyUrl, OrderId, OutOrderNo, OutSettleNo, SettleId,
    SettleParam, WalletSettleId,
};

pub(super) use callback::{Message, SettleMessage, message};
pub(super) use envelope::{Answer, bounded_log_id, denies, read};
pub(super) use items::{answer_to, reports};
pub use lenient::INFORMING_FIELDS;

/// Why an answer cannot be understood. Says what is wrong with it, never what it said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot be understood: {0}")]
pub struct Unreadable(pub(super) &'static str);

/// How long a client_token lives if the answer does not say (client_token, `expires_in` 7200).
const TOKEN_LIFE: Duration = Duration::from_secs(7200);
/// No token is taken to live shorter, whatever the answer says: else each call would fetch one, and
/// each fetch ends the life of an older one.
const TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);
/// Nor longer.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// By what a settle is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryBy<'a> {
    SettleId(&'a SettleId),
    OutSettleNo(&'a OutSettleNo),
    OrderId(&'a OrderId),
    OutOrderNo(&'a OutOrderNo),
}

impl<'a> QueryBy<'a> {
    pub(super) fn out_settle_no(self) -> Option<&'a OutSettleNo> {
        match self {
            QueryBy::OutSettleNo(out_settle_no) => Some(out_settle_no),
            QueryBy::SettleId(_) | QueryBy::OrderId(_) | QueryBy::OutOrderNo(_) => None,
        }
    }
}

/// settle_create, request body (1.3): every value is a string; what is unset is left out, because
/// a `null` is refused (pitfalls).
#[derive(Serialize)]
struct CreateBody<'a> {
    /// Not on the page, but required by the official SDK and sent by three SDKs of four.
    app_id: &'a str,
    out_order_no: &'a str,
    out_settle_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_order_id: Option<&'a str>,
    settle_desc: &'a str,
    /// A JSON array serialized into a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_params: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
}

/// settle_create, element of `settle_params` (1.4): here the amount is a JSON number.
#[derive(Serialize)]
struct Receiver<'a> {
    merchant_uid: &'a str,
    amount: i64,
}

/// The JSON of a create. It is stored and sent as the same bytes every time, so a change of its
/// form takes effect for new settles only. `ext` goes out as it is: the caller's, or the mark.
pub fn create_body(
    key: &Key,
    content: &Content,
    ext: Option<&str>,
    notify_url_default: Option<&NotifyUrl>,
) -> String {
    let notify_url = content.notify_url.as_ref().or(notify_url_default);
    let settle_params = match content.settle_params.as_slice() {
        [] => None,
        params => Some(settle_params_text(params)),
    };
    json(&CreateBody {
        app_id: key.app_id.as_str(),
        out_order_no: content.out_order_no.as_str(),
        out_settle_no: key.out_settle_no.as_str(),
        item_order_id: content.item_order_id.as_ref().map(|item| item.as_str()),
        settle_desc: content.settle_desc.as_str(),
        settle_params,
        ext,
        notify_url: notify_url.map(NotifyUrl::as_str),
    })
}

/// The receivers as Douyin gets and counts them (1.3: at most 512 bytes): an array without spaces.
pub fn settle_params_text(params: &[SettleParam]) -> String {
    let receivers: Vec<Receiver<'_>> = params
        .iter()
        .map(|param| Receiver {
            merchant_uid: param.merchant_uid.as_str(),
            amount: param.amount.get(),
        })
        .collect();
    json(&receivers)
}

/// settle_query, request body: one key only, because with several only the first in Douyin's own
/// order counts.
pub(super) fn query_body(app_id: &AppId, by: QueryBy<'_>) -> String {
    let (key, value) = match by {
        QueryBy::SettleId(settle_id) => ("settle_id", settle_id.as_str()),
        QueryBy::OutSettleNo(out_settle_no) => ("out_settle_no", out_settle_no.as_str()),
        QueryBy::OrderId(order_id) => ("order_id", order_id.as_str()),
        QueryBy::OutOrderNo(out_order_no) => ("out_order_no", out_order_no.as_str()),
    };
    json(&std::collections::BTreeMap::from([("app_id", app_id.as_str()), (key, value)]))
}

/// client_token, request body. In the body and never in the address, which gets logged.
pub(super) fn token_body(app_id: &AppId, client_secret: &SecretString) -> SecretString {
    #[derive(Serialize)]
    struct TokenBody<'a> {
        client_key: &'a str,
        client_secret: &'a str,
        grant_type: &'a str,
    }
    let body = TokenBody {
        client_key: app_id.as_str(),
        client_secret: client_secret.expose_secret(),
        grant_type: "client_credential",
    };
    json(&body).into()
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and numbers under text keys always serialize")
}

/// settle_create, response `data` (1.6). `None`: Douyin names no settle, or not in a usable way.
pub(super) fn accepted_ids(data: &Value) -> Option<AcceptedIds> {
    let fields = data.as_object()?;
    let settle_id = values::text(fields, &["settle_id"]).ok()??;
    let settle_id = values::names_something(fields, "settle_id").then_some(settle_id)?;
    let settle_id = SettleId::parse(settle_id).ok()?;
    let wallet_settle_id = lenient::id(fields, "wallet_settle_id", WalletSettleId::parse);
    Some(AcceptedIds { settle_id, wallet_settle_id })
}

/// client_token, response `data`: the token and how long it lives from now on.
pub(super) fn token(data: &Value) -> Result<(SecretString, Duration), Unreadable> {
    let Value::Object(fields) = data else {
        return Err(Unreadable("the answer holds no token"));
    };
    let token = values::text(fields, &["access_token"])?;
    let token = token.ok_or(Unreadable("the answer holds no token"))?;
    // Absurd lives are cut to what can be worked with: a token that is dead is rejected, and then
    // replaced.
    let life = lenient::whole(fields, "expires_in").map_or(TOKEN_LIFE, |secs| {
        Duration::from_secs(u64::try_from(secs).unwrap_or(0)).clamp(TOKEN_LIFE_MIN, TOKEN_LIFE_MAX)
    });
    Ok((token.into(), life))
}
