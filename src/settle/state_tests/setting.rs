//! The setting of the small world of [`super::world`]: its clock, its whims, the rules that can be
//! left out, and the words for what is learned and what happens.

use super::*;

/// How long a request may be on its way, and its answer with it.
pub(super) const TIMEOUT: u8 = 1;
/// How long an accepted settle may be invisible to queries.
pub(super) const GRACE: u8 = 2;
/// From a permission until everything sent under it is visible.
pub(super) const ALL_SEEN: u8 = TIMEOUT + GRACE;
/// How long 23111 without a settle to be seen is waited out.
pub(super) const EXISTS_ABSENT: u8 = ALL_SEEN + 1;
/// How many settles fit under the number at Douyin, one after the other has failed.
pub(super) const SETTLES: usize = 2;
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
    pub grace_proves: bool,
    /// The settle is sent with the mark.
    pub mark: Mark,
    /// Workers do what `next_step` says, and not whatever they are allowed to do.
    pub obey: bool,
    pub broken: Broken,
}

/// Somebody else who may take the number once.
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
    /// A refusal is subtracted twice: a re-send's refusal counts for the first send, too.
    RefusalAnswersTwoSends,
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
    pub after_grace: bool,
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
    /// Another worker takes the lease.
    Claims,
    Sends,
    Asks,
    Records(News, Lease),
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
    CallerPaysElsewhere,
}
