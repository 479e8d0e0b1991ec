//! The gateway without its sockets: what is built on a store, and in which order it ends. The
//! server puts listeners around it; a simulation uses it as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apps::{Apps, Portion, Twice};
use crate::callers::Callers;
use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::douyin::{self, Client, ClientConfig, Transport};
use crate::gateway::{Gateway, Poller};
use crate::grpc::Service;
use crate::grpc::audit::Admission;
use crate::http::callbacks::Callbacks;
use crate::log_limit::error;
use crate::store::{
    OpenError, Postgres, PostgresError, PostgresOptions, Sqlite, SqliteOptions, Store,
};
use crate::tasks::{Essentials, Tasks};
use crate::telemetry::audit::AuditLog;

/// Everything between the listeners and the store. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Core {
    pub apps: Apps,
    pub callers: Callers,
    pub gateway: Gateway,
    pub service: Service,
    pub callbacks: Callbacks,
    pub(crate) douyin: Client,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// The essential tasks, those of the listeners included.
    pub(crate) essentials: Essentials,
    /// Where the audit is written, if anywhere.
    pub(crate) audit: Option<AuditLog>,
    poller: Poller,
    /// Cancelled when nothing more is to be claimed.
    polling: CancellationToken,
}

/// Why the core cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot open the store: {0}")]
    Store(#[from] OpenError),
    #[error("cannot open the store: {0}")]
    Postgres(#[from] PostgresError),
    #[error("cannot build the client of Douyin: {0}")]
    Douyin(#[from] douyin::BuildError),
    #[error("cannot write the audit: {0}")]
    Audit(std::io::Error),
    #[error(transparent)]
    Apps(#[from] Twice),
}

/// How long closing the database may take. If its disk hangs, it is left as after a kill.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

impl Core {
    /// Opens the store and builds everything on it. Nothing is driven yet.
    pub(crate) async fn open(config: Config, clock: Clock) -> Result<Self, BuildError> {
        let store = match config.database() {
            Database::Sqlite(options) => {
                let options = SqliteOptions { clock: clock.clone(), ..options };
                Store::Sqlite(Arc::new(Sqlite::open(options)?))
            }
            Database::Postgres(options) => {
                let options = PostgresOptions { clock: clock.clone(), ..*options };
                Store::Postgres(Arc::new(Box::pin(Postgres::open(options)).await?))
            }
        };
        Self::build(config, store, None, clock)
    }

    /// Builds everything on an open store. `transport`: `None` means HTTP to Douyin.
    pub fn build(
        config: Config,
        store: Store,
        transport: Option<Transport>,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let runner = config.gateway.runner.clone();
        let (essentials, streams) = (Essentials::new(runner.clone()), Tasks::new(runner));
        let douyin = ClientConfig { seed: config.gateway.seed, ..config.douyin };
        let douyin = Client::new(douyin, transport, store.clone(), clock.clone())?;
        let portion = match store.has_one_process() {
            true => Portion::whole(clock.clone()),
            false => Portion::nothing(clock.clone()),
        };
        let apps = Apps::new(config.apps, config.gateway.creates_max, portion, &douyin)?;
        let gateway = Gateway::new(
            config.gateway,
            apps.clone(),
            store.clone(),
            douyin.clone(),
            clock.clone(),
        );
        let callers = Callers::new(config.callers);
        let audit = AuditLog::open(&config.audit_to, clock.clone()).map_err(BuildError::Audit)?;
        let admission = Admission {
            callers: callers.clone(),
            audit: audit.as_ref().map(AuditLog::audit).unwrap_or_default(),
        };
        let service = Service::new(gateway.clone(), apps.clone(), admission, config.grpc, streams);
        let other_types = config.callback.other_types;
        let callbacks = Callbacks::new(gateway.clone(), apps.clone(), other_types);
        let poller = Poller::new(gateway.clone(), config.poller);
        let polling = CancellationToken::new();
        Ok(Self {
            apps,
            callers,
            gateway,
            service,
            callbacks,
            douyin,
            store,
            clock,
            essentials,
            audit,
            poller,
            polling,
        })
    }

    /// Begins to drive what is due.
    pub fn drive(&self) {
        let (poller, polling) = (self.poller.clone(), self.polling.clone());
        self.essentials.spawn("poller", &self.polling, async move { poller.run(polling).await });
        if !self.store.has_one_process() {
            let (gateway, polling) = (self.gateway.clone(), self.polling.clone());
            let touch = async move { gateway.keep_in_touch(polling).await };
            self.essentials.spawn("the look at other replicas", &self.polling, touch);
            let (gateway, polling) = (self.gateway.clone(), self.polling.clone());
            let hints = async move { gateway.share_hints(polling).await };
            self.essentials.spawn("hints of other replicas", &self.polling, hints);
        }
        let (store, polling) = (self.store.clone(), self.polling.clone());
        self.essentials.spawn("the store's writer", &self.polling, async move {
            polling.run_until_cancelled(store.writer_ended()).await;
        });
    }

    /// The stop begins: watches end, new creates are refused.
    pub fn drain(&self) {
        self.gateway.drain();
    }

    /// Waits until every stream and every create in flight is answered. Then nothing more is
    /// claimed, and the poller's turns end.
    pub async fn finish(&self) {
        self.service.streams_ended().await;
        self.gateway.finish().await;
        self.polling.cancel();
    }

    /// Waits until the last task has ended.
    pub(crate) async fn ended(&self) {
        self.essentials.all_ended().await;
    }

    /// Closes the store, even with work in flight.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSE_TIME_MAX, self.store.close()).await.is_err() {
            let path = self.store.path().display();
            error!(%path, "the database was not closed in time: the next start recovers its log");
        }
    }
}
