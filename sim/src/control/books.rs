//! What `/sim/books` answers: the newest of everything, or of what contains a text.
//!
//! It reads and changes nothing.

use serde::Serialize;
use serde_json::{Value, json};

use crate::callbacks::Callback;
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::orders::Order;
use crate::query::seller_fen;
use crate::rules::rake_fen;
use crate::settles::AppliedSettle;

/// How many of each are shown.
const ROWS_MAX: usize = 50;

/// Everything that is shown; of settles, orders and callbacks only those with this text in one of
/// their numbers or their status. It has no secret and no token.
pub(super) fn found(core: &Core, now_ms: u64, ahead_ms: u64, find: &str) -> Value {
    let find = Find(find.to_lowercase());
    let settles = core.books.settles().rev().filter(|settle| find.in_settle(settle));
    let settles = newest(settles, |settle| {
        json!(SettleRow {
            facts: settle,
            rake_fen: rake_fen(settle.amount_fen),
            seller_fen: seller_fen(settle),
        })
    });
    let orders = core.books.orders().rev().filter(|order| find.in_order(core, order));
    let orders = newest(orders, |order| json!(core.books.order_facts(order)));
    let callbacks =
        core.outbox.callbacks().rev().filter(|callback| find.in_callback(core, callback));
    let callbacks = newest(callbacks, |callback| json!(**callback));
    let app = |(app_id, tokens_fetched): (&String, &u64)| {
        json!({
            "app_id": app_id,
            "rules": core.books.app(app_id),
            "callback_url": core.outbox.console_url(app_id),
            "tokens_fetched": tokens_fetched,
            "tokens_alive": core.tokens.alive(now_ms, app_id),
        })
    };
    let apps: Vec<_> = core.tokens.fetched().iter().map(app).collect();
    json!({
        // As text: a browser's numbers have 53 bits.
        "seed": core.seed().to_string(),
        "now_ms": now_ms,
        "ahead_ms": ahead_ms,
        "creates_total": core.creates_total(),
        "settles_total": core.books.settles().len(),
        "settles_found": settles.found,
        "settles": settles.shown,
        "orders_total": core.books.orders().len(),
        "orders_found": orders.found,
        "orders": orders.shown,
        "callbacks_total": core.outbox.callbacks().len(),
        "callbacks_found": callbacks.found,
        "callbacks_turned_away": core.outbox.turned_away(),
        "callbacks": callbacks.shown,
        "apps": apps,
        "faults": {
            "faults_per_10_000": core.books.weather.faults_per_10_000,
            "token": core.scripts.always(Endpoint::Token),
            "create": core.scripts.always(Endpoint::Create),
            "query": core.scripts.always(Endpoint::Query),
            "callback": core.outbox.scripts.always(),
        },
        "choices": core.books.choices,
    })
}

/// A settle, and how its amount is shared out beside its receivers.
#[derive(Serialize)]
struct SettleRow<'a> {
    #[serde(flatten)]
    facts: &'a AppliedSettle,
    rake_fen: i64,
    seller_fen: i64,
}

/// How many there are, and the first ones.
struct Rows {
    found: usize,
    shown: Vec<Value>,
}

fn newest<T>(things: impl Iterator<Item = T>, show: impl Fn(T) -> Value) -> Rows {
    let mut rows = Rows { found: 0, shown: Vec::new() };
    for thing in things {
        rows.found += 1;
        if rows.found <= ROWS_MAX {
            rows.shown.push(show(thing));
        }
    }
    rows
}

/// A text to look for, in lower case. The empty text is found everywhere.
struct Find(String);

impl Find {
    fn is_in(&self, texts: &[&str]) -> bool {
        self.0.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&self.0))
    }

    fn in_settle(&self, settle: &AppliedSettle) -> bool {
        let item_order_id = settle.item_order_id.as_deref().unwrap_or_default();
        self.is_in(&[
            &settle.out_settle_no,
            &settle.settle_id,
            &settle.out_order_no,
            &settle.order_id,
            item_order_id,
            settle.status.word(),
            settle.system.word(),
        ]) || settle.settle_params.iter().any(|receiver| self.is_in(&[&receiver.merchant_uid]))
    }

    /// An order is found by its settles too.
    fn in_order(&self, core: &Core, order: &Order) -> bool {
        self.is_in(&[&order.out_order_no])
            || core.books.all_settles_of(order).any(|settle| self.in_settle(settle))
    }

    /// A callback is found by its settle too.
    fn in_callback(&self, core: &Core, callback: &Callback) -> bool {
        self.is_in(&[&callback.out_settle_no, &callback.settle_id])
            || core.books.settle(&callback.settle_id).is_some_and(|settle| self.in_settle(settle))
    }
}
