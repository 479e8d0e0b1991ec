//! Callbacks of the trade systems that have version 2.0: it does not say which of them speaks.

use douyin_sim::{Status, StrangerSettle, System};
use settlement_gateway::proto::v1::{self, SettleState};
use tonic::Code;

use super::{Letter, patient, spawn_with, success};
use crate::harness::{APP_ID, Gateway, create_on, in_every_system, number, within};

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

/// Nothing says which of the two it is: it is taken for the one that the configuration has first.
#[tokio::test]
async fn a_callback_about_a_settle_that_is_not_recorded_is_adopted_in_one_system() {
    let gateway = spawn().await;
    let settle = StrangerSettle {
        system: System::SelfOperated,
        out_order_no: "of-the-platform".to_owned(),
        ..Default::default()
    };
    let id = gateway.sim.platform_settle(APP_ID, settle);
    let letter = Letter::about(&gateway.sim, &id, Status::Success);
    assert_eq!(letter.deliver(&gateway).await, success());
    let adopted = get(&gateway, v1::TradeSystem::SelfOperated, &id).await.unwrap();
    assert_eq!((adopted.settle_id(), adopted.origin()), (id.as_str(), v1::SettleOrigin::Platform));
    for other in [v1::TradeSystem::General, v1::TradeSystem::Industry] {
        assert_eq!(get(&gateway, other, &id).await.unwrap_err().code(), Code::NotFound);
    }
}

/// The same number may be adopted in another of the two.
#[tokio::test]
async fn a_callback_ends_the_settle_of_a_caller_rather_than_one_that_was_adopted() {
    let gateway = spawn().await;
    let number = number("of-a-caller");
    let settle = StrangerSettle {
        system: System::SelfOperated,
        out_order_no: "of-the-platform".to_owned(),
        status: Status::Processing,
        ..Default::default()
    };
    let theirs = gateway.sim.platform_settle(APP_ID, settle);
    let letter = Letter::about(&gateway.sim, &theirs, Status::Processing)
        .changed(&gateway.sim, |msg| msg["out_settle_no"] = number.clone().into());
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
