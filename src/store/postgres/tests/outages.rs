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

#[tokio::test]
async fn a_connection_that_swallows_everything_is_noticed_within_ten_seconds() {
    let database = Server::shared().database().await;
    let proxy = Proxy::before(&Server::shared().home).await;
    let address = database.address_at(&format!("127.0.0.1:{}", proxy.port));
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let store = open(PostgresOptions::new(address)).await;
    let before = create(&store, key("1")).await.unwrap();
    let swallowed = proxy.swallow().await;
    let begun = Instant::now();
    let first = key("1");
    let (written, read) = tokio::join!(create(&store, key("2")), store.get(&first));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(matches!(written, Err(Error::Unavailable(_) | Error::InDoubt(_))), "{written:?}");
    drop(swallowed);
    recovered(&store).await;
    assert_eq!(store.get(&key("1")).await, Ok(Some(before)));
}

/// Its answer would have come, but not in time: the write may become durable later.
#[tokio::test]
async fn a_write_without_an_answer_is_in_doubt() {
    let database = Server::shared().database().await;
    let proxy = Proxy::before(&Server::shared().home).await;
    let address = database.address_at(&format!("127.0.0.1:{}", proxy.port));
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let store = open(PostgresOptions::new(address)).await;
    // From now on the server knows the statement.
    create(&store, key("0")).await.unwrap();
    let swallowed = proxy.swallow().await;
    let lost = create(&store, key("1")).await.unwrap_err();
    assert!(matches!(lost, Error::InDoubt(_)), "{lost}");
    // What was held back on the way arrives now.
    drop(swallowed);
    recovered(&store).await;
    let until = Instant::now() + Duration::from_secs(10);
    while store.get(&key("1")).await == Ok(None) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
