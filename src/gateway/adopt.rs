//! Settles that were not made here: looked up at Douyin once, taken in if they exist.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::{Gateway, Name};
use crate::douyin::{QueryBy, QueryFailure};
use crate::settle::{
    Answers, Failure, Key, Learned, Observation, OutSettleNo, Record, Report, ReportedStatus,
    Scope, Source, TradeSystem,
};
use crate::store::{self, Insert, NewDue};

/// Why nobody can say whether a settle exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookupError {
    Store(store::Error),
    /// Douyin could not be asked.
    Douyin(Failure),
}

/// Lookups of unknown settles: one at a time per name, and a short memory of "no such settle".
#[derive(Default)]
pub(super) struct Lookups(Mutex<HashMap<Name, Arc<Slot>>>);

type Slot = tokio::sync::Mutex<Option<Instant>>;

/// Names remembered at once; beyond that the memory is cleared, which costs a query each.
const NAMES_MAX: usize = 10_000;

impl Lookups {
    fn slot(&self, name: &Name) -> Arc<Slot> {
        let mut slots = self.0.lock().expect("no code panics while holding this lock");
        if slots.len() >= NAMES_MAX && !slots.contains_key(name) {
            // Those in use stay alive through their users.
            slots.clear();
        }
        Arc::clone(slots.entry(name.clone()).or_default())
    }

    fn forget(&self, name: &Name) {
        self.0.lock().expect("no code panics while holding this lock").remove(name);
    }
}

impl Gateway {
    /// The recorded settle, or the one that Douyin knows by this name, which is then recorded.
    pub async fn get_or_adopt(&self, name: &Name) -> Result<Option<Record>, LookupError> {
        if let Some(record) = self.get(name).await.map_err(LookupError::Store)? {
            return Ok(Some(record));
        }
        let slot = self.0.lookups.slot(name);
        let mut absent_since = slot.lock().await;
        // Whoever held the slot before may have found it.
        if let Some(record) = self.get(name).await.map_err(LookupError::Store)? {
            return Ok(Some(record));
        }
        if absent_since.is_some_and(|at| at.elapsed() < self.0.config.absent_ttl) {
            return Ok(None);
        }
        let adopted = Box::pin(self.look_up(name)).await?;
        if adopted.is_some() {
            self.0.lookups.forget(name);
        } else {
            *absent_since = Some(Instant::now());
        }
        Ok(adopted)
    }

    async fn look_up(&self, name: &Name) -> Result<Option<Record>, LookupError> {
        let (app_id, by) = match name {
            Name::Key(key) => (&key.app_id, QueryBy::OutSettleNo(&key.out_settle_no)),
            Name::SettleId(app_id, settle_id) => (app_id, QueryBy::SettleId(settle_id)),
        };
        if let Some(pause) = self.0.douyin.pause(app_id) {
            return Err(LookupError::Douyin(pause.failure));
        }
        let begun = self.0.clock.now();
        let answer = self.0.douyin.query(app_id, by).await;
        let answer = answer.map_err(|QueryFailure { failure, .. }| LookupError::Douyin(failure))?;
        let mut reports = answer.reports;
        // The one that lives first: a record follows it rather than one that failed.
        reports.sort_by_key(|report| report.status == ReportedStatus::Fail);
        for report in reports {
            let key = self.key_of(name, &report);
            let seen = Observation {
                learned: Learned::Reported(vec![report]),
                source: Source::Query,
                begun,
                scope: Scope::Single,
                answers: Answers::Nothing,
                log_id: answer.log_id.clone(),
            };
            self.adopt(key, seen).await.map_err(LookupError::Store)?;
        }
        self.get(name).await.map_err(LookupError::Store)
    }

    /// Insert or observe: whoever records the settle first, everybody's facts are kept.
    async fn adopt(&self, key: Key, seen: Observation) -> Result<(), store::Error> {
        let Learned::Reported(reports) = &seen.learned else {
            return Ok(());
        };
        let Some(report) = reports.first() else {
            return Ok(());
        };
        let now = self.0.clock.now();
        let record = Record::adopted(key, report, now);
        let due = match record.is_final() {
            true => NewDue::None,
            false => NewDue::At(now.plus(self.wait(&record.key, 0))),
        };
        match self.0.store.insert(record, seen.source, due).await? {
            Insert::Inserted => self.0.due.notify_one(),
            Insert::Existing(existing) => {
                self.observe(&existing.key, seen, None).await?;
            }
        }
        Ok(())
    }

    /// The number under which a reported settle is recorded: the developer's, else the one it was
    /// asked for by, else (automatic settlement) Douyin's own.
    fn key_of(&self, name: &Name, report: &Report) -> Key {
        match (name, &report.out_settle_no) {
            (Name::Key(key), _) => key.clone(),
            (Name::SettleId(app_id, _), Some(out_settle_no)) => Key {
                app_id: app_id.clone(),
                trade_system: TradeSystem::General,
                out_settle_no: out_settle_no.clone(),
            },
            (Name::SettleId(app_id, settle_id), None) => Key {
                app_id: app_id.clone(),
                trade_system: TradeSystem::General,
                out_settle_no: OutSettleNo::of_settle_id(settle_id),
            },
        }
    }
}
