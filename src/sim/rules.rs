//! The rules of settle_create (`douyin-api.md` §1.5 and §1.7) as one plain function.
//!
//! Data in, an amount or a refusal out. It knows no clock: the D+N clock, multi-use cards and
//! "paid D+N" apps come later, and enter here as facts of the [`Case`].

use super::answers::Refusal;

/// What an item that was never configured is worth. In fen.
const ITEM_FEN_DEFAULT: i64 = 10_000;
/// The platform's fee, in parts of 10 000.
const RAKE_PER_10_000: i64 = 60;

/// What a create would take, or why it may not.
pub(super) fn amount_to_settle(case: &Case<'_>) -> Result<i64, Refusal> {
    if case.app.automatic_settlement {
        return Err(Refusal::new(23_117));
    }
    match case.order.stage {
        OrderStage::Missing => return Err(Refusal::new(23_101)),
        OrderStage::Unpaid => return Err(Refusal::new(23_102)),
        OrderStage::Paid | OrderStage::Fulfilled => {}
    }
    let amount_fen = match case.item_order_id {
        None => whole_order(case)?,
        Some(item_order_id) => one_item(case, item_order_id)?,
    };
    // What happens to greedy receivers is not documented; this answer at least names the money.
    if case.receivers_fen > amount_fen - rake_fen(amount_fen) {
        return Err(Refusal::with(23_112, format!("receivers ask for {}", case.receivers_fen)));
    }
    Ok(amount_fen)
}

/// Everything the rules look at.
pub(super) struct Case<'a> {
    pub(super) app: &'a AppRules,
    pub(super) order: &'a OrderSetup,
    pub(super) out_order_no: &'a str,
    pub(super) item_order_id: Option<&'a str>,
    /// Sum of `settle_params`.
    pub(super) receivers_fen: i64,
    /// The settles of this order that did not fail.
    pub(super) settled: &'a [Settled],
}

/// A settle that holds money of the order.
pub(super) struct Settled {
    pub(super) item_order_id: Option<String>,
    pub(super) amount_fen: i64,
}

/// What Douyin's operations have switched on for an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRules {
    /// The platform settles by itself; create answers 23117.
    pub automatic_settlement: bool,
    /// Per-item settles are allowed; else they answer 23124.
    pub partial_settlement: bool,
}

impl Default for AppRules {
    fn default() -> Self {
        Self { automatic_settlement: false, partial_settlement: true }
    }
}

/// An order as a test wants it. Orders that no test mentions are like the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderSetup {
    pub stage: OrderStage,
    /// What was paid. In fen.
    pub total_fen: i64,
    /// `None`: every item that is asked for exists.
    pub items: Option<Vec<ItemSetup>>,
}

impl Default for OrderSetup {
    fn default() -> Self {
        Self { stage: OrderStage::Fulfilled, total_fen: 100_000, items: None }
    }
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStage {
    /// Douyin does not know it: 23101.
    Missing,
    /// 23102.
    Unpaid,
    /// Paid but not fulfilled: 23107, except for items that are.
    Paid,
    /// Can be settled.
    Fulfilled,
}

/// One item of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemSetup {
    pub item_order_id: String,
    pub amount_fen: i64,
    /// Used or refunded; else 23107.
    pub fulfilled: bool,
}

/// The platform's fee on an amount. In fen.
pub(super) fn rake_fen(amount_fen: i64) -> i64 {
    amount_fen.saturating_mul(RAKE_PER_10_000) / 10_000
}

/// What is left of an order.
pub(super) fn left_fen(total_fen: i64, settled: &[Settled]) -> i64 {
    settled.iter().fold(total_fen, |left, settle| left.saturating_sub(settle.amount_fen)).max(0)
}

/// A whole-order settle takes all that is left, and excludes per-item ones (§1.5).
fn whole_order(case: &Case<'_>) -> Result<i64, Refusal> {
    if case.order.stage != OrderStage::Fulfilled {
        return Err(Refusal::new(23_107));
    }
    if case.settled.iter().any(|settle| settle.item_order_id.is_some()) {
        return Err(Refusal::new(23_118));
    }
    some_money(left_fen(case.order.total_fen, case.settled))
}

fn one_item(case: &Case<'_>, item_order_id: &str) -> Result<i64, Refusal> {
    let item = find_item(case, item_order_id)?;
    if !case.app.partial_settlement {
        return Err(Refusal::new(23_124));
    }
    if !item.fulfilled {
        return Err(Refusal::new(23_107));
    }
    if case.settled.iter().any(|settle| settle.item_order_id.as_deref() == Some(item_order_id)) {
        return Err(Refusal::new(23_112));
    }
    some_money(item.amount_fen.min(left_fen(case.order.total_fen, case.settled)))
}

/// A configured order has its items; any other order has every item but those that say
/// `-of-<other order>`.
fn find_item(case: &Case<'_>, item_order_id: &str) -> Result<ItemSetup, Refusal> {
    if let Some((_, owner)) = item_order_id.split_once("-of-")
        && owner != case.out_order_no
    {
        return Err(Refusal::new(23_025));
    }
    match &case.order.items {
        Some(items) => items
            .iter()
            .find(|item| item.item_order_id == item_order_id)
            .cloned()
            .ok_or_else(|| Refusal::new(23_024)),
        None => Ok(ItemSetup {
            item_order_id: item_order_id.to_owned(),
            amount_fen: ITEM_FEN_DEFAULT,
            fulfilled: case.order.stage == OrderStage::Fulfilled,
        }),
    }
}

fn some_money(amount_fen: i64) -> Result<i64, Refusal> {
    if amount_fen > 0 { Ok(amount_fen) } else { Err(Refusal::new(23_112)) }
}
