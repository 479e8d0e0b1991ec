//! The due rows: when a settle is looked at again, and who may. A lease is a `lease_until` with the
//! fence of the claim that set it; both change only here.

use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Claim, ClaimLimits, Fence};
use super::columns::{Cursor, Fault};
use super::settles::find;
use super::words::{Word, readable_sql};
use crate::clock::Timestamp;
use crate::settle::{AppId, Key, OutSettleNo, Record, Release};

/// The due row of a settle that was inserted just now.
pub(super) struct NewRow {
    pub(super) due_at: Timestamp,
    pub(super) lease_until: Option<Timestamp>,
    pub(super) fence: Fence,
    pub(super) attempted_at: Option<Timestamp>,
}

pub(super) fn insert(
    connection: &Connection,
    id: i64,
    record: &Record,
    row: NewRow,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO due (settle, app_id, due_at_ms, lease_until_ms, fence, attempted_at_ms)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        id,
        record.key.app_id.as_str(),
        row.due_at.as_ms(),
        row.lease_until.map(Timestamp::as_ms),
        row.fence.0,
        row.attempted_at.map(Timestamp::as_ms),
    ])?;
    Ok(())
}

pub(super) fn holds(
    connection: &Connection,
    id: i64,
    fence: Fence,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM due WHERE settle = ? AND fence = ? AND lease_until_ms > ?",
    )?;
    statement.exists(params![id, fence.0, now.as_ms()])
}

/// The fence outlives the row, so that a later row never grants an old one again.
pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("DELETE FROM due WHERE settle = ? RETURNING fence")?;
    let fence: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
    if let Some(fence) = fence {
        let mut statement =
            connection.prepare_cached("UPDATE settle SET last_fence = ? WHERE id = ?")?;
        statement.execute([fence, id])?;
    }
    Ok(())
}

pub(super) fn extend(
    connection: &Connection,
    id: i64,
    lease_until: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE due SET lease_until_ms = ? WHERE settle = ?")?;
    statement.execute([lease_until.as_ms(), id])?;
    Ok(())
}

/// If an observer asked for a look while the lease ran, that may have been after the holder looked.
pub(super) fn release(
    connection: &Connection,
    id: i64,
    to: Release,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE due SET lease_until_ms = NULL, due_at_ms = coalesce(min(?1, wanted_at_ms), ?1),
                wanted_at_ms = NULL, attempted_at_ms = ?2, attempts = ?3, backoff = ?4
         WHERE settle = ?5",
    )?;
    let (due_at, attempted_at) = (now.plus(to.wait).as_ms(), now.as_ms());
    statement.execute(params![due_at, attempted_at, to.attempts, to.backoff, id])?;
    Ok(())
}

pub(super) fn not_later(
    connection: &Connection,
    id: i64,
    app_id: &AppId,
    due_at: Timestamp,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO due (settle, app_id, due_at_ms, fence)
         VALUES (?1, ?2, ?3, (SELECT last_fence FROM settle WHERE id = ?1))
         ON CONFLICT (settle) DO UPDATE SET due_at_ms = min(due_at_ms, ?3),
             wanted_at_ms = iif(lease_until_ms IS NULL, NULL, coalesce(min(wanted_at_ms, ?3), ?3))",
    )?;
    statement.execute(params![id, app_id.as_str(), due_at.as_ms()])?;
    Ok(())
}

/// Walks the schedule of one app in its order; the join must not turn around.
static DUE_OF_APP: LazyLock<String> = LazyLock::new(|| {
    format!(
        "FROM due CROSS JOIN settle ON settle.id = due.settle
         WHERE due.app_id = ?1 AND {}",
        readable_sql(),
    )
});

/// The condition on `due_at` decides which part of the schedule is walked.
fn select_claims(due_at: &str) -> String {
    format!(
        "SELECT due.settle, settle.trade_system, settle.out_settle_no, due.fence, due.attempts,
                due.backoff
         {} AND due.due_at_ms {due_at}
         AND (due.lease_until_ms <= ?2 OR due.lease_until_ms > ?3) IS NOT FALSE
         ORDER BY due.due_at_ms, due.settle LIMIT ?4",
        *DUE_OF_APP,
    )
}

pub(super) static SELECT_DUE: LazyLock<String> = LazyLock::new(|| select_claims("<= ?2"));
pub(super) static SELECT_BEYOND_HORIZON: LazyLock<String> =
    LazyLock::new(|| select_claims("> max(?2, ?3)"));

pub(super) fn claim_due(
    connection: &Connection,
    app_id: &AppId,
    limits: &ClaimLimits,
    now: Timestamp,
) -> Result<Vec<Claim>, Fault> {
    let moments = (now, now.plus(limits.wait_max));
    let mut free = select_free(connection, &SELECT_DUE, app_id, moments, limits.claims_max)?;
    let found = u32::try_from(free.len()).unwrap_or(u32::MAX);
    let left = limits.claims_max.saturating_sub(found);
    free.extend(select_free(connection, &SELECT_BEYOND_HORIZON, app_id, moments, left)?);
    let lease_until = now.plus(limits.lease);
    // What was wanted of an earlier holder is what this one is about to do.
    let mut lease = connection.prepare_cached(
        "UPDATE due SET lease_until_ms = ?, fence = ?, wanted_at_ms = NULL WHERE settle = ?",
    )?;
    let mut claims = Vec::with_capacity(free.len());
    for (id, claim) in free {
        lease.execute([lease_until.as_ms(), claim.fence.0, id])?;
        claims.push(claim);
    }
    Ok(claims)
}

/// The claims to make, with their rows' ids.
fn select_free(
    connection: &Connection,
    select: &str,
    app_id: &AppId,
    (now, horizon): (Timestamp, Timestamp),
    rows_max: u32,
) -> Result<Vec<(i64, Claim)>, Fault> {
    let mut statement = connection.prepare_cached(select)?;
    let (now, horizon) = (now.as_ms(), horizon.as_ms());
    let mut rows = statement.query(params![app_id.as_str(), now, horizon, rows_max])?;
    let mut free = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let id = cursor.int()?;
        let (trade_system, out_settle_no) = (cursor.word()?, cursor.name(OutSettleNo::reported)?);
        let claim = Claim {
            key: Key { app_id: app_id.clone(), trade_system, out_settle_no },
            fence: Fence(cursor.int()? + 1),
            attempts: cursor.count()?,
            backoff: cursor.count()?,
        };
        free.push((id, claim));
    }
    Ok(free)
}

/// The row's id if the lease with this fence was neither given back nor claimed by another.
fn leased(connection: &Connection, key: &Key, fence: Fence) -> Result<Option<i64>, Fault> {
    let Some(found) = find(connection, key)? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM due WHERE settle = ? AND fence = ? AND lease_until_ms IS NOT NULL",
    )?;
    Ok(statement.exists([found.id, fence.0])?.then_some(found.id))
}

pub(super) fn release_lease(
    connection: &Connection,
    key: &Key,
    fence: Fence,
    to: Release,
    now: Timestamp,
) -> Result<bool, Fault> {
    let Some(id) = leased(connection, key, fence)? else {
        return Ok(false);
    };
    release(connection, id, to, now)?;
    Ok(true)
}

pub(super) fn remove_leased(
    connection: &Connection,
    key: &Key,
    fence: Fence,
) -> Result<bool, Fault> {
    let Some(id) = leased(connection, key, fence)? else {
        return Ok(false);
    };
    remove(connection, id)?;
    Ok(true)
}

/// A settle that was never attempted has no gap to keep.
pub(super) fn nudge(
    connection: &Connection,
    key: &Key,
    not_before: Timestamp,
    gap: Duration,
) -> Result<Option<Timestamp>, Fault> {
    let Some(found) = find(connection, key)? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT due_at_ms, attempted_at_ms, lease_until_ms IS NOT NULL FROM due WHERE settle = ?",
    )?;
    let mut rows = statement.query([found.id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(row);
    let (due_at, attempted_at) = (cursor.time()?, cursor.time_opt()?);
    let leased = cursor.flag_opt()? == Some(true);
    let wanted = attempted_at.map_or(not_before, |at| not_before.max(at.plus(gap)));
    if leased || wanted < due_at {
        not_later(connection, found.id, &key.app_id, wanted)?;
    }
    Ok(Some(due_at.min(wanted)))
}

pub(super) static SELECT_SCHEDULE: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT due.due_at_ms, due.lease_until_ms {} ORDER BY due.due_at_ms", *DUE_OF_APP)
});

/// Stops at the first row that is due later than the best one can be claimed, so it walks over
/// running leases only.
pub(super) fn next_due(
    connection: &Connection,
    app_id: &AppId,
) -> Result<Option<Timestamp>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_SCHEDULE)?;
    let mut rows = statement.query([app_id.as_str()])?;
    let mut earliest: Option<Timestamp> = None;
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let (due_at, lease_until) = (cursor.time()?, cursor.time_opt()?);
        if earliest.is_some_and(|earliest| earliest <= due_at) {
            break;
        }
        let claimable = lease_until.map_or(due_at, |lease_until| lease_until.max(due_at));
        earliest = Some(earliest.map_or(claimable, |earliest| earliest.min(claimable)));
    }
    Ok(earliest)
}

pub(super) const SELECT_DUE_AT: &str = "
    SELECT due.due_at_ms FROM settle CROSS JOIN due ON due.settle = settle.id
    WHERE settle.app_id = ? AND settle.trade_system = ? AND settle.out_settle_no = ?";

pub(super) fn due_at(connection: &Connection, key: &Key) -> Result<Option<Timestamp>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_DUE_AT)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let due_at: Option<i64> = statement.query_row(key, |row| row.get(0)).optional()?;
    Ok(due_at.map(Timestamp::from_ms))
}

/// Ends the leases that a process which is gone left behind. What its workers were about to do is
/// due as of their last attempt, so that recovery waits for no lease.
pub(super) fn void_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE due SET lease_until_ms = NULL, wanted_at_ms = NULL,
                due_at_ms = min(due_at_ms, coalesce(attempted_at_ms, due_at_ms))
         WHERE lease_until_ms IS NOT NULL",
        [],
    )
}
