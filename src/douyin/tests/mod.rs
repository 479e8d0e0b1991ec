//! The client against scripted peers: [`outcomes`] and [`tokens`] within the process and on paused
//! time, [`http`], [`lines`], [`ways`] and [`leaks`] over loopback sockets. This module holds what
//! they share.

mod authority;
mod http;
mod leaks;
mod lines;
mod outcomes;
mod peer;
mod proxy;
mod server;
mod signed;
mod tokens;
mod ways;

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::clock::{Clock, Timestamp, Uptime};
use crate::settle::{AppId, OutSettleNo, TradeSystem};
use crate::store::{Sqlite, SqliteOptions, Store, StoredToken};

const SECRET: &str = "the-client-secret";
const BODY: &str = r#"{"app_id":"tt1","out_settle_no":"no-1","settle_desc":"private text"}"#;

fn app_id() -> AppId {
    AppId::parse("tt1").unwrap()
}

/// A process that calls for one app; cheap to clone.
#[derive(Clone)]
struct Caller {
    client: Client,
    access: Arc<Access>,
}

impl Caller {
    fn new(client: Client) -> Self {
        let access = Arc::new(client.access(app_id(), Some(SECRET.into())));
        Self { client, access }
    }

    async fn create(&self, body: &str, permitted: Uptime) -> CreateAnswer {
        self.client.create(&self.access, TradeSystem::General, body, permitted).await
    }

    async fn query(&self, by: QueryBy<'_>) -> Result<QueryAnswer, QueryFailure> {
        self.client.query(&self.access, TradeSystem::General, by).await
    }

    fn pause(&self) -> Option<Pause> {
        self.access.pause()
    }
}

fn number() -> OutSettleNo {
    OutSettleNo::parse("no-1").unwrap()
}

fn accepted() -> Value {
    json!({ "err_no": 0, "err_msg": "", "log_id": "log-1", "data": { "settle_id": "ots1" } })
}

fn refused(err_no: i32) -> Value {
    json!({ "err_no": err_no, "err_msg": "no", "log_id": "log-2" })
}

/// A store that commits in a task of the test's own runtime. The runtime is therefore never idle,
/// and paused time stands still unless a test advances it.
struct Stepped {
    clock: Clock,
    store: Store,
    _committing: JoinSet<()>,
    _dir: TempDir,
}

impl Stepped {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::runtime(Timestamp::from_ms(1_700_000_000_000));
        let path = dir.path().join("settlement.db");
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::new(path).creating() };
        let (sqlite, mut committer) = Sqlite::open_stepped(&options).unwrap();
        let mut committing = JoinSet::new();
        committing.spawn(async move {
            loop {
                committer.commit_queued();
                tokio::task::yield_now().await;
            }
        });
        Self { clock, store: Store::Sqlite(Arc::new(sqlite)), _committing: committing, _dir: dir }
    }

    /// Another process on this store.
    fn caller(&self, config: ClientConfig, transport: Transport) -> Caller {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Caller::new(Client::new(config, Some(transport), store, clock).unwrap())
    }

    async fn stored(&self) -> Option<StoredToken> {
        self.store.token(&app_id()).await.unwrap()
    }

    async fn store_token(&self, access_token: &str, age_secs: u64, life_secs: u64) {
        let age = std::time::Duration::from_secs(age_secs);
        let life = std::time::Duration::from_secs(life_secs);
        let access_token = SecretString::from(access_token);
        let token = StoredToken { access_token, age: Some(age), left: life - age };
        let turn = self.store.token_turn(&app_id(), None, life).await.unwrap().unwrap();
        assert_eq!(self.store.save_token(&app_id(), token, turn).await, Ok(true));
    }
}
