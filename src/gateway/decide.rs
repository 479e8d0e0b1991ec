//! What an operator decides about a settle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::turn::Unended;
use super::{Gateway, QueryError};
use crate::apps::{App, Grant};
use crate::settle::{
    CallerName, Context, End, Ending, Key, Learned, Lease, NotNow, Observation, Record, Scope,
    Source, State, Verdict, Why, can_end, can_resolve, can_stop,
};
use crate::store;

/// Who decided, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// `None`: the gateway is open to anyone.
    pub by: Option<CallerName>,
    pub why: Why,
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

/// A settle of which nothing is sent any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stopping {
    pub record: Record,
    /// How long until an operator can end it.
    pub wait: Duration,
}

/// Why an operator could not stop or end a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndError {
    NotFound,
    AlreadyFinal(Box<Record>),
    /// It changed since the operator saw it.
    AnotherRevision(Box<Record>),
    /// Douyin's next word ends it, so no operator needs to.
    NotInDoubt(Box<Record>),
    NotStopped(Box<Record>),
    /// Something of ours may be on its way or not visible yet, or a worker is on the settle.
    TooEarly {
        wait: Duration,
    },
    /// Douyin's last answer ended it, changed it, or speaks against the operator's word.
    Shown(Box<Record>),
    Query(QueryError),
    Store(store::Error),
}

/// How long an operator's end waits for a worker that is on the settle.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// When to come back if a worker is still on it.
const WORKER_WAIT: Duration = Duration::from_secs(2);

impl Gateway {
    /// Ends the open contradiction of a settle as an operator decided.
    pub(crate) async fn resolve(
        &self,
        key: &Key,
        verdict: Verdict,
        decided: Decided,
    ) -> Result<Record, ResolveError> {
        let known = self.0.store.get(key).await.map_err(ResolveError::Store)?;
        let known = known.ok_or(ResolveError::NotFound)?;
        if known.open_contradiction().is_none() {
            return Err(ResolveError::NotDisputed);
        }
        if !can_resolve(&known, verdict) {
            return Err(ResolveError::NotAllowed);
        }
        let Decided { by, why } = decided;
        let seen = Observation {
            learned: Learned::Resolved { verdict, why },
            source: Source::Operator,
            begun: self.0.clock.now(),
            scope: Scope::Single,
            answers: None,
            log_id: None,
            by,
        };
        let observed = self.observe(key, &seen).await.map_err(ResolveError::Store)?;
        observed.ok_or(ResolveError::NotFound)
    }

    /// Stops sending, durably and for good: nothing is permitted any more. What was permitted may
    /// still be on its way.
    pub async fn stop_sending(
        &self,
        key: &Key,
        revision: i64,
        decided: Decided,
    ) -> Result<Stopping, EndError> {
        let known = self.known(key).await?;
        let may = can_stop(&known, revision);
        may.map_err(|not_now| self.refused(not_now, &known))?;
        if known.evidence.stopped {
            return Ok(self.stopping(known));
        }
        let Decided { by, why } = decided;
        let seen = Observation {
            learned: Learned::Stopped { revision, why },
            source: Source::Operator,
            begun: self.0.clock.now(),
            scope: Scope::Single,
            answers: None,
            log_id: None,
            by,
        };
        let record = self.observe(key, &seen).await.map_err(EndError::Store)?;
        let record = record.ok_or(EndError::NotFound)?;
        if record.evidence.stopped {
            return Ok(self.stopping(record));
        }
        // It changed between the two reads.
        let not_now = can_stop(&record, revision).err().unwrap_or(NotNow::AnotherRevision);
        Err(self.refused(not_now, &record))
    }

    /// Ends a settle in doubt with what a person learned from Douyin, after Douyin was asked by
    /// number once more. A caller that gives up changes nothing about it.
    pub async fn end(
        &self,
        app: &Arc<App>,
        key: &Key,
        revision: i64,
        end: End,
        decided: Decided,
    ) -> Result<Record, EndError> {
        let known = self.known(key).await?;
        self.check_end(&known, revision)?;
        // An id that is mistyped may be another settle's, whose record this one would take over.
        if let End::Succeeded { settle_id } | End::Failed { settle_id } = &end {
            let store = &self.0.store;
            let holder = store.get_by_settle_id(&key.app_id, key.trade_system, settle_id).await;
            if holder.map_err(EndError::Store)?.is_some_and(|holder| holder.key != *key) {
                return Err(EndError::Shown(Box::new(known)));
            }
        }
        if let Some(pause) = app.access.pause() {
            let wait = pause.until.since(self.0.clock.now());
            let paused = QueryError::Paused { failure: pause.failure, wait };
            return Err(EndError::Query(paused));
        }
        let patience = Instant::now() + self.0.config.budget_wait;
        let request = app.budget.for_question(patience).await;
        let request =
            request.map_err(|over| EndError::Query(QueryError::OverBudget { wait: over.wait }))?;
        let (answer, answered) = oneshot::channel();
        let (gateway, app, key) = (self.clone(), Arc::clone(app), key.clone());
        let ended = async move {
            let ended = gateway.ask_and_end(app, &key, revision, end, decided, request).await;
            // The send fails if the caller is gone, which changes nothing.
            let _ = answer.send(ended);
        };
        self.0.turns.spawn(tracing::Instrument::in_current_span(Box::pin(ended)));
        let lost = || store::Error::InDoubt("the task that ended it died".to_owned());
        answered.await.unwrap_or_else(|_| Err(EndError::Store(lost())))
    }

    async fn ask_and_end(
        self,
        app: Arc<App>,
        key: &Key,
        revision: i64,
        end: End,
        decided: Decided,
        request: Grant,
    ) -> Result<Record, EndError> {
        // The worker that is on it may be about to learn its end.
        let mut waiter = self.0.in_flight.waiter(key);
        let _ = tokio::time::timeout(WORKER_PATIENCE, waiter.until_idle()).await;
        let claim = self.0.store.claim(key, self.0.config.lease).await.map_err(EndError::Store)?;
        let Some(claim) = claim else {
            let known = self.known(key).await?;
            self.check_end(&known, revision)?;
            return Err(EndError::TooEarly { wait: WORKER_WAIT });
        };
        let turn = self.last_turn(app, claim, self.known(key).await?, request);
        if let Err(error) = self.check_end(turn.record(), revision) {
            turn.give_back().await.map_err(EndError::Store)?;
            return Err(error);
        }
        let Decided { by, why } = decided;
        let ending = |found| Ending { end: end.clone(), revision, why, found };
        match turn.ask_and_end(ending, by).await {
            Ok(Some(record)) if was_ended(&record, &end) => Ok(record),
            Ok(Some(record)) => Err(EndError::Shown(Box::new(record))),
            Ok(None) => Err(EndError::NotFound),
            Err(Unended::Store(error)) => Err(EndError::Store(error)),
            Err(Unended::Douyin(failure)) => Err(EndError::Query(QueryError::Douyin(failure))),
        }
    }

    async fn known(&self, key: &Key) -> Result<Record, EndError> {
        let known = self.0.store.get(key).await.map_err(EndError::Store)?;
        known.ok_or(EndError::NotFound)
    }

    fn check_end(&self, record: &Record, revision: i64) -> Result<(), EndError> {
        let may = self.may_end(record, revision);
        may.map_err(|not_now| self.refused(not_now, record))
    }

    fn may_end(&self, record: &Record, revision: i64) -> Result<(), NotNow> {
        let now = self.0.clock.now();
        let context = Context {
            now,
            given: self.given(record),
            policy: &self.0.config.policy,
            lease: Lease::Held,
            attempts: 0,
        };
        can_end(record, revision, now, &context)
    }

    fn stopping(&self, record: Record) -> Stopping {
        let wait = match self.may_end(&record, record.revision) {
            Err(NotNow::TooEarly { until }) => self.wait_until(until),
            Ok(())
            | Err(
                NotNow::AlreadyFinal
                | NotNow::AnotherRevision
                | NotNow::NotInDoubt
                | NotNow::NotStopped,
            ) => Duration::ZERO,
        };
        Stopping { record, wait }
    }

    fn wait_until(&self, until: Option<crate::clock::Timestamp>) -> Duration {
        let policy = &self.0.config.policy;
        let now = self.0.clock.now();
        until.map_or(policy.call_timeout + policy.grace, |until| until.since(now))
    }

    fn refused(&self, not_now: NotNow, record: &Record) -> EndError {
        let record = Box::new(record.clone());
        match not_now {
            NotNow::AlreadyFinal => EndError::AlreadyFinal(record),
            NotNow::AnotherRevision => EndError::AnotherRevision(record),
            NotNow::NotInDoubt => EndError::NotInDoubt(record),
            NotNow::NotStopped => EndError::NotStopped(record),
            NotNow::TooEarly { until } => EndError::TooEarly { wait: self.wait_until(until) },
        }
    }
}

/// Whether the operator's word ended it, and not Douyin's answer.
fn was_ended(record: &Record, end: &End) -> bool {
    let by_the_word = record.decision.as_ref().is_some_and(|it| it.time == record.update_time);
    let fits = match (&record.state, end) {
        (State::Rejected { .. }, End::Rejected) => true,
        (State::Succeeded { settle_id }, End::Succeeded { settle_id: said })
        | (State::Failed { settle_id }, End::Failed { settle_id: said }) => settle_id == said,
        (
            State::Submitting
            | State::Processing { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Rejected { .. },
            _,
        ) => false,
    };
    fits && by_the_word
}
