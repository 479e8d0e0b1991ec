//! The log beside the database: how long it is, and how it becomes short again. It must not know
//! what is in it.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tracing::{info, warn};

use super::connect::LOG_BYTES_MAX;
use super::place::Sizes;

/// How long the writer waits for readers to let go of a log that is too long. Callers wait with it.
const RESTART_WAIT: Duration = Duration::from_millis(20);

/// What is known of the log.
#[derive(Default)]
pub(super) struct Log {
    /// It is longer than it should be, and the operator was told so.
    is_long: bool,
}

impl Log {
    /// Counts the files, and begins a log anew that is too long.
    ///
    /// SQLite does that by itself between two readers. It cannot while one holds an old state, nor
    /// while so many come and go that one always holds the newest: for those it waits here, a
    /// moment.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        path: &Path,
        sizes: Sizes,
        busy_wait: Duration,
    ) {
        let Sizes { database_bytes, log_bytes } = sizes;
        metrics::gauge!("settlement_store_bytes").set(gauged(database_bytes));
        metrics::gauge!("settlement_store_log_bytes").set(gauged(log_bytes));
        let is_long = log_bytes > u64::from(LOG_BYTES_MAX);
        let was_long = std::mem::replace(&mut self.is_long, is_long);
        let path = path.display();
        match (was_long, is_long) {
            (false, true) => warn!(%path, log_bytes, bytes_max = LOG_BYTES_MAX,
                "the database's log grows: another program has been reading for long"),
            (true, false) => info!(%path, log_bytes, "the database's log is short again"),
            (false, false) | (true, true) => {}
        }
        if is_long && let Err(error) = restart(connection, busy_wait) {
            warn!(%path, %error, "the database's log cannot be begun anew");
        }
    }
}

/// Moves the log into the database and lets the next commit begin it anew, which also cuts it to
/// [`LOG_BYTES_MAX`]. In vain while a reader holds an older state.
fn restart(connection: &Connection, busy_wait: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(RESTART_WAIT)?;
    let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
    connection.busy_timeout(busy_wait)?;
    restarted
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 8 PiB")]
fn gauged(bytes: u64) -> f64 {
    bytes as f64
}
