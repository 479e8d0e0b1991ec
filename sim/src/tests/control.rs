//! The control endpoints over HTTP: what they show, change and refuse.

use serde_json::{Value, json};

use super::wire::{Client, read, read_bytes};
use super::{APP, CREATE, QUERY, SECRET, TOKEN, config, good_create, item_create};
use crate::{Choices, Gate, Script, SimConfig, Status};

/// Gets a path; the answer is its status and its text.
async fn get(client: &Client, path: &str) -> (u16, String) {
    let response = client.http.get(format!("{}{path}", client.sim.url())).send().await;
    status_and_text(response.expect("an answer")).await
}

async fn get_json(client: &Client, path: &str) -> Value {
    let (status, text) = get(client, path).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Posts a body that says nothing of its type.
async fn post(client: &Client, path: &str, body: &str) -> (u16, String) {
    let request = client.http.post(format!("{}{path}", client.sim.url())).body(body.to_owned());
    status_and_text(request.send().await.expect("an answer")).await
}

async fn post_json(client: &Client, path: &str, body: &str) -> Value {
    let (status, text) = post(client, path, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
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
    let all = get_json(&client, "/sim/settles").await;
    client.post(CREATE, &good_create("s2", "o2")).await.expect("a refusal");
    let all_again = get_json(&client, "/sim/settles").await;
    assert_eq!((&all_again["total"], &all_again["creates_total"]), (&json!(3), &json!(4)));
    assert_eq!(all["total"], 3);
    let settle = &all["settles"][0];
    assert_eq!((&settle["out_settle_no"], &settle["status"]), (&json!("s2"), &json!("INIT")));
    assert_eq!((&settle["amount_fen"], &settle["rake_fen"]), (&json!(100_000), &json!(600)));
    assert_eq!(settle["settle_params"][0]["amount_fen"], 400);
    assert_eq!(settle["settle_id"], client.sim.books().settles[2].settle_id);
    let some = get_json(&client, "/sim/settles?limit=1&skip=1").await;
    assert_eq!((&some["total"], &some["settles"][0]["out_settle_no"]), (&json!(3), &json!("s1")));
    assert_eq!(some["settles"].as_array().expect("an array").len(), 1);
    for (query, sentence) in [
        ("limit=0", "limit must be a whole number from 1 to 1000."),
        ("limit=1001", "limit must be a whole number from 1 to 1000."),
        ("skip=x", "skip must be a whole number from 0"),
        ("page=2", "There is no field \"page\" here, only limit, skip."),
    ] {
        let (status, text) = get(&client, &format!("/sim/settles?{query}")).await;
        assert!(status == 400 && text.starts_with(sentence), "{query}: {status} {text}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn looking_counts_as_nothing() {
    let client = Client::start().await;
    for path in ["/sim", "/sim/", "/sim/settles", "/sim/orders", "/sim/apps", "/sim/faults"] {
        assert_eq!(get(&client, path).await.0, 200, "{path}");
    }
    assert_eq!(client.sim.books().strays_total(), 0);
    assert_eq!(get(&client, "/simulator").await.0, 404);
    assert_eq!(client.sim.books().strays_total(), 1);
    client.sim.stop().await;
}

#[tokio::test]
async fn the_clock_can_be_moved_by_form_and_by_json() {
    let client = Client::start().await;
    client.create_err_no().await;
    let before_ms = get_json(&client, "/sim/clock").await["now_ms"].as_u64().expect("a time");
    let moved = post_json(&client, "/sim/clock", "advance_ms=2000").await;
    assert_eq!(moved["ahead_ms"], 2_000);
    assert_eq!(client.sim.books().only("s1").expect("one settle").status, Status::Success);
    let moved = post_json(&client, "/sim/clock", r#"{"advance_days": 3, "advance_ms": 1}"#).await;
    assert_eq!(moved["ahead_ms"], 2_001 + 3 * 86_400_000);
    assert!(moved["now_ms"].as_u64().expect("a time") >= before_ms + 2_001 + 3 * 86_400_000);
    for (body, sentence) in [
        ("", "advance_ms or advance_days is needed."),
        ("advance_ms=", "advance_ms or advance_days is needed."),
        ("advance_ms=-1", "advance_ms must be a whole number from 0"),
        ("advance_ms=1.5", "advance_ms must be a whole number from 0"),
        ("advance_days=36600", "The clock cannot be moved ahead by more than a hundred years."),
        ("advance_days=99999999999", "advance_days must be a whole number from 0"),
        ("days=1", "There is no field \"days\" here, only advance_ms, advance_days."),
    ] {
        let (status, text) = post(&client, "/sim/clock", body).await;
        assert!(status == 400 && text.starts_with(sentence), "{body}: {status} {text}");
    }
    assert_eq!(get_json(&client, "/sim/clock").await["ahead_ms"], 2_001 + 3 * 86_400_000);
    client.sim.stop().await;
}

#[tokio::test]
async fn an_order_can_be_made_and_changed() {
    // Tests of other processes may know one app only, and then need not name it.
    let apps = vec![config().apps.remove(0)];
    let client = Client::start_with(SimConfig { apps, ..config() }).await;
    let made = post_json(&client, "/sim/orders", "out_order_no=o1&stage=unpaid").await;
    assert_eq!((&made["app_id"], &made["stage"]), (&json!(APP), &json!("unpaid")));
    assert_eq!((&made["total_fen"], &made["items_text"]), (&json!(100_000), &json!("any")));
    assert_eq!(made["whole_err_no"], 23_102);
    assert_eq!(client.create_err_no().await, 23_102);
    let body = r#"{"app_id":"tt0123456789abcdef","out_order_no":"o1","stage":"paid",
        "total_fen":1600,"items":[{"item_order_id":"i 1","amount_fen":700,"uses_done":1},
        {"item_order_id":"card","amount_fen":900,"uses_done":1,"uses_total":3}]}"#;
    let changed = post_json(&client, "/sim/orders", body).await;
    assert_eq!(changed["items"][1]["uses_total"], 3);
    let body = super::without(item_create("s1", "o1", "card"), "settle_params");
    let created = read(client.post(CREATE, &body).await.expect("an answer")).await;
    assert_eq!(created["err_no"], 0);
    let form = "out_order_no=o1&items=i1+700+unused,+card+900+3%2F3&promotion=cps&stage=";
    let changed = post_json(&client, "/sim/orders", form).await;
    assert_eq!(changed["items_text"], "i1 700 unused, card 900 3/3");
    assert_eq!((&changed["promotion"], &changed["left_fen"]), (&json!("cps"), &json!(1_300)));
    let listed = get_json(&client, "/sim/orders").await;
    assert_eq!((&listed["total"], &listed["orders"][0]), (&json!(1), &changed));
    assert_eq!(client.sim.order(APP, "o1").expect("it was made").left_fen, 1_300);
    client.sim.stop().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_gets_a_sentence_and_is_not_made() {
    let client = Client::start().await;
    let long = format!("app_id={APP}&out_order_no={}", "x".repeat(65));
    let of = |rest: &str| format!("app_id={APP}&out_order_no=o1&{rest}");
    let items = |text: &str| of(&format!("items={text}"));
    let many = items(&["i 1 used"; 101].join(","));
    for (body, sentence) in [
        ("stage=paid".to_owned(), "out_order_no is needed."),
        ("out_order_no=o1".to_owned(), "app_id is needed, because there is not just one app."),
        ("app_id=x&out_order_no=o1".to_owned(), "There is no app \"x\"; with a client_secret"),
        (long, "out_order_no has more than 64 bytes."),
        (of("stage=gone"), "stage must be missing or unpaid or paid or fulfilled."),
        (of("total_fen=-1"), "total_fen must be a whole number from 0 to 1000000000000."),
        (of("promotion=yes"), "promotion must be none or cps."),
        (of("stage=paid&stage=paid"), "\"stage\" is there twice."),
        (items("i1"), "An item is written ID FEN used, ID FEN unused or ID FEN 1/3, not \"i1\"."),
        (items("i1+x+used"), "An item is written"),
        (items("i1+1+1/x"), "An item is written"),
        (items("i1+-1+used"), "item \"i1\" must be worth 0 to"),
        (items("i1+1+4/3"), "item \"i1\" must have 1 to 1000 uses, and no more done."),
        (items("i1+1+0/1001"), "item \"i1\" must have 1 to 1000 uses"),
        (items("i1+1+used,i1+1+used"), "item \"i1\" is there twice."),
        (many, "items must be any, or 1 to 100 of them."),
        (r#"{"items": 7, "out_order_no": "o1"}"#.to_owned(), "items must be a text or an array."),
        (r#"{"items": [{}], "out_order_no": "o1"}"#.to_owned(), "An item is not as it should be"),
        (r#"{"out_order_no": ["o1"]}"#.to_owned(), "out_order_no must be a text, a number,"),
        ("{".to_owned(), "The body is not good JSON"),
        ("out_order_no".to_owned(), "A form is written name=value"),
        ("out_order_no=%4".to_owned(), "A percent sign must be followed by two hex digits."),
        ("out_order_no=%ff".to_owned(), "The form must be UTF-8."),
    ] {
        let (status, text) = post(&client, "/sim/orders", &body).await;
        assert!(status == 400 && text.starts_with(sentence), "{body}: {status} {text}");
    }
    assert_eq!(get_json(&client, "/sim/orders").await["total"], 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn an_app_can_be_changed_and_added() {
    let client = Client::start().await;
    let changed = post_json(
        &client,
        "/sim/apps",
        &format!("app_id={APP}&timing=paid+D%2B7&automatic_settlement=yes&partial_settlement=no"),
    )
    .await;
    assert_eq!(changed["timing"], "paid D+7");
    assert_eq!(changed["automatic_settlement"], true);
    assert_eq!(changed["tokens_fetched"], 1);
    assert_eq!(client.create_err_no().await, 23_117);
    let body = json!({ "app_id": APP, "automatic_settlement": false, "timing": "fulfilled 0" });
    let changed = post_json(&client, "/sim/apps", &body.to_string()).await;
    assert_eq!(changed["timing"], "fulfilled D+0");
    assert_eq!(changed["partial_settlement"], false);
    let item = item_create("s1", "o1", "i1");
    assert_eq!(read(client.post(CREATE, &item).await.expect("an answer")).await["err_no"], 23_124);

    post_json(&client, "/sim/apps", "app_id=ttnew&client_secret=new+secret").await;
    let token = json!({
        "client_key": "ttnew", "client_secret": "new secret", "grant_type": "client_credential",
    });
    let fetched = read(client.post(TOKEN, &token).await.expect("an answer")).await;
    assert_eq!(fetched["data"]["error_code"], 0);
    post_json(&client, "/sim/apps", "app_id=ttnew&client_secret=newer").await;
    let refused = read(client.post(TOKEN, &token).await.expect("an answer")).await;
    assert_eq!(refused["data"]["error_code"], 10_013);
    let (_, text) = get(&client, "/sim/apps").await;
    assert!(text.contains("ttnew") && !text.contains("newer") && !text.contains(SECRET));
    client.sim.stop().await;
}

#[tokio::test]
async fn an_app_that_cannot_be_gets_a_sentence_and_stays_as_it_is() {
    let client = Client::start().await;
    let before = get_json(&client, "/sim/apps").await;
    for (body, sentence) in [
        ("app_id=ttnone&timing=paid+D%2B7", "There is no app \"ttnone\""),
        ("client_secret=x", "app_id is needed."),
        ("app_id=ttother&timing=paid", "timing must be fulfilled D+N or paid D+N, with N from 0"),
        ("app_id=ttother&timing=soon+3", "timing must be"),
        ("app_id=ttother&timing=paid+D%2B3651", "timing must be"),
        ("app_id=ttother&client_secret=x&partial_settlement=2", "partial_settlement must be yes"),
    ] {
        let (status, text) = post(&client, "/sim/apps", body).await;
        assert!(status == 400 && text.starts_with(sentence), "{body}: {status} {text}");
    }
    assert_eq!(get_json(&client, "/sim/apps").await, before);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_standing_script_can_be_chosen_and_ended() {
    let client = Client::start().await;
    let set = post_json(&client, "/sim/faults", "create=apply-then+refuse+23000").await;
    assert_eq!(
        (&set["create"], &set["query"]),
        (&json!("apply-then refuse 23000"), &json!("none"))
    );
    assert_eq!(client.create_err_no().await, 23_000);
    assert_eq!(client.sim.books().settles.len(), 1);
    let body = r#"{"create": "drop", "query": "find-nothing", "token": "refuse 10020"}"#;
    post_json(&client, "/sim/faults", body).await;
    client.create().await.expect_err("no answer");
    let key = json!({ "app_id": APP, "out_settle_no": "s1" });
    let found = read(client.post(QUERY, &key).await.expect("an answer")).await;
    assert_eq!((&found["err_no"], &found["data"]), (&json!(0), &json!([])));
    let token = read(client.post(TOKEN, &super::token_body()).await.expect("an answer")).await;
    assert_eq!(token["data"]["error_code"], 10_020);
    post_json(&client, "/sim/faults", "create=none&query=none&token=none").await;
    assert_eq!(client.create_err_no().await, 23_111);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_script_that_is_sent_back_as_it_was_shown_stays_as_it_is() {
    let client = Client::start().await;
    let gate = Gate::new();
    client.sim.always_create(Some(Script::Hold(gate.clone())));
    let set = post_json(&client, "/sim/faults", "create=hold&query=drop").await;
    assert_eq!((&set["create"], &set["query"]), (&json!("hold"), &json!("drop")));
    let (err_no, ()) = tokio::join!(client.create_err_no(), async {
        gate.arrived().await;
        gate.open();
    });
    assert_eq!(err_no, 0);
    client.sim.stop().await;
}

#[tokio::test]
async fn what_hangs_can_be_ended_from_outside() {
    let client = Client::start().await;
    post_json(&client, "/sim/faults", "create=hang").await;
    let (result, _) = tokio::join!(client.create(), async {
        client.sim.until(|books| books.sends("s1") == 1).await;
        post_json(&client, "/sim/faults", "release=yes").await
    });
    assert!(!result.expect_err("no answer").is_timeout());
    client.sim.stop().await;
}

#[tokio::test]
async fn choices_and_the_weather_can_be_changed_by_name() {
    let client = Client::start().await;
    let body = r#"{"business_status": 200, "business_envelope": "err-tips",
        "visible_after_ms": 600000, "exists_while_invisible": true, "faults_per_10_000": 12}"#;
    let set = post_json(&client, "/sim/faults", body).await;
    assert_eq!((&set["business_status"], &set["faults_per_10_000"]), (&json!("200"), &json!(12)));
    assert_eq!(set["exists_while_invisible"], "yes");
    post_json(&client, "/sim/faults", "faults_per_10_000=0").await;
    client.create_err_no().await;
    let response = client.create().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(read(response).await["err_tips"], "out_settle_no has existed");

    let drawn = post_json(&client, "/sim/faults", "choices=seed+3&log_id=body").await;
    for (name, value) in Choices::from_seed(3).named() {
        let expected = if name == "log_id" { "body" } else { &value };
        assert_eq!(drawn[name], expected, "{name}");
    }
    let reset = post_json(&client, "/sim/faults", "choices=default").await;
    for (name, value) in Choices::default().named() {
        assert_eq!(reset[name], value, "{name}");
    }
    assert_eq!(get_json(&client, "/sim/faults").await, reset);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_fault_that_cannot_be_gets_a_sentence_and_changes_nothing() {
    let client = Client::start().await;
    let before = get_json(&client, "/sim/faults").await;
    for (body, sentence) in [
        ("create=explode", "\"explode\" is no script; write normal, drop"),
        ("query=drop&create=refuse", "refuse needs a number from 1"),
        ("faults_per_10_000=10001", "faults_per_10_000 must be a whole number from 0 to 10000."),
        ("create=drop&number_check=never", "number_check must be before-rules or after-rules"),
        ("choices=other", "choices must be default, or seed and a number."),
        ("choices=seed", "choices must be default, or seed and a number."),
        ("release=now", "release must be yes or no."),
        ("settle=drop", "There is no field \"settle\" here, only faults_per_10_000, choices"),
    ] {
        let (status, text) = post(&client, "/sim/faults", body).await;
        assert!(status == 400 && text.starts_with(sentence), "{body}: {status} {text}");
    }
    assert_eq!(get_json(&client, "/sim/faults").await, before);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_settle_can_be_ended() {
    let client = Client::start().await;
    client.post(CREATE, &good_create("s1", "sim-hold-1")).await.expect("an answer");
    let settle_id = client.sim.books().settles[0].settle_id.clone();
    let finish = |status: &str| format!("settle_id={settle_id}&status={status}");
    let ended = post_json(&client, "/sim/settles/finish", &finish("fail")).await;
    assert_eq!((&ended["out_settle_no"], &ended["status"]), (&json!("s1"), &json!("FAIL")));
    assert_eq!(client.sim.books().settles[0].status, Status::Fail);
    for (body, status, sentence) in [
        (finish("PROCESSING"), 400, "status must be SUCCESS or FAIL."),
        (finish(""), 400, "status is needed: SUCCESS or FAIL."),
        ("status=FAIL".to_owned(), 400, "settle_id is needed."),
        ("settle_id=ots1&status=FAIL".to_owned(), 404, "There is no settle \"ots1\"."),
    ] {
        let (got, text) = post(&client, "/sim/settles/finish", &body).await;
        assert!(got == status && text.starts_with(sentence), "{body}: {got} {text}");
    }
    client.sim.stop().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_get_a_sentence() {
    let client = Client::start().await;
    let (status, text) = get(&client, "/sim/nothing").await;
    assert_eq!(
        (status, text.as_str()),
        (404, "There is no such page; /sim/ links to all there are.\n")
    );
    let (status, text) = post(&client, "/sim/settles", "").await;
    assert_eq!((status, text.as_str()), (405, "POST cannot be used with /sim/settles.\n"));
    assert_eq!(get(&client, "/sim/settles/finish").await.0, 405);
    let fields: Vec<String> = (0..65).map(|n| format!("f{n}=1")).collect();
    let (status, text) = post(&client, "/sim/clock", &fields.join("&")).await;
    assert_eq!((status, text.as_str()), (400, "There are more than 64 fields.\n"));
    assert_eq!(post(&client, "/sim/clock", &"x".repeat(64 * 1024 + 1)).await.0, 413);
    client.sim.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything() {
    let client = Client::start().await;
    let url = client.sim.url();
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("https://127.0.0.1", 403),
        (url.as_str(), 200),
    ] {
        let request = client.http.post(format!("{url}/sim/clock")).header("origin", origin);
        let response = request.body("advance_ms=1").send().await.expect("an answer");
        assert_eq!(response.status(), status, "{origin}");
    }
    assert_eq!(get_json(&client, "/sim/clock").await["ahead_ms"], 1);
    // A name that resolves to this machine is the page's own, to a browser.
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
        let response = request.body("advance_ms=1").send().await.expect("an answer");
        assert_eq!(response.status(), status, "{host}");
    }
    client.sim.stop().await;
}
