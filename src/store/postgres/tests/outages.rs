//! The server stops, dies, hangs or throws gateways out: what is told of an operation is true, and
//! everything comes back by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::proxy::Proxy;
use super::server::Server;
use super::{create, new_store, open};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::Postgres;
use crate::store::{Error, PostgresOptions, Store};

/// Waits until the store works again.
pub(super) async fn recovered(store: &Store) {
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.ping().await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_or_dies_is_found_again() {
    let server = Server::start(&[]);
    let database = server.database().await;
    let store = new_store(&database).await;
    for (number, end) in [("1", "stop"), ("2", "kill")] {
        let before = create(&store, key(number)).await.unwrap();
        server.tell(end);
        // A connection whose end was not noticed yet leaves its write in doubt; then none is left.
        let lost = create(&store, key("3")).await.unwrap_err();
        assert!(matches!(lost, Error::Unavailable(_) | Error::InDoubt(_)), "{lost}");
        let down = create(&store, key("3")).await.unwrap_err();
        assert!(matches!(down, Error::Unavailable(_)), "{down}");
        assert!(matches!(store.ping().await, Err(Error::Unavailable(_))));
        assert!(matches!(store.get(&key(number)).await, Err(Error::Unavailable(_))));
        server.tell("start");
        recovered(&store).await;
        assert_eq!(store.get(&key(number)).await, Ok(Some(before)), "the same generation");
        assert_eq!(store.get(&key("3")).await, Ok(None));
    }
}

#[tokio::test]
async fn terminated_sessions_are_replaced() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let before = create(&store, key("1")).await.unwrap();
    let client = database.as_another_program().await;
    for _ in 0..3 {
        let ended = client
            .query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'settlement-gateway'",
                &[],
            )
            .await
            .unwrap();
        assert!(!ended.is_empty());
        assert_eq!(store.get(&key("1")).await, Ok(Some(before.clone())));
        recovered(&store).await;
    }
}

/// A write may become durable later: its answer would have come, but not in time.
#[tokio::test]
async fn a_connection_that_swallows_everything_is_noticed_within_ten_seconds() {
    let database = Server::shared().database().await;
    let proxy = Proxy::before(&Server::shared().home).await;
    let address = database.address_at(&format!("127.0.0.1:{}", proxy.port));
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let store = open(PostgresOptions::new(address)).await;
    let before = create(&store, key("1")).await.unwrap();
    let swallowed = proxy.swallow().await;
    // The wish to give the write up comes by a connection of its own, and must not overtake it.
    let shut = proxy.shut().await;
    let begun = Instant::now();
    let first = key("1");
    let (written, read) = tokio::join!(create(&store, key("2")), store.get(&first));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(Error::InDoubt(_))), "{written:?}");
    // What was held back on the way arrives now.
    drop(swallowed);
    let until = Instant::now() + Duration::from_secs(10);
    let there = "SELECT FROM settle WHERE out_settle_no = '2'";
    let client = database.as_another_program().await;
    while client.query(there, &[]).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "the write that was in doubt never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(shut);
    recovered(&store).await;
    assert_eq!(store.get(&key("1")).await, Ok(Some(before)));
    assert!(store.get(&key("2")).await.unwrap().is_some());
}

/// With synchronous replication a commit waits for a standby, here for one that there is not. The
/// server never gives that up by itself.
#[tokio::test]
async fn a_commit_that_no_standby_confirms_is_in_doubt_and_given_up_at_the_server() {
    // Other programs do not wait for it.
    let server = Server::start(&["synchronous_commit=local"]);
    let database = server.database().await;
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    // The gateway must hear the server's warning all the same.
    database.set("client_min_messages", "error").await;
    let client = database.as_another_program().await;
    let store = open(PostgresOptions::new(database.address())).await;
    let before = create(&store, key("before")).await.unwrap();
    let told = |names: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
    for statement in [&*told("absent"), "SELECT pg_reload_conf()"] {
        client.batch_execute(statement).await.unwrap();
    }

    // The wait ends, although no standby has confirmed the commit.
    let mut number = 0;
    let (cancelled, doubted) = loop {
        number += 1;
        let waiting = key(&number.to_string());
        let mut creating = std::pin::pin!(create(&store, waiting.clone()));
        tokio::select! {
            created = &mut creating => match created {
                // The server has not read its configuration yet.
                Ok(_) => {}
                // Its answer came before that of the statement that cancelled it.
                Err(doubted) => break (waiting, doubted),
            },
            () = until_waits(&client, "pg_cancel_backend(pid)") => {
                break (waiting, creating.await.unwrap_err());
            }
        }
    };
    assert!(matches!(doubted, Error::InDoubt(_)), "{doubted}");

    // The gateway gives the wait up. Reads go on, and no process is left at the server.
    let (waiting, begun) = (key("waiting"), Instant::now());
    let (doubted, ()) = tokio::join!(create(&store, waiting.clone()), until_waits(&client, "pid"));
    assert!(matches!(doubted, Err(Error::InDoubt(_))), "{doubted:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(store.get(&key("before")).await, Ok(Some(before)));
    let until = Instant::now() + Duration::from_secs(20);
    while !client.query(&waits("pid"), &[]).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "the server still waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    for statement in [&*told(""), "SELECT pg_reload_conf()"] {
        client.batch_execute(statement).await.unwrap();
    }
    recovered(&store).await;
    for key in [cancelled, waiting] {
        assert!(store.get(&key).await.unwrap().is_some(), "{key}");
    }
    assert!(!store.may_have_forgotten());
}

/// What to do with each process of the server that waits for a standby.
fn waits(what: &str) -> String {
    format!("SELECT {what} FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
}

async fn until_waits(client: &tokio_postgres::Client, what: &str) {
    while client.query(&waits(what), &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
