//! What `grpc.health.v1` and `/readyz` answer, and the checks behind it: that a write becomes
//! durable, in time, and in the file that the next start opens; and that calls find a place. Each
//! app has a health of its own, so that one bad secret takes no replica out. It must not know who
//! asks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{info, warn};

use crate::apps::{App, Apps};
use crate::clock::Clock;
use crate::http::admin::Readiness;
use crate::log_limit::error;
use crate::proto::v1::{operator_service_server, settlement_service_server};
use crate::store::{self, Store};

/// If the machine's clock is further from ours than this, a person or a program has set it.
const CLOCK_MOVED_MS_MAX: i64 = 60_000;
/// How often the health of the store is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// If nothing becomes durable for longer while a write waits, the disk hangs.
const PROOF_TIME_MAX: Duration = Duration::from_secs(3);
/// What can be asked for by name: the process as a whole, and each service of the contract. All
/// serve or none.
const SERVICES: [&str; 3] =
    ["", settlement_service_server::SERVICE_NAME, operator_service_server::SERVICE_NAME];

/// What `grpc.health.v1` answers: serving while the store can commit, calls find a place and no
/// stop has begun.
#[derive(Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    /// The same for `/readyz`.
    readiness: Readiness,
    store: Store,
    clock: Clock,
    apps: Apps,
    answers: Answers,
    /// Set by the stop, and never reset. It guards every report, so that the stop's is the last.
    stopping: Arc<Mutex<bool>>,
}

/// Whether a call that comes now finds a place.
pub(crate) type Answers = Arc<dyn Fn() -> bool + Send + Sync>;

impl Health {
    pub(crate) fn new(store: &Store, clock: &Clock, apps: &Apps, answers: Answers) -> Self {
        let (stopping, apps) = (Arc::default(), apps.clone());
        let (reporter, store, clock) = (HealthReporter::new(), store.clone(), clock.clone());
        Self { reporter, readiness: Readiness::default(), store, clock, apps, answers, stopping }
    }

    pub(crate) fn service(&self) -> HealthServer<HealthService> {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        HealthServer::new(service).accept_compressed(Gzip)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    pub(crate) async fn report(&self, status: ServingStatus) {
        self.readiness.set(status == ServingStatus::Serving);
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
        for app in self.apps.iter() {
            self.report_app(app, status).await;
        }
    }

    /// The health of an app has its id for a name.
    async fn report_app(&self, app: &App, whole: ServingStatus) {
        let status = if app.access.is_locked_out() { ServingStatus::NotServing } else { whole };
        self.reporter.set_service_status(app.id().as_str(), status).await;
    }

    /// Reports what the checks find, until `stop`. One check runs at a time. If a disk hangs, its
    /// check waits, and as soon as it is done the gateway serves again.
    pub(crate) async fn watch_store(self, stop: CancellationToken) {
        let (mut served, mut proof, mut is_full) = (None, self.proof(), false);
        loop {
            let commits = self.store.commits();
            let proven = tokio::select! {
                proven = tokio::time::timeout(PROOF_TIME_MAX, &mut proof) => proven,
                () = stop.cancelled() => return,
            };
            let hangs = proven.is_err();
            if hangs && self.store.commits() != commits {
                // The check waits behind other writes.
                continue;
            }
            // Twice in a row, because a moment without a free place is no fault.
            let was_full = std::mem::replace(&mut is_full, !(self.answers)());
            let proven = match proven {
                Ok(Ok(())) if was_full && is_full => Err(Unfit::Full),
                Ok(proven) => proven.map_err(|error| Unfit::Store(error.to_string())),
                Err(_) => Err(Unfit::Store(self.hanging())),
            };
            if !self.told(&mut served, proven).await {
                return;
            }
            if hangs {
                continue;
            }
            proof = self.proof();
            self.watch_clock();
            tokio::select! {
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn proof(&self) -> Pin<Box<dyn Future<Output = Result<(), store::Error>> + Send>> {
        let store = self.store.clone();
        Box::pin(async move { store.ping().await })
    }

    fn hanging(&self) -> String {
        let (path, cause) = (self.store.path().display(), self.store.why_it_may_hang());
        format!("nothing became durable in {path} for {PROOF_TIME_MAX:?}: {cause}")
    }

    /// Reports a result if it is news; `false`: the stop has begun.
    async fn told(&self, served: &mut Option<ServingStatus>, proven: Result<(), Unfit>) -> bool {
        let stopping = self.stopping.lock().await;
        if *stopping {
            return false;
        }
        let status = match proven {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        if served.replace(status) != Some(status) {
            self.report(status).await;
            match proven {
                Ok(()) => info!("the store can commit"),
                Err(Unfit::Store(error)) => error!(%error, "not serving: the store cannot commit"),
                Err(Unfit::Full) => error!("not serving: every place for a call is taken"),
            }
        } else {
            for app in self.apps.iter() {
                self.report_app(app, status).await;
            }
        }
        true
    }

    /// Warns if the machine's clock was set: the gateway follows it only after the next start.
    fn watch_clock(&self) {
        let moved_ms = self.clock.machine_moved_ms();
        if moved_ms.abs() > CLOCK_MOVED_MS_MAX {
            warn!(
                moved_ms,
                "the machine's clock was set: the gateway follows it from its next start on"
            );
        }
    }

    pub(crate) async fn stop(&self) {
        let mut stopping = self.stopping.lock().await;
        *stopping = true;
        self.report(ServingStatus::NotServing).await;
    }

    /// A health watch ends only if its service is unknown, and a server waits for every stream.
    pub(crate) async fn end_watches(&self) {
        let mut reporter = self.reporter.clone();
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
        for app in self.apps.iter() {
            reporter.clear_service_status(app.id().as_str()).await;
        }
    }
}

/// Why the gateway cannot serve.
enum Unfit {
    Store(String),
    /// No call finds a place.
    Full,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::Timestamp;
    use crate::store::{Sqlite, SqliteOptions};

    /// Waits on the runtime's time, which the test controls.
    async fn becomes(readiness: &Readiness, ready: bool, within: Duration) {
        let reached = async {
            while readiness.is_ready() != ready {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(within, reached).await;
        reached.unwrap_or_else(|_| panic!("it is not {ready} within {within:?}"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_not_serving_and_a_long_queue_is_no_such_disk() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::runtime(Timestamp::from_ms(1_700_000_000_000));
        let options = SqliteOptions {
            clock: clock.clone(),
            batch_jobs_max: 1,
            ..SqliteOptions::new(directory.path().join("settlement.db")).creating()
        };
        let (sqlite, mut committer) = Sqlite::open_stepped(&options).unwrap();
        let store = Store::Sqlite(Arc::new(sqlite));
        let has_room = Arc::new(AtomicBool::new(true));
        let room = Arc::clone(&has_room);
        let answers = Arc::new(move || room.load(Ordering::Relaxed));
        let health = Health::new(&store, &clock, &Apps::default(), answers);
        let (readiness, stop) = (health.readiness(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(health.watch_store(stop.clone()));
        tokio::task::yield_now().await;
        assert_eq!(committer.commit_queued(), 1);
        becomes(&readiness, true, Duration::from_secs(1)).await;

        // Ten writes wait before the next check, and each takes two seconds.
        for _ in 0..10 {
            let store = store.clone();
            tasks.spawn(async move { store.ping().await.unwrap() });
        }
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(readiness.is_ready());
            assert_eq!(committer.commit_queued(), 1);
        }
        // The next write is the check, and it does not finish. It stays the only one.
        becomes(&readiness, false, Duration::from_secs(6)).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(!readiness.is_ready());
        assert_eq!(committer.queued(), 1);
        assert_eq!(committer.commit_queued(), 1);
        becomes(&readiness, true, Duration::from_secs(1)).await;

        // Every place for a call is taken, twice in a row.
        has_room.store(false, Ordering::Relaxed);
        for ready in [true, false] {
            tokio::time::sleep(HEALTH_INTERVAL + Duration::from_millis(100)).await;
            assert_eq!(committer.commit_queued(), 1);
            becomes(&readiness, ready, Duration::from_millis(100)).await;
        }
        has_room.store(true, Ordering::Relaxed);
        tokio::time::sleep(HEALTH_INTERVAL + Duration::from_millis(100)).await;
        assert_eq!(committer.commit_queued(), 1);
        becomes(&readiness, true, Duration::from_secs(1)).await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
