//! The rules of settle_create as plain functions.
//!
//! Data in, an amount or a refusal out. The time is a fact of the [`Case`] like any other.

use serde::{Deserialize, Serialize};

use super::answers::Refusal;
use super::calendar::{due_at_ms, text};
use super::orders::{ItemSetup, Order, OrderStage, Promotion};

/// What an item that was never configured is worth. In fen.
const ITEM_FEN_DEFAULT: i64 = 10_000;
/// The platform's fee, in parts of 10 000.
const RAKE_PER_10_000: i64 = 60;
/// What a CPS promotion costs, in parts of 10 000: a tenth, as in one sample of §2.1.
const COMMISSION_PER_10_000: i64 = 1_000;
/// CPS orders are due at "fulfilled D+3", always.
const CPS_DAYS: u16 = 3;

/// What a create would take, or why it may not.
pub(super) fn amount_to_settle(case: &Case<'_>) -> Result<i64, Refusal> {
    if case.app.automatic_settlement {
        return Err(Refusal::new(23_117));
    }
    let amount_fen = amount_due(case)?;
    let promotion = case.order.setup.promotion;
    let shared_out_fen = amount_fen - rake_fen(amount_fen) - commission_fen(amount_fen, promotion);
    // What happens to receivers that ask for too much is not documented. This answer at least is
    // about the money.
    if case.receivers_fen > shared_out_fen {
        return Err(Refusal::with(23_112, format!("receivers ask for {}", case.receivers_fen)));
    }
    Ok(amount_fen)
}

/// What may be settled now, by any system. In fen.
pub(super) fn amount_due(case: &Case<'_>) -> Result<i64, Refusal> {
    match case.order.setup.stage {
        OrderStage::Missing => return Err(Refusal::new(23_101)),
        OrderStage::Unpaid => return Err(Refusal::new(23_102)),
        OrderStage::Paid | OrderStage::Fulfilled => {}
    }
    match case.item_order_id {
        None => whole_order(case),
        Some(item_order_id) => one_item(case, item_order_id),
    }
}

/// When something of this order falls due next, after now.
pub(super) fn due_next_at_ms(app: &AppRules, order: &Order, now_ms: u64) -> Option<u64> {
    let later = |at_ms: &u64| *at_ms > now_ms;
    match timing(app, order) {
        Timing::Paid { days } => order.paid_at_ms.map(|at_ms| due_at_ms(at_ms, days)).filter(later),
        Timing::Fulfilled { days } => {
            order.all_uses_at_ms().map(|at_ms| due_at_ms(at_ms, days)).filter(later).min()
        }
    }
}

/// Everything on which the rules depend.
pub(super) struct Case<'a> {
    pub(super) app: &'a AppRules,
    pub(super) order: &'a Order,
    /// `None`: the whole order.
    pub(super) item_order_id: Option<&'a str>,
    /// Sum of `settle_params`.
    pub(super) receivers_fen: i64,
    /// The settles of this order that did not fail.
    pub(super) settled: &'a [Settled],
    pub(super) now_ms: u64,
}

/// A settle that holds money of the order.
pub(super) struct Settled {
    pub(super) item_order_id: Option<String>,
    pub(super) amount_fen: i64,
}

/// What Douyin's operations have switched on for an app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppRules {
    /// The platform settles by itself as soon as something is due, and create answers 23117.
    pub automatic_settlement: bool,
    /// Per-item settles are allowed; else they answer 23124.
    pub partial_settlement: bool,
    pub timing: Timing,
}

impl Default for AppRules {
    fn default() -> Self {
        Self {
            automatic_settlement: false,
            partial_settlement: true,
            timing: Timing::Fulfilled { days: 0 },
        }
    }
}

/// From when on an order of an app can be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// "Fulfilled D+N": so many natural days after the final state of the order, of the item for a
    /// per-item settle, and of each use of a multi-use card. 0 is at once.
    Fulfilled { days: u16 },
    /// "Paid D+N": so many natural days after the payment, and whole orders only.
    Paid { days: u16 },
}

/// The platform's fee on an amount. In fen.
pub(super) fn rake_fen(amount_fen: i64) -> i64 {
    amount_fen.saturating_mul(RAKE_PER_10_000) / 10_000
}

/// What the promotion costs. In fen.
pub(super) fn commission_fen(amount_fen: i64, promotion: Promotion) -> i64 {
    match promotion {
        Promotion::None => 0,
        Promotion::Cps => amount_fen.saturating_mul(COMMISSION_PER_10_000) / 10_000,
    }
}

/// What is left of an order.
pub(super) fn left_fen(total_fen: i64, settled: &[Settled]) -> i64 {
    settled.iter().fold(total_fen, |left, settle| left.saturating_sub(settle.amount_fen)).max(0)
}

/// A whole-order settle takes all that is left, or what was used of multi-use cards. Once an item
/// was settled, only items can be settled.
fn whole_order(case: &Case<'_>) -> Result<i64, Refusal> {
    if case.settled.iter().any(|settle| settle.item_order_id.is_some()) {
        return Err(Refusal::new(23_118));
    }
    let total_fen = case.order.setup.total_fen;
    let left_fen = left_fen(total_fen, case.settled);
    take(due_of_whole(case), left_fen, total_fen.saturating_sub(left_fen))
}

/// A per-item settle takes the item, or what was used of a multi-use card.
fn one_item(case: &Case<'_>, item_order_id: &str) -> Result<i64, Refusal> {
    let item = find_item(case.order, item_order_id)?;
    if !case.app.partial_settlement {
        return Err(Refusal::new(23_124));
    }
    let days = match (case.app.timing, case.order.setup.promotion) {
        (Timing::Fulfilled { days }, Promotion::None) => days,
        (Timing::Fulfilled { .. }, Promotion::Cps) => CPS_DAYS,
        // The app's rule applies, whatever the promotion of this order. Which number is a guess.
        (Timing::Paid { .. }, Promotion::None | Promotion::Cps) => {
            return Err(Refusal::with(23_113, "an app on paid D+N settles whole orders only"));
        }
    };
    let order_left_fen = left_fen(case.order.setup.total_fen, case.settled);
    let (wholes, items): (Vec<&Settled>, Vec<&Settled>) =
        case.settled.iter().partition(|settle| settle.item_order_id.is_none());
    let taken_fen = items
        .iter()
        .filter(|settle| settle.item_order_id.as_deref() == Some(item_order_id))
        .fold(0_i64, |sum, settle| sum.saturating_add(settle.amount_fen));
    let left_fen = order_left_fen.min(item.amount_fen.saturating_sub(taken_fen)).max(0);
    let amount_fen = take(due_of_item(case, &item, days), left_fen, taken_fen)?;
    // A whole-order settle of cards leaves money, but each of the two excludes the other.
    if wholes.is_empty() {
        Ok(amount_fen)
    } else {
        Err(Refusal::with(23_113, "the order was settled as a whole"))
    }
}

/// How much of something may be settled by now, taken or not.
enum Due {
    All,
    /// Of a multi-use card, and not all of it.
    Part {
        amount_fen: i64,
    },
    /// Nothing: it was not fulfilled (or paid), or its time has not come.
    NotBefore(Option<u64>),
}

impl Due {
    fn from(at_ms: Option<u64>, now_ms: u64) -> Self {
        match at_ms {
            Some(at_ms) if at_ms <= now_ms => Self::All,
            not_yet => Self::NotBefore(not_yet),
        }
    }
}

/// What is due, less what has been taken of it.
fn take(due: Due, left_fen: i64, taken_fen: i64) -> Result<i64, Refusal> {
    match due {
        Due::NotBefore(Some(at_ms)) => {
            Err(Refusal::with(23_107, format!("due from {} (UTC+8)", text(at_ms))))
        }
        Due::NotBefore(None) => Err(Refusal::new(23_107)),
        Due::All | Due::Part { .. } if left_fen <= 0 => Err(Refusal::new(23_112)),
        Due::All => Ok(left_fen),
        Due::Part { amount_fen } if amount_fen > taken_fen => {
            Ok((amount_fen - taken_fen).min(left_fen))
        }
        // There is money, but none of it is due.
        Due::Part { .. } => Err(Refusal::new(23_113)),
    }
}

fn due_of_whole(case: &Case<'_>) -> Due {
    let days = match timing(case.app, case.order) {
        Timing::Paid { days } => {
            let at_ms = case.order.paid_at_ms.map(|at_ms| due_at_ms(at_ms, days));
            return Due::from(at_ms, case.now_ms);
        }
        Timing::Fulfilled { days } => days,
    };
    let Some(items) = &case.order.setup.items else {
        let at_ms = case.order.fulfilled_at_ms().map(|at_ms| due_at_ms(at_ms, days));
        return Due::from(at_ms, case.now_ms);
    };
    let mut amount_fen = 0_i64;
    let mut all = true;
    for item in items {
        let due_fen = match due_of_item(case, item, days) {
            Due::All => item.amount_fen,
            Due::Part { amount_fen } => {
                all = false;
                amount_fen
            }
            Due::NotBefore(_) => {
                all = false;
                0
            }
        };
        amount_fen = amount_fen.saturating_add(due_fen);
    }
    if all {
        Due::All
    } else if amount_fen > 0 && items.iter().any(ItemSetup::is_card) {
        Due::Part { amount_fen }
    } else {
        Due::NotBefore(due_next_at_ms(case.app, case.order, case.now_ms))
    }
}

fn due_of_item(case: &Case<'_>, item: &ItemSetup, days: u16) -> Due {
    let uses = case.order.uses(&item.item_order_id);
    let due = uses.iter().rfind(|uses| due_at_ms(uses.at_ms, days) <= case.now_ms);
    match due {
        Some(uses) if uses.done >= item.uses_total => Due::All,
        Some(uses) => Due::Part { amount_fen: item.worth_fen(uses.done) },
        None => Due::NotBefore(uses.first().map(|uses| due_at_ms(uses.at_ms, days))),
    }
}

/// The timing that holds for an order.
fn timing(app: &AppRules, order: &Order) -> Timing {
    match order.setup.promotion {
        Promotion::None => app.timing,
        Promotion::Cps => Timing::Fulfilled { days: CPS_DAYS },
    }
}

/// A configured order has its items; any other order has every item but those that say
/// `-of-<other order>`.
fn find_item(order: &Order, item_order_id: &str) -> Result<ItemSetup, Refusal> {
    if let Some((_, owner)) = item_order_id.split_once("-of-")
        && owner != order.out_order_no
    {
        return Err(Refusal::new(23_025));
    }
    match &order.setup.items {
        Some(items) => items
            .iter()
            .find(|item| item.item_order_id == item_order_id)
            .cloned()
            .ok_or_else(|| Refusal::new(23_024)),
        None => Ok(ItemSetup::unused(item_order_id, ITEM_FEN_DEFAULT)),
    }
}
