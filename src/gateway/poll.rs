//! Drives every settle that is due. Callbacks only make news faster: with the poller alone
//! every settle reaches its end.
//!
//! The loop is dull on purpose: [`Poller::step`] claims what is due and starts its turns,
//! [`Poller::run`] sleeps until the next due moment or a nudge and steps again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Gateway;
use crate::apps::{App, Grant};
use crate::clock::Timestamp;
use crate::log_limit::{error, limited};
use crate::metrics::{CLAIMS, CLAIMS_LATE, DUE_SINCE, TURNS_OPEN};
use crate::store::{self, ClaimLimits, SweepCursor, UnfinishedCursor};
use crate::tasks::Tasks;

/// The knobs of the poller.
#[derive(Clone, Debug)]
pub struct PollerConfig {
    /// Turns of one app in flight at once.
    pub turns_max: usize,
    /// The longest sleep, in case a clock jumps or a hint is lost.
    pub sleep_max: Duration,
    /// How often the whole schedule is checked against the settles, and the settles that are not at
    /// their end are looked through for what keeps them from it.
    pub sweep_interval: Duration,
}

/// Rows that one step of a sweep looks at, and the rest between two steps.
const SWEEP_ROWS_MAX: u32 = 500;
const SWEEP_STEP: Duration = Duration::from_millis(200);

impl Default for PollerConfig {
    fn default() -> Self {
        Self {
            turns_max: 32,
            sleep_max: Duration::from_secs(2),
            sweep_interval: Duration::from_secs(60),
        }
    }
}

/// Claims and drives what is due, for each app by itself: one app's backlog takes only its own
/// turns. Cheap to clone.
#[derive(Clone)]
pub struct Poller {
    gateway: Gateway,
    config: PollerConfig,
    /// Each with the room for its turns.
    apps: Vec<(Arc<App>, Arc<Semaphore>)>,
    turns: Tasks,
}

/// What a budget grants to polling at one moment.
struct Granted {
    requests: Vec<Grant>,
    /// When there is more, if this was not all that was asked for.
    retry_at: Option<Timestamp>,
}

impl Poller {
    pub(crate) fn new(gateway: Gateway, config: PollerConfig) -> Self {
        let with_room =
            |app: &Arc<App>| (Arc::clone(app), Arc::new(Semaphore::new(config.turns_max)));
        let apps: Vec<_> = gateway.0.apps.iter().map(with_room).collect();
        for (app, _) in &apps {
            let app_id = [app.id().as_str()];
            TURNS_OPEN.set(app_id, 0);
            DUE_SINCE.set(app_id, 0);
            CLAIMS.begin(app_id);
            CLAIMS_LATE.begin(app_id);
        }
        let turns = Tasks::new(gateway.0.config.runner.clone());
        Self { gateway, config, apps, turns }
    }

    /// Runs until stopped; then claims nothing more and waits for the turns in flight, whose leases
    /// end with them.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        self.report_parked().await;
        tokio::join!(self.poll(&stop), self.sweep(&stop), self.look_for_stuck(&stop));
        self.turns.ended().await;
    }

    /// Settles of apps that are not configured any more wait until their app is configured again.
    async fn report_parked(&self) {
        let open = match self.gateway.0.store.open_settles().await {
            Ok(open) => open,
            Err(error) => return warn!(%error, "cannot count the open settles"),
        };
        for (app_id, settles) in open {
            if !self.apps.iter().any(|(app, _)| *app.id() == app_id) {
                warn!(%app_id, settles, "open settles of an app that is not configured: parked");
            }
        }
    }

    /// Compares the schedule with the settles, a few rows at a time, round after round.
    async fn sweep(&self, stop: &CancellationToken) {
        let mut cursor = SweepCursor::default();
        while !stop.is_cancelled() {
            let swept = self.gateway.0.store.sweep(cursor.clone(), SWEEP_ROWS_MAX).await;
            let pause = match swept {
                Ok(swept) => {
                    if swept.missing > 0 || swept.superfluous > 0 {
                        let (missing, superfluous) = (swept.missing, swept.superfluous);
                        error!(missing, superfluous, "repaired the schedule: please report this");
                        self.gateway.0.alarm.set(Duration::ZERO);
                    }
                    cursor = swept.next;
                    if swept.wrapped { self.config.sweep_interval } else { SWEEP_STEP }
                }
                Err(error) => {
                    warn!(%error, "cannot check the schedule: trying again");
                    self.config.sweep_interval
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks which settles do not come to their end, a few rows at a time, round after round.
    async fn look_for_stuck(&self, stop: &CancellationToken) {
        let mut from = UnfinishedCursor::default();
        while !stop.is_cancelled() {
            let looked = self.gateway.look_for_stuck(from.clone(), SWEEP_ROWS_MAX).await;
            let pause = match looked {
                Ok(Some(next)) => {
                    from = next;
                    SWEEP_STEP
                }
                Ok(None) => {
                    from = UnfinishedCursor::default();
                    self.config.sweep_interval
                }
                Err(error) => {
                    warn!(%error, "cannot look for stuck settles: trying again");
                    self.config.sweep_interval
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn poll(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let next = self.step().await;
            self.gateway.0.alarm.set(self.until(next));
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.gateway.0.alarm.ring() => {}
            }
        }
    }

    /// Claims what is due now and has room, starts a turn for each, and tells when to step again.
    /// If the rows of one app cannot be claimed, the other apps go on.
    async fn step(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for (app, room) in &self.apps {
            match self.step_app(app, room).await {
                Ok(due) => next = earlier(next, due),
                Err(error) => limited!(Peer, WARN, { app_id = %app.id(), %error },
                    "cannot claim due settles: trying again"),
            }
        }
        next
    }

    async fn step_app(
        &self,
        app: &Arc<App>,
        room: &Arc<Semaphore>,
    ) -> Result<Option<Duration>, store::Error> {
        if let Some(pause) = app.access.pause() {
            return Ok(Some(pause.until.since(self.gateway.0.clock.now())));
        }
        let granted = self.requests(app, room.available_permits());
        if granted.requests.is_empty() {
            // The loop wakes when a turn ends or the budget grants more.
            return Ok(granted.retry_at.map(|at| at.since(self.gateway.0.clock.now())));
        }
        self.claim(app, room, granted.requests).await?;
        let due = self.gateway.0.store.next_due(app.id()).await?;
        // What is due already waits for the budget.
        let now = self.gateway.0.clock.now();
        match due.is_some_and(|due| due.is_zero()) {
            true => DUE_SINCE.set_time_if_zero([app.id().as_str()], now.since_epoch()),
            false => DUE_SINCE.set([app.id().as_str()], 0),
        }
        let retry_in = granted.retry_at.map(|at| at.since(now));
        Ok(due.map(|due| if due.is_zero() { retry_in.unwrap_or(due) } else { due }))
    }

    /// Up to `requests_max` requests that the app's budget grants to polling now.
    fn requests(&self, app: &App, requests_max: usize) -> Granted {
        let (mut requests, mut retry_at) = (Vec::new(), None);
        while requests.len() < requests_max && retry_at.is_none() {
            match app.budget.for_poll() {
                Ok(request) => requests.push(request),
                Err(exhausted) => {
                    retry_at = Some(self.gateway.0.clock.now().plus(exhausted.wait));
                }
            }
        }
        Granted { requests, retry_at }
    }

    /// Claims one due settle for each request that the budget grants.
    async fn claim(
        &self,
        app: &Arc<App>,
        room: &Arc<Semaphore>,
        mut requests: Vec<Grant>,
    ) -> Result<(), store::Error> {
        let config = &self.gateway.0.config;
        let limits = ClaimLimits {
            lease: config.lease,
            claims_max: u32::try_from(requests.len()).unwrap_or(u32::MAX),
            wait_max: config.schedule.wait_max().max(config.lease),
        };
        for claim in self.gateway.0.store.claim_due(app.id(), limits).await? {
            let request = requests.pop().expect("it claims no more than it was allowed");
            let place = Arc::clone(room).try_acquire_owned();
            let place = place.expect("only this loop takes places, and it claimed no more");
            let (gateway, app) = (self.gateway.clone(), Arc::clone(app));
            CLAIMS_LATE.add_time([app.id().as_str()], claim.late);
            let open = TurnOpen::begin(Arc::clone(&app));
            let turn = async move {
                let key = claim.key.clone();
                if let Err(error) = gateway.work(app, claim, request).await {
                    limited!(Peer, WARN, { %key, %error },
                        "a turn ended early, the settle is tried again after its lease");
                }
                drop((place, open));
                gateway.0.alarm.set(Duration::ZERO);
            };
            self.turns.spawn(turn);
        }
        requests.into_iter().for_each(Grant::give_back);
        Ok(())
    }

    fn until(&self, next: Option<Duration>) -> Duration {
        // At least a few milliseconds, so that no row can make the loop busy.
        let (min, max) = (Duration::from_millis(5), self.config.sleep_max);
        next.unwrap_or(max).clamp(min.min(max), max)
    }
}

/// A turn that is counted among the open ones until this is dropped.
struct TurnOpen(Arc<App>);

impl TurnOpen {
    fn begin(app: Arc<App>) -> Self {
        CLAIMS.count([app.id().as_str()]);
        TURNS_OPEN.raise([app.id().as_str()]);
        Self(app)
    }
}

impl Drop for TurnOpen {
    fn drop(&mut self) {
        TURNS_OPEN.lower([self.0.id().as_str()]);
    }
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}
