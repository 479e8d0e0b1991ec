//! What happens to the database's files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::disk::{freeze, thaw};
use super::stage::Surroundings;

/// The database and what SQLite keeps beside it.
fn files(database: &Path) -> Vec<PathBuf> {
    let beside = |end: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    ["", "-wal", "-shm"].into_iter().map(beside).filter(|file| file.exists()).collect()
}

fn away(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".away");
    PathBuf::from(name)
}

/// Removed, and put back.
pub async fn removed(around: Surroundings, over: CancellationToken) {
    let files = files(&around.database);
    for file in &files {
        fs::rename(file, away(file)).unwrap();
    }
    over.cancelled().await;
    for file in &files {
        fs::rename(away(file), file).unwrap();
    }
}

/// Another file stands in its place, as after a restore under a running gateway.
pub async fn replaced(around: Surroundings, over: CancellationToken) {
    let (database, kept) = (&around.database, away(&around.database));
    fs::rename(database, &kept).unwrap();
    fs::copy(&kept, database).unwrap();
    over.cancelled().await;
    fs::rename(&kept, database).unwrap();
}

/// It has a second name, under which another gateway could be started.
pub async fn linked(around: Surroundings, over: CancellationToken) {
    let second = around.database.with_file_name("second.db");
    fs::hard_link(&around.database, &second).unwrap();
    over.cancelled().await;
    fs::remove_file(second).unwrap();
}

/// A shell or a backup that keeps a transaction open.
pub async fn long_reader(around: Surroundings, over: CancellationToken) {
    let reader = Connection::open(&around.database).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM settle;").unwrap();
    over.cancelled().await;
    reader.execute_batch("ROLLBACK").unwrap();
}

/// Another file takes all the room there is, and goes.
pub async fn full_disk(around: Surroundings, over: CancellationToken) {
    let filler = around.database.with_file_name("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while !over.is_cancelled() {
        // What is freed meanwhile is taken too.
        while file.write_all(&[0; 64 * 1024]).is_ok() {}
        while file.write_all(&[0; 512]).is_ok() {}
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fs::remove_file(filler).unwrap();
}

/// Every write waits.
pub async fn frozen_disk(around: Surroundings, over: CancellationToken) {
    let disk = around.database.parent().expect("it is on a disk");
    freeze(disk);
    over.cancelled().await;
    thaw(disk);
}
