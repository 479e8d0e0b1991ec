//! One connection: how it is made, what it is refused for, and how statements run on it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Row, Socket, Statement};
use tokio_util::task::TaskTracker;

use super::super::columns::Value;
use super::fault::{Fault, chain, text};
use super::tls::{Tls, TlsStream};
use super::{Password, PostgresOptions};

/// How long it may take until a connection can be used.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// How long the gateway waits for the answer to a statement. The server gives up earlier, so that a
/// longer silence means that the connection is dead.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(6);

/// The oldest server that is known to work.
const OLDEST_SERVER: i32 = 130_000;

/// After connecting and not while connecting, because poolers refuse some of them there. A pooler
/// may give every transaction another connection, so nothing that the promise needs hangs on these:
/// see [`super::sql::HERE`].
const SET_UP: &str = "
    SET statement_timeout = '4s';
    SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '8s';
    SET default_transaction_isolation = 'read committed'";

const LOOK: &str = "
    SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),
           current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
           pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";

/// A connection that is set up.
pub(super) struct Session {
    client: Client,
    /// Statements that the server has planned, by their text.
    prepared: HashMap<&'static str, Statement>,
    /// Whether what a session is told stays with it.
    is_direct: Arc<AtomicBool>,
    /// Set once the server has told that a commit may be lost although it succeeds.
    doubtful: Arc<AtomicBool>,
    /// An answer did not come in time: what comes later must not be taken for another one.
    is_silent: bool,
    /// Whether the server was looked at that is at the other end.
    pub(super) is_looked_at: bool,
}

/// Makes connections.
pub(super) struct Dialer {
    config: tokio_postgres::Config,
    password: Option<Password>,
    tls: Tls,
    /// Whether this gateway is known to talk to the server itself, and not to a pooler that gives
    /// each transaction another connection. There a statement that was planned can be gone, or be
    /// another gateway's of the same name.
    is_direct: Arc<AtomicBool>,
    /// Each drives a connection.
    drivers: TaskTracker,
}

impl Dialer {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, String> {
        Ok(Self {
            config: options.address.config(),
            password: options.password.clone(),
            tls: match options.address.is_encrypted() {
                true => Tls::new(options.authorities.clone())?,
                false => Tls::new(Some(Arc::new(RootCertStore::empty())))?,
            },
            is_direct: Arc::default(),
            drivers: TaskTracker::new(),
        })
    }

    /// A session on a server on which a commit lasts.
    pub(super) async fn dial(&self) -> Result<Session, String> {
        let dialled = timeout(CONNECT_TIME_MAX, self.connect()).await;
        let silent = |_| format!("no session within {} s", CONNECT_TIME_MAX.as_secs());
        let mut session = dialled.map_err(silent)??;
        let prepared = timeout(CONNECT_TIME_MAX, session.prepare()).await;
        prepared.map_err(silent)??;
        Ok(session)
    }

    async fn connect(&self) -> Result<Session, String> {
        let connected = self.config().await.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(|error| match error.as_db_error() {
            Some(told) => text(told),
            None => chain(&error),
        })?;
        let doubtful = Arc::new(AtomicBool::new(false));
        self.drivers.spawn(drive(connection, Arc::clone(&doubtful)));
        Ok(Session {
            client,
            prepared: HashMap::new(),
            is_direct: Arc::clone(&self.is_direct),
            doubtful,
            is_silent: false,
            is_looked_at: false,
        })
    }

    /// From now on each session plans a statement once.
    pub(super) fn keep_statements(&self) {
        self.is_direct.store(true, Ordering::Relaxed);
    }

    /// From now on a statement is planned each time.
    pub(super) fn keep_no_statements(&self) {
        self.is_direct.store(false, Ordering::Relaxed);
    }

    /// With the password of the moment.
    async fn config(&self) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        if let Some(password) = &self.password {
            config.password(password.now().await.expose_secret());
        }
        config
    }

    /// A connection that hears notifications, whose payloads it hands on.
    pub(super) async fn dial_to_listen(
        &self,
        heard: mpsc::Sender<String>,
    ) -> Result<Client, String> {
        let config = self.config().await;
        let connecting = timeout(CONNECT_TIME_MAX, config.connect(self.tls.clone())).await;
        let silent = |_| format!("no session within {} s", CONNECT_TIME_MAX.as_secs());
        let (client, mut connection) =
            connecting.map_err(silent)?.map_err(|error| chain(&error))?;
        self.drivers.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(told) = message
                    && heard.send(told.payload().to_owned()).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(client)
    }

    /// Ends what a session was told to do and did not answer in time, and then the session. Else
    /// the server could work on it for as long as it likes, and each session that follows would be
    /// one more process there: a commit waits for its synchronous standby without any limit.
    pub(super) fn give_up(&self, session: Session) {
        let (token, tls) = (session.client.cancel_token(), self.tls.clone());
        self.drivers.spawn(async move {
            // It fails if the server cannot be reached.
            let _ = timeout(CONNECT_TIME_MAX, token.cancel_query(tls)).await;
            // A pooler would not pass it on if the session ended before.
            drop(session);
        });
    }

    /// Waits until every connection is closed.
    pub(super) async fn all_closed(&self) {
        self.drivers.close();
        self.drivers.wait().await;
    }
}

/// Moves what comes and goes on a connection until it ends.
async fn drive(mut connection: Connection<Socket, TlsStream<Socket>>, doubtful: Arc<AtomicBool>) {
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        // "canceling wait for synchronous replication": committed here and perhaps nowhere else.
        // The server sends it before it says that the commit succeeded.
        if let AsyncMessage::Notice(notice) = message
            && [SqlState::ADMIN_SHUTDOWN, SqlState::WARNING].contains(notice.code())
        {
            doubtful.store(true, Ordering::Release);
        }
    }
}

impl Session {
    async fn prepare(&mut self) -> Result<(), String> {
        let told = |error: tokio_postgres::Error| match error.as_db_error() {
            Some(told) => text(told),
            None => chain(&error),
        };
        self.client.batch_execute(SET_UP).await.map_err(told)?;
        let rows = self.client.query_typed(LOOK, &[]).await.map_err(told)?;
        let row = rows.first().ok_or("the server does not answer")?;
        let version: i64 = row.get(0);
        let encoding: &str = row.get(1);
        let [fsync, whole_pages, in_recovery, read_only] =
            [2, 3, 4, 5].map(|column| row.get::<_, bool>(column));
        if version < i64::from(OLDEST_SERVER) {
            return Err(format!("the server is older than PostgreSQL 13 ({version})"));
        }
        if encoding != "UTF8" {
            return Err(format!("the database has the encoding {encoding}: UTF8 is needed"));
        }
        if !fsync || !whole_pages {
            return Err(
                "the server runs with fsync or full_page_writes off: a power failure would \
                        take away what callers were told of"
                    .to_owned(),
            );
        }
        if in_recovery || read_only {
            return Err("the server takes no writes: connect to the primary".to_owned());
        }
        // What it has warned of so far is no commit of this session's.
        self.doubtful.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_silent || self.client.is_closed()
    }

    /// Whether an answer did not come in time.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Runs one statement, which by itself is one transaction unless a transaction was begun.
    pub(super) async fn run(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        if !self.is_direct.load(Ordering::Relaxed) {
            let typed = values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind()));
            let typed = typed.collect::<Vec<_>>();
            return self.answered(|client| client.query_typed(sql, &typed)).await;
        }
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
                let planned = self.answered(|client| client.prepare_typed(sql, &kinds)).await;
                // So far it only was to be planned.
                let statement = planned.map_err(Fault::before_anything)?;
                self.prepared.insert(sql, statement.clone());
                statement
            }
        };
        let values = values.iter().map(|value| value as &(dyn ToSql + Sync));
        let values = values.collect::<Vec<_>>();
        self.answered(|client| client.query(&statement, &values)).await
    }

    /// Runs statements of our own without parameters.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        self.answered(|client| client.batch_execute(sql)).await
    }

    /// The same, for as long as it takes.
    pub(super) async fn migrate(&mut self, sql: &str) -> Result<(), Fault> {
        let answer = self.client.batch_execute(sql).await;
        self.sure(answer.map_err(|error| Fault::of(&error)))
    }

    async fn answered<'a, T, F>(&'a mut self, ask: impl FnOnce(&'a Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let answer = timeout(ANSWER_TIME_MAX, ask(&self.client)).await;
        let Ok(answer) = answer else {
            self.is_silent = true;
            return Err(Fault::Lost(format!("no answer within {} s", ANSWER_TIME_MAX.as_secs())));
        };
        let answer = answer.map_err(|error| Fault::of(&error));
        if answer.as_ref().is_err_and(Fault::is_of_pooler) {
            self.is_direct.store(false, Ordering::Relaxed);
        }
        self.sure(answer)
    }

    /// A commit that succeeded may be lost all the same.
    fn sure<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        if answer.is_ok() && self.doubtful.load(Ordering::Acquire) {
            let why = "it is committed, but the wait for the synchronous standby was cancelled";
            return Err(Fault::Lost(why.to_owned()));
        }
        answer
    }
}
