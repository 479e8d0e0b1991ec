//! How SQLite carries out what runs for every settle: by an index, in the order of that index, and
//! at a cost that does not grow with the number of settles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::super::{history, list, rows, schedule, settles, sweep, unfinished};
use super::Stepped;
use crate::settle::{OutOrderNo, StateKind, TradeSystem};
use crate::store::contract_tests::fixtures::*;
use crate::store::list::LOOKS_MAX;
use crate::store::{DuePosition, ListQuery, Position, SweepCursor};

/// More than any plan would scan unnoticed.
const MANY: i64 = 100_000;

/// Settles of the app `tt01`, all of them due. The few that are not `SUCCEEDED`, and those of
/// `order-old`, are the oldest: a search from the newest on comes to them last. The
/// others share two orders. A quarter of all settles shares each moment.
fn fill(connection: &Connection, settles: i64) {
    let insert = "
        WITH RECURSIVE numbers (i) AS
            (SELECT 0 WHERE ?1 > 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?1 - 1)
        INSERT INTO settle (id, app_id, trade_system, out_settle_no, create_time_ms, version,
                            revision, rules, update_time_ms, origin, state, settle_id, owes_query,
                            rejection, listed_order_no, fence, due_at_ms, attempts, backoff,
                            history)
        SELECT i + 1, 'tt01', 'GENERAL', printf('n%06d', i), ?2 + 4 * i / ?1, 1, 1, 1, ?2,
        'PLATFORM', state,
               iif(state IN ('SUBMITTING', 'REJECTED'), NULL, printf('ots%06d', i)), 0,
               iif(state = 'REJECTED', '{\"reason\":\"X\"}', NULL),
               iif(i < 60, 'order-old', 'order-' || (i % 2)), 0, ?2 - (i + 1) % 1000, 0, 0, ''
        FROM (SELECT i, CASE i / 60 WHEN 0 THEN 'FAILED' WHEN 1 THEN 'REJECTED'
                                    WHEN 2 THEN 'PROCESSING' WHEN 3 THEN 'SUBMITTING'
                                    ELSE 'SUCCEEDED' END AS state
              FROM numbers)";
    connection.execute(insert, [settles, NOW.as_ms()]).unwrap();
}

fn database(settles: i64) -> Stepped {
    let mut stepped = Stepped::open();
    let connection = stepped.committer.connection();
    // The test does not need it after a crash.
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    fill(connection, settles);
    stepped
}

/// A database of that size as the gateway leaves it, and one with the statistics that another
/// program may have collected.
fn databases(settles: i64) -> [Stepped; 2] {
    ["", "ANALYZE"].map(|collect| {
        let mut stepped = database(settles);
        stepped.committer.connection().execute_batch(collect).unwrap();
        stepped
    })
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
        settles_max: 50,
    }
}

fn of_order(number: &str) -> ListQuery {
    ListQuery { out_order_no: Some(OutOrderNo::parse(number).unwrap()), ..everything() }
}

/// What SQLite's virtual machine does while `run` runs.
fn steps(connection: &mut Connection, run: impl FnOnce(&Connection)) -> u32 {
    let counted = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&counted);
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(count)).unwrap();
    run(connection);
    connection.progress_handler(1, None::<fn() -> bool>).unwrap();
    counted.load(Ordering::Relaxed)
}

/// Every kind of page there is in a database of that size, by name, with what is on it.
fn pages(settles: i64) -> Vec<(String, ListQuery, usize)> {
    use StateKind::{Failed, Processing, Rejected, Submitting, Succeeded};
    let in_states = |states: &[StateKind]| ListQuery { states: states.to_vec(), ..everything() };
    let mut pages = Vec::new();
    // Whether there are settles like that in every moment, or only in the oldest.
    let mut page = |name: &str, query: ListQuery, everywhere: bool| {
        let window =
            ListQuery { from: Some(after_ms(1)), until: Some(after_ms(2)), ..query.clone() };
        let middle = Some(Position { create_time: after_ms(1), row: settles * 3 / 8 });
        let rest = ListQuery { after: middle, ..query.clone() };
        let rest_of_window = ListQuery { after: middle, ..window.clone() };
        let of_window = if everywhere { 50 } else { 0 };
        pages.push((name.to_owned(), query, 50));
        pages.push((format!("{name} in a window"), window, of_window));
        pages.push((format!("{name} in the middle of a moment"), rest, 50));
        pages.push((format!("{name} in the middle of a window"), rest_of_window, of_window));
    };
    page("all", everything(), true);
    page("a small order", of_order("order-old"), false);
    page("a huge order", of_order("order-1"), true);
    for state in [Submitting, Processing, Failed, Rejected] {
        page(&format!("{state:?}"), in_states(&[state]), false);
    }
    page("Succeeded", in_states(&[Succeeded]), true);
    page("two states", in_states(&[Failed, Processing]), false);
    page("all states", in_states(&[Failed, Processing, Rejected, Submitting, Succeeded]), true);
    pages
}

#[test]
fn every_statement_finds_its_rows_by_an_index_in_the_order_it_needs() {
    let statements = [
        &rows::SELECT_BY_KEY,
        &rows::SELECT_BY_SETTLE_ID,
        &rows::SELECT_BY_ROW,
        &rows::SELECT_ELSEWHERE,
        &rows::SELECT_OF_DEFAULT_APP,
        &settles::SELECT_FOUND,
        &schedule::SELECT_DUE,
        &schedule::SELECT_BEYOND_HORIZON,
        &schedule::SELECT_SCHEDULE,
        &schedule::SELECT_WAITING,
        &list::SELECT_OF_STATE,
        &list::SELECT_OF_ORDER,
        &sweep::SELECT_DUE_ROWS,
        &sweep::SELECT_SUPERFLUOUS,
        &sweep::SELECT_OPEN,
        &sweep::UPDATE_MISSING,
    ];
    let mut statements: Vec<&str> = statements.map(|sql| sql.as_str()).to_vec();
    statements.extend([
        settles::UPDATE_LISTED,
        schedule::SELECT_SCHEDULED,
        history::INSERT_LATE,
        history::SELECT_HISTORY,
        history::SELECT_LATE,
        list::SELECT_SYSTEM,
        list::SELECT_NEXT_APP,
        list::SELECT_NEXT_STATE,
        list::COUNT_OF_STATE,
        unfinished::SELECT_IN_STATE,
        unfinished::SELECT_DISPUTED,
    ]);
    for mut stepped in [0, MANY].into_iter().flat_map(databases) {
        for sql in &statements {
            let plan = plan(stepped.committer.connection(), sql);
            assert!(!plan.is_empty());
            // No scan of a table, no sorting, no index made for the occasion.
            let fine = |step: &String| {
                let search = step.starts_with("SEARCH ") && !step.contains("AUTOMATIC");
                // Two scans in the same order become one, as they go.
                let merge = ["MERGE (UNION ALL)", "LEFT", "RIGHT"].contains(&step.as_str());
                search || merge || step.starts_with("CORRELATED SCALAR SUBQUERY ")
            };
            assert!(plan.iter().all(fine), "{plan:?} for {sql}");
        }
    }
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = plan.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get("detail").unwrap());
    }
    steps
}

#[test]
fn a_number_of_douyin_is_found_by_its_own_index() {
    for mut stepped in [0, MANY].into_iter().flat_map(databases) {
        let plan = plan(stepped.committer.connection(), &rows::SELECT_BY_SETTLE_ID);
        let whole = "settle_by_settle_id (app_id=? AND trade_system=? AND settle_id=?)";
        assert!(plan.iter().any(|step| step.ends_with(whole)), "{plan:?}");
    }
}

#[test]
fn pages_claims_and_sweeps_cost_the_same_however_many_settles_there_are() {
    let costs = [MANY / 50, MANY].map(|settles| {
        databases(settles).map(|mut stepped| {
            let connection = stepped.committer.connection();
            let pages = costs_of_pages(connection, settles);
            pages.into_iter().chain(costs_of_work(connection)).collect::<Vec<_>>()
        })
    });
    let [few, many] = costs.map(|costs| costs.concat());
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        assert!(many <= few + few / 20, "{name}: {few} steps became {many}");
    }
}

fn costs_of_pages(connection: &mut Connection, settles: i64) -> Vec<(String, u32)> {
    let cost = |(name, query, on_page): (String, ListQuery, usize)| {
        let mut found = 0;
        let cost = steps(connection, |connection| {
            found = list::list(connection, &query).unwrap().records.len();
        });
        assert_eq!(found, on_page, "{name}");
        (name, cost)
    };
    pages(settles).into_iter().map(cost).collect()
}

/// Of a poller and a sweeper, while everything is due.
fn costs_of_work(connection: &mut Connection) -> Vec<(String, u32)> {
    connection.execute_batch("BEGIN").unwrap();
    let claim = steps(connection, |connection| {
        let limits = claims(32);
        let claims = schedule::claim_due(connection, &app("tt01"), &limits, NOW).unwrap();
        assert_eq!(claims.len(), 32);
    });
    let next_due = steps(connection, |connection| {
        schedule::next_due(connection, &app("tt01")).unwrap().unwrap();
    });
    connection.execute_batch("ROLLBACK").unwrap();
    let mut costs = vec![("a claim".to_owned(), claim), ("the next due row".to_owned(), next_due)];
    let middle = Position { create_time: NOW, row: 150 };
    let due_in_the_middle = DuePosition { due_at: before_ms(500), row: 1_500 };
    for from in [
        SweepCursor::default(),
        SweepCursor::Due { app_id: app("tt01"), after: due_in_the_middle },
        SweepCursor::Open { app_id: app("tt01"), state: StateKind::Processing, after: middle },
    ] {
        let name = format!("a sweep from {from:?}");
        let cost = steps(connection, |connection| {
            sweep::look(connection, NOW, from, 30).unwrap();
        });
        costs.push((name, cost));
    }
    costs
}

#[test]
fn a_page_of_a_few_among_many_is_short_instead_of_slow() {
    let mut stepped = database(MANY / 5);
    let connection = stepped.committer.connection();
    let update = "UPDATE settle SET trade_system = 'INDUSTRY' WHERE id BETWEEN 41 AND 80";
    assert_eq!(connection.execute(update, []), Ok(40));
    let (states, trade_system) = (vec![StateKind::Rejected], Some(TradeSystem::Industry));
    for (mut query, in_all) in [
        (ListQuery { states, ..of_order("order-1") }, 30),
        (ListQuery { trade_system, ..of_order("order-old") }, 20),
        (ListQuery { trade_system, ..everything() }, 40),
    ] {
        let mut found = 0;
        loop {
            let mut next = None;
            let cost = steps(connection, |connection| {
                let page = list::list(connection, &query).unwrap();
                (found, next) = (found + page.records.len(), page.next);
            });
            assert!(cost < 50 * LOOKS_MAX, "{cost} steps for {query:?}");
            match next {
                Some(_) => query.after = next,
                None => break,
            }
        }
        assert_eq!(found, in_all, "{query:?}");
    }
}
