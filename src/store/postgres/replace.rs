//! One settle is replaced by a compare-and-swap: by one statement, unless another record is merged
//! into it.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::rows::{
    CHANGING, LateEntry, OF_ORIGIN, Spelled, key_values, listed_order_no, origin_kind, spelled,
};
use super::super::words::{OriginKind, Word as _, readable_sql};
use super::super::{Absorbed, Error, Fence, Swap, Swapped};
use super::fault::Fault;
use super::pool::{Lent, Urgency};
use super::settles::done;
use super::sql::{HERE, KEY_IS, RUNS, VERSION, wait};
use super::{Postgres, TRIES_MAX, again_and_again, schedule};
use crate::settle::{Due, Key};

impl Postgres {
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
                    if let Err(fault) = committed {
                        lent.spoil();
                        return Err(fault.perhaps_durable());
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
