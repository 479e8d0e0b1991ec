//! The process dies (SIGKILL) at random moments under load, again and again, on real files and
//! sockets, with callbacks on and a Douyin with drawn habits and weather. After each kill the
//! simulator's books are compared with everything that callers were told.
//!
//! ```text
//! KILLS=500 KILL_SEED=7 cargo test --test it kills::on_sqlite -- --nocapture
//! KILLS=200 KILL_SEED=7 cargo test --test it kills::on_postgresql -- --nocapture
//! ```
//!
//! The seed fixes what is drawn, not the moment at which a kill meets a write: a failing seed is
//! likely to fail again, and not certain to.

pub mod callers;
pub mod ledger;
mod victim;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use douyin_sim::{Choices, SimApp, SimConfig, Simulator, Snapshot, Status};
use fastrand::Rng;
use settlement_gateway::proto::v1::{self, SettleState};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::harness::{APP_ID, SECRET};
use crate::replicas::database::Database;
use callers::{Market, caller};
use ledger::{LATELY, Ledger};
use victim::{Backend, Client, Files};

const CALLERS: usize = 6;
const WATCHERS_MAX: usize = 64;
/// How long everything may take to end after the last kill.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_nothing_is_lost_or_paid_twice_and_all_that_was_told_is_true() {
    play(Backend::Sqlite, 20).await;
}

/// What a dead process worked on waits for its lease, so fewer kills take as long.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_nothing_is_lost_or_paid_twice_and_all_that_was_told_is_true() {
    play(Backend::Postgres(Database::start().await), 10).await;
}

async fn play(backend: Backend, kills: usize) {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty());
        text.map(|text| text.parse::<u64>().expect("a number"))
    };
    let kills = number("KILLS").map_or(kills, |kills| usize::try_from(kills).expect("it fits"));
    let seed = number("KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("KILLS={kills} KILL_SEED={seed} {}", backend.name());
    let began = Instant::now();
    let mut run = Run::begin(seed, backend).await;
    for _ in 0..kills {
        run.live_and_die().await;
    }
    run.end().await;
    println!("{} in {:.0?}", run.figures(), began.elapsed());
}

struct Run {
    rng: Rng,
    sim: Simulator,
    files: Files,
    ledger: Arc<Ledger>,
    serving: watch::Sender<Vec<Client>>,
    closing: watch::Sender<bool>,
    callers: JoinSet<()>,
    /// The callbacks that were looked at.
    heard: HashSet<u64>,
    kills: usize,
    _dir: KeptOnFailure,
}

impl Run {
    async fn begin(seed: u64, backend: Backend) -> Self {
        let mut rng = Rng::with_seed(seed);
        let sim = Simulator::start(douyin(seed)).await.expect("a loopback port is free");
        let dir = TempDir::new().expect("the machine has a temporary folder");
        let files = Files::write(dir.path(), backend, &sim);
        let ledger = Arc::new(Ledger::default());
        let serving = watch::Sender::new(Vec::new());
        let closing = watch::Sender::new(false);
        let market = Market {
            ledger: Arc::clone(&ledger),
            gateways: serving.subscribe(),
            closing: closing.subscribe(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        };
        let callers = (0..CALLERS).map(|_| caller(market.clone(), rng.fork())).collect();
        Self {
            rng,
            sim,
            files,
            ledger,
            serving,
            closing,
            callers,
            heard: HashSet::new(),
            kills: 0,
            _dir: KeptOnFailure(Some(dir)),
        }
    }

    /// One process from its start to its kill, and what must be true then.
    async fn live_and_die(&mut self) {
        let mut victim = self.files.launch();
        if self.rng.u8(..10) == 0 {
            // It dies while it opens its files or takes up what the one before left.
            sleep_ms(self.rng.u64(..150)).await;
        } else {
            let client = self.serve(&mut victim).await;
            if self.rng.bool() {
                let told = self.ledger.open().told_lately();
                self.assert_durable(&client, told).await;
            }
            // Long enough now and then for what waits for a grace to be proven.
            let life_ms = match self.rng.u8(..20) {
                0 => self.rng.u64(..5_000),
                1..=3 => self.rng.u64(..1_500),
                _ => self.rng.u64(..300),
            };
            sleep_ms(life_ms).await;
        }
        victim.kill().await;
        self.serving.send_replace(Vec::new());
        self.kills += 1;
        self.assert_books();
    }

    async fn serve(&mut self, victim: &mut victim::Victim) -> Client {
        let now = victim.serving().await;
        self.sim.set_callback_url(APP_ID, Some(&now.callback_url));
        self.serving.send_replace(vec![now.client.clone()]);
        now.client
    }

    /// What was told before the kill.
    fn assert_books(&mut self) {
        while let Some(done) = self.callers.try_join_next() {
            done.expect("a caller saw what must not be");
        }
        // First what was told, then the books: what was told is in them.
        let ledger = self.ledger.open();
        ledger.assert_true(&self.sim.books());
    }

    /// What was told or acknowledged before the kill is there after it, as new as it was.
    async fn assert_durable(&mut self, client: &Client, told: BTreeMap<String, i64>) {
        let heard = self.acknowledged_lately(&self.sim.books());
        for (number, revision) in &told {
            let settle = self.get(client, number).await;
            assert!(settle.revision >= *revision, "{number}: {revision} was told; {settle:?}");
        }
        for number in heard {
            let settle = self.get(client, &number).await;
            let state = settle.state();
            assert_eq!(state, SettleState::Succeeded, "it was acknowledged so: {settle:?}");
        }
    }

    async fn get(&self, client: &Client, number: &str) -> v1::Settle {
        let request = v1::GetSettleRequest {
            app_id: APP_ID.to_owned(),
            key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
            ..Default::default()
        };
        let settle = match client.clone().get_settle(request).await {
            Ok(response) => response.into_inner().settle.expect("OK shows the settle"),
            Err(status) => panic!("{number} was told, and is lost: {status:?}"),
        };
        self.ledger.open().shown(&settle);
        settle
    }

    /// The last numbers whose success the gateway has acknowledged, if they were not asked for
    /// before.
    fn acknowledged_lately(&mut self, books: &Snapshot) -> Vec<String> {
        let fresh = books.callbacks.iter().rev().filter(|callback| callback.is_acknowledged());
        let fresh = fresh.filter(|callback| callback.status == Some(Status::Success));
        let fresh = fresh.take(LATELY).filter(|callback| self.heard.insert(callback.id));
        fresh.map(|callback| callback.out_settle_no.clone()).collect()
    }

    /// The last process lives, in fair weather, until all is final and paid.
    async fn end(&mut self) {
        self.sim.set_faults_per_10_000(0);
        let mut victim = self.files.launch();
        let client = self.serve(&mut victim).await;
        let told = self.ledger.open().told_ever();
        self.assert_durable(&client, told).await;
        self.closing.send_replace(true);
        let finished = async {
            while let Some(done) = self.callers.join_next().await {
                done.expect("a caller saw what must not be");
            }
        };
        let finished = tokio::time::timeout(PATIENCE, finished).await;
        assert!(finished.is_ok(), "after {PATIENCE:?}: {} unpaid", self.ledger.open().unpaid());
        self.assert_books();
        self.ledger.open().assert_all_paid(&self.sim.books());
        victim.kill().await;
        let log = std::fs::read_to_string(self.files.log()).expect("it logged");
        assert_eq!(log, "", "a process logged an error");
    }

    fn figures(&self) -> String {
        let books = self.sim.books();
        format!(
            "{} kills: {} intents paid with {} settles and {} sends, {} callbacks of {} \
             acknowledged",
            self.kills,
            self.ledger.open().intents.len(),
            books.settles.len(),
            books.creates_total(),
            books.callbacks.iter().filter(|callback| callback.is_acknowledged()).count(),
            books.callbacks.len(),
        )
    }
}

/// A Douyin with drawn habits and weather, and times that a test can wait for.
pub fn douyin(seed: u64) -> SimConfig {
    let mut choices = Choices::from_seed(seed);
    choices.visible_after_ms = choices.visible_after_ms.min(300);
    // A FAIL that turns into SUCCESS after its caller went on is Douyin's mistake, and no gateway
    // can prevent it.
    choices.fail_turns_success_after_ms = None;
    let mut config = SimConfig::loopback(seed, vec![SimApp::new(APP_ID, SECRET)]);
    config.choices = choices;
    config.processing_ms = 150;
    config.faults_per_10_000 = 800;
    config.late_ms_max = 500;
    config
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A folder that a failed test leaves behind, to be looked at.
struct KeptOnFailure(Option<TempDir>);

impl Drop for KeptOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.0.take()
        {
            println!("what the processes left is in {}", dir.keep().display());
        }
    }
}
