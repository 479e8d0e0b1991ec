//! The generation of the store. A new one begins after the store went back to an earlier state: a
//! standby that lacked the last commits was promoted, or a backup or an earlier state of the disk
//! was put in the place of the database. Each gateway notices it by the server's identity and
//! timeline, by the position of its log, or by what is older than the gateway has seen it
//! ([`super::seen`]); else an operator says it.
//!
//! What callers were told since is lost too, for example a refusal, after which the caller paid
//! under another number. So no settle that was open is ever sent again, each counts one more lost
//! send, and no earlier version or fence is given a second time.
//!
//! The number of the generation is a part of each version and each fence. So a new generation is
//! the change of one row, however many settles there are: what it means for a settle is computed
//! when the settle is read, from the generation in which it was written. A writer that does not
//! know of the new generation changes nothing ([`super::sql::HERE`]).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Unreadable, Value};
use super::super::json::Stored as _;
use super::super::moving::{Closed, Task};
use super::super::{FORGOTTEN_MAX, STEP};
use super::fault::Fault;
use super::seen::Seen;
use super::session::Session;
use super::sql::lasting;
use crate::clock::{Clock, Timestamp, Uptime};
use crate::log_limit::error;
use crate::settle::{Origin, Permission, PermissionId, ProcessId, Record};

/// What a gateway takes the store for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Basis {
    pub(super) generation: i64,
    /// Stands for everything that may have been sent before this generation.
    pub(super) lost: Option<Permission>,
    /// How long before this look the last generation began, if it is not the first one.
    pub(super) went_back: Option<Duration>,
    /// Until when a create without a record may be one whose record was lost.
    forgotten_until: Option<Uptime>,
}

impl Basis {
    fn base(self) -> i64 {
        self.generation.saturating_mul(STEP)
    }

    pub(super) fn may_have_forgotten(self, now: Uptime) -> bool {
        self.forgotten_until.is_some_and(|until| now < until)
    }

    /// Whether the record was made in this generation.
    pub(super) fn is_of(self, version: i64) -> bool {
        version.div_euclid(STEP) == self.generation
    }

    /// The record as this generation sees it.
    pub(super) fn seen(self, mut record: Record) -> Record {
        let went_back = self.generation.saturating_sub(record.version.div_euclid(STEP));
        let is_ours = matches!(record.origin, Origin::Gateway(_));
        if let (true, Some(lost)) = (went_back > 0 && is_ours && !record.is_final(), self.lost) {
            record.evidence.set_back(u32::try_from(went_back).unwrap_or(u32::MAX), lost);
        }
        record.version = self.version(record.version);
        record
    }

    pub(super) fn version(self, stored: i64) -> i64 {
        stored.rem_euclid(STEP).saturating_add(self.base())
    }
}

/// The process of the server is told apart from its cluster, because a standby has the same one.
const SELECT: &str = "
    SELECT generation, begun_ms, lost, cluster, timeline,
           server_start = pg_postmaster_start_time(),
           coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint), closed
    FROM store_state WHERE id = 1";

/// How far the log of the server has come. It grows with every write and never gets shorter, unless
/// what was in it is lost.
pub(super) const POSITION: &str = "(pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
const SELECT_POSITION: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";

/// Some managed servers do not allow the first of these. The timeline of the log is new after every
/// promotion and every recovery from a backup.
const SERVER: &str = "
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           left(pg_walfile_name(pg_current_wal_lsn()), 8)";
const SERVER_BY_TIMELINE: &str = "
    SELECT NULL::text, left(pg_walfile_name(pg_current_wal_lsn()), 8)";

const RECORD_SERVER: &str = "
    UPDATE store_state SET server_start = pg_postmaster_start_time(), cluster = $2, timeline = $3
    WHERE id = 1 AND generation = $1 AND server_start <> pg_postmaster_start_time()";

const BEGIN: &str = concat!(
    "
    UPDATE store_state
    SET generation = greatest(generation, $7) + 1, begun_ms = $2, lost = $3,
        server_start = pg_postmaster_start_time(), cluster = $4, timeline = $5
    WHERE id = 1 AND generation = $1 AND ($6 OR server_start <> pg_postmaster_start_time())
      AND ",
    lasting!(),
    " IS NOT NULL
    RETURNING generation"
);

pub(super) const INSERT: &str = "
    INSERT INTO store_state
        (id, schema_version, oldest_reader, generation, cluster, timeline, server_start)
    VALUES (1, $1, $2, 0, $3, $4, pg_postmaster_start_time())";

/// Which server keeps the database: its cluster, and the timeline of its log. `None`: it does not
/// tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    pub(super) cluster: Option<String>,
    pub(super) timeline: Option<String>,
}

impl Server {
    pub(super) async fn of(session: &mut Session) -> Result<Self, Fault> {
        for select in [SERVER, SERVER_BY_TIMELINE] {
            match session.run(select, &[]).await {
                Ok(rows) => {
                    let row = rows.first().ok_or_else(|| unreadable("no row"))?;
                    let mut cursor = Cursor::new(row);
                    return Ok(Self { cluster: cursor.text_opt()?, timeline: cursor.text_opt()? });
                }
                // Not allowed, or not known.
                Err(Fault::Refused { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(Self { cluster: None, timeline: None })
    }

    /// Whether commits may be missing on this server that were made on that one.
    fn may_lack_commits_of(&self, before: &Self) -> bool {
        let differ = |now: &Option<String>, then: &Option<String>| {
            now.as_ref().zip(then.as_ref()).is_some_and(|(now, then)| now != then)
        };
        differ(&self.cluster, &before.cluster) || differ(&self.timeline, &before.timeline)
    }
}

/// How a gateway looks whether the store is still what it was.
pub(super) struct Look<'a> {
    pub(super) session: &'a mut Session,
    pub(super) clock: &'a Clock,
    /// The store's time in a test, else `None`.
    pub(super) time: Option<&'a Clock>,
    pub(super) sends_last: Duration,
    /// What this gateway took the store for until now, and what it has seen of it.
    pub(super) known: Option<(Basis, &'a Seen)>,
    pub(super) task: Task,
}

/// What is in the row of the store.
struct Stored {
    generation: i64,
    begun: Option<Timestamp>,
    lost: Option<Permission>,
    server: Server,
    /// Whether the process of the server is the one that was looked at last.
    is_known: bool,
    now: Timestamp,
    closed: Option<Closed>,
}

/// Other gateways notice the same at the same time.
const TRIES_MAX: u32 = 8;

impl Look<'_> {
    /// Refuses a store that is closed. Begins a new generation if commits may be lost.
    pub(super) async fn look(mut self) -> Result<Basis, Fault> {
        for _ in 0..TRIES_MAX {
            let stored = self.stored().await?;
            if let (Some(closed), Task::Work) = (stored.closed, self.task) {
                return Err(Fault::Closed(closed));
            }
            if let Some(why) = self.went_back(&stored).await? {
                self.begin_because(&stored, why, true).await?;
                continue;
            }
            if stored.is_known {
                self.session.is_looked_at = true;
                return Ok(self.basis(&stored));
            }
            let server = Server::of(self.session).await?;
            if server.may_lack_commits_of(&stored.server) {
                let why = "it runs on another server or timeline";
                self.begin_because(&stored, why, false).await?;
            } else {
                let values = [
                    stored.generation.into(),
                    Value::Text(server.cluster.as_deref()),
                    Value::Text(server.timeline.as_deref()),
                ];
                self.session.run(RECORD_SERVER, &values).await?;
            }
        }
        Err(Fault::Down("the database changes its server again and again".to_owned()))
    }

    /// Begins a new generation because a settle is older than this gateway has seen it, unless
    /// another gateway was first.
    pub(super) async fn begin_after(mut self, generation: i64) -> Result<(), Fault> {
        let stored = self.stored().await?;
        if stored.generation == generation {
            let why = "a settle is older than this gateway has seen it";
            self.begin_because(&stored, why, true).await?;
        }
        Ok(())
    }

    async fn begin_because(
        &mut self,
        stored: &Stored,
        why: &'static str,
        whatever_server: bool,
    ) -> Result<(), Fault> {
        let server = Server::of(self.session).await?;
        if let Some(generation) = self.begin(stored, &server, whatever_server).await? {
            error!(
                generation,
                why,
                "the database may lack commits that were acknowledged: no settle that was open is \
                 ever sent again"
            );
        }
        Ok(())
    }

    /// Why the store is known to be in an earlier state than the one that this gateway has seen.
    async fn went_back(&mut self, stored: &Stored) -> Result<Option<&'static str>, Fault> {
        let Some((known, seen)) = self.known else { return Ok(None) };
        if stored.generation > known.generation {
            return Ok(None);
        }
        if (stored.generation, stored.lost) != (known.generation, known.lost) {
            return Ok(Some("it does not know of its last generation"));
        }
        let before = seen.position(known.generation);
        let now = if before.is_some() { self.position().await? } else { None };
        let is_shorter = before.zip(now).is_some_and(|(before, now)| now < before);
        Ok(is_shorter.then_some("its log is shorter than this gateway has seen it"))
    }

    /// How far the log has come. `None`: this engine does not tell.
    pub(super) async fn position(&mut self) -> Result<Option<i64>, Fault> {
        match self.session.run(SELECT_POSITION, &[]).await {
            Ok(rows) => {
                let row = rows.first().ok_or_else(|| unreadable("no position"))?;
                Ok(Cursor::new(row).int_opt()?)
            }
            Err(Fault::Refused { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Begins a new generation because an operator says that the store went back.
    pub(super) async fn begin_at_once(mut self) -> Result<i64, Fault> {
        for _ in 0..TRIES_MAX {
            let stored = self.stored().await?;
            let server = Server::of(self.session).await?;
            if let Some(generation) = self.begin(&stored, &server, true).await? {
                return Ok(generation);
            }
        }
        Err(Fault::Down("other gateways begin generations meanwhile".to_owned()))
    }

    /// `None`: another gateway was first. The number is greater than any that this gateway knows.
    async fn begin(
        &mut self,
        stored: &Stored,
        server: &Server,
        whatever_server: bool,
    ) -> Result<Option<i64>, Fault> {
        let lost = Permission {
            id: PermissionId { process: ProcessId(random()), number: 0 },
            time: stored.now,
            // What other gateways were allowed to send before, they may still send.
            lasts: self.sends_last,
        };
        let lost = lost.to_json();
        let values = [
            stored.generation.into(),
            stored.now.into(),
            lost.as_str().into(),
            Value::Text(server.cluster.as_deref()),
            Value::Text(server.timeline.as_deref()),
            whatever_server.into(),
            self.known.map_or(0, |(known, _)| known.generation).into(),
        ];
        let rows = self.session.run(BEGIN, &values).await?;
        Ok(rows.first().map(|row| Cursor::new(row).int()).transpose()?)
    }

    async fn stored(&mut self) -> Result<Stored, Fault> {
        let time = Value::Int(self.time.map(|time| time.now().as_ms()));
        let rows = self.session.run(SELECT, &[time]).await?;
        let row = rows.first().ok_or_else(|| unreadable("store_state has no row"))?;
        Ok(Stored::read(row)?)
    }

    fn basis(&self, stored: &Stored) -> Basis {
        let forgotten_until = stored.begun.map(|begun| {
            let left = begun.plus(FORGOTTEN_MAX).since(stored.now);
            self.clock.uptime().plus(left)
        });
        let Stored { generation, lost, begun, .. } = *stored;
        let went_back = begun.map(|begun| stored.now.since(begun));
        Basis { generation, lost, went_back, forgotten_until }
    }
}

impl Stored {
    fn read(row: &Row) -> Result<Self, Unreadable> {
        let mut cursor = Cursor::new(row);
        Ok(Self {
            generation: cursor.int()?,
            begun: cursor.time_opt()?,
            lost: cursor.stored_opt()?,
            server: Server { cluster: cursor.text_opt()?, timeline: cursor.text_opt()? },
            is_known: cursor.flag_opt()? == Some(true),
            now: cursor.time()?,
            closed: cursor.word_opt()?,
        })
    }
}

fn unreadable(what: &str) -> Fault {
    Fault::Unreadable(what.to_owned())
}

/// A number that nothing else has.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
