//! Another process on the database that has lost a rule of the store. It writes past the gateways,
//! between two of their commits.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use settlement_gateway::clock::Timestamp;

use crate::mutations::Broken;

#[derive(Default)]
pub struct Rogue {
    calls: u32,
    /// What it read of each settle a while ago: row, version, and the columns of [`RECORD`].
    read: Vec<(i64, i64, Vec<Value>)>,
    overwritten: usize,
}

/// What a settle's writer writes, without the version and the history.
const RECORD: [&str; 16] = [
    "revision",
    "rules",
    "update_time_ms",
    "state",
    "settle_id",
    "owes_query",
    "contradiction_claimed",
    "contradiction_settle_id",
    "contradiction_source",
    "contradiction_time_ms",
    "contradiction_resolved_ms",
    "decision",
    "rejection",
    "last_error",
    "evidence",
    "facts",
];

/// Enough to be noticed; more would keep settles from their end.
const OVERWRITTEN_MAX: usize = 20;

impl Rogue {
    /// What it does before a commit of the gateways, if this rule is the one that it has lost.
    pub fn trespass(&mut self, broken: Broken, db: &Connection, now: Timestamp, lease: Duration) {
        self.calls += 1;
        if broken == Broken::BlindReplica && self.calls.is_multiple_of(3) {
            self.overwrite(db).expect("no other process is writing");
            self.read = read(db).expect("the columns are those of the schema");
        }
        if broken == Broken::EndlessLeases {
            let renew = "UPDATE settle SET lease_until_ms = ? WHERE lease_until_ms <= ?";
            let times = [now.plus(lease).as_ms(), now.as_ms()];
            db.execute(renew, times).expect("no other process is writing");
        }
    }

    /// Writes what it has read, whatever was written since.
    fn overwrite(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let columns = RECORD.join(", ");
        let places = ["?"; RECORD.len()].join(", ");
        let overwrite = format!(
            "UPDATE settle SET version = version + 1, ({columns}) = ({places})
             WHERE id = ? AND version > ?"
        );
        for (id, version, mut record) in std::mem::take(&mut self.read) {
            if self.overwritten < OVERWRITTEN_MAX {
                record.extend([Value::from(id), Value::from(version)]);
                self.overwritten += db.execute(&overwrite, params_from_iter(record))?;
            }
        }
        Ok(())
    }
}

fn read(db: &Connection) -> rusqlite::Result<Vec<(i64, i64, Vec<Value>)>> {
    let mut statement =
        db.prepare(&format!("SELECT id, version, {} FROM settle", RECORD.join(", ")))?;
    let rows = statement.query_map([], |row| {
        let record = (2..2 + RECORD.len()).map(|column| row.get(column));
        Ok((row.get(0)?, row.get(1)?, record.collect::<rusqlite::Result<_>>()?))
    })?;
    rows.collect()
}
