//! A replica dies or stands still in the middle of a create: another one finishes it.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;
use tokio::task::JoinSet;

use super::fleet::{As, CLAIM_INTERVAL, Fleet, LEASE, MODES, Mode, Replica, in_each_mode};
use crate::harness::{create_request, number, within};

/// Where the create is when its replica dies.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The settle is durable, and nothing has left the machine.
    Recorded,
    /// The send is on its way.
    Sent,
    /// Douyin has taken it, and its answer never leaves.
    Taken,
    /// The answer has come, and the database is away.
    Answered,
    /// The answer is recorded, and told.
    Accepted,
}

async fn create_until(fleet: &Fleet, dies: &Replica, phase: Phase, number: &str) -> Option<Gate> {
    let mut gate = None;
    match phase {
        // The first send needs a token, and the token does not come.
        Phase::Recorded => fleet.sim.script_token(vec![Script::Hang]),
        Phase::Sent | Phase::Answered => {
            let held = Gate::new();
            fleet.sim.script(number, vec![Script::Hold(held.clone())]);
            gate = Some(held);
        }
        Phase::Taken => fleet.sim.script(number, vec![Script::apply_then(Script::Hang)]),
        Phase::Accepted => {
            dies.create(create_request(number), LEASE).await.unwrap();
            return None;
        }
    }
    dies.create_unheard(create_request(number));
    match phase {
        Phase::Recorded => {
            within("the call", fleet.sim.until(|books| books.token_calls_total() == 1)).await;
        }
        Phase::Sent => within("the send", gate.as_ref().unwrap().arrived()).await,
        Phase::Taken => {
            within("the effect", fleet.sim.until(|books| books.only(number).is_some())).await;
        }
        Phase::Answered => {
            let held = gate.take().unwrap();
            within("the send", held.arrived()).await;
            fleet.database.stop().await;
            held.open();
            within("the effect", fleet.sim.until(|books| books.only(number).is_some())).await;
            // It tries to record the answer.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Phase::Accepted => {}
    }
    gate
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_phase_of_a_create_another_replica_finishes_it() {
    use Phase::{Accepted, Answered, Recorded, Sent, Taken};
    for mode in MODES {
        let mut plays = JoinSet::new();
        for phase in [Recorded, Sent, Taken, Answered, Accepted] {
            plays.spawn(killed_in(phase, mode));
        }
        plays.join_all().await;
    }
}

async fn killed_in(phase: Phase, mode: Mode) {
    let fleet = Fleet::new(mode).await;
    let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
    let number = number("dies");
    let gate = create_until(&fleet, &dies, phase, &number).await;
    dies.kill().await;
    if let Phase::Answered = phase {
        fleet.database.resume().await;
    }
    let died = Instant::now();
    // The old send is taken only now, while the other replica is about to take over.
    if let Some(gate) = gate {
        gate.open();
    }
    let taken_over = async {
        while !lives.get(&number).await.is_ok_and(|it| it.state() != SettleState::Submitting) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("another replica to take over", taken_over).await;
    println!("{mode:?}, killed when {phase:?}: taken over after {:?}", died.elapsed());
    // And some calls to Douyin.
    let most = LEASE + CLAIM_INTERVAL + Duration::from_secs(4);
    assert!(died.elapsed() < most, "{:?}", died.elapsed());
    assert_eq!(lives.end(&number).await.state(), SettleState::Succeeded);
    fleet.assert_paid_once(&number);
}

/// The server may still commit it, or not: only the caller's repeat tells.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_insert_waits_the_repeat_at_another_replica_is_true() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
        let number = number("inserting");
        let locked = fleet.database.lock("EXCLUSIVE").await;
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

/// The fence holds: what it believes to be its own by then is another replica's.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_past_its_lease_and_woken_up_a_replica_changes_nothing() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (frozen, lives) = (fleet.start(0).await, fleet.start(1).await);
        let number = number("frozen");
        let gate = create_until(&fleet, &frozen, Phase::Sent, &number).await.unwrap();
        frozen.freeze();
        gate.open();
        assert_eq!(lives.end(&number).await.state(), SettleState::Succeeded);
        frozen.thaw();
        // Its answer came in while it stood still; and it is one of two again.
        frozen.until_metric("settlement_replicas", 2.0).await;
        let settle = within("it to answer", frozen.get(&number)).await.unwrap();
        assert_eq!(settle.state(), SettleState::Succeeded);
        fleet.assert_paid_once(&number);
        let after = crate::harness::number("after");
        let created = frozen.create(create_request(&after), LEASE).await;
        assert!(created.is_ok(), "{created:?}");
    })
    .await;
}

/// The permission that it was about to use is over by the time of its machine.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_with_a_permission_and_woken_up_a_replica_sends_nothing() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let (frozen, lives) = (fleet.start(0).await, fleet.start(1).await);
        let (number, token) = (number("late"), Gate::new());
        fleet.sim.script_token(vec![Script::Hold(token.clone())]);
        frozen.create_unheard(create_request(&number));
        within("the call for a token", token.arrived()).await;
        frozen.freeze();
        assert_eq!(lives.end(&number).await.state(), SettleState::Succeeded);
        let sends = fleet.sim.books().sends(&number);
        token.open();
        frozen.thaw();
        frozen.until_metric("settlement_replicas", 2.0).await;
        let settle = within("it to answer", frozen.get(&number)).await.unwrap();
        assert_eq!(settle.state(), SettleState::Succeeded);
        assert_eq!(fleet.sim.books().sends(&number), sends);
        fleet.assert_paid_once(&number);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_part_of_a_dead_replica_comes_back() {
    let fleet = Fleet::new(Mode::Whole).await;
    let (dies, lives) = (fleet.start(0).await, fleet.start(1).await);
    lives.until_metric("settlement_replicas", 2.0).await;
    dies.until_metric("settlement_replicas", 2.0).await;
    dies.kill().await;
    let took = lives.until_metric("settlement_replicas", 1.0).await;
    println!("its part came back after {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_other_settings_prove_nothing_until_they_agree() {
    let fleet = Fleet::new(Mode::Whole).await;
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
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(one.get(&number).await.unwrap().state(), SettleState::Submitting);
    for number in [0, 1] {
        let said = fleet.said(number);
        assert_eq!(said.matches("other settings on which money hangs").count(), 1, "{said}");
    }
    other.stop().await;
    one.until_metric("settlement_replicas_disagree", 0.0).await;
    assert_eq!(one.end(&number).await.state(), SettleState::Rejected);
}
