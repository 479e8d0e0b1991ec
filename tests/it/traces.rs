//! Traces: a caller's goes on to Douyin, and whatever is done later for its settle says so.
//! Exported to a real receiver of OTLP.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use douyin_sim::{Script, Simulator, Status as Ends};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::harness::{APP_ID, create_on, create_request, number, simulator, within};
use crate::process::{Process, Setting};
use crate::tls::authority::{Authority, Issued};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

type Variables = &'static [(&'static str, &'static str)];

/// Keeps the spans that it gets.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    /// It takes requests and answers none.
    hangs: bool,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.hangs {
            return std::future::pending().await;
        }
        let of_resources = request.into_inner().resource_spans;
        let of_scopes = of_resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.spans.lock().unwrap().extend(of_scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves for as long as the test lives; returns the variables of a gateway that exports to it
    /// from a runtime with one worker.
    async fn serve(&self) -> Variables {
        self.serve_by(Server::builder(), "http://127.0.0.1", &[]).await
    }

    /// By TLS, for clients with a certificate of this authority only.
    async fn serve_securely(
        &self,
        own: &Issued,
        clients: &Authority,
        more: Variables,
    ) -> Variables {
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&own.certificate, &own.key))
            .client_ca_root(Certificate::from_pem(clients.pem()));
        let server = Server::builder().tls_config(tls).unwrap();
        self.serve_by(server, "https://localhost", more).await
    }

    async fn serve_by(&self, mut server: Server, host: &str, more: Variables) -> Variables {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{host}:{}", listener.local_addr().unwrap().port());
        let serving = server.add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        let variables: [(&'static str, &'static str); 3] = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url.leak()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("TOKIO_WORKER_THREADS", "1"),
        ];
        [&variables[..], more].concat().leak()
    }

    fn find(&self, wanted: impl Fn(&Span) -> bool) -> Option<Span> {
        self.spans.lock().unwrap().iter().find(|span| wanted(span)).cloned()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        let found = async {
            loop {
                if let Some(span) = self.find(&wanted) {
                    return span;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(what, found).await
    }
}

fn traced<T>(message: T) -> Request<T> {
    part_of(&format!("00-{TRACE}-{CALLER}-01"), message)
}

fn part_of<T>(parent: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("x-request-id", "request-7".parse().unwrap());
    request
}

fn is_of(span: &Span, name: &str, trace: &str) -> bool {
    span.name == name && hex::encode(&span.trace_id) == trace
}

/// Whether a span of another trace says that it follows from this one.
fn follows(span: &Span, name: &str, first: &Span) -> bool {
    let link = |link: &_| {
        let opentelemetry_proto::tonic::trace::v1::span::Link { trace_id, span_id, .. } = link;
        (trace_id, span_id) == (&first.trace_id, &first.span_id)
    };
    span.name == name && span.links.iter().any(link) && span.trace_id != first.trace_id
}

#[tokio::test]
async fn one_trace_tells_the_life_of_a_settle() {
    let (sim, dir, collector) = (simulator().await, TempDir::new().unwrap(), Collector::default());
    let way = Way::to(&sim).await;
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let (base_url, variables) = (Some(way.url.clone()), collector.serve().await);
    let setting = Setting { platform_keys: Some(keys), base_url, variables, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    let number = number("traced");
    let mut client = gateway.client.clone();
    let create = client.create_settle(traced(create_request(&number)));
    within("CreateSettle", create).await.unwrap();
    let named = way.take("settle_create", &number);
    gateway.end(&number).await;

    let of_call = collector.until("the call", |span| is_of(span, "rpc", TRACE)).await;
    assert_eq!(hex::encode(&of_call.parent_span_id), CALLER);
    let sent = collector.until("the send", |span| is_of(span, "douyin", TRACE)).await;
    assert_eq!(sent.parent_span_id, of_call.span_id);
    // Douyin is told the caller's trace, and the span of this call to it.
    assert_eq!(named, [Some(format!("00-{TRACE}-{}-01", hex::encode(&sent.span_id)))]);
    collector.until("the poller's turn", |span| follows(span, "turn", &of_call)).await;
    collector.until("the callback", |span| follows(span, "callback", &of_call)).await;

    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_create = |line: &&Value| line["rpc"] == "CreateSettle" && line["message"] == "answered";
    let line = lines.iter().find(of_create).unwrap();
    assert_eq!((&line["trace_id"], &line["request_id"]), (&TRACE.into(), &"request-7".into()));
}

/// A sampler that exports what a caller exports, and nothing else.
#[tokio::test]
async fn a_life_is_exported_as_a_whole_or_not_at_all() {
    let (sim, dir, collector) = (simulator().await, TempDir::new().unwrap(), Collector::default());
    let way = Way::to(&sim).await;
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let mut variables = collector.serve().await.to_vec();
    variables.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    let setting = Setting {
        platform_keys: Some(keys),
        base_url: Some(way.url.clone()),
        variables: variables.leak(),
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    let other = "0af7651916cd43dd8448eb211c80319c";
    let unsampled = format!("00-{other}-{CALLER}-00");
    let (kept, left_out, untraced) = (number("kept"), number("left-out"), number("untraced"));
    let mut client = gateway.client.clone();
    for request in [
        traced(create_request(&kept)),
        part_of(&unsampled, create_request(&left_out)),
        Request::new(create_request(&untraced)),
    ] {
        within("CreateSettle", client.create_settle(request)).await.unwrap();
    }
    for number in [&kept, &left_out, &untraced] {
        gateway.end(number).await;
    }

    let of_call = collector.until("the call", |span| is_of(span, "rpc", TRACE)).await;
    collector.until("the poller's turn", |span| follows(span, "turn", &of_call)).await;
    collector.until("the callback", |span| follows(span, "callback", &of_call)).await;
    assert_eq!(way.take("settle_create", &left_out), [Some(unsampled)]);
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert!(status.success(), "{log}");
    let spans = collector.spans.lock().unwrap();
    let is_later =
        |span: &&Span| follows(span, "turn", &of_call) || follows(span, "callback", &of_call);
    let later = spans.iter().filter(is_later);
    let life: Vec<_> = later.chain([&of_call]).map(|span| &span.trace_id).collect();
    for span in &*spans {
        assert!(life.contains(&&span.trace_id), "{span:?}");
    }
}

#[tokio::test]
async fn the_line_of_a_call_names_the_trace_that_the_gateway_began() {
    let (sim, dir, collector) = (simulator().await, TempDir::new().unwrap(), Collector::default());
    let variables = collector.serve().await;
    let gateway =
        Process::start(&sim, dir.path(), Setting { variables, ..Setting::default() }).await;
    gateway.create(create_request(&number("untraced"))).await.unwrap();
    let of_call = collector.until("the call", |span| span.name == "rpc").await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut answered = lines.filter(|line| line["message"] == "answered");
    assert_eq!(answered.next().unwrap()["trace_id"], hex::encode(&of_call.trace_id));
}

/// The way to Douyin, with what went there. Runs until dropped.
struct Way {
    url: String,
    sent: Arc<Mutex<Vec<u8>>>,
    _serving: JoinSet<()>,
}

impl Way {
    async fn to(sim: &Simulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let douyin = sim.url().strip_prefix("http://").unwrap().to_owned();
        let (sent, mut serving) = (Arc::<Mutex<Vec<u8>>>::default(), JoinSet::new());
        let kept = Arc::clone(&sent);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (kept, douyin) = (Arc::clone(&kept), douyin.clone());
                connections.spawn(async move {
                    let (mut from, mut back) = socket.into_split();
                    let (mut answers, mut to) =
                        TcpStream::connect(douyin).await.unwrap().into_split();
                    let requests = async {
                        let mut bytes = vec![0; 16 * 1024];
                        while let Ok(read @ 1..) = from.read(&mut bytes).await {
                            kept.lock().unwrap().extend_from_slice(&bytes[..read]);
                            to.write_all(&bytes[..read]).await.unwrap();
                        }
                    };
                    // Either side may end it.
                    tokio::select! {
                        () = requests => {}
                        _ = tokio::io::copy(&mut answers, &mut back) => {}
                    }
                });
            }
        });
        Self { url, sent, _serving: serving }
    }

    /// The requests so far about a settle, each with the trace that it named, and forgets all.
    fn take(&self, path: &str, about: &str) -> Vec<Option<String>> {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        let sent = String::from_utf8_lossy(&sent).into_owned();
        let requests = sent.split("POST ").filter(|request| {
            let first = request.lines().next().unwrap_or_default();
            first.contains(path) && request.contains(about)
        });
        let named = requests.map(|request| {
            let headers = request.lines().take_while(|line| !line.is_empty());
            let mut named = headers.filter_map(|line| line.strip_prefix("traceparent: "));
            named.next().map(str::to_owned)
        });
        named.collect()
    }
}

/// Lines whose outermost span has this name, and the ids of the traces that they name.
fn traces(log: &str, span: &str, message: &str, settle: (&str, &str)) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (field, value) = settle;
    let found = lines.filter(|line| {
        line["spans"][0] == span && line["message"] == message && line[field] == value
    });
    found.map(|line| line["trace_id"].clone()).collect()
}

#[tokio::test]
async fn without_an_exporter_the_callers_trace_goes_on_to_douyin_and_into_the_log() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let way = Way::to(&sim).await;
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let setting = || Setting {
        platform_keys: Some(keys.clone()),
        base_url: Some(way.url.clone()),
        log: Some("warn,settlement_gateway=debug"),
        ..Setting::default()
    };
    let gateway = Process::start(&sim, dir.path(), setting()).await;
    let mut client = gateway.client.clone();
    let (held, lost) = (number("held"), number("lost"));
    let create = client.create_settle(traced(create_on(&held, "sim-hold-1")));
    let settle = within("CreateSettle", create).await.unwrap().into_inner().settle.unwrap();
    let parent = Some(format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(way.take("settle_create", &held), std::slice::from_ref(&parent));

    // Its answer is lost and no query shows it, so its callback finds it by its number.
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    sim.script(&lost, vec![Script::apply_then(Script::Drop)]);
    sim.always_create(Some(Script::Drop));
    sim.always_query(Some(Script::FindNothing));
    let create = client.create_settle(traced(create_request(&lost)));
    // However it is answered: Douyin has the settle.
    let _ = within("CreateSettle", create).await;
    let applied = sim.books().only(&lost).unwrap().settle_id.clone();
    gateway.logged_together(&["callback recorded", &applied]).await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let recorded = "callback recorded";
    assert_named(&traces(&log, "callback", recorded, ("settle_id", &applied)), &log);

    // Another process knows the trace from the record.
    sim.always_create(None);
    sim.always_query(None);
    way.take("", "");
    let gateway = Process::start(&sim, dir.path(), setting()).await;
    gateway.logged_together(&["called Douyin", &held]).await;
    let asked = way.take("settle_query", settle.settle_id());
    assert!(!asked.is_empty() && asked.iter().all(|named| *named == parent), "{asked:?}");
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    sim.finish(settle.settle_id(), Ends::Success);
    gateway.logged_together(&["callback recorded", settle.settle_id()]).await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let polled = traces(&log, "turn", "called Douyin", ("out_settle_no", &held));
    let heard = traces(&log, "callback", recorded, ("settle_id", settle.settle_id()));
    assert_named(&polled, &log);
    assert_named(&heard, &log);
}

/// There are such lines, and all of them name the caller's trace.
fn assert_named(traces: &[Value], log: &str) {
    assert!(!traces.is_empty() && traces.iter().all(|named| *named == TRACE), "{traces:?}: {log}");
}

#[tokio::test]
async fn a_receiver_that_hangs_or_is_not_there_delays_no_call_and_no_stop() {
    let hanging = Collector { hangs: true, ..Collector::default() };
    let not_there: &[_] =
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("TOKIO_WORKER_THREADS", "1")];
    for variables in [hanging.serve().await, not_there] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let setting = Setting { variables, ..Setting::default() };
        let gateway = Process::start(&sim, dir.path(), setting).await;
        for _ in 0..3 {
            gateway.create(create_request(&number("untraced"))).await.unwrap();
        }
        let began = Instant::now();
        gateway.signal("TERM").await;
        let (status, log) = gateway.ended().await;
        assert!(status.success() && log.contains("stopped gracefully"), "{log}");
        // Its promise is two seconds; the rest is that of a busy machine.
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    }
}

/// A file of the test, as a value of a variable.
fn file(dir: &TempDir, name: &str, text: &str) -> &'static str {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned().leak()
}

#[tokio::test]
async fn a_receiver_by_tls_gets_spans_if_it_is_the_one_and_knows_the_gateway() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let (servers, clients) = (Authority::new(), Authority::new());
    let (own, gateways) = (servers.issue(&["localhost"]), clients.issue(&["gateway.example"]));
    let trusted = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file(&dir, "ca.pem", &servers.pem()));
    let shown = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file(&dir, "own.pem", &gateways.certificate)),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", file(&dir, "own.key", &gateways.key)),
    ];
    let of_others = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file(&dir, "x.pem", &clients.pem()));
    let empty = ("OTEL_EXPORTER_OTLP_CERTIFICATE", file(&dir, "empty.pem", ""));
    let lost = "spans were lost: the receiver did not take them";
    let none = "spans are not exported: the exporter cannot be built";
    for (variables, says) in [
        (vec![trusted, shown[0], shown[1]], None),
        // Another receiver than the one that is trusted, and a gateway that shows no certificate.
        (vec![of_others, shown[0], shown[1]], Some(lost)),
        (vec![trusted], Some(lost)),
        // What cannot be used is said at the start.
        (vec![trusted, shown[0]], Some(none)),
        (vec![empty], Some(none)),
        (vec![("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")], Some(none)),
    ] {
        let collector = Collector::default();
        let variables = collector.serve_securely(&own, &clients, variables.leak()).await;
        let setting = Setting { variables, ..Setting::default() };
        let gateway = Process::start(&sim, dir.path(), setting).await;
        gateway.create(create_request(&number("traced"))).await.unwrap();
        match says {
            None => {
                collector.until("the call", |span| span.name == "rpc").await;
            }
            Some(line) => gateway.logged(line).await,
        }
        gateway.signal("TERM").await;
        let (status, log) = gateway.ended().await;
        assert!(status.success(), "{log}");
        assert_eq!(says.is_none(), !log.contains("spans "), "{log}");
        assert_eq!(says.is_none(), !collector.spans.lock().unwrap().is_empty());
    }
}
