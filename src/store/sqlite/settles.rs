//! The writes of a settle: insert it, replace it. Each is one statement, unless something rare must
//! be done or reported.

use std::sync::LazyLock;

use rusqlite::{Connection, params};

use super::super::columns::{Cursor, Value};
use super::super::rows::{CHANGING, LateEntry, Spelled, listed_order_no, origin_kind, spelled};
use super::super::words::{OriginKind, Word, readable_sql};
use super::super::{Absorbed, Fence, Insert, NewDue, Swap, Swapped, first_fence};
use super::batch::Batch;
use super::columns::{Binder, Fault};
use super::history::insert_late;
use super::rows::{
    INSERT_SETTLE, bind_key, bind_new, record_by_key, record_by_settle_id, record_elsewhere,
    update_origin,
};
use super::schedule::{self, NewRow};
use crate::clock::Timestamp;
use crate::settle::{Due, HistoryEntry, Key, Origin, Record};

/// A new settle with its first history entry and its due row.
pub(super) struct NewSettle {
    settle: Spelled,
    due: NewRow,
}

impl NewSettle {
    pub(super) fn new(record: Record, first: &HistoryEntry, due: NewDue, now: Timestamp) -> Self {
        let (wait, lease, fence) = match due {
            NewDue::None => (None, None, Fence(0)),
            NewDue::In(wait) => (Some(wait), None, Fence(0)),
            NewDue::Leased { lease } => (Some(lease), Some(lease), first_fence(&record)),
        };
        let sent = record.evidence.last_permission.filter(|_| wait.is_some());
        let due = NewRow {
            due_at: wait.map(|wait| now.plus(wait)),
            lease_until: lease.map(|lease| now.plus(lease)),
            fence,
            // A send that the insert permits counts as an attempt, from which nudges keep their
            // gap.
            attempted_at: sent.map(|_| now),
            attempts: 0,
            backoff: 0,
        };
        let (history, _) = spelled(Some(first));
        Self { settle: Spelled::new(record, history), due }
    }

    pub(super) fn insert(&self, batch: &Batch<'_>) -> Result<Insert, Fault> {
        let inserted = batch.run(&INSERT_SETTLE, |statement| {
            let mut binder = Binder::new(statement);
            bind_new(&mut binder, &self.settle)?;
            self.due.bind(&mut binder)?;
            binder.execute()
        });
        match inserted? {
            0 => existing(batch, &self.settle.record),
            _ => Ok(Insert::Inserted),
        }
    }
}

/// The row that prevented the insert: the one with its key, else the one with its `settle_id`, else
/// the one that a caller created under its number elsewhere.
fn existing(connection: &Connection, record: &Record) -> Result<Insert, Fault> {
    if let Some(same_key) = record_by_key(connection, &record.key)? {
        return Ok(Insert::Existing(Box::new(same_key)));
    }
    let Key { app_id, trade_system, .. } = &record.key;
    let same_id = match record.state.settle_id() {
        Some(settle_id) => record_by_settle_id(connection, app_id, *trade_system, settle_id)?,
        None => None,
    };
    let by_default_app = record.request().is_some_and(|request| request.by_default_app);
    let existing = match same_id {
        None => record_elsewhere(connection, &record.key, by_default_app)?,
        same_id => same_id,
    };
    let existing = existing.expect("what kept the row out is there");
    Ok(Insert::Existing(Box::new(existing)))
}

/// A [`Swap`] as the table stores it.
pub(super) struct Replacement {
    settle: Spelled,
    late: Vec<LateEntry>,
    due: Due,
    lease: Option<Fence>,
    absorbed: Option<Absorbed>,
    now: Timestamp,
}

/// What the statement did that replaces a settle.
enum Replaced {
    Done,
    /// A condition is not met: the version, the origin, the lease, or known words.
    NotFound,
    SettleIdTaken(rusqlite::Error),
}

impl Replacement {
    pub(super) fn new(swap: Swap, now: Timestamp) -> Self {
        let Swap { record, history, due, lease, absorbed } = swap;
        let kept = absorbed.iter().flat_map(|absorbed| &absorbed.kept);
        let (history, late) = spelled(kept.chain(&history));
        Self { settle: Spelled::new(record, history), late, due, lease, absorbed, now }
    }

    pub(super) fn swap(&self, batch: &Batch<'_>) -> Result<Swapped, Fault> {
        if self.absorbed.is_none() {
            match self.replace(batch)? {
                Replaced::Done => return Ok(Swapped::Done),
                Replaced::SettleIdTaken(_) => return Ok(Swapped::SettleIdTaken),
                Replaced::NotFound => {}
            }
        }
        self.swap_or_tell(batch)
    }

    /// Merges another record into this one, changes the origin, or says why nothing is replaced.
    fn swap_or_tell(&self, batch: &Batch<'_>) -> Result<Swapped, Fault> {
        let record = &self.settle.record;
        let found = match find(batch, &record.key)? {
            Some(found) if found.version == record.version - 1 => found,
            Some(_) | None => return Ok(Swapped::Conflict),
        };
        if self.lease.is_some_and(|fence| !found.is_leased(fence, self.now)) {
            return Ok(Swapped::LeaseLost);
        }
        if let Some(absorbed) = &self.absorbed {
            match find(batch, &absorbed.key)? {
                Some(other) if other.version == absorbed.version => delete(batch, other.id)?,
                Some(_) | None => return Ok(Swapped::Conflict),
            }
        }
        if found.origin != origin_kind(&record.origin) {
            update_origin(batch, found.id, &self.settle)?;
        }
        match self.replace(batch)? {
            Replaced::Done => Ok(Swapped::Done),
            // Something was written already, so the whole operation fails.
            Replaced::SettleIdTaken(error) => Err(error.into()),
            Replaced::NotFound => Err(rusqlite::Error::QueryReturnedNoRows.into()),
        }
    }

    /// The one statement of a swap whose conditions are met.
    fn replace(&self, batch: &Batch<'_>) -> Result<Replaced, Fault> {
        let record = &self.settle.record;
        let replaced = batch.run(replace_sql(self.due), |statement| {
            let mut binder = Binder::new(statement);
            bind_key(&mut binder, &record.key)?;
            binder.put(record.version - 1)?;
            binder.put(origin_kind(&record.origin).word())?;
            binder.put(Value::Int(self.lease.map(|fence| fence.0)))?;
            binder.put(self.now)?;
            binder.put_all(&self.settle.changing())?;
            self.bind_due(&mut binder)?;
            binder.execute()
        });
        match replaced {
            Ok(0) => return Ok(Replaced::NotFound),
            Ok(_) => {}
            Err(error) if is_unique_violation(&error) => {
                return Ok(Replaced::SettleIdTaken(error));
            }
            Err(error) => return Err(error.into()),
        }
        match record.origin {
            Origin::Gateway(_) => {}
            Origin::Platform => update_listed(batch, record)?,
        }
        for entry in &self.late {
            insert_late(batch, &record.key, entry)?;
        }
        Ok(Replaced::Done)
    }

    fn bind_due(&self, binder: &mut Binder<'_, '_>) -> rusqlite::Result<()> {
        match self.due {
            Due::Keep | Due::Remove => Ok(()),
            Due::Extend { lease: wait } | Due::NotLater { wait } => binder.put(self.now.plus(wait)),
            Due::Release(to) => {
                binder.put(self.now.plus(to.wait))?;
                binder.put(to.attempts)?;
                binder.put(to.backoff)
            }
        }
    }
}

/// The statement of a swap, by what it does to the due row.
fn replace_sql(due: Due) -> &'static str {
    fn sql(schedule: &str) -> String {
        let changing = CHANGING.iter().zip(8..).map(|(column, number)| match *column {
            "history" => format!("history = history || ?{number}"),
            column => format!("{column} = ?{number}"),
        });
        let changing: Vec<String> = changing.collect();
        format!(
            "UPDATE settle SET {}{schedule}
             WHERE app_id = ?1 AND trade_system = ?2 AND out_settle_no = ?3 AND version = ?4
               AND origin = ?5 AND (?6 IS NULL OR (fence = ?6 AND lease_until_ms > ?7)) AND {}",
            changing.join(", "),
            readable_sql(),
        )
    }
    static KEEP: LazyLock<String> = LazyLock::new(|| sql(""));
    // Under a lease, of a settle that owes a query.
    static REMOVE: LazyLock<String> =
        LazyLock::new(|| sql(&format!(", {}", schedule::set_none("?6 IS NOT NULL AND ?14"))));
    static EXTEND: LazyLock<String> =
        LazyLock::new(|| sql(&format!(", {}", schedule::set_extended("?26"))));
    static RELEASE: LazyLock<String> =
        LazyLock::new(|| sql(&format!(", {}", schedule::set_released("?26", "?7", "?27", "?28"))));
    static NOT_LATER: LazyLock<String> =
        LazyLock::new(|| sql(&format!(", {}", schedule::set_not_later("?26"))));
    match due {
        Due::Keep => &KEEP,
        Due::Remove => &REMOVE,
        Due::Extend { .. } => &EXTEND,
        Due::Release(_) => &RELEASE,
        Due::NotLater { .. } => &NOT_LATER,
    }
}

/// A settle that was not made here is listed under the order that Douyin named, perhaps only now. A
/// statement of its own, so that writes of other settles need not update this index.
fn update_listed(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    let Key { app_id, trade_system, out_settle_no } = &record.key;
    let mut statement = connection.prepare_cached(UPDATE_LISTED)?;
    statement.execute(params![
        app_id.as_str(),
        trade_system.word(),
        out_settle_no.as_str(),
        listed_order_no(record),
    ])?;
    Ok(())
}

pub(super) const UPDATE_LISTED: &str = "
    UPDATE settle SET listed_order_no = ?4
    WHERE app_id = ?1 AND trade_system = ?2 AND out_settle_no = ?3 AND listed_order_no IS NOT ?4";

/// Removes all of a settle that is merged into another one.
fn delete(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    for delete in ["DELETE FROM late_history WHERE settle = ?", "DELETE FROM settle WHERE id = ?"] {
        connection.prepare_cached(delete)?.execute([id])?;
    }
    Ok(())
}

/// The only unique column that a swap changes is `settle_id`.
fn is_unique_violation(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}

/// What a change of a settle must know of its row.
pub(super) struct Found {
    pub(super) id: i64,
    version: i64,
    origin: OriginKind,
    fence: Fence,
    pub(super) due_at: Option<Timestamp>,
    pub(super) lease_until: Option<Timestamp>,
    pub(super) attempted_at: Option<Timestamp>,
}

impl Found {
    fn is_leased(&self, fence: Fence, now: Timestamp) -> bool {
        self.fence == fence && self.lease_until.is_some_and(|until| until > now)
    }

    /// Whether the lease with this fence was neither given back nor claimed by another worker.
    pub(super) fn is_still_leased(&self, fence: Fence) -> bool {
        self.fence == fence && self.lease_until.is_some()
    }
}

pub(super) static SELECT_FOUND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT id, {}, version, origin, fence, due_at_ms, lease_until_ms, attempted_at_ms
         FROM settle
         WHERE app_id = ? AND trade_system = ? AND out_settle_no = ?",
        readable_sql(),
    )
});

/// The row under a key, for a change. Refuses a row with an unknown word.
pub(super) fn find(connection: &Connection, key: &Key) -> Result<Option<Found>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_FOUND)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(row);
    let id = cursor.int()?;
    if cursor.flag_opt()? != Some(true) {
        return Err(Fault::Unreadable("the settle holds an unknown word".to_owned()));
    }
    Ok(Some(Found {
        id,
        version: cursor.int()?,
        origin: cursor.word()?,
        fence: Fence(cursor.int()?),
        due_at: cursor.time_opt()?,
        lease_until: cursor.time_opt()?,
        attempted_at: cursor.time_opt()?,
    }))
}
