//! settle_create of every system: reads the request, asks the rules, changes the books.
//!
//! It does not know tokens, envelopes or faults.

use bytes::Bytes;
use http::uri::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::answers::Refusal;
use super::books::Books;
use super::choices::{Choices, NumberCheck, NumberFate};
use super::fields::{Fields, Problem};
use super::orders::Order;
use super::rules::{Case, amount_to_settle};
use super::settles::{Accepted, AppliedSettle, Receiver, Status};
use super::system::Account;
use super::systems::{CreateForm, DescLimit, Reading, Repeat};

/// "Bad parameter": fix per message.
const PARAM_ERROR: i64 = 10_000;
/// "System error". Its advice is to send the same again.
const SYSTEM_ERROR: i64 = 23_000;
/// "out_settle_no has existed".
const EXISTS: i64 = 23_111;

/// Answers one create of an app; `Ok` is the answer's `data`.
pub(super) fn settle_create(
    books: &mut Books,
    account: Account<'_>,
    body: &Bytes,
) -> Result<Value, Refusal> {
    let reading = Reading::of(account.system);
    let Some(form) = &reading.create else {
        return Err(Refusal::with((reading.rule_number)(23_117), "the platform settles by itself"));
    };
    let by_rule =
        |refusal: Refusal| Refusal { err_no: (reading.rule_number)(refusal.err_no), ..refusal };
    let asked = Asked::read(reading, form, body, account.app_id, &books.choices)?;
    if books.is_full() {
        return Err(by_rule(Refusal::with(SYSTEM_ERROR, "the simulator's books are full")));
    }
    let order = books.see_order(account, &asked.out_order_no);
    let name =
        |settle: &AppliedSettle| (form.accepted)(&settle.settle_id, &settle.wallet_settle_id);
    // A repeat is answered the same with any content: only a query tells what is there.
    let again = books.first_answer(account, &asked.out_settle_no).map(|first| match form.repeat {
        Repeat::Refused => Err(Refusal::new(EXISTS)),
        Repeat::AnsweredAgain => first.map(name),
    });
    let numbers_first = form.repeat == Repeat::AnsweredAgain
        || books.choices.number_check == NumberCheck::BeforeRules;
    if let Some(again) = again.as_ref().filter(|_| numbers_first) {
        return repeated(books, account, &asked, again.clone());
    }
    let amount_fen = match judge(books, account, form, &order, &asked) {
        Ok(amount_fen) => amount_fen,
        Err(refusal) => {
            let refusal = by_rule(refusal);
            if again.is_none() && books.choices.number_after_refusal == NumberFate::Burned {
                books.burn(account, &asked.out_settle_no, &refusal);
            }
            return Err(refusal);
        }
    };
    if let Some(again) = again {
        return repeated(books, account, &asked, again);
    }
    let settle = books.accept(Accepted {
        system: account.system,
        app_id: account.app_id.to_owned(),
        out_settle_no: asked.out_settle_no,
        out_order_no: asked.out_order_no,
        item_order_id: asked.item_order_id,
        settle_params: asked.settle_params,
        cp_extra: asked.mark,
        notify_url: asked.notify_url,
        amount_fen,
        promotion: order.setup.promotion,
        body: body.clone(),
    });
    Ok(name(settle))
}

fn repeated(
    books: &mut Books,
    account: Account<'_>,
    asked: &Asked,
    again: Result<Value, Refusal>,
) -> Result<Value, Refusal> {
    if !books.choices.exists_while_invisible {
        books.show(account, &asked.out_settle_no);
    }
    again
}

fn judge(
    books: &Books,
    account: Account<'_>,
    form: &CreateForm,
    order: &Order,
    asked: &Asked,
) -> Result<i64, Refusal> {
    let receivers_fen = asked
        .settle_params
        .iter()
        .try_fold(0_i64, |sum, receiver| sum.checked_add(receiver.amount_fen))
        .ok_or_else(|| Refusal::with(PARAM_ERROR, "settle_params add up to too much"))?;
    let settled = books.settled(account, &order.out_order_no);
    let settles_max = form.settles_per_order_max.or(books.choices.settles_per_order_max);
    if settles_max.is_some_and(|max| settled.len() >= max) {
        return Err(Refusal::with(23_113, "too many settles of this order"));
    }
    let mut settles = books.settles_of(account, &order.out_order_no);
    let first = settles.find(|settle| settle.status != Status::Fail);
    if form.first_alone && first.is_some_and(|settle| !settle.status.is_final()) {
        return Err(Refusal::with(23_113, "the first settle of this order has not ended"));
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

/// The request body, as this reading of the pages has it.
#[derive(Debug)]
struct Asked {
    out_order_no: String,
    out_settle_no: String,
    item_order_id: Option<String>,
    settle_params: Vec<Receiver>,
    mark: String,
    notify_url: Option<String>,
}

impl Asked {
    fn read(
        reading: &'static Reading,
        form: &CreateForm,
        body: &[u8],
        app_id: &str,
        choices: &Choices,
    ) -> Result<Self, Refusal> {
        let fields = Fields::read(body, form.listed, reading)?;
        fields.app(app_id, choices)?;
        // The pages require only that it is there.
        match form.desc {
            DescLimit::Bytes(max) => drop(fields.required("settle_desc", max)?),
            DescLimit::Characters(max) => {
                if fields.required("settle_desc", 4 * max)?.chars().count() > max {
                    return Err(fields.problem("settle_desc", Problem::TooLong, "is too long"));
                }
            }
        }
        let notify_url = fields.optional("notify_url", form.notify_url_bytes_max)?;
        if notify_url.as_ref().is_some_and(|url| !is_good_address(url)) {
            return Err(fields.problem("notify_url", Problem::Bad, "is not https"));
        }
        let settle_params = match fields.optional("settle_params", form.settle_params_bytes_max)? {
            Some(text) => receivers(&fields, &text)?,
            None => Vec::new(),
        };
        let receivers_max = form.receivers_max.or(choices.receivers_max);
        if receivers_max.is_some_and(|max| settle_params.len() > max) {
            return Err(fields.problem("settle_params", Problem::Bad, "has too many receivers"));
        }
        let out_settle_no = fields.required("out_settle_no", 64)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*".contains(&byte);
        if form.plain_numbers && !out_settle_no.bytes().all(plain) {
            return Err(fields.problem("out_settle_no", Problem::Bad, "has other characters"));
        }
        Ok(Self {
            out_order_no: fields.required("out_order_no", 64)?,
            out_settle_no,
            item_order_id: fields.optional("item_order_id", 64)?,
            settle_params,
            mark: fields.blankable(form.mark, 2_048)?.unwrap_or_default(),
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
fn receivers(fields: &Fields, text: &str) -> Result<Vec<Receiver>, Refusal> {
    let shares: Vec<Share> = serde_json::from_str(text).map_err(|error| {
        fields.problem("settle_params", Problem::Bad, &format!("is no list: {error}"))
    })?;
    if shares.iter().any(|share| share.merchant_uid.is_empty()) {
        return Err(fields.problem("merchant_uid", Problem::Missing, "is empty"));
    }
    if shares.iter().any(|share| share.amount < 1) {
        return Err(fields.problem("amount", Problem::Bad, "is below 1"));
    }
    Ok(shares
        .into_iter()
        .map(|share| Receiver { merchant_uid: share.merchant_uid, amount_fen: share.amount })
        .collect())
}
