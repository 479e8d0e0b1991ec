//! Floor 2: the one place where a settle is driven and watched.
//!
//! Everything learned about a settle enters through `Gateway::observe`; every watcher leaves
//! through `Gateway::watch`. `create` records and submits, `poll` claims what is due, `turn` is
//! one worker (a create or the poller) with the lease of one settle, `query` asks Douyin on request
//! and adopts settles that were made elsewhere, `callback` records what Douyin tells by itself,
//! `fleet` keeps in touch with the other processes on the store, `hints` tells them of changes and
//! hears of theirs, `elsewhere` waits for their workers, `decide` records what an operator decides,
//! `stuck` says which settles do not come to their end, `show` all that is known of one.
//!
//! What it must not know: gRPC, HTTP, SQL.

mod alarm;
mod callback;
mod create;
mod decide;
mod elsewhere;
mod fleet;
mod hints;
mod hub;
mod in_flight;
mod observe;
mod poll;
mod query;
mod show;
mod stuck;
mod turn;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apps::Apps;
use crate::clock::{Clock, Timestamp};
use crate::douyin::Client;
use crate::settle::{
    AppId, FirstSeen, HistoryEntry, Key, Mark, PermissionId, Policy, ProcessId, Record, Schedule,
    SettleId, TradeSystem, Watched,
};
use crate::store::{self, ListQuery, Listed, Store};
use crate::tasks::{Runner, Tasks};

pub use callback::{Callback, HearError};
pub use create::{Create, CreateError, Created, NotSent, OnRecord, Recorded, ReturnWhen, Unknown};
pub use decide::{Decided, EndError, IfUnanswered, ResolveError, Stopping, Word};
pub use poll::{Poller, PollerConfig};
pub use query::{QueryError, Question};
pub use show::Shown;
pub use stuck::{StuckReport, StuckSettle};
pub use watch::{Ending, Event, Watch, WatchRequest};

use alarm::Alarm;
use fleet::Membership;
use hints::Untold;
use hub::Hub;
use in_flight::InFlight;
use query::Lookups;
use stuck::StuckBook;

/// The gateway; cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    config: GatewayConfig,
    apps: Apps,
    store: Store,
    douyin: Client,
    clock: Clock,
    /// When this gateway began to work.
    started: Timestamp,
    /// When this process first saw the permissions that other processes gave.
    first_seen: Mutex<FirstSeen>,
    process: ProcessId,
    /// The permissions that this process gave.
    permissions: AtomicU64,
    /// What this process knows of the others on its store.
    fleet: Membership,
    hub: Hub,
    /// What the others are to be told of.
    untold: Untold,
    in_flight: InFlight,
    lookups: Lookups,
    stuck: StuckBook,
    /// Owns every turn. The stop waits for them.
    turns: Tasks,
    /// Cancelled when the gateway stops: watches end, new creates are refused.
    drain: CancellationToken,
    /// Wakes the poller.
    alarm: Alarm,
    chance: Mutex<fastrand::Rng>,
}

/// The knobs of floor 2.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    pub policy: Policy,
    pub schedule: Schedule,
    pub mark: Mark,
    /// The longest submission window, and the one of a create that names none.
    pub submit_window_max: Duration,
    /// How long a lease outlives the moment it was taken or extended.
    pub lease: Duration,
    /// Creates of one app being recorded or submitted at once; more are told to come back.
    pub creates_max: usize,
    /// How long the answer "Douyin knows no such settle" is believed.
    pub absent_ttl: Duration,
    /// A watched settle is read again at least this often, hint or no hint.
    pub resync: Duration,
    /// How often all watched settles are compared with a store where other processes change them.
    pub shared_resync: Duration,
    /// The longest life of one watch stream, ± 10 %.
    pub watch_age_max: Duration,
    /// How long a create waits for its app's budget before it is turned away.
    pub budget_wait: Duration,
    /// The least time between two attempts that repeated creates bring forward.
    pub nudge_gap: Duration,
    /// How often this process looks at the other ones on its store.
    pub look_interval: Duration,
    /// Seed of every random choice, the name of this process among them: no two processes that work
    /// on one store may have the same.
    pub seed: u64,
    /// What every task of this process runs in.
    pub runner: Runner,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            schedule: Schedule::default(),
            mark: Mark::On,
            submit_window_max: Duration::from_secs(72 * 3600),
            lease: Duration::from_secs(30),
            creates_max: 1024,
            absent_ttl: Duration::from_secs(5),
            resync: Duration::from_secs(10),
            shared_resync: Duration::from_secs(1),
            watch_age_max: Duration::from_secs(1800),
            budget_wait: Duration::from_secs(2),
            nudge_gap: Duration::from_secs(2),
            look_interval: Duration::from_millis(400),
            seed: 0,
            runner: Runner::Runtime,
        }
    }
}

/// Names a recorded settle by either number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    Key(Key),
    SettleId(AppId, TradeSystem, SettleId),
}

impl Name {
    pub fn trade_system(&self) -> TradeSystem {
        match self {
            Name::Key(key) => key.trade_system,
            Name::SettleId(_, trade_system, _) => *trade_system,
        }
    }
}

impl Gateway {
    pub(crate) fn new(
        config: GatewayConfig,
        apps: Apps,
        store: Store,
        douyin: Client,
        clock: Clock,
    ) -> Self {
        let (seed, turns) = (config.seed, Tasks::new(config.runner.clone()));
        let mut chance = fastrand::Rng::with_seed(seed);
        let process = ProcessId(chance.u64(..));
        let started = clock.now();
        let is_alone = store.has_one_process();
        let alone_since = is_alone.then_some(started);
        fleet::begin_metrics();
        observe::begin_metrics(&apps);
        stuck::begin_metrics(&apps);
        let fleet = if is_alone { Membership::alone() } else { Membership::of_several() };
        Self(Arc::new(Inner {
            config,
            apps,
            store,
            douyin,
            started,
            first_seen: Mutex::new(FirstSeen::new(process, alone_since, FIRST_SEEN_MAX)),
            process,
            permissions: AtomicU64::new(0),
            clock,
            fleet,
            hub: Hub::default(),
            untold: Untold::default(),
            in_flight: InFlight::default(),
            lookups: Lookups::default(),
            stuck: StuckBook::default(),
            turns,
            drain: CancellationToken::new(),
            alarm: Alarm::default(),
            chance: Mutex::new(chance),
        }))
    }

    /// One recorded settle.
    pub async fn get(&self, name: &Name) -> Result<Option<Record>, store::Error> {
        match name {
            Name::Key(key) => self.0.store.get(key).await,
            Name::SettleId(app_id, trade_system, settle_id) => {
                self.0.store.get_by_settle_id(app_id, *trade_system, settle_id).await
            }
        }
    }

    /// A page of the recorded settles of an app.
    pub(crate) async fn list(&self, query: &ListQuery) -> Result<Listed, store::Error> {
        self.0.store.list(query).await
    }

    /// The audit trail of one settle, oldest first.
    pub async fn history(&self, key: &Key) -> Result<Vec<HistoryEntry>, store::Error> {
        self.0.store.history(key, HISTORY_ENTRIES_MAX).await
    }

    /// Ends every watch and refuses new creates; what is in flight goes on.
    pub(crate) fn drain(&self) {
        self.0.drain.cancel();
    }

    /// Cancelled once the gateway drains.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.0.drain
    }

    /// Waits for every turn in flight. Call after [`Gateway::drain`] and after the poller stopped.
    pub(crate) async fn finish(&self) {
        self.0.turns.ended().await;
    }

    fn wait(&self, key: &Key, backoff: u32) -> Duration {
        self.0.config.schedule.wait(backoff, self.watched(key), self.chance())
    }

    fn watched(&self, key: &Key) -> Watched {
        if self.0.hub.is_watched(key) { Watched::Yes } else { Watched::No }
    }

    /// How much later a watcher comes back that lost its watch together with many others.
    pub(crate) fn spread(&self) -> Duration {
        SPREAD_MAX.mul_f64(self.chance())
    }

    /// A number in 0..1 from the seed.
    fn chance(&self) -> f64 {
        self.0.chance.lock().expect("no code panics while holding this lock").f64()
    }
}

impl Inner {
    fn next_permission(&self) -> PermissionId {
        let number = self.permissions.fetch_add(1, Ordering::Relaxed);
        PermissionId { process: self.process, number }
    }
}

/// How many settles have their last permission, given by another process, remembered with the
/// moment it was seen: some 200 bytes each. About those beyond it time proves nothing until there
/// is room.
const FIRST_SEEN_MAX: usize = 100_000;
/// A bound on an audit trail that grows only when something is news.
const HISTORY_ENTRIES_MAX: u32 = 1_000;
/// Twenty thousand watchers that come back within this cost some thousand reads per second.
const SPREAD_MAX: Duration = Duration::from_secs(4);
