//! Douyin's answers and callbacks with odd types, damaged texts and contradictions. Fields that
//! decide nothing never keep a settle from its end, and what contradicts itself is unknown.

mod out_of_step;
mod stuck;

use std::time::Duration;

use douyin_sim::{Choices, Informing, Script, Simulator};
use serde_json::{Value, json};
use settlement_gateway::proto::v1::query_settles_request::Key;
use settlement_gateway::proto::v1::{self, SettleState};
use tonic::Code;

use crate::harness::{
    APP_ID, Gateway, assert_create_error, create_on, create_request, details, number, simulator,
    simulator_with, within,
};
use crate::process::{Process, Setting};

async fn odd_simulator() -> Simulator {
    simulator_with(|config| {
        config.choices = Choices { informing: Informing::Odd, ..Choices::default() };
    })
    .await
}

/// Every field that decides nothing has another type in each answer.
#[tokio::test]
async fn every_settle_ends_by_queries_whatever_the_types_of_what_informs() {
    let gateway = Gateway::spawn_with(odd_simulator().await, |_| {}).await;
    for _ in 0..24 {
        let number = number("odd");
        let settle = gateway.create(create_request(&number)).await.unwrap();
        assert_eq!(settle.state(), SettleState::Processing);
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    }
    let failed = number("odd-fail");
    gateway.create(create_on(&failed, "sim-fail-1")).await.unwrap();
    assert_eq!(gateway.end(&failed).await.state(), SettleState::Failed);
    let refused =
        gateway.create(create_on(&number("odd-no"), "sim-err-23102-1")).await.unwrap_err();
    assert_create_error(&refused, Code::FailedPrecondition, "ORDER_NOT_PAID", "refused");
}

#[tokio::test]
async fn every_callback_is_acknowledged_whatever_the_types_of_what_informs() {
    let gateway = Gateway::spawn_with(odd_simulator().await, |config| {
        let schedule = &mut config.gateway.schedule;
        for wait in [&mut schedule.first, &mut schedule.cap, &mut schedule.watched_cap] {
            *wait = Duration::from_secs(600);
        }
    })
    .await;
    gateway.callbacks_on();
    let malformed = gateway.callbacks(APP_ID, "malformed").await;
    for _ in 0..24 {
        let number = number("odd-callback");
        gateway.create(create_request(&number)).await.unwrap();
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    }
    assert_eq!(gateway.callbacks(APP_ID, "malformed").await, malformed);
}

/// As an operator sees it: counted by field from the start, logged once per kind, and never with
/// its value.
#[tokio::test]
async fn a_field_that_does_not_fit_is_counted_and_told_once() {
    let (sim, dir) = (simulator().await, tempfile::tempdir().unwrap());
    let process = Process::start(&sim, dir.path(), Setting::default()).await;
    let metric = "settlement_unreadable_fields_total{field=\"rake\"}";
    assert!(process.metrics().await.contains(&format!("{metric} 0")), "there from the start");
    for nth in 0..3 {
        let number = number("told-once");
        let order = format!("sim-hold-{nth}");
        let settle = process.create(create_on(&number, &order)).await.unwrap();
        let found = json!({ "err_no": 0, "data": [{
            "settle_id": settle.settle_id(), "settle_status": "SUCCESS", "out_settle_no": number,
            "out_order_no": order, "rake": { "secret-text": nth }, "settle_at": i64::MAX,
            "settle_detail": ["secret-text"], "is_auto_settle": "no", "commission": 6.0,
        }] });
        sim.always_query(Some(Script::json(200, found.to_string())));
        let ended = process.end(&number).await;
        assert_eq!(ended.state(), SettleState::Succeeded);
        let result = ended.result.unwrap();
        assert_eq!((result.rake_fen, result.commission_fen), (None, Some(6)));
        assert_eq!((result.settle_time, result.settle_detail), (None, None));
    }
    let metrics = process.metrics().await;
    assert!(!metrics.contains(&format!("{metric} 0")), "{metrics}");
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    let told = log.lines().filter(|line| line.contains("\"field\":\"rake\"")).count();
    assert_eq!(told, 1, "{log}");
    assert!(!log.contains("secret-text"), "{log}");
}

#[tokio::test]
async fn a_refusal_with_a_broken_text_is_a_refusal() {
    let gateway = Gateway::spawn().await;
    let bodies: [&[u8]; 5] = [
        br#"{"err_no":23102,"err_msg":"x\ud83d"}"#,
        b"{\"err_no\":23102,\"err_msg\":\"\xe5\x88\"}",
        b"\xef\xbb\xbf{\"err_no\":23102,\"err_msg\":\"order not pay\"}",
        b"{\"err_no\":23102,\"err_msg\":\"two\nlines\"}",
        br#"{"err_no":23102,"err_msg":{"zh":"no"},"data":{"settle_id":"0"}}"#,
    ];
    for body in bodies {
        let number = number("broken");
        gateway.sim.script(&number, vec![Script::json(400, body)]);
        let status = gateway.create(create_request(&number)).await.unwrap_err();
        assert_create_error(&status, Code::FailedPrecondition, "ORDER_NOT_PAID", "refused");
        assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Rejected);
    }
}

/// Douyin took it, and the answer says both that and the contrary.
#[tokio::test]
async fn an_error_together_with_a_settle_is_unknown_and_the_settle_is_found() {
    let gateway = Gateway::spawn().await;
    let data = json!({ "settle_id": "ots00000000000000000000001" });
    let contradictions = [
        json!({ "err_no": 23102, "data": data }).to_string(),
        json!({ "err_no": 99_999, "data": data }).to_string(),
        json!({ "err_no": 23102, "data": [data] }).to_string(),
        json!({ "err_no": 0, "data": data, "extra": { "sub_error_code": 23102 } }).to_string(),
        json!({ "err_no": 0, "error_code": 23102, "data": data }).to_string(),
        r#"{"err_no":0,"err_no":23102,"data":{}}"#.to_owned(),
    ];
    for contradiction in contradictions {
        let number = number("contradiction");
        let said = Script::apply_then(Script::json(200, contradiction.clone()));
        gateway.sim.script(&number, vec![said]);
        let created = gateway.create(create_request(&number)).await;
        if let Err(status) = created {
            assert_eq!(details(&status).info.metadata["outcome"], "unknown", "{contradiction}");
        }
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded, "{contradiction}");
        assert_eq!(gateway.sim.books().under(&number).len(), 1, "{contradiction}");
    }
}

fn found(settle: &v1::Settle, number: &str) -> Value {
    json!({
        "settle_id": settle.settle_id(), "settle_status": "PROCESSING", "out_settle_no": number,
        "out_order_no": settle.out_order_no,
    })
}

/// Douyin takes two numbers for one that are two here.
#[tokio::test]
async fn a_number_that_differs_only_in_case_from_one_of_ours_comes_to_its_end() {
    let gateway = Gateway::spawn().await;
    let first = number("Pay");
    let second = first.to_lowercase();
    assert_ne!(first, second);
    let settle = gateway.create(create_on(&first, "sim-hold-1")).await.unwrap();
    let shows = json!({ "err_no": 0, "data": [found(&settle, &first)] }).to_string();
    gateway.sim.script(&second, vec![Script::Refuse(23111); 4]);
    gateway.sim.script_query(&second, vec![Script::json(200, shows); 50]);
    let status = gateway.create(create_request(&second)).await.unwrap_err();
    assert_create_error(&status, Code::AlreadyExists, "OUT_SETTLE_NO_EXISTS", "refused");
    assert_eq!(gateway.end(&second).await.state(), SettleState::Rejected);
    let now = gateway.get(&first).await.unwrap();
    assert_eq!((now.state(), now.settle_id), (SettleState::Processing, settle.settle_id));
}

/// The settle may be this number's, written differently, even if it was adopted under that number,
/// as a callback would do.
#[tokio::test]
async fn a_settle_under_a_number_like_ours_that_is_not_one_of_ours_leaves_the_doubt() {
    let gateway = looking().await;
    for is_adopted in [false, true] {
        let second = number("alike");
        let first = second.to_uppercase();
        let order = format!("sim-{second}-1");
        let other = json!({ "err_no": 0, "data": [{
            "settle_id": format!("ots-{second}"), "settle_status": "SUCCESS",
            "out_settle_no": first, "out_order_no": order,
        }] });
        let shows = || Script::json(200, other.to_string());
        if is_adopted {
            gateway.sim.script_query(&order, vec![shows()]);
            let listed = query(&gateway, Key::OutOrderNo(order.clone())).await;
            assert_eq!(listed, [first]);
        }
        gateway.sim.script(&second, vec![Script::Refuse(23111); 4]);
        gateway.sim.script_query(&second, vec![shows(); 500]);
        let status = gateway.create(create_on(&second, &order)).await.unwrap_err();
        assert_eq!(details(&status).info.metadata["outcome"], "unknown");
        is_stuck(&gateway, &second, "unproven").await;
        assert_eq!(gateway.get(&second).await.unwrap().state(), SettleState::Submitting);
    }
}

/// The numbers of what Douyin has under this key.
async fn query(gateway: &Gateway, key: Key) -> Vec<String> {
    let request = v1::QuerySettlesRequest { key: Some(key), ..Default::default() };
    let mut client = gateway.client.clone();
    let listed = within("QuerySettles", client.query_settles(request)).await.unwrap().into_inner();
    listed.settles.into_iter().map(|settle| settle.out_settle_no).collect()
}

/// 23111 after a send whose answer was lost. That send may be the settle, and nothing is shown.
#[tokio::test]
async fn a_number_that_exists_and_is_not_shown_is_listed() {
    let gateway = looking().await;
    let number = number("hidden");
    gateway.sim.script(&number, vec![Script::Drop, Script::Refuse(23111)]);
    let status = gateway.create(create_request(&number)).await.unwrap_err();
    assert_eq!(details(&status).info.metadata["outcome"], "unknown");
    is_stuck(&gateway, &number, "exists_but_absent").await;
}

/// A gateway that looks for stuck settles all the time.
async fn looking() -> Gateway {
    Gateway::spawn_with(simulator().await, |config| {
        config.poller.sweep_interval = Duration::from_millis(100);
    })
    .await
}

/// Waits until the operator's list has the settle so.
async fn is_stuck(gateway: &Gateway, number: &str, kind: &str) {
    let listed = async {
        loop {
            let told = gateway.stuck("").await.unwrap();
            if told.settles.iter().any(|it| it.out_settle_no == number && it.kind == kind) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(&format!("{number} to be listed as {kind}"), listed).await;
}

#[tokio::test]
async fn one_settle_that_douyin_shows_under_two_numbers_is_listed_once() {
    let gateway = Gateway::spawn().await;
    let number = number("twice");
    let settle = gateway.create(create_on(&number, "sim-hold-1")).await.unwrap();
    let data = [found(&settle, &number), found(&settle, "another")];
    let answer = json!({ "err_no": 0, "data": data }).to_string();
    gateway.sim.script_query("sim-hold-1", vec![Script::json(200, answer)]);
    assert_eq!(query(&gateway, Key::OutOrderNo("sim-hold-1".to_owned())).await, [number]);
}

/// A damaged answer may hold null too. Taken for "none" it could end a settle that lives.
#[tokio::test]
async fn only_an_empty_array_says_that_there_is_no_settle() {
    for data in [
        json!({ "err_no": 0, "data": null }),
        json!({ "err_no": 0 }),
        json!({ "err_no": 0, "data": {} }),
    ] {
        let gateway = Gateway::spawn().await;
        let number = number("none");
        gateway.sim.script(&number, vec![Script::apply_then(Script::Drop), Script::Refuse(23112)]);
        gateway.sim.always_query(Some(Script::json(200, data.to_string())));
        let status = gateway.create(create_request(&number)).await.unwrap_err();
        assert_eq!(details(&status).info.metadata["outcome"], "unknown");
        // Longer than the grace.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(gateway.get(&number).await.unwrap().state(), SettleState::Submitting, "{data}");
        gateway.sim.always_query(None);
        assert_eq!(gateway.end(&number).await.state(), SettleState::Succeeded);
    }
}
