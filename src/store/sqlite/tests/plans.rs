//! How SQLite carries out what runs for every settle.

use super::super::{history, rows, schedule, settles};
use super::Stepped;

#[test]
fn every_statement_finds_its_rows_by_an_index_in_the_order_it_needs() {
    let mut stepped = Stepped::open();
    let statements = [
        &rows::SELECT_BY_KEY,
        &rows::SELECT_BY_SETTLE_ID,
        &settles::SELECT_FOUND,
        &schedule::SELECT_DUE,
        &schedule::SELECT_BEYOND_HORIZON,
        &schedule::SELECT_SCHEDULE,
    ];
    let mut statements: Vec<&str> = statements.map(|sql| sql.as_str()).to_vec();
    statements.extend([schedule::SELECT_DUE_AT, history::SELECT_HISTORY]);
    for sql in statements {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut plan = stepped.committer.connection().prepare(&explain).unwrap();
        let mut rows = plan.raw_query();
        let mut steps: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get("detail").unwrap());
        }
        assert!(!steps.is_empty());
        // No scan of a table, no sorting.
        assert!(steps.iter().all(|step| step.starts_with("SEARCH ")), "{steps:?} for {sql}");
    }
}
