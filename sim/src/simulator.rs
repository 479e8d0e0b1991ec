//! The handle of a running simulator: what a test can do to it and see of it.
//!
//! It locks, tells the time and wakes tasks that wait for changes. The core knows what they mean.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::SimConfig;
use super::callbacks::{CallbackScript, Delivery, Forged, signed_text};
use super::choices::Choices;
use super::clock::Clock;
use super::core::Core;
use super::deliver;
use super::endpoint::Endpoint;
use super::faults::Script;
use super::http;
use super::keys::{AppKey, PlatformKey};
use super::orders::OrderSetup;
use super::received::Snapshot;
use super::settles::{Status, StrangerSettle};
use super::signed::sha1_sign;
use super::tls::{Authorities, Certificate};

/// A running simulator. Clones are the same one; the last one dropped stops it.
#[derive(Clone, Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop_when_dropped: Arc<DropGuard>,
}

/// What the handle and the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Never locked across an await.
    core: Mutex<Core>,
    pub(super) clock: Clock,
    pub(super) certificate: Option<Certificate>,
    pub(super) callback_authorities: Option<Authorities>,
    /// Grows after every change, for [`Simulator::until`].
    changes: watch::Sender<u64>,
    /// Wakes the task that carries callbacks.
    pub(super) something_is_due: Notify,
    /// What that task waits for: a time of the simulator's clock. Written under the core's lock.
    waits_until_ms: AtomicU64,
    pub(super) stop: CancellationToken,
    /// Every task of this simulator; [`Simulator::stop`] waits for them.
    pub(super) tasks: TaskTracker,
}

impl Simulator {
    /// Binds the address and serves until stopped.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(&config)),
            clock: Clock::start(),
            certificate: config.certificate,
            callback_authorities: config.callback_authorities,
            changes: watch::Sender::new(0),
            something_is_due: Notify::new(),
            waits_until_ms: AtomicU64::new(0),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(http::serve(listener, Arc::clone(&shared)));
        shared.tasks.spawn(deliver::run(Arc::clone(&shared)));
        let (seed, faults_per_10_000) = (config.seed, config.faults_per_10_000);
        tracing::info!(seed, faults_per_10_000, %address, "simulator started");
        Ok(Self { shared, address, _stop_when_dropped: Arc::new(stop.drop_guard()) })
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.shared.scheme(), self.address)
    }

    /// The page where a person can look into it and change it.
    #[must_use]
    pub(super) fn page_url(&self) -> String {
        format!("{}/", self.url())
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

    /// Waits until the books are as wanted. They are checked after every request, every change by a
    /// test and every callback, but not when time passes: for that, move the time or query.
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

    /// Moves the simulator's clock forward. Everything happens that becomes due.
    pub fn advance(&self, by: Duration) {
        self.shared.advance(by);
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

    /// Sets what every create without a script of its own gets; `None` ends that.
    pub fn always_create(&self, script: Option<Script>) {
        self.set_always(Endpoint::Create, script);
    }

    /// Sets what every query without a script of its own gets; `None` ends that.
    pub fn always_query(&self, script: Option<Script>) {
        self.set_always(Endpoint::Query, script);
    }

    /// Sets what every token call without a script of its own gets; `None` ends that.
    pub fn always_token(&self, script: Option<Script>) {
        self.set_always(Endpoint::Token, script);
    }

    /// Queues what the next attempts to deliver callbacks about this number, or this `settle_id`,
    /// get, one each.
    pub fn script_callback(&self, out_settle_no: &str, scripts: Vec<CallbackScript>) {
        self.shared.with(|core, _| core.outbox.scripts.queue(out_settle_no, scripts));
    }

    /// Sets what every attempt to deliver a callback without a script of its own gets; `None` ends
    /// that.
    pub fn always_callback(&self, script: Option<CallbackScript>) {
        self.shared.with(|core, _| core.outbox.scripts.set_always(script));
    }

    /// Changes where an app's callbacks go. Waiting ones go to the new address too.
    pub fn set_callback_url(&self, app_id: &str, url: Option<&str>) {
        self.shared.with(|core, _| core.outbox.set_console_url(app_id, url.map(str::to_owned)));
    }

    /// The key that an app's callbacks can be verified with, as the console shows it.
    #[must_use]
    pub fn platform_public_key_pem(&self, app_id: &str) -> String {
        self.shared.locked(|core, _| core.outbox.key(app_id)).public_pem()
    }

    /// Changes what an app's callbacks are signed with from now on.
    pub fn set_platform_key(&self, app_id: &str, key: PlatformKey) {
        self.shared.with(|core, _| core.outbox.set_key(app_id, key));
    }

    /// The signature that the platform would put on these bytes, for tests that forge callbacks.
    #[must_use]
    pub fn sign(&self, app_id: &str, timestamp: &str, nonce: &str, body: &[u8]) -> String {
        let key = self.shared.locked(|core, _| core.outbox.key(app_id));
        key.sign(&signed_text(timestamp, nonce, body))
    }

    /// The signature that the platform would put into a callback of guaranteed payment.
    #[must_use]
    pub fn sign_with_token(&self, app_id: &str, timestamp: &str, nonce: &str, msg: &str) -> String {
        let token = self.shared.locked(|core, _| core.outbox.token(app_id));
        sha1_sign(&[timestamp, nonce, msg], &token)
    }

    /// Changes the public key that the console has for an app's signed requests.
    pub fn set_app_key(&self, app_id: &str, key: AppKey, key_version: &str) {
        self.shared.with(|core, _| core.set_app_key(app_id, key, key_version));
    }

    /// The body with which the platform would announce that a settle has this status, even if it
    /// has not; in guaranteed payment, before it is signed. `None`: no such settle.
    #[must_use]
    pub fn callback_body(&self, settle_id: &str, status: Status) -> Option<Bytes> {
        self.shared.locked(|core, _| core.callback_body(settle_id, status))
    }

    /// Sends a made-up callback once and returns its id. `None`: too many are under way.
    pub fn forge_callback(&self, forged: &Forged) -> Option<u64> {
        self.shared.with(|core, now_ms| core.outbox.forge(now_ms, forged))
    }

    /// Sends the very bytes of a callback again, once, and returns the id of the copy. `None`:
    /// nothing of it was sent, or it is forgotten.
    pub fn replay_callback(&self, id: u64) -> Option<u64> {
        self.shared.with(|core, now_ms| core.outbox.replay(now_ms, id))
    }

    /// Changes Douyin's undocumented habits.
    pub fn set_choices(&self, choices: Choices) {
        self.shared.with(|core, _| core.books.choices = choices);
    }

    /// Changes how many of 10 000 requests, settles, tokens and callbacks meet a fault from now on.
    pub fn set_faults_per_10_000(&self, faults_per_10_000: u32) {
        self.shared.with(|core, _| core.set_faults_per_10_000(faults_per_10_000));
    }

    /// Makes an order what a test needs, from now on; what it was before keeps its time.
    pub fn set_order(&self, app_id: &str, out_order_no: &str, order: OrderSetup) {
        self.shared.with(|core, _| core.books.set_order(app_id, out_order_no, order));
    }

    /// Puts another party's settle under a number and returns its `settle_id`.
    pub fn stranger_settle(
        &self,
        app_id: &str,
        out_settle_no: &str,
        settle: StrangerSettle,
    ) -> String {
        self.shared.with(|core, _| core.books.accept_stranger(app_id, Some(out_settle_no), settle))
    }

    /// Adds an automatic settlement. Its number is the `settle_id` that is returned.
    pub fn platform_settle(&self, app_id: &str, settle: StrangerSettle) -> String {
        self.shared.with(|core, _| core.books.accept_stranger(app_id, None, settle))
    }

    /// Ends a settle now, as if its time had come. `false`: no such settle.
    pub fn finish(&self, settle_id: &str, status: Status) -> bool {
        self.shared.with(|core, _| core.books.finish(settle_id, status))
    }

    /// Pins a settle to a status, however absurd. Nothing else follows. `false`: no such settle.
    pub fn set_status(&self, settle_id: &str, status: Status) -> bool {
        self.shared.with(|core, _| core.books.set_status(settle_id, status))
    }

    /// Another system fetches a token with the same key; returns that token. `None`: no such app,
    /// or its quota of token calls is used up.
    pub fn steal_token(&self, app_id: &str) -> Option<String> {
        self.shared.with(|core, now_ms| core.tokens.steal(now_ms, app_id, &core.books.choices))
    }

    /// Ends every token of an app now.
    pub fn expire_tokens(&self, app_id: &str) {
        self.shared.with(|core, now_ms| core.tokens.expire_all(now_ms, app_id));
    }

    /// Changes the secret of an app. Its tokens stay good.
    pub fn set_secret(&self, app_id: &str, client_secret: &str) {
        self.shared.with(|core, _| core.tokens.add_app(app_id, client_secret));
    }

    /// Its settings, for [`super::banner`].
    pub(super) fn setting(&self) -> Setting {
        self.shared.locked(|core, _| Setting {
            seed: core.seed(),
            apps: core.tokens.app_ids(),
            faults_per_10_000: core.books.weather.faults_per_10_000,
            choices: core.books.choices.clone(),
            callback_urls: core.outbox.console_urls(),
        })
    }

    fn queue(&self, endpoint: Endpoint, key: &str, scripts: Vec<Script>) {
        self.shared.with(|core, _| core.scripts.queue(endpoint, key, scripts));
    }

    fn set_always(&self, endpoint: Endpoint, script: Option<Script>) {
        self.shared.with(|core, _| core.scripts.set_always(endpoint, script));
    }
}

/// The present settings of a simulator.
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) apps: Vec<String>,
    pub(super) faults_per_10_000: u32,
    pub(super) choices: Choices,
    /// Each with its app.
    pub(super) callback_urls: Vec<(String, String)>,
}

impl Shared {
    /// What its addresses begin with.
    pub(super) fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    /// Moves the clock forward. Everything happens that becomes due.
    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.with(|core, _| core.signers.ahead_ms = self.clock.ahead_ms());
        // The same moment is sooner in real time now.
        self.something_is_due.notify_one();
    }

    /// The callbacks that must be sent now, and how long the task may then sleep. `None`: until
    /// something happens.
    pub(super) fn callbacks_due(&self, at_most: usize) -> (Vec<Delivery>, Option<Duration>) {
        let due = self.locked(|core, now_ms| {
            let deliveries = core.callbacks_due(now_ms, at_most);
            let next_at_ms = core.next_event_at_ms();
            self.waits_until_ms.store(next_at_ms.unwrap_or(u64::MAX), Ordering::Relaxed);
            let wait_ms = next_at_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
            (deliveries, wait_ms.map(Duration::from_millis))
        });
        if !due.0.is_empty() {
            self.tell_those_who_wait();
        }
        due
    }

    /// Uses the core at the present time, and wakes tasks that wait for changes.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Core, u64) -> T) -> T {
        let result = self.locked(|core, now_ms| {
            let result = action(core, now_ms);
            core.announce_news();
            let waits_until_ms = self.waits_until_ms.load(Ordering::Relaxed);
            if core.next_event_at_ms().is_some_and(|at_ms| at_ms < waits_until_ms) {
                self.something_is_due.notify_one();
            }
            result
        });
        self.tell_those_who_wait();
        result
    }

    fn tell_those_who_wait(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// So that a look does not wake the task that looks.
    fn look(&self) -> Snapshot {
        self.locked(|core, _| core.snapshot())
    }

    /// As [`Shared::with`], without waking any task: for what changes nothing.
    pub(super) fn locked<T>(&self, action: impl FnOnce(&mut Core, u64) -> T) -> T {
        let now_ms = self.clock.now_ms();
        // After a panic elsewhere the books stay readable for the test that reports it.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.advance(now_ms);
        action(&mut core, now_ms)
    }
}
