//! Orders in the books: made on the fly, set by tests, and settled by the platform itself if an app
//! is configured so.

use bytes::Bytes;

use super::{Books, Event};
use crate::answers::Refusal;
use crate::ids;
use crate::orders::{Order, OrderFacts, OrderSetup, Standing};
use crate::rules::{
    AppRules, Case, amount_due, amount_to_settle, commission_fen, due_next_at_ms, left_fen,
};
use crate::settles::{AppliedSettle, Status};
use crate::system::{Account, System};
use crate::systems::Reading;

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
            let seen_in = &mut self.orders.at_mut(index).seen_in;
            if seen_in.is_empty() {
                seen_in.insert(System::General);
            }
            self.visit_order(index);
        }
        index.is_some()
    }

    /// The order that a request names. An unknown one is in the books from now on.
    pub(crate) fn see_order(&mut self, account: Account<'_>, out_order_no: &str) -> Order {
        let order = self.order_on_the_fly(account, out_order_no);
        if let Some(index) = self.orders.find(account.app_id, out_order_no) {
            self.visit_order(index);
        }
        order
    }

    /// An order as it is, or as it would be made on the fly.
    pub(crate) fn look_at_order(&self, app_id: &str, out_order_no: &str) -> Order {
        let known = self.orders.find(app_id, out_order_no).map(|index| self.orders.at(index));
        let new = || Order::new(app_id, out_order_no, OrderSetup::default(), self.now_ms);
        known.cloned().unwrap_or_else(new)
    }

    /// In the order in which they were first seen.
    pub(crate) fn orders(&self) -> impl DoubleEndedIterator<Item = &Order> + ExactSizeIterator {
        self.orders.iter()
    }

    /// Every settle of an order, system by system.
    pub(crate) fn all_settles_of<'a>(
        &'a self,
        order: &'a Order,
    ) -> impl Iterator<Item = &'a AppliedSettle> {
        let of = |system| self.settles_of(order.account(system), &order.out_order_no);
        order.seen_in.iter().flat_map(move |system| of(*system))
    }

    /// What no system has settled of an order. In fen.
    pub(crate) fn left_in_all_systems_fen(&self, order: &Order) -> i64 {
        let settled = |system| self.settled(order.account(system), &order.out_order_no);
        let all: Vec<_> = System::ALL.into_iter().flat_map(settled).collect();
        left_fen(order.setup.total_fen, &all)
    }

    pub(crate) fn order_facts(&self, order: &Order) -> OrderFacts {
        let app = self.app(&order.app_id);
        OrderFacts {
            app_id: order.app_id.clone(),
            out_order_no: order.out_order_no.clone(),
            order_id: self.order_id(&order.app_id, &order.out_order_no),
            setup: order.setup.clone(),
            paid_at_ms: order.paid_at_ms,
            due_next_at_ms: due_next_at_ms(&app, order, self.now_ms),
            in_systems: order.seen_in.iter().map(|of| self.standing(order, &app, *of)).collect(),
        }
    }

    fn standing(&self, order: &Order, app: &AppRules, system: System) -> Standing {
        let settled = self.settled(order.account(system), &order.out_order_no);
        let rules = rules_in(app, system);
        let case = Case {
            app: &rules,
            order,
            item_order_id: None,
            receivers_fen: 0,
            settled: &settled,
            now_ms: self.now_ms,
        };
        let by_rule = |refusal: Refusal| Refusal {
            err_no: (Reading::of(system).rule_number)(refusal.err_no),
            ..refusal
        };
        let refusal = amount_to_settle(&case).err().map(by_rule);
        Standing {
            system,
            left_fen: left_fen(order.setup.total_fen, &settled),
            whole_err_no: refusal.as_ref().map_or(0, |refusal| refusal.err_no),
            whole_err_msg: refusal.map(|refusal| refusal.text()).unwrap_or_default(),
        }
    }

    /// The order of this number. An unknown one is made like the default.
    pub(super) fn order_on_the_fly(&mut self, account: Account<'_>, out_order_no: &str) -> Order {
        let app_id = account.app_id;
        let found = self.orders.find(app_id, out_order_no).or_else(|| {
            self.orders.set((app_id, out_order_no), OrderSetup::default(), self.now_ms)
        });
        match found {
            Some(index) => {
                let order = self.orders.at_mut(index);
                order.seen_in.insert(account.system);
                order.clone()
            }
            None => Order::new(app_id, out_order_no, OrderSetup::default(), self.now_ms),
        }
    }

    /// Settles what the platform settles by itself, and plans the next look at the rest.
    pub(super) fn visit_order(&mut self, index: usize) {
        let app = self.app(&self.orders.at(index).app_id);
        let order = self.orders.at(index).clone();
        for system in order.seen_in.iter().copied() {
            if rules_in(&app, system).automatic_settlement {
                self.settle_what_is_due(&app, &order, system);
            }
        }
        let next_at_ms = due_next_at_ms(&app, &order, self.now_ms);
        let any = order.seen_in.iter().any(|of| rules_in(&app, *of).automatic_settlement);
        if any && next_at_ms.is_some() && order.visit_at_ms != next_at_ms {
            self.orders.at_mut(index).visit_at_ms = next_at_ms;
            self.schedule(next_at_ms.unwrap_or_default(), Event::OrderDue { index });
        }
    }

    fn settle_what_is_due(&mut self, app: &AppRules, order: &Order, system: System) {
        // If a part of an order was settled by item, only items can be settled.
        let items = order.setup.items.iter().flatten().map(|item| Some(&*item.item_order_id));
        for item_order_id in std::iter::once(None).chain(items) {
            if self.is_full() {
                return;
            }
            let settled = self.settled(order.account(system), &order.out_order_no);
            let case = Case {
                app,
                order,
                item_order_id,
                receivers_fen: 0,
                settled: &settled,
                now_ms: self.now_ms,
            };
            if let Ok(amount_fen) = amount_due(&case) {
                self.settle_by_itself(order, system, item_order_id, amount_fen);
            }
        }
    }

    /// An automatic settlement: its number is its own id.
    fn settle_by_itself(
        &mut self,
        order: &Order,
        system: System,
        item_order_id: Option<&str>,
        amount_fen: i64,
    ) {
        let order_id = self.order_id(&order.app_id, &order.out_order_no);
        let nth = self.settles_of(order.account(system), &order.out_order_no).count();
        let name = format!("auto {}", order.out_order_no);
        let settle_id = ids::settle_id(self.seed, order.account(system), &name, nth);
        let index = self.enter(AppliedSettle {
            system,
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

/// Where developers cannot settle, the platform always does.
fn rules_in(app: &AppRules, system: System) -> AppRules {
    let by_itself = Reading::of(system).create.is_none();
    AppRules { automatic_settlement: app.automatic_settlement || by_itself, ..app.clone() }
}
