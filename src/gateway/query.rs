//! Asking Douyin on a caller's request. What Douyin says is recorded, and settles that were not
//! made here are adopted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Gateway, Name};
use crate::apps::{App, Exhausted, Grant};
use crate::douyin::{AmountLeft, QueryBy, QueryFailure, can_ask};
use crate::settle::{
    AppId, CallerName, Failure, Key, Learned, Observation, OrderId, OutOrderNo, OutSettleNo,
    Record, Report, ReportedStatus, Scope, SettleId, Source, TradeSystem,
};
use crate::store::{self, Insert, NewDue};

/// What Douyin is asked by: one of its four keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    SettleId(SettleId),
    OrderId(OrderId),
    OutSettleNo(OutSettleNo),
    OutOrderNo(OutOrderNo),
}

impl Question {
    fn by(&self) -> QueryBy<'_> {
        match self {
            Question::SettleId(settle_id) => QueryBy::SettleId(settle_id),
            Question::OrderId(order_id) => QueryBy::OrderId(order_id),
            Question::OutSettleNo(number) => QueryBy::OutSettleNo(number),
            Question::OutOrderNo(number) => QueryBy::OutOrderNo(number),
        }
    }

    /// The field of the contract.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Question::SettleId(_) => "settle_id",
            Question::OrderId(_) => "order_id",
            Question::OutSettleNo(_) => "out_settle_no",
            Question::OutOrderNo(_) => "out_order_no",
        }
    }

    /// Whether Douyin can be asked so in this system.
    pub(crate) fn is_possible(&self, trade_system: TradeSystem, app_id: &AppId) -> bool {
        can_ask(trade_system, app_id, self.by())
    }
}

/// Why a question about a settle has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueryError {
    Store(store::Error),
    /// Douyin could not be asked, or did not answer.
    Douyin(Failure),
    /// Douyin throttles the app or rejects its credentials.
    Paused {
        failure: Failure,
        wait: Duration,
    },
    /// The app's request budget is used up.
    OverBudget {
        wait: Duration,
    },
}

/// Lookups of unknown settles: one at a time per name. The last result is remembered for a short
/// time: "no such settle", or why Douyin could not be asked.
#[derive(Default)]
pub(super) struct Lookups(Mutex<HashMap<Name, Arc<Slot>>>);

type Slot = tokio::sync::Mutex<Option<(Instant, Result<(), QueryError>)>>;

/// Names remembered at once; beyond that the memory is cleared, which costs a query each.
const NAMES_MAX: usize = 10_000;

/// A lost race with a merge of two records is tried again; a record is merged only once.
const ADOPT_TRIES_MAX: u32 = 3;

impl Lookups {
    fn slot(&self, name: &Name) -> Arc<Slot> {
        let mut slots = self.0.lock().expect("no code panics while holding this lock");
        if slots.len() >= NAMES_MAX && !slots.contains_key(name) {
            // A slot in use lives on with its users.
            slots.clear();
        }
        Arc::clone(slots.entry(name.clone()).or_default())
    }

    fn forget(&self, name: &Name) {
        self.0.lock().expect("no code panics while holding this lock").remove(name);
    }
}

impl Gateway {
    /// Asks a trade system and records what it says. Returns the settles as recorded, in Douyin's
    /// order; none if Douyin shows none now. `by`: who asks, for the history of what changes.
    pub(crate) async fn query(
        &self,
        app: &App,
        trade_system: TradeSystem,
        question: &Question,
        by: Option<&CallerName>,
    ) -> Result<Vec<Record>, QueryError> {
        let _request = self.may_ask(app).await?;
        let begun = self.0.clock.now();
        let answer = self.0.douyin.query(&app.access, trade_system, question.by()).await;
        let answer = answer.map_err(|QueryFailure { failure, .. }| QueryError::Douyin(failure))?;
        let mut records = Vec::new();
        for (key, reports) in by_key(app.id(), trade_system, question, answer.reports) {
            // Douyin shows all settles of the number that was asked for, and perhaps only some of
            // others.
            let whole = *question == Question::OutSettleNo(key.out_settle_no.clone());
            let scope = if whole { Scope::Number } else { Scope::Single };
            let seen = Observation {
                learned: Learned::Reported(reports),
                source: Source::Query,
                begun,
                scope,
                answers: None,
                log_id: answer.log_id.clone(),
                by: by.cloned(),
            };
            let record = self.adopt(key, seen).await.map_err(QueryError::Store)?;
            // Douyin may show one settle under two numbers; it has one record here.
            records
                .extend(record.filter(|record| {
                    !records.iter().any(|known: &Record| known.key == record.key)
                }));
        }
        Ok(records)
    }

    /// What of an order can still be settled, as Douyin says. Nothing of it is recorded, so it
    /// never blames the store.
    pub(crate) async fn amount_left(
        &self,
        app: &App,
        order: &OutOrderNo,
    ) -> Result<AmountLeft, QueryError> {
        self.is_called(app)?;
        let request = self.request(app).await;
        let _request = request.map_err(|over| QueryError::OverBudget { wait: over.wait })?;
        let left = self.0.douyin.amount_left(&app.access, order).await;
        left.map_err(|QueryFailure { failure, .. }| QueryError::Douyin(failure))
    }

    /// The budget for one question of a caller whose answer is recorded.
    async fn may_ask(&self, app: &App) -> Result<Grant, QueryError> {
        self.is_called(app)?;
        self.request(app).await.map_err(|exhausted| self.no_request(exhausted))
    }

    fn is_called(&self, app: &App) -> Result<(), QueryError> {
        let Some(pause) = app.access.pause() else { return Ok(()) };
        let wait = pause.until.since(self.0.clock.now());
        Err(QueryError::Paused { failure: pause.failure, wait })
    }

    async fn request(&self, app: &App) -> Result<Grant, Exhausted> {
        let patience = Instant::now() + self.0.config.budget_wait;
        app.budget.for_question(patience).await
    }

    /// Why there is no request for a question.
    pub(super) fn no_request(&self, exhausted: Exhausted) -> QueryError {
        match self.0.apps.portion().is_there() {
            true => QueryError::OverBudget { wait: exhausted.wait },
            false => {
                let why = "this process cannot show the others that it is alive";
                QueryError::Store(store::Error::Unavailable(why.to_owned()))
            }
        }
    }

    /// The recorded settle, after asking Douyin about it.
    pub(crate) async fn refresh(
        &self,
        app: &App,
        name: &Name,
        by: Option<&CallerName>,
    ) -> Result<Option<Record>, QueryError> {
        let known = self.get(name).await.map_err(QueryError::Store)?;
        let by_number = |key: &Key| Question::OutSettleNo(key.out_settle_no.clone());
        let question = match (&known, name) {
            // In doubt, the number may have more settles at Douyin than the recorded one.
            (Some(record), _) => match record.state.settle_id() {
                Some(settle_id) if !record.evidence.in_doubt() => {
                    Question::SettleId(settle_id.clone())
                }
                Some(_) | None => by_number(&record.key),
            },
            (None, Name::Key(key)) => by_number(key),
            (None, Name::SettleId(_, _, settle_id)) => Question::SettleId(settle_id.clone()),
        };
        let question = match &known {
            Some(record) if !question.is_possible(name.trade_system(), app.id()) => {
                by_number(&record.key)
            }
            Some(_) | None => question,
        };
        // Where Douyin knows no settle by its id, one that is not recorded is not found.
        if question.is_possible(name.trade_system(), app.id()) {
            self.query(app, name.trade_system(), &question, by).await?;
        }
        // What was learned may have given the record another settle_id.
        let name = known.map_or_else(|| name.clone(), |record| Name::Key(record.key));
        self.get(&name).await.map_err(QueryError::Store)
    }

    /// The recorded settle, or the one that Douyin knows by this name, which is then recorded.
    pub(super) async fn get_or_adopt(
        &self,
        app: &App,
        name: &Name,
    ) -> Result<Option<Record>, QueryError> {
        if let Some(record) = self.get(name).await.map_err(QueryError::Store)? {
            return Ok(Some(record));
        }
        let slot = self.0.lookups.slot(name);
        let asked = Instant::now();
        let mut last = slot.lock().await;
        // The task that held the slot before may have recorded it.
        if let Some(record) = self.get(name).await.map_err(QueryError::Store)? {
            return Ok(Some(record));
        }
        match &*last {
            Some((at, Ok(()))) if at.elapsed() < self.0.config.absent_ttl => return Ok(None),
            // The lookup that we waited for failed after we asked, so its error is our answer too.
            Some((at, Err(error))) if *at >= asked => return Err(error.clone()),
            Some((_, Ok(()) | Err(_))) | None => {}
        }
        let found = Box::pin(self.refresh(app, name, None)).await;
        match &found {
            Ok(Some(_)) => self.0.lookups.forget(name),
            Ok(None) => *last = Some((Instant::now(), Ok(()))),
            Err(error) => *last = Some((Instant::now(), Err(error.clone()))),
        }
        found
    }

    /// Inserts the settle, or observes it if another task recorded it first, so that no fact is
    /// lost. `None` only if nothing is reported.
    pub(super) async fn adopt(
        &self,
        key: Key,
        seen: Observation,
    ) -> Result<Option<Record>, store::Error> {
        let Learned::Reported(reports) = &seen.learned else {
            return Ok(None);
        };
        // The record follows a settle that lives rather than one that failed.
        let alive = reports.iter().min_by_key(|report| report.status == ReportedStatus::Fail);
        let Some(report) = alive else {
            return Ok(None);
        };
        let now = self.0.clock.now();
        let mut record = Record::adopted(key, report, now);
        // Most callbacks show less than a query, so a query follows.
        let owes = !record.is_final() || record.owes_a_query();
        let due = match (seen.source, record.is_final()) {
            (Source::Callback, true | false) if owes => NewDue::In(Duration::ZERO),
            (_, true) => NewDue::None,
            (_, false) => NewDue::In(self.wait(&record.key, 0)),
        };
        for _ in 0..ADOPT_TRIES_MAX {
            record.version = self.0.store.first_version();
            match self.0.store.insert(record.clone(), seen.source, seen.by.clone(), due).await? {
                Insert::Inserted => {
                    if let NewDue::In(wait) = due {
                        self.0.alarm.set(wait);
                    }
                    return Ok(Some(record));
                }
                Insert::Existing(existing) => {
                    let observed = self.observe(&existing.key, &seen).await?;
                    if observed.is_some() {
                        return Ok(observed);
                    }
                    // It was merged into another record meanwhile, which the next try finds.
                }
            }
        }
        let cause = format!("{} was merged into another record again and again", record.key);
        Err(store::Error::Unavailable(cause))
    }
}

/// The reports of each settle number, in Douyin's order. A report without a number belongs to the
/// number that was asked for, else (automatic settlement) its `settle_id` is its number.
fn by_key(
    app_id: &AppId,
    trade_system: TradeSystem,
    question: &Question,
    reports: Vec<Report>,
) -> Vec<(Key, Vec<Report>)> {
    let asked = match question {
        Question::OutSettleNo(number) => Some(number),
        Question::SettleId(_) | Question::OrderId(_) | Question::OutOrderNo(_) => None,
    };
    let mut grouped: Vec<(Key, Vec<Report>)> = Vec::new();
    for report in reports {
        let number = report.out_settle_no.as_ref().or(asked).cloned();
        let out_settle_no = number.unwrap_or_else(|| OutSettleNo::of_settle_id(&report.settle_id));
        let key = Key { app_id: app_id.clone(), trade_system, out_settle_no };
        match grouped.iter_mut().find(|(known, _)| *known == key) {
            Some((_, reports)) => reports.push(report),
            None => grouped.push((key, vec![report])),
        }
    }
    grouped
}
