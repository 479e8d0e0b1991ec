//! A gateway, its store and a Douyin in one process, on the runtime's simulated time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use douyin_sim::Reply as Spoken;
use douyin_sim::{AppliedSettle, Core, Request, SimApp, SimConfig, Snapshot};
use http::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use settlement_gateway::apps::{AppConfig, Budget};
use settlement_gateway::clock::{Clock, Timestamp};
use settlement_gateway::config::Config;
use settlement_gateway::core;
use settlement_gateway::douyin::{Call, Reply, SendError, Transport};
use settlement_gateway::grpc::Service;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_server::SettlementService as _;
use settlement_gateway::store::{Sqlite, SqliteOptions, Store};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::app;
use crate::told::told_status;
use crate::trailers::nothing_hidden_shows;

/// The first of September 2026.
const START_MS: i64 = 1_788_220_800_000;
const SECRET: &str = "secret";

/// What happens to one request to Douyin.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Done, and the answer is lost.
    LostAnswer,
    /// Lost before it arrives.
    LostRequest,
    /// It does not leave the machine.
    Unreachable,
    /// It is lost, and there is no answer.
    Hang,
    /// Done, and answered without the name of the settle.
    Nameless,
    /// Not done; this number.
    Refuse(i64),
    /// Done and answered after so many milliseconds.
    Late(u64),
}

/// What a caller of CreateSettle hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// OK, or the outcome of the error.
    pub word: String,
    pub reason: String,
}

impl PartialEq<&str> for Heard {
    fn eq(&self, word: &&str) -> bool {
        self.word == *word
    }
}

pub struct World {
    pub core: core::Core,
    douyin: Arc<Douyin>,
    database: std::path::PathBuf,
    _tasks: JoinSet<()>,
    _dir: TempDir,
}

struct Douyin {
    core: Mutex<Core>,
    clock: Clock,
    /// By number; queries by number with a question mark before it.
    faults: Mutex<HashMap<String, VecDeque<Fault>>>,
    /// The bodies of other systems' creates.
    strangers: Mutex<Vec<Bytes>>,
    /// How often the gateway has sent something under a number, whatever became of it.
    sent: Mutex<BTreeMap<String, usize>>,
}

impl World {
    /// Must be called on paused time: nothing here waits for the machine.
    pub async fn new(app_ids: Vec<String>) -> Self {
        let clock = Clock::runtime(Timestamp::from_ms(START_MS));
        let dir = TempDir::new().unwrap();
        let database = dir.path().join("settlement.db");
        let options =
            SqliteOptions { clock: clock.clone(), ..SqliteOptions::new(&database).creating() };
        let (sqlite, mut committer) = Sqlite::open_stepped(&options).unwrap();
        let store = Store::Sqlite(Arc::new(sqlite));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while committer.commit_next().await {} });

        let sim_apps = app_ids.iter().cloned();
        let sim_apps = sim_apps.map(|app_id| SimApp::new(&app_id, SECRET));
        let douyin = Arc::new(Douyin {
            core: Mutex::new(Core::new(&SimConfig::loopback(1, sim_apps.collect()))),
            clock: clock.clone(),
            faults: Mutex::default(),
            strangers: Mutex::default(),
            sent: Mutex::default(),
        });
        // One request for creates, and one for polling.
        let scarce = Budget { requests_per_second: 1_000, requests_in_flight: 2 };
        let apps = app_ids.iter().map(|app_id| match app_id.as_str() {
            "tt-budget" => AppConfig { budget: scarce, ..app(app_id, SECRET) },
            _ => app(app_id, SECRET),
        });
        let mut config = Config { apps: apps.collect(), ..Config::default() };
        config.gateway.creates_max = 2;
        // Woken when something is due; otherwise a sleep of seconds, for three days, is long.
        config.poller.sleep_max = Duration::from_secs(600);
        config.poller.sweep_interval = Duration::from_secs(600);
        // No other gateway is on the store, for which this one would look all the time.
        config.gateway.look_interval = Duration::from_secs(5);
        config.gateway.shared_resync = Duration::from_secs(600);
        let transport = Some(Douyin::transport(&douyin));
        let core = core::Core::build(config, store, transport, clock).unwrap();
        core.drive();
        Self { core, douyin, database, _tasks: tasks, _dir: dir }
    }

    /// What the next sends and queries of a number meet.
    pub fn script(&self, number: &str, sends: &[Fault], queries: &[Fault]) {
        let mut faults = self.douyin.faults.lock().unwrap();
        faults.insert(number.to_owned(), sends.iter().copied().collect());
        faults.insert(format!("?{number}"), queries.iter().copied().collect());
    }

    /// Another system settles the same order under the same number, with this `ext`.
    pub fn stranger(&self, number: &str, ext: &str) {
        let app_id = format!("tt-{number}");
        let body = json!({
            "app_id": app_id, "out_order_no": "another-order", "out_settle_no": number,
            "settle_desc": "theirs", "ext": ext,
        });
        let body = match ext {
            // The same order, and nothing that tells it from ours.
            "" => json!({
                "app_id": app_id, "out_order_no": format!("order-of-{number}"),
                "out_settle_no": number, "settle_desc": "theirs",
            }),
            _ => body,
        };
        let body = Bytes::from(body.to_string());
        self.douyin.strangers.lock().unwrap().push(body.clone());
        let token = self.douyin.token(&app_id);
        let reply = self.douyin.speak(
            "/api/trade_basic/v1/developer/settle_create/",
            &[("access-token", token.as_str()), ("content-type", "application/json")],
            body,
        );
        let said: Value = serde_json::from_slice(&reply.content).unwrap();
        assert_eq!(said["err_no"], 0, "{said}");
    }

    /// Calls CreateSettle: OK, or the outcome of the error.
    pub async fn create(
        &self,
        request: v1::CreateSettleRequest,
        timeout: Option<Duration>,
    ) -> Heard {
        create(self.core.service.clone(), request, timeout).await
    }

    /// The same beside other things.
    pub fn begin(&self, request: v1::CreateSettleRequest) -> JoinHandle<Heard> {
        tokio::spawn(create(self.core.service.clone(), request, None))
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub fn books(&self) -> Snapshot {
        let mut core = self.douyin.core.lock().unwrap();
        // Whatever falls due by now happens.
        let nothing = Request {
            method: Method::GET,
            path: "/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
        };
        core.handle(self.douyin.now_ms(), nothing);
        core.snapshot()
    }

    pub fn is_ours(&self, settle: &AppliedSettle) -> bool {
        !self.douyin.strangers.lock().unwrap().contains(&settle.body)
    }

    /// How often the gateway has sent this number, whatever became of it.
    pub fn sends(&self, number: &str) -> usize {
        self.douyin.sent.lock().unwrap().get(number).copied().unwrap_or(0)
    }

    pub fn sends_total(&self) -> usize {
        self.douyin.sent.lock().unwrap().values().sum()
    }

    pub fn break_store(&self) {
        self.rename("settle", "hidden");
    }

    pub fn mend_store(&self) {
        self.rename("hidden", "settle");
    }

    /// Another worker claims the settle.
    pub fn take_over(&self, number: &str) {
        let other = Connection::open(&self.database).unwrap();
        let claim = "UPDATE settle SET fence = fence + 1 WHERE out_settle_no = ?";
        assert_eq!(other.execute(claim, [number]).unwrap(), 1);
    }

    fn rename(&self, from: &str, to: &str) {
        let other = Connection::open(&self.database).unwrap();
        other.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    }
}

async fn create(
    service: Service,
    request: v1::CreateSettleRequest,
    timeout: Option<Duration>,
) -> Heard {
    let mut request = tonic::Request::new(request);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    match service.create_settle(request).await {
        Ok(_) => Heard { word: "OK".to_owned(), reason: String::new() },
        Err(status) => {
            nothing_hidden_shows(status.details());
            let told = told_status(&status, Rpc::CreateSettle);
            Heard { word: told.outcome().to_owned(), reason: told.reason().to_owned() }
        }
    }
}

impl Douyin {
    fn transport(douyin: &Arc<Self>) -> Transport {
        let douyin = Arc::clone(douyin);
        Transport::InProcess(Arc::new(move |call| {
            let douyin = Arc::clone(&douyin);
            Box::pin(async move {
                // No two requests of a settle begin in the same millisecond.
                tokio::time::sleep(Duration::from_millis(1)).await;
                douyin.treat(call).await
            })
        }))
    }

    async fn treat(&self, call: Call) -> Result<Reply, SendError> {
        let lost = || Err(SendError::Lost("the wire was cut".to_owned()));
        let fault = self.fault(&call);
        match fault {
            None => Ok(self.answer(&call)),
            Some(Fault::LostAnswer) => {
                self.answer(&call);
                lost()
            }
            Some(Fault::LostRequest) => lost(),
            Some(Fault::Unreachable) => Err(SendError::NotSent("no route".to_owned())),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Nameless) => {
                self.answer(&call);
                Ok(said(&json!({ "err_no": 0, "err_msg": "", "log_id": "l", "data": {} })))
            }
            Some(Fault::Refuse(err_no)) => {
                Ok(said(&json!({ "err_no": err_no, "err_msg": "scripted", "log_id": "l" })))
            }
            Some(Fault::Late(ms)) => {
                let reply = self.answer(&call);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(reply)
            }
        }
    }

    /// The next fault for the number that the call is about, and a note that it was sent.
    fn fault(&self, call: &Call) -> Option<Fault> {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let number = body["out_settle_no"].as_str()?.to_owned();
        let key = match call.path.contains("settle_create") {
            true => {
                *self.sent.lock().unwrap().entry(number.clone()).or_default() += 1;
                number
            }
            false => format!("?{number}"),
        };
        self.faults.lock().unwrap().get_mut(&key)?.pop_front()
    }

    fn answer(&self, call: &Call) -> Reply {
        self.handle(call.path, call.headers.clone(), call.body.clone())
    }

    fn speak(&self, path: &str, headers: &[(&'static str, &str)], body: Bytes) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        self.handle(path, headers.collect(), body)
    }

    fn handle(&self, path: &str, headers: http::HeaderMap, body: Bytes) -> Reply {
        let request = Request { method: Method::POST, path: path.to_owned(), headers, body };
        let spoken = self.core.lock().unwrap().handle(self.now_ms(), request);
        let Spoken::Answer(answer) = spoken else { panic!("no word was scripted: {spoken:?}") };
        Reply {
            status: answer.status.as_u16(),
            log_id_header: Some(answer.log_id),
            content: answer.body,
        }
    }

    fn token(&self, app_id: &str) -> String {
        let body = json!({
            "client_key": app_id, "client_secret": SECRET, "grant_type": "client_credential",
        });
        let headers = [("content-type", "application/json")];
        let reply = self.speak("/oauth/client_token/", &headers, body.to_string().into());
        let said: Value = serde_json::from_slice(&reply.content).unwrap();
        said["data"]["access_token"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_ms()).unwrap()
    }
}

fn said(body: &Value) -> Reply {
    let content = Bytes::from(body.to_string());
    Reply { status: 200, log_id_header: None, content }
}
