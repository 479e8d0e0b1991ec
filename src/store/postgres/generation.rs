//! The generation of the store. A new one begins after the store went back to an earlier state: a
//! standby that lacked the last commits was promoted, or a backup was put in the place of the
//! database.
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

use super::super::FORGOTTEN_MAX;
use super::super::columns::{Cursor, Unreadable, Value};
use super::super::json::Stored as _;
use super::fault::Fault;
use super::session::Session;
use crate::clock::{Clock, Timestamp, Uptime};
use crate::settle::{Origin, Permission, PermissionId, ProcessId, Record};

/// More than any version or fence can grow in one generation.
pub(super) const STEP: i64 = 1 << 32;

/// What a gateway takes the store for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Basis {
    pub(super) generation: i64,
    /// Stands for everything that may have been sent before this generation.
    lost: Option<Permission>,
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
           coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    FROM store_state WHERE id = 1";

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

const BEGIN: &str = "
    UPDATE store_state
    SET generation = generation + 1, begun_ms = $2, lost = $3,
        server_start = pg_postmaster_start_time(), cluster = $4, timeline = $5
    WHERE id = 1 AND generation = $1 AND ($6 OR server_start <> pg_postmaster_start_time())
    RETURNING generation";

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
}

/// Other gateways notice the same at the same time.
const TRIES_MAX: u32 = 8;

impl Look<'_> {
    /// Begins a new generation if the server may lack commits.
    pub(super) async fn look(mut self) -> Result<Basis, Fault> {
        for _ in 0..TRIES_MAX {
            let stored = self.stored().await?;
            if stored.is_known {
                self.session.is_looked_at = true;
                return Ok(self.basis(&stored));
            }
            let server = Server::of(self.session).await?;
            if server.may_lack_commits_of(&stored.server) {
                let begun = self.begin(&stored, &server, false).await?;
                if let Some(generation) = begun {
                    tracing::error!(
                        generation,
                        "the database runs on another server or timeline, which may lack the last \
                         commits: no settle that was open is ever sent again"
                    );
                }
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

    /// `None`: another gateway was first.
    async fn begin(
        &mut self,
        stored: &Stored,
        server: &Server,
        is_told: bool,
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
            is_told.into(),
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
        Basis { generation: stored.generation, lost: stored.lost, forgotten_until }
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
        })
    }
}

fn unreadable(what: &str) -> Fault {
    Fault::Unreadable(what.to_owned())
}

/// A number that no gateway has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
