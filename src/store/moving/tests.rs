//! Settles that move from one store to another, by way of a file: everything of them arrives, all
//! or nothing does, and one store at a time is open.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::contract_tests::fixtures::*;
use super::super::contract_tests::records::all_kinds_of_records;
use super::super::contract_tests::sqlite::as_another_program;
use super::super::postgres::tests::server::{Database, Server};
use super::{Closed, MoveError, Reader, Writer};
use crate::clock::Clock;
use crate::settle::{HistoryEntry, ProcessId, Record, Source};
use crate::store::{
    Error, Insert, NewDue, Postgres, PostgresOptions, Replica, Sqlite, SqliteOptions, Store, Swap,
    Swapped,
};

/// A store that no gateway has open.
enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    fn sqlite() -> Self {
        let place = Place::Sqlite(tempfile::tempdir().unwrap());
        Sqlite::init(&place.of_sqlite().unwrap()).unwrap();
        place
    }

    async fn postgres() -> Self {
        let place = Place::Postgres(Server::shared().database().await);
        Postgres::init(&place.of_postgres()).await.unwrap();
        place
    }

    async fn each() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// Time stands still, so that what is due stays equal.
    fn of_sqlite(&self) -> Option<SqliteOptions> {
        let Place::Sqlite(directory) = self else { return None };
        let clock = Clock::drifting(NOW, -1_000_000);
        Some(SqliteOptions { clock, ..SqliteOptions::new(directory.path().join("settles.db")) })
    }

    fn of_postgres(&self) -> PostgresOptions {
        let Place::Postgres(database) = self else { panic!("it is the other one") };
        let time = Some(Clock::drifting(NOW, -1_000_000));
        PostgresOptions { time, ..PostgresOptions::new(database.address()) }
    }

    async fn try_open(&self) -> Result<Store, String> {
        match self.of_sqlite() {
            Some(options) => match Sqlite::open(options) {
                Ok(sqlite) => Ok(Store::Sqlite(sqlite.into())),
                Err(error) => Err(error.to_string()),
            },
            None => match Postgres::open(self.of_postgres()).await {
                Ok(postgres) => Ok(Store::Postgres(postgres.into())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    async fn assert_closed(&self, closed: Closed) {
        let refused = self.try_open().await.err().expect("it is refused");
        assert!(refused.contains(&closed.to_string()), "{refused}");
    }

    async fn export(&self) -> Result<String, MoveError> {
        let (mut file, mut told) = (Vec::new(), 0);
        let mut progress = |settles| told = settles;
        let mut to = Writer::new(&mut file, &mut progress);
        let settles = match self.of_sqlite() {
            Some(options) => Sqlite::export(&options, &mut to)?,
            None => Postgres::export(self.of_postgres(), &mut to).await?,
        };
        assert_eq!(told, settles);
        Ok(String::from_utf8(file).unwrap())
    }

    async fn import(&self, file: &str) -> Result<u64, MoveError> {
        let (mut file, mut progress) = (file.as_bytes(), |_| {});
        let mut from = Reader::new(&mut file, &mut progress);
        match self.of_sqlite() {
            Some(options) => Sqlite::import(&options, &mut from),
            None => Postgres::import(self.of_postgres(), &mut from).await,
        }
    }

    async fn take_back(&self) -> Result<(), MoveError> {
        match self.of_sqlite() {
            Some(options) => Sqlite::take_back(&options),
            None => Postgres::take_back(self.of_postgres()).await,
        }
    }

    async fn sql(&self, sql: &str) {
        match (self, self.of_sqlite()) {
            (Place::Postgres(database), _) => {
                database.as_another_program().await.batch_execute(sql).await.unwrap();
            }
            (Place::Sqlite(_), options) => {
                as_another_program(&options.unwrap().path).execute_batch(sql).unwrap();
            }
        }
    }
}

/// Every kind of settle, some with a long history, some that a worker has looked at.
async fn populate(store: &Store) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, mut record) in (0_u64..).zip(all_kinds_of_records()) {
        let due = match record.is_final() && !record.owes_a_query() {
            true => NewDue::None,
            false => due_then(after_ms(1_000 * number)),
        };
        insert(store, &record, due).await;
        for step in 0..2 * number {
            record = next(&record, |record| record.revision += 1);
            let why = (step % 2 == 1).then(|| why("客服说"));
            let entry = record.history_entry(Source::Operator, Some(format!("log {step}")));
            let entry = HistoryEntry { by: Some(caller("ops")), why, ..entry };
            let swap = Swap { history: Some(entry), ..fact(record.clone()) };
            assert_eq!(store.swap(swap).await, Ok(Swapped::Done));
        }
        records.push(record);
    }
    for claim in claim(store, after_ms(9_000)).await.into_iter().take(3) {
        assert_eq!(
            store.release(&claim.key, claim.fence, rest_until(after_ms(77))).await,
            Ok(true)
        );
    }
    records
}

async fn assert_has(store: &Store, records: &[Record]) {
    for record in records {
        assert_eq!(store.get(&record.key).await, Ok(Some(record.clone())));
        let history = store.history(&record.key, 1_000).await.unwrap();
        assert_eq!(history.last().map(|entry| entry.revision), Some(record.revision));
    }
}

#[tokio::test]
async fn every_settle_comes_back_from_the_other_backend_as_it_was() {
    let [first, second] = Place::each().await;
    let third = Place::sqlite();
    let store = first.open().await;
    let records = populate(&store).await;
    store.close().await;
    let mut file = first.export().await.unwrap();
    for place in [second, third] {
        let number = u64::try_from(records.len()).unwrap();
        assert_eq!(place.import(&file).await.unwrap(), number);
        let store = place.open().await;
        assert_has(&store, &records).await;
        // Both backends look at the settles at the same moments.
        let claimed = claim(&store, after_ms(5_000)).await;
        assert!(claimed.iter().any(|claim| (claim.attempts, claim.backoff) == (4, 2)));
        for claim in claimed {
            let rest = rest_until(after_ms(5));
            assert_eq!(store.release(&claim.key, claim.fence, rest).await, Ok(true));
        }
        store.close().await;
        let again = place.export().await.unwrap();
        let without_schedule = |file: &str| -> Vec<Value> {
            let mut lines: Vec<Value> =
                file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.pop().unwrap()["end"]["settles"], number);
            lines.iter_mut().for_each(|line| line["settle"]["due"] = Value::Null);
            lines
        };
        assert_eq!(without_schedule(&again), without_schedule(&file));
        file = again;
    }
}

#[tokio::test]
async fn a_settle_is_due_when_it_was_and_at_once_if_a_worker_had_it() {
    for place in Place::each().await {
        let store = place.open().await;
        insert(&store, &submitted(key("waits")), due_then(after_ms(7_000))).await;
        insert(&store, &submitted(key("leased")), leased_until(after_ms(9_000))).await;
        store.close().await;
        let file = place.export().await.unwrap();
        for target in Place::each().await {
            target.import(&file).await.unwrap();
            let store = target.open().await;
            assert_eq!(due_at(&store, &key("waits")).await, Ok(Some(after_ms(7_000))));
            assert_eq!(due_at(&store, &key("leased")).await, Ok(Some(NOW)));
            let claimed = claim(&store, NOW).await;
            assert_eq!(numbers(&claimed), ["leased"]);
        }
    }
}

/// A file of three settles in three lines.
async fn three() -> String {
    let place = Place::sqlite();
    let store = place.open().await;
    for number in ["1", "2", "3"] {
        insert(&store, &submitted(key(number)), due_now()).await;
    }
    store.close().await;
    place.export().await.unwrap()
}

/// The lines with an end that fits them.
fn sealed(lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let sha256 = hex::encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
    text + &json!({"end": {"settles": lines.len() - 1, "sha256": sha256}}).to_string() + "\n"
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_is_refused_and_leaves_nothing() {
    let file = three().await;
    let lines: Vec<&str> = file.lines().collect();
    let [head, one, two, three, end] = lines[..] else { panic!("{file}") };
    let whole = |lines: &[&str]| lines.join("\n") + "\n";
    let line = |number: u64, word: &'static str| (Some(number), word);
    for place in Place::each().await {
        for (text, (number, word)) in [
            // Cut off, at the end of a line and in one.
            (whole(&[head]), (None, "a part of it is missing")),
            (whole(&[head, one, two, three]), (None, "a part of it is missing")),
            (file.trim_end().to_owned(), (None, "ends after line 4")),
            (
                file.chars().take(file.chars().count() / 2).collect(),
                (None, "a part of it is missing"),
            ),
            // Changed.
            (whole(&[head, one, three, end]), (None, "not as it was written")),
            (whole(&[head, two, one, three, end]), (None, "not as it was written")),
            (file.replacen("门店", "门面", 1), (None, "not as it was written")),
            (whole(&[head, one, end, two, three]), (None, "not as it was written")),
            (file.clone() + &file, line(6, "more after the last line")),
            (sealed(&[head, one, head, two]), line(3, "another file")),
            (sealed(&[head, one, "{}"]), line(3, "expected value")),
            (sealed(&[head, one, "", two]), line(3, "EOF")),
            (sealed(&[head, &one.replace("\"state\"", "\"novel\"")]), line(2, "no column novel")),
            (sealed(&[head, &one.replacen("SUBMITTING", "NOVEL", 1)]), line(2, "column state")),
            (sealed(&[head, &one.replace("\"GENERAL\"", "7")]), line(2, "column trade_system")),
            (sealed(&[head, &one.replace("\"lasts_ms\"", "\"n\"")]), line(2, "column evidence")),
            (
                sealed(&[
                    head,
                    &one.replace("\"CREATE\"", "\"N\"")
                        .replace("\"source\":\"GATEWAY\"", "\"source\":\"N\""),
                ]),
                line(2, "history"),
            ),
            (sealed(&[head, one, two, one]), (None, "the same number")),
        ] {
            let error = place.import(&text).await.unwrap_err();
            let told = error.to_string();
            assert!(told.contains(word), "{word}: {told}");
            if let Some(number) = number {
                assert!(matches!(error, MoveError::Line { line, .. } if line == number), "{told}");
            }
            place.assert_closed(Closed::Importing).await;
        }
        assert_eq!(place.import(&file).await.unwrap(), 3);
        let store = place.open().await;
        assert_eq!(store.open_settles().await, Ok(vec![(app("tt01"), 3)]));
    }
}

#[tokio::test]
async fn what_is_no_export_of_this_version_is_refused_before_anything() {
    let file = three().await;
    for place in Place::each().await {
        for foreign in ["", "hello\n", "{}\n", "{\"end\":{\"settles\":0,\"sha256\":\"\"}}\n"] {
            let error = place.import(foreign).await.unwrap_err();
            assert!(matches!(error, MoveError::Foreign), "{foreign}: {error}");
        }
        for newer in [("\"format\":1", "\"format\":2"), ("\"rules\":", "\"rules\":9")] {
            let error = place.import(&file.replacen(newer.0, newer.1, 1)).await.unwrap_err();
            assert!(matches!(error, MoveError::Newer(_)), "{error}");
        }
        let store = place.open().await;
        insert(&store, &submitted(key("here")), due_now()).await;
        store.close().await;
        let error = place.import(&file).await.unwrap_err();
        assert!(matches!(error, MoveError::NotEmpty { .. }), "{error}");
        assert_eq!(place.open().await.open_settles().await, Ok(vec![(app("tt01"), 1)]));
    }
}

#[tokio::test]
async fn an_exported_store_stays_closed_until_it_is_taken_back() {
    for place in Place::each().await {
        let error = place.take_back().await.unwrap_err();
        assert!(matches!(error, MoveError::NotClosed { .. }), "{error}");
        let store = place.open().await;
        insert(&store, &submitted(key("1")), due_now()).await;
        store.close().await;
        let file = place.export().await.unwrap();
        place.assert_closed(Closed::Moved).await;
        // As after a kill in the middle.
        assert_eq!(place.export().await.unwrap(), file);
        let error = place.import(&file).await.unwrap_err();
        assert!(matches!(error, MoveError::Closed { closed: Closed::Moved, .. }), "{error}");
        place.take_back().await.unwrap();
        insert(&place.open().await, &submitted(key("2")), due_now()).await;
    }
}

#[tokio::test]
async fn what_a_newer_gateway_wrote_is_not_exported() {
    for place in Place::each().await {
        let store = place.open().await;
        insert(&store, &submitted(key("1")), due_now()).await;
        store.close().await;
        for (newer, named) in [
            ("rules = 99", "rules"),
            ("rules = 1, state = 'NOVEL'", "column state"),
            ("state = 'SUBMITTING', history = '{}'", "column history"),
        ] {
            place.sql(&format!("UPDATE settle SET {newer}")).await;
            let error = place.export().await.unwrap_err();
            assert!(
                matches!(&error, MoveError::Unreadable(what) if what.contains(named)),
                "{error}"
            );
            place.assert_closed(Closed::Moved).await;
        }
        place.sql("UPDATE settle SET history = ''").await;
        place.export().await.unwrap();
    }
}

#[tokio::test]
async fn what_went_back_stays_so_in_the_other_store() {
    for place in Place::each().await {
        let store = place.open().await;
        insert(&store, &submitted(key("1")), due_now()).await;
        assert!(!store.may_have_forgotten());
        store.close().await;
        match place.of_sqlite() {
            Some(options) => drop(Sqlite::begin_generation(&options, ProcessId(7)).unwrap()),
            None => drop(Postgres::begin_generation(place.of_postgres()).await.unwrap()),
        }
        let file = place.export().await.unwrap();
        for target in Place::each().await {
            target.import(&file).await.unwrap();
            let store = target.open().await;
            assert!(store.may_have_forgotten());
            let record = store.get(&key("1")).await.unwrap().unwrap();
            assert!(record.evidence.set_back && record.evidence.lost == 1, "{record:?}");
            // And it goes on from there.
            let record = next(&record, |record| record.evidence.lost = 0);
            assert_eq!(store.swap(fact(record.clone())).await, Ok(Swapped::Done));
            assert_eq!(store.get(&key("1")).await, Ok(Some(record)));
        }
    }
}

fn is_closed<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let Err(Error::Unavailable(why)) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("moved to another store"), "{why}");
}

#[tokio::test]
async fn gateways_that_run_on_an_exported_store_neither_read_nor_write_it_any_more() {
    let place = Place::postgres().await;
    let store = place.open().await;
    let record = submitted(key("1"));
    insert(&store, &record, due_now()).await;
    place.export().await.unwrap();
    is_closed(store.insert(submitted(key("2")), Source::Gateway, None, due_now()).await);
    is_closed(store.swap(fact(next(&record, |_| {}))).await);
    is_closed(store.claim_due(&app("tt01"), claims(9)).await);
    is_closed(store.claim(&key("1"), std::time::Duration::from_secs(1)).await);
    is_closed(store.get(&key("1")).await);
    is_closed(store.ping().await);
    let settings = String::new();
    is_closed(store.beat(&Replica { process: ProcessId(1), beats: 1, settings }).await);
    place.take_back().await.unwrap();
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(store.swap(fact(next(&record, |_| {}))).await, Ok(Swapped::Done));
}

/// Until this many sessions wait for a lock.
async fn until_waiting(database: &Database) {
    let client = database.as_another_program().await;
    let waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'settle'::regclass";
    while client.query(waiting, &[]).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// A write that began before the mark is in the file.
#[tokio::test]
async fn an_export_waits_for_the_writes_that_run() {
    let place = Place::postgres().await;
    insert(&place.open().await, &submitted(key("1")), due_now()).await;
    let Place::Postgres(database) = &place else { panic!("it is one") };
    let writes = database.as_another_program().await;
    writes.batch_execute("BEGIN; UPDATE settle SET attempts = 77").await.unwrap();
    let goes_on = async {
        until_waiting(database).await;
        writes.batch_execute("COMMIT").await.unwrap();
    };
    let (file, ()) = tokio::join!(place.export(), goes_on);
    assert!(file.unwrap().contains("\"attempts\":77"));
}

/// A write that waited for the mark finds it.
#[tokio::test]
async fn a_write_that_waited_for_an_export_changes_nothing() {
    let place = Place::postgres().await;
    let store = place.open().await;
    // Its session has planned the statement.
    insert(&store, &submitted(key("1")), due_now()).await;
    let Place::Postgres(database) = &place else { panic!("it is one") };
    let exports = database.as_another_program().await;
    exports.batch_execute("BEGIN; LOCK TABLE settle IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    let goes_on = async {
        until_waiting(database).await;
        let mark = "UPDATE store_state SET closed = 'MOVED'; COMMIT";
        exports.batch_execute(mark).await.unwrap();
    };
    let late = submitted(key("late"));
    let (inserted, ()) =
        tokio::join!(store.insert(late.clone(), Source::Gateway, None, due_now()), goes_on);
    is_closed(inserted);
    place.take_back().await.unwrap();
    let inserted = store.insert(late, Source::Gateway, None, due_now()).await;
    assert_eq!(inserted, Ok(Insert::Inserted));
}
