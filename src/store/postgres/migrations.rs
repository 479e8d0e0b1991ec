//! The schema of the database, and how it gets from one version to the next.
//!
//! Gateways of the version before run beside the new one, so a migration only adds. What they need
//! and it takes away goes one release later, with an `oldest_reader` that shuts them out. It runs
//! in one transaction that holds the lock of the one row of `store_state`, so that of several
//! gateways that start together one migrates, with any pooler and any engine.

use tokio_postgres::error::SqlState;

use super::super::columns::{Cursor, Value};
use super::fault::Fault;
use super::generation::{INSERT, Server};
use super::refusal::{PostgresError, told};
use super::session::Session;
use super::{PostgresAddress, TRIES_MAX};

/// The step from the version before.
struct Migration {
    script: &'static str,
    /// The oldest version that a gateway must know to use the schema from then on.
    oldest_reader: i64,
}

/// Version 1 is made by the first.
const MIGRATIONS: [Migration; 4] = [
    Migration {
        script: include_str!("../../../migrations/postgres/0001_settles.sql"),
        oldest_reader: 1,
    },
    // A gateway of version 1 would fetch tokens without a turn.
    Migration {
        script: include_str!("../../../migrations/postgres/0002_fleet.sql"),
        oldest_reader: 2,
    },
    // A gateway of version 2 would go on with a store whose settles were moved.
    Migration {
        script: include_str!("../../../migrations/postgres/0003_closed.sql"),
        oldest_reader: 3,
    },
    // A gateway of version 3 knows one trade system only, so its numbers are unique in each app.
    Migration {
        script: include_str!("../../../migrations/postgres/0004_numbers.sql"),
        oldest_reader: 3,
    },
];

/// For as long as it takes; but it does not wait long for a lock before which others queue up.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'";

const EXISTS: &str = "SELECT to_regclass('store_state') IS NOT NULL";
const SELECT: &str = "SELECT schema_version, oldest_reader FROM store_state WHERE id = 1";
const SELECT_LOCKED: &str =
    "SELECT schema_version, oldest_reader FROM store_state WHERE id = 1 FOR UPDATE";
const UPDATE: &str = "UPDATE store_state SET schema_version = $1, oldest_reader = $2 WHERE id = 1";

fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("they are counted on two hands")
}

/// Makes the tables.
pub(super) async fn init(
    session: &mut Session,
    address: &PostgresAddress,
) -> Result<(), PostgresError> {
    let exists = || PostgresError::Exists { address: address.to_string() };
    if has_tables(session).await? {
        return Err(exists());
    }
    let made = async {
        // Before the transaction, which a question that is not allowed would end.
        let server = Server::of(session).await?;
        session.batch(BEGIN).await?;
        apply(session, 0).await?;
        let [version, oldest] = versions();
        let (cluster, timeline) = (server.cluster.as_deref(), server.timeline.as_deref());
        let values = [version, oldest, Value::Text(cluster), Value::Text(timeline)];
        session.run(INSERT, &values).await?;
        session.batch("COMMIT").await
    };
    match made.await {
        Ok(()) => Ok(()),
        Err(fault) => {
            // Fails if the connection is lost, which rolls back too.
            let _ = session.batch("ROLLBACK").await;
            let is_there = matches!(&fault, Fault::Refused { code, .. }
                if [SqlState::DUPLICATE_TABLE, SqlState::UNIQUE_VIOLATION].contains(code));
            let (address, why) = (address.to_string(), told(fault));
            Err(match is_there {
                true => exists(),
                false => PostgresError::Failed { address, doing: "make its tables", why },
            })
        }
    }
}

/// Refuses a schema that needs a newer gateway, and brings an older one up to date.
pub(super) async fn migrate(
    session: &mut Session,
    address: &PostgresAddress,
) -> Result<(), PostgresError> {
    let address = address.to_string();
    if !has_tables(session).await? {
        return Err(PostgresError::Missing { address });
    }
    let known = newest_version();
    let (found, oldest_reader) = found(session, SELECT).await?;
    if oldest_reader > known {
        return Err(PostgresError::Newer { address, found, oldest_reader, known });
    }
    if found >= known {
        return Ok(());
    }
    let mut tries = 1;
    while let Err(fault) = migrate_once(session, known).await {
        let _ = session.batch("ROLLBACK").await;
        if !fault.is_passing() || tries == TRIES_MAX {
            let why = told(fault);
            return Err(PostgresError::Failed { address, doing: "migrate its schema", why });
        }
        tries += 1;
    }
    tracing::info!(version = known, "database schema migrated");
    Ok(())
}

/// Nothing of it is done if the server finds that this and another gateway wait for each other: one
/// that waits for the row holds a lock of the table that a migration may have to change.
async fn migrate_once(session: &mut Session, known: i64) -> Result<(), Fault> {
    session.batch(BEGIN).await?;
    let (found, _) = found(session, SELECT_LOCKED).await?;
    // Another gateway may have been first.
    if found < known {
        apply(session, found).await?;
        session.run(UPDATE, &versions()).await?;
    }
    session.batch("COMMIT").await
}

/// What the newest migration leaves.
fn versions() -> [Value<'static>; 2] {
    let oldest = MIGRATIONS.last().map_or(0, |newest| newest.oldest_reader);
    [newest_version().into(), oldest.into()]
}

/// What makes each version out of the one before.
#[cfg(test)]
pub(super) fn scripts() -> Vec<&'static str> {
    MIGRATIONS.iter().map(|migration| migration.script).collect()
}

async fn apply(session: &mut Session, version: i64) -> Result<(), Fault> {
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        session.migrate(migration.script).await?;
    }
    Ok(())
}

async fn has_tables(session: &mut Session) -> Result<bool, Fault> {
    let rows = session.run(EXISTS, &[]).await?;
    let row = rows.first().ok_or_else(|| Fault::Down("no answer".to_owned()))?;
    Ok(Cursor::new(row).flag_opt()? == Some(true))
}

async fn found(session: &mut Session, select: &'static str) -> Result<(i64, i64), Fault> {
    let rows = session.run(select, &[]).await?;
    let lacking = || Fault::Unreadable("store_state has no row".to_owned());
    let mut cursor = Cursor::new(rows.first().ok_or_else(lacking)?);
    Ok((cursor.int()?, cursor.int()?))
}
