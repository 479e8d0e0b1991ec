//! Automatic settlement: only the platform settles.

use super::{APP, DAY_MS, Desk, START_MS, TO_MIDNIGHT_MS, good_create, item_create};
use crate::{
    AppRules, AppliedSettle, ItemSetup, OrderSetup, OrderStage, Promotion, Status, Timing,
};

fn automatic(timing: Timing) -> AppRules {
    AppRules { automatic_settlement: true, timing, ..AppRules::default() }
}

fn settles(desk: &Desk) -> Vec<AppliedSettle> {
    desk.core.snapshot().settles
}

#[test]
fn an_order_is_settled_by_the_platform_when_it_is_due() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 1 }));
    desk.set_order("o1", OrderSetup::default());
    assert!(settles(&desk).is_empty());
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
    desk.later_by_ms(TO_MIDNIGHT_MS - 1);
    assert!(settles(&desk).is_empty());
    desk.now_ms += 1;
    let found = desk.query("out_order_no", "o1");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["out_settle_no"], found[0]["settle_id"]);
    assert_eq!((&found[0]["settle_status"], &found[0]["cp_extra"]), (&"INIT".into(), &"".into()));
    let settle = settles(&desk).remove(0);
    assert!(settle.is_auto_settle && !settle.by_gateway && settle.body.is_empty());
    assert_eq!(settle.amount_fen, 100_000);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
    assert_eq!(settles(&desk).len(), 1);
}

#[test]
fn after_a_long_jump_it_was_settled_at_its_time_and_has_ended_since() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Paid { days: 2 }));
    let paid = OrderSetup { stage: OrderStage::Paid, ..OrderSetup::default() };
    desk.set_order("o1", paid);
    desk.later_by_ms(30 * DAY_MS);
    let settle = settles(&desk).remove(0);
    let due_at_ms = START_MS + TO_MIDNIGHT_MS + DAY_MS;
    assert_eq!((settle.accepted_at_ms, settle.status), (due_at_ms, Status::Success));
    assert_eq!(settle.finished_at_ms, Some(due_at_ms + 1_500));
}

#[test]
fn an_order_made_on_the_fly_is_settled_too() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 0 }));
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
    assert_eq!(settles(&desk).len(), 1);
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 23_117);
    assert_eq!(settles(&desk).len(), 1);
}

#[test]
fn switching_it_on_settles_what_is_due_and_later_what_will_be() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 1 });
    desk.set_order("due", OrderSetup::default());
    desk.later_by_ms(TO_MIDNIGHT_MS);
    desk.set_order("not due", OrderSetup::default());
    desk.set_order("unpaid", OrderSetup { stage: OrderStage::Unpaid, ..OrderSetup::default() });
    desk.create(&good_create("s1", "settled"));
    desk.set_app(automatic(Timing::Fulfilled { days: 1 }));
    let orders = |desk: &Desk| -> Vec<String> {
        settles(desk).into_iter().map(|settle| settle.out_order_no).collect()
    };
    assert_eq!(orders(&desk), ["due"]);
    desk.later_by_ms(10 * DAY_MS);
    assert_eq!(orders(&desk), ["due", "not due", "settled"]);
}

#[test]
fn switching_it_off_ends_it() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 1 }));
    desk.set_order("o1", OrderSetup::default());
    desk.set_app(AppRules::default());
    desk.later_by_ms(10 * DAY_MS);
    assert!(settles(&desk).is_empty());
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
}

#[test]
fn a_card_is_settled_use_by_use() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 1 }));
    for uses_done in 1..=3 {
        let items = Some(vec![ItemSetup::card("card", 900, uses_done, 3)]);
        desk.set_order("o1", OrderSetup { total_fen: 900, items, ..OrderSetup::default() });
        desk.later_by_ms(DAY_MS);
    }
    desk.later_by_ms(DAY_MS);
    let found = settles(&desk);
    let amounts: Vec<i64> = found.iter().map(|settle| settle.amount_fen).collect();
    assert_eq!(amounts, [300, 300, 300]);
    assert_ne!(found[0].settle_id, found[1].settle_id);
}

#[test]
fn an_order_that_was_settled_per_item_goes_on_per_item() {
    let mut desk = Desk::new();
    let items = |i2| Some(vec![ItemSetup::used("i1", 700), i2]);
    let order = |i2| OrderSetup { total_fen: 1_400, items: items(i2), ..OrderSetup::default() };
    desk.set_order("o1", order(ItemSetup::unused("i2", 700)));
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 0);
    desk.set_app(automatic(Timing::Fulfilled { days: 0 }));
    assert_eq!(settles(&desk).len(), 1);
    desk.set_order("o1", order(ItemSetup::used("i2", 700)));
    let settle = settles(&desk).remove(1);
    assert_eq!((settle.item_order_id.as_deref(), settle.amount_fen), (Some("i2"), 700));
}

#[test]
fn a_cps_order_keeps_its_three_days_and_its_commission() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 0 }));
    desk.set_order("o1", OrderSetup { promotion: Promotion::Cps, ..OrderSetup::default() });
    desk.later_by_ms(TO_MIDNIGHT_MS + 2 * DAY_MS - 1);
    assert!(settles(&desk).is_empty());
    desk.later_by_ms(1);
    assert_eq!(settles(&desk)[0].commission_fen, 10_000);
}

#[test]
fn a_settle_that_failed_is_tried_again_under_another_id() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 0 }));
    desk.set_order("o1", OrderSetup::default());
    let settle_id = settles(&desk)[0].settle_id.clone();
    assert!(desk.core.books.finish(&settle_id, Status::Fail));
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
    let found = settles(&desk);
    assert_eq!(found.len(), 2);
    assert_ne!(found[1].settle_id, settle_id);
}

#[test]
fn partial_settlement_that_is_not_rolled_out_refuses_items_only() {
    let mut desk = Desk::new();
    desk.set_app(AppRules { partial_settlement: false, ..AppRules::default() });
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 23_124);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    assert!(desk.order("o1").is_some());
}

#[test]
fn an_automatic_settle_put_in_by_a_test_takes_the_money_before_the_platform_does() {
    let mut desk = Desk::new();
    desk.set_app(automatic(Timing::Fulfilled { days: 0 }));
    let settle =
        crate::StrangerSettle { out_order_no: "o1".to_owned(), ..crate::StrangerSettle::default() };
    desk.core.books.accept_stranger(APP, None, settle);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_117);
    let found = settles(&desk);
    assert_eq!((found.len(), found[0].amount_fen), (1, 100_000));
}
