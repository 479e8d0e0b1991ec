//! The only place where a `Status` is built: what happened, whether money may have moved, what to
//! do next, all of it readable by a program.
//!
//! The encoded details stay under [`DETAILS_BYTES_MAX`]: larger trailers make some clients lose the
//! status altogether.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use super::reasons;
use crate::douyin;
use crate::douyin::codes::{self, Retry};
use crate::gateway::{CreateError, Ending, NotSent, QueryError, Unknown};
use crate::proto::v1;
use crate::settle::proof::Proof;
use crate::settle::{AppId, DouyinError, Failure, Key, StateKind};
use crate::store;

/// The domain of what Douyin refused.
pub const DOMAIN_DOUYIN: &str = "open.douyin.com";
/// The domain of the gateway's own reasons.
pub const DOMAIN_GATEWAY: &str = "douyin.settlement.v1";
/// The most bytes of an encoded `google.rpc.Status`. grpcio loses statuses from 8 KiB of metadata
/// on, and the trailer is base64.
pub const DETAILS_BYTES_MAX: usize = 4096;
const VIOLATIONS_MAX: usize = 20;
const ERR_MSG_BYTES_MAX: usize = 512;
const TEXT_BYTES_MAX: usize = 200;

/// The promise that an error of CreateSettle makes; see the proto.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    NotSent,
    Refused,
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotSent => "not_sent",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        }
    }
}

/// One wrong field of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Path in the request, as in the proto: `settle_params[2].amount_fen`.
    pub field: String,
    pub description: String,
}

/// An error in the making: the words of a table, and what is known of this case.
#[derive(Clone, Debug)]
struct Problem {
    words: Words,
    outcome: Option<Outcome>,
    douyin: Option<DouyinError>,
    violations: Vec<Violation>,
    metadata: HashMap<String, String>,
}

/// How a table row speaks of a failure.
#[derive(Clone, Debug)]
pub struct Words {
    pub code: Code,
    pub reason: &'static str,
    pub domain: &'static str,
    pub meaning: &'static str,
    pub meaning_zh: &'static str,
    pub advice: &'static str,
    pub retry: Retry,
    pub field: Option<&'static str>,
}

/// The words for a recorded failure. The gateway's several causes of "no usable answer" are one
/// reason to a caller: none of them changes what the caller does.
pub fn words(failure: &Failure) -> Words {
    // Several numbers may share a reason; the number itself has the exact words.
    let said = failure.douyin.as_ref();
    let exact = said.and_then(|said| codes::decisive(said.err_no, said.sub_err_no));
    let exact = exact.filter(|row| row.reason == failure.reason);
    if let Some(row) = exact.or_else(|| codes::row_for_reason(&failure.reason)) {
        return Words {
            code: row.code,
            reason: row.reason,
            domain: DOMAIN_DOUYIN,
            meaning: row.meaning,
            meaning_zh: row.meaning_zh,
            advice: row.advice,
            retry: row.retry,
            field: row.field,
        };
    }
    match failure.reason.as_str() {
        douyin::UPSTREAM_TIMEOUT
        | douyin::UPSTREAM_UNREACHABLE
        | douyin::UPSTREAM_CONNECTION_LOST
        | douyin::UPSTREAM_BAD_ANSWER
        | douyin::UPSTREAM_HTTP_ERROR => own_words("UPSTREAM_UNAVAILABLE"),
        codes::UNLISTED => Words {
            code: Code::Unknown,
            reason: codes::UNLISTED,
            domain: DOMAIN_DOUYIN,
            meaning: "Douyin answered a number that the gateway does not know.",
            meaning_zh: "抖音返回了网关未收录的错误码。",
            advice: "Repeat or watch the same out_settle_no, and report the number.",
            retry: Retry::Now(Duration::from_secs(5)),
            field: None,
        },
        own => own_words(own),
    }
}

/// The words for a failure of a create whose outcome is known: while it is unknown, coming back
/// with the same number is right whatever the last answer was; once it is refused, it never is.
pub fn words_for(failure: &Failure, outcome: Outcome) -> Words {
    let mut words = words(failure);
    match (outcome, words.retry) {
        (Outcome::Unknown, Retry::Never) => words.retry = Retry::Now(Duration::from_secs(5)),
        (Outcome::Refused, Retry::Now(_)) => {
            words.retry = Retry::Never;
            words.advice = "Pay the intent under another out_settle_no if it is still wanted.";
        }
        (Outcome::Unknown | Outcome::Refused | Outcome::NotSent, _) => {}
    }
    words
}

fn own_words(reason: &str) -> Words {
    let row = reasons::row(reason).or_else(|| reasons::row("INTERNAL_ERROR"));
    let row = row.expect("the table has INTERNAL_ERROR");
    Words {
        code: row.code,
        reason: row.reason,
        domain: DOMAIN_GATEWAY,
        meaning: row.meaning,
        meaning_zh: row.meaning_zh,
        advice: row.advice,
        retry: row.retry,
        field: None,
    }
}

/// An error with a reason of the gateway's own.
pub fn own(reason: &str) -> Status {
    Problem::own(reason).status()
}

/// The time of a call other than a create is up.
pub fn of_limit(limit: Limit) -> Status {
    Problem::of_limit(limit).status()
}

/// A request whose fields are wrong.
pub fn invalid(violations: Vec<Violation>, outcome: Option<Outcome>) -> Status {
    let mut problem = Problem::own("INVALID_REQUEST");
    problem.violations = violations;
    problem.outcome = outcome;
    problem.status()
}

/// An app that the gateway does not serve.
pub fn app_not_configured(app_id: &str, outcome: Option<Outcome>) -> Status {
    let mut problem = Problem::own("APP_NOT_CONFIGURED").with("app_id", app_id);
    problem.outcome = outcome;
    problem.status()
}

/// Whose deadline ends a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Caller,
    Gateway,
}

/// What a failed create says to its caller.
pub fn of_create(error: CreateError, key: &Key, limit: Limit) -> Status {
    let outcome = outcome(&error);
    let mut problem = match error {
        CreateError::NotSent(not_sent) => of_not_sent(not_sent, limit),
        CreateError::Rejected { rejection, replayed } => {
            let problem = Problem::of(&rejection, outcome);
            if replayed { problem.with("replayed", "true") } else { problem }
        }
        CreateError::NumberTaken { settle_id, proven: _ } => {
            let taken = Failure::own(crate::settle::state::OUT_SETTLE_NO_EXISTS);
            let mut problem = Problem::of(&taken, outcome);
            problem.words.advice = match outcome {
                Outcome::Refused => "Pay the intent under another out_settle_no.",
                Outcome::NotSent | Outcome::Unknown => {
                    "Whose settle it is cannot be proven: ask the gateway's operator."
                }
            };
            match settle_id {
                Some(settle_id) => problem.with("settle_id", settle_id.as_str()),
                None => problem,
            }
        }
        CreateError::Conflict { fields, recorded: _ } => {
            Problem::own("OUT_SETTLE_NO_CONFLICT").with("differing_fields", &fields.join(","))
        }
        CreateError::Unknown(Unknown::Douyin(failure)) => Problem::of(&failure, outcome),
        CreateError::Unknown(Unknown::Deadline) => Problem::of_limit(limit),
        CreateError::Unknown(Unknown::Store) => Problem::own("STORE_UNAVAILABLE"),
    };
    problem.outcome = Some(outcome);
    problem.about(key).status()
}

/// The promise about the money that a failed create makes.
pub fn outcome(error: &CreateError) -> Outcome {
    match error {
        CreateError::NotSent(_) => Outcome::NotSent,
        CreateError::Rejected { .. } => Outcome::Refused,
        CreateError::NumberTaken { proven, .. } => match proven {
            Proof::Foreign => Outcome::Refused,
            Proof::Ours | Proof::Unproven => Outcome::Unknown,
        },
        CreateError::Conflict { recorded, .. } => match recorded {
            StateKind::Rejected => Outcome::Refused,
            StateKind::Submitting
            | StateKind::Processing
            | StateKind::Succeeded
            | StateKind::Failed => Outcome::NotSent,
        },
        CreateError::Unknown(_) => Outcome::Unknown,
    }
}

fn of_not_sent(not_sent: NotSent, limit: Limit) -> Problem {
    match not_sent {
        NotSent::Draining => Problem::own("SERVER_DRAINING"),
        NotSent::Overloaded => Problem::own("OVERLOADED"),
        NotSent::OverBudget { wait } => Problem::own("OVERLOADED").after(wait),
        NotSent::StoreUnavailable => Problem::own("STORE_UNAVAILABLE"),
        NotSent::Deadline => Problem::of_limit(limit),
        NotSent::Window { earliest, latest } => {
            let mut problem = Problem::own("INVALID_REQUEST");
            let (from, to) = (super::convert::rfc3339(earliest), super::convert::rfc3339(latest));
            problem.violations = vec![Violation {
                field: "submit_before".to_owned(),
                description: format!("must be later than {from} and not later than {to}"),
            }];
            problem
        }
        NotSent::Paused { failure, wait } => {
            let problem = Problem::of(&failure, Outcome::NotSent);
            match problem.words.retry {
                Retry::Now(_) => problem.after(wait),
                Retry::AfterChange | Retry::Never => problem,
            }
        }
    }
}

/// How a watch ended; `None` if it ended well.
pub fn of_ending(ending: Ending, app_id: &AppId, out_settle_no: Option<&str>) -> Option<Status> {
    let problem = match ending {
        Ending::Final => return None,
        Ending::Draining => Problem::own("SERVER_DRAINING"),
        Ending::Rotated => Problem::own("STREAM_ROTATED"),
        Ending::Store(error) => Problem::of_store(&error),
        Ending::NotFound => Problem::own("SETTLE_NOT_FOUND"),
        Ending::Lookup(error) => Problem::of_query(error),
        Ending::RevisionFromFuture { revision } => {
            Problem::own("REVISION_FROM_FUTURE").with("revision", &revision.to_string())
        }
    };
    let problem = problem.with("app_id", app_id.as_str());
    Some(match out_settle_no {
        Some(out_settle_no) => problem.with("out_settle_no", out_settle_no).status(),
        None => problem.status(),
    })
}

/// A settle that is not recorded here.
pub fn not_found((app_id, out_settle_no): (&AppId, Option<&str>)) -> Status {
    let problem = Problem::own("SETTLE_NOT_FOUND").with("app_id", app_id.as_str());
    match out_settle_no {
        Some(out_settle_no) => problem.with("out_settle_no", out_settle_no).status(),
        None => problem.status(),
    }
}

/// Douyin could not be asked.
pub fn of_query(error: QueryError, app_id: &AppId) -> Status {
    Problem::of_query(error).with("app_id", app_id.as_str()).status()
}

/// The store failed under a read.
pub fn of_store(error: &store::Error) -> Status {
    Problem::of_store(error).status()
}

impl Problem {
    fn own(reason: &str) -> Self {
        Self::new(own_words(reason))
    }

    fn new(words: Words) -> Self {
        let (outcome, douyin, violations) = (None, None, Vec::new());
        Self { words, outcome, douyin, violations, metadata: HashMap::new() }
    }

    fn of_limit(limit: Limit) -> Self {
        match limit {
            Limit::Caller => Self::own("DEADLINE_REACHED"),
            Limit::Gateway => Self::own("TIME_LIMIT_REACHED"),
        }
    }

    fn of_store(error: &store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) | store::Error::InDoubt(_) => {
                Self::own("STORE_UNAVAILABLE")
            }
            store::Error::Unreadable(_) => Self::own("INTERNAL_ERROR"),
        }
    }

    fn of_query(error: QueryError) -> Self {
        match error {
            QueryError::Store(error) => Self::of_store(&error),
            QueryError::Douyin(failure) => Self::of_failure(&failure),
            QueryError::OverBudget { wait } => Self::own("OVERLOADED").after(wait),
        }
    }

    /// A recorded failure, told to a create. While the outcome is unknown, coming back with the
    /// same number is always right, whatever the last answer was.
    fn of(failure: &Failure, outcome: Outcome) -> Self {
        let mut problem = Self::of_failure(failure);
        problem.outcome = Some(outcome);
        problem.words = words_for(failure, outcome);
        problem
    }

    fn of_failure(failure: &Failure) -> Self {
        let mut problem = Self::new(words(failure));
        problem.douyin.clone_from(&failure.douyin);
        if problem.words.reason == failure.reason {
            return problem;
        }
        problem.with("cause", &failure.reason)
    }

    /// Come back after this long.
    fn after(mut self, wait: Duration) -> Self {
        self.words.retry = Retry::Now(wait.max(Duration::from_millis(100)));
        self
    }

    fn about(self, key: &Key) -> Self {
        self.with("app_id", key.app_id.as_str()).with("out_settle_no", key.out_settle_no.as_str())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), cut(value, TEXT_BYTES_MAX).to_owned());
        self
    }

    fn message(&self) -> String {
        let Words { meaning, advice, .. } = self.words;
        match &self.douyin {
            Some(said) if !said.err_msg.is_empty() => {
                let err_msg = cut(&said.err_msg, TEXT_BYTES_MAX);
                format!("{meaning} Douyin says: {err_msg} ({}). {advice}", said.err_no)
            }
            Some(said) => format!("{meaning} Douyin's number is {}. {advice}", said.err_no),
            None => format!("{meaning} {advice}"),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that builds a status")]
    fn status(mut self) -> Status {
        if let Some(field) = self.words.field {
            let description = self.words.meaning.to_owned();
            self.violations.push(Violation { field: field.to_owned(), description });
        }
        let message = self.message();
        let violations = self.violations.len();
        let mut shown = violations.min(VIOLATIONS_MAX);
        loop {
            let details = self.details(shown);
            let status =
                pb::Status { code: self.words.code.into(), message: message.clone(), details };
            let encoded = status.encode_to_vec();
            if encoded.len() <= DETAILS_BYTES_MAX || shown == 0 {
                return Status::with_details(self.words.code, message, encoded.into());
            }
            shown -= 1;
        }
    }

    /// Each type at most once; `ErrorInfo` always, `RetryInfo` exactly if a retry now makes sense.
    fn details(&self, violations_shown: usize) -> Vec<Any> {
        let mut details = vec![any("google.rpc.ErrorInfo", &self.error_info())];
        if let Retry::Now(delay) = self.words.retry {
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        if !self.violations.is_empty() {
            details.push(any("google.rpc.BadRequest", &self.bad_request(violations_shown)));
        }
        if let Some(said) = &self.douyin {
            let error = douyin_error(self.words.reason, said);
            details.push(any("douyin.settlement.v1.DouyinError", &error));
            if !said.log_id.is_empty() {
                let request_id = cut(&said.log_id, TEXT_BYTES_MAX).to_owned();
                let info = pb::RequestInfo { request_id, serving_data: String::new() };
                details.push(any("google.rpc.RequestInfo", &info));
            }
        }
        let localized = pb::LocalizedMessage {
            locale: "zh-CN".to_owned(),
            message: self.words.meaning_zh.to_owned(),
        };
        details.push(any("google.rpc.LocalizedMessage", &localized));
        details
    }

    fn error_info(&self) -> pb::ErrorInfo {
        let mut metadata = self.metadata.clone();
        let retry = match self.words.retry {
            Retry::Now(_) => "now",
            Retry::AfterChange => "after_change",
            Retry::Never => "never",
        };
        metadata.insert("retry".to_owned(), retry.to_owned());
        if let Some(outcome) = self.outcome {
            metadata.insert("outcome".to_owned(), outcome.as_str().to_owned());
        }
        if let Some(said) = &self.douyin {
            metadata.insert("err_no".to_owned(), said.err_no.to_string());
            let err_msg = cut(&said.err_msg, TEXT_BYTES_MAX);
            let texts = [("err_msg", err_msg), ("log_id", cut(&said.log_id, TEXT_BYTES_MAX))];
            for (name, text) in texts {
                if !text.is_empty() {
                    metadata.insert(name.to_owned(), text.to_owned());
                }
            }
        }
        let (reason, domain) = (self.words.reason.to_owned(), self.words.domain.to_owned());
        pb::ErrorInfo { reason, domain, metadata }
    }

    fn bad_request(&self, shown: usize) -> pb::BadRequest {
        let violation = |violation: &Violation| pb::bad_request::FieldViolation {
            field: cut(&violation.field, TEXT_BYTES_MAX).to_owned(),
            description: cut(&violation.description, TEXT_BYTES_MAX).to_owned(),
            ..Default::default()
        };
        let mut field_violations: Vec<_> =
            self.violations.iter().take(shown).map(violation).collect();
        let hidden = self.violations.len() - shown;
        if hidden > 0 {
            field_violations.push(pb::bad_request::FieldViolation {
                description: format!("and {hidden} more"),
                ..Default::default()
            });
        }
        pb::BadRequest { field_violations }
    }
}

/// What Douyin said, for a detail or a recorded error.
pub fn douyin_error(reason: &str, said: &DouyinError) -> v1::DouyinError {
    let text = |text: &str, bytes_max| {
        let text = cut(text, bytes_max);
        (!text.is_empty()).then(|| text.to_owned())
    };
    v1::DouyinError {
        err_no: Some(said.err_no),
        reason: reason.to_owned(),
        err_msg: text(&said.err_msg, ERR_MSG_BYTES_MAX),
        log_id: text(&said.log_id, TEXT_BYTES_MAX),
        http_status: i32::from(said.http_status),
        sub_err_no: said.sub_err_no,
    }
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    let type_url = format!("type.googleapis.com/{name}");
    Any { type_url, value: message.encode_to_vec() }
}

/// The text, cut to at most `bytes_max` bytes at a character's border.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes_max)).0
}
