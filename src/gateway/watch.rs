//! WatchSettle: the current state first, then every newer one, and the final one last.
//!
//! Register with the hub and read the store; tell the caller what is newer than what it has; end if
//! that is final. Else wait for a hint, the resync, a heartbeat or the end of the stream's life. A
//! lost hint delays an event by a resync interval and never loses it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hub::{Joined, Subscription};
use super::{Gateway, Name, QueryError};
use crate::apps::App;
use crate::clock::{Timestamp, at};
use crate::settle::{Key, Record};
use crate::store;

/// A parsed WatchSettle.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// The one of `name`.
    pub app: Arc<App>,
    pub name: Name,
    /// The last revision the caller saw; 0 for none.
    pub after_revision: i64,
    /// `None`: no heartbeats and no greatest age, for a call that has a deadline.
    pub heartbeat_interval: Option<Duration>,
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Settle(Arc<Record>),
    Heartbeat {
        /// The last revision this watcher has.
        revision: i64,
        server_time: Timestamp,
        /// Douyin's last word, news or not.
        confirmed_time: Option<Timestamp>,
        next_check_time: Option<Timestamp>,
    },
}

/// Why a watch ends. Only `Final` ends well; after all others the caller comes back with its last
/// revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The final state was told in this watch.
    Final,
    Draining,
    /// The watch reached its greatest age.
    Rotated,
    Store(store::Error),
    /// Neither the gateway nor Douyin knows such a settle.
    NotFound,
    /// It is unknown here, and Douyin could not be asked.
    Lookup(QueryError),
    /// The caller's revision is newer than the newest one here: the store was restored from a
    /// backup.
    RevisionFromFuture {
        revision: i64,
    },
}

/// One watch. `Watch::next` until it ends.
pub struct Watch {
    gateway: Gateway,
    seat: Subscription,
    /// The last revision the caller has.
    told: i64,
    /// Nothing was told in this watch yet.
    silent: bool,
    /// The final state was told.
    done: bool,
    heartbeat_interval: Option<Duration>,
    heartbeat_at: Option<Instant>,
    rotate_at: Option<Instant>,
    opened: Instant,
}

impl Gateway {
    /// Opens a watch on a recorded settle, or on one that Douyin knows.
    pub(crate) async fn watch(&self, request: WatchRequest) -> Result<Watch, Ending> {
        let opened = Instant::now();
        if self.0.drain.is_cancelled() {
            return Err(Ending::Draining);
        }
        let found = tokio::select! {
            biased;
            found = self.get_or_adopt(&request.app, &request.name) => found,
            () = self.0.drain.cancelled() => return Err(Ending::Draining),
        };
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Ending::NotFound),
            Err(QueryError::Store(error)) => return Err(Ending::Store(error)),
            Err(
                error @ (QueryError::Douyin(_)
                | QueryError::Paused { .. }
                | QueryError::OverBudget { .. }),
            ) => return Err(Ending::Lookup(error)),
        };
        let (seat, joined) = self.0.hub.subscribe(&record.key);
        if joined == Joined::First && !record.is_final() {
            self.look_sooner(&record.key).await;
        }
        let heartbeat_interval = request.heartbeat_interval;
        Ok(Watch {
            gateway: self.clone(),
            seat,
            told: request.after_revision,
            silent: true,
            done: false,
            heartbeat_interval,
            heartbeat_at: heartbeat_interval.map(|interval| Instant::now() + interval),
            rotate_at: heartbeat_interval.map(|_| opened + self.watch_age()),
            opened,
        })
    }

    /// The greatest age of this watch, ± 10 %, so that streams opened together do not end together.
    #[expect(clippy::float_arithmetic, reason = "jitter needs no exact arithmetic")]
    fn watch_age(&self) -> Duration {
        self.0.config.watch_age_max.mul_f64(0.9 + 0.2 * self.chance())
    }

    /// A watched settle is looked at sooner: the next look is no further away than the schedule of
    /// a watched settle allows. If the store fails here, the schedule stays as it was.
    pub(super) async fn look_sooner(&self, key: &Key) {
        let soon = self.0.config.schedule.first;
        let gap = self.0.config.schedule.watched_cap;
        if let Ok(Some(wait)) = self.0.store.nudge(key, soon, gap).await {
            self.0.alarm.set(wait);
        }
    }
}

impl Watch {
    /// A watch with one answer: the settle as soon as it is newer than the caller's revision or
    /// final, else as it is at the deadline.
    pub(crate) async fn wait_until(mut self, deadline: Instant) -> Result<Arc<Record>, Ending> {
        match tokio::time::timeout_at(deadline, self.next()).await {
            Ok(Ok(Event::Settle(record))) => Ok(record),
            Ok(Err(ending)) => Err(ending),
            // There are no heartbeats in a watch with a deadline.
            Ok(Ok(Event::Heartbeat { .. })) | Err(_) => self.read(Duration::ZERO).await,
        }
    }

    /// The next event, or how the watch ended. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Event, Ending> {
        if self.done {
            return Err(Ending::Final);
        }
        loop {
            if let Some(event) = self.news().await? {
                self.heartbeat_at = self.heartbeat_interval.map(|wait| Instant::now() + wait);
                return Ok(event);
            }
            let resync = Instant::now() + self.gateway.0.config.resync;
            let heartbeat_at = self.heartbeat_at;
            tokio::select! {
                biased;
                () = self.gateway.0.drain.cancelled() => return Err(Ending::Draining),
                () = at(self.rotate_at) => return Err(Ending::Rotated),
                () = self.seat.hinted() => {}
                () = at(heartbeat_at) => {
                    self.heartbeat_at = self.heartbeat_interval.map(|wait| Instant::now() + wait);
                    return self.heartbeat().await;
                }
                () = tokio::time::sleep_until(resync) => {}
            }
        }
    }

    /// What the caller does not have yet.
    async fn news(&mut self) -> Result<Option<Event>, Ending> {
        let resync = self.gateway.0.config.resync;
        // The first state was read while this watch was open, not before.
        let age_max = if self.silent { self.opened.elapsed().min(resync) } else { resync };
        let mut record = self.read(age_max).await?;
        if record.revision < self.told {
            // The caller may know a revision whose hint is still on its way here.
            record = self.read(Duration::ZERO).await?;
        }
        if record.revision < self.told {
            return Err(Ending::RevisionFromFuture { revision: record.revision });
        }
        let first = std::mem::take(&mut self.silent);
        let newer = record.revision > self.told;
        if newer || (first && record.is_final()) {
            self.told = record.revision;
            self.done = record.is_final();
            return Ok(Some(Event::Settle(record)));
        }
        if first && self.heartbeat_interval.is_some() {
            return self.heartbeat().await.map(Some);
        }
        Ok(None)
    }

    async fn read(&mut self, age_max: Duration) -> Result<Arc<Record>, Ending> {
        let read = self.seat.read(&self.gateway.0.store, age_max).await;
        // The record was merged into another one of the same settle. A caller that comes back by
        // its settle_id finds that one.
        read.map_err(Ending::Store)?.ok_or(Ending::Rotated)
    }

    pub(crate) fn key(&self) -> &Key {
        self.seat.key()
    }

    /// See [`Gateway::spread`].
    pub(crate) fn spread(&self) -> Duration {
        self.gateway.spread()
    }

    async fn heartbeat(&self) -> Result<Event, Ending> {
        let gateway = &self.gateway.0;
        let next = gateway.store.scheduled(self.seat.key()).await.map_err(Ending::Store)?;
        Ok(Event::Heartbeat {
            revision: self.told,
            server_time: gateway.clock.now(),
            confirmed_time: self.seat.confirmed(),
            next_check_time: next.map(|next| gateway.clock.now().plus(next.wait)),
        })
    }
}
