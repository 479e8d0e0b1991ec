//! A store that cannot be opened is refused with a clear message and left as it was. If it fails
//! while serving, no caller is told what is not durable, and the service comes back by itself.

use std::fs;
use std::path::Path;

use douyin_sim::{Gate, Script, Simulator, Status};
use rusqlite::Connection;
use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{
    Gateway, assert_create_error, create_on, create_request, number, simulator, within,
};
use crate::health;
use crate::process::{Process, Setting, database};

/// The database and its log, as they are on the disk.
fn files(dir: &Path) -> [Option<Vec<u8>>; 2] {
    let log = dir.join("settlement.db-wal");
    [fs::read(database(dir)).ok(), fs::read(log).ok().filter(|log| !log.is_empty())]
}

fn by_number(number: &str) -> v1::GetSettleRequest {
    v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
        ..Default::default()
    }
}

/// A folder whose database holds one settle, closed in order.
async fn used(sim: &Simulator) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let gateway = Process::start(sim, dir.path(), Setting::default()).await;
    let number = number("kept");
    let request = create_request(&number);
    within("CreateSettle", gateway.client.clone().create_settle(request)).await.unwrap();
    gateway.signal("TERM").await;
    assert!(gateway.ended().await.0.success());
    (dir, number)
}

/// Starts the binary, which must refuse the database in these words and leave it as it was.
async fn refused(sim: &Simulator, dir: &Path, words: &[&str]) {
    let before = files(dir);
    let (code, said) = Process::refused(sim, dir).await;
    assert_eq!(code, Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
    assert!(said.contains("settlement.db"), "it does not say which file: {said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(files(dir) == before, "the refused database was changed");
}

#[tokio::test]
async fn a_database_from_a_newer_version_is_refused_at_start() {
    let sim = simulator().await;
    let (dir, number) = used(&sim).await;
    let newer = Connection::open(database(dir.path())).unwrap();
    let version: i64 = newer.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    newer.close().unwrap();
    refused(&sim, dir.path(), &["newer gateway", "version 99"]).await;
    // Untouched: the version that it came from goes on with it.
    let older = Connection::open(database(dir.path())).unwrap();
    older.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
    older.close().unwrap();
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut client = gateway.client.clone();
    let found = within("GetSettle", client.get_settle(by_number(&number))).await;
    assert!(found.is_ok(), "{found:?}");
}

#[tokio::test]
async fn a_database_that_another_program_or_gateway_holds_is_refused_at_start() {
    let sim = simulator().await;
    let (dir, _) = used(&sim).await;
    let before = files(dir.path());
    let other = Connection::open(database(dir.path())).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    // This process must not open the file meanwhile: closing it would give up this process's locks.
    let (code, said) = Process::refused(&sim, dir.path()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("settlement.db is locked by another program"), "{said}");
    other.execute_batch("ROLLBACK").unwrap();
    other.close().unwrap();
    assert!(files(dir.path()) == before, "the refused database was changed");
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let (code, said) = Process::refused(&sim, dir.path()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another gateway process"), "{said}");
    // The first one is not disturbed.
    let request = create_request(&number("still"));
    within("CreateSettle", gateway.client.clone().create_settle(request)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_refused_at_start() {
    let sim = simulator().await;
    let (dir, _) = used(&sim).await;
    let path = database(dir.path());
    let whole = fs::read(&path).unwrap();
    let mut garbled = whole.clone();
    garbled[4_096..3 * 4_096].fill(0xA5);
    let no_database = b"something else altogether".to_vec();
    let half = whole[..whole.len() / 2].to_vec();
    for (damaged, words) in
        [(garbled, "damaged"), (half, "damaged"), (no_database, "not a SQLite database")]
    {
        fs::write(&path, damaged).unwrap();
        refused(&sim, dir.path(), &[words, "restore a backup"]).await;
    }
}

/// Sets how large files the process may write, as a quota or a full disk does.
async fn limit_files(gateway: &Process, limit: &str) {
    let (pid, limit) = (gateway.id().to_string(), format!("--fsize={limit}:"));
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status().await;
    assert!(status.expect("prlimit (util-linux) is installed").success());
}

#[tokio::test]
async fn on_a_full_disk_creates_are_turned_away_unsent_and_go_through_when_there_is_room_again() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut client = gateway.client.clone();
    let health_client = HealthClient::new(gateway.channel.clone());
    let mut statuses = health::watch(&health_client, health::SERVICE).await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    let (held, full) = (number("held"), number("full"));
    let settle = client.create_settle(create_on(&held, "sim-hold-1")).await.unwrap();
    let settle = settle.into_inner().settle.unwrap();

    limit_files(&gateway, "0").await;
    health::until(&mut statuses, ServingStatus::NotServing).await;
    for _ in 0..3 {
        let status = client.create_settle(create_request(&full)).await.unwrap_err();
        let reason = "STORE_UNAVAILABLE";
        let told = assert_create_error(&status, Code::Unavailable, reason, "not_sent");
        assert!(told.retry_after.is_some());
    }
    assert_eq!(sim.books().sends(&full), 0);
    // What is durable is still told, and no more than that.
    assert!(sim.finish(settle.settle_id(), Status::Success));
    let seen = client.get_settle(by_number(&held)).await.unwrap().into_inner().settle.unwrap();
    assert_eq!(seen.state(), SettleState::Processing);
    assert_eq!(client.get_settle(by_number(&full)).await.unwrap_err().code(), Code::NotFound);

    limit_files(&gateway, "unlimited").await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    client.create_settle(create_request(&full)).await.unwrap();
    for number in [&held, &full] {
        let end = gateway.end(number).await;
        assert_eq!(end.state(), SettleState::Succeeded);
        assert_eq!(sim.books().sends(number), 1);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_recorded_is_told_as_unknown_and_the_settle_still_ends() {
    let gateway = Gateway::spawn().await;
    let mut statuses = health::watch(&health::client(&gateway.url), "").await;
    health::until(&mut statuses, ServingStatus::Serving).await;
    let (accepted, late) = (number("accepted"), number("late"));
    let gate = Gate::new();
    gateway.sim.script(&accepted, vec![Script::Hold(gate.clone())]);
    let (mut client, request) = (gateway.client.clone(), create_request(&accepted));
    let call = tokio::spawn(async move { client.create_settle(request).await });
    within("the send to arrive", gate.arrived()).await;

    // Recorded before Douyin takes it, and then the file cannot be written any more.
    let other = Connection::open(gateway.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    gate.open();
    let status = within("the answer", call).await.unwrap().unwrap_err();
    assert_create_error(&status, Code::Unavailable, "STORE_UNAVAILABLE", "unknown");
    assert!(gateway.sim.books().only(&accepted).is_some(), "Douyin took it");
    let recorded = gateway.get(&accepted).await.unwrap();
    assert_eq!(recorded.state(), SettleState::Submitting, "what is durable is what is told");
    let status = gateway.create(create_request(&late)).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "STORE_UNAVAILABLE", "not_sent");
    health::until(&mut statuses, ServingStatus::NotServing).await;

    other.execute_batch("ROLLBACK").unwrap();
    health::until(&mut statuses, ServingStatus::Serving).await;
    assert_eq!(gateway.end(&accepted).await.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().sends(&accepted), 1, "found by query, not sent again");
    assert_eq!(gateway.sim.books().sends(&late), 0);
}
