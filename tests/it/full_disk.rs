//! Log and database are on one disk that fills up and gets room again. Nothing is believed that is
//! not durable, and afterwards everything goes on by itself, the log too.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use douyin_sim::Status;
use serde_json::Value;
use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{create_on, create_request, details, number, simulator, within};
use crate::health;
use crate::process::{Disk, Process, Setting};

/// Some pages of a log, and fewer lines than a place may log.
const MISSED: usize = 100;

/// Fills the disk, or frees it again.
async fn fill(disk: Disk, dir: &Path, gateway: &Process, full: bool) {
    let filler = disk.path(dir, gateway).join("filler");
    match (disk, full) {
        (Disk::None | Disk::Folder, _) => {
            let limit = if full { "--fsize=0:" } else { "--fsize=unlimited:" };
            let pid = gateway.id().to_string();
            let status = Command::new("prlimit").args(["--pid", &pid, limit]).status().await;
            assert!(status.expect("prlimit (util-linux) is installed").success());
        }
        (Disk::Mounted { .. }, true) => {
            let mut filler = fs::File::create(filler).unwrap();
            while filler.write_all(&[0; 4096]).is_ok() {}
        }
        (Disk::Mounted { .. }, false) => fs::remove_file(filler).unwrap(),
    }
}

async fn filled_and_freed(disk: Disk) {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let log = Some("warn,settlement_gateway=debug");
    let setting = Setting { disk, log, ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting).await;
    let mut client = gateway.client.clone();
    let held = number("held");
    let settle = client.create_settle(create_on(&held, "sim-hold-1")).await.unwrap();
    let settle = settle.into_inner().settle.unwrap();

    fill(disk, dir.path(), &gateway, true).await;
    // What SQLite has room for within its files is still taken.
    let mut taken = Vec::new();
    let (turned_away, status) = loop {
        let number = number("full");
        let create = within("CreateSettle", client.create_settle(create_request(&number))).await;
        let Err(status) = create else {
            taken.push(number);
            assert!(taken.len() < 5_000, "the disk is not full");
            continue;
        };
        break (number, status);
    };
    // A COMMIT that fails may have kept the number: only what was surely not sent is told so.
    let told = details(&status);
    assert_eq!((status.code(), &*told.info.reason), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let not_sent = told.info.metadata["outcome"] == "not_sent";
    assert!(!not_sent || sim.books().sends(&turned_away) == 0, "{status:?}");
    // And lines that only wait for room.
    for _ in 0..MISSED {
        let missing = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo("missing".to_owned())),
            ..Default::default()
        };
        let status = within("GetSettle", client.get_settle(missing)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
    assert!(sim.finish(settle.settle_id(), Status::Success));

    fill(disk, dir.path(), &gateway, false).await;
    let again = async {
        while client.create_settle(create_request(&turned_away)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("room for a create", again).await;
    let health = HealthClient::new(gateway.channel.clone());
    health::until(&mut health::watch(&health, "").await, ServingStatus::Serving).await;
    assert_eq!(gateway.admin("/readyz").await.0, 200);
    for number in taken.iter().chain([&held, &turned_away]) {
        assert_eq!(gateway.end(number).await.state(), SettleState::Succeeded, "{number}");
        assert_eq!(sim.books().sends(number), 1, "{number}");
    }
    gateway.signal("TERM").await;
    assert_its_log_goes_on(disk, dir.path(), gateway, &turned_away).await;
}

/// To the last line, and without half a line in between.
async fn assert_its_log_goes_on(disk: Disk, dir: &Path, gateway: Process, last: &str) {
    // Gone with the process, if it is mounted: an open file stays.
    let file = fs::File::open(disk.path(dir, &gateway).join("log")).unwrap();
    assert_eq!(gateway.ended().await.0.code(), Some(0));
    let log = std::io::read_to_string(file).unwrap();
    let json = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    let lines: Vec<Value> = log.lines().map(json).collect();
    assert!(log.contains(last), "{log}");
    let missed = |line: &&Value| line["out_settle_no"] == "missing";
    assert_eq!(lines.iter().filter(missed).count(), MISSED, "{log}");
    assert_eq!(lines.last().unwrap()["message"], "stopped gracefully");
}

#[tokio::test]
async fn a_limit_on_files_that_is_met_and_lifted() {
    filled_and_freed(Disk::Folder).await;
}

/// Needs a kernel in which a user may mount in a namespace of its own, as the other tests of disks
/// need root.
#[tokio::test]
async fn a_file_system_that_fills_and_gets_room_again() {
    filled_and_freed(Disk::Mounted { mib: 2 }).await;
}
