//! Fills a database as if a gateway had recorded many creates, through the store's own writes and
//! without a gateway.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use settlement_gateway::clock::Clock;
use settlement_gateway::settle::{Policy, Source};
use settlement_gateway::store::{Insert, Sqlite, SqliteOptions, Store, Swapped};

use crate::Failure;
use crate::records::{LEASED, accepted, key, submitted};

/// Writes in one transaction: many, because no caller waits for a write.
const BATCH: usize = 2_000;
/// The time between two settles. The newest is made now.
const EVERY: Duration = Duration::from_secs(10);

/// Records the settles `from..until`, all of one app and accepted by Douyin, with this `tag`.
pub fn fill(
    database: &Path,
    app_id: &str,
    tag: &'static str,
    numbers: std::ops::Range<u64>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let clock = Clock::system();
    let options = SqliteOptions { batch_jobs_max: BATCH, ..SqliteOptions::new(database) };
    let store = Store::Sqlite(Arc::new(Sqlite::open(options)?));
    let now = clock.now();
    runtime.block_on(async {
        let mut next = numbers.start;
        while next < numbers.end {
            let end = numbers.end.min(next + BATCH as u64);
            let mut writes = tokio::task::JoinSet::new();
            for number in next..end {
                let (store, key) = (store.clone(), key(app_id, format!("{tag}-{number:010}")));
                let age = EVERY * u32::try_from(numbers.end - number)?;
                let record = submitted(key, number, now.minus(age));
                writes.spawn(async move {
                    let swap = accepted(&record, number, &Policy::default());
                    if store.insert(record, Source::Gateway, None, LEASED).await?
                        != Insert::Inserted
                    {
                        return Err(Failure::from("a settle was there already"));
                    }
                    match store.swap(swap).await? {
                        Swapped::Done => Ok(()),
                        other => Err(format!("a swap ended with {other:?}").into()),
                    }
                });
            }
            while let Some(written) = writes.join_next().await {
                written??;
            }
            next = end;
        }
        store.close().await;
        Ok(())
    })
}
