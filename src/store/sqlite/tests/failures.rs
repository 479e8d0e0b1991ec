//! Failed commits, a full disk, a locked file: what is told, and how the store comes back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::advance;

use super::super::batch::Batch;
use super::super::columns::Fault;
use super::super::job::{Fate, Job, Urgency};
use super::super::{Sqlite, SqliteOptions};
use super::Stepped;
use crate::settle::Source;
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::sqlite::as_another_program;
use crate::store::{Error, Insert, Store, Swapped};

fn unavailable<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Unavailable(_)))
}

fn in_doubt<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::InDoubt(_)))
}

async fn create(store: Store, number: String) -> Result<Insert, Error> {
    store.insert(submitted(key(&number)), Source::Gateway, None, due_now()).await
}

async fn ping(store: Store) -> Result<(), Error> {
    store.ping().await
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_leaves_the_whole_batch_in_doubt_and_the_store_recovers() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "old".to_owned())).await, Ok(Insert::Inserted));
    stepped.fail_commits();
    let insert = stepped.queue(|store| create(store, "1".to_owned())).await;
    // Even "no" depends on neighbours that may or may not be there.
    let conflict = fact(next(&next(&submitted(key("old")), |_| {}), |_| {}));
    let swap = stepped.queue(|store| async move { store.swap(conflict).await }).await;
    let claims =
        stepped.queue(|store| async move { store.claim_due(&app("tt01"), claims(9)).await });
    let claims = claims.await;
    stepped.committer.commit_queued();
    assert!(in_doubt(&insert.await.unwrap()));
    assert!(in_doubt(&swap.await.unwrap()));
    assert!(in_doubt(&claims.await.unwrap()));

    assert_eq!(stepped.alone(ping).await, Ok(()));
    let now = stepped.store.get(&key("1")).await.unwrap();
    assert_eq!(now, None, "a COMMIT that the hook refused keeps nothing");
    assert_eq!(stepped.alone(|store| create(store, "1".to_owned())).await, Ok(Insert::Inserted));
}

/// Done when it is told so; what is told panics.
struct Deadly;

impl Job for Deadly {
    fn apply(&mut self, _: &Batch<'_>) -> Result<(), Fault> {
        Ok(())
    }

    fn reply(self: Box<Self>, _: Fate) {
        panic!("a bug in the writer, for a test");
    }

    fn urgency(&self) -> Urgency {
        Urgency::Ordinary
    }
}

#[tokio::test]
async fn a_writer_that_panics_is_seen_to_have_ended_and_nothing_is_believed_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(directory.path().join("settles.db")).creating();
    let sqlite = Arc::new(Sqlite::open(options).unwrap());
    let store = Store::Sqlite(Arc::clone(&sqlite));
    assert_eq!(store.ping().await, Ok(()));
    assert!(!sqlite.writer_ended.is_cancelled());
    sqlite.queue.push(Box::new(Deadly)).unwrap();
    store.writer_ended().await;
    assert!(matches!(store.ping().await, Err(Error::Unavailable(_))));
    store.close().await;
}

#[tokio::test]
async fn a_writer_ends_with_its_store() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(directory.path().join("settles.db")).creating();
    let store = Store::Sqlite(Arc::new(Sqlite::open(options).unwrap()));
    store.close().await;
    store.writer_ended().await;
}

/// "Another settle has this `settle_id`" sends a worker to read that one: nothing else may be told
/// so.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_no_settle_id_that_is_taken() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "1".to_owned())).await, Ok(Insert::Inserted));
    as_another_program(&stepped.path)
        .execute_batch(
            "CREATE TRIGGER fault BEFORE UPDATE ON settle BEGIN SELECT RAISE(ABORT, 'fault'); END",
        )
        .unwrap();
    let swap = fact(next(&submitted(key("1")), |_| {}));
    assert!(unavailable(&stepped.alone(|store| async move { store.swap(swap).await }).await));
    let read = stepped.store.get(&key("1")).await;
    assert_eq!(read, Ok(Some(submitted(key("1")))));
}

#[tokio::test(start_paused = true)]
async fn a_commit_between_two_failed_ones_keeps_the_store_up() {
    let mut stepped = Stepped::open();
    for round in 0..3 {
        stepped.fail_commits();
        assert!(in_doubt(&stepped.alone(ping).await));
        // Not a ping, which would bring up a store that is down.
        let create = stepped.alone(|store| create(store, format!("n{round}"))).await;
        assert_eq!(create, Ok(Insert::Inserted));
    }
}

#[tokio::test(start_paused = true)]
async fn two_failed_commits_in_a_row_take_the_store_down_until_it_opens_again() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "old".to_owned())).await, Ok(Insert::Inserted));
    for _ in 0..2 {
        stepped.fail_commits();
        assert!(in_doubt(&stepped.alone(ping).await));
    }
    // Down: operations fail fast. What is durable can still be read.
    assert!(unavailable(&stepped.alone(|store| create(store, "1".to_owned())).await));
    assert!(stepped.store.get(&key("old")).await.unwrap().is_some());
    assert!(stepped.store.get(&key("1")).await.unwrap().is_none());

    // While the file cannot be opened, neither a ping nor time helps.
    let away = stepped.path.with_extension("away");
    std::fs::rename(&stepped.path, &away).unwrap();
    assert!(unavailable(&stepped.alone(ping).await));
    advance(Duration::from_secs(1)).await;
    assert!(unavailable(&stepped.alone(|store| create(store, "1".to_owned())).await));
    std::fs::rename(&away, &stepped.path).unwrap();

    // An operation tries again a second after the last attempt, a ping at once.
    advance(Duration::from_millis(999)).await;
    assert!(unavailable(&stepped.alone(|store| create(store, "1".to_owned())).await));
    advance(Duration::from_millis(1)).await;
    assert_eq!(stepped.alone(|store| create(store, "1".to_owned())).await, Ok(Insert::Inserted));

    for _ in 0..2 {
        stepped.fail_commits();
        assert!(in_doubt(&stepped.alone(ping).await));
    }
    assert_eq!(stepped.alone(ping).await, Ok(()));
    assert_eq!(stepped.alone(|store| create(store, "2".to_owned())).await, Ok(Insert::Inserted));
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_exactly_what_was_told_is_there() {
    let mut stepped = Stepped::open();
    let old = submitted(key("old"));
    assert_eq!(stepped.alone(|store| create(store, "old".to_owned())).await, Ok(Insert::Inserted));
    let pages = |connection: &mut rusqlite::Connection, pragma: &str| -> i64 {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap()
    };
    let used = pages(stepped.committer.connection(), "page_count");
    pages(stepped.committer.connection(), &format!("max_page_count = {}", used + 3));

    let (mut told, mut refused) = (Vec::new(), 0);
    for batch in 0..4 {
        let mut handles = Vec::new();
        for number in 0..16 {
            let number = format!("n{batch}-{number}");
            let handle = stepped.queue(|store| create(store, number.clone())).await;
            handles.push((number, handle));
        }
        stepped.committer.commit_queued();
        for (number, handle) in handles {
            match handle.await.unwrap() {
                Ok(answer) => {
                    assert_eq!(answer, Insert::Inserted);
                    told.push(number);
                }
                error => {
                    assert!(unavailable(&error), "{error:?}");
                    assert_eq!(stepped.store.get(&key(&number)).await, Ok(None));
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
    for number in &told {
        assert_eq!(stepped.store.get(&key(number)).await, Ok(Some(submitted(key(number)))));
    }
    // What needs no new page goes on.
    let swap = fact(next(&old, |record| record.evidence.lost = 2));
    assert_eq!(
        stepped.alone(|store| async move { store.swap(swap).await }).await,
        Ok(Swapped::Done)
    );

    pages(stepped.committer.connection(), "max_page_count = 4294967294");
    for number in 0..64 {
        let number = format!("later{number}");
        assert_eq!(stepped.alone(|store| create(store, number)).await, Ok(Insert::Inserted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_locked_by_another_program_is_unavailable_until_it_is_free() {
    let mut stepped = Stepped::open();
    assert_eq!(stepped.alone(|store| create(store, "old".to_owned())).await, Ok(Insert::Inserted));
    let other = as_another_program(&stepped.path);
    other.execute_batch("BEGIN IMMEDIATE; UPDATE settle SET version = 99").unwrap();
    for _ in 0..3 {
        assert!(unavailable(&stepped.alone(|store| create(store, "1".to_owned())).await));
    }
    // Readers are not blocked, and see what was committed.
    assert_eq!(stepped.store.get(&key("old")).await, Ok(Some(submitted(key("old")))));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(stepped.alone(|store| create(store, "1".to_owned())).await, Ok(Insert::Inserted));
}
