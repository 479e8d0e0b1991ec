//! How the envelopes around answers, and tokens, are read.

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::*;
use crate::douyin::family::accepted_ids;
use crate::settle::TradeSystem;

const GENERAL: Option<TradeSystem> = Some(TradeSystem::General);

fn answer(body: &Value) -> Answer {
    read(body.to_string().as_bytes()).unwrap()
}

fn said(body: &Value) -> (Option<i32>, Option<i32>, String, Option<String>) {
    let answer = answer(body);
    let message = answer.error(400, None, &"".into()).err_msg;
    (answer.err_no, answer.sub_err_no, message, answer.log_id)
}

#[test]
fn every_envelope_is_understood() {
    let (message, log_id) = ("order not pay".to_owned(), Some("log-1".to_owned()));
    let flat = (Some(23102), None, message.clone(), log_id.clone());
    let err_msg = json!({ "err_no": 23102, "err_msg": "order not pay", "log_id": "log-1" });
    assert_eq!(said(&err_msg), flat);
    let err_tips = json!({ "err_no": "23102", "err_tips": "order not pay", "log_id": "log-1" });
    assert_eq!(said(&err_tips), flat);
    let two_levels = json!({
        "data": { "error_code": 2191009, "description": "failed" },
        "extra": {
            "error_code": 2191009, "description": "failed", "sub_error_code": 23102,
            "sub_description": "order not pay", "logid": "log-1", "now": 1700000000,
        },
    });
    assert_eq!(said(&two_levels), (Some(2191009), Some(23102), message.clone(), log_id));
    let client_token = json!({
        "data": { "error_code": 10013, "description": "secret wrong" }, "message": "error",
    });
    assert_eq!(said(&client_token), (Some(10013), None, "secret wrong".to_owned(), None));
    let bare = json!({ "error": 28001005, "message": "order not pay" });
    assert_eq!(said(&bare), (Some(28001005), None, message, None));
    let rows: Vec<_> = [err_msg, err_tips, two_levels, client_token, bare]
        .iter()
        .map(|body| answer(body).row(GENERAL).unwrap().err_no)
        .collect();
    assert_eq!(rows, [23102, 23102, 23102, 10013, 28001005]);
}

#[test]
fn success_is_understood_in_every_envelope() {
    let success = [
        json!({ "err_no": 0, "err_msg": "", "log_id": "log-1", "data": { "settle_id": "ots1" } }),
        json!({ "err_no": "0", "err_tips": "success", "data": { "settle_id": "ots1" } }),
        json!({
            "data": { "error_code": 0, "settle_id": "ots1" },
            "extra": { "error_code": 0, "sub_error_code": 0, "logid": "log-1" },
        }),
    ];
    for body in success {
        let answer = answer(&body);
        assert_eq!((answer.err_no, answer.row(GENERAL)), (Some(0), None), "{body}");
        assert_eq!(accepted_ids(&answer.data).unwrap().settle_id.as_str(), "ots1");
    }
}

#[test]
fn an_answer_that_contradicts_itself_is_no_answer() {
    let contradictions = [
        json!({ "err_no": 0, "data": { "error_code": 23112, "settle_id": "ots1" } }),
        json!({ "err_no": 23112, "extra": { "error_code": 0 } }),
        json!({ "data": { "error_code": 0 }, "extra": { "sub_error_code": 23112 } }),
        json!({ "err_no": 0, "extra": { "error_code": 0, "sub_error_code": 13000 } }),
        json!({ "err_no": 0, "error_code": 23112 }),
        json!({ "err_no": 0, "data": { "err_no": 23112, "settle_id": "ots1" } }),
        json!({ "err_no": 23112, "extra": { "err_no": 0 } }),
        json!({ "err_no": 0, "data": { "settle_id": "ots1" }, "BaseResp": { "StatusCode": 5 } }),
        json!({ "err_no": 0, "base_resp": { "status_code": "5" } }),
    ];
    for body in contradictions {
        assert!(read(body.to_string().as_bytes()).is_err(), "{body}");
    }
    let agreeing = json!({
        "err_no": 0, "error_code": "0", "data": { "err_no": 0 }, "BaseResp": { "StatusCode": 0 },
    });
    assert_eq!(answer(&agreeing).err_no, Some(0));
    let wrapped = json!({ "err_no": 23112, "BaseResp": { "StatusCode": 5 } });
    assert_eq!(answer(&wrapped).err_no, Some(23112), "two kinds of number");
}

#[test]
fn what_is_no_answer_is_told_apart_and_never_panics() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_inside = format!(r#"{{"err_no":0,"data":{deep}}}"#);
    let huge = format!(r#"{{"err_no":23102,"err_msg":"{}"}}"#, "分".repeat(3_500_000));
    for unreadable in [
        &b""[..],
        b"<html>502</html>",
        b"null",
        b"[]",
        b"\"0\"",
        b"{\"err_no\":",
        b"{\"err_no\":true}",
        b"{\"err_no\":0.5}",
        b"{\"err_no\":1e3}",
        b"{\"err_no\":99999999999}",
        b"{\"err_no\":\"abc\"}",
        b"{\"err_no\":{}}",
        b"\xff\xfe{}",
        b"{\"err_no\":23102,\"err_no\":0}",
        deep.as_bytes(),
        deep_inside.as_bytes(),
    ] {
        assert!(read(unreadable).is_err());
    }
    let answer = read(huge.as_bytes()).unwrap();
    let kept = answer.error(400, None, &"".into()).err_msg;
    assert_eq!(kept.len(), 510, "cut between two characters");
    assert_eq!(read(b"{}").unwrap().err_no, None, "readable, but without a number");
}

#[test]
fn a_secret_that_douyin_echoes_is_not_kept() {
    let padding = "x".repeat(500);
    let body =
        json!({ "err_no": 10008, "err_msg": format!("bad clt.s3cret, {padding} clt.s3cret") });
    let kept = answer(&body).error(200, Some("log-1"), &"clt.s3cret".into());
    assert!(kept.err_msg.starts_with("bad [redacted], xxx"), "{}", kept.err_msg);
    assert!(!kept.err_msg.contains("clt"));
    assert_eq!((kept.err_no, kept.http_status, kept.log_id.as_str()), (Some(10008), 200, "log-1"));
}

#[test]
fn a_token_and_its_life_are_read() {
    let (secret, life) = token(&json!({ "access_token": "clt.1", "expires_in": "7200" })).unwrap();
    assert_eq!((secret.expose_secret(), life.as_secs()), ("clt.1", 7200));
    assert_eq!(token(&json!({ "access_token": "clt.1" })).unwrap().1.as_secs(), 7200);
    for broken in [
        json!(null),
        json!({}),
        json!({ "access_token": "" }),
        json!({ "access_token": ["clt.1"] }),
        json!({ "access_token": "clt\u{fdd0}" }),
    ] {
        assert!(token(&broken).is_err(), "{broken}");
    }
    let life = |expires_in| {
        token(&json!({ "access_token": "clt.1", "expires_in": expires_in })).unwrap().1.as_secs()
    };
    for (expires_in, secs) in [
        (json!(7200.0), 7200),
        (json!(61), 61),
        (json!(0), 60),
        (json!("0"), 60),
        (json!(-1), 60),
        (json!(i64::MAX), 30 * 86_400),
        (json!(1.5), 7200),
        (json!("soon"), 7200),
        (json!([7200]), 7200),
        (json!(null), 7200),
    ] {
        assert_eq!(life(expires_in.clone()), secs, "{expires_in}");
    }
}
