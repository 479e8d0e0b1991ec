//! The record in the small world of [`super::world`]: packed into a few bytes, and unpacked into
//! the real [`Record`] when the real functions decide.

use super::super::step::Last;
use super::decisions::{NOT_BEGUN, given_by, milliseconds, place, process_id};
use super::setting::{Apart, Begun, Broken, EXISTS_ABSENT, GRACE, Rules, SETTLES, Told};
use super::world;
use super::*;

/// A record without the fields on which no decision depends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Packed {
    pub state: At,
    pub platform: bool,
    /// The permission of each worker's send is open.
    open: [bool; 2],
    /// A permission of each process is open that will not be answered.
    stale: [bool; 2],
    lost: bool,
    /// Which process gave the last permission.
    last: Option<u8>,
    pub set_back: bool,
    /// An operator stopped sending, and again once the grace was over.
    pub stopped: bool,
    pub confirmed: bool,
    pub exists: bool,
    pub refused: bool,
    failed: [bool; SETTLES],
    unlisted: u8,
    pub empties: u8,
    /// Another settle that Douyin calls alive.
    pub contradicted: Option<u8>,
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

    pub(super) fn pack(progress: &Progress) -> Self {
        let last = LASTS.iter().position(|last| *last == progress.last).unwrap();
        Turn {
            creator: progress.role == Role::Creator,
            sends: u8::try_from(progress.sends).unwrap(),
            queries: u8::try_from(progress.queries).unwrap(),
            last: u8::try_from(last).unwrap(),
        }
    }

    pub(super) fn unpack(self) -> Progress {
        Progress {
            role: if self.creator { Role::Creator } else { Role::Poller },
            sends: self.sends.into(),
            queries: self.queries.into(),
            last: LASTS[usize::from(self.last)],
            attempts: 10,
            backoff: 0,
            revision: 1,
        }
    }
}

/// The process whose permission stands for the lost send when the store went back.
const OF_THE_STORE: u8 = 9;
/// The number of a permission that will not be answered, plus its process.
const STALE: u64 = 10;
/// The age of another process's permission, by a clock that is not comparable.
pub(super) const AGES: i64 = 500_000;

pub(super) const NOW: i64 = 1_000_000;

pub(super) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn number(settle_id: &SettleId) -> u8 {
    settle_id.as_str().parse().unwrap()
}

pub(super) fn numbered(settle_id: u8) -> SettleId {
    id(&settle_id.to_string())
}

impl Packed {
    /// Recorded by the create of this worker, which was permitted to send by the same write.
    pub(super) fn recorded(worker: usize, process: usize) -> Self {
        Self::pack(&Self::submitted(worker, process))
    }

    /// The same in a store that went back, as the store's contract says.
    pub(super) fn recorded_again(worker: usize, process: usize, rules: &Rules) -> Self {
        let record = Self::submitted(worker, process);
        let broken = rules.broken;
        // The first process has recorded it, and knows that.
        let is_unnoticed = process > 0 || broken == Broken::OldRowsAreBelieved;
        let silently = matches!(broken, Broken::GoesBackSilently | Broken::RepeatsAreNew)
            || rules.unsaid && is_unnoticed;
        Self::pack(&if silently { record } else { record.perhaps_forgotten() })
    }

    fn submitted(worker: usize, process: usize) -> Record {
        let process = process_id(u8::try_from(process).unwrap());
        let first = permission(process, u64::try_from(worker).unwrap(), moment(NOW));
        Record::submitted(key(), request(Mark::On), first)
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.lost || self.open.contains(&true) || self.stale.contains(&true)
    }

    /// Whether the last permission is this process's.
    pub(super) fn is_own(&self, process: usize) -> bool {
        self.last.is_some_and(|last| usize::from(last) == process)
    }

    /// Whether no rule depends on the age of a permission any more.
    pub(super) fn forgets_time(&self) -> bool {
        !self.is_submitting() && !self.in_doubt() || !self.is_open()
    }

    /// The record after the store went back to it, as the store's contract says.
    pub(super) fn set_back(self, broken: Broken) -> Self {
        let mut after = self;
        if broken == Broken::GoesBackSilently || !self.is_open() || self.platform {
            return after;
        }
        // What the operator saw is gone.
        (after.stopped, after.confirmed) = (false, false);
        after.set_back = broken != Broken::SendsAfterGoingBack;
        after.last = Some(OF_THE_STORE);
        if broken != Broken::GoesBackWithoutALostSend {
            after.lost = true;
        }
        after
    }

    /// The worker no longer waits for an answer to its send.
    pub(super) fn loses(&mut self, worker: usize, process: usize, rules: &Rules) {
        if !std::mem::take(&mut self.open[worker]) {
            return;
        }
        // Which process gave it matters only for how long it lasts.
        if rules.timeouts[0] == rules.timeouts[1] {
            self.lost = true;
        } else {
            self.stale[process] = true;
        }
    }

    pub(super) fn swap_workers(&mut self) {
        self.open.swap(0, 1);
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

    /// What in it permits the caller to pay under another number.
    pub(super) fn tells(&self) -> Option<Told> {
        match self.state {
            _ if self.platform => Some(Told::OtherSystems),
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

    /// Whether a worker looks at it.
    pub(super) fn is_asked_about(&self) -> bool {
        self.is_open() || self.contradicted.is_some()
    }

    /// Drops evidence that no rule reads any more.
    pub(super) fn forget(&mut self, rules: &Rules) {
        if !self.is_open() && !rules.stale {
            (self.failed, self.contradicted) = ([false; SETTLES], None);
        }
        if self.is_final() && rules.broken == Broken::FailuresAreForgotten {
            self.failed = [false; SETTLES];
        }
        if !self.is_submitting() {
            self.exists = false;
            self.refused = false;
            self.unlisted = 0;
            self.empties = 0;
        }
        if !self.is_open() {
            self.lost = self.state == At::Rejected && self.in_doubt();
            (self.open, self.stale) = ([false; 2], [false; 2]);
            self.set_back = false;
            (self.stopped, self.confirmed) = (false, false);
        }
        if self.forgets_time() {
            self.last = None;
        }
    }

    /// The open permissions: number and process.
    fn permissions(&self, rules: &Rules) -> Vec<(u64, u8)> {
        let mut open = Vec::new();
        for (number, worker) in (0_u64..).zip(0..2) {
            if self.open[worker] {
                open.push((number, u8::try_from(world::process(worker, rules)).unwrap()));
            }
        }
        for (process, stale) in (0_u8..).zip(self.stale) {
            if stale {
                open.push((STALE + u64::from(process), process));
            }
        }
        open
    }

    pub(super) fn pack(record: &Record) -> Self {
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
            open: [0, 1].map(|number| evidence.open.iter().any(|one| one.id.number == number)),
            stale: [STALE, STALE + 1]
                .map(|number| evidence.open.iter().any(|one| one.id.number == number)),
            lost: evidence.lost > 0,
            last: evidence.last_permission.map(|last| place(last.id.process)),
            set_back: evidence.set_back,
            stopped: evidence.stopped,
            confirmed: evidence.stop_confirmed,
            exists: evidence.exists_seen.is_some(),
            refused: evidence.refused.is_some(),
            failed: [0, 1].map(|id| evidence.has_failed(&numbered(id))),
            unlisted: evidence
                .unlisted
                .as_ref()
                .map_or(0, |last| u8::try_from(last.times).unwrap()),
            empties: u8::try_from(evidence.empties_after_expiry).unwrap(),
            contradicted: record.contradiction.as_ref().map(|claim| number(&claim.settle_id)),
        }
    }

    /// The real record, with its moments placed so that a query begun at `NOW` meets every boundary
    /// exactly or misses it by one.
    pub(super) fn unpack(self, rules: &Rules, process: usize, begun: Begun) -> Record {
        let past = |length: u8, over: bool| moment(NOW - i64::from(length) + i64::from(!over));
        let state = match self.state {
            At::Submitting => State::Submitting,
            At::Processing(id) => State::Processing { settle_id: numbered(id) },
            At::Succeeded(id) => State::Succeeded { settle_id: numbered(id) },
            At::Failed(id) => State::Failed { settle_id: numbered(id) },
            At::Rejected => State::Rejected { rejection: no_money() },
        };
        let mut request = request(rules.mark);
        request.submit_before = moment(NOW + i64::from(!begun.after_window));
        let contradiction = self.contradicted.map(|settle_id| Contradiction {
            claimed: StateKind::Processing,
            settle_id: numbered(settle_id),
            source: Source::Create,
            time: moment(NOW),
            resolved: None,
        });
        let first = permission(process_id(0), 0, moment(NOW));
        let key = Key { trade_system: rules.trade_system(), ..key() };
        let mut record = Record::submitted(key, request, first);
        if self.platform {
            record.origin = Origin::Platform;
        }
        record.state = state;
        record.contradiction = contradiction;
        let evidence = &mut record.evidence;
        evidence.open.clear();
        for (number, whose) in self.permissions(rules) {
            evidence.open.push(given_by(rules, whose, number, moment(NOW)));
        }
        evidence.lost = self.lost.into();
        evidence.set_back = self.set_back;
        evidence.stopped = self.stopped;
        evidence.stop_confirmed = self.confirmed;
        let own = begun.known.map_or(NOW + 1, |age| NOW - i64::from(age));
        let time = match rules.apart {
            _ if self.is_own(process) => own,
            Apart::OneProcess | Apart::Behind => NOW - AGES,
            Apart::Ahead => NOW + AGES,
        };
        // Only whether the last permission was first seen matters, not its number.
        evidence.last_permission = self.last.map(|whose| given_by(rules, whose, 7, moment(time)));
        if rules.broken == Broken::OwnTimeout {
            let all = evidence.open.iter_mut().chain(&mut evidence.last_permission);
            all.for_each(|one| one.lasts = milliseconds(rules.timeouts[process]));
        }
        evidence.exists_seen = self.exists.then(|| past(EXISTS_ABSENT, begun.after_exists));
        evidence.refused = self.refused.then(no_money);
        let failed = (0_u8..).zip(self.failed).filter_map(|(id, failed)| failed.then_some(id));
        evidence.failed = failed.map(numbered).collect();
        let failure = failure(Reason::DouyinError, 99);
        let times = self.unlisted.into();
        evidence.unlisted = (self.unlisted > 0).then_some(Unlisted { failure, times });
        evidence.empties_after_expiry = self.empties.into();
        record
    }

    /// With the last moment at which a send may be permitted one ahead, or just passed.
    pub(super) fn unpack_in_window(
        self,
        rules: &Rules,
        sendable_time: bool,
        process: usize,
        known: Option<u8>,
    ) -> Record {
        let mut record = self.unpack(rules, process, Begun { known, ..NOT_BEGUN });
        if let Origin::Gateway(request) = &mut record.origin {
            let left = i64::from(GRACE) + i64::from(sendable_time);
            request.submit_before = moment(NOW + left);
        }
        record
    }
}
