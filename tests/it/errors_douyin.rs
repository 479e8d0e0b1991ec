//! Douyin's numbers: each row of the table, answered to a create and to a query, alone and below a
//! class, and the whole status compared with `snapshots/errors_douyin.txt`.

use std::fmt::Write as _;
use std::time::Duration;

use douyin_sim::{Script, SimApp};
use settlement_gateway::config::Config;
use settlement_gateway::douyin::codes::{self, Handling, Retry, Row};
use settlement_gateway::grpc::rpc::Rpc;
use settlement_gateway::proto::v1;
use settlement_gateway::settle::TradeSystem;
use tonic::Code;

use crate::harness::{Gateway, SECRET, app, create_request, simulator_with};
use crate::printed::assert_printed;
use crate::raw::{Call, Wire};
use crate::told::Told;
use crate::trailers::told_raw;

/// A number that no page lists.
const UNLISTED: i32 = 23999;

/// An app for each number, because some numbers pause theirs.
fn app_id(what: &str, err_no: i32) -> String {
    format!("tt-{what}-{err_no}")
}

fn numbers() -> impl Iterator<Item = i32> {
    codes::rows(TradeSystem::General).into_iter().map(|row| row.err_no).chain([UNLISTED])
}

fn apps() -> Vec<String> {
    let whats = ["create", "below", "query", "get", "watch", "wait"];
    numbers().flat_map(|err_no| whats.map(|what| app_id(what, err_no))).collect()
}

fn serve_all(config: &mut Config) {
    for app_id in apps() {
        config.apps.push(app(&app_id, "s"));
    }
    // A second token is as bad as the first one here, and need not be waited for.
    config.douyin.refetch_gap = std::time::Duration::from_millis(1);
    crate::harness::wait_for_answers(config);
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

/// A gateway, and a connection to it.
struct Edge {
    gateway: Gateway,
    wire: Wire,
}

impl Edge {
    async fn spawn() -> Self {
        let sim = simulator_with(|config| {
            for app_id in apps() {
                config.apps.push(SimApp::new(&app_id, "s"));
            }
        })
        .await;
        let gateway = Gateway::spawn_with(sim, serve_all).await;
        let wire = Wire::connect(&gateway.url).await;
        Self { gateway, wire }
    }

    /// What the bytes of an answer say to a call that must fail.
    async fn told(&self, rpc: Rpc, call: Call) -> Told {
        told_raw(&self.wire.call(call).await.expect("the server answers"), Some(rpc))
    }

    async fn created(&self, what: &str, err_no: i32, script: Script) -> Told {
        let number = format!("{what}-{err_no}");
        // The send and its repeat at once; what comes later is not waited for.
        self.gateway.sim.script(&number, vec![script; 20]);
        let app_id = app_id(what, err_no);
        let request = v1::CreateSettleRequest { app_id, ..create_request(&number) };
        self.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &request)).await
    }

    async fn asked(&self, rpc: Rpc, err_no: i32) -> Told {
        let what = rpc.name().trim_end_matches('s').trim_end_matches("Settle").to_lowercase();
        let (number, app_id) = (format!("{what}-{err_no}"), app_id(&what, err_no));
        self.gateway.sim.script_query(&number, vec![alone(err_no); 3]);
        let call = match rpc {
            Rpc::QuerySettles => {
                let key = Some(v1::query_settles_request::Key::OutSettleNo(number));
                Call::of(rpc, &v1::QuerySettlesRequest { app_id, key, ..Default::default() })
            }
            Rpc::GetSettle => {
                let key = Some(v1::get_settle_request::Key::OutSettleNo(number));
                let refresh = true;
                let wanted = v1::GetSettleRequest { app_id, key, refresh, ..Default::default() };
                Call::of(rpc, &wanted)
            }
            Rpc::WatchSettle => {
                let key = Some(v1::watch_settle_request::Key::OutSettleNo(number));
                Call::of(rpc, &v1::WatchSettleRequest { app_id, key, ..Default::default() })
            }
            Rpc::WaitSettle => {
                let key = Some(v1::wait_settle_request::Key::OutSettleNo(number));
                Call::of(rpc, &v1::WaitSettleRequest { app_id, key, ..Default::default() })
            }
            Rpc::CreateSettle
            | Rpc::ListSettles
            | Rpc::GetUnsettledAmount
            | Rpc::ShowSettle
            | Rpc::ListStuckSettles
            | Rpc::ResolveContradiction
            | Rpc::StopSending
            | Rpc::EndSettle => panic!("{} asks for no settle", rpc.name()),
        };
        self.told(rpc, call).await
    }
}

fn row_of(err_no: i32) -> &'static Row {
    codes::row(Some(TradeSystem::General), err_no).unwrap_or_else(|| codes::other())
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
    assert_eq!(seen, (row.code, row.reason.as_str(), outcome), "{err_no}");
    let said = told.douyin.as_ref().expect("Douyin spoke");
    let numbers = [said.err_no, said.sub_err_no];
    assert!(numbers.contains(&Some(err_no)), "the raw number is kept: {said:?}");
    assert!(told.request.is_some(), "its log id is there to be quoted");
    // What the class says, except that the outcome of a create decides along.
    let retry = match (outcome, row.retry) {
        ("unknown", Retry::Never | Retry::AfterChange)
            if row.handling != Handling::Reauthenticate =>
        {
            Retry::Now(Duration::from_secs(5))
        }
        ("refused", Retry::Now(_)) => Retry::Never,
        (_, retry) => retry,
    };
    let (word, delay) = match retry {
        Retry::Now(delay) => ("now", Some(delay)),
        Retry::AfterChange => ("after_change", None),
        Retry::Never => ("never", None),
    };
    assert_eq!((told.metadata("retry"), told.retry_after), (word, delay), "{err_no}");
}

/// The field that the number names is named, and nothing else but what the message names.
fn assert_field(told: &Told, err_no: i32) {
    match row_of(err_no).field {
        Some(field) => assert_eq!(told.fields(), [field], "{err_no}"),
        None if told.code == Code::InvalidArgument => {}
        None => assert_eq!(told.bad_request, None, "{err_no}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_what_it_says_to_a_create_and_to_a_query() {
    let edge = Edge::spawn().await;
    let mut text = String::new();
    for err_no in numbers() {
        let outcome = first_outcome(row_of(err_no));
        let by_create = edge.created("create", err_no, alone(err_no)).await;
        assert_row(&by_create, err_no, outcome);
        assert_field(&by_create, err_no);
        let by_query = edge.asked(Rpc::QuerySettles, err_no).await;
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
    let edge = Edge::spawn().await;
    for err_no in numbers().filter(|err_no| *err_no != UNLISTED) {
        let told = edge.created("below", err_no, below(err_no)).await;
        assert_row(&told, err_no, first_outcome(row_of(err_no)));
        let said = told.douyin.unwrap();
        assert_eq!((said.err_no, said.sub_err_no), (Some(2191009), Some(err_no)));
    }
    // Below a class an unlisted number is one, and both are kept.
    let told = edge.created("below", UNLISTED, below(UNLISTED)).await;
    assert_row(&told, UNLISTED, "unknown");
    assert_eq!((told.code, told.reason()), (Code::Unknown, "DOUYIN_ERROR"));
}

/// One number of each handling, and all reasons that pause an app.
#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_ask_tells_each_class_of_failure() {
    let edge = Edge::spawn().await;
    for rpc in [Rpc::GetSettle, Rpc::WatchSettle, Rpc::WaitSettle] {
        for err_no in [10000, 23000, 23111, 23102, 12001, 10020, 28001003, 2191009, UNLISTED] {
            assert_row(&edge.asked(rpc, err_no).await, err_no, "");
        }
    }
}

#[tokio::test]
async fn param_error_names_the_field_that_douyins_message_names() {
    let edge = Edge::spawn().await;
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
        edge.gateway.sim.script(&number, vec![Script::json(400, body)]);
        let call = Call::of(Rpc::CreateSettle, &create_request(&number));
        let told = edge.told(Rpc::CreateSettle, call).await;
        assert_eq!((told.reason(), told.fields()), ("PARAM_ERROR", fields.to_vec()), "{err_msg}");
    }
}

/// What must not show is checked wherever a status is read.
#[tokio::test]
async fn a_secret_that_douyin_repeats_reaches_no_caller() {
    let gateway = Gateway::spawn().await;
    let said = format!(r#"{{"err_no":28001003,"err_msg":"is {SECRET} it?","log_id":"l"}}"#);
    gateway.sim.always_token(Some(Script::json(200, said)));
    let wire = Wire::connect(&gateway.url).await;
    let key = Some(v1::query_settles_request::Key::OutSettleNo("n".to_owned()));
    let question = v1::QuerySettlesRequest { key, ..Default::default() };
    for (rpc, call) in [
        (Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &create_request("n"))),
        (Rpc::QuerySettles, Call::of(Rpc::QuerySettles, &question)),
    ] {
        let told = told_raw(&wire.call(call).await.unwrap(), Some(rpc));
        assert_eq!(told.metadata("err_msg"), "is [redacted] it?", "{told:?}");
    }
}

#[tokio::test]
async fn the_longest_words_of_douyins_stay_within_the_bounds() {
    let edge = Edge::spawn().await;
    let long = "参数错误".repeat(2_000);
    let body = format!(r#"{{"err_no":23102,"err_msg":"{long}","log_id":"{}"}}"#, "l".repeat(9_999));
    let mut request = create_request(&"号".repeat(21));
    request.out_order_no = "单".repeat(21);
    request.item_order_id = "i".repeat(64);
    edge.gateway.sim.script(&request.out_settle_no, vec![Script::json(200, body)]);
    // All bounds are checked wherever a status is read.
    let told = edge.told(Rpc::CreateSettle, Call::of(Rpc::CreateSettle, &request)).await;
    assert_eq!((told.reason(), told.outcome()), ("ORDER_NOT_PAID", "refused"));
    let said = told.douyin.unwrap();
    assert_eq!(said.err_msg().len(), 510, "512 bytes, cut between characters");
}
