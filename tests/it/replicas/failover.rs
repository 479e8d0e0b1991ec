//! The server dies in the middle of sends, and an asynchronous standby takes over that lacks its
//! last commits: what callers were told since is gone from the database, and stays true.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script, Status};
use fastrand::Rng;
use settlement_gateway::proto::v1::{ReturnWhen, SettleState};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::database::connect;
use super::fleet::{Client, Fleet, Mode, Replica, in_each_mode};
use crate::harness::{create_request, details, number, within};
use crate::kills::douyin;
use crate::kills::ledger::{End, Ledger};

const DEADLINE: Duration = Duration::from_secs(10);

impl Fleet {
    /// Waits until the standby has so many settles.
    async fn until_followed(&self, settles: i64) {
        let standby = connect(&self.database.standby()).await;
        let following = async {
            loop {
                let row = standby.query_one("SELECT count(*) FROM settle", &[]).await.unwrap();
                if row.get::<_, i64>(0) >= settles {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the standby to follow", following).await;
    }

    async fn fail_over(&self) {
        self.database.kill().await;
        self.database.promote_standby().await;
    }
}

/// Repeats a create, now here and now there, as long as nothing definite is told.
async fn repeat(replicas: &[Replica], number: &str) -> SettleState {
    let repeating = async {
        for replica in replicas.iter().cycle() {
            match replica.create(create_request(number), DEADLINE).await {
                Ok(settle) => return settle.state(),
                Err(status) => {
                    let outcome = &details(&status).info.metadata["outcome"];
                    assert_ne!(outcome, "refused", "{number}: {status:?}");
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        unreachable!("there are replicas")
    };
    within(&format!("the repeats of {number}"), repeating).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_commits_makes_no_gateway_pay_again() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        fleet.database.follow().await;
        let replicas = fleet.start_all(2).await;
        // Recorded, with a permission to send, and not sent: the token does not come.
        let token = Gate::new();
        fleet.sim.script_token(vec![Script::Hold(token.clone())]);
        let (accepted, refused) = (number("accepted"), number("refused"));
        // Only once: a second send would pay.
        fleet.sim.script(&refused, vec![Script::Refuse(23_102)]);
        let accepting = replicas[0].creating(create_request(&accepted), DEADLINE);
        let refusing = replicas[1].creating(create_request(&refused), DEADLINE);
        let cut = async {
            fleet.until_followed(2).await;
            fleet.database.cut_off_standby().await;
            token.open();
        };
        let (accepting, refusing, ()) = tokio::join!(accepting, refusing, cut);
        assert_ne!(accepting.unwrap().state(), SettleState::Submitting);
        let status = refusing.unwrap_err();
        assert_eq!(details(&status).info.metadata["outcome"], "refused", "{status:?}");

        // What comes now is lost. The caller of the refused one pays under another number.
        let (instead, held, gate) = (number("instead"), number("held"), Gate::new());
        let paid = replicas[0].create(create_request(&instead), DEADLINE).await.unwrap();
        assert_ne!(paid.state(), SettleState::Submitting);
        fleet.sim.script(&held, vec![Script::Hold(gate.clone())]);
        replicas[1].create_unheard(create_request(&held));
        within("the send to arrive", gate.arrived()).await;
        fleet.fail_over().await;
        gate.open();

        for number in [&accepted, &instead, &held] {
            assert_ne!(repeat(&replicas, number).await, SettleState::Submitting, "{number}");
            for replica in &replicas {
                assert_eq!(replica.end(number).await.state(), SettleState::Succeeded, "{number}");
            }
            fleet.assert_paid_once(number);
        }
        // It is open again, and no gateway sends it.
        assert_eq!(replicas[0].end(&refused).await.state(), SettleState::Rejected);
        let books = fleet.sim.books();
        assert_eq!((books.sends(&refused), books.under(&refused).len()), (1, 0));
        let said = [0, 1].map(|number| fleet.said(number)).concat();
        let begun = "the database may lack commits that were acknowledged";
        assert_eq!(said.matches(begun).count(), 1, "{said}");
    })
    .await;
}

const CALLERS: usize = 60;
const REPLICAS: usize = 3;
/// How long everything may take to end after the failover.
const PATIENCE: Duration = Duration::from_secs(120);

/// Callers that obey the contract, each with one payment after the other.
struct Market {
    ledger: Ledger,
    replicas: Vec<Client>,
    closing: watch::Receiver<bool>,
}

impl Market {
    async fn caller(self: Arc<Self>, mut rng: Rng) {
        while !*self.closing.borrow() {
            let orders = ["order", "order", "order", "sim-fail", "sim-err-23102", "sim-lost"];
            let intent = self.ledger.open().intend(orders[rng.usize(..orders.len())]);
            while !self.is_paid(intent) {
                self.try_once(intent, &mut rng).await;
                tokio::time::sleep(Duration::from_millis(rng.u64(5..100))).await;
            }
        }
    }

    /// Goes on to another number if this one has ended without a payment.
    fn is_paid(&self, intent: usize) -> bool {
        let mut ledger = self.ledger.open();
        match ledger.current(intent).told.end() {
            Some(End::Succeeded) => ledger.intents[intent].paid = true,
            Some(End::Failed | End::Refused) => ledger.attempt(intent, "order"),
            None => {}
        }
        ledger.intents[intent].paid
    }

    async fn try_once(&self, intent: usize, rng: &mut Rng) {
        let mut request = self.ledger.open().current(intent).request.clone();
        request.set_return_when([ReturnWhen::Accepted, ReturnWhen::Final][rng.usize(..2)]);
        let number = request.out_settle_no.clone();
        let mut call = tonic::Request::new(request);
        call.set_timeout(Duration::from_millis(rng.u64(300..3_000)));
        let mut client = self.replicas[rng.usize(..self.replicas.len())].clone();
        match client.create_settle(call).await {
            Ok(answer) => self.ledger.open().shown(&answer.into_inner().settle.unwrap()),
            Err(status) if status.details().is_empty() => {}
            Err(status) => match details(&status).info.metadata["outcome"].as_str() {
                "refused" => self.ledger.open().refused(&number),
                "not_sent" | "unknown" => {}
                other => panic!("the outcome {other} is none: {status:?}"),
            },
        }
    }
}

/// `FAILOVERS=20 KILL_SEED=7 cargo test --test it replicas::failover -- --nocapture`
#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_failover_that_loses_commits_pays_no_intent_twice_and_makes_no_word_untrue() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seed: u64 = number("KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for run in 0..number("FAILOVERS").unwrap_or(1) {
        fail_over_under_load(seed + run).await;
    }
}

async fn fail_over_under_load(seed: u64) {
    let mode = if seed.is_multiple_of(2) { Mode::Whole } else { Mode::Plain };
    println!("KILL_SEED={seed} {mode:?}");
    let (began, mut rng) = (Instant::now(), Rng::with_seed(seed));
    let fleet = Fleet::with(mode, |config| *config = douyin(seed)).await;
    fleet.database.follow().await;
    let replicas = fleet.start_all(REPLICAS).await;
    fleet.calls_back(&replicas[rng.usize(..REPLICAS)]);
    let closing = watch::Sender::new(false);
    let market = Arc::new(Market {
        ledger: Ledger::default(),
        replicas: replicas.iter().map(|replica| replica.client.clone()).collect(),
        closing: closing.subscribe(),
    });
    market.ledger.open().forgets = true;
    let mut callers: JoinSet<()> =
        (0..CALLERS).map(|_| Arc::clone(&market).caller(rng.fork())).collect();
    let mut some = async || tokio::time::sleep(Duration::from_millis(rng.u64(300..2_000))).await;
    some().await;
    fleet.database.cut_off_standby().await;
    some().await;
    fleet.fail_over().await;
    some().await;
    fleet.sim.set_faults_per_10_000(0);
    closing.send_replace(true);
    let finished = async {
        while let Some(done) = callers.join_next().await {
            done.expect("a caller saw what must not be");
        }
    };
    let finished = tokio::time::timeout(PATIENCE, finished).await;
    assert!(finished.is_ok(), "after {PATIENCE:?}: {} unpaid", market.ledger.open().unpaid());
    let books = fleet.sim.books();
    market.ledger.open().assert_true(&books);
    market.ledger.open().assert_all_paid(&books);
    // Any number that is asked for shows how it ended at Douyin, also if its record is gone.
    let numbers: BTreeSet<&String> = books.settles.iter().map(|it| &it.out_settle_no).collect();
    let mut ends = JoinSet::new();
    for (number, replica) in numbers.iter().zip(replicas.iter().cycle()) {
        let ending = replica.ending(number);
        let is_paid = books.under(number).iter().any(|settle| settle.status == Status::Success);
        ends.spawn(async move {
            let told = ending.await;
            assert_eq!(told.state() == SettleState::Succeeded, is_paid, "{told:?}");
        });
    }
    let numbers = ends.join_all().await.len();
    println!("{numbers} numbers, {} sends in {:.0?}", books.creates_total(), began.elapsed());
}
