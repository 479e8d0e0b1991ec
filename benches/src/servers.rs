//! The servers that are measured, each a process of its own on the server's cores.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Failure;
use crate::machine::{Cores, cpu_of, resident_of};
use crate::numbers::{APPS, app_id};
use crate::postgres::Postgres;
use crate::secured::Secrets;

const START_TIME_MAX: Duration = Duration::from_secs(30);
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
const SECRET_VARIABLE: &str = "BENCH_CLIENT_SECRET";
/// What a gateway tells unless it is measured what that costs.
const QUIET: &[(&str, &str)] = &[("RUST_LOG", "warn")];

/// A running server. It ends when this value is dropped, and when this process ends.
pub struct Server {
    child: Child,
    started: Instant,
    pub url: String,
    /// Where Douyin's callbacks go. Only the gateway has one.
    pub callbacks: Option<String>,
    /// Where the metrics are. Only the gateway has them.
    pub admin: Option<String>,
}

/// Where the binaries are, and a directory for the databases.
#[derive(Clone)]
pub struct Programs {
    pub gateway: PathBuf,
    pub bench: PathBuf,
    pub directory: PathBuf,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.pid())
    }

    pub fn resident(&self) -> Result<u64, Failure> {
        resident_of(self.pid())
    }

    /// Starts a program that prints its addresses in lines like `gRPC ADDRESS`. `last` is how the
    /// last of these lines begins.
    fn start(
        command: &mut Command,
        cores: &str,
        log: &Path,
        last: &'static str,
    ) -> Result<Self, Failure> {
        // Two small programs that replace themselves with the server, which keeps their process id.
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", "KILL", "taskset", "-c", cores]);
        pinned.arg(command.get_program()).args(command.get_args());
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let started = Instant::now();
        let mut child = pinned
            .envs(set)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let printed = child.stdout.take().ok_or("no standard output")?;
        read_log(child.stderr.take().ok_or("no standard error")?, File::create(log)?)?;
        let mut server = Self { child, started, url: String::new(), callbacks: None, admin: None };
        let (tell, told) = mpsc::sync_channel(1);
        // Reads the output to its end, because a server blocks if its output is not read.
        std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut addrs = HashMap::new();
            for line in BufReader::new(printed).lines().map_while(Result::ok) {
                let mut words = line.split_whitespace();
                let (Some(word), Some(addr)) = (words.next(), words.next()) else { continue };
                addrs.insert(word.to_owned(), addr.to_owned());
                if word == last {
                    let _ = tell.try_send(addrs.clone());
                }
            }
        })?;
        let Ok(addrs) = told.recv_timeout(START_TIME_MAX) else {
            let said = fs::read_to_string(log)?;
            return Err(format!("{:?} did not start: {said}", command.get_program()).into());
        };
        server.url = format!("http://{}", addrs.get("gRPC").ok_or("it does not say gRPC")?);
        server.callbacks = addrs.get("callbacks").map(|addr| format!("http://{addr}"));
        server.admin = addrs.get("admin").cloned();
        Ok(server)
    }

    /// Waits until a gateway serves. Returns how long that took from its start.
    pub fn ready(&self) -> Result<Duration, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let endpoint = tonic::transport::Endpoint::from_shared(self.url.clone())?;
            let mut client = HealthClient::new(endpoint.connect().await?);
            loop {
                let answer = client.check(HealthCheckRequest::default()).await?.into_inner();
                let took = self.started.elapsed();
                if answer.status() == ServingStatus::Serving {
                    return Ok(took);
                }
                if took > START_TIME_MAX {
                    return Err("the gateway does not serve".into());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    /// Asks a gateway to end, and waits until it has ended.
    pub fn stop(mut self) -> Result<(), Failure> {
        let asked = Command::new("kill").arg(self.pid().to_string()).status()?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if !asked.success() || began.elapsed() > STOP_TIME_MAX {
                return Err("the gateway does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a server's log for as long as it lives, like the runtime of a container, and keeps what is
/// worth a look. All of it, on the disk of the databases, would make their flushes dearer.
fn read_log(log: impl Read + Send + 'static, mut kept: File) -> std::io::Result<()> {
    let reader = std::thread::Builder::new().name("log".to_owned());
    reader.spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        for line in lines.filter(|line| !line.contains("\"level\":\"INFO\"")) {
            // Only for a person who looks for what went wrong.
            let _ = writeln!(kept, "{line}");
        }
    })?;
    Ok(())
}

impl Programs {
    pub fn bare(&self, cores: &Cores, upstream: &str) -> Result<Server, Failure> {
        let mut command = Command::new(&self.bench);
        command.args(["bare", upstream]);
        Server::start(&mut command, &cores.server, &self.directory.join("bare.log"), "gRPC")
    }

    pub fn peer(&self, peer: &Path, cores: &Cores, upstream: &str) -> Result<Server, Failure> {
        let mut command = Command::new(peer);
        command.arg(upstream);
        Server::start(&mut command, &cores.server, &self.directory.join("peer.log"), "gRPC")
    }

    /// Starts the gateway on a new database of this name. It polls nothing.
    pub fn gateway(&self, name: &str, cores: &Cores, upstream: &str) -> Result<Server, Failure> {
        self.gateway_telling(name, (cores, upstream), QUIET)
    }

    /// The same; `variables` say what it tells of what it does.
    pub fn gateway_telling(
        &self,
        name: &str,
        (cores, upstream): (&Cores, &str),
        variables: &[(&str, &str)],
    ) -> Result<Server, Failure> {
        let store = format!("sqlite_path = \"{}\"", self.database(name).display());
        self.make_new(name, &store, upstream)?;
        self.serve(name, cores, "log", variables)
    }

    /// Starts so many gateways on a new PostgreSQL of its own, which `script` starts.
    pub fn replicas(
        &self,
        name: &str,
        replicas: usize,
        script: &Path,
        (cores, upstream): (&Cores, &str),
    ) -> Result<(Vec<Server>, Postgres), Failure> {
        let data = self.directory.join(format!("{name}-postgres"));
        let database = Postgres::start(script, &data, &cores.server)?;
        self.make_new(name, &format!("url = \"{}\"", database.url), upstream)?;
        let start = |number| {
            let server = self.serve(name, cores, &format!("log-{number}"), QUIET)?;
            server.ready()?;
            Ok(server)
        };
        let servers = (0..replicas).map(start).collect::<Result<_, Failure>>()?;
        Ok((servers, database))
    }

    /// The folder of a gateway with its configuration, and its database.
    pub fn make_new(&self, name: &str, store: &str, upstream: &str) -> Result<(), Failure> {
        let directory = self.directory.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let config = directory.join("gateway.toml");
        fs::write(&config, self.config(store, upstream)?)?;
        self.command(name, &["init"])?;
        Ok(())
    }

    /// Runs a command of the gateway's. Returns what it printed, and how long it took.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Result<(String, Duration), Failure> {
        let began = Instant::now();
        let ran = Command::new(&self.gateway)
            .args(arguments)
            .arg("--config")
            .arg(self.directory.join(name).join("gateway.toml"))
            .env(SECRET_VARIABLE, "secret")
            .output()?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).into());
        }
        Ok((String::from_utf8(ran.stdout)?, began.elapsed()))
    }

    /// From its next start on it speaks TLS, and knows its caller by a certificate.
    pub fn secure(&self, name: &str, secrets: &Secrets) -> Result<(), Failure> {
        let directory = self.directory.join(name);
        let [server, caller] = secrets.write(&directory)?;
        let config = directory.join("gateway.toml");
        let text = fs::read_to_string(&config)?;
        let text = text.replacen("[server]\n", &format!("[server]\n{server}"), 1);
        Ok(fs::write(&config, text + &caller)?)
    }

    /// Starts the gateway on its existing database.
    pub fn gateway_again(&self, name: &str, cores: &Cores) -> Result<Server, Failure> {
        self.serve(name, cores, "log", QUIET)
    }

    fn serve(
        &self,
        name: &str,
        cores: &Cores,
        log: &str,
        variables: &[(&str, &str)],
    ) -> Result<Server, Failure> {
        let directory = self.directory.join(name);
        let mut command = Command::new(&self.gateway);
        command
            .args(["serve", "--config"])
            .arg(directory.join("gateway.toml"))
            .env(SECRET_VARIABLE, "secret")
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied());
        Server::start(&mut command, &cores.server, &directory.join(log), "admin")
    }

    pub fn database(&self, name: &str) -> PathBuf {
        self.directory.join(name).join("settlement.db")
    }

    /// Nothing is polled or swept while the bench runs, and no limit on calls slows it.
    fn config(&self, store: &str, upstream: &str) -> Result<String, Failure> {
        let keys = self.directory.join("platform-key.pem");
        fs::write(&keys, douyin_sim::PlatformKey::sandbox().public_pem())?;
        let keys = keys.display();
        let mut config = format!(
            "[server]\ngrpc_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             callback_addr = \"127.0.0.1:0\"\ndrain_delay_ms = 0\nwatches_max = 100_000\n\
             [store]\n{store}\n\
             [douyin]\nbase_url = \"{upstream}\"\n\
             [settle]\npoll_first_ms = 600_000\npoll_cap_ms = 86_400_000\n\
             poll_watched_cap_ms = 3_600_000\n\
             [poller]\nsweep_interval_ms = 3_600_000\n"
        );
        for app in 0..APPS {
            config += &format!(
                "[[apps]]\napp_id = \"{}\"\nclient_secret_env = \"{SECRET_VARIABLE}\"\n\
                 platform_public_keys_file = \"{keys}\"\n\
                 requests_per_second = 10_000\nrequests_in_flight = 512\n",
                app_id(app)
            );
        }
        Ok(config)
    }
}
