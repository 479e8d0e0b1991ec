//! The files of a database that is ours: how they are made, kept, and found again after a kill.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::files::{
    Header, beside, create_private, find, header, keep_private, locate, orphan,
};
use super::super::{Sqlite, SqliteOptions};
use crate::clock::Clock;
use crate::settle::Source;
use crate::store::contract_tests::fixtures::*;
use crate::store::{Fence, Store};

fn open(path: &Path) -> Store {
    let options =
        SqliteOptions { clock: Clock::runtime(NOW), ..SqliteOptions::new(path).creating() };
    Store::Sqlite(Sqlite::open(options).unwrap().into())
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Copies what a killed process would leave on the disk.
fn copy_as_killed(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[tokio::test]
async fn a_new_database_is_private_durable_and_marked_as_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data").join("settles.db");
    let store = open(&path);
    assert_eq!(store.ping().await, Ok(()));
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(beside(&path, suffix)), 0o600, "{suffix}");
    }
    assert!(!beside(&path, ".new").exists());

    let writer = super::super::connect::connect_writer(&path, Duration::ZERO).unwrap();
    let pragma = |name: &str| -> String {
        writer
            .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    let pragmas = ["journal_mode", "synchronous", "foreign_keys", "user_version", "application_id"];
    let ours = i32::from_be_bytes(*b"SetG").to_string();
    assert_eq!(pragmas.map(pragma), ["wal", "2", "1", "9", &ours]);
    assert_eq!(pragma("cache_size"), "-16384", "KiB; without the sign it would be pages");
    drop(writer);
    store.close().await;
}

#[test]
fn a_name_without_a_directory_is_in_the_working_directory() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(locate(Path::new("no-such.db")).unwrap(), here.join("no-such.db"));
}

/// Only what is not there is missing: a database that cannot be looked at is not made anew.
#[test]
fn what_cannot_be_read_or_removed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(header(&fs::File::open(&file).unwrap()).unwrap(), Header::Empty);
    assert!(header(&fs::File::open(directory.path()).unwrap()).is_err());
    assert_eq!(find(&directory.path().join("none")).unwrap(), None);
    assert!(find(&file.join("below-a-file")).is_err());
    let taken = directory.path().join("taken.db");
    fs::create_dir(beside(&taken, "-wal")).unwrap();
    assert!(create_private(&taken).is_err());
}

#[test]
fn a_log_belongs_to_a_lost_database_only_if_it_holds_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    for suffix in ["-wal", "-journal"] {
        let log = beside(&path, suffix);
        fs::write(&log, "").unwrap();
        assert_eq!(orphan(&path), None, "{suffix}");
        fs::write(&log, "x").unwrap();
        assert_eq!(orphan(&path).as_ref(), Some(&log), "{suffix}");
        fs::remove_file(log).unwrap();
    }
}

#[test]
fn what_others_may_not_do_with_a_file_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for (before, after) in [(0o400, 0o400), (0o600, 0o600), (0o640, 0o600), (0o604, 0o600)] {
        let path = directory.path().join(format!("{before:o}"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        keep_private(&path);
        assert_eq!(mode(path), after, "{before:o}");
    }
}

#[tokio::test]
async fn only_the_last_directory_of_the_path_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a").join("b").join("settles.db");
    assert!(Sqlite::open(SqliteOptions::new(deep).creating()).is_err());
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn a_closed_store_leaves_one_complete_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("1")), due_now()).await;
    assert!(store.get(&key("1")).await.unwrap().is_some());
    store.close().await;
    assert!(!beside(&path, "-wal").exists());
    let moved = directory.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    let store = open(&moved);
    assert!(store.get(&key("1")).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn every_answered_write_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    for number in 0..100 {
        let record = submitted(key(&format!("n{number}")));
        insert(&store, &record, leased_until(after_ms(60_000))).await;
        let swap = fact(next(&record, |record| record.evidence.lost = number));
        store.swap(swap).await.unwrap();
        if number % 20 != 0 {
            continue;
        }
        let copy = directory.path().join(format!("copy{number}.db"));
        copy_as_killed(&path, &copy);
        let reopened = open(&copy);
        for answered in 0..=number {
            let record = reopened.get(&key(&format!("n{answered}"))).await.unwrap().unwrap();
            assert_eq!(record.evidence.lost, answered);
        }
        reopened.close().await;
    }
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_a_killed_process_are_void_and_fences_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("create")), leased_until(after_ms(60_000))).await;
    at(&store, before_ms(5), insert(&store, &submitted(key("poll")), due_now())).await;
    insert(&store, &submitted(key("later")), due_then(after_ms(60_000))).await;
    assert_eq!(numbers(&claim(&store, NOW).await), ["poll"]);
    assert_eq!(claim(&store, NOW).await, []);
    let copy = directory.path().join("copy.db");
    copy_as_killed(&path, &copy);
    let reopened = open(&copy);
    let claims = claim(&reopened, NOW).await;
    assert_eq!(numbers(&claims), ["poll", "create"]);
    assert!(claims.iter().all(|claim| claim.fence == Fence(2)));
    assert_eq!(next_due(&reopened, &app("tt01")).await, Ok(Some(after_ms(60_000))));
    reopened.close().await;
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_outlives_a_kill_and_ends_with_the_first_look() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("1")), leased_until(after_ms(60_000))).await;
    // The first send was made just now: with a gap, the wish is for a moment after it.
    let nudged = nudge(&store, &key("1"), NOW, Duration::from_millis(5)).await;
    assert_eq!(nudged, Ok(Some(after_ms(5))));
    let copy = directory.path().join("copy.db");
    copy_as_killed(&path, &copy);
    let reopened = open(&copy);
    let fence = claim(&reopened, NOW).await[0].fence;
    let release = rest_until(after_ms(70_000));
    assert_eq!(reopened.release(&key("1"), fence, release).await, Ok(true));
    assert_eq!(due_at(&reopened, &key("1")).await, Ok(Some(after_ms(70_000))));
    reopened.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_database_that_others_could_read_is_made_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    open(&path).close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).close().await;
    assert_eq!(mode(path), 0o600);
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_cut_short_and_refuses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    let mut inserts = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let store = store.clone();
        let record = submitted(key(&format!("n{number}")));
        inserts.spawn(async move { store.insert(record, Source::Gateway, None, due_now()).await });
    }
    assert!(inserts.join_all().await.iter().all(Result::is_ok));
    store.close().await;
    let mut options = SqliteOptions::new(&path).creating();
    options.check_time_max = Duration::ZERO;
    let store = Store::Sqlite(Sqlite::open(options).unwrap().into());
    assert_eq!(store.ping().await, Ok(()));
    store.close().await;
}
