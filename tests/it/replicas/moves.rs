//! A store moves to another database as an operator moves it, with settles open and callers that
//! repeat: from SQLite to PostgreSQL and back.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use settlement_gateway::proto::v1::SettleState;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::Code;

use super::fleet::{Client, Fleet, LEASE, Mode};
use crate::harness::{SECRET, assert_create_error, create_request, number, within};
use crate::kills::callers::{Market, caller};
use crate::kills::douyin;
use crate::kills::ledger::Ledger;
use crate::process::{Process, Setting, database};

const CALLERS: usize = 30;
const PATIENCE: Duration = Duration::from_secs(120);

/// Graces that fit those of the fleet, so that what is in doubt ends in a test.
fn setting() -> Setting {
    let douyin = "connect_timeout_ms = 500\nattempt_timeout_ms = 700\ncall_timeout_ms = 1500\n\
                  pause_max_ms = 1000\n";
    let more = "requests_per_second = 10_000\nrequests_in_flight = 1_000\n";
    Setting { douyin: douyin.to_owned(), more: more.to_owned(), ..Setting::default() }
}

pub(super) fn gateway(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_settlement-gateway"));
    command.args(arguments).arg("--config").arg(config).env("TEST_SECRET", SECRET);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn ran(arguments: &[&str], config: &Path) -> Output {
    within(arguments[0], gateway(arguments, config).output()).await.unwrap()
}

/// Runs a command that must succeed.
async fn done(arguments: &[&str], config: &Path) -> String {
    let Output { status, stdout, stderr } = ran(arguments, config).await;
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// Runs a command that must be refused.
async fn refused(arguments: &[&str], config: &Path, word: &str) {
    let Output { status, stderr, .. } = ran(arguments, config).await;
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(word), "{word:?} is missing: {said}");
}

/// Callers with intents, at whatever gateways serve.
struct Trade {
    ledger: Arc<Ledger>,
    serving: watch::Sender<Vec<Client>>,
    closing: watch::Sender<bool>,
    callers: JoinSet<()>,
}

impl Trade {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ledger = Arc::new(Ledger::default());
        let (serving, closing) = (watch::Sender::new(Vec::new()), watch::Sender::new(false));
        let market = Market {
            ledger: Arc::clone(&ledger),
            gateways: serving.subscribe(),
            closing: closing.subscribe(),
            watchers: Arc::new(Semaphore::new(CALLERS)),
        };
        let callers = (0..CALLERS).map(|_| caller(market.clone(), rng.fork())).collect();
        Self { ledger, serving, closing, callers }
    }

    fn goes_to(&self, clients: Vec<Client>) {
        self.serving.send_replace(clients);
    }

    /// Until so much was begun that settles are in every state.
    async fn goes_on(&self) {
        let begun = || self.ledger.open().intents.len();
        let enough = begun() + 2 * CALLERS;
        let trading = async {
            while begun() < enough {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("trade", trading).await;
    }

    /// Every intent is paid, once, and all that was told is true.
    async fn end(mut self, fleet: &Fleet) {
        fleet.sim.set_faults_per_10_000(0);
        self.closing.send_replace(true);
        let finished = async {
            while let Some(ended) = self.callers.join_next().await {
                ended.expect("a caller saw what must not be");
            }
        };
        let finished = tokio::time::timeout(PATIENCE, finished).await;
        let (ledger, books) = (self.ledger.open(), fleet.sim.books());
        assert!(finished.is_ok(), "after {PATIENCE:?}: {} unpaid", ledger.unpaid());
        ledger.assert_true(&books);
        ledger.assert_all_paid(&books);
        println!("{} intents, {} sends", ledger.intents.len(), books.creates_total());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_to_postgres_and_back_while_callers_repeat_and_each_intent_is_paid_once() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let fleet = Fleet::with(Mode::Whole, |config| *config = douyin(seed)).await;
    let (dir, to) = (TempDir::new().unwrap(), fleet.configuration());
    let trade = Trade::begin(seed);
    let before = Process::start(&fleet.sim, dir.path(), setting()).await;
    let from = dir.path().join("gateway.toml");
    trade.goes_to(vec![before.client.clone()]);
    trade.goes_on().await;
    let file = dir.path().join("settles.ndjson");
    let name = file.to_str().unwrap();
    refused(&["export", name], &from, "in use by another gateway").await;
    assert!(!file.exists(), "what is of no use is removed");
    // What is on its way stays open.
    before.signal("KILL").await;
    trade.goes_to(Vec::new());
    before.ended().await;

    let said = done(&["export", name], &from).await;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let lines = std::fs::read_to_string(&file).unwrap();
    let settles = lines.lines().count() - 2;
    let store = rusqlite::Connection::open(database(dir.path())).unwrap();
    let token = store.query_row("SELECT access_token FROM token", [], |row| row.get(0));
    assert_has_none(&lines, token.unwrap());
    assert!(said.contains(&format!("all {settles} settles")), "{said}");
    refused(&["export", name], &from, "File exists").await;
    refused(&["serve"], &from, "moved to another store").await;
    assert!(done(&["import", name], &to).await.contains(&format!("all {settles} settles")));
    refused(&["import", name], &to, "has settles already").await;
    let open = "SELECT count(*)::text FROM settle WHERE state IN ('SUBMITTING', 'PROCESSING')";
    let open = fleet.database.text(open).await.unwrap();
    println!("moved {settles} settles in {} bytes, {open} of them open", lines.len());
    assert_ne!(open, "0");

    let replicas = fleet.start_all(2).await;
    trade.goes_to(replicas.iter().map(|replica| replica.client.clone()).collect());
    trade.goes_on().await;

    // And back, with replicas that are not stopped before.
    let back = dir.path().join("back.ndjson");
    done(&["export", back.to_str().unwrap()], &to).await;
    let token = fleet.database.text("SELECT access_token FROM token").await;
    assert_has_none(&std::fs::read_to_string(&back).unwrap(), token.unwrap());
    for replica in &replicas {
        let number = number("away");
        let created = replica.create(create_request(&number), LEASE).await;
        let words = (Code::Unavailable, "STORE_UNAVAILABLE", "not_sent");
        assert_create_error(&created.unwrap_err(), words.0, words.1, words.2);
        assert_eq!(fleet.sim.books().sends(&number), 0);
        let unready = async {
            while reqwest::get(format!("{}/readyz", replica.admin_url)).await.unwrap().status()
                == 200
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("the replica to notice", unready).await;
    }
    refused(&["serve"], &to, "moved to another store").await;
    let other = TempDir::new().unwrap();
    let after = Process::start(&fleet.sim, other.path(), setting()).await;
    after.signal("TERM").await;
    assert!(after.ended().await.0.success());
    let last = other.path().join("gateway.toml");
    done(&["import", back.to_str().unwrap()], &last).await;
    let after = Process::start_as_it_is(&fleet.sim, other.path(), setting()).await;
    trade.goes_to(vec![after.client.clone()]);
    trade.goes_on().await;
    trade.end(&fleet).await;
}

fn assert_has_none(exported: &str, token: String) {
    assert!(token.len() > 8 && !exported.contains(&token), "the file has {token}");
}

/// Nothing but what the import has read so far comes out of this file.
pub(super) async fn pipe(dir: &Path) -> PathBuf {
    let pipe = dir.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    pipe
}

/// The mark in a SQLite database, or else in that of the fleet.
async fn mark(database: Option<&Path>, fleet: &Fleet) -> Option<String> {
    match database {
        Some(database) => {
            let connection = rusqlite::Connection::open(database).unwrap();
            connection.query_row("SELECT closed FROM generation", [], |row| row.get(0)).unwrap()
        }
        None => fleet.database.text("SELECT closed FROM store_state").await,
    }
}

pub(super) async fn until_importing(database: Option<&Path>, fleet: &Fleet) {
    let marked = async {
        while mark(database, fleet).await.as_deref() != Some("IMPORTING") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the mark", marked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_leaves_a_closed_and_empty_store_that_takes_the_import_again() {
    let fleet = Fleet::new(Mode::Whole).await;
    let dir = TempDir::new().unwrap();
    let before = Process::start(&fleet.sim, dir.path(), setting()).await;
    let numbers: Vec<String> = (0..3).map(|_| number("moves")).collect();
    for number in &numbers {
        before.create(create_request(number)).await.unwrap();
    }
    before.signal("TERM").await;
    assert!(before.ended().await.0.success());
    let from = dir.path().join("gateway.toml");
    let file = dir.path().join("settles.ndjson");
    done(&["export", file.to_str().unwrap()], &from).await;
    let text = std::fs::read(&file).unwrap();

    let sqlite = TempDir::new().unwrap();
    let there = Process::start(&fleet.sim, sqlite.path(), setting()).await;
    there.signal("TERM").await;
    assert!(there.ended().await.0.success());
    for (config, database) in [
        (sqlite.path().join("gateway.toml"), Some(database(sqlite.path()))),
        (fleet.configuration(), None),
    ] {
        let pipe = pipe(dir.path()).await;
        let mut import = gateway(&["import", pipe.to_str().unwrap()], &config).spawn().unwrap();
        let half = text[..text.len() / 2].to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            let mut end = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            end.write_all(&half).unwrap();
            (end, pipe)
        });
        let (end, pipe) = within("the import to begin", writer).await.unwrap();
        // Its database is marked before it waits for the rest.
        until_importing(database.as_deref(), &fleet).await;
        import.kill().await.unwrap();
        drop(end);
        std::fs::remove_file(pipe).unwrap();
        refused(&["serve"], &config, "has not run to its end").await;
        refused(&["export", "/nowhere/file"], &config, "cannot make /nowhere/file").await;
        let other = dir.path().join("other");
        refused(&["export", other.to_str().unwrap()], &config, "has not run to its end").await;
        done(&["import", file.to_str().unwrap()], &config).await;
    }
    let replica = fleet.start(0).await;
    let commits = replica.metric("settlement_store_commit_duration_seconds_count").await;
    assert!(commits > Some(0.0), "{commits:?}");
    for number in &numbers {
        assert_eq!(replica.end(number).await.state(), SettleState::Succeeded);
        fleet.assert_paid_once(number);
    }
}
