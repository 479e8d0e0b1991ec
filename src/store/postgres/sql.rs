//! What the statements have in common: how they read the store's clock and its generation, and how
//! values and rows pass to the server and back.

use std::time::Duration;

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::super::columns::{Cells, Value, WrongCell};
use crate::clock::duration_ms;

/// Makes what the transaction commits last, whatever the session was told, and the server say so if
/// that is in doubt ([`super::session`]).
macro_rules! lasting {
    () => {
        "(set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)
          || set_config('client_min_messages', 'warning', true))"
    };
}
pub(super) use lasting;

pub(super) const LASTING: &str = lasting!();

/// Of every statement that writes: one row if the store is what the gateway takes it for, else
/// none, and then the statement changes nothing. Its parameters are the first two: the store's time
/// in a test, else null, and the generation.
///
/// The process of the server is compared too, because a pooler may have gone on to another server
/// unseen.
pub(super) const HERE: &str = concat!(
    "here AS MATERIALIZED (
    SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) AS now,
           generation * 4294967296 AS base,
           ",
    lasting!(),
    " AS lasting
    FROM store_state
    WHERE generation = $2 AND closed IS NULL AND server_start = pg_postmaster_start_time()
)"
);

/// The settle with the key in the parameters 3 to 5.
pub(super) const KEY_IS: &str =
    "settle.app_id = $3 AND settle.trade_system = $4 AND settle.out_settle_no = $5";

/// Whether a lease runs. A lease of an earlier generation does not.
pub(super) const RUNS: &str =
    "(settle.lease_until_ms > here.now AND settle.fence >= here.base) IS TRUE";

/// The version of a row as this generation counts.
pub(super) const VERSION: &str = "settle.version % 4294967296 + here.base";

/// Longer than any wait that makes sense, and so short that no moment overflows.
const WAIT_MAX: Duration = Duration::from_hours(24 * 365 * 1_000);

/// A delay that the server turns into a moment.
pub(super) fn wait(wait: Duration) -> Value<'static> {
    Value::Int(Some(duration_ms(wait.min(WAIT_MAX))))
}

/// A wait that the server told.
pub(super) fn waited(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

impl Value<'_> {
    pub(super) fn kind(&self) -> Type {
        match self {
            Value::Text(_) => Type::TEXT,
            Value::Int(_) => Type::INT8,
            Value::Flag(_) => Type::BOOL,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Text(text) => text.to_sql(kind, out),
            Value::Int(number) => number.to_sql(kind, out),
            Value::Flag(flag) => flag.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::TEXT, Type::INT8, Type::BOOL].contains(kind)
    }

    to_sql_checked!();
}

impl Cells for Row {
    fn text(&self, column: usize) -> Result<Option<&str>, WrongCell> {
        self.try_get(column).map_err(|_| WrongCell("is not text"))
    }

    fn int(&self, column: usize) -> Result<Option<i64>, WrongCell> {
        self.try_get(column).map_err(|_| WrongCell("is not an integer"))
    }

    fn flag(&self, column: usize) -> Result<Option<bool>, WrongCell> {
        self.try_get(column).map_err(|_| WrongCell("is not a boolean"))
    }

    fn name(&self, column: usize) -> &str {
        self.columns().get(column).map_or("?", tokio_postgres::Column::name)
    }
}
