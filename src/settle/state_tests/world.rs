//! A small world around one settle: two workers (of one process, or of two with clocks that are not
//! comparable), a network that delays requests, Douyin with everything its documents leave open,
//! another system, a store that may go back (`outside.rs`), and time that passes as late as it may.
//! What the gateway decides here, the real [`transition`], [`permit`], [`FirstSeen`] and
//! `schedule::next` decide.
//!
//! Time is counted in moments, so that the real comparisons run, each at its boundary. The gateway
//! knows only what it was told. Either worker may be a second poller. Workers send and ask whenever
//! they may, which covers decisions on an old copy of the record, or follow the real [`next_step`].
//!
//! A worker that gets no answer leaves its request on the way, where it may arrive or not. That
//! covers the lost answer, 23000 with or without an effect, and the crash.

use super::decisions::Gateway;
use super::packed::{Packed, Turn};
use super::setting::{
    Apart, Begun, Broken, EXISTS_ABSENT, Event, GRACE, News, ORPHANS, Rules, SETTLES, Settle,
    Shown, Status, Told, WINDOW, Word,
};
use super::*;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Doing {
    Nothing,
    /// Looks at the record and decides.
    Deciding,
    /// Its request is on its way, for as long as this.
    Sending {
        age: u8,
    },
    /// An answer has come and is not recorded yet.
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
    /// The settle has a due row.
    pub due: bool,
    pub workers: [Worker; 2],
    pub settles: [Option<Settle>; SETTLES],
    pub burned: bool,
    pub stranger_came: bool,
    /// Requests on their way whose sender is gone: its process and their age.
    pub orphans: [Option<(u8, u8)>; ORPHANS],
    /// For how long each process has known the last permission.
    pub known: [Option<u8>; 2],
    pub exists_age: u8,
    pub window_left: u8,
    pub sends: u8,
    pub told: Option<Told>,
    /// The state to which the store may go back.
    pub backup: Option<Packed>,
    pub went_back: bool,
    /// Whether each process has seen a row that is newer than that state.
    pub newer: [bool; 2],
    /// What an operator learned about the settle at this revision.
    pub operator: Option<Word>,
}

/// One step: what happened, whether it was without interference, and the world after it.
pub(super) type Step = (Event, bool, World);

impl World {
    /// Recorded, with the first send permitted by the same write.
    pub(super) fn start(rules: &Rules) -> Self {
        let world = World {
            row: Packed::recorded(0, 0),
            due: true,
            workers: [IDLE; 2],
            settles: [None; SETTLES],
            burned: false,
            stranger_came: false,
            orphans: [None; ORPHANS],
            known: [Some(0), None],
            exists_age: 0,
            window_left: WINDOW,
            sends: 1,
            told: None,
            backup: None,
            went_back: false,
            newer: [false; 2],
            operator: None,
        };
        world.begins_to_send(0, rules)
    }

    /// With the worker of a create, whose insert permitted the first send.
    pub(super) fn begins_to_send(mut self, worker: usize, rules: &Rules) -> Self {
        let turn = if rules.obey { Turn::CREATOR } else { Turn::POLLER };
        let doing = Doing::Sending { age: 0 };
        self.workers[worker] = Worker { doing, leased: true, turn };
        self
    }

    pub(super) fn idle_worker(&self) -> Option<usize> {
        self.workers.iter().position(|worker| worker.doing == Doing::Nothing)
    }

    /// Every next step that is possible.
    pub(super) fn steps(&self, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let rules = gateway.rules;
        if self.told.is_none()
            && let Some(told) = self.row.tells()
        {
            let world = World { told: Some(told), ..*self };
            out.push((Event::CallerPaysElsewhere, true, world));
        }
        self.claims(&rules, out);
        for worker in 0..self.workers.len() {
            self.worker_steps(worker, gateway, out);
        }
        self.network_steps(&rules, out);
        self.douyin_steps(gateway, out);
        self.store_steps(&rules, out);
        if rules.operator {
            self.operator_steps(gateway, out);
        }
        if self.time_may_pass(&rules, None) {
            out.push((Event::AMomentPasses, true, self.older(&rules, None)));
        }
        if rules.stands_still && self.time_may_pass(&rules, Some(0)) {
            out.push((Event::AMomentPassesWithoutTheFirst, false, self.older(&rules, Some(0))));
        }
        for (_, _, world) in out.iter_mut() {
            world.forget(&rules);
        }
    }

    /// A lease may run out at any moment. Then its worker has lost it.
    fn claims(&self, rules: &Rules, out: &mut Vec<Step>) {
        if !self.row.is_asked_about() || !self.due {
            return;
        }
        let free = (0..2).filter(|worker| self.workers[*worker].doing == Doing::Nothing);
        // Two workers of one process are interchangeable.
        let most = if rules.apart == Apart::OneProcess { 1 } else { 2 };
        for worker in free.take(most) {
            let mut world = self.seen_by(worker, rules);
            world.void_leases();
            world.workers[worker] = Worker { doing: Doing::Deciding, leased: true, ..IDLE };
            out.push((Event::Claims(worker), true, world));
        }
    }

    pub(super) fn void_leases(&mut self) {
        self.workers = self.workers.map(|worker| Worker { leased: false, ..worker });
    }

    /// A process reads the row, and after it its clock.
    fn seen_by(&self, worker: usize, rules: &Rules) -> World {
        let process = process(worker, rules);
        let mut world = self.compared(process, rules);
        world.sees_newer(process, rules);
        let room = !rules.full_memory || rules.broken == Broken::FullMemoryProves;
        if room || world.row.is_own(process) {
            let first = if rules.broken == Broken::ClockBeforeRow { rules.old() } else { 0 };
            world.known[process].get_or_insert(first);
        }
        world
    }

    fn worker_steps(&self, worker: usize, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let doing = self.workers[worker].doing;
        if matches!(doing, Doing::Deciding | Doing::Recording(_)) {
            let compared = self.compared(process(worker, &gateway.rules), &gateway.rules);
            if compared != *self {
                out.push((Event::FindsAnOlderRow, true, compared));
                return;
            }
        }
        match doing {
            Doing::Nothing => {}
            Doing::Deciding => self.decides(worker, gateway, out),
            Doing::Sending { age } => {
                for (event, alone, world, news) in self.arrives(&gateway.rules) {
                    out.push((event, alone, world.with(worker, Doing::Recording(news))));
                }
                let mut world = self.records(worker, News::Unknown, gateway);
                let process = u8::try_from(process(worker, &gateway.rules)).unwrap();
                let free = world.orphans.iter_mut().find(|orphan| orphan.is_none());
                *free.expect("there are no more sends than that") = Some((process, age));
                out.push((Event::HearsNothing, false, world));
                if gateway.rules.stays_home {
                    let doing = Doing::Recording(News::NotSent);
                    out.push((Event::NothingLeft, false, self.with(worker, doing)));
                }
            }
            Doing::Recording(news) => {
                let news = match (news, gateway.rules.broken) {
                    (News::Asked(begun, shown), Broken::BegunWhenRecorded) => {
                        News::Asked(self.begins(worker, begun.by_number, &gateway.rules), shown)
                    }
                    _ => news,
                };
                let world = self.records(worker, news, gateway);
                if gateway.rules.twice && !matches!(news, News::Asked(..) | News::Ended(..)) {
                    let again = world.with(worker, Doing::Recording(news));
                    out.push((Event::RecordsInDoubt(news), false, again));
                }
                out.push((Event::Records(news, self.leased(worker)), true, world));
            }
        }
    }

    /// What a worker may do that holds the lease, or believes that it does.
    fn decides(&self, worker: usize, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let rules = gateway.rules;
        let sendable_time = self.window_left > GRACE;
        let next =
            rules.obey.then(|| gateway.next(self.row, self.workers[worker].turn, sendable_time));
        let may_send = next.is_none_or(|next| next == step::Step::Send);
        let process = process(worker, &rules);
        if may_send
            && self.sends < rules.sends_max
            && let Some(row) = gateway.permit(self.row, sendable_time, worker, self.known[process])
        {
            let mut world = World { row, ..self.sent(process, &rules) };
            world.sees_newer(process, &rules);
            out.push((Event::Sends, true, world.with(worker, Doing::Sending { age: 0 })));
        }
        let scope = match next {
            None => Some(Scope::Number),
            Some(step::Step::Query(scope)) => Some(scope),
            Some(step::Step::Send | step::Step::Rest) => None,
        };
        if let Some(scope) = scope {
            let by_number = scope == Scope::Number;
            let begun = self.begins(worker, by_number, &rules);
            let news = News::Asked(begun, self.shown(by_number));
            out.push((Event::Asks, true, self.with(worker, Doing::Recording(news))));
        }
        if let Some(word) = self.operator
            && self.workers[worker].leased
        {
            let begun = self.begins(worker, true, &rules);
            for answer in [Some(self.shown(true)), None] {
                let doing = Doing::Recording(News::Ended(begun, answer, word));
                out.push((Event::AsksForTheOperator, false, self.with(worker, doing)));
            }
        }
        // A turn that ends when its steps are done is no interference; one that ends early is a
        // crash.
        out.push((Event::Rests, next.is_some(), self.with(worker, Doing::Nothing)));
    }

    /// A worker records what it learned and looks at the record again.
    fn records(&self, worker: usize, news: News, gateway: &mut Gateway) -> World {
        let rules = gateway.rules;
        let turn = gateway.after(self.workers[worker].turn, news);
        let seen = self.seen_by(worker, &rules);
        let mut world = gateway.learn(&seen, news, self.leased(worker), worker, turn);
        if rules.obey {
            world.workers[worker].turn = turn;
        }
        world.with(worker, Doing::Deciding)
    }

    /// Time does not pass while a request must arrive (unless its machine stands still) or a settle
    /// must become visible.
    fn time_may_pass(&self, rules: &Rules, still: Option<usize>) -> bool {
        let must_arrive = |process: usize, age: u8| {
            Some(process) != still && age >= rules.timeouts[process] && !rules.late
        };
        let orphan = |(process, age): &(u8, u8)| must_arrive(usize::from(*process), *age);
        let sending = |worker: usize| match self.workers[worker].doing {
            Doing::Sending { age } => must_arrive(process(worker, rules), age),
            Doing::Nothing | Doing::Deciding | Doing::Recording(_) => false,
        };
        let must_show = |settle: &Settle| settle.hidden == Some(GRACE - 1);
        !self.orphans.iter().flatten().any(orphan)
            && !(0..2).any(sending)
            && !self.settles.iter().flatten().any(must_show)
    }

    /// `still`: a process whose clock and requests stand still meanwhile.
    fn older(&self, rules: &Rules, still: Option<usize>) -> World {
        let mut world = *self;
        for worker in (0..2).filter(|worker| Some(*worker) != still) {
            if let Doing::Sending { age } = &mut world.workers[worker].doing {
                *age = (*age + 1).min(rules.timeouts[process(worker, rules)]);
            }
        }
        for (process, age) in world.orphans.iter_mut().flatten() {
            let process = usize::from(*process);
            if Some(process) != still {
                *age = (*age + 1).min(rules.timeouts[process]);
            }
        }
        for process in (0..2).filter(|process| Some(*process) != still) {
            world.known[process] = world.known[process].map(|age| (age + 1).min(rules.old()));
        }
        for settle in world.settles.iter_mut().flatten() {
            settle.hidden = settle.hidden.map(|age| age + 1);
        }
        world.exists_age = (world.exists_age + 1).min(EXISTS_ABSENT);
        world.window_left = world.window_left.saturating_sub(1);
        world
    }

    /// A permission is given. No query begun before has seen what is sent now.
    pub(super) fn sent(&self, by: usize, rules: &Rules) -> World {
        let mut world = World { sends: self.sends + 1, ..*self };
        for process in 0..2 {
            if process == by {
                world.known[process] = Some(0);
            } else if rules.broken != Broken::OldFirstSeen {
                world.known[process] = None;
            }
        }
        world.forget_begun();
        world
    }

    pub(super) fn forget_begun(&mut self) {
        for worker in &mut self.workers {
            if let Doing::Recording(News::Asked(begun, _) | News::Ended(begun, ..)) =
                &mut worker.doing
            {
                begun.known = None;
            }
        }
    }

    /// The settle has another revision than the one that the operator saw.
    pub(super) fn forget_word(&mut self) {
        self.operator = None;
        for worker in &mut self.workers {
            if let Doing::Recording(News::Ended(begun, answer, _)) = worker.doing {
                let asked = answer.map(|shown| Doing::Recording(News::Asked(begun, shown)));
                worker.doing = asked.unwrap_or(Doing::Deciding);
            }
        }
    }

    fn begins(&self, worker: usize, by_number: bool, rules: &Rules) -> Begun {
        Begun {
            by_number,
            known: self.known[process(worker, rules)],
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

    /// The record after an observation; 23111 starts a clock of its own.
    pub(super) fn recorded(&self, row: Packed, due: bool) -> World {
        let first = row.exists && !self.row.exists;
        let exists_age = if first { 0 } else { self.exists_age };
        let mut world = World { row, due, exists_age, ..*self };
        let visible = |row: &Packed| (row.kind(), row.settle_id(), row.platform);
        if visible(&row) != visible(&self.row) {
            world.forget_word();
        }
        if self.due && !due {
            // The leases are gone with the due row.
            world.void_leases();
        }
        world
    }

    /// Drops what no rule reads any more, ends workers that have nothing left to decide, and makes
    /// the workers of one process interchangeable.
    fn forget(&mut self, rules: &Rules) {
        let fenceless = rules.broken == Broken::NoFence;
        for worker in 0..2 {
            let may_answer = match self.workers[worker].doing {
                Doing::Sending { .. } => true,
                Doing::Recording(news) => !matches!(news, News::Asked(..) | News::Ended(..)),
                Doing::Nothing | Doing::Deciding => false,
            };
            if !may_answer {
                self.row.loses(worker, process(worker, rules), rules);
                if let Some(backup) = &mut self.backup {
                    backup.loses(worker, process(worker, rules), rules);
                }
            }
        }
        self.row.forget(rules);
        let row = &self.row;
        for worker in &mut self.workers {
            let over = !row.is_asked_about() || !worker.leased && !fenceless;
            if worker.doing == Doing::Nothing || worker.doing == Doing::Deciding && over {
                *worker = IDLE;
            }
            if !worker.leased && !fenceless {
                worker.turn = Turn::POLLER;
            }
        }
        if rules.apart == Apart::OneProcess && self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
            self.row.swap_workers();
            if let Some(backup) = &mut self.backup {
                backup.swap_workers();
            }
        }
        self.orphans.sort_unstable();
        let row = &self.row;
        if row.forgets_time() {
            self.known = [Some(rules.old()); 2];
        }
        if !(row.is_submitting() && row.exists) {
            self.exists_age = 0;
        }
        if !row.is_submitting() || row.exists || row.refused {
            // The state to which the store goes back may need it again.
            if self.backup.is_none() {
                self.window_left = 0;
            }
        }
        if !row.is_open() {
            self.due &= row.is_asked_about();
            self.operator = None;
        }
    }

    /// No send of ours can change anything at Douyin any more.
    pub(super) fn is_quiet(&self) -> bool {
        let sending = |worker: &Worker| matches!(worker.doing, Doing::Sending { .. });
        self.orphans.iter().all(Option::is_none) && !self.workers.iter().any(sending)
    }

    /// An end: the caller knows what to do, or the settle waits for an operator as documented.
    pub(super) fn has_ended(&self, rules: &Rules) -> bool {
        if !self.row.is_open() {
            let is_told = !self.row.platform || self.told.is_some();
            return is_told && self.row.contradicted.is_none();
        }
        let known = self.known.contains(&Some(rules.old()));
        let in_doubt = self.row.in_doubt() && known && self.is_quiet();
        let settles = || self.settles.iter().flatten();
        if rules.grace_proves {
            let unseen = self.row.is_submitting() && self.row.exists && settles().count() == 0;
            return in_doubt && unseen;
        }
        let over = settles().all(|settle| settle.status != Status::Processing);
        let stuck =
            self.row.exists || self.row.set_back || self.window_left == 0 || settles().count() > 0;
        in_doubt && over && stuck
    }
}

/// The process of a worker.
pub(super) fn process(worker: usize, rules: &Rules) -> usize {
    if rules.apart == Apart::OneProcess { 0 } else { worker }
}
