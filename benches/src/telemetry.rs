//! What it costs that the gateway tells what it does: its log, the spans that it exports, and a
//! scraper that reads its metrics. That they are counted cannot be switched off.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
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
use crate::load::{self, Plan};
use crate::machine::Cores;
use crate::rounds::{self, Extent, Row};
use crate::samples;
use crate::servers::Programs;
use crate::upstream::Upstream;

const CALLERS: [usize; 2] = [64, 256];
/// More often than any scraper of production.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);

/// Creates by gateways that tell more and more, in alternating rounds.
pub fn run(programs: &Programs, extent: Extent) -> Result<(), Failure> {
    let world = World::start()?;
    let mut rows = world.rows(programs);
    let extent = Extent { threads: world.cores.load_threads, ..extent };
    rounds::play(&mut rows, &CALLERS, extent, programs)?;
    rounds::print(&rows, &CALLERS);
    let mut judged = Vec::new();
    for (level, callers) in CALLERS.iter().enumerate() {
        for row in &rows[1..] {
            let what = format!("CPU at {callers} callers, {} ÷ no log", row.name);
            judged.push(at_most(&what, OVERHEAD_MAX, row.cpu_over(&rows[0], level), 2));
        }
    }
    Judged::print(&judged);
    world.stop(&rows)
}

/// The part of a create's processor time that goes into telling, by where samples of its stacks
/// fall. It does not depend on how fast the machine is at the moment, or on what differs between
/// two processes: all of it comes from one.
pub fn profile(programs: &Programs) -> Result<(), Failure> {
    let world = World::start()?;
    let plan = Plan {
        callers: CALLERS[0],
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs(10),
        threads: world.cores.load_threads,
    };
    let mut rows = world.rows(programs);
    println!(
        "\n| what is told | samples | the log and traces, % | metrics, % | cost ÷ all else |\n\
         | --- | ---: | ---: | ---: | ---: |"
    );
    let mut judged = Vec::new();
    for row in &mut rows {
        row.renew(0)?;
        let [server] = &row.servers[..] else { return Err("a row is one gateway".into()) };
        let load = || load::run(&row.target, &row.numbers, plan, || Ok(())).map(drop);
        let stacks = samples::of(server.pid(), &programs.directory.join("samples"), load)?;
        let [told, counted] = [TELLING, COUNTING].map(|within| stacks.share(within));
        let cost = 1.0 / (1.0 - told - counted);
        let (name, count) = (&row.name, stacks.count());
        let [told, counted] = [told, counted].map(|share| share * 100.0);
        println!("| {name} | {count} | {told:.1} | {counted:.1} | {cost:.3} |");
        judged.push(at_most(&format!("CPU ÷ that of all else, {name}"), OVERHEAD_MAX, cost, 2));
        world.scraper.forget(row.numbers.tag)?;
        row.servers.clear();
    }
    Judged::print(&judged);
    world.stop(&rows)
}

/// How symbols begin that belong to the log and to traces, with the crates that they are made with.
const TELLING: &[&str] = &[
    "settlement_gateway::telemetry::",
    "tracing_core::",
    "tracing_subscriber::",
    "tracing_opentelemetry::",
    "opentelemetry",
    "sharded_slab::",
];
const COUNTING: &[&str] = &["settlement_gateway::metrics::"];
const OVERHEAD_MAX: f64 = 1.1;

/// What gateways talk to, and what reads what they tell.
struct World {
    cores: Cores,
    upstream: Upstream,
    collector: Collector,
    scraper: Scraper,
}

impl World {
    fn start() -> Result<Self, Failure> {
        let cores = Cores::split(1)?;
        println!("{}", cores.describe());
        let (upstream, collector) = (Upstream::start()?, Collector::start()?);
        Ok(Self { cores, upstream, collector, scraper: Scraper::start()? })
    }

    fn rows(&self, programs: &Programs) -> [Row; 5] {
        let row = |name, tag, variables| self.row(programs, name, tag, variables);
        let no_log = || vec![("RUST_LOG", "off".to_owned())];
        [
            row("no log", "silent", no_log()),
            row("the log as it is by default", "logged", Vec::new()),
            row("metrics read, no log", READ[0], no_log()),
            row("the log, metrics read, one trace in a hundred", READ[1], self.exported("0.01")),
            row("the log, metrics read, all traces", READ[2], self.exported("1")),
        ]
    }

    fn exported(&self, ratio: &str) -> Vec<(&'static str, String)> {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.collector.url.clone()),
            // By its default of 5 s most spans of a full load would find no room.
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", ratio.to_owned()),
        ]
    }

    fn row(
        &self,
        programs: &Programs,
        name: &str,
        tag: &'static str,
        variables: Vec<(&'static str, String)>,
    ) -> Row {
        let (programs, cores, url) = (programs.clone(), self.cores.clone(), self.upstream.url());
        let addrs = READ.contains(&tag).then(|| Arc::clone(&self.scraper.addrs));
        Row::anew(name, tag, move |round| {
            let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
            let (variables, database) = (Vec::from_iter(variables), format!("{tag}-{round}"));
            let server = programs.gateway_telling(&database, (&cores, &url), &variables)?;
            if let Some(addrs) = &addrs {
                let addr = server.admin.clone().ok_or("a gateway has metrics")?;
                locked(addrs)?.insert(tag, addr);
            }
            Ok(server)
        })
    }

    /// Checks that what was told was heard, and that each create is at the upstream once.
    fn stop(self, rows: &[Row]) -> Result<(), Failure> {
        let (spans, scrapes) = (self.collector.spans.load(Ordering::Relaxed), self.scraper.stop()?);
        println!("{spans} spans arrived, and the metrics were read {scrapes} times.");
        if spans == 0 || scrapes == 0 {
            return Err("nothing was told".into());
        }
        rows.iter().try_for_each(|row| row.verify(&self.upstream))
    }
}

/// The tags of the rows whose metrics are read.
const READ: [&str; 3] = ["read", "few", "all"];

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

/// The gateways that are read now, by the tags of their rows. None ends while they are read.
type Addrs = Arc<Mutex<HashMap<&'static str, String>>>;

impl Scraper {
    fn start() -> Result<Self, Failure> {
        let (addrs, over) = (Addrs::default(), Arc::new(AtomicBool::new(false)));
        let (read, ended) = (Arc::clone(&addrs), Arc::clone(&over));
        let reading = thread::Builder::new().name("scraper".to_owned()).spawn(move || {
            let mut scrapes = 0;
            while !ended.load(Ordering::Relaxed) {
                let addrs = locked(&read)?;
                addrs.values().try_for_each(|addr| scrape(addr))?;
                scrapes += addrs.len() as u64;
                drop(addrs);
                thread::sleep(SCRAPED_EVERY);
            }
            Ok(scrapes)
        })?;
        Ok(Self { addrs, over, reading })
    }

    /// Its gateway may end now.
    fn forget(&self, tag: &str) -> Result<(), Failure> {
        locked(&self.addrs)?.remove(tag);
        Ok(())
    }

    /// How often they were read.
    fn stop(self) -> Result<u64, Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.reading.join().map_err(|_| "the scraper panicked")?
    }
}

fn locked(addrs: &Addrs) -> Result<MutexGuard<'_, HashMap<&'static str, String>>, Failure> {
    addrs.lock().map_err(|_| "a thread panicked with the addresses".into())
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
