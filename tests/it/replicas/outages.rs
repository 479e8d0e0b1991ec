//! The database goes away, and comes back.

use std::time::Duration;

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;

use super::fleet::{Fleet, MODES};
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
    for mode in MODES {
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
                let status = replicas[1].create(create_request(&number), deadline).await;
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
            within("creates to go on", recovering).await;
            for number in [&before, &after] {
                for replica in &replicas {
                    assert_eq!(replica.end(number).await.state(), SettleState::Succeeded);
                }
                fleet.assert_paid_once(number);
            }
        }
    }
}

/// It is retried for as long as the lease runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_recorded_when_the_database_is_back() {
    for mode in MODES {
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
    }
}
