//! The contract of the store as sentences, each written against [`Store`] and run on every backend.
//!
//! A new backend adds an arm to [`Backdoor`], a `make_store` and one line `run_on!`. Nothing here
//! may know how a backend works; what only one of them promises is tested beside it.

pub(super) mod fixtures;
mod model;
mod records;
mod schedule;
mod swaps;

use super::{Sqlite, SqliteOptions, Store};
use crate::settle::Key;

/// A store of its own for one test, empty.
pub(super) struct Subject {
    pub(super) store: Store,
    backdoor: Backdoor,
}

/// What a test needs besides the contract: the hand of a newer version.
enum Backdoor {
    Sqlite { directory: tempfile::TempDir },
}

impl Subject {
    /// Writes a value into a column of the settle's own table, past everything.
    fn overwrite(&self, key: &Key, column: &str, value: &str) {
        match &self.backdoor {
            Backdoor::Sqlite { directory } => {
                let connection = sqlite::as_another_program(&sqlite::path(directory));
                let update = format!("UPDATE settle SET {column} = ? WHERE out_settle_no = ?");
                let changed = connection.execute(&update, [value, key.out_settle_no.as_str()]);
                assert_eq!(changed, Ok(1));
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
        let sqlite = Sqlite::open(SqliteOptions::new(path(&directory))).unwrap();
        let store = Store::Sqlite(Arc::new(sqlite));
        Subject { store, backdoor: Backdoor::Sqlite { directory } }
    }
}

/// The whole suite on one backend. A sentence that is missing here is dead code, which fails the
/// build.
macro_rules! run_on {
    ($backend:ident, $suite:ident) => {
        run_on!($backend, $suite:
            records::every_field_of_a_record_comes_back_by_either_id,
            records::an_absent_settle_is_none,
            records::a_second_insert_of_a_key_finds_the_first_record,
            records::an_insert_with_a_known_settle_id_finds_its_record,
            records::the_key_is_found_before_the_settle_id,
            records::the_same_numbers_in_another_app_are_another_settle,
            records::of_a_hundred_concurrent_inserts_of_a_key_one_is_inserted,
            records::an_insert_begins_the_history,
            records::a_row_with_an_unknown_word_is_neither_read_nor_claimed_nor_rewritten,
            records::a_row_with_an_unknown_structure_is_not_read,
            records::the_token_saved_last_comes_back,
            records::a_closed_store_is_unavailable,
            swaps::a_swap_replaces_exactly_its_predecessor,
            swaps::a_swap_onto_another_version_conflicts_and_changes_nothing,
            swaps::of_concurrent_swaps_onto_one_version_one_wins,
            swaps::a_swap_under_a_lease_applies_only_while_that_lease_runs,
            swaps::a_conflict_is_told_before_a_lost_lease,
            swaps::a_swap_to_a_taken_settle_id_is_told_and_changes_nothing,
            swaps::a_settle_taken_over_by_the_platform_loses_its_request,
            swaps::history_grows_with_entries_and_is_read_oldest_first,
            swaps::a_release_ends_the_lease_and_leaves_the_schedule,
            swaps::an_extended_lease_keeps_its_fence,
            swaps::not_later_brings_forward_and_never_postpones,
            swaps::a_removed_due_row_can_come_back_with_a_greater_fence,
            schedule::an_insert_leaves_exactly_the_due_row_it_asked_for,
            schedule::claims_take_the_longest_due_first_up_to_the_limit,
            schedule::a_lease_keeps_others_out_until_it_ends,
            schedule::claims_stay_within_their_app,
            schedule::what_lies_beyond_the_horizon_is_due,
            schedule::concurrent_claims_share_no_row,
            schedule::only_the_holder_releases_and_only_once,
            schedule::only_the_holder_removes_the_due_row,
            schedule::next_due_is_the_earliest_moment_of_a_claim,
            schedule::a_nudge_brings_forward_but_keeps_the_gap,
            schedule::a_nudge_never_postpones,
            model::random_operations_end_as_in_the_model,
        );
    };
    ($backend:ident, $suite:ident: $($module:ident :: $name:ident,)*) => {
        mod $suite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$module::$name(super::$backend::make_store().await).await;
                }
            )*
        }
    };
}

run_on!(sqlite, on_sqlite);
