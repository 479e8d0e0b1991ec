//! What only guaranteed payment does.

use serde_json::json;

use super::{Developer, edited};
use crate::tests::{APP, START_MS, config};
use crate::{
    AppRules, Choices, GuaranteedNames, ItemSetup, OrderSetup, SimConfig, StrangerSettle, System,
};

const LEFT: &str = "/api/apps/ecpay/v1/unsettle_amount";
const BY_ITSELF: &str = "/api/apps/ecpay/v1/query_platform_order";

fn developer() -> Developer {
    Developer::new(System::Guaranteed)
}

fn about(out_order_no: &str) -> serde_json::Value {
    json!({ "app_id": APP, "out_order_no": out_order_no })
}

#[test]
fn an_unknown_number_is_an_error_beside_an_object_that_says_nothing() {
    let mut developer = developer();
    let body = developer.query_body("out_settle_no", "s1");
    let said = developer.ask(developer.query_path(), body).body;
    assert_eq!(
        (&said["err_no"], &said["settle_info"]["settle_status"]),
        (&json!(2_000), &json!(""))
    );
    assert_eq!(said["settle_info"]["settle_amount"], 0);
}

#[test]
fn its_page_and_its_sample_name_an_error_in_two_ways() {
    let choices = Choices { guaranteed_query_names: GuaranteedNames::Table, ..Choices::default() };
    let mut developer = Developer::with(System::Guaranteed, SimConfig { choices, ..config() });
    let body = developer.query_body("out_settle_no", "s1");
    let reply = developer.send(developer.query_path(), body);
    let said = crate::tests::json_of(&super::answer(reply));
    assert_eq!((&said["error_no"], said.get("err_no")), (&json!(2_000), None));
    assert_eq!(developer.create("s1", "o1").number, 0);
}

#[test]
fn answers_are_flat_and_times_are_seconds() {
    let mut developer = developer();
    let said = developer.create("s1", "o1").body;
    assert_eq!((&said["err_tips"], said.get("data")), (&json!("success"), None));
    assert_eq!(developer.query("out_settle_no", "s1")[0]["settled_at"], 0);
    developer.wait();
    assert_eq!(developer.query("out_settle_no", "s1")[0]["settled_at"], (START_MS + 1_500) / 1_000);
}

#[test]
fn a_query_knows_the_developers_number_only() {
    let mut developer = developer();
    let settle_no = developer.create("s1", "o1").settle_id;
    for key in ["settle_id", "settle_no", "order_id", "out_order_no"] {
        let body = developer.query_body(key, &settle_no);
        assert_eq!(developer.ask(developer.query_path(), body).number, 2_010, "{key}");
    }
    let nothing = json!({ "app_id": APP });
    assert_eq!(developer.ask(developer.query_path(), nothing).number, 2_010);
}

#[test]
fn its_limits_are_its_own() {
    let shares = |count: usize| {
        let share = r#"{"merchant_uid":"7","amount":1}"#;
        json!(format!("[{}]", vec![share; count].join(",")))
    };
    for (name, value, number) in [
        ("settle_params", shares(4), 0),
        ("settle_params", shares(5), 2_010),
        ("settle_desc", json!("分".repeat(80)), 0),
        ("settle_desc", json!("分".repeat(81)), 2_010),
        ("out_settle_no", json!("A_-*9"), 0),
        ("out_settle_no", json!("s 1"), 2_010),
        ("out_settle_no", json!("单"), 2_010),
        ("notify_url", json!(format!("https://{}", "x".repeat(248))), 0),
        ("notify_url", json!(format!("https://{}", "x".repeat(249))), 2_010),
        ("thirdparty_id", json!("tt7"), 0),
        ("item_order_id", json!("i1"), 2_010),
        ("app_id", json!(APP), 0),
    ] {
        let mut developer = developer();
        let body = edited(developer.body("s1", "o1"), name, value.clone());
        assert_eq!(developer.ask(developer.create_path(), body).number, number, "{name} {value}");
    }
}

/// An order of one card, used so often of ten times.
fn card(uses: u32) -> OrderSetup {
    let card = ItemSetup::card("card", 100_000, uses, 10);
    OrderSetup { items: Some(vec![card]), ..OrderSetup::default() }
}

#[test]
fn further_settles_of_an_order_wait_for_the_first() {
    let mut developer = developer();
    developer.desk.set_order("o1", card(1));
    assert_eq!(developer.create("s1", "o1").number, 0);
    developer.desk.set_order("o1", card(2));
    assert_eq!(developer.create("s2", "o1").number, 2_014);
    developer.wait();
    assert_eq!(developer.create("s2", "o1").number, 0);
    // The second need not have ended.
    developer.desk.set_order("o1", card(3));
    assert_eq!(developer.create("s3", "o1").number, 0);
    assert!(developer.settles().iter().all(|settle| settle.amount_fen == 10_000));
}

#[test]
fn a_failed_first_settle_needs_a_new_number() {
    let mut developer = developer();
    let failed = developer.create("s1", "sim-fail-1").settle_id;
    developer.wait();
    let again = developer.create("s1", "sim-fail-1");
    assert_eq!((again.number, again.settle_id), (0, failed));
    assert_eq!(developer.settles().len(), 1);
    assert_eq!(developer.create("s2", "sim-fail-1").number, 0);
}

#[test]
fn it_tells_what_is_left_of_an_order() {
    let mut developer = developer();
    let said = developer.ask(LEFT, about("o1"));
    assert_eq!((said.number, &said.body["data"]["unsettle_amount"]), (0, &json!(99_400)));
    let detail = &said.body["data"]["detail"];
    assert_eq!(
        (&detail["pay_info"]["amount"], &detail["payment_rake"]),
        (&json!(100_000), &json!(600))
    );
    developer.create("s1", "o1");
    assert_eq!(developer.ask(LEFT, about("o1")).body["data"]["unsettle_amount"], 0);
    // What another system has settled is gone too.
    developer.system = System::General;
    developer.create("s2", "o2");
    developer.system = System::Guaranteed;
    assert_eq!(developer.ask(LEFT, about("o2")).body["data"]["unsettle_amount"], 0);
    assert_eq!(developer.ask(LEFT, json!({ "app_id": APP })).number, 2_010);
}

#[test]
fn what_the_platform_settles_by_itself_is_told_and_found_by_order() {
    let mut developer = developer();
    let order = edited(about("o1"), "query_type", json!(1));
    assert_eq!(developer.ask(BY_ITSELF, order.clone()).number, 2_000);
    assert_eq!(developer.ask(BY_ITSELF, about("o1")).number, 2_010);
    developer.desk.set_app(AppRules { automatic_settlement: true, ..AppRules::default() });
    assert_eq!(developer.create("s1", "o1").number, 2_014);
    developer.wait();
    let settle_no = developer.settles()[0].settle_id.clone();
    let said = developer.ask(BY_ITSELF, order).body;
    let told = &said["platform_order"]["settle_info_list"][0];
    assert_eq!(
        (&told["settle_no"], &told["settle_status"]),
        (&json!(settle_no), &json!("SUCCESS"))
    );
    assert_eq!(told["settled_at"], "2023-11-15 06:13:21");
    let callback = developer.callbacks().remove(0);
    let body: serde_json::Value = serde_json::from_slice(&callback.body).expect("JSON");
    assert_eq!(body["type"], "settle_finish");
    let msg: serde_json::Value =
        serde_json::from_str(body["msg"].as_str().expect("a text")).expect("JSON in it");
    assert_eq!((&msg["ma_app_id"], &msg["out_order_id"]), (&json!(APP), &json!("o1")));
    assert_eq!(msg["auto_settle_list"][0]["settle_no"], settle_no);
    assert_eq!(msg["auto_settle_list"][0]["settle_status"], "SUCCESS");
}

#[test]
fn the_platforms_settle_of_a_test_is_the_systems_too() {
    let mut developer = developer();
    let settle = StrangerSettle {
        system: System::Guaranteed,
        out_order_no: "o1".to_owned(),
        ..StrangerSettle::default()
    };
    let settle_no = developer.desk.core.books.accept_stranger(APP, None, settle);
    assert_eq!(developer.status(&settle_no), "SUCCESS");
}
