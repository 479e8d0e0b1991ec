//! Answers that look true but stand for nothing in the books.
//!
//! Scripts use them. A client that believes one of these has a bug.

use serde_json::{Value, json};

use super::choices::Choices;
use super::endpoint::{Endpoint, Route};
use super::ids;
use super::settles::AppliedSettle;
use super::system::Account;

/// An error page as a gateway in front of Douyin would send it.
pub(super) const BAD_GATEWAY_PAGE: &str =
    "<html><body><center><h1>502 Bad Gateway</h1></center></body></html>";

/// The `data` of a good answer, naming things that do not exist.
pub(super) fn good_data(route: Route, choices: &Choices, seed: u64, app_id: &str) -> Value {
    let account = Account { system: route.system, app_id };
    let settle_id = ids::settle_id(seed, account, "forged", 0);
    let settle = AppliedSettle {
        wallet_settle_id: ids::wallet_settle_id(seed, &settle_id),
        amount_fen: 1,
        ..AppliedSettle::nothing(account, settle_id)
    };
    match route.endpoint {
        Endpoint::Token => json!({ "access_token": "clt.forged", "expires_in": 7200 }),
        Endpoint::Create => route.reading().create.as_ref().map_or(Value::Null, |form| {
            (form.accepted)(&settle.settle_id, &settle.wallet_settle_id)
        }),
        Endpoint::Query => (route.reading().report)(&[&settle], choices).unwrap_or_default(),
        Endpoint::AmountLeft => json!({ "data": { "unsettle_amount": 1 } }),
        Endpoint::PlatformOrder => json!({ "platform_order": { "settle_info_list": [] } }),
    }
}

/// JSON in which no field has a type that a document mentions.
pub(super) fn wrong_types() -> Value {
    json!({
        "err_no": { "value": 0 }, "err_msg": [], "log_id": {}, "data": true, "extra": 1,
        "message": [null],
    })
}

/// A good answer to a token call, without the token.
pub(super) fn without_the_token() -> Value {
    json!({ "expires_in": 7200 })
}
