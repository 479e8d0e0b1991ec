//! How a connection to the database file is set up, for writing and for reading.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// To this length a log is cut that a burst or a long backup made longer. A longer log is reported
/// to the operator.
pub(super) const LOG_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Memory in which the writer keeps pages.
const CACHE_KIB: i64 = 16 * 1024;

/// More than there are different statements.
const STATEMENTS_MAX: usize = 64;

/// Opens an existing database for writing; never creates one.
pub(super) fn connect_writer(path: &Path, busy_wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags, busy_wait)?;
    // `wal` stays in the file. Asking again repairs a file that a tool has switched back.
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(no_wal());
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Savepoints are kept in memory: no temporary files, whose directory may be read-only.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // The module `log` moves the log, and cuts it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

pub(super) fn connect_reader(path: &Path, busy_wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    connect(path, flags, busy_wait)
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens connections")]
fn connect(path: &Path, flags: OpenFlags, busy_wait: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy_wait)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this guarantee the bundled SQLite plans a statement again whenever a parameter that
    // might matter changes: measured, a `get` then costs nine times as much.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Only an orderly stop removes the log. If it is gone without one, it was taken away.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Closes the last connection, which moves the log into the database and removes it.
pub(super) fn close_last(connection: Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)
}

fn no_wal() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    let why = "the file system does not support write-ahead logging; use a local disk";
    rusqlite::Error::SqliteFailure(code, Some(why.to_owned()))
}

/// The tables of a migrated database.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let tables = "SELECT name FROM sqlite_schema
                  WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    connection.prepare(tables)?.query_map([], |row| row.get(0))?.collect()
}

/// Fails if another program has removed one of them.
pub(super) fn prove_tables(connection: &Connection, tables: &[String]) -> rusqlite::Result<()> {
    for table in tables {
        // The name comes from our own migrations.
        let look = format!("SELECT 1 FROM \"{table}\" LIMIT 0");
        connection.prepare_cached(&look)?.exists([])?;
    }
    Ok(())
}

/// Proves that a write can become durable. The write itself has no meaning.
pub(super) fn prove_write(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE proof_of_write SET times = times + 1")?.execute([])?;
    Ok(())
}
