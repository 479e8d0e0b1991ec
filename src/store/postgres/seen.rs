//! What this process has seen of the store. It notices by that when the store goes back to an
//! earlier state and the server looks as it did before: the versions of settles, and how far the
//! server's log had come.
//!
//! An answer is compared only with what was seen before its question, because two answers may
//! arrive in another order than the server gave them. What is forgotten here is not noticed, and
//! changes nothing else.
//!
//! What it must not know: SQL, and what a settle is beyond its key and its version.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::STEP;
use crate::clock::Uptime;
use crate::settle::Key;

/// How many settles are remembered at least, if so many were seen lately; twice as many at most.
const SETTLES_MIN: usize = 50_000;
/// How long a settle is remembered at least, if there is room; twice as long at most. After that an
/// operator may have moved it to an archive.
const REMEMBERED_MIN: Duration = Duration::from_secs(3_600);

pub(super) struct Seen(Mutex<Sights>);

struct Sights {
    /// Of which generation everything here is.
    generation: i64,
    /// Counts what is noted.
    moment: u64,
    /// What was seen since `began`, and what was seen in the time before. When the first is full or
    /// old, it becomes the second.
    young: HashMap<Key, Sight>,
    old: HashMap<Key, Sight>,
    began: Option<Uptime>,
    /// The farthest position of the server's log that is known to be on disk.
    position: Option<i64>,
    settles_min: usize,
}

#[derive(Clone, Copy)]
struct Sight {
    version: i64,
    moment: u64,
}

/// A moment between two sights. What was seen after it says nothing about an earlier question.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl Seen {
    pub(super) fn new(generation: i64) -> Self {
        Self::with_room(generation, SETTLES_MIN)
    }

    fn with_room(generation: i64, settles_min: usize) -> Self {
        Self(Mutex::new(Sights {
            generation,
            moment: 0,
            young: HashMap::new(),
            old: HashMap::new(),
            began: None,
            position: None,
            settles_min,
        }))
    }

    /// Another generation of the store, to which nothing that was seen before belongs.
    pub(super) fn begin(&self, generation: i64) {
        let mut sights = self.sights();
        (sights.generation, sights.position) = (generation, None);
        sights.young.clear();
        sights.old.clear();
    }

    /// Take it before the question.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.sights().moment)
    }

    /// A settle has this version. What is older than what is known changes nothing.
    pub(super) fn note(&self, key: &Key, version: i64, now: Uptime) {
        let mut sights = self.sights();
        if version.div_euclid(STEP) != sights.generation {
            return;
        }
        sights.age(now);
        sights.moment += 1;
        let sight = Sight { version, moment: sights.moment };
        let known = sights.known(key).filter(|known| known.version >= version);
        let sight = known.unwrap_or(sight);
        if let Some(young) = sights.young.get_mut(key) {
            *young = sight;
        } else {
            sights.young.insert(key.clone(), sight);
        }
    }

    /// Whether a settle was seen in this generation.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.sights().known(key).is_some()
    }

    /// Whether the answer to a question of that moment is older than what was seen before it.
    /// `None`: the answer is that there is no such settle.
    pub(super) fn is_older(&self, key: &Key, version: Option<i64>, asked: Moment) -> bool {
        let sights = self.sights();
        let known = sights.known(key).filter(|known| known.moment <= asked.0);
        known.is_some_and(|known| version.is_none_or(|version| version < known.version))
    }

    /// A write that came after this position of the log has become durable.
    pub(super) fn note_position(&self, position: i64, generation: i64) {
        let mut sights = self.sights();
        if sights.generation == generation {
            sights.position = sights.position.max(Some(position));
        }
    }

    /// The position that the log must have reached, in a store of this generation.
    pub(super) fn position(&self, generation: i64) -> Option<i64> {
        let sights = self.sights();
        sights.position.filter(|_| sights.generation == generation)
    }

    fn sights(&self) -> MutexGuard<'_, Sights> {
        // No code can panic while holding this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sights {
    fn known(&self, key: &Key) -> Option<Sight> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn age(&mut self, now: Uptime) {
        let began = *self.began.get_or_insert(now);
        if self.young.len() >= self.settles_min || now.since(began) >= REMEMBERED_MIN {
            self.old = std::mem::take(&mut self.young);
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::store::contract_tests::fixtures::key;

    const BASE: i64 = 3 * STEP;

    fn now() -> Uptime {
        Clock::runtime(Timestamp::from_ms(0)).uptime()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_compared_with_what_was_seen_before_its_question() {
        let (seen, one) = (Seen::new(3), key("1"));
        let asked_first = seen.moment();
        seen.note(&one, BASE + 7, now());
        assert!(!seen.is_older(&one, Some(BASE + 6), asked_first), "answers have overtaken");
        assert!(!seen.is_older(&one, None, asked_first));
        // An answer that comes late takes nothing away.
        seen.note(&one, BASE + 6, now());
        let asked = seen.moment();
        assert!(seen.is_older(&one, Some(BASE + 6), asked) && seen.is_older(&one, None, asked));
        assert!(!seen.is_older(&one, Some(BASE + 7), asked));
        assert!(!seen.is_older(&key("2"), None, asked), "it was never seen");
        assert!(seen.knows(&one) && !seen.knows(&key("2")));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_an_earlier_generation_counts() {
        let (seen, one) = (Seen::new(2), key("1"));
        seen.note(&one, 2 * STEP + 7, now());
        seen.note_position(900, 2);
        assert_eq!(seen.position(2), Some(900));
        seen.begin(3);
        // What was asked before the new generation began.
        seen.note(&one, 2 * STEP + 8, now());
        seen.note_position(901, 2);
        assert!(!seen.is_older(&one, None, seen.moment()) && !seen.knows(&one));
        assert_eq!((seen.position(2), seen.position(3)), (None, None));
        seen.note(&one, BASE + 1, now());
        assert!(seen.is_older(&one, None, seen.moment()));
    }

    #[test]
    fn the_log_never_gets_shorter() {
        let seen = Seen::new(0);
        for (told, known) in [(5, 5), (9, 9), (7, 9)] {
            seen.note_position(told, 0);
            assert_eq!(seen.position(0), Some(known));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_last_is_remembered_within_bounds_of_room_and_time() {
        let (seen, clock) = (Seen::with_room(0, 3), Clock::runtime(Timestamp::from_ms(0)));
        for number in 0..100 {
            seen.note(&key(&number.to_string()), 1, clock.uptime());
            // It is seen again and again.
            seen.note(&key("0"), 1, clock.uptime());
            let sights = seen.sights();
            assert!(sights.young.len() + sights.old.len() <= 6);
        }
        let known = |number: &str| seen.knows(&key(number));
        assert!(known("0") && known("99") && known("98") && !known("90"));
        for _ in 0..2 {
            tokio::time::advance(REMEMBERED_MIN).await;
            assert!(known("0"));
            seen.note(&key("new"), 1, clock.uptime());
        }
        assert!(!known("0") && known("new"));
    }
}
