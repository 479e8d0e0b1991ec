//! Callbacks of the trade systems that have version 2.0: it does not say which of them speaks.

use std::time::Duration;

use douyin_sim::{Script, Status, StrangerSettle, System};
use serde_json::json;
use settlement_gateway::proto::v1::{self, SettleState};
use settlement_gateway::settle::Mark;
use tonic::Code;

use super::{Letter, patient, spawn_with, success};
use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_on, details, in_every_system, number, within,
};

async fn spawn() -> Gateway {
    spawn_with(|config| {
        patient(config);
        in_every_system(config);
    })
    .await
}

async fn get(
    gateway: &Gateway,
    system: v1::TradeSystem,
    number: &str,
) -> Result<v1::Settle, tonic::Status> {
    let request = v1::GetSettleRequest {
        app_id: APP_ID.to_owned(),
        trade_system: system.into(),
        key: Some(v1::get_settle_request::Key::OutSettleNo(number.to_owned())),
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let answer = within("GetSettle", client.get_settle(request)).await?;
    Ok(answer.into_inner().settle.unwrap())
}

const SYSTEMS: [v1::TradeSystem; 3] =
    [v1::TradeSystem::General, v1::TradeSystem::SelfOperated, v1::TradeSystem::Industry];

#[tokio::test]
async fn a_callback_ends_the_settle_of_the_system_in_which_it_is_recorded() {
    let gateway = spawn().await;
    for system in SYSTEMS {
        let number = number("heard");
        let request = v1::CreateSettleRequest {
            trade_system: system.into(),
            ..create_on(&number, "sim-hold-1")
        };
        let made = gateway.create(request).await.unwrap();
        let letter = Letter::about(&gateway.sim, made.settle_id(), Status::Success);
        // Signed by another key, or changed on its way.
        let forged = Letter { body: [letter.body.as_slice(), b" "].concat(), ..letter.clone() };
        assert_eq!(forged.deliver(&gateway).await.0, 401, "{system:?}");
        assert_eq!(get(&gateway, system, &number).await.unwrap(), made);
        assert_eq!(letter.deliver(&gateway).await, success(), "{system:?}");
        let ended = get(&gateway, system, &number).await.unwrap();
        assert_eq!(ended.state(), SettleState::Succeeded, "{system:?}");
        // Repeated, it changes nothing.
        assert_eq!(letter.deliver(&gateway).await, success());
        assert_eq!(get(&gateway, system, &number).await.unwrap(), ended);
        for other in SYSTEMS.into_iter().filter(|other| *other != system) {
            let unknown = get(&gateway, other, &number).await.unwrap_err();
            assert_eq!(unknown.code(), Code::NotFound, "{system:?} {other:?}");
        }
    }
}

/// Nothing in it says which of the two it is of, so Douyin is asked.
#[tokio::test]
async fn a_callback_about_a_settle_that_is_not_recorded_is_adopted_where_douyin_shows_it() {
    let gateway = spawn().await;
    for (system, there) in [
        (v1::TradeSystem::SelfOperated, System::SelfOperated),
        (v1::TradeSystem::Industry, System::Industry),
    ] {
        let settle = StrangerSettle {
            system: there,
            out_order_no: "of-the-platform".to_owned(),
            ..Default::default()
        };
        let id = gateway.sim.platform_settle(APP_ID, settle);
        let letter = Letter::about(&gateway.sim, &id, Status::Success);
        assert_eq!(letter.deliver(&gateway).await, success());
        let adopted = get(&gateway, system, &id).await.unwrap();
        assert_eq!(adopted.settle_id(), id);
        assert_eq!(adopted.origin(), v1::SettleOrigin::Platform);
        assert_eq!(adopted.out_order_no(), "of-the-platform", "the query told it");
        for other in SYSTEMS.into_iter().filter(|other| *other != system) {
            assert_eq!(get(&gateway, other, &id).await.unwrap_err().code(), Code::NotFound);
        }
    }
}

/// It comes to its end, and its number is free in the other system of the same callbacks.
#[tokio::test]
async fn a_settle_that_a_callback_told_first_does_not_stay_open_and_keeps_no_number_elsewhere() {
    let gateway = spawn_with(in_every_system).await;
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("of-a-stranger");
    let settle = StrangerSettle {
        system: System::Industry,
        out_order_no: "of-a-stranger".to_owned(),
        status: Status::Processing,
        ..Default::default()
    };
    let theirs = gateway.sim.stranger_settle(APP_ID, &number, settle);
    let letter = Letter::about(&gateway.sim, &theirs, Status::Processing);
    assert_eq!(letter.deliver(&gateway).await, success());
    let adopted = get(&gateway, v1::TradeSystem::Industry, &number).await.unwrap();
    assert_eq!((adopted.state(), adopted.settle_id()), (SettleState::Processing, theirs.as_str()));

    let create = |system: v1::TradeSystem| v1::CreateSettleRequest {
        trade_system: system.into(),
        ..create_on(&number, "sim-hold-1")
    };
    let taken = gateway.create(create(v1::TradeSystem::Industry)).await.unwrap_err();
    let reason = "OUT_SETTLE_NO_EXISTS";
    assert_create_error(&taken, Code::AlreadyExists, reason, "refused");
    let made = gateway.create(create(v1::TradeSystem::SelfOperated)).await.unwrap();
    assert_eq!(made.origin(), v1::SettleOrigin::Gateway);
    assert_ne!(made.settle_id(), theirs);

    assert!(gateway.sim.finish(&theirs, Status::Success));
    let ended = async {
        loop {
            let settle = get(&gateway, v1::TradeSystem::Industry, &number).await.unwrap();
            if settle.state() == SettleState::Succeeded {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the end by polling", ended).await;
}

/// Nothing is recorded of it until one of the systems shows it.
#[tokio::test]
async fn a_callback_whose_settle_no_system_shows_is_delivered_again() {
    let gateway = spawn_with(|config| {
        patient(config);
        in_every_system(config);
        config.gateway.absent_ttl = Duration::ZERO;
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let settle = StrangerSettle { system: System::Industry, ..Default::default() };
    let id = gateway.sim.platform_settle(APP_ID, settle);
    let letter = Letter::about(&gateway.sim, &id, Status::Success);
    let refused = (424, json!({ "err_no": 424, "err_tips": "unknown_system" }));
    for hidden in [Script::FindNothing, Script::Html] {
        gateway.sim.always_query(Some(hidden));
        assert_eq!(letter.deliver(&gateway).await, refused);
        let all = v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() };
        let mut client = gateway.client.clone();
        let listed = within("ListSettles", client.list_settles(all)).await.unwrap().into_inner();
        assert_eq!(listed.settles, []);
    }
    gateway.sim.always_query(None);
    assert_eq!(letter.deliver(&gateway).await, success());
    let adopted = get(&gateway, v1::TradeSystem::Industry, &id).await.unwrap();
    assert_eq!(adopted.state(), SettleState::Succeeded);
}

/// The same number may be adopted in another of the two.
#[tokio::test]
async fn a_callback_ends_the_settle_of_a_caller_rather_than_one_that_was_adopted() {
    let gateway = spawn().await;
    gateway.sim.set_callback_url(APP_ID, None);
    let number = number("of-a-caller");
    let settle = StrangerSettle {
        system: System::SelfOperated,
        out_order_no: "of-the-platform".to_owned(),
        status: Status::Processing,
        ..Default::default()
    };
    let theirs = gateway.sim.stranger_settle(APP_ID, &number, settle);
    let letter = Letter::about(&gateway.sim, &theirs, Status::Processing);
    assert_eq!(letter.deliver(&gateway).await, success());
    let adopted = get(&gateway, v1::TradeSystem::SelfOperated, &number).await.unwrap();
    assert_eq!(adopted.settle_id(), theirs);
    let request = v1::CreateSettleRequest {
        trade_system: v1::TradeSystem::Industry.into(),
        ..create_on(&number, "sim-hold-1")
    };
    let made = gateway.create(request).await.unwrap();
    let letter = Letter::about(&gateway.sim, made.settle_id(), Status::Success);
    assert_eq!(letter.deliver(&gateway).await, success());
    let ended = get(&gateway, v1::TradeSystem::Industry, &number).await.unwrap();
    assert_eq!(ended.state(), SettleState::Succeeded);
    let other = get(&gateway, v1::TradeSystem::SelfOperated, &number).await.unwrap();
    assert_eq!((other.state(), other.settle_id()), (SettleState::Processing, theirs.as_str()));
}

/// A number may be a caller's in one system and a stranger's in another one.
#[tokio::test]
async fn a_callback_of_another_system_says_nothing_of_a_callers_settle() {
    let gateway = spawn_with(|config| {
        patient(config);
        in_every_system(config);
        // Without the mark a report of the same order might be ours.
        config.gateway.mark = Mark::Off;
    })
    .await;
    gateway.sim.set_callback_url(APP_ID, None);
    let theirs = [
        (v1::TradeSystem::SelfOperated, System::SelfOperated),
        (v1::TradeSystem::Industry, System::Industry),
    ];
    let others = theirs.into_iter().flat_map(|theirs| SYSTEMS.map(|system| (system, theirs)));
    for (system, (elsewhere, there)) in others.filter(|(system, theirs)| *system != theirs.0) {
        let number = number("of-two");
        // No settle_id is known of it, so that only the number would speak for it.
        gateway.sim.script(&number, vec![Script::Drop; 2]);
        let request = v1::CreateSettleRequest {
            trade_system: system.into(),
            ..create_on(&number, "sim-hold-1")
        };
        let lost = gateway.create(request).await.unwrap_err();
        assert_eq!(details(&lost).info.metadata["outcome"], "unknown", "{lost:?}");
        let before = get(&gateway, system, &number).await.unwrap();
        assert_eq!(before.state(), SettleState::Submitting);
        let settle = StrangerSettle {
            system: there,
            out_order_no: "sim-hold-1".to_owned(),
            ..Default::default()
        };
        let theirs = gateway.sim.stranger_settle(APP_ID, &number, settle);
        let letter = Letter::about(&gateway.sim, &theirs, Status::Success);
        assert_eq!(letter.deliver(&gateway).await, success());
        assert_eq!(get(&gateway, system, &number).await.unwrap(), before, "{system:?}");
        let adopted = get(&gateway, elsewhere, &number).await.unwrap();
        assert_eq!(adopted.settle_id(), theirs);
    }
}
