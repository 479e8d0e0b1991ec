//! What arrived at the simulator, with any outcome, so that tests can count and compare.
//!
//! It keeps numbers and bytes and knows no rule.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::callbacks::Callback;
use super::settles::AppliedSettle;
use super::system::System;

/// Bounds on memory: past them requests are still counted in total, but no longer one by one.
const KEYS_MAX: usize = 1_000_000;
const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The state of the simulator at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every settle in Douyin's books, in order of acceptance.
    pub settles: Vec<AppliedSettle>,
    /// Every callback that is remembered, in the order in which they came up.
    pub callbacks: Vec<Arc<Callback>>,
    /// How many callbacks were never sent because too many were under way.
    pub callbacks_turned_away: usize,
    pub(super) received: Received,
    /// Per app, the tokens that were fetched over the wire.
    pub(super) tokens: BTreeMap<String, u64>,
}

impl Snapshot {
    /// The settles under a number, of any app.
    #[must_use]
    pub fn under(&self, out_settle_no: &str) -> Vec<&AppliedSettle> {
        self.settles.iter().filter(|settle| settle.out_settle_no == out_settle_no).collect()
    }

    /// The one settle under a number; `None` if there is none, or more than one.
    #[must_use]
    pub fn only(&self, out_settle_no: &str) -> Option<&AppliedSettle> {
        match self.under(out_settle_no).as_slice() {
            [settle] => Some(settle),
            _ => None,
        }
    }

    /// The callbacks about settles under a number, of any app, oldest first.
    #[must_use]
    pub fn callbacks_of(&self, out_settle_no: &str) -> Vec<&Callback> {
        let of = |callback: &&Arc<Callback>| callback.out_settle_no == out_settle_no;
        self.callbacks.iter().filter(of).map(|callback| &**callback).collect()
    }

    /// How many create requests arrived with this number, in all systems together.
    #[must_use]
    pub fn sends(&self, out_settle_no: &str) -> usize {
        self.received.creates.get(out_settle_no).map_or(0, |creates| creates.count)
    }

    /// How many of them arrived in this system.
    #[must_use]
    pub fn sends_in(&self, system: System, out_settle_no: &str) -> usize {
        let creates = self.received.creates.get(out_settle_no);
        creates.and_then(|creates| creates.by_system.get(&system).copied()).unwrap_or(0)
    }

    /// The exact bytes of each create request that arrived with this number, in order.
    #[must_use]
    pub fn create_bodies(&self, out_settle_no: &str) -> Vec<Bytes> {
        let creates = self.received.creates.get(out_settle_no);
        creates.map(|creates| creates.bodies.clone()).unwrap_or_default()
    }

    /// How many queries arrived with this key, of whichever kind.
    #[must_use]
    pub fn queries(&self, key: &str) -> usize {
        self.received.queries.get(key).copied().unwrap_or(0)
    }

    /// How many create requests arrived.
    #[must_use]
    pub fn creates_total(&self) -> usize {
        self.received.creates_total
    }

    /// How many queries arrived.
    #[must_use]
    pub fn queries_total(&self) -> usize {
        self.received.queries_total
    }

    /// How many token calls arrived, good and bad.
    #[must_use]
    pub fn token_calls_total(&self) -> usize {
        self.received.token_calls_total
    }

    /// How many tokens of an app were fetched over the wire.
    #[must_use]
    pub fn tokens_fetched(&self, app_id: &str) -> u64 {
        self.tokens.get(app_id).copied().unwrap_or(0)
    }
}

/// The requests that arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    creates: HashMap<String, Creates>,
    queries: HashMap<String, usize>,
    creates_total: usize,
    queries_total: usize,
    token_calls_total: usize,
    bodies_bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Creates {
    count: usize,
    by_system: BTreeMap<System, usize>,
    bodies: Vec<Bytes>,
}

impl Received {
    pub(super) fn creates_total(&self) -> usize {
        self.creates_total
    }

    /// Notes a create; the answer is how many there have been with this number.
    pub(super) fn create(&mut self, system: System, out_settle_no: &str, body: &Bytes) -> usize {
        self.creates_total += 1;
        if self.creates.len() >= KEYS_MAX && !self.creates.contains_key(out_settle_no) {
            return 1;
        }
        let creates = self.creates.entry(out_settle_no.to_owned()).or_default();
        creates.count += 1;
        *creates.by_system.entry(system).or_default() += 1;
        if self.bodies_bytes + body.len() <= BODIES_BYTES_MAX {
            self.bodies_bytes += body.len();
            creates.bodies.push(body.clone());
        }
        creates.count
    }

    /// Notes a query; the answer is how many there have been with this key.
    pub(super) fn query(&mut self, key: &str) -> usize {
        self.queries_total += 1;
        if self.queries.len() >= KEYS_MAX && !self.queries.contains_key(key) {
            return 1;
        }
        let count = self.queries.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Notes a token call; the answer is how many there have been.
    pub(super) fn token_call(&mut self) -> usize {
        self.token_calls_total += 1;
        self.token_calls_total
    }
}
