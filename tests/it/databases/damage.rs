//! A database is damaged while a gateway runs on it. The first call that meets the damage makes it
//! known.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;
use settlement_gateway::proto::v1;
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{create, serves, stops, the_error_of, turns_away};
use crate::harness::{simulator, within};
use crate::health;
use crate::process::{Process, Setting, database};

async fn get(gateway: &Process, number: &str) -> Code {
    let request = v1::GetSettleRequest {
        key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
        include_history: true,
        ..Default::default()
    };
    let got = within("GetSettle", gateway.client.clone().get_settle(request)).await;
    got.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Writes could go on; only reads meet the damage.
#[tokio::test]
async fn a_damaged_page_that_a_reader_meets_is_the_end_of_serving() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let number = create(&gateway, "kept").await;
    gateway.end(&number).await;
    stops(gateway).await;
    let gateway = Process::start_as_it_is(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    // Every page but the first, which the gateway has in memory.
    let file = OpenOptions::new().write(true).open(database(dir.path())).unwrap();
    let bytes = file.metadata().unwrap().len();
    for page in 1..bytes / 4_096 {
        file.write_all_at(&[0xA5; 4_096], page * 4_096).unwrap();
    }
    assert_eq!(get(&gateway, &number).await, Code::Unavailable);
    health::until(&mut statuses, ServingStatus::NotServing).await;
    turns_away(&gateway, &sim).await;
    the_error_of(&gateway, "settlement.db is damaged").await;
    // It does not come back by itself: a start checks the file.
    gateway.signal("TERM").await;
    gateway.ended().await;
    let (code, said) = Process::refused(&sim, dir.path()).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("is damaged"), "{said}");
}

/// Also if nothing has needed the damaged part yet: the next call may.
#[tokio::test]
async fn a_table_that_is_gone_is_no_serving_until_it_is_back() {
    for table in ["late_history", "token", "settle"] {
        let (sim, dir) = (simulator().await, TempDir::new().unwrap());
        let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
        let mut statuses = serves(&gateway).await;
        let kept = create(&gateway, "kept").await;
        gateway.end(&kept).await;
        let other = Connection::open(database(dir.path())).unwrap();
        other.execute_batch(&format!("ALTER TABLE {table} RENAME TO hidden")).unwrap();
        health::until(&mut statuses, ServingStatus::NotServing).await;
        if table == "settle" {
            turns_away(&gateway, &sim).await;
        }
        let error = the_error_of(&gateway, "settlement.db lacks a part of its schema").await;
        assert!(error.contains(&format!("no such table: {table}")), "{error}");
        other.execute_batch(&format!("ALTER TABLE hidden RENAME TO {table}")).unwrap();
        health::until(&mut statuses, ServingStatus::Serving).await;
        assert_eq!(get(&gateway, &kept).await, Code::Ok);
        let number = create(&gateway, "after").await;
        gateway.end(&number).await;
    }
}
