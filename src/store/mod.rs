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
//!   query ([`Record::owes_a_query`]): the row stays then, due by the requested moment.
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
//! What it must not know: gRPC, Douyin's wire, what a transition is.

mod columns;
mod fleet;
mod json;
mod moving;
mod postgres;
mod rows;
mod sqlite;
mod sweep;
mod words;

#[cfg(test)]
mod contract_tests;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::settle::{
    AppId, CallerName, Due, HistoryEntry, Key, OutOrderNo, Record, Release, SettleId, Source,
    StateKind, TradeSystem,
};

pub use fleet::{
    Changed, Fleet, Hearing, Hint, KNOWN_MAX, Known, Replica, SharedPause, StoredToken,
};
pub use moving::{Closed, MoveError, Reader, Writer};
pub use postgres::{
    BadAddress, Password, Postgres, PostgresAddress, PostgresError, PostgresOptions,
};
pub use sqlite::{Committer, Generation, Missing, OpenError, Purpose, Sqlite, SqliteOptions};

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

/// Names one lease of one settle. It grows with each claim, so that a worker whose lease ran out
/// cannot write after another worker has claimed the settle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fence(pub i64);

/// How long after the store went back a caller may repeat a create whose record was lost.
pub const FORGOTTEN_MAX: Duration = Duration::from_hours(30 * 24);

/// More than any version or fence can grow in one generation.
const STEP: i64 = 1 << 32;

/// The fence of the lease that an insert gives to the creator of this record.
pub fn first_fence(record: &Record) -> Fence {
    Fence(record.version)
}

/// What [`Store::insert`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Insert {
    Inserted,
    /// The key (or, for an adopted settle, its `settle_id`) existed already: this is its record. Or
    /// the settle that a caller created under this number elsewhere ([`Store::elsewhere`]).
    Existing(Box<Record>),
}

/// The due row of a new settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewDue {
    /// None, because the settle was adopted in its final state.
    None,
    /// Any worker may claim it after this delay.
    In(Duration),
    /// The creator holds [`first_fence`] for this long. Then the row is due.
    Leased { lease: Duration },
}

/// One compare-and-swap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swap {
    /// The new record. It replaces the record with `version - 1` and no other.
    pub record: Record,
    /// The audit trail of the new revision, if `revision` grew.
    pub history: Option<HistoryEntry>,
    pub due: Due,
    /// The write applies only while the lease with this fence runs. `None`: the write needs no
    /// lease.
    pub lease: Option<Fence>,
    /// The record under Douyin's own number that is merged into this one. It is removed with its
    /// history and its due row. The swap applies only if that record still has this version.
    pub absorbed: Option<Absorbed>,
}

/// A record that is merged into another one of the same settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absorbed {
    pub key: Key,
    pub version: i64,
    /// What operators decided about it: entries of this settle's history from now on, before
    /// [`Swap::history`]. Their revisions grow, and are between its last entry and the new one.
    pub kept: Vec<HistoryEntry>,
}

/// What [`Store::swap`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swapped {
    Done,
    /// The record, or the one to be merged into it, has another version by now, or is gone.
    Conflict,
    /// The lease ran out, or another worker has the lease.
    LeaseLost,
    /// Another settle of the app has this `settle_id` in the same trade system.
    SettleIdTaken,
}

/// One settle that a worker has claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub key: Key,
    pub fence: Fence,
    pub attempts: u32,
    pub backoff: u32,
    /// How long it was due, and held by no worker, before. Of [`Store::claim`], which waits for no
    /// moment, zero.
    pub late: Duration,
}

/// When a settle is looked at next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled {
    /// How long until a worker may look at it.
    pub wait: Duration,
    /// Calls to Douyin since the settle was created, as of the end of the last turn.
    pub attempts: u32,
    /// What is left of the lease of the worker that looks at it now.
    pub leased: Option<Duration>,
}

/// Which due rows to claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimLimits {
    pub lease: Duration,
    pub claims_max: u32,
    /// The longest possible wait and lease. A row that is due or leased later than that was written
    /// while the clock was wrong, so it counts as due.
    pub wait_max: Duration,
}

/// Which recorded settles to list: newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQuery {
    pub app_id: AppId,
    /// The order in the caller's request. For a settle that was not made here: the order that
    /// Douyin named.
    pub out_order_no: Option<OutOrderNo>,
    /// Empty: all.
    pub states: Vec<StateKind>,
    /// Created at this moment or later.
    pub from: Option<Timestamp>,
    /// Created before this moment.
    pub until: Option<Timestamp>,
    /// Where the last page ended; `None`: begin with the newest settle.
    pub after: Option<Position>,
    /// 0 counts as 1.
    pub settles_max: u32,
}

/// Where a page ended. All older settles come after it, whatever is inserted meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    pub create_time: Timestamp,
    /// Which of the settles created at that moment. It grows in the order of their inserts.
    pub row: i64,
}

/// One page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    pub records: Vec<Record>,
    /// `None`: this is the last page. Any page may be short, even empty.
    pub next: Option<Position>,
}

/// Where a sweep is among the due rows of an app; the row that is due for the longest time comes
/// first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DuePosition {
    pub due_at: Timestamp,
    /// Which of the rows due at that moment.
    pub row: i64,
}

/// Where the last sweep ended. The default begins a round. A round goes from app to app, and for
/// each app first through the due rows and then through the settles that are not final.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SweepCursor {
    /// Before the first app after this one.
    App { after: Option<AppId> },
    /// Among the due rows of an app, after this one.
    Due { app_id: AppId, after: DuePosition },
    /// Among the settles of an app in a state, oldest first.
    Open { app_id: AppId, state: StateKind, after: Position },
}

impl Default for SweepCursor {
    fn default() -> Self {
        SweepCursor::App { after: None }
    }
}

/// What [`Store::sweep`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swept {
    /// Settles that were not final and had no due row. Each has one now.
    pub missing: u32,
    /// Due rows that were not needed and are removed.
    pub superfluous: u32,
    /// Where the next sweep begins.
    pub next: SweepCursor,
    /// The round is complete, and `next` begins another one.
    pub wrapped: bool,
}

/// Where the last page of unfinished settles ended. The default begins a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnfinishedCursor {
    /// Before the settles of the first app after this one.
    App { after: Option<AppId> },
    /// Among the settles of an app in a state, oldest first. The state is the stored word, which
    /// this version may not know.
    State { app_id: AppId, state: String, after: Position },
    /// Among the final settles of an app that have an open contradiction.
    Disputed { app_id: AppId, after_row: i64 },
}

impl Default for UnfinishedCursor {
    fn default() -> Self {
        UnfinishedCursor::App { after: None }
    }
}

/// A settle that is not final, or final with an open contradiction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfinished {
    Settle(Box<Record>),
    /// A newer version wrote it.
    Unreadable(Key),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnfinishedPage {
    pub settles: Vec<Unfinished>,
    /// `None`: the round is complete.
    pub next: Option<UnfinishedCursor>,
}

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

    /// Records a new settle with its first history entry and its due row, or finds the settle that
    /// has its key or its `settle_id`. Its version is [`Store::first_version`]. `by`: the caller on
    /// whose request it is recorded.
    pub async fn insert(
        &self,
        record: Record,
        source: Source,
        by: Option<CallerName>,
        due: NewDue,
    ) -> Result<Insert, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.insert(record, source, by, due).await,
            Store::Postgres(postgres) => Box::pin(postgres.insert(record, source, by, due)).await,
        }
    }

    pub async fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.get(key).await,
            Store::Postgres(postgres) => Box::pin(postgres.get(key)).await,
        }
    }

    pub async fn get_by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.get_by_settle_id(app_id, trade_system, settle_id).await,
            Store::Postgres(postgres) => {
                Box::pin(postgres.get_by_settle_id(app_id, trade_system, settle_id)).await
            }
        }
    }

    /// The settle that keeps a create out although its key is free: one that a caller created under
    /// the number in another trade system of the app or, `by_default_app`, in a former default app.
    pub async fn elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.elsewhere(key, by_default_app).await,
            Store::Postgres(postgres) => Box::pin(postgres.elsewhere(key, by_default_app)).await,
        }
    }

    pub async fn swap(&self, swap: Swap) -> Result<Swapped, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.swap(swap).await,
            Store::Postgres(postgres) => Box::pin(postgres.swap(swap)).await,
        }
    }

    /// Leases up to `claims_max` due rows of one app; the row that is due for the longest time
    /// comes first.
    pub async fn claim_due(
        &self,
        app_id: &AppId,
        limits: ClaimLimits,
    ) -> Result<Vec<Claim>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.claim_due(app_id, limits).await,
            Store::Postgres(postgres) => Box::pin(postgres.claim_due(app_id, limits)).await,
        }
    }

    /// Leases this settle before it is due; `None`: another worker holds it, or it has no due row.
    pub async fn claim(&self, key: &Key, lease: Duration) -> Result<Option<Claim>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.claim(key, lease).await,
            Store::Postgres(postgres) => Box::pin(postgres.claim(key, lease)).await,
        }
    }

    /// Ends a lease without changing the record. `false`: the lease had run out.
    pub async fn release(&self, key: &Key, fence: Fence, release: Release) -> Result<bool, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.release(key, fence, release).await,
            Store::Postgres(postgres) => Box::pin(postgres.release(key, fence, release)).await,
        }
    }

    /// Removes the due row of a final settle whose last query is done, or ends its lease if a look
    /// was asked for meanwhile and the settle owes another query.
    pub async fn remove_due(&self, key: &Key, fence: Fence) -> Result<bool, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.remove_due(key, fence).await,
            Store::Postgres(postgres) => Box::pin(postgres.remove_due(key, fence)).await,
        }
    }

    /// Brings the next look at a settle forward to `wait` from now, or to `gap` after its last
    /// attempt if that is later. Never postpones it. Returns how long until the settle is due. If a
    /// worker holds the lease, this applies when the lease ends.
    pub async fn nudge(
        &self,
        key: &Key,
        wait: Duration,
        gap: Duration,
    ) -> Result<Option<Duration>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.nudge(key, wait, gap).await,
            Store::Postgres(postgres) => Box::pin(postgres.nudge(key, wait, gap)).await,
        }
    }

    /// How long until a row of the app can be claimed; `None`: the app has no rows.
    pub async fn next_due(&self, app_id: &AppId) -> Result<Option<Duration>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.next_due(app_id).await,
            Store::Postgres(postgres) => Box::pin(postgres.next_due(app_id)).await,
        }
    }

    /// How many rows of the app can be claimed now, counted up to `rows_max`.
    pub async fn due(&self, app_id: &AppId, rows_max: u32) -> Result<u32, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.due(app_id, rows_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.due(app_id, rows_max)).await,
        }
    }

    /// When the settle is looked at next; `None`: it has no due row.
    pub async fn scheduled(&self, key: &Key) -> Result<Option<Scheduled>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.scheduled(key).await,
            Store::Postgres(postgres) => Box::pin(postgres.scheduled(key)).await,
        }
    }

    /// The audit trail, oldest first, at most `entries_max`.
    pub async fn history(&self, key: &Key, entries_max: u32) -> Result<Vec<HistoryEntry>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.history(key, entries_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.history(key, entries_max)).await,
        }
    }

    /// One page of the recorded settles of an app, newest first. It reads only the rows that the
    /// page needs, so the cost does not grow with the number of settles.
    ///
    /// A settle that this version cannot read is not left out: its page is [`Error::Unreadable`]. A
    /// settle in an unknown state may be in any state, so it passes every filter.
    pub async fn list(&self, query: &ListQuery) -> Result<Listed, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.list(query).await,
            Store::Postgres(postgres) => Box::pin(postgres.list(query)).await,
        }
    }

    /// The number of settles that are not final, by app, including apps that are no longer
    /// configured. A state that this version does not know counts as not final. The cost grows with
    /// the number of such settles.
    pub async fn open_settles(&self) -> Result<Vec<(AppId, u64)>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.open_settles().await,
            Store::Postgres(postgres) => Box::pin(postgres.open_settles()).await,
        }
    }

    /// Repairs the schedule. A settle that is not final and has no due row gets one, due now. The
    /// due row of a final settle that needs no query is removed, unless a worker holds its lease.
    /// Each call looks at no more than `rows_max` rows, beginning where the last sweep ended. If
    /// nothing is wrong, it only reads.
    pub async fn sweep(&self, cursor: SweepCursor, rows_max: u32) -> Result<Swept, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.sweep(cursor, rows_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.sweep(cursor, rows_max)).await,
        }
    }

    /// One page of all settles that are not final, or final with an open contradiction, app by app.
    /// A settle that changes its state meanwhile may be missed or come twice. A page may be empty
    /// without being the last.
    pub async fn unfinished(
        &self,
        cursor: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<UnfinishedPage, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.unfinished(cursor, rows_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.unfinished(cursor, rows_max)).await,
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
