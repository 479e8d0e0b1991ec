//! What it costs that the gateway tells what it does: its log, the spans that it exports, and a
//! scraper that reads its metrics. That they are counted cannot be switched off.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server as TonicServer;
use tonic::{Request, Response, Status};

use crate::Failure;
use crate::judged::{Judged, at_most};
use crate::machine::Cores;
use crate::rounds::{self, Extent, Row};
use crate::servers::Programs;
use crate::upstream::Upstream;

const CALLERS: [usize; 2] = [64, 256];
/// More often than any scraper of production.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);

pub fn run(programs: &Programs, extent: Extent) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let (upstream, collector) = (Upstream::start()?, Collector::start()?);
    let url = upstream.url();
    let gateway =
        |tag, variables: &[_]| programs.gateway_telling(tag, (&cores, url.as_str()), variables);
    let exported = |sampler| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
            // By its default of 5 s most spans of a full load would find no room.
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ]
    };
    let (few, all) = (exported("parentbased_traceidratio"), exported("parentbased_always_on"));
    let mut rows = [
        Row::of("no log", "silent", gateway("silent", &[("RUST_LOG", "off")])?),
        Row::of("the log as it is by default", "logged", gateway("logged", &[])?),
        Row::of("metrics read, no log", "read", gateway("read", &[("RUST_LOG", "off")])?),
        Row::of("the log, metrics read, one trace in a hundred", "few", gateway("few", &few)?),
        Row::of("the log, metrics read, all traces", "all", gateway("all", &all)?),
    ];
    let read = rows[2..].iter().flat_map(|row| &row.servers);
    let read: Option<Vec<_>> = read.map(|server| server.admin.clone()).collect();
    let scraper = Scraper::start(read.ok_or("a gateway has metrics")?)?;
    let extent = Extent { threads: cores.load_threads, ..extent };
    rounds::play(&mut rows, &CALLERS, extent, programs)?;
    rounds::print(&rows, &CALLERS);
    let (spans, scrapes) = (collector.spans.load(Ordering::Relaxed), scraper.stop()?);
    println!("{spans} spans arrived, and the metrics were read {scrapes} times.");
    if spans == 0 || scrapes == 0 {
        return Err("nothing was told".into());
    }
    let mut judged = Vec::new();
    for (level, callers) in CALLERS.iter().enumerate() {
        for row in &rows[1..] {
            let what = format!("CPU at {callers} callers, {} ÷ no log", row.name);
            judged.push(at_most(&what, 1.1, row.cpu_over(&rows[0], level), 2));
        }
    }
    Judged::print(&judged);
    for row in &rows {
        row.verify(&upstream)?;
    }
    Ok(())
}

/// A receiver of OTLP on a thread of its own that only counts, for as long as this process lives.
#[derive(Clone)]
struct Collector {
    url: String,
    spans: Arc<AtomicU64>,
}

impl Collector {
    fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let collector = Self { url, spans: Arc::default() };
        let service = TraceServiceServer::new(collector.clone());
        thread::Builder::new().name("collector".to_owned()).spawn(move || {
            let serving = TonicServer::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener));
            // If it ends, no span arrives, which is an error in the end.
            let _ = runtime.block_on(serving);
        })?;
        Ok(collector)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let of_resources = request.into_inner().resource_spans;
        let of_scopes = of_resources.iter().flat_map(|resource| &resource.scope_spans);
        let spans: usize = of_scopes.map(|scope| scope.spans.len()).sum();
        self.spans.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Reads the metrics of gateways again and again, on a thread of its own.
struct Scraper {
    over: Arc<AtomicBool>,
    reading: thread::JoinHandle<Result<u64, Failure>>,
}

impl Scraper {
    fn start(addrs: Vec<String>) -> Result<Self, Failure> {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let reading = thread::Builder::new().name("scraper".to_owned()).spawn(move || {
            let mut scrapes = 0;
            while !ended.load(Ordering::Relaxed) {
                addrs.iter().try_for_each(|addr| scrape(addr))?;
                scrapes += 1;
                thread::sleep(SCRAPED_EVERY);
            }
            Ok(scrapes)
        })?;
        Ok(Self { over, reading })
    }

    /// How often they were read.
    fn stop(self) -> Result<u64, Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.reading.join().map_err(|_| "the scraper panicked")?
    }
}

fn scrape(addr: &str) -> Result<(), Failure> {
    let mut connection = TcpStream::connect(addr)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut page = String::new();
    connection.read_to_string(&mut page)?;
    match page.contains("rpc_server_call_duration_seconds") {
        true => Ok(()),
        false => Err(format!("these are no metrics: {page:.200}").into()),
    }
}
