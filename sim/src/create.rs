//! settle_create: reads the request, asks the rules, changes the books.
//!
//! It does not know tokens, envelopes or faults.

use bytes::Bytes;
use http::uri::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Refusal;
use super::books::Books;
use super::choices::{Choices, NumberCheck, NumberFate};
use super::fields::{Fields, PARAM_ERROR};
use super::orders::Order;
use super::rules::{Case, amount_to_settle};
use super::settles::{Accepted, Receiver};

/// "System error". Its advice is to send the same again.
const SYSTEM_ERROR: i64 = 23_000;
/// "out_settle_no has existed".
const EXISTS: i64 = 23_111;

/// Answers one create of the app that the token belongs to; `Ok` is the answer's `data`.
pub(super) fn settle_create(
    books: &mut Books,
    app_id: &str,
    body: &Bytes,
) -> Result<Value, Refusal> {
    let asked = Asked::read(body, app_id, &books.choices)?;
    if books.is_full() {
        return Err(Refusal::with(SYSTEM_ERROR, "the simulator's books are full"));
    }
    let order = books.see_order(app_id, &asked.out_order_no);
    let taken = books.number_taken(app_id, &asked.out_settle_no);
    if taken && books.choices.number_check == NumberCheck::BeforeRules {
        return Err(exists(books, app_id, &asked));
    }
    let amount_fen = match judge(books, &order, &asked) {
        Ok(amount_fen) => amount_fen,
        Err(refusal) => {
            if !taken && books.choices.number_after_refusal == NumberFate::Burned {
                books.burn(app_id, &asked.out_settle_no);
            }
            return Err(refusal);
        }
    };
    if taken {
        return Err(exists(books, app_id, &asked));
    }
    let settle = books.accept(Accepted {
        app_id: app_id.to_owned(),
        out_settle_no: asked.out_settle_no,
        out_order_no: asked.out_order_no,
        item_order_id: asked.item_order_id,
        settle_params: asked.settle_params,
        cp_extra: asked.ext,
        notify_url: asked.notify_url,
        amount_fen,
        promotion: order.setup.promotion,
        body: body.clone(),
    });
    Ok(json!({
        "settle_id": settle.settle_id,
        "wallet_settle_id": settle.wallet_settle_id,
    }))
}

/// A repeat gets 23111 with any content: only a query tells what is there.
fn exists(books: &mut Books, app_id: &str, asked: &Asked) -> Refusal {
    if !books.choices.exists_while_invisible {
        books.show(app_id, &asked.out_settle_no);
    }
    Refusal::new(EXISTS)
}

fn judge(books: &Books, order: &Order, asked: &Asked) -> Result<i64, Refusal> {
    let receivers_fen = asked
        .settle_params
        .iter()
        .try_fold(0_i64, |sum, receiver| sum.checked_add(receiver.amount_fen))
        .ok_or_else(|| Refusal::with(PARAM_ERROR, "settle_params add up to too much"))?;
    let settled = books.settled(&order.app_id, &order.out_order_no);
    if books.choices.settles_per_order_max.is_some_and(|max| settled.len() >= max) {
        return Err(Refusal::with(23_113, "too many settles of this order"));
    }
    amount_to_settle(&Case {
        app: &books.app(&order.app_id),
        order,
        item_order_id: asked.item_order_id.as_deref(),
        receivers_fen,
        settled: &settled,
        now_ms: books.now_ms(),
    })
}

/// The request body, as this reading of the page has it.
#[derive(Debug)]
struct Asked {
    out_order_no: String,
    out_settle_no: String,
    item_order_id: Option<String>,
    settle_params: Vec<Receiver>,
    ext: String,
    notify_url: Option<String>,
}

impl Asked {
    const FIELDS: [&str; 8] = [
        "app_id",
        "out_order_no",
        "out_settle_no",
        "item_order_id",
        "settle_desc",
        "settle_params",
        "ext",
        "notify_url",
    ];

    fn read(body: &[u8], app_id: &str, choices: &Choices) -> Result<Self, Refusal> {
        let fields = Fields::read(body, &Self::FIELDS)?;
        fields.app(app_id, choices)?;
        // The page requires only that it is there.
        fields.required("settle_desc", 512)?;
        let notify_url = fields.optional("notify_url", 512)?;
        if notify_url.as_ref().is_some_and(|url| !is_good_address(url)) {
            return Err(Refusal::with(PARAM_ERROR, "notify_url is not https"));
        }
        let settle_params = match fields.optional("settle_params", 512)? {
            Some(text) => receivers(&text)?,
            None => Vec::new(),
        };
        if choices.receivers_max.is_some_and(|max| settle_params.len() > max) {
            return Err(Refusal::with(PARAM_ERROR, "settle_params: too many receivers"));
        }
        Ok(Self {
            out_order_no: fields.required("out_order_no", 64)?,
            out_settle_no: fields.required("out_settle_no", 64)?,
            item_order_id: fields.optional("item_order_id", 64)?,
            settle_params,
            ext: fields.blankable("ext", 2048)?.unwrap_or_default(),
            notify_url,
        })
    }
}

/// The page demands https. A simulator's tests listen on loopback, without a certificate.
fn is_good_address(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => matches!(host, "127.0.0.1" | "[::1]" | "localhost"),
        Some(_) | None => false,
    }
}

/// An element of `settle_params` on the wire.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    merchant_uid: String,
    amount: i64,
}

/// `settle_params` is a JSON array inside a string.
fn receivers(text: &str) -> Result<Vec<Receiver>, Refusal> {
    let shares: Vec<Share> = serde_json::from_str(text)
        .map_err(|error| Refusal::with(PARAM_ERROR, format!("settle_params: {error}")))?;
    if shares.iter().any(|share| share.merchant_uid.is_empty() || share.amount < 1) {
        return Err(Refusal::with(PARAM_ERROR, "settle_params: empty receiver or amount below 1"));
    }
    Ok(shares
        .into_iter()
        .map(|share| Receiver { merchant_uid: share.merchant_uid, amount_fen: share.amount })
        .collect())
}
