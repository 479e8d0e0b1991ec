//! The simulator's wire: HTTP/1.1 on a loopback port, inside TLS if it has a certificate.
//!
//! It turns bytes into a [`Request`], and a [`Reply`] into bytes or a broken connection. It does
//! not know what they mean. Requests to the control interface go to its router.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::answers::Answer;
use super::control;
use super::core::{Reply, Request};
use super::simulator::Shared;

/// A larger request body gets 413.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Further connections wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// For TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A pause after a failed accept. It fails when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts connections until the simulator stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let control = control::router(Arc::clone(&shared));
    loop {
        let slot = tokio::select! {
            () = shared.stop.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, Arc::clone(&shared), control.clone());
                shared.tasks.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the simulator could not accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, control: Router) {
    // Small answers should not wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let Some(certificate) = shared.certificate.clone() else {
        return talk(stream, shared, control).await;
    };
    let shaking = tokio::time::timeout(HANDSHAKE_MAX, certificate.shake(stream));
    match shared.stop.run_until_cancelled(shaking).await {
        Some(Ok(Ok(stream))) => talk(stream, Arc::clone(&shared), control).await,
        failed => tracing::debug!(?failed, "no TLS with a client of the simulator"),
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, control: Router) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let (shared, control) = (Arc::clone(&shared), control.clone());
        async move {
            if control::is_for(request.uri().path()) {
                let Ok(response) = control.oneshot(request).await;
                return Ok(response);
            }
            exchange(shared, request).await.map(|response| response.map(axum::body::Body::new))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = shared.stop.cancelled() => {}
        result = serving => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection to the simulator ended early");
            }
        }
    }
}

/// One request. An error closes the connection without an answer.
async fn exchange(
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<Response<Payload>, Closed> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut response = Response::new(Payload::whole(Bytes::new()));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(response);
        }
        Err(_) => return Err(Closed),
    };
    let request = Request {
        method: head.method,
        path: head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: head.headers,
        body,
    };
    let ending = match Ending::of(shared.with(|core, now_ms| core.handle(now_ms, request))) {
        Ok(ending) => ending,
        // A task of its own: a request that is on its way arrives even if its sender is gone.
        Err(waiting) => {
            let task = shared.tasks.spawn(outwait(Arc::clone(&shared), waiting));
            task.await.map_err(|_| Closed)?.ok_or(Closed)?
        }
    };
    match ending {
        Ending::Answer(answer) => Ok(response(answer, Payload::whole)),
        Ending::CloseMid(answer) => Ok(response(answer, Payload::cut)),
        Ending::Drop => Err(Closed),
        // Here and not in the task, so that it ends when the client gives up.
        Ending::Hang { released } => {
            released.cancelled().await;
            Err(Closed)
        }
    }
}

/// A reply without further waiting in the core.
enum Ending {
    Answer(Answer),
    CloseMid(Answer),
    Drop,
    Hang { released: CancellationToken },
}

impl Ending {
    /// The ending, or the reply back if it must wait first.
    fn of(reply: Reply) -> Result<Self, Reply> {
        match reply {
            Reply::Answer(answer) => Ok(Self::Answer(answer)),
            Reply::CloseMid(answer) => Ok(Self::CloseMid(answer)),
            Reply::Drop => Ok(Self::Drop),
            Reply::Hang { released } => Ok(Self::Hang { released }),
            waiting @ (Reply::Wait { .. } | Reply::Hold { .. }) => Err(waiting),
        }
    }
}

/// Waits as the core says until there is an ending. `None`: the simulator stopped first.
async fn outwait(shared: Arc<Shared>, mut reply: Reply) -> Option<Ending> {
    loop {
        let then = match reply {
            Reply::Wait { delay_ms, then } => {
                let delay = tokio::time::sleep(Duration::from_millis(delay_ms));
                shared.stop.run_until_cancelled(delay).await?;
                then
            }
            Reply::Hold { gate, then } => {
                shared.stop.run_until_cancelled(gate.opened()).await?;
                then
            }
            ended @ (Reply::Answer(_) | Reply::CloseMid(_) | Reply::Drop | Reply::Hang { .. }) => {
                return Ending::of(ended).ok();
            }
        };
        reply = shared.with(|core, now_ms| core.resume(now_ms, *then));
    }
}

fn response(answer: Answer, payload: fn(Bytes) -> Payload) -> Response<Payload> {
    let length = answer.body.len();
    let mut response = Response::new(payload(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    // Always the full length, so that a cut body is noticed.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    for (name, text) in [("content-type", answer.content_type), ("x-tt-logid", answer.log_id)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    response
}

/// A body, whole or cut in the middle.
pub(super) struct Payload {
    data: Option<Bytes>,
    cut: Cut,
}

/// The state of a body that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Never,
    /// The half is not sent yet.
    Planned,
    /// The half was handed to the connection, which may not have written it.
    Flushing,
    /// The next poll closes the connection.
    Due,
}

impl Payload {
    pub(super) fn whole(data: Bytes) -> Self {
        Self { data: Some(data), cut: Cut::Never }
    }

    pub(super) fn cut(mut data: Bytes) -> Self {
        data.truncate(data.len() / 2);
        Self { data: Some(data), cut: Cut::Planned }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.cut {
            Cut::Never => {}
            Cut::Planned => self.cut = Cut::Flushing,
            // Gives the connection one turn to write the half before the end.
            Cut::Flushing => {
                self.cut = Cut::Due;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Cut::Due => return Poll::Ready(Some(Err(Closed))),
        }
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut == Cut::Never && self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.cut, &self.data) {
            (Cut::Never, Some(data)) => SizeHint::with_exact(data.len().try_into().unwrap_or(0)),
            (Cut::Never, None) => SizeHint::with_exact(0),
            (Cut::Planned | Cut::Flushing | Cut::Due, _) => SizeHint::default(),
        }
    }
}

/// The connection must be closed.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}
