//! Reads all settles out of the database, and puts all settles into an empty one. The contract is
//! in [`super::super::moving`]. Gateways may run on it meanwhile.
//!
//! A mark is set under a lock of the table that every write of a settle waits for. So a write is
//! done before the mark, or it begins after it, finds it, and changes nothing.

use std::sync::LazyLock;

use serde_json::json;

use super::super::columns::{Cursor, Value};
use super::super::moving::{
    Closed, MoveError, Moved, PAGE, Reader, Task, Writer, read_moved, select_page,
};
use super::super::rows::{CHANGING, FIXED, OF_ORIGIN, SCHEDULE, Spelled, key_values, spelled};
use super::super::words::Word as _;
use super::fault::Fault;
use super::pool::{Lent, Urgency};
use super::refusal::{PostgresError, told};
use super::sql::{LASTING, wait};
use super::{Postgres, PostgresOptions};

/// For as long as it takes, but it does not wait long for the lock. (In PostgreSQL a statement
/// looks at the data after it has its locks.)
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0;
         SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '20s';
         SELECT {LASTING}; LOCK TABLE settle IN SHARE ROW EXCLUSIVE MODE"
    )
});

const SELECT_MARK: &str = "
    SELECT generation, closed, EXISTS (SELECT FROM settle) FROM store_state WHERE id = 1";

const SET_MARK: &str = "UPDATE store_state SET closed = $1 WHERE id = 1";

/// Opens the store after an import. Parameters: how long ago the store of before went back, or
/// null, and the time in a test, else null. (`greatest` passes over null.)
const OPEN: &str = "
    UPDATE store_state SET closed = NULL, begun_ms = greatest(begun_ms,
        coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) - $1)
    WHERE id = 1";

/// Parameters: the last row of the page before, and the time in a test, else null.
static SELECT_PAGE: LazyLock<String> = LazyLock::new(|| {
    let due_in = "CASE WHEN due_at_ms IS NULL THEN NULL WHEN lease_until_ms IS NOT NULL THEN 0
        ELSE greatest(due_at_ms - coalesce(
            $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint), 0) END";
    let entries = "string_agg(entry || E'\\n', '' ORDER BY revision)";
    select_page(entries, due_in, "$1", ", (SELECT generation FROM store_state) AS generation")
});

/// Parameters: rows of the table, whose `due_at_ms` is a delay, and the time in a test, else null.
static INSERT_PAGE: LazyLock<String> = LazyLock::new(|| {
    let written: Vec<&str> = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING).copied().collect();
    // In the order of `SCHEDULE`.
    format!(
        "INSERT INTO settle ({written}, {})
         SELECT {written}, fence,
                coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) + due_at_ms,
                NULL, NULL, NULL, attempts, backoff
         FROM json_populate_recordset(NULL::settle, $1::json)",
        SCHEDULE.join(", "),
        written = written.join(", "),
    )
});

const INSERT_LATE: &str = "
    INSERT INTO late_history (settle, revision, entry)
    SELECT settle.id, late.revision, late.entry
    FROM json_to_recordset($1::json) AS late (app_id text COLLATE \"C\",
        trade_system text COLLATE \"C\", out_settle_no text COLLATE \"C\", revision bigint,
        entry text COLLATE \"C\")
    JOIN settle ON settle.app_id = late.app_id AND settle.trade_system = late.trade_system
        AND settle.out_settle_no = late.out_settle_no";

impl Postgres {
    /// Closes the database for good and writes all settles of it. Returns how many there are.
    pub async fn export(options: PostgresOptions, to: &mut Writer<'_>) -> Result<u64, MoveError> {
        let store = Self::open_for(options, Task::Move).await?;
        let exported = store.read_all(to).await;
        store.close().await;
        exported
    }

    /// Opens a database again that an export closed.
    pub async fn take_back(options: PostgresOptions) -> Result<(), MoveError> {
        let store = Self::open_for(options, Task::Move).await?;
        let taken_back = store.change_mark(None, |found| match found.closed {
            Some(Closed::Moved) => Ok(()),
            Some(Closed::Importing) => Err(store.is_closed(Closed::Importing)),
            None => Err(MoveError::NotClosed { store: store.name() }),
        });
        let taken_back = taken_back.await;
        store.close().await;
        taken_back
    }

    /// Puts all settles of a file into an empty database. Returns how many there are.
    pub async fn import(options: PostgresOptions, from: &mut Reader<'_>) -> Result<u64, MoveError> {
        let store = Self::open_for(options, Task::Move).await?;
        let imported = store.put_all(from).await;
        store.close().await;
        imported
    }

    async fn read_all(&self, to: &mut Writer<'_>) -> Result<u64, MoveError> {
        let closing = self.change_mark(Some(Closed::Moved), |found| match found.closed {
            Some(Closed::Importing) => Err(self.is_closed(Closed::Importing)),
            Some(Closed::Moved) | None => Ok(()),
        });
        closing.await?;
        let failed = |fault| self.failed("read its settles", fault);
        let basis = self.basis();
        to.head(basis.went_back)?;
        let mut after = i64::MIN;
        loop {
            let values = [after.into(), self.time()];
            let rows = self.read(&SELECT_PAGE, &values).await.map_err(failed)?;
            for row in &rows {
                if row.try_get::<_, i64>("generation").ok() != Some(basis.generation) {
                    return Err(MoveError::Meanwhile { store: self.name() });
                }
                let moved = read_moved(&mut Cursor::new(row)).map_err(Fault::from);
                let (id, moved) = moved.map_err(failed)?;
                after = id;
                to.settle(Moved { record: basis.seen(moved.record), ..moved })?;
            }
            if rows.is_empty() {
                break;
            }
        }
        let mut lent = self.lend(Urgency::Ordinary).await.map_err(failed)?;
        let found = self.mark(&mut lent).await?;
        if (found.generation, found.closed) != (basis.generation, Some(Closed::Moved)) {
            return Err(MoveError::Meanwhile { store: self.name() });
        }
        to.end()
    }

    async fn put_all(&self, from: &mut Reader<'_>) -> Result<u64, MoveError> {
        let went_back = from.head()?;
        self.change_mark(Some(Closed::Importing), |found| self.takes(found)).await?;
        let mut lent = self.begin().await?;
        let failed = |fault| self.failed("write its settles", fault);
        let put = async {
            let found = self.mark(&mut lent).await?;
            self.takes(&found)?;
            let settles = self.insert_all(&mut lent, found.generation, from).await?;
            let values = [went_back.map_or(Value::Int(None), wait), self.time()];
            lent.session().run(OPEN, &values).await.map_err(failed)?;
            Ok(settles)
        };
        let put = put.await;
        self.end(lent, put).await
    }

    /// Whether an import may begin.
    fn takes(&self, found: &Found) -> Result<(), MoveError> {
        match found.closed {
            Some(Closed::Moved) => Err(self.is_closed(Closed::Moved)),
            Some(Closed::Importing) | None if found.has_settles => {
                Err(MoveError::NotEmpty { store: self.name() })
            }
            Some(Closed::Importing) | None => Ok(()),
        }
    }

    async fn insert_all(
        &self,
        lent: &mut Lent<'_>,
        generation: i64,
        from: &mut Reader<'_>,
    ) -> Result<u64, MoveError> {
        let (mut settles, mut page, mut late) = (0, Vec::new(), Vec::new());
        loop {
            let next = from.settle()?;
            let is_last = next.is_none();
            if let Some(moved) = next {
                add(moved, generation, &mut page, &mut late);
                settles += 1;
            }
            if page.len() == PAGE || is_last {
                for (sql, values, rows) in [
                    (INSERT_PAGE.as_str(), 2, std::mem::take(&mut page)),
                    (INSERT_LATE, 1, std::mem::take(&mut late)),
                ] {
                    let rows = serde_json::Value::Array(rows).to_string();
                    let all = [Value::from(rows.as_str()), self.time()];
                    let values = all.get(..values).expect("there are two");
                    let inserted = lent.session().run(sql, values).await;
                    inserted.map_err(|fault| match fault.is_unique_violation() {
                        true => from.bad(format!(
                            "one of the last {PAGE} settles has the same number as another one, or \
                             Douyin's same number"
                        )),
                        false => self.failed("write its settles", fault),
                    })?;
                }
            }
            if is_last {
                return Ok(settles);
            }
        }
    }

    /// Changes the mark, if what is found allows it. Every write of a settle that began before is
    /// done then.
    async fn change_mark(
        &self,
        mark: Option<Closed>,
        allows: impl FnOnce(&Found) -> Result<(), MoveError>,
    ) -> Result<(), MoveError> {
        let mut lent = self.begin().await?;
        let changed = async {
            allows(&self.mark(&mut lent).await?)?;
            let changed = lent.session().run(SET_MARK, &[mark.map(Closed::word).into()]).await;
            changed.map(drop).map_err(|fault| self.failed("mark it", fault))
        };
        let changed = changed.await;
        self.end(lent, changed).await
    }

    async fn mark(&self, lent: &mut Lent<'_>) -> Result<Found, MoveError> {
        let found = async {
            let rows = lent.session().run(SELECT_MARK, &[]).await?;
            let lacking = || Fault::Unreadable("store_state has no row".to_owned());
            let mut cursor = Cursor::new(rows.first().ok_or_else(lacking)?);
            let (generation, closed) = (cursor.int()?, cursor.word_opt()?);
            Ok(Found { generation, closed, has_settles: cursor.flag_opt()? == Some(true) })
        };
        found.await.map_err(|fault| self.failed("read its mark", fault))
    }

    /// A transaction that has the table for itself.
    async fn begin(&self) -> Result<Lent<'_>, MoveError> {
        let failed = |fault| self.failed("lock its table of settles", fault);
        let mut lent = self.lend(Urgency::Probe).await.map_err(failed)?;
        let begun = lent.session().migrate(&BEGIN).await;
        if begun.is_err() {
            lent.spoil();
        }
        begun.map(|()| lent).map_err(failed)
    }

    /// Commits a transaction, or gives it up.
    async fn end<T>(&self, mut lent: Lent<'_>, done: Result<T, MoveError>) -> Result<T, MoveError> {
        let done = done.inspect_err(|_| lent.spoil())?;
        let committed = lent.session().migrate("COMMIT").await;
        if committed.is_err() {
            lent.spoil();
        }
        match committed {
            Ok(()) => Ok(done),
            Err(Fault::Lost(_)) => Err(MoveError::InDoubt { store: self.name() }),
            Err(fault) => Err(self.failed("commit", fault)),
        }
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn is_closed(&self, closed: Closed) -> MoveError {
        MoveError::Closed { store: self.name(), closed }
    }

    fn failed(&self, doing: &'static str, fault: Fault) -> MoveError {
        match fault {
            Fault::Unreadable(what) => MoveError::Unreadable(what),
            Fault::Down(_) | Fault::Refused { .. } | Fault::Lost(_) | Fault::Closed(_) => {
                let (address, why) = (self.name(), told(fault));
                PostgresError::Failed { address, doing, why }.into()
            }
        }
    }
}

/// What a move must know of the store.
struct Found {
    generation: i64,
    closed: Option<Closed>,
    has_settles: bool,
}

/// One more row of the table, and those of its late history.
fn add(
    moved: Moved,
    generation: i64,
    page: &mut Vec<serde_json::Value>,
    late: &mut Vec<serde_json::Value>,
) {
    let Moved { mut record, history, due } = moved;
    let base = generation.saturating_mul(super::super::STEP);
    record.version = record.version.saturating_add(base);
    let (lines, entries) = spelled(&history);
    let settle = Spelled::new(record, lines);
    let key = key_values(&settle.record.key).map(json_of);
    late.extend(entries.into_iter().map(|entry| {
        let [app_id, trade_system, out_settle_no] = &key;
        json!({
            "app_id": app_id, "trade_system": trade_system, "out_settle_no": out_settle_no,
            "revision": entry.revision, "entry": entry.json,
        })
    }));
    let request = settle.request();
    let names = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING);
    let values = settle.fixed().into_iter().chain(settle.of_origin(request.as_deref()));
    let named = names.zip(values.chain(settle.changing()));
    let mut row: serde_json::Map<String, serde_json::Value> =
        named.map(|(name, value)| ((*name).to_owned(), json_of(value))).collect();
    let delay = due.map_or(Value::Int(None), |due| wait(due.wait));
    row.insert("due_at_ms".to_owned(), json_of(delay));
    row.insert("fence".to_owned(), base.into());
    row.insert("attempts".to_owned(), due.map_or(0, |due| due.attempts).into());
    row.insert("backoff".to_owned(), due.map_or(0, |due| due.backoff).into());
    page.push(row.into());
}

fn json_of(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Text(text) => text.into(),
        Value::Int(number) => number.into(),
        Value::Flag(flag) => flag.into(),
    }
}
