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
    /// Those that it may be of, at least one. A settle that none of them has is the first one's.
    pub trade_systems: Vec<TradeSystem>,
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
        let trade_system = self.trade_system_of(&callback).await?;
        let Callback { app_id, report, log_id, trade_systems: _ } = callback;
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

    /// The trade system that a callback is of: the one in which its settle is recorded. The systems
    /// number their settles by themselves, so the caller's number decides if there is one. A settle
    /// that a caller made comes before one of the same number that was adopted, perhaps because an
    /// earlier callback came before its settle was recorded.
    async fn trade_system_of(&self, callback: &Callback) -> Result<TradeSystem, store::Error> {
        let Callback { app_id, trade_systems, report, .. } = callback;
        let first = trade_systems.first().copied().unwrap_or(TradeSystem::General);
        if trade_systems.len() < 2 {
            return Ok(first);
        }
        let mut adopted = None;
        for trade_system in trade_systems.iter().copied() {
            let known = match &report.out_settle_no {
                Some(number) => {
                    let (app_id, out_settle_no) = (app_id.clone(), number.clone());
                    self.0.store.get(&Key { app_id, trade_system, out_settle_no }).await?
                }
                None => {
                    let id = &report.settle_id;
                    self.0.store.get_by_settle_id(app_id, trade_system, id).await?
                }
            };
            match known {
                Some(known) if known.request().is_some() => return Ok(trade_system),
                Some(_) => adopted = adopted.or(Some(trade_system)),
                None => {}
            }
        }
        Ok(adopted.unwrap_or(first))
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
