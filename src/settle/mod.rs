//! Floor 0: what a settle is. Pure: no I/O, no clock of its own, no wire format.
//!
//! Read in this order: [`record`] (what is known about a settle), [`evidence`] (what is still in
//! doubt about it), [`observation`] (what can be learned), [`state`] (how that changes it: the
//! life-cycle table), [`proof`] (whose settle a report speaks of), `dispute` (words that contradict
//! each other), `ending` (how an operator ends one), [`mod@merge`] (two records of one settle),
//! [`permission`] (the right to send once), [`first_seen`] (how old a permission of another process
//! is), [`step`] (what to do next), [`schedule`] (and when), [`mod@stuck`] (why a settle does not
//! come to its end), [`mod@explain`] (the same in words). [`content`], [`failure`], [`ids`],
//! [`money`] and [`reason`] are what they are made of.

mod change;
pub(crate) mod content;
mod dispute;
mod ending;
pub(crate) mod evidence;
pub(crate) mod explain;
pub(crate) mod failure;
pub(crate) mod first_seen;
pub(crate) mod ids;
pub(crate) mod merge;
pub(crate) mod money;
pub(crate) mod observation;
pub(crate) mod permission;
pub(crate) mod proof;
pub(crate) mod reason;
pub(crate) mod record;
mod report;
pub(crate) mod schedule;
pub(crate) mod state;
pub(crate) mod step;
pub(crate) mod stuck;

pub use content::{Content, SettleParam};
pub use dispute::{Unresolved, can_resolve};
pub use ending::{Heard, NotNow, can_end, can_stop};
pub use evidence::{Evidence, Unlisted};
pub use explain::{Explanation, Situation, explain};
pub use failure::{DouyinError, Failure};
pub use first_seen::FirstSeen;
pub use ids::{
    AppId, CallerName, Ext, InnerSettleId, Invalid, ItemOrderId, Key, MerchantUid, NotifyUrl,
    OrderId, OutOrderNo, OutSettleNo, Repeats, SettleDesc, SettleId, TradeSystem, WalletSettleId,
    Why,
};
pub use merge::{Merged, merge};
pub use money::Fen;
pub use observation::{
    AcceptedIds, Alert, Answers, Context, End, Ending, Learned, Lease, Observation, Policy, Scope,
    Transition, Verdict,
};
pub use permission::{Permission, PermissionId, ProcessId};
pub use reason::{Reason, RecordedReason};
pub use record::{
    Contradiction, Decision, Facts, HistoryEntry, Mark, Origin, RULES, Record, Report,
    ReportedStatus, Request, Source, State, StateKind,
};
pub use schedule::{By, Due, Next, Release, Schedule, Terms, Watched};
pub use state::{may_send, permit, transition};
pub use step::{Asked, Progress, Role, Step, next_step};
pub use stuck::{AnswerKind, Circumstances, LastAnswers, Stuck, stuck};

#[cfg(test)]
mod state_tests;
