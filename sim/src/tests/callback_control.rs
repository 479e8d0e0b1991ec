//! Callbacks through the control page and its endpoints.

use std::time::Duration;

use serde_json::{Value, json};

use super::callbacks::{create, start, until_acknowledged, until_tried};
use super::keys::new_private_key;
use super::wire::{Client, read_bytes};
use super::{APP, config};
use crate::{CallbackScript, PlatformKey};

async fn get(client: &Client, path: &str) -> String {
    let url = format!("{}{path}", client.sim.url());
    let response = client.http.get(url).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    String::from_utf8(read_bytes(response).await).expect("UTF-8")
}

async fn get_json(client: &Client, path: &str) -> Value {
    serde_json::from_str(&get(client, path).await).expect("JSON")
}

async fn post(client: &Client, path: &str, body: impl Into<String>) -> (u16, String) {
    let request = client.http.post(format!("{}{path}", client.sim.url())).body(body.into());
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, String::from_utf8(read_bytes(response).await).expect("UTF-8"))
}

async fn post_json(client: &Client, path: &str, body: impl Into<String>) -> Value {
    let (status, text) = post(client, path, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Until so many callbacks are acknowledged.
async fn until_so_many(client: &Client, count: usize) {
    let enough = |books: &crate::Snapshot| {
        books.callbacks.iter().filter(|callback| callback.is_acknowledged()).count() == count
    };
    client.sim.until(enough).await;
}

#[tokio::test]
async fn the_callbacks_are_listed_with_every_attempt() {
    let (client, receiver) = start().await;
    client.sim.script_callback("s1", vec![CallbackScript::LoseAnswer]);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    until_tried(&client, "s1", 1).await;
    client.sim.advance(Duration::from_secs(60));
    until_acknowledged(&client, "s1").await;
    let listed = get_json(&client, "/sim/callbacks?limit=1").await;
    assert_eq!((&listed["total"], &listed["turned_away"]), (&json!(1), &json!(0)));
    let one = &listed["callbacks"][0];
    for (name, value) in [
        ("id", json!(1)),
        ("app_id", json!(APP)),
        ("out_settle_no", json!("s1")),
        ("status", json!("SUCCESS")),
        ("state", json!("acknowledged")),
        ("next_at_ms", Value::Null),
    ] {
        assert_eq!(one[name], value, "{name}");
    }
    assert!(one["acknowledged_at_ms"].is_u64());
    let attempts = one["attempts"].as_array().expect("an array");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["fault"], "lose-answer");
    assert_eq!(attempts[0]["outcome"], "no answer: the answer got lost");
    assert_eq!(attempts[0]["statuses"], json!([200]));
    assert_eq!(attempts[1]["outcome"], "acknowledged");
    let body = one["body"].as_str().expect("a text");
    assert_eq!(body.as_bytes(), receiver.got()[0].body);
    let page = get(&client, "/sim/").await;
    for part in ["<td>s1</td><td>SUCCESS</td>", "<td>acknowledged</td><td>2</td>", "anew</button>"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn a_callback_can_be_sent_again_and_replayed() {
    let (client, receiver) = start().await;
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    until_acknowledged(&client, "s1").await;
    let anew = post_json(&client, "/sim/callbacks/resend", "callback=1").await;
    assert_eq!((&anew["id"], &anew["out_settle_no"]), (&json!(2), &json!("s1")));
    until_so_many(&client, 2).await;
    let copy = post_json(&client, "/sim/callbacks/replay", "callback=1").await;
    assert_eq!(copy["id"], 3);
    until_so_many(&client, 3).await;
    let got = receiver.got();
    assert_ne!(got[1].headers, got[0].headers);
    assert_eq!(got[2].headers, got[0].headers);
    for (path, body, status, sentence) in [
        ("/sim/callbacks/resend", "callback=9", 404, "It is not remembered"),
        ("/sim/callbacks/replay", "callback=9", 404, "Nothing of it was sent"),
        ("/sim/callbacks/resend", "", 400, "callback is needed: the id of one."),
        ("/sim/callbacks/replay", "callback=x", 400, "callback must be a whole number"),
        ("/sim/callbacks/replay", "id=1", 400, "There is no field \"id\" here"),
    ] {
        let answer = post(&client, path, body).await;
        assert!(answer.0 == status && answer.1.starts_with(sentence), "{body}: {answer:?}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn a_callback_can_be_forged() {
    let (client, receiver) = start().await;
    let public_pem = client.sim.platform_public_key_pem(APP);
    create(&client, "s1", "sim-hold-1").await;
    let settle_id = client.sim.books().settles[0].settle_id.clone();
    let form = format!("settle_id={settle_id}&status=FAIL&body=&app_id=");
    let forged = post_json(&client, "/sim/callbacks/forge", form).await;
    assert_eq!((&forged["status"], &forged["app_id"]), (&Value::Null, &json!(APP)));
    until_so_many(&client, 1).await;
    let body = json!({ "app_id": APP, "body": " {} ", "timestamp": "17", "nonce": "n",
        "signature": "wrong", "url": receiver.url });
    post_json(&client, "/sim/callbacks/forge", body.to_string()).await;
    until_so_many(&client, 2).await;
    let got = receiver.got();
    assert_eq!(got[0].msg()["status"], "FAIL");
    assert!(got[0].is_signed_by(&public_pem) && !got[1].is_signed_by(&public_pem));
    assert_eq!((got[1].body.as_slice(), got[1].header("byte-timestamp")), (&b" {} "[..], "17"));
    for (body, status, sentence) in [
        ("", 400, "body is needed, or settle_id with status."),
        ("settle_id=ots0", 404, "There is no settle \"ots0\"."),
        ("app_id=x&body=1", 400, "There is no app \"x\""),
        ("body=1", 400, "app_id is needed"),
        ("settle_id=x&status=INIT", 400, "status must be SUCCESS or FAIL or PROCESSING."),
        ("body=1&signature=x", 400, "signature must be good or wrong or missing."),
        ("body=1&url=ftp://x", 400, "\"ftp://x\" does not begin with http://"),
    ] {
        let answer = post(&client, "/sim/callbacks/forge", body).await;
        assert!(answer.0 == status && answer.1.starts_with(sentence), "{body}: {answer:?}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn an_apps_address_and_key_can_be_changed() {
    let (client, receiver) = start().await;
    let of_other = format!("app_id=ttother&callback_url={}", receiver.url.replace('&', "%26"));
    let other = post_json(&client, "/sim/apps", of_other).await;
    assert_eq!(other["callback_url"], json!(receiver.url));
    let none = post_json(&client, "/sim/apps", format!("app_id={APP}&callback_url=none")).await;
    assert_eq!(none["callback_url"], Value::Null);
    let page = get(&client, "/sim/").await;
    assert!(page.contains("<td>nowhere</td>"), "{page}");
    let private_pem = new_private_key();
    let body = json!({ "app_id": APP, "platform_key": private_pem });
    let (status, text) = post(&client, "/sim/apps", body.to_string()).await;
    assert!(status == 200 && !text.contains("PRIVATE"), "{text}");
    let public_pem = PlatformKey::from_pem(&private_pem).expect("a key").public_pem();
    assert_eq!(get(&client, &format!("/sim/platform-key?app_id={APP}")).await, public_pem);
    assert_ne!(get(&client, "/sim/platform-key?app_id=ttother").await, public_pem);
    for (body, sentence) in [
        ("app_id=ttother&platform_key=x", "platform_key: there is no PKCS#8 private key"),
        ("app_id=ttother&callback_url=x", "\"x\" does not begin with http://"),
    ] {
        let answer = post(&client, "/sim/apps", body).await;
        assert!(answer.0 == 400 && answer.1.starts_with(sentence), "{body}: {answer:?}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn the_standing_fault_of_callbacks_can_be_chosen() {
    let client = Client::start_with(config()).await;
    assert_eq!(get_json(&client, "/sim/faults").await["callback"], "none");
    let chosen = post_json(&client, "/sim/faults", "callback=delay 500 twice").await;
    assert_eq!(chosen["callback"], "delay 500 twice");
    // The page sends back what it showed.
    let same = post_json(&client, "/sim/faults", "callback=delay 500 twice").await;
    assert_eq!(same["callback"], "delay 500 twice");
    for (text, sentence) in [
        ("sometimes", "\"sometimes\" is no script; write normal, lose, "),
        ("wander", "\"wander\" is no script"),
        ("wander x", "wander needs a number from 0 to 86400000, not \"x\""),
        (
            "delay 5 delay 5 delay 5 delay 5 delay 5 delay 5 delay 5 delay 5 cut",
            "a script has at most",
        ),
    ] {
        let answer = post(&client, "/sim/faults", format!("callback={text}")).await;
        assert!(answer.0 == 400 && answer.1.starts_with(sentence), "{text}: {answer:?}");
    }
    let ended = post_json(&client, "/sim/faults", "callback=none").await;
    assert_eq!(ended["callback"], "none");
    client.sim.stop().await;
}
