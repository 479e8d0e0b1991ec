//! The audit: one line of JSON for each create, each decision of an operator and each refusal of
//! identity. What must not be lost is in the database; a line can be, if it cannot be written.
//!
//! What recorded a settle or made a decision always has its line. What changes nothing, and can be
//! had as often as a caller or a stranger likes, is limited for each of them, and counted.
//!
//! What it must not know: where the lines go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tonic::{Code, Status};

use super::identity::{Denied, Identity, Origin};
use super::status::{self, Names};
use super::time;
use crate::callers::Callers;
use crate::clock::Clock;
use crate::gateway::OnRecord;
use crate::http::peer::At;
use crate::log_limit::{Cause, Each, HeldBack};

/// What stands for the call where a connection did not come to one.
const HANDSHAKE: &str = "TLS";

/// Takes one line with its newline, and waits for nothing.
type Sink = dyn Fn(&[u8]) + Send + Sync;

/// Where the audit goes, if anywhere; cheap to clone.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    sink: Box<Sink>,
    clock: Clock,
    limits: Limits,
}

/// What one caller, or one stranger, can cause as often as it likes is written so often only.
struct Limits {
    /// Refusals of calls that show no caller.
    strangers: Each,
    /// Refusals of callers without the right.
    callers: Each,
    /// Repeats of creates, and creates that fail without having been recorded now.
    creates: Each,
    /// Decisions that are turned down.
    decisions: Each,
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
    /// An operator's words, or what is wrong with a certificate.
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
    /// The method of the contract, or [`HANDSHAKE`].
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
    /// Of a refusal: the names that its certificate proves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<&'a str>,
}

/// What was not written in an interval.
#[derive(Serialize)]
struct HeldBackLine<'a> {
    time: String,
    what: &'static str,
    /// What the lines would have been.
    of: &'static str,
    /// Who would have caused them: a caller, a name in a certificate, or a network.
    by: &'a str,
    held_back: u64,
}

impl Audit {
    pub(crate) fn new(clock: Clock, sink: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let limits = Limits {
            strangers: Each::new(Cause::Stranger),
            callers: Each::new(Cause::Peer),
            creates: Each::new(Cause::Peer),
            decisions: Each::new(Cause::Peer),
        };
        Self(Some(Arc::new(Inner { sink: Box::new(sink), clock, limits })))
    }

    /// A call that is not its caller's right.
    pub(crate) fn refused(&self, call: &str, identity: &Identity, told: Told<'_>, denied: Denied) {
        let Some(inner) = &self.0 else { return };
        let (limit, code) = match denied {
            Denied::Unauthenticated => (&inner.limits.strangers, Code::Unauthenticated),
            Denied::Forbidden => (&inner.limits.callers, Code::PermissionDenied),
        };
        if limit.admits(&identity.causer()) {
            let reason = Some(denied.reason().as_str());
            (inner.sink)(&inner.line(What::Refusal, call, identity, told, (code, reason)));
        }
    }

    /// A connection whose client certificate is not believed, and why not. It comes to no call.
    pub(crate) fn unbelieved(&self, at: At, why: &str) {
        let Some(inner) = &self.0 else { return };
        if inner.limits.strangers.admits(&at.network()) {
            (inner.sink)(&ended_by_newline(&Line {
                time: time::rfc3339(inner.clock.now()),
                what: What::Refusal.as_str(),
                call: HANDSHAKE,
                who: None,
                from: Some(at.to_string()),
                app: None,
                number: None,
                outcome: None,
                replayed: false,
                code: format!("{:?}", Code::Unauthenticated),
                reason: Some(Denied::Unauthenticated.reason().as_str()),
                why: Some(why),
                trace_id: None,
                // Nothing proves the names in it.
                shown: Vec::new(),
            }));
        }
    }

    /// Ends an interval of the limits, and tells what was held back in it. To be called every
    /// [`crate::log_limit::INTERVAL`].
    pub(crate) fn sum_up(&self) {
        let Some(inner) = &self.0 else { return };
        let Limits { strangers, callers, creates, decisions } = &inner.limits;
        for (of, limit) in [
            (What::Refusal, strangers),
            (What::Refusal, callers),
            (What::Create, creates),
            (What::Decision, decisions),
        ] {
            for HeldBack { who, lines } in limit.turn() {
                let line = HeldBackLine {
                    time: time::rfc3339(inner.clock.now()),
                    what: "held_back",
                    of: of.as_str(),
                    by: &who,
                    held_back: lines,
                };
                (inner.sink)(&ended_by_newline(&line));
            }
        }
    }
}

fn ended_by_newline(line: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(line).expect("texts and numbers serialize");
    line.push(b'\n');
    line
}

impl Inner {
    fn line(
        &self,
        what: What,
        call: &str,
        identity: &Identity,
        told: Told<'_>,
        (code, reason): (Code, Option<&str>),
    ) -> Vec<u8> {
        let origin = identity.origin();
        ended_by_newline(&Line {
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
            trace_id: origin.and_then(Origin::trace_id),
            shown: if what == What::Refusal { identity.shown() } else { Vec::new() },
        })
    }
}

/// Something that a caller has begun. If the caller hangs up, that is told.
pub(crate) struct Begun<'a> {
    what: What,
    call: &'static str,
    identity: &'a Identity,
    told: Told<'a>,
    /// `None`: it was told, or there is no audit.
    pending: Option<Arc<Pending>>,
}

/// A line that is written once nothing more can be learned that decides about it: with the last
/// copy of this. So a create whose caller hangs up while it is being recorded has its line too.
struct Pending {
    audit: Arc<Inner>,
    what: What,
    causer: String,
    /// Something was done, or may have been: its line is written in any case.
    is_done: AtomicBool,
    line: Mutex<Vec<u8>>,
}

impl<'a> Begun<'a> {
    pub(crate) fn new(
        audit: &'a Audit,
        what: What,
        call: &'static str,
        identity: &'a Identity,
        told: Told<'a>,
    ) -> Self {
        let pending = audit.0.as_ref().map(|audit| {
            let (audit, causer) = (Arc::clone(audit), identity.causer().into_owned());
            let (is_done, line) = (AtomicBool::new(false), Mutex::default());
            Arc::new(Pending { audit, what, causer, is_done, line })
        });
        Self { what, call, identity, told, pending }
    }

    /// To be called when a create has recorded a settle, or may have, and else to be dropped.
    pub(crate) fn on_record(&self) -> OnRecord {
        match self.pending.clone() {
            Some(pending) => OnRecord::call(move || pending.is_done()),
            None => OnRecord::default(),
        }
    }

    /// How it was answered.
    pub(crate) fn ended(mut self, outcome: Option<&str>, replayed: bool, error: Option<&Status>) {
        let Some(pending) = self.pending.take() else { return };
        let code = error.map_or(Code::Ok, Status::code);
        // A create tells it by itself. A decision whose time was up may have been made.
        if self.what == What::Decision && matches!(code, Code::Ok | Code::DeadlineExceeded) {
            pending.is_done();
        }
        let reason = error.and_then(status::reason);
        let told = Told { outcome, replayed, ..self.told };
        let line = (code, reason.as_deref());
        pending.is(pending.audit.line(self.what, self.call, self.identity, told, line));
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        if self.what == What::Decision {
            pending.is_done();
        }
        let told = Told { outcome: Some("unknown"), ..self.told };
        let line = (Code::Cancelled, None);
        pending.is(pending.audit.line(self.what, self.call, self.identity, told, line));
    }
}

impl Pending {
    fn is_done(&self) {
        self.is_done.store(true, Ordering::Relaxed);
    }

    fn is(&self, line: Vec<u8>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let limits = &self.audit.limits;
        let limit = match self.what {
            What::Create => &limits.creates,
            What::Decision => &limits.decisions,
            What::Refusal => &limits.callers,
        };
        if *self.is_done.get_mut() || limit.admits(&self.causer) {
            (self.audit.sink)(self.line.get_mut().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Extensions, HeaderMap};
    use serde_json::Value;

    use super::*;
    use crate::callers::Known;
    use crate::http::peer::Peer;

    /// An audit and what is written.
    fn audit() -> (Audit, Arc<Mutex<Vec<Value>>>) {
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let written = Arc::clone(&lines);
        let audit = Audit::new(Clock::system(), move |line: &[u8]| {
            assert_eq!(line.last(), Some(&b'\n'));
            written.lock().unwrap().push(serde_json::from_slice(line).unwrap());
        });
        (audit, lines)
    }

    /// At this address of 10.0.0.0/24.
    fn stranger(last: u8) -> Identity {
        let mut extensions = Extensions::new();
        extensions.insert(Peer::nameless(At::Address(([10, 0, 0, last], 1).into())));
        let callers = Callers::new(Known::default());
        Identity::of(&HeaderMap::new(), &extensions, &callers)
    }

    /// What was held back, by whom, and how often.
    fn held_back(lines: &[Value]) -> Vec<(&str, &str, u64)> {
        let held = lines.iter().filter(|line| line["what"] == "held_back");
        held.map(|line| {
            let (of, by) = (line["of"].as_str().unwrap(), line["by"].as_str().unwrap());
            (of, by, line["held_back"].as_u64().unwrap())
        })
        .collect()
    }

    #[test]
    fn one_stranger_hides_no_other_and_what_is_held_back_is_counted() {
        let (audit, lines) = audit();
        let refuse = |last: u8, count: usize| {
            for _ in 0..count {
                audit.refused("Get", &stranger(last), Told::default(), Denied::Unauthenticated);
            }
        };
        refuse(1, 25);
        refuse(2, 1);
        // A handshake counts like a call.
        let at = |last: u8| At::Address(([10, 0, 0, last], 1).into());
        (0..2).for_each(|_| audit.unbelieved(at(1), "it has ended"));
        audit.unbelieved(at(2), "it has ended");
        assert_eq!(lines.lock().unwrap().len(), 12);
        assert_eq!(lines.lock().unwrap()[10]["from"], "10.0.0.2:1");
        let handshake = lines.lock().unwrap()[11].clone();
        let fields = ["call", "from", "who", "why"].map(|field| &handshake[field]);
        let wanted = ["TLS".into(), "10.0.0.2:1".into(), Value::Null, "it has ended".into()];
        assert_eq!(fields, [&wanted[0], &wanted[1], &wanted[2], &wanted[3]]);
        audit.sum_up();
        assert_eq!(held_back(&lines.lock().unwrap()), [("refusal", "10.0.0.1", 17)]);
        lines.lock().unwrap().clear();
        refuse(1, 1);
        audit.sum_up();
        assert_eq!(lines.lock().unwrap().len(), 1, "it has a limit of its own again");
    }

    #[test]
    fn what_was_recorded_always_has_its_line_and_what_was_not_is_limited() {
        let (audit, lines) = audit();
        let one = stranger(1);
        let begin = || Begun::new(&audit, What::Create, "Create", &one, Told::default());
        for n in 0..1_000 {
            let begun = begin();
            let on_record = begun.on_record();
            match n % 4 {
                // Recorded, and answered after that or before.
                0 => {
                    on_record.recorded();
                    begun.ended(Some("PROCESSING"), false, None);
                }
                1 => {
                    drop(begun);
                    on_record.recorded();
                }
                // Recorded before, and answered after that was known or before.
                2 => {
                    drop(on_record);
                    begun.ended(Some("PROCESSING"), true, None);
                }
                _ => {
                    drop(begun);
                    assert!(lines.lock().unwrap().len() < 1_000);
                    drop(on_record);
                }
            }
        }
        audit.sum_up();
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 500 + 200 + 1);
        assert_eq!(held_back(&lines), [("create", "10.0.0.1", 300)]);
        let of = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
        assert!(of("unknown") >= 250, "the caller hung up, and it was recorded");
    }
}
