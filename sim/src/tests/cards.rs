//! Multi-use cards: each settle takes what has been used so far.

use super::{DAY_MS, Desk, TO_MIDNIGHT_MS, good_create, item_create};
use crate::{Choices, ItemSetup, OrderSetup, OrderStage, SimConfig, Status, Timing};

/// An order of one card for three uses, worth 1 000 fen.
fn card(uses_done: u32) -> OrderSetup {
    let items = Some(vec![ItemSetup::card("card", 1_000, uses_done, 3)]);
    OrderSetup { stage: OrderStage::Paid, total_fen: 1_000, items, ..OrderSetup::default() }
}

fn amounts(desk: &Desk) -> Vec<i64> {
    desk.core.snapshot().settles.iter().map(|settle| settle.amount_fen).collect()
}

/// A create without receivers, because a use is worth less than the usual receivers ask for.
fn whole(out_settle_no: &str) -> serde_json::Value {
    super::without(good_create(out_settle_no, "o1"), "settle_params")
}

fn item(out_settle_no: &str) -> serde_json::Value {
    super::without(item_create(out_settle_no, "o1", "card"), "settle_params")
}

#[test]
fn each_settle_of_a_card_takes_what_was_used_since_the_last_one() {
    for create in [whole, item] {
        let mut desk = Desk::new();
        desk.set_order("o1", card(0));
        assert_eq!(desk.create_err_no(&create("s0")), 23_107);
        desk.set_order("o1", card(1));
        assert_eq!(desk.create_err_no(&create("s1")), 0);
        // There is money, but none of it is due.
        assert_eq!(desk.create_err_no(&create("s2")), 23_113);
        desk.set_order("o1", card(3));
        assert_eq!(desk.create_err_no(&create("s3")), 0);
        assert_eq!(desk.create_err_no(&create("s4")), 23_112);
        assert_eq!(amounts(&desk), [333, 667]);
    }
}

#[test]
fn uses_that_were_not_settled_add_up() {
    for create in [whole, item] {
        let mut desk = Desk::new();
        for uses_done in 0..=2 {
            desk.set_order("o1", card(uses_done));
        }
        assert_eq!(desk.create_err_no(&create("s1")), 0);
        assert_eq!(amounts(&desk), [666]);
    }
}

#[test]
fn each_use_has_its_own_days() {
    for create in [whole, item] {
        let mut desk = Desk::new();
        desk.set_timing(Timing::Fulfilled { days: 1 });
        desk.set_order("o1", card(1));
        assert_eq!(desk.create_err_no(&create("s1")), 23_107);
        desk.later_by_ms(TO_MIDNIGHT_MS);
        desk.set_order("o1", card(2));
        assert_eq!(desk.create_err_no(&create("s1")), 0);
        assert_eq!(desk.create_err_no(&create("s2")), 23_113);
        desk.later_by_ms(DAY_MS);
        assert_eq!(desk.create_err_no(&create("s2")), 0);
        assert_eq!(amounts(&desk), [333, 333]);
    }
}

#[test]
fn a_failed_settle_of_a_card_gives_its_uses_back() {
    let mut desk = Desk::new();
    desk.set_order("o1", card(1));
    assert_eq!(desk.create_err_no(&item("s1")), 0);
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    assert!(desk.core.books.finish(&settle_id, Status::Fail));
    desk.set_order("o1", card(2));
    assert_eq!(desk.create_err_no(&item("s2")), 0);
    assert_eq!(amounts(&desk), [333, 666]);
}

#[test]
fn a_card_whose_unused_part_was_refunded_has_nothing_left() {
    for create in [whole, item] {
        let mut desk = Desk::new();
        desk.set_order("o1", card(1));
        assert_eq!(desk.create_err_no(&create("s1")), 0);
        for uses_done in 1..=2 {
            desk.set_order("o1", OrderSetup { total_fen: 333, ..card(uses_done) });
            assert_eq!(desk.create_err_no(&create("s2")), 23_112);
        }
    }
}

#[test]
fn a_whole_settle_of_a_card_and_one_of_its_item_exclude_each_other() {
    let mut desk = Desk::new();
    desk.set_order("o1", card(1));
    assert_eq!(desk.create_err_no(&whole("s1")), 0);
    desk.set_order("o1", card(2));
    assert_eq!(desk.create_err_no(&item("s2")), 23_113);
    assert_eq!(desk.create_err_no(&whole("s3")), 0);
    let mut desk = Desk::new();
    desk.set_order("o1", card(1));
    assert_eq!(desk.create_err_no(&item("s1")), 0);
    desk.set_order("o1", card(2));
    assert_eq!(desk.create_err_no(&whole("s2")), 23_118);
    assert_eq!(desk.create_err_no(&item("s3")), 0);
}

#[test]
fn a_card_and_a_coupon_in_one_order_settle_together_as_far_as_they_are() {
    let mut desk = Desk::new();
    let order = |coupon, uses_done| {
        let items = Some(vec![coupon, ItemSetup::card("card", 1_000, uses_done, 4)]);
        OrderSetup { stage: OrderStage::Paid, total_fen: 1_500, items, ..OrderSetup::default() }
    };
    desk.set_order("o1", order(ItemSetup::unused("coupon", 500), 1));
    assert_eq!(desk.create_err_no(&whole("s1")), 0);
    desk.set_order("o1", order(ItemSetup::used("coupon", 500), 2));
    assert_eq!(desk.create_err_no(&whole("s2")), 0);
    desk.set_order("o1", order(ItemSetup::used("coupon", 500), 4));
    assert_eq!(desk.create_err_no(&whole("s3")), 0);
    assert_eq!(desk.create_err_no(&whole("s4")), 23_112);
    assert_eq!(amounts(&desk), [250, 750, 500]);
}

#[test]
fn an_app_on_paid_d_plus_n_settles_a_card_before_it_is_used() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Paid { days: 0 });
    desk.set_order("o1", card(0));
    assert_eq!(desk.create_err_no(&whole("s1")), 0);
    assert_eq!(amounts(&desk), [1_000]);
}

#[test]
fn many_uses_of_much_money_add_up_to_the_fen() {
    let mut desk = Desk::new();
    let total_fen = 999_999_999_999;
    for done in 1..=7 {
        let items = Some(vec![ItemSetup::card("card", total_fen, done, 7)]);
        desk.set_order("o1", OrderSetup { total_fen, items, ..OrderSetup::default() });
        assert_eq!(desk.create_err_no(&item(&format!("s{done}"))), 0);
    }
    assert_eq!(amounts(&desk).iter().sum::<i64>(), total_fen);
}

#[test]
fn the_caps_of_the_older_system_can_be_chosen() {
    let choices =
        Choices { receivers_max: Some(1), settles_per_order_max: Some(2), ..Choices::default() };
    let mut desk = Desk::with(&SimConfig { choices, ..super::config() });
    for (uses_done, err_no) in [(1, 0), (2, 0), (3, 23_113)] {
        desk.set_order("o1", card(uses_done));
        assert_eq!(desk.create_err_no(&item(&format!("s{uses_done}"))), err_no);
    }
    let two = r#"[{"merchant_uid":"7","amount":1},{"merchant_uid":"8","amount":1}]"#;
    let body = super::edited(good_create("s9", "o2"), "settle_params", two.into());
    assert_eq!(desk.create_err_no(&body), 10_000);
    let mut desk = Desk::new();
    assert_eq!(desk.create_err_no(&body), 0);
    assert!(desk.order("o2").is_some());
}
