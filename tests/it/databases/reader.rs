//! A reader that holds an old state keeps the log growing.

use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::{beside, create, serves, stops};
use crate::harness::simulator;
use crate::process::{Process, Setting, database};

const MIB: u64 = 1024 * 1024;

async fn metric(gateway: &Process, name: &str) -> u64 {
    let (_, metrics) = gateway.admin("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.map_or(0, |value| value.parse().expect("it is a whole number of bytes"))
}

/// A log gets short in several steps, each at one of the checks that the gateway makes every two
/// seconds: it is moved, by a thread that stands back behind all others, begun anew, cut, measured.
const PATIENCE: Duration = Duration::from_secs(90);

async fn becomes(gateway: &Process, name: &str, is: impl Fn(u64) -> bool) {
    let reached = async {
        while !is(metric(gateway, name).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("{name} does not become so in {PATIENCE:?}"));
}

#[tokio::test]
async fn a_log_that_a_reader_keeps_is_told_and_gets_short_when_the_reader_is_gone() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    serves(&gateway).await;
    becomes(&gateway, "settlement_store_log_bytes", |bytes| bytes > 0).await;
    becomes(&gateway, "settlement_store_bytes", |bytes| bytes > 0).await;
    let reader = Connection::open(database(dir.path())).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM settle", [], |_| Ok(())).unwrap();
    // In their place many settles would do the same, and take longer.
    let other = Connection::open(database(dir.path())).unwrap();
    other.busy_timeout(crate::harness::SOON).unwrap();
    other.execute_batch("CREATE TABLE scratch (bytes BLOB)").unwrap();
    for _ in 0..17 {
        other.execute("INSERT INTO scratch VALUES (randomblob(4 * 1024 * 1024))", []).unwrap();
    }
    becomes(&gateway, "settlement_store_log_bytes", |bytes| bytes > 64 * MIB).await;
    gateway.logged("the database's log grows").await;
    // Commits do not wait for it.
    create(&gateway, "meanwhile").await;
    reader.execute_batch("COMMIT").unwrap();
    becomes(&gateway, "settlement_store_log_bytes", |bytes| bytes <= 64 * MIB).await;
    gateway.logged("the database's log is short again").await;
    assert!(fs::metadata(beside(&database(dir.path()), "-wal")).unwrap().len() <= 64 * MIB);
    becomes(&gateway, "settlement_store_bytes", |bytes| bytes > 68 * MIB).await;
    drop((reader, other));
    let log = stops(gateway).await;
    assert_eq!(log.matches("the database's log grows").count(), 1, "{log}");
}
