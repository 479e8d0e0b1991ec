//! What the gateway decides in the small world of [`super::world`]: by the real functions, with
//! their results cached, or by a wrong one under [`Broken`].

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::super::schedule::{self, By, Due, Schedule, Terms, Watched};
use super::super::step::Asked;
use super::explore::Quick;
use super::packed::{AGES, NOW, Packed, Turn, moment, numbered};
use super::setting::{
    Begun, Broken, EXISTS_ABSENT, GRACE, News, Owner, Rules, Shown, Status, Stranger, Word,
};
use super::world::{self, World};
use super::*;

pub(super) fn process_id(process: u8) -> ProcessId {
    ProcessId(u64::from(process) + 1)
}

pub(super) fn place(process: ProcessId) -> u8 {
    u8::try_from(process.0 - 1).unwrap()
}

pub(super) fn given_by(rules: &Rules, whose: u8, number: u64, time: Timestamp) -> Permission {
    let longest = rules.timeouts[0].max(rules.timeouts[1]);
    let lasts = rules.timeouts.get(usize::from(whose)).copied().unwrap_or(longest);
    Permission { lasts: milliseconds(lasts), ..permission(process_id(whose), number, time) }
}

/// What is learned, whether under the lease, by which worker, in which turn.
type Known = (Packed, News, bool, usize, Turn);
type Memory<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// The real functions, or a wrong one under [`Broken`].
pub(super) struct Gateway {
    pub rules: Rules,
    policy: Policy,
    schedule: Schedule,
    known: Memory<Known, (Packed, Due)>,
    permits: Memory<(Packed, bool, usize, Option<u8>), Option<Packed>>,
    nexts: Memory<(Packed, Turn, bool), Step>,
}

pub(super) fn milliseconds(moments: u8) -> Duration {
    Duration::from_millis(moments.into())
}

pub(super) const NOT_BEGUN: Begun =
    Begun { by_number: false, known: None, after_exists: false, after_window: false };

impl Gateway {
    pub(super) fn new(rules: Rules) -> Self {
        let mut policy = Policy {
            grace: milliseconds(GRACE),
            grace_proves: rules.grace_proves,
            call_timeout: milliseconds(rules.timeouts[0]),
            exists_absent_max: milliseconds(EXISTS_ABSENT),
            expiry_attempts_min: 10,
            unlisted_times_max: 2,
        };
        if rules.broken == Broken::NoGrace {
            policy.grace = Duration::ZERO;
        }
        Self {
            rules,
            policy,
            schedule: Schedule::default(),
            known: Memory::default(),
            permits: Memory::default(),
            nexts: Memory::default(),
        }
    }

    /// The real [`FirstSeen`] of a process that has known the last permission for this long, asked
    /// one moment after `NOW`.
    fn given(&self, record: &Record, process: usize, known: Option<u8>) -> Option<Timestamp> {
        if self.rules.broken == Broken::ForeignClock {
            return record.evidence.last_permission.map(|last| last.time);
        }
        let room = usize::from(!self.rules.full_memory);
        let process = process_id(u8::try_from(process).unwrap());
        let mut first_seen = FirstSeen::new(process, None, room);
        if let Some(age) = known {
            first_seen.given(record, moment(NOW - i64::from(age)));
        }
        let given = first_seen.given(record, moment(NOW + 1));
        if given.is_none() && self.rules.broken == Broken::FullMemoryProves {
            return Some(moment(NOW - AGES));
        }
        given
    }

    /// The record with a permission for a send of this worker, if there is one.
    pub(super) fn permit(
        &mut self,
        row: Packed,
        sendable_time: bool,
        worker: usize,
        known: Option<u8>,
    ) -> Option<Packed> {
        let key = (row, sendable_time, worker, known);
        let process = world::process(worker, &self.rules);
        if let Some(permitted) = self.permits.get(&key) {
            return *permitted;
        }
        let record = row.unpack_in_window(&self.rules, sendable_time, process, known);
        let given = self.given(&record, process, known);
        let whose = u8::try_from(process).unwrap();
        let number = u64::try_from(worker).unwrap();
        let one = given_by(&self.rules, whose, number, moment(NOW));
        let permitted = permit(&record, one, given, &self.policy).map(|mut after| {
            if self.rules.broken == Broken::NoPlusOne {
                after.evidence.answer(one.id);
            }
            Packed::pack(&after)
        });
        self.permits.insert(key, permitted);
        permitted
    }

    /// What the real `next_step` says.
    pub(super) fn next(&mut self, row: Packed, turn: Turn, sendable_time: bool) -> Step {
        let (rules, policy) = (&self.rules, &self.policy);
        *self.nexts.entry((row, turn, sendable_time)).or_insert_with(|| {
            let record = row.unpack_in_window(rules, sendable_time, 0, None);
            next_step(&record, &turn.unpack(), moment(NOW), policy)
        })
    }

    pub(super) fn after(&self, turn: Turn, news: News) -> Turn {
        let learned = self.observation(news, false).learned;
        let mut progress = turn.unpack();
        if let Learned::Ended(ending) = &learned {
            progress.after_query(ending.found.as_ref().map_or(Asked::Failed, Asked::Learned));
        } else if matches!(news, News::Asked(..)) {
            progress.after_query(Asked::Learned(&learned));
        } else {
            progress.after_send(&learned);
        }
        Turn::pack(&progress)
    }

    /// The world after something was learned.
    pub(super) fn learn(
        &mut self,
        world: &World,
        news: News,
        lease: Lease,
        worker: usize,
        turn: Turn,
    ) -> World {
        let held = lease == Lease::Held || self.rules.broken == Broken::NoFence;
        let key = (world.row, news, held, worker, turn);
        let known = self.known.get(&key).copied();
        let (row, due) = known.unwrap_or_else(|| self.decide(key));
        self.known.insert(key, (row, due));
        let due = match due {
            Due::Keep => world.due,
            Due::Remove => false,
            Due::NotLater { .. } => true,
            // A worker writes only into a row that exists.
            Due::Extend { .. } | Due::Release(_) => world.due,
        };
        let mut after = world.recorded(row, due);
        after.sees_newer(world::process(worker, &self.rules), &self.rules);
        after
    }

    fn decide(&self, (row, news, held, worker, turn): Known) -> (Packed, Due) {
        let broken = self.rules.broken;
        let process = world::process(worker, &self.rules);
        let sees_all = matches!(news, News::Callback(..)) && broken == Broken::CallbackSeesAll;
        let mut begun = NOT_BEGUN;
        if let News::Asked(of_query, _) | News::Ended(of_query, ..) = news {
            begun = of_query;
            if matches!(news, News::Ended(..)) && broken == Broken::EndsWithoutGrace {
                begun.known = Some(self.rules.old());
            }
        } else if sees_all {
            begun.known = Some(self.rules.old());
        }
        let mut seen = self.observation(news, sees_all);
        if let Some(answered) = &mut seen.answers {
            let process = process_id(u8::try_from(process).unwrap());
            *answered = PermissionId { process, number: u64::try_from(worker).unwrap() };
        }
        let lease = if held || sees_all { Lease::Held } else { Lease::Lost };
        let before = row.unpack(&self.rules, process, begun);
        assert_eq!(Packed::pack(&before), row, "packing loses nothing");
        let before = if matches!(news, News::Ended(..)) {
            let mut before = before;
            before.evidence.stopped |= broken == Broken::EndsUnstopped;
            let is_left_out = matches!(broken, Broken::EndsUnstopped | Broken::EndsUnconfirmed);
            before.evidence.stop_confirmed |= is_left_out;
            before
        } else {
            before
        };
        let context = Context {
            now: moment(NOW),
            given: self.given(&before, process, begun.known),
            policy: &self.policy,
            lease,
            attempts: 10,
        };
        if broken == Broken::AnswerTakesAnother
            && let Some(answered) = &mut seen.answers
            && !before.evidence.open.iter().any(|one| one.id == *answered)
            && let Some(another) = before.evidence.open.first()
        {
            *answered = another.id;
        }
        let record = transition(&before, &seen, &context).record;
        let progress = turn.unpack();
        let by = if held { By::Worker(&progress) } else { By::WithoutLease };
        let due = schedule::next(&before, &record, by, &self.terms()).due;
        let mut after = Packed::pack(&record);
        after.empties = after.empties.min(2);
        after.stopped &= row.stopped;
        after.confirmed &= row.confirmed;
        (after, due)
    }

    /// The row after an operator stopped sending, if that is allowed, at this process.
    pub(super) fn stop(&self, row: Packed, process: usize, known: Option<u8>) -> Packed {
        let before = row.unpack(&self.rules, process, Begun { known, ..NOT_BEGUN });
        let learned = Learned::Stopped { revision: before.revision, decision: decision() };
        let seen = Observation { source: Source::Operator, ..again(answer(learned)) };
        let context = Context {
            now: moment(NOW),
            given: self.given(&before, process, known),
            policy: &self.policy,
            lease: Lease::Lost,
            attempts: 0,
        };
        Packed::pack(&transition(&before, &seen, &context).record)
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            now: moment(NOW),
            policy: &self.policy,
            schedule: &self.schedule,
            watched: Watched::No,
            chance: 0.5,
            lease: milliseconds(1),
            patience: milliseconds(1),
        }
    }

    fn observation(&self, news: News, sees_all: bool) -> Observation {
        let nameless = Learned::Exists(Failure::own(Reason::AcceptedWithoutId));
        let seen = match news {
            News::Accepted(settle_id) => answer(accepted(&settle_id.to_string())),
            News::Nameless if self.rules.broken == Broken::NamelessAnswersItsSend => {
                answer(nameless)
            }
            News::Nameless => again(answer(nameless)),
            News::Refused => answer(refused()),
            News::Exists => answer(exists()),
            News::Unknown if self.rules.broken == Broken::UnknownIsRefused => answer(refused()),
            News::Unknown => again(answer(timeout())),
            News::Unlisted => again(answer(unlisted(99))),
            News::NotSent => answer(not_sent()),
            News::Asked(begun, shown) => {
                let scope = if begun.by_number { Scope::Number } else { Scope::Single };
                Observation { scope, ..query(0, self.found(shown)) }
            }
            News::Ended(_, shown, word) => {
                let unasked = self.rules.broken == Broken::EndsUnasked;
                let found = shown.map(|shown| match unasked {
                    true => Learned::Absent,
                    false => self.found(shown),
                });
                let ending = Ending {
                    end: match word {
                        Word::Rejected => End::Rejected,
                        Word::Succeeded(id) => End::Succeeded { settle_id: numbered(id) },
                        Word::Failed(id) => End::Failed { settle_id: numbered(id) },
                    },
                    // The world forgets what an operator knows when the revision changes.
                    revision: 1,
                    decision: decision(),
                    found,
                };
                query(0, Learned::Ended(Box::new(ending)))
            }
            News::Callback(settle_id, owner, status) => {
                callback(self.report(settle_id, owner, status))
            }
        };
        let scope = if sees_all { Scope::Number } else { seen.scope };
        Observation { begun: moment(NOW), scope, ..seen }
    }

    fn found(&self, shown: Shown) -> Learned {
        let shown = (0_u8..).zip(shown);
        let reports: Vec<_> = shown
            .filter_map(|(settle_id, seen)| {
                seen.map(|(owner, status)| self.report(settle_id, owner, status))
            })
            .collect();
        if reports.is_empty() { Learned::Absent } else { Learned::Reported(reports) }
    }

    /// As Douyin shows it: with the order, and with the mark if one was sent.
    fn report(&self, settle_id: u8, owner: Owner, status: Status) -> Report {
        let status = match status {
            Status::Processing => ReportedStatus::Processing,
            Status::Success => ReportedStatus::Success,
            Status::Fail => ReportedStatus::Fail,
        };
        let stranger = owner == Owner::Stranger;
        let make = if stranger { theirs } else { ours };
        let mut report = make(&settle_id.to_string(), status);
        report.facts.out_order_no = Some(content().out_order_no);
        if stranger && self.rules.stranger == Stranger::OtherOrder {
            report.facts.out_order_no = Some(OutOrderNo::parse("order-9").unwrap());
        }
        // This system shows no order.
        if self.rules.repeats == Repeats::AnsweredAlike {
            report.facts.out_order_no = None;
        }
        if self.rules.mark == Mark::Off {
            report.facts.cp_extra = None;
        }
        report
    }
}
