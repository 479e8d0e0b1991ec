//! Group commit: one transaction, and every job as if it were alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::batch::Batch;
use super::super::columns::Fault;
use super::super::job::Urgency;
use super::super::{Sqlite, SqliteOptions};
use super::Stepped;
use crate::settle::{Source, State};
use crate::store::contract_tests::fixtures::*;
use crate::store::{Absorbed, Error, Insert, Store, Swap, Swapped, SweepCursor};

async fn inserted(stepped: &mut Stepped, numbers: u32) {
    let handles = queued(stepped, numbers).await;
    while stepped.committer.commit_queued() > 0 {}
    for handle in handles {
        assert_eq!(handle.await.unwrap(), Ok(Insert::Inserted));
    }
}

/// Three ways to fail in one batch: a conflict, a `settle_id` that a neighbour took, and the same
/// once another record was removed for it, which fails only after something was written.
#[tokio::test]
async fn a_batch_is_one_commit_and_a_failing_job_harms_no_neighbour() {
    let mut stepped = Stepped::open();
    inserted(&mut stepped, 65).await;
    let commits = stepped.count_commits();
    let absorbed = Absorbed { key: key("n64"), version: 1, kept: Vec::new() };
    let mut handles = Vec::new();
    for number in 0..64 {
        let old = submitted(key(&format!("n{number}")));
        let new = next(&old, |record| {
            let taken = if [20, 30].contains(&number) { 19 } else { number };
            record.state = State::Processing { settle_id: settle_id(&format!("ots{taken}")) };
            record.revision = 2;
            record.version += i64::from(number == 10);
        });
        let history = Some(new.history_entry(Source::Create, None));
        let absorbed = Some(absorbed.clone()).filter(|_| number == 30);
        let swap = Swap { history, absorbed, ..fact(new.clone()) };
        let swap = stepped.queue(|store| async move { store.swap(swap).await }).await;
        handles.push((number, old, new, swap));
    }
    assert_eq!(stepped.committer.commit_queued(), 64);
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    for (number, old, new, swap) in handles {
        let answer = swap.await.unwrap();
        let stored = stepped.store.get(&old.key).await.unwrap().unwrap();
        let history = stepped.store.history(&old.key, 9).await.unwrap();
        let expected = match number {
            10 => Ok(Swapped::Conflict),
            20 => Ok(Swapped::SettleIdTaken),
            30 => {
                assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
                answer.clone()
            }
            _ => Ok(Swapped::Done),
        };
        assert_eq!(answer, expected, "{number}");
        let done = answer == Ok(Swapped::Done);
        assert_eq!(stored, if done { new } else { old }, "{number}");
        assert_eq!(history.len(), if done { 2 } else { 1 }, "{number}");
    }
    assert!(stepped.store.get(&absorbed.key).await.unwrap().is_some());
}

#[tokio::test]
async fn what_queues_up_is_committed_in_batches_of_the_configured_size() {
    let mut stepped = Stepped::open_with(|options| options.batch_jobs_max = 10);
    let mut handles = Vec::new();
    for _ in 0..25 {
        handles.push(stepped.queue(|store| async move { store.ping().await }).await);
    }
    let commits = stepped.count_commits();
    let sizes = [(); 4].map(|()| stepped.committer.commit_queued());
    assert_eq!(sizes, [10, 10, 5, 0]);
    assert_eq!(commits.load(Ordering::Relaxed), 3);
    for handle in handles {
        assert_eq!(handle.await.unwrap(), Ok(()));
    }
}

/// Queues inserts of these many settles.
async fn queued(stepped: &Stepped, numbers: u32) -> Vec<JoinHandle<Result<Insert, Error>>> {
    let mut handles = Vec::new();
    for number in 0..numbers {
        let record = submitted(key(&format!("n{number}")));
        let insert = |store: Store| async move {
            store.insert(record, Source::Gateway, None, due_now()).await
        };
        handles.push(stepped.queue(insert).await);
    }
    handles
}

/// What a simulation does to a store: both ways in which a commit can be in doubt.
#[tokio::test]
async fn a_batch_in_doubt_was_committed_unheard_or_was_lost() {
    for kept in [true, false] {
        let mut stepped = Stepped::open_with(|options| options.batch_jobs_max = 10);
        assert_eq!(stepped.committer.commit_queued_unheard(), 0);
        assert_eq!(stepped.committer.lose_queued(), 0);
        let commits = stepped.count_commits();
        let handles = queued(&stepped, 12).await;
        let jobs = match kept {
            true => stepped.committer.commit_queued_unheard(),
            false => stepped.committer.lose_queued(),
        };
        assert_eq!((jobs, stepped.committer.queued()), (10, 2));
        assert_eq!(commits.load(Ordering::Relaxed), u32::from(kept));
        for (number, handle) in handles.into_iter().enumerate().take(10) {
            let answer = handle.await.unwrap();
            assert!(matches!(answer, Err(Error::InDoubt(_))), "{answer:?}");
            let read = stepped.store.get(&key(&format!("n{number}"))).await.unwrap();
            assert_eq!(read.is_some(), kept, "{number}");
        }
    }
}

#[tokio::test]
async fn a_simulation_waits_for_a_batch_until_the_store_is_closed() {
    let mut stepped = Stepped::open_with(|options| options.batch_jobs_max = 2);
    let handles = queued(&stepped, 3).await;
    let commits = stepped.count_commits();
    assert!(stepped.committer.commit_next().await);
    assert_eq!((stepped.committer.queued(), commits.load(Ordering::Relaxed)), (1, 1));
    assert!(stepped.committer.commit_next().await);
    for handle in handles {
        assert_eq!(handle.await.unwrap(), Ok(Insert::Inserted));
    }
    assert!(tokio::time::timeout(Duration::ZERO, stepped.committer.commit_next()).await.is_err());
    stepped.store.close().await;
    assert!(!stepped.committer.commit_next().await);
}

/// It runs for ever, over everything: the writer must not wake for it.
#[tokio::test]
async fn a_sweep_that_finds_nothing_to_repair_writes_nothing() {
    let mut stepped = Stepped::open();
    inserted(&mut stepped, 3).await;
    let swept = stepped.store.sweep(SweepCursor::default(), 100);
    let swept = tokio::time::timeout(Duration::from_secs(60), swept).await.unwrap().unwrap();
    assert!(swept.wrapped);
    assert_eq!((swept.missing, swept.superfluous, stepped.committer.queued()), (0, 0, 0));
}

#[tokio::test]
async fn no_operation_is_answered_or_read_before_the_commit() {
    let mut stepped = Stepped::open();
    let record = submitted(key("1"));
    let insert = |store: Store| async move {
        store.insert(submitted(key("1")), Source::Gateway, None, due_now()).await
    };
    let handle = stepped.queue(insert).await;
    tokio::task::yield_now().await;
    assert!(!handle.is_finished());
    assert_eq!(stepped.store.get(&record.key).await, Ok(None));
    stepped.committer.commit_queued();
    assert_eq!(handle.await.unwrap(), Ok(Insert::Inserted));
    assert_eq!(stepped.store.get(&record.key).await, Ok(Some(record)));
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let mut stepped = Stepped::open();
    let insert = stepped.store.insert(submitted(key("1")), Source::Gateway, None, due_now());
    assert!(tokio::time::timeout(Duration::ZERO, insert).await.is_err());
    assert_eq!(stepped.committer.queued(), 1);
    stepped.committer.commit_queued();
    assert!(stepped.store.get(&key("1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_panic_fails_its_own_job_only_and_leaves_nothing_of_it() {
    let mut stepped = Stepped::open();
    let commits = stepped.count_commits();
    let before = stepped.queue(|store| async move { store.ping().await }).await;
    let sqlite = std::sync::Arc::clone(&stepped.sqlite);
    let panicking = stepped
        .queue(|_| async move {
            let run = |db: &Batch<'_>| -> Result<(), Fault> {
                db.execute("UPDATE proof_of_write SET times = 1000", [])?;
                panic!("on purpose")
            };
            sqlite.write(Urgency::Ordinary, run).await
        })
        .await;
    let after = stepped.queue(|store| async move { store.ping().await }).await;
    assert_eq!(stepped.committer.commit_queued(), 3);
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    assert_eq!((before.await.unwrap(), after.await.unwrap()), (Ok(()), Ok(())));
    assert!(matches!(panicking.await.unwrap(), Err(Error::Unavailable(_))));
    let times = "SELECT times FROM proof_of_write";
    let times: i64 = stepped.committer.connection().query_row(times, [], |row| row.get(0)).unwrap();
    assert_eq!(times, 3, "both pings, and the proof of the start");
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let mut stepped = Stepped::open_with(|options| options.queue_jobs_max = 2);
    let first = stepped.queue(|store| async move { store.ping().await }).await;
    let second = stepped.queue(|store| async move { store.ping().await }).await;
    let third = stepped.queue(|store| async move { store.ping().await }).await;
    assert!(matches!(third.await.unwrap(), Err(Error::Unavailable(_))));
    stepped.committer.commit_queued();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_close_commits_what_was_queued_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = Store::Sqlite(Sqlite::open(SqliteOptions::new(&path).creating()).unwrap().into());
    let mut inserts = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = store.clone();
        let record = submitted(key(&format!("n{number}")));
        inserts.spawn(async move { store.insert(record, Source::Gateway, None, due_now()).await });
    }
    assert_eq!(inserts.join_next().await.unwrap().unwrap(), Ok(Insert::Inserted));
    store.close().await;
    let mut answered = 1;
    while let Some(answer) = inserts.join_next().await {
        match answer.unwrap() {
            Ok(answer) => {
                assert_eq!(answer, Insert::Inserted);
                answered += 1;
            }
            // It came after the close.
            Err(error) => assert!(matches!(error, Error::Unavailable(_)), "{error}"),
        }
    }
    let store = Store::Sqlite(Sqlite::open(SqliteOptions::new(&path).creating()).unwrap().into());
    assert_eq!(claim(&store, NOW).await.len(), answered);
    store.close().await;
}

#[tokio::test]
async fn a_store_that_is_dropped_finishes_by_itself_and_releases_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = Store::Sqlite(Sqlite::open(SqliteOptions::new(&path).creating()).unwrap().into());
    insert(&store, &submitted(key("1")), due_now()).await;
    drop(store);
    let store = loop {
        match Sqlite::open(SqliteOptions::new(&path).creating()) {
            Ok(sqlite) => break Store::Sqlite(sqlite.into()),
            Err(super::super::OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(store.get(&key("1")).await.unwrap().is_some());
    store.close().await;
}
