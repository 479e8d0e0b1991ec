//! What Douyin tells by itself.

use std::time::Duration;

use super::Gateway;
use crate::metrics::CALLBACK_DELAY;
use crate::settle::{
    AppId, Key, Learned, Observation, OutSettleNo, Record, Report, Scope, Source, TradeSystem,
};
use crate::store;
use crate::trace;

/// A verified callback about a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    pub app_id: AppId,
    pub trade_system: TradeSystem,
    pub report: Report,
    pub log_id: Option<String>,
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
        let (event, of) = (report.facts.settle_time, app_id.clone());
        let by_number = || Key {
            app_id,
            trade_system,
            out_settle_no: number.unwrap_or_else(|| OutSettleNo::of_settle_id(&report.settle_id)),
        };
        if let Some(request) = known.as_ref().and_then(Record::request) {
            trace::follow(&tracing::Span::current(), request.trace.as_ref());
        }
        let key = known.map_or_else(by_number, |known| known.key);
        let seen = Observation {
            learned: Learned::Reported(vec![report]),
            source: Source::Callback,
            begun,
            scope: Scope::Single,
            answers: None,
            log_id,
            by: None,
        };
        self.0.hub.confirm(&key, self.0.clock.now());
        let heard = self.adopt(key, seen).await?;
        if let Some(event) = event {
            CALLBACK_DELAY.add_time([of.as_str()], self.0.clock.now().since(event));
        }
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
}
