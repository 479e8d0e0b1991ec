//! What goes wrong with callbacks: each fault on the core, those of the wire over HTTP, and the
//! seeded ones in all habits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::callback_core::{URL, answer, desk, due, ended, good};
use super::callbacks::{create, start, until_acknowledged, until_tried};
use super::receiver::verified;
use super::{APP, Desk, config, good_create};
use crate::weather::Weather;
use crate::{
    CallbackAnswer, CallbackScript, Choices, Delivery, Ladder, Outcome, SimConfig, Snapshot,
};

/// A settle that has ended, whose callback gets these scripts one after the other.
fn scripted(scripts: Vec<CallbackScript>) -> (Desk, Vec<Delivery>) {
    let mut desk = desk();
    desk.core.outbox.scripts.queue("s1", scripts);
    let deliveries = ended(&mut desk, "s1", "o1");
    (desk, deliveries)
}

fn is_signed(desk: &Desk, delivery: &Delivery) -> bool {
    let public_pem = desk.core.outbox.key(&delivery.app_id).public_pem();
    let [timestamp, nonce, signature] = ["byte-timestamp", "byte-nonce-str", "byte-signature"]
        .map(|name| delivery.headers[name].to_str().expect("ASCII"));
    verified(&public_pem, timestamp, nonce, &delivery.body, signature)
}

#[test]
fn a_lost_one_never_arrives_and_is_sent_again() {
    let (mut desk, deliveries) = scripted(vec![CallbackScript::Lose]);
    assert_eq!(deliveries.len(), 0);
    // The deadline, and the first rung.
    desk.now_ms += 5_000 + 12_000 - 1;
    assert_eq!(due(&mut desk).len(), 0);
    desk.now_ms += 1;
    let delivery = due(&mut desk).remove(0);
    assert_eq!(delivery.attempt, 2);
    answer(&mut desk, &delivery, &good());
    let callback = desk.core.snapshot().callbacks[0].clone();
    assert!(callback.is_acknowledged());
    assert_eq!(
        (callback.attempts[0].fault.as_str(), callback.attempts[0].statuses.len()),
        ("lose", 0)
    );
}

#[test]
fn a_lost_answer_does_not_reach_the_platform() {
    let (mut desk, deliveries) = scripted(vec![CallbackScript::LoseAnswer]);
    answer(&mut desk, &deliveries[0], &good());
    let callback = desk.core.snapshot().callbacks[0].clone();
    assert_eq!((callback.is_over(), &callback.attempts[0].statuses), (false, &vec![200]));
    desk.now_ms += 17_000;
    let again = due(&mut desk).remove(0);
    assert_eq!(again.body, deliveries[0].body);
}

#[test]
fn a_doubled_one_is_the_same_twice_and_one_good_answer_is_enough() {
    for (first, second) in [(good(), CallbackAnswer::TimedOut), (CallbackAnswer::TimedOut, good())]
    {
        let (mut desk, deliveries) = scripted(vec![CallbackScript::Twice]);
        assert_eq!(deliveries.len(), 2);
        let [one, two] = [&deliveries[0], &deliveries[1]];
        assert_eq!((&one.headers, &one.body, one.attempt), (&two.headers, &two.body, two.attempt));
        assert_ne!(one.id, two.id);
        answer(&mut desk, one, &first);
        answer(&mut desk, two, &second);
        assert!(desk.core.snapshot().callbacks[0].is_acknowledged());
        assert_eq!(desk.core.next_event_at_ms(), None);
    }
    let (mut desk, deliveries) = scripted(vec![CallbackScript::Twice]);
    for delivery in &deliveries {
        answer(&mut desk, delivery, &CallbackAnswer::TimedOut);
    }
    desk.now_ms += 12_000;
    assert_eq!(due(&mut desk).len(), 1, "one failure, one retry");
}

#[test]
fn a_late_one_arrives_when_the_platform_has_given_it_up() {
    let (mut desk, deliveries) = scripted(vec![CallbackScript::Wander(60_000)]);
    assert_eq!(deliveries.len(), 0);
    desk.now_ms += 17_000;
    let retry = due(&mut desk).remove(0);
    answer(&mut desk, &retry, &good());
    desk.now_ms += 43_000;
    let late = due(&mut desk).remove(0);
    assert_eq!((late.attempt, retry.attempt), (1, 2));
    assert!(is_signed(&desk, &late));
    let before = desk.core.snapshot().callbacks[0].clone();
    answer(&mut desk, &late, &CallbackAnswer::Answered { status: 500, body: "".into() });
    let after = desk.core.snapshot().callbacks[0].clone();
    assert_eq!((after.state, after.attempts[0].statuses.as_slice()), (before.state, &[500][..]));
    assert_eq!(desk.core.next_event_at_ms(), None);
}

#[test]
fn an_overtaken_one_follows_the_next_one_of_its_app() {
    let mut desk = desk();
    desk.core.outbox.scripts.queue("s1", vec![CallbackScript::Behind]);
    assert_eq!(ended(&mut desk, "s1", "o1").len(), 0);
    let other = ended(&mut desk, "s2", "o2");
    assert_eq!(other.len(), 1);
    assert_eq!(due(&mut desk).len(), 0, "the other one is not there yet");
    answer(&mut desk, &other[0], &CallbackAnswer::TimedOut);
    let overtaken = due(&mut desk).remove(0);
    assert_eq!((overtaken.callback, other[0].callback), (1, 2));
    // Its own failure brings no retry forward.
    answer(&mut desk, &overtaken, &CallbackAnswer::TimedOut);
    assert_eq!(due(&mut desk).len(), 0);
}

#[test]
fn an_overtaken_one_goes_by_itself_when_no_other_one_comes() {
    let (mut desk, deliveries) = scripted(vec![CallbackScript::Behind]);
    assert_eq!(deliveries.len(), 0);
    desk.now_ms += 9_999;
    assert_eq!(due(&mut desk).len(), 0);
    desk.now_ms += 1;
    let delivery = due(&mut desk).remove(0);
    answer(&mut desk, &delivery, &CallbackAnswer::TimedOut);
    // What it waited for has ended, so another callback's answer does not bring its retry forward.
    let other = ended(&mut desk, "s2", "o2");
    answer(&mut desk, &other[0], &good());
    assert_eq!(due(&mut desk).len(), 0);
}

#[test]
fn a_delayed_one_begins_later_and_then_meets_the_rest() {
    let (mut desk, deliveries) =
        scripted(vec![CallbackScript::delay(3_000, CallbackScript::Truncate)]);
    assert_eq!(deliveries.len(), 0);
    desk.now_ms += 3_000;
    let delivery = due(&mut desk).remove(0);
    assert_eq!(delivery.attempt, 1);
    assert!(!is_signed(&desk, &delivery));
}

#[test]
fn a_wrong_signature_and_a_truncated_body_do_not_verify() {
    for (script, cut) in [(CallbackScript::WrongSignature, false), (CallbackScript::Truncate, true)]
    {
        let (mut desk, deliveries) = scripted(vec![script]);
        let bad = &deliveries[0];
        assert!(!is_signed(&desk, bad));
        let refused = CallbackAnswer::Answered { status: 401, body: "no".into() };
        answer(&mut desk, bad, &refused);
        desk.now_ms += 12_000;
        let whole = due(&mut desk).remove(0);
        assert!(is_signed(&desk, &whole));
        assert_eq!(bad.body.len() < whole.body.len(), cut);
        let outcome = desk.core.snapshot().callbacks[0].attempts[0].outcome.clone();
        assert_eq!(outcome, Outcome::Refused { status: 401, text: "no".to_owned() });
    }
}

#[test]
fn one_that_is_never_sent_is_given_up() {
    let (desk, deliveries) = scripted(vec![CallbackScript::Never]);
    let callback = desk.core.snapshot().callbacks[0].clone();
    assert_eq!((deliveries.len(), callback.attempts.len(), callback.is_over()), (0, 0, true));
    assert_eq!(desk.core.next_event_at_ms(), None);
}

#[tokio::test]
async fn a_cut_one_promises_more_than_it_brings() {
    let (client, receiver) = start().await;
    client.sim.script_callback("s1", vec![CallbackScript::Cut]);
    create(&client, "s1", "o1").await;
    client.sim.advance(Duration::from_secs(2));
    until_tried(&client, "s1", 1).await;
    client.sim.advance(Duration::from_secs(12));
    until_acknowledged(&client, "s1").await;
    let got = receiver.wait_for(2).await;
    assert_eq!((got[0].whole, got[1].whole), (false, true));
    assert_eq!(got[0].body, got[1].body[..got[1].body.len() / 2]);
    client.sim.stop().await;
}

#[test]
fn a_storm_has_every_kind_of_fault() {
    let config = SimConfig { faults_per_10_000: 10_000, ..config() };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for nth in 0..2_000 {
        let fault = Weather::new(&config).callback_fault("ots1", "SUCCESS", nth);
        let text = fault.expect("a storm misses no attempt").to_string();
        *kinds.entry(text.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let expected = [
        "behind",
        "cut",
        "delay",
        "lose",
        "lose-answer",
        "truncate",
        "twice",
        "wander",
        "wrong-signature",
    ];
    assert!(kinds.keys().map(String::as_str).eq(expected), "{kinds:?}");
    assert!(kinds.values().all(|times| *times > 100), "{kinds:?}");
    let fair = Weather::new(&SimConfig { faults_per_10_000: 0, ..config });
    assert!((0..1_000).all(|nth| fair.callback_fault("ots1", "SUCCESS", nth).is_none()));
}

/// Ten settles, of which some fail, with the choices and the weather of a seed, told to a receiver
/// that accepts what is signed. Ends when nothing happens by itself any more.
fn run(seed: u64, faults_per_10_000: u32, choices: Choices) -> (Snapshot, Vec<Delivery>) {
    let mut config = SimConfig { seed, faults_per_10_000, choices, ..config() };
    config.apps[0].callback_url = Some(URL.to_owned());
    let mut desk = Desk::with(&SimConfig { faults_per_10_000: 0, ..config.clone() });
    for n in 0..10 {
        let order = if n % 3 == 0 { format!("sim-fail-{n}") } else { format!("o{n}") };
        desk.create(&good_create(&format!("s{n}"), &order));
    }
    desk.core.set_faults_per_10_000(faults_per_10_000);
    let mut all = Vec::new();
    while let Some(at_ms) = desk.core.next_event_at_ms() {
        desk.now_ms = desk.now_ms.max(at_ms);
        for delivery in due(&mut desk) {
            let reply = if delivery.cut {
                CallbackAnswer::Broken("half a body".to_owned())
            } else if is_signed(&desk, &delivery) {
                good()
            } else {
                CallbackAnswer::Answered { status: 401, body: "{}".into() }
            };
            answer(&mut desk, &delivery, &reply);
            all.push(delivery);
        }
    }
    (desk.core.snapshot(), all)
}

#[test]
fn in_any_habits_and_weather_every_callback_comes_to_an_end_and_most_arrive() {
    let (mut acknowledged, mut total) = (0, 0);
    for seed in 0..20 {
        let choices = Choices::from_seed(seed);
        let ladder = choices.callback_ladder;
        let (books, deliveries) = run(seed, 4_000, choices);
        assert!(books.callbacks.len() >= 10, "seed {seed}");
        assert_eq!(books.callbacks_turned_away, 0);
        let ids: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.id).collect();
        assert_eq!(ids.len(), deliveries.len(), "seed {seed}: an id is used once");
        for callback in &books.callbacks {
            assert!(callback.is_over(), "seed {seed}: {callback:?}");
            assert!(callback.attempts.len() <= 21, "seed {seed}: {callback:?}");
            assert!(callback.attempts.iter().all(|one| one.outcome != Outcome::Pending));
            acknowledged += usize::from(callback.is_acknowledged());
            total += 1;
            // Ten attempts in a row with a fault that keeps them from arriving are rare.
            assert!(callback.is_acknowledged() || ladder == Ladder::Once, "seed {seed}");
        }
    }
    assert!(acknowledged * 10 > total * 8 && acknowledged < total, "{acknowledged} of {total}");
}

#[test]
fn a_replay_of_a_seed_sends_the_same_bytes_at_the_same_times() {
    let log = |seed| -> Vec<String> {
        let (books, deliveries) = run(seed, 4_000, Choices::from_seed(seed));
        let sent = deliveries.iter().map(|one| format!("{one:?}"));
        sent.chain(books.callbacks.iter().map(|callback| format!("{callback:?}"))).collect()
    };
    let seed = 11;
    assert_eq!(log(seed), log(seed));
    assert_ne!(log(seed), log(seed + 1));
}

#[test]
fn an_unknown_app_signs_with_the_simulators_own_key() {
    let (desk, deliveries) = scripted(Vec::new());
    assert!(is_signed(&desk, &deliveries[0]));
    assert_eq!(desk.core.outbox.key("ttnone").public_pem(), desk.core.outbox.key(APP).public_pem());
}
