//! Each undocumented choice makes its difference.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{APP, CREATE, Desk, QUERY, answer, config, good_create, json_of};
use crate::{
    AmountForm, Choices, Envelope, Informing, LogIdPlace, NumberCheck, NumberFate, OrderSetup,
    OrderStage, QueryNames, SimConfig,
};

fn desk_with(choices: Choices) -> Desk {
    Desk::with(&SimConfig { choices, ..config() })
}

#[test]
fn the_number_may_be_checked_after_the_rules() {
    let mut desk =
        desk_with(Choices { number_check: NumberCheck::AfterRules, ..Choices::default() });
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 0);
    // The first copy took the money, so its repeat looks refused.
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_112);
    assert_eq!(desk.create_err_no(&good_create("s1", "o2")), 23_111);
}

#[test]
fn a_refusal_leaves_the_number_free_or_burns_it() {
    for (fate, after) in [(NumberFate::Free, 0), (NumberFate::Burned, 23_111)] {
        let mut desk = desk_with(Choices { number_after_refusal: fate, ..Choices::default() });
        let unpaid = OrderSetup { stage: OrderStage::Unpaid, ..OrderSetup::default() };
        desk.core.books.set_order(APP, "o1", unpaid);
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_102);
        desk.core.books.set_order(APP, "o1", OrderSetup::default());
        assert_eq!(desk.create_err_no(&good_create("s1", "o1")), after);
        assert_eq!(desk.query("out_settle_no", "s1").is_empty(), after != 0);
    }
}

#[test]
fn an_accepted_settle_may_stay_invisible_for_a_while() {
    let choices =
        Choices { visible_after_ms: 60_000, exists_while_invisible: true, ..Choices::default() };
    let mut desk = desk_with(choices);
    desk.create(&good_create("s1", "o1"));
    desk.now_ms += 59_999;
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_111);
    assert!(desk.query("out_settle_no", "s1").is_empty());
    assert!(desk.query("out_order_no", "o1").is_empty());
    desk.now_ms += 1;
    assert_eq!(desk.query("out_settle_no", "s1").len(), 1);
}

#[test]
fn an_answer_that_it_exists_may_make_it_visible() {
    let mut desk = desk_with(Choices { visible_after_ms: 60_000, ..Choices::default() });
    desk.create(&good_create("s1", "o1"));
    assert!(desk.query("out_settle_no", "s1").is_empty());
    assert_eq!(desk.create_err_no(&good_create("s1", "o1")), 23_111);
    assert_eq!(desk.query("out_settle_no", "s1").len(), 1);
}

#[test]
fn refusals_come_in_the_chosen_envelope_and_status() {
    let number = |envelope, body: &Value| match envelope {
        Envelope::Own => (body["err_no"].clone(), body["err_msg"].clone()),
        Envelope::ErrTips => (body["err_no"].clone(), body["err_tips"].clone()),
        Envelope::Extra => {
            assert_eq!(body["data"]["error_code"], 2_191_009);
            (body["extra"]["sub_error_code"].clone(), body["extra"]["sub_description"].clone())
        }
        Envelope::DataMessage => {
            (body["data"]["error_code"].clone(), body["data"]["description"].clone())
        }
        Envelope::ErrorMessage => (body["error"].clone(), body["message"].clone()),
    };
    for envelope in Envelope::ALL {
        for status in [http::StatusCode::OK, http::StatusCode::BAD_REQUEST] {
            let mut desk = desk_with(Choices {
                business_envelope: envelope,
                business_status: status,
                ..Choices::default()
            });
            let answer = answer(desk.send(CREATE, good_create("s1", "sim-err-23101").to_string()));
            assert_eq!(answer.status, status);
            let found = number(envelope, &json_of(&answer));
            assert_eq!(found, (json!(23_101), json!("order does not exist")), "{envelope:?}");
        }
    }
}

#[test]
fn the_log_id_may_be_in_the_header_only() {
    for envelope in Envelope::ALL {
        let mut desk = desk_with(Choices {
            business_envelope: envelope,
            log_id: LogIdPlace::HeaderOnly,
            ..Choices::default()
        });
        for order in ["o1", "sim-err-23101"] {
            let answer = answer(desk.send(CREATE, good_create("s1", order).to_string()));
            assert!(answer.log_id.len() >= 44);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains(&answer.log_id), "{text}");
        }
    }
}

#[test]
fn the_numbers_of_bad_tokens_can_be_chosen() {
    let choices = Choices {
        token_invalid_err_no: 2_190_002,
        token_expired_err_no: 11_002,
        platform_envelope: Envelope::Extra,
        platform_status: http::StatusCode::UNAUTHORIZED,
        ..Choices::default()
    };
    let mut desk = desk_with(choices);
    let good = std::mem::replace(&mut desk.token, "clt.bad".to_owned());
    let invalid = answer(desk.send(QUERY, "{}"));
    assert_eq!(invalid.status, 401);
    assert_eq!(json_of(&invalid)["extra"]["error_code"], 2_190_002);
    desk.token = good;
    desk.now_ms += 7_200_000;
    let expired = json_of(&answer(desk.send(QUERY, "{}")));
    assert_eq!(expired["extra"]["sub_error_code"], 11_002);
}

#[test]
fn a_seed_draws_the_same_choices_again_and_seeds_differ() {
    assert_eq!(Choices::from_seed(3), Choices::from_seed(3));
    let drawn: Vec<Choices> = (0..200).map(Choices::from_seed).collect();
    let kinds = |kind: fn(&Choices) -> String| drawn.iter().map(kind).collect::<HashSet<_>>().len();
    assert_eq!(kinds(|choices| format!("{:?}", choices.number_check)), 2);
    assert_eq!(kinds(|choices| format!("{:?}", choices.number_after_refusal)), 2);
    assert_eq!(kinds(|choices| format!("{:?}", choices.number_after_fail)), 2);
    assert_eq!(kinds(|choices| choices.business_status.to_string()), 2);
    assert_eq!(kinds(|choices| format!("{:?}", choices.business_envelope)), 5);
    assert_eq!(kinds(|choices| format!("{:?}", choices.platform_envelope)), 5);
    assert_eq!(kinds(|choices| choices.token_expired_err_no.to_string()), 4);
    assert!(drawn.iter().any(|choices| choices.query_names == QueryNames::Of2023));
    assert!(drawn.iter().any(|choices| choices.amounts == AmountForm::Text));
    assert!(drawn.iter().any(|choices| choices.visible_after_ms == 0));
    assert!(drawn.iter().any(|choices| choices.visible_after_ms > 0));
    assert!(drawn.iter().all(|choices| choices.visible_after_ms <= 600_000));
}

#[test]
fn a_seed_draws_all_that_the_documents_leave_open() {
    let drawn: Vec<Choices> = (0..200).map(Choices::from_seed).collect();
    for (name, default) in Choices::default().named() {
        let values: HashSet<_> =
            drawn.iter().map(|choices| choices.named()[&name].to_string()).collect();
        // How long a superseded token lives on is documented, and so are the types of fields. Tests
        // choose the odd ones.
        let is_open = !["token_grace_ms", "informing"].contains(&name.as_str());
        assert_eq!(values.len() > 1, is_open, "{name}, by default {default}");
    }
}

/// All fields that decide nothing are odd, and no others.
#[test]
fn odd_answers_decide_as_documented_ones_do() {
    let odd = Choices { informing: Informing::Odd, ..Choices::default() };
    let (mut plain, mut odd) = (desk_with(Choices::default()), desk_with(odd));
    let mut differ = 0;
    for n in 0..20 {
        let create = good_create(&format!("s{n}"), &format!("o{n}"));
        let [plain, odd] = [&mut plain, &mut odd].map(|desk| desk.create(&create));
        assert_eq!(
            (&plain["err_no"], &plain["data"]["settle_id"]),
            (&odd["err_no"], &odd["data"]["settle_id"])
        );
        differ += usize::from(plain["data"]["wallet_settle_id"] != odd["data"]["wallet_settle_id"]);
    }
    assert_eq!(differ, 20);
}

#[test]
fn every_choice_can_be_changed_by_name_to_all_that_a_seed_draws() {
    for seed in 0..50 {
        let drawn = Choices::from_seed(seed);
        let mut copy = Choices::default();
        for (name, value) in drawn.named() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let text = if value.is_null() { "none".to_owned() } else { text };
            let text = text.replace("true", "yes").replace("false", "no");
            assert_eq!(copy.set(&name, &text), Ok(()), "{name}");
        }
        assert_eq!(copy, drawn);
        assert_eq!(Choices::default().with(drawn.named()), Ok(drawn));
    }
}

#[test]
fn a_choice_that_cannot_be_made_says_what_can() {
    let cases = [
        ("number_check", "later", "expected `before-rules` or `after-rules`"),
        ("app_id_required", "maybe", "expected a boolean"),
        ("visible_after_ms", "soon", "expected u64"),
        ("visible_after_ms", "1000000000000", "a time has at most"),
        ("fail_turns_success_after_ms", "x", "expected u64"),
        ("business_status", "100", "a status is 200 or 400 to 599"),
        ("business_status", "304", "a status is 200 or 400 to 599"),
        ("parent_err_no", "x", "expected i64"),
        ("receivers_max", "-1", "expected usize"),
        ("detail_separator", "dash", "(\"comma\", \",\")"),
        ("nothing", "1", "expected one of `number_check`, "),
    ];
    for (name, text, sentence) in cases {
        let mut choices = Choices::default();
        let problem = choices.set(name, text).expect_err(name);
        assert!(problem.contains(sentence), "{problem}");
        assert_eq!(choices, Choices::default());
    }
}
