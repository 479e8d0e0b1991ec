//! The log is taken away between two gateways.

use std::fs;

use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;

use super::{assert_refused, beside, create, killed, stops};
use crate::harness::simulator;
use crate::process::{Process, Setting, database};

#[tokio::test]
async fn a_log_that_a_kill_left_is_needed_at_the_next_start() {
    for emptied in [false, true] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
        create(&gateway, "told").await;
        killed(gateway).await;
        let log = beside(&database(dir.path()), "-wal");
        let saved = fs::read(&log).unwrap();
        match emptied {
            false => fs::remove_file(&log).unwrap(),
            true => fs::write(&log, "").unwrap(),
        }
        let before = fs::read(database(dir.path())).unwrap();
        let refused = Process::refused(&sim, dir.path()).await;
        let words = ["settlement.db-wal is gone", "not stopped in order", "settlement.db.open"];
        assert_refused(&refused, &words);
        assert!(fs::read(database(dir.path())).unwrap() == before, "it was changed");
        // With the log it goes on, and without it once the operator said so.
        match emptied {
            false => fs::write(&log, saved).unwrap(),
            true => fs::remove_file(beside(&database(dir.path()), ".open")).unwrap(),
        }
        stops(Process::start_as_it_is(&sim, dir.path(), Setting::default()).await).await;
    }
}

#[tokio::test]
async fn neither_a_kill_nor_a_stop_in_order_loses_a_log() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    // Killed before it has recorded any settle, and after.
    killed(gateway).await;
    let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
    let number = create(&gateway, "told").await;
    killed(gateway).await;
    let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    stops(gateway).await;
    for suffix in ["-wal", "-shm", ".open"] {
        assert!(!beside(&database(dir.path()), suffix).exists(), "{suffix}");
    }
    // One file is everything then, wherever it is.
    let elsewhere = TempDir::new().unwrap();
    fs::rename(database(dir.path()), database(elsewhere.path())).unwrap();
    let gateway = Process::start_as_it_is(&sim, elsewhere.path(), Setting::default()).await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    stops(gateway).await;
}
