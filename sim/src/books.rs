//! The books: settles, their orders, and what happens to both as time passes.
//!
//! Pure state. Time comes in as `now_ms` (unix time in milliseconds), only values go out, and the
//! same calls give the same books. It does not know HTTP, JSON or tokens. `books/orders.rs` has
//! what happens to orders and what the platform does by itself, `books/find.rs` how settles are
//! found.

mod find;
mod orders;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::SimConfig;
use super::answers::Refusal;
use super::choices::Choices;
use super::faults::Word;
use super::ids;
use super::orders::Orders;
use super::rules::{AppRules, Settled, commission_fen, left_fen};
use super::settles::{Accepted, AppliedSettle, Status, StrangerSettle};
use super::system::{Account, System};
use super::weather::Weather;

/// A bound on memory: the create after this many settles answers 23000.
const SETTLES_MAX: usize = 1_000_000;

/// What Douyin would have in its database.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) choices: Choices,
    /// Some settles are visible late because of it.
    pub(super) weather: Weather,
    seed: u64,
    processing_ms: u64,
    now_ms: u64,
    /// The rules of apps that have none of their own.
    rules: AppRules,
    apps: HashMap<String, AppRules>,
    orders: Orders,
    /// In order of acceptance; an index is a settle's name within this module.
    settles: Vec<Entry>,
    /// Several, if a FAIL frees its number.
    by_number: HashMap<Number, Vec<usize>>,
    /// By system and `order_id`.
    by_order_id: HashMap<(System, String), Vec<usize>>,
    by_settle_id: HashMap<String, usize>,
    /// Numbers that a refusal used up.
    burned: HashMap<Number, Refusal>,
    /// What will happen, by time, then in the order of scheduling.
    timeline: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    /// What happened to settles since the news were last taken.
    news: Vec<News>,
    /// Whether a create has named an address of its own.
    has_notify_url: bool,
}

/// A developer's number: the system, the app and the `out_settle_no`.
type Number = (System, String, String);

/// A settle took a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    pub(super) index: usize,
    pub(super) status: Status,
    pub(super) at_ms: u64,
}

#[derive(Debug)]
struct Entry {
    facts: AppliedSettle,
    visible_at_ms: u64,
    /// Grows when a test interferes, so that events planned before do not happen.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A settle takes its next step, unless a test has interfered since.
    Settle { index: usize, generation: u32, step: Step },
    /// Something of an order falls due; the platform may settle it by itself.
    OrderDue { index: usize },
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
    pub(super) fn new(config: &SimConfig) -> Self {
        Self {
            choices: config.choices.clone(),
            weather: Weather::new(config),
            seed: config.seed,
            processing_ms: config.processing_ms,
            now_ms: 0,
            rules: config.rules.clone(),
            apps: HashMap::new(),
            orders: Orders::default(),
            settles: Vec::new(),
            by_number: HashMap::new(),
            by_order_id: HashMap::new(),
            by_settle_id: HashMap::new(),
            burned: HashMap::new(),
            timeline: BTreeMap::new(),
            scheduled: 0,
            news: Vec::new(),
            has_notify_url: false,
        }
    }

    /// Lets everything happen that is due. Time never runs backwards here.
    pub(super) fn advance(&mut self, now_ms: u64) {
        while let Some(first) = self.timeline.first_entry() {
            let (at_ms, _) = *first.key();
            if at_ms > now_ms {
                break;
            }
            let event = first.remove();
            // An event's consequences happen at its time, not at the end of a long jump.
            self.now_ms = self.now_ms.max(at_ms);
            self.happen(event);
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// When something is due next.
    pub(super) fn next_event_at_ms(&self) -> Option<u64> {
        self.timeline.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// What happened to settles since the last call.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    pub(super) fn settle_at(&self, index: usize) -> &AppliedSettle {
        &self.settles[index].facts
    }

    /// Whether any create named an address for callbacks.
    pub(super) fn has_notify_url(&self) -> bool {
        self.has_notify_url
    }

    /// Uses a number up without a settle.
    pub(super) fn burn(&mut self, account: Account<'_>, out_settle_no: &str, refusal: &Refusal) {
        self.burned.insert(account.number(out_settle_no), refusal.clone());
    }

    /// Ends the invisibility of the settles under a number.
    pub(super) fn show(&mut self, account: Account<'_>, out_settle_no: &str) {
        let number = account.number(out_settle_no);
        for &index in self.by_number.get(&number).into_iter().flatten() {
            let entry = &mut self.settles[index];
            entry.visible_at_ms = entry.visible_at_ms.min(self.now_ms);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.settles.len() >= SETTLES_MAX
    }

    /// Adds a settle and plans its course.
    pub(super) fn accept(&mut self, accepted: Accepted) -> &AppliedSettle {
        let account = Account { system: accepted.system, app_id: &accepted.app_id };
        let nth = self.under(&account.number(&accepted.out_settle_no)).count();
        let settle_id = ids::settle_id(self.seed, account, &accepted.out_settle_no, nth);
        self.has_notify_url |= accepted.notify_url.is_some();
        let index = self.enter(AppliedSettle {
            wallet_settle_id: ids::wallet_settle_id(self.seed, &settle_id),
            order_id: self.order_id(&accepted.app_id, &accepted.out_order_no),
            commission_fen: commission_fen(accepted.amount_fen, accepted.promotion),
            system: accepted.system,
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
        let facts = &self.settles[index].facts;
        let late_ms = self.weather.late_ms(&facts.app_id, &facts.settle_id);
        self.settles[index].visible_at_ms += late_ms.max(self.choices.visible_after_ms);
        self.plan_course(index);
        &self.settles[index].facts
    }

    /// Adds a settle of another party. It stays as it is until a test moves it.
    pub(super) fn accept_stranger(
        &mut self,
        app_id: &str,
        out_settle_no: Option<&str>,
        stranger: StrangerSettle,
    ) -> String {
        let account = Account { system: stranger.system, app_id };
        let nth =
            out_settle_no.map_or(self.settles.len(), |no| self.under(&account.number(no)).count());
        let name = out_settle_no.unwrap_or(&stranger.out_order_no);
        let settle_id = ids::settle_id(self.seed, account, name, nth);
        let order_id = self.order_id(app_id, &stranger.out_order_no);
        let order = self.order_on_the_fly(account, &stranger.out_order_no);
        let settled = self.settled(account, &stranger.out_order_no);
        let left_fen = left_fen(order.setup.total_fen, &settled);
        let amount_fen = stranger.amount_fen.unwrap_or(left_fen);
        let index = self.enter(AppliedSettle {
            system: stranger.system,
            app_id: app_id.to_owned(),
            // The platform fills its own number in.
            out_settle_no: out_settle_no.unwrap_or(&settle_id).to_owned(),
            wallet_settle_id: ids::wallet_settle_id(self.seed, &settle_id),
            settle_id: settle_id.clone(),
            order_id,
            out_order_no: stranger.out_order_no,
            item_order_id: stranger.item_order_id,
            settle_params: stranger.settle_params,
            cp_extra: stranger.cp_extra,
            notify_url: None,
            amount_fen,
            commission_fen: commission_fen(amount_fen, order.setup.promotion),
            status: stranger.status,
            by_gateway: false,
            is_auto_settle: out_settle_no.is_none(),
            accepted_at_ms: self.now_ms,
            finished_at_ms: stranger.status.is_final().then_some(self.now_ms),
            body: Bytes::new(),
        });
        if stranger.status.is_final() {
            self.tell(index);
        }
        settle_id
    }

    /// Ends a settle now, with everything that follows from an end. `false`: no such settle.
    pub(super) fn finish(&mut self, settle_id: &str, status: Status) -> bool {
        let Some(&index) = self.by_settle_id.get(settle_id) else {
            return false;
        };
        self.settles[index].generation += 1;
        self.mark(index, status);
        self.tell(index);
        if status == Status::Fail {
            self.plan_revival(index);
        }
        true
    }

    /// Makes a settle look like this from now on. `false`: no such settle.
    pub(super) fn set_status(&mut self, settle_id: &str, status: Status) -> bool {
        let Some(&index) = self.by_settle_id.get(settle_id) else {
            return false;
        };
        self.settles[index].generation += 1;
        self.mark(index, status);
        true
    }

    fn enter(&mut self, facts: AppliedSettle) -> usize {
        let index = self.settles.len();
        let number = facts.account().number(&facts.out_settle_no);
        self.by_number.entry(number).or_default().push(index);
        let order = (facts.system, facts.order_id.clone());
        self.by_order_id.entry(order).or_default().push(index);
        self.by_settle_id.insert(facts.settle_id.clone(), index);
        self.settles.push(Entry { facts, visible_at_ms: self.now_ms, generation: 0 });
        index
    }

    fn order_id(&self, app_id: &str, out_order_no: &str) -> String {
        ids::order_id(self.seed, app_id, out_order_no)
    }

    /// From acceptance to the end, as the order's number chooses.
    fn plan_course(&mut self, index: usize) {
        // INIT for the first third, so that a poller has a chance to see all three.
        self.plan(index, self.processing_ms / 3, Step::Process);
        match Word::of(&self.settles[index].facts.out_order_no) {
            Word::Hold => {}
            Word::Fail => self.plan(index, self.processing_ms, Step::Fail),
            Word::Err(_) | Word::Slow | Word::Lost | Word::Quiet | Word::None => {
                self.plan(index, self.processing_ms, Step::Succeed);
            }
        }
        self.advance(self.now_ms);
    }

    fn plan(&mut self, index: usize, after_ms: u64, step: Step) {
        let generation = self.settles[index].generation;
        self.schedule(self.now_ms + after_ms, Event::Settle { index, generation, step });
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.timeline.insert((at_ms, self.scheduled), event);
        self.scheduled += 1;
    }

    fn plan_revival(&mut self, index: usize) {
        if let Some(after_ms) = self.choices.fail_turns_success_after_ms {
            self.plan(index, after_ms, Step::Revive);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Settle { index, generation, step } => {
                if self.settles[index].generation == generation {
                    self.take_step(index, step);
                }
            }
            Event::OrderDue { index } => self.visit_order(index),
        }
    }

    fn take_step(&mut self, index: usize, step: Step) {
        match step {
            Step::Process => self.mark(index, Status::Processing),
            Step::Succeed => self.mark(index, Status::Success),
            Step::Fail => {
                self.mark(index, Status::Fail);
                self.plan_revival(index);
            }
            Step::Revive if self.money_is_still_there(index) => self.mark(index, Status::Success),
            Step::Revive => return,
        }
        self.tell(index);
    }

    /// Whatever else it does, Douyin does not pay the same money twice.
    fn money_is_still_there(&mut self, index: usize) -> bool {
        let facts = self.settles[index].facts.clone();
        let settled = self.settled(facts.account(), &facts.out_order_no);
        let order = self.order_on_the_fly(facts.account(), &facts.out_order_no);
        let same_item = |other: &Settled| other.item_order_id == facts.item_order_id;
        let left_fen = left_fen(order.setup.total_fen, &settled);
        !settled.iter().any(same_item) && facts.amount_fen <= left_fen
    }

    fn mark(&mut self, index: usize, status: Status) {
        let facts = &mut self.settles[index].facts;
        facts.status = status;
        facts.finished_at_ms = status.is_final().then_some(self.now_ms);
    }

    /// Notes the present state of a settle as news.
    fn tell(&mut self, index: usize) {
        let status = self.settles[index].facts.status;
        self.news.push(News { index, status, at_ms: self.now_ms });
    }
}
