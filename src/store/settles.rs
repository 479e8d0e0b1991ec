//! One settle: it is recorded, read, and replaced by a compare-and-swap.

use std::time::Duration;

use super::{Error, Fence, Store};
use crate::settle::{
    AppId, CallerName, Due, HistoryEntry, Key, Record, SettleId, Source, TradeSystem,
};

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

/// The fence of the lease that an insert gives to the creator of this record.
pub fn first_fence(record: &Record) -> Fence {
    Fence(record.version)
}

impl Store {
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

    /// The audit trail, oldest first, at most `entries_max`.
    pub async fn history(&self, key: &Key, entries_max: u32) -> Result<Vec<HistoryEntry>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.history(key, entries_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.history(key, entries_max)).await,
        }
    }
}
