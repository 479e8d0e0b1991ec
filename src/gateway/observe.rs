//! Everything learned about a settle becomes durable here, by one pure transition and one
//! compare-and-swap.

use std::sync::MutexGuard;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Gateway;
use crate::apps::Apps;
use crate::clock::Timestamp;
use crate::log_limit::{error, limited};
use crate::metrics::{ALERTS, CHANGES, END_TIME};
use crate::settle::merge::{Merged, can_be_merged, merge};
use crate::settle::schedule::next;
use crate::settle::{
    Alert, By, Context, Due, Failure, FirstSeen, HistoryEntry, Key, Learned, Lease, Next,
    Observation, Progress, Reason, Record, Release, Source, Step, Terms, Transition, Watched,
    transition,
};
use crate::store::{self, Absorbed, Fence, Swap, Swapped};

/// How long a store that fails gets to recover, before the first try and before any later one.
const STORE_RETRY: Duration = Duration::from_millis(100);
const STORE_RETRY_MAX: Duration = Duration::from_secs(2);

/// A swap that loses is tried again this often; each loss means that another writer made progress.
const TRIES_MAX: u32 = 16;

/// Makes the series on which alerts stand.
pub(super) fn begin_metrics(apps: &Apps) {
    for app in apps.iter() {
        Alert::ALL.iter().for_each(|alert| ALERTS.begin([app.id().as_str(), alert.as_str()]));
    }
}

/// The lease under which a worker observes, and what decides about its next step.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) fence: Fence,
    pub(super) progress: &'a Progress,
}

/// What an observation led to.
pub(super) struct Observed {
    pub(super) record: Record,
    /// What its observer does next. `Rest`: nothing, and it holds no lease any more.
    pub(super) step: Step,
    /// Whether the observer held the lease until this was recorded.
    pub(super) was_held: bool,
}

/// What one observation does to one record.
struct Change<'a> {
    before: &'a Record,
    after: Transition,
    seen: &'a Observation,
    /// Another record of the same settle, which is merged into this one.
    absorbed: Option<Absorbed>,
}

/// What became of one try.
enum Tried {
    Done(Box<Observed>),
    /// There is no such settle.
    Gone,
    /// The record is not what it was: read and decide again.
    Again,
    /// The lease ran out: decide again, as without one.
    LeaseLost,
}

impl Gateway {
    /// Records a fact: something learned by the way. Negative evidence is ignored, and the schedule
    /// is only brought forward.
    ///
    /// `Ok(None)`: there is no such settle. On an error nothing may be told that depends on the
    /// observation.
    pub(super) async fn observe(
        &self,
        key: &Key,
        seen: &Observation,
    ) -> Result<Option<Record>, store::Error> {
        let observed = self.record(key, None, seen, None).await?;
        Ok(observed.map(|observed| observed.record))
    }

    /// Records what a worker learned that acted on the record `known` and holds its lease. If the
    /// lease is lost meanwhile, facts are recorded all the same.
    pub(super) async fn observe_held(
        &self,
        known: &Record,
        seen: &Observation,
        holder: Holder<'_>,
    ) -> Result<Option<Observed>, store::Error> {
        self.record(&known.key, Some(known), seen, Some(holder)).await
    }

    async fn record(
        &self,
        key: &Key,
        mut known: Option<&Record>,
        seen: &Observation,
        mut holder: Option<Holder<'_>>,
    ) -> Result<Option<Observed>, store::Error> {
        // A database server may fail over. A worker has something to tell while its lease runs.
        let patience = match (self.0.store.has_one_process(), holder) {
            (false, Some(_)) => self.0.config.lease,
            (true, _) | (false, None) => Duration::ZERO,
        };
        let (began, mut outages) = (Instant::now(), 0);
        for _ in 0..TRIES_MAX {
            match Box::pin(self.try_record(key, known.take(), seen, holder)).await {
                Ok(Tried::Done(observed)) => return Ok(Some(*observed)),
                Ok(Tried::Gone) => return Ok(None),
                Ok(Tried::Again) => {}
                Ok(Tried::LeaseLost) => holder = None,
                // More tries if the store fails for a moment, so that what was learned is kept.
                Err(store::Error::Unavailable(cause))
                    if outages == 0 || began.elapsed() < patience =>
                {
                    limited!(Peer, WARN, { %key, cause }, "the store failed: trying again");
                    let wait = STORE_RETRY.saturating_mul(2_u32.saturating_pow(outages));
                    outages += 1;
                    tokio::time::sleep(wait.min(STORE_RETRY_MAX)).await;
                }
                // If the commit was kept, its answer's permission is gone from the record, so the
                // second try does not count the answer again. Its watchers have had no hint of it.
                Err(store::Error::InDoubt(cause)) => {
                    limited!(Peer, WARN, { %key, cause }, "a commit is in doubt: reading again");
                    self.hint(key);
                    self.0.alarm.set(Duration::ZERO);
                }
                Err(error @ (store::Error::Unavailable(_) | store::Error::Unreadable(_))) => {
                    return Err(error);
                }
            }
        }
        Err(store::Error::Unavailable(format!("{key} changed {TRIES_MAX} times meanwhile")))
    }

    async fn try_record(
        &self,
        key: &Key,
        known: Option<&Record>,
        seen: &Observation,
        holder: Option<Holder<'_>>,
    ) -> Result<Tried, store::Error> {
        // A worker knows the record that it acted on; the compare-and-swap tells if that is still
        // the newest.
        let before = match known {
            Some(known) => known.clone(),
            None => match self.0.store.get(key).await? {
                Some(before) => before,
                None => return Ok(Tried::Gone),
            },
        };
        let context = Context {
            given: self.given(&before),
            now: self.0.clock.now(),
            policy: &self.0.config.policy,
            lease: if holder.is_some() { Lease::Held } else { Lease::Lost },
            attempts: holder.map_or(0, |holder| holder.progress.attempts),
        };
        let after = transition(&before, seen, &context);
        let change = Change { before: &before, after, seen, absorbed: None };
        if let Some(tried) = self.apply(&change, context.now, holder).await? {
            return Ok(tried);
        }
        // Another record has its settle_id. An operator's word takes none over: the id may be
        // mistyped. What Douyin answered before it counts.
        if let Some(answer) = seen.without_the_word() {
            return Box::pin(self.try_record(key, Some(&before), &answer, holder)).await;
        }
        let merging = if matches!(seen.learned, Learned::Ended(_)) {
            None
        } else {
            let merging = Box::pin(self.merging(change, &context)).await?;
            if merging.is_none() {
                let key = &before.key;
                error!(%key, "two settles have one settle_id: not recorded, compare them");
            }
            merging
        };
        let change = merging.unwrap_or_else(|| {
            // Nothing can be recorded. A worker goes on from there, or gives its lease back.
            let after = Transition { record: before.clone(), alert: None };
            Change { before: &before, after, seen, absorbed: None }
        });
        Ok(self.apply(&change, context.now, holder).await?.unwrap_or(Tried::Again))
    }

    /// The change together with the record that has its `settle_id`, if that record can be merged.
    async fn merging<'a>(
        &self,
        change: Change<'a>,
        context: &Context<'_>,
    ) -> Result<Option<Change<'a>>, store::Error> {
        let Change { before, after, seen, .. } = change;
        let Some(settle_id) = after.record.state.settle_id() else {
            return Ok(None);
        };
        let Key { app_id, trade_system, .. } = &before.key;
        let other = self.0.store.get_by_settle_id(app_id, *trade_system, settle_id).await?;
        let Some(other) = other.filter(|other| can_be_merged(other) && other.key != before.key)
        else {
            return Ok(None);
        };
        // If it has changed meanwhile, it has another version, and nothing is merged.
        let history = self.history(&other.key).await?;
        let Merged { after, kept } = merge(before, after, &other, history, context);
        let absorbed = Some(Absorbed { key: other.key, version: other.version, kept });
        Ok(Some(Change { before, after, seen, absorbed }))
    }

    /// Makes a change durable and tells of it. `None`: another record has its `settle_id`.
    async fn apply(
        &self,
        change: &Change<'_>,
        now: Timestamp,
        holder: Option<Holder<'_>>,
    ) -> Result<Option<Tried>, store::Error> {
        let Change { before, after, absorbed, .. } = change;
        let record = &after.record;
        let by = holder.map_or(By::WithoutLease, |holder| By::Worker(holder.progress));
        let Next { step, due } = next(before, record, by, &self.terms(&record.key, now));
        let lease = holder.map(|holder| holder.fence);
        let swapped = match lease {
            // Nothing was learned, but the worker may be done.
            Some(fence) if *before == record => {
                let ours = self.write_due(&record.key, fence, due).await?;
                if ours { Swapped::Done } else { Swapped::LeaseLost }
            }
            None if *before == record => Swapped::Done,
            Some(_) | None => {
                let (record, history) = (record.clone(), change.history());
                let absorbed = absorbed.clone();
                self.0.store.swap(Swap { record, history, due, lease, absorbed }).await?
            }
        };
        match swapped {
            Swapped::Done => {}
            Swapped::Conflict => return Ok(Some(Tried::Again)),
            Swapped::LeaseLost => return Ok(Some(Tried::LeaseLost)),
            Swapped::SettleIdTaken => return Ok(None),
        }
        self.expect_look(&record.key, due);
        self.tell(change);
        let (record, was_held) = (record.clone(), holder.is_some());
        Ok(Some(Tried::Done(Box::new(Observed { record, step, was_held }))))
    }

    /// Ends a lease without changing the record. `false`: the lease was not this one any more.
    pub(super) async fn write_due(
        &self,
        key: &Key,
        fence: Fence,
        due: Due,
    ) -> Result<bool, store::Error> {
        match due {
            Due::Keep | Due::Extend { .. } | Due::NotLater { .. } => Ok(true),
            Due::Remove => self.0.store.remove_due(key, fence).await,
            Due::Release(release) => self.0.store.release(key, fence, release).await,
        }
    }

    /// Tells the poller when this write makes the settle due.
    pub(super) fn expect_look(&self, key: &Key, due: Due) {
        match due {
            Due::Keep | Due::Remove | Due::Extend { .. } => {}
            // A watcher may have asked for an earlier look while the lease ran.
            Due::Release(_) if self.watched(key) == Watched::Yes => {
                self.0.alarm.set(Duration::ZERO);
            }
            Due::Release(Release { wait, .. }) | Due::NotLater { wait } => self.0.alarm.set(wait),
        }
    }

    /// The latest moment, by this process's clock, at which a send that the record knows of was
    /// permitted.
    ///
    /// Call it after the record was read. `None`: time proves nothing, because it is not known, or
    /// because the fleet does not agree on how long the grace is.
    pub(super) fn given(&self, record: &Record) -> Option<Timestamp> {
        let given = self.first_seen().given(record, self.0.clock.now());
        given.filter(|_| self.0.fleet.agrees(self.0.clock.uptime()))
    }

    pub(super) fn first_seen(&self) -> MutexGuard<'_, FirstSeen> {
        self.0.first_seen.lock().expect("no code panics while holding this lock")
    }

    pub(super) fn terms(&self, key: &Key, now: Timestamp) -> Terms<'_> {
        let config = &self.0.config;
        Terms {
            now,
            policy: &config.policy,
            schedule: &config.schedule,
            watched: self.watched(key),
            chance: self.chance(),
            lease: config.lease,
            patience: config.submit_window_max,
        }
    }

    fn tell(&self, change: &Change<'_>) {
        let Change { before, after, seen, absorbed } = change;
        let record = &after.record;
        let (key, source) = (&record.key, change.source());
        let log_id = seen.log_id.as_deref().unwrap_or("");
        if let Some(alert) = after.alert {
            let alert = alert.as_str();
            ALERTS.count([key.app_id.as_str(), alert]);
            error!(%key, alert, ?source, log_id, "a person must look at this settle");
        }
        if let Some(absorbed) = absorbed {
            info!(%key, merged = %absorbed.key, "merged two records of one settle");
            self.hint(&absorbed.key);
        }
        if record.revision == before.revision {
            return;
        }
        let (state, revision) = (record.state.kind().as_str(), record.revision);
        info!(%key, state, revision, ?source, log_id, "settle changed");
        let app_id = key.app_id.as_str();
        CHANGES.count([app_id, key.trade_system.as_str(), state, source.as_str()]);
        // One that was not created here began at a time that is not known.
        if record.is_final() && !before.is_final() && record.request().is_some() {
            let took = record.update_time.since(record.create_time);
            END_TIME.add_time([app_id, state], took);
        }
        if before.state.kind() != record.state.kind() {
            self.forget_answers(key);
        }
        self.hint(key);
    }
}

impl Change<'_> {
    /// Whether an operator decided, and not Douyin's answer that the operator asked for.
    fn is_decision(&self) -> bool {
        let decision = self.seen.learned.decision();
        let recorded = self.after.record.decision.as_ref();
        decision.is_some() && recorded == decision && self.before.decision.as_ref() != decision
    }

    fn source(&self) -> Source {
        if self.is_decision() { Source::Operator } else { self.seen.source }
    }

    /// The entry of the audit trail, if a caller can see a difference.
    fn history(&self) -> Option<HistoryEntry> {
        let Change { before, after, seen, .. } = self;
        let after = &after.record;
        if after.revision == before.revision {
            return None;
        }
        let mut entry = after.history_entry(self.source(), seen.log_id.clone());
        entry.by.clone_from(&seen.by);
        if let Some(decision) = seen.learned.decision().filter(|_| self.is_decision()) {
            (entry.why, entry.time) = (Some(decision.why.clone()), decision.time);
        }
        if before.open_contradiction() != after.open_contradiction() {
            entry.error = after.open_contradiction().map(|_| Failure::own(Reason::Contradiction));
        }
        Some(entry)
    }
}
