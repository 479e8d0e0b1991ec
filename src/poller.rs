//! Floor 3: drives every settle that is due. Callbacks only make news faster: with the poller alone
//! every settle reaches its end.
//!
//! The loop is dull on purpose: [`Poller::step`] claims what is due and starts its turns,
//! [`Poller::run`] sleeps until the next due moment or a nudge and steps again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, warn};

use crate::clock::Timestamp;
use crate::gateway::{Gateway, Work};
use crate::settle::AppId;
use crate::store::{self, ClaimLimits};

/// The knobs of the poller.
#[derive(Clone, Debug)]
pub struct PollerConfig {
    /// Turns of one app in flight at once.
    pub turns_max: usize,
    /// The longest sleep: clocks jump, hints get lost.
    pub sleep_max: Duration,
}

impl Default for PollerConfig {
    fn default() -> Self {
        Self { turns_max: 32, sleep_max: Duration::from_secs(2) }
    }
}

/// Claims and drives what is due, for each app by itself: one app's backlog takes only its own
/// turns.
pub struct Poller {
    gateway: Gateway,
    config: PollerConfig,
    apps: Vec<(AppId, Arc<Semaphore>)>,
    turns: TaskTracker,
}

impl Poller {
    pub fn new(gateway: Gateway, config: PollerConfig) -> Self {
        let apps = gateway.douyin().apps();
        let apps = apps.map(|app_id| (app_id.clone(), Arc::new(Semaphore::new(config.turns_max))));
        let apps = apps.collect();
        Self { gateway, config, apps, turns: TaskTracker::new() }
    }

    /// Runs until stopped; then claims nothing more and waits for the turns in flight, whose leases
    /// end with them.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let sleep = match self.step().await {
                Ok(next_due) => self.until(next_due),
                Err(error) => {
                    warn!(%error, "cannot claim due settles: trying again");
                    self.config.sleep_max
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.gateway.due().notified() => {}
                () = stop.cancelled() => {}
            }
        }
        self.turns.close();
        self.turns.wait().await;
    }

    /// Claims what is due now and has room, starts a turn for each, and tells when to step again.
    pub async fn step(&self) -> Result<Option<Timestamp>, store::Error> {
        let mut next: Option<Timestamp> = None;
        for (app_id, room) in &self.apps {
            if let Some(pause) = self.gateway.douyin().pause(app_id) {
                next = earlier(next, Some(pause.until));
                continue;
            }
            if room.available_permits() == 0 {
                // A turn that ends wakes the loop.
                continue;
            }
            self.claim(app_id, room).await?;
            if room.available_permits() > 0 {
                next = earlier(next, self.gateway.store().next_due(app_id).await?);
            }
        }
        Ok(next)
    }

    async fn claim(&self, app_id: &AppId, room: &Arc<Semaphore>) -> Result<(), store::Error> {
        let now = self.gateway.clock().now();
        let config = self.gateway.config();
        let limits = ClaimLimits {
            now,
            lease_until: now.plus(config.lease),
            claims_max: u32::try_from(room.available_permits()).unwrap_or(u32::MAX),
            horizon: now.plus(config.schedule.wait_max().max(config.lease)),
        };
        for claim in self.gateway.store().claim_due(app_id, limits).await? {
            let permit = Arc::clone(room).try_acquire_owned();
            let permit = permit.expect("only this loop takes permits, and it claimed no more");
            let gateway = self.gateway.clone();
            let span =
                tracing::info_span!("turn", %app_id, out_settle_no = %claim.key.out_settle_no);
            let turn = async move {
                let key = claim.key.clone();
                if let Err(error) = gateway.advance(Work::claimed(claim)).await {
                    warn!(%key, %error, "turn ended early: its lease runs out by itself");
                }
                drop(permit);
                gateway.due().notify_one();
            };
            self.turns.spawn(turn.instrument(span));
        }
        Ok(())
    }

    fn until(&self, next: Option<Timestamp>) -> Duration {
        let wait = next.map(|next| next.since(self.gateway.clock().now()));
        // Never a busy loop, whatever a row says.
        let (min, max) = (Duration::from_millis(5), self.config.sleep_max);
        wait.unwrap_or(max).clamp(min.min(max), max)
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}
