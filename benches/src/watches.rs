//! What watches cost: the memory of each, the processor time of one change that all of them follow,
//! and how long after a callback's acknowledgement a watcher is told.

use std::time::{Duration, Instant};

use settlement_gateway::proto::v1::watch_settle_request::Key;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{
    ListSettlesRequest, SettleState, WatchSettleRequest, WatchSettleResponse,
};
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::Failure;
use crate::bare::http_client;
use crate::callbacks::Callbacks;
use crate::judged::{Judged, at_most};
use crate::load::{self, Client, Plan, Target, connect};
use crate::machine::{Cores, flushes, median};
use crate::numbers::{Numbers, app_id};
use crate::secured::{Secrets, connect_by};
use crate::servers::{Programs, Server};
use crate::upstream::Upstream;

const CONNECTIONS: usize = 100;
/// How many measure what a connection by mTLS costs.
const MTLS_CONNECTIONS: usize = 500;
/// How many watches measure the latency, one after the other.
const LATENCIES: u64 = 200;
const NEWS_TIME_MAX: Duration = Duration::from_secs(60);
/// So long that no heartbeat comes while the bench measures.
const HEARTBEAT: prost_types::Duration = prost_types::Duration { seconds: 600, nanos: 0 };
const TAG: &str = "watched";

/// `settled`: the time within which a server returns freed memory to the operating system.
pub fn run(programs: &Programs, watches: u64, settled: Duration) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let server = programs.gateway("watches", &cores, &upstream.url())?;
    create(&server, watches + 1 + LATENCIES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients = runtime.block_on(connect_all(&server.url))?;
    let mut judged = vec![runtime.block_on(memory(&server, clients, watches, settled))?];
    judged.push(runtime.block_on(fan_out(&server, watches))?);
    let flush_us = median(&flushes(&programs.directory)?);
    judged.push(runtime.block_on(latency(&server, watches + 1, flush_us))?);
    Judged::print(&judged);
    Ok(())
}

/// The memory of watches whose caller is known by a client certificate, and of its connections.
pub fn run_by_mtls(programs: &Programs, watches: u64, settled: Duration) -> Result<(), Failure> {
    let cores = Cores::split(1)?;
    println!("{}", cores.describe());
    let upstream = Upstream::start()?;
    let server = programs.gateway("watches", &cores, &upstream.url())?;
    create(&server, watches)?;
    server.stop()?;
    let secrets = Secrets::make()?;
    programs.secure("watches", &secrets)?;
    let server = programs.gateway_again("watches", &cores)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let judged = runtime.block_on(async {
        let mut clients = Vec::new();
        tokio::time::sleep(settled).await;
        let before = server.resident()?;
        for _ in 0..MTLS_CONNECTIONS {
            let mut client = connect_by(&secrets, &server.url)?;
            // The connection is there, and its caller is known.
            let app_id = app_id(0);
            let one = ListSettlesRequest { app_id, page_size: 1, ..Default::default() };
            client.list_settles(one).await?;
            clients.push(client);
        }
        tokio::time::sleep(settled).await;
        let kib = server.resident()?.saturating_sub(before) as f64 / 1024.0;
        let kib = kib / MTLS_CONNECTIONS as f64;
        println!("{MTLS_CONNECTIONS} connections by mTLS, each with a call: {kib:.1} KiB each");
        clients.truncate(CONNECTIONS);
        memory(&server, clients, watches, settled).await
    })?;
    Judged::print(&[judged]);
    Ok(())
}

/// Makes this many settles, which Douyin accepts.
fn create(server: &Server, count: u64) -> Result<(), Failure> {
    let (target, numbers) = (Target::Grpc(server.url.clone()), Numbers::new(TAG));
    while numbers.count() < count {
        let plan = Plan {
            callers: 256,
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(500),
            threads: 1,
        };
        load::run(&target, &numbers, plan, || Ok(()))?;
    }
    Ok(())
}

/// Opens a watch, and reads its first message.
async fn watch(
    client: &mut Client,
    number: u64,
) -> Result<Streaming<WatchSettleResponse>, Failure> {
    let request = WatchSettleRequest {
        app_id: app_id(number),
        key: Some(Key::OutSettleNo(format!("{TAG}-{number:010}"))),
        heartbeat_interval: Some(HEARTBEAT),
        ..WatchSettleRequest::default()
    };
    let mut stream = client.watch_settle(request).await?.into_inner();
    match stream.message().await? {
        Some(WatchSettleResponse { event: Some(Event::Settle(_)) }) => Ok(stream),
        other => Err(format!("a watch began with {other:?}").into()),
    }
}

/// Opens watches, the same number on each connection.
async fn open(
    url: &str,
    numbers: impl Iterator<Item = u64>,
) -> Result<Vec<Streaming<WatchSettleResponse>>, Failure> {
    open_on(connect_all(url).await?, numbers).await
}

async fn connect_all(url: &str) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(url).await?);
    }
    Ok(clients)
}

async fn open_on(
    clients: Vec<Client>,
    numbers: impl Iterator<Item = u64>,
) -> Result<Vec<Streaming<WatchSettleResponse>>, Failure> {
    let mut opening = JoinSet::new();
    let mut streams = Vec::new();
    for (index, number) in numbers.enumerate() {
        let mut client = clients[index % clients.len()].clone();
        opening.spawn(async move { watch(&mut client, number).await });
        while opening.len() >= CONNECTIONS {
            let opened = opening.join_next().await.ok_or("no watch was opened")?;
            streams.push(opened??);
        }
    }
    while let Some(opened) = opening.join_next().await {
        streams.push(opened??);
    }
    Ok(streams)
}

/// Waits until a watch says that its settle succeeded.
async fn succeeded(stream: &mut Streaming<WatchSettleResponse>) -> Result<Instant, Failure> {
    let news = async {
        while let Some(message) = stream.message().await? {
            let now = Instant::now();
            if let Some(Event::Settle(settle)) = message.event
                && settle.state() == SettleState::Succeeded
            {
                return Ok(now);
            }
        }
        Err(Failure::from("a watch ended before it told the change"))
    };
    tokio::time::timeout(NEWS_TIME_MAX, news).await.map_err(|_| "a watch was not told in time")?
}

/// The resident memory in KiB with growing numbers of watches, each of a settle of its own.
pub fn growth(
    server: &Server,
    counts: &[u64],
    settled: Duration,
) -> Result<Vec<(u64, f64)>, Failure> {
    create(server, counts.iter().copied().max().unwrap_or_default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut streams, mut found, mut open_now) = (Vec::new(), Vec::new(), 0);
        for count in counts {
            streams.extend(open(&server.url, open_now..*count).await?);
            open_now = *count;
            tokio::time::sleep(settled).await;
            found.push((*count, server.resident()? as f64 / 1024.0));
        }
        Ok(found)
    })
}

/// Each watch follows a settle of its own.
async fn memory(
    server: &Server,
    clients: Vec<Client>,
    watches: u64,
    settled: Duration,
) -> Result<Judged, Failure> {
    tokio::time::sleep(settled).await;
    let before = server.resident()?;
    let streams = open_on(clients, 0..watches).await?;
    tokio::time::sleep(settled).await;
    let after = server.resident()?;
    drop(streams);
    let kib = after.saturating_sub(before) as f64 / 1024.0 / watches as f64;
    println!("{watches} watches of as many settles, {CONNECTIONS} connections: {kib:.1} KiB each");
    Ok(at_most("KiB resident per watch", 8.0, kib, 1))
}

/// All watches follow one settle, which changes once.
async fn fan_out(server: &Server, watches: u64) -> Result<Judged, Failure> {
    let number = watches;
    let streams = open(&server.url, (0..watches).map(|_| number)).await?;
    let callbacks = callbacks(server)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.cpu()?;
    let mut hearing = JoinSet::new();
    for mut stream in streams {
        hearing.spawn(async move { succeeded(&mut stream).await });
    }
    let (sent, _) = callbacks.succeeded(TAG, number).await?;
    let mut last = sent;
    while let Some(heard) = hearing.join_next().await {
        last = last.max(heard??);
    }
    let cpu = (server.cpu()? - before).as_secs_f64();
    let took = last.duration_since(sent).as_secs_f64();
    println!(
        "one change to {watches} watchers: {cpu:.2} s of CPU; the last knew after {took:.2} s"
    );
    Ok(at_most("s of CPU for one change to all watchers", 0.3, cpu, 2))
}

/// The time from the acknowledgement of a callback to the watcher's message.
async fn latency(server: &Server, first: u64, flush_us: f64) -> Result<Judged, Failure> {
    let callbacks = callbacks(server)?;
    let mut client = connect(&server.url).await?;
    let (mut from_ack, mut from_callback) = (Vec::new(), Vec::new());
    for number in first..first + LATENCIES {
        let mut stream = watch(&mut client, number).await?;
        let heard = tokio::spawn(async move { succeeded(&mut stream).await });
        let (sent, acknowledged) = callbacks.succeeded(TAG, number).await?;
        let heard = heard.await??;
        from_ack.push(heard.saturating_duration_since(acknowledged).as_secs_f64() * 1e3);
        from_callback.push(heard.saturating_duration_since(sent).as_secs_f64() * 1e3);
    }
    let (from_ack, from_callback) = (median(&from_ack), median(&from_callback));
    println!(
        "a callback's acknowledgement to its watcher's message: median {from_ack:.2} ms; from the \
         callback on: {from_callback:.2} ms (0: the watcher knew before)"
    );
    let bound = 2.0 + flush_us / 1e3;
    Ok(at_most("ms from acknowledged to told: 2 + one flush", bound, from_ack, 2))
}

fn callbacks(server: &Server) -> Result<Callbacks, Failure> {
    let url = server.callbacks.as_deref().ok_or("the gateway takes no callbacks")?;
    Ok(Callbacks::new(http_client(1)?, url))
}
