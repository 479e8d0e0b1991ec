//! Callbacks over real HTTP: what arrives, who signed it, and what comes of each answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{GOOD, Got, Receiver, Reply, verified};
use super::wire::{Client, LONG, read};
use super::{APP, CREATE, config, good_create};
use crate::{
    Attempt, Callback, CallbackScript, CallbackState, Choices, Forged, ForgedSignature, Gate,
    Outcome, PlatformKey, SimConfig, Snapshot, Status,
};

/// A simulator whose app has the receiver in its console.
pub(super) async fn start() -> (Client, Receiver) {
    start_with(|_| {}).await
}

async fn start_with(tune: impl FnOnce(&mut SimConfig)) -> (Client, Receiver) {
    let receiver = Receiver::start().await;
    let mut config = config();
    config.apps[0].callback_url = Some(receiver.url.clone());
    tune(&mut config);
    (Client::start_with(config).await, receiver)
}

pub(super) async fn create(client: &Client, number: &str, order: &str) {
    let answer = client.post(CREATE, &good_create(number, order)).await.expect("an answer");
    assert_eq!(read(answer).await["err_no"], 0);
}

pub(super) async fn until_acknowledged(client: &Client, number: &str) -> Snapshot {
    let there = |books: &Snapshot| {
        books.callbacks_of(number).last().is_some_and(|callback| callback.is_acknowledged())
    };
    client.sim.until(there).await
}

/// Waits until this many attempts of the callback have ended.
pub(super) async fn until_tried(client: &Client, number: &str, times: usize) -> Callback {
    let there = |books: &Snapshot| {
        books.callbacks_of(number).last().is_some_and(|callback| {
            let known = |attempt: &&Attempt| attempt.outcome != Outcome::Pending;
            callback.attempts.iter().filter(known).count() >= times
        })
    };
    let books = client.sim.until(there).await;
    (*books.callbacks_of(number).last().expect("it was there")).clone()
}

async fn until_over(client: &Client, id: u64) -> Callback {
    let is_over = |callback: &&Arc<Callback>| callback.id == id && callback.is_over();
    let books = client.sim.until(|books| books.callbacks.iter().any(|it| is_over(&it))).await;
    (**books.callbacks.iter().find(is_over).expect("it was there")).clone()
}

#[tokio::test]
async fn the_end_of_a_settle_is_told_with_all_headers_and_a_good_signature() {
    let (client, receiver) = start().await;
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let got = receiver.wait_for(1).await.remove(0);
    assert!(got.head.starts_with("POST /callbacks/a?b=c HTTP/1.1\r\n"), "{}", got.head);
    for name in ["Byte-Signature", "Byte-Timestamp", "Byte-Nonce-Str", "Byte-Logid", "Byte-Env"] {
        assert!(
            got.head.contains(&format!("\r\n{name}: ")),
            "{name} as it is written: {}",
            got.head
        );
    }
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("byte-identifyname"), "/callbacks/a");
    assert_eq!(got.header("byte-env"), "prod");
    assert_eq!(got.header("byte-nonce-str").len(), 32);
    assert!(got.header("byte-logid").len() >= 44);
    let books = until_acknowledged(&client, "s1").await;
    let settle = books.only("s1").expect("one settle");
    let event_id =
        format!("basic_industry_/callbacks/a_{APP}_SettleSucDeveloperNotify_{}", settle.settle_id);
    assert_eq!(got.header("byte-eventid"), event_id);
    assert!(got.is_signed_by(&client.sim.platform_public_key_pem(APP)));
    let sent_s: u64 = got.header("byte-timestamp").parse().expect("seconds");
    assert_eq!(sent_s, books.callbacks[0].attempts[0].at_ms / 1_000);
    client.sim.stop().await;
}

#[tokio::test]
async fn the_message_has_the_documented_fields() {
    let (client, receiver) = start().await;
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let got = receiver.wait_for(1).await.remove(0);
    let envelope: Value = serde_json::from_slice(&got.body).expect("JSON");
    assert_eq!((&envelope["version"], &envelope["type"]), (&json!("3.0"), &json!("settle")));
    let books = client.sim.books();
    let settle = books.only("s1").expect("one settle");
    let detail = "商户号72789245768543296350-分成金额(分)400,\
                  商户号72789245768543296350-分成金额(分)99000";
    assert_eq!(
        got.msg(),
        json!({
            "app_id": APP,
            "status": "SUCCESS",
            "order_id": settle.order_id,
            "cp_extra": "mark",
            "message": "SUCCESS",
            "event_time": settle.finished_at_ms,
            "settle_id": settle.settle_id,
            "out_settle_no": "s1",
            "rake": 600,
            "commission": 0,
            "settle_detail": detail,
            "settle_amount": 100_000,
            "is_auto_settle": false,
        })
    );
    client.sim.stop().await;
}

#[tokio::test]
async fn a_callback_is_sent_in_time_without_any_request() {
    let (client, receiver) = start_with(|config| config.processing_ms = 90).await;
    create(&client, "s1", "sim-fail-1").await;
    // No request and no step of the clock, only real time.
    let got = receiver.wait_for(1).await.remove(0);
    assert_eq!(got.msg()["status"], "FAIL");
    assert_eq!(got.msg()["settle_detail"], "");
    until_acknowledged(&client, "s1").await;
    client.sim.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again_on_the_ladder() {
    let (client, receiver) = start().await;
    let refusals = [
        Reply::With(200, r#"{"err_no":1,"err_tips":"success"}"#.to_owned()),
        Reply::With(500, GOOD.to_owned()),
        Reply::With(200, String::new()),
        Reply::With(302, String::new()),
        Reply::With(200, r#"{"err_no":0,"err_tips":"fine"}"#.to_owned()),
        Reply::Nothing,
        Reply::With(200, "x".repeat(100_000)),
    ];
    receiver.answer(refusals);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let rungs_s = [12, 12, 33, 60, 120, 180, 240];
    for (nth, rung_s) in (1..).zip(rungs_s) {
        receiver.wait_for(nth).await;
        assert_eq!(until_tried(&client, "s1", nth).await.attempts.len(), nth);
        // So early that even a slow machine does not reach the rung.
        client.sim.advance(Duration::from_secs(rung_s - 8));
        assert_eq!(receiver.got().len(), nth, "not before the rung is over");
        client.sim.advance(Duration::from_secs(8));
    }
    let books = until_acknowledged(&client, "s1").await;
    let callback = &books.callbacks[0];
    let statuses: Vec<Vec<u16>> =
        callback.attempts.iter().map(|attempt| attempt.statuses.clone()).collect();
    let expected: [&[u16]; 8] = [&[200], &[500], &[200], &[302], &[200], &[], &[], &[200]];
    assert_eq!(statuses, expected);
    assert_eq!(callback.attempts[7].outcome, Outcome::Acknowledged);
    let refused = Outcome::Refused { status: 500, text: GOOD.to_owned() };
    assert_eq!(callback.attempts[1].outcome, refused);
    let event_ids = |got: &Got| got.header("byte-eventid").to_owned();
    let got = receiver.got();
    assert!(got.iter().all(|one| event_ids(one) == event_ids(&got[0])));
    client.sim.advance(Duration::from_hours(48));
    assert_eq!(receiver.got().len(), 8);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_silent_receiver_is_given_up_at_the_deadline() {
    let choices = Choices { callback_deadline_ms: 50, ..Choices::default() };
    let (client, receiver) = start_with(|config| config.choices = choices).await;
    receiver.answer([Reply::Silence]);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let tried = until_tried(&client, "s1", 1).await;
    let outcome = Outcome::Unanswered("nothing within the deadline".to_owned());
    assert_eq!((tried.attempts[0].outcome.clone(), tried.is_over()), (outcome, false));
    assert_eq!(receiver.got().len(), 1);
    client.sim.advance(Duration::from_secs(12));
    until_acknowledged(&client, "s1").await;
    client.sim.stop().await;
}

#[tokio::test]
async fn no_more_than_sixty_four_are_on_their_way() {
    let choices = Choices { callback_deadline_ms: 600_000, ..Choices::default() };
    let (client, receiver) = start_with(|config| config.choices = choices).await;
    receiver.answer(std::iter::repeat_n(Reply::Silence, 64));
    for n in 0..70 {
        create(&client, &format!("s{n}"), &format!("o{n}")).await;
    }
    client.sim.advance(Duration::from_secs(2));
    receiver.wait_for(64).await;
    let sending = |books: &Snapshot| {
        let sending = |callback: &&Arc<Callback>| callback.state == CallbackState::Sending;
        books.callbacks.iter().filter(sending).count()
    };
    let books = client.sim.books();
    assert_eq!((books.callbacks.len(), sending(&books)), (70, 64));
    // When one ends, the others begin.
    receiver.let_go();
    receiver.wait_for(70).await;
    until_acknowledged(&client, "s69").await;
    client.sim.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_answer() {
    let choices = Choices { callback_deadline_ms: 600_000, ..Choices::default() };
    let (client, receiver) = start_with(|config| config.choices = choices).await;
    receiver.answer([Reply::Silence]);
    let gate = Gate::new();
    client.sim.script_callback("s2", vec![CallbackScript::Hold(gate.clone())]);
    create(&client, "s1", "o1").await;
    create(&client, "s2", "o2").await;
    client.sim.advance(Duration::from_secs(2));
    receiver.wait_for(1).await;
    gate.arrived().await;
    tokio::time::timeout(LONG, client.sim.stop()).await.expect("it stops");
}

#[tokio::test]
async fn an_address_without_a_listener_is_tried_again() {
    let (client, receiver) = start().await;
    client.sim.set_callback_url(APP, Some("http://127.0.0.1:1/"));
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let tried = until_tried(&client, "s1", 1).await;
    let outcome = &tried.attempts[0].outcome;
    assert!(matches!(outcome, Outcome::Unanswered(why) if why.contains("cannot connect")));
    // The next attempt goes where the console says by then.
    client.sim.set_callback_url(APP, Some(&receiver.url));
    client.sim.advance(Duration::from_secs(12));
    until_acknowledged(&client, "s1").await;
    assert_eq!(receiver.got().len(), 1);
    client.sim.stop().await;
}

#[tokio::test]
async fn an_address_of_its_own_wins_over_the_consoles() {
    let (client, receiver) = start().await;
    let own = Receiver::start().await;
    let body = super::edited(good_create("s1", "o1"), "notify_url", json!(own.url));
    assert_eq!(read(client.post(CREATE, &body).await.expect("an answer")).await["err_no"], 0);
    client.sim.advance(Duration::from_secs(2));
    assert_eq!(own.wait_for(1).await[0].msg()["out_settle_no"], "s1");
    until_acknowledged(&client, "s1").await;
    assert_eq!(receiver.got().len(), 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_rotated_key_signs_from_then_on() {
    let (client, receiver) = start().await;
    let before = client.sim.platform_public_key_pem(APP);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    until_acknowledged(&client, "s1").await;
    let key = PlatformKey::from_pem(&super::keys::new_private_key()).expect("a key");
    client.sim.set_platform_key(APP, key);
    let after = client.sim.platform_public_key_pem(APP);
    create(&client, "s2", "o2").await;
    client.sim.advance(Duration::from_secs(2));
    until_acknowledged(&client, "s2").await;
    let got = receiver.got();
    assert!(got[0].is_signed_by(&before) && !got[0].is_signed_by(&after));
    assert!(got[1].is_signed_by(&after) && !got[1].is_signed_by(&before));
    client.sim.stop().await;
}

#[tokio::test]
async fn a_held_callback_arrives_when_the_gate_opens() {
    let (client, receiver) = start().await;
    let gate = Gate::new();
    client.sim.script_callback("s1", vec![CallbackScript::Hold(gate.clone())]);
    create(&client, "s1", "o1").await;
    create(&client, "s2", "o2").await;
    client.sim.advance(Duration::from_secs(2));
    gate.arrived().await;
    until_acknowledged(&client, "s2").await;
    assert_eq!(receiver.got().len(), 1);
    gate.open();
    until_acknowledged(&client, "s1").await;
    assert_eq!(receiver.got()[1].msg()["out_settle_no"], "s1");
    client.sim.stop().await;
}

#[tokio::test]
async fn a_test_can_sign_whatever_it_wants() {
    let (client, _receiver) = start().await;
    let public_pem = client.sim.platform_public_key_pem(APP);
    let signature = client.sim.sign(APP, "17", "n", b"{}");
    assert!(verified(&public_pem, "17", "n", b"{}", &signature));
    assert!(!verified(&public_pem, "17", "n", b"{} ", &signature));
    client.sim.stop().await;
}

#[tokio::test]
async fn a_callback_can_be_replayed_byte_for_byte() {
    let (client, receiver) = start().await;
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let id = until_acknowledged(&client, "s1").await.callbacks[0].id;
    client.sim.advance(Duration::from_secs(60));
    let copy = client.sim.replay_callback(id).expect("it was sent");
    until_over(&client, copy).await;
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!((&got[1].headers, &got[1].body), (&got[0].headers, &got[0].body));
    assert_eq!(client.sim.replay_callback(99), None);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_forged_callback_is_sent_once_as_it_was_made() {
    let (client, receiver) = start().await;
    let public_pem = client.sim.platform_public_key_pem(APP);
    let good = Forged { app_id: APP.to_owned(), body: "{}".into(), ..Forged::default() };
    let exact = ForgedSignature::Exactly("abc=".to_owned());
    let (timestamp, nonce) = (Some("17".to_owned()), Some("n".to_owned()));
    let forgeries = [
        good.clone(),
        Forged { signature: ForgedSignature::Wrong, ..good.clone() },
        Forged { signature: ForgedSignature::Missing, ..good.clone() },
        Forged { signature: exact, timestamp, nonce, ..good },
    ];
    for forged in forgeries {
        receiver.answer([Reply::With(401, String::new())]);
        let id = client.sim.forge_callback(&forged).expect("there is room");
        let callback = until_over(&client, id).await;
        assert_eq!((callback.attempts.len(), callback.is_acknowledged()), (1, false));
        assert_eq!(callback.attempts[0].statuses, [401]);
    }
    let got = receiver.got();
    let signed: Vec<bool> = got[..2].iter().map(|one| one.is_signed_by(&public_pem)).collect();
    assert_eq!(signed, [true, false]);
    assert!(!got[2].headers.contains_key("byte-signature"));
    let exactly =
        ["byte-signature", "byte-timestamp", "byte-nonce-str"].map(|name| got[3].header(name));
    assert_eq!(exactly, ["abc=", "17", "n"]);
    client.sim.advance(Duration::from_hours(1));
    assert_eq!(receiver.got().len(), 4);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_contradiction_can_be_forged_from_what_is_in_the_books() {
    let (client, receiver) = start().await;
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    let books = until_acknowledged(&client, "s1").await;
    let settle_id = &books.settles[0].settle_id;
    let body = client.sim.callback_body(settle_id, Status::Fail).expect("the settle is there");
    let forged = Forged { app_id: APP.to_owned(), body, ..Forged::default() };
    until_over(&client, client.sim.forge_callback(&forged).expect("there is room")).await;
    let got = receiver.got();
    assert_eq!(got[1].msg()["status"], "FAIL");
    assert_eq!(got[1].msg()["settle_id"], got[0].msg()["settle_id"]);
    assert_eq!(client.sim.callback_body("ots0", Status::Fail), None);
    client.sim.stop().await;
}
