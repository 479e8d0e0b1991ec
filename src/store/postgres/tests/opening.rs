//! Which databases and servers are refused, and which schemas.

use std::path::Path;
use std::sync::Arc;

use super::outages::recovered;
use super::server::Server;
use super::{create, new_store, open, until_created};
use crate::store::contract_tests::fixtures::*;
use crate::store::postgres::{Postgres, migrations};
use crate::store::{PostgresError, PostgresOptions, Store};

async fn refused(options: PostgresOptions) -> PostgresError {
    Postgres::open(options).await.err().expect("it is refused")
}

#[tokio::test]
async fn only_init_makes_tables_and_only_once() {
    let database = Server::shared().database().await;
    let options = PostgresOptions::new(database.address());
    let missing = refused(options.clone()).await;
    assert!(matches!(&missing, PostgresError::Missing { .. }), "{missing}");
    let (one, other) = tokio::join!(Postgres::init(&options), Postgres::init(&options));
    let lost = [one, other].into_iter().find_map(Result::err).expect("one of them comes late");
    assert!(matches!(&lost, PostgresError::Exists { .. }), "{lost}");
    let again = Postgres::init(&options).await.unwrap_err();
    assert!(matches!(&again, PostgresError::Exists { .. }), "{again}");
    create(&open(options).await, key("1")).await.unwrap();
}

#[tokio::test]
async fn a_server_on_which_commits_may_not_last_is_refused() {
    for setting in ["fsync=off", "full_page_writes=off"] {
        let server = Server::start(&[setting]);
        let database = server.database().await;
        let refused = refused(PostgresOptions::new(database.address())).await.to_string();
        assert!(refused.contains("fsync or full_page_writes off"), "{refused}");
    }
}

#[tokio::test]
async fn a_standby_is_refused() {
    let server = Server::start(&[]);
    let database = server.database().await;
    let socket = server.tell("standby");
    let address = database.address_at(&socket.replace('/', "%2F"));
    let refused = refused(PostgresOptions::new(address)).await.to_string();
    assert!(refused.contains("takes no writes"), "{refused}");
    assert!(Path::new(&socket).is_dir());
}

/// The server's own default is not what a settle hangs on. What the server flushes by and by is
/// gone after a kill, and a settle is not.
#[tokio::test]
async fn commits_are_flushed_whatever_the_server_is_told() {
    // Its writer waits for as long as it can be told to.
    let server = Server::start(&["synchronous_commit=off", "wal_writer_delay=10s"]);
    let database = server.database().await;
    let store = new_store(&database).await;
    let client = database.as_another_program().await;
    client.batch_execute("CREATE TABLE other (number text)").await.unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    for number in ["1", "2", "3", "4"] {
        until_created(&store, number).await;
        // Each notes how far the log has come, and has to be in it.
        for _ in 0..20 {
            store.ping().await.unwrap();
        }
        let client = database.as_another_program().await;
        client.execute("INSERT INTO other VALUES ($1)", &[&number]).await.unwrap();
        server.tell("kill");
        server.tell("start");
        recovered(&store).await;
        assert!(!store.may_have_forgotten(), "nothing is lost");
        let client = database.as_another_program().await;
        let kept = "SELECT FROM settle WHERE out_settle_no = $1";
        assert_eq!(client.query(kept, &[&number]).await.unwrap().len(), 1);
        let lost = "SELECT FROM other WHERE number = $1";
        if client.query(lost, &[&number]).await.unwrap().is_empty() {
            return;
        }
        // The server's writer had just had its turn.
    }
    panic!("a kill loses nothing of this server, so it shows nothing");
}

/// Here that the C library of its machine has changed.
#[tokio::test]
async fn what_a_server_warns_of_when_a_session_begins_puts_no_commit_in_doubt() {
    let database = Server::shared().database().await;
    Postgres::init(&PostgresOptions::new(database.address())).await.unwrap();
    let client = database.as_another_program().await;
    let change = "UPDATE pg_database SET datcollversion = '1' WHERE datname = current_database()";
    assert_eq!(client.execute(change, &[]).await.unwrap(), 1);
    let store = open(PostgresOptions::new(database.address())).await;
    create(&store, key("1")).await.unwrap();
}

/// Of several gateways that start together one migrates, and all of them work.
#[tokio::test]
async fn a_database_of_each_older_version_is_brought_up_to_date_with_its_settles() {
    let new = Server::shared().database().await;
    let before = create(&new_store(&new).await, key("1")).await.unwrap();
    let client = new.as_another_program().await;
    let row = client.query_one("SELECT row_to_json(settle)::text FROM settle", &[]).await.unwrap();
    let row: String = row.get(0);
    let scripts = migrations::scripts();
    for version in 1..scripts.len() {
        let database = Server::shared().database().await;
        let client = database.as_another_program().await;
        client.batch_execute(&scripts[..version].concat()).await.unwrap();
        let state = format!(
            "INSERT INTO store_state (id, schema_version, oldest_reader, generation, server_start)
             VALUES (1, {version}, 1, 0, pg_postmaster_start_time());
             SELECT setval(pg_get_serial_sequence('settle', 'id'), 100)"
        );
        client.batch_execute(&state).await.unwrap();
        let settle = "INSERT INTO settle OVERRIDING SYSTEM VALUE
                      SELECT * FROM json_populate_record(NULL::settle, $1::text::json)";
        assert_eq!(client.execute(settle, &[&row]).await.unwrap(), 1);
        let start = || Postgres::open(PostgresOptions::new(database.address()));
        let (one, other) = tokio::join!(start(), start());
        for store in [one.unwrap(), other.unwrap()] {
            let store = Store::Postgres(Arc::new(store));
            assert_eq!(store.get(&key("1")).await, Ok(Some(before.clone())), "{version}");
            create(&store, key("2")).await.unwrap();
        }
        let state = client.query_one("SELECT schema_version FROM store_state", &[]).await.unwrap();
        assert_eq!(usize::try_from(state.get::<_, i64>(0)), Ok(scripts.len()));
    }
}

#[tokio::test]
async fn a_newer_schema_is_used_as_long_as_it_allows_that() {
    let database = Server::shared().database().await;
    let store = new_store(&database).await;
    let before = create(&store, key("1")).await.unwrap();
    let client = database.as_another_program().await;
    client
        .batch_execute(
            "ALTER TABLE settle ADD COLUMN novelty text;
             UPDATE store_state SET schema_version = 99",
        )
        .await
        .unwrap();
    // The process that runs, and one that starts.
    for store in [store, open(PostgresOptions::new(database.address())).await] {
        assert_eq!(store.get(&key("1")).await, Ok(Some(before.clone())));
        create(&store, key("2")).await.unwrap();
    }
    client.batch_execute("UPDATE store_state SET oldest_reader = 99").await.unwrap();
    let newer = refused(PostgresOptions::new(database.address())).await;
    assert!(matches!(&newer, PostgresError::Newer { found: 99, .. }), "{newer}");
}
