//! What is not taken in: nothing is recorded, and each is counted.

use douyin_sim::Status;
use serde_json::{Value, json};
use settlement_gateway::apps::AppConfig;
use settlement_gateway::douyin::PlatformKeys;
use settlement_gateway::http::callbacks::OtherTypes;

use super::{Letter, new_key, patient, signing_simulator, spawn, spawn_with, success};
use crate::harness::{APP_ID, Gateway, app, create_on, number, within};

/// A settle that waits for a callback, and the callback that would end it.
async fn waiting(gateway: &Gateway) -> (settlement_gateway::proto::v1::Settle, Letter) {
    gateway.sim.set_callback_url(APP_ID, None);
    let settle = gateway.create(create_on(&number("wait"), "sim-hold-1")).await.unwrap();
    let letter = Letter::about(&gateway.sim, settle.settle_id(), Status::Success);
    (settle, letter)
}

fn told(status: u16, word: &str) -> (u16, Value) {
    (status, json!({ "err_no": status, "err_tips": word }))
}

/// Apps that only one test uses, so that their counts are that test's.
const COUNTED: &str = "ttcounted";
const REFUSING: &str = "ttrefusing";

#[tokio::test]
async fn every_kind_of_refusal_is_told_counted_and_changes_nothing() {
    let gateway = spawn_with(|config| {
        patient(config);
        let platform_keys = config.apps[0].platform_keys.clone();
        config.apps.push(AppConfig { platform_keys, ..app(COUNTED, "other-secret") });
    })
    .await;
    let (settle, good) = waiting(&gateway).await;
    let sim = &gateway.sim;
    let to = |letter: Letter| Letter { to: COUNTED.to_owned(), ..letter };
    let known = to(good.changed(sim, |msg| msg["app_id"] = COUNTED.into()));
    let broken = |change: fn(&mut Letter)| {
        let mut letter = known.clone();
        change(&mut letter);
        (letter, COUNTED, 401, "bad_signature")
    };
    let malformed = |letter| (to(letter), COUNTED, 400, "malformed");
    let unknown = |app: &str| {
        let letter = Letter { to: app.to_owned(), ..good.clone() };
        (letter, "none", 404, "unknown_app")
    };
    let cases = [
        broken(|letter| letter.signature.clear()),
        broken(|letter| "no base64".clone_into(&mut letter.signature)),
        broken(|letter| letter.nonce.clear()),
        broken(|letter| letter.timestamp.clear()),
        broken(|letter| letter.body.clear()),
        broken(|letter| letter.body.push(b' ')),
        broken(|letter| "1700000001".clone_into(&mut letter.timestamp)),
        unknown("ttunknown"),
        unknown(&"x".repeat(65)),
        unknown(""),
        malformed(Letter::signed(sim, "no JSON")),
        malformed(known.changed(sim, |msg| msg["settle_id"] = Value::Null)),
        malformed(good.clone()),
        (to(Letter::signed(sim, vec![b'x'; 64 * 1024 + 1])), COUNTED, 413, "too_large"),
    ];
    for (letter, app, status, word) in cases {
        let before = gateway.callbacks(app, word).await;
        assert_eq!(letter.deliver(&gateway).await, told(status, word));
        assert_eq!(gateway.callbacks(app, word).await, before + 1, "{word}");
    }
    assert_eq!(gateway.get(&settle.out_settle_no).await.unwrap(), settle);
    let request = settlement_gateway::proto::v1::ListSettlesRequest {
        app_id: COUNTED.to_owned(),
        ..Default::default()
    };
    let listed = gateway.client.clone().list_settles(request).await.unwrap().into_inner();
    assert_eq!(listed.settles, []);
    assert_eq!(good.deliver(&gateway).await, success());
}

#[tokio::test]
async fn what_is_no_post_to_an_app_is_not_found() {
    let gateway = spawn().await;
    let client = reqwest::Client::new();
    let url = gateway.callback_url(APP_ID);
    let elsewhere = url.replace("/callbacks/", "/elsewhere/");
    let other_apps = gateway.callbacks("none", "not_a_callback").await;
    for request in [client.get(&url), client.put(&url), client.post(&elsewhere)] {
        let answer = within("the answer", request.send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 404);
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body, told(404, "not_a_callback").1);
    }
    assert_eq!(gateway.callbacks("none", "not_a_callback").await, other_apps + 3);
}

/// Payments, refunds and withdrawals come to the same address. They are acknowledged and counted,
/// and change nothing.
#[tokio::test]
async fn messages_of_other_types_are_acknowledged_and_counted() {
    let gateway = spawn().await;
    let before = gateway.callbacks(APP_ID, "other_type").await;
    for kind in ["payment", "refund", "settle_finish"] {
        let body = json!({ "type": kind, "version": "3.0", "msg": "{}" }).to_string();
        assert_eq!(Letter::signed(&gateway.sim, body).deliver(&gateway).await, success());
    }
    assert_eq!(gateway.callbacks(APP_ID, "other_type").await, before + 3);
    // Unsigned ones are refused.
    let body = json!({ "type": "payment", "version": "3.0", "msg": "{}" }).to_string();
    let unsigned = Letter { nonce: "other".into(), ..Letter::signed(&gateway.sim, body) };
    assert_eq!(unsigned.deliver(&gateway).await.0, 401);
}

/// Another system wants them, and gets them when Douyin delivers again.
#[tokio::test]
async fn messages_of_other_types_can_be_refused_and_settles_are_taken_all_the_same() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.callback.other_types = OtherTypes::Refuse;
        let platform_keys = config.apps[0].platform_keys.clone();
        config.apps.push(AppConfig { platform_keys, ..app(REFUSING, "other-secret") });
    })
    .await;
    let (_, good) = waiting(&gateway).await;
    let body = json!({ "type": "payment", "version": "3.0", "msg": "{}" }).to_string();
    let payment = Letter { to: REFUSING.to_owned(), ..Letter::signed(&gateway.sim, body) };
    for count in 1..=2 {
        assert_eq!(payment.deliver(&gateway).await, told(422, "other_type_refused"));
        assert_eq!(gateway.callbacks(REFUSING, "other_type_refused").await, count);
    }
    assert_eq!(gateway.callbacks(REFUSING, "other_type").await, 0);
    assert_eq!(good.deliver(&gateway).await, success());
}

#[tokio::test]
async fn an_app_without_a_key_refuses_every_callback() {
    let gateway = spawn_with(|config| {
        patient(config);
        // The listener is there for another app.
        let platform_keys = config.apps[0].platform_keys.take();
        config.apps.push(AppConfig { platform_keys, ..app("ttother", "other-secret") });
    })
    .await;
    let (settle, good) = waiting(&gateway).await;
    assert_eq!(good.deliver(&gateway).await, told(401, "no_key"));
    assert_eq!(gateway.get(&settle.out_settle_no).await.unwrap(), settle);
}

#[tokio::test]
async fn without_any_key_nothing_listens() {
    let gateway = Gateway::spawn_with(signing_simulator().await, |config| {
        config.apps[0].platform_keys = None;
    })
    .await;
    assert_eq!(gateway.addrs.callback, None);
}

/// Douyin's key changes. Both keys are accepted while both are in the file.
#[tokio::test]
async fn during_a_rotation_the_old_key_and_the_new_one_are_good() {
    let gateway = spawn().await;
    let (_, old) = waiting(&gateway).await;
    gateway.sim.set_platform_key(APP_ID, new_key());
    let new = Letter::signed(&gateway.sim, old.body.clone());
    assert_eq!(new.deliver(&gateway).await.0, 401);
    assert_eq!(old.deliver(&gateway).await, success());

    let both = spawn_with(|config| {
        patient(config);
        let other = new_key().public_pem();
        let old = super::key().public_pem();
        let keys = PlatformKeys::parse(&format!("{other}{old}")).unwrap();
        config.apps[0].platform_keys = Some(keys);
    })
    .await;
    let (_, letter) = waiting(&both).await;
    assert_eq!(letter.deliver(&both).await, success());
}

/// Only what is durable may be acknowledged. Douyin delivers the rest again.
#[tokio::test]
async fn while_the_store_fails_callbacks_are_answered_500_and_taken_when_they_come_again() {
    let gateway = spawn_with(|config| {
        patient(config);
        config.sqlite.busy_wait = std::time::Duration::from_millis(50);
    })
    .await;
    let (settle, good) = waiting(&gateway).await;
    let other = rusqlite::Connection::open(gateway.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(good.deliver(&gateway).await, told(500, "not_durable"));
    assert_eq!(gateway.get(&settle.out_settle_no).await.unwrap(), settle);
    other.execute_batch("ROLLBACK").unwrap();
    let taken = async { while good.deliver(&gateway).await != success() {} };
    within("the store to be up again", taken).await;
    let end = gateway.end(&settle.out_settle_no).await;
    assert_eq!(end.state(), settlement_gateway::proto::v1::SettleState::Succeeded);
}

/// Each is logged once, with its kind and never with its content.
#[tokio::test]
async fn a_refusal_is_logged_once_and_without_the_body() {
    use crate::process::{Process, Setting};
    let sim = signing_simulator().await;
    let dir = tempfile::TempDir::new().unwrap();
    let keys = dir.path().join("keys.pem");
    std::fs::write(&keys, sim.platform_public_key_pem(APP_ID)).unwrap();
    let setting = Setting { platform_keys: Some(keys), ..Setting::default() };
    let process = Process::start(&sim, dir.path(), setting).await;
    let url = process.callback_url();
    let client = reqwest::Client::new();
    let body = "{\"type\":\"settle\",\"msg\":\"private words of a merchant\"}";
    let answer = client.post(&url).header("Byte-Logid", "log-7").body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    process.logged("callback refused: it is not Douyin's").await;
    process.signal("TERM").await;
    let (_, log) = process.ended().await;
    assert_eq!(log.matches("callback refused").count(), 1, "{log}");
    assert!(log.contains("log-7") && !log.contains("private words"), "{log}");
}
