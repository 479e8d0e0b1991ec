//! The control interface over HTTP: what it shows, changes and refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::callbacks::{create, start, until_acknowledged};
use super::wire::{Client, read, read_bytes};
use super::{APP, CREATE, QUERY, SECRET, TOKEN, good_create};
use crate::{CallbackScript, Choices, Gate, Script, Status};

/// Gets a path; the answer is its status and its text.
async fn get(client: &Client, path: &str) -> (u16, String) {
    let response = client.http.get(format!("{}{path}", client.sim.url())).send().await;
    status_and_text(response.expect("an answer")).await
}

async fn books(client: &Client) -> Value {
    let (status, text) = get(client, "/sim/books").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Posts a body without saying its type.
async fn post(client: &Client, path: &str, body: &str) -> (u16, String) {
    let request = client.http.post(format!("{}{path}", client.sim.url())).body(body.to_owned());
    status_and_text(request.send().await.expect("an answer")).await
}

/// Changes something; returns what is in the books then.
async fn change(client: &Client, path: &str, body: Value) -> Value {
    let (status, text) = post(client, path, &body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Each is refused, changes nothing, and gets a reason.
async fn refused(client: &Client, path: &str, cases: &[(Value, &str)]) {
    let without_time = |mut books: Value| {
        books["now_ms"] = Value::Null;
        books
    };
    let before = without_time(books(client).await);
    for (body, sentence) in cases {
        let (status, text) = post(client, path, &body.to_string()).await;
        assert!((status == 400 || status == 404) && text.contains(sentence), "{body}: {text}");
    }
    assert_eq!(without_time(books(client).await), before);
}

async fn status_and_text(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    (status, String::from_utf8(read_bytes(response).await).expect("UTF-8"))
}

#[tokio::test]
async fn settles_are_listed_with_the_newest_first() {
    let client = Client::start().await;
    for n in 0..3 {
        let body = good_create(&format!("s{n}"), &format!("o{n}"));
        client.post(CREATE, &body).await.expect("an answer");
    }
    client.post(CREATE, &good_create("s2", "o2")).await.expect("a refusal");
    let all = books(&client).await;
    assert_eq!((&all["settles_total"], &all["creates_total"]), (&json!(3), &json!(4)));
    let settle = &all["settles"][0];
    assert_eq!((&settle["out_settle_no"], &settle["status"]), (&json!("s2"), &json!("INIT")));
    assert_eq!(settle["amount_fen"], 100_000);
    assert_eq!(settle["settle_params"][0]["amount_fen"], 400);
    assert_eq!(settle["settle_id"], client.sim.books().settles[2].settle_id);
    let order = &all["orders"][0];
    assert_eq!(
        (&order["out_order_no"], &order["in_systems"][0]["left_fen"]),
        (&json!("o2"), &json!(0))
    );
    assert_eq!(order["setup"]["stage"], "fulfilled");
    client.sim.stop().await;
}

#[tokio::test]
async fn the_newest_fifty_of_each_are_shown() {
    let client = Client::start().await;
    for n in 0..60 {
        let body = good_create(&format!("s{n}"), &format!("sim-hold-{n}"));
        client.post(CREATE, &body).await.expect("an answer");
    }
    let all = books(&client).await;
    for list in ["settles", "orders"] {
        assert_eq!(
            (&all[format!("{list}_total")], &all[format!("{list}_found")]),
            (&json!(60), &json!(60))
        );
        assert_eq!(all[list].as_array().map(Vec::len), Some(50), "{list}");
    }
    assert_eq!(all["settles"][49]["out_settle_no"], "s10");
    client.sim.stop().await;
}

#[tokio::test]
async fn a_text_finds_a_settle_with_its_order_and_its_callback() {
    let (client, receiver) = start().await;
    for n in 1..4 {
        create(&client, &format!("s{n}"), &format!("o{n}")).await;
    }
    client.sim.advance(Duration::from_secs(2));
    receiver.wait_for(3).await;
    let found = async |text: &str| {
        let (status, found) = get(&client, &format!("/sim/books?find={text}")).await;
        assert_eq!(status, 200, "{found}");
        serde_json::from_str::<Value>(&found).expect("JSON")
    };
    let settle = client.sim.books().only("s2").expect("one settle").clone();
    for text in ["s2", "S2", "o2", &settle.settle_id, &settle.order_id] {
        let found = found(text).await;
        for (list, name, value) in [
            ("settles", "out_settle_no", "s2"),
            ("orders", "out_order_no", "o2"),
            ("callbacks", "out_settle_no", "s2"),
        ] {
            assert_eq!(found[format!("{list}_total")], 3, "{text}");
            assert_eq!(found[format!("{list}_found")], 1, "{text}");
            assert_eq!(found[list][0][name], value, "{text}");
        }
    }
    let receiver_of_all = &settle.settle_params[0].merchant_uid;
    for (text, count) in [("success", 3), ("FAIL", 0), (receiver_of_all, 3), ("", 3), ("%E5", 0)] {
        let found = found(text).await;
        for list in ["settles", "orders", "callbacks"] {
            assert_eq!(found[format!("{list}_found")], count, "{list} with {text}");
        }
    }
    let (status, text) = get(&client, "/sim/books?search=s2").await;
    assert_eq!((status, text.as_str()), (400, "unknown parameter \"search\", expected find.\n"));
    client.sim.stop().await;
}

#[tokio::test]
async fn the_shares_of_a_settle_make_up_its_amount() {
    let client = Client::start().await;
    client.create_err_no().await;
    let all = books(&client).await;
    let settle = &all["settles"][0];
    let fen = |name: &str| settle[name].as_i64().expect("an amount");
    let receivers_fen: i64 = settle["settle_params"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|receiver| receiver["amount_fen"].as_i64().expect("an amount"))
        .sum();
    assert_eq!((fen("amount_fen"), fen("rake_fen")), (100_000, 600));
    assert!(receivers_fen > 0, "{settle}");
    assert_eq!(
        receivers_fen + fen("rake_fen") + fen("commission_fen") + fen("seller_fen"),
        100_000
    );
    client.sim.stop().await;
}

#[tokio::test]
async fn the_page_comes_with_its_files_and_takes_nothing_from_elsewhere() {
    let client = Client::start().await;
    let response = client.http.get(client.sim.page_url()).send().await.expect("an answer");
    let policy = response.headers()["content-security-policy"].to_str().expect("a text");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let mut text = status_and_text(response).await.1;
    for (file, content_type) in [
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("tables.js", "text/javascript"),
        ("settings.js", "text/javascript"),
    ] {
        assert!(text.contains(&format!("\"/sim/{file}\"")), "{file}");
        let url = format!("{}/sim/{file}", client.sim.url());
        let response = client.http.get(url).send().await.expect("an answer");
        let found = response.headers()["content-type"].to_str().expect("a text");
        assert_eq!(found, format!("{content_type}; charset=utf-8"));
        text += &status_and_text(response).await.1;
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn the_page_offers_every_choice_and_every_change() {
    let client = Client::start().await;
    let (_, settings) = get(&client, "/sim/settings.js").await;
    let (_, choices) = settings.split_once("CHOICES = {\n").expect("the choices");
    let (choices, _) = choices.split_once("\n};").expect("their end");
    let name = |line: &str| line.split_once(": [").map(|(name, _)| name.trim().to_owned());
    let offered: BTreeSet<_> = choices.lines().map(|line| name(line).expect("a name")).collect();
    assert_eq!(offered, Choices::default().named().keys().cloned().collect());
    let (_, page) = get(&client, "/sim/page.js").await;
    let (_, tables) = get(&client, "/sim/tables.js").await;
    for path in ["clock", "orders", "apps", "finish", "faults", "choices"] {
        let posted = format!("\"/sim/{path}\"");
        assert!(page.contains(&posted) || tables.contains(&posted), "{path}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn the_clock_can_be_moved() {
    let client = Client::start().await;
    client.create_err_no().await;
    let moved = change(&client, "/sim/clock", json!({ "advance_ms": 2_000 })).await;
    assert_eq!(moved["ahead_ms"], 2_000);
    assert_eq!(client.sim.books().only("s1").expect("one settle").status, Status::Success);
    let by = json!({ "advance_days": 3, "advance_ms": 1 });
    let moved = change(&client, "/sim/clock", by).await;
    assert_eq!(moved["ahead_ms"], 2_001 + 3 * 86_400_000);
    refused(
        &client,
        "/sim/clock",
        &[(json!({ "days": 1 }), "unknown field `days`"), (json!({ "advance_ms": -1 }), "u64")],
    )
    .await;
    client.sim.stop().await;
}

#[tokio::test]
async fn an_order_can_be_made_and_changed() {
    let client = Client::start().await;
    let of = |order: Value| json!({ "app_id": APP, "out_order_no": "o1", "order": order });
    let made = change(&client, "/sim/orders", of(json!({ "stage": "unpaid" }))).await;
    assert_eq!(made["orders"][0]["in_systems"][0]["whole_err_no"], 23_102);
    assert_eq!(client.create_err_no().await, 23_102);
    let card = json!({
        "item_order_id": "card", "amount_fen": 900, "uses_done": 1, "uses_total": 3,
    });
    let with_card = json!({ "total_fen": 1_600, "items": [card], "promotion": "cps" });
    let changed = change(&client, "/sim/orders", of(with_card)).await;
    assert_eq!(changed["orders_total"], 1);
    let setup = &changed["orders"][0]["setup"];
    assert_eq!((&setup["total_fen"], &setup["items"][0]), (&json!(1_600), &card));
    let item = |amount_fen: i64, uses_done: u32| {
        let item = json!({
            "item_order_id": "i1", "amount_fen": amount_fen, "uses_done": uses_done,
            "uses_total": 1,
        });
        of(json!({ "items": [item] }))
    };
    let many = vec![card.clone(); 101];
    refused(
        &client,
        "/sim/orders",
        &[
            (of(json!({ "stage": "gone" })), "expected one of `missing`, `unpaid`, `paid`,"),
            (of(json!({ "total_fen": -1 })), "worth 0 to 1000000000000 fen"),
            (of(json!({ "items": many })), "at most 100 items"),
            (item(-1, 1), "worth 0 to"),
            (item(1, 2), "\"i1\" was used too often."),
            (of(json!({ "itmes": [] })), "unknown field `itmes`"),
            (json!({ "out_order_no": "o1", "order": {} }), "missing field `app_id`"),
            (json!({ "app_id": "x", "out_order_no": "o1", "order": {} }), "There is no app \"x\"."),
        ],
    )
    .await;
    client.sim.stop().await;
}

#[tokio::test]
async fn an_app_can_be_changed() {
    let client = Client::start().await;
    let rules = json!({ "automatic_settlement": true, "timing": { "paid": { "days": 7 } } });
    let changed = change(&client, "/sim/apps", json!({ "app_id": APP, "rules": rules })).await;
    let app = &changed["apps"][0];
    assert_eq!((&app["app_id"], &app["tokens_fetched"]), (&json!(APP), &json!(1)));
    assert_eq!(app["rules"]["timing"], json!({ "paid": { "days": 7 } }));
    assert_eq!(client.create_err_no().await, 23_117);
    for (url, shown) in [("http://127.0.0.1:1/", json!("http://127.0.0.1:1/")), ("", json!(null))] {
        let to = json!({ "app_id": APP, "callback_url": url });
        let changed = change(&client, "/sim/apps", to).await;
        assert_eq!(changed["apps"][0]["callback_url"], shown);
        assert_eq!(changed["apps"][0]["rules"]["automatic_settlement"], true);
    }
    refused(
        &client,
        "/sim/apps",
        &[
            (json!({ "app_id": "ttnone" }), "There is no app \"ttnone\"."),
            (json!({ "app_id": APP, "callback_url": "x" }), "\"x\" does not begin with http://"),
            (json!({ "app_id": APP, "rules": { "timing": "soon" } }), "unknown variant `soon`"),
        ],
    )
    .await;
    let (_, text) = get(&client, "/sim/books").await;
    assert!(!text.contains(SECRET) && !text.contains("clt."), "{text}");
    let pem = client.sim.platform_public_key_pem(APP);
    assert_eq!(get(&client, &format!("/sim/platform-key/{APP}")).await, (200, pem));
    assert_eq!(get(&client, "/sim/platform-key/ttnone").await.0, 404);
    let private_pem = crate::SANDBOX_APP_PRIVATE_KEY_PEM.to_owned();
    assert_eq!(get(&client, "/sim/app-key").await, (200, private_pem));
    client.sim.stop().await;
}

#[tokio::test]
async fn the_callbacks_are_listed_with_every_attempt() {
    let (client, receiver) = start().await;
    client.sim.script_callback("s1", vec![CallbackScript::LoseAnswer]);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    receiver.wait_for(1).await;
    client.sim.advance(Duration::from_secs(60));
    until_acknowledged(&client, "s1").await;
    let listed = books(&client).await;
    assert_eq!(
        (&listed["callbacks_total"], &listed["callbacks_turned_away"]),
        (&json!(1), &json!(0))
    );
    let one = &listed["callbacks"][0];
    assert_eq!(
        (&one["id"], &one["app_id"], &one["status"]),
        (&json!(1), &json!(APP), &json!("SUCCESS"))
    );
    assert!(one["state"]["acknowledged"]["at_ms"].is_u64(), "{one}");
    let attempts = one["attempts"].as_array().expect("an array");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["fault"], "lose-answer");
    assert_eq!(attempts[0]["outcome"], json!({ "unanswered": "the answer got lost" }));
    assert_eq!(attempts[0]["statuses"], json!([200]));
    assert_eq!(attempts[1]["outcome"], "acknowledged");
    assert_eq!(one["body"].as_str().map(str::as_bytes), Some(&receiver.got()[0].body[..]));
    client.sim.stop().await;
}

#[tokio::test]
async fn standing_scripts_can_be_chosen_and_ended() {
    let client = Client::start().await;
    let first = json!({ "create": { "apply-then": { "refuse": 23_000 } } });
    let set = change(&client, "/sim/faults", first).await;
    assert_eq!(set["faults"]["create"], json!({ "apply-then": { "refuse": 23_000 } }));
    assert_eq!(client.create_err_no().await, 23_000);
    assert_eq!(client.sim.books().settles.len(), 1);
    let many = json!({
        "create": "drop", "query": "find-nothing", "token": { "refuse": 10_020 },
        "callback": { "delay": [500, "twice"] }, "faults_per_10_000": 0,
    });
    let set = change(&client, "/sim/faults", many.clone()).await;
    assert_eq!(set["faults"], many);
    client.create().await.expect_err("no answer");
    let key = json!({ "app_id": APP, "out_settle_no": "s1" });
    let found = read(client.post(QUERY, &key).await.expect("an answer")).await;
    assert_eq!((&found["err_no"], &found["data"]), (&json!(0), &json!([])));
    let token = read(client.post(TOKEN, &super::token_body()).await.expect("an answer")).await;
    assert_eq!(token["data"]["error_code"], 10_020);
    refused(
        &client,
        "/sim/faults",
        &[
            (json!({ "create": "explode" }), "unknown variant `explode`, expected one of `normal`"),
            (json!({ "create": "hold" }), "unknown variant `hold`"),
            (json!({ "settle": "drop" }), "unknown field `settle`"),
        ],
    )
    .await;
    // Faults that are left out do not happen.
    change(&client, "/sim/faults", json!({})).await;
    assert_eq!(client.create_err_no().await, 23_111);
    let answer = json!({ "answer": { "status": 503, "body": "{}" } });
    change(&client, "/sim/faults", json!({ "create": answer })).await;
    assert_eq!(client.create().await.expect("an answer").status(), 503);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_script_at_a_gate_is_shown() {
    let client = Client::start().await;
    client.sim.always_create(Some(Script::Hold(Gate::new())));
    assert_eq!(books(&client).await["faults"]["create"], json!({ "hold": null }));
    client.sim.stop().await;
}

#[tokio::test]
async fn what_hangs_is_let_go_when_faults_change() {
    let client = Client::start().await;
    change(&client, "/sim/faults", json!({ "create": "hang" })).await;
    let (result, _) = tokio::join!(client.create(), async {
        client.sim.until(|books| books.sends("s1") == 1).await;
        change(&client, "/sim/faults", json!({})).await
    });
    assert!(!result.expect_err("no answer").is_timeout());
    client.sim.stop().await;
}

#[tokio::test]
async fn choices_can_be_changed_by_name() {
    let client = Client::start().await;
    let some = json!({ "business_status": 200, "business_envelope": "err-tips" });
    let changed = change(&client, "/sim/choices", some).await;
    let expected = Choices {
        business_status: http::StatusCode::OK,
        business_envelope: crate::Envelope::ErrTips,
        ..Choices::default()
    };
    assert_eq!(changed["choices"], Value::Object(expected.named()));
    client.create_err_no().await;
    let response = client.create().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(read(response).await["err_tips"], "out_settle_no has existed");
    refused(
        &client,
        "/sim/choices",
        &[
            (json!({ "number_check": "never" }), "expected `before-rules` or `after-rules`"),
            (json!({ "colour": "red" }), "unknown field `colour`"),
            (json!([]), "invalid type"),
        ],
    )
    .await;
    client.sim.stop().await;
}

#[tokio::test]
async fn a_settle_can_be_ended() {
    let client = Client::start().await;
    client.post(CREATE, &good_create("s1", "sim-hold-1")).await.expect("an answer");
    let settle_id = client.sim.books().settles[0].settle_id.clone();
    let end = |status: &str| json!({ "settle_id": settle_id, "status": status });
    let ended = change(&client, "/sim/finish", end("FAIL")).await;
    assert_eq!(ended["settles"][0]["status"], "FAIL");
    assert_eq!(client.sim.books().settles[0].status, Status::Fail);
    refused(
        &client,
        "/sim/finish",
        &[
            (end("PROCESSING"), "status must be SUCCESS or FAIL."),
            (end(""), "unknown variant"),
            (json!({ "settle_id": "ots1", "status": "FAIL" }), "There is no settle \"ots1\"."),
        ],
    )
    .await;
    client.sim.stop().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_is_told_apart() {
    let client = Client::start().await;
    for path in ["/sim/nothing", "/sim/", "/sim", "/simulator"] {
        assert_eq!(get(&client, path).await.0, 404, "{path}");
    }
    assert_eq!(post(&client, "/", "").await.0, 405);
    assert_eq!(post(&client, "/sim/books", "").await.0, 405);
    assert_eq!(get(&client, "/sim/finish").await.0, 405);
    assert_eq!(post(&client, "/sim/clock", "advance_ms=1").await.0, 400);
    assert_eq!(post(&client, "/sim/clock", &"x".repeat(64 * 1024 + 1)).await.0, 413);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything() {
    let client = Client::start().await;
    let url = client.sim.url();
    let by_1 = json!({ "advance_ms": 1 }).to_string();
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("https://127.0.0.1", 403),
        (url.as_str(), 200),
    ] {
        let request = client.http.post(format!("{url}/sim/clock")).header("origin", origin);
        let response = request.body(by_1.clone()).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{origin}");
    }
    assert_eq!(books(&client).await["ahead_ms"], 1);
    // A browser takes a page's own name, which may resolve to this machine, for the page's.
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("localhost.evil.example", 403),
        ("[::1].evil.example", 403),
        ("localhost:8081", 200),
        ("[::1]:8081", 200),
    ] {
        let request = client.http.post(format!("{url}/sim/clock")).header("host", host);
        let request = request.header("origin", format!("http://{host}"));
        let response = request.body(by_1.clone()).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{host}");
    }
    client.sim.stop().await;
}
