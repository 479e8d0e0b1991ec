//! A whole gateway on one thread and on virtual time, with a real SQLite file and a scripted
//! Douyin. Nothing runs between the calls of a test.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use douyin_sim::{PlatformKey, SANDBOX_APP_PRIVATE_KEY_PEM};
use secrecy::SecretString;
use settlement_gateway::apps::{AppConfig, Budget};
use settlement_gateway::clock::{Clock, Timestamp, Uptime};
use settlement_gateway::config::Config;
use settlement_gateway::core::{BuildError, Core};
use settlement_gateway::douyin::{
    Access, Call, Client, ClientConfig, PlatformKeys, Reply, SendError, SigningKey, Transport,
};
use settlement_gateway::settle::{AppId, TradeSystem};
use settlement_gateway::store::{Committer, Sqlite, SqliteOptions, Store, StoredToken};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub const APP: &str = "ttfuzz";
pub const CLIENT_SECRET: &str = "client-secret-that-no-one-may-see";
pub const CALLBACK_TOKEN: &str = "callback-token-that-no-one-may-see";
pub const TOKEN: &str = "clt.access-token-that-no-one-may-see";
const SALT: &str = "salt-that-no-one-may-see";

static SIGNING_KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let text = SANDBOX_APP_PRIVATE_KEY_PEM.to_owned().into();
    SigningKey::parse(&text, "1").expect("the sandbox has a good key")
});

/// A world is left after this many inputs, so that what they record does not pile up.
const INPUTS_MAX: u32 = 200;
/// After this many turns without anything to commit, the tasks that are left wait for time to pass.
const IDLE_TURNS: u32 = 20;
const TIME_STEP: Duration = Duration::from_millis(500);
const TURNS_MAX: u32 = 100_000;

pub struct World {
    runtime: Runtime,
    committer: Committer,
    store: Store,
    clock: Clock,
    inputs: u32,
    _dir: TempDir,
}

/// A gateway in a world, and its Douyin.
#[derive(Clone)]
pub struct Site {
    pub douyin: Arc<Douyin>,
    pub core: Core,
    /// Calls Douyin beside the gateway, for the same app.
    pub client: Client,
    pub access: Arc<Access>,
}

/// What Douyin answers, and what it was sent.
#[derive(Default)]
pub struct Douyin {
    create: Mutex<Option<Reply>>,
    query: Mutex<Option<Reply>>,
    token: Mutex<Option<Reply>>,
    creates: Mutex<Vec<Bytes>>,
    settles: AtomicU64,
}

impl World {
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread needs nothing");
        let guard = runtime.enter();
        let clock = Clock::runtime(Timestamp::from_ms(1_700_000_000_000));
        drop(guard);
        let dir = tempfile::tempdir().expect("the machine has a temporary folder");
        let mut options = SqliteOptions::new(dir.path().join("settlement.db")).creating();
        options.clock = clock.clone();
        options.readers = 1;
        let (sqlite, committer) = Sqlite::open_stepped(&options).expect("a new file can be opened");
        let store = Store::Sqlite(Arc::new(sqlite));
        let mut world = Self { runtime, committer, store, clock, inputs: 0, _dir: dir };
        world.save_token(TOKEN);
        world
    }

    /// Whether it has seen enough.
    pub fn is_worn(&mut self) -> bool {
        self.inputs += 1;
        self.inputs > INPUTS_MAX
    }

    /// A gateway that has called nothing yet, on the store of this world. Its app settles in these
    /// systems, and has what they need.
    pub fn site(&self, douyin: Douyin, trade_systems: &[TradeSystem]) -> Site {
        let _guard = self.runtime.enter();
        let douyin = Arc::new(douyin);
        let app_id = AppId::parse(APP).expect("it is a name");
        let answering = Arc::clone(&douyin);
        let transport = Transport::InProcess(Arc::new(move |call| {
            let reply = answering.reply(&call);
            Box::pin(async move { reply })
        }));
        let beside = (Some(transport.clone()), self.store.clone(), self.clock.clone());
        let client = Client::new(ClientConfig::default(), beside.0, beside.1, beside.2);
        let client = client.expect("it needs no address");
        let access = Arc::new(client.access(app_id.clone(), Some(CLIENT_SECRET.into())));
        let keys = PlatformKeys::parse(&PlatformKey::sandbox().public_pem());
        let has = |system| trade_systems.contains(&system);
        let app = AppConfig {
            budget: Budget { requests_per_second: 10_000, requests_in_flight: 1_000 },
            platform_keys: Some(keys.expect("the sandbox has a good key")),
            trade_systems: trade_systems.to_vec(),
            signing_key: has(TradeSystem::Industry).then(|| SIGNING_KEY.clone()),
            salt: has(TradeSystem::Guaranteed).then(|| SALT.into()),
            callback_token: has(TradeSystem::Guaranteed).then(|| CALLBACK_TOKEN.into()),
            ..AppConfig::new(app_id.clone(), CLIENT_SECRET.into())
        };
        access.sign_with(app.signing_key.as_ref(), app.salt.as_ref());
        let mut config = Config::default();
        config.apps.push(app);
        config.grpc.default_app = Some(app_id);
        let core = Core::build(config, self.store.clone(), Some(transport), self.clock.clone());
        let core = core.expect("the one app is configured once");
        Site { douyin, core, client, access }
    }

    /// What a configuration makes of this world; it speaks HTTP, and is never asked to.
    pub fn built(&self, config: Config) -> Result<Core, BuildError> {
        Core::build(config, self.store.clone(), None, self.clock.clone())
    }

    /// Plays a call to its end: commits what it writes, and lets time pass while it waits.
    pub fn run<T>(&mut self, call: impl Future<Output = T>) -> T {
        let Self { runtime, committer, .. } = self;
        runtime.block_on(async {
            let mut call = pin!(call);
            let mut idle = 0;
            for _ in 0..TURNS_MAX {
                tokio::select! {
                    biased;
                    done = &mut call => return done,
                    () = tokio::task::yield_now() => {}
                }
                idle = if committer.commit_queued() > 0 { 0 } else { idle + 1 };
                if idle == IDLE_TURNS {
                    tokio::time::sleep(TIME_STEP).await;
                    idle = 0;
                }
            }
            panic!("a call does not end");
        })
    }

    /// The access token of the app; `""` is none.
    pub fn save_token(&mut self, access_token: &str) {
        let store = self.store.clone();
        let left = Duration::from_secs(if access_token.is_empty() { 0 } else { 1_000_000_000 });
        let access_token = SecretString::from(access_token);
        let token = StoredToken { access_token, age: Some(Duration::ZERO), left };
        let app_id = AppId::parse(APP).expect("it is a name");
        let saved = self.run(async move {
            let turn = store.token_turn(&app_id, None, Duration::from_secs(1)).await?;
            store.save_token(&app_id, token, turn.expect("this is the only process")).await
        });
        saved.expect("the store is up");
    }

    pub fn uptime(&self) -> Uptime {
        self.within(Clock::uptime)
    }

    /// Outside its runtime the clock would show the machine's time.
    fn within<T>(&self, read: fn(&Clock) -> T) -> T {
        let _guard = self.runtime.enter();
        read(&self.clock)
    }

    /// A number that this world has not seen.
    pub fn next_number(&self) -> u32 {
        self.inputs
    }
}

impl Douyin {
    pub fn of(create: Option<Reply>, query: Option<Reply>, token: Option<Reply>) -> Self {
        let (create, query, token) = (Mutex::new(create), Mutex::new(query), Mutex::new(token));
        Self { create, query, token, ..Self::default() }
    }

    /// The bodies of the creates so far.
    pub fn creates(&self) -> Vec<Bytes> {
        self.creates.lock().expect("no code panics while holding this lock").clone()
    }

    fn reply(&self, call: &Call) -> Result<Reply, SendError> {
        let told = |slot: &Mutex<Option<Reply>>| {
            slot.lock().expect("no code panics while holding this lock").clone()
        };
        if call.path.contains("token") {
            let body = format!(r#"{{"data":{{"error_code":0,"access_token":"{TOKEN}"}}}}"#);
            return Ok(told(&self.token).unwrap_or_else(|| reply(body)));
        }
        if call.path.contains("query") || call.path.contains("amount") {
            return Ok(told(&self.query).unwrap_or_else(|| reply(r#"{"err_no":0,"data":[]}"#)));
        }
        self.creates
            .lock()
            .expect("no code panics while holding this lock")
            .push(call.body.clone());
        let settle = self.settles.fetch_add(1, Ordering::Relaxed);
        let body = match call.path.contains("ecpay") {
            true => format!(r#"{{"err_no":0,"settle_no":"{settle}"}}"#),
            false => format!(r#"{{"err_no":0,"data":{{"settle_id":"ots{settle}"}}}}"#),
        };
        Ok(told(&self.create).unwrap_or_else(|| reply(body)))
    }
}

fn reply(content: impl Into<Bytes>) -> Reply {
    Reply { status: 200, log_id_header: None, content: content.into() }
}
