//! The log beside the database: how long it is, and how it becomes short again. It must not know
//! its content.
//!
//! A commit goes to the log. Once the log has [`PAGES_MIN`] pages, they are moved into the database
//! (a checkpoint). A thread of its own moves them while the writer goes on. The writer itself moves
//! what was added meanwhile, which takes a moment. This is needed because SQLite restarts a log
//! only at a commit that finds all of it moved.
//!
//! The file keeps its size, so that commits write to blocks that it has already. A file that became
//! too long is cut piece by piece: SQLite would cut it at once, and while the file system frees
//! gigabytes, every caller would wait for seconds.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tracing::{info, warn};

use super::connect::{LOG_BYTES_MAX, connect_writer};
use super::place::{Place, Sizes};
use crate::log_limit::error;
use crate::metrics::{STORE_BYTES, STORE_LOG_BYTES};

/// From this many pages on, the log is moved: 16 MiB.
const PAGES_MIN: u32 = 4_096;

/// What SQLite adds to each page in the log.
const FRAME_HEAD_BYTES: u64 = 24;

/// How much of a log that is too long is cut off after a commit, which takes some milliseconds; and
/// after a commit for which no caller waits.
const CUT_BYTES: u64 = 8 * 1024 * 1024;
const CUT_BYTES_AT_REST: u64 = 256 * 1024 * 1024;

/// How often what the thread has moved is flushed while it goes on. SQLite flushes all of it at
/// once, and while the disk writes gigabytes, every commit would wait for seconds.
const FLUSH_GAP: Duration = Duration::from_millis(50);

/// How far the thread that moves the log stands back behind those that serve callers. On a busy
/// core it still gets a third of what one of those gets.
const NICE: i32 = 5;

/// How long the writer waits for readers to release a log that is too long. Callers wait with it.
const RESTART_WAIT: Duration = Duration::from_millis(20);

/// Instead of a number of pages.
const UNKNOWN: u32 = u32::MAX;

/// What is known of the log.
pub(super) struct Log {
    /// Pages in the log after the last commit, as SQLite reports them; [`UNKNOWN`] before the first
    /// one on a connection, and once it was used: a commit that writes nothing is not reported, and
    /// what an earlier one reported may be less than the log has now.
    pages: Arc<AtomicU32>,
    page_bytes: u32,
    /// From this many pages on, the log is moved next.
    move_from: u32,
    /// `None`: the writer moves everything itself.
    mover: Option<Mover>,
    /// The log is too long, and the operator was told so.
    is_long: bool,
}

impl Log {
    pub(super) fn new(mover: Option<Mover>) -> Self {
        let pages = Arc::new(AtomicU32::new(UNKNOWN));
        Self { pages, page_bytes: 0, move_from: PAGES_MIN, mover, is_long: false }
    }

    /// Makes this connection the one whose commits are counted.
    pub(super) fn follow(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        self.page_bytes = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        self.pages.store(UNKNOWN, Ordering::Relaxed);
        let pages = Arc::clone(&self.pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now: i32| {
            pages.store(now.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// To be called after a commit, with the sizes before it. Moves the log, or lets the thread
    /// move it, if it is long enough; cuts the file if it is too long.
    pub(super) fn committed(
        &mut self,
        connection: &Connection,
        place: &Place,
        sizes: Sizes,
        callers: Callers,
    ) {
        let pages = self.pages.swap(UNKNOWN, Ordering::Relaxed);
        if pages == UNKNOWN {
            return;
        }
        self.cut(place, sizes.log_bytes, pages, callers);
        if pages < self.move_from {
            // If the log was restarted, the next move comes early again.
            self.move_from = self.move_from.min(pages.saturating_add(PAGES_MIN));
            return;
        }
        if self.mover.as_ref().is_none_or(Mover::is_done) {
            self.move_from = pages.saturating_add(PAGES_MIN);
            if let Err(error) = checkpoint(connection) {
                let why = place.told(&error);
                warn!(why, "the database's log cannot be moved into it");
            }
        }
    }

    /// Cuts a piece off the file of a log that is too long. Only the writer may do this, between
    /// two commits: what is cut off must be behind the last page that it committed.
    ///
    /// *The accident without a number that is sure:* the log of a killed gateway is long and holds
    /// commits. The first batch of the next one writes nothing, and the commits are cut off.
    fn cut(&self, place: &Place, log_bytes: u64, pages: u32, callers: Callers) {
        let piece = match callers {
            Callers::Wait => CUT_BYTES,
            Callers::None => CUT_BYTES_AT_REST,
        };
        let used =
            u64::from(pages.saturating_add(1)) * (u64::from(self.page_bytes) + FRAME_HEAD_BYTES);
        let shorter = log_bytes.saturating_sub(piece).max(u64::from(LOG_BYTES_MAX));
        if log_bytes <= u64::from(LOG_BYTES_MAX) || used >= shorter {
            return;
        }
        if let Err(error) = place.cut_log(shorter) {
            warn!(path = %place.path().display(), %error, "the database's log cannot be cut");
        }
    }

    /// Ends the thread. Then the writer's connection is the last one.
    pub(super) fn end(&mut self) {
        self.mover = None;
    }

    /// Measures the files, and restarts a log that is too long.
    ///
    /// SQLite restarts the log by itself between two readers. It cannot while a reader holds an old
    /// state, nor while there is always a reader of the newest state. For the latter this waits for
    /// a moment.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        path: &Path,
        sizes: Sizes,
        busy_wait: Duration,
    ) {
        let Sizes { database_bytes, log_bytes } = sizes;
        STORE_BYTES.set([], database_bytes);
        STORE_LOG_BYTES.set([], log_bytes);
        let is_long = log_bytes > u64::from(LOG_BYTES_MAX);
        let was_long = std::mem::replace(&mut self.is_long, is_long);
        let path = path.display();
        match (was_long, is_long) {
            (false, true) => warn!(%path, log_bytes, bytes_max = LOG_BYTES_MAX,
                "the database's log grows: another program has been reading for long"),
            (true, false) => info!(%path, log_bytes, "the database's log is short again"),
            (false, false) | (true, true) => {}
        }
        if is_long
            && self.mover.as_ref().is_none_or(Mover::is_done)
            && let Err(error) = restart(connection, busy_wait)
        {
            warn!(%path, %error, "the database's log cannot be begun anew");
        }
    }
}

/// Whether callers wait for the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    Wait,
    None,
}

/// Moves what no reader of an older state needs, and waits for no reader. Returns how many pages
/// are left.
fn checkpoint(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (pages, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(pages - moved)
    })
}

/// The same, and meanwhile flushes what was moved piece by piece.
fn checkpoint_in_pieces(connection: &Connection, place: &Place) -> rusqlite::Result<i64> {
    thread::scope(|scope| {
        let (moving, is_moving) = sync_channel::<()>(0);
        let flush = move || {
            while let Err(RecvTimeoutError::Timeout) = is_moving.recv_timeout(FLUSH_GAP) {
                // If it fails, SQLite's own flush at the end fails too.
                let _ = place.file().sync_data();
            }
        };
        // Without this thread callers wait longer, and nothing else changes.
        let _ = thread::Builder::new().name("store-flush".to_owned()).spawn_scoped(scope, flush);
        let moved = checkpoint(connection);
        drop(moving);
        moved
    })
}

/// Lets the next commit restart the log, if everything was moved.
/// Has no effect while a reader holds an older state.
fn restart(connection: &Connection, busy_wait: Duration) -> rusqlite::Result<()> {
    if checkpoint(connection)? > 0 {
        return Ok(());
    }
    connection.busy_timeout(RESTART_WAIT)?;
    let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
    connection.busy_timeout(busy_wait)?;
    restarted
}

/// A thread that moves the log into the database while the writer goes on.
pub(super) struct Mover {
    shared: Arc<Shared>,
    /// `None`: the thread was joined.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

enum Work {
    /// There is nothing to move.
    None,
    Wanted,
    /// The thread moves the log on a connection that can be interrupted.
    Moving(InterruptHandle),
    /// Little is left to move, or a reader needs the rest.
    Done,
    /// The store is closed.
    Over,
}

impl Mover {
    pub(super) fn start(place: Arc<Place>, busy_wait: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { work: Mutex::new(Work::None), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("store-log".to_owned());
        let thread = thread.spawn(move || {
            // Of this thread alone. If it fails, callers wait longer while a long log is moved.
            let _ = rustix::process::setpriority_process(None, NICE);
            while of_thread.wait_for_work() {
                if let Err(error) = of_thread.move_log(&place, busy_wait) {
                    let why = place.told(&error);
                    warn!(why, "the database's log cannot be moved into it");
                }
                of_thread.set(Work::Done);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether the thread has moved what it can. If it has not begun, this lets it begin.
    fn is_done(&self) -> bool {
        let mut work = self.shared.work();
        match *work {
            Work::Done => {
                *work = Work::None;
                true
            }
            Work::None => {
                *work = Work::Wanted;
                self.shared.changed.notify_one();
                false
            }
            Work::Wanted | Work::Moving(_) | Work::Over => false,
        }
    }
}

impl Drop for Mover {
    /// Ends the thread. Its connection is closed before the writer's, which is the last one.
    fn drop(&mut self) {
        match self.shared.set(Work::Over) {
            Work::Moving(connection) => connection.interrupt(),
            Work::None | Work::Wanted | Work::Done | Work::Over => {}
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that moves the database's log panicked, a bug");
        }
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes nothing once the store is closed. Returns what was before.
    fn set(&self, next: Work) -> Work {
        let mut work = self.work();
        if let Work::Over = *work {
            return Work::Over;
        }
        let before = std::mem::replace(&mut *work, next);
        self.changed.notify_one();
        before
    }

    /// `false`: the store is closed.
    fn wait_for_work(&self) -> bool {
        let mut work = self.work();
        loop {
            match *work {
                Work::Wanted => return true,
                Work::Over => return false,
                Work::None | Work::Moving(_) | Work::Done => {
                    let waited = self.changed.wait(work);
                    work = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Moves the log until little is left, or until a reader needs the rest.
    fn move_log(&self, place: &Place, busy_wait: Duration) -> rusqlite::Result<()> {
        if place.known_damage().is_some() || place.look().is_err() {
            return Ok(());
        }
        let connection = connect_writer(place.path(), busy_wait)?;
        if let Work::Over = self.set(Work::Moving(connection.get_interrupt_handle())) {
            return Ok(());
        }
        let mut left = i64::MAX;
        loop {
            let before = std::mem::replace(&mut left, checkpoint_in_pieces(&connection, place)?);
            if left < i64::from(PAGES_MIN) || left >= before {
                return Ok(());
            }
        }
    }
}
