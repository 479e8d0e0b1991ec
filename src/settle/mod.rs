//! Floor 0: what a settle is. Pure: no I/O, no clock of its own, no wire format.
//!
//! Read in this order: [`record`] (what is known about a settle), [`evidence`] (what is still in
//! doubt about it), [`observation`] (what can be learned), [`state`] (how that changes it: the
//! life-cycle table), [`proof`] (whose settle a report speaks of), `dispute` (words that contradict
//! each other), [`mod@absorb`] (two records of one settle), [`permission`] (the right to send
//! once), [`sights`] (whose clock counts), [`step`] (what to do next), [`schedule`] (and when),
//! [`mod@stuck`] (what keeps a settle from its end). [`content`], [`failure`], [`ids`], [`money`]
//! and [`reason`] are the words they use.

pub(crate) mod absorb;
mod change;
pub(crate) mod content;
mod dispute;
pub(crate) mod evidence;
pub(crate) mod failure;
pub(crate) mod ids;
pub(crate) mod money;
pub(crate) mod observation;
pub(crate) mod permission;
pub(crate) mod proof;
pub(crate) mod reason;
pub(crate) mod record;
mod report;
pub(crate) mod schedule;
pub(crate) mod sights;
pub(crate) mod state;
pub(crate) mod step;
pub(crate) mod stuck;

pub use absorb::absorb;
pub use content::{Content, SettleParam};
pub use dispute::can_resolve;
pub use evidence::{Evidence, Unlisted};
pub use failure::{DouyinError, Failure};
pub use ids::{
    AppId, Ext, Invalid, ItemOrderId, Key, MerchantUid, NotifyUrl, OrderId, OutOrderNo,
    OutSettleNo, SettleDesc, SettleId, TradeSystem, WalletSettleId,
};
pub use money::Fen;
pub use observation::{
    AcceptedIds, Alert, Answers, Context, Learned, Lease, Observation, Policy, Scope, Transition,
    Verdict,
};
pub use permission::{Permission, PermissionId, ProcessId};
pub use reason::{Reason, RecordedReason};
pub use record::{
    Contradiction, Facts, HistoryEntry, Mark, Origin, RULES, Record, Report, ReportedStatus,
    Request, Source, State, StateKind,
};
pub use schedule::{By, Due, Next, Release, Schedule, Terms, Watched};
pub use sights::Sights;
pub use state::{may_send, permit, transition};
pub use step::{Asked, Progress, Role, Step, next_step};
pub use stuck::{AnswerKind, Circumstances, LastAnswers, Stuck, stuck};

#[cfg(test)]
mod state_tests;
