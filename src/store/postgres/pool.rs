//! The connections of one gateway: a bounded number, each lent to one operation at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::PostgresOptions;
use super::fault::Fault;
use super::session::{Dialer, Session};
use crate::clock::{Clock, Uptime};
use crate::metrics::STORE_QUEUE;

/// A server that cannot be reached is tried again at most this often, unless an operation asks for
/// it.
const RETRY_GAP: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    dialer: Dialer,
    /// The unused connections, the last one used on top.
    idle: Mutex<Vec<Session>>,
    /// One permit per connection.
    turns: Semaphore,
    connections_max: u32,
    /// One permit per operation, waiting or running.
    places: Semaphore,
    operations_max: usize,
    wait_max: Duration,
    /// When the server could not be reached, and why; `None` as soon as it can.
    down: Mutex<Option<(Uptime, String)>>,
    clock: Clock,
}

/// What an operation does if the server could not be reached a moment ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// Fails at once.
    Ordinary,
    /// Tries again.
    Probe,
}

/// A connection on loan. It goes back to the pool unless it was spoilt.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, String> {
        let connections_max = options.connections_max.max(1);
        Ok(Self {
            dialer: Dialer::new(options)?,
            idle: Mutex::default(),
            turns: Semaphore::new(usize::try_from(connections_max).unwrap_or(1)),
            connections_max,
            places: Semaphore::new(options.operations_max.max(1)),
            operations_max: options.operations_max.max(1),
            wait_max: options.connection_wait,
            down: Mutex::default(),
            clock: options.clock.clone(),
        })
    }

    /// For connections that are not lent.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) async fn lend(&self, urgency: Urgency) -> Result<Lent<'_>, Fault> {
        let down = |why: &str| Fault::Down(why.to_owned());
        let place = self.places.try_acquire();
        let place = place.map_err(|_| down("too many operations wait, or the store is closed"))?;
        if self.turns.available_permits() == 0 {
            let all = self.operations_max.saturating_sub(self.places.available_permits());
            let running = usize::try_from(self.connections_max).unwrap_or(usize::MAX);
            STORE_QUEUE.set_len([], all.saturating_sub(running));
        } else {
            STORE_QUEUE.set_len([], 0);
        }
        let turn = timeout(self.wait_max, self.turns.acquire()).await;
        let turn = turn.map_err(|_| down("all connections are in use"))?;
        let turn = turn.map_err(|_| down("the store is closed"))?;
        let session = match self.unused() {
            Some(session) => session,
            None => self.dial(urgency).await?,
        };
        Ok(Lent { pool: self, session: Some(session), _turn: turn, _place: place })
    }

    fn unused(&self) -> Option<Session> {
        let mut idle = self.idle();
        idle.retain(|session| !session.is_closed());
        idle.pop()
    }

    async fn dial(&self, urgency: Urgency) -> Result<Session, Fault> {
        let now = self.clock.uptime();
        let known = self.down().clone().filter(|(then, _)| now.since(*then) < RETRY_GAP);
        if let (Some((_, why)), Urgency::Ordinary) = (known, urgency) {
            return Err(Fault::Down(why));
        }
        match self.dialer.dial().await {
            Ok(session) => {
                *self.down() = None;
                Ok(session)
            }
            Err(why) => {
                let why = format!("the database cannot be reached: {why}");
                *self.down() = Some((self.clock.uptime(), why.clone()));
                Err(Fault::Down(why))
            }
        }
    }

    /// Waits for the operations that run, refuses later ones, closes the connections.
    pub(super) async fn close(&self) {
        self.places.close();
        let running = self.turns.acquire_many(self.connections_max).await;
        self.turns.close();
        drop(running);
        self.idle().clear();
        self.dialer.all_closed().await;
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down(&self) -> std::sync::MutexGuard<'_, Option<(Uptime, String)>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    pub(super) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("it is spoilt only at the end")
    }

    /// Closes the connection: what is under way on it is rolled back. If it fell silent, the unused
    /// ones lead to the same place, and are not tried one after the other.
    pub(super) fn spoil(&mut self) {
        if let Some(session) = self.session.take()
            && session.is_silent()
        {
            self.pool.idle().clear();
            self.pool.dialer.give_up(session);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.session.as_ref().is_some_and(Session::is_silent) {
            self.spoil();
        }
        if let Some(session) = self.session.take().filter(|session| !session.is_closed()) {
            self.pool.idle().push(session);
        }
    }
}
