//! What a create is answered: the settle, or why not, which is a promise about money.

use std::time::Duration;

use super::super::Gateway;
use crate::clock::Timestamp;
use crate::settle::proof::{Proof, proof_of_adopted};
use crate::settle::{Content, Failure, Key, Origin, Reason, Record, SettleId, State, StateKind};
use crate::store;

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

/// Whether the record was there before the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Replay {
    Yes,
    No,
}

/// The number is another settle's.
pub(super) fn taken_by(other: &Record) -> CreateError {
    CreateError::Elsewhere { key: other.key.clone(), recorded: Box::new(other.into()) }
}

/// What is recorded under a number cannot be read.
pub(super) fn unread(error: store::Error) -> CreateError {
    CreateError::NotSent(match error {
        store::Error::Unreadable(_) => NotSent::Unreadable,
        store::Error::Unavailable(_) | store::Error::InDoubt(_) => NotSent::StoreUnavailable,
    })
}

/// What a record says to the create that asked for it.
pub(super) fn answer_of(record: Record, replay: Replay) -> Result<Created, CreateError> {
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

impl Gateway {
    /// Whether the recorded settle is what this caller asked for.
    pub(super) fn compare(&self, content: &Content, recorded: &Record) -> Result<(), CreateError> {
        match &recorded.origin {
            Origin::Gateway(request) => {
                let fields = request.content.differing_fields(content);
                if fields.is_empty() {
                    return Ok(());
                }
                Err(CreateError::Conflict { fields, recorded: Box::new(recorded.into()) })
            }
            Origin::Platform => {
                let proven = proof_of_adopted(content, self.0.config.mark, &recorded.facts);
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
}
