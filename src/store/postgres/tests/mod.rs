//! What only the PostgreSQL backend promises, and the servers that its tests use.

mod certificates;
mod generations;
mod limits;
mod opening;
mod outages;
mod plans;
mod proxy;
pub(in crate::store) mod server;

use std::sync::Arc;
use std::time::Duration;

use super::{Postgres, PostgresOptions};
use crate::settle::{Key, Record, Source};
use crate::store::contract_tests::fixtures::*;
use crate::store::{Error, Insert, NewDue, Store};
use server::Database;

/// A store in a database that has none yet.
async fn new_store(database: &Database) -> Store {
    let options = PostgresOptions::new(database.address());
    Postgres::init(&options).await.unwrap();
    open(options).await
}

async fn open(options: PostgresOptions) -> Store {
    Store::Postgres(Arc::new(Postgres::open(options).await.unwrap()))
}

/// As a create records it.
async fn create(store: &Store, key: Key) -> Result<Record, Error> {
    let record = Record { version: store.first_version(), ..submitted(key) };
    let due = NewDue::Leased { lease: Duration::from_secs(60) };
    match store.insert(record.clone(), Source::Gateway, None, due).await? {
        Insert::Inserted => Ok(record),
        Insert::Existing(existing) => Ok(*existing),
    }
}

/// Creates as soon as the pool has noticed that its sessions have ended.
async fn until_created(store: &Store, number: &str) -> Record {
    let creating = async {
        loop {
            match create(store, key(number)).await {
                Ok(record) => return record,
                Err(Error::Unavailable(_) | Error::InDoubt(_)) => {}
                Err(error @ Error::Unreadable(_)) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), creating).await.unwrap()
}
