//! Databases that earlier versions of the gateway wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use secrecy::ExposeSecret;

use super::super::connect::connect_writer;
use super::super::files::beside;
use super::super::migrations::{migrate, migrate_to, room_needed, version};
use super::super::{Sqlite, SqliteOptions};
use crate::clock::Clock;
use crate::settle::{
    HistoryEntry, Origin, OutSettleNo, PermissionId, ProcessId, Record, Source, State, StateKind,
};
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::records::all_kinds_of_records;
use crate::store::contract_tests::sqlite::as_another_program;
use crate::store::{Fence, ListQuery, Store, SweepCursor};

/// What a gateway of version 5 wrote: [`of_version_5`], a settle with twenty revisions that a
/// worker has leased and an observer asked for, one that ended, and a token.
const ROWS_OF_VERSION_5: &str = include_str!("data/version_5.sql");

/// The settles with one revision among them.
fn of_version_5() -> Vec<Record> {
    let state = State::Processing { settle_id: settle_id("ots-elsewhere") };
    let mut records = all_kinds_of_records();
    records.push(adopted(key_of("tt02", "1"), state));
    for record in &mut records {
        record.decision = None;
        record.facts.inner_settle_id = None;
        record.evidence.stopped = false;
        record.evidence.stop_confirmed = false;
        if let Origin::Gateway(request) = &mut record.origin {
            request.by_default_app = false;
            request.created_by = None;
            request.trace = None;
        }
    }
    records
}

fn of_twenty_revisions() -> (Record, Vec<HistoryEntry>) {
    let mut record = submitted(key("long"));
    let mut history = vec![record.history_entry(Source::Gateway, None)];
    for revision in 2..=20 {
        record = next(&record, |record| {
            record.revision = revision;
            record.update_time = after_ms(u64::try_from(revision).unwrap());
            record.last_error = (revision % 2 == 0).then(|| failure(23_000));
        });
        let source = if revision % 3 == 0 { Source::Query } else { Source::Create };
        let log_id = (revision % 2 == 1).then(|| format!("log-{revision}"));
        history.push(record.history_entry(source, log_id));
    }
    (record, history)
}

/// There a number of Douyin's was one settle's in the whole app.
const AS_VERSION_4: &str = "
    DROP INDEX settle_by_settle_id;
    CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, settle_id)
        WHERE settle_id IS NOT NULL;
    PRAGMA user_version = 4;";

/// What that version had instead of permissions: a count and a moment.
const AS_VERSION_3: &str = "
    ALTER TABLE settle RENAME COLUMN lost TO unanswered;
    ALTER TABLE settle ADD COLUMN last_permit_ms INTEGER;
    UPDATE settle SET unanswered = unanswered + coalesce(json_array_length(open_permissions), 0),
                      last_permit_ms = last_permission ->> 'time_ms';
    ALTER TABLE settle DROP COLUMN open_permissions;
    ALTER TABLE settle DROP COLUMN last_permission;
    ALTER TABLE settle DROP COLUMN set_back;
    ALTER TABLE settle DROP COLUMN owes_query;
    ALTER TABLE settle DROP COLUMN rules;
    DROP TABLE generation;
    PRAGMA user_version = 3;";

const AS_VERSION_1: &str = "
    DROP INDEX settle_by_open_contradiction;
    ALTER TABLE settle DROP COLUMN contradiction_resolved_ms;
    PRAGMA user_version = 1";

/// A database of version 5, taken back by these scripts.
struct Old {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Old {
    fn new(back: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settles.db");
        let mut connection = as_another_program(&path);
        let purpose = SqliteOptions::new(&path).purpose;
        connection.pragma_update(None, "application_id", purpose.application_id()).unwrap();
        migrate_to(&mut connection, 5).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        connection.execute_batch(ROWS_OF_VERSION_5).unwrap();
        for script in back {
            connection.execute_batch(script).unwrap();
        }
        Self { path, _directory: directory }
    }

    fn open(&self) -> Store {
        open(&self.path)
    }
}

fn open(path: &Path) -> Store {
    let options =
        SqliteOptions { clock: Clock::runtime(NOW), ..SqliteOptions::new(path).creating() };
    Store::Sqlite(Sqlite::open(options).unwrap().into())
}

async fn assert_is_all_there(store: &Store) {
    for record in of_version_5() {
        let history = vec![record.history_entry(Source::Gateway, None)];
        assert_eq!(store.history(&record.key, 9).await, Ok(history));
        assert_eq!(store.get(&record.key).await, Ok(Some(record)));
    }
    let (long, history) = of_twenty_revisions();
    assert_eq!(store.get(&long.key).await, Ok(Some(long.clone())));
    assert_eq!(store.history(&long.key, 99).await, Ok(history));
    let ended = store.get(&key("removed")).await.unwrap().unwrap();
    assert_eq!(ended.state, State::Rejected { rejection: failure(23_112) });
    let token = store.token(&app("tt01")).await.unwrap().unwrap();
    assert_eq!(token.access_token.expose_secret(), "clt.kept");
}

#[tokio::test(start_paused = true)]
async fn a_database_of_version_5_is_taken_over_with_everything_in_it() {
    let old = Old::new(&[]);
    let store = old.open();
    assert_is_all_there(&store).await;

    // The schedule: what was due, what was not, and the leases, which are void now.
    assert_eq!(due_at(&store, &key("n0")).await, Ok(Some(NOW)));
    assert_eq!(due_at(&store, &key("n1")).await, Ok(None));
    assert_eq!(due_at(&store, &key("n2")).await, Ok(Some(after_ms(90_000))));
    assert_eq!(due_at(&store, &key("long")).await, Ok(Some(NOW)));
    assert_eq!(due_at(&store, &key("removed")).await, Ok(None));
    let claims = claim(&store, NOW).await;
    let fence = |number: &str| {
        claims.iter().find(|claim| claim.key == key(number)).map(|claim| claim.fence)
    };
    assert_eq!((fence("n0"), fence("long"), fence("n2")), (Some(Fence(2)), Some(Fence(2)), None));
    // No fence of before is given a second time.
    let ended = store.get(&key("removed")).await.unwrap().unwrap();
    let state = State::Processing { settle_id: settle_id("ots-again") };
    let again = next(&ended, |record| record.state = state);
    let swap = crate::store::Swap { due: not_later(NOW), ..fact(again) };
    assert_eq!(store.swap(swap).await, Ok(crate::store::Swapped::Done));
    assert_eq!(claim(&store, NOW).await[0].fence, Fence(2));

    // Lists and numbers of Douyin's find everything.
    let of_order = ListQuery {
        app_id: app("tt01"),
        out_order_no: crate::settle::OutOrderNo::parse("order-1").ok(),
        trade_system: None,
        states: Vec::new(),
        from: None,
        until: None,
        after: None,
        settles_max: 100,
    };
    let everything = ListQuery { out_order_no: None, ..of_order.clone() };
    let processing = ListQuery { states: vec![StateKind::Processing], ..everything.clone() };
    for (query, settles) in [(everything, 22), (of_order, 12), (processing, 5)] {
        assert_eq!(store.list(&query).await.unwrap().records.len(), settles, "{query:?}");
    }
    let elsewhere = of_version_5().pop().unwrap();
    let found = by_settle_id(&store, &elsewhere.key, &settle_id("ots-elsewhere")).await;
    assert_eq!(found, Ok(Some(elsewhere)));
    store.close().await;
}

/// Copies the files in the middle of the migration, as a kill would leave them.
#[tokio::test(start_paused = true)]
async fn a_kill_in_the_middle_of_the_migration_loses_nothing() {
    let old = Old::new(&[]);
    let mut connection = connect_writer(&old.path, Duration::ZERO).unwrap();
    // So that SQLite writes into the log what is not committed yet.
    connection.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
    let (path, copies) = (old.path.clone(), Arc::new(Mutex::new(Vec::new())));
    let (taken, mut looks) = (Arc::clone(&copies), 0);
    let copy = move || {
        looks += 1;
        if looks % 10 == 0 {
            let copy = path.with_extension(format!("copy-{looks}"));
            for suffix in ["", "-wal"] {
                fs::copy(beside(&path, suffix), beside(&copy, suffix)).unwrap();
            }
            taken.lock().unwrap().push(copy);
        }
        false
    };
    connection.progress_handler(20, Some(copy)).unwrap();
    migrate(&mut connection).unwrap();
    drop(connection);
    let copies = copies.lock().unwrap().clone();
    assert!(copies.len() > 10, "{}", copies.len());
    let spilled = |copy: &&PathBuf| fs::metadata(beside(copy, "-wal")).unwrap().len() > 100_000;
    assert!(copies.iter().filter(spilled).count() > 3);
    for copy in copies {
        let version_of_copy = version(&as_another_program(&copy)).unwrap();
        // The later steps change no row.
        assert!((5..=8).contains(&version_of_copy), "{}", copy.display());
        let store = open(&copy);
        assert_is_all_there(&store).await;
        store.close().await;
    }
}

/// An error takes everything back, too.
#[tokio::test]
async fn a_migration_that_fails_leaves_the_version_before() {
    let old = Old::new(&["CREATE TABLE late_history (this TEXT)"]);
    let options = SqliteOptions::new(&old.path);
    let error = Sqlite::open(options).err().unwrap().to_string();
    assert!(error.contains("migrate its schema"), "{error}");
    let connection = as_another_program(&old.path);
    assert_eq!(version(&connection).unwrap(), 5);
    connection.execute_batch("DROP TABLE late_history").unwrap();
    drop(connection);
    let store = old.open();
    assert_is_all_there(&store).await;
    store.close().await;
}

#[test]
fn only_a_migration_that_writes_every_settle_needs_room() {
    assert_eq!(room_needed(6, 1_000_000), 0);
    assert_eq!(room_needed(5, 1_000_000), 2_500_000);
    assert_eq!(room_needed(1, 1_000_000), 2_500_000);
}

/// What the migration to version 4 makes of permissions that nothing names.
fn lose_permissions(record: &mut Record) {
    let evidence = &mut record.evidence;
    evidence.lost = evidence.unanswered();
    evidence.open.clear();
    evidence.set_back = false;
    if let Some(last) = &mut evidence.last_permission {
        last.id = PermissionId { process: ProcessId(0), number: 0 };
        last.lasts = Duration::ZERO;
    }
}

#[tokio::test(start_paused = true)]
async fn what_version_3_left_unanswered_is_lost_and_what_owed_a_query_owes_it() {
    let old = Old::new(&[AS_VERSION_4, AS_VERSION_3]);
    let store = old.open();
    store.sweep(SweepCursor::default(), 1_000).await.unwrap();
    for mut record in of_version_5() {
        lose_permissions(&mut record);
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
        let due = due_at(&store, &record.key).await.unwrap();
        if !record.is_final() {
            assert!(due.is_some(), "{record:?}");
        } else if !record.owes_a_query() {
            assert_eq!(due, None, "{record:?}");
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_database_of_version_1_opens_and_its_settles_are_what_they_were() {
    let old = Old::new(&[AS_VERSION_4, AS_VERSION_3, AS_VERSION_1]);
    let store = old.open();
    for mut record in of_version_5() {
        lose_permissions(&mut record);
        if let Some(contradiction) = &mut record.contradiction {
            contradiction.resolved = None;
        }
        assert_eq!(store.get(&record.key).await, Ok(Some(record)));
    }
    store.close().await;
}

#[tokio::test]
async fn a_number_that_version_4_kept_for_the_whole_app_is_free_in_another_trade_system() {
    let old = Old::new(&[AS_VERSION_4]);
    let number = settle_id("ots-elsewhere");
    let (one, another) = (key_of("tt02", "1"), OutSettleNo::parse("another").unwrap());
    let store = old.open();
    let found = by_settle_id(&store, &one, &number).await.unwrap();
    assert_eq!(found.map(|record| record.key), Some(one));
    store.close().await;
    let connection: Connection = as_another_program(&old.path);
    let copy = "
        CREATE TEMP TABLE copy AS SELECT * FROM settle WHERE settle_id = 'ots-elsewhere';
        UPDATE copy SET id = 1000, trade_system = 'FROM_THE_FUTURE', out_settle_no = 'another';
        INSERT INTO settle SELECT * FROM copy";
    connection.execute_batch(copy).unwrap();
    let numbers = "SELECT count(*) FROM settle WHERE out_settle_no = ?";
    let numbers: i64 = connection.query_row(numbers, [another.as_str()], |row| row.get(0)).unwrap();
    assert_eq!(numbers, 1);
}
