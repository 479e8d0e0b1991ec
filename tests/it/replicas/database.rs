//! A PostgreSQL server of its own for each fleet (`scripts/postgres`), which ends with the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio_postgres::NoTls;

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

    pub fn url(&self) -> String {
        let host = self.0.home.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/postgres")
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
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.0.home).user("postgres").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let driving = tokio::spawn(connection);
        client.batch_execute(statements).await.unwrap();
        drop(client);
        driving.await.unwrap().unwrap();
    }

    async fn tell(&self, command: &'static str) {
        let server = Arc::clone(&self.0);
        let telling = tokio::task::spawn_blocking(move || {
            let mut lines = server.lines.lock().unwrap();
            let (input, output) = lines.as_mut().expect("it is taken at the end only");
            writeln!(input, "{command}").unwrap();
            line(output)
        });
        assert_eq!(telling.await.unwrap(), "done");
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
        let _ = self.child.lock().unwrap().wait();
    }
}
