//! The audit: one line of JSON for each create, each decision of an operator and each refusal of
//! identity. What must not be lost is in the database; a line can be, if it cannot be written.
//!
//! What it must not know: where the lines go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tonic::{Code, Status};

use super::identity::{Denied, Identity};
use super::status::{self, Names};
use super::time;
use crate::callers::Callers;
use crate::clock::Clock;
use crate::log_limit::{Cause, LogLimit};

/// Takes one line with its newline, and waits for nothing.
type Sink = dyn Fn(&[u8]) + Send + Sync;

/// Where the audit goes, if anywhere; cheap to clone.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    sink: Box<Sink>,
    clock: Clock,
    /// Refusals beyond the limit since the last one that was written.
    held_back: AtomicU64,
}

/// Who gets in, and what is told of that.
#[derive(Clone)]
pub struct Admission {
    pub callers: Callers,
    pub audit: Audit,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Create,
    /// An operator decided.
    Decision,
    Refusal,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            What::Create => "create",
            What::Decision => "decision",
            What::Refusal => "refusal",
        }
    }
}

/// What is told of an event besides who caused it and how it was answered.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told<'a> {
    pub app: Option<&'a str>,
    pub number: Option<&'a str>,
    /// The promise about the money, or the state that was answered.
    pub outcome: Option<&'a str>,
    pub replayed: bool,
    /// An operator's words.
    pub why: Option<&'a str>,
}

impl<'a> Told<'a> {
    /// What a call names.
    pub(crate) fn about(names: &'a Names) -> Self {
        let (app, number) = (names.get("app_id"), names.get("out_settle_no"));
        Self { app, number, ..Self::default() }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    what: &'static str,
    /// The method of the contract.
    call: &'a str,
    /// The caller; null if none is known.
    who: Option<&'a str>,
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    /// Refusals before this one that were not written.
    #[serde(skip_serializing_if = "is_zero")]
    held_back: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Audit {
    pub(crate) fn new(clock: Clock, sink: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Inner { sink: Box::new(sink), clock, held_back: AtomicU64::new(0) })))
    }

    /// A call that is not its caller's right. Strangers can cause any number of them, so only some
    /// of each kind are written, as in the log; the next one tells how many were not.
    pub(crate) fn refused(&self, call: &str, identity: &Identity, told: Told<'_>, denied: Denied) {
        static STRANGERS: LogLimit = limit(Cause::Stranger);
        static CALLERS: LogLimit = limit(Cause::Peer);
        let Some(inner) = &self.0 else { return };
        let (limit, code) = match denied {
            Denied::Unauthenticated => (&STRANGERS, Code::Unauthenticated),
            Denied::Forbidden => (&CALLERS, Code::PermissionDenied),
        };
        if !limit.admits() {
            inner.held_back.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let held_back = inner.held_back.swap(0, Ordering::Relaxed);
        let reason = Some(denied.reason().as_str());
        inner.write(What::Refusal, call, identity, told, (code, reason), held_back);
    }
}

const fn limit(cause: Cause) -> LogLimit {
    LogLimit::new(cause, tracing::Level::INFO, module_path!(), "a refusal in the audit")
}

impl Inner {
    fn write(
        &self,
        what: What,
        call: &str,
        identity: &Identity,
        told: Told<'_>,
        (code, reason): (Code, Option<&str>),
        held_back: u64,
    ) {
        let origin = identity.origin();
        let line = Line {
            time: time::rfc3339(self.clock.now()),
            what: what.as_str(),
            call,
            who: identity.name().map(|name| name.as_str()),
            from: origin.and_then(|origin| origin.peer).map(|peer| peer.to_string()),
            app: told.app,
            number: told.number,
            outcome: told.outcome,
            replayed: told.replayed,
            code: format!("{code:?}"),
            reason,
            why: told.why,
            trace_id: origin.and_then(|origin| origin.trace_id.as_deref()),
            held_back,
        };
        let mut line = serde_json::to_vec(&line).expect("texts and numbers serialize");
        line.push(b'\n');
        (self.sink)(&line);
    }
}

/// Something that a caller has begun. If the caller hangs up, that is told.
pub(crate) struct Begun<'a> {
    audit: &'a Audit,
    what: What,
    call: &'static str,
    identity: &'a Identity,
    told: Told<'a>,
    is_over: bool,
}

impl<'a> Begun<'a> {
    pub(crate) fn new(
        audit: &'a Audit,
        what: What,
        call: &'static str,
        identity: &'a Identity,
        told: Told<'a>,
    ) -> Self {
        Self { audit, what, call, identity, told, is_over: false }
    }

    /// How it was answered.
    pub(crate) fn ended(mut self, outcome: Option<&str>, replayed: bool, error: Option<&Status>) {
        self.is_over = true;
        let Some(inner) = &self.audit.0 else { return };
        let code = error.map_or(Code::Ok, Status::code);
        let reason = error.and_then(status::reason);
        let told = Told { outcome, replayed, ..self.told };
        inner.write(self.what, self.call, self.identity, told, (code, reason.as_deref()), 0);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let (false, Some(inner)) = (self.is_over, &self.audit.0) {
            let told = Told { outcome: Some("unknown"), ..self.told };
            inner.write(self.what, self.call, self.identity, told, (Code::Cancelled, None), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Extensions, HeaderMap};

    use super::*;
    use crate::callers::Known;
    use crate::log_limit;

    #[test]
    fn refusals_beyond_the_limit_are_counted_in_the_next_line() {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let written = Arc::clone(&lines);
        let audit = Audit::new(Clock::system(), move |line: &[u8]| {
            written.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
        });
        let callers = Callers::new(Known::default());
        let stranger = Identity::of(&HeaderMap::new(), &Extensions::new(), &callers);
        let refuse = |count: usize| {
            for _ in 0..count {
                audit.refused("GetSettle", &stranger, Told::default(), Denied::Unauthenticated);
            }
        };
        log_limit::begin();
        refuse(25);
        let in_limit = lines.lock().unwrap().len();
        // Another test in this process may have begun an interval meanwhile.
        assert!((10..=25).contains(&in_limit), "{in_limit}");
        log_limit::sum_up();
        refuse(1);
        let lines = lines.lock().unwrap();
        let counted = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["held_back"].as_u64().unwrap_or_default()
        };
        let held_back: u64 = lines.iter().map(counted).sum();
        assert_eq!(lines.len() as u64 + held_back, 26, "{lines:?}");
    }
}
