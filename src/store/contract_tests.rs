//! The contract of the store as sentences. Each is written against [`Store`] and runs on every
//! backend.
//!
//! A new backend adds an arm to [`Backdoor`], a `make_store` and one line `run_on!`. Nothing here
//! may know how a backend works; what only one backend promises is tested beside it.

pub(super) mod fixtures;
mod fleet;
mod lists;
mod model;
pub(super) mod records;
mod schedule;
mod swaps;
mod sweeps;
mod unfinished;

use super::postgres::tests::server::{Database, Server};
use super::{Sqlite, SqliteOptions, Store};
use crate::clock::Clock;
use crate::settle::Key;

/// An empty store for one test.
pub(super) struct Subject {
    pub(super) store: Store,
    backdoor: Backdoor,
}

/// What a test needs beside the contract: to write as a newer version would.
enum Backdoor {
    Sqlite { directory: tempfile::TempDir },
    Postgres { database: Database },
}

impl Subject {
    /// Writes a value into a column of the settle's own table, past everything; `column.field`: a
    /// JSON value into a field of a structure.
    async fn overwrite(&self, key: &Key, column: &str, value: &str) {
        match &self.backdoor {
            Backdoor::Sqlite { directory } => {
                let connection = sqlite::as_another_program(&sqlite::path(directory));
                let assignment = match column.split_once('.') {
                    None => format!("{column} = ?"),
                    Some((column, field)) => {
                        format!("{column} = json_set({column}, '$.{field}', json(?))")
                    }
                };
                let update = format!("UPDATE settle SET {assignment} WHERE out_settle_no = ?");
                let changed = connection.execute(&update, [value, key.out_settle_no.as_str()]);
                assert_eq!(changed, Ok(1));
            }
            Backdoor::Postgres { database } => {
                postgres::overwrite(database, key, column, value).await;
            }
        }
    }
}

pub(super) mod sqlite {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    pub(super) fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("settles.db")
    }

    /// A connection as a shell or a newer gateway would open it: nothing is set up.
    #[expect(clippy::disallowed_methods, reason = "not the store's connection")]
    pub(in crate::store) fn as_another_program(path: &Path) -> rusqlite::Connection {
        rusqlite::Connection::open(path).unwrap()
    }

    pub(super) async fn make_store() -> Subject {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::runtime(fixtures::NOW);
        let options = SqliteOptions { clock, ..SqliteOptions::new(path(&directory)).creating() };
        let sqlite = Sqlite::open(options).unwrap();
        let store = Store::Sqlite(Arc::new(sqlite));
        Subject { store, backdoor: Backdoor::Sqlite { directory } }
    }
}

pub(super) mod postgres {
    use super::*;
    use std::sync::Arc;

    use crate::store::{Postgres, PostgresOptions};

    pub(super) async fn make_store() -> Subject {
        make(|_, _| {}).await
    }

    pub(super) async fn make(choose: impl FnOnce(&mut PostgresOptions, &Database)) -> Subject {
        let database = Server::shared().database().await;
        // It stands still: the suite moves it.
        let time = Some(Clock::drifting(fixtures::NOW, -1_000_000));
        let mut options = PostgresOptions { time, ..PostgresOptions::new(database.address()) };
        // However busy the machine of the tests is.
        options.connection_wait = std::time::Duration::from_secs(60);
        choose(&mut options, &database);
        Postgres::init(&options).await.unwrap();
        let store = Store::Postgres(Arc::new(Postgres::open(options).await.unwrap()));
        Subject { store, backdoor: Backdoor::Postgres { database } }
    }

    pub(super) async fn overwrite(database: &Database, key: &Key, column: &str, value: &str) {
        let client = database.as_another_program().await;
        let number = key.out_settle_no.as_str();
        let (column, value) = match column.split_once('.') {
            None => (column, value.to_owned()),
            Some((column, path)) => {
                let select = format!("SELECT {column} FROM settle WHERE out_settle_no = $1");
                let row = client.query_one(&select, &[&number]).await.unwrap();
                let mut json: serde_json::Value = serde_json::from_str(row.get(0)).unwrap();
                let field = path.split('.').fold(&mut json, |json, field| &mut json[field]);
                *field = serde_json::from_str(value).unwrap();
                (column, json.to_string())
            }
        };
        let value = value.replace('\'', "''");
        let update = format!("UPDATE settle SET {column} = '{value}' WHERE out_settle_no = $1");
        assert_eq!(client.execute(&update, &[&number]).await.unwrap(), 1);
    }
}

/// Without anything that a pooler or a compatible engine may not have.
pub(super) mod plain_postgres {
    use super::*;

    pub(super) async fn make_store() -> Subject {
        postgres::make(|options, _| options.plain = true).await
    }
}

/// Behind a pooler that gives each transaction another connection.
pub(super) mod pooled_postgres {
    use super::*;

    pub(super) async fn make_store() -> Subject {
        let pooled = |options: &mut crate::store::PostgresOptions, database: &Database| {
            options.plain = true;
            options.address = database.pooled_address();
        };
        postgres::make(pooled).await
    }
}

/// The whole suite on one backend. A sentence that is missing here is dead code, which fails the
/// build.
macro_rules! run_on {
    ($backend:ident, $suite:ident, #[$test:meta]) => {
        run_on!($backend, $suite, #[$test]:
            records::every_field_of_a_record_comes_back_by_either_id,
            records::an_absent_settle_is_none,
            records::a_second_insert_of_a_key_finds_the_first_record,
            records::an_insert_with_a_known_settle_id_finds_its_record,
            records::the_key_is_found_before_the_settle_id,
            records::the_same_numbers_in_another_app_are_another_settle,
            records::the_same_numbers_in_another_trade_system_are_another_settle,
            records::the_number_of_a_create_is_taken_in_every_trade_system_of_its_app,
            records::the_number_of_a_create_without_an_app_is_taken_for_every_default_app,
            records::of_concurrent_creates_of_a_number_in_several_places_one_is_inserted,
            records::of_a_hundred_concurrent_inserts_of_a_key_one_is_inserted,
            records::an_insert_begins_the_history,
            records::a_row_with_an_unknown_word_is_neither_read_nor_claimed_nor_rewritten,
            records::a_row_of_an_unknown_trade_system_is_neither_read_nor_claimed_nor_rewritten,
            records::a_row_of_newer_rules_is_read_and_neither_claimed_nor_rewritten,
            records::a_row_with_an_unknown_structure_is_not_read,
            records::a_row_with_an_unknown_reason_is_read_claimed_and_rewritten,
            records::a_closed_store_is_unavailable,
            swaps::a_swap_replaces_exactly_its_predecessor,
            swaps::a_swap_onto_another_version_conflicts_and_changes_nothing,
            swaps::of_concurrent_swaps_onto_one_version_one_wins,
            swaps::a_swap_under_a_lease_applies_only_while_that_lease_runs,
            swaps::a_conflict_is_told_before_a_lost_lease,
            swaps::a_swap_to_a_taken_settle_id_is_told_and_changes_nothing,
            swaps::a_record_of_the_same_settle_goes_up_in_another_one,
            swaps::what_was_decided_about_an_absorbed_record_is_kept_in_order,
            swaps::what_changed_meanwhile_is_not_absorbed,
            swaps::a_swap_that_absorbs_and_fails_leaves_both_records,
            swaps::a_settle_taken_over_by_the_platform_loses_its_request,
            swaps::history_grows_with_entries_and_is_read_oldest_first,
            swaps::a_release_ends_the_lease_and_leaves_the_schedule,
            swaps::an_extended_lease_keeps_its_fence,
            swaps::not_later_brings_forward_and_never_postpones,
            swaps::not_later_while_a_lease_runs_is_heard_when_it_is_given_back,
            swaps::a_removed_due_row_can_come_back_with_a_greater_fence,
            schedule::an_insert_leaves_exactly_the_due_row_it_asked_for,
            schedule::claims_take_the_longest_due_first_up_to_the_limit,
            schedule::a_lease_keeps_others_out_until_it_ends,
            schedule::one_settle_can_be_claimed_before_it_is_due,
            schedule::claims_stay_within_their_app,
            schedule::what_lies_beyond_the_horizon_is_due,
            schedule::concurrent_claims_share_no_row,
            schedule::only_the_holder_releases_and_only_once,
            schedule::only_the_holder_removes_the_due_row,
            schedule::a_wish_outlives_the_removal_of_the_row_while_a_query_is_owed,
            schedule::next_due_is_the_earliest_moment_of_a_claim,
            schedule::a_claim_tells_how_late_it_is_and_what_is_due_is_counted,
            schedule::a_nudge_brings_forward_but_keeps_the_gap,
            schedule::a_nudge_never_postpones,
            schedule::a_nudge_while_a_lease_runs_is_heard_when_it_is_given_back,
            schedule::a_nudge_while_a_lease_runs_keeps_the_gap,
            schedule::a_wish_is_heard_once_by_the_worker_that_looks_next,
            lists::a_page_has_the_newest_first_and_of_one_moment_the_one_inserted_last,
            lists::a_listed_settle_is_the_whole_record,
            lists::pages_follow_each_other_without_a_gap_or_a_repeat,
            lists::filters_list_exactly_what_passes_all_of_them,
            lists::a_settle_is_of_the_order_in_its_request_or_else_of_the_one_douyin_named,
            lists::a_settle_is_listed_in_the_state_that_it_has_now,
            lists::settles_created_or_changed_meanwhile_move_no_page,
            lists::pages_read_while_others_write_are_consistent,
            lists::a_settle_that_cannot_be_read_is_told_on_its_page_and_only_there,
            lists::a_few_of_thousands_are_listed_to_the_last,
            lists::a_position_need_not_be_that_of_a_settle,
            sweeps::a_settle_that_is_not_final_and_has_no_due_row_is_due_now,
            sweeps::a_due_row_of_a_final_settle_is_removed,
            sweeps::what_fits_together_is_left_alone,
            sweeps::a_due_row_of_a_final_settle_stays_exactly_while_a_query_is_owed,
            sweeps::a_sweep_leaves_a_lease_that_runs_to_its_holder,
            sweeps::a_sweep_does_not_touch_what_it_cannot_read,
            sweeps::a_round_comes_to_everything_whatever_its_steps,
            sweeps::a_sweep_and_a_worker_do_not_get_in_each_others_way,
            sweeps::settles_that_are_not_final_are_counted_by_app,
            unfinished::a_round_finds_everything_that_is_not_at_its_end_whatever_its_steps,
            unfinished::a_settle_that_cannot_be_read_is_not_at_its_end,
            fleet::a_process_shows_its_last_beat_until_it_is_removed,
            fleet::of_the_pauses_of_an_app_the_longest_is_shown_until_it_is_over,
            fleet::the_token_saved_last_comes_back_older,
            fleet::one_process_at_a_time_has_the_turn_to_fetch_a_token,
            fleet::a_slow_fetch_never_replaces_a_newer_token,
            fleet::of_concurrent_processes_one_gets_the_turn,
            fleet::a_hint_comes_to_all_that_listen,
            fleet::many_hints_at_once_all_come_or_are_said_to_be_lost,
            fleet::what_changed_of_the_known_settles_is_told,
            fleet::what_is_not_looked_at_soon_is_told_unless_a_worker_looks_now,
            fleet::a_running_lease_shows_in_the_schedule,
            model::random_operations_end_as_in_the_model,
        );
    };
    ($backend:ident, $suite:ident, #[$test:meta]: $($module:ident :: $name:ident,)*) => {
        mod $suite {
            $(
                #[$test]
                async fn $name() {
                    super::$module::$name(super::$backend::make_store().await).await;
                }
            )*
        }
    };
}

run_on!(sqlite, on_sqlite, #[tokio::test(start_paused = true)]);
// The server takes real time, and the store's clock stands still.
run_on!(postgres, on_postgres, #[tokio::test]);
run_on!(plain_postgres, on_plain_postgres, #[tokio::test]);
run_on!(pooled_postgres, on_pooled_postgres, #[tokio::test]);
