//! Only `init` makes a database.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::{assert_refused, beside, create, stops};
use crate::config::{gateway, ran};
use crate::harness::simulator;
use crate::process::{Process, Setting, database};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn init(dir: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    let arguments = [&["init"], arguments].concat();
    ran(gateway(&arguments, &[]).current_dir(dir.path()))
}

/// A volume that is not mounted looks like an empty folder.
#[tokio::test]
async fn serve_without_a_database_is_refused_and_leaves_nothing_behind() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let refused = Process::refused(&sim, dir.path()).await;
    let words = ["settlement.db is not there", "settlement-gateway init", "not mounted"];
    assert_refused(&refused, &words);
    assert_eq!(names(dir.path()), ["gateway.toml"]);
    // Nor does it make the folder.
    let missing = Setting { database: Some(dir.path().join("data/x.db")), ..Setting::default() };
    assert_refused(&Process::refused_with(&sim, dir.path(), missing).await, &["data/x.db"]);
    assert_eq!(names(dir.path()), ["gateway.toml"]);
}

#[test]
fn init_makes_a_private_database_and_needs_no_secret() {
    let dir = TempDir::new().unwrap();
    let (code, stdout, stderr) = init(&dir, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("made ") && stdout.ends_with("/data/settlement.db\n"), "{stdout}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("data")), 0o700);
    assert_eq!(mode(&dir.path().join("data/settlement.db")), 0o600);
    // By option and by file, as for `serve`.
    assert_eq!(init(&dir, &["--data-dir", "elsewhere"]).0, 0);
    assert!(dir.path().join("elsewhere/settlement.db").exists());
    fs::write(dir.path().join("own.toml"), "[store]\nsqlite_path = \"own.db\"\n").unwrap();
    assert_eq!(init(&dir, &["--config", "own.toml"]).0, 0);
    assert!(dir.path().join("own.db").exists());
    let (code, _, stderr) = init(&dir, &["--config", "no-such.toml"]);
    assert_eq!(code, 64, "{stderr}");
}

#[tokio::test]
async fn init_refuses_what_is_there_and_changes_nothing() {
    let (sim, dir) = (simulator().await, TempDir::new().unwrap());
    let gateway = Process::start(&sim, dir.path(), Setting::default()).await;
    create(&gateway, "kept").await;
    let again = || init(&dir, &["--data-dir", dir.path().to_str().unwrap()]);
    // While it is in use, and after that.
    let refused = |(code, _, said): (i32, String, String)| {
        assert_refused(&(Some(code), said), &["settlement.db", "is there already", "not"]);
    };
    refused(again());
    stops(gateway).await;
    let before = fs::read(database(dir.path())).unwrap();
    refused(again());
    assert!(fs::read(database(dir.path())).unwrap() == before, "it was changed");
    // Whatever the file is: left by an accident, or a link that leads nowhere.
    fs::write(database(dir.path()), "").unwrap();
    refused(again());
    fs::remove_file(database(dir.path())).unwrap();
    std::os::unix::fs::symlink("nowhere.db", database(dir.path())).unwrap();
    refused(again());
    assert!(!dir.path().join("nowhere.db").exists());
}

#[test]
fn init_makes_no_database_beside_the_log_of_another_one() {
    let dir = TempDir::new().unwrap();
    let log = beside(&database(dir.path()), "-wal");
    fs::write(&log, "what was not moved yet").unwrap();
    let (code, _, said) = init(&dir, &["--data-dir", dir.path().to_str().unwrap()]);
    assert_refused(&(Some(code), said), &["settlement.db-wal", "left over"]);
    assert!(!database(dir.path()).exists());
}
