//! Wiring and lifecycle: what is built from what, and in which order it ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tracing::{error, info, warn};

use crate::admin::{self, Admin, Hosts};
use crate::callback::Callbacks;
use crate::clock::{Clock, duration_ms};
use crate::config::{Config, StopConfig};
use crate::douyin::{self, Client};
use crate::gateway::Gateway;
use crate::grpc::{Service, server};
use crate::health::Health;
use crate::listener::{self, Limits};
use crate::log_limit;
use crate::poller::Poller;
use crate::store::{OpenError, Sqlite, SqliteOptions, Store};
use crate::supervise::Essentials;
use crate::telemetry;

/// The gateway, built and bound, not yet serving.
pub struct App {
    grpc: TcpListener,
    /// `None`: no app has a platform public key, so every callback would be refused.
    callback: Option<TcpListener>,
    admin: TcpListener,
    addrs: Addrs,
    gateway: Gateway,
    service: Service,
    callbacks: Callbacks,
    poller: Poller,
    store: Store,
    tls: Option<TlsAcceptor>,
    callback_limits: Limits,
    admin_hosts: Hosts,
    stop: StopConfig,
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub struct Addrs {
    pub grpc: SocketAddr,
    pub callback: Option<SocketAddr>,
    pub admin: SocketAddr,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot listen on {addr}: {cause}")]
    Bind { addr: SocketAddr, cause: std::io::Error },
    #[error("cannot open the store: {0}")]
    Store(#[from] OpenError),
    #[error("cannot build the client of Douyin: {0}")]
    Douyin(#[from] douyin::BuildError),
}

/// How the gateway ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Everything in flight was finished.
    Gracefully,
    /// The grace period ended first; what was in flight is durable and goes on after a restart.
    Hard,
    /// A task without which the gateway cannot run had ended, a bug.
    Broken { task: &'static str },
}

/// How long a stopping server may take to write its last answers.
const LINGER: Duration = Duration::from_secs(2);
/// How long closing the database may take: one whose disk hangs is left as after a kill.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

impl App {
    /// Binds, opens and wires everything; nothing is served or driven yet.
    pub async fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        let (grpc, grpc_addr) = bind(config.grpc_addr).await?;
        let callback = match config.callback.keys.is_empty() {
            true => None,
            false => Some(bind(config.callback.addr).await?),
        };
        let (callback, callback_addr) = callback.unzip();
        let (admin, admin_addr) = bind(config.admin_addr).await?;
        let addrs = Addrs { grpc: grpc_addr, callback: callback_addr, admin: admin_addr };
        let sqlite = Sqlite::open(SqliteOptions { clock: clock.clone(), ..config.sqlite })?;
        let store = Store::Sqlite(std::sync::Arc::new(sqlite));
        let douyin = Client::new(config.douyin, config.apps, None, store.clone(), clock.clone())?;
        let gateway = Gateway::new(config.gateway, store.clone(), douyin, clock);
        let service = Service::new(gateway.clone(), config.grpc);
        let callbacks = Callbacks::new(gateway.clone(), config.callback.keys);
        let poller = Poller::new(gateway.clone(), config.poller);
        Ok(Self {
            grpc,
            callback,
            admin,
            addrs,
            gateway,
            service,
            callbacks,
            poller,
            store,
            tls: config.callback.tls.map(|tls| TlsAcceptor::from(tls.0)),
            callback_limits: config.callback.limits,
            admin_hosts: config.admin_hosts,
            stop: config.stop,
        })
    }

    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Serves and drives until `stop`, or until a part that it cannot do without ends by itself.
    /// Then ends in order: say so, wait for balancers, end the streams, finish what is in flight,
    /// take in the last callbacks, close the store.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Stopped {
        // Before anything counts.
        let metrics = telemetry::metrics();
        let health = Health::new(&self.store, self.gateway.clock());
        // Known from the first request on; serving once the store has shown that it can commit.
        health.report(ServingStatus::NotServing).await;
        let (draining, polling) = (CancellationToken::new(), CancellationToken::new());
        let edges = CancellationToken::new();
        let tasks = TaskTracker::new();
        let essentials = Essentials::new(tasks.clone(), self.gateway.config().runner.clone());
        let poller = self.poller;
        let poll = polling.clone();
        essentials.spawn("poller", &polling, async move { poller.run(poll).await });
        let (store, poll) = (self.store.clone(), polling.clone());
        essentials.spawn("the store's writer", &polling, async move {
            poll.run_until_cancelled(store.writer_ended()).await;
        });
        let stopping = CancellationToken::new();
        essentials.spawn("health", &stopping, health.clone().watch_store(draining.clone()));
        if let Some(listener) = self.callback {
            let (tls, limits) = (self.tls, self.callback_limits);
            let serve = listener::serve(listener, tls, limits, self.callbacks, edges.clone());
            essentials.spawn("callback listener", &edges, serve);
        }
        let admin = Admin {
            gateway: self.gateway.clone(),
            metrics,
            readiness: health.readiness(),
            hosts: self.admin_hosts,
        };
        let serve_admin = listener::serve(self.admin, None, admin::limits(), admin, edges.clone());
        essentials.spawn("admin listener", &edges, serve_admin);
        let service = self.service.clone();
        let server = server::serve(self.grpc, service, health.service(), draining.clone());
        let cut = CancellationToken::new();
        let cut_off = cut.clone();
        let mut server = essentials.spawn("gRPC server", &draining, async move {
            tokio::select! {
                () = server => {}
                () = cut_off.cancelled() => {}
            }
        });
        let Addrs { grpc, callback, admin } = self.addrs;
        info!(%grpc, callback = callback.map(tracing::field::display), %admin, "serving");

        tokio::select! {
            () = stop => {}
            () = essentials.ended() => {}
        }
        info!(delay_ms = duration_ms(self.stop.drain_delay), "stopping: not serving any more");
        stopping.cancel();
        health.stop().await;
        tokio::time::sleep(self.stop.drain_delay).await;
        self.gateway.drain();
        draining.cancel();
        health.end_watches().await;
        let in_flight = async {
            self.service.streams_ended().await;
            self.gateway.finish().await;
            edges.cancel();
            polling.cancel();
            // Everything of ours is answered. A stream of somebody else's (reflection, a request
            // whose body never ends) is not waited for.
            let _ = tokio::time::timeout(LINGER, &mut server).await;
            cut.cancel();
            tasks.close();
            tasks.wait().await;
        };
        let finished = tokio::time::timeout(self.stop.grace, in_flight).await;
        let stopped = match (essentials.first_ended(), finished) {
            (Some(task), _) => Stopped::Broken { task },
            (None, Ok(())) => Stopped::Gracefully,
            (None, Err(_)) => Stopped::Hard,
        };
        let closed = tokio::time::timeout(CLOSE_TIME_MAX, self.store.close()).await;
        if closed.is_err() {
            let path = self.store.path().display();
            error!(%path, "the database was not closed in time: the next start recovers its log");
        }
        log_limit::sum_up();
        match stopped {
            Stopped::Gracefully => info!("stopped gracefully"),
            Stopped::Hard => warn!("stopped hard: the grace period ended with work in flight"),
            Stopped::Broken { task } => error!(task, "stopped broken: please report this"),
        }
        stopped
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let bind = |cause| BuildError::Bind { addr, cause };
    let listener = TcpListener::bind(addr).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    Ok((listener, addr))
}
