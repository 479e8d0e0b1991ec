//! Gives what the server's stack answers by itself the shape of every other error: an unknown
//! method, a request that cannot be read, a time that is up, too many calls, a panic.
//!
//! It stands outermost of what handles a request, so that no error leaves without details. What
//! comes before a request is one, it cannot reach: bad frames, and headers beyond HTTP/2's limit.
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
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::deadline::Deadline;
use super::rpc::{self, Rpc};
use super::status::{self, Limit, Outcome};
use crate::log_limit::limited;

/// The layer around all services of the server.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Bounds the calls that wait for the beginning of their answer.
    calls: Arc<Semaphore>,
    unary_limit: Duration,
}

/// Services in that layer.
#[derive(Clone, Debug)]
pub struct Shaped<S> {
    inner: S,
    shape: Shape,
}

/// Whether a request got to the code of its RPC. Before that, nothing of it can have been sent.
#[derive(Clone, Debug, Default)]
pub struct Entered(Arc<AtomicBool>);

impl Entered {
    /// Notes that the request is with the code of its RPC.
    pub fn mark<T>(request: &tonic::Request<T>) {
        if let Some(Self(entered)) = request.extensions().get() {
            entered.store(true, Ordering::Relaxed);
        }
    }
}

impl Shape {
    pub fn new(calls_max: usize, unary_limit: Duration) -> Self {
        Self { calls: Arc::new(Semaphore::new(calls_max)), unary_limit }
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
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let deadline = Deadline::of(request.headers(), self.shape.unary_limit);
        let case = Case::of(&request);
        request.extensions_mut().insert(deadline);
        request.extensions_mut().insert(case.entered.clone());
        // Whoever asks for the health of a busy gateway is still to hear that it serves.
        let place = case.rpc.map(|_| Arc::clone(&self.shape.calls).try_acquire_owned());
        let place = place.transpose();
        // The clone is not ready yet, this one is.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let Ok(_place) = place else {
                return Ok(case.answer("OVERLOADED"));
            };
            if deadline.at <= Instant::now() {
                return Ok(case.late(deadline.limit));
            }
            let answer = guarded(Box::pin(ready.call(request)));
            let answered = tokio::time::timeout_at(deadline.last, answer).await;
            Ok(match answered {
                Ok(Ok(Ok(response))) => case.shaped(response),
                Ok(Ok(Err(infallible))) => match infallible {},
                Ok(Err(Panicked)) => case.answer("INTERNAL_ERROR"),
                Err(_) => case.late(deadline.limit),
            })
        })
    }
}

/// One call, as far as an error of the stack must know it.
#[derive(Clone, Debug)]
struct Case {
    /// `None`: no RPC of the contract.
    rpc: Option<Rpc>,
    entered: Entered,
}

impl Case {
    fn of(request: &Request<Body>) -> Self {
        Self { rpc: Rpc::of_path(request.uri().path()), entered: Entered::default() }
    }

    fn late(&self, limit: Limit) -> Response<Body> {
        self.answer(match limit {
            Limit::Caller => "DEADLINE_REACHED",
            Limit::Gateway => "TIME_LIMIT_REACHED",
        })
    }

    fn answer(&self, reason: &str) -> Response<Body> {
        self.status(reason).into_http()
    }

    fn shaped(self, mut response: Response<Body>) -> Response<Body> {
        if response.headers().contains_key(Status::GRPC_STATUS) {
            self.shape(response.headers_mut());
            return response;
        }
        response.map(|inner| Body::new(ShapedBody { inner, case: self }))
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
        // A status of ours is made of texts that headers can carry.
        let added = status.add_header(headers);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// What tonic and the services beside ours say by a code.
    fn reason(&self, bare: &Status, headers: &HeaderMap) -> &'static str {
        if self.has_entered() {
            return "INTERNAL_ERROR";
        }
        let ours = self.rpc.is_some();
        match bare.code() {
            // Only for an encoding that it does not know does tonic name those that it does.
            Code::Unimplemented if headers.contains_key("grpc-accept-encoding") => {
                "COMPRESSION_NOT_SUPPORTED"
            }
            Code::Unimplemented => "RPC_NOT_FOUND",
            Code::OutOfRange | Code::ResourceExhausted => "REQUEST_TOO_LARGE",
            // A frame that is none, a message that cannot be decoded, none, a body that broke off.
            Code::Internal | Code::Unknown | Code::Unavailable | Code::Cancelled => {
                "REQUEST_MALFORMED"
            }
            Code::NotFound if !ours => "NAME_NOT_FOUND",
            Code::InvalidArgument if !ours => "INVALID_REQUEST",
            Code::Ok
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::DataLoss
            | Code::Unauthenticated => "INTERNAL_ERROR",
        }
    }

    fn status(&self, reason: &str) -> Status {
        let outcome = (self.rpc == Some(Rpc::CreateSettle)).then(|| match self.has_entered() {
            true => Outcome::Unknown,
            false => Outcome::NotSent,
        });
        let status = status::of_stack(reason, self.rpc, outcome);
        rpc::count(self.rpc, status.code());
        let rpc = self.rpc.map_or("none", Rpc::name);
        let outcome = outcome.map(Outcome::as_str);
        limited!(Stranger, INFO, { rpc, code = ?status.code(), reason, outcome },
            "answered by the server's stack");
        status
    }

    fn has_entered(&self) -> bool {
        self.entered.0.load(Ordering::Relaxed)
    }
}

/// A panic ended the future.
struct Panicked;

/// Polls a future that may panic, which is a bug and must not look like a lost connection.
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

/// A body whose trailers have the shape.
struct ShapedBody {
    inner: Body,
    case: Case,
}

impl http_body::Body for ShapedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    self.case.shape(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;
    use tower::service_fn;

    use super::*;

    /// What the layer makes of a call to a service like this.
    async fn answer<F>(
        path: &'static str,
        handler: impl FnMut(Request<Body>) -> F + Clone + Send + 'static,
    ) -> Status
    where
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let shaped = Shape::new(8, Duration::from_secs(20)).layer(service_fn(handler));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = shaped.oneshot(request).await.unwrap();
        Status::from_header_map(response.headers()).expect("an answer without a body")
    }

    const CREATE: &str = "/douyin.settlement.v1.SettlementService/CreateSettle";

    fn message_of(status: &Status) -> (Code, bool, bool) {
        let text = String::from_utf8_lossy(status.details()).into_owned();
        (status.code(), text.contains("INTERNAL_ERROR"), text.contains("unknown"))
    }

    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        let before = answer(CREATE, async |_| panic!("a bug before the code of the RPC")).await;
        assert_eq!(message_of(&before), (Code::Internal, true, false), "not sent");
        let after = answer(CREATE, async |request| {
            Entered::mark(&tonic::Request::from_parts(
                tonic::metadata::MetadataMap::new(),
                request.into_parts().0.extensions,
                (),
            ));
            panic!("a bug in the code of the RPC")
        });
        assert_eq!(message_of(&after.await), (Code::Internal, true, true), "nobody knows");
    }

    /// Whatever code a service answers without details, it leaves with some.
    #[tokio::test]
    async fn no_code_leaves_without_details() {
        for number in 1..=16 {
            for path in [CREATE, "/somebody.Else/Call"] {
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
