//! What happens to an accepted settle as time passes, and what a test can do to it.

use serde_json::Value;

use super::{Desk, config, good_create};
use crate::{Choices, NumberFate, SimConfig, Status};

fn status_of(desk: &mut Desk, out_settle_no: &str) -> Value {
    desk.query("out_settle_no", out_settle_no)[0]["settle_status"].clone()
}

fn desk_with(choices: Choices) -> Desk {
    Desk::with(&SimConfig { choices, ..config() })
}

#[test]
fn a_settle_is_init_then_processing_then_success() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    assert_eq!(status_of(&mut desk, "s1"), "INIT");
    desk.now_ms += 500;
    assert_eq!(status_of(&mut desk, "s1"), "PROCESSING");
    desk.now_ms += 1_000;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
    desk.now_ms += 1_000_000;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
}

#[test]
fn words_in_the_order_number_choose_the_end() {
    let mut desk = Desk::new();
    for (number, order) in [
        ("s1", "sim-fail-1"),
        ("s2", "sim-hold-1"),
        ("s3", "sim-whatever-1"),
        ("s4", "sim-err-xyz"),
        ("s5", "simulated"),
    ] {
        assert_eq!(desk.create_err_no(&good_create(number, order)), 0, "{order}");
    }
    desk.now_ms += 100_000_000;
    desk.token = desk.fetch();
    let ends = ["s1", "s2", "s3", "s4", "s5"].map(|number| status_of(&mut desk, number));
    assert_eq!(ends, ["FAIL", "PROCESSING", "SUCCESS", "SUCCESS", "SUCCESS"]);
}

#[test]
fn a_failed_settle_gives_the_money_back_but_burns_its_number() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "sim-fail-1"));
    assert_eq!(desk.create_err_no(&good_create("s2", "sim-fail-1")), 23_112);
    desk.now_ms += 1_500;
    assert_eq!(desk.create_err_no(&good_create("s1", "sim-fail-1")), 23_111);
    assert_eq!(desk.create_err_no(&good_create("s2", "sim-fail-1")), 0);
}

#[test]
fn a_fail_may_free_the_number() {
    let mut desk = desk_with(Choices { number_after_fail: NumberFate::Free, ..Choices::default() });
    desk.create(&good_create("s1", "sim-fail-1"));
    assert_eq!(desk.create_err_no(&good_create("s1", "sim-fail-1")), 23_111);
    desk.now_ms += 1_500;
    assert_eq!(desk.create_err_no(&good_create("s1", "o2")), 0);
    let found = desk.query("out_settle_no", "s1");
    assert_eq!(found.len(), 2);
    assert_ne!(found[0]["settle_id"], found[1]["settle_id"]);
    assert_eq!(desk.core.snapshot().only("s1"), None);
}

#[test]
fn a_fail_may_turn_into_success_if_the_money_is_still_there() {
    let choices = Choices { fail_turns_success_after_ms: Some(1_000), ..Choices::default() };
    let mut desk = desk_with(choices);
    desk.create(&good_create("s1", "sim-fail-1"));
    desk.create(&good_create("s2", "sim-fail-2"));
    desk.now_ms += 1_500;
    assert_eq!(status_of(&mut desk, "s1"), "FAIL");
    assert_eq!(desk.create_err_no(&good_create("s3", "sim-fail-2")), 0);
    desk.now_ms += 1_000;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
    assert_eq!(status_of(&mut desk, "s2"), "FAIL");
}

#[test]
fn a_test_can_end_a_settle_and_nature_does_not_take_it_back() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "sim-hold-1"));
    desk.create(&good_create("s2", "o2"));
    let ids: Vec<_> =
        desk.core.snapshot().settles.iter().map(|settle| settle.settle_id.clone()).collect();
    assert!(desk.core.books.finish(&ids[0], Status::Success));
    assert!(desk.core.books.finish(&ids[1], Status::Fail));
    assert!(!desk.core.books.finish("ots1", Status::Fail));
    desk.now_ms += 10_000;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
    assert_eq!(status_of(&mut desk, "s2"), "FAIL");
}

#[test]
fn a_test_can_pin_a_contradiction() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    desk.now_ms += 1_500;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    assert!(desk.core.books.set_status(&settle_id, Status::Fail));
    assert_eq!(status_of(&mut desk, "s1"), "FAIL");
    assert!(desk.core.books.set_status(&settle_id, Status::Processing));
    assert!(desk.query("out_settle_no", "s1")[0].get("settle_at").is_none());
}

#[test]
fn time_does_not_run_backwards() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    desk.now_ms += 1_500;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
    desk.now_ms -= 1_000;
    assert_eq!(status_of(&mut desk, "s1"), "SUCCESS");
}
