//! The same number on several replicas at once: one settle, equal answers.

use std::collections::HashSet;
use std::time::Duration;

use douyin_sim::{Gate, Script};
use settlement_gateway::proto::v1::SettleState;

use tokio::task::JoinSet;

use super::fleet::{Fleet, in_each_mode};
use crate::harness::{create_on, create_request, details, number, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_number_created_everywhere_at_once_is_one_settle_with_equal_answers() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(3).await;
        for _ in 0..20 {
            let number = number("together");
            let deadline = Duration::from_secs(10);
            let mut creates = JoinSet::new();
            for replica in replicas.iter().chain(&replicas) {
                let creating = replica.creating(create_request(&number), deadline);
                creates.spawn(creating);
            }
            let answers = creates.join_all().await;
            let ids = answers.into_iter().map(|answer| answer.expect("it is accepted").settle_id);
            assert_eq!(ids.collect::<HashSet<_>>().len(), 1);
            assert_eq!(fleet.sim.books().sends(&number), 1);
            fleet.assert_paid_once(&number);
        }
        assert_eq!(fleet.sim.books().token_calls_total(), 1, "one replica fetches for all");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_on_another_replica_waits_for_the_answer_to_the_first() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        let [first, second] = &replicas[..] else { unreachable!() };
        let (number, gate) = (number("joins"), Gate::new());
        fleet.sim.script(&number, vec![Script::Hold(gate.clone())]);
        let deadline = Duration::from_secs(10);
        let creating = first.create(create_request(&number), deadline);
        let repeating = async {
            within("the send to arrive", gate.arrived()).await;
            let late = second.create(create_request(&number), Duration::from_millis(400)).await;
            assert!(late.is_err(), "its time was up: {late:?}");
            let opening = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                gate.open();
            };
            let (answer, ()) =
                tokio::join!(second.create(create_request(&number), deadline), opening);
            answer
        };
        let (created, repeated) = tokio::join!(creating, repeating);
        let (created, repeated) = (created.unwrap(), repeated.unwrap());
        assert_eq!(created.settle_id, repeated.settle_id);
        assert_ne!(repeated.state(), SettleState::Submitting);
        assert_eq!(fleet.sim.books().sends(&number), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_hears_the_refusal_that_another_replica_got() {
    in_each_mode(|mode| async move {
        let fleet = Fleet::new(mode).await;
        let replicas = fleet.start_all(2).await;
        let (number, gate) = (number("refused"), Gate::new());
        // The send waits for its token.
        fleet.sim.script_token(vec![Script::Hold(gate.clone())]);
        let request = || create_on(&number, "sim-err-23102-1");
        let deadline = Duration::from_secs(10);
        let repeating = async {
            within("the call for a token", gate.arrived()).await;
            let opening = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                gate.open();
            };
            tokio::join!(replicas[1].create(request(), deadline), opening).0
        };
        let (one, two) = tokio::join!(replicas[0].create(request(), deadline), repeating);
        for status in [one.unwrap_err(), two.unwrap_err()] {
            let info = details(&status).info;
            assert_eq!(info.metadata["outcome"], "refused", "{status:?}");
            assert_eq!(info.reason, "ORDER_NOT_PAID", "{status:?}");
        }
        assert_eq!(fleet.sim.books().sends(&number), 1);
    })
    .await;
}
