//! Answers that look true but stand for nothing in the books.
//!
//! Scripts use them. A client that believes one of these has a bug.

use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::ids;

/// An error page as a gateway in front of Douyin would send it.
pub(super) const BAD_GATEWAY_PAGE: &str =
    "<html><body><center><h1>502 Bad Gateway</h1></center></body></html>";

/// The `data` of a good answer, naming things that do not exist.
pub(super) fn good_data(endpoint: Endpoint, seed: u64, app_id: &str) -> Value {
    let id = ids::settle_id(seed, app_id, "forged", 0);
    match endpoint {
        Endpoint::Token => json!({ "access_token": "clt.forged", "expires_in": 7200 }),
        Endpoint::Create => {
            json!({ "settle_id": id, "wallet_settle_id": ids::wallet_settle_id(seed, &id) })
        }
        Endpoint::Query => json!([
            { "settle_id": id, "settle_status": "SUCCESS", "settle_amount": 1 },
        ]),
    }
}

/// JSON in which no field has a type that a document mentions.
pub(super) fn wrong_types() -> Value {
    json!({
        "err_no": { "value": 0 }, "err_msg": [], "log_id": {}, "data": true, "extra": 1,
        "message": [null],
    })
}

/// `err_no` 0, without what it should carry.
pub(super) fn without_the_thing(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Token => json!({
            "data": { "error_code": 0, "description": "", "expires_in": 7200 },
            "message": "success",
        }),
        Endpoint::Create | Endpoint::Query => json!({ "err_no": 0, "err_msg": "" }),
    }
}
