//! What a million stored settles change: creates, lists, the start, memory.

use std::fs;
use std::time::{Duration, Instant};

use settlement_gateway::proto::v1::{ListSettlesRequest, SettleState};

use crate::Failure;
use crate::bare::http_client;
use crate::callbacks::Callbacks;
use crate::fill::fill;
use crate::judged::{Judged, at_least, at_most};
use crate::load::{self, Plan, Target, connect};
use crate::machine::{Cores, SETTLED, median};
use crate::numbers::{Numbers, app_id, create};
use crate::servers::{Programs, Server};
use crate::upstream::Upstream;

const TAG: &str = "stored";
const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const LISTS: usize = 40;
const PAGE: i32 = 50;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(programs: &Programs, settles: u64) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let mut judged = Vec::new();

    let empty = programs.gateway("empty", &cores, &upstream.url())?;
    let full = programs.gateway("stored", &cores, &upstream.url())?;
    empty.stop()?;
    full.stop()?;
    let began = Instant::now();
    fill(&programs.database("stored"), &app_id(0), TAG, 0..settles)?;
    let bytes = fs::metadata(programs.database("stored"))?.len() / settles;
    let took = began.elapsed().as_secs_f64();
    println!("{settles} settles were stored in {took:.0} s, {bytes} bytes each");

    let (empty, ready) = started(programs, "empty", &cores)?;
    judged.push(at_most("ms until ready, empty", 60.0, ready, 0));
    std::thread::sleep(SETTLED);
    let resident = empty.resident()? as f64 / MIB;
    judged.push(at_most("MiB resident, empty and idle", 20.0, resident, 1));
    let (full, ready) = started(programs, "stored", &cores)?;
    let many = format!("{settles} stored");
    judged.push(at_most(&format!("ms until ready, {many}"), 1000.0, ready, 0));

    let (alone, among) = creates(&empty, &full, &cores)?;
    println!("creates/s at {CALLERS} callers: {alone:.0} with none stored, {among:.0} with {many}");
    judged.push(at_least(&format!("creates/s with {many} ÷ with none"), 0.85, among / alone, 2));

    one_that_succeeded(&full)?;
    for (filter, ms) in lists(&full, settles)? {
        judged.push(at_most(&format!("ms for a page of {PAGE}, {filter}"), 5.0, ms, 2));
    }
    std::thread::sleep(SETTLED);
    let resident = full.resident()? as f64 / MIB;
    judged.push(at_most(&format!("MiB resident, {many}"), 100.0, resident, 1));
    Judged::print(&judged);
    Ok(())
}

/// Starts a gateway on its existing database three times. Returns the last one and the median time.
fn started(programs: &Programs, name: &str, cores: &Cores) -> Result<(Server, f64), Failure> {
    let mut times = Vec::new();
    loop {
        let server = programs.gateway_again(name, cores)?;
        times.push(server.ready()?.as_secs_f64() * 1e3);
        if times.len() == 3 {
            return Ok((server, median(&times)));
        }
        server.stop()?;
    }
}

/// Creates per second of both gateways, in alternating rounds.
fn creates(empty: &Server, full: &Server, cores: &Cores) -> Result<(f64, f64), Failure> {
    let plan = Plan {
        callers: CALLERS,
        warm_up: Duration::from_millis(500),
        measured: Duration::from_secs(3),
        threads: cores.load_threads,
    };
    let (few, many) = (Numbers::new("few"), Numbers::new("many"));
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (server, numbers, rates) in [(empty, &few, &mut alone), (full, &many, &mut among)] {
            let target = Target::Grpc(server.url.clone());
            rates.push(load::run(&target, numbers, plan, || Ok(()))?.per_second());
        }
    }
    Ok((median(&alone), median(&among)))
}

/// Creates one settle and lets it succeed.
fn one_that_succeeded(server: &Server) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = connect(&server.url).await?;
        client.create_settle(create("one", 0)).await?;
        let url = server.callbacks.as_deref().ok_or("the gateway takes no callbacks")?;
        Callbacks::new(http_client(1)?, url).succeeded("one", 0).await?;
        Ok(())
    })
}

/// The median time of the first page by each filter, in milliseconds.
fn lists(server: &Server, settles: u64) -> Result<Vec<(String, f64)>, Failure> {
    let all = || ListSettlesRequest { app_id: app_id(0), page_size: PAGE, ..Default::default() };
    let states = |states: &[SettleState]| ListSettlesRequest {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..all()
    };
    let now = std::time::SystemTime::now();
    let ago = |age: Duration| Some(prost_types::Timestamp::from(now - age));
    // `fill` makes one settle each 10 s.
    let middle = Duration::from_secs(settles * 5);
    let filters = [
        ("app", all()),
        ("app and order", ListSettlesRequest { out_order_no: "order-77".to_owned(), ..all() }),
        ("app and from", ListSettlesRequest { create_time_from: ago(middle), ..all() }),
        ("app and until", ListSettlesRequest { create_time_until: ago(middle), ..all() }),
        ("app and submitting (none)", states(&[SettleState::Submitting])),
        ("app and processing (all but one)", states(&[SettleState::Processing])),
        ("app and succeeded (one)", states(&[SettleState::Succeeded])),
        ("app and failed (none)", states(&[SettleState::Failed])),
        ("app and rejected (none)", states(&[SettleState::Rejected])),
        (
            "app and final (one)",
            states(&[SettleState::Succeeded, SettleState::Failed, SettleState::Rejected]),
        ),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = connect(&server.url).await?;
        let mut found = Vec::new();
        for (name, request) in filters {
            let mut times = Vec::new();
            for _ in 0..LISTS {
                let began = Instant::now();
                client.list_settles(request.clone()).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            found.push((name.to_owned(), median(&times)));
        }
        Ok(found)
    })
}
