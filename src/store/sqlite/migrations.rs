//! The schema and its versions. `user_version` in the file counts the migrations that were done.

use rusqlite::Connection;

/// In order; the first one leads to version 1. A released one is never edited.
const MIGRATIONS: [Migration; 9] = [
    Migration::Script(include_str!("../../../migrations/sqlite/0001_settles.sql")),
    Migration::Script(include_str!("../../../migrations/sqlite/0002_resolved_contradictions.sql")),
    Migration::Script(include_str!("../../../migrations/sqlite/0003_open_contradictions.sql")),
    Migration::Script(include_str!("../../../migrations/sqlite/0004_permissions.sql")),
    Migration::Script(include_str!(
        "../../../migrations/sqlite/0005_settle_ids_by_trade_system.sql"
    )),
    Migration::EachSettle {
        before: include_str!("../../../migrations/sqlite/0006_one_row/1_table.sql"),
        last_id: "SELECT coalesce(max(id), 0) FROM settle_5",
        rows: include_str!("../../../migrations/sqlite/0006_one_row/2_rows.sql"),
        after: include_str!("../../../migrations/sqlite/0006_one_row/3_indexes.sql"),
    },
    Migration::Script(include_str!("../../../migrations/sqlite/0007_decisions.sql")),
    Migration::Script(include_str!("../../../migrations/sqlite/0008_closed.sql")),
    Migration::Script(include_str!("../../../migrations/sqlite/0009_numbers.sql")),
];

/// One step from a version of the schema to the next.
enum Migration {
    Script(&'static str),
    /// Rewrites every settle, which takes about a minute for three million.
    EachSettle {
        before: &'static str,
        /// The query for the greatest id.
        last_id: &'static str,
        /// The statement for the settles with ids after ?1 and up to ?2.
        rows: &'static str,
        after: &'static str,
    },
}

/// How many settles are rewritten between two log lines.
const SETTLES_PER_LINE: i64 = 100_000;

/// The newest schema version that this gateway knows.
pub(super) fn newest_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("the list of migrations is short")
}

/// The schema version of a file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Bytes of the disk that the migration of a file may need while it runs: each settle is written
/// once more into the log, and from there into the file. 0: no such migration is needed.
pub(super) fn room_needed(version: i64, file_bytes: u64) -> u64 {
    let due = (1_i64..).zip(&MIGRATIONS).filter(|(next, _)| *next > version);
    let rewrites = due.filter(|(_, migration)| matches!(migration, Migration::EachSettle { .. }));
    let rewrites = u64::try_from(rewrites.count()).unwrap_or(u64::MAX);
    rewrites.saturating_mul(file_bytes / 2).saturating_mul(5)
}

/// Brings the schema to the newest version. Each step is a transaction: a process that is killed in
/// a step leaves the version before it.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_to(connection, newest_version())
}

/// As [`migrate`], but up to a given version.
pub(super) fn migrate_to(connection: &mut Connection, version_max: i64) -> rusqlite::Result<()> {
    let due = version(connection)? + 1..=version_max;
    for (next, migration) in (1_i64..).zip(&MIGRATIONS).filter(|(next, _)| due.contains(next)) {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        match migration {
            Migration::Script(script) => transaction.execute_batch(script)?,
            Migration::EachSettle { before, last_id, rows, after } => {
                transaction.execute_batch(before)?;
                let last_id: i64 = transaction.query_row(last_id, [], |row| row.get(0))?;
                rewrite(&transaction, rows, last_id)?;
                transaction.execute_batch(after)?;
            }
        }
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
        tracing::info!(version = next, "database schema migrated");
    }
    Ok(())
}

fn rewrite(connection: &Connection, rows: &str, last_id: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(rows)?;
    let (mut after, mut settles) = (0, 0);
    while after < last_id {
        let up_to = last_id.min(after + SETTLES_PER_LINE);
        settles += statement.execute([after, up_to])?;
        after = up_to;
        if last_id > SETTLES_PER_LINE {
            tracing::info!(settles, id = after, last_id, "rewriting every settle");
        }
    }
    Ok(())
}
