//! Observations that the gateway did not ask for: what Douyin tells by itself, and what an operator
//! decides.

use std::time::Duration;

use super::Gateway;
use crate::settle::{
    AppId, Key, Learned, Observation, OutSettleNo, Record, Report, Scope, Source, TradeSystem,
    Verdict, can_resolve,
};
use crate::store;

/// A verified callback about a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    pub app_id: AppId,
    pub trade_system: TradeSystem,
    pub report: Report,
    pub log_id: Option<String>,
}

/// Why a contradiction is not resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResolveError {
    NotFound,
    /// The settle has no open contradiction.
    NotDisputed,
    /// Not final yet, or the decision would leave a success for another settle.
    NotAllowed,
    Store(store::Error),
}

impl Gateway {
    /// Records what a callback tells. `Ok`: it is durable, and the callback may be acknowledged.
    ///
    /// The settle is the one with this `settle_id`; else the one with this number; else it is
    /// adopted, under Douyin's own number if the callback names no other.
    pub async fn hear(&self, callback: Callback) -> Result<(), store::Error> {
        let begun = self.0.clock.now();
        let Callback { app_id, trade_system, report, log_id } = callback;
        let known = self.0.store.get_by_settle_id(&app_id, trade_system, &report.settle_id).await?;
        let number = report.out_settle_no.clone();
        let by_number = || Key {
            app_id,
            trade_system,
            out_settle_no: number.unwrap_or_else(|| OutSettleNo::of_settle_id(&report.settle_id)),
        };
        let key = known.map_or_else(by_number, |known| known.key);
        let seen = Observation {
            learned: Learned::Reported(vec![report]),
            source: Source::Callback,
            begun,
            scope: Scope::Single,
            answers: None,
            log_id,
        };
        self.0.hub.confirm(&key, self.0.clock.now());
        let heard = self.adopt(key, seen).await?;
        if let Some(record) = heard.as_ref().filter(|record| !record.is_final()) {
            self.ask_soon(record).await;
        }
        Ok(())
    }

    /// A callback that did not end its settle brings the next query forward, at most once per gap
    /// however often it is repeated. If the store fails here, the schedule stays as it was.
    async fn ask_soon(&self, record: &Record) {
        let gap = self.0.config.nudge_gap;
        if let Ok(Some(wait)) = self.0.store.nudge(&record.key, Duration::ZERO, gap).await {
            self.0.alarm.set(wait);
        }
    }

    /// Ends the open contradiction of a settle as an operator decided.
    pub(crate) async fn resolve(
        &self,
        key: &Key,
        verdict: Verdict,
    ) -> Result<Record, ResolveError> {
        let known = self.0.store.get(key).await.map_err(ResolveError::Store)?;
        let known = known.ok_or(ResolveError::NotFound)?;
        if known.open_contradiction().is_none() {
            return Err(ResolveError::NotDisputed);
        }
        if !can_resolve(&known, verdict) {
            return Err(ResolveError::NotAllowed);
        }
        let seen = Observation {
            learned: Learned::Resolved(verdict),
            source: Source::Operator,
            begun: self.0.clock.now(),
            scope: Scope::Single,
            answers: None,
            log_id: None,
        };
        let observed = self.observe(key, &seen).await.map_err(ResolveError::Store)?;
        observed.ok_or(ResolveError::NotFound)
    }
}
