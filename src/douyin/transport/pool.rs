//! The connections to Douyin that are kept, and which one gets the next request.
//!
//! Nothing in an HTTP/1.1 answer says which request it belongs to. So a connection rests after each
//! answer, and if bytes arrive meanwhile it gets no other request.
//!
//! What it must not know: what is sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::QUIET;
use super::connect::Connector;
use super::line::Line;
use crate::douyin::config::BuildError;
use crate::douyin::way::Way;

pub(super) struct Pool {
    kept: Mutex<Kept>,
    idle_timeout: Duration,
    kept_max: usize,
}

/// The unused connections, all of which the connector made, and the connector of the next one.
///
/// In both queues the connection that was used longest ago comes first. Every connection that has
/// rested was used before every one that rests.
struct Kept {
    connector: Arc<Connector>,
    rested: VecDeque<Unused>,
    resting: VecDeque<Unused>,
}

struct Unused {
    line: Line,
    since: Instant,
}

impl Pool {
    pub(super) fn new(connector: Connector, idle_timeout: Duration, kept_max: usize) -> Self {
        let kept = Mutex::new(Kept::new(connector));
        Self { kept, idle_timeout, kept_max }
    }

    /// From now on requests get connections that were made by this way only. Those that are in use
    /// finish their request.
    pub(super) fn go_by(&self, way: &Way) -> Result<(), BuildError> {
        let connector = Arc::clone(&self.kept().connector);
        if connector.way() != way {
            let replacing = Kept::new(connector.by(way.clone())?);
            let replaced = std::mem::replace(&mut *self.kept(), replacing);
            // Closes them, after the lock was given back.
            drop(replaced);
        }
        Ok(())
    }

    /// The most recently used connection that has rested long enough; else a new one.
    pub(super) async fn take(&self) -> Result<Line, String> {
        match self.rested() {
            Ok(line) => Ok(line),
            Err(connector) => Box::pin(connector.connect()).await,
        }
    }

    /// Keeps a connection whose answer was read, if it can take another request.
    pub(super) async fn put(&self, line: Line) {
        let Some(line) = line.kept().await else {
            return;
        };
        let mut kept = self.kept();
        if !line.is_made_by(&kept.connector) {
            return;
        }
        kept.resting.push_back(Unused { line, since: Instant::now() });
        while kept.rested.len() + kept.resting.len() > self.kept_max {
            kept.drop_first();
        }
    }

    /// What makes one, if there is none.
    fn rested(&self) -> Result<Line, Arc<Connector>> {
        let mut kept = self.kept();
        let now = Instant::now();
        while let Some(unused) = kept.resting.pop_front_if(|unused| unused.since + QUIET <= now) {
            kept.rested.push_back(unused);
        }
        while kept.first().is_some_and(|unused| unused.since + self.idle_timeout <= now) {
            kept.drop_first();
        }
        let rested = kept.rested.pop_back().map(|unused| unused.line);
        rested.ok_or_else(|| Arc::clone(&kept.connector))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No code can panic while holding this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new(connector: Connector) -> Self {
        let (rested, resting) = (VecDeque::new(), VecDeque::new());
        Self { connector: Arc::new(connector), rested, resting }
    }

    fn first(&self) -> Option<&Unused> {
        self.rested.front().or_else(|| self.resting.front())
    }

    fn drop_first(&mut self) {
        if self.rested.pop_front().is_none() {
            self.resting.pop_front();
        }
    }
}
