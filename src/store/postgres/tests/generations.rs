//! Commits that were lost begin a new generation, in which nothing of the earlier one fits.

use std::path::Path;
use std::time::Duration;

use super::outages::recovered;
use super::server::{Database, Server};
use super::{create, new_store, open};
use crate::clock::Timestamp;
use crate::settle::{Due, Record, State, StateKind};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::Postgres;
use crate::store::{
    Error, Fence, Position, PostgresOptions, Store, Swapped, Unfinished, UnfinishedCursor,
    first_fence,
};

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
    // It may not have the table yet.
    let follows = async || {
        let found = standby.query("SELECT FROM settle", &[]).await;
        found.is_ok_and(|rows| !rows.is_empty())
    };
    while !follows().await {
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
    let swapping = async {
        loop {
            match store.swap(fact(late.clone())).await {
                // Each connection that it kept has died, and says so when it is used.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                swapped => break swapped,
            }
        }
    };
    let swapped = tokio::time::timeout(Duration::from_secs(20), swapping).await.unwrap();
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

/// Puts the settles back to what they are now, later.
struct Before(tokio_postgres::Client);

impl Before {
    async fn now(database: &Database) -> Self {
        let client = database.as_another_program().await;
        client.batch_execute("CREATE TABLE before AS SELECT * FROM settle").await.unwrap();
        Self(client)
    }

    async fn comes_back(&self) {
        let back = "BEGIN; DELETE FROM settle;
                    INSERT INTO settle OVERRIDING SYSTEM VALUE SELECT * FROM before; COMMIT";
        self.0.batch_execute(back).await.unwrap();
    }
}

/// A refusal that the caller was told, after which it may have paid under another number.
async fn refused(store: &Store, before: &Record) -> Record {
    let record = next(before, |record| {
        record.state = State::Rejected { rejection: failure(23_102) };
        record.evidence.open.clear();
    });
    assert_eq!(store.swap(fact(record.clone())).await, Ok(Swapped::Done));
    record
}

#[tokio::test]
async fn a_settle_that_is_older_than_it_was_seen_begins_a_new_generation() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let other = open(PostgresOptions::new(database.address())).await;
    let submitted = create(&store, key("1")).await.unwrap();
    let before = Before::now(&database).await;
    refused(&store, &submitted).await;
    assert_eq!(found(&other, "1").await.state.kind(), StateKind::Rejected);
    before.comes_back().await;
    // The other gateway has not written it.
    assert_eq!(found(&other, "1").await, submitted, "it takes it for what it was");
    assert_set_back(&submitted, &found(&store, "1").await);
    assert_set_back(&submitted, &found(&other, "1").await);
    assert!(store.may_have_forgotten());
    // Once is enough.
    assert_eq!(found(&store, "1").await, found(&other, "1").await);
}

#[tokio::test]
async fn every_gateway_that_looks_for_what_is_unfinished_sees_what_becomes_older() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let other = open(PostgresOptions::new(database.address())).await;
    let submitted = create(&store, key("1")).await.unwrap();
    let before = Before::now(&database).await;
    let open = next(&submitted, |record| record.evidence.refused = Some(failure(23_102)));
    assert_eq!(store.swap(fact(open.clone())).await, Ok(Swapped::Done));
    let look = async || {
        let (app_id, state) = (submitted.key.app_id.clone(), "SUBMITTING".to_owned());
        let after = Position { create_time: Timestamp::from_ms(0), row: 0 };
        let cursor = UnfinishedCursor::State { app_id, state, after };
        other.unfinished(cursor, 10).await
    };
    let page = look().await.unwrap();
    assert_eq!(page.settles, [Unfinished::Settle(Box::new(open))]);
    before.comes_back().await;
    let error = look().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let page = look().await.unwrap();
    let [Unfinished::Settle(now)] = &page.settles[..] else { panic!("{page:?}") };
    assert_set_back(&submitted, now);
}

/// The first read may come too late for a send that it permits.
#[tokio::test]
async fn what_is_written_on_top_of_an_older_settle_is_in_doubt() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let submitted = create(&store, key("1")).await.unwrap();
    let before = Before::now(&database).await;
    refused(&store, &submitted).await;
    before.comes_back().await;
    // A worker that began before the refusal.
    let permitted = next(&submitted, |record| record.evidence.lost += 1);
    let swapped = store.swap(fact(permitted.clone())).await;
    assert!(matches!(swapped, Err(Error::InDoubt(_))), "{swapped:?}");
    assert_set_back(&permitted, &found(&store, "1").await);
}

#[tokio::test]
async fn a_settle_that_was_seen_and_is_gone_begins_a_new_generation_before_it_is_recorded_again() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let before = Before::now(&database).await;
    let first = create(&store, key("1")).await.unwrap();
    refused(&store, &first).await;
    before.comes_back().await;
    let again = create(&store, key("1")).await;
    assert!(matches!(again, Err(Error::Unavailable(_))), "{again:?}");
    assert!(store.may_have_forgotten());
    let again = create(&store, key("1")).await.unwrap();
    assert!(again.version > first.version + (1 << 31));
}

#[tokio::test]
async fn a_generation_that_is_gone_is_followed_by_a_greater_one() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    create(&store, key("1")).await.unwrap();
    let options = PostgresOptions::new(database.address());
    let client = database.as_another_program().await;
    for (back, number) in [("generation - 1", 2), ("generation", 4)] {
        Postgres::begin_generation(options.clone()).await.unwrap();
        assert!(found(&store, "1").await.evidence.set_back);
        // What began it is gone, and may have begun again elsewhere.
        let back = format!(
            "UPDATE store_state SET generation = {back}, begun_ms = NULL, lost = NULL,
             server_start = server_start - interval '1 day'"
        );
        client.batch_execute(&back).await.unwrap();
        assert_eq!(store.claim(&key("2"), Duration::from_secs(1)).await, Ok(None));
        let now = found(&store, "1").await;
        assert_eq!((now.version >> 32, now.evidence.set_back), (number, true));
    }
}

/// As when a machine is restored from a snapshot: identity and timeline are what they were.
#[tokio::test]
async fn a_disk_that_went_back_shows_by_the_position_of_its_log() {
    let server = Server::start(&[]);
    let database = server.database().await;
    let store = new_store(&database).await;
    let kept = create(&store, key("kept")).await.unwrap();
    server.tell("snapshot");
    recovered(&store).await;
    assert_eq!(found(&store, "kept").await, kept, "a restart loses nothing");
    create(&store, key("lost")).await.unwrap();
    store.ping().await.unwrap();
    server.tell("rollback");
    recovered(&store).await;
    assert!(store.may_have_forgotten(), "before any settle is read");
    assert_set_back(&kept, &found(&store, "kept").await);
}

#[tokio::test]
async fn an_engine_that_does_not_tell_how_far_its_log_has_come_will_do() {
    let database = Server::shared().database().await;
    let address = database.address_of_owner().await;
    let client = database.as_another_program().await;
    let hide = "REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM public";
    client.batch_execute(hide).await.unwrap();
    Postgres::init(&PostgresOptions::new(address.clone())).await.unwrap();
    let store = open(PostgresOptions::new(address)).await;
    let before = create(&store, key("1")).await.unwrap();
    store.ping().await.unwrap();
    let other = "UPDATE store_state SET server_start = server_start - interval '1 day'";
    client.batch_execute(other).await.unwrap();
    assert_eq!(store.swap(fact(next(&before, |_| {}))).await, Ok(Swapped::Done));
    assert!(!store.may_have_forgotten());
}
