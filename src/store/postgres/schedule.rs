//! The schedule: when a settle is looked at again, and by which worker. It is in the rows of the
//! settles. What the contract calls a due row is a settle with a `due_at_ms`. A lease is a
//! `lease_until_ms` with the fence of the claim that set it; one of an earlier generation is void.
//!
//! Moments are the server's: the statements add delays to its clock.

use std::sync::LazyLock;
use std::time::Duration;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::rows::key_values;
use super::super::words::readable_sql;
use super::super::{Claim, ClaimLimits, Error, Fence, Scheduled};
use super::Postgres;
use super::fault::Fault;
use super::sql::{HERE, KEY_IS, RUNS, wait, waited};
use crate::settle::{AppId, Key, OutSettleNo, Release};

// What a write does to the schedule of a settle, as assignments. The arguments are names of
// parameters, or a moment. A settle without a due row gets one only by `set_not_later`.

/// The fence stays, so that a later due row never grants an old fence again. `stays`: the condition
/// that the row stays if a look was asked for while a worker held the lease.
pub(super) fn set_none(stays: &str) -> String {
    format!(
        "due_at_ms = CASE WHEN {stays} THEN wanted_at_ms END, lease_until_ms = NULL,
         wanted_at_ms = NULL, attempted_at_ms = NULL, attempts = 0, backoff = 0"
    )
}

pub(super) fn set_extended(delay: &str) -> String {
    format!("lease_until_ms = CASE WHEN due_at_ms IS NOT NULL THEN here.now + {delay} END")
}

/// A caller or a callback may have asked for a look after the holder of the lease has looked.
/// (`least` passes over null.)
pub(super) fn set_released(delay: &str, attempts: &str, backoff: &str) -> String {
    let set = |column: &str, value: &str| {
        format!("{column} = CASE WHEN due_at_ms IS NULL THEN {column} ELSE {value} END")
    };
    let sets = [
        set("due_at_ms", &format!("least(here.now + {delay}, wanted_at_ms)")),
        set("attempted_at_ms", "here.now"),
        set("attempts", attempts),
        set("backoff", backoff),
        "lease_until_ms = NULL, wanted_at_ms = NULL".to_owned(),
    ];
    sets.join(", ")
}

pub(super) fn set_not_later(due_at: &str) -> String {
    format!(
        "due_at_ms = least(due_at_ms, {due_at}),
         wanted_at_ms = CASE WHEN lease_until_ms IS NOT NULL
                             THEN least(wanted_at_ms, {due_at}) END"
    )
}

/// The new holder is about to do what was asked for during an earlier lease.
const SET_LEASED: &str = "fence = greatest(settle.fence, here.base) + 1, wanted_at_ms = NULL";

/// How often a claim looks for other rows if other workers were faster.
const CLAIMS_TRIES_MAX: u32 = 16;

const NOW: &str = "(SELECT now FROM here)";

/// What both ways to claim have in common. Parameters: the app, the most claims, the lease, the
/// longest wait. `lock` makes a claim pass over what another one is about to take. (The array keeps
/// the planner, which does not know how few rows are free, from reading the whole table.)
fn claim_sql(lock: &str) -> String {
    // Without a join, so that the index is walked in its order and no further than needed.
    let free = |due_at: &str, limit: &str| {
        format!(
            "SELECT id, fence, greatest(due_at_ms, lease_until_ms) AS free_at FROM settle
             WHERE app_id = $3 AND due_at_ms {due_at}
               AND (lease_until_ms > {NOW} AND fence >= (SELECT base FROM here)
                    AND lease_until_ms <= {NOW} + $6) IS NOT TRUE AND {}
             ORDER BY due_at_ms, id LIMIT {limit} {lock}",
            readable_sql(),
        )
    };
    let due = free(&format!("<= {NOW}"), "$4");
    let rest = "greatest($4 - (SELECT count(*) FROM due), 0)";
    let beyond = free(&format!("> {NOW} + $6"), rest);
    format!(
        "WITH {HERE}, due AS MATERIALIZED ({due}), beyond AS MATERIALIZED ({beyond}),
         free AS MATERIALIZED (SELECT * FROM due UNION ALL SELECT * FROM beyond),
         done AS (
             UPDATE settle SET lease_until_ms = here.now + $5, {SET_LEASED} FROM free, here
             WHERE settle.id = ANY (ARRAY(SELECT id FROM free)) AND settle.id = free.id
               AND settle.fence = free.fence
             RETURNING settle.due_at_ms, settle.id, here.now - free.free_at, trade_system,
                       out_settle_no, settle.fence, attempts, backoff
         ) SELECT (SELECT count(*) FROM free), done.* FROM here LEFT JOIN done ON TRUE"
    )
}

static CLAIM_DUE: LazyLock<String> =
    LazyLock::new(|| claim_sql("FOR UPDATE OF settle SKIP LOCKED"));

/// Claims that meet each other are told apart by the fence: the later one changes nothing.
static CLAIM_DUE_PLAIN: LazyLock<String> = LazyLock::new(|| claim_sql(""));

static CLAIM: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {HERE}, done AS (
             UPDATE settle SET lease_until_ms = here.now + $6, {SET_LEASED} FROM here
             WHERE {KEY_IS} AND due_at_ms IS NOT NULL AND NOT {RUNS} AND {}
             RETURNING settle.fence, attempts, backoff
         ) SELECT done.* FROM here LEFT JOIN done ON TRUE",
        readable_sql(),
    )
});

/// A change by the worker whose lease has the fence in parameter 6, if no other worker has claimed
/// the settle since, whether the lease still runs or not.
fn held_sql(sets: &str) -> String {
    format!(
        "WITH {HERE}, done AS (
             UPDATE settle SET {sets} FROM here
             WHERE {KEY_IS} AND settle.fence = $6 AND settle.fence >= here.base
               AND lease_until_ms IS NOT NULL AND {readable}
             RETURNING 1
         ) SELECT EXISTS (SELECT FROM done),
                  CASE WHEN NOT EXISTS (SELECT FROM done)
                       THEN (SELECT {readable} FROM settle WHERE {KEY_IS}) END
           FROM here",
        readable = readable_sql(),
    )
}

static RELEASE: LazyLock<String> = LazyLock::new(|| held_sql(&set_released("$7", "$8", "$9")));
static REMOVE: LazyLock<String> = LazyLock::new(|| held_sql(&set_none("owes_query")));

/// A settle without an attempt keeps no gap. Nothing is written that would change nothing.
static NUDGE: LazyLock<String> = LazyLock::new(|| {
    // (`greatest` passes over null.)
    let wanted = "greatest(here.now + $6, settle.attempted_at_ms + $7)";
    format!(
        "WITH {HERE}, done AS (
             UPDATE settle SET {} FROM here
             WHERE {KEY_IS} AND due_at_ms IS NOT NULL AND {readable}
               AND (lease_until_ms IS NOT NULL OR {wanted} < due_at_ms)
         ) SELECT {readable}, least(due_at_ms, {wanted}) - here.now, due_at_ms IS NOT NULL
           FROM here LEFT JOIN settle ON {KEY_IS}",
        set_not_later(wanted),
        readable = readable_sql(),
    )
});

/// The first row that no worker holds, and of the rows before it the lease that ends first.
static NEXT_DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {HERE}, free AS MATERIALIZED (
             SELECT due_at_ms FROM settle
             WHERE app_id = $3 AND due_at_ms IS NOT NULL AND lease_until_ms IS NULL AND {readable}
             ORDER BY due_at_ms LIMIT 1
         ) SELECT least(
               (SELECT due_at_ms FROM free),
               (SELECT min(greatest(due_at_ms, lease_until_ms)) FROM settle
                WHERE app_id = $3 AND lease_until_ms IS NOT NULL AND {readable}
                  AND due_at_ms < coalesce((SELECT due_at_ms FROM free), 9223372036854775807))
           ) - now FROM here",
        readable = readable_sql(),
    )
});

static COUNT_DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {HERE} SELECT count(*) FROM (
             SELECT 1 FROM settle
             WHERE app_id = $3 AND due_at_ms <= {NOW}
               AND (lease_until_ms > {NOW} AND fence >= (SELECT base FROM here)) IS NOT TRUE
               AND {}
             ORDER BY due_at_ms LIMIT $4) AS found",
        readable_sql(),
    )
});

static SCHEDULED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {HERE} SELECT due_at_ms - here.now, attempts,
                            CASE WHEN {RUNS} THEN lease_until_ms - here.now END
         FROM here LEFT JOIN settle ON {KEY_IS}"
    )
});

impl Postgres {
    pub(in crate::store) async fn claim_due(
        &self,
        app_id: &AppId,
        limits: ClaimLimits,
    ) -> Result<Vec<Claim>, Error> {
        self.claim_free(app_id, limits).await.map_err(Fault::perhaps_durable)
    }

    async fn claim_free(&self, app_id: &AppId, limits: ClaimLimits) -> Result<Vec<Claim>, Fault> {
        let sql = if self.is_plain { &CLAIM_DUE_PLAIN } else { &CLAIM_DUE };
        let mut claimed: Vec<Claimed> = Vec::new();
        for _ in 0..CLAIMS_TRIES_MAX {
            let missing = limits.claims_max.saturating_sub(size(claimed.len()));
            let values =
                [app_id.as_str().into(), missing.into(), wait(limits.lease), wait(limits.wait_max)];
            let rows = match self.write(sql, &values).await {
                Ok(rows) => rows,
                // What was claimed is worked on all the same.
                Err(_) if !claimed.is_empty() => break,
                Err(fault) => return Err(fault),
            };
            let mut seen = 0;
            let before = claimed.len();
            for row in &rows {
                let (free, claim) = read_claim(row, app_id)?;
                seen = free;
                claimed.extend(claim);
            }
            // Other workers took the rest of what was seen: look for more.
            if i64::try_from(claimed.len() - before).is_ok_and(|claims| claims >= seen) {
                break;
            }
        }
        claimed.sort_unstable_by_key(|(due_at, id, _)| (*due_at, *id));
        Ok(claimed.into_iter().map(|(_, _, claim)| claim).collect())
    }

    pub(in crate::store) async fn claim(
        &self,
        key: &Key,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        self.claim_one(key, lease).await.map_err(Fault::perhaps_durable)
    }

    async fn claim_one(&self, key: &Key, lease: Duration) -> Result<Option<Claim>, Fault> {
        let mut values = Vec::from(key_values(key));
        values.push(wait(lease));
        let rows = self.write(&CLAIM, &values).await?;
        let mut cursor = told(&rows);
        let Some(fence) = cursor.int_opt()? else { return Ok(None) };
        let (fence, attempts, backoff) = (Fence(fence), cursor.count()?, cursor.count()?);
        Ok(Some(Claim { key: key.clone(), fence, attempts, backoff, late: Duration::ZERO }))
    }

    pub(in crate::store) async fn release(
        &self,
        key: &Key,
        fence: Fence,
        release: Release,
    ) -> Result<bool, Error> {
        let Release { wait: delay, attempts, backoff } = release;
        let values = [fence.0.into(), wait(delay), attempts.into(), backoff.into()];
        self.change_held(&RELEASE, key, &values).await.map_err(Fault::perhaps_durable)
    }

    pub(in crate::store) async fn remove_due(
        &self,
        key: &Key,
        fence: Fence,
    ) -> Result<bool, Error> {
        let removed = self.change_held(&REMOVE, key, &[fence.0.into()]).await;
        removed.map_err(Fault::perhaps_durable)
    }

    async fn change_held(
        &self,
        sql: &'static str,
        key: &Key,
        values: &[Value<'_>],
    ) -> Result<bool, Fault> {
        let all: Vec<_> = key_values(key).into_iter().chain(values.iter().copied()).collect();
        let rows = self.write(sql, &all).await?;
        let mut cursor = told(&rows);
        let is_ours = cursor.flag_opt()? == Some(true);
        refuse_unknown(cursor.flag_opt()?)?;
        Ok(is_ours)
    }

    pub(in crate::store) async fn nudge(
        &self,
        key: &Key,
        delay: Duration,
        gap: Duration,
    ) -> Result<Option<Duration>, Error> {
        self.bring_forward(key, delay, gap).await.map_err(Fault::perhaps_durable)
    }

    async fn bring_forward(
        &self,
        key: &Key,
        delay: Duration,
        gap: Duration,
    ) -> Result<Option<Duration>, Fault> {
        let mut values = Vec::from(key_values(key));
        values.extend([wait(delay), wait(gap)]);
        let rows = self.write(&NUDGE, &values).await?;
        let mut cursor = told(&rows);
        refuse_unknown(cursor.flag_opt()?)?;
        let due_in = cursor.int_opt()?;
        let is_due = cursor.flag_opt()? == Some(true);
        Ok(due_in.filter(|_| is_due).map(waited))
    }

    pub(in crate::store) async fn next_due(
        &self,
        app_id: &AppId,
    ) -> Result<Option<Duration>, Error> {
        let next = async {
            let rows = self.ask(&NEXT_DUE, &[app_id.as_str().into()]).await?;
            Ok::<_, Fault>(told(&rows).int_opt()?.map(waited))
        };
        next.await.map_err(Fault::nothing_durable)
    }

    pub(in crate::store) async fn due(&self, app_id: &AppId, rows_max: u32) -> Result<u32, Error> {
        let due = async {
            let rows = self.ask(&COUNT_DUE, &[app_id.as_str().into(), rows_max.into()]).await?;
            Ok::<_, Fault>(told(&rows).count()?)
        };
        due.await.map_err(Fault::nothing_durable)
    }

    pub(in crate::store) async fn scheduled(&self, key: &Key) -> Result<Option<Scheduled>, Error> {
        let scheduled = async {
            let rows = self.ask(&SCHEDULED, &key_values(key)).await?;
            let mut cursor = told(&rows);
            let Some(due_in) = cursor.int_opt()? else { return Ok::<_, Fault>(None) };
            let (attempts, leased) = (cursor.count()?, cursor.int_opt()?.map(waited));
            Ok(Some(Scheduled { wait: waited(due_in), attempts, leased }))
        };
        scheduled.await.map_err(Fault::nothing_durable)
    }
}

/// The one row of an answer that always has one.
fn told(rows: &[Row]) -> Cursor<'_> {
    Cursor::new(rows.first().expect("a write tells what it did"))
}

fn refuse_unknown(is_readable: Option<bool>) -> Result<(), Fault> {
    match is_readable {
        Some(false) => Err(Fault::Unreadable("the settle holds an unknown word".to_owned())),
        Some(true) | None => Ok(()),
    }
}

/// A claim after its place in the schedule: when the settle was due, and its row.
type Claimed = (i64, i64, Claim);

/// How many rows were free, and one that is claimed now with its place in the schedule.
fn read_claim(row: &Row, app_id: &AppId) -> Result<(i64, Option<Claimed>), Fault> {
    let mut cursor = Cursor::new(row);
    let free = cursor.int()?;
    let Some(due_at) = cursor.int_opt()? else { return Ok((free, None)) };
    let (id, late) = (cursor.int()?, waited(cursor.int()?));
    let (trade_system, out_settle_no) = (cursor.word()?, cursor.name(OutSettleNo::reported)?);
    let claim = Claim {
        key: Key { app_id: app_id.clone(), trade_system, out_settle_no },
        fence: Fence(cursor.int()?),
        attempts: cursor.count()?,
        backoff: cursor.count()?,
        late,
    };
    Ok((free, Some((due_at, id, claim))))
}

fn size(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
