//! Compare-and-swap, and what it does to history and schedule.

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{Absorbed, Error, Fence, NewDue, Store, Swap, Swapped};

async fn created(store: &Store) -> Record {
    let record = submitted(key("1"));
    insert(store, &record, leased_until(after_ms(100))).await;
    record
}

pub(super) async fn a_swap_replaces_exactly_its_predecessor(subject: Subject) {
    let store = &subject.store;
    let mut record = created(store).await;
    for _ in 0..3 {
        record = next(&record, |record| record.evidence.lost += 1);
        assert_eq!(store.swap(fact(record.clone())).await, Ok(Swapped::Done));
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    }
}

pub(super) async fn a_swap_onto_another_version_conflicts_and_changes_nothing(subject: Subject) {
    let store = &subject.store;
    let first = created(store).await;
    let second = next(&first, |record| record.evidence.lost = 9);
    assert_eq!(store.swap(fact(second.clone())).await, Ok(Swapped::Done));
    let from_the_future = next(&next(&second, |_| {}), |_| {});
    for loser in [first.clone(), second.clone(), from_the_future] {
        let swap = Swap {
            history: Some(HistoryEntry {
                revision: 77,
                ..loser.history_entry(Source::Query, None)
            }),
            record: loser,
            due: Due::Remove,
            lease: None,
            absorbed: None,
        };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Conflict));
    }
    assert_eq!(store.get(&first.key).await, Ok(Some(second)));
    assert_eq!(store.history(&first.key, 10).await.unwrap().len(), 1);
    assert_eq!(due_at(store, &first.key).await, Ok(Some(after_ms(100))));
}

pub(super) async fn of_concurrent_swaps_onto_one_version_one_wins(subject: Subject) {
    let record = created(&subject.store).await;
    let mut swaps = tokio::task::JoinSet::new();
    for unanswered in 10..60 {
        let store = subject.store.clone();
        let record = next(&record, |record| record.evidence.lost = unanswered);
        swaps.spawn(async move { (unanswered, store.swap(fact(record)).await.unwrap()) });
    }
    let answers = swaps.join_all().await;
    let winners: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Swapped::Done).collect();
    assert_eq!(winners.len(), 1);
    let stored = subject.store.get(&record.key).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.evidence.lost), (2, winners[0].0));
}

pub(super) async fn a_swap_under_a_lease_applies_only_while_that_lease_runs(subject: Subject) {
    let store = &subject.store;
    let record = created(store).await;
    let write = |lease| Swap { lease, ..fact(next(&record, |_| {})) };
    let lost = [(Fence(0), 0), (Fence(2), 0), (FIRST_FENCE, 100), (FIRST_FENCE, 101)];
    for (fence, ms) in lost {
        let swapped = at(store, after_ms(ms), store.swap(write(under(fence)))).await;
        assert_eq!(swapped, Ok(Swapped::LeaseLost), "{fence:?} at {ms}");
    }
    assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    let held = write(under(FIRST_FENCE));
    assert_eq!(at(store, after_ms(99), store.swap(held)).await, Ok(Swapped::Done));

    // Another worker claims it once the lease is over: from then on the first one has lost it.
    let claims = claim(store, after_ms(100)).await;
    assert_eq!(claims[0].fence, Fence(2));
    let record = next(&record, |_| {});
    let write = |lease| Swap { lease, ..fact(next(&record, |_| {})) };
    assert_eq!(store.swap(write(under(FIRST_FENCE))).await, Ok(Swapped::LeaseLost));
    let held = write(under(Fence(2)));
    assert_eq!(at(store, after_ms(100), store.swap(held)).await, Ok(Swapped::Done));
}

pub(super) async fn a_conflict_is_told_before_a_lost_lease(subject: Subject) {
    let store = &subject.store;
    let record = created(store).await;
    let lease = under(Fence(9));
    let both = Swap { lease, ..fact(record) };
    assert_eq!(store.swap(both).await, Ok(Swapped::Conflict));
}

pub(super) async fn a_swap_to_a_taken_settle_id_is_told_and_changes_nothing(subject: Subject) {
    let store = &subject.store;
    let other = adopted(key("other"), State::Processing { settle_id: settle_id("ots1") });
    insert(store, &other, NewDue::None).await;
    let record = created(store).await;
    let taken = next(&record, |record| {
        record.state = State::Processing { settle_id: settle_id("ots1") };
        record.revision = 2;
    });
    let swap = Swap {
        history: Some(taken.history_entry(Source::Create, None)),
        record: taken,
        due: Due::Remove,
        lease: None,
        absorbed: None,
    };
    assert_eq!(store.swap(swap).await, Ok(Swapped::SettleIdTaken));
    assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(store.get(&other.key).await, Ok(Some(other)));
    assert_eq!(store.history(&record.key, 10).await.unwrap().len(), 1);
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(100))));
}

/// Adopted under Douyin's own number, then learned to be the settle of a create.
async fn adopted_and_created(store: &Store) -> (Record, Record, Swap) {
    let state = State::Succeeded { settle_id: settle_id("ots1") };
    let other = adopted(key("ots1"), state.clone());
    insert(store, &other, due_now()).await;
    let record = created(store).await;
    let merged = next(&record, |record| {
        record.state = state;
        record.revision = 7;
    });
    let swap = Swap {
        history: Some(merged.history_entry(Source::Create, None)),
        record: merged,
        due: Due::Remove,
        lease: None,
        absorbed: Some(Absorbed {
            key: other.key.clone(),
            version: other.version,
            kept: Vec::new(),
        }),
    };
    (record, other, swap)
}

pub(super) async fn a_record_of_the_same_settle_goes_up_in_another_one(subject: Subject) {
    let store = &subject.store;
    let (record, other, swap) = adopted_and_created(store).await;
    let merged = swap.record.clone();
    assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    assert_eq!(store.get(&record.key).await, Ok(Some(merged.clone())));
    assert_eq!(store.get(&other.key).await, Ok(None));
    assert_eq!(store.history(&other.key, 10).await, Ok(Vec::new()));
    assert_eq!(due_at(store, &other.key).await, Ok(None));
    assert_eq!(claim(store, after_ms(1_000)).await, []);
    let by_id = by_settle_id(store, &record.key, &settle_id("ots1")).await;
    assert_eq!(by_id, Ok(Some(merged)));
    let revisions: Vec<_> =
        store.history(&record.key, 10).await.unwrap().iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, [1, 7]);
}

/// However long the history of the record that stays is.
pub(super) async fn what_was_decided_about_an_absorbed_record_is_kept_in_order(subject: Subject) {
    let store = &subject.store;
    for (number, revisions) in [("short", 1), ("middle", 15), ("long", 40)] {
        let state = State::Succeeded { settle_id: settle_id(&format!("ots-{number}")) };
        let other = adopted(key(&format!("ots-{number}")), state.clone());
        insert(store, &other, due_now()).await;
        let mut record = submitted(key(number));
        insert(store, &record, due_now()).await;
        let mut expected = vec![record.history_entry(Source::Gateway, None)];
        for _ in 1..revisions {
            record = next(&record, |record| record.revision += 1);
            let entry = record.history_entry(Source::Query, None);
            expected.push(entry.clone());
            let swap = Swap { history: Some(entry), ..fact(record.clone()) };
            assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        }
        let kept: Vec<HistoryEntry> = (1..=3)
            .map(|n| HistoryEntry {
                revision: record.revision + n,
                by: Some(caller("alice")),
                why: Some(why("ticket 4711")),
                ..other.history_entry(Source::Operator, None)
            })
            .collect();
        let merged = next(&record, |record| {
            record.state = state;
            record.revision += 4;
        });
        let last = merged.history_entry(Source::Create, None);
        expected.extend(kept.iter().cloned().chain([last.clone()]));
        let (key, version) = (other.key.clone(), other.version);
        let absorbed = Some(Absorbed { key, version, kept });
        let swap = Swap { history: Some(last), absorbed, ..fact(merged) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        assert_eq!(store.history(&record.key, 100).await, Ok(expected), "{number}");
    }
}

pub(super) async fn what_changed_meanwhile_is_not_absorbed(subject: Subject) {
    let store = &subject.store;
    let (record, other, swap) = adopted_and_created(store).await;
    let changed = next(&other, |record| record.facts.message = Some("later".to_owned()));
    assert_eq!(store.swap(fact(changed.clone())).await, Ok(Swapped::Done));
    assert_eq!(store.swap(swap.clone()).await, Ok(Swapped::Conflict));
    let missing = Some(Absorbed { key: key("missing"), version: 1, kept: Vec::new() });
    assert_eq!(store.swap(Swap { absorbed: missing, ..swap }).await, Ok(Swapped::Conflict));
    assert_eq!(store.get(&record.key).await, Ok(Some(record)));
    assert_eq!(store.get(&other.key).await, Ok(Some(changed)));
}

/// No rule asks for it; whatever does must not lose the absorbed record.
pub(super) async fn a_swap_that_absorbs_and_fails_leaves_both_records(subject: Subject) {
    let store = &subject.store;
    let (record, other, mut swap) = adopted_and_created(store).await;
    let third = adopted(key("third"), State::Processing { settle_id: settle_id("ots3") });
    insert(store, &third, NewDue::None).await;
    swap.record.state = third.state.clone();
    let answer = store.swap(swap).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    for untouched in [record, other, third] {
        assert_eq!(store.get(&untouched.key).await, Ok(Some(untouched)));
    }
}

pub(super) async fn a_settle_taken_over_by_the_platform_loses_its_request(subject: Subject) {
    let store = &subject.store;
    let record = created(store).await;
    let theirs = next(&record, |record| {
        record.origin = Origin::Platform;
        record.evidence = Evidence::default();
        record.facts = full_facts();
        record.state = State::Succeeded { settle_id: settle_id("ots1") };
    });
    assert_eq!(store.swap(fact(theirs.clone())).await, Ok(Swapped::Done));
    assert_eq!(store.get(&record.key).await, Ok(Some(theirs.clone())));
    // No rule gives it another one, but nothing of the first may be in the way.
    let mut other = request();
    other.body = "other bytes".to_owned();
    let ours = next(&theirs, |record| record.origin = Origin::Gateway(other));
    assert_eq!(store.swap(fact(ours.clone())).await, Ok(Swapped::Done));
    assert_eq!(store.get(&record.key).await, Ok(Some(ours)));
}

pub(super) async fn history_grows_with_entries_and_is_read_oldest_first(subject: Subject) {
    let store = &subject.store;
    let mut record = created(store).await;
    let mut expected = vec![record.history_entry(Source::Gateway, None)];
    for (source, error) in [
        (Source::Create, Some(failure(23_000))),
        (Source::Query, Some(Failure::own(Reason::UpstreamTimeout))),
        (Source::Callback, None),
    ] {
        record = next(&record, |record| {
            record.revision += 1;
            record.last_error = error;
            record.update_time = after_ms(1);
        });
        let entry = record.history_entry(source, Some(format!("log-{}", record.revision)));
        expected.push(entry.clone());
        let swap = Swap { history: Some(entry), ..fact(record.clone()) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        // A write that changes nothing for callers leaves no trace there.
        record = next(&record, |record| record.evidence.lost += 1);
        assert_eq!(store.swap(fact(record.clone())).await, Ok(Swapped::Done));
    }
    assert_eq!(store.history(&record.key, 2).await, Ok(expected[..2].to_vec()));
    assert_eq!(store.history(&record.key, 100).await, Ok(expected.clone()));

    // However many there are.
    for _ in 0..40 {
        record = next(&record, |record| record.revision += 1);
        let entry = record.history_entry(Source::Query, None);
        expected.push(entry.clone());
        let swap = Swap { history: Some(entry), ..fact(record.clone()) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    }
    for entries_max in [0, 1, 15, 16, 17, 30, 44, 45] {
        let read = store.history(&record.key, entries_max).await.unwrap();
        assert_eq!(read, expected[..expected.len().min(entries_max as usize)], "{entries_max}");
    }
}

pub(super) async fn a_release_ends_the_lease_and_leaves_the_schedule(subject: Subject) {
    let store = &subject.store;
    let record = created(store).await;
    let swap = Swap {
        due: Due::Release(rest_until(after_ms(50))),
        lease: under(FIRST_FENCE),
        ..fact(next(&record, |_| {}))
    };
    assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(50))));
    let record = next(&record, |_| {});
    let late = Swap { lease: under(FIRST_FENCE), ..fact(next(&record, |_| {})) };
    assert_eq!(store.swap(late).await, Ok(Swapped::LeaseLost));
    assert_eq!(claim(store, after_ms(49)).await, []);
    let claims = claim(store, after_ms(50)).await;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].fence, claims[0].attempts, claims[0].backoff), (Fence(2), 4, 2));
}

pub(super) async fn an_extended_lease_keeps_its_fence(subject: Subject) {
    let store = &subject.store;
    let record = created(store).await;
    let swap = Swap {
        due: extend_until(after_ms(900)),
        lease: under(FIRST_FENCE),
        ..fact(next(&record, |_| {}))
    };
    assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    assert_eq!(claim(store, after_ms(899)).await, []);
    let record = next(&record, |_| {});
    let held = Swap { lease: under(FIRST_FENCE), ..fact(next(&record, |_| {})) };
    assert_eq!(at(store, after_ms(899), store.swap(held)).await, Ok(Swapped::Done));
    assert_eq!(claim(store, after_ms(900)).await.len(), 1);
}

pub(super) async fn not_later_brings_forward_and_never_postpones(subject: Subject) {
    let store = &subject.store;
    let mut record = submitted(key("1"));
    insert(store, &record, due_then(after_ms(100))).await;
    for (wanted, due_ms) in [(200, 100), (40, 40), (60, 40)] {
        record = next(&record, |_| {});
        let due = not_later(after_ms(wanted));
        assert_eq!(store.swap(Swap { due, ..fact(record.clone()) }).await, Ok(Swapped::Done));
        assert_eq!(due_at(store, &record.key).await, Ok(Some(after_ms(due_ms))));
    }
    // It takes no lease away.
    assert_eq!(claim(store, after_ms(40)).await.len(), 1);
    record = next(&record, |_| {});
    let due = not_later(NOW);
    assert_eq!(store.swap(Swap { due, ..fact(record.clone()) }).await, Ok(Swapped::Done));
    assert_eq!(claim(store, after_ms(41)).await, []);
}

pub(super) async fn not_later_while_a_lease_runs_is_heard_when_it_is_given_back(subject: Subject) {
    let store = &subject.store;
    let mut record = created(store).await;
    let mut swap = async |due, lease| {
        record = next(&record, |_| {});
        let swap = Swap { due, lease, ..fact(record.clone()) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    };
    let lease = under(FIRST_FENCE);
    swap(not_later(after_ms(30)), None).await;
    swap(not_later(after_ms(40)), None).await;
    // The holder goes on, and in the end leaves its own schedule.
    swap(extend_until(after_ms(200)), lease).await;
    swap(Due::Keep, lease).await;
    swap(Due::Release(rest_until(after_ms(90))), lease).await;
    assert_eq!(due_at(store, &key("1")).await, Ok(Some(after_ms(30))));
    let fence = claim(store, after_ms(30)).await[0].fence;
    swap(not_later(after_ms(95)), None).await;
    swap(Due::Release(rest_until(after_ms(90))), under(fence)).await;
    assert_eq!(due_at(store, &key("1")).await, Ok(Some(after_ms(90))));
}

pub(super) async fn a_removed_due_row_can_come_back_with_a_greater_fence(subject: Subject) {
    let store = &subject.store;
    let mut record = created(store).await;
    let mut fences = vec![FIRST_FENCE];
    for round in 1..4 {
        record = next(&record, |_| {});
        let swap = Swap { due: Due::Remove, ..fact(record.clone()) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        assert_eq!(due_at(store, &record.key).await, Ok(None));
        assert_eq!(next_due(store, &record.key.app_id).await, Ok(None));
        assert_eq!(claim(store, after_ms(1_000_000 * round)).await, []);

        record = next(&record, |_| {});
        let swap = Swap { due: not_later(NOW), ..fact(record.clone()) };
        assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        // The worker of an earlier lease must not be taken for the holder of a later one.
        let claims = claim(store, after_ms(1_000_000 * round)).await;
        assert_eq!(claims.len(), 1);
        assert!(claims[0].fence > fences[fences.len() - 1], "{:?} after {fences:?}", claims[0]);
        fences.push(claims[0].fence);
    }
}
