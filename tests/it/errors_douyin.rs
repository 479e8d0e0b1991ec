//! Douyin's numbers: each row of the table, answered to a create and to a query, alone and below a
//! class, and the whole status compared with `snapshots/errors_douyin.txt`.

use std::fmt::Write as _;

use secrecy::SecretString;
use settlement_gateway::config::Config;
use settlement_gateway::douyin::App;
use settlement_gateway::douyin::codes::{self, Handling, Row};
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1::{self, query_settles_request};
use settlement_gateway::settle::AppId;
use settlement_gateway::sim::{Script, SimApp};
use tonic::Code;

use crate::harness::{Gateway, create_request, simulator_with, within};
use crate::printed::assert_printed;
use crate::told::{Told, told_status};

/// A number that no page lists.
const UNLISTED: i32 = 23999;

/// An app for each number, because some numbers pause theirs.
fn app_id(what: &str, err_no: i32) -> String {
    format!("tt-{what}-{err_no}")
}

fn numbers() -> impl Iterator<Item = i32> {
    codes::TABLE.iter().map(|row| row.err_no).chain([UNLISTED])
}

fn apps() -> Vec<String> {
    let whats = ["create", "below", "query", "get", "watch", "wait"];
    numbers().flat_map(|err_no| whats.map(|what| app_id(what, err_no))).collect()
}

fn serve_all(config: &mut Config) {
    for app_id in apps() {
        let (app_id, client_secret) = (AppId::parse(app_id).unwrap(), SecretString::from("s"));
        config.apps.push(App { app_id, client_secret });
    }
    // A second token is as bad as the first one here, and need not be waited for.
    config.douyin.refetch_gap = std::time::Duration::from_millis(1);
    crate::harness::wait_for_answers(config);
}

async fn gateway() -> Gateway {
    let sim = simulator_with(|config| {
        for app_id in apps() {
            config.apps.push(SimApp::new(&app_id, "s"));
        }
    })
    .await;
    Gateway::spawn_with(sim, serve_all).await
}

/// A number of Douyin's alone, in the envelope of trade_basic.
fn alone(err_no: i32) -> Script {
    Script::Refuse(i64::from(err_no))
}

/// The same below the class of settlement, in the envelope that has both.
fn below(err_no: i32) -> Script {
    let class = r#""error_code":2191009,"description":"business failed""#;
    let below = format!(r#""sub_error_code":{err_no},"sub_description":"below","logid":"l-1""#);
    let body = format!(r#"{{"data":{{{class}}},"extra":{{{class},{below}}}}}"#);
    Script::json(200, body)
}

async fn created(gateway: &Gateway, what: &str, err_no: i32, script: Script) -> Told {
    let number = format!("{what}-{err_no}");
    // The send and its repeat at once; what comes later is not waited for.
    gateway.sim.script(&number, vec![script; 20]);
    let request =
        v1::CreateSettleRequest { app_id: app_id(what, err_no), ..create_request(&number) };
    told_status(&gateway.create(request).await.unwrap_err(), Rpc::CreateSettle)
}

async fn asked(gateway: &Gateway, rpc: Rpc, err_no: i32) -> Told {
    let what = rpc.name().trim_end_matches("Settles").trim_end_matches("Settle").to_lowercase();
    let (number, app_id) = (format!("{what}-{err_no}"), app_id(&what, err_no));
    gateway.sim.script_query(&number, vec![alone(err_no); 3]);
    let mut client = gateway.client.clone();
    let trade_system = 0;
    let status = match rpc {
        Rpc::QuerySettles => {
            let key = Some(query_settles_request::Key::OutSettleNo(number));
            let request = v1::QuerySettlesRequest { app_id, trade_system, key };
            within("QuerySettles", client.query_settles(request)).await.map(drop)
        }
        Rpc::GetSettle => {
            let key = Some(v1::get_settle_request::Key::OutSettleNo(number));
            let refresh = true;
            let request = v1::GetSettleRequest { app_id, key, refresh, ..Default::default() };
            within("GetSettle", client.get_settle(request)).await.map(drop)
        }
        Rpc::WatchSettle => {
            let key = Some(v1::watch_settle_request::Key::OutSettleNo(number));
            let request = v1::WatchSettleRequest { app_id, key, ..Default::default() };
            within("WatchSettle", client.watch_settle(request)).await.map(drop)
        }
        Rpc::WaitSettle => {
            let key = Some(v1::wait_settle_request::Key::OutSettleNo(number));
            let request = v1::WaitSettleRequest { app_id, key, ..Default::default() };
            within("WaitSettle", client.wait_settle(request)).await.map(drop)
        }
        Rpc::CreateSettle | Rpc::ListSettles => panic!("{} asks for no settle", rpc.name()),
    };
    told_status(&status.unwrap_err(), rpc)
}

fn row_of(err_no: i32) -> &'static Row {
    codes::row(err_no).unwrap_or_else(|| codes::other())
}

/// The promise to the first caller of a first send.
fn first_outcome(row: &Row) -> &'static str {
    match row.handling {
        Handling::Refused => "refused",
        Handling::Unknown | Handling::Exists | Handling::Throttled | Handling::Reauthenticate => {
            "unknown"
        }
    }
}

fn assert_row(told: &Told, err_no: i32, outcome: &str) {
    let row = row_of(err_no);
    let seen = (told.code, told.reason(), told.outcome());
    assert_eq!(seen, (row.code, row.reason, outcome), "{err_no}");
    let said = told.douyin.as_ref().expect("Douyin spoke");
    let numbers = [said.err_no, said.sub_err_no];
    assert!(numbers.contains(&Some(err_no)), "the raw number is kept: {said:?}");
    assert!(told.request.is_some(), "its log id is there to be quoted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_what_it_says_to_a_create_and_to_a_query() {
    let gateway = gateway().await;
    let mut text = String::new();
    for err_no in numbers() {
        let outcome = first_outcome(row_of(err_no));
        let by_create = created(&gateway, "create", err_no, alone(err_no)).await;
        assert_row(&by_create, err_no, outcome);
        let by_query = asked(&gateway, Rpc::QuerySettles, err_no).await;
        assert_row(&by_query, err_no, "");
        for (what, told) in [("CreateSettle", by_create), ("QuerySettles", by_query)] {
            let hide = [(told.metadata("log_id"), "<log id>")];
            let _ = write!(text, "== {err_no} to {what}\n{}\n", told.render(&hide));
        }
    }
    assert_printed("tests/it/snapshots/errors_douyin.txt", "", "", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_number_of_an_answer_with_two_says_the_same_as_alone() {
    let gateway = gateway().await;
    for err_no in numbers().filter(|err_no| *err_no != UNLISTED) {
        let told = created(&gateway, "below", err_no, below(err_no)).await;
        assert_row(&told, err_no, first_outcome(row_of(err_no)));
        let said = told.douyin.unwrap();
        assert_eq!((said.err_no, said.sub_err_no), (Some(2191009), Some(err_no)));
    }
    // Below a class an unlisted number is one, and both are kept.
    let told = created(&gateway, "below", UNLISTED, below(UNLISTED)).await;
    assert_row(&told, UNLISTED, "unknown");
    assert_eq!((told.code, told.reason()), (Code::Unknown, "DOUYIN_ERROR"));
}

/// One number of each handling, and all reasons that pause an app.
#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_ask_tells_each_class_of_failure() {
    let gateway = gateway().await;
    for rpc in [Rpc::GetSettle, Rpc::WatchSettle, Rpc::WaitSettle] {
        for err_no in [10000, 23000, 23111, 23102, 12001, 10020, 28001003, 2191009, UNLISTED] {
            assert_row(&asked(&gateway, rpc, err_no).await, err_no, "");
        }
    }
}

#[tokio::test]
async fn param_error_names_the_field_that_douyins_message_names() {
    let gateway = gateway().await;
    for (err_msg, fields) in [
        ("param error: out_order_no is invalid", &["out_order_no"][..]),
        (
            "参数错误：settle_params 中 merchant_uid 不存在",
            &["settle_params", "settle_params.merchant_uid"],
        ),
        ("param error", &[]),
    ] {
        let body = format!(r#"{{"err_no":10000,"err_msg":"{err_msg}","log_id":"l"}}"#);
        let number = crate::harness::number("named");
        gateway.sim.script(&number, vec![Script::json(400, body)]);
        let status = gateway.create(create_request(&number)).await.unwrap_err();
        let told = told_status(&status, Rpc::CreateSettle);
        assert_eq!((told.reason(), told.fields()), ("PARAM_ERROR", fields.to_vec()), "{err_msg}");
    }
}

#[tokio::test]
async fn the_longest_words_of_douyins_stay_within_the_bounds() {
    let gateway = gateway().await;
    let long = "参数错误".repeat(2_000);
    let body = format!(r#"{{"err_no":23102,"err_msg":"{long}","log_id":"{}"}}"#, "l".repeat(9_999));
    let mut request = create_request(&"号".repeat(21));
    request.out_order_no = "单".repeat(21);
    request.item_order_id = "i".repeat(64);
    gateway.sim.script(&request.out_settle_no, vec![Script::json(200, body)]);
    // All bounds are checked wherever a status is read.
    let wire = crate::raw::Wire::connect(&gateway.url).await;
    let raw = wire.call(crate::raw::Call::of(Rpc::CreateSettle, &request)).await.unwrap();
    let told = crate::told::told_raw(&raw, Some(Rpc::CreateSettle));
    assert_eq!((told.reason(), told.outcome()), ("ORDER_NOT_PAID", "refused"));
    let said = told.douyin.unwrap();
    assert_eq!(said.err_msg().len(), 510, "512 bytes, cut between characters");
}
