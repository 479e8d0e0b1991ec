//! What gateways on one database share beside settles, as rows: beats, pauses, tokens and the turn
//! to fetch them. A token leaves its secret type only when it is written.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::json::Stored as _;
use super::super::words::Word as _;
use super::super::{Changed, Error, Fence, Fleet, Known, Replica, SharedPause, StoredToken};
use super::Postgres;
use super::fault::Fault;
use super::pool::Urgency;
use super::sql::{wait, waited};
use crate::settle::{AppId, Failure, Key, OutSettleNo, ProcessId};

/// The store's time, in every statement of this module: $1 is the time in a test, else null.
macro_rules! now {
    () => {
        "now AS MATERIALIZED (
    SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) AS ms
)"
    };
}

const BEAT: &str = "
    INSERT INTO replica (process, beats, settings)
    SELECT $1, $2, $3 FROM store_state WHERE closed IS NULL
    ON CONFLICT (process) DO UPDATE SET beats = excluded.beats, settings = excluded.settings
    RETURNING 1";
const REMOVE: &str = "DELETE FROM replica WHERE process = $1 AND beats = $2";
const SELECT_REPLICAS: &str = "SELECT process, beats, settings FROM replica ORDER BY process";
const SELECT_PAUSES: &str = concat!(
    "WITH ",
    now!(),
    "
    SELECT app_id, number, over_ms - now.ms AS left_ms, failure FROM pause, now
    WHERE over_ms > now.ms ORDER BY app_id"
);
const TELL_PAUSE: &str = concat!(
    "WITH ",
    now!(),
    "
    INSERT INTO pause (app_id, number, over_ms, failure) SELECT $2, 1, now.ms + $3, $4 FROM now
    ON CONFLICT (app_id) DO UPDATE
    SET number = pause.number + 1, over_ms = excluded.over_ms, failure = excluded.failure
    WHERE pause.over_ms < excluded.over_ms
    RETURNING number"
);
const SELECT_TOKEN: &str = concat!(
    "WITH ",
    now!(),
    "
    SELECT access_token,
           CASE WHEN fetched_at_ms <= now.ms THEN now.ms - fetched_at_ms END AS age_ms,
           expires_at_ms - now.ms AS left_ms
    FROM token, now WHERE app_id = $2"
);
/// A turn that ends later than any lease was taken while the clock was wrong.
const TAKE_TURN: &str = concat!(
    "WITH ",
    now!(),
    "
    INSERT INTO token_turn (app_id, fence, until_ms) SELECT $2, 1, now.ms + $3 FROM now
    ON CONFLICT (app_id) DO UPDATE
    SET fence = token_turn.fence + CASE WHEN token_turn.fence = $4 THEN 0 ELSE 1 END,
        until_ms = excluded.until_ms
    WHERE token_turn.fence = $4 OR token_turn.until_ms <= excluded.until_ms - $3
       OR token_turn.until_ms > excluded.until_ms
    RETURNING fence"
);
const END_TURN: &str = concat!(
    "WITH ",
    now!(),
    "
    UPDATE token_turn SET until_ms = now.ms FROM now WHERE app_id = $2 AND fence = $3"
);
const SAVE_TOKEN: &str = concat!(
    "WITH ",
    now!(),
    ",
    turn AS (UPDATE token_turn SET until_ms = now.ms FROM now WHERE app_id = $2 AND fence = $3
             RETURNING now.ms)
    INSERT INTO token (app_id, access_token, fetched_at_ms, expires_at_ms)
    SELECT $2, $4, turn.ms - $5, turn.ms + $6 FROM turn
    ON CONFLICT (app_id) DO UPDATE SET access_token = excluded.access_token,
        fetched_at_ms = excluded.fetched_at_ms, expires_at_ms = excluded.expires_at_ms
    RETURNING 1"
);
/// The version as the generation counts in which the store is.
const SELECT_CHANGED: &str = concat!(
    "WITH ",
    now!(),
    ",
    compared AS (
        SELECT known.app_id, known.trade_system, known.out_settle_no, known.version AS known,
               settle.version % 4294967296 + store_state.generation * 4294967296 AS version,
               settle.due_at_ms - now.ms AS due_in_ms,
               (settle.lease_until_ms > now.ms) IS TRUE AS is_leased
        FROM now CROSS JOIN store_state
        CROSS JOIN json_to_recordset($2::json) AS known
            (app_id text COLLATE \"C\", trade_system text COLLATE \"C\",
             out_settle_no text COLLATE \"C\", version bigint)
        LEFT JOIN settle ON settle.app_id = known.app_id
            AND settle.trade_system = known.trade_system
            AND settle.out_settle_no = known.out_settle_no
    )
    SELECT app_id, trade_system, out_settle_no, version, due_in_ms FROM compared
    WHERE version IS DISTINCT FROM known OR (NOT is_leased AND due_in_ms > $3)"
);

impl Postgres {
    pub(in crate::store) async fn beat(&self, replica: &Replica) -> Result<(), Error> {
        let Replica { process, beats, settings } = replica;
        let values = [bits(process.0).into(), bits(*beats).into(), settings.as_str().into()];
        if self.write_shared(BEAT, &values).await?.is_empty() {
            self.look_again().await.map_err(Fault::nothing_durable)?;
        }
        Ok(())
    }

    pub(in crate::store) async fn remove_replica(&self, replica: &Replica) -> Result<(), Error> {
        self.tell(REMOVE, &[bits(replica.process.0).into(), bits(replica.beats).into()]).await
    }

    pub(in crate::store) async fn fleet(&self) -> Result<Fleet, Error> {
        self.read_fleet().await.map_err(Fault::nothing_durable)
    }

    async fn read_fleet(&self) -> Result<Fleet, Fault> {
        let replica = |row: &Row| {
            let mut cursor = Cursor::new(row);
            let process = ProcessId(cursor.int()?.cast_unsigned());
            let beats = cursor.int()?.cast_unsigned();
            Ok(Replica { process, beats, settings: cursor.text()? })
        };
        let pause = |row: &Row| {
            let mut cursor = Cursor::new(row);
            let (app_id, number) = (cursor.name(AppId::parse)?, cursor.int()?);
            let left = waited(cursor.int()?);
            // A newer version may spell it in another way.
            let failure = cursor.stored_opt::<Failure>()?.ok_or_else(|| cursor.unknown())?;
            Ok(SharedPause { app_id, number, left, failure })
        };
        let replicas = self.read(SELECT_REPLICAS, &[]).await?;
        let pauses = self.read(SELECT_PAUSES, &[self.time()]).await?;
        let replicas = replicas.iter().map(replica).collect::<Result<_, Fault>>()?;
        let pauses = pauses.iter().map(pause).collect::<Result<_, Fault>>()?;
        Ok(Fleet { replicas, pauses })
    }

    pub(in crate::store) async fn tell_pause(
        &self,
        app_id: &AppId,
        failure: &Failure,
        left: Duration,
    ) -> Result<Option<i64>, Error> {
        let failure = failure.to_json();
        let values = [self.time(), app_id.as_str().into(), wait(left), failure.as_str().into()];
        self.number(TELL_PAUSE, &values).await
    }

    pub(in crate::store) async fn token(
        &self,
        app_id: &AppId,
    ) -> Result<Option<StoredToken>, Error> {
        self.find_token(app_id).await.map_err(Fault::nothing_durable)
    }

    async fn find_token(&self, app_id: &AppId) -> Result<Option<StoredToken>, Fault> {
        let rows = self.read(SELECT_TOKEN, &[self.time(), app_id.as_str().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut cursor = Cursor::new(row);
        Ok(Some(StoredToken {
            access_token: SecretString::from(cursor.text()?),
            age: cursor.int_opt()?.map(waited),
            left: waited(cursor.int()?),
        }))
    }

    pub(in crate::store) async fn token_turn(
        &self,
        app_id: &AppId,
        held: Option<Fence>,
        lease: Duration,
    ) -> Result<Option<Fence>, Error> {
        let held = Value::Int(held.map(|fence| fence.0));
        let values = [self.time(), app_id.as_str().into(), wait(lease), held];
        Ok(self.number(TAKE_TURN, &values).await?.map(Fence))
    }

    pub(in crate::store) async fn end_token_turn(
        &self,
        app_id: &AppId,
        turn: Fence,
    ) -> Result<(), Error> {
        self.tell(END_TURN, &[self.time(), app_id.as_str().into(), turn.0.into()]).await
    }

    pub(in crate::store) async fn save_token(
        &self,
        app_id: &AppId,
        token: StoredToken,
        turn: Fence,
    ) -> Result<bool, Error> {
        let values = [
            self.time(),
            app_id.as_str().into(),
            turn.0.into(),
            token.access_token.expose_secret().into(),
            wait(token.age.unwrap_or_default()),
            wait(token.left),
        ];
        Ok(!self.write_shared(SAVE_TOKEN, &values).await?.is_empty())
    }

    pub(in crate::store) async fn changed(
        &self,
        known: Vec<Known>,
        due_max: Duration,
    ) -> Result<Vec<Changed>, Error> {
        self.find_changed(&known, due_max).await.map_err(Fault::nothing_durable)
    }

    async fn find_changed(
        &self,
        known: &[Known],
        due_max: Duration,
    ) -> Result<Vec<Changed>, Fault> {
        let known = known.iter().map(|Known { key, version }| {
            serde_json::json!({
                "app_id": key.app_id.as_str(),
                "trade_system": key.trade_system.word(),
                "out_settle_no": key.out_settle_no.as_str(),
                "version": version,
            })
        });
        let known = serde_json::Value::Array(known.collect()).to_string();
        let values = [self.time(), known.as_str().into(), wait(due_max)];
        let rows = self.read(SELECT_CHANGED, &values).await?;
        let changed = |row: &Row| {
            let mut cursor = Cursor::new(row);
            let (app_id, trade_system) = (cursor.name(AppId::parse)?, cursor.word()?);
            let out_settle_no = cursor.name(OutSettleNo::reported)?;
            let (version, due_in) = (cursor.int_opt()?, cursor.int_opt()?.map(waited));
            Ok(Changed { key: Key { app_id, trade_system, out_settle_no }, version, due_in })
        };
        rows.iter().map(changed).collect()
    }

    /// The time in a test, else null.
    pub(super) fn time(&self) -> Value<'static> {
        Value::Int(self.time.as_ref().map(|time| time.now().as_ms()))
    }

    async fn tell(&self, sql: &'static str, values: &[Value<'_>]) -> Result<(), Error> {
        self.write_shared(sql, values).await.map(drop)
    }

    async fn write_shared(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Error> {
        let rows = self.commit(Urgency::Ordinary, sql, values).await;
        let rows = rows.map_err(Fault::perhaps_durable)?;
        self.committed();
        Ok(rows)
    }

    /// The number that a statement that writes returns, if it wrote.
    async fn number(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<i64>, Error> {
        let rows = self.write_shared(sql, values).await?;
        let number = rows.first().map(|row| Cursor::new(row).int()).transpose();
        number.map_err(|unreadable| Fault::from(unreadable).nothing_durable())
    }
}

fn bits(number: u64) -> i64 {
    number.cast_signed()
}
