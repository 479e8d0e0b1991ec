//! The process: the core with the listeners around it, and in which order all of it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tracing::{info, warn};

use crate::callers::Callers;
use crate::clock::{Clock, duration_ms};
use crate::config::{Config, ListenerTls, StopConfig};
use crate::core::{self, Core};
use crate::grpc::server;
use crate::http::admin::{self, Admin, Hosts};
use crate::http::health::Health;
use crate::http::listener::{self, Limits};
use crate::http::sidecar::{self, SocketFile};
use crate::http::tls::Tls;
use crate::log_limit::{self, error};
use crate::metrics::{
    AUDIT_DROPPED, BUILD, LOG_DROPPED, LOG_ERRORS, LOG_HELD_BACK, PROCESS_START, REHEARSAL, RELOADS,
};
use crate::reload::Parts;
use crate::store;
use crate::telemetry::audit::AuditLog;

/// The gateway, built and bound, not yet serving.
pub struct Server {
    core: Core,
    grpc: TcpListener,
    /// `None`: no app has a platform public key, so every callback would be refused.
    callback: Option<TcpListener>,
    admin: TcpListener,
    sidecar: Option<(UnixListener, SocketFile)>,
    addrs: Addrs,
    grpc_tls: Option<Tls>,
    callback_tls: Option<Tls>,
    admin_tls: Option<Tls>,
    callback_limits: Limits,
    admin_hosts: Hosts,
    rehearsal: bool,
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
    #[error("cannot listen on the socket {path}: {cause}")]
    Socket { path: String, cause: std::io::Error },
    #[error(transparent)]
    Core(#[from] core::BuildError),
}

/// How the gateway ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// Everything in flight was finished.
    Gracefully,
    /// The grace period ended first. What was in flight is durable and goes on after a restart.
    Hard,
    /// An essential task had ended, which is a bug.
    Broken { task: &'static str },
}

/// How long a stopping server may take to write its last answers.
const LINGER: Duration = Duration::from_secs(2);

impl Server {
    /// Binds, opens and connects everything. Nothing is served or driven yet.
    pub async fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        let (grpc, grpc_addr) = bind(config.grpc_addr).await?;
        let callback = match config.takes_callbacks() {
            true => Some(bind(config.callback.addr).await?),
            false => None,
        };
        let (callback, callback_addr) = callback.unzip();
        let (admin, admin_addr) = bind(config.admin_addr).await?;
        let sidecar = config.sidecar_socket.as_deref().map(socket).transpose()?;
        Ok(Self {
            grpc,
            callback,
            admin,
            sidecar,
            addrs: Addrs { grpc: grpc_addr, callback: callback_addr, admin: admin_addr },
            grpc_tls: tls(&config.grpc_tls),
            callback_tls: tls(&config.callback.tls),
            admin_tls: tls(&config.admin_tls),
            callback_limits: config.callback.limits.clone(),
            admin_hosts: config.admin_hosts.clone(),
            rehearsal: config.rehearsal,
            stop: config.stop.clone(),
            core: Box::pin(Core::open(config, clock)).await?,
        })
    }

    pub fn addrs(&self) -> Addrs {
        self.addrs
    }

    /// Who may call; replaced while the gateway serves.
    pub fn callers(&self) -> Callers {
        self.core.callers.clone()
    }

    /// What can be replaced while it serves.
    pub fn parts(&self) -> Parts {
        Parts {
            apps: self.core.apps.clone(),
            callers: self.core.callers.clone(),
            douyin: self.core.douyin.clone(),
            grpc_tls: self.grpc_tls.clone(),
            callback_tls: self.callback_tls.clone(),
            admin_tls: self.admin_tls.clone(),
            takes_callbacks: self.callback.is_some(),
        }
    }

    /// Settles that are not at their end.
    pub async fn open_settles(&self) -> Result<u64, store::Error> {
        let by_app = self.core.store.open_settles().await?;
        Ok(by_app.into_iter().map(|(_, settles)| settles).sum())
    }

    /// Serves and drives until `stop`, or until an essential task ends by itself. Then ends in
    /// order: say so, wait for balancers, end the streams, finish what is in flight, take the last
    /// callbacks, close the store.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Stopped {
        let core = self.core;
        begin_metrics(&core.clock, self.rehearsal);
        let essentials = core.essentials.clone();
        let service = core.service.clone();
        let answers = Arc::new(move || service.has_room());
        let health = Health::new(&core.store, &core.clock, &core.apps, answers);
        // Known from the first request on, and serving once the store has shown that it can commit.
        health.report(ServingStatus::NotServing).await;
        core.drive();
        let (draining, edges) = (CancellationToken::new(), CancellationToken::new());
        let stopping = CancellationToken::new();
        essentials.spawn("health", &stopping, health.clone().watch_store(draining.clone()));
        if let Some(listener) = self.callback {
            let (limits, callbacks) = (self.callback_limits, core.callbacks.clone());
            let serve =
                listener::serve(listener, self.callback_tls, limits, callbacks, edges.clone());
            essentials.spawn("callback listener", &edges, serve);
        }
        if let Some(log) = core.audit.clone() {
            let stop = edges.clone();
            essentials.spawn("audit", &edges, async move {
                stop.run_until_cancelled(tend(log)).await;
            });
        }
        let (apps, readiness) = (core.apps.clone(), health.readiness());
        let (hosts, page) = (self.admin_hosts, admin::Page::default());
        let admin = Admin { apps, readiness, hosts, page };
        let limits = admin::limits();
        let serve_admin = listener::serve(self.admin, self.admin_tls, limits, admin, edges.clone());
        essentials.spawn("admin listener", &edges, serve_admin);
        let service = core.service.clone();
        let (tls, health_service) = (self.grpc_tls, health.service());
        // Its file stays until everything has ended.
        let (sidecar, _socket) = self.sidecar.unzip();
        let server =
            server::serve(self.grpc, sidecar, tls, service, health_service, draining.clone());
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
        core.drain();
        draining.cancel();
        health.end_watches().await;
        let in_flight = async {
            core.finish().await;
            edges.cancel();
            // All our calls are answered. Streams of other services (reflection, a request whose
            // body never ends) are not waited for.
            let _ = tokio::time::timeout(LINGER, &mut server).await;
            cut.cancel();
            core.ended().await;
        };
        let finished = tokio::time::timeout(self.stop.grace, in_flight).await;
        let stopped = match (essentials.first_ended(), finished) {
            (Some(task), _) => Stopped::Broken { task },
            (None, Ok(())) => Stopped::Gracefully,
            (None, Err(_)) => Stopped::Hard,
        };
        core.close().await;
        if let Some(log) = core.audit.clone() {
            // Its thread may wait for a disk.
            let finished = TaskTracker::new().spawn_blocking(move || log.finish());
            let _ = finished.await;
        }
        log_limit::sum_up();
        match stopped {
            Stopped::Gracefully => info!("stopped gracefully"),
            Stopped::Hard => warn!("stopped hard: the grace period ended with work in flight"),
            Stopped::Broken { task } => {
                error!(task, "stopped because an essential task had ended: please report this")
            }
        }
        stopped
    }
}

/// What does not change while the process lives, and the series of all parts together.
fn begin_metrics(clock: &Clock, rehearsal: bool) {
    BUILD.set([env!("CARGO_PKG_VERSION")], 1);
    REHEARSAL.set([], u64::from(rehearsal));
    PROCESS_START.set_time([], clock.now().since_epoch());
    ["applied", "refused"].iter().for_each(|result| RELOADS.begin([result]));
    [&LOG_ERRORS, &LOG_DROPPED, &LOG_HELD_BACK, &AUDIT_DROPPED]
        .iter()
        .for_each(|lines| lines.begin([]));
    server::begin_metrics();
}

/// Sums up what the audit holds back. Opens its file anew when told: tools that have moved a file
/// of lines send SIGHUP.
async fn tend(log: AuditLog) {
    let mut signals = signal(SignalKind::hangup()).expect("SIGHUP can be handled");
    let mut intervals = tokio::time::interval(log_limit::INTERVAL);
    intervals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            told = signals.recv() => match told {
                Some(()) => log.reopen(),
                None => return,
            },
            _ = intervals.tick() => log.sum_up(),
        }
    }
}

fn socket(path: &str) -> Result<(UnixListener, SocketFile), BuildError> {
    sidecar::bind(Path::new(path))
        .map_err(|cause| BuildError::Socket { path: path.to_owned(), cause })
}

fn tls(files: &ListenerTls) -> Option<Tls> {
    files.tls.as_ref().map(|tls| Tls::new(Arc::clone(&tls.0)))
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let bind = |cause| BuildError::Bind { addr, cause };
    let listener = TcpListener::bind(addr).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    Ok((listener, addr))
}
