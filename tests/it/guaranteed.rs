//! Guaranteed payment: where it differs from the other trade systems. A repeat is answered like the
//! first create, so an acceptance proves nothing about whose the settle is; its queries know one
//! key; its callbacks are signed in the body.

use std::time::Duration;

use douyin_sim::{Choices, Script, Status as SimStatus, StrangerSettle, System};
use serde_json::{Value, json};
use settlement_gateway::config::Config;
use settlement_gateway::proto::v1::{
    self, CreateSettleRequest, SettleParam, SettleState, query_settles_request::Key,
};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_on, create_request, details, in_every_system,
    number, simulator, simulator_with, within,
};

const SYSTEM: v1::TradeSystem = v1::TradeSystem::Guaranteed;

async fn spawn() -> Gateway {
    Gateway::spawn_with(simulator().await, in_every_system).await
}

/// What ends a settle is not the schedule of the poller.
fn patient(config: &mut Config) {
    in_every_system(config);
    config.gateway.schedule.first = Duration::from_secs(600);
    config.gateway.schedule.cap = Duration::from_secs(600);
    config.gateway.schedule.watched_cap = Duration::from_secs(600);
}

fn guaranteed(request: CreateSettleRequest) -> CreateSettleRequest {
    CreateSettleRequest { trade_system: SYSTEM.into(), ..request }
}

async fn get(gateway: &Gateway, key: v1::get_settle_request::Key) -> Result<v1::Settle, Code> {
    let request = v1::GetSettleRequest {
        app_id: APP_ID.to_owned(),
        trade_system: SYSTEM.into(),
        key: Some(key),
        ..Default::default()
    };
    let mut client = gateway.client.clone();
    let answer = within("GetSettle", client.get_settle(request)).await;
    answer.map(|answer| answer.into_inner().settle.unwrap()).map_err(|status| status.code())
}

async fn settle(gateway: &Gateway, number: &str) -> v1::Settle {
    get(gateway, v1::get_settle_request::Key::OutSettleNo(number.to_owned())).await.unwrap()
}

/// Waits until the settle is in this state.
async fn until(gateway: &Gateway, number: &str, state: SettleState) -> v1::Settle {
    let reached = async {
        loop {
            let settle = settle(gateway, number).await;
            if settle.state() == state {
                return settle;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the state", reached).await
}

async fn query(gateway: &Gateway, key: Key) -> Result<Vec<v1::Settle>, tonic::Status> {
    let (app_id, trade_system) = (APP_ID.to_owned(), SYSTEM.into());
    let request = v1::QuerySettlesRequest { app_id, trade_system, key: Some(key) };
    let mut client = gateway.client.clone();
    let answer = within("QuerySettles", client.query_settles(request)).await?;
    Ok(answer.into_inner().settles)
}

/// The acceptance alone is no answer; the query that shows the mark is.
#[tokio::test]
async fn a_create_is_accepted_once_a_query_shows_its_mark() {
    let gateway = spawn().await;
    let no = number("hidden");
    gateway.sim.script_query(
        &no,
        vec![Script::Answer {
            status: 200,
            body: r#"{"err_no":2000,"err_tips":"none","settle_info":{"settle_no":""}}"#.into(),
        }],
    );
    let request = guaranteed(create_on(&no, &format!("sim-hold-{no}")));
    let status = gateway.create(request.clone()).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "NOT_SHOWN_YET", "unknown");
    let made = gateway.create(request).await.unwrap();
    assert_eq!(made.state(), SettleState::Processing);
    let books = gateway.sim.books();
    assert_eq!(books.sends_in(System::Guaranteed, &no), 1, "nothing is sent after the acceptance");
    assert_eq!(made.settle_id(), books.only(&no).unwrap().settle_id);
    assert_eq!(made.result.and_then(|result| result.settle_time), None, "a 0 is no time");
}

/// Douyin answers it like the first create: there is no 23111. No query shows an order, so only the
/// mark of another content proves that it is another intent's.
#[tokio::test]
async fn a_strangers_number_is_accepted_by_douyin_and_refused_here() {
    let gateway = spawn().await;
    for (cp_extra, outcome) in [("sg1:another", "refused"), ("theirs", "unknown")] {
        let no = number("theirs");
        let stranger = StrangerSettle {
            system: System::Guaranteed,
            out_order_no: "another-order".to_owned(),
            cp_extra: cp_extra.to_owned(),
            ..Default::default()
        };
        let theirs = gateway.sim.stranger_settle(APP_ID, &no, stranger);
        for _ in 0..2 {
            let status = gateway.create(guaranteed(create_request(&no))).await.unwrap_err();
            let code = Code::AlreadyExists;
            let details = assert_create_error(&status, code, "OUT_SETTLE_NO_EXISTS", outcome);
            assert_eq!(details.info.metadata["settle_id"], theirs);
        }
        assert_eq!(gateway.sim.books().sends(&no), 1);
        assert_eq!(settle(&gateway, &no).await.origin(), v1::SettleOrigin::Platform);
    }
}

/// It takes no grace: no other settle can be under the number.
#[tokio::test]
async fn a_settle_that_failed_ends_and_frees_no_number() {
    let gateway = spawn().await;
    let no = number("failed");
    let request = guaranteed(create_on(&no, &format!("sim-fail-{no}")));
    gateway.create(request.clone()).await.unwrap();
    let failed = until(&gateway, &no, SettleState::Failed).await;
    let again = gateway.create(request).await.unwrap();
    assert_eq!((again.state(), again.settle_id()), (SettleState::Failed, failed.settle_id()));
    assert_eq!(gateway.sim.books().sends(&no), 1);
    let anew = number("anew");
    gateway.create(guaranteed(create_on(&anew, &format!("sim-fail-{no}")))).await.unwrap();
}

/// What was sent is what is signed, with the salt that the app has then.
#[tokio::test]
async fn a_rejected_signature_refuses_no_settle() {
    let gateway = Gateway::spawn_with(simulator().await, |config| {
        in_every_system(config);
        config.apps[0].salt = Some("of-yesterday".to_owned().into());
    })
    .await;
    let no = number("unsigned");
    let status = gateway.create(guaranteed(create_request(&no))).await.unwrap_err();
    let (code, reason) = (Code::FailedPrecondition, "UPSTREAM_CREDENTIALS_REJECTED");
    assert_create_error(&status, code, reason, "unknown");
    assert_eq!(gateway.sim.books().under(&no).len(), 0);
    // Other systems of the app go on.
    gateway.create(create_request(&number("general"))).await.unwrap();
    let mut gateway = gateway;
    gateway.tune(in_every_system);
    let gateway = gateway.restart().await;
    until(&gateway, &no, SettleState::Succeeded).await;
    assert_eq!(gateway.sim.books().under(&no).len(), 1);
}

#[tokio::test]
async fn what_this_system_does_not_take_is_told_before_anything_is_recorded() {
    let gateway = spawn().await;
    type Change = fn(&mut CreateSettleRequest);
    let share = |uid: &str| SettleParam { merchant_uid: uid.to_owned(), amount_fen: 1 };
    let shares = |count: usize| (0..count).map(|i| share(&i.to_string())).collect::<Vec<_>>();
    let cases: [(Change, &[&str]); 7] = [
        (|request| request.settle_desc = "分".repeat(81), &["settle_desc"]),
        (|request| request.item_order_id = "item".to_owned(), &["item_order_id"]),
        (|request| request.out_settle_no += " 1", &["out_settle_no"]),
        (|request| request.out_settle_no += "单", &["out_settle_no"]),
        (|request| request.notify_url = format!("https://{}", "x".repeat(249)), &["notify_url"]),
        (
            |request| request.settle_params[0].merchant_uid = "7".repeat(33),
            &["settle_params[0].merchant_uid"],
        ),
        (|request| request.ext = "x".repeat(2_049), &["ext"]),
    ];
    for (change, fields) in cases {
        let mut request = guaranteed(create_request(&number("beyond")));
        change(&mut request);
        let no = request.out_settle_no.clone();
        let status = gateway.create(request).await.unwrap_err();
        let code = Code::InvalidArgument;
        let details = assert_create_error(&status, code, "INVALID_REQUEST", "not_sent");
        assert_eq!(details.fields, fields);
        assert_eq!(gateway.sim.books().sends(&no), 0);
    }
    for (receivers, fits) in [(4, true), (5, false)] {
        let no = number("receivers");
        let settle_params = shares(receivers);
        let request = CreateSettleRequest { settle_params, ..guaranteed(create_request(&no)) };
        assert_eq!(gateway.create(request).await.is_ok(), fits, "{receivers}");
    }
    // What is longer than other systems take.
    let no = number("at-the-limit");
    let settle_params = (0..4).map(|i| share(&format!("{i}{}", "7".repeat(31)))).collect();
    let settle_desc = "分".repeat(80);
    let request = CreateSettleRequest { settle_params, settle_desc, ..create_request(&no) };
    gateway.create(guaranteed(request)).await.unwrap();
}

#[tokio::test]
async fn a_settle_is_found_by_its_number_only() {
    let gateway = spawn().await;
    let no = number("found");
    let made = gateway.create(guaranteed(create_on(&no, &format!("sim-hold-{no}")))).await.unwrap();
    let found = query(&gateway, Key::OutSettleNo(no.clone())).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(query(&gateway, Key::OutSettleNo(number("unknown"))).await.unwrap(), []);
    for key in [Key::SettleId(made.settle_id().to_owned()), Key::OrderId("N1".to_owned())] {
        let status = query(&gateway, key.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{key:?}");
        let told = details(&status);
        let field = if matches!(key, Key::OrderId(_)) { "order_id" } else { "settle_id" };
        assert_eq!(
            (told.info.reason.as_str(), told.fields),
            ("INVALID_REQUEST", vec![field.into()])
        );
    }
    // What is recorded here is found by both.
    let by_id = v1::get_settle_request::Key::SettleId(made.settle_id().to_owned());
    assert_eq!(get(&gateway, by_id).await.unwrap().out_settle_no, no);
    let unknown = v1::get_settle_request::Key::SettleId("unknown".to_owned());
    assert_eq!(get(&gateway, unknown).await, Err(Code::NotFound));
}

/// What Douyin settled of an order by itself, and the settle of another system of the company.
#[tokio::test]
async fn settles_that_were_made_elsewhere_are_adopted() {
    let gateway = spawn().await;
    let (order, no) = (number("auto"), number("elsewhere"));
    let settle = StrangerSettle {
        system: System::Guaranteed,
        out_order_no: order.clone(),
        ..Default::default()
    };
    let id = gateway.sim.platform_settle(APP_ID, settle.clone());
    gateway.sim.stranger_settle(APP_ID, &no, settle);
    let found = query(&gateway, Key::OutOrderNo(order.clone())).await.unwrap();
    let [by_itself] = &found[..] else { panic!("{found:?}") };
    assert_eq!((by_itself.settle_id(), by_itself.out_order_no()), (id.as_str(), order.as_str()));
    assert_eq!(by_itself.result.as_ref().unwrap().auto_settle, Some(true));
    let found = query(&gateway, Key::OutSettleNo(no.clone())).await.unwrap();
    let [theirs] = &found[..] else { panic!("{found:?}") };
    assert_eq!((theirs.origin(), &theirs.out_settle_no), (v1::SettleOrigin::Platform, &no));
}

/// A callback of this kind, signed by the simulator.
fn letter(gateway: &Gateway, body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    let msg = body["msg"].as_str().unwrap().to_owned();
    let signature = gateway.sim.sign_with_token(APP_ID, "1699323852", "5069", &msg);
    body["timestamp"] = json!("1699323852");
    body["nonce"] = json!("5069");
    body["msg_signature"] = json!(signature);
    body
}

fn about(gateway: &Gateway, settle_id: &str, status: SimStatus) -> Value {
    letter(gateway, &gateway.sim.callback_body(settle_id, status).expect("there is such a settle"))
}

async fn deliver(gateway: &Gateway, body: &Value) -> u16 {
    let request = reqwest::Client::new()
        .post(gateway.callback_url(APP_ID))
        .header("content-type", "application/json")
        .body(body.to_string());
    within("the answer to a callback", request.send()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_callback_ends_a_settle_and_a_forged_one_changes_nothing() {
    let gateway = Gateway::spawn_with(simulator().await, patient).await;
    for (status, state) in
        [(SimStatus::Success, SettleState::Succeeded), (SimStatus::Fail, SettleState::Failed)]
    {
        let no = number("heard");
        let made =
            gateway.create(guaranteed(create_on(&no, &format!("sim-hold-{no}")))).await.unwrap();
        let good = about(&gateway, made.settle_id(), status);
        type Forge = fn(&mut Value);
        let forged: [Forge; 5] = [
            |body| body["nonce"] = json!("5070"),
            |body| body["msg_signature"] = json!("0".repeat(40)),
            |body| body["msg_signature"] = json!(null),
            |body| drop(body.as_object_mut().unwrap().remove("msg_signature")),
            |body| {
                let msg = body["msg"].as_str().unwrap().replace("settle_amount\":", "x\":");
                body["msg"] = json!(msg);
            },
        ];
        for (i, forge) in forged.iter().enumerate() {
            let mut body = good.clone();
            forge(&mut body);
            assert_eq!(deliver(&gateway, &body).await, 401, "{i}");
        }
        assert_eq!(settle(&gateway, &no).await, made);
        assert_eq!(deliver(&gateway, &good).await, 200);
        let ended = settle(&gateway, &no).await;
        assert_eq!(ended.state(), state);
        // Replayed, it changes nothing.
        assert_eq!(deliver(&gateway, &good).await, 200);
        assert_eq!(settle(&gateway, &no).await, ended);
    }
}

/// The callback is the first that shows whose settle it is.
#[tokio::test]
async fn a_callback_with_the_mark_proves_what_the_acceptance_did_not() {
    let gateway = Gateway::spawn_with(simulator().await, patient).await;
    let no = number("first-told");
    gateway.sim.always_query(Some(Script::Drop));
    let status =
        gateway.create(guaranteed(create_on(&no, &format!("sim-hold-{no}")))).await.unwrap_err();
    assert_create_error(&status, Code::Unavailable, "NOT_SHOWN_YET", "unknown");
    let id = gateway.sim.books().only(&no).unwrap().settle_id.clone();
    assert_eq!(deliver(&gateway, &about(&gateway, &id, SimStatus::Success)).await, 200);
    let ended = settle(&gateway, &no).await;
    assert_eq!((ended.state(), ended.settle_id()), (SettleState::Succeeded, id.as_str()));
}

/// Of the type `settle_finish`, which names no number but Douyin's.
#[tokio::test]
async fn what_douyin_settled_by_itself_is_adopted_by_its_callback() {
    let gateway = Gateway::spawn_with(simulator().await, in_every_system).await;
    let order = number("auto-order");
    let settle = StrangerSettle {
        system: System::Guaranteed,
        out_order_no: order.clone(),
        ..Default::default()
    };
    let id = gateway.sim.platform_settle(APP_ID, settle);
    let body = about(&gateway, &id, SimStatus::Success);
    assert_eq!(body["type"], "settle_finish");
    assert_eq!(deliver(&gateway, &body).await, 200);
    let adopted = self::settle(&gateway, &id).await;
    assert_eq!((adopted.state(), adopted.out_order_no()), (SettleState::Succeeded, order.as_str()));
    assert_eq!(adopted.result.unwrap().auto_settle, Some(true));
}

/// An answer may be spelled as the page's table or as its sample has it, and amounts as texts.
#[tokio::test]
async fn both_spellings_of_an_answer_lead_to_the_same_end() {
    for names in [douyin_sim::GuaranteedNames::Table, douyin_sim::GuaranteedNames::Sample] {
        let choices = Choices { guaranteed_query_names: names, ..Choices::default() };
        let sim = simulator_with(move |config| config.choices = choices.clone()).await;
        let gateway = Gateway::spawn_with(sim, in_every_system).await;
        let no = number("spelled");
        gateway.create(guaranteed(create_request(&no))).await.unwrap();
        let ended = until(&gateway, &no, SettleState::Succeeded).await;
        assert!(ended.result.unwrap().settle_time.is_some());
    }
}

/// What is left of an order, and that it is not asked for elsewhere unless the operator wants it.
#[tokio::test]
async fn the_amount_left_of_an_order_is_told() {
    let gateway = spawn().await;
    let no = number("left");
    let order = format!("order-of-{no}");
    let ask = async |out_order_no: &str| {
        let (app_id, trade_system) = (APP_ID.to_owned(), SYSTEM.into());
        let out_order_no = out_order_no.to_owned();
        let request = v1::GetUnsettledAmountRequest { app_id, trade_system, out_order_no };
        let mut client = gateway.client.clone();
        let answer = within("GetUnsettledAmount", client.get_unsettled_amount(request)).await;
        answer.map(tonic::Response::into_inner)
    };
    let before = ask(&order).await.unwrap();
    assert_eq!(before.paid_amount_fen, Some(100_000));
    let rake = before.payment_rake_fen.unwrap();
    assert_eq!(before.unsettled_amount_fen, 100_000 - rake);
    assert_eq!((before.refunded_amount_fen, before.commission_fen), (Some(0), Some(0)));
    gateway.create(guaranteed(create_request(&no))).await.unwrap();
    assert_eq!(ask(&order).await.unwrap().unsettled_amount_fen, 0);
    gateway.sim.script_query("unknown", vec![Script::Refuse(2000)]);
    let unknown = ask("unknown").await.unwrap_err();
    assert_eq!(
        (unknown.code(), details(&unknown).info.reason.as_str()),
        (Code::NotFound, "ORDER_NOT_FOUND")
    );
}
