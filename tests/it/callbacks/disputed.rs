//! Douyin contradicts itself, and an operator decides.

use std::process::Output;

use douyin_sim::{Status, StrangerSettle};
use settlement_gateway::proto::v1::{self, ObservationSource, SettleState};

use super::{Letter, spawn, success};
use crate::harness::{APP_ID, Gateway, create_on, number, within};
use crate::operator::settle_command;

/// A settle about which Douyin said two final words, in this order.
async fn disputed(gateway: &Gateway, first: Status, second: Status) -> v1::Settle {
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("disputed");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    for status in [first, second] {
        let letter = Letter::about(&gateway.sim, settle.settle_id(), status);
        assert_eq!(letter.deliver(gateway).await, success());
    }
    let settle = gateway.get(&number).await.unwrap();
    assert!(settle.contradiction.is_some());
    settle
}

/// `settle resolve` about the newest revision: its exit code and what it said.
async fn resolve(gateway: &Gateway, number: &str, keep: &str) -> (i32, String) {
    let why = ["--why", "Douyin's support wrote so"];
    let revision = gateway.get(number).await.map_or(1, |settle| settle.revision).to_string();
    let command = settle_command(&gateway.addrs.grpc.to_string(), "table")
        .args(["resolve", "--app-id", APP_ID, number, "--keep", keep])
        .args(["--revision", &revision, "--confirm", number])
        .args(why)
        .output();
    let Output { status, stdout, stderr } = within("the command", command).await.unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn a_contradiction_keeps_the_state_and_is_shown_until_the_recorded_word_is_kept() {
    let gateway = spawn().await;
    let settle = disputed(&gateway, Status::Success, Status::Fail).await;
    assert_eq!(settle.state(), SettleState::Succeeded);
    let claim = settle.contradiction.clone().unwrap();
    assert_eq!(claim.claimed_state(), SettleState::Failed);
    assert_eq!(claim.source(), ObservationSource::Callback);

    let (code, said) = resolve(&gateway, &settle.out_settle_no, "recorded").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("SUCCEEDED"), "{said}");
    let full = gateway.get_full(&settle.out_settle_no).await.unwrap();
    let resolved = full.settle.unwrap();
    assert_eq!(resolved.state(), SettleState::Succeeded);
    assert_eq!(resolved.contradiction, None);
    assert!(resolved.revision > settle.revision);
    let last = full.history.last().unwrap();
    assert_eq!(last.source(), ObservationSource::Operator);
    let decision = resolved.decision.expect("the settle shows what was decided");
    assert_eq!((last.why.as_ref(), last.time), (Some(&decision.why), decision.time));

    // The same word of Douyin comes again, and is resolved already.
    let again = Letter::about(&gateway.sim, settle.settle_id(), Status::Fail);
    assert_eq!(again.deliver(&gateway).await, success());
    assert_eq!(gateway.get(&settle.out_settle_no).await.unwrap().contradiction, None);
    let (code, said) = resolve(&gateway, &settle.out_settle_no, "recorded").await;
    assert_eq!(code, 1);
    assert!(said.contains("CONTRADICTION_NOT_OPEN"), "{said}");
}

#[tokio::test]
async fn the_claimed_word_can_be_kept_instead_and_its_facts_are_asked_for() {
    let gateway = spawn().await;
    let settle = disputed(&gateway, Status::Fail, Status::Success).await;
    assert_eq!(settle.state(), SettleState::Failed);
    gateway.sim.set_status(settle.settle_id(), Status::Success);
    let (code, said) = resolve(&gateway, &settle.out_settle_no, "claimed").await;
    assert_eq!(code, 0, "{said}");
    let complete = async {
        loop {
            let now = gateway.get(&settle.out_settle_no).await.unwrap();
            assert_eq!(now.state(), SettleState::Succeeded);
            if now.result.is_some_and(|result| result.settle_amount_fen.is_some()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the query that completes it", complete).await;
}

/// A settle that was not created here is decided about like any other.
#[tokio::test]
async fn a_contradiction_of_an_adopted_settle_is_resolved_too() {
    let gateway = spawn().await;
    gateway.sim.set_callback_url(APP_ID, None);
    let settle = StrangerSettle {
        out_order_no: number("order"),
        status: Status::Success,
        ..StrangerSettle::default()
    };
    let theirs = number("theirs");
    let settle_id = gateway.sim.stranger_settle(APP_ID, &theirs, settle);
    for status in [Status::Success, Status::Fail] {
        gateway.sim.set_status(&settle_id, status);
        let letter = Letter::about(&gateway.sim, &settle_id, status);
        assert_eq!(letter.deliver(&gateway).await, success());
    }
    assert!(gateway.get(&theirs).await.unwrap().contradiction.is_some());
    let (code, said) = resolve(&gateway, &theirs, "claimed").await;
    assert_eq!(code, 0, "{said}");
    let complete = async {
        loop {
            let now = gateway.get(&theirs).await.unwrap();
            assert_eq!(now.state(), SettleState::Failed);
            assert_eq!(now.contradiction, None);
            if now.settle_status() == "FAIL" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the query that completes it", complete).await;
}

#[tokio::test]
async fn what_cannot_be_resolved_says_why() {
    let gateway = spawn().await;
    let (code, said) = resolve(&gateway, "unknown", "recorded").await;
    assert_eq!(code, 1);
    assert!(said.contains("SETTLE_NOT_FOUND"), "{said}");
    let (code, said) = resolve(&gateway, &"x".repeat(200), "recorded").await;
    assert_eq!(code, 1);
    assert!(said.contains("out_settle_no"), "{said}");
    let (code, _) = resolve(&gateway, "unknown", "whatever").await;
    assert_eq!(code, 64);
}
