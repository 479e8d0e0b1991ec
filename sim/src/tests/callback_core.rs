//! Callbacks on the pure core: what comes up, what it says, and when it is sent again.

use bytes::Bytes;
use serde_json::{Value, json};

use super::receiver::{GOOD, msg};
use super::{APP, Desk, config, edited, good_create, item_create};
use crate::{
    AmountForm, AppRules, AutoNumber, CallbackAnswer, CallbackFields, CallbackScript,
    CallbackState, CallbackVersion, Choices, Delivery, ItemSetup, Ladder, OrderSetup, QueryNames,
    SimConfig, Status, StrangerSettle, System,
};

pub(super) const URL: &str = "http://developer.example/callbacks/a";

/// A core whose app has an address.
pub(super) fn desk() -> Desk {
    desk_with(Choices::default())
}

pub(super) fn desk_with(choices: Choices) -> Desk {
    let mut config = SimConfig { choices, ..config() };
    config.apps[0].callback_url = Some(URL.to_owned());
    Desk::with(&config)
}

pub(super) fn due(desk: &mut Desk) -> Vec<Delivery> {
    desk.core.callbacks_due(desk.now_ms, 100)
}

pub(super) fn good() -> CallbackAnswer {
    CallbackAnswer::Answered { status: 200, body: GOOD.into() }
}

pub(super) fn answer(desk: &mut Desk, delivery: &Delivery, answer: &CallbackAnswer) {
    desk.core.callback_answered(desk.now_ms, delivery.id, answer);
}

/// A settle that has ended, and its callbacks at their first attempt.
pub(super) fn ended(desk: &mut Desk, number: &str, order: &str) -> Vec<Delivery> {
    assert_eq!(desk.create_err_no(&good_create(number, order)), 0);
    desk.now_ms += 1_500;
    due(desk)
}

#[test]
fn each_ladder_is_climbed_to_its_end() {
    for ladder in Ladder::ALL {
        let mut desk = desk_with(Choices { callback_ladder: ladder, ..Choices::default() });
        let mut deliveries = ended(&mut desk, "s1", "o1");
        for failures in 1.. {
            assert_eq!((deliveries.len(), deliveries[0].attempt), (1, failures), "{ladder:?}");
            // The rung begins with the failure, whenever that was.
            desk.now_ms += 700;
            answer(&mut desk, &deliveries[0], &CallbackAnswer::TimedOut);
            let Some(wait_ms) = ladder.wait_ms(System::General, failures) else {
                break;
            };
            assert_eq!(desk.core.next_event_at_ms(), Some(desk.now_ms + wait_ms));
            desk.now_ms += wait_ms - 1;
            assert_eq!(due(&mut desk).len(), 0, "{ladder:?} {failures}");
            desk.now_ms += 1;
            deliveries = due(&mut desk);
        }
        assert_eq!(desk.core.next_event_at_ms(), None);
        desk.now_ms += 1_000_000_000;
        assert_eq!(due(&mut desk).len(), 0);
        let books = desk.core.snapshot();
        assert!(books.callbacks[0].is_over() && !books.callbacks[0].is_acknowledged());
    }
}

#[test]
fn nothing_but_the_documented_answer_acknowledges() {
    let answered = |status, body: &str| CallbackAnswer::Answered {
        status,
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    for wrong in [
        answered(201, GOOD),
        answered(204, ""),
        answered(200, ""),
        answered(200, "success"),
        answered(200, "[]"),
        answered(200, r#"{"err_no":0}"#),
        answered(200, r#"{"err_no":"0","err_tips":"success"}"#),
        answered(200, r#"{"err_no":0,"err_tips":"SUCCESS"}"#),
        CallbackAnswer::Broken("reset".to_owned()),
    ] {
        let mut desk = desk();
        let delivery = ended(&mut desk, "s1", "o1").remove(0);
        answer(&mut desk, &delivery, &wrong);
        assert!(!desk.core.snapshot().callbacks[0].is_over(), "{wrong:?}");
    }
    let mut desk = desk();
    let delivery = ended(&mut desk, "s1", "o1").remove(0);
    let with_more = r#" {"err_tips": "success", "err_no": 0, "more": 1} "#;
    answer(&mut desk, &delivery, &answered(200, with_more));
    let callback = desk.core.snapshot().callbacks[0].clone();
    assert_eq!(callback.state, CallbackState::Acknowledged { at_ms: desk.now_ms });
    // A second answer to the same delivery changes nothing.
    answer(&mut desk, &delivery, &answered(500, ""));
    assert_eq!(desk.core.snapshot().callbacks[0], callback);
}

#[test]
fn a_retry_is_signed_anew_or_is_the_same_again() {
    for anew in [true, false] {
        let choices = Choices { callback_retry_signs_anew: anew, ..Choices::default() };
        let mut desk = desk_with(choices);
        let first = ended(&mut desk, "s1", "o1").remove(0);
        answer(&mut desk, &first, &CallbackAnswer::TimedOut);
        desk.now_ms += 12_000;
        let second = due(&mut desk).remove(0);
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers["byte-eventid"], second.headers["byte-eventid"]);
        assert_eq!(first.headers != second.headers, anew);
        let [before, after] = [&first, &second].map(|one| {
            one.headers["byte-timestamp"].to_str().expect("digits").parse::<u64>().expect("digits")
        });
        assert_eq!(after - before, if anew { 12 } else { 0 });
    }
}

#[test]
fn an_address_in_the_create_alone_works_or_does_not() {
    let own = "https://own.example/a";
    for (works, console) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut desk = desk_with(Choices { notify_url_alone: works, ..Choices::default() });
        if !console {
            desk.core.outbox.set_console_url(APP, None);
        }
        let body = edited(good_create("s1", "o1"), "notify_url", json!(own));
        assert_eq!(desk.create_err_no(&body), 0);
        desk.now_ms += 1_500;
        let urls: Vec<String> = due(&mut desk).into_iter().map(|delivery| delivery.url).collect();
        let expected: &[&str] = if works || console { &[own] } else { &[] };
        assert_eq!(urls, expected, "works {works}, console {console}");
    }
}

#[test]
fn without_an_address_nothing_is_announced_or_waited_for() {
    let mut desk = Desk::new();
    assert_eq!(ended(&mut desk, "s1", "o1").len(), 0);
    desk.create(&good_create("s2", "o2"));
    assert_eq!(desk.core.next_event_at_ms(), None);
    assert_eq!(desk.core.snapshot().callbacks.len(), 0);
}

/// The message of the only callback of a settle that has ended.
fn told(choices: Choices, create: &Value) -> (Value, Value) {
    let mut desk = desk_with(choices);
    desk.set_order(
        "o1",
        OrderSetup { items: Some(vec![ItemSetup::used("i1", 5_000)]), ..OrderSetup::default() },
    );
    assert_eq!(desk.create_err_no(create), 0);
    desk.now_ms += 1_500;
    let body = due(&mut desk).remove(0).body;
    (serde_json::from_slice(&body).expect("JSON"), msg(&body))
}

#[test]
fn what_the_documents_leave_open_about_the_message_can_be_chosen() {
    let whole = good_create("s1", "o1");
    let choices = Choices { callback_version: CallbackVersion::V2, ..Choices::default() };
    assert_eq!(told(choices, &whole).0["version"], "2.0");
    let choices = Choices { callback_amounts: AmountForm::Text, ..Choices::default() };
    let (_, msg) = told(choices, &whole);
    assert_eq!((&msg["settle_amount"], &msg["rake"]), (&json!("100000"), &json!("600")));
    assert!(msg["event_time"].is_string() && msg["is_auto_settle"].is_boolean());
    let choices = Choices { callback_names: QueryNames::Of2023, ..Choices::default() };
    let (_, msg) = told(choices, &whole);
    assert_eq!((msg.get("out_settle_no"), &msg["out_settle_id"]), (None, &json!("s1")));
}

#[test]
fn a_field_with_nothing_in_it_is_there_or_not() {
    let whole = super::without(good_create("s1", "o1"), "ext");
    let optional = ["item_order_id", "cp_extra", "message", "is_auto_settle"];
    for (callback_fields, there) in [
        (CallbackFields::Captured, [None, Some("\"\""), Some("\"SUCCESS\""), Some("false")]),
        (CallbackFields::Sparse, [None, None, None, None]),
        (CallbackFields::Padded, [Some("\"\""), Some("\"\""), Some("\"SUCCESS\""), Some("false")]),
    ] {
        let choices = Choices { callback_fields, ..Choices::default() };
        let (_, msg) = told(choices.clone(), &whole);
        let found = optional.map(|name| msg.get(name).map(ToString::to_string));
        assert_eq!(found, there.map(|text| text.map(str::to_owned)), "{callback_fields:?}");
        // A field that is not empty is always there.
        let (_, msg) = told(choices, &item_create("s1", "o1", "i1"));
        assert_eq!((&msg["item_order_id"], &msg["cp_extra"]), (&json!("i1"), &json!("mark")));
    }
}

#[test]
fn an_automatic_settlement_is_told_under_the_platforms_number() {
    for (auto_out_settle_no, number) in [
        (AutoNumber::SettleId, "settle_id"),
        (AutoNumber::Blank, "blank"),
        (AutoNumber::Absent, "absent"),
    ] {
        let mut desk = desk_with(Choices { auto_out_settle_no, ..Choices::default() });
        desk.set_order("o1", OrderSetup::default());
        desk.set_app(AppRules { automatic_settlement: true, ..AppRules::default() });
        desk.now_ms += 1_500;
        let msg = msg(&due(&mut desk).remove(0).body);
        assert_eq!((&msg["status"], &msg["is_auto_settle"]), (&json!("SUCCESS"), &json!(true)));
        let expected = match number {
            "settle_id" => Some(&msg["settle_id"]),
            "blank" => Some(&Value::Null),
            _ => None,
        };
        match msg.get("out_settle_no") {
            Some(Value::String(text)) if text.is_empty() => assert_eq!(number, "blank"),
            found => assert_eq!(found, expected),
        }
    }
}

#[test]
fn processing_is_told_only_if_that_is_chosen() {
    for (callback_processing, words) in
        [(false, &["SUCCESS"][..]), (true, &["PROCESSING", "SUCCESS"])]
    {
        let mut desk = desk_with(Choices { callback_processing, ..Choices::default() });
        let deliveries = ended(&mut desk, "s1", "o1");
        let found: Vec<Value> =
            deliveries.iter().map(|one| msg(&one.body)["status"].clone()).collect();
        assert_eq!(found, words);
    }
}

#[test]
fn a_fail_that_turns_into_success_is_two_events() {
    let choices = Choices { fail_turns_success_after_ms: Some(1_000), ..Choices::default() };
    let mut desk = desk_with(choices);
    let fail = ended(&mut desk, "s1", "sim-fail-1").remove(0);
    answer(&mut desk, &fail, &good());
    desk.now_ms += 1_000;
    let success = due(&mut desk).remove(0);
    assert_eq!(
        (&msg(&fail.body)["status"], &msg(&success.body)["status"]),
        (&json!("FAIL"), &json!("SUCCESS"))
    );
    assert_eq!(
        (&msg(&fail.body)["message"], msg(&fail.body)["event_time"].as_u64()),
        (&json!("分账失败"), Some(desk.now_ms - 1_000))
    );
    assert_ne!(fail.headers["byte-eventid"], success.headers["byte-eventid"]);
}

#[test]
fn strangers_settles_are_told_and_pinned_ones_are_not() {
    let mut desk = desk();
    let stranger = |status| StrangerSettle {
        out_order_no: "o9".to_owned(),
        amount_fen: Some(10),
        status,
        ..StrangerSettle::default()
    };
    let now_ms = desk.now_ms;
    let books = &mut desk.core.books;
    books.advance(now_ms);
    books.accept_stranger(APP, Some("s9"), stranger(Status::Success));
    let moved = books.accept_stranger(APP, Some("s8"), stranger(Status::Processing));
    let pinned = books.accept_stranger(APP, Some("s7"), stranger(Status::Processing));
    books.set_status(&pinned, Status::Fail);
    books.finish(&moved, Status::Fail);
    let numbers: Vec<Value> =
        due(&mut desk).iter().map(|one| msg(&one.body)["out_settle_no"].clone()).collect();
    assert_eq!(numbers, ["s9", "s8"]);
}

#[test]
fn a_quiet_order_ends_without_a_callback() {
    let mut desk = desk();
    assert_eq!(ended(&mut desk, "s1", "sim-quiet-1").len(), 0);
    assert_eq!(desk.core.snapshot().only("s1").map(|settle| settle.status), Some(Status::Success));
    assert_eq!(desk.core.snapshot().callbacks.len(), 0);
}

#[test]
fn no_more_are_handed_out_than_were_asked_for() {
    let mut desk = desk();
    for n in 0..5 {
        desk.create(&good_create(&format!("s{n}"), &format!("o{n}")));
    }
    desk.now_ms += 1_500;
    assert_eq!(desk.core.callbacks_due(desk.now_ms, 2).len(), 2);
    assert_eq!(desk.core.callbacks_due(desk.now_ms, 2).len(), 2);
    assert_eq!(desk.core.next_event_at_ms(), Some(desk.now_ms));
    assert_eq!(due(&mut desk).len(), 1);
    assert_eq!(due(&mut desk).len(), 0);
}

#[test]
fn the_outbox_forgets_the_oldest_and_turns_away_what_is_too_much() {
    let mut desk = desk();
    desk.core.outbox.limits.under_way = 2;
    desk.core.outbox.limits.remembered = 3;
    for n in 0..3 {
        desk.create(&good_create(&format!("a{n}"), &format!("a{n}")));
    }
    desk.now_ms += 1_500;
    assert_eq!((due(&mut desk).len(), desk.core.snapshot().callbacks_turned_away), (2, 1));
    desk.core.outbox.limits.under_way = 100;
    for n in 0..4 {
        let delivery = ended(&mut desk, &format!("b{n}"), &format!("b{n}")).remove(0);
        answer(&mut desk, &delivery, &good());
    }
    let books = desk.core.snapshot();
    let numbers: Vec<&str> =
        books.callbacks.iter().map(|callback| callback.out_settle_no.as_str()).collect();
    assert_eq!(numbers, ["a0", "a1", "b1", "b2", "b3"]);
    // A forgotten callback can be neither answered nor replayed, and that is harmless.
}

#[test]
fn scripts_are_found_by_number_and_by_settle_id_and_used_once() {
    let mut desk = desk();
    desk.create(&good_create("s1", "o1"));
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    desk.core.outbox.scripts.queue(&settle_id, vec![CallbackScript::Twice]);
    desk.core.outbox.scripts.set_always(Some(CallbackScript::Truncate));
    desk.now_ms += 1_500;
    let deliveries = due(&mut desk);
    assert_eq!(deliveries.len(), 2);
    for delivery in &deliveries {
        answer(&mut desk, delivery, &CallbackAnswer::TimedOut);
    }
    desk.now_ms += 12_000;
    let truncated = due(&mut desk).remove(0);
    assert_eq!(truncated.body.len(), deliveries[0].body.len() / 2);
    desk.core.outbox.scripts.set_always(None);
    answer(&mut desk, &truncated, &CallbackAnswer::TimedOut);
    desk.now_ms += 12_000;
    assert_eq!(due(&mut desk).remove(0).body, deliveries[0].body);
}
