//! A small world around one settle: two workers, a network that holds requests back, Douyin with
//! all its whims, a stranger, and time that passes as late as it is allowed to. Whatever the
//! gateway decides here is decided by the real [`transition`] and [`permit`].
//!
//! Time is counted, in moments, so that the real comparisons of moments are used, each at its
//! boundary. The gateway knows what it was told and nothing else. Either worker may be a second
//! poller. Workers either send and ask whenever they are allowed
//! to, which covers decisions made on an old copy of the record, or obey the real [`next_step`].
//!
//! A worker that hears nothing leaves its request on the way, where it may still arrive or not.
//! That is also the lost answer, 23000 with or without an effect, and the crash.

use super::packed::{Gateway, Packed, Turn};
use super::setting::{
    ALL_SEEN, Begun, Broken, EXISTS_ABSENT, Event, GRACE, News, Owner, Rules, SETTLES, Settle,
    Shown, Status, Stranger, TIMEOUT, Told, WINDOW,
};
use super::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Doing {
    Nothing,
    /// Looks at the record and decides.
    Deciding,
    /// Its request is on its way, for as long as this.
    Sending(u8),
    /// An answer has come back and is not recorded yet.
    Recording(News),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Worker {
    doing: Doing,
    leased: bool,
    turn: Turn,
}

const IDLE: Worker = Worker { doing: Doing::Nothing, leased: false, turn: Turn::POLLER };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub row: Packed,
    workers: [Worker; 2],
    pub settles: [Option<Settle>; SETTLES],
    burned: bool,
    stranger_came: bool,
    /// Requests on their way whose sender is gone, by age.
    orphans: [u8; TIMEOUT as usize + 1],
    permit_age: u8,
    exists_age: u8,
    window_left: u8,
    sends: u8,
    pub told: Option<Told>,
}

/// One step: what happened, whether nobody interfered, and the world after it.
pub(super) type Step = (Event, bool, World);

impl World {
    /// Recorded, and the first request permitted by the same write.
    pub(super) fn start(rules: &Rules) -> Self {
        let turn = if rules.obey { Turn::CREATOR } else { Turn::POLLER };
        let creator = Worker { doing: Doing::Sending(0), leased: true, turn };
        World {
            row: Packed::start(),
            workers: [creator, IDLE],
            settles: [None; SETTLES],
            burned: false,
            stranger_came: false,
            orphans: [0; TIMEOUT as usize + 1],
            permit_age: 0,
            exists_age: 0,
            window_left: WINDOW,
            sends: 1,
            told: None,
        }
    }

    /// Everything that may happen next.
    pub(super) fn steps(&self, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let rules = gateway.rules;
        if self.told.is_none()
            && let Some(told) = self.row.tells()
        {
            let world = World { told: Some(told), ..*self };
            out.push((Event::CallerPaysElsewhere, true, world));
        }
        self.claims(out);
        for worker in 0..self.workers.len() {
            self.worker_steps(worker, gateway, out);
        }
        self.network_steps(&rules, out);
        self.douyin_steps(gateway, out);
        if self.time_may_pass(&rules) {
            out.push((Event::AMomentPasses, true, self.older()));
        }
        for (_, _, world) in out.iter_mut() {
            world.forget(rules.broken == Broken::NoFence);
        }
    }

    /// A lease may run out at any moment; whoever was at work has lost it.
    fn claims(&self, out: &mut Vec<Step>) {
        let free = |worker: &Worker| worker.doing == Doing::Nothing;
        let Some(worker) = self.workers.iter().position(free) else { return };
        if !self.row.is_open() {
            return;
        }
        let mut world = *self;
        world.workers = self.workers.map(|worker| Worker { leased: false, ..worker });
        world.workers[worker] = Worker { doing: Doing::Deciding, leased: true, ..IDLE };
        out.push((Event::Claims, true, world));
    }

    fn worker_steps(&self, worker: usize, gateway: &mut Gateway, out: &mut Vec<Step>) {
        match self.workers[worker].doing {
            Doing::Nothing => {}
            Doing::Deciding => self.decides(worker, gateway, out),
            Doing::Sending(age) => {
                for (event, alone, world, news) in self.arrives(&gateway.rules) {
                    out.push((event, alone, world.with(worker, Doing::Recording(news))));
                }
                let mut world = self.records(worker, News::Unknown, gateway);
                world.orphans[usize::from(age)] += 1;
                out.push((Event::HearsNothing, false, world));
                if gateway.rules.stays_home {
                    let news = Doing::Recording(News::NotSent);
                    out.push((Event::NothingLeft, false, self.with(worker, news)));
                }
            }
            Doing::Recording(news) => {
                let news = match (news, gateway.rules.broken) {
                    (News::Asked(begun, shown), Broken::BegunWhenRecorded) => {
                        News::Asked(self.begins(begun.by_number), shown)
                    }
                    _ => news,
                };
                let world = self.records(worker, news, gateway);
                out.push((Event::Records(news, self.leased(worker)), true, world));
            }
        }
    }

    /// What a worker may do that holds the lease, or believes so.
    fn decides(&self, worker: usize, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let sendable_time = self.window_left > GRACE;
        let next = gateway
            .rules
            .obey
            .then(|| gateway.next(self.row, self.workers[worker].turn, sendable_time));
        let may_send = next.is_none_or(|next| next == step::Step::Send);
        if may_send
            && self.sends < gateway.rules.sends_max
            && let Some(row) = gateway.permit(self.row, sendable_time)
        {
            let world = World { row, ..self.sent() };
            out.push((Event::Sends, true, world.with(worker, Doing::Sending(0))));
        }
        let scope = match next {
            None => Some(Scope::Number),
            Some(step::Step::Query(scope)) => Some(scope),
            Some(step::Step::Send | step::Step::Rest) => None,
        };
        if let Some(scope) = scope {
            let by_number = scope == Scope::Number;
            let news = News::Asked(self.begins(by_number), self.shown(by_number));
            out.push((Event::Asks, true, self.with(worker, Doing::Recording(news))));
        }
        // A turn that ends as it should is no interference; one that ends early is a crash.
        out.push((Event::Rests, next.is_some(), self.with(worker, Doing::Nothing)));
    }

    /// A worker records what it learned and looks at the record again.
    fn records(&self, worker: usize, news: News, gateway: &mut Gateway) -> World {
        let mut world = gateway.learn(self, news, self.leased(worker));
        if gateway.rules.obey {
            world.workers[worker].turn = gateway.after(self.workers[worker].turn, news);
        }
        world.with(worker, Doing::Deciding)
    }

    /// What Douyin may do with a request that arrives.
    fn arrives(&self, rules: &Rules) -> Vec<(Event, bool, World, News)> {
        let taken = |settle: &Settle| !(rules.fail_frees && settle.status == Status::Fail);
        let free = self.settles.iter().position(Option::is_none);
        let free = free.filter(|_| !self.burned && !self.settles.iter().flatten().any(taken));
        let mut out = Vec::with_capacity(4);
        if rules.unlists {
            out.push((Event::AnswersUnlisted, false, *self, News::Unlisted));
        }
        let Some(place) = free else {
            out.push((Event::Answers23111, true, *self, News::Exists));
            out.push((Event::RefusesBeforeLooking, false, *self, News::Refused));
            return out;
        };
        let (world, settle_id) = self.taken_by(place, Owner::Us);
        out.push((Event::Accepts(settle_id), true, world, News::Accepted(settle_id)));
        if rules.nameless {
            out.push((Event::AcceptsWithoutId(settle_id), false, world, News::Nameless));
        }
        out.push((Event::Refuses, true, *self, News::Refused));
        if rules.burns && place == 0 {
            let world = World { burned: true, ..*self };
            out.push((Event::RefusesAndBurns, false, world, News::Refused));
        }
        out
    }

    fn taken_by(&self, place: usize, owner: Owner) -> (World, u8) {
        let mut world = *self;
        world.settles[place] = Some(Settle { owner, status: Status::Processing, hidden: Some(0) });
        (world, u8::try_from(place).unwrap())
    }

    /// Requests whose sender is gone arrive, or do not.
    fn network_steps(&self, rules: &Rules, out: &mut Vec<Step>) {
        for age in 0..self.orphans.len() {
            if self.orphans[age] == 0 {
                continue;
            }
            let mut rest = *self;
            rest.orphans[age] -= 1;
            out.push((Event::DroppedInFlight, true, rest));
            for (event, alone, world, _) in rest.arrives(rules) {
                if world != rest {
                    out.push((event, alone, world));
                }
            }
        }
    }

    fn douyin_steps(&self, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let rules = gateway.rules;
        for (place, settle_id) in (0..SETTLES).zip(0_u8..) {
            let Some(settle) = self.settles[place] else { continue };
            let mut become_ = |event, settle| {
                let mut world = *self;
                world.settles[place] = Some(settle);
                out.push((event, true, world));
            };
            if settle.hidden.is_some() {
                become_(Event::BecomesVisible(settle_id), Settle { hidden: None, ..settle });
            }
            if settle.status == Status::Processing {
                let succeeded = Settle { status: Status::Success, ..settle };
                become_(Event::Succeeds(settle_id), succeeded);
                become_(Event::Fails(settle_id), Settle { status: Status::Fail, ..settle });
            } else {
                let news = News::Callback(settle_id, settle.owner, settle.status);
                let world = gateway.learn(self, news, Lease::Lost);
                if world != *self {
                    out.push((Event::Callback(settle_id), true, world));
                }
            }
        }
        let failed = |settle: &Settle| rules.fail_frees && settle.status == Status::Fail;
        let free = self.settles.iter().position(Option::is_none);
        if let Some(place) = free
            && rules.stranger != Stranger::Nobody
            && !self.stranger_came
            && !self.burned
            && self.settles.iter().flatten().all(failed)
        {
            let (mut world, _) = self.taken_by(place, Owner::Stranger);
            world.stranger_came = true;
            out.push((Event::StrangerTakesTheNumber, false, world));
        }
    }

    /// Time waits for requests that must arrive and for settles that must become visible.
    fn time_may_pass(&self, rules: &Rules) -> bool {
        let old = Doing::Sending(TIMEOUT);
        let in_flight = self.orphans[usize::from(TIMEOUT)] > 0
            || self.workers.iter().any(|worker| worker.doing == old);
        let must_show = |settle: &Settle| settle.hidden == Some(GRACE - 1);
        (rules.late || !in_flight) && !self.settles.iter().flatten().any(must_show)
    }

    fn older(&self) -> World {
        let mut world = *self;
        for worker in &mut world.workers {
            if let Doing::Sending(age) = &mut worker.doing {
                *age = (*age + 1).min(TIMEOUT);
            }
        }
        for age in (0..usize::from(TIMEOUT)).rev() {
            world.orphans[age + 1] += world.orphans[age];
            world.orphans[age] = 0;
        }
        for settle in world.settles.iter_mut().flatten() {
            settle.hidden = settle.hidden.map(|age| age + 1);
        }
        world.permit_age = (world.permit_age + 1).min(ALL_SEEN);
        world.exists_age = (world.exists_age + 1).min(EXISTS_ABSENT);
        world.window_left = world.window_left.saturating_sub(1);
        world
    }

    /// The +1: no query begun before it has seen what is sent now.
    fn sent(&self) -> World {
        let mut world = World { sends: self.sends + 1, permit_age: 0, ..*self };
        for worker in &mut world.workers {
            if let Doing::Recording(News::Asked(begun, _)) = &mut worker.doing {
                begun.after_grace = false;
            }
        }
        world
    }

    fn begins(&self, by_number: bool) -> Begun {
        Begun {
            by_number,
            after_grace: self.permit_age >= ALL_SEEN,
            after_exists: self.row.exists && self.exists_age >= EXISTS_ABSENT,
            after_window: self.window_left == 0,
        }
    }

    fn shown(&self, by_number: bool) -> Shown {
        let mut shown = self.settles.map(|settle| {
            settle.filter(|settle| settle.hidden.is_none()).map(|seen| (seen.owner, seen.status))
        });
        if !by_number {
            for (settle, settle_id) in shown.iter_mut().zip(0..) {
                settle.take_if(|_| self.row.settle_id() != Some(settle_id));
            }
        }
        shown
    }

    fn leased(&self, worker: usize) -> Lease {
        if self.workers[worker].leased { Lease::Held } else { Lease::Lost }
    }

    fn with(&self, worker: usize, doing: Doing) -> World {
        let mut world = *self;
        world.workers[worker].doing = doing;
        world
    }

    /// The record after an observation; 23111 starts its own clock.
    pub(super) fn recorded(&self, row: Packed) -> World {
        let first = row.exists && !self.row.exists;
        World { row, exists_age: if first { 0 } else { self.exists_age }, ..*self }
    }

    /// Forgets what no rule reads any more, lets workers go that have nothing left to decide, and
    /// which worker is which.
    fn forget(&mut self, fenceless: bool) {
        self.row.forget();
        let row = &self.row;
        for worker in &mut self.workers {
            let over = !row.is_open() || !worker.leased && !fenceless;
            if worker.doing == Doing::Nothing || worker.doing == Doing::Deciding && over {
                *worker = IDLE;
            }
            if !worker.leased && !fenceless {
                worker.turn = Turn::POLLER;
            }
        }
        self.workers.sort_unstable();
        let row = &self.row;
        if !row.is_submitting() && row.unanswered == 0 || !row.is_open() {
            self.permit_age = ALL_SEEN;
        }
        if !(row.is_submitting() && row.exists) {
            self.exists_age = 0;
        }
        if !row.is_submitting() || row.exists || row.refused {
            self.window_left = 0;
        }
    }

    /// Nothing of ours can still change anything at Douyin.
    fn is_quiet(&self) -> bool {
        let sending = |worker: &Worker| matches!(worker.doing, Doing::Sending(_));
        self.orphans.iter().all(|count| *count == 0) && !self.workers.iter().any(sending)
    }

    /// An end: the caller knows what to do, or it is one of the documented operator's states.
    pub(super) fn has_ended(&self, rules: &Rules) -> bool {
        if !self.row.is_open() {
            return !self.row.platform || self.told.is_some();
        }
        let in_doubt = self.row.unanswered > 0 && self.permit_age >= ALL_SEEN && self.is_quiet();
        let settles = || self.settles.iter().flatten();
        if rules.grace_proves {
            let unseen = self.row.is_submitting() && self.row.exists && settles().count() == 0;
            return in_doubt && unseen;
        }
        let over = settles().all(|settle| settle.status != Status::Processing);
        let stuck = self.row.exists || self.window_left == 0 || settles().count() > 0;
        in_doubt && over && stuck
    }
}
