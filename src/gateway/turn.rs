//! A turn: one worker with the lease of one settle. It asks the pure core what to do next, does it,
//! and has the result recorded, until there is nothing more to do now.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument as _, field, info_span};

use super::observe::Holder;
use super::{Gateway, stuck};
use crate::apps::{App, Grant};
use crate::clock::{Timestamp, Uptime};
use crate::douyin::{QueryBy, QueryFailure, can_ask};
use crate::settle::schedule::at_rest;
use crate::settle::{
    Answers, Asked, By, Due, Key, Learned, Observation, Permission, PermissionId, Progress, Record,
    Report, Role, Scope, SettleId, Source, Step, permit, schedule,
};
use crate::store::{self, Claim, Fence, Swap, Swapped, first_fence};
use crate::trace;

/// A permission given just now, and when by the clock that never jumps. The send must leave within
/// its time by that clock.
pub(super) struct Permitted {
    pub(super) permission: Permission,
    pub(super) at: Uptime,
}

/// A worker with the lease of a settle.
pub(super) struct Turn {
    gateway: Gateway,
    app: Arc<App>,
    fence: Fence,
    progress: Progress,
    /// The record as this worker last saw it.
    record: Record,
    /// A send that is permitted durably and not made yet.
    permitted: Option<(PermissionId, Uptime)>,
    /// The budget for the first call.
    request: Option<Grant>,
}

/// What one step brought.
enum Did {
    Saw(Observation),
    /// The call was not made, or taught nothing.
    Nothing,
    /// The permission did not apply: another worker goes on with the settle.
    NotPermitted,
}

/// An answer to a query.
pub(super) struct Answer<L = Learned> {
    pub(super) learned: L,
    pub(super) begun: Timestamp,
    pub(super) log_id: Option<String>,
}

/// Why a query taught nothing.
pub(super) enum Unasked {
    Douyin(QueryFailure),
    Store(store::Error),
}

impl Gateway {
    /// Works on a claimed settle until there is nothing more to do now. Ends with the lease given
    /// back, lost, or (if the store fails) left to run out. The next worker goes on from the
    /// record.
    pub(super) async fn work(
        &self,
        app: Arc<App>,
        claim: Claim,
        request: Grant,
    ) -> Result<(), store::Error> {
        let _work = self.0.in_flight.begin(&claim.key);
        let Some(record) = self.0.store.get(&claim.key).await? else { return Ok(()) };
        let trace = record.request().and_then(|request| request.trace.clone());
        let span = trace::following(trace.as_ref(), || {
            let Key { app_id, out_settle_no, .. } = &claim.key;
            info_span!("turn", %app_id, %out_settle_no, trace_id = field::Empty)
        });
        let turn = self.turn(app, claim, record, request).run();
        trace::within(trace, turn).instrument(span).await.map(drop)
    }

    /// The work of the create that recorded the settle: its insert permitted the first send.
    pub(super) fn first_turn(
        &self,
        app: &Arc<App>,
        record: Record,
        first: &Permitted,
        request: Option<Grant>,
    ) -> Turn {
        let (gateway, app) = (self.clone(), Arc::clone(app));
        let progress = Progress::of_creator(&record);
        let permitted = Some((first.permission.id, first.at));
        Turn { gateway, app, fence: first_fence(&record), progress, record, permitted, request }
    }

    /// The turn of a worker that claimed the settle.
    pub(super) fn turn(&self, app: Arc<App>, claim: Claim, record: Record, request: Grant) -> Turn {
        let Claim { fence, attempts, backoff, .. } = claim;
        let progress = Progress::of_poller(&record, attempts, backoff);
        let (gateway, request) = (self.clone(), Some(request));
        Turn { gateway, app, fence, progress, record, permitted: None, request }
    }

    /// A permission to send, as of now. It counts once it is durable.
    pub(super) fn permission(&self) -> Permitted {
        let at = self.0.clock.uptime();
        let (time, lasts) = (self.0.clock.now(), self.0.config.policy.call_timeout);
        Permitted { permission: Permission { id: self.0.next_permission(), time, lasts }, at }
    }
}

/// By the id, where Douyin can be asked by it.
fn by_settle_id<'a>(key: &'a Key, settle_id: &'a SettleId) -> QueryBy<'a> {
    let by_id = QueryBy::SettleId(settle_id);
    match can_ask(key.trade_system, &key.app_id, by_id) {
        true => by_id,
        false => QueryBy::OutSettleNo(&key.out_settle_no),
    }
}

impl Turn {
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Has an operator's end recorded, and ends. Tells whether the lease was held until then.
    /// `None`: the record is gone.
    pub(super) async fn observe_last(
        mut self,
        seen: &Observation,
    ) -> Result<Option<(Record, bool)>, store::Error> {
        let holder = Holder { fence: self.fence, progress: &self.progress };
        let observed = self.gateway.observe_held(&self.record, seen, holder).await?;
        let Some(observed) = observed else { return Ok(None) };
        self.record = observed.record;
        if observed.step != Step::Rest {
            self.give_back().await?;
        }
        Ok(Some((self.record, observed.was_held)))
    }

    /// Decides, acts, observes, and again. `None`: the record is gone, merged into another one.
    pub(super) async fn run(mut self) -> Result<Option<Record>, store::Error> {
        let _work = self.gateway.0.in_flight.begin(&self.record.key);
        let mut step = self.decide();
        loop {
            let did = match step {
                Step::Send => self.send().await?,
                Step::Query(scope) => Box::pin(self.ask(scope)).await?,
                Step::Rest => break,
            };
            step = match did {
                Did::Saw(seen) => {
                    let holder = Holder { fence: self.fence, progress: &self.progress };
                    let observed = self.gateway.observe_held(&self.record, &seen, holder).await?;
                    let Some(observed) = observed else { return Ok(None) };
                    self.record = observed.record;
                    // The lease was given back by the same write, or was lost.
                    if observed.step == Step::Rest {
                        return Ok(Some(self.record));
                    }
                    observed.step
                }
                Did::Nothing => self.decide(),
                Did::NotPermitted => Step::Rest,
            };
        }
        self.give_back().await?;
        Ok(Some(self.record))
    }

    fn decide(&self) -> Step {
        let terms = self.gateway.terms(&self.record.key, self.gateway.0.clock.now());
        schedule::next(&self.record, &self.record, By::Worker(&self.progress), &terms).step
    }

    /// Sends the recorded bytes, after the permission is durable.
    async fn send(&mut self) -> Result<Did, store::Error> {
        // Before the permission, because a permitted send must go out at once.
        let Some(_request) = self.request().await else {
            return Ok(Did::Nothing);
        };
        let permitted = match self.permitted.take() {
            Some(permitted) => Some(permitted),
            None => Box::pin(self.permit()).await?,
        };
        let Some((permission, at)) = permitted else {
            return Ok(Did::NotPermitted);
        };
        let request = self.record.request().expect("only a settle of ours is ever sent");
        let trade_system = self.record.key.trade_system;
        let begun = self.gateway.0.clock.now();
        let (client, access) = (&self.gateway.0.douyin, &self.app.access);
        let answer = client.create(access, trade_system, &request.body, at).await;
        self.progress.after_send(&answer.learned);
        if answer.throttled {
            self.progress.throttled();
        }
        self.gateway.0.stuck.note(&self.record, stuck::answer_kind(&answer.learned), begun);
        Ok(Did::Saw(Observation {
            learned: answer.learned,
            source: Source::Create,
            begun,
            scope: Scope::Single,
            answers: match answer.answers {
                Answers::OneSend => Some(permission),
                Answers::Nothing => None,
            },
            log_id: answer.log_id,
            by: None,
        }))
    }

    /// Makes a permission durable, under our lease; `None` if it did not apply: nothing may be
    /// sent.
    async fn permit(&mut self) -> Result<Option<(PermissionId, Uptime)>, store::Error> {
        let gateway = &self.gateway.0;
        let given = self.gateway.given(&self.record);
        let Permitted { permission, at } = self.gateway.permission();
        let Some(after) = permit(&self.record, permission, given, &gateway.config.policy) else {
            return Ok(None);
        };
        let swap = Swap {
            record: after.clone(),
            history: None,
            due: Due::Extend { lease: gateway.config.lease },
            lease: Some(self.fence),
            absorbed: None,
        };
        match gateway.store.swap(swap).await? {
            Swapped::Done => {
                self.record = after;
                Ok(Some((permission.id, at)))
            }
            Swapped::Conflict | Swapped::SettleIdTaken | Swapped::LeaseLost => Ok(None),
        }
    }

    /// The budget for one call. `None`: the turn ends here, and the settle waits.
    async fn request(&mut self) -> Option<Grant> {
        if let Some(request) = self.request.take() {
            return Some(request);
        }
        let budget = &self.app.budget;
        let patience = Instant::now() + self.gateway.0.config.budget_wait;
        let request = match self.progress.role {
            Role::Creator => budget.for_create(patience).await,
            Role::Poller => budget.for_poll_by(patience).await,
        };
        if request.is_err() {
            self.progress.throttled();
        }
        request.ok()
    }

    /// Asks Douyin. A query that fails teaches nothing: it is not an observation.
    async fn ask(&mut self, scope: Scope) -> Result<Did, store::Error> {
        let Some(_request) = self.request().await else {
            return Ok(Did::Nothing);
        };
        match self.query(scope).await {
            Ok(Answer { learned, begun, log_id }) => {
                let (source, answers, by) = (Source::Query, None, None);
                Ok(Did::Saw(Observation { learned, source, begun, scope, answers, log_id, by }))
            }
            Err(Unasked::Douyin(_)) => Ok(Did::Nothing),
            Err(Unasked::Store(error)) => Err(error),
        }
    }

    /// One query, and what it means for the next step.
    pub(super) async fn query(&mut self, scope: Scope) -> Result<Answer, Unasked> {
        let gateway = &self.gateway.0;
        let begun = gateway.clock.now();
        let key = &self.record.key;
        let by = match (scope, self.record.state.settle_id()) {
            (Scope::Single, Some(settle_id)) => by_settle_id(key, settle_id),
            (Scope::Single | Scope::Number, _) => QueryBy::OutSettleNo(&key.out_settle_no),
        };
        let asked = gateway.douyin.query(&self.app.access, key.trade_system, by).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(failure) if failure.throttled => {
                self.progress.after_query(Asked::Throttled);
                return Err(Unasked::Douyin(failure));
            }
            Err(failure) => {
                gateway.stuck.note(&self.record, stuck::unreadable(&failure.failure), begun);
                self.progress.after_query(Asked::Failed);
                return Err(Unasked::Douyin(failure));
            }
        };
        gateway.hub.confirm(key, gateway.clock.now());
        let learned = self.learned(answer.reports).await.map_err(Unasked::Store)?;
        self.progress.after_query(Asked::Learned(&learned));
        self.gateway.0.stuck.note(&self.record, stuck::answer_kind(&learned), begun);
        Ok(Answer { learned, begun, log_id: answer.log_id })
    }

    /// What a query taught. A settle of ours that is recorded under the very number that it names,
    /// and not under this one, says nothing about this one. An adopted one may be this one's own,
    /// because Douyin may have written our number differently in a callback.
    async fn learned(&self, mut reports: Vec<Report>) -> Result<Learned, store::Error> {
        if reports.is_empty() {
            return Ok(Learned::Absent);
        }
        let Key { app_id, trade_system: system, out_settle_no } = &self.record.key;
        let store = &self.gateway.0.store;
        let mut at = 0;
        while let Some(report) = reports.get(at) {
            let number =
                report.out_settle_no.as_ref().filter(|number| number.is_like(out_settle_no));
            let known = match number {
                Some(_) => store.get_by_settle_id(app_id, *system, &report.settle_id).await?,
                None => None,
            };
            match known {
                Some(known)
                    if known.request().is_some() && Some(&known.key.out_settle_no) == number =>
                {
                    reports.remove(at);
                }
                Some(_) | None => at += 1,
            }
        }
        Ok(if reports.is_empty() { Learned::Elsewhere } else { Learned::Reported(reports) })
    }

    /// Gives the lease back, if no observation did.
    pub(super) async fn give_back(&self) -> Result<(), store::Error> {
        let gateway = &self.gateway.0;
        let key = &self.record.key;
        let terms = self.gateway.terms(key, gateway.clock.now());
        let due = at_rest(&self.record, &self.progress, &terms);
        self.gateway.write_due(key, self.fence, due).await?;
        self.gateway.expect_look(key, due);
        Ok(())
    }
}
