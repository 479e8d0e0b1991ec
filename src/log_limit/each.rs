//! A limit for each of those who cause lines of one kind, so that one who causes many hides no
//! other. The table of them is bounded: those who come when it is full share one limit.
//!
//! What it must not know: what a line says, and how long an interval is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Cause;

/// Those for whom the table has no room, together.
pub(crate) const OTHERS: &str = "others";

pub(crate) struct Each {
    cause: Cause,
    lines: Mutex<Lines>,
}

/// Lines in this interval, those held back included.
struct Lines {
    of: BTreeMap<String, u64>,
    of_others: u64,
}

/// Lines that were held back in an interval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeldBack {
    /// Who would have caused them.
    pub who: String,
    pub lines: u64,
}

impl Each {
    pub(crate) const fn new(cause: Cause) -> Self {
        Self { cause, lines: Mutex::new(Lines { of: BTreeMap::new(), of_others: 0 }) }
    }

    /// Whether one more line may be written in this interval. If not, it is counted.
    pub(crate) fn admits(&self, who: &str) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { of, of_others } = &mut *lines;
        let has_room = of.len() < self.cause.causers_max();
        let count = match of.get_mut(who) {
            Some(count) => count,
            None if has_room => of.entry(who.to_owned()).or_default(),
            None => of_others,
        };
        *count += 1;
        *count <= self.cause.lines_max()
    }

    /// Begins the next interval; returns what this one held back.
    pub(crate) fn turn(&self) -> Vec<HeldBack> {
        let none = Lines { of: BTreeMap::new(), of_others: 0 };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { of, of_others } = std::mem::replace(&mut *lines, none);
        drop(lines);
        let all = of.into_iter().chain([(OTHERS.to_owned(), of_others)]);
        let beyond = |(who, count): (String, u64)| {
            let lines = count.saturating_sub(self.cause.lines_max());
            (lines > 0).then_some(HeldBack { who, lines })
        };
        all.filter_map(beyond).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_causes_many_lines_hides_no_other_and_the_rest_is_counted() {
        let each = Each::new(Cause::Stranger);
        let lines = |who: &str, n: u64| (0..n).filter(|_| each.admits(who)).count();
        assert_eq!((lines("a", 1_000), lines("b", 3)), (10, 3));
        assert_eq!(each.turn(), [HeldBack { who: "a".to_owned(), lines: 990 }]);
        assert_eq!((lines("a", 7), lines("b", 11)), (7, 10), "the next interval is a new one");
        assert_eq!(each.turn(), [HeldBack { who: "b".to_owned(), lines: 1 }]);
        assert_eq!(each.turn(), []);
    }

    #[test]
    fn however_many_there_are_the_table_stays_small() {
        let each = Each::new(Cause::Stranger);
        let (known, lines) = (Cause::Stranger.causers_max(), Cause::Stranger.lines_max());
        let all = (0..100_000).filter(|n| each.admits(&format!("{n}"))).count();
        assert_eq!(u64::try_from(all - known).unwrap(), lines, "the others share one limit");
        assert!(each.admits("0"), "and those that are known have their own");
        assert_eq!(each.lines.lock().unwrap().of.len(), known);
        let beyond = 100_000 - u64::try_from(all).unwrap();
        assert_eq!(each.turn(), [HeldBack { who: OTHERS.to_owned(), lines: beyond }]);
    }
}
