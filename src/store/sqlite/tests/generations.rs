//! What a database promises after it went back to an earlier state and was told so.

use std::path::Path;
use std::time::Duration;

use super::super::{Sqlite, SqliteOptions};
use crate::clock::{Clock, Timestamp};
use crate::settle::{ProcessId, State};
use crate::store::contract_tests::fixtures::*;
use crate::store::{FORGOTTEN_MAX, Fence, NewDue, Store};

fn options(path: &Path, now: Timestamp) -> SqliteOptions {
    SqliteOptions { clock: Clock::runtime(now), ..SqliteOptions::new(path).creating() }
}

async fn open(path: &Path, now: Timestamp) -> Store {
    Store::Sqlite(Sqlite::open(options(path, now)).unwrap().into())
}

const OPERATOR: ProcessId = ProcessId(77);

#[tokio::test]
async fn what_was_open_counts_a_lost_send_and_is_never_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path, NOW).await;
    insert(&store, &submitted(key("open")), leased_until(after_ms(9_000))).await;
    let mut rejected = submitted(key("ended"));
    rejected.state = State::Rejected { rejection: failure(23112) };
    insert(&store, &rejected, NewDue::None).await;
    let before = store.get(&key("open")).await.unwrap().unwrap();
    let ended = store.get(&key("ended")).await.unwrap().unwrap();
    store.close().await;

    let begun = Sqlite::begin_generation(&options(&path, after_ms(5)), OPERATOR).unwrap();
    assert_eq!((begun.number, begun.open_settles), (1, 1));
    let store = open(&path, after_ms(6)).await;
    let after = store.get(&key("open")).await.unwrap().unwrap();
    assert!(after.evidence.set_back);
    assert_eq!(after.evidence.lost, 1);
    assert_eq!(after.evidence.open, before.evidence.open);
    let last = after.evidence.last_permission.unwrap();
    assert_eq!(last.id.process, OPERATOR);
    assert!(last.time >= after_ms(5));
    // Neither a version nor a fence of before comes again.
    assert!(after.version > before.version + i64::from(u32::MAX));
    // It is due at once, although a worker had leased it.
    let claims = claim(&store, after_ms(8_000)).await;
    assert!(claims[0].fence > Fence(FIRST_FENCE.0 + i64::from(u32::MAX)));
    // What has ended stays as it was told.
    let still = store.get(&key("ended")).await.unwrap().unwrap();
    assert_eq!((still.state, still.evidence), (ended.state, ended.evidence));
}

#[tokio::test]
async fn a_store_that_went_back_may_have_forgotten_creates_for_thirty_days() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path, NOW).await;
    assert!(!store.may_have_forgotten());
    store.close().await;
    Sqlite::begin_generation(&options(&path, NOW), OPERATOR).unwrap();
    let end = NOW.plus(FORGOTTEN_MAX);
    let moments = [
        (NOW.minus(Duration::from_hours(99)), true),
        (NOW, true),
        (end.minus(Duration::from_secs(60)), true),
        (end.plus(Duration::from_secs(60)), false),
    ];
    for (now, expected) in moments {
        let store = open(&path, now).await;
        assert_eq!(store.may_have_forgotten(), expected, "{now:?}");
        store.close().await;
    }
}
