//! The files of a database are taken away while a gateway runs on them.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{assert_refused, beside, create, serves, stops, the_error_of, turns_away};
use crate::harness::simulator;
use crate::health;
use crate::process::{Process, Setting, database};

#[tokio::test]
async fn a_database_that_was_removed_takes_nothing_more_and_is_not_made_anew() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    create(&gateway, "before").await;
    fs::remove_file(database(dir.path())).unwrap();
    // At once, and not only when health has noticed.
    for _ in 0..3 {
        turns_away(&gateway, &sim).await;
    }
    health::until(&mut statuses, ServingStatus::NotServing).await;
    assert_eq!(gateway.admin("/readyz").await.0, 503);
    assert_eq!(gateway.admin("/livez").await.0, 200);
    turns_away(&gateway, &sim).await;
    the_error_of(&gateway, "settlement.db was removed or moved away").await;

    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.contains("closing a database that is not in its place"), "{log}");
    let refused = Process::refused(&sim, dir.path()).await;
    assert_refused(&refused, &["settlement.db is not there", "settlement-gateway init"]);
}

/// A file that a process has open, although it has no name any more.
fn open_file(gateway: &Process, name: &str) -> PathBuf {
    let files = fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let leads_to = |file: &PathBuf| {
        fs::read_link(file).is_ok_and(|target| target.to_string_lossy().ends_with(name))
    };
    files.find(leads_to).expect("the process has it open")
}

/// The way in the runbook.
#[tokio::test]
async fn a_database_that_was_removed_can_be_saved_while_its_process_lives() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let number = create(&gateway, "saved").await;
    gateway.end(&number).await;
    fs::remove_file(database(dir.path())).unwrap();
    turns_away(&gateway, &sim).await;
    let saved = dir.path().join("saved.db");
    fs::copy(open_file(&gateway, "/settlement.db (deleted)"), &saved).unwrap();
    fs::copy(open_file(&gateway, "/settlement.db-wal"), beside(&saved, "-wal")).unwrap();
    let shell = Connection::open(&saved).unwrap();
    let whole = shell.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(whole.unwrap(), "ok");
    shell.close().unwrap();
    assert!(!beside(&saved, "-wal").exists(), "the log was not moved into it");
    gateway.signal("TERM").await;
    gateway.ended().await;
    fs::rename(&saved, database(dir.path())).unwrap();
    for suffix in ["-wal", "-shm", ".open"] {
        let _ = fs::remove_file(beside(&database(dir.path()), suffix));
    }
    let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    assert_eq!(sim.books().sends(&number), 1);
    stops(gateway).await;
}

#[tokio::test]
async fn a_database_that_was_moved_away_goes_on_when_it_is_back() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    let before = create(&gateway, "before").await;
    gateway.end(&before).await;
    let away = dir.path().join("away.db");
    fs::rename(database(dir.path()), &away).unwrap();
    turns_away(&gateway, &sim).await;
    health::until(&mut statuses, ServingStatus::NotServing).await;
    fs::rename(&away, database(dir.path())).unwrap();
    health::until(&mut statuses, ServingStatus::Serving).await;
    let after = create(&gateway, "after").await;
    for number in [before, after] {
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
        assert_eq!(sim.books().sends(&number), 1);
    }
    stops(gateway).await;
}

#[tokio::test]
async fn a_database_that_was_replaced_is_not_written_to() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    create(&gateway, "before").await;
    // As when a person restores a backup without stopping the gateway.
    let backup = dir.path().join("backup.db");
    fs::copy(database(dir.path()), &backup).unwrap();
    let first = dir.path().join("first.db");
    fs::rename(database(dir.path()), &first).unwrap();
    fs::rename(&backup, database(dir.path())).unwrap();
    let restored = fs::read(database(dir.path())).unwrap();
    turns_away(&gateway, &sim).await;
    health::until(&mut statuses, ServingStatus::NotServing).await;
    the_error_of(&gateway, "settlement.db was replaced by another file").await;
    gateway.signal("TERM").await;
    gateway.ended().await;
    // The new one is as it was, and finds no log of the first one beside it.
    assert!(fs::read(database(dir.path())).unwrap() == restored, "it was written to");
    let log = fs::metadata(beside(&database(dir.path()), "-wal"));
    assert!(log.is_err() || log.unwrap().len() == 0);
    stops(Process::start_as_it_is(&sim, dir.path(), Setting::default()).await).await;
}

/// Another file behind the same link is another file too.
#[tokio::test]
async fn a_link_that_was_turned_elsewhere_is_noticed() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    for name in ["one", "two"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let link = dir.path().join("data");
    let turn = |to: &str| {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(to, &link).unwrap();
    };
    turn("one");
    let path = link.join("settlement.db");
    let setting = || Setting { database: Some(path.clone()), ..Setting::default() };
    let gateway = Process::start(&sim, dir.path(), setting()).await;
    let mut statuses = serves(&gateway).await;
    turn("two");
    health::until(&mut statuses, ServingStatus::NotServing).await;
    turns_away(&gateway, &sim).await;
    turn("one");
    health::until(&mut statuses, ServingStatus::Serving).await;
    stops(gateway).await;
}

/// What callers were told is in the log only. An orderly stop saves it.
#[tokio::test]
async fn a_log_that_was_removed_is_noticed_and_a_stop_saves_what_it_held() {
    for suffix in ["-wal", "-shm"] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
        let mut statuses = serves(&gateway).await;
        let before = create(&gateway, "before").await;
        fs::remove_file(beside(&database(dir.path()), suffix)).unwrap();
        turns_away(&gateway, &sim).await;
        health::until(&mut statuses, ServingStatus::NotServing).await;
        let error = the_error_of(&gateway, &format!("settlement.db{suffix} was removed")).await;
        assert!(error.contains("SIGTERM, not SIGKILL"), "{error}");
        stops(gateway).await;
        let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
        assert_eq!(gateway.end(&before).await.state(), SettleState::Succeeded);
        stops(gateway).await;
    }
}
