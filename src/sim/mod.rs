//! A double of Douyin's open platform, for tests, sandboxes and demonstrations.
//!
//! It is its own reading of Douyin's documents and shares no code with the gateway's client, so
//! that a misreading on either side shows up as a failing test. Real money never passes here.
//!
//! ```text
//!   http ──► core ──► create ──► rules
//!             │         └──────► books ◄── query
//!             ├──► token
//!             └──► faults (scripts, words, weather)
//! ```
//!
//! Read `core.rs` first: a request becomes a [`Reply`] there. Below it everything is pure state
//! over `now_ms`; above it `http.rs` is the only I/O. What the documents leave open is a field of
//! [`Choices`]; what a test wants to go wrong is a [`Script`]; what happened is a [`Snapshot`].
//! Callbacks, the D+N clock and a control page are not built yet.

mod answers;
mod books;
mod choices;
mod core;
mod create;
mod endpoint;
mod faults;
mod fields;
mod forged;
mod http;
mod ids;
mod query;
mod received;
mod rules;
mod settles;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::answers::Answer;
pub use self::choices::{
    AmountForm, Choices, Envelope, LogIdPlace, NumberCheck, NumberFate, QueryNames,
};
pub use self::core::{Core, Pending, Reply, Request};
pub use self::faults::{Gate, Script};
pub use self::received::Snapshot;
pub use self::rules::{AppRules, ItemSetup, OrderSetup, OrderStage};
pub use self::settles::{AppliedSettle, Receiver, Status, StrangerSettle};

use self::endpoint::Endpoint;

/// How to run a simulator.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Every number it makes up and every fault it draws come from here.
    pub seed: u64,
    pub apps: Vec<SimApp>,
    pub choices: Choices,
    /// From acceptance to the end of a settle, in milliseconds.
    pub processing_ms: u64,
    /// How long the answer for a `sim-slow-…` order takes, in milliseconds.
    pub slow_ms: u64,
    /// Lifetime of a token, in seconds.
    pub token_expires_in_s: u64,
    /// How many of 10 000 requests meet a fault drawn from the seed. Default 0.
    pub faults_per_10_000: u32,
}

impl SimConfig {
    /// A free loopback port and the documented or harmless value of everything else.
    #[must_use]
    pub fn loopback(seed: u64, apps: Vec<SimApp>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed,
            apps,
            choices: Choices::default(),
            processing_ms: 1_500,
            slow_ms: 3_000,
            token_expires_in_s: 7_200,
            faults_per_10_000: 0,
        }
    }
}

/// An app of the platform.
#[derive(Clone)]
pub struct SimApp {
    pub app_id: String,
    pub client_secret: String,
}

impl fmt::Debug for SimApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimApp").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// A running simulator. Clones are the same one; the last one dropped stops it.
#[derive(Clone, Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop_when_dropped: Arc<DropGuard>,
}

/// What the handle and the tasks have in common.
#[derive(Debug)]
struct Shared {
    /// Never held across an await.
    core: Mutex<Core>,
    clock: Clock,
    /// Grows after every change, for [`Simulator::until`].
    changes: watch::Sender<u64>,
    stop: CancellationToken,
    /// Every task of this simulator; [`Simulator::stop`] waits for them.
    tasks: TaskTracker,
}

impl Simulator {
    /// Binds the address and serves until stopped.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(&config)),
            clock: Clock::start(),
            changes: watch::Sender::new(0),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(http::serve(listener, Arc::clone(&shared)));
        tracing::info!(seed = config.seed, %address, "simulator started");
        Ok(Self { shared, address, _stop_when_dropped: Arc::new(stop.drop_guard()) })
    }

    /// Where it is, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection and waits until no task is left.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// What is in the books and what has arrived, now.
    #[must_use]
    pub fn books(&self) -> Snapshot {
        self.shared.look()
    }

    /// Waits until the books are as wanted. They are looked at after every request and every
    /// change by a test, not when time passes: for that, move the time or query.
    pub async fn until(&self, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let snapshot = self.shared.look();
            if wanted(&snapshot) {
                return snapshot;
            }
            changes.changed().await.expect("self keeps the sender alive");
        }
    }

    /// Moves the simulator's clock forward; everything that falls due happens.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
        self.shared.with(|core, now_ms| core.books.advance(now_ms));
    }

    /// Queues what the next creates of this number get, one each.
    pub fn script(&self, out_settle_no: &str, scripts: Vec<Script>) {
        self.queue(Endpoint::Create, out_settle_no, scripts);
    }

    /// Queues what the next queries with this key get. A number also stands for its settle's id.
    pub fn script_query(&self, key: &str, scripts: Vec<Script>) {
        self.queue(Endpoint::Query, key, scripts);
    }

    /// Queues what the next token calls get.
    pub fn script_token(&self, scripts: Vec<Script>) {
        self.queue(Endpoint::Token, "", scripts);
    }

    /// What every create gets that has no script of its own; `None` ends that.
    pub fn always_create(&self, script: Option<Script>) {
        self.set_always(Endpoint::Create, script);
    }

    /// What every query gets that has no script of its own; `None` ends that.
    pub fn always_query(&self, script: Option<Script>) {
        self.set_always(Endpoint::Query, script);
    }

    /// What every token call gets that has no script of its own; `None` ends that.
    pub fn always_token(&self, script: Option<Script>) {
        self.set_always(Endpoint::Token, script);
    }

    /// Ends the requests that hang now, without an answer.
    pub fn release(&self) {
        self.shared.with(|core, _| core.release());
    }

    /// Changes Douyin's undocumented habits.
    pub fn set_choices(&self, choices: Choices) {
        self.shared.with(|core, _| core.books.choices = choices);
    }

    /// Changes what is switched on for an app.
    pub fn set_app_rules(&self, app_id: &str, rules: AppRules) {
        self.shared.with(|core, _| core.books.set_app(app_id, rules));
    }

    /// Makes an order what a test needs.
    pub fn set_order(&self, app_id: &str, out_order_no: &str, order: OrderSetup) {
        self.shared.with(|core, _| core.books.set_order(app_id, out_order_no, order));
    }

    /// Puts somebody else's settle under a number; the answer is its `settle_id`.
    pub fn stranger_settle(
        &self,
        app_id: &str,
        out_settle_no: &str,
        settle: StrangerSettle,
    ) -> String {
        self.shared.with(|core, _| core.books.accept_stranger(app_id, Some(out_settle_no), settle))
    }

    /// Puts an automatic settlement in: its number is the `settle_id` that is answered.
    pub fn platform_settle(&self, app_id: &str, settle: StrangerSettle) -> String {
        self.shared.with(|core, _| core.books.accept_stranger(app_id, None, settle))
    }

    /// Ends a settle now, as if its time had come. `false`: no such settle.
    pub fn finish(&self, settle_id: &str, status: Status) -> bool {
        self.shared.with(|core, _| core.books.finish(settle_id, status))
    }

    /// Pins a settle to a status, however absurd; nothing else follows. `false`: no such settle.
    pub fn set_status(&self, settle_id: &str, status: Status) -> bool {
        self.shared.with(|core, _| core.books.set_status(settle_id, status))
    }

    /// Somebody else fetches a token with the same key; the answer is that token. `None`: no such
    /// app, or its quota of token calls is used up.
    pub fn steal_token(&self, app_id: &str) -> Option<String> {
        self.shared.with(|core, now_ms| core.tokens.steal(now_ms, app_id, &core.books.choices))
    }

    /// Ends every token of an app now.
    pub fn expire_tokens(&self, app_id: &str) {
        self.shared.with(|core, now_ms| core.tokens.expire_all(now_ms, app_id));
    }

    fn queue(&self, endpoint: Endpoint, key: &str, scripts: Vec<Script>) {
        self.shared.with(|core, _| core.scripts.queue(endpoint, key, scripts));
    }

    fn set_always(&self, endpoint: Endpoint, script: Option<Script>) {
        self.shared.with(|core, _| core.scripts.set_always(endpoint, script));
    }
}

impl Shared {
    /// Does something with the core at the present time, and tells those who wait for changes.
    fn with<T>(&self, action: impl FnOnce(&mut Core, u64) -> T) -> T {
        let result = self.locked(action);
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// As [`Shared::with`], but telling nobody, so that looking does not wake the one who looks.
    fn look(&self) -> Snapshot {
        self.locked(|core, _| core.snapshot())
    }

    fn locked<T>(&self, action: impl FnOnce(&mut Core, u64) -> T) -> T {
        let now_ms = self.clock.now_ms();
        // A panic elsewhere leaves the books readable for the test that reports it.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.books.advance(now_ms);
        action(&mut core, now_ms)
    }
}

/// Unix time that a test can move, and that follows tokio's clock where that is paused.
#[derive(Debug)]
struct Clock {
    started_unix_ms: u64,
    started: Instant,
    ahead_ms: AtomicU64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the double keeps its own time")]
    fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ms: whole_ms(unix),
            started: Instant::now(),
            ahead_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        self.started_unix_ms
            + whole_ms(self.started.elapsed())
            + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(whole_ms(by), Ordering::Relaxed);
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
