//! The store of a run: a real SQLite file. The world decides whether and when a batch is committed,
//! and whether its answer is lost.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use settlement_gateway::clock::{Clock, Timestamp};
use settlement_gateway::settle::ProcessId;
use settlement_gateway::store::{Committer, Processes, Sqlite, SqliteOptions, Store};
use tempfile::TempDir;

use crate::douyin::BEGINS_MS;
use crate::mutations::Broken;
use crate::plan::{Act, Plan};
use crate::rogue::Rogue;

/// The file, and who has it open.
pub struct Database {
    dir: TempDir,
    /// Each life of the file is a copy of what the one before left on the disk.
    lives: u32,
    open: Option<Open>,
    /// Another program that holds the file locked.
    outage: Option<Connection>,
    /// A commit is on its way.
    pub expected: bool,
    broken: Option<Broken>,
    /// Backups are made for a restore.
    backs_up: bool,
    commits: u32,
    /// The store's own: no replica has it.
    clock: Clock,
    rogue: Rogue,
    lease: Duration,
}

struct Open {
    store: Store,
    committer: Committer,
}

impl Database {
    /// On a memory disk if the machine has one, because the trial does not test the disk.
    pub fn new(plan: &Plan) -> Self {
        let (ahead_ms, drift_ppm) = plan.store_clock;
        let begins_ms = i64::try_from(BEGINS_MS).expect("this century");
        let clock = Clock::drifting(Timestamp::from_ms(begins_ms + ahead_ms), drift_ppm);
        let broken = plan.broken;
        let backs_up = plan.acts.iter().any(|(_, act)| *act == Act::Restore);
        let dir = tempfile::Builder::new().prefix("trial").tempdir_in("/dev/shm");
        let dir = dir.or_else(|_| TempDir::new()).expect("the machine has a temporary folder");
        Self {
            dir,
            lives: 0,
            open: None,
            outage: None,
            expected: false,
            broken,
            backs_up,
            commits: 0,
            clock,
            rogue: Rogue::default(),
            lease: plan.knobs.lease,
        }
    }

    /// The handle of a store that is open, or is opened now by the first process that needs it.
    pub fn store(&mut self, plan: &Plan) -> Store {
        if let Some(open) = &self.open {
            return open.store.clone();
        }
        let Plan { knobs, loses_hints, .. } = plan;
        let options = SqliteOptions {
            readers: 1,
            processes: Processes::Several { lose_hints: *loses_hints },
            queue_jobs_max: knobs.queue_jobs_max,
            batch_jobs_max: knobs.batch_jobs_max,
            busy_wait: Duration::ZERO,
            clock: self.clock.clone(),
            ..SqliteOptions::new(self.path()).creating()
        };
        let (sqlite, committer) = Sqlite::open_stepped(&options).expect("what was left opens");
        let store = Store::Sqlite(Arc::new(sqlite));
        self.open = Some(Open { store: store.clone(), committer });
        self.expected = false;
        store
    }

    /// The process that had it died: what is on the disk stays, what was not committed is gone.
    pub fn crash(&mut self) {
        let forgets = self.forgets();
        self.die(forgets);
    }

    /// The process that had it died, and an operator puts the last backup in its place, and says
    /// so. `false`: there is none.
    pub fn restore(&mut self) -> bool {
        if self.open.is_none() || !self.backup().exists() {
            return false;
        }
        self.die(true);
        if self.broken != Some(Broken::SilentRestore) {
            let options =
                SqliteOptions { clock: self.clock.clone(), ..SqliteOptions::new(self.path()) };
            let process = ProcessId(u64::MAX - u64::from(self.lives));
            Sqlite::begin_generation(&options, process).expect("no process has it open");
        }
        true
    }

    fn die(&mut self, goes_back: bool) {
        self.end_outage();
        let Some(open) = self.open.take() else { return };
        // Copied while it is open, so that the log is left as a killed process leaves it.
        let from = self.path();
        self.lives += 1;
        let to = self.path();
        // A broken disk goes back to the copy that was made a while ago.
        let forgotten = goes_back && self.backup().exists();
        let kept = if forgotten { self.backup() } else { from.clone() };
        copy(&kept, &to);
        if self.broken == Some(Broken::LostSchedule) {
            let other = Connection::open(&to).expect("it was copied just now");
            let forget = "UPDATE settle SET due_at_ms = NULL";
            other.execute(forget, []).expect("no other process has it open");
        }
        drop(open);
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(beside(&from, suffix));
        }
    }

    /// It is closed in order.
    pub fn close(&mut self) {
        self.end_outage();
        if let Some(open) = self.open.take() {
            drop(open.store);
            open.committer.close();
        }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn queued(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.committer.queued())
    }

    pub fn commit(&mut self) -> usize {
        self.commits += 1;
        let backs_up = self.forgets() || self.backs_up;
        if backs_up && self.open.is_some() && self.commits.is_multiple_of(8) {
            copy(&self.path(), &self.backup());
        }
        self.trespass();
        self.open.as_mut().map_or(0, |open| open.committer.commit_queued())
    }

    fn trespass(&mut self) {
        let Some(broken @ (Broken::BlindReplica | Broken::EndlessLeases)) = self.broken else {
            return;
        };
        if self.open.is_some() && self.outage.is_none() {
            let other = Connection::open(self.path()).expect("the file is there");
            self.rogue.trespass(broken, &other, self.clock.now(), self.lease);
        }
    }

    pub fn set_clock(&self, by_ms: i64) {
        self.clock.jump_ms(by_ms);
    }

    pub fn commit_unheard(&mut self) -> usize {
        self.open.as_mut().map_or(0, |open| open.committer.commit_queued_unheard())
    }

    pub fn lose(&mut self) -> usize {
        self.open.as_mut().map_or(0, |open| open.committer.lose_queued())
    }

    /// Another program locks the file: nothing can be written until [`Database::end_outage`].
    pub fn begin_outage(&mut self) {
        if self.outage.is_some() || self.open.is_none() {
            return;
        }
        let other = Connection::open(self.path()).expect("the file is there");
        other.execute_batch("BEGIN IMMEDIATE").expect("no other process is writing");
        self.outage = Some(other);
    }

    pub fn end_outage(&mut self) {
        self.outage = None;
    }

    fn forgets(&self) -> bool {
        self.broken == Some(Broken::ForgetfulDisk)
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(format!("{}.db", self.lives))
    }
}

/// The file and its log.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    for suffix in ["", "-wal"] {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        let _ = fs::remove_file(&to);
        if from.exists() {
            fs::copy(&from, &to).expect("the memory disk has room");
        }
    }
}

fn beside(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
