//! The record in the small world of [`super::world`]: packed into a few bytes, unpacked into the
//! real [`Record`] whenever the real functions decide, each decision remembered.

use std::collections::HashMap;

use super::super::step::Last;
use super::setting::{
    ALL_SEEN, Begun, Broken, EXISTS_ABSENT, GRACE, News, Owner, Rules, Shown, Status, Stranger,
    TIMEOUT, Told,
};
use super::world::World;
use super::*;

/// A record without what no decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Packed {
    pub state: At,
    pub platform: bool,
    pub unanswered: u8,
    pub exists: bool,
    pub refused: bool,
    fail_seen: Option<u8>,
    unlisted: u8,
    empties: u8,
    contradicted: bool,
}

/// A state with the id of its settle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum At {
    Submitting,
    Processing(u8),
    Succeeded(u8),
    Failed(u8),
    Rejected,
}

/// How far a worker has come in one turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Turn {
    creator: bool,
    sends: u8,
    queries: u8,
    /// The place of [`Last`] in [`LASTS`].
    last: u8,
}

const LASTS: [Last; 6] =
    [Last::Nothing, Last::Unknown, Last::NotSent, Last::Throttled, Last::Absent, Last::Definite];

impl Turn {
    pub(super) const POLLER: Turn = Turn { creator: false, sends: 0, queries: 0, last: 0 };
    pub(super) const CREATOR: Turn = Turn { creator: true, ..Self::POLLER };

    fn pack(progress: &Progress) -> Self {
        let last = LASTS.iter().position(|last| *last == progress.last).unwrap();
        Turn {
            creator: progress.role == Role::Creator,
            sends: u8::try_from(progress.sends).unwrap(),
            queries: u8::try_from(progress.queries).unwrap(),
            last: u8::try_from(last).unwrap(),
        }
    }

    fn unpack(self) -> Progress {
        Progress {
            role: if self.creator { Role::Creator } else { Role::Poller },
            sends: self.sends.into(),
            queries: self.queries.into(),
            last: LASTS[usize::from(self.last)],
        }
    }
}

const NOW: i64 = 1_000_000;

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn number(settle_id: &SettleId) -> u8 {
    settle_id.as_str().parse().unwrap()
}

fn numbered(settle_id: u8) -> SettleId {
    id(&settle_id.to_string())
}

impl Packed {
    pub(super) fn start() -> Self {
        Self::pack(&Record::submitted(key(), request(Mark::On), moment(NOW)))
    }

    pub(super) fn is_submitting(&self) -> bool {
        self.state == At::Submitting
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, At::Submitting | At::Processing(_))
    }

    pub(super) fn is_final(&self) -> bool {
        !self.is_open()
    }

    pub(super) fn kind(&self) -> StateKind {
        match self.state {
            At::Submitting => StateKind::Submitting,
            At::Processing(_) => StateKind::Processing,
            At::Succeeded(_) => StateKind::Succeeded,
            At::Failed(_) => StateKind::Failed,
            At::Rejected => StateKind::Rejected,
        }
    }

    /// What a caller reads out of it as leave to pay under another number.
    pub(super) fn tells(&self) -> Option<Told> {
        match self.state {
            _ if self.platform => Some(Told::SomebodyElses),
            At::Rejected => Some(Told::Rejected),
            At::Failed(_) => Some(Told::Failed),
            At::Submitting | At::Processing(_) | At::Succeeded(_) => None,
        }
    }

    pub(super) fn settle_id(&self) -> Option<u8> {
        match self.state {
            At::Submitting | At::Rejected => None,
            At::Processing(id) | At::Succeeded(id) | At::Failed(id) => Some(id),
        }
    }

    /// Evidence that no rule reads any more.
    pub(super) fn forget(&mut self) {
        if !self.is_submitting() {
            self.exists = false;
            self.refused = false;
            self.unlisted = 0;
            self.empties = 0;
        }
        if !self.is_open() {
            self.fail_seen = None;
            let reads_count = self.state == At::Rejected;
            self.unanswered = if reads_count { self.unanswered.min(1) } else { 0 };
        }
    }

    fn pack(record: &Record) -> Self {
        let evidence = &record.evidence;
        Packed {
            state: match &record.state {
                State::Submitting => At::Submitting,
                State::Processing { settle_id } => At::Processing(number(settle_id)),
                State::Succeeded { settle_id } => At::Succeeded(number(settle_id)),
                State::Failed { settle_id } => At::Failed(number(settle_id)),
                State::Rejected { .. } => At::Rejected,
            },
            platform: record.origin == Origin::Platform,
            unanswered: u8::try_from(evidence.unanswered).unwrap(),
            exists: evidence.exists_seen.is_some(),
            refused: evidence.refused.is_some(),
            fail_seen: evidence.fail_seen.as_ref().map(number),
            unlisted: evidence
                .unlisted
                .as_ref()
                .map_or(0, |last| u8::try_from(last.times).unwrap()),
            empties: u8::try_from(evidence.empties_after_expiry).unwrap(),
            contradicted: record.contradiction.is_some(),
        }
    }

    /// The real record, its moments placed so that a query begun `NOW` meets every boundary
    /// exactly or misses it by one.
    fn unpack(self, mark: Mark, begun: Begun) -> Record {
        let past = |length: u8, over: bool| moment(NOW - i64::from(length) + i64::from(!over));
        let state = match self.state {
            At::Submitting => State::Submitting,
            At::Processing(id) => State::Processing { settle_id: numbered(id) },
            At::Succeeded(id) => State::Succeeded { settle_id: numbered(id) },
            At::Failed(id) => State::Failed { settle_id: numbered(id) },
            At::Rejected => State::Rejected { rejection: no_money() },
        };
        let mut request = request(mark);
        request.submit_before = moment(NOW + i64::from(!begun.after_window));
        let contradiction = Contradiction {
            claimed: StateKind::Processing,
            settle_id: numbered(0),
            source: Source::Create,
            time: moment(NOW),
            resolved: None,
        };
        let mut record = Record::submitted(key(), request, moment(NOW));
        if self.platform {
            record.origin = Origin::Platform;
        }
        record.state = state;
        record.contradiction = self.contradicted.then_some(contradiction);
        let evidence = &mut record.evidence;
        evidence.unanswered = self.unanswered.into();
        evidence.last_permit = (!self.platform).then(|| past(ALL_SEEN, begun.after_grace));
        evidence.exists_seen = self.exists.then(|| past(EXISTS_ABSENT, begun.after_exists));
        evidence.refused = self.refused.then(no_money);
        evidence.fail_seen = self.fail_seen.map(numbered);
        let failure = failure("DOUYIN_ERROR", 99);
        let times = self.unlisted.into();
        evidence.unlisted = (self.unlisted > 0).then_some(Unlisted { failure, times });
        evidence.empties_after_expiry = self.empties.into();
        record
    }

    /// With the last moment at which a send may be permitted one ahead, or just passed.
    fn unpack_in_window(self, mark: Mark, sendable_time: bool) -> Record {
        let mut record = self.unpack(mark, NOT_BEGUN);
        if let Origin::Gateway(request) = &mut record.origin {
            let left = i64::from(GRACE) + i64::from(sendable_time);
            request.submit_before = moment(NOW + left);
        }
        record
    }
}

/// The real functions, or, under [`Broken`], what somebody might have written instead.
pub(super) struct Gateway {
    pub rules: Rules,
    policy: Policy,
    known: HashMap<(Packed, News, bool), Packed>,
    permits: HashMap<(Packed, bool), Option<Packed>>,
    nexts: HashMap<(Packed, Turn, bool), Step>,
}

fn milliseconds(moments: u8) -> Duration {
    Duration::from_millis(moments.into())
}

const NOT_BEGUN: Begun =
    Begun { by_number: false, after_grace: false, after_exists: false, after_window: false };
const ALL_BEGUN: Begun =
    Begun { by_number: true, after_grace: true, after_exists: true, after_window: true };

impl Gateway {
    pub(super) fn new(rules: Rules) -> Self {
        let mut policy = Policy {
            grace: milliseconds(GRACE),
            grace_proves: rules.grace_proves,
            call_timeout: milliseconds(TIMEOUT),
            exists_absent_max: milliseconds(EXISTS_ABSENT),
            expiry_attempts_min: 10,
            unlisted_times_max: 2,
        };
        if rules.broken == Broken::NoGrace {
            policy.grace = Duration::ZERO;
            policy.call_timeout = Duration::ZERO;
        }
        Self {
            rules,
            policy,
            known: HashMap::new(),
            permits: HashMap::new(),
            nexts: HashMap::new(),
        }
    }

    /// The +1, if it is permitted.
    pub(super) fn permit(&mut self, row: Packed, sendable_time: bool) -> Option<Packed> {
        let (mark, broken, policy) = (self.rules.mark, self.rules.broken, &self.policy);
        *self.permits.entry((row, sendable_time)).or_insert_with(|| {
            let record = row.unpack_in_window(mark, sendable_time);
            let mut after = permit(&record, moment(NOW), policy)?;
            if broken == Broken::NoPlusOne {
                after.evidence.unanswered -= 1;
            }
            Some(Packed::pack(&after))
        })
    }

    /// What the real `next_step` says.
    pub(super) fn next(&mut self, row: Packed, turn: Turn, sendable_time: bool) -> Step {
        let (mark, policy) = (self.rules.mark, &self.policy);
        *self.nexts.entry((row, turn, sendable_time)).or_insert_with(|| {
            let record = row.unpack_in_window(mark, sendable_time);
            next_step(&record, &turn.unpack(), moment(NOW), policy)
        })
    }

    pub(super) fn after(&self, turn: Turn, news: News) -> Turn {
        let learned = self.observation(news, false).learned;
        let mut progress = turn.unpack();
        if matches!(news, News::Asked(..)) {
            progress.after_query(&learned);
        } else {
            progress.after_send(&learned);
        }
        Turn::pack(&progress)
    }

    /// The world after something was learned.
    pub(super) fn learn(&mut self, world: &World, news: News, lease: Lease) -> World {
        let held = lease == Lease::Held || self.rules.broken == Broken::NoFence;
        if let Some(row) = self.known.get(&(world.row, news, held)) {
            return world.recorded(*row);
        }
        let row = self.decide(world.row, news, held);
        self.known.insert((world.row, news, held), row);
        world.recorded(row)
    }

    fn decide(&self, row: Packed, news: News, held: bool) -> Packed {
        let broken = self.rules.broken;
        let sees_all = matches!(news, News::Callback(..)) && broken == Broken::CallbackSeesAll;
        let mut begun = if sees_all { ALL_BEGUN } else { NOT_BEGUN };
        if let News::Asked(of_query, _) = news {
            begun = of_query;
        }
        let seen = self.observation(news, sees_all);
        let lease = if held || sees_all { Lease::Held } else { Lease::Lost };
        let context = Context {
            now: moment(NOW),
            started: moment(i64::MIN / 2),
            policy: &self.policy,
            lease,
            attempts: 10,
        };
        let mut record = row.unpack(self.rules.mark, begun);
        assert_eq!(Packed::pack(&record), row, "packing loses nothing");
        record = transition(&record, &seen, &context).record;
        if matches!(news, News::Refused) && broken == Broken::RefusalAnswersTwoSends {
            record = transition(&record, &seen, &context).record;
        }
        let mut after = Packed::pack(&record);
        after.empties = after.empties.min(2);
        after
    }

    fn observation(&self, news: News, sees_all: bool) -> Observation {
        let nameless = Learned::Exists(Failure::own("ACCEPTED_WITHOUT_ID"));
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

    /// As Douyin shows it: with the order, and the mark of whoever sent one.
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
        if self.rules.mark == Mark::Off {
            report.facts.cp_extra = None;
        }
        report
    }
}
