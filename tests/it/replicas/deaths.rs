//! A replica dies in the middle of a create: another one finishes it.
//!
//! `cargo test --test it replicas::deaths -- --nocapture` tells how long that takes.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;
use settlement_gateway::proto::v1::watch_settle_response::Event;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fleet::{
    As, CLAIM_INTERVAL, Client, Fleet, LEASE, Mode, Replica, in_each_mode, quantiles,
};
use crate::harness::{create_request, number, watch_request, within};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long what a dead replica worked on may wait for another one: its lease, until that one looks
/// for work, and some calls to Douyin.
const TAKEN_OVER: Duration =
    LEASE.saturating_add(CLAIM_INTERVAL).saturating_add(Duration::from_secs(2));

/// Where the create is when its replica dies.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The settle is durable, and nothing has left the machine.
    Recorded,
    /// Douyin has taken it, and its answer never leaves.
    Taken,
    /// The answer has come, and the database is away.
    Answered,
}

async fn create_until(fleet: &Fleet, dies: &Replica, phase: Phase, number: &str) {
    let gate = Gate::new();
    match phase {
        // The first send needs a token, and the token does not come.
        Phase::Recorded => fleet.sim.script_token(vec![Script::Hang]),
        Phase::Taken => fleet.sim.script(number, vec![Script::apply_then(Script::Hang)]),
        Phase::Answered => fleet.sim.script(number, vec![Script::Hold(gate.clone())]),
    }
    dies.create_unheard(create_request(number));
    match phase {
        Phase::Recorded => {
            within("the call", fleet.sim.until(|books| books.token_calls_total() == 1)).await;
        }
        Phase::Taken => {
            within("the effect", fleet.sim.until(|books| books.only(number).is_some())).await;
        }
        Phase::Answered => {
            within("the send", gate.arrived()).await;
            fleet.database.stop().await;
            gate.open();
            within("the effect", fleet.sim.until(|books| books.only(number).is_some())).await;
            // It tries to record the answer.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// How long it takes from now until a worker has brought the settle on, as a watcher of the replica
/// sees it, who comes back if the stream breaks.
async fn taken_over(client: Client, number: String) -> Duration {
    let began = Instant::now();
    let watching = async {
        loop {
            let Ok(watch) = client.clone().watch_settle(watch_request(&number, 0)).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut stream = watch.into_inner();
            while let Ok(Some(message)) = stream.message().await {
                if let Some(Event::Settle(settle)) = message.event
                    && settle.state() != SettleState::Submitting
                {
                    return began.elapsed();
                }
            }
        }
    };
    within("another replica to take over", watching).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_it_has_sent_or_recorded_the_answer_another_replica_finishes_the_create() {
    in_each_mode(|mode| async move {
        let mut plays = JoinSet::new();
        for phase in [Phase::Recorded, Phase::Answered] {
            plays.spawn(killed_in(phase, mode));
        }
        plays.join_all().await;
    })
    .await;
}

async fn killed_in(phase: Phase, mode: Mode) {
    let fleet = Fleet::new(mode).await;
    let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
    let number = number("dies");
    create_until(&fleet, &dies, phase, &number).await;
    dies.kill().await;
    if let Phase::Answered = phase {
        fleet.database.resume().await;
    }
    let took = taken_over(lives.client.clone(), number.clone()).await;
    println!("{mode:?}, killed when {phase:?}: taken over after {took:?}");
    assert!(took < TAKEN_OVER, "{took:?}");
    assert_eq!(lives.end(&number).await.state(), SettleState::Succeeded);
    fleet.assert_paid_once(&number);
}

/// What a replica works on when it dies, and the callers of the other one.
const WORKED_ON: usize = 20;
const CALLERS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn under_load_what_a_dead_replica_has_sent_is_taken_over_in_time_and_finished() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
        let closing = CancellationToken::new();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (client, closing) = (lives.client.clone(), closing.clone());
            callers.spawn(async move {
                let mut creates = 0;
                while !closing.is_cancelled() {
                    let request = create_request(&number("beside"));
                    client.clone().create_settle(request).await.expect("the other one goes on");
                    creates += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                creates
            });
        }
        let accepted = number("accepted");
        dies.create(create_request(&accepted), DEADLINE).await.unwrap();
        // Half of the sends are taken at once, the others when their replica is dead.
        let (mut numbers, gate) = (Vec::new(), Gate::new());
        for place in 0..WORKED_ON {
            let held = [Script::Hold(gate.clone()), Script::apply_then(Script::Hang)];
            numbers.push(number("dies"));
            fleet.sim.script(&numbers[place], vec![held[place % 2].clone(); 2]);
            dies.create_unheard(create_request(&numbers[place]));
        }
        let sent = fleet.sim.until(|books| numbers.iter().all(|number| books.sends(number) > 0));
        within("the sends", sent).await;
        dies.kill().await;
        gate.open();
        let mut times = JoinSet::new();
        for number in &numbers {
            times.spawn(taken_over(lives.client.clone(), number.clone()));
        }
        let (median, most) = quantiles(times.join_all().await);
        closing.cancel();
        let creates: u32 = callers.join_all().await.iter().sum();
        println!(
            "{mode:?}: taken over after {median:?}, at most {most:?}, beside {creates} creates"
        );
        assert!(most < TAKEN_OVER, "{most:?}");
        for number in numbers.iter().chain([&accepted]) {
            assert_eq!(lives.end(number).await.state(), SettleState::Succeeded);
            fleet.assert_paid_once(number);
        }
    })
    .await;
}

/// The server may still commit it, or not: only the caller's repeat tells.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_insert_waits_the_repeat_at_another_replica_is_true() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
        let number = number("inserting");
        let locked = fleet.database.hold_inserts().await;
        dies.create_unheard(create_request(&number));
        fleet.database.until_waits("INSERT INTO settle").await;
        dies.kill().await;
        locked.batch_execute("COMMIT").await.unwrap();
        let repeated = lives.create(create_request(&number), Duration::from_secs(15)).await;
        assert_ne!(repeated.unwrap().state(), SettleState::Submitting);
        assert_eq!(lives.end(&number).await.state(), SettleState::Succeeded);
        fleet.assert_paid_once(&number);
    })
    .await;
}

/// A caller that repeats at another replica waits for the take-over within its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_at_another_replica_outlives_the_death_of_the_first() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
        let number = number("repeats");
        create_until(&fleet, &dies, Phase::Taken, &number).await;
        dies.kill().await;
        let repeated = lives.create(create_request(&number), Duration::from_secs(15)).await;
        assert_ne!(repeated.unwrap().state(), SettleState::Submitting);
        assert_eq!(fleet.sim.books().sends(&number), 1, "found by query, not sent again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_other_settings_prove_nothing_until_they_agree() {
    in_each_mode(other_settings).await;
}

async fn other_settings(mode: Mode) {
    let fleet = Fleet::new(mode).await;
    let one = fleet.start(0).await;
    one.until_metric("settlement_replicas_disagree", 0.0).await;
    let settle = Some("visibility_grace_ms = 500\n");
    let other = fleet.start_as(1, &As { settle, ..As::default() }).await;
    for replica in [&one, &other] {
        replica.until_metric("settlement_replicas_disagree", 1.0).await;
    }
    // Refused after a send without an answer: only an empty query after the grace ends it.
    let number = number("doubt");
    fleet.sim.script(&number, vec![Script::Drop, Script::Refuse(23_102), Script::Refuse(23_102)]);
    let created = other.create(create_request(&number), Duration::from_secs(3)).await;
    assert!(created.is_err(), "{created:?}");
    // Longer than either grace.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(one.get(&number).await.unwrap().state(), SettleState::Submitting);
    for number in [0, 1] {
        let said = fleet.said(number);
        assert_eq!(said.matches("other settings on which money hangs").count(), 1, "{said}");
    }
    other.stop().await;
    one.until_metric("settlement_replicas_disagree", 0.0).await;
    assert_eq!(one.end(&number).await.state(), SettleState::Rejected);
}
