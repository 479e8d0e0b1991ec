//! A small HTTP server with limits, for the edges that are not gRPC: HTTP/1.1 and HTTP/2, with TLS
//! if asked for. A peer that is slow, or sends much, or connects often costs a bounded amount of
//! memory and time.
//!
//! What it must not know: what a request is for.

mod accept;
mod arriving;

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::peer::At;
use crate::http::seats::{Activity, AtWork, Seat, Seats};
use crate::http::tls::Tls;
use crate::log_limit::limited;

pub(crate) use accept::accept;
use arriving::{Arriving, Connection, Held};

/// The limits of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once. For one more the connection that has rested longest is closed. If
    /// each has a request at work, the new one is answered 503 and closed.
    pub connections_max: usize,
    /// Requests at work at once, counted once their body has arrived; one more is answered 503.
    pub requests_max: usize,
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_time_max: Duration,
    /// How long a connection may stay without a request, handshake and headers included. It is
    /// closed after once to twice that time.
    pub idle_time_max: Duration,
}

impl Limits {
    /// Arriving requests may have as many bytes as the bodies of all requests that may be at work.
    pub fn arriving_bytes_max(&self) -> usize {
        self.requests_max.saturating_mul(self.body_bytes_max)
    }
}

/// The largest headers of a request.
pub(crate) const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// The most headers of a request over HTTP/1.1.
pub(crate) const HEADERS_MAX: usize = 64;
/// Requests at once on one HTTP/2 connection.
pub(crate) const STREAMS_MAX: u32 = 32;
/// HTTP/2 requests that the peer cancelled before h2 looked at them: as many as end together while
/// this process stands still.
pub(crate) const RESETS_PENDING_MAX: usize = 256;
/// Streams that h2 itself reset, in the life of a connection.
pub(crate) const RESETS_OF_ERRORS_MAX: usize = 1_024;
/// What a peer may send on an HTTP/2 connection before it is read.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What h2 keeps of an answer that the peer does not take.
pub(crate) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// At a stop: how long a connection without a request may take to end, and a last answer to be
/// written.
const LINGER: Duration = Duration::from_millis(500);

/// A request whose body has not been read yet.
pub(crate) struct Request {
    pub method: Method,
    pub path: String,
    /// The host in its URI. HTTP/2 always has one, HTTP/1.1 only through a proxy.
    pub authority: Option<String>,
    pub headers: HeaderMap,
    /// Where it comes from.
    pub at: At,
    body: Incoming,
    arrival: Arrival,
}

/// What is needed to read a body.
struct Arrival {
    held: Held,
    bytes_max: usize,
    time_max: Duration,
    requests: Arc<Semaphore>,
    activity: Arc<Activity>,
}

/// A body that has arrived. Its request counts as at work until this is dropped.
pub(crate) struct Arrived {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
    _at_work: AtWork,
}

impl Deref for Arrived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    TooLarge,
    TooSlow,
    /// Too many requests are arriving or at work.
    Busy,
    /// The connection ended first.
    Lost,
}

impl Request {
    pub(crate) async fn body(self) -> Result<Arrived, Unread> {
        let Arrival { mut held, bytes_max, time_max, requests, activity } = self.arrival;
        if !held.grow(arriving::cost(&self.headers)) {
            return Err(Unread::Busy);
        }
        let whole = whole(self.body, bytes_max, held);
        let whole = tokio::time::timeout(time_max, whole).await;
        let bytes = whole.unwrap_or(Err(Unread::TooSlow))?;
        let place = requests.try_acquire_owned().map_err(|_| Unread::Busy)?;
        Ok(Arrived { bytes, _place: place, _at_work: activity.begin() })
    }
}

/// Copies the body into one buffer. Kept as they came, frames of one byte each would cost many
/// times their content.
async fn whole<B>(mut body: B, bytes_max: usize, mut held: Held) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers mean nothing here.
        let Ok(data) = frame.map_err(|_| Unread::Lost)?.into_data() else { continue };
        if data.len() > bytes_max.saturating_sub(whole.len()) {
            return Err(Unread::TooLarge);
        }
        if !held.grow(data.len()) {
            return Err(Unread::Busy);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

impl Unread {
    pub fn status(self) -> StatusCode {
        match self {
            Unread::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Unread::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Unread::Lost => StatusCode::BAD_REQUEST,
        }
    }
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Shared by all that are answered the same.
    pub body: Bytes,
}

/// Answers the requests of a listener.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send;

    /// The answer to one connection too many, from there.
    fn busy(&self, at: At) -> Answer;

    /// The listener's name, as a label.
    fn name(&self) -> &'static str;
}

/// Serves until `stop`, then lets the requests in flight end. A connection without a request is not
/// waited for, and a request at most as long as a body may take.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
    handler: impl Handler,
    stop: CancellationToken,
) {
    let seats = Seats::new(handler.name(), limits.connections_max, None);
    let tasks = TaskTracker::new();
    let edge = Edge {
        requests: Arc::new(Semaphore::new(limits.requests_max)),
        arriving: Arriving::new(limits.arriving_bytes_max()),
        limits,
        handler,
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let plain = tls.is_none();
    let handler = edge.handler.clone();
    let turn_away = |socket: &TcpStream, at, _| {
        let busy = handler.busy(at);
        if plain {
            turn_away(socket, &busy);
        }
    };
    let talk = |socket, at, seat: Seat| {
        let (edge, tls) = (edge.clone(), tls.clone());
        async move { edge.connection((socket, at), tls, seat.activity()).await }
    };
    accept(listener, seats, tasks, stop, turn_away, talk).await;
}

/// Tells the peer why, as far as possible without waiting for it.
fn turn_away(socket: &TcpStream, answer: &Answer) {
    let Answer { status, content_type, body } = answer;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    // A peer that does not take it at once sees only that the connection closes.
    let _ = socket.try_write(&[head.as_bytes(), body].concat());
}

#[derive(Clone)]
struct Edge<H> {
    limits: Limits,
    requests: Arc<Semaphore>,
    arriving: Arc<Arriving>,
    handler: H,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<H: Handler> Edge<H> {
    async fn connection(
        self,
        (socket, at): (TcpStream, At),
        tls: Option<Tls>,
        activity: &Arc<Activity>,
    ) {
        let Some(tls) = tls else {
            return self.talk(TokioIo::new(socket), at, activity).await;
        };
        let time_max = self.limits.idle_time_max;
        if let Ok(stream) = tls.handshake(socket, time_max, activity, &self.stop).await {
            self.talk(TokioIo::new(stream), at, activity).await;
        }
    }

    async fn talk(
        self,
        io: impl Read + Write + Unpin + Send + 'static,
        at: At,
        activity: &Arc<Activity>,
    ) {
        let builder = builder(&self.limits, self.tasks.clone());
        let (limits, stop) = (self.limits.clone(), self.stop.clone());
        let peer = Connection::new(Arc::clone(&self.arriving));
        let service = service_fn({
            let (edge, peer, activity) = (self, Arc::clone(&peer), Arc::clone(activity));
            move |request| {
                edge.clone().exchange((request, at), Arc::clone(&peer), Arc::clone(&activity))
            }
        });
        let mut connection = pin!(builder.serve_connection(io, service));
        let over = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = activity.made_room() => {}
            }
        };
        let mut over = pin!(over);
        // When the connection is cut off after that, whatever it does.
        let mut cut_at = None;
        let mut last = None;
        loop {
            let look = if cut_at.is_some() { LINGER } else { limits.idle_time_max };
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        limited!(Stranger, DEBUG, { %error }, "a connection ended early");
                    }
                    return;
                }
                () = over.as_mut(), if cut_at.is_none() => {
                    // It made room for another connection, and has no request at work.
                    if !stop.is_cancelled() && activity.rests() {
                        return;
                    }
                    cut_at = Some(Instant::now() + limits.body_time_max + LINGER);
                    connection.as_mut().graceful_shutdown();
                    peer.rested(&mut last);
                }
                () = tokio::time::sleep(look) => {
                    let late = cut_at.is_some_and(|cut_at| Instant::now() >= cut_at);
                    if peer.rested(&mut last) || late {
                        return;
                    }
                }
            }
        }
    }

    /// Never fails: an error in a request becomes an answer.
    async fn exchange(
        self,
        (request, at): (http::Request<Incoming>, At),
        peer: Arc<Connection>,
        activity: Arc<Activity>,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let _open = peer.open();
        let version = request.version();
        let (head, body) = request.into_parts();
        let arrival = Arrival {
            held: peer.hold(),
            bytes_max: self.limits.body_bytes_max,
            time_max: self.limits.body_time_max,
            requests: self.requests,
            activity,
        };
        let request = Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            authority: head.uri.authority().map(ToString::to_string),
            headers: head.headers,
            at,
            body,
            arrival,
        };
        let handler = self.handler;
        // A task of its own, because this future is dropped when the peer goes, and a write that
        // was begun must be finished and its watchers told.
        let handled = self.tasks.spawn(async move { handler.handle(request).await });
        let answer = handled.await.unwrap_or_else(|_| broken());
        Ok(response(answer, version))
    }
}

/// Every limit of hyper and h2 is set here or described in docs/limits.md.
fn builder(limits: &Limits, tasks: TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time_max)
        .max_headers(HEADERS_MAX)
        .max_buf_size(bytes_max());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OF_ERRORS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(u32::try_from(limits.body_bytes_max).ok())
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        // Idle connections are closed by `talk`.
        .keep_alive_interval(None);
    builder
}

/// The handler panicked, which only a bug can do.
fn broken() -> Answer {
    let (status, content_type) = (StatusCode::INTERNAL_SERVER_ERROR, "text/plain");
    Answer { status, content_type, body: Bytes::new() }
}

fn bytes_max() -> usize {
    usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX)
}

fn response(answer: Answer, version: Version) -> Response<Full<Bytes>> {
    let refused = !answer.status.is_success();
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    // The unread rest of a body would be taken for the next request.
    if refused && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Runs the tasks of HTTP/2 connections under an owner that waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests;
