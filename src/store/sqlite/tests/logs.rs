//! The log beside the database becomes short while the writer goes on, and loses no commit.

use std::fs;
use std::time::Duration;

use super::super::files::beside;
use super::super::{Sqlite, SqliteOptions};
use super::Stepped;
use crate::settle::{Origin, Record, Source};
use crate::store::Store;
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::sqlite::as_another_program;

const MIB: u64 = 1024 * 1024;

/// A settle of half a MiB.
fn large(number: u32) -> Record {
    let mut record = submitted(key(&format!("n{number}")));
    let mut request = request();
    request.body = "x".repeat(512 * 1024);
    record.origin = Origin::Gateway(request);
    record
}

async fn insert_mib(store: &Store, first: u32, mib: u32) {
    for number in first..first + 2 * mib {
        let inserted = store.insert(large(number), Source::Gateway, None, due_now()).await;
        assert_eq!(inserted, Ok(crate::store::Insert::Inserted));
    }
}

#[tokio::test]
async fn what_is_committed_is_moved_while_the_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = Store::Sqlite(Sqlite::open(SqliteOptions::new(&path).creating()).unwrap().into());
    let size = |suffix| fs::metadata(beside(&path, suffix)).unwrap().len();
    // What was moved is in the database.
    let mut number = 0;
    while size("") < 30 * MIB {
        insert_mib(&store, number, 1).await;
        number += 2;
        assert!(number < 10_000, "nothing is moved");
    }

    // A reader keeps an old state: the writer goes on, and the log grows.
    let reader = as_another_program(&path);
    reader.execute_batch("BEGIN; SELECT count(*) FROM settle").unwrap();
    insert_mib(&store, 10_000, 120).await;
    assert!(size("-wal") > 110 * MIB, "{}", size("-wal"));
    drop(reader);
    // While callers wait, it is cut piece by piece: after each of two commits, and after the one
    // before them, whose caller was answered first.
    let mut before = size("-wal");
    number = 20_000;
    while before > 70 * MIB {
        insert_mib(&store, number, 1).await;
        number += 2;
        let after = size("-wal");
        assert!(before.saturating_sub(after) <= 3 * 8 * MIB, "{before} to {after}");
        assert!(number < 30_000, "it is never cut");
        before = after;
    }
    // Health proves a write every two seconds.
    let is_short = async {
        while size("-wal") > 64 * MIB {
            store.ping().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_short).await.unwrap();
    assert!(store.get(&large(10_001).key).await.unwrap().is_some());
    store.close().await;
    assert!(!beside(&path, "-wal").exists());
}

/// A batch that writes nothing is not reported by SQLite, so the number of pages is an old one, or
/// there is none. What is in the log then, others have put there: an earlier process, or a write
/// before the connection was followed.
#[tokio::test]
async fn nothing_is_cut_off_before_a_commit_has_told_how_long_the_log_is() {
    for reconnected in [false, true] {
        let mut stepped = Stepped::open();
        assert_eq!(stepped.alone(|store| async move { store.ping().await }).await, Ok(()));
        if reconnected {
            stepped.fail_commits();
            let broken = stepped.alone(|store| async move { store.ping().await }).await;
            assert!(broken.is_err(), "{broken:?}");
        }
        let other = as_another_program(&stepped.path);
        let begin = "PRAGMA wal_autocheckpoint = 0; CREATE TABLE scratch (bytes BLOB)";
        other.execute_batch(begin).unwrap();
        for _ in 0..20 {
            other.execute("INSERT INTO scratch VALUES (randomblob(4 * 1024 * 1024))", []).unwrap();
        }
        let log = beside(&stepped.path, "-wal");
        let before = fs::metadata(&log).unwrap().len();
        assert!(before > 80 * MIB, "{before}");
        // There is no such settle, so its swap writes nothing.
        let none = fact(next(&submitted(key("none")), |_| {}));
        let swapped = stepped.alone(|store| async move { store.swap(none).await }).await;
        assert!(swapped.is_ok(), "{swapped:?}");
        assert_eq!(fs::metadata(&log).unwrap().len(), before, "what is in it was cut off");
        let stored = "SELECT sum(length(bytes)) FROM scratch";
        let bytes: i64 = other.query_row(stored, [], |row| row.get(0)).unwrap();
        assert_eq!(bytes, 80 * 1024 * 1024);
    }
}
