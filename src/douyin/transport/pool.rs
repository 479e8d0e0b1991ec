//! The connections to Douyin that are kept, and which one gets the next request.
//!
//! Nothing in an HTTP/1.1 answer says which request it belongs to. So a connection rests after each
//! answer, and if bytes arrive meanwhile it gets no other request.
//!
//! What it must not know: what is sent.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::QUIET;
use super::line::{Connector, Line};

pub(super) struct Pool {
    connector: Connector,
    kept: Mutex<Kept>,
    idle_timeout: Duration,
    kept_max: usize,
}

/// In both queues the connection that was used longest ago comes first. Every connection that has
/// rested was used before every one that rests.
#[derive(Default)]
struct Kept {
    rested: VecDeque<Unused>,
    resting: VecDeque<Unused>,
}

struct Unused {
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
            None => Box::pin(self.connector.connect()).await,
        }
    }

    /// Keeps a connection whose answer was read, if it can take another request.
    pub(super) async fn put(&self, line: Line) {
        let Some(line) = line.kept().await else {
            return;
        };
        let mut kept = self.kept();
        kept.resting.push_back(Unused { line, since: Instant::now() });
        while kept.rested.len() + kept.resting.len() > self.kept_max {
            kept.drop_first();
        }
    }

    fn rested(&self) -> Option<Line> {
        let mut kept = self.kept();
        let now = Instant::now();
        while let Some(unused) = kept.resting.pop_front_if(|unused| unused.since + QUIET <= now) {
            kept.rested.push_back(unused);
        }
        while kept.first().is_some_and(|unused| unused.since + self.idle_timeout <= now) {
            kept.drop_first();
        }
        kept.rested.pop_back().map(|unused| unused.line)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No code can panic while holding this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn first(&self) -> Option<&Unused> {
        self.rested.front().or_else(|| self.resting.front())
    }

    fn drop_first(&mut self) {
        if self.rested.pop_front().is_none() {
            self.resting.pop_front();
        }
    }
}
