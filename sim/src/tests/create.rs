//! settle_create: what it reads and what the rules say.

use serde_json::{Value, json};

use super::without;
use super::{APP, CREATE, Desk, answer, edited, good_create, item_create, json_of, request};
use crate::{AppRules, ItemSetup, OrderSetup, OrderStage};

#[test]
fn an_accepted_create_names_its_settle_in_douyins_form() {
    let mut desk = Desk::new();
    let body = desk.create(&good_create("s1", "o1"));
    assert_eq!(body["err_no"], 0);
    assert_eq!(body["err_msg"], "");
    assert!(body["log_id"].as_str().is_some_and(|id| id.len() >= 44));
    let settle_id = body["data"]["settle_id"].as_str().expect("an id");
    let digits = settle_id.strip_prefix("ots").expect("its prefix");
    assert!(digits.len() == 23 && digits.bytes().all(|byte| byte.is_ascii_digit()));
    let wallet = body["data"]["wallet_settle_id"].as_str().expect("an id");
    assert!(wallet.len() == 19 && wallet.bytes().all(|byte| byte.is_ascii_digit()));
}

#[test]
fn the_same_seed_gives_the_same_numbers_whatever_comes_first() {
    let (mut one, mut two) = (Desk::new(), Desk::new());
    let first = one.create(&good_create("s1", "o1"))["data"].clone();
    two.create(&good_create("s2", "o2"));
    assert_eq!(two.create(&good_create("s1", "o1"))["data"], first);
}

#[test]
fn a_field_of_a_wrong_json_type_is_system_busy() {
    let wrong = [json!(7), json!(null), json!(true), json!(["x"]), json!({})];
    for name in ["app_id", "out_order_no", "settle_desc", "settle_params", "ext", "notify_url"] {
        for value in &wrong {
            let body = edited(good_create("s1", "o1"), name, value.clone());
            assert_eq!(Desk::new().create_err_no(&body), 2_100_004, "{name} {value}");
        }
    }
}

#[test]
fn a_missing_required_field_is_a_param_error() {
    for name in ["app_id", "out_order_no", "out_settle_no", "settle_desc"] {
        let body = without(good_create("s1", "o1"), name);
        assert_eq!(Desk::new().create_err_no(&body), 10_000, "{name}");
    }
}

#[test]
fn optional_fields_may_be_left_out() {
    let body = without(without(good_create("s1", "o1"), "settle_params"), "ext");
    assert_eq!(Desk::new().create_err_no(&body), 0);
}

#[test]
fn limits_count_bytes() {
    // A Chinese character takes three bytes.
    let cases = [
        ("out_order_no", "x".repeat(64), "x".repeat(65)),
        ("out_settle_no", "单".repeat(21), "单".repeat(22)),
        ("settle_desc", "分".repeat(170), "分".repeat(171)),
        ("ext", "x".repeat(2048), "x".repeat(2049)),
        (
            "notify_url",
            format!("https://{}", "x".repeat(504)),
            format!("https://{}", "x".repeat(505)),
        ),
        ("settle_params", padded_params(512), padded_params(513)),
    ];
    for (name, fits, too_long) in cases {
        let with = |text: &String| edited(good_create("s1", "o1"), name, json!(text));
        assert_eq!(Desk::new().create_err_no(&with(&fits)), 0, "{name}");
        assert_eq!(Desk::new().create_err_no(&with(&too_long)), 10_000, "{name}");
    }
}

/// One receiver whose JSON takes this many bytes.
fn padded_params(bytes: usize) -> String {
    let shortest = r#"[{"merchant_uid":"","amount":1}]"#.len();
    format!(r#"[{{"merchant_uid":"{}","amount":1}}]"#, "7".repeat(bytes - shortest))
}

#[test]
fn bad_values_are_param_errors() {
    let cases = [
        ("settle_params", "not json"),
        ("settle_params", r#"{"merchant_uid":"1","amount":1}"#),
        ("settle_params", r#"[{"merchant_uid":"1","amount":0}]"#),
        ("settle_params", r#"[{"merchant_uid":"1","amount":-5}]"#),
        ("settle_params", r#"[{"merchant_uid":"1","amount":1.5}]"#),
        ("settle_params", r#"[{"merchant_uid":"1","amount":"1"}]"#),
        ("settle_params", r#"[{"merchant_uid":"","amount":1}]"#),
        ("settle_params", r#"[{"merchant_uid":7,"amount":1}]"#),
        ("settle_params", r#"[{"merchant_uid":"1","amount_fen":1}]"#),
        ("settle_params", ""),
        ("notify_url", "http://example.com/"),
        ("notify_url", ""),
        ("item_order_id", ""),
        ("out_settle_no", ""),
        ("app_id", "ttother"),
        ("cp_extra", "the sibling system's name for ext"),
    ];
    for (name, value) in cases {
        let body = edited(good_create("s1", "o1"), name, json!(value));
        assert_eq!(Desk::new().create_err_no(&body), 10_000, "{name} {value}");
    }
    for body in ["", "[]", "7", "{", "\u{feff}{}"] {
        let reply = Desk::new().send(CREATE, body);
        assert_eq!(json_of(&answer(reply))["err_no"], 10_000, "{body:?}");
    }
}

#[test]
fn only_the_bare_content_type_will_do() {
    for text in ["application/json;charset=utf-8", "application/json; charset=utf-8", "text/json"] {
        let mut desk = Desk::new();
        let body = good_create("s1", "o1").to_string().into();
        let mut request = request(CREATE, &desk.token, body);
        request.headers.insert("content-type", text.parse().expect("a header value"));
        let reply = desk.core.handle(desk.now_ms, request);
        assert_eq!(json_of(&answer(reply))["err_no"], 10_000, "{text}");
    }
}

#[test]
fn both_forms_of_the_path_are_routed_and_others_are_not() {
    let mut desk = Desk::new();
    let body = good_create("s1", "o1").to_string();
    let reply = desk.send("/api/trade_basic/v1/developer/settle_create", body.clone());
    assert_eq!(answer(reply).status, 200);
    let reply = desk.send("/api/trade_basic/v1/developer/settle", body);
    assert_eq!(answer(reply).status, 404);
}

#[test]
fn a_second_settle_of_a_whole_order_finds_no_money() {
    let mut desk = Desk::new();
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    assert_eq!(desk.create_err_no(&good_create("s2", "o1")), 23_112);
    assert_eq!(desk.core.snapshot().settles[0].amount_fen, 100_000);
}

#[test]
fn a_repeat_of_a_number_exists_whatever_it_says() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_111);
    assert_eq!(desk.create_err_no(&good_create("s1", "o2")), 23_111);
}

#[test]
fn numbers_are_per_app() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    desk.token = desk.fetch_for("ttother");
    let body = edited(good_create("s1", "o1"), "app_id", json!("ttother"));
    assert_eq!(desk.create_err_no(&body), 0);
    assert_eq!(desk.core.snapshot().under("s1").len(), 2);
}

#[test]
fn the_stage_of_an_order_decides() {
    let cases = [
        (OrderStage::Missing, 23_101),
        (OrderStage::Unpaid, 23_102),
        (OrderStage::Paid, 23_107),
        (OrderStage::Fulfilled, 0),
    ];
    for (stage, err_no) in cases {
        for body in [good_create("s1", "o1"), item_create("s1", "o1", "i1")] {
            let mut desk = Desk::new();
            let order = OrderSetup { stage, ..OrderSetup::default() };
            desk.core.books.set_order(APP, "o1", order);
            assert_eq!(desk.create_err_no(&body), err_no, "{stage:?}");
        }
    }
}

#[test]
fn an_app_with_automatic_settlement_may_not_settle() {
    let mut desk = Desk::new();
    let rules = AppRules { automatic_settlement: true, ..AppRules::default() };
    desk.core.books.set_app(APP, rules);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
}

#[test]
fn items_are_settled_one_by_one_and_exclude_the_whole() {
    let mut desk = Desk::new();
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 0);
    assert_eq!(desk.create_err_no(&item_create("s2", "o1", "i2")), 0);
    assert_eq!(desk.create_err_no(&item_create("s3", "o1", "i1")), 23_112);
    assert_eq!(desk.create_err_no(&good_create("s4", "o1")), 23_118);
    assert_eq!(desk.create_err_no(&good_create("s5", "o2")), 0);
    assert_eq!(desk.create_err_no(&item_create("s6", "o2", "i3")), 23_112);
}

#[test]
fn items_must_exist_belong_and_be_allowed() {
    let mut desk = Desk::new();
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1-of-o2")), 23_025);
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1-of-o1")), 0);
    let items = Some(vec![ItemSetup::used("used", 700), ItemSetup::unused("unused", 700)]);
    let order =
        OrderSetup { stage: OrderStage::Paid, total_fen: 1_400, items, ..OrderSetup::default() };
    desk.core.books.set_order(APP, "o3", order);
    assert_eq!(desk.create_err_no(&item_create("s3", "o3", "used")), 0);
    assert_eq!(desk.create_err_no(&item_create("s4", "o3", "unused")), 23_107);
    assert_eq!(desk.create_err_no(&item_create("s5", "o3", "unknown")), 23_024);
    assert_eq!(desk.core.snapshot().under("s3")[0].amount_fen, 700);
    let rules = AppRules { partial_settlement: false, ..AppRules::default() };
    desk.core.books.set_app(APP, rules);
    assert_eq!(desk.create_err_no(&item_create("s6", "o6", "i6")), 23_124);
}

#[test]
fn receivers_cannot_get_more_than_there_is() {
    let share = |fen: i64| format!(r#"[{{"merchant_uid":"7","amount":{fen}}}]"#);
    let with = |fen| edited(good_create("s1", "o1"), "settle_params", json!(share(fen)));
    // 100 000 fen less the fee of 600.
    assert_eq!(Desk::new().create_err_no(&with(99_401)), 23_112);
    assert_eq!(Desk::new().create_err_no(&with(99_400)), 0);
    let twice = format!(
        r#"[{{"merchant_uid":"7","amount":{max}}},{{"merchant_uid":"8","amount":{max}}}]"#,
        max = i64::MAX
    );
    let body = edited(good_create("s1", "o1"), "settle_params", json!(twice));
    assert_eq!(Desk::new().create_err_no(&body), 10_000);
}

#[test]
fn the_books_keep_the_exact_bytes_and_what_they_say() {
    let mut desk = Desk::new();
    let text = format!(" {} ", good_create("s1", "o1"));
    desk.send(CREATE, text.clone());
    desk.send(CREATE, text.clone());
    let books = desk.core.snapshot();
    assert_eq!(books.sends("s1"), 2);
    assert_eq!(books.create_bodies("s1"), [text.clone(), text.clone()]);
    let settle = books.only("s1").expect("one settle");
    assert!(settle.by_gateway && !settle.is_auto_settle);
    assert_eq!((settle.body.as_ref(), settle.cp_extra.as_str()), (text.as_bytes(), "mark"));
    assert_eq!(settle.settle_params[0].amount_fen, 400);
    assert_eq!(books.creates_total(), 2);
}

#[test]
fn a_refused_create_changes_nothing() {
    let mut desk = Desk::new();
    let body: Value = good_create("s1", "sim-err-23113-x");
    let refused = desk.create(&body);
    assert_eq!(
        (&refused["err_no"], &refused["err_msg"]),
        (&json!(23_113), &json!("order not allow settle"))
    );
    assert!(refused.get("data").is_none());
    assert!(desk.core.snapshot().settles.is_empty());
    assert_eq!(desk.core.snapshot().sends("s1"), 1);
}
