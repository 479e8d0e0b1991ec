//! The parts of a create one by one, so that a regression shows in its part.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, Divan, black_box};
use settlement_gateway::clock::{Clock, Timestamp};
use settlement_gateway::douyin::callback::{Verifiers, hear};
use settlement_gateway::douyin::transport::BoxFuture;
use settlement_gateway::douyin::{
    Call, Client, ClientConfig, PlatformKeys, Reply, Signed, Transport, create_body,
};
use settlement_gateway::settle::{AppId, Policy, TradeSystem};
use settlement_gateway::store::{Sqlite, SqliteOptions, Store};
use tempfile::TempDir;

use crate::batches::Batches;
use crate::records;

const APP: &str = "ttbench000000000";
/// At least this long for each part.
const MEASURED: Duration = Duration::from_millis(500);
const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
/// A memory file system, so that the figures contain no flush.
const MEMORY: &str = "/dev/shm";
const TOKEN: &str = concat!(
    r#"{"message":"success","data":{"error_code":0,"access_token":"clt.micro","#,
    r#""expires_in":7200,"description":""}}"#
);
const ACCEPTED: &str = concat!(
    r#"{"err_no":0,"err_msg":"success","log_id":"20261128120000micro","#,
    r#""data":{"settle_id":"ots7273513286485002540","wallet_settle_id":"wal7273513286485"}}"#
);

pub fn run() {
    Divan::default().min_time(MEASURED).run_benches();
}

fn directory() -> TempDir {
    let made = if Path::new(MEMORY).is_dir() { TempDir::new_in(MEMORY) } else { TempDir::new() };
    made.expect("a directory can be made")
}

/// Makes the mark and the body for Douyin from a caller's request.
#[divan::bench]
fn translate(bencher: Bencher) {
    let (key, content) = (records::key(APP, "micro-1".to_owned()), records::content(1));
    bencher.bench_local(|| {
        let mark = black_box(&content).mark();
        create_body(black_box(&key), &content, Some(&mark), None)
    });
}

/// A call to Douyin without the network: getting the token, building the request, reading the
/// answer.
#[divan::bench]
fn call_and_parse(bencher: Bencher) {
    let directory = directory();
    let database = directory.path().join("settlement.db");
    let sqlite = Sqlite::open(SqliteOptions::new(database).creating()).expect("it is new");
    let answer = |call: Call| {
        let content = if call.path.contains("client_token") { TOKEN } else { ACCEPTED };
        let reply = Reply { status: 200, log_id_header: None, content: content.into() };
        let reply: BoxFuture<_> = Box::pin(std::future::ready(Ok(reply)));
        reply
    };
    let clock = Clock::system();
    let store = Store::Sqlite(Arc::new(sqlite));
    let transport = Some(Transport::InProcess(Arc::new(answer)));
    let client = Client::new(ClientConfig::default(), transport, store, clock.clone());
    let client = client.expect("the default is sound");
    let app_id = AppId::parse(APP).expect("it is short");
    let access = client.access(app_id, Some("secret".into()));
    let (key, content) = (records::key(APP, "micro-1".to_owned()), records::content(1));
    let body = create_body(&key, &content, None, None);
    let body = body.expect("the general system has a create");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("there are threads and timers");
    bencher.bench_local(|| {
        let call = client.create(&access, TradeSystem::General, &body, clock.uptime());
        runtime.block_on(call)
    });
}

/// Verifies a callback's signature.
#[divan::bench]
fn verify_signature(bencher: Bencher) {
    let (keys, signature, body) = callback();
    let signed = signed(&signature, &body);
    bencher.bench_local(|| keys.verify(black_box(&signed)));
}

/// Verifies it, and reads what the callback says.
#[divan::bench]
fn verify_and_read_callback(bencher: Bencher) {
    let (keys, signature, body) = callback();
    let signed = signed(&signature, &body);
    let (systems, by) =
        ([TradeSystem::General], Verifiers { keys: Some(keys.into()), token: None });
    bencher.bench_local(|| hear(None, &systems, &by, black_box(&signed)).is_ok());
}

fn callback() -> (PlatformKeys, String, Vec<u8>) {
    let key = douyin_sim::PlatformKey::sandbox();
    let keys = PlatformKeys::parse(&key.public_pem()).expect("it is a key");
    let body = include_bytes!("../../tests/vectors/callback/body.json").to_vec();
    let text = [b"1790000000\nnonce\n".as_slice(), &body, b"\n"].concat();
    (keys, key.sign(&text), body)
}

fn signed<'a>(signature: &'a str, body: &'a [u8]) -> Signed<'a> {
    Signed { timestamp: "1790000000", nonce: "nonce", signature, body }
}

/// Applies Douyin's acceptance to a settle.
#[divan::bench]
fn transition(bencher: Bencher) {
    let key = records::key(APP, "micro-1".to_owned());
    let (before, policy) = (records::submitted(key, 1, NOW), Policy::default());
    let seen = records::acceptance(&before, 1);
    bencher.bench_local(|| records::after(black_box(&before), &seen, &policy));
}

/// Both writes of a create, with this many creates in one batch.
#[divan::bench(args = [1, 8, 64])]
fn insert_and_swap(bencher: Bencher, batch: usize) {
    let directory = directory();
    let batches = RefCell::new(Batches::open(&directory.path().join("settlement.db")));
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| batches.borrow_mut().creates(batch))
        .bench_local_values(|creates| batches.borrow_mut().write(creates));
}
