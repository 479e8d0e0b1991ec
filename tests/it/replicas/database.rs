//! A PostgreSQL server of its own for each fleet (`scripts/postgres`), which ends with the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::harness::within;

/// Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct Database(Arc<Server>);

struct Server {
    child: Mutex<Child>,
    /// Its commands and their answers.
    lines: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    /// The folder of its socket.
    home: PathBuf,
}

impl Database {
    pub async fn start() -> Self {
        let starting = tokio::task::spawn_blocking(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres");
            let mut child = Command::new(script)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("scripts/postgres can be run");
            let input = child.stdin.take().expect("it is piped");
            let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
            let home = PathBuf::from(line(&mut output));
            let (child, lines) = (Mutex::new(child), Mutex::new(Some((input, output))));
            Self(Arc::new(Server { child, lines, home }))
        });
        starting.await.expect("it says where it listens")
    }

    /// Leads to the server, and to its standby once that is promoted.
    pub fn url(&self) -> String {
        let host = self.0.home.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host},{host}%2Fsocket/postgres")
    }

    /// The folder of its socket.
    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// In order; sessions end.
    pub async fn stop(&self) {
        self.tell("stop").await;
    }

    /// SIGKILL.
    pub async fn kill(&self) {
        self.tell("kill").await;
    }

    pub async fn resume(&self) {
        self.tell("start").await;
    }

    /// Makes an asynchronous standby that follows the server.
    pub async fn follow(&self) {
        assert_eq!(self.ask("standby").await, self.standby().display().to_string());
    }

    /// The folder of the standby's socket.
    pub fn standby(&self) -> PathBuf {
        self.0.home.join("socket")
    }

    /// From now on the standby hears nothing of what is committed.
    pub async fn cut_off_standby(&self) {
        self.tell("cut").await;
    }

    pub async fn promote_standby(&self) {
        self.tell("promote").await;
    }

    /// A PgBouncer in transaction mode; the folder of its socket.
    pub async fn pooler(&self) -> PathBuf {
        self.ask("pooler").await.into()
    }

    /// Ends every session of the gateways, and nothing else.
    pub async fn terminate_sessions(&self) {
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .await;
    }

    /// Runs statements as an operator does.
    pub async fn run(&self, statements: &str) {
        connect(&self.0.home).await.batch_execute(statements).await.unwrap();
    }

    /// The first text that a statement returns.
    pub async fn text(&self, statement: &str) -> Option<String> {
        let rows = connect(&self.0.home).await.query(statement, &[]).await.unwrap();
        rows.first().and_then(|row| row.get(0))
    }

    /// A session as another program would open it.
    pub async fn as_another_program(&self) -> Client {
        connect(&self.0.home).await
    }

    /// A session that holds a lock on the table of settles until it commits.
    pub async fn lock(&self, mode: &str) -> Client {
        let client = self.as_another_program().await;
        client.batch_execute(&format!("BEGIN; LOCK TABLE settle IN {mode} MODE")).await.unwrap();
        client
    }

    /// A session that lets no insert of a settle end until it commits. The insert is on its way at
    /// the server then. One that waits for a lock on the table may still be only prepared, and a
    /// process that stands still would not have it executed.
    pub async fn hold_inserts(&self) -> Client {
        let client = self.as_another_program().await;
        let trigger = "CREATE OR REPLACE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(730); RETURN NEW; END';
             CREATE OR REPLACE TRIGGER held BEFORE INSERT ON settle
             FOR EACH ROW EXECUTE FUNCTION held()";
        client.batch_execute(trigger).await.unwrap();
        client.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(730)").await.unwrap();
        client
    }

    /// Waits until a statement with this text waits for a lock. (Within the transaction that has
    /// the lock the answer would stay what it was at first.)
    pub async fn until_waits(&self, text: &str) {
        let client = self.as_another_program().await;
        let waits = format!(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{text}%'"
        );
        let waiting = async {
            while client.query(&waits, &[]).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("{text} to wait"), waiting).await;
    }

    async fn tell(&self, command: &'static str) {
        assert_eq!(self.ask(command).await, "done");
    }

    async fn ask(&self, command: &'static str) -> String {
        let server = Arc::clone(&self.0);
        let telling = tokio::task::spawn_blocking(move || {
            let mut lines = server.lines.lock().unwrap();
            let (input, output) = lines.as_mut().expect("it is taken at the end only");
            writeln!(input, "{command}").unwrap();
            line(output)
        });
        telling.await.unwrap()
    }
}

/// A session on the server whose socket is in this folder.
pub async fn connect(home: &Path) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host_path(home).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    // It ends with the client.
    drop(tokio::spawn(connection));
    client
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
        let _ = self.child.lock().unwrap().wait();
    }
}
