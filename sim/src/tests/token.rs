//! client_token: who gets one and how long it is good.

use serde_json::{Value, json};

use super::{
    APP, Desk, QUERY, SECRET, TOKEN, answer, config, edited, json_of, token_body, without,
};
use crate::endpoint::Endpoint;
use crate::{Script, SimConfig};

/// The number that a query with this token is answered with.
fn tried(desk: &mut Desk, token: &str) -> Value {
    let good = std::mem::replace(&mut desk.token, token.to_owned());
    let body = json!({ "app_id": APP, "out_settle_no": "s1" });
    let err_no = desk.post(QUERY, &body)["err_no"].clone();
    desk.token = good;
    err_no
}

#[test]
fn a_token_comes_in_the_documented_form() {
    let body = Desk::new().post(TOKEN, &token_body());
    assert_eq!(body["message"], "success");
    assert_eq!(
        (&body["data"]["error_code"], &body["data"]["description"]),
        (&json!(0), &json!(""))
    );
    assert_eq!(body["data"]["expires_in"], 7200);
    assert!(body["data"]["access_token"].as_str().is_some_and(|text| text.starts_with("clt.")));
}

#[test]
fn errors_come_with_status_200_in_the_data() {
    let cases = [
        (edited(token_body(), "client_key", json!("x")), 10_003),
        (edited(token_body(), "client_secret", json!("x")), 10_013),
        (edited(token_body(), "grant_type", json!("password")), 10_002),
        (edited(token_body(), "client_key", json!(7)), 10_002),
        (without(token_body(), "client_secret"), 10_002),
        (json!([]), 10_002),
    ];
    for (body, err_no) in cases {
        let mut desk = Desk::new();
        let answer = answer(desk.send(TOKEN, body.to_string()));
        assert_eq!(answer.status, 200);
        assert_eq!(json_of(&answer)["data"]["error_code"], err_no, "{body}");
        assert_eq!(desk.core.snapshot().tokens_fetched(APP), 1);
    }
}

#[test]
fn a_token_expires() {
    let mut desk = Desk::with(&SimConfig { token_expires_in_s: 60, ..config() });
    let token = desk.token.clone();
    desk.now_ms += 59_999;
    assert_eq!(tried(&mut desk, &token), 0);
    desk.now_ms += 1;
    assert_eq!(tried(&mut desk, &token), 28_001_008);
    assert_eq!(tried(&mut desk, "clt.never"), 28_001_003);
    assert_eq!(tried(&mut desk, ""), 28_001_003);
}

#[test]
fn only_the_newest_two_tokens_are_good() {
    let mut desk = Desk::new();
    let first = desk.token.clone();
    let second = desk.core.tokens.steal(desk.now_ms, APP, &desk.core.books.choices);
    let second = second.expect("a token");
    assert_eq!(tried(&mut desk, &first), 0);
    let third = desk.fetch();
    assert_eq!(tried(&mut desk, &first), 28_001_008);
    assert_eq!(tried(&mut desk, &second), 0);
    assert_eq!(tried(&mut desk, &third), 0);
    let books = desk.core.snapshot();
    assert_eq!(books.tokens_fetched(APP), 2);
}

#[test]
fn a_superseded_token_has_five_minutes() {
    let mut desk = Desk::new();
    let first = desk.token.clone();
    desk.token = desk.fetch();
    desk.now_ms += 299_999;
    assert_eq!(tried(&mut desk, &first), 0);
    desk.now_ms += 1;
    assert_eq!(tried(&mut desk, &first), 28_001_008);
    let second = desk.token.clone();
    assert_eq!(tried(&mut desk, &second), 0);
}

#[test]
fn too_many_calls_in_five_minutes_are_refused() {
    let mut desk = Desk::new();
    for _ in 1..500 {
        desk.fetch();
    }
    assert_eq!(desk.post(TOKEN, &token_body())["data"]["error_code"], 10_020);
    desk.now_ms += 300_000;
    desk.fetch();
    assert_eq!(desk.core.snapshot().token_calls_total(), 502);
    assert_eq!(desk.core.snapshot().tokens_fetched(APP), 501);
}

#[test]
fn tokens_can_be_ended_at_once() {
    let mut desk = Desk::new();
    desk.core.tokens.expire_all(desk.now_ms, APP);
    let token = desk.token.clone();
    assert_eq!(tried(&mut desk, &token), 28_001_008);
}

#[test]
fn token_calls_can_be_scripted() {
    let mut desk = Desk::new();
    let scripts = vec![Script::Refuse(10_020), Script::AcceptWithoutId, Script::WrongTypes];
    desk.core.scripts.queue(Endpoint::Token, "", scripts);
    assert_eq!(desk.post(TOKEN, &token_body())["data"]["error_code"], 10_020);
    let empty = desk.post(TOKEN, &token_body());
    assert_eq!(empty["data"]["error_code"], 0);
    assert!(empty["data"].get("access_token").is_none());
    assert_eq!(desk.post(TOKEN, &token_body())["data"], true);
    desk.fetch();
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let desk = Desk::new();
    assert!(!format!("{:?} {:?}", desk.core, config()).contains(SECRET));
}
