//! A create whose number is recorded already: the same content is answered from the record, after
//! the call in flight or one that this repeat brings forward.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Gateway;
use super::super::elsewhere::Rest;
use super::super::in_flight::{Finished, Work};
use super::answer::{CreateError, Created, Replay, Unknown, answer_of, taken_by};
use super::{Create, ReturnWhen};
use crate::settle::{Record, State};

impl Gateway {
    /// Answers a create whose number was found recorded. `work` is what it had begun.
    pub(super) async fn repeat(
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
}

/// Whether an attempt that was brought forward comes before the answer must leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Soon {
    Yes,
    No,
}
