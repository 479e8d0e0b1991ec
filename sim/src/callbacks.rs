//! The outbox: which callbacks there are, when each is sent next, and how its attempts ended.
//!
//! Pure state over `now_ms`, like the books: deliveries go out, answers come in, and a transport
//! carries them. It does not know connections, nor why a settle ended.
//!
//! ```text
//! announce ──► waiting ──due──► attempt ──► deliveries ──answered──► acknowledged
//!                 ▲                                          │
//!                 └────────── the ladder's next rung ◄───────┴─────► given up
//! ```

mod attempt;
mod by_token;
mod forged;
mod ladder;
mod message;
mod record;
mod scripts;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

pub use self::forged::{Forged, ForgedSignature};
pub use self::ladder::Ladder;
pub use self::message::{Sent, check_callback_url};
pub(super) use self::message::{body, signed_text};
pub use self::record::{Attempt, Callback, CallbackAnswer, CallbackState, Delivery, Outcome};
pub use self::scripts::CallbackScript;
pub(super) use self::scripts::CallbackScripts;
use super::choices::Choices;
use super::keys::PlatformKey;
use super::settles::{AppliedSettle, Status};
use super::weather::Weather;
use super::{SANDBOX_CALLBACK_TOKEN, SimApp, SimConfig};

/// Bounds on memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of the callbacks that are over, the oldest are forgotten first.
    pub(super) remembered: usize,
    /// If this many are under way, a further one is not announced, and counted.
    pub(super) under_way: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { remembered: 100_000, under_way: 100_000 }
    }
}

/// Every callback that Douyin has sent or has still to send.
#[derive(Debug)]
pub(super) struct Outbox {
    seed: u64,
    pub(super) weather: Weather,
    pub(super) scripts: CallbackScripts,
    pub(super) limits: Limits,
    consoles: BTreeMap<String, Console>,
    /// By id.
    entries: BTreeMap<u64, Entry>,
    /// The ids of those that are over, in the order in which they ended.
    over: VecDeque<u64>,
    /// What will happen, by time, then in the order of scheduling.
    timeline: BTreeMap<(u64, u64), Due>,
    scheduled: u64,
    /// Deliveries that are with the transport, by their id.
    in_flight: HashMap<u64, InFlight>,
    deliveries_total: u64,
    /// By app: the callbacks that let another one go first.
    behind: HashMap<String, Vec<u64>>,
    announced_total: u64,
    turned_away: usize,
}

/// What the developer has set in the console for an app.
#[derive(Clone, Debug)]
struct Console {
    url: Option<String>,
    key: PlatformKey,
    /// For the callbacks of guaranteed payment.
    token: String,
}

#[derive(Debug)]
struct Entry {
    seen: Arc<Callback>,
    letter: Letter,
    /// Its place on the timeline.
    due: Option<(u64, u64)>,
    /// The rest of a script that makes it wait.
    rest: Option<CallbackScript>,
    /// For how many copies of its last attempt the platform waits.
    open: usize,
}

/// What is sent.
#[derive(Clone, Debug)]
enum Letter {
    /// A body that is signed and sent until it is acknowledged. The first signing is kept.
    Event { first: Option<Arc<Sent>> },
    /// Exactly this, once.
    Once(Arc<Sent>),
}

#[derive(Debug)]
enum Due {
    /// The next attempt of this callback.
    Attempt(u64),
    /// A copy that was long on its way.
    Copy(Box<Delivery>),
}

/// A delivery that is with the transport.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    callback: u64,
    /// Its place among the callback's attempts.
    attempt: usize,
    heard: Heard,
}

/// Whether the platform sees the answer of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Yes,
    /// It gets lost, and the platform waits for it until the deadline.
    Lost,
    /// The platform has given this attempt up.
    TooLate,
}

impl Outbox {
    pub(super) fn new(config: &SimConfig) -> Self {
        let mut outbox = Self {
            seed: config.seed,
            weather: Weather::new(config),
            scripts: CallbackScripts::default(),
            limits: Limits::default(),
            consoles: BTreeMap::new(),
            entries: BTreeMap::new(),
            over: VecDeque::new(),
            timeline: BTreeMap::new(),
            scheduled: 0,
            in_flight: HashMap::new(),
            deliveries_total: 0,
            behind: HashMap::new(),
            announced_total: 0,
            turned_away: 0,
        };
        for app in &config.apps {
            outbox.add_app(app);
        }
        outbox
    }

    /// Gives a new app its address and its key. An app that exists keeps its own.
    pub(super) fn add_app(&mut self, app: &SimApp) {
        let new = || Console {
            url: app.callback_url.clone(),
            key: app.platform_key.clone(),
            token: app.callback_token.clone(),
        };
        self.consoles.entry(app.app_id.clone()).or_insert_with(new);
    }

    /// The address that the console has for an app.
    pub(super) fn console_url(&self, app_id: &str) -> Option<&str> {
        self.consoles.get(app_id)?.url.as_deref()
    }

    /// All consoles, each with its app.
    pub(super) fn console_urls(&self) -> Vec<(String, String)> {
        let all = self.consoles.iter();
        all.filter_map(|(app_id, console)| Some((app_id.clone(), console.url.clone()?))).collect()
    }

    /// Callbacks that wait go to the new address too, unless a create named another one.
    pub(super) fn set_console_url(&mut self, app_id: &str, url: Option<String>) {
        self.console_mut(app_id).url = url;
    }

    pub(super) fn key(&self, app_id: &str) -> PlatformKey {
        self.consoles.get(app_id).map_or_else(PlatformKey::sandbox, |console| console.key.clone())
    }

    pub(super) fn token(&self, app_id: &str) -> String {
        let token = self.consoles.get(app_id).map(|console| console.token.as_str());
        token.unwrap_or(SANDBOX_CALLBACK_TOKEN).to_owned()
    }

    pub(super) fn set_key(&mut self, app_id: &str, key: PlatformKey) {
        self.console_mut(app_id).key = key;
    }

    fn console_mut(&mut self, app_id: &str) -> &mut Console {
        let unset = || Console {
            url: None,
            key: PlatformKey::sandbox(),
            token: SANDBOX_CALLBACK_TOKEN.to_owned(),
        };
        self.consoles.entry(app_id.to_owned()).or_insert_with(unset)
    }

    /// Does any app have an address?
    pub(super) fn has_console_url(&self) -> bool {
        self.consoles.values().any(|console| console.url.is_some())
    }

    /// Something happened that the developer is told, if there is an address.
    pub(super) fn announce(
        &mut self,
        settle: &AppliedSettle,
        status: Status,
        at_ms: u64,
        choices: &Choices,
    ) {
        let notify_url = settle.notify_url.as_deref();
        let Some(url) = self.address(&settle.app_id, notify_url, choices) else {
            return;
        };
        self.enter(
            Callback {
                id: 0,
                system: settle.system,
                app_id: settle.app_id.clone(),
                settle_id: settle.settle_id.clone(),
                out_settle_no: settle.out_settle_no.clone(),
                event_id: message::event_id(settle, status, &url),
                status: Some(status),
                notify_url: settle.notify_url.clone(),
                body: message::body(settle, status, at_ms, choices),
                announced_at_ms: at_ms,
                attempts: Vec::new(),
                state: CallbackState::Waiting { next_at_ms: at_ms },
            },
            Letter::Event { first: None },
        );
    }

    /// Where a callback goes: to the address of the create, else to the console's.
    fn address(&self, app_id: &str, notify_url: Option<&str>, choices: &Choices) -> Option<String> {
        let console = self.console_url(app_id);
        let url = match notify_url {
            Some(own) if console.is_some() || choices.notify_url_alone => Some(own),
            Some(_) => None,
            None => console,
        };
        url.map(str::to_owned)
    }

    /// Adds a callback and returns its id. `None`: too many are under way.
    fn enter(&mut self, mut callback: Callback, letter: Letter) -> Option<u64> {
        if self.entries.len() - self.over.len() >= self.limits.under_way {
            self.turned_away += 1;
            return None;
        }
        self.announced_total += 1;
        let (id, at_ms) = (self.announced_total, callback.announced_at_ms);
        callback.id = id;
        let seen = Arc::new(callback);
        self.entries.insert(id, Entry { seen, letter, due: None, rest: None, open: 0 });
        self.wait(id, at_ms);
        Some(id)
    }

    /// Plans the next attempt.
    fn wait(&mut self, id: u64, next_at_ms: u64) {
        let place = self.schedule(next_at_ms, Due::Attempt(id));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.due = Some(place);
            entry.set_state(CallbackState::Waiting { next_at_ms });
        }
    }

    fn schedule(&mut self, at_ms: u64, due: Due) -> (u64, u64) {
        let place = (at_ms, self.scheduled);
        self.timeline.insert(place, due);
        self.scheduled += 1;
        place
    }

    /// Ends this callback: nothing more is sent.
    fn end(&mut self, id: u64, state: CallbackState) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let was_over = entry.seen.is_over();
        entry.set_state(state);
        if was_over {
            return;
        }
        self.over.push_back(id);
        while self.over.len() > self.limits.remembered {
            if let Some(oldest) = self.over.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    /// When something is due next.
    pub(super) fn next_at_ms(&self) -> Option<u64> {
        self.timeline.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// All callbacks that are remembered, oldest first.
    pub(super) fn callbacks(
        &self,
    ) -> impl DoubleEndedIterator<Item = &Arc<Callback>> + ExactSizeIterator {
        self.entries.values().map(|entry| &entry.seen)
    }

    pub(super) fn callback(&self, id: u64) -> Option<&Arc<Callback>> {
        self.entries.get(&id).map(|entry| &entry.seen)
    }

    /// How many were not announced because too many were under way.
    pub(super) fn turned_away(&self) -> usize {
        self.turned_away
    }
}

impl Entry {
    fn set_state(&mut self, state: CallbackState) {
        Arc::make_mut(&mut self.seen).state = state;
    }
}
