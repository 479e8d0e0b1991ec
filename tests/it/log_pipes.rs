//! Whatever becomes of what the gateway logs and prints, it serves: pipes that stand still, readers
//! that have gone, disks that are full.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::sim::Simulator;
use tempfile::TempDir;
use tokio::process::Command;
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

/// What anybody can send to the callback listener; how it is answered.
async fn forge(client: &reqwest::Client, gateway: &Process) -> u16 {
    let request = client.post(gateway.callback_url()).body(r#"{"forged":true}"#);
    within("the refusal", request.send()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_what_was_lost_is_told_of() {
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

    // A reader comes, and hears everything that was kept, and what was not.
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
    // A library may say a word when the runtime ends.
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
        assert!(of.contains(&"answered") && of.contains(&"watch ended with the final state"));
        let changes = lines.iter().filter(|line| message(line) == "settle changed");
        let changes = changes.filter(|line| line["key"].as_str().unwrap().ends_with(number));
        assert!(changes.count() >= 2, "{number}: {log}");
    }
    assert_eq!(message(lines.last().unwrap()), "stopped gracefully");
}
