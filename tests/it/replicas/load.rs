//! Three replicas under load, which die at random (SIGKILL), stand still, lose their database and
//! come back, with a Douyin of drawn habits and weather. Then the simulator's books are compared
//! with everything that callers were told.
//!
//! ```text
//! REPLICA_KILLS=200 KILL_SEED=7 cargo test --test it replicas::load -- --nocapture
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::fleet::{Client, Fleet, LEASE, Mode, Replica};
use crate::kills::callers::{Market, caller};
use crate::kills::douyin;
use crate::kills::ledger::Ledger;

const REPLICAS: usize = 3;
const CALLERS: usize = 50 * REPLICAS;
const WATCHERS_MAX: usize = 64;
/// How long everything may take to end after the last kill.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn under_load_and_random_deaths_every_intent_is_paid_once_and_all_that_was_told_is_true() {
    play(Mode::Whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_so_it_is_where_only_compare_and_swap_is_left() {
    play(Mode::Plain).await;
}

async fn play(mode: Mode) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let kills: u64 = number("REPLICA_KILLS").unwrap_or(8);
    let seed: u64 = number("KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("REPLICA_KILLS={kills} KILL_SEED={seed} {mode:?}");
    let (began, mut rng) = (Instant::now(), Rng::with_seed(seed));
    let fleet = Fleet::with(mode, |config| *config = douyin(seed)).await;
    let ledger = Arc::new(Ledger::default());
    let serving = watch::Sender::new(Vec::new());
    let closing = watch::Sender::new(false);
    let market = Market {
        ledger: Arc::clone(&ledger),
        gateways: serving.subscribe(),
        closing: closing.subscribe(),
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
    };
    let mut callers: JoinSet<()> =
        (0..CALLERS).map(|_| caller(market.clone(), rng.fork())).collect();
    let mut replicas: Vec<Option<Replica>> = Vec::new();
    for number in 0..REPLICAS {
        replicas.push(Some(fleet.start(number).await));
    }
    let tell = |replicas: &[Option<Replica>]| {
        let alive = replicas.iter().flatten();
        let clients: Vec<Client> = alive.map(|replica| replica.client.clone()).collect();
        serving.send_replace(clients);
    };
    tell(&replicas);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(..1_500))).await;
        let place = rng.usize(..REPLICAS);
        fleet.calls_back(replicas[(place + 1) % REPLICAS].as_ref().expect("all are alive"));
        let victim = replicas[place].take().expect("all are alive");
        match rng.u8(..8) {
            0 | 1 => {
                victim.freeze().await;
                let past_its_lease = LEASE + Duration::from_millis(rng.u64(..3_000));
                tokio::time::sleep(past_its_lease).await;
                victim.thaw();
                replicas[place] = Some(victim);
            }
            2 => {
                fleet.database.terminate_sessions().await;
                replicas[place] = Some(victim);
            }
            3 => {
                match rng.bool() {
                    true => fleet.database.stop().await,
                    false => fleet.database.kill().await,
                }
                tokio::time::sleep(Duration::from_millis(rng.u64(..3_000))).await;
                fleet.database.resume().await;
                replicas[place] = Some(victim);
            }
            _ => {
                victim.kill().await;
                tell(&replicas);
                tokio::time::sleep(Duration::from_millis(rng.u64(..3_000))).await;
                replicas[place] = Some(fleet.start(place).await);
            }
        }
        tell(&replicas);
        while let Some(done) = callers.try_join_next() {
            done.expect("a caller saw what must not be");
        }
        ledger.open().assert_true(&fleet.sim.books());
    }
    fleet.sim.set_faults_per_10_000(0);
    closing.send_replace(true);
    let finished = async {
        while let Some(done) = callers.join_next().await {
            done.expect("a caller saw what must not be");
        }
    };
    let finished = tokio::time::timeout(PATIENCE, finished).await;
    assert!(finished.is_ok(), "after {PATIENCE:?}: {} unpaid", ledger.open().unpaid());
    let (ledger, books) = (ledger.open(), fleet.sim.books());
    ledger.assert_true(&books);
    ledger.assert_all_paid(&books);
    println!(
        "{} intents paid with {} settles and {} sends in {:.0?}",
        ledger.intents.len(),
        books.settles.len(),
        books.creates_total(),
        began.elapsed()
    );
    for number in 0..REPLICAS {
        let said = fleet.said(number);
        let mut errors = said.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
        // While the database was away.
        let away = "not serving: the store cannot commit";
        assert!(errors.all(|line| line.contains(away)), "{said}");
    }
}
