//! What `grpc.health.v1` and `/readyz` say, and what it is read from. It must not know who asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{error, info, warn};

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::store::Store;

/// A machine's clock that is further away from ours than this was set by somebody.
const CLOCK_MOVED_MS_MAX: i64 = 60_000;
/// How often the health of the store is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const SERVICE_NAME: &str = "douyin.settlement.v1.SettlementService";

/// What `grpc.health.v1` says: serving while the store can commit and nobody stops us.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// The same for `/readyz`.
    readiness: Readiness,
    store: Store,
    clock: Clock,
    /// Set by the stop, which nothing reverts. Guards every report, so that the last one wins.
    stopping: Arc<Mutex<bool>>,
}

impl Health {
    pub fn new(store: &Store, clock: &Clock) -> Self {
        let stopping = Arc::default();
        let (reporter, store, clock) = (HealthReporter::new(), store.clone(), clock.clone());
        Self { reporter, readiness: Readiness::default(), store, clock, stopping }
    }

    pub fn service(&self) -> HealthServer<HealthService> {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        HealthServer::new(service).accept_compressed(Gzip)
    }

    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    pub async fn report(&self, status: ServingStatus) {
        self.readiness.set(status == ServingStatus::Serving);
        self.reporter.set_service_status("", status).await;
        self.reporter.set_service_status(SERVICE_NAME, status).await;
    }

    pub async fn watch_store(self, stop: CancellationToken) {
        let mut served = None;
        loop {
            let ping = self.store.ping().await;
            let status = match ping {
                Ok(()) => ServingStatus::Serving,
                Err(_) => ServingStatus::NotServing,
            };
            let stopping = self.stopping.lock().await;
            if *stopping {
                return;
            }
            if served != Some(status) {
                self.report(status).await;
                match ping {
                    Ok(()) => info!("the store can commit"),
                    Err(error) => error!(%error, "not serving: the store cannot commit"),
                }
            }
            served = Some(status);
            drop(stopping);
            self.watch_clock();
            tokio::select! {
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// A clock that somebody set takes effect at the next start only; whoever did it should know.
    fn watch_clock(&self) {
        let moved_ms = self.clock.machine_moved_ms();
        if moved_ms.abs() > CLOCK_MOVED_MS_MAX {
            warn!(moved_ms, "the machine's clock was set: it counts from the next start on");
        }
    }

    pub async fn stop(&self) {
        let mut stopping = self.stopping.lock().await;
        *stopping = true;
        self.report(ServingStatus::NotServing).await;
    }

    /// A health watch ends only when its service is forgotten; a server waits for every stream.
    pub async fn end_watches(&self) {
        let mut reporter = self.reporter.clone();
        reporter.clear_service_status("").await;
        reporter.clear_service_status(SERVICE_NAME).await;
    }
}
