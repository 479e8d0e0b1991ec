//! What a gateway takes of a server at most: connections, and the time of its sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::create;
use super::server::{Database, Server};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::Postgres;
use crate::store::postgres::pool::Urgency;
use crate::store::{Error, PostgresOptions, Store};

#[tokio::test]
async fn every_session_has_its_timeouts() {
    let database = Server::shared().database().await;
    let options = PostgresOptions::new(database.address());
    Postgres::init(&options).await.unwrap();
    let store = Postgres::open(options).await.unwrap();
    let mut lent = store.lend(Urgency::Ordinary).await.unwrap();
    let timeouts = "SELECT name || '=' || setting || unit FROM pg_settings
                    WHERE name IN ('statement_timeout', 'lock_timeout',
                                   'idle_in_transaction_session_timeout')
                    ORDER BY name";
    let rows = lent.session().run(timeouts, &[]).await.unwrap();
    let set: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let wanted = [
        "idle_in_transaction_session_timeout=8000ms",
        "lock_timeout=3000ms",
        "statement_timeout=4000ms",
    ];
    assert_eq!(set, wanted);
}

/// A store that opens no other connections, and a session that keeps each write of it waiting.
async fn blocked(database: &Database, limit: impl FnOnce(&mut PostgresOptions)) -> (Store, Client) {
    let mut options = PostgresOptions { plain: true, ..PostgresOptions::new(database.address()) };
    limit(&mut options);
    Postgres::init(&options).await.unwrap();
    let store = Store::Postgres(Arc::new(Postgres::open(options).await.unwrap()));
    let client = database.as_another_program().await;
    client.batch_execute("BEGIN; LOCK TABLE settle IN EXCLUSIVE MODE").await.unwrap();
    (store, client)
}

/// How many sessions of gateways there are, and how many of them wait for a lock.
async fn sessions(database: &Database) -> (i64, i64) {
    let count = "SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock')
                 FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'settlement-gateway'";
    let row = database.as_another_program().await.query_one(count, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn until_blocked(database: &Database, writes: i64) {
    while sessions(database).await.1 < writes {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn operations_share_the_connections_that_are_configured_and_a_bounded_number_waits() {
    let database = Server::shared().database().await;
    let limit = |options: &mut PostgresOptions| {
        options.connections_max = 2;
        options.operations_max = 5;
    };
    let (store, client) = blocked(&database, limit).await;
    let one_too_many = async {
        until_blocked(&database, 2).await;
        let refused = create(&store, key("6")).await.unwrap_err();
        assert!(refused.to_string().contains("too many operations wait"), "{refused}");
        assert_eq!(sessions(&database).await, (2, 2));
        client.batch_execute("COMMIT").await.unwrap();
    };
    let mut creates = JoinSet::new();
    for number in ["1", "2", "3", "4", "5"] {
        let store = store.clone();
        creates.spawn(async move { create(&store, key(number)).await });
    }
    let (created, ()) = tokio::join!(creates.join_all(), one_too_many);
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    assert_eq!(sessions(&database).await, (2, 0));
}

#[tokio::test]
async fn an_operation_waits_for_a_connection_no_longer_than_it_may() {
    let database = Server::shared().database().await;
    let limit = |options: &mut PostgresOptions| {
        options.connections_max = 1;
        options.connection_wait = Duration::from_millis(50);
    };
    let (store, client) = blocked(&database, limit).await;
    let waiting = async {
        until_blocked(&database, 1).await;
        let refused = create(&store, key("2")).await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable(_)), "{refused}");
        assert!(refused.to_string().contains("all connections are in use"), "{refused}");
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (created, ()) = tokio::join!(create(&store, key("1")), waiting);
    created.unwrap();
}
