//! What the books and the settings look like from outside, in JSON.
//!
//! It reads and changes nothing. No secret and no token is in here.

use serde_json::{Value, json};

use super::actions::{PROMOTIONS, STAGES};
use super::input::Input;
use super::{Problem, items};
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::orders::{OrderFacts, OrderStage, Promotion};
use crate::rules::{AppRules, Timing, rake_fen};
use crate::settles::AppliedSettle;
use crate::simulator::Shared;

/// How many things one answer has at most.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) skip: usize,
}

/// Reads `limit=100&skip=0`.
pub(super) fn window(query: &str) -> Result<Window, Problem> {
    let input = Input::form(query)?;
    input.only(&["limit", "skip"])?;
    Ok(Window {
        limit: input.number("limit", &(1..=LIMIT_MAX))?.unwrap_or(LIMIT_DEFAULT),
        skip: input.number("skip", &(0..=usize::MAX))?.unwrap_or(0),
    })
}

pub(super) fn settles(shared: &Shared, window: Window) -> Value {
    shared.locked(|core, _| {
        let newest_first = core.books.settles().rev().skip(window.skip).take(window.limit);
        let page: Vec<Value> = newest_first.map(settle).collect();
        json!({
            "total": core.books.settles().len(),
            "creates_total": core.creates_total(),
            "settles": page,
        })
    })
}

pub(super) fn orders(shared: &Shared, window: Window) -> Value {
    shared.locked(|core, _| {
        let newest_first = core.books.orders().rev().skip(window.skip).take(window.limit);
        let page: Vec<Value> =
            newest_first.map(|found| order(&core.books.order_facts(found))).collect();
        json!({ "total": core.books.orders().len(), "orders": page })
    })
}

pub(super) fn clock(shared: &Shared) -> Value {
    shared.locked(|_, now_ms| json!({ "now_ms": now_ms, "ahead_ms": shared.clock.ahead_ms() }))
}

pub(super) fn apps(shared: &Shared) -> Value {
    shared.locked(|core, now_ms| {
        let ids = core.tokens.app_ids();
        let apps: Vec<Value> = ids.iter().map(|app_id| app(core, now_ms, app_id)).collect();
        json!({ "apps": apps })
    })
}

pub(super) fn faults(shared: &Shared) -> Value {
    shared.locked(|core, _| faults_of(core))
}

pub(super) fn settle(settle: &AppliedSettle) -> Value {
    let receivers: Vec<Value> = settle
        .settle_params
        .iter()
        .map(|to| json!({ "merchant_uid": to.merchant_uid, "amount_fen": to.amount_fen }))
        .collect();
    json!({
        "app_id": settle.app_id,
        "out_settle_no": settle.out_settle_no,
        "settle_id": settle.settle_id,
        "wallet_settle_id": settle.wallet_settle_id,
        "out_order_no": settle.out_order_no,
        "order_id": settle.order_id,
        "item_order_id": settle.item_order_id,
        "settle_params": receivers,
        "cp_extra": settle.cp_extra,
        "notify_url": settle.notify_url,
        "amount_fen": settle.amount_fen,
        "rake_fen": rake_fen(settle.amount_fen),
        "commission_fen": settle.commission_fen,
        "status": settle.status.word(),
        "by_gateway": settle.by_gateway,
        "is_auto_settle": settle.is_auto_settle,
        "accepted_at_ms": settle.accepted_at_ms,
        "finished_at_ms": settle.finished_at_ms,
    })
}

pub(super) fn order(order: &OrderFacts) -> Value {
    let items = order.setup.items.as_ref().map(|items| {
        let item = |item: &crate::ItemSetup| {
            json!({
                "item_order_id": item.item_order_id,
                "amount_fen": item.amount_fen,
                "uses_done": item.uses_done,
                "uses_total": item.uses_total,
            })
        };
        items.iter().map(item).collect::<Vec<_>>()
    });
    json!({
        "app_id": order.app_id,
        "out_order_no": order.out_order_no,
        "order_id": order.order_id,
        "stage": stage_word(order.setup.stage),
        "promotion": promotion_word(order.setup.promotion),
        "total_fen": order.setup.total_fen,
        "left_fen": order.left_fen,
        "items": items,
        "items_text": items::written_out(order.setup.items.as_deref()),
        "paid_at_ms": order.paid_at_ms,
        "due_next_at_ms": order.due_next_at_ms,
        "whole_err_no": order.whole_err_no,
        "whole_err_msg": order.whole_err_msg,
    })
}

/// An app: what is switched on, and its tokens.
pub(super) fn app(core: &Core, now_ms: u64, app_id: &str) -> Value {
    let AppRules { automatic_settlement, partial_settlement, timing } = core.books.app(app_id);
    let (fetched, stolen) = core.tokens.count(app_id);
    json!({
        "app_id": app_id,
        "timing": timing_text(timing),
        "automatic_settlement": automatic_settlement,
        "partial_settlement": partial_settlement,
        "tokens_fetched": fetched,
        "tokens_stolen": stolen,
        "tokens_alive": core.tokens.alive(now_ms, app_id),
        "callback_url": core.outbox.console_url(app_id),
    })
}

/// What goes wrong, in the words that change it.
pub(super) fn faults_of(core: &Core) -> Value {
    let mut faults = json!({
        "seed": core.seed(),
        "faults_per_10_000": core.books.weather.faults_per_10_000,
    });
    for endpoint in Endpoint::ALL {
        faults[endpoint.name()] = json!(script_text(core, endpoint));
    }
    faults["callback"] = json!(callback_script_text(core));
    for (name, value) in core.books.choices.named() {
        faults[name] = json!(value);
    }
    faults
}

/// The standing script of an endpoint.
pub(super) fn script_text(core: &Core, endpoint: Endpoint) -> String {
    core.scripts.always(endpoint).map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// The standing script of callbacks.
pub(super) fn callback_script_text(core: &Core) -> String {
    core.outbox.scripts.always().map_or_else(|| "none".to_owned(), ToString::to_string)
}

pub(super) fn timing_text(timing: Timing) -> String {
    match timing {
        Timing::Fulfilled { days } => format!("fulfilled D+{days}"),
        Timing::Paid { days } => format!("paid D+{days}"),
    }
}

pub(super) fn stage_word(stage: OrderStage) -> &'static str {
    word(&STAGES, stage)
}

pub(super) fn promotion_word(promotion: Promotion) -> &'static str {
    word(&PROMOTIONS, promotion)
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}
