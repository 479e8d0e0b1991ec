//! Orders and their items: what a test or a curious user wants them to be, and since when.
//!
//! It keeps facts and times. `rules.rs` says what may be settled because of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::system::{Account, System};

/// The key under which an order without items says when it was fulfilled. No item has this id.
const WHOLE: &str = "";
/// A bound on memory: orders past this many are like the default and are not remembered.
const ORDERS_MAX: usize = 1_000_000;
/// The most that an order or an item may be worth: ten billion yuan.
const FEN_MAX: i64 = 1_000_000_000_000;
const ITEMS_MAX: usize = 100;

/// An order as a test wants it. Orders that no test sets are the default.
///
/// Setting an order again is how time passes for it. What was so already keeps its time, and what
/// is new begins now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSetup {
    pub stage: OrderStage,
    /// What was paid, less what was refunded. In fen.
    pub total_fen: i64,
    /// `None`: every item that is asked for exists, and `stage` says how far they all are. Else
    /// the items of a paid order say how far it is, and `stage` does not.
    pub items: Option<Vec<ItemSetup>>,
    pub promotion: Promotion,
}

impl Default for OrderSetup {
    fn default() -> Self {
        Self {
            stage: OrderStage::Fulfilled,
            total_fen: 100_000,
            items: None,
            promotion: Promotion::None,
        }
    }
}

impl OrderSetup {
    /// Whether such an order is possible. The error is a sentence for the person who asked.
    pub(super) fn check(&self) -> Result<(), String> {
        let items = self.items.as_deref().unwrap_or_default();
        if !(0..=FEN_MAX).contains(&self.total_fen)
            || items.iter().any(|item| !(0..=FEN_MAX).contains(&item.amount_fen))
        {
            return Err(format!("An order or an item is worth 0 to {FEN_MAX} fen."));
        }
        if items.len() > ITEMS_MAX {
            return Err(format!("An order has at most {ITEMS_MAX} items."));
        }
        match items.iter().find(|item| item.uses_done > item.uses_total) {
            Some(item) => Err(format!("{:?} was used too often.", item.item_order_id)),
            None => Ok(()),
        }
    }
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderStage {
    /// Douyin does not know it: 23101.
    Missing,
    /// 23102.
    Unpaid,
    /// Paid but not fulfilled: 23107, except for items that are.
    Paid,
    /// In its final state; the timing of its app says from when on it can be settled.
    Fulfilled,
}

/// How an order was sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    #[default]
    None,
    /// By CPS: due at "fulfilled D+3" whatever its app's timing is, and it costs a commission.
    Cps,
}

/// One item of an order: a coupon, or a card that can be used several times.
///
/// A refunded item is one that is used up and worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ItemSetup {
    pub item_order_id: String,
    /// Of all uses together. In fen.
    pub amount_fen: i64,
    /// How often it was used. Without any use: 23107.
    pub uses_done: u32,
    /// 1, or more for a multi-use card. All done is the final state.
    pub uses_total: u32,
}

impl ItemSetup {
    /// An item that can be used once, and was not.
    #[must_use]
    pub(crate) fn unused(item_order_id: &str, amount_fen: i64) -> Self {
        Self::card(item_order_id, amount_fen, 0, 1)
    }

    /// An item that can be used once, and was.
    #[must_use]
    pub fn used(item_order_id: &str, amount_fen: i64) -> Self {
        Self::card(item_order_id, amount_fen, 1, 1)
    }

    /// A card that can be used `uses_total` times.
    #[must_use]
    pub fn card(item_order_id: &str, amount_fen: i64, uses_done: u32, uses_total: u32) -> Self {
        Self { item_order_id: item_order_id.to_owned(), amount_fen, uses_done, uses_total }
    }

    /// Can it be used more than once?
    pub(super) fn is_card(&self) -> bool {
        self.uses_total > 1
    }

    /// What the first so many uses are worth together. In fen.
    pub(super) fn worth_fen(&self, uses: u32) -> i64 {
        if uses >= self.uses_total {
            return self.amount_fen;
        }
        // Rounded down; the last use is worth the rest. Both factors fit into 128 bits.
        let share = i128::from(self.amount_fen) * i128::from(uses) / i128::from(self.uses_total);
        i64::try_from(share).unwrap_or(self.amount_fen)
    }
}

/// An order in the books, as tests and the page see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OrderFacts {
    pub(super) app_id: String,
    pub(super) out_order_no: String,
    pub(super) order_id: String,
    pub(super) setup: OrderSetup,
    pub(super) paid_at_ms: Option<u64>,
    /// When more of it falls due, if that is known.
    pub(super) due_next_at_ms: Option<u64>,
    /// In each system that has seen it.
    pub(super) in_systems: Vec<Standing>,
}

/// How an order stands in the books of one system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    pub(super) system: System,
    /// What is left of it. In fen.
    pub(super) left_fen: i64,
    /// What a settle of the whole order would be answered now; 0: it would be accepted.
    pub(super) whole_err_no: i64,
    pub(super) whole_err_msg: String,
}

/// How many uses of an item there were from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) at_ms: u64,
    pub(super) done: u32,
}

/// An order in the books.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) app_id: String,
    pub(super) out_order_no: String,
    pub(super) setup: OrderSetup,
    pub(super) paid_at_ms: Option<u64>,
    /// By item, and under [`WHOLE`] for an order without items.
    uses: BTreeMap<String, Vec<Uses>>,
    /// The systems in which it was made or named.
    pub(super) seen_in: BTreeSet<System>,
    /// When the platform will look at it next, to settle by itself.
    pub(super) visit_at_ms: Option<u64>,
}

impl Order {
    /// An order as wanted, from now on.
    pub(super) fn new(app_id: &str, out_order_no: &str, setup: OrderSetup, now_ms: u64) -> Self {
        let mut order = Self {
            app_id: app_id.to_owned(),
            out_order_no: out_order_no.to_owned(),
            setup: OrderSetup { stage: OrderStage::Missing, ..OrderSetup::default() },
            paid_at_ms: None,
            uses: BTreeMap::new(),
            seen_in: BTreeSet::new(),
            visit_at_ms: None,
        };
        order.shape(setup, now_ms);
        order
    }

    /// Makes it as wanted. What was so already keeps its time.
    fn shape(&mut self, setup: OrderSetup, now_ms: u64) {
        self.paid_at_ms = match setup.stage {
            OrderStage::Missing | OrderStage::Unpaid => None,
            OrderStage::Paid | OrderStage::Fulfilled => self.paid_at_ms.or(Some(now_ms)),
        };
        let mut before = std::mem::take(&mut self.uses);
        let mut note = |item_order_id: &str, done: u32| {
            let mut uses = before.remove(item_order_id).unwrap_or_default();
            uses.retain(|earlier| earlier.done <= done);
            if done > uses.last().map_or(0, |last| last.done) {
                uses.push(Uses { at_ms: now_ms, done });
            }
            self.uses.insert(item_order_id.to_owned(), uses);
        };
        match &setup.items {
            Some(items) => items.iter().for_each(|item| note(&item.item_order_id, item.uses_done)),
            None => note(WHOLE, u32::from(setup.stage == OrderStage::Fulfilled)),
        }
        self.setup = setup;
    }

    /// Its app, in a system.
    pub(super) fn account(&self, system: System) -> Account<'_> {
        Account { system, app_id: &self.app_id }
    }

    /// The uses of an item so far, oldest first. Without items, every one is used with the order.
    pub(super) fn uses(&self, item_order_id: &str) -> &[Uses] {
        let key = if self.setup.items.is_some() { item_order_id } else { WHOLE };
        self.uses.get(key).map_or(&[], Vec::as_slice)
    }

    /// When an order without items was fulfilled.
    pub(super) fn fulfilled_at_ms(&self) -> Option<u64> {
        self.uses.get(WHOLE)?.first().map(|uses| uses.at_ms)
    }

    /// When each thing in this order was used.
    pub(super) fn all_uses_at_ms(&self) -> impl Iterator<Item = u64> {
        self.uses.values().flatten().map(|uses| uses.at_ms)
    }
}

/// Every order that a test has set or a create has named.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// In the order of first sight; an index is an order's name within the books.
    list: Vec<Order>,
    /// By (`app_id`, `out_order_no`).
    by_number: HashMap<(String, String), usize>,
}

impl Orders {
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= ORDERS_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn find(&self, app_id: &str, out_order_no: &str) -> Option<usize> {
        self.by_number.get(&(app_id.to_owned(), out_order_no.to_owned())).copied()
    }

    /// Makes an order as wanted. `None`: it is new, and there is no room.
    pub(super) fn set(
        &mut self,
        (app_id, out_order_no): (&str, &str),
        setup: OrderSetup,
        now_ms: u64,
    ) -> Option<usize> {
        if let Some(index) = self.find(app_id, out_order_no) {
            self.list[index].shape(setup, now_ms);
            return Some(index);
        }
        if self.is_full() {
            return None;
        }
        let index = self.list.len();
        self.by_number.insert((app_id.to_owned(), out_order_no.to_owned()), index);
        self.list.push(Order::new(app_id, out_order_no, setup, now_ms));
        Some(index)
    }

    pub(super) fn at(&self, index: usize) -> &Order {
        &self.list[index]
    }

    pub(super) fn at_mut(&mut self, index: usize) -> &mut Order {
        &mut self.list[index]
    }

    /// In the order of first sight.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Order> + ExactSizeIterator {
        self.list.iter()
    }
}
