//! What guaranteed payment sends, answers and tells, by the fields of its pages (6.3).

use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::douyin::callback::{Heard, Rejected, Verifiers};
use crate::douyin::codes::Handling;
use crate::douyin::exchange::{Failed, Heard as Answered};
use crate::douyin::outcome::{CreateAnswer, QueryAnswer, Said, created, found, left};
use crate::douyin::signature::BadSignature;
use crate::douyin::{Signed, wire};
use crate::settle::content::tests::content;
use crate::settle::{
    Answers, Failure, Fen, Learned, OutOrderNo, OutSettleNo, Reason, ReportedStatus, TradeSystem,
};

fn app_id() -> AppId {
    AppId::parse("tt1").unwrap()
}

fn number() -> OutSettleNo {
    OutSettleNo::parse("s-1").unwrap()
}

fn order() -> OutOrderNo {
    OutOrderNo::parse("order-1").unwrap()
}

fn said(answer: &Value) -> Result<Said, Failed> {
    let answer = wire::read(answer.to_string().as_bytes()).expect("it can be read");
    let heard = Answered { answer, http_status: 200, log_id: None };
    Said::new(heard, TradeSystem::Guaranteed, SecretString::from("sign"))
}

fn asked(answer: &Value) -> Result<QueryAnswer, Failed> {
    said(answer).and_then(|said| found(said, QueryBy::OutSettleNo(&number())))
}

fn sent(answer: &Value) -> CreateAnswer {
    created(said(answer))
}

fn reason(learned: &Learned) -> Option<Reason> {
    match learned {
        Learned::Refused(failure)
        | Learned::Unknown(failure)
        | Learned::NotSent(failure)
        | Learned::Exists(failure)
        | Learned::Unlisted(failure) => failure.reason.known(),
        Learned::Accepted(_)
        | Learned::Reported(_)
        | Learned::Absent
        | Learned::Elsewhere
        | Learned::Resolved { .. }
        | Learned::Stopped { .. }
        | Learned::Ended(_) => None,
    }
}

/// The zeroed object that comes with an unknown number.
fn nothing() -> Value {
    json!({ "settle_no": "", "settle_amount": 0, "settle_status": "", "settle_detail": "",
        "settled_at": 0, "rake": 0, "commission": 0, "cp_extra": "", "msg": "" })
}

#[test]
fn a_create_has_the_names_of_its_page_and_no_item() {
    let key =
        Key { app_id: app_id(), trade_system: TradeSystem::Guaranteed, out_settle_no: number() };
    let content = Content { item_order_id: None, ..content() };
    let body = create_body(&key, &content, Some("sg1:mark"), None);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["app_id"], "tt1");
    assert_eq!(body["out_settle_no"], "s-1");
    assert_eq!(body["cp_extra"], "sg1:mark");
    let params: Value = serde_json::from_str(body["settle_params"].as_str().unwrap()).unwrap();
    assert_eq!(params[0]["amount"], json!(content.settle_params[0].amount.get()));
    let names: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert!(!names.contains(&"sign".to_owned()), "it is signed when it is sent");
    let bare = Content { settle_params: Vec::new(), notify_url: None, ..content };
    let body: Value = serde_json::from_str(&create_body(&key, &bare, None, None)).unwrap();
    let names: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["app_id", "out_order_no", "out_settle_no", "settle_desc"]);
}

#[test]
fn a_settle_is_asked_for_by_its_number_and_an_order_by_its_own() {
    let id = crate::settle::SettleId::parse("7").unwrap();
    let by_number = question(&app_id(), QueryBy::OutSettleNo(&number())).unwrap();
    assert_eq!(by_number.path, "/api/apps/ecpay/v1/query_settle");
    assert_eq!(by_number.body, r#"{"app_id":"tt1","out_settle_no":"s-1"}"#);
    let by_order = question(&app_id(), QueryBy::OutOrderNo(&order())).unwrap();
    assert_eq!(by_order.path, "/api/apps/ecpay/v1/query_platform_order");
    let expected = r#"{"app_id":"tt1","out_order_no":"order-1","query_type":1}"#;
    assert_eq!(by_order.body, expected);
    assert!(question(&app_id(), QueryBy::SettleId(&id)).is_none());
    let order_id = crate::settle::OrderId::parse("N1").unwrap();
    assert!(question(&app_id(), QueryBy::OrderId(&order_id)).is_none());
}

#[test]
fn a_settle_is_read_with_its_time_in_seconds() {
    let settle = json!({ "settle_no": "7001", "settle_amount": 1000, "settle_status": "SUCCESS",
        "settle_detail": "商户号1-分成金额(分)900", "settled_at": 1_693_540_334, "rake": 60,
        "commission": 40, "cp_extra": "sg1:mark", "msg": "done" });
    for answer in [
        json!({ "err_no": 0, "err_tips": "success", "settle_info": settle }),
        json!({ "error_no": 0, "error_tips": "success", "settle_info": settle }),
        json!({ "err_no": 0, "data": { "settle_info": settle } }),
    ] {
        let found = asked(&answer).unwrap();
        let [report] = &found.reports[..] else { panic!("{found:?}") };
        assert_eq!(report.settle_id.as_str(), "7001");
        assert_eq!((report.status, &report.out_settle_no), (ReportedStatus::Success, &None));
        let facts = &report.facts;
        assert_eq!(facts.settle_time, Some(Timestamp::from_ms(1_693_540_334_000)));
        assert_eq!(facts.cp_extra.as_deref(), Some("sg1:mark"));
        assert_eq!((facts.rake, facts.commission), (Some(Fen::new(60)), Some(Fen::new(40))));
        assert_eq!((facts.message.as_deref(), &facts.out_order_no), (Some("done"), &None));
    }
}

/// The object beside 2000 is no state, and without 2000 it is no answer.
#[test]
fn an_unknown_number_is_absent_and_its_zeroed_object_never_a_state() {
    for answer in [
        json!({ "err_no": 2000, "err_tips": "记录不存在", "settle_info": nothing() }),
        json!({ "error_no": 2000, "error_tips": "no", "settle_info": nothing() }),
        json!({ "err_no": 2000 }),
    ] {
        assert_eq!(asked(&answer).unwrap().reports, [], "{answer}");
    }
    let mut named = nothing();
    named["settle_no"] = json!("7001");
    for answer in [
        json!({ "err_no": 0, "settle_info": nothing() }),
        json!({ "err_no": 0 }),
        json!({ "err_no": 0, "settle_info": null }),
        json!({ "err_no": 2000, "settle_info": named }),
        json!({ "err_no": 1000, "settle_info": nothing() }),
    ] {
        assert!(asked(&answer).is_err(), "{answer}");
    }
    // Two names of the number that disagree.
    let torn = json!({ "err_no": 0, "error_no": 2000, "settle_info": nothing() });
    assert!(wire::read(torn.to_string().as_bytes()).is_err());
}

#[test]
fn what_douyin_settled_of_an_order_by_itself_is_read() {
    let answer = json!({ "err_no": 0, "platform_order": { "app_id": "tt1",
        "out_order_no": "order-1", "query_type": 1, "settle_info_list": [
            { "out_settle_no": "p-1", "settle_no": "7001", "settle_way": "1",
              "settle_param_list": [{ "merchant_uid": "1", "amount": 9 }],
              "settle_status": "SUCCESS", "cps": 3, "service_charge": 2,
              "created_at": "2023-09-01 11:52:00", "settled_at": "2023-09-01 11:52:14" },
            { "settle_no": "7002", "settle_status": "PROCESSING", "settled_at": "" },
        ] } });
    let of_order = |answer: &Value, number: &OutOrderNo| {
        said(answer).and_then(|said| found(said, QueryBy::OutOrderNo(number)))
    };
    let answered = of_order(&answer, &order()).unwrap();
    let [one, two] = &answered.reports[..] else { panic!("{answered:?}") };
    assert_eq!(one.out_settle_no.as_ref().unwrap().as_str(), "p-1");
    assert_eq!(one.facts.out_order_no, Some(order()));
    assert_eq!((one.facts.commission, one.facts.rake), (Some(Fen::new(3)), Some(Fen::new(2))));
    assert_eq!(one.facts.settle_time, Some(Timestamp::from_ms(1_693_540_334_000)));
    assert_eq!(one.facts.auto_settle, Some(true));
    assert_eq!((two.status, two.facts.settle_time), (ReportedStatus::Processing, None));
    assert!(of_order(&answer, &OutOrderNo::parse("order-2").unwrap()).is_err());
    let none = json!({ "err_no": 0, "platform_order": { "out_order_no": "order-1" } });
    assert!(of_order(&none, &order()).is_err());
}

#[test]
fn the_answers_to_a_create_mean_what_its_page_says() {
    let answer = sent(&json!({ "err_no": 0, "err_tips": "success", "settle_no": "7001" }));
    let Learned::Accepted(ids) = &answer.learned else { panic!("{answer:?}") };
    assert_eq!(ids.settle_id.as_str(), "7001");
    let nameless = sent(&json!({ "err_no": 0, "err_tips": "success", "settle_no": "" }));
    assert_eq!(reason(&nameless.learned), Some(Reason::AcceptedWithoutId));
    for (err_no, learned, expected, answers) in [
        (1000, "unknown", Reason::SystemError, Answers::Nothing),
        (1001, "unknown", Reason::UpstreamRateLimited, Answers::Nothing),
        (2000, "refused", Reason::OrderNotFound, Answers::OneSend),
        (2010, "refused", Reason::ParamError, Answers::OneSend),
        (2014, "refused", Reason::OrderNotSettleable, Answers::OneSend),
        (2020, "refused", Reason::AppIdInvalid, Answers::OneSend),
        (2042, "refused", Reason::AppIdInvalid, Answers::OneSend),
        (2047, "refused", Reason::UpstreamPermissionMissing, Answers::OneSend),
        (2048, "refused", Reason::UpstreamPermissionMissing, Answers::OneSend),
        (2999, "unlisted", Reason::DouyinError, Answers::Nothing),
    ] {
        let answer = sent(&json!({ "err_no": err_no, "err_tips": "no" }));
        let is_so = match learned {
            "refused" => matches!(answer.learned, Learned::Refused(_)),
            "unknown" => matches!(answer.learned, Learned::Unknown(_)),
            _ => matches!(answer.learned, Learned::Unlisted(_)),
        };
        assert!(is_so, "{err_no}: {answer:?}");
        assert_eq!(reason(&answer.learned), Some(expected), "{err_no}");
        assert_eq!((answer.answers, answer.throttled), (answers, err_no == 1001), "{err_no}");
    }
    let unsigned = said(&json!({ "err_no": 2008, "err_tips": "bad sign" })).unwrap();
    assert_eq!(unsigned.handling(), Some(Handling::Reauthenticate));
    let both = json!({ "err_no": 2014, "settle_no": "7001" });
    assert!(said(&both).is_err(), "an error with a settle is no refusal");
}

#[test]
fn the_amount_left_is_read_and_a_zero_is_one() {
    let answer = |amount: Value| {
        json!({ "err_no": 0, "data": { "out_order_no": "order-1", "unsettle_amount": amount,
            "detail": { "pay_info": { "out_order_no": "order-1", "amount": 1000 },
                "refund_info": [{ "out_refund_no": "r", "amount": 100 },
                    { "out_refund_no": "s", "amount": 50 }],
                "payment_rake": 6, "life_rake": 0, "commission": 10 } } })
    };
    let read = |answer: &Value| said(answer).and_then(|said| left(said, &order()));
    let whole = read(&answer(json!(834))).unwrap();
    assert_eq!((whole.amount, whole.paid), (Fen::new(834), Some(Fen::new(1000))));
    assert_eq!((whole.refunded, whole.commission), (Some(Fen::new(150)), Some(Fen::new(10))));
    assert_eq!((whole.payment_rake, whole.life_rake), (Some(Fen::new(6)), Some(Fen::new(0))));
    assert_eq!(read(&answer(json!("0"))).unwrap().amount, Fen::new(0));
    let bare = json!({ "err_no": 0, "out_order_no": "order-1", "unsettle_amount": 5 });
    assert_eq!(read(&bare).unwrap().amount, Fen::new(5));
    let mut other = answer(json!(1));
    other["data"]["out_order_no"] = json!("order-2");
    for wrong in [
        answer(json!(null)),
        answer(json!("much")),
        other,
        json!({ "err_no": 0, "data": {} }),
        json!({ "err_no": 0 }),
        json!({ "err_no": 2000, "data": { "unsettle_amount": 0 } }),
    ] {
        assert!(read(&wrong).is_err(), "{wrong}");
    }
}

const TOKEN: &str = "the-callback-token";

fn message() -> Value {
    json!({ "app_id": "tt1", "cp_settle_no": "s-1", "cp_extra": "sg1:mark", "status": "SUCCESS",
        "rake": 60, "commission": 40, "settle_detail": "", "settled_at": 1_693_540_334,
        "message": "SUCCESS", "order_id": "N1", "channel_settle_id": "9", "settle_amount": 1000,
        "settle_no": "7001", "out_order_no": "order-1", "is_auto_settle": false })
}

/// Signed by other code than the one under test.
fn callback(kind: &str, timestamp: Value, nonce: Value, msg: &str) -> Value {
    let plain = |value: &Value| value.as_str().map_or(value.to_string(), ToOwned::to_owned);
    let mut values = [plain(&timestamp), plain(&nonce), msg.to_owned(), TOKEN.to_owned()];
    values.sort();
    let sha1 =
        ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, values.concat().as_bytes());
    let signature: String = sha1.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "timestamp": timestamp, "nonce": nonce, "msg": msg, "type": kind,
        "msg_signature": signature })
}

fn heard(body: &Value) -> Result<Heard, Rejected> {
    let token = SecretString::from(TOKEN);
    let verifiers = Verifiers { keys: None, token: Some(token.into()) };
    let body = body.to_string();
    let signed = Signed { timestamp: "", nonce: "", signature: "", body: body.as_bytes() };
    let systems = [TradeSystem::General, TradeSystem::Guaranteed];
    crate::douyin::callback::hear(Some(&app_id()), &systems, &verifiers, &signed)
}

fn good() -> Value {
    callback("settle", json!("1699323852"), json!("5069"), &message().to_string())
}

#[test]
fn a_callback_is_read_whole() {
    for body in [good(), callback("settle", json!(1), json!(5069), &message().to_string())] {
        let Ok(Heard::Settles { trade_systems, reports }) = heard(&body) else {
            panic!("{:?}", heard(&body))
        };
        assert_eq!(trade_systems, [TradeSystem::Guaranteed]);
        let [report] = &reports[..] else { panic!("{reports:?}") };
        assert_eq!(report.settle_id.as_str(), "7001");
        assert_eq!(report.out_settle_no, Some(number()));
        let facts = &report.facts;
        assert_eq!((&facts.out_order_no, facts.auto_settle), (&Some(order()), Some(false)));
        assert_eq!(facts.settle_time, Some(Timestamp::from_ms(1_693_540_334_000)));
        assert_eq!(facts.cp_extra.as_deref(), Some("sg1:mark"));
    }
}

#[test]
fn what_douyin_settled_by_itself_is_told_in_a_list() {
    let msg = json!({ "ma_app_id": "tt1", "out_order_id": "order-1", "auto_settle_list": [
        { "created_at": "2023-09-01 11:52:00", "settle_plat_no": "9", "settle_no": "7001",
          "settle_info": [], "settle_status": "SUCCESS", "service_charge": 2, "cps": 3,
          "settled_at": "2023-09-01 11:52:14", "settle_way": "1" },
        { "settle_no": "7002", "settle_status": "FAIL" },
    ] });
    let body = callback("settle_finish", json!("1"), json!("2"), &msg.to_string());
    let Ok(Heard::Settles { reports, .. }) = heard(&body) else { panic!("{:?}", heard(&body)) };
    let [one, two] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((one.settle_id.as_str(), &one.out_settle_no), ("7001", &None));
    assert_eq!((&one.facts.out_order_no, one.facts.auto_settle), (&Some(order()), Some(true)));
    assert_eq!(two.status, ReportedStatus::Fail);
}

#[test]
fn only_the_signature_says_that_a_callback_is_douyins() {
    type Edit = fn(&mut Value);
    let forged: [Edit; 11] = [
        |body| body["timestamp"] = json!("1699323853"),
        |body| body["nonce"] = json!("5070"),
        |body| body["msg"] = json!(message().to_string().replace("1000", "9000")),
        |body| body["msg"] = message(),
        |body| body["msg_signature"] = json!(""),
        |body| body["msg_signature"] = json!(null),
        |body| body["msg_signature"] = json!(["x"]),
        |body| body["msg_signature"] = json!("0".repeat(40)),
        |body| drop(body.as_object_mut().unwrap().remove("timestamp")),
        |body| drop(body.as_object_mut().unwrap().remove("nonce")),
        |body| drop(body.as_object_mut().unwrap().remove("msg")),
    ];
    for (i, edit) in forged.iter().enumerate() {
        let mut body = good();
        edit(&mut body);
        assert!(matches!(heard(&body), Err(Rejected::Signature(_))), "{i}: {:?}", heard(&body));
    }
    // The type is not signed, and neither is what else stands there.
    let mut other = good();
    (other["type"], other["more"]) = (json!("refund"), json!(1));
    assert_eq!(heard(&other), Ok(Heard::Other { kind: "refund".to_owned() }));
}

/// The signature is over the values without a mark between them.
#[test]
fn a_piece_of_a_message_cannot_be_moved_into_the_nonce() {
    let msg = message().to_string();
    let moved = callback("settle", json!("1"), json!("5{"), &msg);
    let why = Rejected::Signature(BadSignature::NotByTheToken);
    assert_eq!(heard(&moved), Err(why), "it has a true signature");
    let spaced = callback("settle", json!("1 "), json!("5"), &msg);
    assert_eq!(heard(&spaced), Err(why));
}

#[test]
fn a_message_that_cannot_be_understood_or_is_of_another_app_is_refused() {
    let told = |msg: &str| callback("settle", json!("1"), json!("2"), msg);
    let mut of_another = message();
    of_another["app_id"] = json!("tt2");
    assert_eq!(heard(&told(&of_another.to_string())), Err(Rejected::OtherApp));
    let finish = |msg: &str| callback("settle_finish", json!("1"), json!("2"), msg);
    for body in [
        told("[]"),
        told("{}"),
        told(r#"{"settle_no":"7001"}"#),
        told(r#"{"status":"SUCCESS"}"#),
        told(r#"{"status":"SUCCESS","settle_no":"0"}"#),
        finish("{}"),
        finish(r#"{"auto_settle_list":[7]}"#),
        finish(r#"{"auto_settle_list":[{"settle_no":"7001"}]}"#),
    ] {
        assert!(matches!(heard(&body), Err(Rejected::Malformed(_))), "{body}");
    }
}

/// The two kinds do not stand in for each other.
#[test]
fn a_kind_for_which_the_app_has_nothing_is_refused() {
    let body = good().to_string();
    let signed = Signed { timestamp: "1", nonce: "2", signature: "AAAA", body: body.as_bytes() };
    let hear = |verifiers: Verifiers| {
        crate::douyin::callback::hear(None, &[TradeSystem::Guaranteed], &verifiers, &signed)
    };
    assert_eq!(hear(Verifiers::default()), Err(Rejected::NoKey));
    let key = include_str!("../../../tests/vectors/callback/platform-public-key.pem");
    let keys = crate::douyin::PlatformKeys::parse(key).unwrap();
    let by_key = Verifiers { keys: Some(keys.into()), token: None };
    assert_eq!(hear(by_key), Err(Rejected::Signature(BadSignature::NoKeyFits)));
}

#[test]
fn a_failure_never_repeats_the_signature() {
    let echoed = json!({ "err_no": 2010, "err_tips": "sign is wrong" });
    let Learned::Refused(Failure { douyin: Some(said), .. }) = sent(&echoed).learned else {
        panic!("{echoed}")
    };
    assert_eq!(said.err_msg, "[redacted] is wrong");
}
