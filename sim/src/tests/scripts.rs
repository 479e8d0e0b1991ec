//! Scripts on the core: what is applied, what is answered, and in which order they are taken.

use serde_json::json;

use super::{APP, CREATE, Desk, QUERY, answer, config, good_create, json_of};
use crate::endpoint::Endpoint;
use crate::{Gate, Reply, Script, SimConfig};

fn desk_with(scripts: Vec<Script>) -> Desk {
    let mut desk = Desk::new();
    desk.core.scripts.queue(Endpoint::Create, "s1", scripts);
    desk
}

fn send(desk: &mut Desk) -> Reply {
    desk.send(CREATE, good_create("s1", "o1").to_string())
}

fn applied(desk: &Desk) -> usize {
    desk.core.snapshot().settles.len()
}

#[test]
fn each_script_is_used_once_and_then_things_are_normal() {
    let mut desk = desk_with(vec![Script::Refuse(23_000), Script::Normal]);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 23_000);
    assert_eq!(applied(&desk), 0);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 0);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 23_111);
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 0);
}

#[test]
fn a_script_waits_for_a_request_with_a_good_token() {
    let mut desk = desk_with(vec![Script::Refuse(23_000)]);
    let good = std::mem::replace(&mut desk.token, "clt.bad".to_owned());
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 28_001_003);
    desk.token = good;
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 23_000);
    assert_eq!(desk.core.snapshot().sends("s1"), 2);
}

#[test]
fn apply_then_applies_whatever_is_answered() {
    for rest in [
        Script::Refuse(23_112),
        Script::Drop,
        Script::Html,
        Script::Hang,
        Script::CloseMidAnswer,
        Script::AcceptWithoutId,
    ] {
        let mut desk = desk_with(vec![Script::apply_then(rest.clone())]);
        send(&mut desk);
        assert_eq!(applied(&desk), 1, "{rest:?}");
        let mut desk = desk_with(vec![rest.clone()]);
        send(&mut desk);
        assert_eq!(applied(&desk), 0, "{rest:?}");
    }
}

#[test]
fn a_held_request_is_applied_when_the_gate_opens() {
    let gate = Gate::new();
    let mut desk = desk_with(vec![Script::Hold(gate.clone())]);
    let Reply::Hold { then, .. } = send(&mut desk) else { panic!("not held") };
    assert_eq!(applied(&desk), 0);
    let reply = desk.core.resume(desk.now_ms, *then);
    assert_eq!(json_of(&answer(reply))["err_no"], 0);
    assert_eq!(applied(&desk), 1);
}

#[test]
fn a_held_answer_is_the_true_one_although_others_came_in_between() {
    let mut desk = desk_with(vec![Script::apply_then(Script::Hold(Gate::new()))]);
    let Reply::Hold { then, .. } = send(&mut desk) else { panic!("not held") };
    assert_eq!(applied(&desk), 1);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 23_111);
    let reply = desk.core.resume(desk.now_ms, *then);
    assert_eq!(json_of(&answer(reply))["err_no"], 0);
}

#[test]
fn a_delay_is_before_the_effect_unless_it_was_applied_first() {
    let delay = || Script::delay(40, Script::Normal);
    let mut desk = desk_with(vec![delay(), Script::apply_then(delay())]);
    let Reply::Wait { delay_ms: 40, then } = send(&mut desk) else { panic!("no delay") };
    assert_eq!(applied(&desk), 0);
    desk.core.resume(desk.now_ms, *then);
    assert_eq!(applied(&desk), 1);
    let Reply::Wait { delay_ms: 40, then } = send(&mut desk) else { panic!("no delay") };
    assert_eq!(json_of(&answer(desk.core.resume(desk.now_ms, *then)))["err_no"], 23_111);
}

#[test]
fn a_cut_answer_is_the_true_one_if_applied() {
    let mut desk = desk_with(vec![Script::apply_then(Script::CloseMidAnswer)]);
    let Reply::CloseMid(answer) = send(&mut desk) else { panic!("not cut") };
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    assert_eq!(json_of(&answer)["data"]["settle_id"], settle_id);
}

#[test]
fn an_acceptance_without_an_id_has_err_no_zero_and_nothing_else() {
    let mut desk = desk_with(vec![Script::AcceptWithoutId]);
    let body = json_of(&answer(send(&mut desk)));
    assert_eq!(body["err_no"], 0);
    assert!(body.get("data").is_none());
}

#[test]
fn a_standing_script_holds_for_all_until_it_is_cleared() {
    let mut desk = desk_with(vec![Script::Refuse(12_001)]);
    desk.core.scripts.set_always(Endpoint::Create, Some(Script::Refuse(23_000)));
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 12_001);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 23_000);
    assert_eq!(desk.create_err_no(&good_create("s2", "sim-err-23101")), 23_000);
    desk.core.scripts.set_always(Endpoint::Create, None);
    assert_eq!(json_of(&answer(send(&mut desk)))["err_no"], 0);
}

#[test]
fn a_query_script_for_a_number_also_meets_queries_by_its_id() {
    let mut desk = Desk::new();
    desk.create(&good_create("s1", "o1"));
    let settle_id = desk.core.snapshot().settles[0].settle_id.clone();
    let scripts = vec![Script::Refuse(23_000), Script::json(200, r#"{"err_no":0,"data":[]}"#)];
    desk.core.scripts.queue(Endpoint::Query, "s1", scripts);
    let body = json!({ "app_id": APP, "settle_id": settle_id });
    assert_eq!(desk.post(QUERY, &body)["err_no"], 23_000);
    assert!(desk.query("out_settle_no", "s1").is_empty());
    assert_eq!(desk.query("out_settle_no", "s1").len(), 1);
    let books = desk.core.snapshot();
    assert_eq!((books.queries("s1"), books.queries(&settle_id)), (2, 1));
    assert_eq!(books.queries_total(), 3);
}

#[test]
fn a_slow_order_is_applied_at_once_and_answered_late() {
    let mut desk = Desk::new();
    let reply = desk.send(CREATE, good_create("s1", "sim-slow-1").to_string());
    assert!(matches!(reply, Reply::Wait { delay_ms: 3_000, .. }));
    assert_eq!(applied(&desk), 1);
}

#[test]
fn a_lost_order_loses_its_first_answer_only() {
    let mut desk = Desk::new();
    let body = good_create("s1", "sim-lost-1");
    assert!(matches!(desk.send(CREATE, body.to_string()), Reply::Drop));
    assert_eq!(applied(&desk), 1);
    assert_eq!(desk.create_err_no(&body), 23_111);
    assert_eq!(applied(&desk), 1);
}

#[test]
fn weather_depends_on_the_seed_and_the_request_alone() {
    let run = |numbers: &mut dyn Iterator<Item = u32>| {
        let mut desk = Desk::new();
        desk.core = crate::Core::new(&SimConfig { faults_per_10_000: 5_000, ..config() });
        desk.token =
            desk.core.tokens.steal(desk.now_ms, APP, &desk.core.books.choices).expect("a token");
        let mut seen: Vec<(u32, String)> = numbers
            .map(|n| {
                let body = good_create(&format!("s{n}"), &format!("o{n}")).to_string();
                let kind = match desk.send(CREATE, body) {
                    Reply::Answer(answer) => answer.status.to_string(),
                    Reply::Wait { delay_ms, .. } => format!("wait {delay_ms}"),
                    Reply::Hold { .. } => "hold".to_owned(),
                    Reply::Drop => "drop".to_owned(),
                    Reply::CloseMid(_) => "cut".to_owned(),
                    Reply::Hang { .. } => "hang".to_owned(),
                };
                (n, kind)
            })
            .collect();
        seen.sort();
        seen
    };
    let forward = run(&mut (0..100));
    assert_eq!(forward, run(&mut (0..100).rev()));
    let bad = forward.iter().filter(|(_, kind)| kind != "200 OK").count();
    assert!((20..80).contains(&bad), "{bad}");
}
