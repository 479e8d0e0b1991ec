//! One HTTP request to Douyin, and how its answer is read.
//!
//! What it must not know: what a number of Douyin's means for the call.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::pause::Pause;
use super::transport::{Call, Deadline, Reply, SendError, Site, Transport};
use super::wire::{self, Answer};
use crate::settle::{DouyinError, Failure, Reason};
use crate::trace;

/// The headers by which a request shows which app it is of.
pub(super) const ACCESS_TOKEN: HeaderName = HeaderName::from_static("access-token");
pub(super) const BYTE_AUTHORIZATION: HeaderName = HeaderName::from_static("byte-authorization");
/// Exactly this text: one client notes that Douyin takes no charset behind it.
const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Makes requests, several at once if needed.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) attempt_timeout: Duration,
}

/// An answer in one of Douyin's envelopes.
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) http_status: u16,
    pub(super) log_id: Option<String>,
}

/// A request, or a call of several requests, without a usable answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    pub(super) effect: Effect,
    pub(super) failure: Box<Failure>,
    pub(super) log_id: Option<String>,
    /// For the log. It never repeats an answer.
    pub(super) cause: String,
}

/// Whether it can have taken effect at Douyin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Possible,
    /// Proven: nothing left this machine, or every request was turned away for its token.
    None,
}

impl Exchange {
    pub(super) async fn post(
        &self,
        (site, path): (Site, &'static str),
        credentials: Option<(HeaderName, &SecretString)>,
        body: Bytes,
        deadline: &Deadline,
    ) -> Result<Heard, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, APPLICATION_JSON);
        if let Some((name, value)) = credentials {
            let value = HeaderValue::from_str(value.expose_secret());
            let mut value = value.map_err(|_| {
                let failure = Failure::own(Reason::UpstreamBadAnswer);
                let cause = "the access token, or the app's id in a signature, cannot be a header";
                Failed::not_sent(failure, cause)
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        // Parsed, so it fits into a header.
        let trace = trace::current().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
        if let Some(trace) = trace {
            headers.insert(trace::HEADER, trace);
        }
        let timeout = self.attempt_timeout.min(deadline.left());
        let call = Call { site, path, headers, body, timeout, deadline: deadline.clone() };
        let answered = self.transport.send(call).await;
        let mut answered = answered.map_err(|error| failed(&error))?;
        let heard = heard(&answered.reply);
        if heard.as_ref().is_ok_and(|heard| heard.answer.denies()) {
            answered.nothing_follows().await.map_err(|error| failed(&error))?;
        }
        answered.keep_line().await;
        heard
    }
}

fn heard(reply: &Reply) -> Result<Heard, Failed> {
    let header = reply.log_id_header.as_deref().map(wire::bounded_log_id);
    match wire::read(&reply.content) {
        Ok(answer) => {
            let log_id = answer.log_id.clone().or(header);
            Ok(Heard { answer, http_status: reply.status, log_id })
        }
        Err(unreadable) => Err(unusable(reply.status, header, unreadable)),
    }
}

/// An answer that cannot be used: the outcome is unknown, whatever the HTTP status. Of its texts
/// only the log id is kept, because the others may hold secrets.
fn unusable(http_status: u16, log_id: Option<String>, why: wire::Unreadable) -> Failed {
    let success = (200..300).contains(&http_status);
    let reason = if success { Reason::UpstreamBadAnswer } else { Reason::UpstreamHttpError };
    let cause = format!("HTTP {http_status}, {why}");
    let said = DouyinError {
        err_no: None,
        sub_err_no: None,
        err_msg: String::new(),
        log_id: log_id.clone().unwrap_or_default(),
        http_status,
    };
    let failure = Box::new(Failure::said(reason, said));
    Failed { effect: Effect::Possible, failure, log_id, cause }
}

fn failed(error: &SendError) -> Failed {
    let (effect, reason) = match error {
        SendError::TooLarge { status, log_id_header } => {
            let log_id = log_id_header.as_deref().map(wire::bounded_log_id);
            return unusable(*status, log_id, wire::Unreadable("the answer is too large"));
        }
        SendError::NotSent(_) => (Effect::None, Reason::UpstreamUnreachable),
        SendError::TooLate => (Effect::None, Reason::SendTooLate),
        SendError::Lost(_) => (Effect::Possible, Reason::UpstreamConnectionLost),
        SendError::Timeout => (Effect::Possible, Reason::UpstreamTimeout),
    };
    let failure = Box::new(Failure::own(reason));
    Failed { effect, failure, log_id: None, cause: error.to_string() }
}

impl Heard {
    /// Douyin's number. An answer in an envelope without a number is unusable.
    pub(super) fn err_no(&self) -> Result<i32, Failed> {
        self.answer.err_no.ok_or_else(|| self.unusable(wire::Unreadable("it has no err_no")))
    }

    pub(super) fn unusable(&self, why: wire::Unreadable) -> Failed {
        unusable(self.http_status, self.log_id.clone(), why)
    }

    /// The failure to record. The text of Douyin's answer may repeat `sent`, which is taken out.
    pub(super) fn failure(&self, reason: Reason, sent: &SecretString) -> Failure {
        let said = self.answer.error(self.http_status, self.log_id.as_deref(), sent);
        Failure::said(reason, said)
    }
}

impl Failed {
    pub(super) fn not_sent(failure: Failure, cause: &str) -> Self {
        let (failure, cause) = (Box::new(failure), cause.to_owned());
        Self { effect: Effect::None, failure, log_id: None, cause }
    }

    pub(super) fn paused(pause: Pause) -> Self {
        Self::not_sent(pause.failure, "the app is paused")
    }
}
