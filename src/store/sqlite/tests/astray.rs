//! Files that are not in their place any more, and files that are damaged: nothing is written, and
//! nothing else is read in their stead.

use std::fs;

use super::super::SqliteOptions;
use super::super::columns::Fault;
use super::super::files::beside;
use super::Stepped;
use crate::settle::Source;
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::sqlite::as_another_program;
use crate::store::{Error, Insert, Store};

async fn create(store: Store, number: &'static str) -> Result<Insert, Error> {
    store.insert(submitted(key(number)), Source::Gateway, None, due_now()).await
}

/// Nothing of it may be durable, and the error must say why.
fn assert_turned_away<T: std::fmt::Debug>(answer: Result<T, Error>, words: &str) {
    let Err(Error::Unavailable(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains(words), "{why}");
}

#[tokio::test]
async fn nothing_is_committed_to_a_file_that_is_not_in_its_place() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "before")).await, Ok(Insert::Inserted));
    let (path, away) = (stepped.path.clone(), stepped.path.with_extension("away"));
    let files = ["", "-wal", "-shm"];
    for suffix in files {
        let (file, away) = (beside(&path, suffix), beside(&away, suffix));
        let words = if suffix.is_empty() { "was removed or moved" } else { "was removed or repl" };
        fs::rename(&file, &away).unwrap();
        assert_turned_away(stepped.alone(|store| create(store, "gone")).await, words);
        assert_turned_away(stepped.alone(|store| async move { store.ping().await }).await, words);
        fs::copy(&away, &file).unwrap();
        assert_turned_away(stepped.alone(|store| create(store, "gone")).await, "repla");
        fs::rename(&away, &file).unwrap();
        assert_eq!(stepped.alone(|store| async move { store.ping().await }).await, Ok(()));
        assert_eq!(stepped.store.get(&key("gone")).await, Ok(None));
    }
    fs::hard_link(&path, &away).unwrap();
    assert_turned_away(stepped.alone(|store| create(store, "gone")).await, "another name");
    fs::remove_file(&away).unwrap();
    assert_eq!(stepped.alone(|store| create(store, "gone")).await, Ok(Insert::Inserted));
    assert!(stepped.store.get(&key("before")).await.unwrap().is_some());
}

/// Connections that broke are replaced, but not by ones to another database.
#[tokio::test(start_paused = true)]
async fn no_connection_is_made_to_another_file_of_the_same_name() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "before")).await, Ok(Insert::Inserted));
    // The writer's connection and those of the readers are lost.
    for _ in 0..2 {
        stepped.fail_commits();
        let lost = stepped.alone(|store| async move { store.ping().await }).await;
        assert!(matches!(lost, Err(Error::InDoubt(_))), "{lost:?}");
    }
    for _ in 0..SqliteOptions::new("").readers {
        let broken = || Fault::Sqlite(rusqlite::Error::InvalidQuery);
        let read = stepped.sqlite.readers.read(move |_| Err::<(), _>(broken())).await;
        assert!(read.is_err());
    }
    let (path, first) = (stepped.path.clone(), stepped.path.with_extension("first"));
    fs::rename(&path, &first).unwrap();
    fs::copy(&first, &path).unwrap();
    let words = "was replaced by another file";
    assert_turned_away(stepped.alone(|store| async move { store.ping().await }).await, words);
    assert_turned_away(stepped.store.get(&key("before")).await, words);
    fs::rename(&first, &path).unwrap();
    assert!(stepped.store.get(&key("before")).await.unwrap().is_some());
    assert_eq!(stepped.alone(|store| async move { store.ping().await }).await, Ok(()));
    assert_eq!(stepped.alone(|store| create(store, "after")).await, Ok(Insert::Inserted));
}

/// Damage that was met once is not forgotten because the next page is whole.
#[tokio::test]
async fn a_store_that_has_met_damage_writes_nothing_more() {
    for code in [rusqlite::ffi::SQLITE_CORRUPT_INDEX, rusqlite::ffi::SQLITE_NOTADB] {
        let mut stepped = Stepped::open();
        assert_eq!(stepped.alone(|store| create(store, "before")).await, Ok(Insert::Inserted));
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let read = stepped.sqlite.readers.read(|_| Err::<(), _>(Fault::Sqlite(error))).await;
        assert_turned_away(read, "is damaged");
        let ping = stepped.alone(|store| async move { store.ping().await }).await;
        assert_turned_away(ping, "nothing more is written to it");
        assert_turned_away(stepped.alone(|store| create(store, "after")).await, "is damaged");
        // What can be read is read.
        assert!(stepped.store.get(&key("before")).await.unwrap().is_some());
    }
}

/// A store that is down makes a write durable before it counts as up again.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_not_brought_up_by_a_write_to_a_damaged_file() {
    let mut stepped = Stepped::open();
    for _ in 0..2 {
        stepped.fail_commits();
        let lost = stepped.alone(|store| async move { store.ping().await }).await;
        assert!(matches!(lost, Err(Error::InDoubt(_))), "{lost:?}");
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let error = rusqlite::Error::SqliteFailure(code, None);
    let read = stepped.sqlite.readers.read(|_| Err::<(), _>(Fault::Sqlite(error))).await;
    assert_turned_away(read, "is damaged");
    let other = as_another_program(&stepped.path);
    let writes = || -> i64 {
        other.query_row("SELECT times FROM proof_of_write", [], |row| row.get(0)).unwrap()
    };
    let before = writes();
    let ping = stepped.alone(|store| async move { store.ping().await }).await;
    assert_turned_away(ping, "is damaged");
    assert_eq!(writes(), before);
}

/// The one that does not use the table notices, too.
#[tokio::test]
async fn a_store_without_one_of_its_tables_proves_nothing_until_it_is_back() {
    let mut stepped = Stepped::open();
    let tables = stepped.sqlite.tables.to_vec();
    assert!(tables.len() > 4, "{tables:?}");
    for table in tables {
        let other = as_another_program(&stepped.path);
        other.execute_batch(&format!("ALTER TABLE {table} RENAME TO hidden")).unwrap();
        let ping = stepped.alone(|store| async move { store.ping().await }).await;
        assert_turned_away(ping, &format!("lacks a part of its schema (no such table: {table})"));
        other.execute_batch(&format!("ALTER TABLE hidden RENAME TO {table}")).unwrap();
        assert_eq!(stepped.alone(|store| async move { store.ping().await }).await, Ok(()));
    }
}
