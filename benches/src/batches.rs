//! The two writes of each create, an insert and a swap, in batches of a chosen size, without a
//! writer thread.

use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use settlement_gateway::clock::Clock;
use settlement_gateway::settle::{Policy, Record, Source};
use settlement_gateway::store::{Committer, Insert, Sqlite, SqliteOptions, Store, Swap, Swapped};

use crate::records::{LEASED, accepted, key, submitted};

/// A store whose batches are committed step by step.
pub struct Batches {
    store: Store,
    committer: Committer,
    clock: Clock,
    next: u64,
}

impl Batches {
    /// Makes a new database.
    pub fn open(database: &Path) -> Self {
        let options = SqliteOptions::new(database).creating();
        let clock = options.clock.clone();
        let (sqlite, committer) = Sqlite::open_stepped(&options).expect("the directory is new");
        Self { store: Store::Sqlite(Arc::new(sqlite)), committer, clock, next: 0 }
    }

    /// Makes the writes of this many new creates, without running them.
    pub fn creates(&mut self, count: usize) -> Vec<(Record, Swap)> {
        let (policy, now) = (Policy::default(), self.clock.now());
        let numbers = self.next..self.next + count as u64;
        self.next = numbers.end;
        let writes = numbers.map(|number| {
            let key = key("ttbench000000000", format!("batch-{number:010}"));
            let record = submitted(key, number, now);
            let swap = accepted(&record, number, &policy);
            (record, swap)
        });
        writes.collect()
    }

    /// Runs both writes of each create: all inserts in one batch, then all swaps in another.
    pub fn write(&mut self, creates: Vec<(Record, Swap)>) {
        let store = self.store.clone();
        let (records, swaps): (Vec<_>, Vec<_>) = creates.into_iter().unzip();
        let inserts = records.into_iter().map(|it| store.insert(it, Source::Gateway, None, LEASED));
        for inserted in self.commit(inserts.collect()) {
            assert_eq!(inserted, Ok(Insert::Inserted));
        }
        for swapped in self.commit(swaps.into_iter().map(|it| store.swap(it)).collect()) {
            assert_eq!(swapped, Ok(Swapped::Done));
        }
    }

    fn commit<T>(&mut self, writes: Vec<impl Future<Output = T>>) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let mut writes: Vec<Pin<Box<_>>> = writes.into_iter().map(Box::pin).collect();
        for write in &mut writes {
            assert!(pin!(write).poll(&mut context).is_pending(), "it waits for its commit");
        }
        self.committer.commit_queued();
        let done = writes.iter_mut().map(|write| match write.as_mut().poll(&mut context) {
            Poll::Ready(done) => done,
            Poll::Pending => unreachable!("its batch is committed"),
        });
        done.collect()
    }
}
