//! A database has one gateway, under all paths that lead to it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Mount, assert_refused, beside, create, serves, stops, the_error_of, turns_away};
use crate::harness::simulator;
use crate::health;
use crate::process::{Process, Setting, database};

fn on(database: PathBuf) -> Setting {
    Setting { database: Some(database), ..Setting::default() }
}

#[tokio::test]
async fn a_file_with_two_names_is_refused_at_start_and_not_written_to_while_it_has_them() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let other = TempDir::new().unwrap();
    let second = other.path().join("second.db");
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    fs::hard_link(database(dir.path()), &second).unwrap();
    // At once, and not only when health has noticed.
    turns_away(&gateway, &sim).await;
    health::until(&mut statuses, ServingStatus::NotServing).await;
    the_error_of(&gateway, "settlement.db has another name now").await;
    let words = ["second.db has 2 names", "hard links", "Remove all names but one"];
    assert_refused(&Process::refused_with(&sim, other.path(), on(second.clone())).await, &words);

    fs::remove_file(&second).unwrap();
    health::until(&mut statuses, ServingStatus::Serving).await;
    let number = create(&gateway, "alone-again").await;
    gateway.end(&number).await;
    stops(gateway).await;
    fs::hard_link(database(dir.path()), &second).unwrap();
    assert_refused(&Process::refused(&sim, dir.path()).await, &["settlement.db has 2 names"]);
}

#[tokio::test]
async fn a_file_that_is_mounted_by_itself_is_refused() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let other = TempDir::new().unwrap();
    let second = other.path().join("second.db");
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    fs::write(&second, "").unwrap();
    let _mount = Mount::bind(&database(dir.path()), &second);
    let words = ["second.db is mounted by itself", "mount its folder instead"];
    assert_refused(&Process::refused_with(&sim, other.path(), on(second.clone())).await, &words);
    // The first one is not disturbed.
    create(&gateway, "first").await;
    stops(gateway).await;
    assert_refused(&Process::refused_with(&sim, other.path(), on(second)).await, &words);
}

#[tokio::test]
async fn a_folder_at_two_paths_has_one_gateway() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let other = TempDir::new().unwrap();
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let _mount = Mount::bind(dir.path(), other.path());
    let refused = Process::refused(&sim, other.path()).await;
    assert_refused(&refused, &["in use by another gateway process"]);
    create(&gateway, "first").await;
    stops(gateway).await;
}

/// SQLite's own locks would end with the first descriptor of the file that the process closes.
#[tokio::test]
async fn the_file_is_locked_for_gateways_and_for_other_programs_as_long_as_it_is_open() {
    use std::os::unix::fs::MetadataExt as _;
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let mut statuses = serves(&gateway).await;
    let number = create(&gateway, "held").await;
    gateway.end(&number).await;
    // It is looked at, and found again, in every way there is.
    let away = dir.path().join("away.db");
    fs::rename(database(dir.path()), &away).unwrap();
    health::until(&mut statuses, ServingStatus::NotServing).await;
    fs::rename(&away, database(dir.path())).unwrap();
    health::until(&mut statuses, ServingStatus::Serving).await;
    let inode = fs::metadata(database(dir.path())).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let held = |kind: &str| {
        let (owner, file) = (format!(" {} ", gateway.id()), format!(":{inode} "));
        let mut lines = locks.lines();
        lines.any(|lock| lock.contains(kind) && lock.contains(&owner) && lock.contains(&file))
    };
    assert!(held(" FLOCK ") && held(" POSIX "), "{locks}");
    stops(gateway).await;
}

/// The lock of the path does not help here, because the second path has its own.
#[tokio::test]
async fn a_file_that_was_moved_while_it_is_in_use_is_still_in_use() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let moved = dir.path().join("moved.db");
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    create(&gateway, "first").await;
    fs::rename(database(dir.path()), &moved).unwrap();
    let refused = Process::refused_with(&sim, dir.path(), on(moved.clone())).await;
    assert_refused(&refused, &["moved.db is in use by another gateway process"]);
    fs::rename(&moved, database(dir.path())).unwrap();
    create(&gateway, "second").await;
    stops(gateway).await;
}

/// A gateway of version 0.1.0 locks `<database>.lock` and nothing else.
#[tokio::test]
async fn an_older_gateway_and_this_one_keep_each_other_out() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    let lock = beside(&database(dir.path()), ".lock");
    let older = |then: &str| {
        let mut flock = Command::new("flock");
        flock.arg("--nonblock").arg(&lock).args(["sh", "-c", then]);
        flock
    };
    assert!(!older("true").status().expect("flock (util-linux) is installed").success());
    stops(gateway).await;
    let mut older = older("echo locked; cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(older.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut said).unwrap();
    assert_eq!(said, "locked\n");
    let refused = Process::refused(&sim, dir.path()).await;
    assert_refused(&refused, &["in use by another gateway process", "settlement.db.lock"]);
    drop(older.stdin.take());
    assert!(older.wait().unwrap().success());
    stops(Process::start(&sim, dir.path(), Setting::default()).await).await;
}
