//! Pages of recorded settles: their order, their filters, and what happens meanwhile.

use super::Subject;
use super::fixtures::*;
use crate::settle::*;
use crate::store::{Error, Insert, ListQuery, Listed, NewDue, Position, Store, Swapped};

const KINDS: [StateKind; 5] = [
    StateKind::Submitting,
    StateKind::Processing,
    StateKind::Succeeded,
    StateKind::Failed,
    StateKind::Rejected,
];

fn order(number: &str) -> OutOrderNo {
    OutOrderNo::parse(number).unwrap()
}

fn everything() -> ListQuery {
    ListQuery {
        app_id: app("tt01"),
        out_order_no: None,
        trade_system: None,
        states: Vec::new(),
        from: None,
        until: None,
        after: None,
        settles_max: 100,
    }
}

fn in_states(states: &[StateKind]) -> ListQuery {
    ListQuery { states: states.to_vec(), ..everything() }
}

fn in_system(trade_system: TradeSystem) -> ListQuery {
    ListQuery { trade_system: Some(trade_system), ..everything() }
}

fn of_order(number: &str) -> ListQuery {
    ListQuery { out_order_no: Some(order(number)), ..everything() }
}

async fn page(store: &Store, query: &ListQuery) -> Listed {
    let listed = store.list(query).await.unwrap();
    assert!(listed.records.len() <= usize::try_from(query.settles_max.max(1)).unwrap());
    listed
}

/// The numbers on all pages, one page after the other.
async fn listed(store: &Store, query: &ListQuery) -> Vec<String> {
    let mut query = query.clone();
    let mut numbers = Vec::new();
    loop {
        let Listed { records, next } = page(store, &query).await;
        numbers.extend(records.iter().map(|record| record.key.out_settle_no.to_string()));
        match next {
            Some(next) => {
                assert!(query.after.is_none_or(|after| next < after), "pages go on");
                query.after = Some(next);
            }
            None => return numbers,
        }
    }
}

fn state(kind: StateKind, number: &str) -> State {
    let settle_id = settle_id(&format!("ots-{number}"));
    match kind {
        StateKind::Submitting => State::Submitting,
        StateKind::Processing => State::Processing { settle_id },
        StateKind::Succeeded => State::Succeeded { settle_id },
        StateKind::Failed => State::Failed { settle_id },
        StateKind::Rejected => State::Rejected { rejection: failure(23_112) },
    }
}

/// A settle of the platform's, created `ms` after the beginning.
fn settle(number: &str, kind: StateKind, ms: u64) -> Record {
    let mut record = adopted(key(number), state(kind, number));
    record.create_time = after_ms(ms);
    record
}

async fn record(store: &Store, record: &Record) {
    let inserted = store.insert(record.clone(), Source::Query, None, NewDue::None).await;
    assert_eq!(inserted, Ok(Insert::Inserted));
}

async fn change(store: &Store, before: &Record, change: impl FnOnce(&mut Record)) -> Record {
    let after = next(before, change);
    assert_eq!(store.swap(fact(after.clone())).await, Ok(Swapped::Done));
    after
}

pub(super) async fn a_page_has_the_newest_first_and_of_one_moment_the_one_inserted_last(
    subject: Subject,
) {
    let store = &subject.store;
    assert_eq!(page(store, &everything()).await, Listed { records: Vec::new(), next: None });
    // The last two came from a clock that was set back.
    for (number, ms) in [("b", 5), ("c", 5), ("e", 9), ("d", 5), ("a", 0)] {
        record(store, &settle(number, StateKind::Succeeded, ms)).await;
    }
    assert_eq!(listed(store, &everything()).await, ["e", "d", "c", "b", "a"]);
}

pub(super) async fn a_listed_settle_is_the_whole_record(subject: Subject) {
    let store = &subject.store;
    let mut records = vec![submitted(key("ours")), settle("theirs", StateKind::Rejected, 0)];
    records[0].evidence = full_evidence();
    records[0].last_error = Some(failure(23_000));
    for settle in &records {
        record(store, settle).await;
    }
    records.reverse();
    assert_eq!(page(store, &everything()).await, Listed { records, next: None });
}

pub(super) async fn pages_follow_each_other_without_a_gap_or_a_repeat(subject: Subject) {
    let store = &subject.store;
    let mut expected = Vec::new();
    for number in 0..12_u64 {
        let kind = KINDS[usize::try_from(number % 5).unwrap()];
        // Moments are shared by up to three settles.
        let settle = settle(&format!("n{number}"), kind, (number / 3) * 10);
        record(store, &settle).await;
        expected.insert(0, settle.key.out_settle_no.to_string());
    }
    for settles_max in 0..14 {
        let all = ListQuery { settles_max, ..everything() };
        assert_eq!(listed(store, &all).await, expected, "by {settles_max}");
        let each_state = ListQuery { states: KINDS.to_vec(), ..all.clone() };
        assert_eq!(listed(store, &each_state).await, expected, "by {settles_max}");
        let system = ListQuery { trade_system: Some(TradeSystem::General), ..all.clone() };
        assert_eq!(listed(store, &system).await, expected, "by {settles_max}");
        let order = ListQuery { out_order_no: Some(order("fact-order")), ..all };
        assert_eq!(listed(store, &order).await, expected, "by {settles_max}");
    }
    // A page that is full with the last settle is the last page.
    let full = ListQuery { settles_max: 12, ..everything() };
    assert_eq!(page(store, &full).await.next, None);
    let not_full = ListQuery { settles_max: 11, ..everything() };
    let end = page(store, &not_full).await.next.unwrap();
    assert_eq!(end.create_time, after_ms(0));
    // So is one that is not full: it promises no other, whatever was looked at for it.
    let of_system = in_system(TradeSystem::General);
    for query in [everything(), of_order("fact-order"), in_states(&KINDS), of_system] {
        assert_eq!(page(store, &query).await.next, None, "{query:?}");
    }
}

/// Pages of some states of an order, or of one trade system, may be short, and the next one goes
/// on: none is lost behind more settles than are looked at for one page.
pub(super) async fn a_few_of_thousands_are_listed_to_the_last(subject: Subject) {
    let store = &subject.store;
    let mut inserters = tokio::task::JoinSet::new();
    // A few at once, so that none waits longer for a connection than a store lets it.
    for first in 0..8 {
        let store = store.clone();
        inserters.spawn(async move {
            for number in (first..2_003_u64).step_by(8) {
                let kind = if number < 3 { StateKind::Succeeded } else { StateKind::Rejected };
                let mut settle = settle(&format!("n{number}"), kind, number);
                if number < 3 {
                    settle.key.trade_system = TradeSystem::Industry;
                }
                record(&store, &settle).await;
            }
        });
    }
    inserters.join_all().await;
    let succeeded = [StateKind::Succeeded];
    let query = ListQuery { states: succeeded.to_vec(), ..of_order("fact-order") };
    assert_eq!(listed(store, &query).await, ["n2", "n1", "n0"]);
    let query = in_system(TradeSystem::Industry);
    let first = page(store, &query).await;
    assert!(first.records.is_empty() && first.next.is_some(), "{first:?}");
    assert_eq!(listed(store, &query).await, ["n2", "n1", "n0"]);
    let query = ListQuery { trade_system: query.trade_system, ..of_order("fact-order") };
    assert_eq!(listed(store, &query).await, ["n2", "n1", "n0"]);
}

pub(super) async fn filters_list_exactly_what_passes_all_of_them(subject: Subject) {
    let store = &subject.store;
    let mut settles = Vec::new();
    for number in 0..60_u64 {
        let kind = KINDS[usize::try_from(number % 5).unwrap()];
        let mut settle = settle(&format!("n{number}"), kind, (number / 4) * 10);
        settle.key.trade_system = TradeSystem::ALL[usize::try_from(number / 5 % 5).unwrap()];
        settle.facts.out_order_no = match number % 3 {
            0 => None,
            other => Some(order(&format!("order-{other}"))),
        };
        record(store, &settle).await;
        let mut elsewhere = settle.clone();
        elsewhere.key.app_id = app("tt02");
        record(store, &elsewhere).await;
        settles.insert(0, settle);
    }
    let choices: [&[StateKind]; 5] = [
        &[],
        &[StateKind::Rejected],
        &[StateKind::Succeeded, StateKind::Submitting],
        &[StateKind::Failed, StateKind::Failed],
        &KINDS,
    ];
    let orders = [None, Some(order("order-1")), Some(order("order-2")), Some(order("order-9"))];
    let windows = [
        (None, None),
        (Some(50), None),
        (None, Some(50)),
        (Some(50), Some(90)),
        (Some(9), Some(9)),
    ];
    let systems = [None, Some(TradeSystem::Industry), Some(TradeSystem::Guaranteed)];
    let choices = choices.iter().flat_map(|states| systems.map(|system| (states, system)));
    for ((states, trade_system), (from, until)) in
        choices.flat_map(|choice| windows.map(|window| (choice, window)))
    {
        for order in &orders {
            let query = ListQuery {
                out_order_no: order.clone(),
                trade_system,
                states: states.to_vec(),
                from: from.map(after_ms),
                until: until.map(after_ms),
                settles_max: 7,
                ..everything()
            };
            let passes = |settle: &&Record| {
                let created = settle.create_time;
                (states.is_empty() || states.contains(&settle.state.kind()))
                    && (order.is_none() || settle.facts.out_order_no == *order)
                    && trade_system.is_none_or(|system| settle.key.trade_system == system)
                    && query.from.is_none_or(|from| created >= from)
                    && query.until.is_none_or(|until| created < until)
            };
            let expected: Vec<String> = settles
                .iter()
                .filter(passes)
                .map(|settle| settle.key.out_settle_no.to_string())
                .collect();
            assert_eq!(listed(store, &query).await, expected, "{query:?}");
        }
    }
}

pub(super) async fn a_settle_is_of_the_order_in_its_request_or_else_of_the_one_douyin_named(
    subject: Subject,
) {
    let store = &subject.store;
    let mut ours = submitted(key("1"));
    ours.facts.out_order_no = Some(order("not-this-one"));
    record(store, &ours).await;
    assert_eq!(listed(store, &of_order("order-1")).await, ["1"]);
    assert_eq!(listed(store, &of_order("not-this-one")).await, [""; 0]);

    // The number turns out to be another system's settle, whose order Douyin reports later.
    let theirs = change(store, &ours, |record| {
        record.origin = Origin::Platform;
        record.facts.out_order_no = None;
    })
    .await;
    assert_eq!(listed(store, &of_order("order-1")).await, [""; 0]);
    let theirs =
        change(store, &theirs, |record| record.facts.out_order_no = Some(order("theirs"))).await;
    assert_eq!(listed(store, &of_order("theirs")).await, ["1"]);
    change(store, &theirs, |record| record.origin = Origin::Gateway(request())).await;
    assert_eq!(listed(store, &of_order("theirs")).await, [""; 0]);
    assert_eq!(listed(store, &of_order("order-1")).await, ["1"]);
}

pub(super) async fn a_settle_is_listed_in_the_state_that_it_has_now(subject: Subject) {
    let store = &subject.store;
    let mut settle = settle("1", KINDS[0], 0);
    record(store, &settle).await;
    for kind in KINDS {
        settle = change(store, &settle, |record| record.state = state(kind, "1")).await;
        for other in KINDS {
            let found = page(store, &in_states(&[other])).await.records;
            assert_eq!(found.first(), Some(&settle).filter(|_| other == kind), "{kind:?}");
        }
    }
}

pub(super) async fn settles_created_or_changed_meanwhile_move_no_page(subject: Subject) {
    let store = &subject.store;
    let mut settles = Vec::new();
    for number in 0..20 {
        let settle = settle(&format!("n{number}"), StateKind::Succeeded, number / 3);
        record(store, &settle).await;
        settles.insert(0, settle);
    }
    for query in [everything(), in_states(&[StateKind::Succeeded, StateKind::Failed])] {
        let mut query = ListQuery { settles_max: 3, ..query };
        let mut found = Vec::new();
        for round in 0_u64.. {
            let Listed { records, next } = page(store, &query).await;
            found.extend(records.iter().map(|record| record.key.clone()));
            let Some(next) = next else { break };
            query.after = Some(next);
            // Newer ones, and one of the very moment at which the page ended.
            let states = query.states.len();
            for (number, create_time) in [("new", after_ms(90)), ("tie", next.create_time)] {
                let number = format!("{number}{round}-{states}");
                let mut late = settle(&number, StateKind::Failed, 0);
                late.create_time = create_time;
                record(store, &late).await;
            }
            for settle in &mut settles {
                *settle = change(store, settle, |record| record.revision += 1).await;
            }
        }
        let expected: Vec<Key> = settles.iter().map(|settle| settle.key.clone()).collect();
        found.retain(|key| expected.contains(key));
        assert_eq!(found, expected);
    }
}

pub(super) async fn pages_read_while_others_write_are_consistent(subject: Subject) {
    let store = subject.store.clone();
    let mut settles = Vec::new();
    for number in 0..8 {
        let settle = settle(&format!("n{number}"), StateKind::Submitting, number);
        record(&store, &settle).await;
        settles.push(settle);
    }
    let mut writers = tokio::task::JoinSet::new();
    for mut settle in settles {
        let store = store.clone();
        writers.spawn(async move {
            for kind in KINDS.iter().cycle().take(60) {
                let number = settle.key.out_settle_no.to_string();
                settle = change(&store, &settle, |next| next.state = state(*kind, &number)).await;
            }
        });
    }
    while !writers.is_empty() {
        for kind in KINDS {
            let found = page(&store, &in_states(&[kind])).await.records;
            assert!(found.iter().all(|record| record.state.kind() == kind), "{kind:?}: {found:?}");
        }
        assert_eq!(listed(&store, &everything()).await.len(), 8);
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
}

pub(super) async fn a_settle_that_cannot_be_read_is_told_on_its_page_and_only_there(
    subject: Subject,
) {
    let store = &subject.store;
    for (number, ms) in [("old", 1), ("unreadable", 2), ("new", 3)] {
        record(store, &settle(number, StateKind::Processing, ms)).await;
    }
    let (newer, older) = (
        ListQuery { from: Some(after_ms(3)), ..everything() },
        ListQuery { until: Some(after_ms(2)), ..everything() },
    );
    let (mut first_page, any) = (everything(), everything());
    first_page.settles_max = 1;
    let unknown = [
        ("facts.settle_status", r#""\u0000\u0001""#, true),
        ("origin", "FROM_THE_FUTURE", false),
        ("trade_system", "FROM_THE_FUTURE", false),
        ("last_error", r#"{"reason":"X","novelty":1}"#, false),
        ("state", "FROM_THE_FUTURE", false),
    ];
    for (column, value, readable) in unknown {
        subject.overwrite(&key("unreadable"), column, value).await;
        for query in [&any, &in_states(&[StateKind::Processing]), &of_order("fact-order")] {
            let answer = store.list(query).await;
            assert_eq!(answer.is_ok(), readable, "{column}: {answer:?}");
            assert!(readable || matches!(answer, Err(Error::Unreadable(_))), "{answer:?}");
        }
        assert_eq!(listed(store, &newer).await, ["new"]);
        assert_eq!(listed(store, &older).await, ["old"]);
        assert_eq!(page(store, &first_page).await.records.len(), 1);
    }
    // This version does not know its state: it may be in any.
    for states in [&[StateKind::Rejected][..], &[StateKind::Failed, StateKind::Succeeded]] {
        let queries =
            [in_states(states), ListQuery { states: states.to_vec(), ..of_order("fact-order") }];
        for query in queries {
            let answer = store.list(&query).await;
            assert!(matches!(answer, Err(Error::Unreadable(_))), "{answer:?}");
            let newer = ListQuery { from: newer.from, ..query };
            assert_eq!(listed(store, &newer).await, [""; 0]);
        }
    }
    // A system that this version does not know is none that it can be asked for.
    assert_eq!(listed(store, &in_system(TradeSystem::General)).await, ["new", "old"]);
}

pub(super) async fn a_position_need_not_be_that_of_a_settle(subject: Subject) {
    let store = &subject.store;
    for (number, ms) in [("a", 1), ("b", 2)] {
        record(store, &settle(number, StateKind::Processing, ms)).await;
    }
    let after = async |ms, row| {
        let after = Some(Position { create_time: after_ms(ms), row });
        listed(store, &ListQuery { after, ..everything() }).await
    };
    assert_eq!(after(9, i64::MIN).await, ["b", "a"]);
    assert_eq!(after(2, i64::MAX).await, ["b", "a"]);
    assert_eq!(after(2, i64::MIN).await, ["a"]);
    assert_eq!(after(0, i64::MAX).await, [""; 0]);
}
