//! What the processes on one store share beside settles: who is alive, pauses, the turn to fetch a
//! token, and hints about settles that changed.
//!
//! # The contract of every backend
//!
//! - **Nothing here decides about money.** What is lost costs requests to Douyin or time.
//! - **A beat is a number that grows.** Readers compare beats of one process with each other, by
//!   their own clocks, and never moments of two processes.
//! - **One process at a time has the turn to fetch an app's token.** The turn ends with its lease.
//!   A token is saved only under the newest turn, so that a slow fetch never replaces a newer one.
//! - **Tokens and pauses are told as durations**, which the store turns into moments of its own.
//! - **A hint may be lost, repeated or late.** It is never a part of the write that it tells of.
//!   [`Store::changed`] tells what hints may have missed.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::broadcast;

use super::{Error, Fence, Store};
use crate::settle::{AppId, Failure, Key, ProcessId};

/// One process that works on the store, as it last showed itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    pub process: ProcessId,
    /// Grows with each beat of the process.
    pub beats: u64,
    /// The settings that all replicas must agree on, in words. Equal words are equal settings.
    pub settings: String,
}

/// A pause of an app that a replica told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedPause {
    pub app_id: AppId,
    /// Grows with each pause that is told for the app.
    pub number: i64,
    /// What is left of it.
    pub left: Duration,
    /// Why.
    pub failure: Failure,
}

/// What one look at the fleet shows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fleet {
    /// Also those that have ended without a word, until a replica removes them.
    pub replicas: Vec<Replica>,
    /// Those that are not over.
    pub pauses: Vec<SharedPause>,
}

/// An app's access token, which all processes on this store share. The durations are as of the
/// moment at which it is read or saved.
#[derive(Clone, Debug)]
pub struct StoredToken {
    pub access_token: SecretString,
    /// How long ago it was fetched. `None`: the store's clock was set back since, so it is not
    /// known.
    pub age: Option<Duration>,
    /// How long it still lives.
    pub left: Duration,
}

/// What a replica knows of a settle that is watched there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub key: Key,
    /// The version that was read last; 0: none.
    pub version: i64,
}

/// A settle that is not as it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    pub key: Key,
    /// `None`: there is no such settle any more.
    pub version: Option<i64>,
    /// How long until it is looked at; `None`: it has no due row.
    pub due_in: Option<Duration>,
}

/// What another replica told, or this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// These settles changed.
    Changed(Vec<Key>),
    /// Hints may be lost: any settle may have changed.
    Lost,
}

/// The receiving end of hints.
pub struct Hearing(broadcast::Receiver<Arc<Hint>>);

/// Hints that a slow listener may leave behind before it is told that it missed some.
const UNHEARD_MAX: usize = 256;

/// Where hints come in.
pub(super) struct Hints(broadcast::Sender<Arc<Hint>>);

impl Hints {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(UNHEARD_MAX))
    }

    /// Without a listener it is lost, as any hint may be.
    pub(super) fn send(&self, hint: Hint) {
        let _ = self.0.send(Arc::new(hint));
    }

    pub(super) fn hear(&self) -> Hearing {
        Hearing(self.0.subscribe())
    }
}

impl Hearing {
    /// The next hint. Dropping the future loses nothing. Once the store is closed there are none,
    /// and this waits for ever.
    pub async fn next(&mut self) -> Arc<Hint> {
        match self.0.recv().await {
            Ok(hint) => hint,
            Err(broadcast::error::RecvError::Lagged(_)) => Arc::new(Hint::Lost),
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Store {
    /// Shows that a process is alive, and its settings.
    pub async fn beat(&self, replica: &Replica) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => {
                sqlite.shared().beat(replica);
                Ok(())
            }
            Store::Postgres(postgres) => Box::pin(postgres.beat(replica)).await,
        }
    }

    /// Removes a process that has ended, unless it has beaten again.
    pub async fn remove_replica(&self, replica: &Replica) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => {
                sqlite.shared().remove(replica);
                Ok(())
            }
            Store::Postgres(postgres) => Box::pin(postgres.remove_replica(replica)).await,
        }
    }

    /// Who works on the store, and which apps pause.
    pub async fn fleet(&self) -> Result<Fleet, Error> {
        match self {
            Store::Sqlite(sqlite) => Ok(sqlite.shared().fleet()),
            Store::Postgres(postgres) => Box::pin(postgres.fleet()).await,
        }
    }

    /// Tells of a pause of an app. Returns its number, or `None` if one that lasts longer was told
    /// already.
    pub async fn tell_pause(
        &self,
        app_id: &AppId,
        failure: &Failure,
        left: Duration,
    ) -> Result<Option<i64>, Error> {
        match self {
            Store::Sqlite(sqlite) => Ok(sqlite.shared().tell_pause(app_id, failure, left)),
            Store::Postgres(postgres) => Box::pin(postgres.tell_pause(app_id, failure, left)).await,
        }
    }

    /// The newest token of an app, alive or not.
    pub async fn token(&self, app_id: &AppId) -> Result<Option<StoredToken>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.token(app_id).await,
            Store::Postgres(postgres) => Box::pin(postgres.token(app_id)).await,
        }
    }

    /// Takes the turn to fetch the app's token. `held`: the turn that this process has, which it
    /// keeps. `None`: another process is fetching.
    pub async fn token_turn(
        &self,
        app_id: &AppId,
        held: Option<Fence>,
        lease: Duration,
    ) -> Result<Option<Fence>, Error> {
        match self {
            Store::Sqlite(sqlite) => Ok(sqlite.shared().token_turn(app_id, held, lease)),
            Store::Postgres(postgres) => Box::pin(postgres.token_turn(app_id, held, lease)).await,
        }
    }

    /// Gives the turn back without a token.
    pub async fn end_token_turn(&self, app_id: &AppId, turn: Fence) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => {
                sqlite.shared().end_token_turn(app_id, turn);
                Ok(())
            }
            Store::Postgres(postgres) => Box::pin(postgres.end_token_turn(app_id, turn)).await,
        }
    }

    /// Saves a fetched token and gives the turn back. `false`: another process has had the turn
    /// since, so its token counts, and this one is not saved.
    pub async fn save_token(
        &self,
        app_id: &AppId,
        token: StoredToken,
        turn: Fence,
    ) -> Result<bool, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.save_token(app_id, token, turn).await,
            Store::Postgres(postgres) => Box::pin(postgres.save_token(app_id, token, turn)).await,
        }
    }

    /// Tells all replicas, this one included, that these settles changed.
    pub fn hint(&self, keys: Vec<Key>) -> Result<(), Error> {
        match self {
            Store::Sqlite(sqlite) => {
                sqlite.hint(Hint::Changed(keys));
                Ok(())
            }
            Store::Postgres(postgres) => postgres.hint(&keys),
        }
    }

    /// Hears every hint from now on.
    pub fn hear(&self) -> Hearing {
        match self {
            Store::Sqlite(sqlite) => sqlite.hear(),
            Store::Postgres(postgres) => postgres.hear(),
        }
    }

    /// Those of the settles that have another version than the one that is known, and those that
    /// are not looked at within `due_max`. In one read, so no more than [`KNOWN_MAX`] at once.
    pub async fn changed(
        &self,
        known: Vec<Known>,
        due_max: Duration,
    ) -> Result<Vec<Changed>, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.changed(known, due_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.changed(known, due_max)).await,
        }
    }
}

/// The most settles that [`Store::changed`] compares at once.
pub const KNOWN_MAX: usize = 500;
