//! The disk below the database is full, read-only, foreign, or hangs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Mount, assert_refused, create, run, serves, stops, the_error_of, turns_away};
use crate::config::{gateway, ran};
use crate::harness::{assert_create_error, create_request, details, number, simulator, within};
use crate::health;
use crate::process::{Process, Setting};

fn on(disk: &Path) -> Setting {
    Setting { database: Some(disk.join("settlement.db")), ..Setting::default() }
}

/// Takes all the room that there is.
fn fill(disk: &Path) {
    let mut file = fs::File::create(disk.join("filler")).unwrap();
    for bytes in [65_536, 4_096, 512] {
        while file.write_all(&vec![b'x'; bytes]).is_ok() {}
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_names_the_disk() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let disk = dir.path().join("disk");
    let _mount = Mount::memory(&disk, 2);
    fill(&disk);
    let (code, _, said) = ran(&mut gateway(&["init", "--data-dir", disk.to_str().unwrap()], &[]));
    let full = format!("the disk mounted at {} has 0.0 MiB free of 2.0 MiB", disk.display());
    assert_refused(&(Some(code), said), &["settlement.db: cannot create it", &full, "make room"]);
    fs::remove_file(disk.join("filler")).unwrap();
    stops(Process::start(&sim, dir.path(), on(&disk)).await).await;
    fill(&disk);
    let refused = Process::refused_with(&sim, dir.path(), on(&disk)).await;
    assert_refused(&refused, &["settlement.db: cannot", &full, "make room"]);
    fs::remove_file(disk.join("filler")).unwrap();
    stops(Process::start_as_it_is(&sim, dir.path(), on(&disk)).await).await;
}

#[tokio::test]
async fn a_disk_that_fills_up_is_named_and_the_gateway_goes_on_when_there_is_room() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let disk = dir.path().join("disk");
    let _mount = Mount::memory(&disk, 4);
    let gateway = Process::start(&sim, dir.path(), on(&disk)).await;
    let mut statuses = serves(&gateway).await;
    fill(&disk);
    health::until(&mut statuses, ServingStatus::NotServing).await;
    turns_away(&gateway, &sim).await;
    let error = the_error_of(&gateway, "settlement.db: ").await;
    let full = format!("the disk mounted at {} has 0.0 MiB free of 4.0 MiB", disk.display());
    assert!(error.contains(&full) && error.contains("make room"), "{error}");
    fs::remove_file(disk.join("filler")).unwrap();
    health::until(&mut statuses, ServingStatus::Serving).await;
    let number = create(&gateway, "room").await;
    assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    stops(gateway).await;
}

#[tokio::test]
async fn a_disk_that_is_read_only_or_a_file_that_is_not_ours_is_named() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let disk = dir.path().join("disk");
    let mount = Mount::image(&disk, 16);
    let gateway = Process::start(&sim, dir.path(), on(&disk)).await;
    stops(gateway).await;
    mount.remount("ro");
    let refused = Process::refused_with(&sim, dir.path(), on(&disk)).await;
    assert_refused(&refused, &["settlement.db", "mounted at", "it is read-only"]);
    mount.remount("rw");
    // Root may do everything else.
    let file = disk.join("settlement.db");
    run("chattr", &["+i", file.to_str().unwrap()]);
    let refused = Process::refused_with(&sim, dir.path(), on(&disk)).await;
    assert_refused(&refused, &["settlement.db: cannot", "must belong to the user"]);
    run("chattr", &["-i", file.to_str().unwrap()]);
    stops(Process::start_as_it_is(&sim, dir.path(), on(&disk)).await).await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_no_serving_and_everything_goes_on_when_it_moves_again() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let disk = dir.path().join("disk");
    let mount = Mount::image(&disk, 32);
    let process = Process::start(&sim, dir.path(), on(&disk)).await;
    let mut statuses = serves(&process).await;
    create(&process, "before").await;
    mount.freeze();
    // In flight, with a deadline: an answer with details comes before it.
    let held = number("held");
    let mut request = tonic::Request::new(create_request(&held));
    request.set_timeout(Duration::from_secs(4));
    let status = process.client.clone().create_settle(request).await.unwrap_err();
    assert_create_error(&status, Code::DeadlineExceeded, "DEADLINE_REACHED", "unknown");
    assert_eq!(sim.books().sends(&held), 0);
    health::until(&mut statuses, ServingStatus::NotServing).await;
    assert_eq!(process.admin("/readyz").await.0, 503);
    let addr = process.grpc_addr().to_string();
    let (code, _, said) = ran(&mut gateway(&["healthcheck", "--addr", &addr], &[]));
    assert_eq!(code, 1);
    assert!(said.contains("NOT_SERVING"), "{said}");
    the_error_of(&process, "settlement.db for 3s: does its disk hang").await;
    // Reading may hang with it: then it ends with the call's time, and with details.
    let mut request = tonic::Request::new(crate::harness::watch_request(&held, 0));
    request.set_timeout(Duration::from_secs(1));
    let watched = within("WatchSettle", process.client.clone().watch_settle(request)).await;
    if let Err(status) = watched {
        details(&status);
    }

    mount.thaw();
    health::until(&mut statuses, ServingStatus::Serving).await;
    let mut client = process.client.clone();
    let created = client.create_settle(create_request(&held));
    within("CreateSettle", created).await.unwrap();
    assert_eq!(process.end(&held).await.state(), SettleState::Succeeded);
    assert_eq!(sim.books().under(&held).len(), 1);
    stops(process).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_disk_that_hangs() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let disk = dir.path().join("disk");
    let mount = Mount::image(&disk, 32);
    let server = "stop_grace_ms = 1000\n".to_owned();
    let process = Process::start(&sim, dir.path(), Setting { server, ..on(&disk) }).await;
    let mut statuses = serves(&process).await;
    mount.freeze();
    health::until(&mut statuses, ServingStatus::NotServing).await;
    process.signal("TERM").await;
    process.logged("the database was not closed in time").await;
    process.logged("stopped hard").await;
    // Only now: the kernel ends no process that waits for its disk.
    mount.thaw();
    let (status, _) = process.ended().await;
    assert_eq!(status.code(), Some(1));
    let process = Process::start_as_it_is(&sim, dir.path(), on(&disk)).await;
    create(&process, "after").await;
    stops(process).await;
}
