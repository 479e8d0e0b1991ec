//! The one door: everything learned about a settle becomes durable here, by one pure transition and
//! one compare-and-swap.

use std::time::Duration;

use tracing::{error, info};

use super::{Gateway, Work};
use crate::log_limit::limited;
use crate::settle::absorb::{absorb, yields};
use crate::settle::step::Last;
use crate::settle::{
    Alert, Answers, Context, Failure, Key, Lease, Observation, Record, Step, Transition, next_step,
    transition,
};
use crate::store::{self, Absorbed, Due, LeaseCheck, Release, Swap, Swapped};

/// Whether a commit of this observation failed in a way that may have kept it.
enum Doubt {
    None,
    /// The version it would have replaced.
    At(i64),
}

impl Doubt {
    /// Whether the row moved on since: perhaps by the commit in doubt.
    fn moved(&self, now: &Record) -> bool {
        match self {
            Doubt::None => false,
            Doubt::At(version) => now.version != *version,
        }
    }

    /// No error after a doubt may say that nothing is durable.
    fn spoil(&self, error: store::Error) -> store::Error {
        match (self, error) {
            (Doubt::At(_), store::Error::Unavailable(cause)) => store::Error::InDoubt(cause),
            (Doubt::None | Doubt::At(_), error) => error,
        }
    }
}

/// How long a store that fails gets to recover.
const STORE_RETRY: Duration = Duration::from_millis(100);

/// A swap that loses is tried again this often; each loss means that somebody else made progress.
const TRIES_MAX: u32 = 16;

/// The history's word for a report that contradicts a final state.
const CONTRADICTION: &str = "CONTRADICTION";

/// What one observation does to one record.
struct Change<'a> {
    before: &'a Record,
    after: Transition,
    seen: &'a Observation,
    /// Another record of the same settle, which goes up in this one.
    absorbed: Option<Record>,
}

/// What became of a change.
enum Applied {
    Done(Box<Observed>),
    /// The record or the lease is not what it was: decide again.
    Again,
    /// Another record has the `settle_id`.
    SettleIdTaken,
}

/// What an observation led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    pub record: Record,
    /// What the worker does next; `Rest` for everybody else.
    pub step: Step,
}

impl Gateway {
    /// Records one observation. Without a worker it counts as a fact learned by the way: negative
    /// evidence is ignored and the schedule is only brought forward.
    ///
    /// `Ok(None)`: there is no such settle. On an error nothing may be told that depends on the
    /// observation.
    pub async fn observe(
        &self,
        key: &Key,
        mut seen: Observation,
        mut worker: Option<&mut Work>,
    ) -> Result<Option<Observed>, store::Error> {
        let mut doubt = Doubt::None;
        // A worker knows the record it acted on; the compare-and-swap tells if it is still true.
        let mut known = worker.as_mut().and_then(|work| work.record.take());
        let mut outages = 0;
        for _ in 0..TRIES_MAX {
            let tried = match known.take() {
                Some(before) => self.try_observe(before, &mut seen, &mut doubt, &mut worker).await,
                None => match self.0.store.get(key).await {
                    Ok(Some(before)) => {
                        self.try_observe(before, &mut seen, &mut doubt, &mut worker).await
                    }
                    Ok(None) => return Ok(None),
                    Err(error) => Err(error),
                },
            };
            match tried {
                Ok(Some(observed)) => return Ok(Some(observed)),
                Ok(None) => {}
                // What was learned is worth one more try when the store fails for a moment.
                Err(store::Error::Unavailable(cause)) if outages == 0 => {
                    outages += 1;
                    limited!(Peer, WARN, { %key, cause }, "the store failed: trying once more");
                    tokio::time::sleep(STORE_RETRY).await;
                }
                Err(error) => return Err(doubt.spoil(error)),
            }
        }
        let cause = format!("{key} changed {TRIES_MAX} times meanwhile");
        Err(doubt.spoil(store::Error::Unavailable(cause)))
    }

    /// One try that remembers a commit in doubt for the next one.
    async fn try_observe(
        &self,
        before: Record,
        seen: &mut Observation,
        doubt: &mut Doubt,
        worker: &mut Option<&mut Work>,
    ) -> Result<Option<Observed>, store::Error> {
        if doubt.moved(&before) {
            // Our own answer may be counted in what was kept: it must not be subtracted twice. And
            // whoever waits for what was kept has heard nothing of it.
            seen.answers = Answers::Nothing;
            self.0.hub.hint(&before.key);
            self.0.due.notify_one();
        }
        let version = before.version;
        let once = self.observe_once(&before, seen, worker.as_deref_mut());
        let observed = Box::pin(once).await;
        if let Err(store::Error::InDoubt(cause)) = observed {
            let key = &before.key;
            limited!(Peer, WARN, { %key, cause }, "a commit is in doubt: reading again");
            *doubt = Doubt::At(version);
            return Ok(None);
        }
        observed
    }

    /// One try; `None` if it must be decided again.
    async fn observe_once(
        &self,
        before: &Record,
        seen: &Observation,
        mut worker: Option<&mut Work>,
    ) -> Result<Option<Observed>, store::Error> {
        let lease = match &worker {
            Some(work) if work.lease == Lease::Held => Lease::Held,
            Some(_) | None => Lease::Lost,
        };
        let attempts = worker.as_ref().map_or(0, |work| work.attempts);
        let (now, started) = (self.0.clock.now(), self.0.started);
        let context = Context { now, started, policy: &self.0.config.policy, lease, attempts };
        let after = transition(before, seen, &context);
        let change = Change { before, after, seen, absorbed: None };
        match self.apply(&change, &context, worker.as_deref_mut()).await? {
            Applied::Done(observed) => return Ok(Some(*observed)),
            Applied::Again => return Ok(None),
            Applied::SettleIdTaken => {}
        }
        let Some(change) = self.absorbing(change, &context).await? else {
            error!(key = %before.key, "another number has this settle_id: left unchanged");
            return Ok(Some(Observed { record: before.clone(), step: Step::Rest }));
        };
        match self.apply(&change, &context, worker).await? {
            Applied::Done(observed) => Ok(Some(*observed)),
            Applied::Again | Applied::SettleIdTaken => Ok(None),
        }
    }

    /// The change together with the record that has its `settle_id`, if that one yields.
    async fn absorbing<'a>(
        &self,
        change: Change<'a>,
        context: &Context<'_>,
    ) -> Result<Option<Change<'a>>, store::Error> {
        let Change { before, after, seen, .. } = change;
        let Some(settle_id) = after.record.state.settle_id() else {
            return Ok(None);
        };
        let other = self.0.store.get_by_settle_id(&before.key.app_id, settle_id).await?;
        let Some(other) = other.filter(|other| yields(other) && other.key != before.key) else {
            return Ok(None);
        };
        let after = absorb(before, after, &other, context);
        Ok(Some(Change { before, after, seen, absorbed: Some(other) }))
    }

    /// Makes a change durable and tells of it.
    async fn apply(
        &self,
        change: &Change<'_>,
        context: &Context<'_>,
        worker: Option<&mut Work>,
    ) -> Result<Applied, store::Error> {
        let Change { before, after, seen, absorbed } = change;
        let record = &after.record;
        let holder = worker.as_deref().filter(|_| context.lease == Lease::Held);
        let (step, due) = match holder {
            Some(work) => {
                let step = next_step(record, &work.progress, context.now, context.policy);
                (step, self.due_after(work, record, step, record.revision > before.revision))
            }
            None => (Step::Rest, due_of_a_fact(before, record, context.now)),
        };
        let check = holder.map(|work| LeaseCheck { fence: work.fence, runs_past: context.now });
        match self.write(change, due, check).await? {
            Swapped::Done => {}
            Swapped::Conflict => return Ok(Applied::Again),
            Swapped::LeaseLost => {
                if let Some(work) = worker {
                    work.lease = Lease::Lost;
                }
                return Ok(Applied::Again);
            }
            Swapped::SettleIdTaken => return Ok(Applied::SettleIdTaken),
        }
        if let Some(work) = worker {
            work.released = matches!(due, Due::Remove | Due::Release(_));
        }
        self.tell(before, record, seen, after.alert);
        if let Some(absorbed) = absorbed {
            info!(key = %record.key, absorbed = %absorbed.key, "two records of one settle are one");
            self.0.hub.hint(&absorbed.key);
        }
        Ok(Applied::Done(Box::new(Observed { record: record.clone(), step })))
    }

    async fn write(
        &self,
        change: &Change<'_>,
        due: Due,
        lease: Option<LeaseCheck>,
    ) -> Result<Swapped, store::Error> {
        let Change { before, after, seen, absorbed } = change;
        let after = &after.record;
        if *before == after {
            return self.write_schedule(after, due, lease).await;
        }
        let history = (after.revision > before.revision).then(|| {
            let mut entry = after.history_entry(seen.source, seen.log_id.clone());
            if before.open_contradiction() != after.open_contradiction() {
                entry.error = after.open_contradiction().map(|_| Failure::own(CONTRADICTION));
            }
            entry
        });
        let absorbed = absorbed.as_ref().map(|other| {
            let (key, version) = (other.key.clone(), other.version);
            Absorbed { key, version }
        });
        let swap = Swap { record: after.clone(), history, due, lease, absorbed };
        self.0.store.swap(swap).await
    }

    /// Nothing was learned, but the worker may be done.
    async fn write_schedule(
        &self,
        record: &Record,
        due: Due,
        lease: Option<LeaseCheck>,
    ) -> Result<Swapped, store::Error> {
        let Some(lease) = lease else {
            return Ok(Swapped::Done);
        };
        let ours = match due {
            Due::Keep | Due::Extend { .. } | Due::NotLater(_) => true,
            Due::Remove => self.0.store.remove_due(&record.key, lease.fence).await?,
            Due::Release(release) => {
                self.0.store.release(&record.key, lease.fence, release).await?
            }
        };
        Ok(if ours { Swapped::Done } else { Swapped::LeaseLost })
    }

    /// What a worker that holds the lease leaves in the due row.
    fn due_after(&self, work: &Work, record: &Record, step: Step, news: bool) -> Due {
        let now = self.0.clock.now();
        match step {
            Step::Send | Step::Query(_) => {
                Due::Extend { lease_until: now.plus(self.0.config.lease) }
            }
            Step::Rest if record.is_final() && !self.asks_again(work, record) => Due::Remove,
            Step::Rest => Due::Release(self.release(work, record, news)),
        }
    }

    /// Whether a final settle, after this turn, still has to be asked about.
    pub(super) fn asks_again(&self, work: &Work, record: &Record) -> bool {
        match work.progress.last {
            Last::Definite => false,
            // What a callback showed may take the visibility grace to show in queries.
            Last::Absent => {
                let visible = record.update_time.plus(self.0.config.policy.grace);
                record.is_known_in_part() && self.0.clock.now() <= visible
            }
            // A question that Douyin never answers is not asked for ever either.
            Last::Nothing | Last::Unknown | Last::NotSent | Last::Throttled => {
                let patient = record.update_time.plus(self.0.config.submit_window_max);
                record.owes_a_query() && self.0.clock.now() <= patient
            }
        }
    }

    /// The schedule after a turn: from the start again if something was news, else backing off.
    pub(super) fn release(&self, work: &Work, record: &Record, news: bool) -> Release {
        let now = self.0.clock.now();
        let backoff = if news || work.news { 0 } else { work.backoff.saturating_add(1) };
        let due_at = now.plus(self.wait(&record.key, backoff));
        Release { due_at, attempted_at: now, attempts: work.attempts, backoff }
    }

    fn tell(&self, before: &Record, after: &Record, seen: &Observation, alert: Option<Alert>) {
        let (key, source) = (&after.key, seen.source);
        let log_id = seen.log_id.as_deref().unwrap_or("");
        if let Some(alert) = alert {
            error!(%key, ?alert, ?source, log_id, "a person must look at this settle");
        }
        if after.revision == before.revision {
            return;
        }
        let (state, revision) = (after.state.kind().as_str(), after.revision);
        info!(%key, state, revision, ?source, log_id, "settle changed");
        if before.state.kind() != after.state.kind() {
            self.forget_answers(key);
        }
        self.0.hub.hint(key);
        if !after.is_final() {
            self.0.due.notify_one();
        }
    }
}

/// A fact learned by the way ends the schedule of a settle for which nothing more is asked because
/// of it, and starts one for a settle that owes a query because of it.
fn due_of_a_fact(before: &Record, after: &Record, now: crate::clock::Timestamp) -> Due {
    let disputed = before.open_contradiction().is_none() && after.open_contradiction().is_some();
    let owes = disputed || (after.is_known_in_part() && !before.is_known_in_part());
    let asked = |record: &Record| !record.is_final() || record.owes_a_query();
    match (owes, asked(before), asked(after)) {
        (true, _, _) => Due::NotLater(now),
        (false, true, false) => Due::Remove,
        (false, true, true) if !after.is_final() && before != after => Due::NotLater(now),
        (false, true | false, true) | (false, false, false) => Due::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit that was kept and then an outage must not read as "nothing is durable": whoever
    /// then tried again would subtract one answer twice, and tell a refusal that is none.
    #[test]
    fn no_error_after_a_doubt_says_that_nothing_is_durable() {
        let outage = || store::Error::Unavailable("down".to_owned());
        let doubt = store::Error::InDoubt("down".to_owned());
        assert_eq!(Doubt::At(3).spoil(outage()), doubt);
        assert_eq!(Doubt::At(3).spoil(doubt.clone()), doubt);
        assert_eq!(Doubt::None.spoil(outage()), outage());
    }
}
