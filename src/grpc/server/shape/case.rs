//! One call, with what an error of the server's stack must know of it.
//!
//! What it must not know: what an RPC does.

use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::super::super::call::{AnsweredBy, Call};
use super::super::super::deadline::Deadline;
use super::super::super::identity::Identity;
use super::super::super::reasons::Outcome;
use super::super::super::rpc::Rpc;
use super::super::super::status::{self, Limit};
use super::super::arriving::{self, Unfit};
use super::super::bounds::{Connection, Process};
use super::{BODY_TIME_MAX, Entered};
use crate::http::seats::{Activity, AtWork};
use crate::settle::Reason;

/// The kinds of paths, as far as their limits differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// An RPC of the contract: one message, read whole.
    Rpc,
    /// A check of the health: one message, answered at once.
    Check,
    /// Anything else, which can last: reflection, and watching the health.
    Streams,
}

/// One call that has not been answered whole.
pub(super) struct Case {
    pub(super) call: Call,
    /// `None`: not an RPC of the contract.
    pub(super) rpc: Option<Rpc>,
    pub(super) path: Path,
    pub(super) entered: Entered,
    pub(super) connection: Arc<Connection>,
    /// `None`: the caller is in this process.
    activity: Option<Arc<Activity>>,
}

impl Case {
    pub(super) fn of(request: &Request<Body>, process: &Arc<Process>, identity: &Identity) -> Self {
        let rpc = Rpc::of_path(request.uri().path());
        let path = match (rpc, request.uri().path()) {
            (Some(_), _) => Path::Rpc,
            (None, "/grpc.health.v1.Health/Check") => Path::Check,
            (None, _) => Path::Streams,
        };
        let connection = Connection::of(request.extensions(), process);
        let activity = request.extensions().get().cloned();
        let call = Call::begin(rpc, identity);
        Self { call, rpc, path, entered: Entered::default(), connection, activity }
    }

    /// From now on its connection need not make room for another one.
    pub(super) fn begin(&self) -> Option<AtWork> {
        self.activity.as_ref().map(Activity::begin)
    }

    /// The request, once all of it has arrived.
    pub(super) async fn arrived(
        &self,
        request: Request<Body>,
        deadline: Deadline,
    ) -> Result<Request<Body>, Response<Body>> {
        if self.path == Path::Streams {
            return Ok(request);
        }
        let (head, body) = request.into_parts();
        let by = deadline.at.min(Instant::now() + BODY_TIME_MAX);
        let body = tokio::time::timeout_at(by, arriving::whole(body, &self.connection)).await;
        match body {
            Ok(Ok(message)) => Ok(Request::from_parts(head, Body::new(Full::new(message)))),
            Ok(Err(Unfit::Malformed)) => Err(self.answer(Reason::RequestMalformed)),
            Ok(Err(Unfit::TooLarge)) => Err(self.answer(Reason::RequestTooLarge)),
            Ok(Err(Unfit::TooMany)) => Err(self.answer(Reason::Overloaded)),
            Err(_) if by < deadline.at => Err(self.late(Limit::Gateway)),
            Err(_) => Err(self.late(deadline.limit)),
        }
    }

    /// Whether its answer leaves however much waits: outcomes of creates, and news.
    pub(super) fn is_told_anyway(&self) -> bool {
        match self.rpc {
            Some(Rpc::CreateSettle | Rpc::WatchSettle | Rpc::WaitSettle) => true,
            Some(
                Rpc::GetSettle
                | Rpc::QuerySettles
                | Rpc::ListSettles
                | Rpc::GetUnsettledAmount
                | Rpc::ShowSettle
                | Rpc::ListStuckSettles
                | Rpc::ResolveContradiction
                | Rpc::StopSending
                | Rpc::EndSettle,
            ) => false,
            None => self.path == Path::Check,
        }
    }

    pub(super) fn late(&self, limit: Limit) -> Response<Body> {
        self.answer(match limit {
            Limit::Caller => Reason::DeadlineReached,
            Limit::Gateway => Reason::TimeLimitReached,
        })
    }

    pub(super) fn answer(&self, reason: Reason) -> Response<Body> {
        self.status(reason).into_http()
    }

    /// Replaces an error without details.
    pub(super) fn shape(&self, headers: &mut HeaderMap) {
        if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
            return;
        }
        let Some(bare) = Status::from_header_map(headers) else { return };
        if bare.code() == Code::Ok {
            return;
        }
        let status = self.status(self.reason(&bare, headers));
        headers.remove(Status::GRPC_MESSAGE);
        // Our own status has only texts that headers can carry.
        let added = status.add_header(headers);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// What an error code means that tonic or a service beside ours answered without details.
    fn reason(&self, bare: &Status, headers: &HeaderMap) -> Reason {
        if self.has_entered() {
            return Reason::InternalError;
        }
        let ours = self.rpc.is_some();
        match bare.code() {
            // tonic sends this header only with the error about an unknown encoding.
            Code::Unimplemented if headers.contains_key("grpc-accept-encoding") => {
                Reason::CompressionNotSupported
            }
            Code::Unimplemented => Reason::RpcNotFound,
            Code::OutOfRange | Code::ResourceExhausted => Reason::RequestTooLarge,
            // A bad frame, a message that cannot be decoded or is missing, a body that broke off.
            Code::Internal | Code::Unknown | Code::Unavailable | Code::Cancelled => {
                Reason::RequestMalformed
            }
            Code::NotFound if !ours => Reason::NameNotFound,
            Code::InvalidArgument if !ours => Reason::InvalidRequest,
            Code::Ok
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::DataLoss
            | Code::Unauthenticated => Reason::InternalError,
        }
    }

    pub(super) fn status(&self, reason: Reason) -> Status {
        let outcome = (self.rpc == Some(Rpc::CreateSettle)).then(|| match self.has_entered() {
            true => Outcome::Unknown,
            false => Outcome::NotSent,
        });
        let status = status::of_stack(reason, self.rpc, outcome);
        let (reason, outcome) = (Some(reason.as_str()), outcome.map(Outcome::as_str));
        self.call.ended(status.code(), reason, outcome, AnsweredBy::Stack);
        status
    }

    fn has_entered(&self) -> bool {
        self.entered.is_marked()
    }
}
