//! Real PostgreSQL servers for tests: `scripts/postgres` starts one, which ends with the process of
//! the tests. A server that cannot be started fails the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use tokio_postgres::{Client, NoTls};

use crate::store::PostgresAddress;

pub(in crate::store) struct Server {
    child: Child,
    /// Its commands and their answers.
    lines: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    /// The folder of its socket.
    pub(in crate::store) home: PathBuf,
}

/// An empty database of one test. It goes when the test ends.
pub(in crate::store) struct Database {
    home: PathBuf,
    name: String,
}

impl Server {
    /// `settings`: `NAME=VALUE`.
    pub(in crate::store) fn start(settings: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres");
        let mut child = Command::new(script)
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/postgres can be run");
        let input = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let home = PathBuf::from(line(&mut output));
        Self { child, lines: Mutex::new(Some((input, output))), home }
    }

    /// The server that the tests of this process share.
    pub(in crate::store) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[]))
    }

    /// A pooler before the shared server, which gives each transaction another connection.
    fn shared_pooler() -> &'static str {
        static POOLER: OnceLock<String> = OnceLock::new();
        POOLER.get_or_init(|| Server::shared().tell("pooler"))
    }

    /// One of the commands of the script.
    pub(in crate::store) fn tell(&self, command: &str) -> String {
        let mut lines = self.lines.lock().unwrap();
        let (input, output) = lines.as_mut().expect("it is taken at the end only");
        writeln!(input, "{command}").unwrap();
        line(output)
    }

    pub(in crate::store) async fn database(&self) -> Database {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let maker = connect(&self.home, "postgres").await;
        maker.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Database { home: self.home.clone(), name }
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "scripts/postgres has ended, and says why");
    line.trim().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends the server.
        drop(self.lines.lock().unwrap().take());
        let _ = self.child.wait();
    }
}

impl Database {
    pub(in crate::store) fn address(&self) -> PostgresAddress {
        self.address_at(&self.home.display().to_string().replace('/', "%2F"))
    }

    pub(in crate::store) fn pooled_address(&self) -> PostgresAddress {
        self.address_at(&Server::shared_pooler().replace('/', "%2F"))
    }

    pub(in crate::store) fn address_at(&self, hosts: &str) -> PostgresAddress {
        PostgresAddress::parse(&format!("postgres://postgres@{hosts}/{}", self.name)).unwrap()
    }

    /// The address for a user that owns the database and is nothing more.
    pub(in crate::store) async fn address_of_owner(&self) -> PostgresAddress {
        let (user, client) = (format!("owner_of_{}", self.name), self.as_another_program().await);
        let make =
            format!("CREATE ROLE {user} LOGIN; ALTER DATABASE {} OWNER TO {user}", self.name);
        client.batch_execute(&make).await.unwrap();
        let home = self.home.display().to_string().replace('/', "%2F");
        PostgresAddress::parse(&format!("postgres://{user}@{home}/{}", self.name)).unwrap()
    }

    /// Where the server must show a certificate.
    pub(in crate::store) fn encrypted_address_at(&self, host: &str) -> PostgresAddress {
        let name = &self.name;
        let url = format!("postgres://postgres@{host}/{name}?sslmode=verify-full");
        PostgresAddress::parse(&url).unwrap()
    }

    /// What sessions find set that begin from now on.
    pub(in crate::store) async fn set(&self, setting: &str, value: &str) {
        let set = format!("ALTER DATABASE {} SET {setting} = '{value}'", self.name);
        self.as_another_program().await.batch_execute(&set).await.unwrap();
    }

    /// A connection as another program would open it.
    pub(in crate::store) async fn as_another_program(&self) -> Client {
        connect(&self.home, &self.name).await
    }

    /// The same on another server with the same database.
    pub(in crate::store) async fn as_another_program_at(&self, home: &Path) -> Client {
        connect(home, &self.name).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (home, drop_it) =
            (self.home.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let drop_it = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                // The server may be gone.
                if let Ok(maker) = try_connect(&home, "postgres").await {
                    let _ = maker.batch_execute(&drop_it).await;
                }
            });
        };
        let thread = std::thread::Builder::new().spawn(drop_it).unwrap();
        let _ = thread.join();
    }
}

async fn connect(home: &Path, database: &str) -> Client {
    try_connect(home, database).await.unwrap()
}

async fn try_connect(home: &Path, database: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(home).user("postgres").dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    drop(tokio::spawn(connection));
    Ok(client)
}
