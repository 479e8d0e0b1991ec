//! CreateSettle: record, submit, answer; or find what was recorded before.
//!
//! The recording and the submission run in a task of their own: a caller that gives up, dies or
//! runs out of time changes nothing about the settle.
//!
//! `repeat` is what follows if the number is recorded already; `answer` has all that a create can
//! be answered.

mod answer;
mod repeat;

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::turn::{Permitted, Turn};
use super::watch::Event;
use super::{Gateway, Name, WatchRequest};
use crate::apps::{self, App};
use crate::clock::Timestamp;
use crate::douyin;
use crate::metrics::CHANGES;
use crate::settle::{CallerName, Content, Key, Record, Request, Source, State};
use crate::store::{self, Insert, NewDue};
use crate::trace::{self, TraceParent};
pub use answer::{CreateError, Created, NotSent, Recorded, Unknown};
use answer::{Replay, answer_of, taken_by, unread};

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
        request.map_err(|exhausted| match self.0.apps.portion().is_there() {
            true => NotSent::OverBudget { wait: exhausted.wait },
            false => NotSent::StoreUnavailable,
        })
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
        let sent_ext = Request::ext_for(&create.content, config.mark);
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
