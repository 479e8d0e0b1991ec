//! The setting of the small world of [`super::world`]: its clock, its options, the rules that can
//! be left out, and the names of what is learned and what happens.

use super::*;

/// How long a request with its answer may be on its way: the call timeout of a process.
pub(super) const TIMEOUT: u8 = 1;
/// The same for a process with a longer timeout.
pub(super) const LONG_TIMEOUT: u8 = 2;
/// How long an accepted settle may be invisible to queries.
pub(super) const GRACE: u8 = 2;
/// How long 23111 may last while no settle is shown.
pub(super) const EXISTS_ABSENT: u8 = TIMEOUT + GRACE + 1;
/// How many settles fit under the number at Douyin, the next one after the last has failed.
pub(super) const SETTLES: usize = 2;
/// How many requests whose sender is gone may be on their way.
pub(super) const ORPHANS: usize = 3;
/// The length of the submission window.
pub(super) const WINDOW: u8 = GRACE + 2;

/// What kind of world it is.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub sends_max: u8,
    /// How Douyin answers a number that it knows.
    pub repeats: Repeats,
    /// A FAIL frees the number for another send.
    pub fail_frees: bool,
    /// A refusal may use the number up.
    pub burns: bool,
    pub stranger: Stranger,
    /// Douyin may answer with a number that no table lists.
    pub unlists: bool,
    /// Douyin may accept a send and name no settle.
    pub nameless: bool,
    /// A worker may find out that nothing left the machine.
    pub stays_home: bool,
    /// A request may be on its way for ever.
    pub late: bool,
    /// Whether each worker is a process with a clock of its own.
    pub apart: Apart,
    /// The call timeout of each process.
    pub timeouts: [u8; 2],
    /// The machine of the first process may stand still, and its clock with it, while it runs.
    pub stands_still: bool,
    /// A process has no room to remember when it saw another one's permissions.
    pub full_memory: bool,
    /// A commit may be in doubt, and what it holds is recorded again.
    pub twice: bool,
    /// The store may go back, once, to an earlier state.
    pub goes_back: bool,
    /// Neither the server nor an operator says that it went back. Only a process that saw a newer
    /// row can notice it.
    pub unsaid: bool,
    /// A callback may tell of a settle as it was before its end.
    pub stale: bool,
    pub grace_proves: bool,
    /// An operator may stop sending, and end the settle with what is true at Douyin.
    pub operator: bool,
    /// The operator may have asked before the stop.
    pub asked_early: bool,
    /// The settle is sent with the mark.
    pub mark: Mark,
    /// Workers do what `next_step` says, instead of everything that they may do.
    pub obey: bool,
    pub broken: Broken,
}

impl Rules {
    /// The system as whose the gateway records the settle.
    pub(super) fn trade_system(&self) -> TradeSystem {
        match (self.repeats, self.broken == Broken::OtherRepeats) {
            (Repeats::Refused, false) | (Repeats::AnsweredAlike, true) => TradeSystem::General,
            (Repeats::AnsweredAlike, false) | (Repeats::Refused, true) => TradeSystem::Guaranteed,
        }
    }

    /// From this age on no rule depends on how long a permission has been known.
    pub(super) fn old(&self) -> u8 {
        self.timeouts[0].max(self.timeouts[1]) + GRACE
    }
}

/// How far apart the clocks of the workers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// Both workers belong to one process.
    OneProcess,
    /// By far: what the other one permitted looks very old.
    Behind,
    /// By far: what the other one permitted lies in the future.
    Ahead,
}

/// Another system, which may take the number once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    None,
    /// With the same order and another mark.
    SameOrder,
    /// With another order.
    OtherOrder,
}

/// A rule of the gateway that is left out on purpose, to see that the checks fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    Nothing,
    /// The knob is zero: an empty query proves something at once.
    NoGrace,
    /// An answer takes another permission if its own is gone, as with a count.
    AnswerTakesAnother,
    /// An unknown outcome is recorded as a refusal.
    UnknownIsRefused,
    /// A worker acts as if it still had the lease that another took.
    NoFence,
    /// An empty query counts as begun when it is recorded.
    BegunWhenRecorded,
    /// A callback counts as a query by number under the lease.
    CallbackSeesAll,
    /// A send is not counted before it is sent.
    NoPlusOne,
    /// "Accepted" without an id is taken for the definite answer 23111.
    NamelessAnswersItsSend,
    /// The time of another process's permission is believed.
    ForeignClock,
    /// A process reads its clock before the row.
    ClockBeforeRow,
    /// The first sight of an earlier permission counts for a later one.
    OldFirstSeen,
    /// A permission that could not be remembered counts as seen long ago.
    FullMemoryProves,
    /// A permission lasts as long as the call timeout of the process that reads it.
    OwnTimeout,
    /// The store goes back, and no operator says so.
    GoesBackSilently,
    /// A row that is older than the process saw it is believed.
    OldRowsAreBelieved,
    /// What was open when the store went back is sent again.
    SendsAfterGoingBack,
    /// The store goes back, and what was permitted since is not counted.
    GoesBackWithoutALostSend,
    /// After the store went back, a create that is not recorded counts as never sent.
    RepeatsAreNew,
    /// Only the last settle that failed is remembered, and only until the end.
    FailuresAreForgotten,
    /// An operator ends a settle that may still be sent.
    EndsUnstopped,
    /// An operator ends a settle before the grace is over.
    EndsWithoutGrace,
    /// An operator ends a settle, and Douyin is not asked once more.
    EndsUnasked,
    /// The system is taken for one that answers repeats in the other way.
    OtherRepeats,
    /// An operator ends a settle unanswered, with what Douyin said before the grace was over.
    EndsUnconfirmed,
}

pub(super) const FULL: Rules = Rules {
    sends_max: 2,
    repeats: Repeats::Refused,
    fail_frees: true,
    burns: true,
    stranger: Stranger::SameOrder,
    unlists: false,
    nameless: false,
    stays_home: false,
    late: false,
    apart: Apart::OneProcess,
    timeouts: [TIMEOUT; 2],
    stands_still: false,
    full_memory: false,
    twice: false,
    goes_back: false,
    unsaid: false,
    stale: false,
    grace_proves: true,
    operator: false,
    asked_early: false,
    mark: Mark::On,
    obey: false,
    broken: Broken::Nothing,
};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Owner {
    Us,
    Stranger,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Status {
    Processing,
    Success,
    Fail,
}

/// One settle at Douyin. Its id is its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Settle {
    pub owner: Owner,
    pub status: Status,
    /// For how long it has been invisible to queries; `None`: it is visible.
    pub hidden: Option<u8>,
}

/// What a query shows: owner and status by id.
pub(super) type Shown = [Option<(Owner, Status)>; SETTLES];

/// What a query asks for, and which moments lie exactly before its beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Begun {
    pub by_number: bool,
    /// For how long its process had known of the last permission.
    pub known: Option<u8>,
    pub after_exists: bool,
    pub after_window: bool,
}

/// What a worker learns, or a callback tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum News {
    Accepted(u8),
    /// `err_no` 0, but no id.
    Nameless,
    Refused,
    Exists,
    Unknown,
    Unlisted,
    NotSent,
    Asked(Begun, Shown),
    Callback(u8, Owner, Status),
    /// A query for an operator, who decides so. `None`: Douyin gave no answer.
    Ended(Begun, Option<Shown>, Word),
}

/// What an operator learned from Douyin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Word {
    Rejected,
    Succeeded(u8),
    Failed(u8),
}

/// Why the caller pays under another number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Told {
    Rejected,
    Failed,
    OtherSystems,
}

/// What happened, for the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Recorded,
    /// This worker takes the lease.
    Claims(usize),
    Sends,
    Asks,
    Records(News, Lease),
    /// The commit is in doubt, and was kept.
    RecordsInDoubt(News),
    /// A worker gives its request up.
    HearsNothing,
    NothingLeft,
    Rests,
    Accepts(u8),
    AcceptsWithoutId(u8),
    Refuses,
    RefusesAndBurns,
    Answers23111,
    /// As it answered the first one, with the settle that this one is about.
    AnswersAlike(u8),
    RefusesBeforeLooking,
    AnswersUnlisted,
    DroppedInFlight,
    BecomesVisible(u8),
    Succeeds(u8),
    Fails(u8),
    Callback(News),
    StrangerTakesTheNumber,
    AMomentPasses,
    /// The first process's clock stands still.
    AMomentPassesWithoutTheFirst,
    /// A state is acknowledged to which the store will go back.
    IsBackedUp,
    GoesBack,
    /// A process reads a row that is older than it saw it, or writes on top of it.
    FindsAnOlderRow,
    /// Back to before the settle was recorded; its caller repeats the create.
    IsGoneAndRepeated,
    CallerPaysElsewhere,
    /// An operator sees the settle, and learns at Douyin what is true.
    OperatorLooks(Word),
    OperatorStopsSending,
    OperatorConfirmsTheStop,
    AsksForTheOperator,
}
