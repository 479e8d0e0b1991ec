//! The faults that a seed draws.

use std::collections::BTreeMap;

use serde_json::json;

use super::{APP, CREATE, Desk, QUERY, TOKEN, config, good_create, json_of, request, token_body};
use crate::endpoint::{Endpoint, Route};
use crate::weather::Weather;
use crate::{Choices, Core, Reply, Script, SimConfig, System};

const ENDPOINTS: [Endpoint; 3] = [Endpoint::Token, Endpoint::Create, Endpoint::Query];

fn general(endpoint: Endpoint) -> Route {
    Route { system: System::General, endpoint }
}

/// How often each script occurs in a storm, whatever else is drawn.
fn kinds(endpoint: Endpoint) -> BTreeMap<String, usize> {
    let storm = weather(10_000);
    let mut kinds = BTreeMap::new();
    for n in 0..2_000 {
        let script =
            storm.fault(general(endpoint), &format!("s{n}"), 1).expect("a storm misses no request");
        *kinds.entry(name(&script)).or_default() += 1;
    }
    kinds
}

fn name(script: &Script) -> String {
    match script {
        Script::ApplyThen(rest) => format!("apply-then {}", name(rest)),
        Script::Delay(_, rest) => format!("delay {}", name(rest)),
        Script::Answer { status, .. } => format!("answer {status}"),
        Script::Refuse(_) => "refuse".to_owned(),
        Script::Normal
        | Script::Hold(_)
        | Script::Drop
        | Script::CloseMidAnswer
        | Script::Hang
        | Script::Huge(_)
        | Script::Html
        | Script::Empty
        | Script::WrongTypes
        | Script::AcceptWithoutId
        | Script::FindNothing => json!(script).as_str().expect("a word").to_owned(),
    }
}

fn weather(faults_per_10_000: u32) -> Weather {
    Weather::new(&SimConfig { faults_per_10_000, ..SimConfig::loopback(7, Vec::new()) })
}

#[test]
fn a_storm_has_every_kind_of_fault_before_and_after_the_effect() {
    for endpoint in ENDPOINTS {
        let kinds = kinds(endpoint);
        let expected = [
            "drop",
            "cut",
            "html",
            "empty",
            "wrong-types",
            "answer 500",
            "answer 503",
            "answer 504",
            "refuse",
            "hang",
            "delay normal",
        ];
        for kind in expected {
            for name in [kind.to_owned(), format!("apply-then {kind}")] {
                let times = kinds.get(&name).copied().unwrap_or(0);
                assert!(times > 5, "{endpoint:?} {name}: {times} in {kinds:?}");
            }
        }
        assert_eq!(kinds.len(), 2 * expected.len(), "{kinds:?}");
    }
}

#[test]
fn douyins_own_excuse_is_the_one_of_the_endpoint() {
    let storm = weather(10_000);
    let guaranteed = Route { system: System::Guaranteed, endpoint: Endpoint::Create };
    for (route, err_no) in [
        (general(Endpoint::Create), 23_000),
        (general(Endpoint::Query), 23_000),
        (general(Endpoint::Token), 28_001_005),
        (guaranteed, 1_000),
    ] {
        let numbers: Vec<String> = (0..200)
            .filter_map(|nth| storm.fault(route, "s1", nth))
            .map(|script| json!(script).to_string())
            .filter(|text| text.contains("refuse"))
            .collect();
        assert!(!numbers.is_empty());
        let of_its_own = format!("{{\"refuse\":{err_no}}}");
        assert!(numbers.iter().all(|text| text.contains(&of_its_own)), "{numbers:?}");
    }
}

#[test]
fn fair_weather_does_nothing() {
    let fair = weather(0);
    for n in 0..1_000 {
        let key = format!("s{n}");
        assert!(ENDPOINTS.iter().all(|endpoint| fair.fault(general(*endpoint), &key, 1).is_none()));
        assert_eq!((fair.late_ms(APP, &key), fair.token_life_ms(APP, n, 5_000)), (0, 5_000));
    }
}

#[test]
fn as_many_meet_a_fault_as_were_chosen() {
    let (showers, query) = (weather(1_000), general(Endpoint::Query));
    let hits = (0..10_000).filter(|n| showers.fault(query, "s1", *n).is_some()).count();
    assert!((800..1_200).contains(&hits), "{hits}");
}

#[test]
fn a_seed_is_the_same_weather_again_and_another_seed_is_not() {
    let create = general(Endpoint::Create);
    let text = |seed| -> Vec<String> {
        let config = SimConfig::loopback(seed, Vec::new());
        let weather = Weather::new(&SimConfig { faults_per_10_000: 5_000, ..config });
        (0..100)
            .map(|nth| format!("{:?}", weather.fault(create, "s1", nth)))
            .chain((0..100).map(|nth| weather.token_life_ms(APP, nth, 7_200_000).to_string()))
            .chain((0..100).map(|nth| weather.late_ms(APP, &format!("ots{nth}")).to_string()))
            .collect()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

/// A desk in a storm, where no request meets a fault of its own.
fn stormy_desk() -> Desk {
    let mut desk = Desk::new();
    for endpoint in ENDPOINTS {
        desk.core.scripts.set_always(endpoint, Some(Script::Normal));
    }
    desk.core.set_faults_per_10_000(10_000);
    desk
}

#[test]
fn queries_are_empty_for_a_while_but_never_for_longer_than_ten_minutes() {
    let mut desk = stormy_desk();
    for n in 0..50 {
        assert_eq!(desk.create_err_no(&good_create(&format!("s{n}"), &format!("o{n}"))), 0);
    }
    let seen = |desk: &mut Desk| {
        (0..50).filter(|n| !desk.query("out_settle_no", &format!("s{n}")).is_empty()).count()
    };
    assert_eq!(seen(&mut desk), 0);
    desk.core.set_faults_per_10_000(0);
    desk.now_ms += 300_000;
    desk.token = desk.fetch();
    assert!((5..45).contains(&seen(&mut desk)));
    desk.now_ms += 300_000;
    desk.token = desk.fetch();
    assert_eq!(seen(&mut desk), 50);
}

#[test]
fn a_token_may_die_before_the_time_that_its_answer_says() {
    let mut desk = stormy_desk();
    let body = desk.post(TOKEN, &token_body());
    assert_eq!(body["data"]["expires_in"], 7_200);
    desk.token = body["data"]["access_token"].as_str().expect("a token").to_owned();
    let key = json!({ "app_id": APP, "out_settle_no": "s1" });
    desk.now_ms += 7_199_000;
    assert_eq!(desk.post(QUERY, &key)["err_no"], 28_001_008);
}

#[test]
fn the_weather_can_change_while_it_runs() {
    let mut desk = Desk::new();
    desk.core.set_faults_per_10_000(10_000);
    let reply = desk.send(CREATE, good_create("s1", "o1").to_string());
    let fine = matches!(&reply, Reply::Answer(answer) if json_of(answer)["err_no"] == 0);
    assert!(!fine, "{reply:?}");
    desk.core.set_faults_per_10_000(0);
    assert_eq!(desk.create_err_no(&good_create("s2", "o2")), 0);
}

#[test]
fn a_replay_of_a_seed_treats_every_request_alike() {
    let run = || {
        let config =
            SimConfig { faults_per_10_000: 4_000, choices: Choices::from_seed(11), ..config() };
        let mut core = Core::new(&config);
        let mut log = Vec::new();
        for n in 0..200 {
            let now_ms = super::START_MS + n * 1_000;
            let body = if n % 3 == 0 { token_body() } else { good_create("s1", "o1") };
            let path = if n % 3 == 0 { TOKEN } else { CREATE };
            let token = crate::ids::token(7, APP, 0);
            let reply = core.handle(now_ms, request(path, &token, body.to_string().into()));
            log.push(format!("{reply:?}"));
        }
        log
    };
    assert_eq!(run(), run());
}
