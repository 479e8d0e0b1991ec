//! What the outcome of a call means, and the log line of it.
//!
//! Every outcome is accepted, refused or unknown. If a request may have been sent and its answer
//! cannot be understood, the outcome is unknown, never refused.

use std::time::Duration;

use secrecy::SecretString;
use tracing::{Span, debug, debug_span, field};

use super::codes::{self, Handling, Retry, Row};
use super::exchange::{Effect, Failed, Heard};
use super::guaranteed::{self, AmountLeft};
use super::pause::is_throttling;
use super::system;
use super::wire::{QueryBy, Unreadable};
use crate::clock::duration_ms;
use crate::log_limit::limited;
use crate::metrics::{DOUYIN_CALLS, DOUYIN_TIME, OTHER};
use crate::settle::{
    Answers, AppId, Failure, Learned, OrderId, OutOrderNo, OutSettleNo, Reason, Report, TradeSystem,
};

/// What was learned from a settle_create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateAnswer {
    pub learned: Learned,
    pub answers: Answers,
    pub log_id: Option<String>,
    /// Douyin limits the app: no other call of it should be sent now either.
    pub throttled: bool,
}

/// The settles that a settle_query found, perhaps none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryAnswer {
    pub reports: Vec<Report>,
    pub log_id: Option<String>,
}

/// A settle_query from which nothing was learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryFailure {
    pub failure: Failure,
    /// Douyin limits the app: no other call of it should be sent now either.
    pub throttled: bool,
    pub log_id: Option<String>,
}

/// An answer with a number of Douyin's.
pub(super) struct Said {
    heard: Heard,
    /// The system that was called.
    trade_system: TradeSystem,
    /// 0 is success.
    err_no: i32,
    /// `None` for success, and for a number that the table does not list.
    row: Option<&'static Row>,
    /// The token or the signature of the request.
    pub(super) sent: SecretString,
}

impl Said {
    pub(super) fn new(
        heard: Heard,
        trade_system: TradeSystem,
        sent: SecretString,
    ) -> Result<Self, Failed> {
        let (err_no, row) = (heard.err_no()?, heard.answer.row(Some(trade_system)));
        // 23111 may name the settle that exists. Any other error together with a settle's id
        // contradicts itself: the request took effect, and it did not.
        let exists = row.is_some_and(|row| row.handling == Handling::Exists);
        if err_no != 0 && !exists && heard.answer.names_a_settle {
            return Err(heard.unusable(Unreadable("an error together with a settle")));
        }
        Ok(Self { heard, trade_system, err_no, row, sent })
    }

    /// The error table does not list the number.
    pub(super) fn is_unlisted(&self) -> bool {
        self.err_no != 0 && self.row.is_none()
    }

    pub(super) fn handling(&self) -> Option<Handling> {
        self.row.map(|row| row.handling)
    }

    /// How long Douyin should not be called.
    pub(super) fn delay(&self) -> Duration {
        match self.row.map(|row| row.retry) {
            Some(Retry::Now(delay)) => delay,
            Some(Retry::AfterChange | Retry::Never) | None => Duration::ZERO,
        }
    }

    pub(super) fn failure(&self) -> Failure {
        self.heard.failure(self.row.map_or(Reason::DouyinError, |row| row.reason), &self.sent)
    }

    pub(super) fn log_id(&self) -> Option<String> {
        self.heard.log_id.clone()
    }

    /// The answer to a call that only asks, if its number is 0.
    fn unless_error(self) -> Result<Self, Failed> {
        let err_no = self.err_no;
        if err_no == 0 {
            return Ok(self);
        }
        let failure = Box::new(self.failure());
        let (effect, log_id) = (Effect::None, self.heard.log_id);
        Err(Failed { effect, failure, log_id, cause: format!("Douyin answers {err_no}") })
    }

    /// Turns this answer into a call without effect, because the credentials were turned away.
    pub(super) fn turned_away(self, cause: &str) -> Failed {
        Failed {
            effect: Effect::None,
            failure: Box::new(self.failure()),
            log_id: self.heard.log_id,
            cause: cause.to_owned(),
        }
    }
}

/// The outcome of a create, for the life cycle.
///
/// `Answers::OneSend` says that this very send is answered. If a settle exists and the answer does
/// not name it, that may be this send's, so the send stays unanswered.
pub(super) fn created(called: Result<Said, Failed>) -> CreateAnswer {
    let said = match called {
        Ok(said) => said,
        Err(Failed { effect, failure, log_id, .. }) => {
            let throttled = is_throttling(&failure);
            let (learned, answers) = match effect {
                Effect::None => (Learned::NotSent(*failure), Answers::OneSend),
                Effect::Possible => (Learned::Unknown(*failure), Answers::Nothing),
            };
            return CreateAnswer { learned, answers, log_id, throttled };
        }
    };
    let throttled = said.handling() == Some(Handling::Throttled);
    let (learned, answers) = if said.err_no == 0 {
        let create = system::of(said.trade_system).create.as_ref();
        let ids = create.and_then(|create| (create.accepted_ids)(&said.heard.answer));
        match ids {
            Some(ids) => (Learned::Accepted(ids), Answers::OneSend),
            None => {
                let nameless = said.heard.failure(Reason::AcceptedWithoutId, &said.sent);
                (Learned::Exists(nameless), Answers::Nothing)
            }
        }
    } else {
        let failure = said.failure();
        match said.handling() {
            None => (Learned::Unlisted(failure), Answers::Nothing),
            Some(Handling::Refused) => (Learned::Refused(failure), Answers::OneSend),
            // The settle that it names may come from this send.
            Some(Handling::Exists) if said.heard.answer.names_a_settle => {
                (Learned::Exists(failure), Answers::Nothing)
            }
            Some(Handling::Exists) => (Learned::Exists(failure), Answers::OneSend),
            Some(Handling::Unknown | Handling::Throttled) => {
                (Learned::Unknown(failure), Answers::Nothing)
            }
            Some(Handling::Reauthenticate) => (Learned::NotSent(failure), Answers::OneSend),
        }
    };
    CreateAnswer { learned, answers, log_id: said.heard.log_id, throttled }
}

/// The outcome of a query. Any number but 0, and the one that says that there is none, is a
/// failure. For the money of a create it means nothing.
pub(super) fn found(said: Said, by: QueryBy<'_>) -> Result<QueryAnswer, Failed> {
    let system = system::of(said.trade_system);
    if system.absent == Some(said.err_no) {
        return Ok(QueryAnswer { reports: Vec::new(), log_id: said.heard.log_id });
    }
    let said = said.unless_error()?;
    let reports = (system.reports)(&said.heard.answer);
    let reports = reports.map_err(|why| said.heard.unusable(why))?;
    if !answer_to(by, &reports) {
        return Err(said.heard.unusable(Unreadable("it answers another question")));
    }
    Ok(QueryAnswer { reports, log_id: said.heard.log_id })
}

/// The outcome of a question about what is left of an order.
pub(super) fn left(said: Said, asked: &OutOrderNo) -> Result<AmountLeft, Failed> {
    let said = said.unless_error()?;
    let left = guaranteed::amount_left(&said.heard.answer, asked);
    left.map_err(|why| said.heard.unusable(why))
}

/// Whether these are the settles that were asked for. Others come from a proxy that mixes up its
/// answers. Douyin may compare numbers without case, without spaces at the ends, and beyond ASCII
/// more loosely, so only a plain difference counts.
fn answer_to(by: QueryBy<'_>, reports: &[Report]) -> bool {
    let like = |asked: &str, found: Option<&str>| {
        let plain = |text: &str| text.trim().to_ascii_lowercase();
        found.is_none_or(|found| {
            plain(asked) == plain(found) || !asked.is_ascii() || !found.is_ascii()
        })
    };
    reports.iter().all(|Report { settle_id, out_settle_no, facts, .. }| match by {
        QueryBy::SettleId(asked) => like(asked.as_str(), Some(settle_id.as_str())),
        QueryBy::OutSettleNo(asked) => {
            like(asked.as_str(), out_settle_no.as_ref().map(OutSettleNo::as_str))
        }
        QueryBy::OrderId(asked) => {
            like(asked.as_str(), facts.order_id.as_ref().map(OrderId::as_str))
        }
        QueryBy::OutOrderNo(asked) => {
            like(asked.as_str(), facts.out_order_no.as_ref().map(OutOrderNo::as_str))
        }
    })
}

/// The one log line of a call.
pub(super) struct Line<'a> {
    endpoint: &'static str,
    outcome: &'static str,
    tone: Tone,
    failure: Option<&'a Failure>,
    log_id: Option<&'a str>,
}

enum Tone {
    Routine,
    /// A refusal is an ordinary answer.
    Refusal,
    Trouble,
    /// A person has to act.
    Alarm,
}

impl<'a> Line<'a> {
    pub(super) fn of_create(answer: &'a CreateAnswer) -> Self {
        let (outcome, tone, failure) = match &answer.learned {
            Learned::Accepted(_) => ("accepted", Tone::Routine, None),
            Learned::Refused(failure) => ("refused", Tone::Refusal, Some(failure)),
            Learned::Unknown(failure) => (UNKNOWN, Tone::Trouble, Some(failure)),
            Learned::Unlisted(failure) => ("unlisted", Tone::Alarm, Some(failure)),
            Learned::NotSent(failure) => (NOT_SENT, Tone::Trouble, Some(failure)),
            Learned::Exists(failure) => ("exists", Tone::Trouble, Some(failure)),
            Learned::Reported(_)
            | Learned::Absent
            | Learned::Elsewhere
            | Learned::Resolved { .. }
            | Learned::Stopped { .. }
            | Learned::Ended(_) => ("found", Tone::Routine, None),
        };
        let (tone, log_id) = (tone.raised(failure), answer.log_id.as_deref());
        Self { endpoint: "settle_create", outcome, tone, failure, log_id }
    }

    pub(super) fn of_query(answer: &'a Result<QueryAnswer, QueryFailure>) -> Self {
        let (outcome, tone, failure, log_id) = match answer {
            Ok(answer) if answer.reports.is_empty() => {
                ("absent", Tone::Routine, None, &answer.log_id)
            }
            Ok(answer) => ("found", Tone::Routine, None, &answer.log_id),
            Err(QueryFailure { failure, log_id, .. }) => {
                (FAILED, Tone::Trouble, Some(failure), log_id)
            }
        };
        let (tone, log_id) = (tone.raised(failure), log_id.as_deref());
        Self { endpoint: "settle_query", outcome, tone, failure, log_id }
    }

    pub(super) fn of_amount(
        answer: &'a Result<AmountLeft, QueryFailure>,
        log_id: Option<&'a str>,
    ) -> Self {
        let (outcome, tone, failure, log_id) = match answer {
            Ok(_) => ("found", Tone::Routine, None, log_id),
            Err(QueryFailure { failure, log_id, .. }) => {
                (FAILED, Tone::Trouble, Some(failure), log_id.as_deref())
            }
        };
        let tone = tone.raised(failure);
        Self { endpoint: "unsettle_amount", outcome, tone, failure, log_id }
    }

    /// Counts the call and logs it. Call it within the span of the call.
    pub(super) fn write(self, called: &Called<'_>, took: Duration, cause: Option<&str>) {
        let Self { endpoint: call, outcome, tone, failure, log_id } = self;
        called.count(call, outcome, failure, took);
        let elapsed_ms = duration_ms(took);
        let span = Span::current();
        span.record("log_id", log_id);
        span.record("outcome", outcome);
        span.record("elapsed_ms", elapsed_ms);
        let (app_id, trade_system) = (called.app_id.as_str(), called.system());
        let reason = failure.map(|failure| failure.reason.as_str());
        let err_no = failure.and_then(|failure| failure.douyin.as_ref()?.err_no);
        match tone {
            // Where lines of this level are logged, the span is there too and has the fields.
            Tone::Routine => debug!("called Douyin"),
            Tone::Refusal => {
                limited!(Peer, INFO, {
                    call, app_id, trade_system, reason, err_no, cause, outcome, log_id, elapsed_ms
                }, "Douyin refused");
            }
            Tone::Trouble => {
                limited!(Peer, WARN, {
                    call, app_id, trade_system, reason, err_no, cause, outcome, log_id, elapsed_ms
                }, "a call to Douyin failed");
            }
            Tone::Alarm => {
                limited!(Peer, ERROR, {
                    call, app_id, trade_system, reason, err_no, cause, outcome, log_id, elapsed_ms
                }, "a call to Douyin failed, and a person must act");
            }
        }
    }
}

/// Whose call it was.
pub(super) struct Called<'a> {
    pub(super) app_id: &'a AppId,
    /// `None`: a call of the platform itself.
    pub(super) trade_system: Option<TradeSystem>,
}

impl Called<'_> {
    /// The span of the call, for those who want each call told: at level DEBUG in the log, and
    /// where spans are exported.
    pub(super) fn span(&self, call: &str, out_settle_no: Option<&OutSettleNo>) -> Span {
        debug_span!(
            "douyin",
            call,
            app_id = %self.app_id,
            trade_system = self.system(),
            out_settle_no = out_settle_no.map(field::display),
            log_id = field::Empty,
            outcome = field::Empty,
            elapsed_ms = field::Empty,
        )
    }

    fn system(&self) -> &'static str {
        self.trade_system.map_or(PLATFORM, TradeSystem::as_str)
    }

    /// Counts the call, whatever became of it. Douyin chooses its numbers, so only those of the
    /// error table are labels.
    pub(super) fn count(
        &self,
        endpoint: &str,
        outcome: &str,
        failure: Option<&Failure>,
        took: Duration,
    ) {
        let said = failure.and_then(|failure| failure.douyin.as_ref());
        let number = said.and_then(|said| said.err_no);
        let shown = number.map(|number| number.to_string());
        let err_no = match (failure, number) {
            (None, _) => "0",
            (Some(_), None) => "",
            (Some(_), Some(number)) if codes::is_listed(number) => {
                shown.as_deref().unwrap_or(OTHER)
            }
            (Some(_), Some(_)) => OTHER,
        };
        DOUYIN_CALLS.count([self.app_id.as_str(), self.system(), endpoint, outcome, err_no]);
        DOUYIN_TIME.add_time([endpoint, outcome], took);
    }
}

/// In place of a trade system, the label of the calls that all of them share.
const PLATFORM: &str = "platform";

/// What became of a call that brought nothing: a create, and one that only asks.
const UNKNOWN: &str = "unknown";
const NOT_SENT: &str = "not_sent";
pub(super) const FAILED: &str = "failed";
/// And of a good one for a token.
pub(super) const FETCHED: &str = "fetched";

/// Makes the series of an app's calls: those that went well, and those that brought nothing,
/// without a number. One with the number of an error comes with its first event.
pub(crate) fn begin_counting(app_id: &AppId, trade_systems: &[TradeSystem]) {
    let of_systems = [
        ("settle_create", "accepted", "0"),
        ("settle_create", UNKNOWN, ""),
        ("settle_create", NOT_SENT, ""),
        ("settle_query", "found", "0"),
        ("settle_query", "absent", "0"),
        ("settle_query", FAILED, ""),
    ];
    for system in trade_systems {
        for (endpoint, outcome, err_no) in of_systems {
            DOUYIN_CALLS.begin([app_id.as_str(), system.as_str(), endpoint, outcome, err_no]);
        }
    }
    for (outcome, err_no) in [(FETCHED, "0"), (FAILED, "")] {
        DOUYIN_CALLS.begin([app_id.as_str(), PLATFORM, "client_token", outcome, err_no]);
    }
}

impl Tone {
    fn raised(self, failure: Option<&Failure>) -> Self {
        match failure {
            Some(failure) if failure.reason == Reason::UpstreamCredentialsRejected => Tone::Alarm,
            Some(_) | None => self,
        }
    }
}
