//! The files of a database are taken away while a gateway runs on them.

use std::fs;

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
    let error = the_error_of(&gateway);
    assert!(error.contains("settlement.db was removed or moved away"), "{error}");

    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.contains("closing a database that is not in its place"), "{log}");
    let refused = Process::refused(&sim, dir.path()).await;
    assert_refused(&refused, &["settlement.db is not there", "settlement-gateway init"]);
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
    // As somebody restores a backup without having stopped the gateway.
    let backup = dir.path().join("backup.db");
    fs::copy(database(dir.path()), &backup).unwrap();
    let first = dir.path().join("first.db");
    fs::rename(database(dir.path()), &first).unwrap();
    fs::rename(&backup, database(dir.path())).unwrap();
    let restored = fs::read(database(dir.path())).unwrap();
    turns_away(&gateway, &sim).await;
    health::until(&mut statuses, ServingStatus::NotServing).await;
    let error = the_error_of(&gateway);
    assert!(error.contains("settlement.db was replaced by another file"), "{error}");
    gateway.signal("TERM").await;
    gateway.ended().await;
    // The new one is as it was, and finds no log of the first one beside it.
    assert!(fs::read(database(dir.path())).unwrap() == restored, "it was written to");
    let log = fs::metadata(beside(&database(dir.path()), "-wal"));
    assert!(log.is_err() || log.unwrap().len() == 0);
    stops(Process::start_as_it_is(&sim, dir.path(), Setting::default()).await).await;
}

/// What a link leads to is another file, too.
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

/// What was told is in the log only. An orderly stop saves it.
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
        let error = the_error_of(&gateway);
        assert!(error.contains(&format!("settlement.db{suffix} was removed")), "{error}");
        assert!(error.contains("SIGTERM, not SIGKILL"), "{error}");
        stops(gateway).await;
        let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
        assert_eq!(gateway.end(&before).await.state(), SettleState::Succeeded);
        stops(gateway).await;
    }
}
