//! Access tokens as rows. A token leaves its secret type only when it is written.

use secrecy::{ExposeSecret as _, SecretString};

use super::super::columns::Cursor;
use super::super::{Error, StoredToken};
use super::Postgres;
use super::fault::Fault;
use super::pool::Urgency;
use crate::settle::AppId;

const SELECT: &str =
    "SELECT access_token, fetched_at_ms, expires_at_ms FROM token WHERE app_id = $1";
const SAVE: &str = "
    INSERT INTO token (app_id, access_token, fetched_at_ms, expires_at_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (app_id) DO UPDATE SET access_token = excluded.access_token,
        fetched_at_ms = excluded.fetched_at_ms, expires_at_ms = excluded.expires_at_ms";

impl Postgres {
    pub(in crate::store) async fn token(
        &self,
        app_id: &AppId,
    ) -> Result<Option<StoredToken>, Error> {
        self.find_token(app_id).await.map_err(Fault::nothing_durable)
    }

    async fn find_token(&self, app_id: &AppId) -> Result<Option<StoredToken>, Fault> {
        let rows = self.read(SELECT, &[app_id.as_str().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut cursor = Cursor::new(row);
        Ok(Some(StoredToken {
            access_token: SecretString::from(cursor.text()?),
            fetched_at: cursor.time()?,
            expires_at: cursor.time()?,
        }))
    }

    pub(in crate::store) async fn save_token(
        &self,
        app_id: &AppId,
        token: StoredToken,
    ) -> Result<(), Error> {
        let values = [
            app_id.as_str().into(),
            token.access_token.expose_secret().into(),
            token.fetched_at.into(),
            token.expires_at.into(),
        ];
        self.run(Urgency::Ordinary, SAVE, &values).await.map_err(Fault::perhaps_durable)?;
        self.committed();
        Ok(())
    }
}
