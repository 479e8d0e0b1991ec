//! The judge. It knows what callers were told and what Douyin's books say, and nothing of the
//! inside of a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{AppliedSettle, Status, System};
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::{SettleOrigin, SettleState};

use crate::mutations::is_final;
use crate::rules::Rule;
use crate::systems::{self, Known};
use crate::world::World;

/// One payment that is meant to happen once. It has an order of its own.
#[derive(Clone, Debug)]
pub struct Intent {
    pub app_id: String,
    pub system: Known,
    pub out_order_no: String,
    /// The caller's own `ext`.
    pub ext: Option<String>,
    /// Douyin took back its own word about a settle of this intent: it told FAIL and then SUCCESS.
    /// A caller that believed the first word may pay again, and no gateway can prevent that.
    pub taken_back: bool,
}

/// What is known of a number, for the intent with one order.
#[derive(Default)]
struct Asked {
    /// Copies of creates that came to a gateway.
    delivered: usize,
    /// Those that were told that they were not sent.
    not_sent: usize,
    /// Creates that came to Douyin.
    sends: usize,
    /// The number was told to be free of this intent, by this word.
    freed: Option<&'static str>,
}

/// What was seen of a recorded settle.
#[derive(Default)]
struct Seen {
    by_revision: BTreeMap<i64, v1::Settle>,
    /// From when on a revision was known to some caller.
    known: Vec<(Duration, i64)>,
    /// The order of the content that the gateway recorded.
    content: Option<String>,
}

type Place = (String, System, String);

fn place(settle: &v1::Settle) -> Place {
    (settle.app_id.clone(), systems::of(settle).there, settle.out_settle_no.clone())
}

/// See the head of this file.
#[derive(Default)]
pub struct Checker {
    intents: Vec<Intent>,
    /// By number and order.
    asked: BTreeMap<(String, String), Asked>,
    /// By app, trade system and number: the bytes of creates.
    bodies: BTreeMap<Place, Bytes>,
    /// By app, trade system and number.
    seen: BTreeMap<Place, Seen>,
    failed: BTreeSet<String>,
    /// By app and `settle_id`: since when a callback with SUCCESS is acknowledged.
    acknowledged: BTreeMap<(String, String), Duration>,
    /// By settle and revision: when a gateway told of it.
    changed: BTreeMap<(String, i64), Duration>,
    /// When the store last went back to a backup: what was told of revisions before is forgotten.
    went_back: Option<Duration>,
    pub commits: u64,
    /// Settles that nothing can be proven about, as documented.
    pub left_to_a_person: usize,
}

impl Checker {
    pub fn add_intent(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// A line of a gateway's log.
    pub fn logged(&mut self, at: Duration, line: &str) {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.split(' ').next().map(str::to_owned)
        };
        if line.starts_with("settle changed")
            && let (Some(key), Some(revision)) = (field("key="), field("revision="))
            && let Ok(revision) = revision.parse()
        {
            self.changed.entry((key, revision)).or_insert(at);
        }
    }

    /// When a gateway told of this revision, if one did.
    pub fn changed_at(&self, settle: &v1::Settle) -> Option<Duration> {
        // As the log has it.
        let key = match systems::of(settle) {
            systems::GENERAL => format!("{}/{}", settle.app_id, settle.out_settle_no),
            other => {
                let system = other.configured.as_str();
                format!("{}/{system}/{}", settle.app_id, settle.out_settle_no)
            }
        };
        self.changed.get(&(key, settle.revision)).copied()
    }

    /// The store went back to a backup. What was told of the money stays true; revisions begin
    /// again, and what was acknowledged since is lost.
    pub fn forget(&mut self, now: Duration) {
        self.went_back = Some(now);
        self.seen.clear();
        self.acknowledged.clear();
        self.changed.clear();
    }

    pub fn intent(&self, intent: usize) -> Option<Intent> {
        self.intents.get(intent).cloned()
    }

    /// Whether this create is in another trade system than its intent.
    pub fn is_moved(&self, create: &v1::CreateSettleRequest) -> bool {
        let mut intents = self.intents.iter();
        let intent = intents.find(|intent| intent.out_order_no == create.out_order_no);
        intent.is_some_and(|intent| intent.system.asked() != create.trade_system)
    }

    // What happens on the links.

    pub fn create_delivered(&mut self, number: &str, out_order_no: &str) {
        self.asked(number, out_order_no).delivered += 1;
    }

    pub fn create_answered(
        &mut self,
        world: &World,
        (number, out_order_no): (&str, &str),
        outcome: Option<&str>,
    ) {
        match outcome {
            Some("not_sent") => self.asked(number, out_order_no).not_sent += 1,
            Some("refused") => self.freed(world, (number, out_order_no), "refused"),
            Some(_) | None => {}
        }
    }

    /// A create comes to Douyin.
    pub fn send_arrived(&mut self, world: &World, names: [&str; 3], body: &Bytes) {
        let [app_id, number, out_order_no] = names;
        self.asked(number, out_order_no).sends += 1;
        let Some(intent) = self.intents.iter().find(|one| one.out_order_no == out_order_no) else {
            world.violation(Rule::OneContent, &format!("no caller pays {out_order_no}"));
            return;
        };
        let key = (app_id.to_owned(), intent.system.there, number.to_owned());
        let first = self.bodies.entry(key).or_insert_with(|| body.clone());
        if first != body {
            world.violation(Rule::OneContent, &format!("{number} was sent with two contents"));
        }
    }

    /// A settle came into Douyin's books, or changed there.
    pub fn in_books(&mut self, world: &World, settle: &AppliedSettle, is_new: bool) {
        if settle.status == Status::Fail {
            self.failed.insert(settle.settle_id.clone());
        }
        if !settle.by_gateway {
            return;
        }
        let Some(intent) =
            self.intents.iter_mut().find(|intent| intent.out_order_no == settle.out_order_no)
        else {
            world.violation(Rule::OneContent, &format!("{settle:?} was asked for by no caller"));
            return;
        };
        if settle.status == Status::Success && self.failed.contains(&settle.settle_id) {
            intent.taken_back = true;
        }
        let taken_back = intent.taken_back;
        if settle.system != intent.system.there {
            world.violation(Rule::OneContent, &format!("{settle:?} is in another system"));
        }
        // What was recorded before a restore may be forgotten.
        if is_new && self.went_back.is_none() && is_elsewhere(world, settle) {
            let number = &settle.out_settle_no;
            world.violation(Rule::OneContent, &format!("{number} is used in two systems"));
        }
        let alive = alive(world, |other| other.out_order_no == settle.out_order_no);
        if alive.len() > 1 && !taken_back {
            world.violation(Rule::PaidOnce, &format!("alive at once: {}", alive.join(", ")));
        }
        let number = settle.out_settle_no.as_str();
        let asked = self.asked(number, &settle.out_order_no);
        if is_new && let Some(word) = asked.freed {
            world.violation(rule(word), &format!("{number} was told {word} and then accepted"));
        }
    }

    /// A caller was told that nothing of its intent is alive under this number, and never will be.
    pub fn freed(
        &mut self,
        world: &World,
        (number, out_order_no): (&str, &str),
        word: &'static str,
    ) {
        self.asked(number, out_order_no).freed.get_or_insert(word);
        let taken_back = |intent: &Intent| intent.out_order_no == out_order_no && intent.taken_back;
        let alive = alive(world, |settle| {
            settle.out_settle_no == number && settle.out_order_no == out_order_no
        });
        if !alive.is_empty() && !self.intents.iter().any(taken_back) {
            let alive = alive.join(", ");
            world.violation(rule(word), &format!("{number} is told {word}, alive: {alive}"));
        }
    }

    pub fn went_back(&self) -> bool {
        self.went_back.is_some()
    }

    /// A caller saw a settle in an answer to a call that began at `begun`, which was read from the
    /// store at `read_since` or later.
    pub fn saw(&mut self, world: &World, [begun, read_since]: [Duration; 2], settle: &v1::Settle) {
        let number = &settle.out_settle_no;
        self.exists(world, settle);
        // A slow reader takes what a gateway of before told it.
        if self.went_back.is_some_and(|went_back| begun < went_back) {
            return;
        }
        self.remembers(world, read_since, settle);
        let seen = self.seen.entry(place(settle)).or_default();
        if settle.origin() == SettleOrigin::Gateway {
            let content = seen.content.get_or_insert_with(|| settle.out_order_no().to_owned());
            if content != settle.out_order_no() {
                world.violation(
                    Rule::OneContent,
                    &format!("{number} is recorded with two contents"),
                );
            }
        }
        let known = seen.known.iter().rfind(|(at, _)| *at < read_since);
        if known.is_some_and(|(_, revision)| *revision > settle.revision) {
            let (_, known) = known.expect("it was looked at just now");
            let now = settle.revision;
            world.violation(Rule::ToldLasts, &format!("{number} r{now} after r{known}"));
        }
        if seen.known.last().is_none_or(|(_, revision)| *revision < settle.revision) {
            seen.known.push((world.elapsed(), settle.revision));
        }
        for (revision, other) in &seen.by_revision {
            let (first, then) = if *revision <= settle.revision {
                (other.state(), settle.state())
            } else {
                (settle.state(), other.state())
            };
            if is_final(first) && first != then {
                world.violation(Rule::FinalStays, &format!("{number} {first:?}, then {then:?}"));
            }
        }
        // The wording of the last error may change by itself.
        let mut shown = settle.clone();
        shown.last_error = None;
        let first = seen.by_revision.entry(settle.revision).or_insert_with(|| shown.clone());
        if *first != shown {
            let what = format!("{number} r{}: {first:?} and {shown:?}", settle.revision);
            world.violation(Rule::OneState, &what);
        }
    }

    /// What a settle shows must be in Douyin's books.
    fn exists(&self, world: &World, settle: &v1::Settle) {
        let number = &settle.out_settle_no;
        let state = settle.state();
        let wanted = match state {
            SettleState::Unspecified => None,
            SettleState::Submitting | SettleState::Rejected => return,
            SettleState::Processing => {
                Some(vec![Status::Init, Status::Processing, Status::Success, Status::Fail])
            }
            SettleState::Succeeded => Some(vec![Status::Success]),
            // Which may have been taken back since.
            SettleState::Failed => Some(vec![Status::Fail, Status::Success]),
        };
        let found = wanted.is_some_and(|wanted| {
            let douyin = world.douyin();
            let mut settles = douyin.core.settles();
            settles.any(|known| {
                let taken_back = self.failed.contains(&known.settle_id);
                // What is told to be ours must be ours.
                let ours = known.by_gateway
                    && known.system == systems::of(settle).there
                    && known.out_settle_no == *number
                    && known.out_order_no == settle.out_order_no();
                known.settle_id == settle.settle_id()
                    && known.app_id == settle.app_id
                    && wanted.contains(&known.status)
                    && (state != SettleState::Failed || taken_back)
                    && (ours || settle.origin() != SettleOrigin::Gateway)
            })
        });
        if !found {
            let what = format!("{number} is told {state:?} as {}", settle.settle_id());
            world.violation(Rule::ToldExists, &what);
        }
    }

    /// A caller takes its intent for paid, by the settle that it was told of.
    pub fn paid(&self, world: &World, intent: &v1::CreateSettleRequest, settle: &v1::Settle) {
        let paid = {
            let douyin = world.douyin();
            let mut settles = douyin.core.settles();
            settles.any(|known| {
                known.settle_id == settle.settle_id()
                    && known.app_id == intent.app_id
                    && known.system == systems::of(settle).there
                    && known.out_order_no == intent.out_order_no
                    && known.by_gateway
                    && known.status == Status::Success
            })
        };
        if !paid {
            let (id, order) = (settle.settle_id(), &intent.out_order_no);
            world.violation(Rule::ToldExists, &format!("{id} does not pay for {order}"));
        }
    }

    /// A stream that was opened at `begun` says that `revision` is the newest one.
    pub fn caught_up(
        &self,
        world: &World,
        begun: Duration,
        (app_id, system, number): (&str, Known, &str),
        revision: i64,
    ) {
        let place = (app_id.to_owned(), system.there, number.to_owned());
        let Some(seen) = self.seen.get(&place) else { return };
        let known = seen.known.iter().rfind(|(at, _)| *at < begun);
        if let Some((_, known)) = known.filter(|(_, known)| *known > revision) {
            world.violation(Rule::ToldLasts, &format!("{number} r{revision} after r{known}"));
        }
    }

    /// Douyin is about to tell FAIL of a settle that succeeded.
    pub fn contradicted(&mut self, settle: &AppliedSettle) {
        self.failed.insert(settle.settle_id.clone());
        for intent in &mut self.intents {
            intent.taken_back |= intent.out_order_no == settle.out_order_no;
        }
    }

    /// A callback was acknowledged.
    pub fn acknowledged(
        &mut self,
        world: &World,
        (app_id, settle_id): (&str, &str),
        status: Option<Status>,
    ) {
        if status == Some(Status::Success) {
            let key = (app_id.to_owned(), settle_id.to_owned());
            self.acknowledged.entry(key).or_insert_with(|| world.elapsed());
        }
    }

    /// What an acknowledged callback told of the one settle under a number is recorded. A callback
    /// proves nothing without what was sent as `ext`.
    fn remembers(&self, world: &World, begun: Duration, settle: &v1::Settle) {
        let under: Vec<AppliedSettle> = {
            let douyin = world.douyin();
            let settles = douyin.core.settles();
            settles
                .filter(|known| known.app_id == settle.app_id)
                .filter(|known| known.system == systems::of(settle).there)
                .filter(|known| known.out_settle_no == settle.out_settle_no)
                .cloned()
                .collect()
        };
        let [only] = under.as_slice() else { return };
        let key = (only.app_id.clone(), only.settle_id.clone());
        let since = self.acknowledged.get(&key).filter(|since| **since < begun);
        let plain = only.by_gateway
            && !only.cp_extra.is_empty()
            && !self.failed.contains(&only.settle_id)
            && settle.origin() == SettleOrigin::Gateway
            && settle.out_order_no() == only.out_order_no;
        if since.is_some() && plain && settle.state() != SettleState::Succeeded {
            let what = format!("{} is {:?}", settle.out_settle_no, settle.state());
            world.violation(Rule::AcknowledgedLasts, &what);
        }
    }

    // What is checked at the end.

    /// Every recorded settle has Douyin's final word.
    pub fn ended(&mut self, world: &World, settle: &v1::Settle, history: &[v1::HistoryEntry]) {
        let (number, state) = (settle.out_settle_no.as_str(), settle.state());
        let order = settle.out_order_no();
        let alive =
            alive(world, |known| known.out_settle_no == number && known.out_order_no == order);
        let disputed = settle.contradiction.is_some()
            || self.intents.iter().any(|one| one.out_order_no == order && one.taken_back);
        match state {
            SettleState::Unspecified | SettleState::Submitting | SettleState::Processing => {
                if left_alone(world, settle) {
                    self.left_to_a_person += 1;
                } else {
                    world.violation(Rule::Ends, &format!("{number} is still {state:?}"));
                }
            }
            SettleState::Failed | SettleState::Rejected if disputed => {}
            SettleState::Failed | SettleState::Rejected => {
                if settle.origin() == SettleOrigin::Gateway && !alive.is_empty() {
                    let alive = alive.join(", ");
                    world.violation(Rule::Ends, &format!("{number} {state:?}: {alive}"));
                }
            }
            SettleState::Succeeded => {}
        }
        let revisions: Vec<i64> = history.iter().map(|entry| entry.revision).collect();
        if revisions != (1..=settle.revision).collect::<Vec<_>>() {
            world.violation(Rule::OneState, &format!("{number} has {revisions:?}"));
        }
        for (revision, seen) in &self.seen.entry(place(settle)).or_default().by_revision {
            let entry = history.iter().find(|entry| entry.revision == *revision);
            if entry.is_none_or(|entry| entry.state() != seen.state()) {
                let what = format!("{number} r{revision} {:?} is not in the history", seen.state());
                world.violation(Rule::OneState, &what);
            }
        }
    }

    /// Every settle that was told is among these.
    pub fn all_listed(&self, world: &World, listed: &[v1::Settle]) {
        for told in self.seen.keys() {
            if !listed.iter().any(|settle| place(settle) == *told) {
                world.violation(Rule::ToldLasts, &format!("{told:?} is gone"));
            }
        }
        for (app_id, settle_id) in self.acknowledged.keys() {
            let number = {
                let douyin = world.douyin();
                let mut settles = douyin.core.settles();
                let settle = settles.find(|known| known.settle_id == *settle_id);
                settle.map(|known| known.out_settle_no.clone()).unwrap_or_default()
            };
            let mut of_app = listed.iter().filter(|settle| settle.app_id == *app_id);
            // A settle of another one of ours may stand under its number.
            if !of_app.any(|one| one.settle_id() == settle_id || one.out_settle_no == number) {
                world.violation(Rule::AcknowledgedLasts, &format!("{settle_id} is not recorded"));
            }
        }
        for ((number, _), asked) in &self.asked {
            let all_not_sent = asked.delivered > 0 && asked.delivered == asked.not_sent;
            if all_not_sent && asked.sends > 0 {
                let what = format!("{number}: no copy was sent, and {} came", asked.sends);
                world.violation(Rule::NotSentStays, &what);
            }
        }
    }

    fn asked(&mut self, number: &str, out_order_no: &str) -> &mut Asked {
        self.asked.entry((number.to_owned(), out_order_no.to_owned())).or_default()
    }
}

fn rule(word: &str) -> Rule {
    if word == "refused" { Rule::RefusedStays } else { Rule::FreedStays }
}

/// Whether gateways made a settle of the same number in another trade system of the app.
fn is_elsewhere(world: &World, settle: &AppliedSettle) -> bool {
    let douyin = world.douyin();
    let mut ours = douyin.core.settles().filter(|known| known.by_gateway);
    ours.any(|known| {
        known.system != settle.system
            && known.app_id == settle.app_id
            && known.out_settle_no == settle.out_settle_no
    })
}

/// The settles of gateways in the books that hold money or may come to.
fn alive(world: &World, wanted: impl Fn(&AppliedSettle) -> bool) -> Vec<String> {
    let douyin = world.douyin();
    let alive = douyin
        .core
        .settles()
        .filter(|settle| settle.by_gateway && settle.status != Status::Fail && wanted(settle));
    alive
        .map(|settle| {
            let (number, id) = (&settle.out_settle_no, &settle.settle_id);
            format!("{number} {} {id}", settle.status.word())
        })
        .collect()
}

/// Settles of ours that stay open until a person looks at them.
pub fn left_alone(world: &World, settle: &v1::Settle) -> bool {
    settle.state() == SettleState::Submitting && undecidable(world, settle)
}

/// Settles that the documents leave to a person: Douyin says that the number is used and shows
/// nothing under it, or shows a settle that nothing proves to be ours or not.
pub fn undecidable(world: &World, settle: &v1::Settle) -> bool {
    let douyin = world.douyin();
    let system = systems::of(settle).there;
    let under = |known: &&AppliedSettle| {
        known.app_id == settle.app_id
            && known.system == system
            && known.out_settle_no == settle.out_settle_no
    };
    let any = douyin.core.settles().any(|known| under(&known));
    let stranger = douyin.core.settles().any(|known| under(&known) && !known.by_gateway);
    let burned = douyin.core.number_taken_in(system, &settle.app_id, &settle.out_settle_no) && !any;
    burned || stranger
}
