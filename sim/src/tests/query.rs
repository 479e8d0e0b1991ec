//! settle_query: keys, visibility of other apps' settles, spellings.

use serde_json::json;

use super::{APP, Desk, QUERY, good_create, item_create};
use crate::{AmountForm, Choices, QueryNames, SimConfig, Status, StrangerSettle};

#[test]
fn each_of_the_four_keys_finds_the_settle() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    let settle = desk.core.snapshot().settles[0].clone();
    assert!(settle.order_id.starts_with("motb"));
    let keys = [
        ("settle_id", settle.settle_id.as_str()),
        ("order_id", settle.order_id.as_str()),
        ("out_settle_no", "s1"),
        ("out_order_no", "o1"),
    ];
    for (key, value) in keys {
        let found = desk.query(key, value);
        assert_eq!(found.len(), 1, "{key}");
        assert_eq!(found[0]["settle_id"], settle.settle_id, "{key}");
        assert!(desk.query(key, "something else").is_empty(), "{key}");
    }
}

#[test]
fn only_the_key_of_highest_priority_counts_and_empty_ones_do_not() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    let body = json!({ "app_id": APP, "out_settle_no": "nothing", "out_order_no": "o1" });
    assert_eq!(desk.post(QUERY, &body)["data"], json!([]));
    let body = json!({
        "app_id": APP, "settle_id": "", "order_id": "", "out_settle_no": "", "out_order_no": "o1",
    });
    assert_eq!(desk.post(QUERY, &body)["data"][0]["out_settle_no"], "s1");
}

#[test]
fn a_query_without_a_key_or_with_a_bad_one_is_refused() {
    let mut desk = Desk::new();
    let cases = [
        (json!({ "app_id": APP }), 23_002),
        (json!({ "app_id": APP, "out_settle_no": 7 }), 2_100_004),
        (json!({ "app_id": APP, "out_settle_no": "x".repeat(65) }), 10_000),
        (json!({ "app_id": APP, "out_settle_id": "s1" }), 10_000),
        (json!({ "out_settle_no": "s1" }), 10_000),
    ];
    for (body, err_no) in cases {
        assert_eq!(desk.post(QUERY, &body)["err_no"], err_no, "{body}");
    }
}

#[test]
fn an_app_sees_its_own_settles_only() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    desk.token = desk.fetch_for("ttother");
    let body = json!({ "app_id": "ttother", "settle_id": settle_id });
    assert_eq!(desk.post(QUERY, &body)["data"], json!([]));
}

#[test]
fn an_order_lists_all_its_settles() {
    let mut desk = Desk::new();
    desk.create(&item_create("s1", "o1", "i1"));
    desk.create(&item_create("s2", "o1", "i2"));
    let found = desk.query("out_order_no", "o1");
    let items: Vec<_> = found.iter().map(|item| item["item_order_id"].clone()).collect();
    assert_eq!(items, [json!("i1"), json!("i2")]);
}

#[test]
fn the_facts_of_a_finished_settle_add_up() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    assert!(desk.query("out_settle_no", "s1")[0].get("settle_at").is_none());
    desk.now_ms += 1_500;
    let item = desk.query("out_settle_no", "s1")[0].clone();
    assert_eq!(item["settle_status"], "SUCCESS");
    assert_eq!(item["settle_at"], desk.now_ms);
    assert_eq!(item["cp_extra"], "mark");
    assert_eq!((&item["settle_amount"], &item["rake"]), (&json!(100_000), &json!(600)));
    let detail =
        "商户号72789245768543296350-分成金额(分)400,商户号72789245768543296350-分成金额(分)99000";
    assert_eq!(item["settle_detail"], detail);
}

#[test]
fn the_spellings_of_2023_and_amounts_as_text_can_be_chosen() {
    let choices = Choices {
        query_names: QueryNames::Of2023,
        amounts: AmountForm::Text,
        ..Choices::default()
    };
    let mut desk = Desk::with(&SimConfig { choices, processing_ms: 0, ..super::config() });
    desk.create(&good_create("s1", "o1"));
    let item = desk.query("out_settle_no", "s1")[0].clone();
    assert_eq!((&item["out_settle_id"], &item["out_order_id"]), (&json!("s1"), &json!("o1")));
    assert!(item.get("out_settle_no").is_none() && item.get("wallet_settle_id").is_none());
    assert_eq!((&item["settle_amount"], &item["rake"]), (&json!("100000"), &json!("600")));
    assert_eq!(item["settle_at"], desk.now_ms.to_string());
}

#[test]
fn a_strangers_settle_takes_the_number_and_the_money() {
    let mut desk = Desk::new();
    let stranger = StrangerSettle {
        out_order_no: "o1".to_owned(),
        cp_extra: "theirs".to_owned(),
        status: Status::Processing,
        ..StrangerSettle::default()
    };
    let settle_id = desk.core.books.accept_stranger(APP, Some("s1"), stranger);
    assert_eq!(desk.create_err_no(&good_create("s1", "o2")), 23_111);
    assert_eq!(desk.create_err_no(&good_create("s2", "o1")), 23_112);
    let item = desk.query("out_settle_no", "s1")[0].clone();
    assert_eq!((&item["settle_id"], &item["cp_extra"]), (&json!(settle_id), &json!("theirs")));
    assert_eq!(item["settle_status"], "PROCESSING");
    assert!(!desk.core.snapshot().settles[0].by_gateway);
}

#[test]
fn an_automatic_settlement_has_its_own_id_as_its_number() {
    let mut desk = Desk::new();
    let settle = StrangerSettle { out_order_no: "o1".to_owned(), ..StrangerSettle::default() };
    let settle_id = desk.core.books.accept_stranger(APP, None, settle.clone());
    assert_eq!(desk.query("out_settle_no", &settle_id)[0]["settle_id"], settle_id);
    assert!(desk.core.snapshot().settles[0].is_auto_settle);
    assert_ne!(desk.core.books.accept_stranger(APP, None, settle), settle_id);
}
