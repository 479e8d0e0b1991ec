//! The systems in which the platform settles by itself.

use serde_json::json;

use super::Developer;
use crate::System;
use crate::{OrderSetup, OrderStage};

#[test]
fn an_order_that_is_asked_for_is_settled_by_the_platform() {
    let mut developer = Developer::new(System::Agency);
    let found = developer.query("out_order_no", "o1");
    assert_eq!((found.len(), &found[0]["settle_status"]), (1, &json!("INIT")));
    assert_eq!(found[0]["out_settle_no"], found[0]["settle_id"]);
    developer.wait();
    let id = found[0]["settle_id"].as_str().expect("a text");
    assert_eq!(developer.status(id), "SUCCESS");
    assert_eq!(developer.query("out_order_no", "o1").len(), 1);
    let settle = &developer.settles()[0];
    assert!(settle.is_auto_settle && settle.system == System::Agency);
}

#[test]
fn nothing_is_announced() {
    let mut developer = Developer::new(System::Agency);
    developer.query("out_order_no", "o1");
    developer.wait();
    assert_eq!(developer.status(&developer.settles()[0].settle_id.clone()), "SUCCESS");
    assert_eq!(
        (developer.callbacks().len(), developer.desk.core.snapshot().callbacks.len()),
        (0, 0)
    );
}

#[test]
fn the_words_and_the_stage_of_an_order_choose() {
    let mut developer = Developer::new(System::Agency);
    let paid = OrderSetup { stage: OrderStage::Paid, ..OrderSetup::default() };
    developer.desk.set_order("o1", paid);
    assert_eq!(developer.query("out_order_no", "o1").len(), 0);
    for order in ["sim-fail-1", "sim-hold-1"] {
        developer.query("out_order_no", order);
    }
    developer.desk.set_order("o1", OrderSetup::default());
    developer.wait();
    for (order, status) in [("o1", "SUCCESS"), ("sim-fail-1", "FAIL"), ("sim-hold-1", "PROCESSING")]
    {
        assert_eq!(developer.query("out_order_no", order)[0]["settle_status"], status, "{order}");
    }
}

#[test]
fn the_slash_tells_it_from_the_self_operated_system() {
    let mut developer = Developer::new(System::SelfOperated);
    developer.create("s1", "o1");
    // Where only the other's books have something, it is found with either form.
    developer.system = System::Agency;
    assert_eq!(developer.query("out_settle_no", "s1").len(), 1);
    assert_eq!(developer.query("out_order_no", "o1")[0]["out_settle_no"], "s1");
    assert_eq!(developer.settles().len(), 1);
    let by_itself = developer.query("out_order_no", "o2")[0]["settle_id"].clone();
    developer.system = System::SelfOperated;
    assert_eq!(developer.query("out_order_no", "o2")[0]["settle_id"], by_itself);
    // Where both have something, each has its own.
    assert_eq!(developer.create("s2", "o2").number, 0);
    assert_eq!(developer.query("out_order_no", "o2")[0]["out_settle_no"], "s2");
    developer.system = System::Agency;
    assert_eq!(developer.query("out_order_no", "o2")[0]["settle_id"], by_itself);
}
