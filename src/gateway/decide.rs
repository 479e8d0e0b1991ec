//! What an operator decides about a settle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::turn::{Answer, Turn, Unasked};
use super::{Gateway, QueryError};
use crate::apps::{App, Grant};
use crate::settle::{
    CallerName, Context, Decision, End, Ending, Heard, Key, Learned, Lease, NotNow, Observation,
    Reason, Record, Scope, Source, StateKind, Unresolved, Verdict, Why, can_end, can_resolve,
    can_stop,
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
    NotDisputed(Box<Record>),
    /// It changed since the operator saw it.
    AnotherRevision(Box<Record>),
    /// Not final yet, or the decision would leave a success for another settle.
    NotAllowed(Box<Record>),
    Store(store::Error),
}

/// A settle of which nothing is sent any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stopping {
    pub record: Record,
    /// How long until an operator can end it.
    pub wait: Duration,
}

/// An operator's word about the end of a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The revision that the operator saw.
    pub revision: i64,
    pub end: End,
    pub if_unanswered: IfUnanswered,
    pub decided: Decided,
}

/// What becomes of an operator's end if Douyin gives no answer that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfUnanswered {
    Refuse,
    /// The word counts if it was learned after the stop was confirmed.
    End,
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
    /// Sending must be stopped once more, because what Douyin was asked before may be out of date.
    NotConfirmed(Box<Record>),
    /// Something of ours may be on its way or not visible yet, or a worker is on the settle.
    TooEarly {
        wait: Duration,
    },
    /// Douyin's last answer ended it, changed it, or speaks against the operator's word.
    Shown(Box<Record>),
    /// The operator's `settle_id` is that of this other settle.
    AnotherSettle(Key),
    Query(QueryError),
    Store(store::Error),
}

/// How long an operator's end waits for a worker that is on the settle.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// When to come back if a worker is still on it.
const WORKER_WAIT: Duration = Duration::from_secs(2);

/// Whether Douyin is asked before an operator's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asking {
    Yes,
    /// The app is paused until a person repairs it.
    InVain,
}

impl Gateway {
    /// Ends the open contradiction of a settle as an operator decided who saw this revision.
    pub(crate) async fn resolve(
        &self,
        key: &Key,
        revision: i64,
        verdict: Verdict,
        decided: Decided,
    ) -> Result<Record, ResolveError> {
        let known = self.0.store.get(key).await.map_err(ResolveError::Store)?;
        let known = known.ok_or(ResolveError::NotFound)?;
        can_resolve(&known, revision, verdict).map_err(|why| unresolved(why, &known))?;
        let decision = self.decision(decided);
        let learned = Learned::Resolved { revision, verdict, decision: decision.clone() };
        let observed = self.observe(key, &self.told(learned)).await;
        let record = observed.map_err(ResolveError::Store)?.ok_or(ResolveError::NotFound)?;
        let changed = record.state != known.state;
        if record.decision.as_ref() == Some(&decision) && changed == (verdict == Verdict::Claimed) {
            return Ok(record);
        }
        // It changed between the two reads, perhaps because another operator decided.
        let why = can_resolve(&record, revision, verdict).err();
        Err(unresolved(why.unwrap_or(Unresolved::AnotherRevision), &record))
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
        can_stop(&known, revision).map_err(|not_now| self.refused(not_now, &known))?;
        let decision = self.decision(decided);
        let learned = Learned::Stopped { revision, decision: decision.clone() };
        let record = self.observe(key, &self.told(learned)).await.map_err(EndError::Store)?;
        let record = record.ok_or(EndError::NotFound)?;
        let is_ours = record.decision.as_ref().is_some_and(|last| decision.repeats(last));
        if record.evidence.stopped && is_ours {
            return Ok(self.stopping(record));
        }
        // It changed between the two reads, perhaps because another operator decided.
        let not_now = can_stop(&record, revision).err().unwrap_or(NotNow::AnotherRevision);
        Err(self.refused(not_now, &record))
    }

    /// Ends a settle in doubt with what a person learned from Douyin, after Douyin was asked by
    /// number once more. A caller that gives up changes nothing about it.
    pub async fn end(&self, app: &Arc<App>, key: &Key, word: Word) -> Result<Record, EndError> {
        let known = self.known(key).await?;
        self.check_end(&known, word.revision, Heard::Answer)?;
        self.check_settle_id(key, &word.end).await?;
        let asking = self.asking(app, &word)?;
        let patience = Instant::now() + self.0.config.budget_wait;
        let request = app.budget.for_question(patience).await;
        let request = request.map_err(|exhausted| EndError::Query(self.no_request(exhausted)))?;
        let (answer, answered) = oneshot::channel();
        let (gateway, app, key) = (self.clone(), Arc::clone(app), key.clone());
        let ended = async move {
            let ended = gateway.ask_and_end(app, &key, word, asking, request).await;
            // The send fails if the caller is gone, which changes nothing.
            let _ = answer.send(ended);
        };
        self.0.turns.spawn(tracing::Instrument::in_current_span(Box::pin(ended)));
        let lost = || store::Error::InDoubt("the task that ended it died".to_owned());
        answered.await.unwrap_or_else(|_| Err(EndError::Store(lost())))
    }

    /// A pause that ends by itself is waited for.
    fn asking(&self, app: &App, word: &Word) -> Result<Asking, EndError> {
        let Some(pause) = app.access.pause() else { return Ok(Asking::Yes) };
        let is_rejected = pause.failure.reason == Reason::UpstreamCredentialsRejected;
        if is_rejected && word.if_unanswered == IfUnanswered::End {
            return Ok(Asking::InVain);
        }
        let wait = pause.until.since(self.0.clock.now());
        Err(EndError::Query(QueryError::Paused { failure: pause.failure, wait }))
    }

    async fn ask_and_end(
        self,
        app: Arc<App>,
        key: &Key,
        word: Word,
        asking: Asking,
        request: Grant,
    ) -> Result<Record, EndError> {
        // The worker that is on it may be about to learn its end.
        let mut waiter = self.0.in_flight.waiter(key);
        let _ = tokio::time::timeout(WORKER_PATIENCE, waiter.until_idle()).await;
        let claim = self.0.store.claim(key, self.0.config.lease).await.map_err(EndError::Store)?;
        let Some(claim) = claim else {
            let known = self.known(key).await?;
            self.check_end(&known, word.revision, Heard::Answer)?;
            return Err(EndError::TooEarly { wait: WORKER_WAIT });
        };
        let _work = self.0.in_flight.begin(key);
        let mut turn = self.turn(app, claim, self.known(key).await?, request);
        let answer = match self.last_answer(&mut turn, &word, asking).await {
            Ok(answer) => answer,
            Err(error) => {
                turn.give_back().await.map_err(EndError::Store)?;
                return Err(error);
            }
        };
        let decision = self.decision(word.decided);
        let (begun, log_id) = (answer.begun, answer.log_id);
        let ending = Ending {
            end: word.end.clone(),
            revision: word.revision,
            decision: decision.clone(),
            found: answer.learned,
        };
        let seen = Observation {
            learned: Learned::Ended(Box::new(ending)),
            source: Source::Query,
            begun,
            scope: Scope::Number,
            answers: None,
            log_id,
            by: decision.by.clone(),
        };
        let observed = turn.observe_last(&seen).await.map_err(EndError::Store)?;
        let (record, was_held) = observed.ok_or(EndError::NotFound)?;
        if record.decision.as_ref() == Some(&decision) && is_end(&record, &word.end) {
            return Ok(record);
        }
        self.check_settle_id(key, &word.end).await?;
        if !was_held {
            // Another worker took the settle over while Douyin was asked, so the word did not
            // count, whatever Douyin said.
            self.check_end(&record, word.revision, Heard::Answer)?;
            return Err(EndError::TooEarly { wait: WORKER_WAIT });
        }
        Err(EndError::Shown(Box::new(record)))
    }

    /// Asks Douyin by number. `learned` is `None` if Douyin gives no answer that can be used, and
    /// the operator may end the settle all the same.
    async fn last_answer(
        &self,
        turn: &mut Turn,
        word: &Word,
        asking: Asking,
    ) -> Result<Answer<Option<Learned>>, EndError> {
        self.check_end(turn.record(), word.revision, Heard::Answer)?;
        let begun = self.0.clock.now();
        let asked = match asking {
            Asking::Yes => Some(turn.query(Scope::Number).await),
            Asking::InVain => None,
        };
        match asked {
            Some(Ok(Answer { learned, begun, log_id })) => {
                Ok(Answer { learned: Some(learned), begun, log_id })
            }
            Some(Err(Unasked::Store(error))) => Err(EndError::Store(error)),
            Some(Err(Unasked::Douyin(failure)))
                if failure.throttled || word.if_unanswered == IfUnanswered::Refuse =>
            {
                Err(EndError::Query(QueryError::Douyin(failure.failure)))
            }
            Some(Err(Unasked::Douyin(_))) | None => {
                self.check_end(turn.record(), word.revision, Heard::Nothing)?;
                Ok(Answer { learned: None, begun, log_id: None })
            }
        }
    }

    fn decision(&self, Decided { by, why }: Decided) -> Decision {
        Decision { by, why, time: self.0.clock.now() }
    }

    /// An operator's decision as an observation that nothing of Douyin's belongs to.
    fn told(&self, learned: Learned) -> Observation {
        let by = learned.decision().and_then(|decision| decision.by.clone());
        Observation {
            learned,
            source: Source::Operator,
            begun: self.0.clock.now(),
            scope: Scope::Single,
            answers: None,
            log_id: None,
            by,
        }
    }

    async fn known(&self, key: &Key) -> Result<Record, EndError> {
        let known = self.0.store.get(key).await.map_err(EndError::Store)?;
        known.ok_or(EndError::NotFound)
    }

    /// An id that is mistyped may be another settle's.
    async fn check_settle_id(&self, key: &Key, end: &End) -> Result<(), EndError> {
        let (End::Succeeded { settle_id } | End::Failed { settle_id }) = end else {
            return Ok(());
        };
        let Key { app_id, trade_system, .. } = key;
        let holder = self.0.store.get_by_settle_id(app_id, *trade_system, settle_id).await;
        match holder.map_err(EndError::Store)?.filter(|holder| holder.key != *key) {
            Some(holder) => Err(EndError::AnotherSettle(holder.key)),
            None => Ok(()),
        }
    }

    fn check_end(&self, record: &Record, revision: i64, heard: Heard) -> Result<(), EndError> {
        let may = self.may_end(record, revision, heard);
        may.map_err(|not_now| self.refused(not_now, record))
    }

    fn may_end(&self, record: &Record, revision: i64, heard: Heard) -> Result<(), NotNow> {
        let given = self.given(record);
        let now = self.0.clock.now();
        let policy = &self.0.config.policy;
        let context = Context { now, given, policy, lease: Lease::Held, attempts: 0 };
        can_end(record, revision, now, heard, &context)
    }

    fn stopping(&self, record: Record) -> Stopping {
        let wait = match self.may_end(&record, record.revision, Heard::Answer) {
            Err(NotNow::TooEarly { until }) => self.wait_until(until),
            Ok(())
            | Err(
                NotNow::AlreadyFinal
                | NotNow::AnotherRevision
                | NotNow::NotInDoubt
                | NotNow::NotStopped
                | NotNow::NotConfirmed,
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
            NotNow::NotConfirmed => EndError::NotConfirmed(record),
            NotNow::TooEarly { until } => EndError::TooEarly { wait: self.wait_until(until) },
        }
    }
}

fn unresolved(why: Unresolved, record: &Record) -> ResolveError {
    let record = Box::new(record.clone());
    match why {
        Unresolved::NotDisputed => ResolveError::NotDisputed(record),
        Unresolved::AnotherRevision => ResolveError::AnotherRevision(record),
        Unresolved::NotAllowed => ResolveError::NotAllowed(record),
    }
}

/// Whether the settle is at this end. A rejected one may live again.
fn is_end(record: &Record, end: &End) -> bool {
    let (kind, id) = match end {
        End::Rejected => (StateKind::Rejected, None),
        End::Succeeded { settle_id } => (StateKind::Succeeded, Some(settle_id)),
        End::Failed { settle_id } => (StateKind::Failed, Some(settle_id)),
    };
    record.state.kind() == kind && record.state.settle_id() == id
}
