//! The connections for reading. The writer never blocks them, and each read sees every write that
//! was answered before it began.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::Error;
use super::Threads;
use super::columns::Fault;
use super::connect::connect_reader;
use super::place::Place;

/// A bounded pool of connections, used on the runtime's threads for blocking work.
pub(super) struct Readers {
    pool: Arc<Pool>,
    threads: Threads,
    /// One permit per connection.
    turns: Arc<Semaphore>,
    connections_max: u32,
    /// One permit per read, waiting or running.
    places: Semaphore,
}

struct Pool {
    place: Arc<Place>,
    busy_wait: Duration,
    /// The unused connections. A broken one is not put back, and a missing one is opened by the
    /// read that needs it.
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn open(
        place: Arc<Place>,
        options: &super::SqliteOptions,
        threads: Threads,
    ) -> rusqlite::Result<Self> {
        let connections_max = options.readers.max(1);
        let connect = |_| connect_reader(place.path(), options.busy_wait);
        let idle = (0..connections_max).map(connect).collect::<rusqlite::Result<Vec<_>>>()?;
        let (turns, places) = (idle.len(), options.reads_max.max(1));
        Ok(Self {
            pool: Arc::new(Pool { place, busy_wait: options.busy_wait, idle: Mutex::new(idle) }),
            threads,
            turns: Arc::new(Semaphore::new(turns)),
            connections_max,
            places: Semaphore::new(places),
        })
    }

    #[expect(clippy::disallowed_methods, reason = "`close` waits for it: it holds a turn")]
    pub(super) async fn read<T, F>(&self, run: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let _place: SemaphorePermit<'_> = self.places.try_acquire().map_err(|_| {
            Error::Unavailable("too many reads are waiting, or the store is closed".to_owned())
        })?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Unavailable("the store is closed".to_owned()))?;
        let pool = Arc::clone(&self.pool);
        let read = move || {
            let result = pool.read(run);
            drop(turn);
            result
        };
        match self.threads {
            Threads::Callers => read(),
            Threads::Own => match tokio::task::spawn_blocking(read).await {
                Ok(result) => result,
                Err(error) => Err(Error::Unavailable(format!("a read did not finish: {error}"))),
            },
        }
    }

    /// Waits for the reads that run, refuses later ones, closes the connections.
    pub(super) async fn close(&self) {
        self.places.close();
        let running = self.turns.acquire_many(self.connections_max).await;
        self.turns.close();
        drop(running);
        self.pool.idle().clear();
    }
}

impl Pool {
    fn read<T>(&self, run: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = run(&connection);
        match &result {
            Ok(_) | Err(Fault::Unreadable(_)) => self.idle().push(connection),
            Err(Fault::Sqlite(_)) => drop(connection),
        }
        result.map_err(|fault| self.place.failed(fault))
    }

    /// Refuses to read another file of the same name.
    fn connect(&self) -> Result<Connection, Error> {
        self.place.look().map_err(|astray| Error::Unavailable(astray.to_string()))?;
        let connection = connect_reader(self.place.path(), self.busy_wait);
        connection.map_err(|error| self.place.failed(Fault::Sqlite(error)))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
