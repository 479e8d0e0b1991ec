//! The way of a log line to standard error: a bounded queue, and a thread that writes.
//!
//! A thread that logs waits for no reader and no disk, and gets no error. A pipe whose reader
//! stands still blocks the writing thread only, not even the end of the process. A write that fails
//! (a full disk, a reader that is gone) is tried again. Lines without room are dropped and counted,
//! and the count is logged once there is room again.
//!
//! Written by hand, because `tracing-appender` bounds lines and not bytes, drops the rest of a line
//! that was written in part, does not log what it dropped, and prints to standard error itself when
//! it cannot end in time.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock::Clock;
use crate::log_limit;
use crate::metrics::{Counter, LOG_DROPPED};

/// The most bytes that wait. The writing thread may hold as many again.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the thread gathers lines before it writes: under load it would otherwise be woken for
/// each of them, which costs more than the line.
const GATHER: Duration = Duration::from_millis(5);
/// How long after a failed write the next try comes.
const RETRY: Duration = Duration::from_secs(1);
/// The same if a pipe that does not block has no room.
const RETRY_FULL: Duration = Duration::from_millis(10);
/// How long the end of the process waits for what is still queued.
pub(super) const FINISH_MAX: Duration = Duration::from_secs(2);
/// What Linux writes to a pipe in one piece. So the lines of several processes on one pipe do not
/// mix.
const PIPE_BUF: usize = 4096;

/// Where log lines go; cheap to clone.
#[derive(Clone)]
pub struct LogQueue(Arc<Shared>);

/// What a queue is for.
pub struct Purpose {
    /// The name of the thread that writes.
    pub thread: &'static str,
    /// Lines that were dropped.
    pub(super) dropped: &'static Counter<0>,
    /// Logs how many lines were dropped since the last time.
    pub tell: fn(u64),
    /// Whether its thread also sums up what the log holds back.
    pub sums_up: bool,
}

/// The log's own.
pub(super) const LOG: Purpose = Purpose {
    thread: "log-writer",
    dropped: &LOG_DROPPED,
    tell: |lines| {
        warn!(lines, "lines of the log were dropped: it could not be written fast enough")
    },
    sums_up: true,
};

struct Shared {
    purpose: &'static Purpose,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Whole lines.
    queued: Vec<u8>,
    /// Lines dropped since the last count in the log.
    dropped: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The process ends, and what is queued is written if it can be.
    Finishing,
    /// All is written, or cannot be.
    Finished,
}

impl LogQueue {
    pub fn start(out: impl Write + Send + 'static, purpose: &'static Purpose) -> Self {
        let state = State { queued: Vec::new(), dropped: 0, phase: Phase::Open };
        let queue =
            Self(Arc::new(Shared { purpose, state: Mutex::new(state), changed: Condvar::new() }));
        let writer = Writer { queue: queue.clone(), out, batch: Batch::default(), retry: None };
        let thread =
            thread::Builder::new().name(purpose.thread.to_owned()).spawn(move || writer.run());
        // Never joined, because a reader that stands still may block it for ever. `finish` waits
        // for it for a limited time.
        drop(thread.expect("the operating system grants a thread"));
        queue
    }

    /// Queues one line with its newline, or drops it.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state();
        let room = BYTES_MAX.saturating_sub(state.queued.len());
        // The writer's own line with the count is never dropped.
        if line.len() > room && thread::current().name() != Some(self.0.purpose.thread) {
            state.dropped += 1;
            drop(state);
            self.0.purpose.dropped.count([]);
            return;
        }
        let asleep = state.queued.is_empty();
        state.queued.extend_from_slice(line);
        drop(state);
        if asleep {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything is written or cannot be, for a limited time. Nothing is written
    /// afterwards.
    pub fn finish(&self) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Finishing;
        }
        self.0.changed.notify_all();
        let unfinished = |state: &mut State| state.phase != Phase::Finished;
        drop(self.0.changed.wait_timeout_while(state, FINISH_MAX, unfinished));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event is formatted as a whole and written by one call.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> &'a LogQueue {
        self
    }
}

/// What the thread does.
struct Writer<W> {
    queue: LogQueue,
    out: W,
    batch: Batch,
    /// After a failed write: when to try again.
    retry: Option<Duration>,
}

/// Lines that are being written.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    /// How many of their bytes are written. A line that was written in part is continued.
    written: usize,
    /// Lines after them that were dropped.
    dropped: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let clock = Clock::system();
        let mut summed_up = clock.uptime();
        let purpose = self.queue.0.purpose;
        if purpose.sums_up {
            log_limit::begin();
        }
        loop {
            let interval = clock.uptime().since(summed_up);
            if interval >= log_limit::INTERVAL && purpose.sums_up {
                log_limit::sum_up();
                summed_up = clock.uptime();
            }
            let rest = log_limit::INTERVAL.saturating_sub(interval);
            let finishing = self.wait(if purpose.sums_up { rest } else { log_limit::INTERVAL });
            self.retry = self.batch.write(&mut self.out).err().map(|error| {
                if error.kind() == ErrorKind::WouldBlock { RETRY_FULL } else { RETRY }
            });
            if self.retry.is_none() && self.batch.dropped > 0 {
                let lines = std::mem::take(&mut self.batch.dropped);
                (purpose.tell)(lines);
            }
            if finishing && self.is_done() {
                break;
            }
        }
        self.queue.state().phase = Phase::Finished;
        self.queue.0.changed.notify_all();
    }

    /// Waits for lines, for the next try, or for `at_most`. Returns whether the process ends.
    fn wait(&mut self, at_most: Duration) -> bool {
        let retry = self.retry;
        let idle = |state: &mut State| match retry {
            None => state.phase == Phase::Open && state.queued.is_empty(),
            Some(RETRY_FULL) => true,
            Some(_) => state.phase == Phase::Open,
        };
        let (changed, timeout) = (&self.queue.0.changed, retry.unwrap_or(at_most));
        let woken = changed.wait_timeout_while(self.queue.state(), timeout, idle);
        let (mut state, timed_out) = woken.unwrap_or_else(PoisonError::into_inner);
        if retry.is_none() && !timed_out.timed_out() {
            let open = |state: &mut State| state.phase == Phase::Open;
            let gathered = changed.wait_timeout_while(state, GATHER, open);
            (state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        }
        if retry.is_none() {
            // The buffers are swapped, so that neither is allocated again.
            self.batch.lines.clear();
            self.batch.written = 0;
            std::mem::swap(&mut self.batch.lines, &mut state.queued);
            self.batch.dropped = std::mem::take(&mut state.dropped);
        }
        state.phase != Phase::Open
    }

    /// Nothing is left, or the rest cannot be written. A full pipe may still be read.
    fn is_done(&self) -> bool {
        match self.retry {
            None => self.queue.state().queued.is_empty(),
            Some(retry) => retry != RETRY_FULL,
        }
    }
}

impl Batch {
    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        while let Some(rest) = self.lines.get(self.written..).filter(|rest| !rest.is_empty()) {
            match out.write(whole_lines(rest)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// As many lines as one write takes in one piece, at least one.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let Some((piece, rest)) = bytes.split_at_checked(PIPE_BUF) else { return bytes };
    let end = piece.iter().rposition(|byte| *byte == b'\n');
    let long = || rest.iter().position(|byte| *byte == b'\n').map(|end| PIPE_BUF + end);
    end.or_else(long).and_then(|end| bytes.get(..=end)).unwrap_or(bytes)
}

/// Standard error without the lock and the buffer of the standard library: a thread that is blocked
/// here holds nothing that other threads need.
pub(super) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
