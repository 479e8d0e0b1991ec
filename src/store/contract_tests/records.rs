//! Inserting, reading, and rows that this version must not touch.

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{Error, Insert, NewDue, Store, Swap, Swapped};
use crate::trace::TraceParent;

/// Each state, each origin, each source; everything optional once set and once not.
pub(in crate::store) fn all_kinds_of_records() -> Vec<Record> {
    let settle_id = |number: usize| settle_id(&format!("ots{number}"));
    let states = |number: usize| {
        let settle_id = settle_id(number);
        [
            State::Submitting,
            State::Processing { settle_id: settle_id.clone() },
            State::Succeeded { settle_id: settle_id.clone() },
            State::Failed { settle_id },
            State::Rejected { rejection: Failure::own(Reason::SubmissionExpired) },
        ]
    };
    let sources = [Source::Create, Source::Query, Source::Callback, Source::Gateway];
    let kinds = [
        StateKind::Submitting,
        StateKind::Processing,
        StateKind::Succeeded,
        StateKind::Failed,
        StateKind::Rejected,
    ];
    let mut records = Vec::new();
    for number in 0..20 {
        let state = states(number)[number % 5].clone();
        let mut record = adopted(key(&format!("n{number}")), state);
        record.version = 7;
        record.revision = 5;
        record.update_time = after_ms(11);
        if number % 2 == 0 {
            record.origin = Origin::Gateway(request());
        }
        if number % 4 < 2 {
            record.evidence = full_evidence();
            let by = (number % 8 < 4).then(|| caller("ops"));
            record.decision =
                Some(Decision { by, why: why("客服说\"失败\""), time: after_ms(5) });
            record.last_error = Some(failure(23_000));
            record.contradiction = Some(Contradiction {
                claimed: kinds[(number + 1) % 5],
                settle_id: settle_id(100 + number),
                source: sources[number / 5],
                time: after_ms(3),
                resolved: (number % 4 == 1).then_some(after_ms(4)),
            });
        } else {
            record.facts = Facts { auto_settle: Some(true), ..Facts::default() };
            record.last_error = Some(without_number(failure(23_000)));
        }
        if let (Origin::Gateway(request), true) = (&mut record.origin, number % 3 == 0) {
            request.content.item_order_id = None;
            request.content.ext = None;
            request.content.notify_url = None;
            request.content.settle_params.clear();
            request.sent_ext = None;
            request.by_default_app = true;
            request.created_by = Some(caller("shop"));
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            request.trace = TraceParent::parse(trace);
        }
        records.push(record);
    }
    records
}

/// What is kept of a proxy's page.
fn without_number(mut failure: Failure) -> Failure {
    let said = failure.douyin.as_mut().expect("Douyin said something");
    (said.err_no, said.sub_err_no) = (None, None);
    failure
}

pub(super) async fn every_field_of_a_record_comes_back_by_either_id(subject: Subject) {
    let store = &subject.store;
    for record in all_kinds_of_records() {
        insert(store, &record, due_now()).await;
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
        if let Some(settle_id) = record.state.settle_id() {
            let found = by_settle_id(store, &record.key, settle_id).await;
            assert_eq!(found, Ok(Some(record.clone())));
        }
    }
    // A swap writes the same fields by another way.
    let mut templates = all_kinds_of_records();
    templates.rotate_left(2);
    for (old, template) in all_kinds_of_records().into_iter().zip(templates) {
        let new = Record {
            facts: template.facts,
            evidence: template.evidence,
            last_error: template.last_error,
            contradiction: template.contradiction,
            decision: template.decision,
            ..next(&old, |record| record.revision += 1)
        };
        assert_eq!(store.swap(fact(new.clone())).await, Ok(Swapped::Done));
        assert_eq!(store.get(&new.key).await, Ok(Some(new)));
    }
}

pub(super) async fn an_absent_settle_is_none(subject: Subject) {
    let store = &subject.store;
    assert_eq!(store.get(&key("1")).await, Ok(None));
    assert_eq!(by_settle_id(store, &key("1"), &settle_id("ots1")).await, Ok(None));
    assert_eq!(due_at(store, &key("1")).await, Ok(None));
    assert_eq!(next_due(store, &app("tt01")).await, Ok(None));
    assert_eq!(store.history(&key("1"), 10).await, Ok(Vec::new()));
    assert_eq!(nudge(store, &key("1"), NOW, std::time::Duration::ZERO).await, Ok(None));
    assert_eq!(store.release(&key("1"), FIRST_FENCE, rest_until(NOW)).await, Ok(false));
    assert_eq!(store.remove_due(&key("1"), FIRST_FENCE).await, Ok(false));
    let orphan = next(&submitted(key("1")), |_| {});
    assert_eq!(store.swap(fact(orphan)).await, Ok(Swapped::Conflict));
}

pub(super) async fn a_second_insert_of_a_key_finds_the_first_record(subject: Subject) {
    let store = &subject.store;
    let first = submitted(key("1"));
    insert(store, &first, leased_until(after_ms(20))).await;
    let mut second = submitted(key("1"));
    second.create_time = after_ms(5);
    let answer = store.insert(second, Source::Gateway, None, due_now()).await;
    assert_eq!(answer, Ok(Insert::Existing(Box::new(first.clone()))));
    assert_eq!(store.get(&first.key).await, Ok(Some(first.clone())));
    assert_eq!(due_at(store, &first.key).await, Ok(Some(after_ms(20))));
    assert_eq!(store.history(&first.key, 10).await.unwrap().len(), 1);
}

pub(super) async fn an_insert_with_a_known_settle_id_finds_its_record(subject: Subject) {
    let store = &subject.store;
    let ours = submitted(key("1"));
    insert(store, &ours, leased_until(after_ms(20))).await;
    let accepted = next(&ours, |record| {
        record.state = State::Processing { settle_id: settle_id("ots1") };
    });
    assert_eq!(store.swap(fact(accepted.clone())).await, Ok(Swapped::Done));
    let callback = adopted(key("ots1"), accepted.state.clone());
    let answer = store.insert(callback, Source::Callback, None, due_now()).await;
    assert_eq!(answer, Ok(Insert::Existing(Box::new(accepted))));
    assert_eq!(store.get(&key("ots1")).await, Ok(None));
}

pub(super) async fn the_key_is_found_before_the_settle_id(subject: Subject) {
    let store = &subject.store;
    let by_key = submitted(key("1"));
    insert(store, &by_key, due_now()).await;
    let by_id = adopted(key("2"), State::Processing { settle_id: settle_id("ots2") });
    insert(store, &by_id, due_now()).await;
    let both = adopted(key("1"), by_id.state.clone());
    let answer = store.insert(both, Source::Query, None, due_now()).await;
    assert_eq!(answer, Ok(Insert::Existing(Box::new(by_key))));
}

pub(super) async fn the_same_numbers_in_another_app_are_another_settle(subject: Subject) {
    let store = &subject.store;
    let state = State::Succeeded { settle_id: settle_id("ots1") };
    let (here, there) =
        (adopted(key_of("tt01", "1"), state.clone()), adopted(key_of("tt02", "1"), state));
    insert(store, &here, NewDue::None).await;
    insert(store, &there, NewDue::None).await;
    assert_eq!(store.get(&there.key).await, Ok(Some(there.clone())));
    let found = by_settle_id(store, &key("1"), &settle_id("ots1")).await;
    assert_eq!(found, Ok(Some(here)));
}

/// The other one is a system that only a newer version knows.
pub(super) async fn the_same_numbers_in_another_trade_system_are_another_settle(subject: Subject) {
    let store = &subject.store;
    let there = adopted(key("1"), State::Processing { settle_id: settle_id("ots1") });
    insert(store, &there, due_now()).await;
    subject.overwrite(&there.key, "trade_system", "FROM_THE_FUTURE").await;
    assert_eq!(store.get(&there.key).await, Ok(None));
    assert_eq!(by_settle_id(store, &there.key, &settle_id("ots1")).await, Ok(None));
    assert_eq!(claim(store, NOW).await, []);
    assert_eq!(next_due(store, &there.key.app_id).await, Ok(None));

    let accepted = async |here: Record| {
        insert(store, &here, due_now()).await;
        let state = State::Processing { settle_id: settle_id("ots1") };
        let here = next(&here, |record| record.state = state);
        (store.swap(fact(here.clone())).await, here)
    };
    let (swapped, here) = accepted(submitted(key("1"))).await;
    assert_eq!(swapped, Ok(Swapped::Done));
    assert_eq!(store.get(&here.key).await, Ok(Some(here.clone())));
    assert_eq!(by_settle_id(store, &here.key, &settle_id("ots1")).await, Ok(Some(here)));
    let (swapped, _) = accepted(submitted(key("2"))).await;
    assert_eq!(swapped, Ok(Swapped::SettleIdTaken), "in one system a number is one settle's");
}

/// A caller's create, of a trade system and perhaps by the default app.
fn created(key: Key, trade_system: TradeSystem, by_default_app: bool) -> Record {
    let request = Request { by_default_app, ..request() };
    Record::submitted(Key { trade_system, ..key }, request, permission(0))
}

/// Whether it is inserted; if not, what is there.
async fn answer(store: &Store, record: &Record) -> Insert {
    let answer = store.insert(record.clone(), Source::Gateway, None, due_now()).await.unwrap();
    let by_default_app = record.request().is_some_and(|request| request.by_default_app);
    let elsewhere = store.elsewhere(&record.key, by_default_app).await.unwrap();
    match &answer {
        Insert::Inserted => assert_eq!(elsewhere, None),
        Insert::Existing(existing) if existing.key == record.key => {}
        Insert::Existing(existing) => assert_eq!(elsewhere.as_ref(), Some(&**existing)),
    }
    answer
}

pub(super) async fn the_number_of_a_create_is_taken_in_every_trade_system_of_its_app(
    subject: Subject,
) {
    use TradeSystem::{Agency, General, SelfOperated};
    let store = &subject.store;
    let first = created(key("1"), SelfOperated, false);
    assert_eq!(answer(store, &first).await, Insert::Inserted);
    for system in [General, SelfOperated] {
        let repeat = created(key("1"), system, false);
        let existing = Insert::Existing(Box::new(first.clone()));
        assert_eq!(answer(store, &repeat).await, existing, "{system:?}");
    }
    assert_eq!(
        answer(store, &created(key_of("tt02", "1"), General, false)).await,
        Insert::Inserted
    );
    // What callers did not create is in nothing's way, and nothing is in its.
    let learned = |system| {
        let state = State::Processing { settle_id: settle_id("ots1") };
        adopted(Key { trade_system: system, ..key("1") }, state)
    };
    insert(store, &learned(Agency), due_now()).await;
    insert(store, &learned(General), due_now()).await;
    let existing = Insert::Existing(Box::new(learned(General)));
    assert_eq!(answer(store, &created(key("1"), General, false)).await, existing);
    // Nor what turns out not to be the caller's.
    let theirs = next(&first, |record| {
        record.origin = Origin::Platform;
        record.state = State::Processing { settle_id: settle_id("ots2") };
    });
    assert_eq!(store.swap(fact(theirs)).await, Ok(Swapped::Done));
    assert_eq!(answer(store, &created(key("1"), Agency, false)).await, {
        Insert::Existing(Box::new(learned(Agency)))
    });
    assert_eq!(store.elsewhere(&key("1"), true).await, Ok(None));
}

pub(super) async fn the_number_of_a_create_without_an_app_is_taken_for_every_default_app(
    subject: Subject,
) {
    use TradeSystem::{General, SelfOperated};
    let store = &subject.store;
    let first = created(key_of("tt01", "1"), General, true);
    assert_eq!(answer(store, &first).await, Insert::Inserted);
    for system in [General, SelfOperated] {
        let repeat = created(key_of("tt02", "1"), system, true);
        let existing = Insert::Existing(Box::new(first.clone()));
        assert_eq!(answer(store, &repeat).await, existing, "{system:?}");
    }
    // A create that names its app means that one.
    assert_eq!(
        answer(store, &created(key_of("tt02", "1"), General, false)).await,
        Insert::Inserted
    );
    let named = created(key_of("tt02", "2"), General, false);
    assert_eq!(answer(store, &named).await, Insert::Inserted);
    assert_eq!(answer(store, &created(key_of("tt01", "2"), General, true)).await, Insert::Inserted);
}

pub(super) async fn of_concurrent_creates_of_a_number_in_several_places_one_is_inserted(
    subject: Subject,
) {
    let mut inserts = tokio::task::JoinSet::new();
    for place in 0..12 {
        let store = subject.store.clone();
        let system = TradeSystem::ALL[place % 3];
        let app_id = if place % 2 == 0 { "tt01" } else { "tt02" };
        let record = created(key_of(app_id, "1"), system, true);
        inserts.spawn(async move {
            (record.clone(), store.insert(record, Source::Gateway, None, due_now()).await.unwrap())
        });
    }
    let answers = inserts.join_all().await;
    let inserted = answers.iter().filter(|(_, answer)| *answer == Insert::Inserted);
    let [(winner, _)] = inserted.collect::<Vec<_>>()[..] else { panic!("{answers:?}") };
    for (_, answer) in &answers {
        let existing = Insert::Existing(Box::new(winner.clone()));
        assert!(*answer == Insert::Inserted || *answer == existing, "{answer:?}");
    }
}

pub(super) async fn of_a_hundred_concurrent_inserts_of_a_key_one_is_inserted(subject: Subject) {
    let mut inserts = tokio::task::JoinSet::new();
    for caller in 0..100 {
        let store = subject.store.clone();
        let mut record = submitted(key("1"));
        record.create_time = after_ms(caller);
        inserts.spawn(async move {
            let answer = store.insert(record.clone(), Source::Gateway, None, due_now()).await;
            (record, answer.unwrap())
        });
    }
    let answers = inserts.join_all().await;
    let winners: Vec<&Record> = answers
        .iter()
        .filter(|(_, answer)| *answer == Insert::Inserted)
        .map(|(record, _)| record)
        .collect();
    assert_eq!(winners.len(), 1);
    for (record, answer) in &answers {
        match answer {
            Insert::Inserted => assert_eq!(record, winners[0]),
            Insert::Existing(existing) => assert_eq!(&**existing, winners[0]),
        }
    }
    assert_eq!(subject.store.history(&key("1"), 10).await.unwrap().len(), 1);
    assert_eq!(claim(&subject.store, NOW).await.len(), 1);
}

pub(super) async fn an_insert_begins_the_history(subject: Subject) {
    let store = &subject.store;
    let mut rejected = submitted(key("1"));
    rejected.state = State::Rejected { rejection: failure(23_112) };
    let by = Some(caller("shop"));
    let inserted = store.insert(rejected.clone(), Source::Create, by.clone(), NewDue::None).await;
    assert_eq!(inserted, Ok(Insert::Inserted));
    let first = HistoryEntry { by, ..rejected.history_entry(Source::Create, None) };
    assert_eq!(first.error, Some(failure(23_112)));
    let decided = next(&rejected, |record| record.revision = 2);
    let entry = decided.history_entry(Source::Operator, None);
    let (by, why) = (Some(caller("ops")), Some(why("Douyin's support says so\\ \"no\"")));
    let second = HistoryEntry { by, why, ..entry };
    let swap = Swap { history: Some(second.clone()), ..fact(decided) };
    assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
    assert_eq!(store.history(&key("1"), 10).await, Ok(vec![first, second]));
}

/// Whether the error says which value it is that cannot be read.
fn blames(read: &Result<Option<Record>, Error>, column: &str) -> bool {
    matches!(read, Err(Error::Unreadable(why)) if why.split(' ').any(|word| word == column))
}

pub(super) async fn a_row_with_an_unknown_word_is_neither_read_nor_claimed_nor_rewritten(
    subject: Subject,
) {
    let store = &subject.store;
    for column in ["state", "origin", "contradiction_claimed", "contradiction_source"] {
        let number = settle_id(&format!("ots-{column}"));
        let state = State::Processing { settle_id: number.clone() };
        let mut record = adopted(key(column), state);
        record.contradiction = Some(Contradiction {
            claimed: StateKind::Failed,
            settle_id: settle_id("ots-other"),
            source: Source::Callback,
            time: NOW,
            resolved: None,
        });
        insert(store, &record, due_now()).await;
        subject.overwrite(&record.key, column, "FROM_THE_FUTURE").await;

        let read = by_settle_id(store, &record.key, &number).await;
        assert!(blames(&read, column), "{column}: {read:?}");
        assert_eq!(claim(store, NOW).await, [], "{column}");
        assert_eq!(next_due(store, &record.key.app_id).await, Ok(None), "{column}");
        let again = adopted(key(&format!("{column}-again")), record.state.clone());
        let inserted = store.insert(again, Source::Query, None, due_now()).await;
        assert!(matches!(inserted, Err(Error::Unreadable(_))), "{column}: {inserted:?}");
        let mut swap = fact(next(&record, |_| {}));
        swap.due = Due::Remove;
        let swapped = store.swap(swap).await;
        assert!(matches!(swapped, Err(Error::Unreadable(_))), "{column}: {swapped:?}");
        let nudged = nudge(store, &record.key, before_ms(1), std::time::Duration::ZERO).await;
        assert!(matches!(nudged, Err(Error::Unreadable(_))), "{column}: {nudged:?}");
    }
}

/// It is no settle of any system that this version knows, and its number is taken in all of them.
pub(super) async fn a_row_of_an_unknown_trade_system_is_neither_read_nor_claimed_nor_rewritten(
    subject: Subject,
) {
    let store = &subject.store;
    insert(store, &submitted(key("other")), due_now()).await;
    subject.overwrite(&key("other"), "trade_system", "FROM_THE_FUTURE").await;
    // The store has not seen it before.
    subject.overwrite(&key("other"), "out_settle_no", "1").await;
    let record = submitted(key("1"));

    assert_eq!(store.get(&record.key).await, Ok(None));
    let elsewhere = store.elsewhere(&record.key, false).await;
    assert!(blames(&elsewhere, "trade_system"), "{elsewhere:?}");
    let again = store.insert(record.clone(), Source::Gateway, None, due_now()).await;
    assert!(matches!(again, Err(Error::Unreadable(_))), "{again:?}");
    assert_eq!(store.swap(fact(next(&record, |_| {}))).await, Ok(Swapped::Conflict));
    assert_eq!(claim(store, after_ms(5)).await, []);
    assert_eq!(next_due(store, &record.key.app_id).await, Ok(None));

    subject.overwrite(&record.key, "trade_system", "GENERAL").await;
    assert_eq!(store.get(&record.key).await, Ok(Some(record)));
    assert_eq!(claim(store, after_ms(5)).await.len(), 1);
}

/// It may hold evidence that this version would drop.
pub(super) async fn a_row_of_newer_rules_is_read_and_neither_claimed_nor_rewritten(
    subject: Subject,
) {
    let store = &subject.store;
    let record = submitted(key("1"));
    insert(store, &record, due_now()).await;
    subject.overwrite(&record.key, "rules", &(RULES + 1).to_string()).await;
    assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(claim(store, after_ms(5)).await, []);
    assert_eq!(next_due(store, &record.key.app_id).await, Ok(None));
    let swapped = store.swap(fact(next(&record, |_| {}))).await;
    assert!(matches!(swapped, Err(Error::Unreadable(_))), "{swapped:?}");
    subject.overwrite(&record.key, "rules", &RULES.to_string()).await;
    assert_eq!(store.swap(fact(next(&record, |_| {}))).await, Ok(Swapped::Done));
    assert_eq!(claim(store, after_ms(5)).await.len(), 1);
}

pub(super) async fn a_row_with_an_unknown_structure_is_not_read(subject: Subject) {
    let store = &subject.store;
    let newer_failure = r#"{"reason":"X","novelty":1}"#;
    for (place, newer) in [
        ("last_error", newer_failure),
        ("evidence.refused", newer_failure),
        ("evidence.novelty", "1"),
        ("facts.novelty", "1"),
        ("request.novelty", "1"),
    ] {
        let mut record = submitted(key(place));
        record.evidence = full_evidence();
        record.facts = full_facts();
        record.last_error = Some(failure(23_000));
        insert(store, &record, due_now()).await;
        subject.overwrite(&record.key, place, newer).await;
        let read = store.get(&record.key).await;
        let column = place.split('.').next().unwrap();
        assert!(blames(&read, column), "{place}: {read:?}");
    }
}

/// It decides nothing, so nothing waits for the version that knows it.
pub(super) async fn a_row_with_an_unknown_reason_is_read_claimed_and_rewritten(subject: Subject) {
    let store = &subject.store;
    let mut record = submitted(key("1"));
    record.evidence = full_evidence();
    record.last_error = Some(failure(23_000));
    insert(store, &record, due_now()).await;
    for place in ["last_error", "evidence.refused", "evidence.unlisted.failure"] {
        subject.overwrite(&record.key, place, r#"{"reason":"FROM_THE_FUTURE"}"#).await;
    }
    let newer = Failure { reason: RecordedReason::parse("FROM_THE_FUTURE"), douyin: None };
    record.last_error = Some(newer.clone());
    record.evidence.refused = Some(newer.clone());
    record.evidence.unlisted.as_mut().unwrap().failure = newer;
    assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    let rewritten = next(&record, |record| record.revision += 1);
    assert_eq!(store.swap(fact(rewritten.clone())).await, Ok(Swapped::Done));
    assert_eq!(store.get(&record.key).await, Ok(Some(rewritten)));
    assert_eq!(claim(store, after_ms(5)).await.len(), 1);
}

pub(super) async fn a_closed_store_is_unavailable(subject: Subject) {
    let store = &subject.store;
    assert_eq!(store.ping().await, Ok(()));
    store.close().await;
    store.close().await;
    let unavailable = |error| matches!(error, Error::Unavailable(_));
    assert!(unavailable(store.ping().await.unwrap_err()));
    assert!(unavailable(store.get(&key("1")).await.unwrap_err()));
    let late = store.insert(submitted(key("1")), Source::Gateway, None, NewDue::None).await;
    assert!(unavailable(late.unwrap_err()));
}
