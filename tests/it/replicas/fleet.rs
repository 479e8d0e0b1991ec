//! The processes of one fleet, and their database.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use douyin_sim::{SimConfig, Simulator};
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use settlement_gateway::proto::v1::{self, ObservationSource, SettleState};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::database::Database;
use crate::harness::{APP_ID, SECRET, simulator_with, watch_request, within};

pub type Client = SettlementServiceClient<Channel>;

/// Both ways to use PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Whole,
    Plain,
}

pub const MODES: [Mode; 2] = [Mode::Whole, Mode::Plain];

/// Plays something in both of them, at once because most of it is waiting.
pub async fn in_each_mode<Play>(play: impl Fn(Mode) -> Play)
where
    Play: Future<Output = ()> + Send + 'static,
{
    MODES.map(play).into_iter().collect::<JoinSet<()>>().join_all().await;
}

/// What the processes have in common.
pub struct Fleet {
    pub sim: Simulator,
    pub database: Database,
    dir: TempDir,
    mode: Mode,
}

/// One gateway.
pub struct Replica {
    child: Child,
    pub client: Client,
    /// Where the app's callbacks go.
    pub callback_url: String,
    pub admin_url: String,
    /// Reads on, so that the process never waits for its output.
    _banner: JoinHandle<()>,
}

/// What is special about one gateway.
#[derive(Default)]
pub struct As {
    /// More keys of `[settle]`, the grace among them.
    pub settle: Option<&'static str>,
    /// Its way to the database.
    pub url: Option<String>,
    /// The longest pause of the app.
    pub pause_max_ms: Option<u32>,
    /// Between two tokens that replace rejected ones.
    pub refetch_gap_ms: Option<u32>,
    /// The budget of the app.
    pub requests_per_second: Option<u32>,
    pub lease: Option<Duration>,
    /// How often it looks through the settles that are not at their end, so that its metrics are
    /// of now.
    pub round_interval: Option<Duration>,
    /// Polls tell nothing while a test runs: what is heard comes by callbacks, hints and resyncs.
    pub polls_rarely: bool,
}

/// How far the time of day of each process is from the machine's, in hours. Replicas never compare
/// it, and are apart by less than a submission window, whose end may end a settle.
const APART: [i64; 3] = [0, 11, -13];
/// Debian's package `faketime`. The loader fills in the folder of the machine's libraries.
const LIBFAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// The lease of a settle, and how often a replica looks for work at the latest.
pub const LEASE: Duration = Duration::from_secs(4);
pub const CLAIM_INTERVAL: Duration = Duration::from_secs(2);

impl Fleet {
    pub async fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {}).await
    }

    pub async fn with(mode: Mode, tune: impl FnOnce(&mut SimConfig)) -> Self {
        // Metrics are read over HTTP.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (sim, database) = (simulator_with(tune).await, Database::start().await);
        let dir = TempDir::new().expect("the machine has a temporary folder");
        let fleet = Self { sim, database, dir, mode };
        assert!(Path::new("/usr/lib/x86_64-linux-gnu/faketime").is_dir(), "needs faketime");
        let file = fleet.file(0, &As::default());
        let init = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"))
            .args(["init", "--config"])
            .arg(&file)
            .env("TEST_SECRET", SECRET)
            .output();
        let init = init.await.expect("the binary was built for this test");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        fleet
    }

    pub async fn start(&self, number: usize) -> Replica {
        self.start_as(number, &As::default()).await
    }

    pub async fn start_all(&self, replicas: usize) -> Vec<Replica> {
        let mut all = Vec::new();
        for number in 0..replicas {
            all.push(self.start(number).await);
        }
        all
    }

    pub async fn start_as(&self, number: usize, as_what: &As) -> Replica {
        let log = std::fs::File::options().create(true).append(true).open(self.log(number));
        let mut child = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"))
            .args(["serve", "--config"])
            .arg(self.file(number, as_what))
            .env("TEST_SECRET", SECRET)
            .env("LD_PRELOAD", LIBFAKETIME)
            .env("FAKETIME", format!("{:+}h", APART[number % APART.len()]))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built for this test");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut at = [None, None, None];
        let banner = async {
            while at.iter().any(Option::is_none) {
                let line = lines.next_line().await.unwrap();
                let line =
                    line.unwrap_or_else(|| panic!("it did not start: {}", self.said(number)));
                for (place, name) in at.iter_mut().zip(["gRPC", "callbacks", "admin"]) {
                    if let Some((first, addr)) = line.trim().split_once(char::is_whitespace)
                        && first == name
                    {
                        *place = Some(addr.trim().to_owned());
                    }
                }
            }
        };
        within("the process to serve", banner).await;
        let [grpc, callbacks, admin] = at.map(|addr| format!("http://{}", addr.unwrap()));
        let channel = Endpoint::from_shared(grpc).unwrap().connect_lazy();
        let banner = tokio::spawn(async move {
            while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
        });
        let replica = Replica {
            child,
            client: SettlementServiceClient::new(channel),
            callback_url: format!("{callbacks}/callbacks/douyin/{APP_ID}"),
            admin_url: admin,
            _banner: banner,
        };
        replica.assert_apart(APART[number % APART.len()]).await;
        replica
    }

    /// The configuration of the first replica.
    pub fn configuration(&self) -> PathBuf {
        self.file(0, &As::default())
    }

    /// What a gateway says that does not start.
    pub async fn refused(&self, number: usize) -> String {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
        serve.args(["serve", "--config"]).arg(self.file(number, &As::default()));
        let ended = serve.env("TEST_SECRET", SECRET).output().await.unwrap();
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }

    fn file(&self, number: usize, as_what: &As) -> PathBuf {
        let keys = self.dir.path().join("platform.pem");
        std::fs::write(&keys, self.sim.platform_public_key_pem(APP_ID)).unwrap();
        let plain = self.mode == Mode::Plain;
        let lease_ms = as_what.lease.unwrap_or(LEASE).as_millis();
        let [first, cap, watched] =
            if as_what.polls_rarely { [60_000; 3] } else { [50, 1_000, 300] };
        let text = format!(
            "rehearsal = true\ndefault_app = \"{APP_ID}\"\n\
             [server]\ngrpc_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             callback_addr = \"127.0.0.1:0\"\ndrain_delay_ms = 0\n\
             [store]\nurl = \"{url}\"\nplain = {plain}\n\
             [douyin]\nbase_url = \"{sim}\"\nconnect_timeout_ms = 500\nattempt_timeout_ms = 700\n\
             call_timeout_ms = 1500\nrefetch_gap_ms = {gap_ms}\npause_max_ms = {pause_max_ms}\n\
             [settle]\npoll_first_ms = {first}\npoll_cap_ms = {cap}\n\
             poll_watched_cap_ms = {watched}\nexists_absent_max_ms = 1000\n\
             lease_ms = {lease_ms}\n{settle}\
             [poller]\nsweep_interval_ms = {round_ms}\n\
             [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"TEST_SECRET\"\n\
             requests_per_second = {budget}\nrequests_in_flight = 1_000\n\
             platform_public_keys_file = \"{keys}\"\n",
            url = as_what.url.clone().unwrap_or_else(|| self.database.url()),
            sim = self.sim.url(),
            settle = as_what.settle.unwrap_or("visibility_grace_ms = 2500\n"),
            pause_max_ms = as_what.pause_max_ms.unwrap_or(1_000),
            round_ms = as_what.round_interval.unwrap_or(Duration::from_mins(1)).as_millis(),
            gap_ms = as_what.refetch_gap_ms.unwrap_or(100),
            budget = as_what.requests_per_second.unwrap_or(10_000),
            keys = keys.display(),
        );
        let file = self.dir.path().join(format!("gateway-{number}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("gateway-{number}.log"))
    }

    /// What a replica has logged.
    pub fn said(&self, number: usize) -> String {
        std::fs::read_to_string(self.log(number)).unwrap_or_default()
    }

    pub fn calls_back(&self, replica: &Replica) {
        self.sim.set_callback_url(APP_ID, Some(&replica.callback_url));
    }

    /// Each number is paid once, with one content.
    pub fn assert_paid_once(&self, number: &str) {
        let books = self.sim.books();
        assert_eq!(books.under(number).len(), 1, "{:?}", books.under(number));
        let bodies = books.create_bodies(number);
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

impl Replica {
    /// Its time of day is so many hours from the machine's. (A loader that does not find the
    /// library starts the process without it.)
    async fn assert_apart(&self, hours: i64) {
        let began = self.metric("process_start_time_seconds").await.expect("it is there at once");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap();
        let apart = secs(Duration::from_secs_f64(began)) - secs(now) - 3_600 * hours;
        assert!(apart.abs() < 60, "its clock is {apart} s from what the test wants");
    }

    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// In order, by SIGTERM.
    pub async fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let ended = within("the replica to stop", self.child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }

    /// SIGSTOP. Returns when all its threads stand still: a busy machine lets some of them go on
    /// for a while.
    pub async fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
        let threads = format!("/proc/{}/task", self.id());
        let stands_still = || {
            std::fs::read_dir(&threads).unwrap().all(|thread| {
                let status = std::fs::read_to_string(thread.unwrap().path().join("status"));
                // A thread that is gone does nothing more either.
                status.is_err() || status.is_ok_and(|status| status.contains("State:\tT"))
            })
        };
        let stopping = async {
            while !stands_still() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within("the process to stand still", stopping).await;
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.id()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Sends a create and does not wait for its answer.
    pub fn create_unheard(&self, request: v1::CreateSettleRequest) {
        let mut client = self.client.clone();
        drop(tokio::spawn(async move { client.create_settle(request).await }));
    }

    pub async fn create(
        &self,
        request: v1::CreateSettleRequest,
        deadline: Duration,
    ) -> Result<v1::Settle, tonic::Status> {
        self.creating(request, deadline).await
    }

    /// The same, for a task of its own.
    pub fn creating(
        &self,
        request: v1::CreateSettleRequest,
        deadline: Duration,
    ) -> impl Future<Output = Result<v1::Settle, tonic::Status>> + Send + 'static {
        let (mut client, mut call) = (self.client.clone(), tonic::Request::new(request));
        call.set_timeout(deadline);
        async move {
            let answer = client.create_settle(call).await?;
            Ok(answer.into_inner().settle.unwrap())
        }
    }

    pub async fn get(&self, number: &str) -> Result<v1::Settle, tonic::Status> {
        let request = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
            ..Default::default()
        };
        Ok(self.client.clone().get_settle(request).await?.into_inner().settle.unwrap())
    }

    /// What each step of the settle was learned from, the oldest first.
    pub async fn sources(&self, number: &str) -> Vec<ObservationSource> {
        let request = v1::GetSettleRequest {
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
            include_history: true,
            ..Default::default()
        };
        let answer = self.client.clone().get_settle(request).await.unwrap().into_inner();
        answer.history.iter().map(v1::HistoryEntry::source).collect()
    }

    /// Watches to the end, coming back after a lost stream with the last revision.
    pub async fn end(&self, number: &str) -> v1::Settle {
        self.ending(number).await
    }

    /// The same, for a task of its own.
    pub fn ending(&self, number: &str) -> impl Future<Output = v1::Settle> + Send + 'static {
        let (client, number) = (self.client.clone(), number.to_owned());
        let watching = async move {
            let mut last: Option<v1::Settle> = None;
            loop {
                let after = last.as_ref().map_or(0, |settle| settle.revision);
                let stream = client.clone().watch_settle(watch_request(&number, after)).await;
                let Ok(stream) = stream else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let mut stream = stream.into_inner();
                while let Ok(Some(message)) = stream.message().await {
                    if let Some(Event::Settle(settle)) = message.event {
                        last = Some(settle);
                    }
                }
                if let Some(settle) = &last
                    && is_final(settle.state())
                {
                    return settle.clone();
                }
            }
        };
        async move {
            let ended = tokio::time::timeout(Duration::from_secs(60), watching).await;
            ended.expect("it ends")
        }
    }

    /// A line of the metrics, as a number.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text =
            reqwest::get(format!("{}/metrics", self.admin_url)).await.ok()?.text().await.ok()?;
        let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&self, ready: bool) {
        let url = format!("{}/readyz", self.admin_url);
        let waiting = async {
            loop {
                let answer = reqwest::get(&url).await;
                if answer.is_ok_and(|answer| answer.status().is_success() == ready) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("readiness {ready}"), waiting).await;
    }

    /// What a metric says once that is more than nothing.
    pub async fn until_some(&self, name: &str) -> f64 {
        let waiting = async {
            loop {
                if let Some(value) = self.metric(name).await.filter(|value| *value > 0.0) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(name, waiting).await
    }

    pub async fn until_metric(&self, name: &str, value: f64) -> Duration {
        let began = Instant::now();
        let waiting = async {
            while self.metric(name).await != Some(value) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("{name} = {value}"), waiting).await;
        began.elapsed()
    }
}

pub fn is_final(state: SettleState) -> bool {
    matches!(state, SettleState::Succeeded | SettleState::Failed | SettleState::Rejected)
}

/// The median and the 99th percentile (of less than a hundred the longest).
pub fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    (at(50), at(99))
}
