//! The gateway serves whatever happens to its log and its output: pipes that stand still, readers
//! that are gone, disks that are full.

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use douyin_sim::Simulator;
use serde_json::Value;
use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{APP_ID, create_request, number, simulator, within};
use crate::health;
use crate::process::{Outlet, Process, Setting};

const DROPPED: &str = "settlement_log_lines_dropped_total";

/// The gateway with callbacks.
async fn start(sim: &Simulator, dir: &Path, setting: Setting) -> Process {
    let keys = dir.join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    Process::start(sim, dir, Setting { platform_keys: Some(keys), ..setting }).await
}

async fn create(gateway: &Process, number: &str) {
    let mut client = gateway.client.clone();
    let created = within("CreateSettle", client.create_settle(create_request(number))).await;
    created.unwrap_or_else(|status| panic!("{number}: {status:?}"));
}

/// Whether everything there is still works: calls, the settle's end, health, metrics, callbacks.
async fn assert_serves(gateway: &Process) {
    let number = number("serves");
    create(gateway, &number).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    let mut statuses = health::watch(&HealthClient::new(gateway.channel.clone()), "").await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    assert_eq!(forge(&reqwest::Client::new(), gateway).await, 401);
}

/// What every peer can send to the callback listener, and how it is answered.
async fn forge(client: &reqwest::Client, gateway: &Process) -> u16 {
    let request = client.post(gateway.callback_url()).body(r#"{"forged":true}"#);
    within("the refusal", request.send()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing_and_lost_lines_are_counted() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let setting = Setting { log: Some("trace"), stderr: Outlet::Full, ..Setting::default() };
    let mut gateway = start(&sim, dir.path(), setting).await;
    // Megabytes wait in the process before a line is lost.
    for _ in 0..5_000 {
        create(&gateway, &number("unread")).await;
        if gateway.counted(DROPPED).await > 0 {
            break;
        }
    }
    assert_serves(&gateway).await;
    assert!(gateway.counted(DROPPED).await > 0);

    // A reader comes, and gets everything that was kept, and the count of what was not.
    let pipe = gateway.unread[1].take().expect("the pipe that stands still");
    let reader = thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map(Result::unwrap);
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    });
    assert_serves(&gateway).await;
    gateway.signal("TERM").await;
    let (status, _) = gateway.ended().await;
    assert_eq!(status.code(), Some(0));
    let lines: Vec<Value> = reader.join().unwrap().iter().map(|line| json(line)).collect();
    let lost = lines.iter().filter(|line| message(line).starts_with("lines of the log were"));
    assert!(lost.filter_map(|line| line["lines"].as_u64()).sum::<u64>() > 0);
    // A library may log when the runtime ends.
    let ours = |line: &&Value| line["target"].as_str().unwrap().starts_with("settlement_gateway");
    assert_eq!(message(lines.iter().rfind(ours).unwrap()), "stopped gracefully");
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn wherever_its_output_leads_the_gateway_serves_and_ends_well() {
    let full_disk = || Outlet::File(PathBuf::from("/dev/full"));
    for broken in [Outlet::Full, Outlet::Closed, full_disk()] {
        let stderr = Setting { stderr: broken.clone(), ..Setting::default() };
        let stdout = Setting { stdout: broken, ..Setting::default() };
        for setting in [stderr, stdout] {
            let (sim, dir) = (simulator().await, TempDir::new().unwrap());
            let gateway = start(&sim, dir.path(), setting).await;
            assert_serves(&gateway).await;
            gateway.signal("TERM").await;
            assert_eq!(gateway.ended().await.0.code(), Some(0));
        }
    }
}

#[tokio::test]
async fn a_complaint_that_cannot_be_printed_changes_no_exit_code() {
    let commands: [&[&str]; 4] = [
        &["serve", "--config", "/there/is/none.toml"],
        &["serve", "--no-such-option"],
        &["check-config", "--config", "/there/is/none.toml"],
        &["errors", "--no-such-option"],
    ];
    for broken in [Outlet::Full, Outlet::Closed, Outlet::File(PathBuf::from("/dev/full"))] {
        for arguments in commands {
            let (stderr, _unread) = broken.ends();
            let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
            command.args(arguments).stderr(stderr).kill_on_drop(true);
            let status = within("the refusal", command.status()).await.unwrap();
            assert_eq!(status.code(), Some(64), "{arguments:?}");
        }
    }
}

/// The lines that say this, and how many more of them were summed up.
fn told(log: &str, text: &str) -> (u64, u64) {
    let lines: Vec<Value> = log.lines().map(json).collect();
    let said = lines.iter().filter(|line| message(line) == text).count();
    let held_back = lines.iter().filter(|line| line["line"] == text);
    (said as u64, held_back.map(|line| line["more"].as_u64().unwrap()).sum())
}

/// What a place may log in ten seconds, for as long as this took at most.
fn budget(lines: u64, since: Instant) -> u64 {
    lines * (2 + since.elapsed().as_secs() / 10)
}

#[tokio::test]
async fn a_flood_of_forged_callbacks_is_summed_up_and_counted() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = start(&sim, dir.path(), Setting::default()).await;
    let (client, begun) = (reqwest::Client::new(), Instant::now());
    for _ in 0..3_000 {
        assert_eq!(forge(&client, &gateway).await, 401);
    }
    // The flood hides no other stranger.
    let elsewhere = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2]));
    assert_eq!(forge(&elsewhere.build().unwrap(), &gateway).await, 401);
    let counter = "settlement_callbacks_total";
    let labels = format!("{counter}{{app_id=\"{APP_ID}\",result=\"bad_signature\"}}");
    assert_eq!(gateway.counted(&labels).await, 3_001);
    // While it lasts, not only at the end.
    gateway.logged("held back more lines like this one").await;
    assert!(gateway.counted("settlement_log_lines_held_back_total").await > 0);
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let (said, held_back) = told(&log, "callback refused: it is not Douyin's");
    assert!((11..=budget(10, begun)).contains(&said), "{said} lines: {log}");
    assert_eq!(said + held_back, 3_001);
    assert_eq!(log.matches("\"from\":\"127.0.0.2\"").count(), 1);
    assert!(log.contains("\"who\":\"127.0.0.1\""), "{log}");
}

#[tokio::test]
async fn a_callers_flood_of_failing_calls_is_summed_up_and_counted() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = start(&sim, dir.path(), Setting::default()).await;
    let begun = Instant::now();
    let (mut client, invalid) = (gateway.client.clone(), create_request(""));
    for _ in 0..1_000 {
        let refused = within("CreateSettle", client.create_settle(invalid.clone())).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let good = number("good");
    create(&gateway, &good).await;
    let counter = "settlement_calls_total{rpc=\"CreateSettle\",code=\"INVALID_ARGUMENT\",\
                   reason=\"INVALID_REQUEST\",outcome=\"not_sent\"}";
    assert_eq!(gateway.counted(counter).await, 1_000);
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let (said, held_back) = told(&log, "answered");
    assert!((200..=budget(200, begun)).contains(&said), "{said} lines");
    assert_eq!(said + held_back, 1_001, "one of them went well");
    let answered = |line: &str| line.contains("answered") && line.contains(&good);
    assert!(log.lines().any(answered), "what went well is never held back");
}

#[tokio::test]
async fn a_flood_of_what_a_library_warns_of_is_summed_up() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = start(&sim, dir.path(), Setting::default()).await;
    let (begun, pings) = (Instant::now(), 500);
    let mut stranger = TcpStream::connect(gateway.grpc_addr()).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // The answer to a PING that was never sent (RFC 9113, 6.7).
    let answer = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    let flood = [preface, answer.repeat(pings)].concat();
    within("the flood", stranger.write_all(&flood)).await.unwrap();
    gateway.logged("recv PING ack that we never sent").await;
    gateway.logged("held back more lines like this one").await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let said = log.matches("recv PING ack that we never sent").count() as u64;
    assert!((10..=budget(10, begun)).contains(&said), "{said} lines: {log}");
    let held_back = log.lines().map(json).filter(|line| line["place"] == "h2::proto::ping_pong");
    let held_back: u64 = held_back.map(|line| line["more"].as_u64().unwrap()).sum();
    assert_eq!(said + held_back, pings as u64);
}

#[tokio::test]
async fn in_a_quiet_run_no_line_is_lost() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = start(&sim, dir.path(), Setting::default()).await;
    let numbers: Vec<_> = (0..50).map(|_| number("quiet")).collect();
    for number in &numbers {
        create(&gateway, number).await;
        assert_eq!(gateway.end(number).await.state(), SettleState::Succeeded);
    }
    assert_eq!(gateway.counted(DROPPED).await, 0);
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let lines: Vec<Value> = log.lines().map(json).collect();
    for number in &numbers {
        let of = |line: &&Value| line.to_string().contains(&format!("\"{number}\""));
        let of: Vec<_> = lines.iter().filter(of).map(message).collect();
        assert_eq!(of.iter().filter(|message| **message == "answered").count(), 2);
        let changes = lines.iter().filter(|line| message(line) == "settle changed");
        let changes = changes.filter(|line| line["key"].as_str().unwrap().ends_with(number));
        assert!(changes.count() >= 2, "{number}: {log}");
    }
    assert_eq!(message(lines.last().unwrap()), "stopped gracefully");
}
