//! When each settle is looked at next, and which worker has the right to work on it.

use std::time::Duration;

use super::{Error, Store};
use crate::settle::{AppId, Key, Release};

/// Names one lease of one settle. It grows with each claim, so that a worker whose lease ran out
/// cannot write after another worker has claimed the settle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fence(pub i64);

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

impl Store {
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
}
