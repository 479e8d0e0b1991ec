//! One worker's turn on one settle: ask the pure core what to do, do it, record what came back.

use tokio::time::Instant;
use tracing::Instrument as _;

use super::{Gateway, budget, stuck};
use crate::clock::Uptime;
use crate::douyin::{QueryBy, QueryFailure};
use crate::settle::step::Last;
use crate::settle::{
    Answers, Key, Learned, Lease, Observation, Progress, Record, Report, Role, Scope, Source, Step,
    next_step, permit,
};
use crate::store::{self, Claim, Due, FIRST_FENCE, Fence, LeaseCheck, Swap, Swapped};

/// The right to work on one settle, and what was done with it.
pub struct Work {
    pub key: Key,
    pub fence: Fence,
    pub lease: Lease,
    pub progress: Progress,
    /// Calls to Douyin since the settle was created.
    pub attempts: u32,
    pub backoff: u32,
    /// The record as this worker last saw it, to spare a read.
    pub(super) record: Option<Record>,
    /// A send that is permitted durably and not made yet, and since when.
    permitted: Option<Uptime>,
    /// The budget for the first call of the turn.
    request: Option<budget::Request>,
    /// Something was news in this turn: the next look comes soon.
    pub(super) news: bool,
    /// The due row was written and the lease given back.
    pub(super) released: bool,
}

impl Work {
    /// The work of the create that recorded the settle: its insert permitted the first send.
    pub(super) fn creator(
        record: Record,
        permitted: Uptime,
        request: Option<budget::Request>,
    ) -> Self {
        Self {
            permitted: Some(permitted),
            request,
            record: Some(record.clone()),
            ..Self::new(record.key, FIRST_FENCE, Role::Creator)
        }
    }

    /// The work of the poller on a settle it claimed.
    pub fn claimed(claim: Claim, request: budget::Request) -> Self {
        let work = Self::new(claim.key, claim.fence, Role::Poller);
        let request = Some(request);
        Self { attempts: claim.attempts, backoff: claim.backoff, request, ..work }
    }

    fn new(key: Key, fence: Fence, role: Role) -> Self {
        Self {
            key,
            fence,
            lease: Lease::Held,
            progress: Progress::new(role),
            attempts: 0,
            backoff: 0,
            record: None,
            permitted: None,
            request: None,
            news: false,
            released: false,
        }
    }
}

impl Gateway {
    /// Works on a settle until there is nothing more to do now. Ends with the lease given back, or
    /// lost, or (store unreachable) left to run out; whoever claims next goes on from the record.
    pub async fn advance(&self, mut work: Work) -> Result<Option<Record>, store::Error> {
        let _flight = self.0.flights.enter(&work.key);
        let known = match work.record.take() {
            Some(record) => Some(record),
            None => self.0.store.get(&work.key).await?,
        };
        let Some(mut record) = known else { return Ok(None) };
        let mut step = next_step(&record, &work.progress, self.0.clock.now(), self.policy());
        loop {
            let seen = match step {
                Step::Rest => break,
                Step::Send => self.send(&mut work, &mut record).await?,
                Step::Query(scope) => self.ask(&mut work, &record, scope).await?,
            };
            let before = record.revision;
            match seen {
                Turn::Saw(seen) => {
                    work.record = Some(record.clone());
                    let key = work.key.clone();
                    let observed = self.observe(&key, *seen, Some(&mut work)).await?;
                    let Some(observed) = observed else { return Ok(None) };
                    (record, step) = (observed.record, observed.step);
                }
                Turn::Blind => {
                    step = next_step(&record, &work.progress, self.0.clock.now(), self.policy());
                }
                Turn::Lost => break,
            }
            work.news |= record.revision > before;
        }
        self.give_back(&mut work, &record).await?;
        Ok(Some(record))
    }

    pub(super) fn policy(&self) -> &crate::settle::Policy {
        &self.0.config.policy
    }

    /// Sends the recorded bytes, after the permission is durable.
    async fn send(&self, work: &mut Work, record: &mut Record) -> Result<Turn, store::Error> {
        // Before the permission: what is permitted goes out at once.
        let Some(_request) = self.budgeted(work).await else {
            return Ok(Turn::Blind);
        };
        let permitted = match work.permitted.take() {
            Some(permitted) => permitted,
            None => match self.permit(work, record).await? {
                Some((permitted, after)) => {
                    *record = after;
                    permitted
                }
                None => return Ok(Turn::Lost),
            },
        };
        let request = record.request().expect("only a settle of ours is ever sent");
        let begun = self.0.clock.now();
        let app_id = &record.key.app_id;
        let span = tracing::info_span!("settle_create", out_settle_no = %record.key.out_settle_no);
        let answer = self.0.douyin.create(app_id, &request.body, permitted).instrument(span).await;
        work.attempts = work.attempts.saturating_add(1);
        work.progress.after_send(&answer.learned);
        if answer.throttled {
            work.progress.last = Last::Throttled;
        }
        self.0.stuck.note(record, stuck::answer_kind(&answer.learned), begun);
        Ok(Turn::Saw(Box::new(Observation {
            learned: answer.learned,
            source: Source::Create,
            begun,
            scope: Scope::Single,
            answers: answer.answers,
            log_id: answer.log_id,
        })))
    }

    /// Makes the +1 durable, under our lease; `None` if it did not apply: nothing may be sent.
    async fn permit(
        &self,
        work: &mut Work,
        record: &Record,
    ) -> Result<Option<(Uptime, Record)>, store::Error> {
        let permitted = self.0.clock.uptime();
        let now = self.0.clock.now();
        let Some(after) = permit(record, now, self.policy()) else {
            return Ok(None);
        };
        let swap = Swap {
            record: after.clone(),
            history: None,
            due: Due::Extend { lease_until: now.plus(self.0.config.lease) },
            lease: Some(LeaseCheck { fence: work.fence, runs_past: now }),
            absorbed: None,
        };
        match self.0.store.swap(swap).await? {
            Swapped::Done => Ok(Some((permitted, after))),
            Swapped::Conflict | Swapped::SettleIdTaken => Ok(None),
            Swapped::LeaseLost => {
                work.lease = Lease::Lost;
                Ok(None)
            }
        }
    }

    /// The budget for one call of a turn; `None`: the turn ends here, the settle waits.
    async fn budgeted(&self, work: &mut Work) -> Option<budget::Request> {
        if let Some(request) = work.request.take() {
            return Some(request);
        }
        let purse = self.purse(&work.key.app_id);
        let patience = Instant::now() + self.0.config.budget_wait;
        let request = match work.progress.role {
            Role::Creator => purse.for_create(patience).await,
            Role::Poller => purse.for_poll_by(patience).await,
        };
        if request.is_err() {
            work.progress.last = Last::Throttled;
        }
        request.ok()
    }

    /// Asks Douyin. A query that fails teaches nothing: it is not an observation.
    async fn ask(
        &self,
        work: &mut Work,
        record: &Record,
        scope: Scope,
    ) -> Result<Turn, store::Error> {
        let Some(_request) = self.budgeted(work).await else {
            return Ok(Turn::Blind);
        };
        let begun = self.0.clock.now();
        let key = &record.key;
        let by = match (scope, record.state.settle_id()) {
            (Scope::Single, Some(settle_id)) => QueryBy::SettleId(settle_id),
            (Scope::Single | Scope::Number, _) => QueryBy::OutSettleNo(&key.out_settle_no),
        };
        let span = tracing::info_span!("settle_query", out_settle_no = %key.out_settle_no);
        let answer = self.0.douyin.query(&key.app_id, by).instrument(span).await;
        work.attempts = work.attempts.saturating_add(1);
        work.progress.queries += 1;
        Ok(match answer {
            Ok(answer) => {
                self.0.hub.confirm(key, self.0.clock.now());
                let learned = self.learned(record, answer.reports).await?;
                work.progress.last = crate::settle::step::last(&learned);
                self.0.stuck.note(record, stuck::answer_kind(&learned), begun);
                Turn::Saw(Box::new(Observation {
                    learned,
                    source: Source::Query,
                    begun,
                    scope,
                    answers: Answers::Nothing,
                    log_id: answer.log_id,
                }))
            }
            Err(QueryFailure { throttled: true, .. }) => {
                work.progress.last = Last::Throttled;
                Turn::Blind
            }
            Err(QueryFailure { throttled: false, failure, .. }) => {
                self.0.stuck.note(record, stuck::unreadable(&failure), begun);
                work.progress.last = Last::Unknown;
                Turn::Blind
            }
        })
    }

    /// What a query taught. A settle of ours that is recorded under the very number that it names,
    /// and not under this one, tells nothing of this one. One that was only learned from Douyin may
    /// be this one's own: Douyin may have written our number otherwise in a callback.
    async fn learned(
        &self,
        record: &Record,
        mut reports: Vec<Report>,
    ) -> Result<Learned, store::Error> {
        if reports.is_empty() {
            return Ok(Learned::Absent);
        }
        let Key { app_id, out_settle_no, .. } = &record.key;
        let mut at = 0;
        while let Some(report) = reports.get(at) {
            let number =
                report.out_settle_no.as_ref().filter(|number| number.is_like(out_settle_no));
            let known = match number {
                Some(_) => self.0.store.get_by_settle_id(app_id, &report.settle_id).await?,
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

    /// Ends the turn in the store, unless the last observation did.
    async fn give_back(&self, work: &mut Work, record: &Record) -> Result<(), store::Error> {
        if work.released || work.lease == Lease::Lost {
            return Ok(());
        }
        if record.is_final() && !self.asks_again(work, record) {
            self.0.store.remove_due(&work.key, work.fence).await?;
        } else {
            let release = self.release(work, record, false);
            self.0.store.release(&work.key, work.fence, release).await?;
            self.0.due.notify_one();
        }
        Ok(())
    }
}

/// What one step of a turn brought.
enum Turn {
    Saw(Box<Observation>),
    /// The call failed without teaching anything.
    Blind,
    /// The permission did not apply: somebody else goes on.
    Lost,
}
