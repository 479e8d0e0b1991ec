//! What happens in the small world of [`super::world`] outside of the gateway: on the network, at
//! Douyin, and to the store.

use super::decisions::Gateway;
use super::packed::{Packed, Turn};
use super::setting::{
    Apart, Broken, Event, News, ORPHANS, Owner, Rules, SETTLES, Settle, Status, Stranger, WINDOW,
    Word,
};
use super::world::{self, Step, World};
use super::*;

impl World {
    /// What Douyin may do with a request that arrives.
    pub(super) fn arrives(&self, rules: &Rules) -> Vec<(Event, bool, World, News)> {
        let taken = |settle: &Settle| !(rules.fail_frees && settle.status == Status::Fail);
        let free = self.settles.iter().position(Option::is_none);
        let free = free.filter(|_| !self.burned && !self.settles.iter().flatten().any(taken));
        let mut out = Vec::with_capacity(4);
        if rules.unlists {
            out.push((Event::AnswersUnlisted, false, *self, News::Unlisted));
        }
        let shown = self.settles.iter().flatten().zip(0..).next();
        if let (Repeats::AnsweredAlike, Some((_, settle_id))) = (rules.repeats, shown) {
            out.push((Event::AnswersAlike(settle_id), true, *self, News::Accepted(settle_id)));
            out.push((Event::RefusesBeforeLooking, false, *self, News::Refused));
            return out;
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

    /// Requests whose sender is gone arrive, or are lost.
    pub(super) fn network_steps(&self, rules: &Rules, out: &mut Vec<Step>) {
        for orphan in (0..ORPHANS).filter(|orphan| self.orphans[*orphan].is_some()) {
            let mut rest = *self;
            rest.orphans[orphan] = None;
            out.push((Event::DroppedInFlight, true, rest));
            for (event, alone, world, _) in rest.arrives(rules) {
                if world != rest {
                    out.push((event, alone, world));
                }
            }
        }
    }

    pub(super) fn douyin_steps(&self, gateway: &mut Gateway, out: &mut Vec<Step>) {
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
                self.calls_back(news, gateway, out);
            }
        }
        if rules.stale {
            for (settle, settle_id) in self.settles.iter().flatten().zip(0..) {
                let news = News::Callback(settle_id, settle.owner, Status::Processing);
                self.calls_back(news, gateway, out);
            }
        }
        let failed = |settle: &Settle| rules.fail_frees && settle.status == Status::Fail;
        let free = self.settles.iter().position(Option::is_none);
        if let Some(place) = free
            && rules.stranger != Stranger::None
            && !self.stranger_came
            && !self.burned
            && self.settles.iter().flatten().all(failed)
        {
            let (mut world, _) = self.taken_by(place, Owner::Stranger);
            world.stranger_came = true;
            out.push((Event::StrangerTakesTheNumber, false, world));
        }
    }

    fn calls_back(&self, news: News, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let seen = self.compared(0, &gateway.rules);
        let world = gateway.learn(&seen, news, Lease::Lost, 0, Turn::POLLER);
        if world != *self {
            out.push((Event::Callback(news), true, world));
        }
    }

    /// An operator may stop sending. After that it sees the settle and learns what is true at
    /// Douyin, as often as it likes. If requests may be on their way for ever, it asks when none
    /// is. What it knows is about the revision that it saw, so a confirmed stop makes it ask again.
    pub(super) fn operator_steps(&self, gateway: &mut Gateway, out: &mut Vec<Step>) {
        let rules = gateway.rules;
        if !self.row.is_open() || self.row.platform {
            return;
        }
        let may_ask =
            self.row.stopped || rules.asked_early || rules.broken == Broken::EndsUnstopped;
        if may_ask
            && (!rules.late || self.is_quiet())
            && let Some(word) = self.truth()
        {
            let operator = Some(word);
            if self.operator != operator {
                out.push((Event::OperatorLooks(word), false, World { operator, ..*self }));
            }
        }
        let processes = if rules.apart == Apart::OneProcess { 1 } else { 2 };
        for process in 0..processes {
            let row = gateway.stop(self.row, process, self.known[process]);
            if row.stopped && !self.row.stopped && process == 0 {
                out.push((Event::OperatorStopsSending, false, World { row, ..*self }));
            }
            if row.confirmed && !self.row.confirmed {
                let mut world = World { row, ..*self };
                world.forget_word();
                out.push((Event::OperatorConfirmsTheStop, false, world));
            }
        }
    }

    /// `None`: a settle of ours is not at its end.
    fn truth(&self) -> Option<Word> {
        let ours = (0_u8..).zip(self.settles).filter_map(|(id, settle)| {
            settle.filter(|settle| settle.owner == Owner::Us).map(|settle| (id, settle.status))
        });
        let mut word = Some(Word::Rejected);
        for (id, status) in ours {
            word = match status {
                Status::Processing => return None,
                Status::Success => return Some(Word::Succeeded(id)),
                Status::Fail => Some(Word::Failed(id)),
            };
        }
        word
    }

    /// The store may go back, once, to an earlier state.
    pub(super) fn store_steps(&self, rules: &Rules, out: &mut Vec<Step>) {
        if !rules.goes_back || self.went_back {
            return;
        }
        let Some(backup) = self.backup else {
            if self.row.is_open() {
                let world = World { backup: Some(self.row), ..*self };
                out.push((Event::IsBackedUp, false, world));
            }
            self.is_gone(rules, out);
            return;
        };
        if backup == self.row {
            return;
        }
        let mut world = World { row: backup, backup: None, went_back: true, due: true, ..*self };
        if rules.unsaid {
            out.push((Event::GoesBack, false, world));
            return;
        }
        world.void_leases();
        if rules.broken != Broken::GoesBackSilently {
            world.begins_generation(rules);
        }
        out.push((Event::GoesBack, false, world));
    }

    fn begins_generation(&mut self, rules: &Rules) {
        self.void_leases();
        self.row = self.row.set_back(rules.broken);
        self.known = [None; 2];
        self.forget_begun();
        self.newer = [false; 2];
    }

    /// Notes that a process has seen a row that is newer than the one to which the store may go
    /// back.
    pub(super) fn sees_newer(&mut self, process: usize, rules: &Rules) {
        let is_newer = self.backup.is_some_and(|backup| backup != self.row);
        self.newer[process] |= rules.unsaid && is_newer;
    }

    /// What a process finds that reads the row: if it is older than the process saw it, a new
    /// generation begins.
    pub(super) fn compared(&self, process: usize, rules: &Rules) -> World {
        let mut world = *self;
        let is_older = self.went_back && self.newer[process];
        if is_older && rules.broken != Broken::OldRowsAreBelieved {
            world.begins_generation(rules);
        }
        world
    }

    /// It goes back to before the settle was recorded. A caller that was told nothing final repeats
    /// the create, which then is a new one.
    fn is_gone(&self, rules: &Rules, out: &mut Vec<Step>) {
        let Some(worker) = self.idle_worker() else { return };
        if self.told.is_some() || self.sends >= rules.sends_max {
            return;
        }
        let process = world::process(worker, rules);
        let mut world = World { went_back: true, due: true, ..self.sent(process, rules) };
        world.void_leases();
        world.row = Packed::recorded_again(worker, process, rules);
        (world.exists_age, world.window_left) = (0, WINDOW);
        out.push((Event::IsGoneAndRepeated, false, world.begins_to_send(worker, rules)));
    }
}
