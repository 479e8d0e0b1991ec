//! What it costs that the gateway tells what it does: its log, the spans that it exports, and a
//! scraper that reads its metrics. That they are counted cannot be switched off.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
    let exported = |sampler: &'static str| {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.clone()),
            // By its default of 5 s most spans of a full load would find no room.
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_TRACES_SAMPLER", sampler.to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01".to_owned()),
        ]
    };
    let no_log = || vec![("RUST_LOG", "off".to_owned())];
    let (few, all) = (exported("parentbased_traceidratio"), exported("parentbased_always_on"));
    let scraper = Scraper::start()?;
    let row = |name: &str, tag, variables: Vec<(&'static str, String)>, is_read: bool| {
        let (programs, cores, url) = (programs.clone(), cores.clone(), upstream.url());
        let addrs = is_read.then(|| scraper.addrs.clone());
        Row::anew(name, tag, move |round| {
            let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
            let (variables, database) = (Vec::from_iter(variables), format!("{tag}-{round}"));
            let server = programs.gateway_telling(&database, (&cores, &url), &variables)?;
            if let Some(addrs) = &addrs {
                let addr = server.admin.clone().ok_or("a gateway has metrics")?;
                addrs.lock().map_err(|_| "the scraper panicked")?.insert(tag, addr);
            }
            Ok(server)
        })
    };
    let mut rows = [
        row("no log", "silent", no_log(), false),
        row("the log as it is by default", "logged", Vec::new(), false),
        row("metrics read, no log", "read", no_log(), true),
        row("the log, metrics read, one trace in a hundred", "few", few, true),
        row("the log, metrics read, all traces", "all", all, true),
    ];
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
    addrs: Addrs,
    over: Arc<AtomicBool>,
    reading: thread::JoinHandle<Result<u64, Failure>>,
}

/// The gateways that are read now, by the tags of their rows. None of them ends while they are read.
type Addrs = Arc<Mutex<HashMap<&'static str, String>>>;

impl Scraper {
    fn start() -> Result<Self, Failure> {
        let (addrs, over) = (Addrs::default(), Arc::new(AtomicBool::new(false)));
        let (read, ended) = (Arc::clone(&addrs), Arc::clone(&over));
        let reading = thread::Builder::new().name("scraper".to_owned()).spawn(move || {
            let mut scrapes = 0;
            while !ended.load(Ordering::Relaxed) {
                let addrs = read.lock().map_err(|_| "the start of a gateway panicked")?;
                addrs.values().try_for_each(|addr| scrape(addr))?;
                scrapes += addrs.len() as u64;
                drop(addrs);
                thread::sleep(SCRAPED_EVERY);
            }
            Ok(scrapes)
        })?;
        Ok(Self { addrs, over, reading })
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
