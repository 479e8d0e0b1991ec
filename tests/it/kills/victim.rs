//! The process that is killed: the real binary on real files. What takes minutes in production
//! takes a fraction of a second.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use douyin_sim::Simulator;
use settlement_gateway::proto::v1::settlement_service_client::SettlementServiceClient;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tonic::transport::{Channel, Endpoint};

use crate::harness::{APP_ID, SECRET, within};
use crate::process::{database, init_if_new};
use crate::replicas::database::Database;

/// Which store the process works on.
pub enum Backend {
    Sqlite,
    /// It lives on while the processes die.
    Postgres(Database),
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "on SQLite",
            Self::Postgres(_) => "on PostgreSQL",
        }
    }

    /// The store's table of the configuration.
    fn section(&self, dir: &Path) -> String {
        match self {
            Self::Sqlite => format!("[store]\nsqlite_path = \"{}\"\n", database(dir).display()),
            Self::Postgres(server) => format!("[store]\nurl = \"{}\"\n", server.url()),
        }
    }
}

pub type Client = SettlementServiceClient<Channel>;

/// What every start has in common.
pub struct Files {
    dir: PathBuf,
    config: PathBuf,
    /// A server of it ends with this value.
    _backend: Backend,
}

/// A process that may not serve yet.
pub struct Victim {
    child: Child,
    banner: BufReader<ChildStdout>,
}

/// Where a process can be reached.
pub struct Serving {
    pub client: Client,
    /// Where the app's callbacks go.
    pub callback_url: String,
}

impl Files {
    pub fn write(dir: &Path, backend: Backend, sim: &Simulator) -> Self {
        let keys = dir.join("platform.pem");
        std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
        // The weather delays a request by up to 2 s, which is longer than its sender waits. The
        // grace must be longer than that.
        let text = format!(
            "rehearsal = true\ndefault_app = \"{APP_ID}\"\n\
             [server]\ngrpc_addr = \"127.0.0.1:0\"\nadmin_addr = \"127.0.0.1:0\"\n\
             callback_addr = \"127.0.0.1:0\"\ndrain_delay_ms = 0\n\
             {store}\
             [douyin]\nbase_url = \"{url}\"\nconnect_timeout_ms = 500\nattempt_timeout_ms = 700\n\
             call_timeout_ms = 1500\nrefetch_gap_ms = 100\npause_max_ms = 1000\n\
             [settle]\nvisibility_grace_ms = 2500\npoll_first_ms = 50\npoll_cap_ms = 1000\n\
             poll_watched_cap_ms = 300\nlease_ms = 4000\n\
             exists_absent_max_ms = 1000\n\
             [[apps]]\napp_id = \"{APP_ID}\"\nclient_secret_env = \"TEST_SECRET\"\n\
             requests_per_second = 10_000\nrequests_in_flight = 1_000\n\
             platform_public_keys_file = \"{keys}\"\n",
            store = backend.section(dir),
            url = sim.url(),
            keys = keys.display(),
        );
        let config = dir.join("gateway.toml");
        std::fs::write(&config, text).unwrap();
        // A folder that is new has no file of this name, whatever the store.
        init_if_new(&config, &database(dir));
        Self { dir: dir.to_owned(), config, _backend: backend }
    }

    /// What all processes have logged.
    pub fn log(&self) -> PathBuf {
        self.dir.join("gateway.log")
    }

    pub fn launch(&self) -> Victim {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"))
            .args(["serve", "--config"])
            .arg(&self.config)
            .env("TEST_SECRET", SECRET)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built for this test");
        let banner = BufReader::new(child.stdout.take().unwrap());
        Victim { child, banner }
    }
}

impl Victim {
    /// Waits until it serves.
    pub async fn serving(&mut self) -> Serving {
        let (mut grpc, mut callbacks) = (None, None);
        let banner = async {
            let mut line = String::new();
            while grpc.is_none() || callbacks.is_none() {
                line.clear();
                let bytes = self.banner.read_line(&mut line).await.unwrap();
                assert!(bytes > 0, "it did not start");
                match line.trim().split_once(char::is_whitespace) {
                    Some(("gRPC", addr)) => grpc = Some(addr.trim().to_owned()),
                    Some(("callbacks", addr)) => callbacks = Some(addr.trim().to_owned()),
                    Some(_) | None => {}
                }
            }
        };
        within("the process to serve", banner).await;
        let url = format!("http://{}", grpc.unwrap());
        let channel = Endpoint::from_shared(url).unwrap().connect_lazy();
        Serving {
            client: SettlementServiceClient::new(channel),
            callback_url: format!("http://{}/callbacks/douyin/{APP_ID}", callbacks.unwrap()),
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed. Returns when nothing of it is left.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it ran until now");
    }
}
