//! What can be learned about a settle, and what else a transition depends on.

use std::time::Duration;

use super::failure::Failure;
use super::ids::{CallerName, InnerSettleId, SettleId, WalletSettleId};
use super::permission::PermissionId;
use super::record::{Decision, Record, Report, Source};
use crate::clock::Timestamp;

/// Something learned about a settle, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    pub learned: Learned,
    pub source: Source,
    /// When the call began that learned it. An empty query proves something only about the time
    /// before.
    pub begun: Timestamp,
    pub scope: Scope,
    /// The permission of the send that this definitely answers.
    pub answers: Option<PermissionId>,
    /// Douyin's log id of the message.
    pub log_id: Option<String>,
    /// The caller on whose request it was learned.
    pub by: Option<CallerName>,
}

impl Observation {
    /// What Douyin answered before an operator's end; `None`: there is no such end or answer.
    pub fn without_the_word(&self) -> Option<Observation> {
        let Learned::Ended(ending) = &self.learned else { return None };
        let learned = ending.found.clone()?;
        let Observation { source, begun, scope, answers, .. } = *self;
        let (log_id, by) = (self.log_id.clone(), self.by.clone());
        Some(Observation { learned, source, begun, scope, answers, log_id, by })
    }
}

/// What was learned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Douyin accepted the send.
    Accepted(AcceptedIds),
    /// Douyin refused this send. That proves nothing about other sends.
    Refused(Failure),
    /// It is not known whether the send took effect: timeout, reset, 5xx, 23000 and its like.
    Unknown(Failure),
    /// As `Unknown`, with a number that no table lists.
    Unlisted(Failure),
    /// Nothing left this machine.
    NotSent(Failure),
    /// A settle exists under the number: 23111, or an acceptance that names no settle.
    Exists(Failure),
    /// Settles that Douyin holds under the number or id. Never empty, see `Absent`.
    Reported(Vec<Report>),
    /// A query found nothing.
    Absent,
    /// A query found only settles of ours that are recorded here under the other numbers that they
    /// name: Douyin takes the two numbers for one.
    Elsewhere,
    /// An operator decided which word of a contradiction stands, and saw this revision.
    Resolved { revision: i64, verdict: Verdict, decision: Decision },
    /// An operator decided that nothing more is sent, and saw this revision.
    Stopped { revision: i64, decision: Decision },
    /// An operator decided the end, and Douyin was asked by number once more.
    Ended(Box<Ending>),
}

impl Learned {
    /// What an operator decided.
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Learned::Resolved { decision, .. } | Learned::Stopped { decision, .. } => {
                Some(decision)
            }
            Learned::Ended(ending) => Some(&ending.decision),
            Learned::Accepted(_)
            | Learned::Refused(_)
            | Learned::Unknown(_)
            | Learned::Unlisted(_)
            | Learned::NotSent(_)
            | Learned::Exists(_)
            | Learned::Reported(_)
            | Learned::Absent
            | Learned::Elsewhere => None,
        }
    }
}

/// An operator's word about the end of a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    pub end: End,
    /// The revision that the operator saw.
    pub revision: i64,
    pub decision: Decision,
    /// What the query by number found that Douyin was asked last: `Reported`, `Absent` or
    /// `Elsewhere`. `None`: Douyin gave no answer that can be used.
    pub found: Option<Learned>,
}

/// What a person learned from Douyin about the end of a settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Douyin never took anything of ours.
    Rejected,
    Succeeded {
        settle_id: SettleId,
    },
    Failed {
        settle_id: SettleId,
    },
}

/// Which word of a contradiction is true.
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
    pub inner_settle_id: Option<InnerSettleId>,
}

/// Whether the observation can have seen every settle under the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A query by `out_settle_no`.
    Number,
    /// One settle: an answer to a send, a callback, a query by `settle_id`.
    Single,
}

/// Whether an answer of Douyin definitely answers its send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    OneSend,
    /// It is not known what became of the send.
    Nothing,
}

/// Whether the observer still holds the right to call Douyin for this settle. Negative evidence
/// counts only then. Acceptance and reports are facts, and are recorded without a lease and late
/// too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    Held,
    Lost,
}

/// The knobs of the life cycle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// For how long a query may miss what was sent ("visibility grace").
    pub grace: Duration,
    /// Whether an empty query begun after the grace proves that nothing took effect. If not,
    /// settles in doubt wait for an operator.
    pub grace_proves: bool,
    /// The most time between the permission to send and the last byte of the answer.
    pub call_timeout: Duration,
    /// How long Douyin may answer 23111 while queries show nothing, before that is final.
    pub exists_absent_max: Duration,
    /// Calls to Douyin that are needed before the submission window may expire. Unlike clocks,
    /// attempts do not jump.
    pub expiry_attempts_min: u32,
    /// An unlisted number counts as a refusal when it came this often in a row.
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

/// What a transition depends on beside the record and the observation.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// This process's clock, read after the record.
    pub now: Timestamp,
    /// The latest moment, by the same clock, at which a permission of the record was given
    /// ([`FirstSeen::given`]). `None`: it is not known, and time proves nothing.
    ///
    /// [`FirstSeen::given`]: super::FirstSeen::given
    pub given: Option<Timestamp>,
    pub policy: &'a Policy,
    pub lease: Lease,
    /// Calls to Douyin for this settle since it was created.
    pub attempts: u32,
}

/// The record after an observation. It equals the one before if nothing changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    pub record: Record,
    /// What a person must look at, if anything.
    pub alert: Option<Alert>,
}

/// What a person must look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alert {
    /// Douyin holds a settle of ours under a number that we rejected.
    AliveAfterRejection,
    /// Douyin reports another system's settle under a number of ours.
    ForeignSettle,
    /// Douyin's word contradicts a final state.
    Contradiction,
    /// A fact differs from the recorded one, which was kept.
    DifferingFact,
    /// Douyin answered 23111, and no query finds the settle.
    ExistsButAbsent,
    /// Douyin reports a settle under a number of ours that nothing proves to be ours or not, while
    /// a send of ours is unanswered.
    Unproven,
}

impl Alert {
    pub const ALL: [Alert; 6] = [
        Alert::AliveAfterRejection,
        Alert::ForeignSettle,
        Alert::Contradiction,
        Alert::DifferingFact,
        Alert::ExistsButAbsent,
        Alert::Unproven,
    ];

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Alert::AliveAfterRejection => "AliveAfterRejection",
            Alert::ForeignSettle => "ForeignSettle",
            Alert::Contradiction => "Contradiction",
            Alert::DifferingFact => "DifferingFact",
            Alert::ExistsButAbsent => "ExistsButAbsent",
            Alert::Unproven => "Unproven",
        }
    }
}
