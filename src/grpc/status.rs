//! The only place where a `Status` is built. It says what happened, whether money may have moved
//! and what to do next, all of it readable by a program.
//!
//! The encoded details stay under [`DETAILS_BYTES_MAX`]: larger trailers make some clients lose the
//! status altogether.

mod details;
mod names;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorInfo, StatusExt as _};

use super::enums;
use super::identity::Denied;
use super::reasons::Outcome;
use super::rpc::Rpc;
use super::time;
use super::violations::Violations;
use crate::douyin::codes::{self, Retry};
use crate::gateway::{
    CreateError, EndError, Ending, NotSent, QueryError, Recorded, ResolveError, Unknown,
};
use crate::proto::v1;
use crate::settle::proof::Proof;
use crate::settle::{DouyinError, Failure, Reason, Record, StateKind, TradeSystem};
use crate::store;

pub(crate) use details::{Fitting, anchor, douyin_error, fitting, link, retry_word};
pub(crate) use names::Names;
pub(crate) use words::{Words, words, words_for};

/// The domain of reasons that are numbers of Douyin's.
pub(crate) const DOMAIN_DOUYIN: &str = "open.douyin.com";
/// The domain of the gateway's own reasons.
pub(crate) const DOMAIN_GATEWAY: &str = "douyin.settlement.v1";
/// The most bytes of an encoded `google.rpc.Status`. grpcio loses statuses from 8 KiB of metadata
/// on, and the trailer is base64.
pub(crate) const DETAILS_BYTES_MAX: usize = 4096;
const TEXT_BYTES_MAX: usize = 200;
/// The shortest delay in an error.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);

/// An error before it is rendered: the words of a table, and what is known of this case.
#[derive(Clone, Debug)]
struct Problem {
    words: Words,
    /// `None`: the call is no RPC of the contract.
    rpc: Option<Rpc>,
    outcome: Option<Outcome>,
    douyin: Option<DouyinError>,
    violations: Violations,
    metadata: BTreeMap<&'static str, String>,
    /// What is recorded under the number, and in which fields it differs. The rest of it is filled
    /// in when the status is built.
    failure: v1::SettlementFailure,
}

/// A request whose fields are wrong.
pub(crate) fn invalid(violations: Violations, rpc: Rpc) -> Status {
    let mut problem = Problem::own(Reason::InvalidRequest).not_sent_by(rpc);
    problem.violations = violations;
    problem.status()
}

/// An app that the gateway does not serve.
pub(crate) fn app_not_configured(names: &Names, rpc: Rpc) -> Status {
    Problem::own(Reason::AppNotConfigured).not_sent_by(rpc).about(names).status()
}

/// A trade system in which the app does not settle; `configured` are those in which it does.
pub(crate) fn system_not_configured(configured: &[TradeSystem], names: &Names, rpc: Rpc) -> Status {
    let configured: Vec<&str> = configured.iter().map(|system| system.as_str()).collect();
    let problem = Problem::own(Reason::TradeSystemNotConfigured).not_sent_by(rpc).about(names);
    problem.with("configured_trade_systems", &configured.join(",")).status()
}

/// A trade system in which Douyin is not asked what is left of an order.
pub(crate) fn no_unsettled_amount(names: &Names) -> Status {
    let problem = Problem::own(Reason::SystemHasNoUnsettledAmount);
    problem.by(Rpc::GetUnsettledAmount).about(names).status()
}

/// A call that is not its caller's right.
pub(crate) fn denied(denied: Denied, names: &Names, rpc: Rpc) -> Status {
    Problem::own(denied.reason()).not_sent_by(rpc).about(names).status()
}

/// There are too many watchers. `spread` makes callers come back at different moments.
pub(crate) fn watch_limit(names: &Names, spread: Duration) -> Status {
    Problem::own(Reason::WatchLimitReached).later_by(spread).about(names).status()
}

/// The caller leaves too many answers untaken.
pub(crate) fn overloaded(names: &Names, rpc: Rpc) -> Status {
    Problem::own(Reason::Overloaded).not_sent_by(rpc).about(names).status()
}

/// Whose deadline ended a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    Caller,
    Gateway,
}

/// The time of a call other than a create is up.
pub(crate) fn of_limit(limit: Limit, names: &Names) -> Status {
    Problem::of_limit(limit).about(names).status()
}

/// The error that answers a failed create.
pub(crate) fn of_create(error: CreateError, names: &Names, limit: Limit) -> Status {
    let outcome = outcome(&error);
    let mut problem = match error {
        CreateError::NotSent(not_sent) => of_not_sent(not_sent, limit),
        CreateError::Rejected { rejection, replayed, recorded } => {
            let problem = Problem::of(&rejection, outcome).recorded(*recorded);
            if replayed { problem.with("replayed", "true") } else { problem }
        }
        CreateError::NumberTaken { settle_id, proven: _, taken } => {
            let mut problem = Problem::of(&taken, outcome);
            problem.words.advice = match outcome {
                Outcome::Refused => "Pay the intent under another out_settle_no.",
                Outcome::NotSent | Outcome::Unknown => {
                    "Ask the gateway's operator, because nothing proves whose settle it is."
                }
            };
            match settle_id {
                Some(settle_id) => problem.with("settle_id", settle_id.as_str()),
                None => problem,
            }
        }
        CreateError::Conflict { fields, recorded } => {
            let mut problem = Problem::own(Reason::OutSettleNoConflict).recorded(*recorded);
            problem.failure.differing_fields = fields.iter().map(|&it| it.to_owned()).collect();
            problem.with("differing_fields", &fields.join(","))
        }
        CreateError::Elsewhere { key, recorded } => {
            let field = match names.get("app_id") == Some(key.app_id.as_str()) {
                true => "trade_system",
                false => "app_id",
            };
            let mut problem = Problem::own(Reason::OutSettleNoConflict).recorded(*recorded);
            problem.failure.differing_fields = vec![field.to_owned()];
            problem.failure.recorded_app_id = key.app_id.as_str().to_owned();
            problem.failure.set_recorded_trade_system(enums::trade_system(key.trade_system));
            problem
                .with("differing_fields", field)
                .with("recorded_app_id", key.app_id.as_str())
                .with("recorded_trade_system", key.trade_system.as_str())
        }
        CreateError::Unknown(Unknown::Douyin { failure, recorded }) => {
            Problem::of(&failure, outcome).recorded(*recorded)
        }
        CreateError::Unknown(Unknown::Deadline) => Problem::of_limit(limit),
        CreateError::Unknown(Unknown::Store) => Problem::own(Reason::StoreUnavailable),
    };
    problem.rpc = Some(Rpc::CreateSettle);
    problem.outcome = Some(outcome);
    problem.about(names).status()
}

/// The promise about the money that a failed create makes.
pub(crate) fn outcome(error: &CreateError) -> Outcome {
    match error {
        CreateError::NotSent(_) => Outcome::NotSent,
        CreateError::Rejected { .. } => Outcome::Refused,
        CreateError::NumberTaken { proven, .. } => match proven {
            Proof::Foreign => Outcome::Refused,
            Proof::Ours | Proof::Unproven => Outcome::Unknown,
        },
        CreateError::Conflict { recorded, .. } | CreateError::Elsewhere { recorded, .. } => {
            of_conflict(recorded.state)
        }
        CreateError::Unknown(_) => Outcome::Unknown,
    }
}

/// A number that holds a settle at its end, of which nothing is alive, is used up.
fn of_conflict(recorded: StateKind) -> Outcome {
    match recorded {
        StateKind::Rejected => Outcome::Refused,
        StateKind::Submitting
        | StateKind::Processing
        | StateKind::Succeeded
        | StateKind::Failed => Outcome::NotSent,
    }
}

fn of_not_sent(not_sent: NotSent, limit: Limit) -> Problem {
    match not_sent {
        NotSent::NoCreate => Problem::own(Reason::SystemHasNoCreate),
        NotSent::Draining => Problem::own(Reason::ServerDraining),
        NotSent::Overloaded => Problem::own(Reason::Overloaded),
        NotSent::OverBudget { wait } => Problem::own(Reason::BudgetExhausted).after(wait),
        NotSent::StoreUnavailable => Problem::own(Reason::StoreUnavailable),
        NotSent::Unreadable => Problem::own(Reason::NewerVersion),
        NotSent::Deadline => Problem::of_limit(limit),
        NotSent::Window { earliest, latest } => {
            let mut problem = Problem::own(Reason::InvalidRequest);
            let (from, to) = (time::rfc3339(earliest), time::rfc3339(latest));
            let description = format!("must be later than {from} and not later than {to}");
            problem.violations.add("submit_before", description);
            problem
        }
        NotSent::Paused { failure, wait } => Problem::of(&failure, Outcome::NotSent).paused(wait),
    }
}

/// How a watch or a wait ended; `None` if it ended well. A caller that lost its watch together with
/// many others comes back later by `spread`.
pub(crate) fn of_ending(
    ending: Ending,
    names: &Names,
    rpc: Rpc,
    spread: Duration,
) -> Option<Status> {
    let problem = match ending {
        Ending::Final => return None,
        Ending::Draining => Problem::own(Reason::ServerDraining).later_by(spread),
        Ending::Rotated => Problem::own(Reason::StreamRotated).later_by(spread),
        Ending::Store(error) => Problem::of_store(&error).later_by(spread),
        Ending::NotFound => Problem::own(Reason::SettleNotFound),
        Ending::Lookup(error) => Problem::of_query(error),
        Ending::RevisionFromFuture { revision } => {
            let mut problem = Problem::own(Reason::RevisionFromFuture);
            problem.violations.add("after_revision", format!("must be at most {revision}"));
            problem.failure.revision = revision;
            problem.with("revision", &revision.to_string())
        }
    };
    Some(problem.by(rpc).about(names).status())
}

/// A message of a stream was not taken in time.
pub(crate) fn slow_consumer(names: &Names) -> Status {
    Problem::own(Reason::SlowConsumer).by(Rpc::WatchSettle).about(names).status()
}

/// A stream whose task died.
pub(crate) fn died() -> Status {
    Problem::own(Reason::InternalError).by(Rpc::WatchSettle).status()
}

/// A settle that is not recorded here.
pub(crate) fn not_found(names: &Names, rpc: Rpc) -> Status {
    Problem::own(Reason::SettleNotFound).by(rpc).about(names).status()
}

/// Douyin could not be asked.
pub(crate) fn of_query(error: QueryError, names: &Names, rpc: Rpc) -> Status {
    Problem::of_query(error).by(rpc).about(names).status()
}

/// A contradiction that is not resolved.
pub(crate) fn of_resolve(error: ResolveError, names: &Names, rpc: Rpc) -> Status {
    let problem = match error {
        ResolveError::NotFound => Problem::own(Reason::SettleNotFound),
        ResolveError::NotDisputed(record) => {
            Problem::own(Reason::ContradictionNotOpen).seen(&record)
        }
        ResolveError::AnotherRevision(record) => {
            Problem::own(Reason::RevisionChanged).seen(&record)
        }
        ResolveError::NotAllowed(record) => Problem::own(Reason::DecisionNotAllowed).seen(&record),
        ResolveError::Store(error) => Problem::of_store(&error),
    };
    problem.by(rpc).about(names).status()
}

/// A settle of which sending is not stopped, or that is not ended.
pub(crate) fn of_end(error: EndError, names: &Names, rpc: Rpc) -> Status {
    let problem = match error {
        EndError::NotFound => Problem::own(Reason::SettleNotFound),
        EndError::AlreadyFinal(record) => Problem::own(Reason::SettleFinal).seen(&record),
        EndError::AnotherRevision(record) => Problem::own(Reason::RevisionChanged).seen(&record),
        EndError::NotInDoubt(record) => Problem::own(Reason::SettleNotInDoubt).seen(&record),
        EndError::NotStopped(record) => Problem::own(Reason::SendingNotStopped).seen(&record),
        EndError::NotConfirmed(record) => Problem::own(Reason::StopNotConfirmed).seen(&record),
        EndError::TooEarly { wait } => Problem::own(Reason::EndTooEarly).after(wait),
        EndError::AnotherSettle(key) => {
            let mut violations = Violations::default();
            let number = &key.out_settle_no;
            violations.add("settle_id", format!("is that of another settle of the app, {number}"));
            return invalid(violations, rpc);
        }
        EndError::Shown(record) => Problem::own(Reason::DouyinSaysOtherwise).seen(&record),
        EndError::Query(error) => Problem::of_query(error),
        EndError::Store(error) => Problem::of_store(&error),
    };
    problem.by(rpc).about(names).status()
}

/// The store failed under a read.
pub(crate) fn of_store(error: &store::Error, names: &Names, rpc: Rpc) -> Status {
    Problem::of_store(error).by(rpc).about(names).status()
}

/// An error of the server's stack, for an RPC or another call.
pub(crate) fn of_stack(reason: Reason, rpc: Option<Rpc>, outcome: Option<Outcome>) -> Status {
    let problem = Problem { rpc, outcome, ..Problem::own(reason) };
    problem.status()
}

impl Problem {
    fn own(reason: Reason) -> Self {
        Self::new(Words::own(reason))
    }

    fn new(words: Words) -> Self {
        Self {
            words,
            rpc: None,
            outcome: None,
            douyin: None,
            violations: Violations::default(),
            metadata: BTreeMap::new(),
            failure: v1::SettlementFailure::default(),
        }
    }

    fn of_limit(limit: Limit) -> Self {
        match limit {
            Limit::Caller => Self::own(Reason::DeadlineReached),
            Limit::Gateway => Self::own(Reason::TimeLimitReached),
        }
    }

    fn of_store(error: &store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) | store::Error::InDoubt(_) => {
                Self::own(Reason::StoreUnavailable)
            }
            store::Error::Unreadable(_) => Self::own(Reason::NewerVersion),
        }
    }

    fn of_query(error: QueryError) -> Self {
        match error {
            QueryError::Store(error) => Self::of_store(&error),
            QueryError::Douyin(failure) => Self::of_failure(&failure),
            QueryError::Paused { failure, wait } => Self::of_failure(&failure).paused(wait),
            QueryError::OverBudget { wait } => Self::own(Reason::BudgetExhausted).after(wait),
        }
    }

    /// A recorded failure, told to a create.
    fn of(failure: &Failure, outcome: Outcome) -> Self {
        let mut problem = Self::of_failure(failure);
        problem.outcome = Some(outcome);
        problem.words = words_for(failure, outcome);
        problem
    }

    fn of_failure(failure: &Failure) -> Self {
        let mut problem = Self::new(words(failure));
        problem.douyin.clone_from(&failure.douyin);
        if failure.reason == problem.words.reason {
            return problem;
        }
        problem.with("cause", failure.reason.as_str())
    }

    fn by(self, rpc: Rpc) -> Self {
        Self { rpc: Some(rpc), ..self }
    }

    /// The call was turned away before anything was recorded.
    fn not_sent_by(self, rpc: Rpc) -> Self {
        let outcome = (rpc == Rpc::CreateSettle).then_some(Outcome::NotSent);
        Self { outcome, ..self.by(rpc) }
    }

    /// The caller should come back after this long.
    fn after(mut self, wait: Duration) -> Self {
        self.words.retry = Retry::Now(wait.max(RETRY_DELAY_MIN));
        self
    }

    /// The app is paused for this long. The pause ends by itself unless a person must repair the
    /// app.
    fn paused(self, wait: Duration) -> Self {
        match self.words.retry {
            Retry::Now(_) => self.after(wait),
            Retry::AfterChange | Retry::Never => self,
        }
    }

    /// The delay, if there is one, is longer by this much.
    fn later_by(mut self, spread: Duration) -> Self {
        if let Retry::Now(delay) = self.words.retry {
            self.words.retry = Retry::Now(delay + spread);
        }
        self
    }

    fn about(mut self, names: &Names) -> Self {
        for (name, text) in names.iter() {
            // What the error itself names comes first.
            self.metadata.entry(name).or_insert_with(|| cut(text, TEXT_BYTES_MAX).to_owned());
        }
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.insert(name, cut(value, TEXT_BYTES_MAX).to_owned());
        self
    }

    /// As which revision the settle is recorded.
    fn seen(self, record: &Record) -> Self {
        self.recorded(record.into()).with("revision", &record.revision.to_string())
    }

    /// What is recorded under the number.
    fn recorded(mut self, recorded: Recorded) -> Self {
        self.failure.set_state(enums::state(recorded.state));
        self.failure.revision = recorded.revision;
        self.failure.settle_id = recorded.settle_id.map_or(String::new(), |id| id.as_str().into());
        self
    }

    /// Names the field that Douyin complains about, if the number or the message says it and the
    /// request has that field.
    fn name_fields(&mut self) {
        let sent = self.rpc.map_or(&[][..], Rpc::sent_fields);
        let named = match (self.words.field, &self.douyin) {
            (Some(field), _) => vec![field],
            (None, Some(said)) if self.words.code == tonic::Code::InvalidArgument => {
                codes::named_fields(&said.err_msg)
            }
            (None, Some(_) | None) => Vec::new(),
        };
        for field in named.into_iter().filter(|field| sent.contains(field)) {
            self.violations.add(field, self.words.meaning);
        }
        if self.words.field.is_some() && self.violations.is_empty() {
            self.words.advice = "Report it to the gateway's operator: the call has no such field.";
        }
    }
}

/// The reason of a status, for the log and the audit: its message may repeat what Douyin said, and
/// Douyin may say what a receiver gets.
pub(crate) fn reason(status: &Status) -> Option<String> {
    info(status).map(|info| info.reason)
}

/// What a program reads of a status.
pub(crate) fn info(status: &Status) -> Option<ErrorInfo> {
    status.get_details_error_info()
}

/// The text, cut to at most `bytes_max` bytes at a character boundary.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes_max)).0
}
