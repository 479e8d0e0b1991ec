//! What is the same in every system in which developers settle.

use serde_json::json;

use super::{Developer, SETTLING, edited, in_each};
use crate::tests::{APP, config};
use crate::{
    Choices, NumberFate, OrderSetup, OrderStage, Script, SimConfig, Status, StrangerSettle, System,
};

#[test]
fn a_create_is_found_by_query_until_it_has_ended() {
    in_each(|developer| {
        let said = developer.create("s1", "o1");
        assert_eq!(said.number, 0, "{said:?}");
        assert_eq!(said.settle_id, developer.settles()[0].settle_id);
        assert_eq!(developer.status("s1"), "INIT");
        developer.wait();
        assert_eq!(developer.status("s1"), "SUCCESS");
        let found = developer.query("out_settle_no", "s1").remove(0);
        assert_eq!((&found["settle_amount"], &found["rake"]), (&json!(100_000), &json!(600)));
        assert_eq!((&found["cp_extra"], &found["commission"]), (&json!("mark"), &json!(0)));
        let detail = found["settle_detail"].as_str().expect("a text");
        assert!(detail.starts_with("商户号72789245768543296350-分成金额(分)400"), "{detail}");
        assert_eq!(developer.settles()[0].system, developer.system);
        assert_eq!(developer.desk.core.snapshot().sends_in(developer.system, "s1"), 1);
    });
}

#[test]
fn ids_look_like_the_samples() {
    for (system, prefix, digits) in [
        (System::General, "ots", 23),
        (System::SelfOperated, "ot", 19),
        (System::Industry, "ot", 19),
        (System::Guaranteed, "", 19),
    ] {
        let said = Developer::new(system).create("s1", "o1");
        let rest = said.settle_id.strip_prefix(prefix).expect("its prefix");
        assert!(rest.len() == digits && rest.bytes().all(|byte| byte.is_ascii_digit()), "{said:?}");
    }
}

#[test]
fn each_system_has_numbers_and_money_of_its_own_over_the_same_order() {
    let mut developer = Developer::new(System::General);
    for system in SETTLING {
        developer.system = system;
        assert_eq!(developer.create("s1", "o1").number, 0, "{system:?}");
    }
    developer.wait();
    let settles = developer.settles();
    assert_eq!(settles.iter().map(|settle| settle.system).collect::<Vec<_>>(), SETTLING);
    assert!(settles.iter().all(|settle| settle.amount_fen == 100_000));
    assert!(settles.iter().all(|settle| settle.order_id == settles[0].order_id));
    for (nth, system) in SETTLING.into_iter().enumerate() {
        developer.system = system;
        let found = developer.query("out_settle_no", "s1");
        assert_eq!(found.len(), 1);
        let id = if system == System::Guaranteed { "settle_no" } else { "settle_id" };
        assert_eq!(found[0][id], settles[nth].settle_id);
        assert_eq!(developer.create("s2", "o1").number, developer.number(23_112, 2_014));
    }
}

#[test]
fn the_rules_of_orders_hold() {
    let unpaid = OrderSetup { stage: OrderStage::Unpaid, ..OrderSetup::default() };
    let missing = OrderSetup { stage: OrderStage::Missing, ..OrderSetup::default() };
    in_each(|developer| {
        developer.desk.set_order("o1", unpaid.clone());
        developer.desk.set_order("o2", missing.clone());
        assert_eq!(developer.create("s1", "o1").number, developer.number(23_102, 2_014));
        assert_eq!(developer.create("s1", "o2").number, developer.number(23_101, 2_000));
        assert_eq!(developer.settles().len(), 0);
        developer.desk.set_order("o1", OrderSetup::default());
        assert_eq!(developer.create("s1", "o1").number, 0);
    });
}

#[test]
fn a_repeat_is_refused_or_answered_like_the_first() {
    in_each(|developer| {
        let first = developer.create("s1", "o1");
        // Whatever the repeat says.
        for order in ["o1", "o2"] {
            let again = developer.create("s1", order);
            assert_eq!(again.number, developer.number(23_111, 0));
            if developer.system == System::Guaranteed {
                assert_eq!(again.settle_id, first.settle_id);
            }
        }
        assert_eq!(developer.settles().len(), 1);
    });
}

#[test]
fn a_strangers_settle_under_the_number_is_taken_for_the_first() {
    in_each(|developer| {
        let stranger = StrangerSettle {
            system: developer.system,
            out_order_no: "o9".to_owned(),
            cp_extra: "not ours".to_owned(),
            ..StrangerSettle::default()
        };
        let core = &mut developer.desk.core;
        let settle_id = core.stranger_settle(developer.desk.now_ms, (APP, "s1"), stranger);
        let said = developer.create("s1", "o1");
        assert_eq!(said.number, developer.number(23_111, 0));
        if developer.system == System::Guaranteed {
            assert_eq!(said.settle_id, settle_id);
        }
        assert_eq!(developer.query("out_settle_no", "s1")[0]["cp_extra"], "not ours");
        assert_eq!(developer.settles().len(), 1);
    });
}

#[test]
fn a_refusal_and_a_fail_may_use_a_number_up() {
    for fate in [NumberFate::Free, NumberFate::Burned] {
        for system in SETTLING {
            let choices = Choices {
                number_after_refusal: fate,
                number_after_fail: fate,
                ..Choices::default()
            };
            let config = SimConfig { choices, ..config() };
            let mut developer = Developer::with(system, config);
            let unpaid = OrderSetup { stage: OrderStage::Unpaid, ..OrderSetup::default() };
            developer.desk.set_order("o1", unpaid);
            let refused = developer.create("s1", "o1").number;
            developer.desk.set_order("o1", OrderSetup::default());
            let again = developer.create("s1", "o1").number;
            let burned = developer.number(23_111, refused);
            assert_eq!(again, if fate == NumberFate::Free { 0 } else { burned }, "{system:?}");
            let first = developer.create("s2", "sim-fail-1").settle_id;
            developer.wait();
            assert_eq!(developer.status("s2"), "FAIL");
            let again = developer.create("s2", "o2");
            match (system, fate) {
                // A number that failed is never free again; its repeat names the failed settle.
                (System::Guaranteed, _) => assert_eq!((again.number, again.settle_id), (0, first)),
                (_, NumberFate::Free) => assert_eq!(again.number, 0),
                (_, NumberFate::Burned) => assert_eq!(again.number, 23_111),
            }
        }
    }
}

#[test]
fn a_lost_answer_has_an_effect_that_a_query_finds() {
    in_each(|developer| {
        developer.desk.core.script_create("s1", Script::apply_then(Script::Drop));
        let body = developer.body("s1", "o1");
        let reply = developer.send(developer.create_path(), body);
        assert!(matches!(reply, crate::Reply::Drop), "{reply:?}");
        assert_eq!(developer.status("s1"), "INIT");
        developer.desk.core.script_create("s2", Script::Drop);
        let body = developer.body("s2", "o2");
        developer.send(developer.create_path(), body);
        assert_eq!(developer.status("s2"), "");
    });
}

#[test]
fn the_words_of_order_numbers_choose() {
    in_each(|developer| {
        assert_eq!(developer.create("s1", "sim-err-23102-1").number, 23_102);
        assert_eq!(developer.create("s2", "sim-fail-1").number, 0);
        assert_eq!(developer.create("s3", "sim-hold-1").number, 0);
        assert_eq!(developer.create("s4", "sim-quiet-1").number, 0);
        let body = developer.body("s5", "sim-lost-1");
        let lost = developer.send(developer.create_path(), body);
        assert!(matches!(lost, crate::Reply::Drop));
        let body = developer.body("s6", "sim-slow-1");
        let slow = developer.send(developer.create_path(), body);
        assert!(matches!(slow, crate::Reply::Wait { delay_ms: 3_000, .. }));
        developer.wait();
        let statuses = ["s1", "s2", "s3", "s4", "s5", "s6"].map(|number| developer.status(number));
        assert_eq!(statuses, ["", "FAIL", "PROCESSING", "SUCCESS", "SUCCESS", "SUCCESS"]);
        let callbacks = developer.callbacks();
        assert_eq!(callbacks.len(), 3, "of s2, s5 and s6");
    });
}

#[test]
fn a_settle_may_stay_invisible_for_a_while() {
    for system in SETTLING {
        let choices = Choices {
            visible_after_ms: 60_000,
            exists_while_invisible: true,
            ..Choices::default()
        };
        let mut developer = Developer::with(system, SimConfig { choices, ..config() });
        developer.create("s1", "o1");
        developer.desk.later_by_ms(59_999);
        developer.create("s1", "o1");
        assert_eq!(developer.status("s1"), "");
        developer.desk.later_by_ms(1);
        assert_eq!(developer.status("s1"), "SUCCESS");
    }
}

#[test]
fn faults_of_every_kind_look_like_the_systems_own_answers() {
    in_each(|developer| {
        let path = developer.create_path();
        developer.desk.core.script_create("s1", Script::AcceptWithoutId);
        let said = developer.create("s1", "o1");
        assert_eq!((said.number, said.settle_id.as_str()), (0, ""));
        developer.desk.core.script_create("s2", Script::CloseMidAnswer);
        let body = developer.body("s2", "o2");
        let crate::Reply::CloseMid(forged) = developer.send(path, body) else {
            panic!("it closes in the middle");
        };
        let said = developer.read(&forged);
        assert!(said.number == 0 && !said.settle_id.is_empty(), "{said:?}");
        developer.desk.core.script_create("s3", Script::Refuse(23_000));
        assert_eq!(developer.create("s3", "o3").number, 23_000);
        developer.desk.core.always(Some(&Script::FindNothing));
        assert_eq!(developer.query("out_settle_no", "s1").len(), 0);
        assert_eq!(developer.settles().len(), 0);
    });
}

#[test]
fn a_field_that_the_page_does_not_list_and_other_content_types_are_refused() {
    in_each(|developer| {
        let mark = if developer.system == System::General { "cp_extra" } else { "ext" };
        let body = edited(developer.body("s1", "o1"), mark, json!("of another system"));
        let said = developer.ask(developer.create_path(), body);
        assert_eq!(said.number, developer.number(10_000, 2_010));
        let body = developer.body("s1", "o1");
        let mut request = developer.request(developer.create_path(), body);
        let with_charset = "application/json;charset=utf-8".parse().expect("a value");
        request.headers.insert("content-type", with_charset);
        let reply = developer.desk.core.handle(developer.desk.now_ms, request);
        let said = developer.read(&super::answer(reply));
        assert_eq!(said.number, developer.number(10_000, 2_010));
        assert_eq!(developer.settles().len(), 0);
    });
}

#[test]
fn a_stranger_ends_a_settle_or_a_test_does() {
    in_each(|developer| {
        let settle_id = developer.create("s1", "sim-hold-1").settle_id;
        assert!(developer.desk.core.finish(developer.desk.now_ms, &settle_id, Status::Fail));
        assert_eq!(developer.status("s1"), "FAIL");
        assert_eq!(developer.query("out_settle_no", "s1")[0]["settle_detail"], "");
    });
}
