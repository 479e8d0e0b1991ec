//! Several trade systems under one contract: what a caller does in one it does in each, and a
//! number is one settle's in all of them, whatever the configuration becomes.

use douyin_sim::{AppKey, PlatformKey, Script, SimApp, StrangerSettle, System};
use settlement_gateway::config::Config;
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{self, CreateSettleRequest, SettleState};
use settlement_gateway::settle::{AppId, TradeSystem};
use tonic::{Code, Status};

use crate::harness::{
    APP_ID, Gateway, app, assert_create_error, create_on, create_request, details, drain,
    in_every_system, number, simulator, simulator_with, watch_request, within,
};
use crate::told::told_status;

const OTHER: &str = "ttother";

/// Those in which callers settle, as the contract and as the simulator name them.
const WITH_CREATES: [(v1::TradeSystem, System); 4] = [
    (v1::TradeSystem::General, System::General),
    (v1::TradeSystem::SelfOperated, System::SelfOperated),
    (v1::TradeSystem::Industry, System::Industry),
    (v1::TradeSystem::Guaranteed, System::Guaranteed),
];

async fn everywhere() -> Gateway {
    Gateway::spawn_with(simulator().await, in_every_system).await
}

fn within_system(system: v1::TradeSystem, request: CreateSettleRequest) -> CreateSettleRequest {
    CreateSettleRequest { trade_system: system.into(), ..request }
}

/// Watches a settle of a system to its end.
async fn end(gateway: &Gateway, system: v1::TradeSystem, out_settle_no: &str) -> v1::Settle {
    let watch = watch_request(out_settle_no, 0);
    let watch = v1::WatchSettleRequest { trade_system: system.into(), ..watch };
    let mut client = gateway.client.clone();
    let stream = within("WatchSettle", client.watch_settle(watch)).await.unwrap();
    drain(stream.into_inner()).await.unwrap().pop().expect("a watch shows the settle")
}

async fn query(
    gateway: &Gateway,
    system: v1::TradeSystem,
    key: v1::query_settles_request::Key,
) -> Vec<v1::Settle> {
    let (app_id, key) = (APP_ID.to_owned(), Some(key));
    let request = v1::QuerySettlesRequest { app_id, trade_system: system.into(), key };
    let mut client = gateway.client.clone();
    within("QuerySettles", client.query_settles(request)).await.unwrap().into_inner().settles
}

#[tokio::test]
async fn a_settle_is_made_followed_and_found_in_each_system() {
    use v1::query_settles_request::Key;
    let gateway = everywhere().await;
    for (system, there) in WITH_CREATES {
        let number = number("each");
        let made = gateway.create(within_system(system, create_request(&number))).await.unwrap();
        assert_eq!((made.trade_system(), made.state()), (system, SettleState::Processing));
        let ended = end(&gateway, system, &number).await;
        assert_eq!(ended.state(), SettleState::Succeeded, "{system:?}");
        let books = gateway.sim.books();
        assert_eq!((books.sends(&number), books.sends_in(there, &number)), (1, 1), "{system:?}");
        let applied = books.only(&number).unwrap();
        assert_eq!(ended.settle_id(), applied.settle_id);
        assert!(applied.cp_extra.starts_with("sg1:"), "{}", applied.cp_extra);
        let (wallet, inner) = (ended.wallet_settle_id.clone(), ended.inner_settle_id.clone());
        let id = Some(applied.wallet_settle_id.clone());
        let is_guaranteed = system == v1::TradeSystem::Guaranteed;
        let is_general = system == v1::TradeSystem::General;
        let shown = match (is_general, is_guaranteed) {
            (true, _) => (id, None),
            (false, true) => (None, None),
            (false, false) => (None, id),
        };
        assert_eq!((wallet, inner), shown, "{system:?}");
        let result = ended.result.as_ref().unwrap();
        assert_eq!(result.settle_amount_fen, Some(applied.amount_fen));
        assert!(result.settle_time.is_some(), "{system:?}");
        let mut keys = vec![Key::OutSettleNo(number.clone())];
        if !is_guaranteed {
            keys.extend([
                Key::SettleId(ended.settle_id().to_owned()),
                Key::OutOrderNo(ended.out_order_no().to_owned()),
                Key::OrderId(ended.order_id().to_owned()),
            ]);
        }
        for key in keys {
            let found = query(&gateway, system, key.clone()).await;
            let found: Vec<_> = found.iter().map(|settle| &settle.out_settle_no).collect();
            assert_eq!(found, [&number], "{system:?} {key:?}");
        }
    }
}

/// In the self-operated system the number stands below that of a class, and decides. Guaranteed
/// payment has few numbers.
#[tokio::test]
async fn a_refusal_means_the_same_in_each_system() {
    let gateway = everywhere().await;
    for (system, _) in WITH_CREATES {
        let is_guaranteed = system == v1::TradeSystem::Guaranteed;
        for (err_no, code, reason) in match is_guaranteed {
            false => [
                (23102, Code::FailedPrecondition, "ORDER_NOT_PAID"),
                (23112, Code::FailedPrecondition, "NO_MONEY_TO_SETTLE"),
                (23101, Code::NotFound, "ORDER_NOT_FOUND"),
            ],
            true => [
                (2014, Code::FailedPrecondition, "ORDER_NOT_SETTLEABLE"),
                (2010, Code::InvalidArgument, "PARAM_ERROR"),
                (2000, Code::NotFound, "ORDER_NOT_FOUND"),
            ],
        } {
            let number = number("refused");
            let request = create_on(&number, &format!("sim-err-{err_no}-1"));
            let request = within_system(system, request);
            let status = gateway.create(request.clone()).await.unwrap_err();
            let details = assert_create_error(&status, code, reason, "refused");
            let said = details.douyin.unwrap();
            let decided = said.sub_err_no.or(said.err_no);
            assert_eq!(decided, Some(err_no), "{system:?}");
            let again = gateway.create(request).await.unwrap_err();
            assert_create_error(&again, code, reason, "refused");
            assert_eq!(gateway.sim.books().sends(&number), 1, "{system:?}");
        }
    }
}

/// The repeat has the same bytes. Where calls are signed, the simulator takes no nonce twice.
#[tokio::test]
async fn a_lost_answer_is_found_again_in_each_system() {
    let gateway = everywhere().await;
    for (system, there) in WITH_CREATES {
        let number = number("lost");
        gateway.sim.script(&number, vec![Script::apply_then(Script::Drop)]);
        let made = gateway.create(within_system(system, create_request(&number))).await.unwrap();
        let books = gateway.sim.books();
        assert_eq!(books.sends_in(there, &number), 2, "{system:?}: the number is known");
        assert_eq!(books.only(&number).unwrap().settle_id, made.settle_id());
        assert_eq!(end(&gateway, system, &number).await.state(), SettleState::Succeeded);
    }
}

#[tokio::test]
async fn a_strangers_number_is_refused_in_each_system() {
    let gateway = everywhere().await;
    for (system, there) in WITH_CREATES {
        let number = number("theirs");
        let stranger = StrangerSettle {
            system: there,
            out_order_no: "another-order".to_owned(),
            // The mark of another content: one system shows no order.
            cp_extra: "sg1:another".to_owned(),
            ..Default::default()
        };
        let theirs = gateway.sim.stranger_settle(APP_ID, &number, stranger);
        let request = within_system(system, create_request(&number));
        let status = gateway.create(request).await.unwrap_err();
        let code = Code::AlreadyExists;
        let details = assert_create_error(&status, code, "OUT_SETTLE_NO_EXISTS", "refused");
        assert_eq!(details.info.metadata["settle_id"], theirs, "{system:?}");
    }
}

/// Found by their number, and followed to the end that Douyin shows.
#[tokio::test]
async fn settles_that_were_made_elsewhere_are_adopted_in_each_system() {
    use v1::query_settles_request::Key;
    let gateway = everywhere().await;
    for (system, there) in WITH_CREATES {
        let number = number("elsewhere");
        let settle = StrangerSettle {
            system: there,
            out_order_no: number.clone(),
            status: douyin_sim::Status::Processing,
            ..Default::default()
        };
        let id = gateway.sim.stranger_settle(APP_ID, &number, settle);
        let found = query(&gateway, system, Key::OutSettleNo(number.clone())).await;
        let [found] = &found[..] else { panic!("{system:?}: {found:?}") };
        assert_eq!((found.settle_id(), found.trade_system()), (id.as_str(), system));
        let (origin, state) = (found.origin(), found.state());
        assert_eq!((origin, state), (v1::SettleOrigin::Platform, SettleState::Processing));
        assert!(gateway.sim.finish(&id, douyin_sim::Status::Fail));
        assert_eq!(end(&gateway, system, &number).await.state(), SettleState::Failed, "{system:?}");
    }
}

/// Douyin settles there by itself, and tells nothing of it.
#[tokio::test]
async fn settles_of_the_agency_system_are_found_and_followed() {
    use v1::query_settles_request::Key;
    let gateway = everywhere().await;
    let agency = v1::TradeSystem::Agency;
    let settle = StrangerSettle {
        system: System::Agency,
        out_order_no: "of-the-agency".to_owned(),
        status: douyin_sim::Status::Processing,
        ..Default::default()
    };
    let id = gateway.sim.platform_settle(APP_ID, settle);
    let found = query(&gateway, agency, Key::OutOrderNo("of-the-agency".to_owned())).await;
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.settle_id(), found.trade_system()), (id.as_str(), agency));
    assert_eq!(found.origin(), v1::SettleOrigin::Platform);
    assert!(gateway.sim.finish(&id, douyin_sim::Status::Success));
    let ended = end(&gateway, agency, &found.out_settle_no).await;
    assert_eq!(ended.state(), SettleState::Succeeded);
}

/// Also of those that the app's configuration names no more.
#[tokio::test]
async fn a_list_has_the_settles_of_all_systems_or_of_one() {
    use v1::query_settles_request::Key;
    let mut gateway = everywhere().await;
    let mut numbers = Vec::new();
    for (system, _) in WITH_CREATES {
        let number = number("listed");
        gateway.create(within_system(system, create_request(&number))).await.unwrap();
        numbers.push((system, number));
    }
    let order = number("of-the-agency");
    let settle = StrangerSettle {
        system: System::Agency,
        out_order_no: order.clone(),
        ..Default::default()
    };
    gateway.sim.platform_settle(APP_ID, settle);
    let agency = v1::TradeSystem::Agency;
    let found = query(&gateway, agency, Key::OutOrderNo(order)).await;
    numbers.push((agency, found[0].out_settle_no.clone()));
    gateway.tune(|_| {});
    let gateway = gateway.restart().await;
    let list = async |request: v1::ListSettlesRequest| {
        let mut client = gateway.client.clone();
        let page = within("ListSettles", client.list_settles(request)).await?.into_inner();
        let settles = page.settles.into_iter();
        let numbers: Vec<_> =
            settles.map(|settle| (settle.trade_system(), settle.out_settle_no)).collect();
        Ok::<_, Status>((numbers, page.next_page_token))
    };
    let all = v1::ListSettlesRequest { app_id: APP_ID.to_owned(), ..Default::default() };
    let newest_first: Vec<_> = numbers.iter().rev().cloned().collect();
    assert_eq!(list(all.clone()).await.unwrap(), (newest_first, String::new()));
    let first = v1::ListSettlesRequest { page_size: 1, ..all.clone() };
    let page_token = list(first).await.unwrap().1;
    for (system, number) in numbers {
        let one = v1::ListSettlesRequest { trade_system: system.into(), ..all.clone() };
        let listed = list(one.clone()).await.unwrap();
        assert_eq!(listed, (vec![(system, number)], String::new()));
        let goes_on = v1::ListSettlesRequest { page_token: page_token.clone(), ..one };
        let fields = details(&list(goes_on).await.unwrap_err()).fields;
        assert_eq!(fields, ["page_token"], "it is bound to the filter");
    }
    let unknown = v1::ListSettlesRequest { trade_system: 99, ..all };
    assert_eq!(details(&list(unknown).await.unwrap_err()).fields, ["trade_system"]);
}

/// It proves nothing about the order, and a person must act: no number is used up by it.
#[tokio::test]
async fn a_rejected_signature_refuses_no_settle() {
    let gateway = everywhere().await;
    let pem = crate::callbacks::openssl(&[
        "genpkey",
        "-quiet",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ]);
    let another = PlatformKey::from_pem(&pem).unwrap().public_pem();
    gateway.sim.set_app_key(APP_ID, AppKey::from_text(&another).unwrap(), "1");
    let number = number("unsigned");
    let request = within_system(v1::TradeSystem::Industry, create_request(&number));
    let status = gateway.create(request.clone()).await.unwrap_err();
    let (code, reason) = (Code::FailedPrecondition, "UPSTREAM_CREDENTIALS_REJECTED");
    assert_create_error(&status, code, reason, "unknown");
    // Other systems of the app go on.
    gateway.create(create_request(&crate::harness::number("general"))).await.unwrap();
    gateway.sim.set_app_key(APP_ID, AppKey::sandbox(), "1");
    let ended = end(&gateway, v1::TradeSystem::Industry, &number).await;
    assert_eq!(ended.state(), SettleState::Succeeded);
    assert_eq!(gateway.sim.books().under(&number).len(), 1);
}

fn signed_only(config: &mut Config) {
    in_every_system(config);
    config.apps[0].trade_systems = vec![TradeSystem::Industry, TradeSystem::Guaranteed];
}

/// What the key or the salt of the app signs needs no access token, so no secret to fetch one with.
/// With the secret, what a system left behind that was taken out is followed to its end.
#[tokio::test]
async fn an_app_without_a_client_secret_asks_for_no_access_token() {
    let mut gateway = everywhere().await;
    let left = number("left");
    let settle = gateway.create(create_on(&left, "sim-hold-left")).await.unwrap();
    gateway.tune(|config| {
        signed_only(config);
        config.apps[0].client_secret = None;
    });
    let mut gateway = gateway.restart().await;
    let fetched = gateway.sim.books().tokens_fetched(APP_ID);
    assert!(gateway.sim.finish(settle.settle_id(), douyin_sim::Status::Success));
    for system in [v1::TradeSystem::Industry, v1::TradeSystem::Guaranteed] {
        let number = number("signed");
        gateway.create(within_system(system, create_request(&number))).await.unwrap();
        assert_eq!(end(&gateway, system, &number).await.state(), SettleState::Succeeded);
    }
    let state =
        async |gateway: &Gateway| gateway.show(&left).await.unwrap().settle.unwrap().state();
    assert_eq!(state(&gateway).await, SettleState::Processing);
    assert_eq!(gateway.sim.books().tokens_fetched(APP_ID), fetched);
    gateway.tune(signed_only);
    let gateway = gateway.restart().await;
    let followed = async {
        while state(&gateway).await != SettleState::Succeeded {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the end of what was left", followed).await;
}

fn with_self_operated(config: &mut Config) {
    config.apps[0].trade_systems.push(TradeSystem::SelfOperated);
}

fn self_operated(request: CreateSettleRequest) -> CreateSettleRequest {
    CreateSettleRequest { trade_system: v1::TradeSystem::SelfOperated.into(), ..request }
}

fn without_an_app(out_settle_no: &str) -> CreateSettleRequest {
    CreateSettleRequest { app_id: String::new(), ..create_request(out_settle_no) }
}

/// Checks that the number is told to be recorded in this app and in the general system.
#[track_caller]
fn assert_elsewhere(status: &Status, outcome: &str, field: &str, state: SettleState) {
    let code = Code::AlreadyExists;
    let details = assert_create_error(status, code, "OUT_SETTLE_NO_CONFLICT", outcome);
    let named = ["recorded_app_id", "recorded_trade_system", "differing_fields"];
    let named = named.map(|name| details.info.metadata[name].clone());
    assert_eq!(named, [APP_ID, "general", field]);
    let failure = told_status(status, Rpc::CreateSettle).failure;
    assert_eq!(failure.recorded_app_id, APP_ID);
    assert_eq!(failure.recorded_trade_system(), v1::TradeSystem::General);
    assert_eq!((failure.state(), failure.differing_fields), (state, vec![field.to_owned()]));
}

/// A caller, or a configuration, that changed its mind must not pay twice.
#[tokio::test]
async fn a_number_of_one_trade_system_is_a_conflict_in_another() {
    let gateway = Gateway::spawn_with(simulator().await, with_self_operated).await;
    for (order, outcome, state) in [
        ("sim-hold-1", "not_sent", SettleState::Processing),
        ("sim-err-23102-1", "refused", SettleState::Rejected),
    ] {
        let number = number("moved");
        let _ = gateway.create(create_on(&number, order)).await;
        for validate_only in [true, false] {
            let moved = self_operated(create_on(&number, order));
            let moved = CreateSettleRequest { validate_only, ..moved };
            let status = gateway.create(moved).await.unwrap_err();
            assert_elsewhere(&status, outcome, "trade_system", state);
        }
        assert_eq!(gateway.sim.books().sends(&number), 1);
    }
}

/// A repeat that names no app is about the settle of the app that was the default one then.
#[tokio::test]
async fn a_number_of_the_former_default_app_is_a_conflict_in_the_next_one() {
    let sim = simulator_with(|config| config.apps.push(SimApp::new(OTHER, "other-secret"))).await;
    let mut gateway = Gateway::spawn_with(sim, |config| {
        config.apps.push(app(OTHER, "other-secret"));
    })
    .await;
    let (unnamed, named) = (number("unnamed"), number("named"));
    let first = gateway.create(without_an_app(&unnamed)).await.unwrap();
    gateway.create(create_request(&named)).await.unwrap();
    gateway.tune(|config| {
        config.apps.push(app(OTHER, "other-secret"));
        config.grpc.default_app = AppId::parse(OTHER).ok();
    });
    let gateway = gateway.restart().await;
    let state = gateway.end(&unnamed).await.state();
    for validate_only in [true, false] {
        let repeat = CreateSettleRequest { validate_only, ..without_an_app(&unnamed) };
        let status = gateway.create(repeat).await.unwrap_err();
        assert_elsewhere(&status, "not_sent", "app_id", state);
    }
    assert_eq!(gateway.sim.books().sends(&unnamed), 1);
    // What it tells to do: the app is named.
    let repeated = gateway.create_full(create_request(&unnamed)).await.unwrap();
    assert!(repeated.replayed);
    assert_eq!(repeated.settle.unwrap().settle_id, first.settle_id);
    // A number that was recorded for an app by its name means nothing for others.
    let other = gateway.create(without_an_app(&named)).await.unwrap();
    assert_eq!(other.app_id, OTHER);
}
