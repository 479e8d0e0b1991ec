//! The books: settles, the orders they belong to, and what becomes of both as time passes.
//!
//! Pure state. Time comes in as `now_ms` (unix time in milliseconds), nothing goes out but values,
//! and the same calls give the same books. It does not know HTTP, JSON or tokens.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::choices::{Choices, NumberFate};
use super::faults::Word;
use super::ids;
use super::rules::{AppRules, OrderSetup, Settled, left_fen};
use super::settles::{Accepted, AppliedSettle, Key, Status, StrangerSettle};

/// A bound on memory: the create after this many settles answers 23000.
const SETTLES_MAX: usize = 1_000_000;

/// What Douyin would have in its database.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) choices: Choices,
    seed: u64,
    processing_ms: u64,
    now_ms: u64,
    /// Apps and orders that a test has configured; all others are like the default.
    apps: HashMap<String, AppRules>,
    orders: HashMap<(String, String), OrderSetup>,
    /// In order of acceptance; an index is a settle's name within this module.
    settles: Vec<Entry>,
    /// By (`app_id`, `out_settle_no`). Several, if a FAIL frees its number.
    by_number: HashMap<(String, String), Vec<usize>>,
    by_order_id: HashMap<String, Vec<usize>>,
    by_settle_id: HashMap<String, usize>,
    /// Numbers that a refusal used up.
    burned: HashSet<(String, String)>,
    /// What will happen, by time and then by order of scheduling.
    timeline: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
}

#[derive(Debug)]
struct Entry {
    facts: AppliedSettle,
    visible_at_ms: u64,
    /// Grows when a test interferes, so that events planned before do not happen.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    index: usize,
    generation: u32,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Process,
    Succeed,
    Fail,
    /// A FAIL turns into SUCCESS.
    Revive,
}

impl Books {
    pub(super) fn new(seed: u64, processing_ms: u64, choices: Choices) -> Self {
        Self {
            choices,
            seed,
            processing_ms,
            now_ms: 0,
            apps: HashMap::new(),
            orders: HashMap::new(),
            settles: Vec::new(),
            by_number: HashMap::new(),
            by_order_id: HashMap::new(),
            by_settle_id: HashMap::new(),
            burned: HashSet::new(),
            timeline: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Lets everything happen that is due. Time never runs backwards here.
    pub(super) fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some(first) = self.timeline.first_entry() {
            let (at_ms, _) = *first.key();
            if at_ms > self.now_ms {
                return;
            }
            let event = first.remove();
            self.happen(event, at_ms);
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Is this number used up, so that a create gets 23111?
    pub(super) fn number_taken(&self, app_id: &str, out_settle_no: &str) -> bool {
        let number = (app_id.to_owned(), out_settle_no.to_owned());
        let frees = self.choices.number_after_fail == NumberFate::Free;
        let held = |&index: &usize| !(frees && self.settles[index].facts.status == Status::Fail);
        self.burned.contains(&number)
            || self.by_number.get(&number).is_some_and(|indexes| indexes.iter().any(held))
    }

    /// Uses a number up without a settle.
    pub(super) fn burn(&mut self, app_id: &str, out_settle_no: &str) {
        self.burned.insert((app_id.to_owned(), out_settle_no.to_owned()));
    }

    /// Ends the invisibility of the settles under a number.
    pub(super) fn show(&mut self, app_id: &str, out_settle_no: &str) {
        let number = (app_id.to_owned(), out_settle_no.to_owned());
        for &index in self.by_number.get(&number).into_iter().flatten() {
            let entry = &mut self.settles[index];
            entry.visible_at_ms = entry.visible_at_ms.min(self.now_ms);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.settles.len() >= SETTLES_MAX
    }

    /// Takes a settle in and plans its course.
    pub(super) fn accept(&mut self, accepted: Accepted) -> &AppliedSettle {
        let word = Word::of(&accepted.out_order_no);
        let nth = self.under_number(&accepted.app_id, &accepted.out_settle_no);
        let name = &accepted.out_settle_no;
        let settle_id = ids::settle_id(self.seed, &accepted.app_id, name, nth);
        let index = self.enter(AppliedSettle {
            wallet_settle_id: ids::wallet_settle_id(self.seed, &settle_id),
            order_id: self.order_id(&accepted.app_id, &accepted.out_order_no),
            app_id: accepted.app_id,
            out_settle_no: accepted.out_settle_no,
            settle_id,
            out_order_no: accepted.out_order_no,
            item_order_id: accepted.item_order_id,
            settle_params: accepted.settle_params,
            cp_extra: accepted.cp_extra,
            notify_url: accepted.notify_url,
            amount_fen: accepted.amount_fen,
            status: Status::Init,
            by_gateway: true,
            is_auto_settle: false,
            accepted_at_ms: self.now_ms,
            finished_at_ms: None,
            body: accepted.body,
        });
        self.settles[index].visible_at_ms += self.choices.visible_after_ms;
        // INIT for the first third, so that a poller has a chance to see all three.
        self.plan(index, self.processing_ms / 3, Step::Process);
        match word {
            Word::Hold => {}
            Word::Fail => self.plan(index, self.processing_ms, Step::Fail),
            Word::Err(_) | Word::Slow | Word::Lost | Word::None => {
                self.plan(index, self.processing_ms, Step::Succeed);
            }
        }
        self.advance(self.now_ms);
        &self.settles[index].facts
    }

    /// Puts somebody else's settle in. It stays as it is until a test moves it.
    pub(super) fn accept_stranger(
        &mut self,
        app_id: &str,
        out_settle_no: Option<&str>,
        stranger: StrangerSettle,
    ) -> String {
        let nth = out_settle_no.map_or(self.settles.len(), |no| self.under_number(app_id, no));
        let name = out_settle_no.unwrap_or(&stranger.out_order_no);
        let settle_id = ids::settle_id(self.seed, app_id, name, nth);
        let order_id = self.order_id(app_id, &stranger.out_order_no);
        let left_fen = left_fen(
            self.order(app_id, &stranger.out_order_no).total_fen,
            &self.settled(app_id, &stranger.out_order_no),
        );
        self.enter(AppliedSettle {
            app_id: app_id.to_owned(),
            // The platform fills its own number in (§3.2).
            out_settle_no: out_settle_no.unwrap_or(&settle_id).to_owned(),
            wallet_settle_id: ids::wallet_settle_id(self.seed, &settle_id),
            settle_id: settle_id.clone(),
            order_id,
            out_order_no: stranger.out_order_no,
            item_order_id: stranger.item_order_id,
            settle_params: stranger.settle_params,
            cp_extra: stranger.cp_extra,
            notify_url: None,
            amount_fen: stranger.amount_fen.unwrap_or(left_fen),
            status: stranger.status,
            by_gateway: false,
            is_auto_settle: out_settle_no.is_none(),
            accepted_at_ms: self.now_ms,
            finished_at_ms: stranger.status.is_final().then_some(self.now_ms),
            body: Bytes::new(),
        });
        settle_id
    }

    /// Ends a settle now, with everything that an end brings with it. `false`: no such settle.
    pub(super) fn finish(&mut self, settle_id: &str, status: Status) -> bool {
        let Some(&index) = self.by_settle_id.get(settle_id) else {
            return false;
        };
        self.settles[index].generation += 1;
        self.mark(index, status, self.now_ms);
        if status == Status::Fail {
            self.plan_revival(index, self.now_ms);
        }
        true
    }

    /// Makes a settle look like this from now on, whatever it was. `false`: no such settle.
    pub(super) fn set_status(&mut self, settle_id: &str, status: Status) -> bool {
        let Some(&index) = self.by_settle_id.get(settle_id) else {
            return false;
        };
        self.settles[index].generation += 1;
        self.mark(index, status, self.now_ms);
        true
    }

    /// The settles of an app that a query by this key finds, oldest first.
    pub(super) fn visible(&self, app_id: &str, key: &Key) -> Vec<&AppliedSettle> {
        let none: &[usize] = &[];
        let indexes = match key {
            Key::SettleId(id) => self.by_settle_id.get(id).map_or(none, std::slice::from_ref),
            Key::OrderId(id) => self.by_order_id.get(id).map_or(none, Vec::as_slice),
            Key::OutSettleNo(no) => {
                self.by_number.get(&(app_id.to_owned(), no.clone())).map_or(none, Vec::as_slice)
            }
            Key::OutOrderNo(no) => {
                self.by_order_id.get(&self.order_id(app_id, no)).map_or(none, Vec::as_slice)
            }
        };
        let seen =
            |entry: &&Entry| entry.facts.app_id == app_id && entry.visible_at_ms <= self.now_ms;
        indexes.iter().map(|&i| &self.settles[i]).filter(seen).map(|e| &e.facts).collect()
    }

    /// All settles, in order of acceptance.
    pub(super) fn settles(&self) -> impl Iterator<Item = &AppliedSettle> {
        self.settles.iter().map(|entry| &entry.facts)
    }

    /// The developer's number of a settle.
    pub(super) fn number_of(&self, settle_id: &str) -> Option<&str> {
        let index = *self.by_settle_id.get(settle_id)?;
        Some(&self.settles[index].facts.out_settle_no)
    }

    pub(super) fn set_app(&mut self, app_id: &str, rules: AppRules) {
        self.apps.insert(app_id.to_owned(), rules);
    }

    pub(super) fn app(&self, app_id: &str) -> AppRules {
        self.apps.get(app_id).cloned().unwrap_or_default()
    }

    pub(super) fn set_order(&mut self, app_id: &str, out_order_no: &str, order: OrderSetup) {
        self.orders.insert((app_id.to_owned(), out_order_no.to_owned()), order);
    }

    pub(super) fn order(&self, app_id: &str, out_order_no: &str) -> OrderSetup {
        let key = (app_id.to_owned(), out_order_no.to_owned());
        self.orders.get(&key).cloned().unwrap_or_default()
    }

    /// The settles of an order that did not fail.
    pub(super) fn settled(&self, app_id: &str, out_order_no: &str) -> Vec<Settled> {
        let order_id = self.order_id(app_id, out_order_no);
        let indexes = self.by_order_id.get(&order_id).into_iter().flatten();
        indexes
            .map(|&index| &self.settles[index].facts)
            .filter(|facts| facts.status != Status::Fail)
            .map(|facts| Settled {
                item_order_id: facts.item_order_id.clone(),
                amount_fen: facts.amount_fen,
            })
            .collect()
    }

    fn enter(&mut self, facts: AppliedSettle) -> usize {
        let index = self.settles.len();
        let number = (facts.app_id.clone(), facts.out_settle_no.clone());
        self.by_number.entry(number).or_default().push(index);
        self.by_order_id.entry(facts.order_id.clone()).or_default().push(index);
        self.by_settle_id.insert(facts.settle_id.clone(), index);
        self.settles.push(Entry { facts, visible_at_ms: self.now_ms, generation: 0 });
        index
    }

    fn under_number(&self, app_id: &str, out_settle_no: &str) -> usize {
        let number = (app_id.to_owned(), out_settle_no.to_owned());
        self.by_number.get(&number).map_or(0, Vec::len)
    }

    fn order_id(&self, app_id: &str, out_order_no: &str) -> String {
        ids::order_id(self.seed, app_id, out_order_no)
    }

    fn plan(&mut self, index: usize, after_ms: u64, step: Step) {
        self.plan_at(index, self.now_ms + after_ms, step);
    }

    fn plan_at(&mut self, index: usize, at_ms: u64, step: Step) {
        let event = Event { index, generation: self.settles[index].generation, step };
        self.timeline.insert((at_ms, self.scheduled), event);
        self.scheduled += 1;
    }

    fn plan_revival(&mut self, index: usize, failed_at_ms: u64) {
        if let Some(after_ms) = self.choices.fail_turns_success_after_ms {
            self.plan_at(index, failed_at_ms + after_ms, Step::Revive);
        }
    }

    fn happen(&mut self, event: Event, at_ms: u64) {
        if self.settles[event.index].generation != event.generation {
            return;
        }
        match event.step {
            Step::Process => self.mark(event.index, Status::Processing, at_ms),
            Step::Succeed => self.mark(event.index, Status::Success, at_ms),
            Step::Fail => {
                self.mark(event.index, Status::Fail, at_ms);
                self.plan_revival(event.index, at_ms);
            }
            Step::Revive if self.money_is_still_there(event.index) => {
                self.mark(event.index, Status::Success, at_ms);
            }
            Step::Revive => {}
        }
    }

    /// Douyin would not pay the same money twice, whatever else it does.
    fn money_is_still_there(&self, index: usize) -> bool {
        let facts = &self.settles[index].facts;
        let settled = self.settled(&facts.app_id, &facts.out_order_no);
        let order = self.order(&facts.app_id, &facts.out_order_no);
        let same_item = |other: &Settled| other.item_order_id == facts.item_order_id;
        !settled.iter().any(same_item) && facts.amount_fen <= left_fen(order.total_fen, &settled)
    }

    fn mark(&mut self, index: usize, status: Status, at_ms: u64) {
        let facts = &mut self.settles[index].facts;
        facts.status = status;
        facts.finished_at_ms = status.is_final().then_some(at_ms);
    }
}
