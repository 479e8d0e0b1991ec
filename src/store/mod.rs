//! Floor 1: what is durable. The truth about a settle is in the store only; memory has hints.
//!
//! # The contract of every backend
//!
//! - **One transaction per operation.** A settle, its evidence, its history and its due row change
//!   together or not at all. `Ok` means durable, that is flushed to the disk.
//! - **Compare-and-swap.** [`Store::swap`] replaces a record only if the stored version is `version
//!   - 1`. Otherwise the caller reads again and decides again.
//! - **The lease is the right to call Douyin.** A due row has `lease_until` and a `fence` that
//!   grows with each claim. A write that names a fence applies only while the lease with this fence
//!   runs.
//! - **The store has its own clock.** Callers pass delays, which the store turns into moments, so
//!   that the clocks of two processes are never compared. Leases and due moments say which worker
//!   works and when. They never decide what is true.
//! - **A wake-up is never lost.** If a caller or a callback asks for a look at a settle while a
//!   worker holds its lease, the settle is due by the requested moment once the worker gives the
//!   lease back. That holds also if the worker removes the due row, as long as the settle owes a
//!   query ([`owes_a_query`](crate::settle::Record::owes_a_query)): the row stays then, due by the
//!   requested moment.
//! - **Every settle that is not final has exactly one due row.** A final settle has none, except
//!   while the gateway must still query it: because of an open contradiction, or because a callback
//!   told only a part of its result.
//! - **A row with a value that this version does not know** (a newer version wrote it) is neither
//!   claimed nor rewritten; reading it is [`Error::Unreadable`]. A row written by newer rules
//!   ([`settle::RULES`](crate::settle::RULES)) is read, but neither claimed nor rewritten. An
//!   unknown reason decides nothing and is kept as it was written.
//! - **Lost commits begin a new generation.** After the store went back to an earlier state (a
//!   restored backup, a standby without the last commits; if no operator says so, a store for
//!   several processes notices what it can), every open settle of a caller counts one more lost
//!   send and is never sent again. For [`FORGOTTEN_MAX`] a create without a record may be one whose
//!   record was lost ([`Store::may_have_forgotten`]).
//! - **A closed store is not worked on.** A store whose settles were moved to another one, or into
//!   which an import has not run to its end, is refused at start, and every write in a process that
//!   has it open is [`Error::Unavailable`] (`moving.rs`).
//! - **Unique** are the key (`app_id`, `trade_system`, `out_settle_no`) and, once known,
//!   (`app_id`, `trade_system`, `settle_id`). Of what callers created, also (`app_id`,
//!   `out_settle_no`), and the `out_settle_no` of all whose callers named no app: a changed
//!   configuration never makes a repeat of an old create a second settle.
//! - **Errors tell what is durable.** [`Error::Unavailable`]: nothing of this operation.
//!   [`Error::InDoubt`]: perhaps all of it, so the caller reads again.
//! - **What replicas share beside settles** (tokens, pauses, who is alive, hints) has a contract of
//!   its own, in `fleet.rs`.
//!
//! The operations, and what they take and answer, are in `settles.rs` (one settle), `schedule.rs`
//! (when settles are due, and who works on them), `list.rs`, `sweep.rs` and `unfinished.rs` (many
//! settles, page by page). Each backend has files of the same names.
//!
//! What it must not know: gRPC, Douyin's wire, what a transition is.

mod columns;
mod fleet;
mod json;
mod list;
mod moving;
mod postgres;
mod rows;
mod schedule;
mod settles;
mod sqlite;
mod sweep;
mod unfinished;
mod words;

#[cfg(test)]
mod contract_tests;

use std::sync::Arc;
use std::time::Duration;

pub use fleet::{
    Changed, Fleet, Hearing, Hint, KNOWN_MAX, Known, Replica, SharedPause, StoredToken,
};
pub use list::{ListQuery, Listed, Position};
pub use moving::{Closed, MoveError, Reader, Writer};
pub use postgres::{
    BadAddress, Password, Postgres, PostgresAddress, PostgresError, PostgresOptions,
};
pub use schedule::{Claim, ClaimLimits, Fence, Scheduled};
pub use settles::{Absorbed, Insert, NewDue, Swap, Swapped, first_fence};
pub use sqlite::{
    Committer, Generation, Missing, OpenError, Processes, Purpose, Sqlite, SqliteOptions,
};
pub use sweep::{DuePosition, SweepCursor, Swept};
pub use unfinished::{Unfinished, UnfinishedCursor, UnfinishedPage};

use fleet::Hints;

/// A handle to the store; cheap to clone.
#[derive(Clone)]
pub enum Store {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

/// Why an operation failed, in terms of what is durable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of the operation is durable.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The commit failed, and may have been kept.
    #[error("the store does not know whether it committed: {0}")]
    InDoubt(String),
    /// A row has a value that this version does not know. The row was left as it is.
    #[error("a row was written by a newer version: {0}")]
    Unreadable(String),
}

/// How long after the store went back a caller may repeat a create whose record was lost.
pub const FORGOTTEN_MAX: Duration = Duration::from_hours(30 * 24);

/// More than any version or fence can grow in one generation.
const STEP: i64 = 1 << 32;

impl Store {
    /// Whether this process is the only one that can work on the store. Then all other processes
    /// that records name have ended.
    pub fn has_one_process(&self) -> bool {
        match self {
            Store::Sqlite(sqlite) => sqlite.has_one_process(),
            Store::Postgres(postgres) => postgres.has_one_process(),
        }
    }

    /// The version of a record that is to be inserted. It is another one in each generation of the
    /// store, so that what a process learned of a settle in an earlier one never fits a later one
    /// under the same key.
    pub fn first_version(&self) -> i64 {
        match self {
            Store::Sqlite(_) => 1,
            Store::Postgres(postgres) => postgres.first_version(),
        }
    }

    /// Whether a settle that has no record here may have had one before the store went back.
    pub fn may_have_forgotten(&self) -> bool {
        match self {
            Store::Sqlite(sqlite) => sqlite.may_have_forgotten(),
            Store::Postgres(postgres) => postgres.may_have_forgotten(),
        }
    }

    /// Whether hints come to other processes, as long as nothing fails.
    #[cfg(test)]
    fn carries_hints(&self) -> bool {
        match self {
            Store::Sqlite(_) => true,
            Store::Postgres(postgres) => postgres.carries_hints(),
        }
    }

    #[cfg(test)]
    fn clock(&self) -> &crate::clock::Clock {
        match self {
            Store::Sqlite(sqlite) => sqlite.clock(),
            Store::Postgres(postgres) => postgres.clock(),
        }
    }

    /// Where the store is. For the operator.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Store::Sqlite(sqlite) => sqlite.path(),
            Store::Postgres(postgres) => postgres.path(),
        }
    }

    /// What an operator should look at if nothing becomes durable. As a question.
    pub fn why_it_may_hang(&self) -> &'static str {
        match self {
            Store::Sqlite(_) => "does its disk hang, or does another program lock it?",
            Store::Postgres(_) => {
                "does the server or the way to it hang, or does a commit wait for a standby?"
            }
        }
    }

    /// How many batches became durable. It grows as long as the disk answers.
    pub fn commits(&self) -> u64 {
        match self {
            Store::Sqlite(sqlite) => sqlite.commits(),
            Store::Postgres(postgres) => postgres.commits(),
        }
    }

    /// Proves that a write can become durable now, in the file that the next start opens. It takes
    /// as long as the disk takes, so the caller sets a time limit.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.ping().await,
            Store::Postgres(postgres) => Box::pin(postgres.ping()).await,
        }
    }

    /// Waits until the writer has ended, so that nothing can be written any more. The writer ends
    /// when the store is closed; earlier only because of a bug.
    pub async fn writer_ended(&self) {
        match self {
            Store::Sqlite(sqlite) => sqlite.writer_ended().await,
            Store::Postgres(postgres) => postgres.writer_ended().await,
        }
    }

    /// Commits what is queued and closes the store. Later operations are `Unavailable`.
    pub async fn close(&self) {
        match self {
            Store::Sqlite(sqlite) => sqlite.close().await,
            Store::Postgres(postgres) => Box::pin(postgres.close()).await,
        }
    }
}
