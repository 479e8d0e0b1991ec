//! The database goes away, and comes back.

use std::time::{Duration, Instant};

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;
use tokio::task::JoinSet;

use super::fleet::{As, Fleet, LEASE, Mode, in_each_mode};
use super::proxy::Proxy;
use crate::harness::{create_request, details, number, within};

/// How the database goes away.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Stopped,
    Killed,
    /// Only its sessions end.
    Terminated,
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nothing_is_sent_and_afterwards_all_goes_on() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        for outage in [Outage::Terminated, Outage::Stopped, Outage::Killed] {
            let before = number("before");
            let deadline = Duration::from_secs(10);
            let created = replicas[0].create(create_request(&before), deadline).await.unwrap();
            assert_ne!(created.state(), SettleState::Submitting);
            match outage {
                Outage::Terminated => fleet.database.terminate_sessions().await,
                Outage::Stopped => fleet.database.stop().await,
                Outage::Killed => fleet.database.kill().await,
            }
            if !matches!(outage, Outage::Terminated) {
                let number = number("away");
                let creating = replicas[1].create(create_request(&number), deadline);
                let (status, ()) = tokio::join!(creating, replicas[0].until_ready(false));
                let status = status.unwrap_err();
                let info = details(&status).info;
                assert_eq!(info.metadata["outcome"], "not_sent", "{outage:?}: {status:?}");
                assert_eq!(info.reason, "STORE_UNAVAILABLE", "{outage:?}: {status:?}");
                assert_eq!(fleet.sim.books().sends(&number), 0);
                fleet.database.resume().await;
            }
            let after = number("after");
            let recovering = async {
                loop {
                    let created = replicas[1].create(create_request(&after), deadline).await;
                    if created.is_ok() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let recovering = within("creates to go on", recovering);
            tokio::join!(recovering, replicas[0].until_ready(true));
            for number in [&before, &after] {
                for replica in &replicas {
                    assert_eq!(replica.end(number).await.state(), SettleState::Succeeded);
                }
                fleet.assert_paid_once(number);
            }
        }
    })
    .await;
}

/// It is retried for as long as the lease runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_recorded_when_the_database_is_back() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replica = fleet.start(0).await;
        let (number, gate) = (number("answered"), Gate::new());
        fleet.sim.script(&number, vec![Script::Hold(gate.clone())]);
        let creating = replica.create(create_request(&number), Duration::from_secs(10));
        let away = async {
            within("the send to arrive", gate.arrived()).await;
            fleet.database.stop().await;
            gate.open();
            within("the effect", fleet.sim.until(|books| books.only(&number).is_some())).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            fleet.database.resume().await;
        };
        let (created, ()) = tokio::join!(creating, away);
        assert_ne!(created.unwrap().state(), SettleState::Submitting);
        assert_eq!(replica.end(&number).await.state(), SettleState::Succeeded);
        fleet.assert_paid_once(&number);
    })
    .await;
}

/// Then only a query tells.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_while_the_lease_runs_is_found_again_by_a_query() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replica = fleet.start(0).await;
        let (number, gate) = (number("answered"), Gate::new());
        fleet.sim.script(&number, vec![Script::Hold(gate.clone())]);
        let creating = replica.create(create_request(&number), LEASE);
        let away = async {
            within("the send to arrive", gate.arrived()).await;
            fleet.database.stop().await;
            gate.open();
            within("the effect", fleet.sim.until(|books| books.only(&number).is_some())).await;
            tokio::time::sleep(LEASE).await;
            fleet.database.resume().await;
        };
        let (created, ()) = tokio::join!(creating, away);
        let status = created.unwrap_err();
        assert_eq!(details(&status).info.metadata["outcome"], "unknown", "{status:?}");
        assert_eq!(replica.end(&number).await.state(), SettleState::Succeeded);
        fleet.assert_paid_once(&number);
        assert_eq!(fleet.sim.books().sends(&number), 1, "it is not sent again");
    })
    .await;
}

/// Connections of one gateway (the default of `store.connections_max`).
const CONNECTIONS: usize = 16;
/// How long a gateway may take to notice that its connections lead nowhere.
const NOTICED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_noticed_and_replaced() {
    in_each_mode(lead_nowhere).await;
}

async fn lead_nowhere(mode: Mode) {
    let fleet = Fleet::new(mode).await;
    let proxy = Proxy::before(fleet.database.home()).await;
    let cut_off = fleet.start_as(0, &As { url: Some(proxy.url()), ..As::default() }).await;
    let fine = fleet.start(1).await;
    let deadline = Duration::from_secs(15);
    // All its connections are in use, and idle after that.
    let mut many = JoinSet::new();
    for _ in 0..40 {
        many.spawn(cut_off.creating(create_request(&number("before")), deadline));
    }
    assert!(many.join_all().await.iter().all(Result::is_ok));
    cut_off.until_ready(true).await;
    let (sent, gate) = (number("sent"), Gate::new());
    fleet.sim.script(&sent, vec![Script::Hold(gate.clone())]);
    cut_off.create_unheard(create_request(&sent));
    within("the send to arrive", gate.arrived()).await;

    // Its insert is on its way when that begins, and becomes durable.
    let lock = fleet.database.hold_inserts().await;
    let first = number("first");
    let creating = tokio::spawn(cut_off.creating(create_request(&first), deadline));
    fleet.database.until_waits("INSERT INTO settle").await;
    let swallowed = proxy.swallow().await;
    let began = Instant::now();
    lock.batch_execute("COMMIT").await.unwrap();
    gate.open();
    let status = creating.await.unwrap().unwrap_err();
    assert_eq!(details(&status).info.metadata["outcome"], "unknown", "{status:?}");
    println!("{mode:?}: the create on its way was answered after {:?}", began.elapsed());
    assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
    cut_off.until_ready(false).await;
    println!("{mode:?}: not ready after {:?}", began.elapsed());
    assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
    // As many at once as there were unused connections, of which each would try another one.
    let mut many = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let away = number("away");
        let (began, creating) = (Instant::now(), cut_off.creating(create_request(&away), deadline));
        many.spawn(async move { (away, creating.await.unwrap_err(), began.elapsed()) });
    }
    for (away, status, took) in many.join_all().await {
        let info = details(&status).info;
        assert_eq!(info.metadata["outcome"], "not_sent", "{status:?}");
        assert_eq!(info.reason, "STORE_UNAVAILABLE", "{status:?}");
        assert!(took < Duration::from_secs(6), "{took:?}");
        assert_eq!(fleet.sim.books().sends(&away), 0);
    }
    let beside = number("beside");
    assert!(fine.create(create_request(&beside), deadline).await.is_ok(), "the other goes on");

    drop(swallowed);
    let began = Instant::now();
    cut_off.until_ready(true).await;
    println!("{mode:?}: ready again after {:?}", began.elapsed());
    let after = number("after");
    assert!(cut_off.create(create_request(&after), deadline).await.is_ok());
    assert!(cut_off.create(create_request(&first), deadline).await.is_ok());
    for number in [&sent, &first, &beside, &after] {
        assert_eq!(cut_off.end(number).await.state(), SettleState::Succeeded);
        fleet.assert_paid_once(number);
    }
}
