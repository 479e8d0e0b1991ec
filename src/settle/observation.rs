//! What can be learned about a settle, and what a transition depends on besides.

use std::time::Duration;

use super::failure::Failure;
use super::ids::{SettleId, WalletSettleId};
use super::permission::PermissionId;
use super::record::{Record, Report, Source};
use crate::clock::Timestamp;

/// Something learned about a settle, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub learned: Learned,
    pub source: Source,
    /// When the call that learned it began. An empty query proves something only about the time
    /// before it began.
    pub begun: Timestamp,
    pub scope: Scope,
    /// The permission of the send that this is the definite answer to.
    pub answers: Option<PermissionId>,
    /// Douyin's log id of the message.
    pub log_id: Option<String>,
}

/// What was learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Douyin accepted the send.
    Accepted(AcceptedIds),
    /// Douyin refused this send. Proves nothing about any other send.
    Refused(Failure),
    /// It is not known whether the send took effect: timeout, reset, 5xx, 23000 and its like.
    Unknown(Failure),
    /// As `Unknown`, by a number that no table lists.
    Unlisted(Failure),
    /// Nothing left this machine.
    NotSent(Failure),
    /// Something exists under the number: 23111, or an acceptance that names no settle.
    Exists(Failure),
    /// Settles that Douyin holds under the number or id. Never empty: that is `Absent`.
    Reported(Vec<Report>),
    /// A query found nothing.
    Absent,
    /// A query found nothing but settles of ours that are recorded here under another number, which
    /// is the number that they name: Douyin takes the two numbers for one.
    Elsewhere,
    /// An operator decided which word of a contradiction stands.
    Resolved(Verdict),
}

/// Which word of a contradiction stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The recorded one: the state stays.
    Recorded,
    /// The contradicting one: the settle takes the state that it claims.
    Claimed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedIds {
    pub settle_id: SettleId,
    pub wallet_settle_id: Option<WalletSettleId>,
}

/// Whether the observation can have seen every settle under the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A query by `out_settle_no`.
    Number,
    /// One settle: an answer to a send, a callback, a query by `settle_id`.
    Single,
}

/// Whether an answer of Douyin accounts for the send that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    OneSend,
    /// It is not known what became of the send.
    Nothing,
}

/// Whether the observer still holds the right to call Douyin for this settle. Negative evidence
/// counts only then; acceptance and reports are facts that anyone may record, late or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    Held,
    Lost,
}

/// The knobs of the life cycle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long after a send took effect a query may still not see it ("visibility grace").
    pub grace: Duration,
    /// Whether an empty query begun after the grace proves that nothing took effect. If not,
    /// settles in doubt stay for an operator.
    pub grace_proves: bool,
    /// The most time between the permission to send and the last byte of the answer.
    pub call_timeout: Duration,
    /// How long a number may answer 23111 and yet be absent from queries before that is final.
    pub exists_absent_max: Duration,
    /// Calls to Douyin that must have been tried before the submission window may expire: clocks
    /// jump, attempts do not.
    pub expiry_attempts_min: u32,
    /// The same number, unknown to the table, counts as a refusal when it came this often.
    pub unlisted_times_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(600),
            grace_proves: true,
            call_timeout: Duration::from_secs(10),
            exists_absent_max: Duration::from_secs(3600),
            expiry_attempts_min: 10,
            unlisted_times_max: 3,
        }
    }
}

/// What a transition depends on besides the record and the observation.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// This process's clock, read after the record.
    pub now: Timestamp,
    /// By when every permission of the record had surely been given, by the same clock
    /// ([`Sights::given`]). `None`: it is not known, and nothing is proven by time.
    ///
    /// [`Sights::given`]: super::Sights::given
    pub given: Option<Timestamp>,
    pub policy: &'a Policy,
    pub lease: Lease,
    /// Calls to Douyin for this settle since it was created.
    pub attempts: u32,
}

/// The record after an observation; equal to the one before it if nothing changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    pub record: Record,
    /// Something a person must look at.
    pub alert: Option<Alert>,
}

/// What a person must look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alert {
    /// Douyin holds a settle of ours under a number that we called rejected.
    AliveAfterRejection,
    /// Douyin reports another system's settle under a number of ours.
    ForeignSettle,
    /// Douyin's word contradicts a final state.
    Contradiction,
    /// A fact differs from what Douyin said before; the first value was kept.
    DifferingFact,
    /// 23111 was answered, and yet no query finds the settle.
    ExistsButAbsent,
    /// Douyin reports a settle under a number of ours that nothing proves to be ours or not, while
    /// a send of ours is unaccounted for.
    Unproven,
}
