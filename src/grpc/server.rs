//! The gRPC server: how connections are accepted, in plain text or by TLS, what they carry, and
//! within which limits.
//!
//! hyper serves each connection. tonic's own server has no limit of connections, waits for ever for
//! a peer that sends nothing, and leaves the task of a stream without an owner.
//!
//! What it must not know: what an RPC does.

mod answers;
pub(crate) mod arriving;
pub(crate) mod bounds;
pub(crate) mod shape;
mod watch;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::MissedTickBehavior;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tower::{Layer as _, Service as _};
use tracing::debug;

use super::audit::Audit;
use super::{Service, call};
use crate::http::listener::accept;
use crate::http::peer::{At, Peer};
use crate::http::seats::{Activity, Full, Seat, Seats};
use crate::http::tls::{Tls, Unshaken};
use crate::metrics::{
    ANSWER_BYTES, CONNECTIONS_REFUSED, STREAMS_ALLOWED, STREAMS_OPEN, WATCHES_ALLOWED, WATCHES_OPEN,
};
use crate::proto;
use crate::proto::v1::operator_service_server::OperatorServiceServer;
use crate::proto::v1::settlement_service_server::SettlementServiceServer;
use arriving::{REQUEST_BYTES_MAX, STREAM_BYTES};
use bounds::{Bound, Connection, Kind, Process};
use shape::{Answering, Shaped};
use watch::{Checked, Watchman};

/// Streams open at once on one connection.
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// Streams that a peer cancelled before h2 looked at them: as many calls as end together while this
/// process stands still. h2's default of 20 would close the connection of honest callers.
pub(crate) const RESETS_PENDING_MAX: usize = 4 * 1_024;
/// Streams that h2 itself reset, in the life of a connection. Its default of 1,024 would close
/// connections that are old and not hostile.
pub(crate) const RESETS_OF_ERRORS_MAX: usize = 16 * 1_024;
/// The largest headers of a request.
pub(crate) const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// What a peer may send before it is read, of one request and of all requests on a connection.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What h2 keeps of an answer that the peer does not take.
pub(crate) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Dead peers are found by pings, not by waiting.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a peer may take for the handshake of TLS, and then to send the preface of HTTP/2.
pub(crate) const PREFACE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may stay without a call: before its first one, and later.
pub(crate) const FIRST_CALL_TIME_MAX: Duration = Duration::from_secs(60);
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long an answer may stay untaken before its stream is reset. That is later than SLOW_CONSUMER
/// ends a stream, so a caller that reads again within this time still gets that status.
pub(crate) const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(10);
/// Streams of health and reflection.
pub(crate) const STREAMS: Bound = Bound { process_max: 1_024, connection_max: 64, share: 4 };
/// Arriving requests. A connection may have as many as it has streams, and a few even when the
/// process has no more room.
pub(crate) const ARRIVING: Bound = Bound {
    process_max: 128 * 1024 * 1024,
    connection_max: 16 * 1024 * 1024,
    share: 64 * STREAM_BYTES,
};
/// Answers that wait to be taken. A connection may have five of the largest pages; `process_max` is
/// a knob.
pub(crate) const ANSWERS: Bound =
    Bound { process_max: usize::MAX, connection_max: 16 * 1024 * 1024, share: 64 * 1024 };

/// How long a connection without calls may take to close when it makes room for another one.
pub(crate) const LEAVE_TIME: Duration = Duration::from_secs(1);
/// How often a connection is looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often the gauges are set.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// What every call goes through.
type Calls = Shaped<Routes>;

/// Makes the series on which alerts stand, before anything is served.
pub(crate) fn begin_metrics() {
    for why in ["full", "peer", SILENT, UNBELIEVED, UNSHAKEN] {
        CONNECTIONS_REFUSED.begin(["grpc", why]);
    }
    call::begin_counting();
}

/// Serves until `stop`; then until every connection has ended. Dropped, it ends them all at once.
pub(crate) async fn serve(
    listener: TcpListener,
    sidecar: Option<UnixListener>,
    tls: Option<Tls>,
    service: Service,
    health: HealthServer<HealthService>,
    stop: CancellationToken,
) {
    let (process, config) = (Arc::clone(&service.process), Arc::clone(&service.config));
    let audit = service.admission.audit.clone();
    let cut = CancellationToken::new();
    let _cut = cut.clone().drop_guard();
    let tasks = TaskTracker::new();
    let server = Serving {
        calls: calls(service, health),
        process: Arc::clone(&process),
        untaken_max: config.slow_consumer + UNTAKEN_TIME_MAX,
        unary_limit: config.unary_limit,
        tasks: tasks.clone(),
        stop: stop.clone(),
        cut,
        tls,
        audit,
    };
    // Behind a mesh all callers have one address, so this limit is off unless it is configured.
    let per_peer_max = Some(config.connections_per_peer_max).filter(|peer_max| *peer_max > 0);
    let seats = Seats::new("grpc", config.connections_max, per_peer_max);
    WATCHES_ALLOWED.set_len([], config.watches_max);
    STREAMS_ALLOWED.set_len([], STREAMS.process_max);
    let is_plain = server.tls.is_none();
    // What is not TLS would not be understood.
    let turn_away = |socket: &TcpStream, _, full| {
        if is_plain {
            turn_away(socket, full);
        }
    };
    let talk = |socket, at, seat: Seat| {
        let server = server.clone();
        async move {
            let cut = server.cut.clone();
            until_over(at, &cut, server.connection(socket, at, seat.activity())).await;
        }
    };
    let talk_to_sidecar = |socket, at, seat: Seat| {
        let server = server.clone();
        async move {
            let cut = server.cut.clone();
            let talking = server.talk(socket, Peer::nameless(at), seat.activity());
            until_over(at, &cut, talking).await;
        }
    };
    let of_sidecar = async {
        if let Some(sidecar) = sidecar {
            let (seats, tasks, stop) = (Arc::clone(&seats), tasks.clone(), stop.clone());
            // A sidecar that is turned away sees that the connection closes.
            accept(sidecar, seats, tasks, stop, |_, _, _| {}, talk_to_sidecar).await;
        }
    };
    let of_peers =
        accept(listener, Arc::clone(&seats), tasks.clone(), stop.clone(), turn_away, talk);
    tokio::select! {
        biased;
        _ = async { tokio::join!(biased; of_peers, of_sidecar) } => {}
        () = measure(&process) => {}
    }
}

/// Serves a connection until it ends, or all are cut off.
async fn until_over(at: At, cut: &CancellationToken, serving: impl Future<Output = &'static str>) {
    let why = tokio::select! {
        biased;
        () = cut.cancelled() => "cut",
        why = serving => why,
    };
    debug!(peer = %at, why, "a connection ended");
}

fn calls(service: Service, health: HealthServer<HealthService>) -> Calls {
    let (shape, reflects) = (service.shape(), service.config.reflection);
    let operator = OperatorServiceServer::new(service.clone())
        .accept_compressed(Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let service = SettlementServiceServer::new(service)
        .accept_compressed(Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the compiled-in descriptors are sound");
    let v1alpha = reflection().build_v1alpha().expect("the compiled-in descriptors are sound");
    let health = health.max_decoding_message_size(REQUEST_BYTES_MAX);
    let v1 = v1.accept_compressed(Gzip).max_decoding_message_size(REQUEST_BYTES_MAX);
    let v1alpha = v1alpha.accept_compressed(Gzip).max_decoding_message_size(REQUEST_BYTES_MAX);
    let mut routes = Routes::new(service).add_service(operator).add_service(health);
    if reflects {
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    shape.layer(routes.prepare())
}

/// Sets the gauges for as long as it is not dropped.
async fn measure(process: &Process) {
    let mut ticks = tokio::time::interval(GAUGE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        ANSWER_BYTES.set_len([], process.held(Kind::Answers));
        WATCHES_OPEN.set_len([], process.held(Kind::Watches));
        STREAMS_OPEN.set_len([], process.held(Kind::Streams));
    }
}

/// What a connection needs of the server.
#[derive(Clone)]
struct Serving {
    calls: Calls,
    process: Arc<Process>,
    /// How long a part of an answer may stay untaken.
    untaken_max: Duration,
    unary_limit: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
    /// `None`: plain text.
    tls: Option<Tls>,
    audit: Audit,
}

impl Serving {
    /// Serves the connection until it ends; returns why it ended.
    async fn connection(self, socket: TcpStream, at: At, activity: &Arc<Activity>) -> &'static str {
        let Some(tls) = &self.tls else {
            return self.talk(socket, Peer::nameless(at), activity).await;
        };
        match tls.handshake(socket, PREFACE_TIME_MAX, activity, &self.stop).await {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let peer = Peer::certified(at, chain);
                self.talk(stream, peer, activity).await
            }
            Err(Unshaken::Silent) => refused(SILENT),
            Err(Unshaken::Unbelieved(why)) => {
                self.audit.unbelieved(at, &why);
                refused(UNBELIEVED)
            }
            Err(Unshaken::Failed) => refused(UNSHAKEN),
            Err(Unshaken::Over) => "over",
        }
    }

    async fn talk(
        self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        activity: &Arc<Activity>,
    ) -> &'static str {
        let connection = Connection::new(Arc::clone(&self.process));
        let heard = Arc::clone(&connection);
        let io = InspectReader::new(socket, move |bytes| heard.hear(bytes.len()));
        let calls = self.calls;
        let streams = Streams {
            tasks: self.tasks,
            connection: Arc::clone(&connection),
            untaken_max: self.untaken_max,
        };
        let of_call =
            OfCall { connection: Arc::clone(&connection), activity: Arc::clone(activity), peer };
        let service = service_fn(move |request| answer(calls.clone(), &of_call, request));
        let serving = builder(streams).serve_connection(TokioIo::new(io), service);
        let mut serving = pin!(serving);
        let mut watch = Watchman::new(connection, self.untaken_max);
        let mut left = pin!(left(activity, self.unary_limit));
        let (mut stopping, mut leaving) = (false, false);
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        loop {
            tokio::select! {
                biased;
                ended = AfterOthers::new(serving.as_mut()) => {
                    return if ended.is_ok() { "ended" } else { "failed" };
                }
                () = left.as_mut() => return "made room",
                // A call that begins at this moment is still answered.
                () = activity.made_room(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
                _ = look.tick() => match watch.look() {
                    Checked::Fine => {}
                    Checked::Idle => serving.as_mut().graceful_shutdown(),
                    Checked::Silent => return refused(SILENT),
                    Checked::Over(why) => return why,
                },
            }
        }
    }
}

/// Waits until a connection that makes room for another one must go. One that never called goes at
/// once; a call that began meanwhile is waited for.
async fn left(activity: &Activity, time_max: Duration) {
    activity.made_room().await;
    let resting = async {
        while activity.has_worked() {
            tokio::time::sleep(LEAVE_TIME).await;
            if activity.rests() {
                return;
            }
        }
    };
    // It must go then, whatever it does.
    let _ = tokio::time::timeout(time_max, resting).await;
}

/// A future that, each time it is woken, waits until the ready tasks have run. So their messages
/// for one connection leave in one write.
struct AfterOthers<'a, F> {
    future: Pin<&'a mut F>,
    others_ran: bool,
}

impl<'a, F> AfterOthers<'a, F> {
    fn new(future: Pin<&'a mut F>) -> Self {
        Self { future, others_ran: false }
    }
}

impl<F: Future> Future for AfterOthers<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if std::mem::take(&mut self.others_ran) {
            return self.future.as_mut().poll(cx);
        }
        self.others_ran = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// Why a connection ended that never came to a call, as the metrics have it.
const SILENT: &str = "silent";
const UNBELIEVED: &str = "certificate";
const UNSHAKEN: &str = "handshake";

fn refused(why: &'static str) -> &'static str {
    CONNECTIONS_REFUSED.count(["grpc", why]);
    why
}

/// What each call of a connection is told of it.
struct OfCall {
    connection: Arc<Connection>,
    activity: Arc<Activity>,
    peer: Peer,
}

fn answer(mut calls: Calls, of_call: &OfCall, request: Request<Incoming>) -> Answering {
    let mut request = request.map(Body::new);
    let extensions = request.extensions_mut();
    extensions.insert(Arc::clone(&of_call.connection));
    extensions.insert(Arc::clone(&of_call.activity));
    extensions.insert(of_call.peer.clone());
    // The router is always ready.
    calls.call(request)
}

/// Every limit of hyper and h2 is set here or described in docs/limits.md.
fn builder(streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OF_ERRORS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    builder
}

/// Runs the streams of one connection under an owner that waits for them.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    connection: Arc<Connection>,
    untaken_max: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let running = self.connection.begin_call();
        self.tasks.spawn(answers::run(stream, self.untaken_max, running));
    }
}

/// Tells the peer why by HTTP/2 settings and GOAWAY with ENHANCE_YOUR_CALM, as far as possible
/// without waiting for it.
fn turn_away(socket: &TcpStream, full: Full) {
    let why = full.to_string();
    let length = u8::try_from(8 + why.len()).unwrap_or(u8::MAX);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let goaway = [0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0B];
    // A peer that does not take it at once sees only that the connection closes.
    let _ = socket.try_write(&[&settings[..], &goaway, why.as_bytes()].concat());
}
