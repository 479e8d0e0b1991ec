//! "Fulfilled D+N" and "paid D+N": from when on an order can be settled.

use super::{APP, DAY_MS, Desk, START_MS, TO_MIDNIGHT_MS, config, good_create, item_create};
use crate::{AppRules, ItemSetup, OrderSetup, OrderStage, Promotion, SimConfig, Timing};

fn order(stage: OrderStage) -> OrderSetup {
    OrderSetup { stage, ..OrderSetup::default() }
}

fn with_items(items: Vec<ItemSetup>) -> OrderSetup {
    OrderSetup { total_fen: 1_400, items: Some(items), ..order(OrderStage::Paid) }
}

#[test]
fn by_default_everything_is_due_at_once() {
    assert_eq!(AppRules::default().timing, Timing::Fulfilled { days: 0 });
    let mut desk = Desk::new();
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    desk.set_order("o2", order(OrderStage::Paid));
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 23_107);
    desk.set_order("o2", order(OrderStage::Fulfilled));
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 0);
}

#[test]
fn fulfilled_d_plus_n_is_due_at_the_beginning_of_the_nth_chinese_day() {
    for days in [1, 3, 30] {
        let mut desk = Desk::new();
        desk.set_timing(Timing::Fulfilled { days });
        desk.set_order("o1", order(OrderStage::Paid));
        desk.later_by_ms(DAY_MS);
        desk.set_order("o1", order(OrderStage::Fulfilled));
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
        desk.later_by_ms(TO_MIDNIGHT_MS + DAY_MS * (u64::from(days) - 1) - 1);
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107, "D+{days}");
        desk.now_ms += 1;
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0, "D+{days}");
    }
}

#[test]
fn an_order_that_is_not_due_says_when_it_will_be() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 3 });
    let refused = desk.create(&good_create("s1", "o1"));
    let text = "order not finish: due from 2023-11-18 00:00:00.000 (UTC+8)";
    assert_eq!(refused["err_msg"], text);
}

#[test]
fn an_order_made_on_the_fly_is_fulfilled_when_it_is_first_named() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 1 });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    desk.later_by_ms(TO_MIDNIGHT_MS);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 23_107);
}

#[test]
fn setting_an_order_again_does_not_begin_its_days_anew() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 1 });
    desk.set_order("o1", order(OrderStage::Fulfilled));
    desk.later_by_ms(TO_MIDNIGHT_MS);
    desk.set_order("o1", OrderSetup { total_fen: 500, ..order(OrderStage::Fulfilled) });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    // But one that was unfulfilled for a while is fulfilled anew.
    desk.set_order("o2", order(OrderStage::Fulfilled));
    desk.set_order("o2", order(OrderStage::Paid));
    desk.later_by_ms(DAY_MS);
    desk.set_order("o2", order(OrderStage::Fulfilled));
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 23_107);
}

#[test]
fn a_whole_order_waits_for_the_last_of_its_items() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 1 });
    let mut items = vec![ItemSetup::used("i1", 700), ItemSetup::unused("i2", 700)];
    desk.set_order("o1", with_items(items.clone()));
    desk.later_by_ms(TO_MIDNIGHT_MS);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    items[1] = ItemSetup::used("i2", 700);
    desk.set_order("o1", with_items(items));
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    desk.later_by_ms(DAY_MS);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
}

#[test]
fn an_item_waits_for_itself_only() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 1 });
    let mut items = vec![ItemSetup::used("i1", 700), ItemSetup::unused("i2", 700)];
    desk.set_order("o1", with_items(items.clone()));
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 23_107);
    desk.later_by_ms(TO_MIDNIGHT_MS);
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 0);
    items[1] = ItemSetup::used("i2", 700);
    desk.set_order("o1", with_items(items));
    assert_eq!(desk.create_err_no(&item_create("s2", "o1", "i2")), 23_107);
    desk.later_by_ms(DAY_MS);
    assert_eq!(desk.create_err_no(&item_create("s2", "o1", "i2")), 0);
    assert_eq!(desk.create_err_no(&item_create("s3", "o1", "i2")), 23_112);
}

#[test]
fn paid_d_plus_n_does_not_wait_for_fulfilment() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Paid { days: 1 });
    desk.set_order("o1", order(OrderStage::Unpaid));
    desk.later_by_ms(DAY_MS);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_102);
    desk.set_order("o1", order(OrderStage::Paid));
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    desk.later_by_ms(TO_MIDNIGHT_MS);
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    assert_eq!(desk.create_err_no(&good_create("s2", "o1")), 23_112);
}

#[test]
fn an_app_on_paid_d_plus_n_settles_whole_orders_only() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Paid { days: 0 });
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 23_113);
    let cps = OrderSetup { promotion: Promotion::Cps, ..OrderSetup::default() };
    desk.set_order("o2", cps);
    desk.later_by_ms(10 * DAY_MS);
    assert_eq!(desk.create_err_no(&item_create("s2", "o2", "i2")), 23_113);
    assert_eq!(desk.create_err_no(&good_create("s3", "o1")), 0);
}

#[test]
fn a_cps_order_is_due_at_fulfilled_d_plus_three_whatever_the_app_says() {
    let cps = |stage| OrderSetup { promotion: Promotion::Cps, ..order(stage) };
    for timing in [
        Timing::Fulfilled { days: 0 },
        Timing::Fulfilled { days: 30 },
        Timing::Paid { days: 0 },
        Timing::Paid { days: 1 },
    ] {
        let mut desk = Desk::new();
        desk.set_timing(timing);
        desk.set_order("o1", cps(OrderStage::Paid));
        desk.later_by_ms(10 * DAY_MS);
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107, "{timing:?}");
        desk.set_order("o1", cps(OrderStage::Fulfilled));
        desk.later_by_ms(TO_MIDNIGHT_MS + 2 * DAY_MS - 1);
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107, "{timing:?}");
        desk.now_ms += 1;
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0, "{timing:?}");
    }
}

#[test]
fn an_item_of_a_cps_order_is_due_three_days_after_its_use() {
    let mut desk = Desk::new();
    let items = Some(vec![ItemSetup::used("i1", 700), ItemSetup::unused("i2", 700)]);
    let order = OrderSetup { promotion: Promotion::Cps, items, ..OrderSetup::default() };
    desk.set_order("o1", order);
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 23_107);
    desk.later_by_ms(TO_MIDNIGHT_MS + 2 * DAY_MS);
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "i1")), 0);
    assert_eq!(desk.create_err_no(&item_create("s2", "o1", "i2")), 23_107);
}

#[test]
fn a_cps_order_costs_a_commission_that_no_receiver_gets() {
    let mut desk = Desk::new();
    desk.set_order("o1", OrderSetup { promotion: Promotion::Cps, ..OrderSetup::default() });
    desk.later_by_ms(3 * DAY_MS);
    // 100 000 fen less the fee of 600 and the commission of 10 000.
    let share = |fen: i64| format!(r#"[{{"merchant_uid":"7","amount":{fen}}}]"#);
    let mut body = good_create("s1", "o1");
    body["settle_params"] = share(89_401).into();
    assert_eq!(desk.create_err_no(&body), 23_112);
    body["settle_params"] = share(89_400).into();
    assert_eq!(desk.create_err_no(&body), 0);
    let item = desk.query("out_settle_no", "s1")[0].clone();
    assert_eq!((&item["commission"], &item["rake"]), (&10_000.into(), &600.into()));
    assert_eq!(item["settle_detail"], "商户号7-分成金额(分)89400");
}

#[test]
fn a_refunded_item_is_in_its_final_state_and_worth_nothing() {
    let mut desk = Desk::new();
    let items = vec![ItemSetup::used("used", 700), ItemSetup::used("refunded", 0)];
    desk.set_order("o1", OrderSetup { total_fen: 700, ..with_items(items) });
    assert_eq!(desk.create_err_no(&item_create("s1", "o1", "refunded")), 23_112);
    assert_eq!(desk.create_err_no(&good_create("s2", "o1")), 0);
    assert_eq!(desk.core.snapshot().only("s2").expect("one settle").amount_fen, 700);
}

#[test]
fn the_timing_of_one_app_is_not_that_of_another() {
    let mut desk = Desk::new();
    desk.set_timing(Timing::Fulfilled { days: 7 });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    desk.token = desk.fetch_for("ttother");
    let mut body = good_create("s1", "o1");
    body["app_id"] = "ttother".into();
    assert_eq!(desk.create_err_no(&body), 0);
}

#[test]
fn rules_can_hold_for_every_app_from_the_start() {
    let timing = Timing::Fulfilled { days: 1 };
    let rules = AppRules { timing, ..AppRules::default() };
    let mut desk = Desk::with(&SimConfig { rules, ..config() });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_107);
    desk.set_timing(Timing::Fulfilled { days: 0 });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
}

#[test]
fn what_is_known_of_an_order_says_when_it_is_due() {
    let mut desk = Desk::new();
    assert!(desk.order("o1").is_none());
    desk.set_timing(Timing::Fulfilled { days: 1 });
    desk.create(&good_create("s1", "o1"));
    let order = desk.order("o1").expect("it was named");
    let facts = desk.core.books.order_facts(order);
    let standing = &facts.in_systems[0];
    assert_eq!((facts.paid_at_ms, standing.whole_err_no), (Some(START_MS), 23_107));
    assert_eq!(facts.due_next_at_ms, Some(START_MS + TO_MIDNIGHT_MS));
    assert_eq!((standing.left_fen, &facts.setup), (100_000, &OrderSetup::default()));
    desk.later_by_ms(TO_MIDNIGHT_MS);
    desk.create(&good_create("s1", "o1"));
    let order = desk.order("o1").expect("it was named");
    let facts = desk.core.books.order_facts(order);
    let standing = &facts.in_systems[0];
    assert_eq!((standing.whole_err_no, standing.left_fen), (23_112, 0));
    assert_eq!(facts.due_next_at_ms, None);
}

#[tokio::test]
async fn moving_the_clock_makes_an_order_due_over_http() {
    let rules = AppRules { timing: Timing::Fulfilled { days: 1 }, ..AppRules::default() };
    let client = super::wire::Client::start_with(SimConfig { rules, ..config() }).await;
    assert_eq!(client.create_err_no().await, 23_107);
    let sim = &client.sim;
    sim.advance(std::time::Duration::from_millis(DAY_MS));
    let token = sim.steal_token(APP).expect("a token");
    let request = super::request(super::CREATE, &token, good_create("s1", "o1").to_string().into());
    let response = client
        .http
        .post(format!("{}{}", sim.url(), super::CREATE))
        .headers(request.headers)
        .body(request.body)
        .send();
    let body = super::wire::read(response.await.expect("an answer")).await;
    assert_eq!(body["err_no"], 0);
    sim.stop().await;
}
