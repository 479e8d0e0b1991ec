//! Everything the gateway knows about one settle: what is durable, and nothing else.

use super::content::Content;
use super::evidence::Evidence;
use super::failure::Failure;
use super::ids::{
    Ext, ItemOrderId, Key, OrderId, OutOrderNo, OutSettleNo, SettleId, WalletSettleId,
};
use super::money::Fen;
use super::permission::Permission;
use crate::clock::Timestamp;

/// The version of the rules in this folder. A record written by newer ones is read, and neither
/// claimed nor rewritten: it may hold evidence that this version would drop.
pub const RULES: u32 = 2;

/// One settle, as the store keeps it.
///
/// `State` says where it is, `Evidence` what is still in doubt, `Facts` what Douyin told about it.
/// A record changes only through [`super::transition`] and [`super::permit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub key: Key,
    pub origin: Origin,
    pub state: State,
    pub facts: Facts,
    pub evidence: Evidence,
    /// Why the settle is still `Submitting`, if something went wrong since it was recorded.
    pub last_error: Option<Failure>,
    /// The first word of Douyin that contradicts a final state. Open until an operator resolves it;
    /// what was resolved is kept, so that the same word again does not open it again.
    pub contradiction: Option<Contradiction>,
    /// Counts every write of this row; what a compare-and-swap compares. Never shown to callers.
    pub version: i64,
    /// Counts what a caller can see, from 1, strictly increasing.
    pub revision: i64,
    pub create_time: Timestamp,
    /// When `revision` grew last.
    pub update_time: Timestamp,
}

/// Who made the settle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A caller of this gateway.
    Gateway(Request),
    /// Learned from Douyin: automatic settlement, another system of the company, a stranger.
    Platform,
}

/// A caller's request, with the bytes that go to Douyin every time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub content: Content,
    /// What is sent as `ext`: the caller's own, else the mark, else (mark switched off) nothing.
    pub sent_ext: Option<String>,
    /// The exact JSON that was and will be sent. A re-send is safe only if it is the same bytes.
    pub body: String,
    /// The end of the submission window.
    pub submit_before: Timestamp,
}

/// Position in the life cycle. The data lives in the variants: a success without an id, or a
/// rejection without its reason, cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Durably recorded here; Douyin's acceptance is not known yet.
    Submitting,
    /// Douyin accepted it.
    Processing { settle_id: SettleId },
    /// Douyin's final word: the money was split.
    Succeeded { settle_id: SettleId },
    /// Douyin's final word: it was not.
    Failed { settle_id: SettleId },
    /// Nothing of ours is alive under this number and nothing will be sent under it any more.
    Rejected { rejection: Failure },
}

/// The name of a state without its data, for history, filters and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StateKind {
    Submitting,
    Processing,
    Succeeded,
    Failed,
    Rejected,
}

impl State {
    pub fn kind(&self) -> StateKind {
        match self {
            State::Submitting => StateKind::Submitting,
            State::Processing { .. } => StateKind::Processing,
            State::Succeeded { .. } => StateKind::Succeeded,
            State::Failed { .. } => StateKind::Failed,
            State::Rejected { .. } => StateKind::Rejected,
        }
    }

    pub fn settle_id(&self) -> Option<&SettleId> {
        match self {
            State::Submitting | State::Rejected { .. } => None,
            State::Processing { settle_id }
            | State::Succeeded { settle_id }
            | State::Failed { settle_id } => Some(settle_id),
        }
    }
}

impl StateKind {
    /// A number never leaves a final state; a new try takes a new number.
    pub fn is_final(self) -> bool {
        match self {
            StateKind::Submitting | StateKind::Processing => false,
            StateKind::Succeeded | StateKind::Failed | StateKind::Rejected => true,
        }
    }
}

/// What Douyin told about the settle. Each is filled in once and then kept; a differing later
/// value is not taken over.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    pub wallet_settle_id: Option<WalletSettleId>,
    pub order_id: Option<OrderId>,
    /// Only for `Origin::Platform`: a caller's own settle has them in its content.
    pub out_order_no: Option<OutOrderNo>,
    pub item_order_id: Option<ItemOrderId>,
    pub cp_extra: Option<String>,
    /// Douyin's own word for its state, raw; follows the settle, so the one fact that may change.
    pub settle_status: Option<String>,
    pub settle_amount: Option<Fen>,
    pub rake: Option<Fen>,
    pub commission: Option<Fen>,
    pub platform_ticket: Option<Fen>,
    pub settle_detail: Option<String>,
    pub message: Option<String>,
    pub settle_time: Option<Timestamp>,
    pub auto_settle: Option<bool>,
}

/// Douyin said something that cannot be true together with the recorded final state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contradiction {
    pub claimed: StateKind,
    pub settle_id: SettleId,
    pub source: Source,
    pub time: Timestamp,
    /// When an operator decided which word stands; `None`: it is open.
    pub resolved: Option<Timestamp>,
}

/// Where something was learned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// Douyin's answer to settle_create.
    Create,
    /// Douyin's answer to settle_query.
    Query,
    /// Douyin's signed callback.
    Callback,
    /// The gateway's own act: it recorded the settle.
    Gateway,
    /// A person's decision.
    Operator,
}

/// One step of a settle's audit trail; one per revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    pub revision: i64,
    pub state: StateKind,
    pub source: Source,
    /// Douyin's log id of the message that caused the step.
    pub log_id: Option<String>,
    pub error: Option<Failure>,
    pub time: Timestamp,
}

/// One settle as Douyin reports it, in an answer to a query or in a callback.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub settle_id: SettleId,
    pub status: ReportedStatus,
    /// Absent, or equal to `settle_id`, for automatic settlement.
    pub out_settle_no: Option<OutSettleNo>,
    /// `Some("")` where Douyin says that a settle has no item; `None` where it says nothing.
    pub item: Option<String>,
    pub facts: Facts,
}

/// Douyin's `settle_status` (query) or `status` (callback).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportedStatus {
    Init,
    Processing,
    Success,
    Fail,
    /// A word no document lists: kept raw in the facts, changes no state.
    Unlisted,
}

impl Record {
    /// The record of a fresh create. The first send is permitted by the same durable write that
    /// records the intent, and the settle begins when its permission was given.
    pub fn submitted(key: Key, request: Request, first: Permission) -> Self {
        let now = first.time;
        let mut evidence = Evidence::default();
        evidence.permit(first, None);
        Self {
            key,
            origin: Origin::Gateway(request),
            state: State::Submitting,
            facts: Facts::default(),
            evidence,
            last_error: None,
            contradiction: None,
            version: 1,
            revision: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// The same where an earlier record of it may be forgotten, because the store went back to an
    /// earlier state. One send counts as lost, so that no refusal ends the settle before a query
    /// has shown that nothing was sent earlier.
    #[must_use]
    pub fn perhaps_forgotten(mut self) -> Self {
        self.evidence.lost = 1;
        self
    }

    /// The record of a settle that was not made here. Without a developer's number (automatic
    /// settlement) Douyin's own number is the key.
    pub fn adopted(key: Key, report: &Report, now: Timestamp) -> Self {
        Self {
            key,
            origin: Origin::Platform,
            state: report.state(),
            facts: report.lasting_facts(),
            evidence: Evidence::default(),
            last_error: None,
            contradiction: None,
            version: 1,
            revision: 1,
            create_time: now,
            update_time: now,
        }
    }

    pub fn is_final(&self) -> bool {
        self.state.kind().is_final()
    }

    /// The contradiction that waits for an operator.
    pub fn open_contradiction(&self) -> Option<&Contradiction> {
        self.contradiction.as_ref().filter(|claim| claim.resolved.is_none())
    }

    /// Whether Douyin must still be asked once, although the settle is final: a contradiction is
    /// open, or what is known of the settle is not all that a query tells (an adopted settle that a
    /// callback showed without its order; an operator's decision, which knows no facts).
    pub fn owes_a_query(&self) -> bool {
        self.open_contradiction().is_some() || self.is_known_in_part()
    }

    pub fn is_known_in_part(&self) -> bool {
        let orderless = match self.origin {
            Origin::Gateway(_) => false,
            Origin::Platform => self.facts.out_order_no.is_none(),
        };
        let told = self.facts.settle_status.is_some();
        self.state.settle_id().is_some() && self.is_final() && (orderless || !told)
    }

    pub fn request(&self) -> Option<&Request> {
        match &self.origin {
            Origin::Gateway(request) => Some(request),
            Origin::Platform => None,
        }
    }

    /// What the audit trail keeps of the current revision.
    pub fn history_entry(&self, source: Source, log_id: Option<String>) -> HistoryEntry {
        let error = match &self.state {
            State::Rejected { rejection } => Some(rejection.clone()),
            State::Submitting
            | State::Processing { .. }
            | State::Succeeded { .. }
            | State::Failed { .. } => self.last_error.clone(),
        };
        let state = self.state.kind();
        HistoryEntry {
            revision: self.revision,
            state,
            source,
            log_id,
            error,
            time: self.update_time,
        }
    }
}

impl Request {
    pub fn new(
        content: Content,
        sent_ext: Option<String>,
        body: String,
        submit_before: Timestamp,
    ) -> Self {
        Self { content, sent_ext, body, submit_before }
    }

    /// What goes out as `ext` for this content: the caller's own, else the mark if it is on.
    pub fn ext_for(content: &Content, mark: Mark) -> Option<String> {
        match (&content.ext, mark) {
            (Some(ext), Mark::On | Mark::Off) => Some(Ext::as_str(ext).to_owned()),
            (None, Mark::On) => Some(content.mark()),
            (None, Mark::Off) => None,
        }
    }
}

/// Whether the gateway marks settles whose caller leaves `ext` empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    On,
    Off,
}

impl Facts {
    /// What belongs to the number, whichever settle under it is followed.
    pub(super) fn of_the_request(&self) -> Facts {
        Facts {
            order_id: self.order_id.clone(),
            out_order_no: self.out_order_no.clone(),
            item_order_id: self.item_order_id.clone(),
            cp_extra: self.cp_extra.clone(),
            ..Facts::default()
        }
    }
}

impl Report {
    /// The facts of the report that do not change any more. Before the end Douyin shows amounts
    /// that may still change (no document says that they do not). They are left out, because a fact
    /// stays as it came first.
    pub fn lasting_facts(&self) -> Facts {
        let facts = self.facts.clone();
        match self.status {
            ReportedStatus::Success | ReportedStatus::Fail => facts,
            ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted => Facts {
                settle_amount: None,
                rake: None,
                commission: None,
                platform_ticket: None,
                settle_detail: None,
                message: None,
                settle_time: None,
                ..facts
            },
        }
    }

    /// The state this report alone would put a settle into. An unlisted word means at least that
    /// the settle exists.
    pub fn state(&self) -> State {
        let settle_id = self.settle_id.clone();
        match self.status {
            ReportedStatus::Init | ReportedStatus::Processing | ReportedStatus::Unlisted => {
                State::Processing { settle_id }
            }
            ReportedStatus::Success => State::Succeeded { settle_id },
            ReportedStatus::Fail => State::Failed { settle_id },
        }
    }
}

impl StateKind {
    pub fn as_str(self) -> &'static str {
        match self {
            StateKind::Submitting => "SUBMITTING",
            StateKind::Processing => "PROCESSING",
            StateKind::Succeeded => "SUCCEEDED",
            StateKind::Failed => "FAILED",
            StateKind::Rejected => "REJECTED",
        }
    }
}
