//! Traces: a caller's goes on to Douyin, and whatever is done later for its settle says so.
//! Exported to a real receiver of OTLP.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::harness::{APP_ID, create_request, number, simulator, within};
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
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{CALLER}-01");
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
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let variables = collector.serve().await;
    let setting = Setting { platform_keys: Some(keys), variables, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    sim.set_callback_url(APP_ID, Some(&gateway.callback_url()));
    let number = number("traced");
    let mut client = gateway.client.clone();
    let create = client.create_settle(traced(create_request(&number)));
    within("CreateSettle", create).await.unwrap();
    gateway.end(&number).await;

    let of_call = collector.until("the call", |span| is_of(span, "rpc", TRACE)).await;
    assert_eq!(hex::encode(&of_call.parent_span_id), CALLER);
    let sent = collector.until("the send", |span| is_of(span, "douyin", TRACE)).await;
    assert_eq!(sent.parent_span_id, of_call.span_id);
    collector.until("the poller's turn", |span| follows(span, "turn", &of_call)).await;
    collector.until("the callback", |span| follows(span, "callback", &of_call)).await;

    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_create = |line: &&Value| line["rpc"] == "CreateSettle" && line["message"] == "answered";
    let line = lines.iter().find(of_create).unwrap();
    assert_eq!((&line["trace_id"], &line["request_id"]), (&TRACE.into(), &"request-7".into()));
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
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
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
