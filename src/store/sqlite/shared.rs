//! What the processes on one store share beside settles, for one process: in memory, because it
//! ends with the process. (In a simulation several processes share the handle.) Tokens are rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::words::Word as _;
use super::super::{Changed, Fence, Fleet, Known, Replica, SharedPause};
use super::columns::Fault;
use crate::clock::{Clock, Timestamp};
use crate::settle::{AppId, Failure, ProcessId};

pub(in crate::store) struct Shared {
    /// The store's own.
    clock: Clock,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    replicas: HashMap<ProcessId, Replica>,
    /// With the moment at which each is over.
    pauses: BTreeMap<AppId, (SharedPause, Timestamp)>,
    turns: HashMap<AppId, Turn>,
}

/// The turn to fetch a token.
#[derive(Clone, Copy)]
struct Turn {
    fence: Fence,
    until: Timestamp,
}

impl Shared {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, books: Mutex::default() }
    }

    pub(in crate::store) fn beat(&self, replica: &Replica) {
        self.books().replicas.insert(replica.process, replica.clone());
    }

    pub(in crate::store) fn remove(&self, replica: &Replica) {
        let replicas = &mut self.books().replicas;
        if replicas.get(&replica.process).is_some_and(|known| known.beats == replica.beats) {
            replicas.remove(&replica.process);
        }
    }

    pub(in crate::store) fn fleet(&self) -> Fleet {
        let (now, books) = (self.clock.now(), self.books());
        let mut replicas: Vec<Replica> = books.replicas.values().cloned().collect();
        replicas.sort_by_key(|replica| replica.process.0);
        let left = |(pause, over): &(SharedPause, Timestamp)| {
            let left = over.since(now);
            (!left.is_zero()).then(|| SharedPause { left, ..pause.clone() })
        };
        Fleet { replicas, pauses: books.pauses.values().filter_map(left).collect() }
    }

    pub(in crate::store) fn tell_pause(
        &self,
        app_id: &AppId,
        failure: &Failure,
        left: Duration,
    ) -> Option<i64> {
        let over = self.clock.now().plus(left);
        let pauses = &mut self.books().pauses;
        let last = pauses.get(app_id);
        if last.is_some_and(|(_, longer)| *longer >= over) {
            return None;
        }
        let number = last.map_or(1, |(pause, _)| pause.number + 1);
        let (app_id, failure) = (app_id.clone(), failure.clone());
        let pause = SharedPause { app_id: app_id.clone(), number, left, failure };
        pauses.insert(app_id, (pause, over));
        Some(number)
    }

    pub(in crate::store) fn token_turn(
        &self,
        app_id: &AppId,
        held: Option<Fence>,
        lease: Duration,
    ) -> Option<Fence> {
        let now = self.clock.now();
        let turns = &mut self.books().turns;
        let last = turns.get(app_id).copied();
        let last = last.unwrap_or(Turn { fence: Fence(0), until: now });
        let fence = match held == Some(last.fence) {
            true => last.fence,
            // A turn that ends later than any lease was taken while the clock was wrong.
            false if last.until > now && last.until <= now.plus(lease) => return None,
            false => Fence(last.fence.0 + 1),
        };
        turns.insert(app_id.clone(), Turn { fence, until: now.plus(lease) });
        Some(fence)
    }

    pub(in crate::store) fn end_token_turn(&self, app_id: &AppId, fence: Fence) {
        let until = self.clock.now();
        let turns = &mut self.books().turns;
        if turns.get(app_id).is_some_and(|turn| turn.fence == fence) {
            turns.insert(app_id.clone(), Turn { fence, until });
        }
    }

    /// Whether this is the newest turn of the app.
    pub(super) fn is_newest(&self, app_id: &AppId, fence: Fence) -> bool {
        self.books().turns.get(app_id).is_some_and(|turn| turn.fence == fence)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // No code can panic while holding this lock.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of the settles that are not as they are known, or that no worker looks at within
/// `due_max`.
pub(super) fn changed(
    connection: &Connection,
    known: &[Known],
    due_max: Duration,
    now: Timestamp,
) -> Result<Vec<Changed>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT version, due_at_ms, lease_until_ms FROM settle
         WHERE app_id = ? AND trade_system = ? AND out_settle_no = ?",
    )?;
    let mut changed = Vec::new();
    for Known { key, version } in known {
        let mut rows = statement.query(params![
            key.app_id.as_str(),
            key.trade_system.word(),
            key.out_settle_no.as_str(),
        ])?;
        let Some(row) = rows.next()? else {
            changed.push(Changed { key: key.clone(), version: None, due_in: None });
            continue;
        };
        let mut cursor = Cursor::new(row);
        let (stored, due_at): (i64, _) = (cursor.int()?, cursor.time_opt()?);
        let is_leased = cursor.time_opt()?.is_some_and(|until| until > now);
        let due_in = due_at.map(|due_at| due_at.since(now));
        let is_late = !is_leased && due_in.is_some_and(|due_in| due_in > due_max);
        if stored != *version || is_late {
            changed.push(Changed { key: key.clone(), version: Some(stored), due_in });
        }
    }
    Ok(changed)
}
