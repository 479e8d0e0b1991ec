//! The base of every test: a gateway on a free port with its own database, in front of its own
//! simulator over real HTTP, called by a real gRPC client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use douyin_sim::{SimApp, SimConfig, Simulator};
use prost::Message as _;
use secrecy::SecretString;
use settlement_gateway::apps::{AppConfig, Budget};
use settlement_gateway::callers::Callers;
use settlement_gateway::clock::{Clock, Timestamp, duration_ms};
use settlement_gateway::config::Config;
use settlement_gateway::douyin::{PlatformKeys, SigningKey};
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::operator_service_client::OperatorServiceClient;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::server::{Addrs, Server, Stopped};
use settlement_gateway::settle::{AppId, TradeSystem};
use settlement_gateway::store::Missing;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::pb;

pub const APP_ID: &str = "tt0123456789abcdef";
pub const SECRET: &str = "the-client-secret-of-the-tests";

/// No test waits longer than this for what must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// A gateway in this process.
pub struct Gateway {
    pub sim: Simulator,
    pub client: SettlementServiceClient<Channel>,
    pub operator: OperatorServiceClient<Channel>,
    pub url: String,
    pub addrs: Addrs,
    /// Who may call.
    pub callers: Callers,
    dir: Option<TempDir>,
    tune: fn(&mut Config),
    /// How far the machine's clock is off at the next start.
    clock_ahead_ms: i64,
    stop: CancellationToken,
    running: Option<JoinHandle<Stopped>>,
}

/// A simulator whose settles end after 150 ms.
pub async fn simulator() -> Simulator {
    simulator_with(|_| {}).await
}

pub async fn simulator_with(tune: impl FnOnce(&mut SimConfig)) -> Simulator {
    let apps = vec![SimApp::new(APP_ID, SECRET)];
    let mut config = SimConfig::loopback(1, apps);
    config.processing_ms = 150;
    tune(&mut config);
    Simulator::start(config).await.expect("a loopback port is free")
}

/// The knobs of the tests: everything that takes minutes in production takes a fraction of a
/// second.
pub fn config(sim_url: String, sqlite_path: PathBuf) -> Config {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { grpc_addr: free, admin_addr: free, ..Config::default() };
    config.callback.addr = free;
    config.sqlite.path = sqlite_path;
    config.sqlite.missing = Missing::Create;
    config.douyin.base_url.clone_from(&sim_url);
    config.douyin.developer_base_url = sim_url;
    config.douyin.connect_timeout = Duration::from_millis(500);
    config.douyin.attempt_timeout = Duration::from_millis(700);
    config.douyin.call_timeout = Duration::from_millis(1_500);
    let app_id = AppId::parse(APP_ID).unwrap();
    let budget = Budget { requests_per_second: 10_000, requests_in_flight: 1_000 };
    config.apps = vec![AppConfig { budget, ..app(APP_ID, SECRET) }];
    // So that every RPC can be answered.
    config.grpc.unsettled_amount_elsewhere = true;
    config.grpc.default_app = Some(app_id);
    let gateway = &mut config.gateway;
    gateway.policy.call_timeout = config.douyin.call_timeout;
    gateway.policy.grace = Duration::from_millis(500);
    gateway.policy.exists_absent_max = Duration::from_secs(1);
    gateway.schedule.first = Duration::from_millis(50);
    gateway.schedule.cap = Duration::from_millis(400);
    gateway.schedule.watched_cap = Duration::from_millis(100);
    gateway.lease = Duration::from_secs(4);
    gateway.nudge_gap = Duration::from_millis(100);
    config.stop.drain_delay = Duration::from_millis(50);
    config.stop.grace = Duration::from_secs(10);
    config
}

/// An app with only what it needs, and the salt by which the simulator tells what is left of an
/// order.
pub fn app(app_id: &str, secret: &str) -> AppConfig {
    let salt = Some(douyin_sim::SANDBOX_SALT.into());
    let app_id = AppId::parse(app_id).unwrap();
    AppConfig { salt, ..AppConfig::new(app_id, SecretString::from(secret)) }
}

/// Lets the app of the tests settle in every trade system, with what the simulator knows of it.
pub fn in_every_system(config: &mut Config) {
    let key = douyin_sim::SANDBOX_APP_PRIVATE_KEY_PEM.to_owned();
    let app = &mut config.apps[0];
    app.trade_systems = TradeSystem::ALL.to_vec();
    app.signing_key = Some(SigningKey::parse(&key.into(), "1").unwrap());
    app.salt = Some(douyin_sim::SANDBOX_SALT.to_owned().into());
    app.callback_token = Some(douyin_sim::SANDBOX_CALLBACK_TOKEN.to_owned().into());
}

/// Waits for Douyin's answers longer than any of them takes, however busy the machine is.
pub fn wait_for_answers(config: &mut Config) {
    let patience = Duration::from_secs(5);
    config.douyin.attempt_timeout = patience;
    config.douyin.call_timeout = patience;
    config.gateway.policy.call_timeout = patience;
    config.gateway.lease = 2 * patience;
}

/// Gateways that were started in this process.
static STARTS: AtomicU64 = AtomicU64::new(0);

impl Gateway {
    pub async fn spawn() -> Self {
        Self::spawn_with(simulator().await, |_| {}).await
    }

    /// `tune` is applied at every restart too.
    pub async fn spawn_with(sim: Simulator, tune: fn(&mut Config)) -> Self {
        let dir = TempDir::new().expect("the machine has a temporary folder");
        Self::start(sim, dir, tune, 0).await
    }

    /// On a database that the test prepared.
    pub async fn start(
        sim: Simulator,
        dir: TempDir,
        tune: fn(&mut Config),
        clock_ahead_ms: i64,
    ) -> Self {
        Self::start_at(sim, dir, tune, clock_ahead_ms, None).await
    }

    /// `grpc_addr`: where it listens; `None`: at a free port.
    async fn start_at(
        sim: Simulator,
        dir: TempDir,
        tune: fn(&mut Config),
        clock_ahead_ms: i64,
        grpc_addr: Option<SocketAddr>,
    ) -> Self {
        settlement_gateway::telemetry::start();
        let mut config = config(sim.url(), dir.path().join("settlement.db"));
        let keys = PlatformKeys::parse(&sim.platform_public_key_pem(APP_ID));
        config.apps[0].platform_keys = Some(keys.unwrap());
        // It names the process.
        config.gateway.seed = STARTS.fetch_add(1, Ordering::Relaxed);
        tune(&mut config);
        config.grpc_addr = grpc_addr.unwrap_or(config.grpc_addr);
        let clock = match clock_ahead_ms {
            0 => Clock::system(),
            ahead => {
                let now = Clock::system().now().as_ms();
                Clock::runtime(Timestamp::from_ms(now + ahead))
            }
        };
        let server = Server::build(config, clock).await.expect("the gateway can be built");
        let (addrs, callers) = (server.addrs(), server.callers());
        let url = format!("http://{}", addrs.grpc);
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
        let operator = OperatorServiceClient::new(channel.clone());
        let client = SettlementServiceClient::new(channel);
        let (dir, running) = (Some(dir), Some(running));
        Self {
            sim,
            client,
            operator,
            url,
            addrs,
            callers,
            dir,
            tune,
            clock_ahead_ms,
            stop,
            running,
        }
    }

    /// Where Douyin's callbacks of an app go.
    pub fn callback_url(&self, app_id: &str) -> String {
        let addr = self.addrs.callback.expect("an app has a platform public key");
        format!("http://{addr}/callbacks/douyin/{app_id}")
    }

    /// From now on the simulator knows where to send callbacks; before, there are none.
    pub fn callbacks_on(&self) {
        self.sim.set_callback_url(APP_ID, Some(&self.callback_url(APP_ID)));
    }

    /// A page of the admin listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.addrs.admin)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// How many callbacks ended so, of an app or of `none`.
    pub async fn callbacks(&self, app_id: &str, result: &str) -> u64 {
        let (_, metrics) = self.admin("/metrics").await;
        let labels = format!("{{app_id=\"{app_id}\",result=\"{result}\"}} ");
        let counter = format!("settlement_callbacks_total{labels}");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&counter));
        line.map_or(0, |count| count.parse().expect("a count is a whole number"))
    }

    /// Tells it to stop, and does not wait.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops in order and waits for it.
    pub async fn stop(&mut self) -> Stopped {
        self.stop.cancel();
        let running = self.running.take().expect("a gateway is stopped once");
        within("the gateway to stop", running).await.expect("the gateway did not panic")
    }

    /// The knobs of the next start.
    pub fn tune(&mut self, tune: fn(&mut Config)) {
        self.tune = tune;
    }

    /// Sets the machine's clock before the next start.
    pub fn set_clock(&mut self, ahead: Duration, back: Duration) {
        self.clock_ahead_ms = duration_ms(ahead) - duration_ms(back);
    }

    /// Stops, and starts again on the same database.
    pub async fn restart(mut self) -> Self {
        assert_eq!(self.stop().await, Stopped::Gracefully);
        self.started_again().await
    }

    /// Starts a stopped gateway again, on the same database.
    pub async fn started_again(mut self) -> Self {
        let dir = self.dir.take().expect("a running gateway has its folder");
        Self::start(self.sim.clone(), dir, self.tune, self.clock_ahead_ms).await
    }

    /// Starts a stopped gateway again where it listened before.
    pub async fn started_again_at(mut self, addr: SocketAddr) -> Self {
        let dir = self.dir.take().expect("a running gateway has its folder");
        let tune = self.tune;
        Self::start_at(self.sim.clone(), dir, tune, self.clock_ahead_ms, Some(addr)).await
    }

    pub fn database(&self) -> PathBuf {
        self.dir.as_ref().expect("a running gateway has its folder").path().join("settlement.db")
    }

    pub async fn create(&self, request: v1::CreateSettleRequest) -> Result<v1::Settle, Status> {
        self.create_full(request).await.map(|response| response.settle.unwrap())
    }

    pub async fn create_full(
        &self,
        request: v1::CreateSettleRequest,
    ) -> Result<v1::CreateSettleResponse, Status> {
        let call = self.client.clone();
        let call = async move { { call }.create_settle(request).await };
        within("CreateSettle", call).await.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, out_settle_no: &str) -> Result<v1::Settle, Status> {
        self.get_full(out_settle_no).await.map(|response| response.settle.unwrap())
    }

    pub async fn get_full(&self, out_settle_no: &str) -> Result<v1::GetSettleResponse, Status> {
        let request = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(out_settle_no.to_owned())),
            include_history: true,
            ..Default::default()
        };
        let call = self.client.clone();
        let call = async move { { call }.get_settle(request).await };
        within("GetSettle", call).await.map(tonic::Response::into_inner)
    }

    /// As an operator sees it.
    pub async fn show(&self, out_settle_no: &str) -> Result<v1::ShowSettleResponse, Status> {
        let request = v1::ShowSettleRequest {
            key: Some(v1::show_settle_request::Key::OutSettleNo(out_settle_no.to_owned())),
            ..Default::default()
        };
        let call = self.operator.clone();
        let call = async move { { call }.show_settle(request).await };
        within("ShowSettle", call).await.map(tonic::Response::into_inner)
    }

    /// What is stuck, of an app or (empty) of all.
    pub async fn stuck(&self, app_id: &str) -> Result<v1::ListStuckSettlesResponse, Status> {
        let request = v1::ListStuckSettlesRequest { app_id: app_id.to_owned(), limit: 0 };
        let call = self.operator.clone();
        let call = async move { { call }.list_stuck_settles(request).await };
        within("ListStuckSettles", call).await.map(tonic::Response::into_inner)
    }

    pub async fn watch(
        &self,
        request: v1::WatchSettleRequest,
    ) -> Result<Streaming<v1::WatchSettleResponse>, Status> {
        let call = self.client.clone();
        let call = async move { { call }.watch_settle(request).await };
        within("WatchSettle", call).await.map(tonic::Response::into_inner)
    }

    /// Watches to the end; every settle that was streamed, in order.
    pub async fn watch_to_end(&self, out_settle_no: &str) -> Result<Vec<v1::Settle>, Status> {
        let stream = self.watch(watch_request(out_settle_no, 0)).await?;
        drain(stream).await
    }

    /// The final state, by watching.
    pub async fn end(&self, out_settle_no: &str) -> v1::Settle {
        let mut settles = self.watch_to_end(out_settle_no).await.expect("the watch ends well");
        settles.pop().expect("a watch that ends well carried the final state")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Fails the test instead of hanging it.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON, future).await;
    done.unwrap_or_else(|_| panic!("waited more than {SOON:?} for {what}"))
}

/// Reads a stream to its end; heartbeats are left out.
pub async fn drain(
    mut stream: Streaming<v1::WatchSettleResponse>,
) -> Result<Vec<v1::Settle>, Status> {
    let mut settles = Vec::new();
    while let Some(message) = within("the next message", stream.message()).await? {
        match message.event.expect("every message brings something") {
            Event::Settle(settle) => settles.push(settle),
            Event::Heartbeat(_) => {}
        }
    }
    Ok(settles)
}

/// A number that no other test uses.
pub fn number(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A create of 120 fen to one receiver, on an order of the same name.
pub fn create_request(out_settle_no: &str) -> v1::CreateSettleRequest {
    create_on(out_settle_no, &format!("order-of-{out_settle_no}"))
}

/// The same on a chosen order; one that begins with `sim-` chooses an outcome.
pub fn create_on(out_settle_no: &str, out_order_no: &str) -> v1::CreateSettleRequest {
    v1::CreateSettleRequest {
        app_id: APP_ID.to_owned(),
        out_settle_no: out_settle_no.to_owned(),
        out_order_no: out_order_no.to_owned(),
        settle_desc: "store share".to_owned(),
        settle_params: vec![v1::SettleParam {
            merchant_uid: "7278924576854329635".to_owned(),
            amount_fen: 120,
        }],
        ..Default::default()
    }
}

pub fn watch_request(out_settle_no: &str, after_revision: i64) -> v1::WatchSettleRequest {
    v1::WatchSettleRequest {
        app_id: APP_ID.to_owned(),
        key: Some(v1::watch_settle_request::Key::OutSettleNo(out_settle_no.to_owned())),
        after_revision,
        ..Default::default()
    }
}

/// The details of a status, decoded.
pub struct Details {
    pub info: pb::ErrorInfo,
    pub retry_after: Option<Duration>,
    pub fields: Vec<String>,
    pub douyin: Option<v1::DouyinError>,
}

/// Decodes the details and checks what holds for every status of the gateway.
pub fn details(status: &Status) -> Details {
    let encoded = status.details();
    assert!(!encoded.is_empty(), "a status without details: {status:?}");
    assert!(encoded.len() <= 4096, "{} bytes of details", encoded.len());
    let inner = pb::Status::decode(encoded).expect("the details are a google.rpc.Status");
    assert_eq!(Code::from(inner.code), status.code());
    assert_eq!(inner.message, status.message());
    let of = |name: &str| {
        let url = format!("type.googleapis.com/{name}");
        let found: Vec<_> = inner.details.iter().filter(|any| any.type_url == url).collect();
        assert!(found.len() <= 1, "{name} twice");
        found.first().map(|any| any.value.clone())
    };
    let info = of("google.rpc.ErrorInfo").expect("every status has an ErrorInfo");
    let info = pb::ErrorInfo::decode(&info[..]).unwrap();
    let retry = of("google.rpc.RetryInfo").map(|value| pb::RetryInfo::decode(&value[..]).unwrap());
    assert_eq!(retry.is_some(), info.metadata["retry"] == "now", "{info:?}");
    let retry_after = retry.map(|retry| Duration::try_from(retry.retry_delay.unwrap()).unwrap());
    let fields = of("google.rpc.BadRequest").map_or(Vec::new(), |value| {
        let violations = pb::BadRequest::decode(&value[..]).unwrap().field_violations;
        violations.into_iter().map(|violation| violation.field).collect()
    });
    let douyin = of("douyin.settlement.v1.DouyinError");
    let douyin = douyin.map(|value| v1::DouyinError::decode(&value[..]).unwrap());
    Details { info, retry_after, fields, douyin }
}

/// Checks the code, the reason and the outcome of a failed create.
#[track_caller]
pub fn assert_create_error(status: &Status, code: Code, reason: &str, outcome: &str) -> Details {
    let details = details(status);
    let outcome_seen = details.info.metadata.get("outcome").map_or("", String::as_str);
    let seen = (status.code(), details.info.reason.as_str(), outcome_seen);
    assert_eq!(seen, (code, reason, outcome), "{status:?}");
    details
}
