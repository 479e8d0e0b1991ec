//! What the hub sees of a store: records that others commit, and reads that take a while.

use std::collections::HashMap;

use crate::settle::{Key, Record};
use crate::sync::Mutex;

pub use settlement_gateway::store::Known;

#[derive(Default)]
pub struct Store(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    records: HashMap<Key, Record>,
    reads: usize,
}

/// These reads do not fail.
#[derive(Debug)]
pub enum Error {}

impl Store {
    pub async fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        let found = {
            let mut inner = self.0.lock().unwrap();
            inner.reads += 1;
            inner.records.get(key).cloned()
        };
        // The answer is on its way; much can be committed meanwhile.
        shuttle::future::yield_now().await;
        Ok(found)
    }

    pub fn commit(&self, record: Record) {
        self.0.lock().unwrap().records.insert(record.key.clone(), record);
    }

    pub fn version(&self, key: &Key) -> Option<i64> {
        self.0.lock().unwrap().records.get(key).map(|record| record.version)
    }

    pub fn reads(&self) -> usize {
        self.0.lock().unwrap().reads
    }
}
