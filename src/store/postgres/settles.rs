//! The writes of a settle: insert it, replace it. Each is one statement, unless another record is
//! merged into it.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::rows::{
    CHANGING, CREATED, CREATED_BY_DEFAULT, FIXED, LateEntry, OF_ORIGIN, SCHEDULE, Spelled,
    key_values, listed_order_no, origin_kind, spelled,
};
use super::super::words::{OriginKind, Word as _, readable_sql};
use super::super::{Absorbed, Error, Fence, Insert, NewDue, Swap, Swapped, first_fence};
use super::fault::Fault;
use super::pool::{Lent, Urgency};
use super::sql::{HERE, KEY_IS, RUNS, VERSION, wait};
use super::{Postgres, TRIES_MAX, again_and_again, list, record, schedule, stale};
use crate::settle::{
    AppId, CallerName, Due, HistoryEntry, Key, Record, SettleId, Source, TradeSystem,
};

static SELECT_BY_KEY: LazyLock<String> =
    LazyLock::new(|| list::select("app_id = $1 AND trade_system = $2 AND out_settle_no = $3"));
static SELECT_BY_SETTLE_ID: LazyLock<String> =
    LazyLock::new(|| list::select("app_id = $1 AND trade_system = $2 AND settle_id = $3"));

static SELECT_ELSEWHERE: LazyLock<String> = LazyLock::new(|| {
    list::select(&format!(
        "{CREATED} AND app_id = $1 AND out_settle_no = $2 AND trade_system <> $3"
    ))
});
static SELECT_OF_DEFAULT_APP: LazyLock<String> = LazyLock::new(|| {
    list::select(&format!("{CREATED_BY_DEFAULT} AND out_settle_no = $1 AND app_id <> $2"))
});

/// After the values of the columns come the fence, the delay until it is due, the delay until the
/// lease ends, and whether a send is permitted.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let written: Vec<&str> = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING).copied().collect();
    let mut values: Vec<String> = (3..).take(written.len()).map(|n| format!("${n}")).collect();
    let [fence, due, lease, sent] = [0, 1, 2, 3].map(|n| format!("${}", 3 + written.len() + n));
    // In the order of `SCHEDULE`. A send that the insert permits counts as an attempt, from which
    // nudges keep their gap.
    values.extend([
        fence,
        format!("here.now + {due}"),
        format!("here.now + {lease}"),
        "NULL".to_owned(),
        format!("CASE WHEN {sent} THEN here.now END"),
        "0".to_owned(),
        "0".to_owned(),
    ]);
    let columns: Vec<&str> = written.iter().chain(&SCHEDULE).copied().collect();
    let version = 3 + FIXED.len() + OF_ORIGIN.len();
    format!(
        "WITH {HERE}, done AS (
             INSERT INTO settle ({}) SELECT {} FROM here WHERE ${version} > here.base
             ON CONFLICT DO NOTHING RETURNING 1
         ) SELECT EXISTS (SELECT FROM done) FROM here",
        columns.join(", "),
        values.join(", "),
    )
});

impl Postgres {
    pub(in crate::store) async fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        self.by_key(key).await.map_err(Fault::nothing_durable)
    }

    pub(in crate::store) async fn get_by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Error> {
        let found = self.by_settle_id(app_id, trade_system, settle_id).await;
        found.map_err(Fault::nothing_durable)
    }

    async fn by_key(&self, key: &Key) -> Result<Option<Record>, Fault> {
        for _ in 0..TRIES_MAX {
            let asked = self.seen.moment();
            let (rows, basis) = self.records(&SELECT_BY_KEY, &key_values(key)).await?;
            let found = rows.first().map(|row| record(row, basis)).transpose()?;
            if self.is_sound(key, found.as_ref(), asked).await? {
                return Ok(found);
            }
        }
        Err(stale())
    }

    async fn by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Fault> {
        let name = [app_id.as_str().into(), trade_system.word().into(), settle_id.as_str().into()];
        self.sound(&SELECT_BY_SETTLE_ID, &name).await
    }

    pub(in crate::store) async fn elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Error> {
        self.record_elsewhere(key, by_default_app).await.map_err(Fault::nothing_durable)
    }

    async fn record_elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Fault> {
        let [app_id, trade_system, number] = key_values(key);
        let found = self.sound(&SELECT_ELSEWHERE, &[app_id, number, trade_system]).await?;
        match found {
            None if by_default_app => self.sound(&SELECT_OF_DEFAULT_APP, &[number, app_id]).await,
            found => Ok(found),
        }
    }

    /// The record that a statement finds, if there is one.
    async fn sound(
        &self,
        select: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Record>, Fault> {
        for _ in 0..TRIES_MAX {
            let asked = self.seen.moment();
            let (rows, basis) = self.records(select, values).await?;
            let Some(found) = rows.first().map(|row| record(row, basis)).transpose()? else {
                return Ok(None);
            };
            if self.is_sound(&found.key, Some(&found), asked).await? {
                return Ok(Some(found));
            }
        }
        Err(stale())
    }

    /// Begins a new generation if the server that was looked at has an older settle than this
    /// gateway has seen, too.
    pub(super) async fn confirm_older(&self, key: &Key) -> Result<(), Fault> {
        let (asked, generation) = (self.seen.moment(), self.basis().generation);
        let found = Found::read(&self.ask(&FIND, &key_values(key)).await?)?;
        if self.seen.is_older(key, found.map(|found| found.version), asked) {
            self.begin_after(generation).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn insert(
        &self,
        record: Record,
        source: Source,
        by: Option<CallerName>,
        due: NewDue,
    ) -> Result<Insert, Error> {
        let first = HistoryEntry { by, ..record.history_entry(source, None) };
        let (history, _) = spelled(Some(&first));
        let inserted = self.insert_new(&Spelled::new(record, history), due).await;
        inserted.map_err(Fault::perhaps_durable)
    }

    async fn insert_new(&self, settle: &Spelled, due: NewDue) -> Result<Insert, Fault> {
        let record = &settle.record;
        let (due_in, lease, fence) = match due {
            NewDue::None => (None, None, Fence(0)),
            NewDue::In(wait) => (Some(wait), None, Fence(0)),
            NewDue::Leased { lease } => (Some(lease), Some(lease), first_fence(record)),
        };
        let sent = record.evidence.last_permission.is_some() && due_in.is_some();
        let request = settle.request();
        let mut values = Vec::new();
        values.extend(settle.fixed());
        values.extend(settle.of_origin(request.as_deref()));
        values.extend(settle.changing());
        values.push(fence.0.into());
        values.extend([due_in, lease].map(|delay| delay.map_or(Value::Int(None), wait)));
        values.push(sent.into());
        // One that this gateway has seen must be there, or the store went back.
        if self.seen.knows(&record.key)
            && let Some(existing) = self.by_key(&record.key).await?
        {
            return Ok(Insert::Existing(Box::new(existing)));
        }
        for _ in 0..TRIES_MAX {
            if !self.basis().is_of(record.version) {
                let why = "the store began a new generation meanwhile: try again";
                return Err(Fault::Down(why.to_owned()));
            }
            let rows = self.write(&INSERT, &values).await?;
            if done(&rows)? {
                self.committed();
                self.note(record);
                return Ok(Insert::Inserted);
            }
            if let Some(existing) = self.existing(record).await? {
                return Ok(Insert::Existing(Box::new(existing)));
            }
            // It was merged into another one meanwhile.
        }
        Err(again_and_again())
    }

    /// The record that prevented the insert: the one with its key, else the one with its
    /// `settle_id`, else the one that a caller created under its number elsewhere.
    async fn existing(&self, record: &Record) -> Result<Option<Record>, Fault> {
        if let Some(same_key) = self.by_key(&record.key).await? {
            return Ok(Some(same_key));
        }
        let Key { app_id, trade_system, .. } = &record.key;
        if let Some(settle_id) = record.state.settle_id()
            && let Some(same_id) = self.by_settle_id(app_id, *trade_system, settle_id).await?
        {
            return Ok(Some(same_id));
        }
        match record.request() {
            Some(request) => self.record_elsewhere(&record.key, request.by_default_app).await,
            None => Ok(None),
        }
    }

    pub(in crate::store) async fn swap(&self, swap: Swap) -> Result<Swapped, Error> {
        let Swap { record, history, due, lease, absorbed } = swap;
        let kept = absorbed.iter().flat_map(|absorbed| &absorbed.kept);
        let (history, late) = spelled(kept.chain(&history));
        let late = (!late.is_empty()).then(|| Late::of(&late));
        let settle = Spelled::new(record, history);
        let change = Change { request: None, settle: &settle, late, due, lease };
        match absorbed {
            None => self.replace_or_tell(change).await.map_err(Fault::perhaps_durable),
            Some(absorbed) => self.absorb(change, &absorbed).await,
        }
    }

    async fn replace_or_tell(&self, mut change: Change<'_>) -> Result<Swapped, Fault> {
        let record = &change.settle.record;
        for _ in 0..TRIES_MAX {
            let asked = self.seen.moment();
            let rows = match self.write(change.sql(), &change.values()).await {
                Err(fault) if fault.is_unique_violation() => return Ok(Swapped::SettleIdTaken),
                answer => answer?,
            };
            if done(&rows)? {
                self.committed();
                if self.seen.is_older(&record.key, Some(record.version - 1), asked) {
                    // It is durable, on top of a state that this gateway knows to be over. If that
                    // cannot be confirmed now, the next reader finds it too old.
                    self.seen.note(&record.key, record.version + 1, self.clock.uptime());
                    let _ = self.confirm_older(&record.key).await;
                    return Err(Fault::Lost("the store went back meanwhile".to_owned()));
                }
                self.note(record);
                return Ok(Swapped::Done);
            }
            let found = self.ask(&FIND, &key_values(&change.settle.record.key)).await?;
            let Some(found) = Found::read(&found)? else { return Ok(Swapped::Conflict) };
            match found.refuses(&change) {
                Some(swapped) => return Ok(swapped),
                None => change.set_origin(&found),
            }
        }
        Err(again_and_again())
    }

    /// Merges another record into this one, in one transaction.
    async fn absorb(&self, mut change: Change<'_>, absorbed: &Absorbed) -> Result<Swapped, Error> {
        for _ in 0..TRIES_MAX {
            let lent = self.lend(Urgency::Ordinary).await;
            let mut lent = lent.map_err(Fault::nothing_durable)?;
            let merged = async {
                lent.session().batch("BEGIN").await?;
                self.merge(&mut lent, &mut change, absorbed).await
            };
            let fault = match merged.await {
                Ok(Some(Swapped::Done)) => {
                    let committed = lent.session().batch("COMMIT").await;
                    if committed.is_err() || lent.session().is_doubtful() {
                        lent.spoil();
                        let doubtful = Fault::Lost("the commit may be lost".to_owned());
                        return Err(committed.err().unwrap_or(doubtful).perhaps_durable());
                    }
                    self.committed();
                    self.note(&change.settle.record);
                    return Ok(Swapped::Done);
                }
                Ok(Some(swapped)) => {
                    lent.spoil();
                    return Ok(swapped);
                }
                Ok(None) => None,
                Err(fault) => Some(fault),
            };
            lent.spoil();
            drop(lent);
            match fault {
                None => self.look_again().await.map_err(Fault::nothing_durable)?,
                Some(fault) if fault.is_passing() => {}
                Some(fault) => return Err(fault.nothing_durable()),
            }
        }
        Err(again_and_again().nothing_durable())
    }

    /// `None`: the store is not what it was taken for. Whatever is not `Done` is to be rolled back.
    async fn merge(
        &self,
        lent: &mut Lent<'_>,
        change: &mut Change<'_>,
        absorbed: &Absorbed,
    ) -> Result<Option<Swapped>, Fault> {
        let key = &change.settle.record.key;
        // In one order, so that two mergers never wait for each other.
        let mut keys = [key, &absorbed.key];
        keys.sort_unstable();
        let (mut ours, mut other) = (None, None);
        for locked in keys {
            let values = self.with_here(&key_values(locked));
            let rows = lent.session().run(&FIND_LOCKED, &values).await?;
            let found = if locked == key { &mut ours } else { &mut other };
            *found = Found::read_locked(&rows)?;
        }
        let Some(ours) = ours else { return self.gone_or_stale(lent).await };
        if let Some(swapped) = ours.refuses(change) {
            return Ok(Some(swapped));
        }
        match other {
            Some(other) if other.version == absorbed.version => {
                for delete in [
                    "DELETE FROM late_history WHERE settle = $1",
                    "DELETE FROM settle WHERE id = $1",
                ] {
                    lent.session().run(delete, &[other.id.into()]).await?;
                }
            }
            Some(_) | None => return Ok(Some(Swapped::Conflict)),
        }
        change.set_origin(&ours);
        let values = self.with_here(&change.values());
        let rows = lent.session().run(change.sql(), &values).await?;
        match rows.is_empty() {
            true => Ok(None),
            false if done(&rows)? => Ok(Some(Swapped::Done)),
            false => Err(Fault::Down("a locked row has changed".to_owned())),
        }
    }

    async fn gone_or_stale(&self, lent: &mut Lent<'_>) -> Result<Option<Swapped>, Fault> {
        static IS_HERE: LazyLock<String> =
            LazyLock::new(|| format!("WITH {HERE} SELECT now FROM here"));
        let rows = lent.session().run(&IS_HERE, &self.with_here(&[])).await?;
        Ok((!rows.is_empty()).then_some(Swapped::Conflict))
    }
}

/// A [`Swap`] as the table stores it.
struct Change<'a> {
    settle: &'a Spelled,
    /// The request, if the origin changes too.
    request: Option<Option<String>>,
    late: Option<Late>,
    due: Due,
    lease: Option<Fence>,
}

/// History entries that do not go into the row, as a statement takes them: the revisions with
/// commas between them, the entries with line ends.
struct Late {
    revisions: String,
    entries: String,
}

impl Late {
    fn of(late: &[LateEntry]) -> Self {
        let revisions: Vec<String> = late.iter().map(|late| late.revision.to_string()).collect();
        let entries: Vec<&str> = late.iter().map(|late| late.json.as_str()).collect();
        Self { revisions: revisions.join(","), entries: entries.join("\n") }
    }
}

/// The number of the first parameter for what a swap writes. Before it come those of [`HERE`], the
/// key, the version before, and the lease.
const FIRST: usize = 8;

/// The number of the parameter for the column `owes_query`.
const OWES_QUERY: usize = FIRST + 6;

impl Change<'_> {
    /// If the row has another origin than the record, that is written, too.
    fn set_origin(&mut self, found: &Found) {
        if found.origin != origin_kind(&self.settle.record.origin) {
            self.request = Some(self.settle.request());
        }
    }

    fn values(&self) -> Vec<Value<'_>> {
        let record = &self.settle.record;
        let mut values = Vec::from(key_values(&record.key));
        values.push((record.version - 1).into());
        values.push(Value::Int(self.lease.map(|fence| fence.0)));
        values.extend(self.settle.changing());
        let (delay, attempts, backoff) = match self.due {
            Due::Keep | Due::Remove => (None, 0, 0),
            Due::Extend { lease: wait } | Due::NotLater { wait } => (Some(wait), 0, 0),
            Due::Release(to) => (Some(to.wait), to.attempts, to.backoff),
        };
        values.push(delay.map_or(Value::Int(None), wait));
        values.extend([attempts, backoff].map(Value::from));
        values.push(self.late.as_ref().map(|late| late.revisions.as_str()).into());
        values.push(self.late.as_ref().map(|late| late.entries.as_str()).into());
        match &self.request {
            Some(request) => values.extend(self.settle.of_origin(request.as_deref())),
            None => {
                values.push(origin_kind(&record.origin).word().into());
                values.push(listed_order_no(record).into());
            }
        }
        values
    }

    /// The statement, by what it does to the due row and to the origin.
    fn sql(&self) -> &'static str {
        static ALL: LazyLock<[[String; 5]; 2]> = LazyLock::new(|| {
            [false, true].map(|with_origin| {
                let delay = format!("${}", FIRST + CHANGING.len());
                let [attempts, backoff] =
                    [1, 2].map(|n| format!("${}", FIRST + CHANGING.len() + n));
                [
                    String::new(),
                    // What the record is by now decides, and not what it was.
                    schedule::set_none(&format!("$7 IS NOT NULL AND ${OWES_QUERY}")),
                    schedule::set_extended(&delay),
                    schedule::set_not_later(&format!("here.now + {delay}")),
                    schedule::set_released(&delay, &attempts, &backoff),
                ]
                .map(|schedule| replace_sql(&schedule, with_origin))
            })
        });
        let [keep, remove, extend, not_later, release] = &ALL[usize::from(self.request.is_some())];
        match self.due {
            Due::Keep => keep,
            Due::Remove => remove,
            Due::Extend { .. } => extend,
            Due::NotLater { .. } => not_later,
            Due::Release(_) => release,
        }
    }
}

/// The parameters are in the order of [`Change::values`].
fn replace_sql(schedule: &str, with_origin: bool) -> String {
    let mut sets: Vec<String> = CHANGING
        .iter()
        .zip(FIRST..)
        .map(|(column, number)| match *column {
            "history" => format!("history = settle.history || ${number}"),
            column => format!("{column} = ${number}"),
        })
        .collect();
    sets.extend((!schedule.is_empty()).then(|| schedule.to_owned()));
    let late = FIRST + CHANGING.len() + 3;
    let origin = late + 2;
    let is_same = if with_origin {
        let set = OF_ORIGIN.iter().zip(origin..);
        sets.extend(set.map(|(column, number)| format!("{column} = ${number}")));
        "TRUE".to_owned()
    } else {
        // A settle that was not made here is listed under the order that Douyin names, perhaps only
        // now.
        sets.push(format!("listed_order_no = ${}", origin + 1));
        format!("settle.origin = ${origin}")
    };
    format!(
        "WITH {HERE}, done AS (
             UPDATE settle SET {} FROM here
             WHERE {KEY_IS} AND {VERSION} = $6 AND ($7 IS NULL OR (settle.fence = $7 AND {RUNS}))
               AND {is_same} AND {}
             RETURNING settle.id
         ), late AS (
             INSERT INTO late_history (settle, revision, entry)
             SELECT id, late.revision::bigint, late.entry FROM done,
                    unnest(string_to_array(${late}, ','), string_to_array(${}, E'\n'))
                        AS late (revision, entry)
         ) SELECT EXISTS (SELECT FROM done) FROM here",
        sets.join(", "),
        readable_sql(),
        late + 1,
    )
}

/// Whether the statement changed a row.
fn done(rows: &[Row]) -> Result<bool, Fault> {
    let row = rows.first().expect("a write tells what it did");
    Ok(Cursor::new(row).flag_opt()? == Some(true))
}

/// What a change of a settle must know of its row.
struct Found {
    id: i64,
    version: i64,
    origin: OriginKind,
    fence: Fence,
    is_leased: bool,
}

fn find_sql(locked: &str, join: &str) -> String {
    format!(
        "WITH {HERE} SELECT settle.id, {}, {VERSION}, origin, fence, {RUNS}
         FROM here {join} settle ON {KEY_IS} {locked}",
        readable_sql(),
    )
}

static FIND: LazyLock<String> = LazyLock::new(|| find_sql("", "LEFT JOIN"));
static FIND_LOCKED: LazyLock<String> = LazyLock::new(|| find_sql("FOR UPDATE OF settle", "JOIN"));

impl Found {
    /// Refuses a row with an unknown word.
    fn read(rows: &[Row]) -> Result<Option<Self>, Fault> {
        let row = rows.first().expect("a write tells what it did");
        let mut cursor = Cursor::new(row);
        let Some(id) = cursor.int_opt()? else { return Ok(None) };
        if cursor.flag_opt()? != Some(true) {
            return Err(Fault::Unreadable("the settle holds an unknown word".to_owned()));
        }
        Ok(Some(Self {
            id,
            version: cursor.int()?,
            origin: cursor.word()?,
            fence: Fence(cursor.int()?),
            is_leased: cursor.flag_opt()? == Some(true),
        }))
    }

    fn read_locked(rows: &[Row]) -> Result<Option<Self>, Fault> {
        if rows.is_empty() { Ok(None) } else { Self::read(rows) }
    }

    /// Why the change does not apply.
    fn refuses(&self, change: &Change<'_>) -> Option<Swapped> {
        if self.version != change.settle.record.version - 1 {
            return Some(Swapped::Conflict);
        }
        let holds = |fence: Fence| self.fence == fence && self.is_leased;
        (!change.lease.is_none_or(holds)).then_some(Swapped::LeaseLost)
    }
}
