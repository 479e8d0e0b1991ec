//! The schedule: when a settle is looked at again, and by which worker. It is in the rows of the
//! settles. What the contract calls a due row is a settle with a `due_at_ms`. A lease is a
//! `lease_until_ms` with the fence of the claim that set it.

use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::words::{Word, readable_sql};
use super::super::{Claim, ClaimLimits, Fence, Scheduled};
use super::columns::{Binder, Fault};
use super::settles::find;
use crate::clock::Timestamp;
use crate::settle::{AppId, Key, OutSettleNo, Release};

/// The schedule of a new settle.
pub(super) struct NewRow {
    /// `None`: it is final from the start, and no worker looks at it.
    pub(super) due_at: Option<Timestamp>,
    pub(super) lease_until: Option<Timestamp>,
    pub(super) fence: Fence,
    pub(super) attempted_at: Option<Timestamp>,
    pub(super) attempts: u32,
    pub(super) backoff: u32,
}

impl NewRow {
    /// In the order of [`super::super::rows::SCHEDULE`].
    pub(super) fn bind(&self, binder: &mut Binder<'_, '_>) -> rusqlite::Result<()> {
        binder.put(self.fence.0)?;
        binder.put(self.due_at)?;
        binder.put(self.lease_until)?;
        binder.put(None::<Timestamp>)?;
        binder.put(self.attempted_at)?;
        binder.put(self.attempts)?;
        binder.put(self.backoff)
    }
}

// What a write does to the schedule of a settle, as assignments. The arguments are names of
// parameters. A settle without a due row gets one only by `set_not_later`.

/// The fence stays, so that a later due row never grants an old fence again. `stays`: the condition
/// that the row stays if a look was asked for while a worker held the lease.
pub(super) fn set_none(stays: &str) -> String {
    format!(
        "due_at_ms = iif({stays}, wanted_at_ms, NULL), lease_until_ms = NULL, wanted_at_ms = NULL,
         attempted_at_ms = NULL, attempts = 0, backoff = 0"
    )
}

pub(super) fn set_extended(lease_until: &str) -> String {
    format!("lease_until_ms = iif(due_at_ms IS NULL, NULL, {lease_until})")
}

/// A caller or a callback may have asked for a look after the holder of the lease has looked.
pub(super) fn set_released(due_at: &str, now: &str, attempts: &str, backoff: &str) -> String {
    let set =
        |column: &str, value: &str| format!("{column} = iif(due_at_ms IS NULL, {column}, {value})");
    let sets = [
        set("due_at_ms", &format!("coalesce(min({due_at}, wanted_at_ms), {due_at})")),
        set("attempted_at_ms", now),
        set("attempts", attempts),
        set("backoff", backoff),
        "lease_until_ms = NULL, wanted_at_ms = NULL".to_owned(),
    ];
    sets.join(", ")
}

pub(super) fn set_not_later(due_at: &str) -> String {
    format!(
        "due_at_ms = coalesce(min(due_at_ms, {due_at}), {due_at}),
         wanted_at_ms = iif(lease_until_ms IS NULL, NULL,
                            coalesce(min(wanted_at_ms, {due_at}), {due_at}))"
    )
}

pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("UPDATE settle SET {} WHERE id = ?", set_none("FALSE")));
    connection.prepare_cached(&SQL)?.execute([id]).map(|_| ())
}

/// Walks the schedule of one app in its order.
static DUE_OF_APP: LazyLock<String> = LazyLock::new(|| {
    format!("FROM settle INDEXED BY settle_by_due WHERE app_id = ?1 AND {}", readable_sql())
});

/// The condition on `due_at` decides which part of the schedule is walked.
fn select_claims(due_at: &str) -> String {
    format!(
        "SELECT id, max(due_at_ms, coalesce(lease_until_ms, due_at_ms)), trade_system,
                out_settle_no, fence, attempts, backoff
         {} AND due_at_ms {due_at}
         AND (lease_until_ms <= ?2 OR lease_until_ms > ?3) IS NOT FALSE
         ORDER BY due_at_ms, id LIMIT ?4",
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
    // The new holder is about to do what was asked for during an earlier lease.
    let mut lease = connection.prepare_cached(
        "UPDATE settle SET lease_until_ms = ?, fence = ?, wanted_at_ms = NULL WHERE id = ?",
    )?;
    let mut claims = Vec::with_capacity(free.len());
    for (id, claim) in free {
        lease.execute([lease_until.as_ms(), claim.fence.0, id])?;
        claims.push(claim);
    }
    Ok(claims)
}

/// Leases one settle whose due row is not leased now.
pub(super) fn claim(
    connection: &Connection,
    key: &Key,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Claim>, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "UPDATE settle SET lease_until_ms = ?4, fence = fence + 1, wanted_at_ms = NULL
             WHERE app_id = ?1 AND trade_system = ?2 AND out_settle_no = ?3
               AND due_at_ms IS NOT NULL AND (lease_until_ms <= ?5) IS NOT FALSE AND {}
             RETURNING fence, attempts, backoff",
            readable_sql()
        )
    });
    let mut statement = connection.prepare_cached(&SQL)?;
    let mut rows = statement.query(params![
        key.app_id.as_str(),
        key.trade_system.word(),
        key.out_settle_no.as_str(),
        now.plus(lease).as_ms(),
        now.as_ms(),
    ])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut cursor = Cursor::new(row);
    let (fence, attempts, backoff) = (Fence(cursor.int()?), cursor.count()?, cursor.count()?);
    Ok(Some(Claim { key: key.clone(), fence, attempts, backoff, late: Duration::ZERO }))
}

/// The claims to make, with the ids of their rows.
fn select_free(
    connection: &Connection,
    select: &str,
    app_id: &AppId,
    (now, horizon): (Timestamp, Timestamp),
    rows_max: u32,
) -> Result<Vec<(i64, Claim)>, Fault> {
    let mut statement = connection.prepare_cached(select)?;
    let moments = (now.as_ms(), horizon.as_ms());
    let mut rows = statement.query(params![app_id.as_str(), moments.0, moments.1, rows_max])?;
    let mut free = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let (id, late) = (cursor.int()?, now.since(cursor.time()?));
        let (trade_system, out_settle_no) = (cursor.word()?, cursor.name(OutSettleNo::reported)?);
        let claim = Claim {
            key: Key { app_id: app_id.clone(), trade_system, out_settle_no },
            fence: Fence(cursor.int()? + 1),
            attempts: cursor.count()?,
            backoff: cursor.count()?,
            late,
        };
        free.push((id, claim));
    }
    Ok(free)
}

/// The row's id, if the lease with this fence was neither given back nor claimed by another worker.
fn leased(connection: &Connection, key: &Key, fence: Fence) -> Result<Option<i64>, Fault> {
    let found = find(connection, key)?;
    Ok(found.filter(|found| found.is_still_leased(fence)).map(|found| found.id))
}

pub(super) fn release_lease(
    connection: &Connection,
    key: &Key,
    fence: Fence,
    to: Release,
    now: Timestamp,
) -> Result<bool, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!("UPDATE settle SET {} WHERE id = ?1", set_released("?2", "?3", "?4", "?5"))
    });
    let Some(id) = leased(connection, key, fence)? else {
        return Ok(false);
    };
    let (due_at, now) = (now.plus(to.wait).as_ms(), now.as_ms());
    connection.prepare_cached(&SQL)?.execute(params![id, due_at, now, to.attempts, to.backoff])?;
    Ok(true)
}

pub(super) fn remove_leased(
    connection: &Connection,
    key: &Key,
    fence: Fence,
) -> Result<bool, Fault> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("UPDATE settle SET {} WHERE id = ?", set_none("owes_query")));
    let Some(id) = leased(connection, key, fence)? else {
        return Ok(false);
    };
    connection.prepare_cached(&SQL)?.execute([id])?;
    Ok(true)
}

/// A settle without an attempt keeps no gap.
pub(super) fn nudge(
    connection: &Connection,
    key: &Key,
    not_before: Timestamp,
    gap: Duration,
) -> Result<Option<Timestamp>, Fault> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("UPDATE settle SET {} WHERE id = ?1", set_not_later("?2")));
    let Some(found) = find(connection, key)? else {
        return Ok(None);
    };
    let Some(due_at) = found.due_at else {
        return Ok(None);
    };
    let wanted = found.attempted_at.map_or(not_before, |at| not_before.max(at.plus(gap)));
    if found.lease_until.is_some() || wanted < due_at {
        connection.prepare_cached(&SQL)?.execute([found.id, wanted.as_ms()])?;
    }
    Ok(Some(due_at.min(wanted)))
}

pub(super) static SELECT_SCHEDULE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT due_at_ms, lease_until_ms {} AND due_at_ms IS NOT NULL ORDER BY due_at_ms",
        *DUE_OF_APP,
    )
});

/// Stops at the first row that is due later than the best one can be claimed, so it passes running
/// leases only.
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

pub(super) static SELECT_WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT id {} AND due_at_ms <= ?2 AND (lease_until_ms <= ?2) IS NOT FALSE
         ORDER BY due_at_ms LIMIT ?3",
        *DUE_OF_APP,
    )
});

pub(super) fn due(
    connection: &Connection,
    app_id: &AppId,
    now: Timestamp,
    rows_max: u32,
) -> Result<u32, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_WAITING)?;
    let mut rows = statement.query(params![app_id.as_str(), now.as_ms(), rows_max])?;
    let mut waiting = 0;
    while rows.next()?.is_some() {
        waiting += 1;
    }
    Ok(waiting)
}

pub(super) const SELECT_SCHEDULED: &str = "SELECT due_at_ms, attempts, lease_until_ms FROM settle
    WHERE app_id = ? AND trade_system = ? AND out_settle_no = ? AND due_at_ms IS NOT NULL";

pub(super) fn scheduled(
    connection: &Connection,
    key: &Key,
    now: Timestamp,
) -> Result<Option<Scheduled>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_SCHEDULED)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(row);
    let (due_at, attempts) = (cursor.time()?, cursor.count()?);
    let leased = cursor.time_opt()?.map(|until| until.since(now)).filter(|left| !left.is_zero());
    Ok(Some(Scheduled { wait: due_at.since(now), attempts, leased }))
}

/// Reads the whole schedule in its index, and the rows of leases.
pub(super) const VOID_LEASES: &str = "
    UPDATE settle INDEXED BY settle_by_due
    SET lease_until_ms = NULL, wanted_at_ms = NULL,
        due_at_ms = min(due_at_ms, coalesce(attempted_at_ms, due_at_ms))
    WHERE due_at_ms IS NOT NULL AND lease_until_ms IS NOT NULL";

/// Ends the leases of a process that has ended. Their settles are due as of their last attempt, so
/// that recovery waits for no lease.
pub(super) fn void_leases(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute(VOID_LEASES, [])
}
