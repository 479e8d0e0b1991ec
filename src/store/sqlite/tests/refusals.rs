//! What is refused at start, with which words, and that it is left as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::files::beside;
use super::super::{OpenError, Sqlite, SqliteOptions};
use crate::settle::Source;
use crate::store::Store;
use crate::store::contract_tests::fixtures::*;
use crate::store::contract_tests::sqlite::as_another_program;

struct Files {
    path: PathBuf,
    directory: tempfile::TempDir,
}

impl Files {
    fn none() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().join("settles.db"), directory }
    }

    /// A database with enough rows to have pages of every kind, closed.
    async fn closed() -> Self {
        let files = Self::none();
        let store = files.open();
        let mut inserts = tokio::task::JoinSet::new();
        for number in 0..200 {
            let store = store.clone();
            let record = submitted(key(&format!("n{number}")));
            let due = due_now();
            inserts.spawn(async move { store.insert(record, Source::Gateway, None, due).await });
        }
        assert!(inserts.join_all().await.iter().all(Result::is_ok));
        store.close().await;
        files
    }

    fn open(&self) -> Store {
        Store::Sqlite(Sqlite::open(SqliteOptions::new(&self.path).creating()).unwrap().into())
    }

    /// Opens what must be refused, and holds the files against what they were.
    fn refused(&self) -> OpenError {
        let contents = || ["", "-wal"].map(|suffix| fs::read(beside(&self.path, suffix)).ok());
        let before = contents();
        let mut options = SqliteOptions::new(&self.path).creating();
        options.busy_wait = Duration::from_millis(1);
        let Err(error) = Sqlite::open(options) else {
            panic!("{} was not refused", self.path.display());
        };
        let [database, log] = contents();
        assert!(before[0] == database, "the database was changed");
        // Looking at a database in WAL mode may leave an empty log.
        assert!(before[1].clone().unwrap_or_default() == log.unwrap_or_default());
        assert!(error.to_string().contains("settles.db"), "{error}");
        error
    }

    fn sql(&self, sql: &str) {
        as_another_program(&self.path).execute_batch(sql).unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(&self.path).unwrap();
        change(&mut bytes);
        fs::write(&self.path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_both_versions_are_named() {
    let files = Files::closed().await;
    files.sql("PRAGMA user_version = 99");
    let error = files.refused();
    assert!(matches!(error, OpenError::Newer { found: 99, known: 9, .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("version 99") && message.contains("up to 9"), "{message}");
}

/// The newer version was killed: what it wrote is still in the log only.
#[tokio::test]
async fn a_newer_version_is_noticed_in_the_log_of_a_killed_process() {
    let files = Files::closed().await;
    let newer = as_another_program(&files.path);
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    let killed = Files::none();
    for suffix in ["", "-wal"] {
        fs::copy(beside(&files.path, suffix), beside(&killed.path, suffix)).unwrap();
    }
    let error = killed.refused();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    drop(newer);
}

#[tokio::test]
async fn what_is_not_a_database_is_refused() {
    let contents: [&[u8]; 3] = [b"hello", &[0; 8_192], b"SQLite format 3\0 but no more"];
    for content in contents {
        let files = Files::none();
        fs::write(&files.path, content).unwrap();
        let error = files.refused();
        assert!(matches!(error, OpenError::NotSqlite { .. }), "{error:?}");
    }
    let files = Files::none();
    fs::write(&files.path, b"").unwrap();
    assert!(matches!(files.refused(), OpenError::Empty { .. }));
    let files = Files::none();
    fs::create_dir(&files.path).unwrap();
    assert!(matches!(files.refused(), OpenError::Io { .. }));
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    for mode in ["delete", "wal"] {
        let files = Files::none();
        files.sql(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE settle (id INTEGER)"));
        let error = files.refused();
        assert!(matches!(error, OpenError::NotOurs { application_id: 0, .. }), "{error:?}");
        let beside: Vec<_> = fs::read_dir(files.directory.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "the database and our lock: {beside:?}");
    }
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    for kept in [1, 2, 3, 7] {
        let files = Files::closed().await;
        files.change(|bytes| bytes.truncate(bytes.len() * kept / 8));
        let error = files.refused();
        assert!(matches!(error, OpenError::Damaged { .. }), "{kept}: {error:?}");
    }
}

#[tokio::test]
async fn a_database_with_a_garbage_page_is_refused_whichever_page_it_is() {
    let files = Files::closed().await;
    let whole = fs::read(&files.path).unwrap();
    let pages = whole.len() / 4_096;
    assert!(pages > 20, "{pages}");
    for page in 0..pages {
        files.change(|bytes| {
            bytes.clone_from(&whole);
            bytes[page * 4_096..(page + 1) * 4_096].fill(0xA5);
        });
        let error = files.refused();
        let refused = match page {
            0 => matches!(error, OpenError::NotSqlite { .. }),
            _ => matches!(error, OpenError::Damaged { .. }),
        };
        assert!(refused, "{page}: {error:?}");
    }
}

/// A gateway with a large database starts, and reads the rest of it beside serving.
#[tokio::test]
async fn damage_that_the_check_at_start_did_not_come_to_is_found_later() {
    let files = Files::closed().await;
    // Only the last row breaks a rule, so that the check has much to do before it finds that.
    files.sql(
        "UPDATE settle SET facts = '{}' WHERE id < (SELECT max(id) FROM settle);
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(
             sql, 'facts                     TEXT', 'facts TEXT NOT NULL'
         )
         WHERE name = 'settle'",
    );
    let error = files.refused();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    let mut options = SqliteOptions::new(&files.path).creating();
    options.check_time_max = Duration::ZERO;
    let store = Store::Sqlite(Sqlite::open(options).unwrap().into());
    let why = loop {
        match store.ping().await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(why.contains("is damaged (NULL value in settle.facts)"), "{why}");
    assert!(why.contains("nothing more is written to it"), "{why}");
    // What can be read is read.
    assert!(store.get(&key("n1")).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn a_database_in_use_by_another_gateway_is_refused_under_any_name() {
    let files = Files::closed().await;
    let store = files.open();
    let error = files.refused();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("settles.db.lock"), "{error}");

    let link = files.directory.path().join("other.db");
    std::os::unix::fs::symlink(&files.path, &link).unwrap();
    let linked = Sqlite::open(SqliteOptions::new(&link).creating());
    assert!(matches!(linked, Err(OpenError::InUse { .. })));

    // The first one is not disturbed, and the lock ends with it.
    assert_eq!(store.ping().await, Ok(()));
    store.close().await;
    files.open().close().await;
}

#[tokio::test]
async fn a_database_locked_by_another_program_is_refused() {
    for lock in ["BEGIN IMMEDIATE", "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"] {
        let files = Files::closed().await;
        let other = as_another_program(&files.path);
        other.execute_batch(lock).unwrap();
        let error = files.refused();
        assert!(matches!(error, OpenError::Locked { .. }), "{lock}: {error:?}");
        drop(other);
        files.open().close().await;
    }
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let files = Files::none();
    let log: &Path = &beside(&files.path, "-wal");
    fs::write(log, b"left over").unwrap();
    assert!(matches!(files.refused(), OpenError::Orphan { .. }));
    fs::remove_file(log).unwrap();
    files.open().close().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_made_only_for_the_asking() {
    let files = Files::none();
    let missing = || Sqlite::open(SqliteOptions::new(&files.path));
    assert!(matches!(missing(), Err(OpenError::Missing { .. })));
    assert_eq!(fs::read_dir(files.directory.path()).unwrap().count(), 0);
    let made = Sqlite::init(&SqliteOptions::new(&files.path)).unwrap();
    assert_eq!(made, fs::canonicalize(&files.path).unwrap());
    assert!(matches!(
        Sqlite::init(&SqliteOptions::new(&files.path)),
        Err(OpenError::Exists { .. })
    ));
    Store::Sqlite(missing().unwrap().into()).close().await;
}

#[tokio::test]
async fn a_database_with_two_names_is_refused() {
    let files = Files::closed().await;
    fs::hard_link(&files.path, files.directory.path().join("other.db")).unwrap();
    assert!(matches!(files.refused(), OpenError::Linked { links: 2, .. }));
}

/// What a killed process leaves: the file, its log, and the mark.
fn killed(files: &Files) -> Files {
    let killed = Files::none();
    for suffix in ["", "-wal", ".open"] {
        fs::copy(beside(&files.path, suffix), beside(&killed.path, suffix)).unwrap();
    }
    killed
}

#[tokio::test]
async fn a_killed_process_leaves_a_log_without_which_its_database_is_refused() {
    let files = Files::closed().await;
    let store = files.open();
    let with_log = killed(&files);
    with_log.open().close().await;
    with_log.open().close().await;
    let without = killed(&files);
    fs::remove_file(beside(&without.path, "-wal")).unwrap();
    assert!(matches!(without.refused(), OpenError::LogLost { .. }));
    for content in ["", "no log at all"] {
        let emptied = killed(&files);
        fs::write(beside(&emptied.path, "-wal"), content).unwrap();
        assert!(matches!(emptied.refused(), OpenError::LogLost { .. }));
        fs::remove_file(beside(&emptied.path, ".open")).unwrap();
        emptied.open().close().await;
    }
    store.close().await;
}

/// A start that fails late must not be the one that ends the log.
#[tokio::test]
async fn a_start_that_is_refused_after_a_kill_leaves_the_log_for_the_next_one() {
    let files = Files::closed().await;
    let store = files.open();
    let killed = killed(&files);
    store.close().await;
    let other = as_another_program(&killed.path);
    let config = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    other.set_db_config(config, true).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(killed.refused(), OpenError::Locked { .. }));
    drop(other);
    assert!(fs::metadata(beside(&killed.path, "-wal")).unwrap().len() > 0);
    killed.open().close().await;
}
