//! The connections to Douyin that are kept, and which one gets the next request.
//!
//! Nothing in an HTTP/1.1 answer says which request it belongs to. So a connection rests after each
//! answer, and if bytes arrive meanwhile it gets no other request.
//!
//! What it must not know: what is sent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::QUIET;
use super::line::{Connector, Line};

pub(super) struct Pool {
    connector: Connector,
    /// The one unused for longest comes first.
    kept: Mutex<Vec<Kept>>,
    idle_timeout: Duration,
    kept_max: usize,
}

struct Kept {
    line: Line,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: Connector, idle_timeout: Duration, kept_max: usize) -> Self {
        Self { connector, kept: Mutex::default(), idle_timeout, kept_max }
    }

    /// The most recently used connection that has rested long enough; else a new one.
    pub(super) async fn take(&self) -> Result<Line, String> {
        match self.rested() {
            Some(line) => Ok(line),
            None => self.connector.connect().await,
        }
    }

    /// Keeps a connection whose answer was read, if it can take another request.
    pub(super) async fn put(&self, line: Line) {
        let Some(line) = line.kept().await else {
            return;
        };
        let mut kept = self.kept();
        kept.push(Kept { line, since: Instant::now() });
        let surplus = kept.len().saturating_sub(self.kept_max);
        kept.drain(..surplus);
    }

    fn rested(&self) -> Option<Line> {
        let mut kept = self.kept();
        let now = Instant::now();
        let old = kept.partition_point(|kept| kept.since + self.idle_timeout <= now);
        kept.drain(..old);
        let rested = kept.partition_point(|kept| kept.since + QUIET <= now);
        Some(kept.remove(rested.checked_sub(1)?).line)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        // No code can panic while holding this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
