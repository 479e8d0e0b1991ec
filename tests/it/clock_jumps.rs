//! The machine's clock is set by days between two processes: nothing is rejected too early, nothing
//! waits for days.

use std::time::Duration;

use douyin_sim::Script;
use settlement_gateway::proto::v1::SettleState;

use crate::harness::{APP_ID, Gateway, create_on, create_request, number, simulator_with};

const DAYS: Duration = Duration::from_secs(3 * 24 * 3600);

/// A settle whose first send took the money unseen, and whose re-send was refused.
async fn in_doubt(gateway: &Gateway) -> String {
    let number = number("jump");
    let lost = Script::apply_then(Script::Drop);
    gateway.sim.script(&number, vec![lost, Script::Refuse(23112)]);
    gateway.create(create_request(&number)).await.unwrap_err();
    number
}

#[tokio::test]
async fn a_jump_forward_makes_no_fresh_send_look_old() {
    // Hidden for longer than a restart takes, and for less than the grace.
    let sim = simulator_with(|config| config.choices.visible_after_ms = 1_200).await;
    let mut gateway = Gateway::spawn_with(sim, |_| {}).await;
    let number = in_doubt(&gateway).await;
    gateway.set_clock(DAYS, Duration::ZERO);
    let gateway = gateway.restart().await;
    let told = gateway.watch_to_end(&number).await.unwrap();
    assert!(told.iter().all(|settle| settle.state() != SettleState::Rejected), "{told:?}");
    assert_eq!(told.last().unwrap().state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().under(&number).len(), 1);
}

#[tokio::test]
async fn after_a_jump_either_way_everything_goes_on_at_once() {
    for (ahead, back) in [(DAYS, Duration::ZERO), (Duration::ZERO, DAYS)] {
        let sim = simulator_with(|config| config.choices.visible_after_ms = 300).await;
        let mut gateway = Gateway::spawn_with(sim, |_| {}).await;
        let doubt = in_doubt(&gateway).await;
        let held = number("held");
        let settle = gateway.create(create_on(&held, "sim-hold-1")).await.unwrap();
        gateway.set_clock(ahead, back);
        let gateway = gateway.restart().await;
        assert!(gateway.sim.finish(settle.settle_id(), douyin_sim::Status::Success));
        assert_eq!(gateway.end(&held).await.state(), SettleState::Succeeded);
        assert_eq!(gateway.end(&doubt).await.state(), SettleState::Succeeded);
        let fresh = number("fresh");
        gateway.create(create_request(&fresh)).await.unwrap();
        assert_eq!(gateway.end(&fresh).await.state(), SettleState::Succeeded);
    }
}

#[tokio::test]
async fn a_token_from_the_future_is_replaced_when_douyin_rejects_it() {
    let mut gateway = Gateway::spawn().await;
    gateway.create(create_request(&number("before"))).await.unwrap();
    gateway.set_clock(Duration::ZERO, DAYS);
    let gateway = gateway.restart().await;
    // The stored token looks valid for days, and is not.
    gateway.sim.expire_tokens(APP_ID);
    let number = number("after");
    let settle = gateway.create(create_request(&number)).await.unwrap();
    assert_eq!(settle.state(), SettleState::Processing);
}
