//! All that the gateway knows of one settle, for an operator.

use super::{Gateway, Name};
use crate::clock::Timestamp;
use crate::settle::{Explanation, HistoryEntry, Record, Situation, Stuck, explain};
use crate::store;

/// One settle as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub record: Record,
    /// Oldest first.
    pub history: Vec<HistoryEntry>,
    pub explanation: Explanation,
    /// Why it does not come to its end by itself.
    pub stuck: Option<Stuck>,
    /// When Douyin is called next.
    pub next_check: Option<Timestamp>,
    /// Calls to Douyin since it was created, if it is scheduled.
    pub attempts: u32,
}

impl Gateway {
    /// A recorded settle, with why it is where it is. Calls nothing but the store.
    pub(crate) async fn show(&self, name: &Name) -> Result<Option<Shown>, store::Error> {
        let Some(record) = self.get(name).await? else {
            return Ok(None);
        };
        let history = self.history(&record.key).await?;
        let scheduled = self.0.store.scheduled(&record.key).await?;
        let now = self.0.clock.now();
        let stuck = self.stuck_kind(&record, now);
        let app = self.0.apps.get(&record.key.app_id);
        let pause = app.and_then(|app| app.access.pause());
        let situation = Situation {
            now,
            policy: &self.0.config.policy,
            given: self.given(&record),
            stuck,
            paused: pause.as_ref().map(|pause| &pause.failure.reason),
        };
        Ok(Some(Shown {
            explanation: explain(&record, &situation),
            history,
            stuck,
            next_check: scheduled.map(|scheduled| now.plus(scheduled.wait)),
            attempts: scheduled.map_or(0, |scheduled| scheduled.attempts),
            record,
        }))
    }
}
