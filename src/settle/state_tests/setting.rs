//! The setting of the small world of [`super::world`]: its clock, its whims, the rules that can be
//! left out, and the words for what is learned and what happens.

use super::*;

/// How long a request may be on its way, and its answer with it: the call timeout of a process.
pub(super) const TIMEOUT: u8 = 1;
/// That of a process whose knob is set higher.
pub(super) const LONG_TIMEOUT: u8 = 2;
/// How long an accepted settle may be invisible to queries.
pub(super) const GRACE: u8 = 2;
/// How long 23111 without a settle to be seen is waited out.
pub(super) const EXISTS_ABSENT: u8 = TIMEOUT + GRACE + 1;
/// How many settles fit under the number at Douyin, one after the other has failed.
pub(super) const SETTLES: usize = 2;
/// Requests whose sender is gone that may be on their way at once.
pub(super) const ORPHANS: usize = 3;
/// The length of the submission window.
pub(super) const WINDOW: u8 = GRACE + 2;

/// What kind of world it is.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub sends_max: u8,
    /// A FAIL frees the number for another send.
    pub fail_frees: bool,
    /// A refusal may burn the number.
    pub burns: bool,
    pub stranger: Stranger,
    /// Douyin may answer with a number that no table lists.
    pub unlists: bool,
    /// Douyin may accept a send and name no settle.
    pub nameless: bool,
    /// A worker may find out that nothing left the machine.
    pub stays_home: bool,
    /// A request may stay on its way for ever.
    pub late: bool,
    /// Each worker is a process of its own, with a clock of its own.
    pub apart: Apart,
    /// The call timeout of each process.
    pub timeouts: [u8; 2],
    /// The machine of the first process may stand still, and its clock with it, while it runs.
    pub stands_still: bool,
    /// A process has no room to remember what it saw of another one's permissions.
    pub full_memory: bool,
    /// A commit may be in doubt: what it holds is recorded again.
    pub twice: bool,
    /// The store may go back, once, to a state that was acknowledged before.
    pub goes_back: bool,
    pub grace_proves: bool,
    /// The settle is sent with the mark.
    pub mark: Mark,
    /// Workers do what `next_step` says, and not whatever they are allowed to do.
    pub obey: bool,
    pub broken: Broken,
}

impl Rules {
    /// The age from which on no rule asks how long a permission has been known.
    pub(super) fn old(&self) -> u8 {
        self.timeouts[0].max(self.timeouts[1]) + GRACE
    }
}

/// How far apart the clocks of the workers are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    /// Both workers belong to one process.
    OneProcess,
    /// Ages: what the other one permitted looks older than everything.
    Behind,
    /// Ages: what the other one permitted lies in the future.
    Ahead,
}

/// Another system, which may take the number once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    Nobody,
    /// With the same order and another mark.
    SameOrder,
    /// With another order.
    OtherOrder,
}

/// A rule of the gateway left out on purpose, to see the checks fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    Nothing,
    /// The knobs: an empty query proves something at once.
    NoGrace,
    /// An answer takes another permission if its own is not there any more: a count.
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
    /// A process notes a sight by a clock that it read before it read the row.
    ClockBeforeRow,
    /// The sight of an earlier permission counts for a later one.
    OldSight,
    /// What cannot be remembered counts as seen long ago.
    FullMemoryProves,
    /// A permission lasts as long as the call timeout of the process that reads it.
    OwnTimeout,
    /// The store goes back, and no operator says so.
    GoesBackSilently,
    /// What was open when the store went back is sent again.
    SendsAfterGoingBack,
    /// What was permitted since is not counted when the store goes back.
    GoesBackWithoutALostSend,
    /// A create that is not recorded, in a store that went back, was never sent before.
    RepeatsAreNew,
}

pub(super) const FULL: Rules = Rules {
    sends_max: 2,
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
    grace_proves: true,
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

/// One settle at Douyin; its id is its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Settle {
    pub owner: Owner,
    pub status: Status,
    /// For how long it has been invisible to queries; `None`: it is visible.
    pub hidden: Option<u8>,
}

/// What a query shows: owner and status by id.
pub(super) type Shown = [Option<(Owner, Status)>; SETTLES];

/// What a query asks for, and which moments lie behind it when it begins, each met exactly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Begun {
    pub by_number: bool,
    /// For how long its process had known of the last permission.
    pub known: Option<u8>,
    pub after_exists: bool,
    pub after_window: bool,
}

/// What a worker learns, or Douyin calls back.
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
}

/// Why the caller pays under another number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Told {
    Rejected,
    Failed,
    SomebodyElses,
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
    RefusesBeforeLooking,
    AnswersUnlisted,
    DroppedInFlight,
    BecomesVisible(u8),
    Succeeds(u8),
    Fails(u8),
    Callback(u8),
    StrangerTakesTheNumber,
    AMomentPasses,
    /// But not for the first process.
    AMomentPassesWithoutTheFirst,
    /// A state is acknowledged that the store will go back to.
    IsBackedUp,
    GoesBack,
    /// To before the settle was recorded; its caller repeats the create.
    IsGoneAndRepeated,
    CallerPaysElsewhere,
}
