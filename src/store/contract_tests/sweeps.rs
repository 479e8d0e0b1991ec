//! The schedule compared with the settles: what is open, what is missing, what is not needed.

use std::time::Duration;

use super::Subject;
use super::fixtures::*;
use crate::clock::Timestamp;
use crate::settle::*;
use crate::store::{NewDue, Store, Swap, Swapped, SweepCursor};

fn succeeded(number: &str) -> Record {
    adopted(key(number), State::Succeeded { settle_id: settle_id(&format!("ots-{number}")) })
}

fn disputed(number: &str) -> Record {
    let contradiction = Contradiction {
        claimed: StateKind::Failed,
        settle_id: settle_id(&format!("ots-{number}")),
        source: Source::Callback,
        time: NOW,
        resolved: None,
    };
    Record { contradiction: Some(contradiction), ..succeeded(number) }
}

/// One round in steps of `rows_max`: how many due rows were missing, how many superfluous.
async fn sweep(store: &Store, now: Timestamp, rows_max: u32) -> (u32, u32) {
    let (mut cursor, mut total) = (SweepCursor::default(), (0, 0));
    loop {
        let swept = at(store, now, store.sweep(cursor, rows_max)).await.unwrap();
        assert!(swept.missing + swept.superfluous <= rows_max, "{swept:?}");
        total = (total.0 + swept.missing, total.1 + swept.superfluous);
        if swept.wrapped {
            assert_eq!(swept.next, SweepCursor::default());
            return total;
        }
        cursor = swept.next;
    }
}

pub(super) async fn a_settle_that_is_not_final_and_has_no_due_row_is_due_now(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key("never")), NewDue::None).await;
    let processing = State::Processing { settle_id: settle_id("ots1") };
    insert(store, &adopted(key("removed"), processing), due_now()).await;
    let fence = claim(store, NOW).await[0].fence;
    assert_eq!(store.remove_due(&key("removed"), fence).await, Ok(true));
    assert_eq!(claim(store, after_ms(9_999)).await, []);

    assert_eq!(sweep(store, after_ms(5), 100).await, (2, 0));
    for number in ["never", "removed"] {
        assert_eq!(due_at(store, &key(number)).await, Ok(Some(after_ms(5))));
    }
    let claims = claim(store, after_ms(5)).await;
    assert_eq!(claims.len(), 2);
    let again = claims.iter().find(|claim| claim.key == key("removed")).unwrap();
    assert!(again.fence > fence, "an old lease must not come to life again");
    assert_eq!(sweep(store, after_ms(6), 100).await, (0, 0));
}

pub(super) async fn a_due_row_of_a_final_settle_is_removed(subject: Subject) {
    let store = &subject.store;
    insert(store, &succeeded("1"), due_then(after_ms(60_000))).await;
    insert(store, &succeeded("2"), due_then(before_ms(1))).await;
    insert(store, &succeeded("3"), leased_until(NOW)).await;
    assert_eq!(sweep(store, NOW, 100).await, (0, 3));
    for number in ["1", "2", "3"] {
        assert_eq!(due_at(store, &key(number)).await, Ok(None));
    }
    assert_eq!(sweep(store, NOW, 100).await, (0, 0));
    // If the settle lives again, no fence is given twice.
    let revived = next(&succeeded("3"), |record| {
        record.state = State::Processing { settle_id: settle_id("ots-3") };
    });
    let swap = Swap { due: not_later(NOW), ..fact(revived) };
    assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    assert!(claim(store, NOW).await[0].fence > FIRST_FENCE);
}

pub(super) async fn what_fits_together_is_left_alone(subject: Subject) {
    let store = &subject.store;
    insert(store, &submitted(key("due")), due_then(after_ms(1))).await;
    insert(store, &submitted(key("leased")), leased_until(after_ms(2))).await;
    insert(store, &succeeded("final"), NewDue::None).await;
    insert(store, &disputed("to be asked"), due_then(after_ms(3))).await;
    insert(store, &disputed("asked"), NewDue::None).await;
    for now in [NOW, after_ms(1_000_000)] {
        assert_eq!(sweep(store, now, 100).await, (0, 0));
    }
    let due_at = async |number| due_at(store, &key(number)).await.unwrap();
    assert_eq!(due_at("due").await, Some(after_ms(1)));
    assert_eq!(due_at("leased").await, Some(after_ms(2)));
    assert_eq!(due_at("final").await, None);
    assert_eq!(due_at("to be asked").await, Some(after_ms(3)));
    assert_eq!(due_at("asked").await, None);
}

/// In every combination of what the answer depends on: the store's condition agrees with the
/// record's.
pub(super) async fn a_due_row_of_a_final_settle_stays_exactly_while_a_query_is_owed(
    subject: Subject,
) {
    let store = &subject.store;
    let contradiction = |resolved| {
        let claim = disputed("other").contradiction.unwrap();
        Some(Contradiction { resolved, ..claim })
    };
    let mut number = 0;
    for contradiction in [None, contradiction(None), contradiction(Some(NOW))] {
        for (ours, ordered, told, rejected) in
            (0..16).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0, bits & 8 > 0))
        {
            number += 1;
            let mut record = succeeded(&number.to_string());
            record.contradiction.clone_from(&contradiction);
            if ours {
                record.origin = Origin::Gateway(request());
            }
            if !ordered {
                record.facts.out_order_no = None;
            }
            if !told {
                record.facts.settle_status = None;
            }
            if rejected {
                record.state = State::Rejected { rejection: failure(23_112) };
            }
            insert(store, &record, due_now()).await;
            sweep(store, NOW, 100).await;
            let kept = due_at(store, &record.key).await.unwrap().is_some();
            assert_eq!(kept, record.owes_a_query(), "{record:?}");
        }
    }
}

pub(super) async fn a_sweep_leaves_a_lease_that_runs_to_its_holder(subject: Subject) {
    let store = &subject.store;
    insert(store, &succeeded("1"), leased_until(after_ms(10))).await;
    assert_eq!(sweep(store, after_ms(9), 100).await, (0, 0));
    assert_eq!(due_at(store, &key("1")).await, Ok(Some(after_ms(10))));
    assert_eq!(sweep(store, after_ms(10), 100).await, (0, 1));
    assert_eq!(due_at(store, &key("1")).await, Ok(None));
}

pub(super) async fn a_sweep_does_not_touch_what_it_cannot_read(subject: Subject) {
    let store = &subject.store;
    for column in ["state", "origin", "contradiction_source"] {
        let missing = key(&format!("missing {column}"));
        insert(store, &submitted(missing.clone()), NewDue::None).await;
        subject.overwrite(&missing, column, "FROM_THE_FUTURE").await;
        let superfluous = succeeded(&format!("superfluous {column}"));
        insert(store, &superfluous, due_now()).await;
        subject.overwrite(&superfluous.key, column, "FROM_THE_FUTURE").await;
        assert_eq!(sweep(store, NOW, 100).await, (0, 0), "{column}");
        assert_eq!(due_at(store, &missing).await, Ok(None), "{column}");
        assert_eq!(due_at(store, &superfluous.key).await, Ok(Some(NOW)), "{column}");
    }
}

pub(super) async fn a_round_comes_to_everything_whatever_its_steps(subject: Subject) {
    let store = &subject.store;
    assert_eq!(sweep(store, NOW, 1).await, (0, 0), "an empty store");
    for rows_max in [1, 2, 7, 1_000] {
        for number in 0..12 {
            let number = format!("{rows_max}-{number}");
            let mut settle = submitted(key_of(&format!("tt{}", number.len() % 3), &number));
            settle.create_time = before_ms(u64::from(rows_max));
            insert(store, &settle, NewDue::None).await;
            insert(store, &succeeded(&number), due_now()).await;
        }
        assert_eq!(sweep(store, NOW, rows_max).await, (12, 12), "by {rows_max}");
        assert_eq!(sweep(store, NOW, rows_max).await, (0, 0), "by {rows_max}");
    }
    // Without any rows it stays where it is.
    let idle = store.sweep(SweepCursor::default(), 0).await.unwrap();
    assert_eq!((idle.next, idle.wrapped), (SweepCursor::default(), false));
}

pub(super) async fn settles_that_are_not_final_are_counted_by_app(subject: Subject) {
    let store = &subject.store;
    assert_eq!(store.open_settles().await, Ok(Vec::new()));
    for number in 0..3 {
        let (gone, kept) = (format!("gone{number}"), format!("kept{number}"));
        insert(store, &submitted(key_of("tt-gone", &gone)), NewDue::None).await;
        insert(store, &submitted(key_of("tt-kept", &kept)), due_now()).await;
        insert(store, &succeeded(&format!("done{number}")), NewDue::None).await;
    }
    let processing = State::Processing { settle_id: settle_id("ots1") };
    insert(store, &adopted(key_of("tt-gone", "more"), processing), NewDue::None).await;
    let open = |gone, kept| Ok(vec![(app("tt-gone"), gone), (app("tt-kept"), kept)]);
    assert_eq!(store.open_settles().await, open(4, 3));

    let first = submitted(key_of("tt-kept", "kept0"));
    let rejection = failure(23_112);
    let rejected = next(&first, |record| record.state = State::Rejected { rejection });
    assert_eq!(store.swap(fact(rejected)).await, Ok(Swapped::Done));
    assert_eq!(store.open_settles().await, open(4, 2));
    // This version does not know that it is final.
    subject.overwrite(&first.key, "state", "FROM_THE_FUTURE").await;
    assert_eq!(store.open_settles().await, open(4, 3));
}

pub(super) async fn a_sweep_and_a_worker_do_not_get_in_each_others_way(subject: Subject) {
    let store = &subject.store;
    for number in 0..40 {
        insert(store, &submitted(key(&format!("n{number}"))), NewDue::None).await;
    }
    let sweeper = async {
        let mut repaired = 0;
        for _ in 0..4 {
            repaired += sweep(store, NOW, 3).await.0;
        }
        repaired
    };
    let worker = async {
        let mut worked = Vec::new();
        while worked.len() < 40 {
            for claim in claim(store, NOW).await {
                let later = rest_until(NOW.plus(Duration::from_secs(60)));
                assert_eq!(store.release(&claim.key, claim.fence, later).await, Ok(true));
                worked.push(claim.key);
            }
        }
        worked
    };
    let (repaired, mut worked) = tokio::join!(sweeper, worker);
    worked.sort_unstable();
    worked.dedup();
    assert_eq!((repaired, worked.len()), (40, 40));
}
