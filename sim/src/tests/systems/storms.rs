//! Drawn choices and faults in each system: whatever happens, the books are right.

use super::{Developer, SETTLING};
use crate::tests::callback_core::{answer, good};
use crate::tests::{config, json_of};
use crate::{
    Answer, CallbackAnswer, Choices, NumberFate, Reply, SimConfig, Snapshot, Status, System,
};

/// The id that an answer gives to an accepted settle, whatever is around it.
fn accepted(answer: &Answer) -> Option<String> {
    let body =
        serde_json::from_slice::<serde_json::Value>(&answer.body).ok().map(|_| json_of(answer))?;
    let id = body["data"]["settle_id"].as_str().or(body["settle_no"].as_str())?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Several tries of each of some numbers, two of which are of one order, and then everything that
/// still happens by itself.
fn run(system: System, seed: u64) -> (Snapshot, Vec<String>) {
    let mut choices = Choices::from_seed(seed);
    choices.number_after_fail =
        if seed.is_multiple_of(2) { NumberFate::Free } else { NumberFate::Burned };
    let config = SimConfig { seed, choices, ..config() };
    let mut developer = Developer::with(system, config);
    developer.desk.core.set_faults_per_10_000(4_000);
    let mut named = Vec::new();
    for n in 0..40 {
        let order = ["o0", "o0", "sim-fail-1", "o2", "sim-lost-1"][n % 5];
        let body = developer.body(&format!("s{}", n % 5), order);
        let mut reply = developer.send(developer.create_path(), body);
        while let Reply::Wait { delay_ms, then } = reply {
            developer.desk.now_ms += delay_ms;
            reply = developer.desk.core.resume(developer.desk.now_ms, *then);
        }
        if let Reply::Answer(answer) = reply {
            named.extend(accepted(&answer));
        }
        developer.desk.now_ms += 700;
    }
    while let Some(at_ms) = developer.desk.core.next_event_at_ms() {
        developer.desk.now_ms = developer.desk.now_ms.max(at_ms);
        for delivery in developer.callbacks() {
            let genuine = super::callbacks::is_genuine(system, &delivery.headers, &delivery.body);
            let said = if genuine && !delivery.cut { good() } else { CallbackAnswer::TimedOut };
            answer(&mut developer.desk, &delivery, &said);
        }
    }
    (developer.desk.core.snapshot(), named)
}

#[test]
fn the_books_are_right_in_any_weather() {
    let mut repeats = 0;
    for system in SETTLING {
        for seed in 0..12 {
            let (books, named) = run(system, seed);
            let held = |settle: &&&crate::AppliedSettle| settle.status != Status::Fail;
            for n in 0..5 {
                let under = books.under(&format!("s{n}"));
                let once = seed % 2 == 1 || system == System::Guaranteed;
                assert!(under.len() <= 1 || !once, "{system:?} {seed}: {under:?}");
                assert!(under.iter().filter(held).count() <= 1, "{system:?} {seed}: {under:?}");
                repeats += usize::from(books.sends_in(system, &format!("s{n}")) > 1);
            }
            for order in ["o0", "sim-fail-1", "o2", "sim-lost-1"] {
                let of = books.settles.iter().filter(|settle| settle.out_order_no == order);
                let fen: i64 =
                    of.filter(|one| one.status != Status::Fail).map(|s| s.amount_fen).sum();
                assert!(fen <= 100_000, "{system:?} {seed} {order}: {fen}");
            }
            // No answer names a settle that is not there.
            for id in &named {
                let found = books.settles.iter().any(|settle| settle.settle_id == *id);
                assert!(found, "{system:?} {seed}: {id}");
            }
            assert!(books.settles.iter().all(|settle| settle.system == system));
            assert!(books.callbacks.iter().all(|one| one.is_over() && one.system == system));
            assert!(!named.is_empty() && !books.callbacks.is_empty(), "{system:?} {seed}");
        }
    }
    assert_eq!(repeats, 4 * 12 * 5);
}

#[test]
fn a_seed_is_the_same_again_in_every_system() {
    for system in SETTLING {
        let ((one, named), (two, again)) = (run(system, 3), run(system, 3));
        assert_eq!((one.settles, one.callbacks, named), (two.settles, two.callbacks, again));
    }
}
