//! Every interleaving of the small world of [`super::world`], breadth first, with the invariants
//! checked in every state. A violation prints the shortest way to it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::decisions::Gateway;
use super::packed::At;
use super::setting::{
    Apart, Broken, Event, FULL, LONG_TIMEOUT, Owner, Rules, Settle, Status, Stranger, TIMEOUT, Told,
};
use super::world::World;
use super::*;

/// What must never happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Never {
    /// I1: the money of one intent moves twice.
    PaidTwice,
    /// I2 and I2R: rejected, although a settle of ours was accepted.
    RejectedButAccepted,
    /// I2F: FAILED was told, and another settle of ours is alive.
    FailedButAlive,
    /// I2X: another system's settle was told, and a settle of ours is alive under the number.
    StrangersButAlive,
    /// I3: our content is shown for another system's settle.
    ShownForAnother,
    /// I5: a state in which no settle at Douyin is.
    Misreported,
    /// I5F: FAILED contradicts a settle that has failed too.
    FalselyDisputed,
    /// I6: a final state was left.
    FinalLeft,
    /// I7: a settle that is not final has no due row.
    Forgotten,
    /// I4: no end can be reached any more.
    Stuck,
}

/// A hasher of small values.
#[derive(Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word.try_into().unwrap());
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.unsigned_abs().try_into().unwrap());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Index = HashMap<World, u32, BuildHasherDefault<Quick>>;

struct Explored {
    states: usize,
    found: BTreeMap<Never, Vec<String>>,
}

/// The states found so far, and how each was found first.
struct Search {
    index: Index,
    order: Vec<World>,
    parents: Vec<(u32, Event)>,
    found: BTreeMap<Never, Vec<String>>,
}

const STATES_MAX: usize = 2_000_000;

/// Explores the whole world, or until everything in `until` was found.
fn explore(rules: Rules, until: &[Never]) -> Explored {
    let mut gateway = Gateway::new(rules);
    let mut search = Search::new(&rules);
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut steps = Vec::new();
    let mut at = 0;
    while at < search.order.len() {
        let world = search.order[at];
        search.check(&world, at);
        if !until.is_empty() && until.iter().all(|never| search.found.contains_key(never)) {
            return Explored { states: search.order.len(), found: search.found };
        }
        world.steps(&mut gateway, &mut steps);
        for (event, alone, next) in steps.drain(..) {
            let found = search.visit(next, at, event);
            let went_back = matches!(event, Event::GoesBack | Event::IsGoneAndRepeated);
            if world.row.is_final() && world.row.kind() != next.row.kind() && !went_back {
                search.report(Never::FinalLeft, found);
            }
            if alone {
                edges.push((number(found), number(at)));
            }
        }
        at += 1;
    }
    search.report_stuck(edges, &rules);
    Explored { states: search.order.len(), found: search.found }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap()
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

impl Search {
    fn new(rules: &Rules) -> Self {
        let start = World::start(rules);
        let index = Index::from_iter([(start, 0)]);
        let parents = vec![(0, Event::Recorded)];
        Self { index, order: vec![start], parents, found: BTreeMap::new() }
    }

    fn visit(&mut self, world: World, from: usize, event: Event) -> usize {
        let new = number(self.order.len());
        let found = *self.index.entry(world).or_insert(new);
        if found == new {
            assert!(self.order.len() < STATES_MAX, "the world is too large");
            self.order.push(world);
            self.parents.push((number(from), event));
        }
        place(found)
    }

    fn check(&mut self, world: &World, at: usize) {
        for never in broken(world) {
            self.report(never, at);
        }
    }

    fn report(&mut self, never: Never, at: usize) {
        if !self.found.contains_key(&never) {
            let trace = self.trace(at);
            self.found.insert(never, trace);
        }
    }

    fn trace(&self, mut at: usize) -> Vec<String> {
        let mut trace = vec![format!("=> {:?}", self.order[at])];
        while at > 0 {
            let (parent, event) = self.parents[at];
            trace.push(format!("{event:?}"));
            at = place(parent);
        }
        trace.reverse();
        trace
    }

    /// Checks that from every state an end can be reached without interference.
    fn report_stuck(&mut self, mut edges: Vec<(u32, u32)>, rules: &Rules) {
        edges.sort_unstable();
        let ended = |world: &World| world.has_ended(rules);
        let mut ends: Vec<bool> = self.order.iter().map(ended).collect();
        let mut open: Vec<usize> = (0..ends.len()).filter(|at| ends[*at]).collect();
        while let Some(at) = open.pop() {
            let first = edges.partition_point(|edge| place(edge.0) < at);
            for (to, from) in &edges[first..] {
                if place(*to) != at {
                    break;
                }
                if !std::mem::replace(&mut ends[place(*from)], true) {
                    open.push(place(*from));
                }
            }
        }
        if let Some(stuck) = ends.iter().position(|ends| !ends) {
            self.report(Never::Stuck, stuck);
        }
    }
}

/// Which invariants this state violates.
fn broken(world: &World) -> Vec<Never> {
    let ours = || world.settles.iter().flatten().filter(|settle| settle.owner == Owner::Us);
    let alive = |settle: &Settle| settle.status != Status::Fail;
    let any_ours = ours().count() > 0;
    let alive_ours = ours().any(alive);
    let paid = ours().filter(|settle| settle.status == Status::Success).count();
    let row = &world.row;
    let settle = row.settle_id().and_then(|id| world.settles[usize::from(id)]);
    let misreported = match row.state {
        At::Submitting | At::Rejected => false,
        At::Processing(_) => settle.is_none(),
        At::Succeeded(_) => settle.is_none_or(|settle| settle.status != Status::Success),
        At::Failed(_) => settle.is_none_or(|settle| settle.status != Status::Fail),
    };
    let is_failed = matches!(row.state, At::Failed(_));
    let strangers = settle.is_some_and(|settle| settle.owner == Owner::Stranger);
    let rejected = row.state == At::Rejected || world.told == Some(Told::Rejected);
    [
        (Never::PaidTwice, paid + usize::from(world.told.is_some()) > 1),
        (Never::RejectedButAccepted, rejected && any_ours),
        (Never::FailedButAlive, world.told == Some(Told::Failed) && alive_ours),
        (Never::StrangersButAlive, world.told == Some(Told::OtherSystems) && alive_ours),
        (Never::ShownForAnother, !row.platform && strangers),
        (Never::Misreported, misreported),
        (Never::FalselyDisputed, is_failed && row.contradicted.is_some()),
        (Never::Forgotten, row.is_open() && !world.due),
    ]
    .into_iter()
    .filter_map(|(never, is)| is.then_some(never))
    .collect()
}

/// No other system, and no refusal uses the number up.
const ALONE: Rules = Rules { burns: false, stranger: Stranger::None, ..FULL };
/// A number is used once, by us or by another system.
const ONCE: Rules = Rules { burns: false, fail_frees: false, ..FULL };
/// Two processes with clocks that are not comparable.
const TWO: Rules = Rules { apart: Apart::Behind, ..ALONE };
/// The same, and no FAIL frees the number.
const TWO_ONCE: Rules = Rules { fail_frees: false, ..TWO };

/// A repeat is answered like the first create, also if another system made that, and a number has
/// one settle for ever.
const ALIKE: Rules =
    Rules { repeats: Repeats::AnsweredAlike, burns: false, fail_frees: false, ..FULL };

fn expect_nothing_broken(rules: Rules) {
    let explored = explore(rules, &[]);
    eprintln!("{} states", explored.states);
    let mut text = String::new();
    for (never, trace) in &explored.found {
        text += &format!("\n{never:?}\n    {}", trace.join("\n    "));
    }
    assert!(explored.found.is_empty(), "{text}");
}

/// Checks that a rule left out is noticed, or the checks above would prove nothing. Prints the
/// shortest accident.
fn expect_broken(broken: Broken, rules: Rules, expected: &[Never]) {
    let explored = explore(Rules { broken, ..rules }, expected);
    let found: Vec<Never> = explored.found.keys().copied().collect();
    eprintln!("{broken:?}: {} states, {found:?}", explored.states);
    let shortest = expected.iter().filter_map(|never| explored.found.get(never));
    if let Some(trace) = shortest.min_by_key(|trace| trace.len()) {
        eprintln!("  {}", trace[..trace.len() - 1].join(" → "));
    }
    assert!(expected.iter().all(|never| found.contains(never)), "{broken:?}: only {found:?}");
}

#[test]
fn no_interleaving_pays_twice_or_tells_anything_false() {
    expect_nothing_broken(FULL);
}

#[test]
fn nor_without_the_mark_if_the_stranger_settles_another_order() {
    let mark = Mark::Off;
    expect_nothing_broken(Rules { mark, ..ALONE });
    expect_nothing_broken(Rules { mark, stranger: Stranger::OtherOrder, ..ONCE });
}

#[test]
fn nor_if_workers_do_exactly_what_the_next_step_says() {
    expect_nothing_broken(Rules { obey: true, ..ALONE });
    expect_nothing_broken(Rules { obey: true, ..ONCE });
}

/// The fence keeps workers apart. Without it the moments in the record still keep the money safe.
#[test]
fn nor_if_a_worker_believes_in_a_lease_that_it_has_lost() {
    expect_nothing_broken(Rules { broken: Broken::NoFence, ..ALONE });
}

#[test]
fn nor_with_three_sends() {
    expect_nothing_broken(Rules { sends_max: 3, ..ALONE });
}

#[test]
fn nor_with_unlisted_numbers() {
    expect_nothing_broken(Rules { unlists: true, ..ALONE });
}

#[test]
fn nor_with_sends_that_never_left() {
    expect_nothing_broken(Rules { stays_home: true, ..ALONE });
}

#[test]
fn nor_if_a_fail_burns_the_number() {
    expect_nothing_broken(Rules { fail_frees: false, ..FULL });
}

#[test]
fn nor_with_requests_that_arrive_days_later_if_the_grace_proves_nothing() {
    expect_nothing_broken(Rules { late: true, grace_proves: false, ..ALONE });
}

/// The known limit, for which the knob exists.
#[test]
fn requests_that_arrive_days_later_do_break_a_grace_that_proves() {
    let expected = [Never::PaidTwice, Never::RejectedButAccepted];
    expect_broken(Broken::Nothing, Rules { late: true, ..ALONE }, &expected);
}

#[test]
fn every_rule_left_out_is_noticed() {
    use Never::{FailedButAlive, PaidTwice, RejectedButAccepted, StrangersButAlive};
    let broken = [Broken::NoGrace, Broken::UnknownIsRefused, Broken::BegunWhenRecorded];
    for broken in broken {
        expect_broken(broken, ALONE, &[PaidTwice, RejectedButAccepted]);
    }
    expect_broken(Broken::NoPlusOne, ALONE, &[PaidTwice]);
    let expected = [PaidTwice, FailedButAlive, StrangersButAlive];
    expect_broken(Broken::CallbackSeesAll, FULL, &expected);
}

#[test]
fn nor_with_acceptances_that_name_no_settle() {
    expect_nothing_broken(Rules { nameless: true, burns: false, ..FULL });
}

#[test]
fn an_acceptance_without_an_id_taken_for_an_answer_is_noticed() {
    let expected = [Never::PaidTwice, Never::StrangersButAlive];
    expect_broken(Broken::NamelessAnswersItsSend, Rules { nameless: true, ..FULL }, &expected);
}

#[test]
fn nor_with_two_processes_whose_clocks_are_apart_by_any_amount() {
    expect_nothing_broken(TWO);
    expect_nothing_broken(Rules { apart: Apart::Ahead, ..TWO_ONCE });
}

#[test]
fn nor_with_two_processes_and_a_stranger() {
    expect_nothing_broken(Rules { stranger: Stranger::SameOrder, ..TWO_ONCE });
}

#[test]
fn nor_with_two_processes_of_which_one_waits_longer_for_an_answer() {
    expect_nothing_broken(Rules { timeouts: [TIMEOUT, LONG_TIMEOUT], ..TWO_ONCE });
}

#[test]
fn nor_without_room_for_what_was_seen_of_another_process() {
    expect_nothing_broken(Rules { full_memory: true, ..TWO_ONCE });
}

#[test]
fn nor_with_commits_in_doubt() {
    expect_nothing_broken(Rules { twice: true, ..ALONE });
}

#[test]
fn nor_if_the_store_goes_back_and_says_so() {
    expect_nothing_broken(Rules { goes_back: true, fail_frees: false, ..ALONE });
}

#[test]
fn nor_if_it_goes_back_under_two_processes() {
    expect_nothing_broken(Rules { goes_back: true, ..TWO_ONCE });
}

/// Its server is what it was, as after the restore of a snapshot of the disk.
const UNSAID: Rules = Rules { goes_back: true, unsaid: true, ..ALONE };

#[test]
fn nor_if_it_goes_back_and_a_process_that_saw_newer_rows_reads_them() {
    expect_nothing_broken(Rules { fail_frees: false, ..UNSAID });
}

#[test]
fn a_row_that_is_older_than_the_process_saw_it_and_is_believed_is_noticed() {
    expect_broken(Broken::OldRowsAreBelieved, UNSAID, &[Never::PaidTwice]);
}

/// So a process compares also what tells of all rows at once: the server's identity, its timeline
/// and the position of its log.
#[test]
fn a_process_that_saw_nothing_newer_does_not_notice_that_the_store_went_back() {
    let rules = Rules { goes_back: true, unsaid: true, ..TWO_ONCE };
    expect_broken(Broken::Nothing, rules, &[Never::PaidTwice]);
}

#[test]
fn every_rule_about_time_and_clocks_left_out_is_noticed() {
    let accident = [Never::PaidTwice, Never::RejectedButAccepted];
    for broken in [Broken::ForeignClock, Broken::ClockBeforeRow] {
        expect_broken(broken, TWO, &accident);
    }
    expect_broken(Broken::OldFirstSeen, TWO, &[Never::PaidTwice]);
    expect_broken(Broken::FullMemoryProves, Rules { full_memory: true, ..TWO }, &accident);
    let timeouts = [TIMEOUT, LONG_TIMEOUT];
    expect_broken(Broken::OwnTimeout, Rules { timeouts, ..TWO_ONCE }, &accident);
}

#[test]
fn nor_with_callbacks_that_come_after_the_end_of_what_they_tell() {
    expect_nothing_broken(Rules { stale: true, ..ALONE });
}

#[test]
fn a_fail_that_is_forgotten_at_the_end_is_noticed() {
    let rules = Rules { stale: true, ..ALONE };
    expect_broken(Broken::FailuresAreForgotten, rules, &[Never::FalselyDisputed]);
}

#[test]
fn an_answer_that_takes_another_permission_is_noticed() {
    let expected = [Never::PaidTwice, Never::RejectedButAccepted];
    expect_broken(Broken::AnswerTakesAnother, Rules { twice: true, ..ALONE }, &expected);
}

#[test]
fn every_rule_about_a_store_that_goes_back_left_out_is_noticed() {
    let rules = Rules { goes_back: true, ..ALONE };
    for broken in [
        Broken::GoesBackSilently,
        Broken::SendsAfterGoingBack,
        Broken::GoesBackWithoutALostSend,
        Broken::RepeatsAreNew,
    ] {
        expect_broken(broken, rules, &[Never::PaidTwice]);
    }
}

/// The assumption that remains: no machine stands still for longer than the grace while its process
/// runs. If that cannot be ensured, the grace must prove nothing.
#[test]
fn a_machine_that_stands_still_breaks_a_grace_that_proves_and_only_that() {
    let rules = Rules { stands_still: true, ..TWO_ONCE };
    let expected = [Never::PaidTwice, Never::RejectedButAccepted];
    expect_broken(Broken::Nothing, rules, &expected);
    expect_nothing_broken(Rules { grace_proves: false, ..rules });
}

#[test]
fn nor_where_a_repeat_is_answered_like_the_first() {
    expect_nothing_broken(ALIKE);
    expect_nothing_broken(Rules { obey: true, ..ALIKE });
}

/// An acceptance that is believed shows another system's settle as ours. A number that is believed
/// to have one settle for ever has another one when a FAIL has freed it.
#[test]
fn a_system_that_is_taken_for_one_of_the_other_kind_is_noticed() {
    expect_broken(Broken::OtherRepeats, ALIKE, &[Never::ShownForAnother]);
    let accident = [Never::PaidTwice, Never::FailedButAlive, Never::StrangersButAlive];
    expect_broken(Broken::OtherRepeats, FULL, &accident);
}

/// An operator who tells the truth, as it was when the operator looked.
const OPERATED: Rules = Rules { operator: true, ..ALONE };
/// Requests may be on their way for days. The operator knows after the stop that none is.
const CERTAIN: Rules = Rules { late: true, grace_proves: false, ..OPERATED };

#[test]
fn nor_with_an_operator_who_ends_what_is_in_doubt() {
    expect_nothing_broken(Rules { fail_frees: false, ..OPERATED });
}

#[test]
fn nor_with_an_operator_who_asks_after_the_stop_if_the_grace_proves_nothing() {
    expect_nothing_broken(Rules { fail_frees: false, ..CERTAIN });
}

/// What was true before the stop may be out of date. Douyin's last answer says so.
#[test]
fn nor_with_an_operator_who_asked_before_the_stop() {
    expect_nothing_broken(Rules { asked_early: true, fail_frees: false, ..OPERATED });
}

#[test]
fn every_condition_of_an_operators_end_left_out_is_noticed() {
    let accident = [Never::PaidTwice, Never::RejectedButAccepted];
    expect_broken(Broken::EndsWithoutGrace, OPERATED, &accident);
    expect_broken(Broken::EndsUnasked, OPERATED, &accident);
    expect_broken(Broken::EndsUnstopped, CERTAIN, &accident);
    expect_broken(Broken::EndsUnconfirmed, OPERATED, &accident);
}
