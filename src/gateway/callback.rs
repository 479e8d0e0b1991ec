//! What Douyin tells by itself.

use std::time::Duration;

use tracing::{Instrument as _, debug, field, info_span};

use super::query::QueryError;
use super::{Gateway, Name};
use crate::apps::App;
use crate::clock::Timestamp;
use crate::metrics::CALLBACK_DELAY;
use crate::settle::{
    Key, Learned, Observation, OutSettleNo, Record, Report, Scope, Source, TradeSystem,
};
use crate::store;
use crate::trace::{self, TraceParent};

/// A verified callback about a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    /// Those that it may be of, at least one.
    pub trade_systems: Vec<TradeSystem>,
    pub report: Report,
    pub log_id: Option<String>,
}

/// Why a callback is not recorded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HearError {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It may be of several trade systems, and Douyin shows its settle in none of them now.
    #[error("no trade system of the app shows its settle now")]
    UnknownSystem,
}

impl Gateway {
    /// Records what a callback tells. `Ok`: it is durable, and the callback may be acknowledged.
    ///
    /// The settle is the one with this `settle_id`; else the one with this number; else it is
    /// adopted, under Douyin's own number if the callback names no other.
    pub async fn hear(&self, app: &App, callback: Callback) -> Result<(), HearError> {
        let begun = self.0.clock.now();
        let (key, trace) = self.settle_of(app, &callback).await?;
        let span =
            trace::following(trace.as_ref(), || info_span!("callback", trace_id = field::Empty));
        Ok(self.record_callback(app, key, callback, begun).instrument(span).await?)
    }

    /// The settle that a callback is about, and the trace of the create that recorded it.
    async fn settle_of(
        &self,
        app: &App,
        callback: &Callback,
    ) -> Result<(Key, Option<TraceParent>), HearError> {
        let trade_system = self.trade_system_of(app, callback).await?;
        let Report { settle_id, out_settle_no, .. } = &callback.report;
        let known = match self.0.store.get_by_settle_id(app.id(), trade_system, settle_id).await? {
            Some(known) => Ok(known),
            // The answer that would have told its id may be lost.
            None => {
                let number = out_settle_no.clone();
                let out_settle_no = number.unwrap_or_else(|| OutSettleNo::of_settle_id(settle_id));
                let key = Key { app_id: app.id().clone(), trade_system, out_settle_no };
                self.0.store.get(&key).await?.ok_or(key)
            }
        };
        Ok(match known {
            Ok(known) => {
                let trace = known.request().and_then(|request| request.trace.clone());
                (known.key, trace)
            }
            Err(key) => (key, None),
        })
    }

    async fn record_callback(
        &self,
        app: &App,
        key: Key,
        callback: Callback,
        begun: Timestamp,
    ) -> Result<(), store::Error> {
        let Callback { report, log_id, trade_systems: _ } = callback;
        let (event, settle_id) = (report.facts.settle_time, report.settle_id.clone());
        let seen = Observation {
            learned: Learned::Reported(vec![report]),
            source: Source::Callback,
            begun,
            scope: Scope::Single,
            answers: None,
            log_id: log_id.clone(),
            by: None,
        };
        self.0.hub.confirm(&key, self.0.clock.now());
        let heard = self.adopt(key, seen).await?;
        debug!(%settle_id, log_id, "callback recorded");
        if let Some(event) = event {
            CALLBACK_DELAY.add_time([app.id().as_str()], self.0.clock.now().since(event));
        }
        if let Some(record) = heard.as_ref().filter(|record| !record.is_final()) {
            self.ask_soon(record).await;
        }
        Ok(())
    }

    /// The trade system that a callback is of. Those that have callbacks of one version number
    /// their settles by themselves, and a caller's number may be another's elsewhere: so it is the
    /// one in which this settle is recorded, else the one in which Douyin shows it.
    async fn trade_system_of(
        &self,
        app: &App,
        callback: &Callback,
    ) -> Result<TradeSystem, HearError> {
        let Callback { trade_systems, report, .. } = callback;
        if let [only] = trade_systems[..] {
            return Ok(only);
        }
        for trade_system in trade_systems.iter().copied() {
            let id = &report.settle_id;
            let known = self.0.store.get_by_settle_id(app.id(), trade_system, id).await?;
            if known.is_some_and(|known| is_told_of(report, &known.key.out_settle_no)) {
                return Ok(trade_system);
            }
        }
        for trade_system in trade_systems.iter().copied() {
            if self.is_shown(app, trade_system, report).await? {
                return Ok(trade_system);
            }
        }
        Err(HearError::UnknownSystem)
    }

    /// Whether Douyin shows the settle in this trade system. Then it is recorded.
    async fn is_shown(
        &self,
        app: &App,
        trade_system: TradeSystem,
        report: &Report,
    ) -> Result<bool, store::Error> {
        let name = Name::SettleId(app.id().clone(), trade_system, report.settle_id.clone());
        let found = match Box::pin(self.get_or_adopt(app, &name)).await {
            Ok(found) => found,
            Err(QueryError::Store(error)) => return Err(error),
            Err(
                QueryError::Douyin(_) | QueryError::Paused { .. } | QueryError::OverBudget { .. },
            ) => None,
        };
        Ok(found.is_some_and(|found| is_told_of(report, &found.key.out_settle_no)))
    }

    /// A callback that did not end its settle brings the next query forward, at most once per gap
    /// however often it is repeated. If the store fails here, the schedule stays as it was.
    async fn ask_soon(&self, record: &Record) {
        let gap = self.0.config.nudge_gap;
        if let Ok(Some(wait)) = self.0.store.nudge(&record.key, Duration::ZERO, gap).await {
            self.0.alarm.set(wait);
        }
    }
}

/// Whether a callback may be about the settle of this number. Another system may have given the
/// same id to a settle with another number.
fn is_told_of(report: &Report, number: &OutSettleNo) -> bool {
    let told = report.out_settle_no.as_ref();
    *number == OutSettleNo::of_settle_id(&report.settle_id)
        || told.is_none_or(|told| told == number || told.is_like(number))
}
