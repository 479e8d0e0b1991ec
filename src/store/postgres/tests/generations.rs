//! Commits that were lost begin a new generation, in which nothing of the earlier one fits.

use std::path::Path;
use std::time::Duration;

use super::server::Server;
use super::{create, new_store, open};
use crate::settle::{Due, Record, State};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::Postgres;
use crate::store::{Error, Fence, PostgresOptions, Store, Swapped, first_fence};

/// What became of a settle that was open when the store went back.
fn assert_set_back(before: &Record, now: &Record) {
    assert!(now.version > before.version + (1 << 31), "{} {}", now.version, before.version);
    assert_eq!(now.evidence.lost, before.evidence.lost + 1);
    assert!(now.evidence.set_back && !now.evidence.stopped);
    let last = now.evidence.last_permission.unwrap();
    assert_ne!(Some(last), before.evidence.last_permission);
    assert_eq!(last.lasts, Duration::from_secs(10));
}

async fn found(store: &Store, number: &str) -> Record {
    store.get(&key(number)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_standby_that_lacks_commits_begins_a_new_generation() {
    let server = Server::start(&[]);
    let database = server.database().await;
    let socket = server.tell("standby");
    let hosts = format!("{},{socket}", server.home.display()).replace('/', "%2F");
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let store = open(PostgresOptions::new(database.address_at(&hosts))).await;
    let kept = create(&store, key("kept")).await.unwrap();
    let standby = database.as_another_program_at(Path::new(&socket)).await;
    while standby.query("SELECT FROM settle", &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.tell("cut");
    let lost = create(&store, key("lost")).await.unwrap();
    let answered = next(&kept, |record| record.evidence.open.clear());
    assert_eq!(store.swap(fact(answered.clone())).await, Ok(Swapped::Done));
    server.tell("kill");
    server.tell("promote");

    // The worker of before writes once more, on top of what it knows.
    let late = next(&answered, |record| {
        record.state = State::Processing { settle_id: settle_id("ots1") };
    });
    let mut swapped = store.swap(fact(late.clone())).await;
    if swapped.is_err() {
        // Its connection had just died.
        swapped = store.swap(fact(late)).await;
    }
    assert_eq!(swapped, Ok(Swapped::Conflict));
    let now = found(&store, "kept").await;
    assert_set_back(&kept, &now);
    assert!(store.may_have_forgotten());
    assert_eq!(store.get(&key("lost")).await, Ok(None));

    // The lost one comes back by its caller's repeat, and its first worker does not fit it.
    let old = Record { version: lost.version, ..lost.clone() };
    let due = due_now();
    let stale = store.insert(old, crate::settle::Source::Gateway, None, due).await;
    assert!(matches!(stale, Err(Error::Unavailable(_))), "{stale:?}");
    let again = create(&store, key("lost")).await.unwrap();
    let of_before = next(&lost, |record| record.evidence.open.clear());
    assert_eq!(store.swap(fact(of_before)).await, Ok(Swapped::Conflict));
    let release = rest_until(NOW);
    assert_eq!(store.release(&key("lost"), first_fence(&lost), release).await, Ok(false));
    let held = crate::store::Swap {
        lease: under(first_fence(&again)),
        due: Due::Keep,
        ..fact(next(&again, |_| {}))
    };
    assert_eq!(store.swap(held).await, Ok(Swapped::Done));
}

#[tokio::test]
async fn an_operator_begins_a_generation_beside_gateways_that_run() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let open_one = create(&store, key("open")).await.unwrap();
    let done = create(&store, key("done")).await.unwrap();
    let done = next(&done, |record| {
        record.state = State::Succeeded { settle_id: settle_id("ots1") };
        record.evidence.open.clear();
    });
    assert_eq!(store.swap(fact(done.clone())).await, Ok(Swapped::Done));
    let theirs = adopted(key("theirs"), State::Processing { settle_id: settle_id("ots2") });
    insert(&store, &theirs, due_now()).await;

    let options = PostgresOptions::new(database.address());
    for number in 1..3 {
        let begun = Postgres::begin_generation(options.clone()).await.unwrap();
        assert_eq!((begun.number, begun.open_settles), (number, 1));
    }
    // The gateway did not know until now.
    let late = next(&open_one, |record| record.evidence.open.clear());
    assert_eq!(store.swap(fact(late)).await, Ok(Swapped::Conflict));
    let now = found(&store, "open").await;
    assert_eq!(now.evidence.lost, 2);
    assert!(now.evidence.set_back);
    assert_eq!(found(&store, "done").await.evidence, done.evidence);
    assert_eq!(found(&store, "theirs").await.evidence, theirs.evidence);

    // The lease of before is void, and the next one has a greater fence.
    let claim = store.claim(&key("open"), Duration::from_secs(60)).await.unwrap().unwrap();
    assert!(claim.fence > Fence(2 << 32), "{claim:?}");
    // What is written now is of this generation, and does not age once more.
    let held = crate::store::Swap {
        lease: under(claim.fence),
        ..fact(next(&now, |record| record.evidence.empties_after_expiry = 1))
    };
    assert_eq!(store.swap(held.clone()).await, Ok(Swapped::Done));
    assert_eq!(found(&store, "open").await, held.record);
}

/// As after a restart, or when a pooler goes on to another server of the same cluster.
#[tokio::test]
async fn another_process_of_the_same_server_changes_nothing() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let before = create(&store, key("1")).await.unwrap();
    let client = database.as_another_program().await;
    let other = "UPDATE store_state SET server_start = server_start - interval '1 day'";
    client.batch_execute(other).await.unwrap();
    let record = next(&before, |_| {});
    assert_eq!(store.swap(fact(record.clone())).await, Ok(Swapped::Done));
    assert_eq!(store.get(&key("1")).await, Ok(Some(record.clone())));

    // On another timeline the same write comes too late.
    let other = "UPDATE store_state SET server_start = server_start - interval '1 day',
                 timeline = '00000009'";
    client.batch_execute(other).await.unwrap();
    let swapped = store.swap(fact(next(&record, |_| {}))).await;
    assert_eq!(swapped, Ok(Swapped::Conflict));
    assert_set_back(&record, &found(&store, "1").await);
}
