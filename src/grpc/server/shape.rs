//! What is the same for every call: the checks before its RPC sees it, and the form of every error
//! that the server's stack answers by itself (an unknown method, a request that cannot be read, an
//! expired deadline, too many calls, a panic).
//!
//! It is the outermost layer, so that no error leaves without details. It cannot reach what fails
//! before a request exists: bad frames, and headers beyond HTTP/2's limit.
//!
//! What it must not know: what an RPC does.

mod body;
mod case;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};

use super::super::audit::{Admission, Told};
use super::super::deadline::Deadline;
use super::super::identity::Identity;
use super::bounds::{Kind, Process};
use crate::settle::Reason;
use case::{Case, Path};

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

    fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
                Ok(Ok(Ok(response))) => body::shaped(case, response, stream, at_work),
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
