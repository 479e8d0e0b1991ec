//! Random operations on a few settles, compared with the contract written a second time as a map.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::Subject;
use super::fixtures::*;
use crate::clock::Timestamp;
use crate::settle::*;
use crate::store::{
    Claim, ClaimLimits, Fence, Insert, ListQuery, Listed, NewDue, Store, Swap, Swapped, SweepCursor,
};

const STEPS: u32 = 1_500;

/// One settle as the contract sees it.
struct Entry {
    record: Record,
    history: Vec<HistoryEntry>,
    due: Option<Row>,
    last_fence: i64,
    /// How many were inserted before it.
    place: usize,
}

#[derive(Clone, Copy)]
struct Row {
    due_at: Timestamp,
    lease_until: Option<Timestamp>,
    /// The earliest moment that an observer asked for while the lease ran.
    wanted_at: Option<Timestamp>,
    fence: i64,
    attempted_at: Option<Timestamp>,
    attempts: u32,
    backoff: u32,
}

struct Run {
    store: Store,
    random: fastrand::Rng,
    now: Timestamp,
    model: BTreeMap<Key, Entry>,
}

/// `STORE_SEED` repeats a run.
pub(super) async fn random_operations_end_as_in_the_model(subject: Subject) {
    let given = std::env::var("STORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("STORE_SEED={seed}");
    let random = fastrand::Rng::with_seed(seed);
    let model = BTreeMap::new();
    let mut run = Run { store: subject.store.clone(), random, now: NOW, model };
    for _ in 0..STEPS {
        let passes = run.random.u64(0..40);
        run.store.clock().jump_ms(i64::try_from(passes).unwrap());
        run.now = run.now.plus(Duration::from_millis(passes));
        match run.random.u32(0..12) {
            0 => run.insert().await,
            1..=4 => run.swap().await,
            5 => run.claim().await,
            6 => run.release().await,
            7 => run.nudge().await,
            8 => run.remove_due().await,
            9 => run.sweep().await,
            10 => run.list().await,
            _ => run.compare_schedule().await,
        }
    }
    run.compare_everything().await;
}

/// Each number is always of the same trade system.
fn of_number(number: u32) -> TradeSystem {
    if number.is_multiple_of(3) { TradeSystem::Industry } else { TradeSystem::General }
}

impl Run {
    fn key(&mut self) -> Key {
        let number = self.random.u32(0..12);
        let trade_system = of_number(number);
        Key { trade_system, ..key(&format!("n{number}")) }
    }

    fn soon(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(0..400))
    }

    /// When most of the settles were created.
    fn early(&mut self) -> Timestamp {
        after_ms(self.random.u64(0..600))
    }

    fn fence(&mut self, key: &Key) -> Fence {
        let due = self.model.get(key).and_then(|entry| entry.due);
        Fence(due.map_or(1, |row| row.fence) - i64::from(self.random.u32(0..5) == 0))
    }

    async fn insert(&mut self) {
        let (key, wait) = (self.key(), self.soon());
        let at = self.now.plus(wait);
        let record = Record { create_time: self.now, ..submitted(key.clone()) };
        let attempted_at = Some(self.now);
        let row = |lease_until, fence| Row {
            due_at: at,
            lease_until,
            wanted_at: None,
            fence,
            attempted_at,
            attempts: 0,
            backoff: 0,
        };
        let (due, row) = match self.random.u32(0..3) {
            0 => (NewDue::None, None),
            1 => (NewDue::In(wait), Some(row(None, 0))),
            _ => (NewDue::Leased { lease: wait }, Some(row(Some(at), FIRST_FENCE.0))),
        };
        let answer = self.store.insert(record.clone(), Source::Gateway, None, due).await.unwrap();
        if let Some(entry) = self.model.get(&key) {
            assert_eq!(answer, Insert::Existing(Box::new(entry.record.clone())));
            return;
        }
        assert_eq!(answer, Insert::Inserted);
        let history = vec![record.history_entry(Source::Gateway, None)];
        let place = self.model.len();
        self.model.insert(key, Entry { record, history, due: row, last_fence: 0, place });
    }

    async fn swap(&mut self) {
        let key = self.key();
        let Some(before) = self.model.get(&key).map(|entry| entry.record.clone()) else {
            return;
        };
        let mut record = next(&before, |_| {});
        record.version -= i64::from(self.random.u32(0..6) == 0);
        record.evidence.lost = self.random.u32(..);
        if self.random.bool() {
            record.revision += 1;
            let settle_id = settle_id(&format!("ots{}", self.random.u32(0..20)));
            record.state = match self.random.u32(0..4) {
                0 => State::Succeeded { settle_id },
                1 => State::Rejected { rejection: failure(23_112) },
                _ => State::Processing { settle_id },
            };
        }
        let grown = record.revision > before.revision;
        let history = grown.then(|| record.history_entry(Source::Query, None));
        let lease = match self.random.bool() {
            true => under(self.fence(&key)),
            false => None,
        };
        let due = match self.random.u32(0..6) {
            0 => Due::Remove,
            1 => Due::Extend { lease: self.soon() },
            2 => Due::Release(rest(self.soon())),
            3 => Due::NotLater { wait: self.soon() },
            _ => Due::Keep,
        };
        let swap = Swap { record, history, due, lease, absorbed: None };
        let expected = self.swap_model(&key, &swap);
        assert_eq!(self.store.swap(swap).await, Ok(expected));
    }

    fn swap_model(&mut self, key: &Key, swap: &Swap) -> Swapped {
        let wanted = swap.record.state.settle_id();
        let taken = self.model.iter().any(|(other, entry)| {
            let is_like = wanted.is_some() && entry.record.state.settle_id() == wanted;
            other != key && other.trade_system == key.trade_system && is_like
        });
        let entry = self.model.get_mut(key).unwrap();
        if entry.record.version != swap.record.version - 1 {
            return Swapped::Conflict;
        }
        let now = self.now;
        let holds = |fence: Fence| {
            let runs = |row: Row| row.lease_until.is_some_and(|at| at > now);
            entry.due.is_some_and(|row| row.fence == fence.0 && runs(row))
        };
        if !swap.lease.is_none_or(holds) {
            return Swapped::LeaseLost;
        }
        if taken {
            return Swapped::SettleIdTaken;
        }
        entry.record = swap.record.clone();
        entry.history.extend(swap.history.clone());
        match (swap.due, &mut entry.due) {
            (Due::Keep, _) | (Due::Extend { .. } | Due::Release(_), None) => {}
            (Due::Remove, _) if swap.lease.is_some() => entry.done(),
            (Due::Remove, _) => entry.remove(),
            (Due::Extend { lease }, Some(row)) => row.lease_until = Some(now.plus(lease)),
            (Due::Release(release), Some(row)) => row.release(release, now),
            (Due::NotLater { wait }, Some(row)) => row.not_later(now.plus(wait)),
            (Due::NotLater { wait }, None) => {
                let due_at = now.plus(wait);
                let (fence, attempted_at) = (entry.last_fence, None);
                entry.due = Some(Row {
                    due_at,
                    lease_until: None,
                    wanted_at: None,
                    fence,
                    attempted_at,
                    attempts: 0,
                    backoff: 0,
                });
            }
        }
        Swapped::Done
    }

    async fn claim(&mut self) {
        let (now, claims_max) = (self.now, self.random.usize(0..4));
        let limits = claims(u32::try_from(claims_max).unwrap());
        let limits = ClaimLimits { lease: self.soon(), ..limits };
        let free = |row: &Row| row.due_at <= now && row.lease_until.is_none_or(|at| at <= now);
        let mut expected: Vec<(&Key, &mut Row)> = self
            .model
            .iter_mut()
            .filter_map(|(key, entry)| entry.due.as_mut().map(|row| (key, row)))
            .filter(|(_, row)| free(row))
            .collect();
        expected.sort_by_key(|(_, row)| row.due_at);
        let claims = self.store.claim_due(&app("tt01"), limits).await.unwrap();
        assert_eq!(claims.len(), claims_max.min(expected.len()));
        let due_at = |claim: &Claim| {
            expected.iter().find(|(key, _)| **key == claim.key).map(|(_, row)| row.due_at)
        };
        let order: Vec<_> = claims.iter().map(due_at).collect();
        let longest: Vec<_> = expected.iter().map(|(_, row)| Some(row.due_at)).collect();
        assert_eq!(order, longest[..claims.len()]);
        for claim in claims {
            let row = expected.iter_mut().find(|(key, _)| **key == claim.key).unwrap();
            row.1.fence += 1;
            row.1.wanted_at = None;
            row.1.lease_until = Some(now.plus(limits.lease));
            row.1.wanted_at = None;
            let Row { fence, attempts, backoff, .. } = *row.1;
            assert_eq!((claim.fence.0, claim.attempts, claim.backoff), (fence, attempts, backoff));
        }
    }

    fn leased(&mut self, key: &Key, fence: Fence) -> Option<&mut Entry> {
        let held = |row: Row| row.fence == fence.0 && row.lease_until.is_some();
        self.model.get_mut(key).filter(|entry| entry.due.is_some_and(held))
    }

    async fn release(&mut self) {
        let (key, to, now) = (self.key(), rest(self.soon()), self.now);
        let fence = self.fence(&key);
        let expected = self.leased(&key, fence).and_then(|entry| entry.due.as_mut());
        let ours = expected.map(|row| row.release(to, now)).is_some();
        assert_eq!(self.store.release(&key, fence, to).await, Ok(ours));
    }

    async fn remove_due(&mut self) {
        let key = self.key();
        let fence = self.fence(&key);
        let ours = self.leased(&key, fence).map(Entry::done).is_some();
        assert_eq!(self.store.remove_due(&key, fence).await, Ok(ours));
    }

    async fn nudge(&mut self) {
        let (key, gap, now) = (self.key(), Duration::from_millis(90), self.now);
        let at = now.plus(self.soon());
        let row = self.model.get_mut(&key).and_then(|entry| entry.due.as_mut());
        let expected = row.map(|row| {
            let wanted = row.attempted_at.map_or(at, |attempted| at.max(attempted.plus(gap)));
            row.not_later(wanted);
            row.due_at.max(now)
        });
        assert_eq!(nudge(&self.store, &key, at, gap).await, Ok(expected));
    }

    /// One round, in steps of any size.
    async fn sweep(&mut self) {
        let (now, rows_max) = (self.now, self.random.u32(1..9));
        let mut expected = (0, 0);
        for entry in self.model.values_mut() {
            let leased = entry.due.is_some_and(|row| row.lease_until.is_some_and(|at| at > now));
            match (entry.record.is_final(), entry.due) {
                (true, Some(_)) if !leased && !entry.record.owes_a_query() => {
                    entry.remove();
                    expected.1 += 1;
                }
                (false, None) => {
                    entry.due_again(now);
                    expected.0 += 1;
                }
                (true, _) | (false, Some(_)) => {}
            }
        }
        let (mut cursor, mut repaired, mut wrapped) = (SweepCursor::default(), (0, 0), false);
        while !wrapped {
            let swept = self.store.sweep(cursor, rows_max).await.unwrap();
            repaired = (repaired.0 + swept.missing, repaired.1 + swept.superfluous);
            (cursor, wrapped) = (swept.next, swept.wrapped);
        }
        assert_eq!(repaired, expected);
    }

    /// All pages of a list with random filters.
    async fn list(&mut self) {
        let states = [StateKind::Submitting, StateKind::Processing, StateKind::Succeeded];
        let order = OutOrderNo::parse(["order-1", "order-2"][self.random.usize(0..2)]).unwrap();
        let mut query = ListQuery {
            app_id: app("tt01"),
            out_order_no: Some(order).filter(|_| self.random.bool()),
            trade_system: Some(of_number(self.random.u32(0..12))).filter(|_| self.random.bool()),
            states: states[..self.random.usize(0..4)].to_vec(),
            from: Some(self.early()).filter(|_| self.random.bool()),
            until: Some(self.early()).filter(|_| self.random.bool()),
            after: None,
            settles_max: self.random.u32(1..6),
        };
        let passes = |record: &Record| {
            (query.states.is_empty() || query.states.contains(&record.state.kind()))
                && query.out_order_no.as_ref().is_none_or(|order| order.as_str() == "order-1")
                && query.trade_system.is_none_or(|system| system == record.key.trade_system)
                && query.from.is_none_or(|from| record.create_time >= from)
                && query.until.is_none_or(|until| record.create_time < until)
        };
        let mut entries: Vec<&Entry> =
            self.model.values().filter(|entry| passes(&entry.record)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.record.create_time, entry.place)));
        let expected: Vec<Record> = entries.into_iter().map(|entry| entry.record.clone()).collect();
        let mut found = Vec::new();
        loop {
            let Listed { records, next } = self.store.list(&query).await.unwrap();
            found.extend(records);
            query.after = match next {
                Some(_) => next,
                None => break,
            };
        }
        assert_eq!(found, expected, "{query:?}");
    }

    async fn compare_schedule(&mut self) {
        let rows = self.model.values().filter_map(|entry| entry.due);
        let claimable = rows.map(|row| row.lease_until.map_or(row.due_at, |at| at.max(row.due_at)));
        let soonest = claimable.min().map(|at| at.max(self.now));
        assert_eq!(next_due(&self.store, &app("tt01")).await, Ok(soonest));
    }

    async fn compare_everything(&self) {
        for (key, entry) in &self.model {
            assert_eq!(self.store.get(key).await, Ok(Some(entry.record.clone())));
            assert_eq!(self.store.history(key, 10_000).await, Ok(entry.history.clone()));
            let expected = entry.due.map(|row| row.due_at.max(self.now));
            assert_eq!(due_at(&self.store, key).await, Ok(expected));
        }
        let open = self.model.values().filter(|entry| !entry.record.is_final()).count();
        let by_app = vec![(app("tt01"), u64::try_from(open).unwrap())];
        let by_app = if open == 0 { Vec::new() } else { by_app };
        assert_eq!(self.store.open_settles().await, Ok(by_app));
    }
}

fn rest(wait: Duration) -> Release {
    Release { wait, attempts: 4, backoff: 2 }
}

impl Entry {
    fn due_again(&mut self, due_at: Timestamp) {
        self.due = Some(Row {
            due_at,
            lease_until: None,
            wanted_at: None,
            fence: self.last_fence,
            attempted_at: None,
            attempts: 0,
            backoff: 0,
        });
    }

    /// A worker removes it.
    fn done(&mut self) {
        let wanted = self.due.and_then(|row| row.wanted_at);
        let wanted = wanted.filter(|_| self.record.owes_a_query());
        self.remove();
        if let Some(wanted) = wanted {
            self.due_again(wanted);
        }
    }

    fn remove(&mut self) {
        if let Some(row) = self.due.take() {
            self.last_fence = row.fence;
        }
    }
}

impl Row {
    fn not_later(&mut self, at: Timestamp) {
        self.due_at = self.due_at.min(at);
        if self.lease_until.is_some() {
            self.wanted_at = Some(self.wanted_at.map_or(at, |wanted| wanted.min(at)));
        }
    }

    fn release(&mut self, to: Release, now: Timestamp) {
        let Release { wait, attempts, backoff } = to;
        let due_at = now.plus(wait);
        let due_at = self.wanted_at.map_or(due_at, |wanted| wanted.min(due_at));
        let attempted_at = Some(now);
        let (lease_until, wanted_at) = (None, None);
        *self = Row { due_at, lease_until, wanted_at, attempted_at, attempts, backoff, ..*self };
    }
}
