//! Due rows: claims, leases, fences, and the moments in between.

use std::time::Duration;

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{Claim, ClaimLimits, Fence, NewDue, Store, Swap, Swapped};

async fn due(store: &Store, number: &str, due_at: crate::clock::Timestamp) -> Record {
    let mut record = submitted(key(number));
    record.evidence = Evidence::default();
    insert(store, &record, due_then(due_at)).await;
    record
}

pub(super) async fn an_insert_leaves_exactly_the_due_row_it_asked_for(subject: Subject) {
    let store = &subject.store;
    let succeeded = State::Succeeded { settle_id: settle_id("ots1") };
    insert(store, &adopted(key("none"), succeeded), NewDue::None).await;
    insert(store, &submitted(key("at")), due_then(after_ms(30))).await;
    insert(store, &submitted(key("leased")), leased_until(after_ms(20))).await;
    assert_eq!(due_at(store, &key("none")).await, Ok(None));
    assert_eq!(due_at(store, &key("at")).await, Ok(Some(after_ms(30))));
    assert_eq!(due_at(store, &key("leased")).await, Ok(Some(after_ms(20))));
    assert_eq!(claim(store, after_ms(19)).await, []);
    let claims = claim(store, after_ms(30)).await;
    assert_eq!(numbers(&claims), ["leased", "at"]);
    assert_eq!((claims[0].fence, claims[1].fence), (Fence(2), Fence(1)));
    assert_eq!((claims[0].attempts, claims[0].backoff), (0, 0));
}

pub(super) async fn claims_take_the_longest_due_first_up_to_the_limit(subject: Subject) {
    let store = &subject.store;
    for (number, ms) in [("c", 3), ("a", 1), ("e", 5), ("b", 2), ("d", 4)] {
        due(store, number, after_ms(ms)).await;
    }
    let claim = async |now, claims_max| {
        at(store, now, store.claim_due(&app("tt01"), claims(claims_max))).await.unwrap()
    };
    assert_eq!(claim(after_ms(4), 0).await, []);
    assert_eq!(numbers(&claim(after_ms(4), 2).await), ["a", "b"]);
    assert_eq!(numbers(&claim(after_ms(4), 9).await), ["c", "d"]);
    assert_eq!(numbers(&claim(after_ms(5), 9).await), ["e"]);
}

pub(super) async fn one_settle_can_be_claimed_before_it_is_due(subject: Subject) {
    let store = &subject.store;
    let minute = Duration::from_secs(60);
    due(store, "1", after_ms(90_000)).await;
    let first = store.claim(&key("1"), minute).await.unwrap().unwrap();
    assert_eq!((first.key, first.fence), (key("1"), Fence(1)));
    assert_eq!(store.claim(&key("1"), minute).await, Ok(None), "it is held");
    let then = after_ms(60_000);
    let second = at(store, then, store.claim(&key("1"), minute)).await.unwrap().unwrap();
    assert_eq!(second.fence, Fence(2));
    assert_eq!(store.release(&key("1"), Fence(1), rest_until(NOW)).await, Ok(false));
    assert_eq!(store.claim(&key("none"), minute).await, Ok(None));
    insert(
        store,
        &adopted(key("final"), State::Succeeded { settle_id: settle_id("o") }),
        NewDue::None,
    )
    .await;
    assert_eq!(store.claim(&key("final"), minute).await, Ok(None), "it has no due row");
}

pub(super) async fn a_lease_keeps_others_out_until_it_ends(subject: Subject) {
    let store = &subject.store;
    due(store, "1", NOW).await;
    let mut now = NOW;
    for fence in 1..4 {
        let claims = claim(store, now).await;
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].fence, Fence(fence));
        let lease_until = now.plus(Duration::from_secs(60));
        assert_eq!(claim(store, lease_until.minus(Duration::from_millis(1))).await, []);
        now = lease_until;
    }
}

pub(super) async fn claims_stay_within_their_app(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key_of("tt02", "1")), due_now()).await;
    assert_eq!(claim(store, NOW).await, []);
    assert_eq!(next_due(store, &app("tt01")).await, Ok(None));
    assert_eq!(next_due(store, &app("tt02")).await, Ok(Some(NOW)));
    let claims = store.claim_due(&app("tt02"), claims(9)).await.unwrap();
    assert_eq!(claims[0].key, key_of("tt02", "1"));
}

pub(super) async fn what_lies_beyond_the_horizon_is_due(subject: Subject) {
    let store = &subject.store;
    let (lease, wait_max) = (Duration::from_millis(10), Duration::from_millis(1_000));
    let limits = ClaimLimits { lease, claims_max: 9, wait_max };
    due(store, "at-horizon", after_ms(1_000)).await;
    due(store, "beyond", after_ms(1_001)).await;
    due(store, "now", NOW).await;
    let first = store.claim_due(&app("tt01"), limits).await.unwrap();
    assert_eq!(numbers(&first), ["now", "beyond"]);
    // Their leases run, and end.
    assert_eq!(store.claim_due(&app("tt01"), limits).await, Ok(Vec::new()));

    // A lease from a clock that was ahead keeps no worker out, whether due before or after.
    let ahead = ClaimLimits { lease: Duration::from_millis(1_990), ..claims(9) };
    let jumped = at(store, after_ms(10), store.claim_due(&app("tt01"), ahead)).await.unwrap();
    assert_eq!(numbers(&jumped), ["now"]);
    let again = store.claim_due(&app("tt01"), limits).await.unwrap();
    assert_eq!(numbers(&again), ["now"]);
    assert_eq!(again[0].fence, Fence(3));
}

pub(super) async fn concurrent_claims_share_no_row(subject: Subject) {
    for number in 0..50 {
        due(&subject.store, &format!("n{number}"), NOW).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let store = subject.store.clone();
        workers.spawn(async move { store.claim_due(&app("tt01"), claims(7)).await.unwrap() });
    }
    let claims: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let mut keys = numbers(&claims);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((claims.len(), keys.len()), (50, 50));
    assert!(claims.iter().all(|claim| claim.fence == FIRST_FENCE));
}

pub(super) async fn only_the_holder_releases_and_only_once(subject: Subject) {
    let store = &subject.store;
    let record = due(store, "1", NOW).await;
    let fence = claim(store, NOW).await[0].fence;
    let release = async |fence| store.release(&record.key, fence, rest_until(after_ms(5))).await;
    assert_eq!(release(Fence(fence.0 - 1)).await, Ok(false));
    assert_eq!(release(Fence(fence.0 + 1)).await, Ok(false));
    assert_eq!(due_at(store, &record.key).await, Ok(Some(NOW)));
    assert_eq!(release(fence).await, Ok(true));
    assert_eq!(release(fence).await, Ok(false));
    assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(5))));
    let scheduled = store.scheduled(&record.key).await.unwrap().unwrap();
    assert_eq!(scheduled.attempts, 4);
    let claims = claim(store, after_ms(5)).await;
    assert_eq!((claims[0].attempts, claims[0].backoff), (4, 2));
    assert!(claims[0].fence > fence);
}

pub(super) async fn only_the_holder_removes_the_due_row(subject: Subject) {
    let store = &subject.store;
    let record = due(store, "1", NOW).await;
    assert_eq!(store.remove_due(&record.key, Fence(0)).await, Ok(false));
    let fence = claim(store, NOW).await[0].fence;
    assert_eq!(store.remove_due(&record.key, Fence(fence.0 + 1)).await, Ok(false));
    assert_eq!(due_at(store, &record.key).await, Ok(Some(NOW)));
    assert_eq!(store.remove_due(&record.key, fence).await, Ok(true));
    assert_eq!(store.remove_due(&record.key, fence).await, Ok(false));
    assert_eq!(due_at(store, &record.key).await, Ok(None));
    assert_eq!(store.get(&record.key).await, Ok(Some(record)));
}

/// An operator decided, or a caller asked, while a worker held the lease: what the worker knows is
/// older than that.
pub(super) async fn a_wish_outlives_the_removal_of_the_row_while_a_query_is_owed(subject: Subject) {
    let store = &subject.store;
    let state = State::Succeeded { settle_id: settle_id("ots1") };
    let told = adopted(key("told"), state);
    let mut untold = adopted(key("untold"), State::Succeeded { settle_id: settle_id("ots2") });
    untold.facts.settle_status = None;
    for record in [&told, &untold] {
        insert(store, record, due_now()).await;
    }
    let wished = not_later(after_ms(30));
    let remove = async |record: &Record, fence, by_swap: bool| {
        if by_swap {
            let (due, lease) = (Due::Remove, under(fence));
            let swap = Swap { due, lease, ..fact(next(record, |_| {})) };
            assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        } else {
            assert_eq!(store.remove_due(&record.key, fence).await, Ok(true));
        }
    };
    for by_swap in [false, true] {
        let claims = claim(store, NOW).await;
        for record in [&told, &untold] {
            let record = store.get(&record.key).await.unwrap().unwrap();
            let fence = claims.iter().find(|claim| claim.key == record.key).unwrap().fence;
            let wish = next(&record, |_| {});
            let swap = Swap { due: wished, ..fact(wish.clone()) };
            assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
            remove(&wish, fence, by_swap).await;
        }
        assert_eq!(due_at(store, &told.key).await, Ok(None));
        assert_eq!(due_at(store, &untold.key).await, Ok(Some(after_ms(30))));
        // The next worker looks after the wish, and is done.
        let next_one = claim(store, after_ms(30)).await;
        assert_eq!(numbers(&next_one), ["untold"]);
        let record = store.get(&untold.key).await.unwrap().unwrap();
        remove(&record, next_one[0].fence, by_swap).await;
        assert_eq!(due_at(store, &untold.key).await, Ok(None));
        for key in [&told.key, &untold.key] {
            let record = store.get(key).await.unwrap().unwrap();
            let swap = Swap { due: not_later(NOW), ..fact(next(&record, |_| {})) };
            assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        }
    }
}

pub(super) async fn next_due_is_the_earliest_moment_of_a_claim(subject: Subject) {
    let store = &subject.store;
    let next_due = async || next_due(store, &app("tt01")).await.unwrap();
    insert(store, &submitted(key("leased")), leased_until(after_ms(50))).await;
    assert_eq!(next_due().await, Some(after_ms(50)));
    due(store, "early", after_ms(10)).await;
    due(store, "late", after_ms(90_000)).await;
    assert_eq!(next_due().await, Some(after_ms(10)));
    // While "early" is leased for a minute, the lease that ends first is next.
    assert_eq!(numbers(&claim(store, after_ms(10)).await), ["early"]);
    assert_eq!(next_due().await, Some(after_ms(50)));
    assert_eq!(numbers(&claim(store, after_ms(50)).await), ["leased"]);
    assert_eq!(next_due().await, Some(after_ms(60_010)));
}

/// Since it was due, or since the lease of a worker that did not come back.
pub(super) async fn a_claim_tells_how_late_it_is_and_what_is_due_is_counted(subject: Subject) {
    let store = &subject.store;
    due(store, "1", after_ms(1_000)).await;
    due(store, "2", after_ms(3_000)).await;
    due(store, "3", after_ms(9_000)).await;
    insert(store, &submitted(key_of("tt02", "1")), due_now()).await;
    let counted = async |now, rows_max| at(store, now, store.due(&app("tt01"), rows_max)).await;
    assert_eq!(counted(after_ms(999), 10).await, Ok(0));
    assert_eq!(counted(after_ms(3_500), 10).await, Ok(2));
    assert_eq!(counted(after_ms(3_500), 1).await, Ok(1), "no further than asked for");
    let late = |claims: Vec<Claim>| claims.iter().map(|claim| claim.late).collect::<Vec<_>>();
    let ms = Duration::from_millis;
    assert_eq!(late(claim(store, after_ms(3_500)).await), [ms(2_500), ms(500)]);
    assert_eq!(counted(after_ms(3_600), 10).await, Ok(0), "both are held");
    let ended = after_ms(63_500);
    assert_eq!(counted(ended, 10).await, Ok(3));
    let claims = at(store, ended.plus(ms(7)), store.claim_due(&app("tt01"), claims(9))).await;
    assert_eq!(late(claims.unwrap()), [ms(7), ms(7), ms(54_507)]);
}

pub(super) async fn a_nudge_brings_forward_but_keeps_the_gap(subject: Subject) {
    let store = &subject.store;
    let nudge = async |number: &str, at| {
        nudge(store, &key(number), at, Duration::from_secs(2)).await.unwrap()
    };
    // Never attempted, so there is no gap to keep.
    due(store, "fresh", after_ms(60_000)).await;
    assert_eq!(nudge("fresh", after_ms(1)).await, Some(after_ms(1)));
    assert_eq!(due_at(store, &key("fresh")).await, Ok(Some(after_ms(1))));

    // The insert permitted a send, which counts as an attempt.
    insert(store, &submitted(key("sent")), leased_until(after_ms(60_000))).await;
    assert_eq!(nudge("sent", after_ms(1)).await, Some(after_ms(2_000)));
    assert_eq!(nudge("sent", after_ms(1)).await, Some(after_ms(2_000)));
    assert_eq!(due_at(store, &key("sent")).await, Ok(Some(after_ms(2_000))));
    // Brought forward, it is still leased.
    assert_eq!(numbers(&claim(store, after_ms(2_000)).await), ["fresh"]);
}

pub(super) async fn a_nudge_never_postpones(subject: Subject) {
    let store = &subject.store;
    due(store, "1", after_ms(5)).await;
    let nudged = nudge(store, &key("1"), after_ms(900), Duration::ZERO).await;
    assert_eq!(nudged, Ok(Some(after_ms(5))));
    assert_eq!(due_at(store, &key("1")).await, Ok(Some(after_ms(5))));
}

pub(super) async fn a_nudge_while_a_lease_runs_is_heard_when_it_is_given_back(subject: Subject) {
    let store = &subject.store;
    let nudge = async |at| nudge(store, &key("1"), at, Duration::ZERO).await.unwrap();
    // What the holder leaves, what is asked for meanwhile, and when the row is due then.
    let wakes = [
        (900, &[500][..], 500),
        (900, &[500, 700, 300, 400], 300),
        (900, &[950], 900),
        (900, &[], 900),
        (50, &[60], 50),
    ];
    let record = due(store, "1", NOW).await;
    for (left, wanted, due) in wakes {
        let fence = claim(store, after_ms(10_000)).await[0].fence;
        for wanted in wanted {
            assert!(nudge(after_ms(*wanted)).await.is_some());
        }
        assert_eq!(claim(store, after_ms(1_000)).await, [], "it takes no lease away");
        let release = rest_until(after_ms(left));
        assert_eq!(store.release(&record.key, fence, release).await, Ok(true));
        assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(due))), "{wanted:?}");
        assert_eq!(next_due(store, &app("tt01")).await, Ok(Some(after_ms(due))));
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    }
}

pub(super) async fn a_nudge_while_a_lease_runs_keeps_the_gap(subject: Subject) {
    let store = &subject.store;
    let record = due(store, "1", NOW).await;
    let fence = claim(store, NOW).await[0].fence;
    // `rest_until` says that the attempt was made NOW.
    let release = rest_until(after_ms(100));
    assert_eq!(store.release(&record.key, fence, release).await, Ok(true));
    let fence = claim(store, after_ms(100)).await[0].fence;
    let nudged = nudge(store, &record.key, after_ms(200), Duration::from_secs(2)).await;
    assert!(nudged.unwrap().is_some());
    let release = rest_until(after_ms(60_000));
    assert_eq!(store.release(&record.key, fence, release).await, Ok(true));
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(2_000))));
}

pub(super) async fn a_wish_is_heard_once_by_the_worker_that_looks_next(subject: Subject) {
    let store = &subject.store;
    let record = due(store, "1", NOW).await;
    let release = async |fence, ms| {
        store.release(&record.key, fence, rest_until(after_ms(ms))).await.unwrap()
    };
    let nudge = async || nudge(store, &record.key, after_ms(5), Duration::ZERO).await.unwrap();
    let fence = claim(store, after_ms(10)).await[0].fence;
    nudge().await;
    assert!(release(fence, 900).await);
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(5))));
    // The next holder looks after that, so what it leaves counts.
    let fence = claim(store, after_ms(10)).await[0].fence;
    assert!(release(fence, 900).await);
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(900))));
    // So does one that takes over from a holder that never came back.
    let lost = claim(store, after_ms(900)).await[0].clone();
    nudge().await;
    let lease_until = after_ms(900).plus(Duration::from_secs(60));
    let fence = claim(store, lease_until).await[0].fence;
    assert!(!release(lost.fence, 1_000).await);
    assert!(release(fence, 70_000).await);
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(70_000))));
}
