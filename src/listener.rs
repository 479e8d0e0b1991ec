//! A small HTTP server within limits, for the edges that are not gRPC: HTTP/1.1 and HTTP/2, with
//! TLS if asked for. Whoever is slow, large or many costs a bounded amount of memory and time.
//!
//! What it must not know: what a request is for.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// What one listener gives at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Requests being read or worked on at once; one more is answered 503.
    pub requests_max: usize,
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_time_max: Duration,
    /// How long a connection may stay without a request, its handshake and a head included; it is
    /// closed after once to twice that long.
    pub idle_time_max: Duration,
}

/// The largest head of a request.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 32;
/// A pause after a failed accept, which is how running out of file descriptors shows up.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A request whose body has not been read yet.
pub struct Request {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    body: Incoming,
    bytes_max: usize,
    time_max: Duration,
}

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    TooLarge,
    TooSlow,
    /// The connection ended first.
    Lost,
}

impl Request {
    pub async fn body(self) -> Result<Bytes, Unread> {
        let read = Limited::new(self.body, self.bytes_max).collect();
        match tokio::time::timeout(self.time_max, read).await {
            Err(_) => Err(Unread::TooSlow),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
            Ok(Err(_)) => Err(Unread::Lost),
        }
    }
}

impl Unread {
    pub fn status(self) -> StatusCode {
        match self {
            Unread::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Unread::Lost => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a request is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

/// Whoever answers the requests of a listener.
pub trait Handler: Clone + Send + Sync + 'static {
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send;

    /// The answer to one request, or one connection, too many.
    fn busy(&self) -> Answer;
}

/// Serves until `stop`; then lets the requests in flight end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    handler: impl Handler,
    stop: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let requests = Arc::new(Semaphore::new(limits.requests_max));
    let tasks = TaskTracker::new();
    let edge = Edge { limits, requests, handler, tasks: tasks.clone(), stop: stop.clone() };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(seat) = Arc::clone(&connections).try_acquire_owned() else {
            turn_away(&socket, &edge.handler.busy());
            continue;
        };
        let (edge, tls) = (edge.clone(), tls.clone());
        tasks.spawn(async move {
            edge.connection(socket, tls).await;
            drop(seat);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Says why, as far as that is possible without waiting for anybody.
fn turn_away(socket: &TcpStream, answer: &Answer) {
    let Answer { status, content_type, body } = answer;
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    // Whoever does not take it at once hears only that the connection is closed.
    let _ = socket.try_write(text.as_bytes());
}

#[derive(Clone)]
struct Edge<H> {
    limits: Limits,
    requests: Arc<Semaphore>,
    handler: H,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a connection is doing, as far as its idleness depends on it.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    in_flight: AtomicUsize,
}

impl<H: Handler> Edge<H> {
    async fn connection(self, socket: TcpStream, tls: Option<TlsAcceptor>) {
        // Small answers should not wait for the peer's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let Some(tls) = tls else {
            return self.talk(TokioIo::new(socket)).await;
        };
        match tokio::time::timeout(self.limits.idle_time_max, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.talk(TokioIo::new(stream)).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    }

    async fn talk(self, io: impl Read + Write + Unpin + Send + 'static) {
        let activity = Arc::new(Activity::default());
        let mut builder = auto::Builder::new(Tracked(self.tasks.clone()));
        builder.http1().timer(TokioTimer::new()).max_buf_size(bytes_max());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_stream_window_size(u32::try_from(self.limits.body_bytes_max).ok())
            .keep_alive_interval(None);
        let (idle_time_max, stop) = (self.limits.idle_time_max, self.stop.clone());
        let service = service_fn({
            let (edge, activity) = (self, Arc::clone(&activity));
            move |request| edge.clone().exchange(request, Arc::clone(&activity))
        });
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut stopping = false;
        let mut last = u64::MAX;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tokio::time::sleep(idle_time_max) => {
                    let begun = activity.begun.load(Ordering::Relaxed);
                    if activity.in_flight.load(Ordering::Relaxed) == 0 && begun == last {
                        return;
                    }
                    last = begun;
                }
            }
        }
    }

    /// Never fails: whatever is wrong with a request is an answer.
    async fn exchange(
        self,
        request: http::Request<Incoming>,
        activity: Arc<Activity>,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        let _done = OnDrop(|| {
            activity.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
        let version = request.version();
        let answer = match self.requests.try_acquire() {
            Ok(_seat) => {
                let (head, body) = request.into_parts();
                let request = Request {
                    method: head.method,
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    body,
                    bytes_max: self.limits.body_bytes_max,
                    time_max: self.limits.body_time_max,
                };
                self.handler.handle(request).await
            }
            Err(_) => self.handler.busy(),
        };
        Ok(response(answer, version))
    }
}

fn bytes_max() -> usize {
    usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX)
}

fn response(answer: Answer, version: Version) -> Response<Full<Bytes>> {
    let refused = !answer.status.is_success();
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    // What is left of a body that nobody reads is in the way of the next request.
    if refused && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Runs the tasks of HTTP/2 connections where somebody waits for them.
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

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
