//! The store in a PostgreSQL database, for any number of gateway processes.
//!
//! Every operation is one statement, which is one transaction by itself, and every statement that
//! writes names in its condition what it expects: the version, the fence, the generation of the
//! store ([`sql::HERE`]). Nothing is decided in memory, so it does not matter which process
//! decides. Time is the server's. [`mod@pool`] lends connections, [`session`] sets them up and
//! refuses servers on which a commit may not last, [`generation`] and [`seen`] notice that commits
//! were lost.
//!
//! What an operation does is in [`settles`] (insert, swap), [`schedule`] (leases), [`list`]
//! (pages), [`sweep`] (repairs) and [`unfinished`]; the columns of a settle are in
//! [`super::rows`].

mod fault;
mod generation;
mod hints;
mod list;
mod migrations;
mod moving;
mod options;
mod pool;
mod refusal;
mod replace;
mod schedule;
mod seen;
mod session;
mod settles;
mod shared;
mod sql;
mod sweep;
mod tls;
mod unfinished;

#[cfg(test)]
pub(in crate::store) mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::columns::{Cursor, Value};
use super::moving::Task;
use super::rows::read_record;
use super::{Error, Generation, Hearing, Hints};
use crate::clock::Clock;
use crate::metrics::COMMIT_TIME;
use crate::settle::{Key, Origin, Record};
use fault::Fault;
use generation::{Basis, Look};
use hints::Notifier;
use pool::{Lent, Pool, Urgency};
use seen::{Moment, Seen};
use sql::lasting;

pub use options::{BadAddress, Password, PostgresAddress, PostgresOptions};
pub use refusal::PostgresError;

/// How often an operation is tried that other writers were in the way of, or that met a new
/// generation.
const TRIES_MAX: u32 = 8;

/// The open database.
pub struct Postgres {
    pool: Arc<Pool>,
    basis: Mutex<Basis>,
    /// By which it notices that the store went back.
    seen: Seen,
    /// Whether the engine tells how far its log has come.
    tells_position: bool,
    /// For the operator.
    path: PathBuf,
    clock: Clock,
    time: Option<Clock>,
    is_plain: bool,
    sends_last: Duration,
    task: Task,
    commits: AtomicU64,
    closed: CancellationToken,
    hints: Arc<Hints>,
    /// `None`: nothing is told to other gateways, and nothing heard of them.
    notifier: Option<Notifier>,
    /// Has the connection for hints.
    listening: TaskTracker,
}

impl Postgres {
    /// Makes the tables in a database that has none.
    pub async fn init(options: &PostgresOptions) -> Result<(), PostgresError> {
        let pool = pool(options)?;
        let made = async {
            let mut lent = pool.lend(Urgency::Probe).await?;
            migrations::init(lent.session(), &options.address).await
        };
        let made = made.await;
        pool.close().await;
        made
    }

    /// Opens the database, after its schema was brought up to date.
    pub async fn open(options: PostgresOptions) -> Result<Self, PostgresError> {
        Self::open_for(options, Task::Work).await
    }

    async fn open_for(options: PostgresOptions, task: Task) -> Result<Self, PostgresError> {
        ["durable", "failed"].iter().for_each(|result| COMMIT_TIME.begin([result]));
        let pool = Arc::new(pool(&options)?);
        let mut lent = pool.lend(Urgency::Probe).await?;
        migrations::migrate(lent.session(), &options.address).await?;
        let mut look = Look {
            session: lent.session(),
            clock: &options.clock,
            time: options.time.as_ref(),
            sends_last: options.sends_last,
            known: None,
            task,
        };
        let tells_position = look.position().await?.is_some();
        let basis = match look.look().await {
            Err(Fault::Closed(closed)) => {
                let address = options.address.to_string();
                return Err(PostgresError::Closed { address, closed });
            }
            looked => looked?,
        };
        drop(lent);
        let (closed, hints) = (CancellationToken::new(), Arc::new(Hints::new()));
        let listening = TaskTracker::new();
        let notifier = (!options.plain && task == Task::Work).then(|| {
            let (notifier, listener) = Notifier::new(Arc::clone(&pool), Arc::clone(&hints));
            listening.spawn(listener.run(closed.clone()));
            notifier
        });
        listening.close();
        Ok(Self {
            pool,
            basis: Mutex::new(basis),
            seen: Seen::new(basis.generation),
            tells_position,
            path: options.address.to_string().into(),
            clock: options.clock,
            time: options.time,
            is_plain: options.plain,
            sends_last: options.sends_last,
            task,
            commits: AtomicU64::new(0),
            closed,
            hints,
            notifier,
            listening,
        })
    }

    /// Begins a new generation, as an operator asks for it. Gateways may run meanwhile.
    pub async fn begin_generation(options: PostgresOptions) -> Result<Generation, PostgresError> {
        let store = Self::open(options).await?;
        let begun = async {
            let mut lent = store.lend(Urgency::Ordinary).await?;
            let number = store.look_with(&mut lent).begin_at_once().await?;
            drop(lent);
            let open_settles = store.open_settles_of_callers().await?;
            Ok(Generation { number, open_settles })
        };
        let begun = begun.await;
        store.close().await;
        begun
    }

    /// Other gateways may work on it, too.
    pub(super) fn has_one_process(&self) -> bool {
        false
    }

    pub(super) fn first_version(&self) -> i64 {
        self.basis().version(1)
    }

    pub(super) fn may_have_forgotten(&self) -> bool {
        self.basis().may_have_forgotten(self.clock.uptime())
    }

    #[cfg(test)]
    pub(super) fn carries_hints(&self) -> bool {
        self.notifier.is_some()
    }

    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        self.time.as_ref().expect("a test gives the time")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        const PROVE: &str = concat!(
            "UPDATE proof_of_write SET times = times + 1
             WHERE EXISTS (SELECT FROM store_state WHERE closed IS NULL) AND ",
            lasting!(),
            " IS NOT NULL RETURNING NULL::bigint AS position"
        );
        static PROVE_AND_TELL: LazyLock<String> =
            LazyLock::new(|| PROVE.replace("NULL::bigint", generation::POSITION));
        let sql = if self.tells_position { PROVE_AND_TELL.as_str() } else { PROVE };
        let generation = self.basis().generation;
        let rows = self.commit(Urgency::Probe, sql, &[]).await.map_err(Fault::perhaps_durable)?;
        if rows.is_empty() {
            self.look_again().await.map_err(Fault::nothing_durable)?;
        }
        self.committed();
        let lacking = || Error::Unavailable("proof_of_write has no row".to_owned());
        let position = Cursor::new(rows.first().ok_or_else(lacking)?).int_opt();
        let position = position.map_err(|fault| Fault::from(fault).nothing_durable())?;
        // The commit comes after it in the log, and is on disk by now.
        position.into_iter().for_each(|position| self.seen.note_position(position, generation));
        Ok(())
    }

    /// Every operation writes for itself, so this waits until the store is closed.
    pub(super) async fn writer_ended(&self) {
        self.closed.cancelled().await;
    }

    pub(super) async fn close(&self) {
        self.closed.cancel();
        self.listening.wait().await;
        self.pool.close().await;
    }

    /// A hint that no connection takes at once is lost.
    pub(super) fn hint(&self, keys: &[Key]) -> Result<(), Error> {
        self.notifier.as_ref().map_or(Ok(()), |notifier| notifier.send(keys))
    }

    pub(super) fn hear(&self) -> Hearing {
        self.hints.hear()
    }

    fn basis(&self) -> Basis {
        *self.basis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_with<'a>(&'a self, lent: &'a mut Lent<'_>) -> Look<'a> {
        Look {
            session: lent.session(),
            clock: &self.clock,
            time: self.time.as_ref(),
            sends_last: self.sends_last,
            known: Some((self.basis(), &self.seen)),
            task: self.task,
        }
    }

    /// A connection to a server that was looked at.
    async fn lend(&self, urgency: Urgency) -> Result<Lent<'_>, Fault> {
        let mut lent = self.pool.lend(urgency).await?;
        if !lent.session().is_looked_at {
            self.look(&mut lent).await?;
        }
        Ok(lent)
    }

    async fn look_again(&self) -> Result<(), Fault> {
        let mut lent = self.pool.lend(Urgency::Ordinary).await?;
        self.look(&mut lent).await
    }

    /// Reads what the store is by now. What fails here has changed nothing of the operation that
    /// needs it.
    async fn look(&self, lent: &mut Lent<'_>) -> Result<(), Fault> {
        match self.look_with(lent).look().await {
            Ok(basis) => {
                let mut known = self.basis.lock().unwrap_or_else(PoisonError::into_inner);
                // Another look may have been faster.
                if basis.generation > known.generation {
                    self.seen.begin(basis.generation);
                }
                if basis.generation >= known.generation {
                    *known = basis;
                }
                Ok(())
            }
            Err(fault) => {
                lent.spoil();
                Err(fault.before_anything())
            }
        }
    }

    /// Notes what was found of a settle. `false`: it is older than this gateway has seen it, so
    /// read again: a new generation has begun, unless an answer of another server has strayed in.
    async fn is_sound(
        &self,
        key: &Key,
        found: Option<&Record>,
        asked: Moment,
    ) -> Result<bool, Fault> {
        if self.seen.is_older(key, found.map(|record| record.version), asked) {
            self.confirm_older(key).await?;
            return Ok(false);
        }
        if let Some(record) = found.filter(|record| !record.is_final()) {
            self.note(record);
        }
        Ok(true)
    }

    /// Only callers' settles, because an adopted one may be merged into another one.
    fn note(&self, record: &Record) {
        if matches!(record.origin, Origin::Gateway(_)) {
            self.seen.note(&record.key, record.version, self.clock.uptime());
        }
    }

    /// Begins a new generation after this one, because the store went back.
    async fn begin_after(&self, generation: i64) -> Result<(), Fault> {
        let mut lent = self.lend(Urgency::Ordinary).await?;
        if let Err(fault) = self.look_with(&mut lent).begin_after(generation).await {
            lent.spoil();
            return Err(fault.before_anything());
        }
        self.look(&mut lent).await
    }

    /// Runs a statement that only reads: whatever happens, nothing is in doubt.
    async fn read(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        let answer = match self.run(Urgency::Ordinary, sql, values).await {
            // The connection may have died unnoticed while no operation used it.
            Err(Fault::Lost(_)) => self.run(Urgency::Ordinary, sql, values).await,
            answer => answer,
        };
        answer.map_err(Fault::before_anything)
    }

    /// Runs a statement that reads records with [`list::select`], and tells what to take them for.
    async fn records(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<(Vec<Row>, Basis), Fault> {
        for _ in 0..TRIES_MAX {
            let rows = self.read(sql, values).await?;
            let basis = self.basis();
            let told = rows.first().map(|row| row.try_get::<_, Option<i64>>("generation"));
            match told {
                Some(Ok(told)) if told != Some(basis.generation) => self.look_again().await?,
                Some(_) | None => return Ok((rows, basis)),
            }
        }
        Err(again_and_again())
    }

    /// Runs a statement that writes. It begins with [`sql::HERE`], whose parameters come before
    /// `values`, and always tells what it did.
    async fn write(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        for _ in 0..TRIES_MAX {
            let all = self.with_here(values);
            let rows = self.commit(Urgency::Ordinary, sql, &all).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
            self.look_again().await?;
        }
        Err(again_and_again())
    }

    /// Runs a statement that commits, and measures how long that takes.
    async fn commit(
        &self,
        urgency: Urgency,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let begun = self.clock.uptime();
        let answer = self.run(urgency, sql, values).await;
        let is_refused = answer.as_ref().is_err_and(|fault| !fault.is_unique_violation());
        let result = if is_refused { "failed" } else { "durable" };
        COMMIT_TIME.add_time([result], self.clock.uptime().since(begun));
        answer
    }

    /// As [`Postgres::write`], for a statement that only reads.
    async fn ask(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        for _ in 0..TRIES_MAX {
            let rows = self.read(sql, &self.with_here(values)).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
            self.look_again().await?;
        }
        Err(again_and_again())
    }

    fn with_here<'a>(&self, values: &[Value<'a>]) -> Vec<Value<'a>> {
        let time = Value::Int(self.time.as_ref().map(|time| time.now().as_ms()));
        let here = [time, self.basis().generation.into()];
        here.into_iter().chain(values.iter().copied()).collect()
    }

    /// Something became durable.
    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    async fn run(
        &self,
        urgency: Urgency,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        for _ in 1..TRIES_MAX {
            match self.run_once(urgency, sql, values).await {
                Err(fault) if fault.is_passing() => {}
                answer => return answer,
            }
        }
        self.run_once(urgency, sql, values).await
    }

    async fn run_once(
        &self,
        urgency: Urgency,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let mut lent = self.lend(urgency).await?;
        let answer = lent.session().run(sql, values).await;
        if answer.as_ref().is_err_and(Fault::is_of_session) {
            lent.spoil();
        }
        answer
    }
}

fn pool(options: &PostgresOptions) -> Result<Pool, PostgresError> {
    Pool::new(options).map_err(PostgresError::Tls)
}

fn again_and_again() -> Fault {
    Fault::Down("the store begins new generations again and again".to_owned())
}

fn stale() -> Fault {
    let why = "a settle is as it was before: the store went back, or a pooler asks a standby";
    Fault::Down(why.to_owned())
}

/// The record of a row that [`Postgres::records`] read.
fn record(row: &Row, basis: Basis) -> Result<Record, Fault> {
    Ok(basis.seen(read_record(&mut Cursor::new(row))?))
}
