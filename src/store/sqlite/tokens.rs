//! Access tokens as rows, with moments of the store's clock. A token leaves its secret type only
//! when it is bound to a statement.

use rusqlite::{Connection, OptionalExtension, params};
use secrecy::{ExposeSecret, SecretString};

use super::super::StoredToken;
use super::columns::Fault;
use crate::clock::Timestamp;
use crate::settle::AppId;

pub(super) fn token(
    connection: &Connection,
    app_id: &AppId,
    now: Timestamp,
) -> Result<Option<StoredToken>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT access_token, fetched_at_ms, expires_at_ms FROM token WHERE app_id = ?",
    )?;
    let stored = statement.query_row([app_id.as_str()], |row| {
        let fetched_at = Timestamp::from_ms(row.get(1)?);
        Ok(StoredToken {
            access_token: SecretString::from(row.get::<_, String>(0)?),
            age: (fetched_at <= now).then(|| now.since(fetched_at)),
            left: Timestamp::from_ms(row.get(2)?).since(now),
        })
    });
    Ok(stored.optional()?)
}

pub(super) fn save_token(
    connection: &Connection,
    app_id: &AppId,
    token: &StoredToken,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO token (app_id, access_token, fetched_at_ms, expires_at_ms)
         VALUES (?, ?, ?, ?)
         ON CONFLICT (app_id) DO UPDATE SET access_token = excluded.access_token,
             fetched_at_ms = excluded.fetched_at_ms, expires_at_ms = excluded.expires_at_ms",
    )?;
    let fetched_at = now.minus(token.age.unwrap_or_default()).as_ms();
    let expires_at = now.plus(token.left).as_ms();
    let access_token = token.access_token.expose_secret();
    statement.execute(params![app_id.as_str(), access_token, fetched_at, expires_at])?;
    Ok(())
}
