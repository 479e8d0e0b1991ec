//! The store in one SQLite file, for one gateway process. The default backend.
//!
//! A write goes through [`queue`] to the one [`writer`], which commits in batches; a read goes to
//! one of the [`readers`]. [`open`] decides whether the gateway may use a file. What an operation
//! does is in [`settles`] (insert, swap), [`schedule`] (leases), [`list`] (pages), [`sweep`]
//! (repairs) and [`unfinished`] (settles that are not final or have an open contradiction); how a
//! record becomes a row is in [`rows`].

mod batch;
mod check;
mod columns;
mod connect;
mod disk;
mod files;
mod generation;
mod history;
mod job;
mod list;
mod lock;
mod log;
mod migrations;
mod moving;
mod open;
mod place;
mod purpose;
mod queue;
mod readers;
mod refusal;
mod rows;
mod schedule;
mod settles;
mod shared;
mod sweep;
mod tokens;
mod unfinished;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::moving::Task;
use super::{
    Changed, Claim, ClaimLimits, Error, FORGOTTEN_MAX, Fence, Hearing, Hint, Hints, Insert, Known,
    ListQuery, Listed, NewDue, Scheduled, StoredToken, Swap, Swapped, SweepCursor, Swept,
    UnfinishedCursor, UnfinishedPage,
};
use crate::clock::{Clock, Timestamp};
use crate::log_limit::error;
use crate::settle::{
    AppId, CallerName, HistoryEntry, Key, Record, Release, SettleId, Source, TradeSystem,
};
use batch::Batch;
use check::Checking;
use columns::Fault;
use job::{Urgency, Write};
use log::{Log, Mover};
use open::Opened;
use place::Place;
use queue::Queue;
use readers::Readers;
use shared::Shared;
use writer::Writer;

pub use generation::Generation;
pub use open::{Missing, Processes, SqliteOptions};
pub use purpose::Purpose;
pub use queue::Committer;
pub use refusal::OpenError;

/// The open database.
pub struct Sqlite {
    place: Arc<Place>,
    /// The tables of the schema at start.
    tables: Arc<[String]>,
    queue: Queue,
    readers: Readers,
    /// The writer's thread; `None` once it was joined, or if a [`Committer`] commits.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The check of what the start has not checked.
    checking: Mutex<Option<Checking>>,
    /// Cancelled by that thread as its last action, a panic included.
    writer_ended: CancellationToken,
    /// The store's own clock. Leases and due moments are times of this clock only.
    clock: Clock,
    /// When the store last went back to an earlier state, by its own clock.
    went_back: Option<Timestamp>,
    shared: Shared,
    hints: Hints,
    processes: Processes,
}

/// Which threads do the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Threads {
    /// A writer thread, and the runtime's threads for blocking work.
    Own,
    /// The calling thread, and no other. For simulations, where several gateways may share the
    /// store.
    Callers,
}

impl Sqlite {
    /// Makes a database that does not exist yet, for a later open. Returns its path.
    pub fn init(options: &SqliteOptions) -> Result<PathBuf, OpenError> {
        open::init(options)
    }

    /// Removes the database of a sandbox, if there is one. Any other file is refused and stays.
    pub fn remove_sandbox(options: &SqliteOptions) -> Result<(), OpenError> {
        open::remove_sandbox(options)
    }

    /// Opens the database and starts its writer. Blocks while the start checks the file, and while
    /// a migration runs.
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let (sqlite, committer, is_checked) = Self::assemble(&options, Threads::Own)?;
        let start = |doing| {
            let path = options.path.clone();
            move |error| OpenError::Io { path, doing, error }
        };
        let thread = thread::Builder::new().name("store-writer".to_owned());
        let ended = sqlite.writer_ended.clone().drop_guard();
        let run = move || {
            let _ended = ended;
            committer.run();
        };
        let thread = thread.spawn(run).map_err(start("start its writer"))?;
        *sqlite.thread() = Some(thread);
        if !is_checked {
            let place = Arc::clone(&sqlite.place);
            let checking = Checking::begin(place, options.busy_wait);
            *sqlite.checking() = Some(checking.map_err(start("start its check"))?);
        }
        Ok(sqlite)
    }

    /// Opens the database without any thread: writes wait until [`Committer::commit_queued`] is
    /// called, and reads run where they are called.
    pub fn open_stepped(options: &SqliteOptions) -> Result<(Self, Committer), OpenError> {
        let (sqlite, committer, _) = Self::assemble(options, Threads::Callers)?;
        Ok((sqlite, committer))
    }

    /// The `bool` says whether the whole file was checked.
    fn assemble(
        options: &SqliteOptions,
        threads: Threads,
    ) -> Result<(Self, Committer, bool), OpenError> {
        let Opened { place, connection, tables, went_back, is_checked } =
            open::open(options, &[options.purpose], Task::Work)?;
        let path = || place.path().to_owned();
        let readers = Readers::open(Arc::clone(&place), options, threads).map_err(|error| {
            OpenError::Sqlite { path: path(), doing: "open it for reading", error }
        })?;
        // From here on, only an orderly stop removes the mark: any other end counts as a kill.
        place.mark_open().map_err(|error| OpenError::Io {
            path: path(),
            doing: "mark it",
            error,
        })?;
        let (busy_wait, clock) = (options.busy_wait, options.clock.clone());
        let mover = match threads {
            Threads::Callers => None,
            Threads::Own => {
                let mover = Mover::start(Arc::clone(&place), busy_wait);
                Some(mover.map_err(|error| OpenError::Io {
                    path: path(),
                    doing: "start the thread that moves its log",
                    error,
                })?)
            }
        };
        let log = Log::new(mover);
        let writer = Writer::new(Arc::clone(&place), connection, busy_wait, clock, log);
        let (queue, committer) = queue::queue(writer, options);
        let sqlite = Self {
            place,
            tables: tables.into(),
            queue,
            readers,
            thread: Mutex::new(None),
            checking: Mutex::new(None),
            writer_ended: CancellationToken::new(),
            clock: options.clock.clone(),
            went_back,
            shared: Shared::new(options.clock.clone()),
            hints: Hints::new(),
            processes: options.processes,
        };
        Ok((sqlite, committer, is_checked))
    }

    pub(super) fn has_one_process(&self) -> bool {
        self.processes == Processes::One
    }

    pub(super) fn may_have_forgotten(&self) -> bool {
        self.went_back.is_some_and(|then| self.now() < then.plus(FORGOTTEN_MAX))
    }

    #[cfg(test)]
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn thread(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checking(&self) -> std::sync::MutexGuard<'_, Option<Checking>> {
        self.checking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write<T, F>(&self, urgency: Urgency, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnMut(&Batch<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (job, answer) = Write::new(urgency, run);
        self.queue.push(Box::new(job))?;
        let unanswered = "the writer ended before it answered";
        answer.await.unwrap_or_else(|_| Err(Error::InDoubt(unanswered.to_owned())))
    }

    pub(super) async fn insert(
        &self,
        record: Record,
        source: Source,
        by: Option<CallerName>,
        due: NewDue,
    ) -> Result<Insert, Error> {
        let first = HistoryEntry { by, ..record.history_entry(source, None) };
        let new = settles::NewSettle::new(record, &first, due, self.now());
        self.write(Urgency::Ordinary, move |db| new.insert(db)).await
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        let key = key.clone();
        self.readers.read(move |db| rows::record_by_key(db, &key)).await
    }

    pub(super) async fn get_by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Error> {
        let (app_id, settle_id) = (app_id.clone(), settle_id.clone());
        let find =
            move |db: &Connection| rows::record_by_settle_id(db, &app_id, trade_system, &settle_id);
        self.readers.read(find).await
    }

    pub(super) async fn elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Error> {
        let key = key.clone();
        self.readers.read(move |db| rows::record_elsewhere(db, &key, by_default_app)).await
    }

    pub(super) async fn swap(&self, swap: Swap) -> Result<Swapped, Error> {
        let replacement = settles::Replacement::new(swap, self.now());
        self.write(Urgency::Ordinary, move |db| replacement.swap(db)).await
    }

    pub(super) async fn claim_due(
        &self,
        app_id: &AppId,
        limits: ClaimLimits,
    ) -> Result<Vec<Claim>, Error> {
        let app_id = app_id.clone();
        let now = self.now();
        let claim = move |db: &Batch<'_>| schedule::claim_due(db, &app_id, &limits, now);
        self.write(Urgency::Ordinary, claim).await
    }

    pub(super) async fn claim(&self, key: &Key, lease: Duration) -> Result<Option<Claim>, Error> {
        let (key, now) = (key.clone(), self.now());
        let claim = move |db: &Batch<'_>| schedule::claim(db, &key, lease, now);
        self.write(Urgency::Ordinary, claim).await
    }

    pub(super) async fn release(
        &self,
        key: &Key,
        fence: Fence,
        release: Release,
    ) -> Result<bool, Error> {
        let (key, now) = (key.clone(), self.now());
        let release = move |db: &Batch<'_>| schedule::release_lease(db, &key, fence, release, now);
        self.write(Urgency::Ordinary, release).await
    }

    pub(super) async fn remove_due(&self, key: &Key, fence: Fence) -> Result<bool, Error> {
        let key = key.clone();
        let remove = move |db: &Batch<'_>| schedule::remove_leased(db, &key, fence);
        self.write(Urgency::Ordinary, remove).await
    }

    pub(super) async fn nudge(
        &self,
        key: &Key,
        wait: Duration,
        gap: Duration,
    ) -> Result<Option<Duration>, Error> {
        let (key, now) = (key.clone(), self.now());
        let nudge = move |db: &Batch<'_>| schedule::nudge(db, &key, now.plus(wait), gap);
        let due_at = self.write(Urgency::Ordinary, nudge).await?;
        Ok(due_at.map(|due_at| due_at.since(now)))
    }

    pub(super) async fn next_due(&self, app_id: &AppId) -> Result<Option<Duration>, Error> {
        let app_id = app_id.clone();
        let due_at = self.readers.read(move |db| schedule::next_due(db, &app_id)).await?;
        Ok(due_at.map(|due_at| due_at.since(self.now())))
    }

    pub(super) async fn due(&self, app_id: &AppId, rows_max: u32) -> Result<u32, Error> {
        let (app_id, now) = (app_id.clone(), self.now());
        self.readers.read(move |db| schedule::due(db, &app_id, now, rows_max)).await
    }

    pub(super) async fn scheduled(&self, key: &Key) -> Result<Option<Scheduled>, Error> {
        let (key, now) = (key.clone(), self.now());
        self.readers.read(move |db| schedule::scheduled(db, &key, now)).await
    }

    pub(super) async fn history(
        &self,
        key: &Key,
        entries_max: u32,
    ) -> Result<Vec<HistoryEntry>, Error> {
        let key = key.clone();
        self.readers.read(move |db| history::history_by_key(db, &key, entries_max)).await
    }

    pub(super) async fn list(&self, query: &ListQuery) -> Result<Listed, Error> {
        let query = query.clone();
        self.readers.read(move |db| list::list(db, &query)).await
    }

    pub(super) async fn open_settles(&self) -> Result<Vec<(AppId, u64)>, Error> {
        self.readers.read(list::open_settles).await
    }

    pub(super) async fn unfinished(
        &self,
        cursor: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<UnfinishedPage, Error> {
        self.readers.read(move |db| unfinished::unfinished(db, &cursor, rows_max)).await
    }

    pub(super) async fn sweep(&self, cursor: SweepCursor, rows_max: u32) -> Result<Swept, Error> {
        let now = self.now();
        let looked = self.readers.read(move |db| sweep::look(db, now, cursor, rows_max)).await?;
        if looked.is_clean() {
            return Ok(looked.swept(0, 0));
        }
        let repair = move |db: &Batch<'_>| sweep::repair(db, now, &looked);
        self.write(Urgency::Ordinary, repair).await
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn hint(&self, hint: Hint) {
        if self.processes != (Processes::Several { lose_hints: true }) {
            self.hints.send(hint);
        }
    }

    pub(super) fn hear(&self) -> Hearing {
        self.hints.hear()
    }

    pub(super) async fn token(&self, app_id: &AppId) -> Result<Option<StoredToken>, Error> {
        let (app_id, now) = (app_id.clone(), self.now());
        self.readers.read(move |db| tokens::token(db, &app_id, now)).await
    }

    pub(super) async fn save_token(
        &self,
        app_id: &AppId,
        token: StoredToken,
        turn: Fence,
    ) -> Result<bool, Error> {
        if !self.shared.is_newest(app_id, turn) {
            return Ok(false);
        }
        let (saved, now) = (app_id.clone(), self.now());
        let save = move |db: &Batch<'_>| tokens::save_token(db, &saved, &token, now);
        self.write(Urgency::Ordinary, save).await?;
        self.shared.end_token_turn(app_id, turn);
        Ok(true)
    }

    pub(super) async fn changed(
        &self,
        known: Vec<Known>,
        due_max: Duration,
    ) -> Result<Vec<Changed>, Error> {
        let now = self.now();
        self.readers.read(move |db| shared::changed(db, &known, due_max, now)).await
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(super) fn commits(&self) -> u64 {
        self.place.commits()
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        let tables = Arc::clone(&self.tables);
        let prove = move |db: &Batch<'_>| {
            connect::prove_tables(db, &tables)?;
            Ok(connect::prove_write(db)?)
        };
        self.write(Urgency::Probe, prove).await
    }

    pub(super) async fn writer_ended(&self) {
        self.writer_ended.cancelled().await;
    }

    /// Reading ends first, so that the writer closes the file last and leaves no log.
    #[expect(clippy::disallowed_methods, reason = "it is awaited right here")]
    pub(super) async fn close(&self) {
        self.readers.close().await;
        let checking = self.checking().take();
        if let Some(checking) = checking {
            let _ = tokio::task::spawn_blocking(move || checking.end()).await;
        }
        self.queue.close();
        let thread = self.thread().take();
        if let Some(thread) = thread
            && let Ok(Err(_)) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            error!("the store's writer panicked, a bug");
        }
    }
}
