//! One call, told once when it has ended: one line of the log and its counts. Its span is where the
//! code of its RPC notes what the call is about.
//!
//! What it must not know: what an RPC does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span, field, info, info_span};

use super::identity::Identity;
use super::reasons::{self, Outcome};
use super::rpc::{Rpc, spelled};
use super::status;
use crate::clock::duration_ms;
use crate::douyin::codes::{self, Handling};
use crate::http::peer::At;
use crate::log_limit::limited;
use crate::metrics::{CALL_TIME, CALLS, CALLS_OPEN, WATCHES_ENDED};
use crate::trace::{self, TraceParent};

/// Told when it ends, or when this is dropped: then its caller has gone.
pub(super) struct Call {
    /// `None`: it is no RPC of the contract.
    rpc: Option<Rpc>,
    began: Instant,
    span: Span,
    /// Whose call it is, for the limit of its lines.
    causer: Box<str>,
    /// The network that it came from, likewise.
    from: String,
    repeat: Repeat,
    trace: Option<TraceParent>,
    is_told: AtomicBool,
}

/// Whether the answer is that of an earlier request, so that it tells nothing new. Noted by the
/// code of the RPC.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeat(Arc<AtomicBool>);

impl Repeat {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who made the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AnsweredBy {
    /// The code of the RPC, or a service beside ours.
    Service,
    /// What stands before it. Strangers can cause any number of such answers.
    Stack,
}

/// What counts as the reason if the caller hung up before the end of the answer.
const CALLER_GONE: &str = "CALLER_GONE";

impl Call {
    pub(super) fn begin(rpc: Option<Rpc>, identity: &Identity) -> Self {
        let origin = identity.origin();
        let peer = origin.and_then(|origin| origin.peer);
        let trace = origin.and_then(|origin| origin.trace.as_ref());
        let span = rpc.map_or_else(Span::none, |rpc| {
            trace::part_of(trace, || {
                info_span!(
                    "rpc",
                    rpc = rpc.name(),
                    peer = peer.map(field::display),
                    trace_id = field::Empty,
                    request_id = origin.and_then(|origin| origin.request_id.as_deref()),
                    caller = field::Empty,
                    app_id = field::Empty,
                    out_settle_no = field::Empty,
                    state = field::Empty,
                    log_id = field::Empty
                )
            })
        });
        if let Some(rpc) = rpc {
            CALLS_OPEN.raise([rpc.name()]);
        }
        Self {
            rpc,
            began: Instant::now(),
            span,
            trace: trace.cloned(),
            causer: identity.causer().into(),
            from: peer.map(At::network).unwrap_or_default(),
            repeat: Repeat::default(),
            is_told: AtomicBool::new(false),
        }
    }

    pub(super) fn repeat(&self) -> &Repeat {
        &self.repeat
    }

    /// Does the work of the call in its span and its trace.
    pub(super) fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        trace::within(self.trace.clone(), work).instrument(self.span.clone())
    }

    /// How it was answered, by the headers that end an answer.
    pub(super) fn answered(&self, headers: &HeaderMap) {
        if headers.get(Status::GRPC_STATUS).is_some_and(|code| code == "0") {
            return self.ended(Code::Ok, None, None, AnsweredBy::Service);
        }
        let Some(status) = Status::from_header_map(headers) else { return };
        let info = status::info(&status);
        let reason = info.as_ref().map(|info| info.reason.as_str());
        let outcome = info.as_ref().and_then(|info| info.metadata.get("outcome"));
        self.ended(status.code(), reason, outcome.map(String::as_str), AnsweredBy::Service);
    }

    pub(super) fn ended(
        &self,
        code: Code,
        reason: Option<&str>,
        outcome: Option<&str>,
        by: AnsweredBy,
    ) {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let (took, spelled) = (self.began.elapsed(), spelled(code));
        let name = self.rpc.map_or("none", Rpc::name);
        CALLS.count([name, spelled, reason.unwrap_or_default(), outcome.unwrap_or_default()]);
        let method = self.rpc.map(Rpc::method);
        CALL_TIME.add_time([method.as_deref().unwrap_or("_OTHER"), spelled], took);
        if self.rpc == Some(Rpc::WatchSettle) {
            WATCHES_ENDED.count([reason.unwrap_or(FINAL)]);
        }
        self.span.in_scope(|| self.tell(code, reason, outcome, took, by));
    }

    /// A caller can have as many calls as it likes, so its lines are limited, but for those of
    /// creates that are recorded: each of these is a row of the database as well.
    fn tell(
        &self,
        code: Code,
        reason: Option<&str>,
        outcome: Option<&str>,
        took: Duration,
        by: AnsweredBy,
    ) {
        let (causer, from, took_ms) = (&*self.causer, &*self.from, duration_ms(took));
        let is_news = self.rpc == Some(Rpc::CreateSettle) && !self.repeat.0.load(Ordering::Relaxed);
        match (code, self.rpc) {
            // A probe asks for the health every few seconds.
            (Code::Ok, None) => {}
            (_, None) if reason == Some(CALLER_GONE) => {}
            (_, Some(_)) if reason == Some(CALLER_GONE) => {
                limited!(Peer of causer, INFO, { took_ms }, "its caller hung up");
            }
            (Code::Ok, Some(_)) if is_news => info!(?code, took_ms, "answered"),
            (_, _) if by == AnsweredBy::Stack => {
                limited!(Stranger of from, INFO, { ?code, reason, outcome, took_ms, from },
                    "answered before its RPC");
            }
            (Code::Unauthenticated, _) => {
                limited!(Stranger of causer, INFO, { ?code, reason, outcome, took_ms }, "answered");
            }
            (_, _) => {
                limited!(Peer of causer, INFO, { ?code, reason, outcome, took_ms }, "answered");
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled, Some(CALLER_GONE), None, AnsweredBy::Service);
        if let Some(rpc) = self.rpc {
            CALLS_OPEN.lower([rpc.name()]);
        }
    }
}

/// How a watch ended that told the final state.
const FINAL: &str = "FINAL";

/// Makes the series of all calls: those that went well, each error of the gateway's own, and of
/// creates each error by a number of Douyin's.
pub(super) fn begin_counting() {
    for rpc in Rpc::ALL {
        CALLS.begin([rpc.name(), spelled(Code::Ok), "", ""]);
        CALL_TIME.begin([&rpc.method(), spelled(Code::Ok)]);
        CALLS_OPEN.set([rpc.name()], 0);
    }
    for row in reasons::TABLE {
        let (code, reason) = (spelled(row.code), row.reason.as_str());
        for rpc in row.rpcs {
            if *rpc == Rpc::CreateSettle {
                for outcome in row.outcomes {
                    CALLS.begin([rpc.name(), code, reason, outcome.as_str()]);
                }
            } else {
                CALLS.begin([rpc.name(), code, reason, ""]);
            }
            if *rpc == Rpc::WatchSettle {
                WATCHES_ENDED.begin([reason]);
            }
        }
    }
    let unlisted = (codes::other(), Vec::new());
    for (row, _) in codes::table().into_iter().chain([unlisted]) {
        let (create, refused) = (Rpc::CreateSettle.name(), row.handling == Handling::Refused);
        let outcomes = [Some(Outcome::Unknown), refused.then_some(Outcome::Refused)];
        for outcome in outcomes.into_iter().flatten() {
            CALLS.begin([create, spelled(row.code), row.reason.as_str(), outcome.as_str()]);
        }
    }
    WATCHES_ENDED.begin([FINAL]);
    WATCHES_ENDED.begin([CALLER_GONE]);
}
