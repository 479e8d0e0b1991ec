//! The gateway as an operator runs it: a process with a configuration file, whose log, signals and
//! exit code are seen.

use std::fs::File;
use std::io::{PipeReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};

use douyin_sim::Simulator;
use settlement_gateway::proto::v1;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::harness::{APP_ID, SECRET, drain, watch_request, within};

/// What a test chooses.
#[derive(Default)]
pub struct Setting {
    /// It is no rehearsal, and what money hangs on is at its defaults.
    pub with_money: bool,
    /// What is logged, as in `RUST_LOG`; `None`: the default.
    pub log: Option<&'static str>,
    pub drain_delay_ms: u64,
    /// File descriptors that it may open, hard; `None`: as many as this process.
    pub descriptors: Option<u32>,
    /// The file of the app's platform public keys; `None`: callbacks are off.
    pub platform_keys: Option<PathBuf>,
    /// More keys of `[server]`.
    pub server: String,
    /// Where what it prints goes, and what it logs. One of them must be readable: it has the
    /// addresses.
    pub stdout: Outlet,
    pub stderr: Outlet,
    /// Database and log are in `disk` of its folder.
    pub disk: Disk,
    /// Where the database is; `None`: beside the configuration.
    pub database: Option<PathBuf>,
    /// The keys of `[store]`, of a database that is made at each start; `None`: it is a file.
    pub store: Option<String>,
    /// What stands between it and Douyin; `None`: nothing does.
    pub base_url: Option<String>,
    /// The only certificates that it trusts; `None`: those of the machine.
    pub trusted: Option<PathBuf>,
    /// Further knobs of the table `[douyin]`.
    pub douyin: String,
    /// Further variables of its environment.
    pub variables: &'static [(&'static str, &'static str)],
    /// What follows in the configuration file.
    pub more: String,
}

/// Where standard output or standard error leads.
#[derive(Clone, Default)]
pub enum Outlet {
    /// The test reads it as it comes.
    #[default]
    Read,
    /// A pipe that is full and stands still.
    Full,
    /// A pipe whose reader has gone.
    Closed,
    /// A file, which is not read.
    File(PathBuf),
}

/// What `disk` of the folder of a process is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Disk {
    /// There is none: the database is in the folder itself, and the log where `stderr` says.
    #[default]
    None,
    /// A folder.
    Folder,
    /// A file system of so many MiB that only the process sees.
    Mounted { mib: u32 },
}

impl Disk {
    /// Where the test finds it.
    pub fn path(self, dir: &Path, process: &Process) -> PathBuf {
        let disk = dir.join("disk");
        match self {
            Disk::None | Disk::Folder => disk,
            Disk::Mounted { .. } => {
                let root = PathBuf::from(format!("/proc/{}/root", process.id()));
                root.join(disk.strip_prefix("/").unwrap())
            }
        }
    }

    /// The command on this disk.
    fn wrap(self, dir: &Path, descriptors: Option<u32>) -> Command {
        let gateway = env!("CARGO_BIN_EXE_settlement-gateway");
        let (disk, mut command) = (dir.join("disk"), Command::new("unshare"));
        let on_disk = r#""$1" init --config "$4" --data-dir "$0" > /dev/null 2>&1
            exec "$@" --data-dir "$0" 2>> "$0/log""#;
        match self {
            Disk::None => {
                let limit = descriptors.map(|number| format!("ulimit -n {number}; "));
                let shell = format!("{}exec \"$0\" \"$@\"", limit.unwrap_or_default());
                command = Command::new("sh");
                command.args(["-c", &shell, gateway]);
                return command;
            }
            Disk::Folder => {
                command = Command::new("sh");
                command.args(["-c", on_disk]);
            }
            Disk::Mounted { mib } => {
                let mount = format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && {on_disk}");
                command.args(["--map-root-user", "--mount", "sh", "-c", &mount]);
            }
        }
        std::fs::create_dir(&disk).unwrap();
        command.arg(disk).arg(gateway);
        command
    }
}

/// What a pipe of Linux holds.
const PIPE_BYTES: usize = 64 * 1024;

impl Outlet {
    /// The end for the process; and the other one of a pipe that stands still.
    pub fn ends(&self) -> (Stdio, Option<PipeReader>) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        match self {
            Outlet::Read => (Stdio::piped(), None),
            Outlet::Full => {
                writer.write_all(&[b'\n'; PIPE_BYTES]).unwrap();
                (writer.into(), Some(reader))
            }
            Outlet::Closed => (writer.into(), None),
            Outlet::File(path) => {
                let file = File::options().append(true).create(true).open(path);
                (file.unwrap().into(), None)
            }
        }
    }
}

impl Setting {
    fn database(&self, dir: &Path) -> PathBuf {
        self.database.clone().unwrap_or_else(|| database(dir))
    }
}

pub struct Process {
    pub client: SettlementServiceClient<Channel>,
    pub channel: Channel,
    /// What it printed before it served.
    pub banner: String,
    child: Child,
    /// What it has logged so far, as far as it is read; closed when it has ended.
    log: watch::Receiver<String>,
    /// The pipes that stand still: standard output, standard error.
    pub unread: [Option<PipeReader>; 2],
}

impl Process {
    /// Runs until dropped; its database is in `dir`, and made first if there is none.
    pub async fn start(sim: &Simulator, dir: &Path, setting: Setting) -> Self {
        let configuration = configuration(sim, dir, &setting);
        match (&setting.store, setting.disk) {
            (Some(_), _) => init(&configuration),
            (None, Disk::None) => init_if_new(&configuration, &setting.database(dir)),
            (None, Disk::Folder | Disk::Mounted { .. }) => {}
        }
        Self::start_as_it_is(sim, dir, setting).await
    }

    /// On the database that there is.
    pub async fn start_as_it_is(sim: &Simulator, dir: &Path, setting: Setting) -> Self {
        // What asks its HTTP listeners wants one, though it makes no TLS connection.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (mut command, unread) = command(sim, dir, &setting);
        let mut child = command.spawn().expect("the binary was built for this test");
        // It has copies of our ends: only the process itself may keep a pipe open.
        drop(command);
        let log = match child.stderr.take() {
            Some(stderr) => follow(BufReader::new(stderr)),
            None => watch::channel(String::new()).1,
        };
        let banner = match child.stdout.take() {
            Some(stdout) => within("the banner", banner(stdout, &log)).await,
            None => within("the first line", addresses(log.clone())).await,
        };
        let url = format!("http://{}", behind("gRPC", &banner).expect("gRPC always listens"));
        let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
        let client = SettlementServiceClient::new(channel.clone());
        Self { client, channel, banner, child, log, unread }
    }

    /// A start that must not succeed: its exit code and what it said.
    pub async fn refused(sim: &Simulator, dir: &Path) -> (Option<i32>, String) {
        Self::refused_with(sim, dir, Setting::default()).await
    }

    pub async fn refused_with(
        sim: &Simulator,
        dir: &Path,
        setting: Setting,
    ) -> (Option<i32>, String) {
        let output = command(sim, dir, &setting).0.output();
        let Output { status, stdout, stderr } = within("the refusal", output).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&stdout), "", "it claims to serve");
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    pub async fn create(&self, request: v1::CreateSettleRequest) -> Result<v1::Settle, Status> {
        let answer = within("CreateSettle", self.client.clone().create_settle(request)).await?;
        Ok(answer.into_inner().settle.expect("an answer has its settle"))
    }

    /// What is counted.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.1
    }

    /// The final state, by watching.
    pub async fn end(&self, out_settle_no: &str) -> v1::Settle {
        let call = watch_request(out_settle_no, 0);
        let stream = within("WatchSettle", self.client.clone().watch_settle(call)).await.unwrap();
        let mut settles = drain(stream.into_inner()).await.expect("the watch ends well");
        settles.pop().expect("a watch that ends well carried the final state")
    }

    /// Where gRPC listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc_addr())
    }

    /// What a series of its metrics says; `name` with its labels, as it is printed.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// A line of its `/proc/…/status`, in bytes: `VmRSS`, `VmHWM`.
    pub fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Where callbacks to the app go.
    pub fn callback_url(&self) -> String {
        let addr = behind("callbacks", &self.banner).expect("callbacks are on");
        format!("http://{addr}/callbacks/douyin/{APP_ID}")
    }

    pub fn grpc_addr(&self) -> SocketAddr {
        self.addr("gRPC")
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.addr("admin")
    }

    pub fn callback_addr(&self) -> SocketAddr {
        self.addr("callbacks")
    }

    /// Of the listener that the banner calls so.
    fn addr(&self, listener: &str) -> SocketAddr {
        let addr = behind(listener, &self.banner).unwrap_or_else(|| panic!("no {listener}"));
        addr.parse().expect("the banner has addresses")
    }

    /// A page of the admin listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let addr = self.admin_addr();
        let answer = within(path, reqwest::get(format!("http://{addr}{path}"))).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A counter without labels, or with these: `name{a="b"}`.
    pub async fn counted(&self, counter: &str) -> u64 {
        let metrics = self.metrics().await;
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(counter));
        let value = values.find_map(|value| value.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a count is a whole number"))
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// `TERM`, `INT`: as from a terminal or an orchestrator.
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    /// Waits until it has logged this. A line comes a moment after what it tells of: the process
    /// does not wait for its log.
    pub async fn logged(&self, text: &str) {
        self.logged_together(&[text]).await;
    }

    /// Waits until one line has all of these in it, and returns the whole log until then.
    pub async fn logged_together(&self, texts: &[&str]) -> String {
        let has_all = |line: &str| texts.iter().all(|text| line.contains(text));
        let mut log = self.log.clone();
        let found = log.wait_for(|log| log.lines().any(has_all));
        let found = within(&format!("a line with {texts:?}"), found).await;
        let found = found.map(|log| log.clone());
        found.unwrap_or_else(|_| {
            panic!("it ended without logging {texts:?}: {}", *self.log.borrow())
        })
    }

    /// Waits until it ends by itself: how it ended, and its whole log.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = within("the process to end", self.child.wait()).await.unwrap();
        let closed = async { while self.log.changed().await.is_ok() {} };
        within("the end of the log", closed).await;
        let log = self.log.borrow().clone();
        (status, log)
    }
}

/// The address in the line of the banner that begins so.
fn behind(name: &str, banner: &str) -> Option<String> {
    let lines = banner.lines().map(str::trim);
    let mut addrs = lines.filter_map(|line| line.strip_prefix(name));
    addrs.next().map(|addr| addr.trim().to_owned())
}

/// What it prints before it serves.
async fn banner(stdout: ChildStdout, log: &watch::Receiver<String>) -> String {
    let mut lines = BufReader::new(stdout).lines();
    let mut banner = String::new();
    loop {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("not started: {}", *log.borrow()));
        banner.push_str(&line);
        banner.push('\n');
        // The last line; everything else stands above it.
        if line.contains("admin ") {
            return banner;
        }
    }
}

/// The same from the log, where the banner cannot be read.
async fn addresses(mut log: watch::Receiver<String>) -> String {
    let serving = |line: &&str| line.contains(r#""message":"serving""#);
    let log = log.wait_for(|log| log.lines().any(|line| serving(&line))).await;
    let log = log.expect("it serves");
    let line: serde_json::Value =
        serde_json::from_str(log.lines().find(serving).unwrap()).expect("each line is JSON");
    let addr = |name: &str| line[name].as_str().unwrap_or("off").to_owned();
    let (grpc, callback, admin) = (addr("grpc"), addr("callback"), addr("admin"));
    format!("gRPC {grpc}\ncallbacks {callback}\nadmin {admin}\n")
}

fn command(sim: &Simulator, dir: &Path, setting: &Setting) -> (Command, [Option<PipeReader>; 2]) {
    let ((stdout, unread_out), (stderr, unread_err)) =
        (setting.stdout.ends(), setting.stderr.ends());
    let mut command = setting.disk.wrap(dir, setting.descriptors);
    command
        .args(["serve", "--config"])
        .arg(configuration(sim, dir, setting))
        .env("TEST_SECRET", SECRET)
        .env_remove("RUST_LOG")
        .envs(setting.variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .kill_on_drop(true);
    if let Some(log) = setting.log {
        command.env("RUST_LOG", log);
    }
    if let Some(trusted) = &setting.trusted {
        command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
    }
    (command, [unread_out, unread_err])
}

fn configuration(sim: &Simulator, dir: &Path, setting: &Setting) -> PathBuf {
    let base_url = setting.base_url.clone().unwrap_or_else(|| sim.url());
    let (rehearsal, grace) = match setting.with_money {
        true => ("", ""),
        false => ("rehearsal = true\n", "visibility_grace_ms = 500\n"),
    };
    let text = format!(
        "{rehearsal}default_app = \"{APP_ID}\"\n\
         [server]\ngrpc_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
         callback_addr = \"127.0.0.1:0\"\n\
         drain_delay_ms = {}\n{}\
         [store]\n{}\
         [douyin]\nbase_url = \"{}\"\ndeveloper_base_url = \"{}\"\nrefetch_gap_ms = 100\n{}\
         [settle]\n{grace}poll_first_ms = 50\npoll_cap_ms = 300\n\
         poll_watched_cap_ms = 100\n\
         [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"TEST_SECRET\"\n{}",
        setting.drain_delay_ms,
        setting.server,
        setting.store.clone().unwrap_or_else(|| {
            format!("sqlite_path = \"{}\"\n", setting.database(dir).display())
        }),
        base_url,
        sim.url(),
        setting.douyin,
        setting.more,
    );
    let keys = setting.platform_keys.as_ref();
    let keys = keys.map_or(String::new(), |keys| {
        format!("platform_public_keys_file = \"{}\"\n", keys.display())
    });
    let file = dir.join("gateway.toml");
    std::fs::write(&file, text + &keys).unwrap();
    file
}

/// Runs a command that needs nothing but the configuration of the last process in `dir`.
pub async fn run(dir: &Path, name: &str) -> Output {
    run_with(dir, name, &[]).await
}

/// The same with further variables of its environment.
pub async fn run_with(dir: &Path, name: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    command.args([name, "--config"]).arg(dir.join("gateway.toml")).env("TEST_SECRET", SECRET);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().await.expect("the binary was built for this test")
}

/// Where a process keeps its database.
pub fn database(dir: &Path) -> PathBuf {
    dir.join("settlement.db")
}

/// Makes the database of a configuration, once, as an operator does.
pub fn init_if_new(configuration: &Path, database: &Path) {
    if !database.exists() {
        init(configuration);
    }
}

fn init(configuration: &Path) {
    let mut init = std::process::Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    let made = init.args(["init", "--config"]).arg(configuration).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Collects lines as they come.
fn follow(log: BufReader<tokio::process::ChildStderr>) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    // Ends with the process.
    drop(tokio::spawn(async move {
        let mut lines = log.lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|log| {
                log.push_str(&line);
                log.push('\n');
            });
        }
    }));
    receiver
}
