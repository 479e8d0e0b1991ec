//! The schema and its versions. `user_version` in the file counts the migrations it has seen.

use rusqlite::Connection;

/// In order; the first one leads to version 1. What was released is never edited.
const MIGRATIONS: [&str; 5] = [
    include_str!("../../../migrations/sqlite/0001_settles.sql"),
    include_str!("../../../migrations/sqlite/0002_resolved_contradictions.sql"),
    include_str!("../../../migrations/sqlite/0003_open_contradictions.sql"),
    include_str!("../../../migrations/sqlite/0004_permissions.sql"),
    include_str!("../../../migrations/sqlite/0005_settle_ids_by_trade_system.sql"),
];

/// The newest schema version that this gateway knows.
pub(super) fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("the list of migrations is short")
}

/// The schema version of a file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the schema to the newest version, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found = version(connection)?;
    for (next, migration) in (1_i64..).zip(MIGRATIONS).filter(|(next, _)| *next > found) {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
        tracing::info!(version = next, "database schema migrated");
    }
    Ok(())
}
