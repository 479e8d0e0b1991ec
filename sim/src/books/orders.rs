//! Orders in the books: made on the fly, set by tests, and settled by the platform itself if an app
//! is configured so.

use bytes::Bytes;

use super::{Books, Event};
use crate::ids;
use crate::orders::{Order, OrderFacts, OrderSetup};
use crate::rules::{
    AppRules, Case, amount_due, amount_to_settle, commission_fen, due_next_at_ms, left_fen,
};
use crate::settles::{AppliedSettle, Status};

impl Books {
    /// Changes what is enabled for an app. Automatic settlement begins with all that is due.
    pub(crate) fn set_app(&mut self, app_id: &str, rules: AppRules) {
        self.apps.insert(app_id.to_owned(), rules);
        for index in 0..self.orders.len() {
            if self.orders.at(index).app_id == app_id {
                self.visit_order(index);
            }
        }
    }

    pub(crate) fn app(&self, app_id: &str) -> AppRules {
        self.apps.get(app_id).unwrap_or(&self.rules).clone()
    }

    /// Makes an order what a test wants. `false`: it is new, and the books have no room for it.
    pub(crate) fn set_order(
        &mut self,
        app_id: &str,
        out_order_no: &str,
        setup: OrderSetup,
    ) -> bool {
        let index = self.orders.set((app_id, out_order_no), setup, self.now_ms);
        if let Some(index) = index {
            self.visit_order(index);
        }
        index.is_some()
    }

    /// The order that a create names. An unknown one is in the books from now on.
    pub(crate) fn see_order(&mut self, app_id: &str, out_order_no: &str) -> Order {
        let order = self.order_on_the_fly(app_id, out_order_no);
        if let Some(index) = self.orders.find(app_id, out_order_no) {
            self.visit_order(index);
        }
        order
    }

    /// In the order in which they were first seen.
    pub(crate) fn orders(&self) -> impl DoubleEndedIterator<Item = &Order> + ExactSizeIterator {
        self.orders.iter()
    }

    /// Every settle of an order, oldest first.
    pub(crate) fn settles_of(&self, order: &Order) -> impl Iterator<Item = &AppliedSettle> {
        self.of_order(&order.app_id, &order.out_order_no)
    }

    pub(crate) fn order_facts(&self, order: &Order) -> OrderFacts {
        let app = self.app(&order.app_id);
        let settled = self.settled(&order.app_id, &order.out_order_no);
        let whole = amount_to_settle(&Case {
            app: &app,
            order,
            item_order_id: None,
            receivers_fen: 0,
            settled: &settled,
            now_ms: self.now_ms,
        });
        let refusal = whole.err();
        OrderFacts {
            app_id: order.app_id.clone(),
            out_order_no: order.out_order_no.clone(),
            order_id: self.order_id(&order.app_id, &order.out_order_no),
            setup: order.setup.clone(),
            paid_at_ms: order.paid_at_ms,
            due_next_at_ms: due_next_at_ms(&app, order, self.now_ms),
            left_fen: left_fen(order.setup.total_fen, &settled),
            whole_err_no: refusal.as_ref().map_or(0, |refusal| refusal.err_no),
            whole_err_msg: refusal.map(|refusal| refusal.text()).unwrap_or_default(),
        }
    }

    /// The order of this number. An unknown one is made like the default.
    pub(super) fn order_on_the_fly(&mut self, app_id: &str, out_order_no: &str) -> Order {
        let found = self.orders.find(app_id, out_order_no).or_else(|| {
            self.orders.set((app_id, out_order_no), OrderSetup::default(), self.now_ms)
        });
        match found {
            Some(index) => self.orders.at(index).clone(),
            None => Order::new(app_id, out_order_no, OrderSetup::default(), self.now_ms),
        }
    }

    /// Settles what the platform settles by itself, and plans the next look at the rest.
    pub(super) fn visit_order(&mut self, index: usize) {
        let app = self.app(&self.orders.at(index).app_id);
        if !app.automatic_settlement {
            return;
        }
        let order = self.orders.at(index).clone();
        // If a part of an order was settled by item, only items can be settled.
        let items = order.setup.items.iter().flatten().map(|item| Some(&*item.item_order_id));
        for item_order_id in std::iter::once(None).chain(items) {
            if self.is_full() {
                return;
            }
            let settled = self.settled(&order.app_id, &order.out_order_no);
            let case = Case {
                app: &app,
                order: &order,
                item_order_id,
                receivers_fen: 0,
                settled: &settled,
                now_ms: self.now_ms,
            };
            if let Ok(amount_fen) = amount_due(&case) {
                self.settle_by_itself(&order, item_order_id, amount_fen);
            }
        }
        let next_at_ms = due_next_at_ms(&app, &order, self.now_ms);
        if next_at_ms.is_some() && order.visit_at_ms != next_at_ms {
            self.orders.at_mut(index).visit_at_ms = next_at_ms;
            self.schedule(next_at_ms.unwrap_or_default(), Event::OrderDue { index });
        }
    }

    /// An automatic settlement: its number is its own id.
    fn settle_by_itself(&mut self, order: &Order, item_order_id: Option<&str>, amount_fen: i64) {
        let order_id = self.order_id(&order.app_id, &order.out_order_no);
        let nth = self.by_order_id.get(&order_id).map_or(0, Vec::len);
        let name = format!("auto {}", order.out_order_no);
        let settle_id = ids::settle_id(self.seed, &order.app_id, &name, nth);
        let index = self.enter(AppliedSettle {
            app_id: order.app_id.clone(),
            out_settle_no: settle_id.clone(),
            wallet_settle_id: ids::wallet_settle_id(self.seed, &settle_id),
            settle_id,
            order_id,
            out_order_no: order.out_order_no.clone(),
            item_order_id: item_order_id.map(str::to_owned),
            settle_params: Vec::new(),
            cp_extra: String::new(),
            notify_url: None,
            amount_fen,
            commission_fen: commission_fen(amount_fen, order.setup.promotion),
            status: Status::Init,
            by_gateway: false,
            is_auto_settle: true,
            accepted_at_ms: self.now_ms,
            finished_at_ms: None,
            body: Bytes::new(),
        });
        self.plan_course(index);
    }
}
