//! CreateSettle: record, submit, answer; or find what was recorded before.
//!
//! The recording and the submission run in a task of their own: a caller that gives up, dies or
//! runs out of time changes nothing about the settle.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::elsewhere::Rest;
use super::in_flight::{Finished, Work};
use super::turn::{Permitted, Turn};
use super::watch::Event;
use super::{Gateway, Name, WatchRequest};
use crate::apps::{self, App};
use crate::clock::Timestamp;
use crate::douyin;
use crate::metrics::CHANGES;
use crate::settle::proof::{Proof, proof_of_adopted};
use crate::settle::{
    CallerName, Content, Failure, Key, Mark, Origin, Reason, Record, Repeats, Request, SettleId,
    Source, State, StateKind, TradeSystem,
};
use crate::store::{self, Insert, NewDue};
use crate::trace::{self, TraceParent};

/// A parsed CreateSettle.
#[derive(Debug)]
pub struct Create {
    /// The one of `key`.
    pub app: Arc<App>,
    pub key: Key,
    /// The caller named no app, and so means the default one.
    pub by_default_app: bool,
    pub content: Content,
    /// `None`: the longest window.
    pub submit_before: Option<Timestamp>,
    pub return_when: ReturnWhen,
    /// Who creates it; `None`: the gateway is open to anyone.
    pub by: Option<CallerName>,
    /// When the answer must leave.
    pub deadline: Instant,
    pub on_record: OnRecord,
}

/// What is to be called once the settle of a create is durable, or may be. It is dropped as soon as
/// it is known that it is not. Either can be long after the answer.
#[derive(Default)]
pub struct OnRecord(Option<Box<dyn FnOnce() + Send + Sync>>);

impl OnRecord {
    pub fn call(what: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(what)))
    }

    pub(crate) fn recorded(self) {
        if let Some(call) = self.0 {
            call();
        }
    }
}

impl fmt::Debug for OnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRecord")
    }
}

/// What the caller waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnWhen {
    /// The settle is durable here.
    Recorded,
    /// Douyin accepted or refused it.
    Accepted,
    /// Douyin said its final word.
    Final,
}

/// The settle that answers the create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Created {
    pub record: Record,
    /// It was recorded by an earlier request.
    pub replayed: bool,
}

/// Why a create is not answered with a settle. Each variant is a promise about money.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// This request was not and will not be sent: it was turned away before it was recorded.
    NotSent(NotSent),
    /// The settle is REJECTED: nothing of it is alive, and nothing will be sent under its number.
    Rejected { rejection: Failure, replayed: bool, recorded: Box<Recorded> },
    /// Another settle has the number. Only `Proof::Foreign` says that nothing of this content is
    /// alive under it.
    NumberTaken { settle_id: Option<SettleId>, proven: Proof, taken: Failure },
    /// The number holds another content. Names the differing fields.
    Conflict { fields: Vec<&'static str>, recorded: Box<Recorded> },
    /// A caller's create has the number in another trade system of the app, or had it in the app
    /// that was the default one then. This request was not sent and will not be.
    Elsewhere { key: Key, recorded: Box<Recorded> },
    /// The settle is recorded, or may be. If it is, the gateway goes on with it.
    Unknown(Unknown),
}

impl CreateError {
    /// Douyin's log id of the answer that the error tells of, if there was one.
    pub fn log_id(&self) -> Option<&str> {
        let failure = match self {
            CreateError::Rejected { rejection, .. } => rejection,
            CreateError::NumberTaken { taken, .. } => taken,
            CreateError::NotSent(NotSent::Paused { failure, .. })
            | CreateError::Unknown(Unknown::Douyin { failure, .. }) => failure,
            CreateError::NotSent(_)
            | CreateError::Conflict { .. }
            | CreateError::Elsewhere { .. }
            | CreateError::Unknown(Unknown::Deadline | Unknown::Store) => return None,
        };
        failure.douyin.as_ref().map(|said| said.log_id.as_str())
    }
}

/// The settle that is recorded under the number of a failed create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub state: StateKind,
    pub revision: i64,
    pub settle_id: Option<SettleId>,
}

impl From<&Record> for Recorded {
    fn from(record: &Record) -> Self {
        let settle_id = record.state.settle_id().cloned();
        Self { state: record.state.kind(), revision: record.revision, settle_id }
    }
}

/// Why a create was turned away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotSent {
    /// Callers cannot settle in this trade system.
    NoCreate,
    Draining,
    Overloaded,
    /// The window that the caller asks for is over, too short, or too long.
    Window {
        earliest: Timestamp,
        latest: Timestamp,
    },
    /// Douyin throttles the app or rejects its credentials.
    Paused {
        failure: Failure,
        wait: Duration,
    },
    /// The app's request budget is used up for longer than a create waits.
    OverBudget {
        wait: Duration,
    },
    StoreUnavailable,
    /// What is recorded under the number cannot be read.
    Unreadable,
    /// No time was left before the caller's deadline.
    Deadline,
}

/// Why the outcome is not known yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// Douyin did not give a definite answer so far.
    Douyin { failure: Failure, recorded: Box<Recorded> },
    /// The answer's time was up first.
    Deadline,
    /// Whether the settle was recorded is not known.
    Store,
}

impl Gateway {
    /// Records and submits a settle, or finds the recorded one. Answers by `create.deadline`.
    pub(crate) async fn create(&self, create: Create) -> Result<Created, CreateError> {
        if !douyin::has_create(create.key.trade_system) {
            return Err(CreateError::NotSent(NotSent::NoCreate));
        }
        if Instant::now() >= create.deadline {
            return Err(CreateError::NotSent(NotSent::Deadline));
        }
        let admitted = tokio::time::timeout_at(create.deadline, self.admit(&create)).await;
        let admitted = admitted.map_err(|_| CreateError::NotSent(NotSent::Deadline))??;
        let (deadline, return_when) = (create.deadline, create.return_when);
        let (app, content) = (Arc::clone(&create.app), create.content.clone());
        let (answer, answered) = oneshot::channel();
        let gateway = self.clone();
        let (span, trace) = (tracing::Span::current(), trace::current());
        let turn = gateway.record_and_submit(create, trace.clone(), admitted, answer);
        let turn = Box::pin(trace::within(trace, turn));
        self.0.turns.spawn(tracing::Instrument::instrument(turn, span));
        let created = match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(created)) => created?,
            // The task died before it answered, which only a bug can do. Nothing is known.
            Ok(Err(_)) => return Err(CreateError::Unknown(Unknown::Store)),
            Err(_) => return Err(CreateError::Unknown(Unknown::Deadline)),
        };
        match return_when {
            ReturnWhen::Recorded | ReturnWhen::Accepted => Ok(created),
            ReturnWhen::Final => Box::pin(self.until_final(app, content, created, deadline)).await,
        }
    }

    /// Looks whether a create would be taken now; writes and sends nothing. Answers with what is
    /// recorded under the number, and with nothing if the number is new.
    pub(crate) async fn check(&self, create: &Create) -> Result<Option<Record>, CreateError> {
        if !douyin::has_create(create.key.trade_system) {
            return Err(CreateError::NotSent(NotSent::NoCreate));
        }
        if self.0.drain.is_cancelled() {
            return Err(CreateError::NotSent(NotSent::Draining));
        }
        let recorded = tokio::time::timeout_at(create.deadline, self.0.store.get(&create.key));
        let recorded = recorded.await.map_err(|_| CreateError::NotSent(NotSent::Deadline))?;
        let Some(record) = recorded.map_err(unread)? else {
            self.fits(create).map_err(CreateError::NotSent)?;
            let elsewhere = self.0.store.elsewhere(&create.key, create.by_default_app);
            let elsewhere = tokio::time::timeout_at(create.deadline, elsewhere).await;
            let elsewhere = elsewhere.map_err(|_| CreateError::NotSent(NotSent::Deadline))?;
            return match elsewhere.map_err(unread)? {
                Some(elsewhere) => Err(taken_by(&elsewhere)),
                None => Ok(None),
            };
        };
        self.compare(&create.content, &record)?;
        match record.state {
            State::Submitting => Ok(Some(record)),
            State::Processing { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Rejected { .. } => {
                answer_of(record, Replay::Yes).map(|created| Some(created.record))
            }
        }
    }

    /// The checks before a create. A number that is recorded already is answered even if one fails.
    async fn admit(&self, create: &Create) -> Result<Admitted, CreateError> {
        if self.0.drain.is_cancelled() {
            return Err(CreateError::NotSent(NotSent::Draining));
        }
        let place = Arc::clone(&create.app.creates).try_acquire_owned();
        let place = place.map_err(|_| CreateError::NotSent(NotSent::Overloaded))?;
        let refusal = match self.request_for(create).await {
            Ok(request) => return Ok(Admitted { place, request: Some(request) }),
            Err(refusal) => refusal,
        };
        match self.0.store.get(&create.key).await.map_err(unread)? {
            Some(_) => Ok(Admitted { place, request: None }),
            None => Err(CreateError::NotSent(refusal)),
        }
    }

    /// The request to Douyin that a new settle begins with.
    async fn request_for(&self, create: &Create) -> Result<apps::Grant, NotSent> {
        self.fits(create)?;
        let patience = create.deadline.min(Instant::now() + self.0.config.budget_wait);
        let request = create.app.budget.for_create(patience).await;
        request.map_err(|exhausted| NotSent::OverBudget { wait: exhausted.wait })
    }

    /// Whether settles are marked. Where an acceptance does not say whose settle it is, nothing
    /// else would.
    fn mark(&self, trade_system: TradeSystem) -> Mark {
        match trade_system.repeats() {
            Repeats::Refused => self.0.config.mark,
            Repeats::AnsweredAlike => Mark::On,
        }
    }

    /// Whether the app is called now, and the window that a new settle asks for is right.
    fn fits(&self, create: &Create) -> Result<(), NotSent> {
        let now = self.0.clock.now();
        if let Some(pause) = create.app.access.pause() {
            return Err(NotSent::Paused { failure: pause.failure, wait: pause.until.since(now) });
        }
        if !self.window_fits(create) {
            return Err(NotSent::Window {
                earliest: now.plus(self.0.config.policy.grace),
                latest: now.plus(self.0.config.submit_window_max),
            });
        }
        Ok(())
    }

    /// Sending stops one grace before the window ends, so a window must be longer than that.
    fn window_fits(&self, create: &Create) -> bool {
        let now = self.0.clock.now();
        create.submit_before.is_none_or(|end| {
            end > now.plus(self.0.config.policy.grace)
                && end <= now.plus(self.0.config.submit_window_max)
        })
    }

    /// The task that survives its caller. It answers once, and may work on the settle after that.
    async fn record_and_submit(
        self,
        mut create: Create,
        trace: Option<TraceParent>,
        admitted: Admitted,
        answer: oneshot::Sender<Result<Created, CreateError>>,
    ) {
        // `request` is missing only if the number was recorded at admission. Then it still is.
        let Admitted { place, request } = admitted;
        // Before the insert, so that a repeat that finds the record also finds this work.
        let work = self.0.in_flight.begin(&create.key);
        let first = self.permission();
        let record = self.submitted(&create, trace, &first);
        let due = NewDue::Leased { lease: self.0.config.lease };
        // A create that waits for the final state gets the record here, and then watches it.
        let early = create.return_when != ReturnWhen::Accepted;
        let by = create.by.clone();
        let on_record = std::mem::take(&mut create.on_record);
        let inserted = self.0.store.insert(record.clone(), Source::Gateway, by, due).await;
        match &inserted {
            Ok(Insert::Inserted) | Err(store::Error::InDoubt(_)) => on_record.recorded(),
            Ok(Insert::Existing(_))
            | Err(store::Error::Unavailable(_) | store::Error::Unreadable(_)) => drop(on_record),
        }
        match inserted {
            Ok(Insert::Inserted) => {
                let source = Source::Gateway.as_str();
                let Key { app_id, trade_system, .. } = &record.key;
                let (app_id, trade_system) = (app_id.as_str(), trade_system.as_str());
                CHANGES.count([app_id, trade_system, "SUBMITTING", source]);
                let mut answer = Some(answer);
                if early && let Some(answer) = answer.take() {
                    // The send fails if the caller is gone, which changes nothing.
                    let _ = answer.send(Ok(Created { record: record.clone(), replayed: false }));
                }
                let turn = self.first_turn(&create.app, record, &first, request);
                let submitted = self.submit(&create.content, turn).await;
                drop(work);
                if let Some(answer) = answer {
                    let _ = answer.send(submitted);
                }
            }
            Ok(Insert::Existing(existing)) => {
                // A repeat that waits for the work of another task takes no place from new creates.
                drop(place);
                if let Some(request) = request {
                    request.give_back();
                }
                let _ = answer.send(Box::pin(self.repeat(create, *existing, work)).await);
            }
            Err(store::Error::Unavailable(_)) => {
                let _ = answer.send(Err(CreateError::NotSent(NotSent::StoreUnavailable)));
            }
            Err(store::Error::Unreadable(_)) => {
                let _ = answer.send(Err(CreateError::NotSent(NotSent::Unreadable)));
            }
            Err(store::Error::InDoubt(_)) => {
                let _ = answer.send(Err(CreateError::Unknown(Unknown::Store)));
            }
        }
    }

    /// The record that permits the first send.
    fn submitted(&self, create: &Create, trace: Option<TraceParent>, first: &Permitted) -> Record {
        let config = &self.0.config;
        let sent_ext = Request::ext_for(&create.content, self.mark(create.key.trade_system));
        let body = douyin::create_body(
            &create.key,
            &create.content,
            sent_ext.as_deref(),
            create.app.config.notify_url.as_ref(),
        );
        let body = body.expect("a create of a system that has none is turned away");
        let longest = first.permission.time.plus(config.submit_window_max);
        let submit_before = create.submit_before.unwrap_or(longest);
        let request = Request::new(create.content.clone(), sent_ext, body, submit_before);
        let (by_default_app, created_by) = (create.by_default_app, create.by.clone());
        let request = Request { by_default_app, created_by, trace, ..request };
        let version = self.0.store.first_version();
        let record = Record::submitted(create.key.clone(), request, first.permission);
        let record = Record { version, ..record };
        if self.0.store.may_have_forgotten() { record.perhaps_forgotten() } else { record }
    }

    async fn submit(&self, content: &Content, turn: Turn) -> Result<Created, CreateError> {
        match Box::pin(turn.run()).await {
            Ok(Some(record)) => {
                // Meanwhile the number may have become another system's.
                self.compare(content, &record)?;
                answer_of(record, Replay::No)
            }
            Ok(None) | Err(_) => Err(CreateError::Unknown(Unknown::Store)),
        }
    }

    /// A number that is recorded already: the same content is answered from the record, after the
    /// call in flight or one that this repeat brings forward.
    async fn repeat(
        &self,
        create: Create,
        existing: Record,
        work: Work,
    ) -> Result<Created, CreateError> {
        work.cancel();
        if existing.key != create.key {
            return Err(taken_by(&existing));
        }
        self.compare(&create.content, &existing)?;
        if existing.state != State::Submitting {
            return answer_of(existing, Replay::Yes);
        }
        if create.return_when != ReturnWhen::Accepted {
            self.bring_forward(&create).await;
            return Ok(Created { record: existing, replayed: true });
        }
        let mut waiter = self.0.in_flight.waiter(&create.key);
        // The deadline ends the wait, not the work.
        let finished = tokio::time::timeout_at(create.deadline, waiter.until_idle()).await;
        // Read only now: work that has finished left its result here.
        let mut record = self.recorded(&create).await?;
        let mut is_answered = finished == Ok(Finished::Yes);
        if !is_answered && self.is_worked_on_elsewhere(&create.key).await {
            is_answered =
                self.until_worked_elsewhere(&create.key, create.deadline, Rest::Enough).await;
            record = self.recorded(&create).await?;
        }
        if record.state != State::Submitting || is_answered {
            return answer_of(record, Replay::Yes);
        }
        if self.bring_forward(&create).await == Soon::No {
            return answer_of(record, Replay::Yes);
        }
        // Whichever replica takes it up.
        let elsewhere = self.until_worked_elsewhere(&create.key, create.deadline, Rest::NotEnough);
        let wait = async {
            tokio::select! {
                biased;
                () = waiter.until_finished() => {}
                _ = elsewhere => {}
            }
        };
        let _ = tokio::time::timeout_at(create.deadline, wait).await;
        answer_of(self.recorded(&create).await?, Replay::Yes)
    }

    /// The record of a repeat, whose number meanwhile may have become another system's.
    async fn recorded(&self, create: &Create) -> Result<Record, CreateError> {
        let record = match self.0.store.get(&create.key).await {
            Ok(Some(record)) => record,
            Ok(None) | Err(_) => return Err(CreateError::Unknown(Unknown::Store)),
        };
        self.compare(&create.content, &record)?;
        Ok(record)
    }

    /// Whether the recorded settle is what this caller asked for.
    fn compare(&self, content: &Content, recorded: &Record) -> Result<(), CreateError> {
        match &recorded.origin {
            Origin::Gateway(request) => {
                let fields = request.content.differing_fields(content);
                if fields.is_empty() {
                    return Ok(());
                }
                Err(CreateError::Conflict { fields, recorded: Box::new(recorded.into()) })
            }
            Origin::Platform => {
                let mark = self.mark(recorded.key.trade_system);
                let proven = proof_of_adopted(content, mark, &recorded.facts);
                let settle_id = recorded.state.settle_id().cloned();
                match proven {
                    Proof::Ours => Ok(()),
                    Proof::Foreign | Proof::Unproven => {
                        let taken = recorded.evidence.refused.clone();
                        let taken =
                            taken.unwrap_or_else(|| Failure::own(Reason::OutSettleNoExists));
                        Err(CreateError::NumberTaken { settle_id, proven, taken })
                    }
                }
            }
        }
    }

    /// Brings the next attempt forward, once per gap however many repeats arrive. Tells whether
    /// that attempt comes soon enough to wait for it. If the store fails here, the schedule stays
    /// as it was.
    async fn bring_forward(&self, create: &Create) -> Soon {
        if create.app.access.pause().is_some() {
            return Soon::No;
        }
        let gap = self.0.config.nudge_gap;
        let due = self.0.store.nudge(&create.key, Duration::ZERO, gap).await;
        let Ok(Some(wait)) = due else { return Soon::No };
        self.0.alarm.set(wait);
        if Instant::now() + wait < create.deadline { Soon::Yes } else { Soon::No }
    }

    /// Waits for the final state; at the deadline the current one is the answer.
    async fn until_final(
        &self,
        app: Arc<App>,
        content: Content,
        created: Created,
        deadline: Instant,
    ) -> Result<Created, CreateError> {
        let Created { mut record, replayed } = created;
        let request = WatchRequest {
            app,
            name: Name::Key(record.key.clone()),
            after_revision: record.revision,
            heartbeat_interval: None,
        };
        let until = async {
            let mut watch = self.watch(request).await.ok()?;
            while let Ok(event) = watch.next().await {
                if let Event::Settle(settle) = event {
                    record = Record::clone(&settle);
                }
            }
            Some(())
        };
        // Whatever ended the wait, the newest record seen is true and is the answer.
        let _ = tokio::time::timeout_at(deadline, until).await;
        self.compare(&content, &record)?;
        if record.state == State::Submitting {
            return Ok(Created { record, replayed });
        }
        answer_of(record, if replayed { Replay::Yes } else { Replay::No })
    }
}

/// What an admitted create holds: a place among the creates, and the budget for the first request
/// to Douyin. No `request`: the number is recorded already, and nothing new will be sent.
struct Admitted {
    place: OwnedSemaphorePermit,
    request: Option<apps::Grant>,
}

/// Whether an attempt that was brought forward comes before the answer must leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Soon {
    Yes,
    No,
}

/// Whether the record was there before the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Replay {
    Yes,
    No,
}

/// The number is another settle's.
fn taken_by(other: &Record) -> CreateError {
    CreateError::Elsewhere { key: other.key.clone(), recorded: Box::new(other.into()) }
}

/// What is recorded under a number cannot be read.
fn unread(error: store::Error) -> CreateError {
    CreateError::NotSent(match error {
        store::Error::Unreadable(_) => NotSent::Unreadable,
        store::Error::Unavailable(_) | store::Error::InDoubt(_) => NotSent::StoreUnavailable,
    })
}

/// What a record says to the create that asked for it.
fn answer_of(record: Record, replay: Replay) -> Result<Created, CreateError> {
    let replayed = replay == Replay::Yes;
    let recorded = || Box::new(Recorded::from(&record));
    match &record.state {
        State::Rejected { rejection } => {
            let (rejection, recorded) = (rejection.clone(), recorded());
            Err(CreateError::Rejected { rejection, replayed, recorded })
        }
        State::Submitting => {
            let failure = record.last_error.clone();
            let failure = failure.unwrap_or_else(|| Failure::own(Reason::UpstreamTimeout));
            Err(CreateError::Unknown(Unknown::Douyin { failure, recorded: recorded() }))
        }
        State::Processing { .. } | State::Succeeded { .. } | State::Failed { .. } => {
            Ok(Created { record, replayed })
        }
    }
}
