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
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::harness::{APP_ID, create_request, number, simulator, within};
use crate::process::{Process, Setting};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

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
    async fn serve(&self) -> &'static [(&'static str, &'static str)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(self.clone());
        let serving = Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        Box::leak(Box::new([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url.leak()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("TOKIO_WORKER_THREADS", "1"),
        ]))
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
