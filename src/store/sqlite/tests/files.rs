//! The files of a database that is ours: how they are made, kept, and found again after a kill.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::files::{
    Header, beside, create_private, find, header, keep_private, locate, orphan,
};
use super::super::{Sqlite, SqliteOptions};
use crate::clock::Clock;
use crate::settle::{
    Contradiction, PermissionId, ProcessId, Record, SettleId, Source, State, StateKind,
};
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::sqlite::as_another_program;
use crate::store::{Fence, NewDue, Store, SweepCursor};

fn open(path: &Path) -> Store {
    let options =
        SqliteOptions { clock: Clock::runtime(NOW), ..SqliteOptions::new(path).creating() };
    Store::Sqlite(Sqlite::open(options).unwrap().into())
}

fn mode(path: PathBuf) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Copies what a killed process would leave on the disk.
fn copy_as_killed(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[tokio::test]
async fn a_new_database_is_private_durable_and_marked_as_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data").join("settles.db");
    let store = open(&path);
    assert_eq!(store.ping().await, Ok(()));
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(beside(&path, suffix)), 0o600, "{suffix}");
    }
    assert!(!beside(&path, ".new").exists());

    let writer = super::super::connect::connect_writer(&path, Duration::ZERO).unwrap();
    let pragma = |name: &str| -> String {
        writer
            .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    let pragmas = ["journal_mode", "synchronous", "foreign_keys", "user_version", "application_id"];
    let ours = i32::from_be_bytes(*b"SetG").to_string();
    assert_eq!(pragmas.map(pragma), ["wal", "2", "1", "5", &ours]);
    assert_eq!(pragma("cache_size"), "-16384", "KiB; without the sign it would be pages");
    drop(writer);
    store.close().await;
}

#[test]
fn a_name_without_a_directory_is_in_the_working_directory() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(locate(Path::new("no-such.db")).unwrap(), here.join("no-such.db"));
}

/// Only what is not there is missing: a database that cannot be looked at is not made anew.
#[test]
fn what_cannot_be_read_or_removed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(header(&fs::File::open(&file).unwrap()).unwrap(), Header::Empty);
    assert!(header(&fs::File::open(directory.path()).unwrap()).is_err());
    assert_eq!(find(&directory.path().join("none")).unwrap(), None);
    assert!(find(&file.join("below-a-file")).is_err());
    let taken = directory.path().join("taken.db");
    fs::create_dir(beside(&taken, "-wal")).unwrap();
    assert!(create_private(&taken).is_err());
}

#[test]
fn a_log_belongs_to_a_lost_database_only_if_it_holds_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    for suffix in ["-wal", "-journal"] {
        let log = beside(&path, suffix);
        fs::write(&log, "").unwrap();
        assert_eq!(orphan(&path), None, "{suffix}");
        fs::write(&log, "x").unwrap();
        assert_eq!(orphan(&path).as_ref(), Some(&log), "{suffix}");
        fs::remove_file(log).unwrap();
    }
}

#[test]
fn what_others_may_not_do_with_a_file_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for (before, after) in [(0o400, 0o400), (0o600, 0o600), (0o640, 0o600), (0o604, 0o600)] {
        let path = directory.path().join(format!("{before:o}"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        keep_private(&path);
        assert_eq!(mode(path), after, "{before:o}");
    }
}

#[tokio::test]
async fn only_the_last_directory_of_the_path_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("a").join("b").join("settles.db");
    assert!(Sqlite::open(SqliteOptions::new(deep).creating()).is_err());
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn a_closed_store_leaves_one_complete_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("1")), due_now()).await;
    assert!(store.get(&key("1")).await.unwrap().is_some());
    store.close().await;
    assert!(!beside(&path, "-wal").exists());
    let moved = directory.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    let store = open(&moved);
    assert!(store.get(&key("1")).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn every_answered_write_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    for number in 0..100 {
        let record = submitted(key(&format!("n{number}")));
        insert(&store, &record, leased_until(after_ms(60_000))).await;
        let swap = fact(next(&record, |record| record.evidence.lost = number));
        store.swap(swap).await.unwrap();
        if number % 20 != 0 {
            continue;
        }
        let copy = directory.path().join(format!("copy{number}.db"));
        copy_as_killed(&path, &copy);
        let reopened = open(&copy);
        for answered in 0..=number {
            let record = reopened.get(&key(&format!("n{answered}"))).await.unwrap().unwrap();
            assert_eq!(record.evidence.lost, answered);
        }
        reopened.close().await;
    }
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_a_killed_process_are_void_and_fences_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("create")), leased_until(after_ms(60_000))).await;
    at(&store, before_ms(5), insert(&store, &submitted(key("poll")), due_now())).await;
    insert(&store, &submitted(key("later")), due_then(after_ms(60_000))).await;
    assert_eq!(numbers(&claim(&store, NOW).await), ["poll"]);
    assert_eq!(claim(&store, NOW).await, []);
    let copy = directory.path().join("copy.db");
    copy_as_killed(&path, &copy);
    let reopened = open(&copy);
    let claims = claim(&reopened, NOW).await;
    assert_eq!(numbers(&claims), ["poll", "create"]);
    assert!(claims.iter().all(|claim| claim.fence == Fence(2)));
    assert_eq!(next_due(&reopened, &app("tt01")).await, Ok(Some(after_ms(60_000))));
    reopened.close().await;
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_outlives_a_kill_and_ends_with_the_first_look() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    insert(&store, &submitted(key("1")), leased_until(after_ms(60_000))).await;
    // The first send was made just now: with a gap, the wish is for a moment after it.
    let nudged = nudge(&store, &key("1"), NOW, Duration::from_millis(5)).await;
    assert_eq!(nudged, Ok(Some(after_ms(5))));
    let copy = directory.path().join("copy.db");
    copy_as_killed(&path, &copy);
    let reopened = open(&copy);
    let fence = claim(&reopened, NOW).await[0].fence;
    let release = rest_until(after_ms(70_000));
    assert_eq!(reopened.release(&key("1"), fence, release).await, Ok(true));
    assert_eq!(due_at(&reopened, &key("1")).await, Ok(Some(after_ms(70_000))));
    reopened.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_database_of_version_1_opens_and_its_settles_are_what_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    let mut disputed =
        adopted(key("2"), State::Failed { settle_id: SettleId::parse("ots1").unwrap() });
    disputed.contradiction = Some(Contradiction {
        claimed: StateKind::Succeeded,
        settle_id: SettleId::parse("ots1").unwrap(),
        source: Source::Query,
        time: NOW,
        resolved: None,
    });
    let records = [submitted(key("1")), disputed];
    for record in &records {
        insert(&store, record, due_now()).await;
    }
    store.close().await;
    let old = as_another_program(&path);
    old.execute_batch(AS_VERSION_4).unwrap();
    old.execute_batch(AS_VERSION_3).unwrap();
    old.execute_batch(
        "DROP INDEX settle_by_open_contradiction;
         ALTER TABLE settle DROP COLUMN contradiction_resolved_ms; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let store = open(&path);
    for mut record in records {
        lose_permissions(&mut record);
        assert_eq!(store.get(&record.key).await, Ok(Some(record)));
    }
    store.close().await;
}

/// There a number of Douyin's was one settle's in the whole app.
const AS_VERSION_4: &str = "
    DROP INDEX settle_by_settle_id;
    CREATE UNIQUE INDEX settle_by_settle_id ON settle (app_id, settle_id)
        WHERE settle_id IS NOT NULL;
    PRAGMA user_version = 4;";

/// What the version before had instead of permissions: a count and a moment.
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

/// What the migration makes of permissions that nothing names.
fn lose_permissions(record: &mut Record) {
    let evidence = &mut record.evidence;
    evidence.lost = evidence.unanswered();
    evidence.open.clear();
    if let Some(last) = &mut evidence.last_permission {
        last.id = PermissionId { process: ProcessId(0), number: 0 };
        last.lasts = Duration::ZERO;
    }
}

#[tokio::test(start_paused = true)]
async fn what_version_3_left_unanswered_is_lost_and_what_owed_a_query_owes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    let mut sent = submitted(key("sent"));
    sent.evidence.open.push(permission(1));
    sent.evidence.lost = 2;
    let mut known_in_part = adopted(key("part"), State::Succeeded { settle_id: settle_id("o1") });
    known_in_part.facts.out_order_no = None;
    let complete = adopted(key("whole"), State::Failed { settle_id: settle_id("o2") });
    for record in [&sent, &known_in_part, &complete] {
        insert(&store, record, due_now()).await;
    }
    store.close().await;
    let old = as_another_program(&path);
    old.execute_batch(AS_VERSION_4).unwrap();
    old.execute_batch(AS_VERSION_3).unwrap();
    drop(old);
    let store = open(&path);
    lose_permissions(&mut sent);
    assert_eq!(sent.evidence.lost, 4);
    for record in [&sent, &known_in_part, &complete] {
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
    }
    let swept = store.sweep(SweepCursor::default(), 100).await.unwrap();
    assert_eq!((swept.missing, swept.superfluous), (0, 1));
    assert_eq!(due_at(&store, &complete.key).await, Ok(None));
    assert_eq!(due_at(&store, &known_in_part.key).await, Ok(Some(NOW)));
    store.close().await;
}

#[tokio::test]
async fn a_number_that_version_4_kept_for_the_whole_app_is_free_in_another_trade_system() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    let record = adopted(key("1"), State::Succeeded { settle_id: settle_id("ots1") });
    insert(&store, &record, NewDue::None).await;
    store.close().await;
    let insert_into_another_system = "
        INSERT INTO settle (app_id, trade_system, out_settle_no, create_time_ms, version, revision,
                            update_time_ms, origin, state, settle_id, lost, empties_after_expiry)
        SELECT app_id, 'FROM_THE_FUTURE', out_settle_no, create_time_ms, version, revision,
               update_time_ms, origin, state, settle_id, lost, empties_after_expiry FROM settle";
    let old = as_another_program(&path);
    old.execute_batch(AS_VERSION_4).unwrap();
    assert!(old.execute_batch(insert_into_another_system).is_err());
    drop(old);
    let store = open(&path);
    assert_eq!(by_settle_id(&store, &record.key, &settle_id("ots1")).await, Ok(Some(record)));
    store.close().await;
    as_another_program(&path).execute_batch(insert_into_another_system).unwrap();
}

#[tokio::test]
async fn a_database_that_others_could_read_is_made_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    open(&path).close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(&path).close().await;
    assert_eq!(mode(path), 0o600);
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_cut_short_and_refuses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settles.db");
    let store = open(&path);
    let mut inserts = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let store = store.clone();
        let record = submitted(key(&format!("n{number}")));
        inserts.spawn(async move { store.insert(record, Source::Gateway, due_now()).await });
    }
    assert!(inserts.join_all().await.iter().all(Result::is_ok));
    store.close().await;
    let mut options = SqliteOptions::new(&path).creating();
    options.check_time_max = Duration::ZERO;
    let store = Store::Sqlite(Sqlite::open(options).unwrap().into());
    assert_eq!(store.ping().await, Ok(()));
    store.close().await;
}
