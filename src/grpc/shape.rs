//! What is the same for every call: the checks before its RPC sees it, and the form of every error
//! that the server's stack answers by itself (an unknown method, a request that cannot be read, an
//! expired deadline, too many calls, a panic).
//!
//! It is the outermost layer, so that no error leaves without details. It cannot reach what fails
//! before a request exists: bad frames, and headers beyond HTTP/2's limit.
//!
//! What it must not know: what an RPC does.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::answers::Waiting;
use super::arriving::{self, Unfit};
use super::audit::{Admission, Told};
use super::bounds::{Connection, Held, Kind, Process};
use super::call::{AnsweredBy, Call};
use super::deadline::Deadline;
use super::identity::Identity;
use super::reasons::Outcome;
use super::rpc::Rpc;
use super::status::{self, Limit};
use crate::http::seats::{Activity, AtWork};
use crate::settle::Reason;

/// How long a request may take to arrive.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The layer around all services of the server.
#[derive(Clone)]
pub struct Shape {
    /// Bounds the calls that wait for the beginning of their answer.
    calls: Arc<Semaphore>,
    process: Arc<Process>,
    unary_limit: Duration,
    admission: Admission,
}

/// Services inside that layer.
#[derive(Clone)]
pub struct Shaped<S> {
    inner: S,
    shape: Shape,
}

/// A call whose answer has not begun.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Whether a request got to the code of its RPC. Before that nothing of it can have been sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entered(Arc<AtomicBool>);

impl Entered {
    /// Notes that the request has reached the code of its RPC.
    pub(crate) fn mark<T>(request: &tonic::Request<T>) {
        if let Some(Self(entered)) = request.extensions().get() {
            entered.store(true, Ordering::Relaxed);
        }
    }
}

impl Shape {
    pub fn new(
        calls: Arc<Semaphore>,
        process: Arc<Process>,
        unary_limit: Duration,
        admission: Admission,
    ) -> Self {
        Self { calls, process, unary_limit, admission }
    }

    /// Why a call is turned away by its headers alone.
    fn turns_away(&self, case: &Case, identity: &Identity) -> Option<Reason> {
        if !case.connection.has_room(Kind::Answers, 1) {
            return Some(Reason::Overloaded);
        }
        // Health and reflection ask for no identity.
        let rpc = case.rpc?;
        let denied = identity.may(rpc.right()).err()?;
        self.admission.audit.refused(rpc.name(), identity, Told::default(), denied);
        Some(denied.reason())
    }
}

impl<S> Layer<S> for Shape {
    type Service = Shaped<S>;

    fn layer(&self, inner: S) -> Shaped<S> {
        Shaped { inner, shape: self.clone() }
    }
}

impl<S> Service<Request<Body>> for Shaped<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(status) = no_grpc(&request) {
            return Box::pin(std::future::ready(Ok(bare(status))));
        }
        let deadline = Deadline::of(request.headers(), self.shape.unary_limit);
        let callers = &self.shape.admission.callers;
        let identity = Identity::of(request.headers(), request.extensions(), callers);
        let case = Case::of(&request, &self.shape.process, &identity);
        let turned_away = self.shape.turns_away(&case, &identity);
        let extensions = request.extensions_mut();
        extensions.insert(deadline);
        extensions.insert(case.entered.clone());
        extensions.insert(case.call.repeat().clone());
        extensions.insert(identity);
        if let Some(reason) = turned_away {
            return Box::pin(std::future::ready(Ok(case.answer(reason))));
        }
        // The clone is not ready yet, this one is.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let calls = Arc::clone(&self.shape.calls);
        Box::pin(async move {
            let stream = match case.path {
                Path::Rpc | Path::Check => None,
                Path::Streams => match case.connection.take(Kind::Streams, 1) {
                    Some(stream) => Some(stream),
                    None => return Ok(case.answer(Reason::Overloaded)),
                },
            };
            let request = match case.arrived(request, deadline).await {
                Ok(request) => request,
                Err(turned_away) => return Ok(turned_away),
            };
            let at_work = (case.path != Path::Streams).then(|| case.begin()).flatten();
            // Calls of other services have no place here, so a busy gateway still answers that it
            // serves.
            let place = case.rpc.map(|_| calls.try_acquire_owned()).transpose();
            let Ok(_place) = place else {
                return Ok(case.answer(Reason::Overloaded));
            };
            if deadline.at <= Instant::now() {
                return Ok(case.late(deadline.limit));
            }
            let answer = guarded(Box::pin(case.call.around(ready.call(request))));
            let answered = tokio::time::timeout_at(deadline.last, answer).await;
            Ok(match answered {
                Ok(Ok(Ok(response))) => case.shaped(response, stream, at_work),
                Ok(Ok(Err(infallible))) => match infallible {},
                Ok(Err(Panicked)) => case.answer(Reason::InternalError),
                Err(_) => case.late(deadline.limit),
            })
        })
    }
}

/// The HTTP status of a request that is no gRPC call (gRPC over HTTP/2, "Requests").
fn no_grpc(request: &Request<Body>) -> Option<StatusCode> {
    if request.method() != Method::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = content_type.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    let kind = kind.map(|kind| kind.strip_prefix(b"+proto").unwrap_or(kind));
    let grpc = kind.is_some_and(|kind| kind.is_empty() || kind.starts_with(b";"));
    (!grpc).then_some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The kinds of paths, as far as their limits differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    /// An RPC of the contract: one message, read whole.
    Rpc,
    /// A check of the health: one message, answered at once.
    Check,
    /// Anything else, which can last: reflection, and watching the health.
    Streams,
}

/// One call, with what an error of the stack must know of it.
struct Case {
    call: Call,
    /// `None`: not an RPC of the contract.
    rpc: Option<Rpc>,
    path: Path,
    entered: Entered,
    connection: Arc<Connection>,
    /// `None`: the caller is in this process.
    activity: Option<Arc<Activity>>,
}

impl Case {
    fn of(request: &Request<Body>, process: &Arc<Process>, identity: &Identity) -> Self {
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
    fn begin(&self) -> Option<AtWork> {
        self.activity.as_ref().map(Activity::begin)
    }

    /// The request, once all of it has arrived.
    async fn arrived(
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
    fn is_told_anyway(&self) -> bool {
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

    fn late(&self, limit: Limit) -> Response<Body> {
        self.answer(match limit {
            Limit::Caller => Reason::DeadlineReached,
            Limit::Gateway => Reason::TimeLimitReached,
        })
    }

    fn answer(&self, reason: Reason) -> Response<Body> {
        self.status(reason).into_http()
    }

    fn shaped(
        self,
        mut response: Response<Body>,
        stream: Option<Held>,
        at_work: Option<AtWork>,
    ) -> Response<Body> {
        if response.headers().contains_key(Status::GRPC_STATUS) {
            self.shape(response.headers_mut());
            self.call.answered(response.headers());
            return response;
        }
        let waiting = Waiting::new(Arc::clone(&self.connection));
        // A call of a lasting kind is at work once it is answered, because its request may never
        // end.
        let at_work = at_work.or_else(|| self.begin());
        response.map(|inner| {
            let (_stream, _at_work) = (stream, at_work);
            Body::new(ShapedBody { inner, case: self, waiting, over: false, _stream, _at_work })
        })
    }

    /// Replaces an error without details.
    fn shape(&self, headers: &mut HeaderMap) {
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

    fn status(&self, reason: Reason) -> Status {
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
        self.entered.0.load(Ordering::Relaxed)
    }
}

/// A panic ended the future.
struct Panicked;

/// Polls a future that may panic. That is a bug, and must not look like a lost connection.
async fn guarded<F: Future + Unpin>(mut future: F) -> Result<F::Output, Panicked> {
    std::future::poll_fn(|cx| {
        // Nothing of the future is used after a panic.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// A body whose trailers get their details, and whose messages count until they are taken.
struct ShapedBody {
    inner: Body,
    case: Case,
    waiting: Waiting,
    /// Its last frame was another one than the inner body's.
    over: bool,
    _stream: Option<Held>,
    _at_work: Option<AtWork>,
}

impl ShapedBody {
    /// The next message; `None` if no more may wait to be taken.
    fn message(&mut self, data: Bytes) -> Option<Frame<Bytes>> {
        if data.is_empty() {
            return Some(Frame::data(data));
        }
        if self.case.is_told_anyway() {
            self.waiting.add_anyway(data);
        } else if !self.waiting.add(data) {
            return None;
        }
        self.waiting.part().map(Frame::data)
    }

    /// The end of the stream, sent instead of a message.
    fn overloaded(&mut self) -> Frame<Bytes> {
        self.over = true;
        let mut trailers = HeaderMap::new();
        let added = self.case.status(Reason::Overloaded).add_header(&mut trailers);
        debug_assert!(added.is_ok(), "{added:?}");
        Frame::trailers(trailers)
    }
}

impl http_body::Body for ShapedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(part) = self.waiting.part() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.case.shape(&mut trailers);
                    self.case.call.answered(&trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => match frame.into_data() {
                    Ok(data) => self.message(data).unwrap_or_else(|| self.overloaded()),
                    Err(other) => other,
                },
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.waiting.is_empty() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;
    use tower::ServiceExt as _;
    use tower::service_fn;

    use super::super::audit::Audit;
    use super::super::bounds::Bound;
    use super::*;
    use crate::callers::{Callers, Known};

    /// What the layer makes of a call to a service like this.
    async fn answer<F>(
        path: &str,
        handler: impl FnMut(Request<Body>) -> F + Clone + Send + 'static,
    ) -> Status
    where
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let bound = Bound { process_max: 1_000_000, connection_max: 1_000_000, share: 0 };
        let process = Arc::new(Process::new([bound; 4]));
        let callers = Callers::new(Known::default());
        let admission = Admission { callers, audit: Audit::default() };
        let calls = Arc::new(Semaphore::new(8));
        let shape = Shape::new(calls, process, Duration::from_secs(20), admission);
        let shaped = shape.layer(service_fn(handler));
        let request = Request::post(path).header("content-type", "application/grpc");
        let request = request.body(Body::new(Full::new(Bytes::from_static(&[0; 5])))).unwrap();
        let response = shaped.oneshot(request).await.unwrap();
        Status::from_header_map(response.headers()).expect("an answer without a body")
    }

    const CREATE: &str = "/douyin.settlement.v1.SettlementService/CreateSettle";

    /// The reason of an error, and the outcome that it promises.
    fn told(status: &Status) -> (Reason, Option<Outcome>) {
        let info = status.get_details_error_info().expect("each error has one");
        let outcomes = [Outcome::NotSent, Outcome::Refused, Outcome::Unknown];
        let outcome = info.metadata.get("outcome").map(|word| {
            outcomes.into_iter().find(|it| it.as_str() == word).expect("there is no other outcome")
        });
        (Reason::parse(&info.reason).expect("it is in a table"), outcome)
    }

    /// The row of INTERNAL_ERROR, each RPC and each outcome of it.
    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        for rpc in Rpc::ALL {
            let path = format!("/{}", rpc.method());
            let outcome = |outcome| (*rpc == Rpc::CreateSettle).then_some(outcome);
            let before = answer(&path, async |_| panic!("a bug before the code of the RPC")).await;
            assert_eq!(before.code(), Code::Internal);
            assert_eq!(told(&before), (Reason::InternalError, outcome(Outcome::NotSent)));
            let after = answer(&path, async |request| {
                Entered::mark(&tonic::Request::from_parts(
                    tonic::metadata::MetadataMap::new(),
                    request.into_parts().0.extensions,
                    (),
                ));
                panic!("a bug in the code of the RPC")
            });
            let after = after.await;
            assert_eq!(after.code(), Code::Internal);
            assert_eq!(told(&after), (Reason::InternalError, outcome(Outcome::Unknown)));
        }
    }

    /// Whatever code a service answers without details, it leaves with some.
    #[tokio::test]
    async fn no_code_leaves_without_details() {
        for number in 1..=16 {
            for path in [CREATE, "/another.Service/Call"] {
                let status = answer(path, move |_| async move {
                    let mut response = Response::new(Body::empty());
                    response.headers_mut().insert(Status::GRPC_STATUS, number.into());
                    Ok(response)
                });
                let status = status.await;
                assert!(!status.details().is_empty(), "{number} {path}");
                assert_ne!(status.code(), Code::Ok);
            }
        }
    }

    #[tokio::test]
    async fn what_is_right_stays_as_it_is() {
        for code in [Code::Ok, Code::NotFound] {
            let status = answer(CREATE, move |_| async move {
                let mut response = Response::new(Body::empty());
                let headers = response.headers_mut();
                headers.insert(Status::GRPC_STATUS, i32::from(code).into());
                headers.insert(Status::GRPC_STATUS_DETAILS, "c29tZXRoaW5n".parse().unwrap());
                Ok(response)
            });
            let status = status.await;
            assert_eq!((status.code(), status.details()), (code, &b"something"[..]));
        }
    }
}
