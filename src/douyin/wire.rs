//! Douyin's JSON, as far as all trade systems share it: the envelopes of answers, how values are
//! read, and access tokens.
//!
//! The fields on which money depends are read strictly (`values`): err_no, the status word, the
//! ids, and what proves whose settle it is. If one of them cannot be understood, or two contradict
//! each other, the whole message is unreadable, because a guess may move money twice. All other
//! fields are read leniently (`lenient`), so that they never keep a settle from its end.
//!
//! What it must not know: HTTP statuses, what a number of Douyin's means, how a trade system
//! describes a settle.

mod envelope;
pub(super) mod json;
pub(super) mod lenient;
mod moment;
#[cfg(test)]
mod tests;
pub(super) mod values;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::settle::{AppId, OrderId, OutOrderNo, OutSettleNo, SettleId};

pub(super) use envelope::{Answer, bounded_log_id, read};
pub use lenient::INFORMING_FIELDS;

/// Why an answer cannot be understood. It never repeats the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot be understood: {0}")]
pub struct Unreadable(pub(super) &'static str);

/// How long a client_token lives if the answer names no time (client_token, `expires_in` 7200).
const TOKEN_LIFE: Duration = Duration::from_secs(7200);
/// The shortest life that is believed. A shorter one would make each call fetch a token, and each
/// fetch ends the life of an older one.
const TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);
/// The longest life that is believed.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// How a query names a settle.
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

/// client_token, request body. The secret is in the body and never in the URL, which gets logged.
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

/// A body of a request.
pub(super) fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and numbers under text keys always serialize")
}

/// client_token, response `data`: the token and how long it lives from now on.
pub(super) fn token(data: &Value) -> Result<(SecretString, Duration), Unreadable> {
    let Value::Object(fields) = data else {
        return Err(Unreadable("the answer holds no token"));
    };
    let token = values::text(fields, &["access_token"])?;
    let token = token.ok_or(Unreadable("the answer holds no token"))?;
    // Absurd lives are cut. If the token is dead sooner, Douyin rejects it, and it is replaced.
    let life = lenient::whole(fields, "expires_in").map_or(TOKEN_LIFE, |secs| {
        Duration::from_secs(u64::try_from(secs).unwrap_or(0)).clamp(TOKEN_LIFE_MIN, TOKEN_LIFE_MAX)
    });
    Ok((token.into(), life))
}
