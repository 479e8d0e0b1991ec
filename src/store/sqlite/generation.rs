//! A new generation of the store. It begins after the store went back to an earlier state: a backup
//! was put in its place, so what was committed since is lost.
//!
//! What callers were told since is lost too, for example a refusal, after which the caller paid
//! under another number. So no open settle is ever sent again, each counts one more lost send, and
//! no earlier version or fence is given a second time. Settles recorded since are gone. They come
//! back when their callers repeat the create. If Douyin refuses such a repeat, the caller must not
//! be told that the first send was refused.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use super::super::STEP;
use super::super::json::Stored as _;
use super::super::words::{OriginKind, Word, readable_sql, state_in_sql};
use super::{Purpose, Sqlite, SqliteOptions, open};
use crate::clock::Timestamp;
use crate::settle::{Permission, PermissionId, ProcessId, RULES, StateKind};
use crate::store::OpenError;
use crate::store::moving::Task;

/// What a new generation began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    /// How often the store went back.
    pub number: i64,
    /// Open settles of callers, none of which is ever sent again.
    pub open_settles: usize,
}

impl Sqlite {
    /// Begins a new generation of a database that no gateway has open. `process`: a number that no
    /// gateway has.
    pub fn begin_generation(
        options: &SqliteOptions,
        process: ProcessId,
    ) -> Result<Generation, OpenError> {
        let path = options.path.clone();
        if !path.exists() {
            let error = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(OpenError::Io { path, doing: "find it", error });
        }
        let mut opened = open::open(options, &Purpose::ALL, Task::Work)?;
        let begun = begin(&mut opened.connection, process, options.clock.now());
        begun.map_err(|error| OpenError::Sqlite { path, doing: "begin its generation", error })
    }
}

/// When the last generation began, if the store ever went back.
pub(super) fn went_back(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let begun_ms = "SELECT begun_ms FROM generation";
    let begun_ms: Option<i64> = connection.query_row(begun_ms, [], |row| row.get(0))?;
    Ok(begun_ms.map(Timestamp::from_ms))
}

fn begin(
    connection: &mut Connection,
    process: ProcessId,
    now: Timestamp,
) -> rusqlite::Result<Generation> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = transaction.query_row(
        "UPDATE generation SET number = number + 1, begun_ms = ? RETURNING number",
        [now.as_ms()],
        |row| row.get(0),
    )?;
    let lost = Permission {
        id: PermissionId { process, number: 0 },
        time: now,
        // The process that sent has ended, because this process holds the database's lock.
        lasts: Duration::ZERO,
    };
    let of_callers = format!(
        "UPDATE settle SET rules = ?2, evidence = json_set(
             json_remove(coalesce(evidence, '{{}}'), '$.stopped', '$.stop_confirmed'),
             '$.lost', coalesce(evidence ->> '$.lost', 0) + 1,
             '$.set_back', json('true'), '$.last_permission', json(?1))
         WHERE {} AND origin = '{}' AND {}",
        state_in_sql(|state: StateKind| !state.is_final()),
        OriginKind::Gateway.word(),
        readable_sql(),
    );
    let open_settles = transaction.execute(&of_callers, params![lost.to_json(), RULES])?;
    transaction.execute(
        "UPDATE settle SET version = version + ?1, fence = fence + ?1, lease_until_ms = NULL,
                           wanted_at_ms = NULL, due_at_ms = min(due_at_ms, ?2)",
        [STEP, now.as_ms()],
    )?;
    transaction.commit()?;
    Ok(Generation { number, open_settles })
}
