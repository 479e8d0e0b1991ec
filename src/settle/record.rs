//! Everything the gateway durably knows about one settle.

use super::content::Content;
use super::evidence::Evidence;
use super::failure::Failure;
use super::ids::{
    CallerName, Ext, InnerSettleId, ItemOrderId, Key, OrderId, OutOrderNo, OutSettleNo, SettleId,
    WalletSettleId, Why,
};
use super::money::Fen;
use super::permission::Permission;
use crate::clock::Timestamp;
use crate::trace::TraceParent;

/// The version of the rules in this folder. A record written by newer rules is read, and neither
/// claimed nor rewritten: it may hold evidence that this version would drop.
pub const RULES: u32 = 4;

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
    /// Douyin's first word that contradicts a final state. It is open until an operator resolves
    /// it. A resolved one is kept, so that the same word does not open it again.
    pub contradiction: Option<Contradiction>,
    /// What an operator decided last about it.
    pub decision: Option<Decision>,
    /// Counts every write of this row, for the compare-and-swap. Never shown to callers.
    pub version: i64,
    /// Counts the changes that a caller can see, from 1.
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
    /// Learned from Douyin: automatic settlement, or another system's settle.
    Platform,
}

/// A caller's request, with the bytes that go to Douyin every time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub content: Content,
    /// What is sent as `ext`: the caller's own, else the mark, else (mark switched off) nothing.
    pub sent_ext: Option<String>,
    /// The exact JSON of every send. A re-send is safe only with the same bytes.
    pub body: String,
    /// The end of the submission window.
    pub submit_before: Timestamp,
    /// Its caller named no app, and so meant the default one. If the default becomes another app,
    /// a repeat must not become a settle of that one.
    pub by_default_app: bool,
    /// Who created it; `None`: the gateway was open to anyone.
    pub created_by: Option<CallerName>,
    /// The trace of the call that created it. It decides nothing.
    pub trace: Option<TraceParent>,
}

/// Where the settle is in its life. The data lives in the variants, so that a success without an
/// id, or a rejection without its reason, cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Durably recorded here; Douyin's acceptance is not known yet.
    Submitting,
    /// Douyin accepted it.
    Processing { settle_id: SettleId },
    /// Douyin's final word: the money was split.
    Succeeded { settle_id: SettleId },
    /// Douyin's final word: the money was not split.
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
    /// A settle leaves no final state; another attempt needs another number.
    pub fn is_final(self) -> bool {
        match self {
            StateKind::Submitting | StateKind::Processing => false,
            StateKind::Succeeded | StateKind::Failed | StateKind::Rejected => true,
        }
    }
}

/// What Douyin told about the settle. Each fact is filled in once and then kept; a later value that
/// differs is not taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    pub wallet_settle_id: Option<WalletSettleId>,
    pub inner_settle_id: Option<InnerSettleId>,
    pub order_id: Option<OrderId>,
    /// Only for `Origin::Platform`: a caller's own settle has them in its content.
    pub out_order_no: Option<OutOrderNo>,
    pub item_order_id: Option<ItemOrderId>,
    pub cp_extra: Option<String>,
    /// Douyin's status as it came. It follows the settle, so it is the one fact that may change.
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

/// A word of Douyin that cannot be true together with the recorded final state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contradiction {
    pub claimed: StateKind,
    pub settle_id: SettleId,
    pub source: Source,
    pub time: Timestamp,
    /// When an operator decided which word stands; `None`: it is open.
    pub resolved: Option<Timestamp>,
}

/// An operator's decision about a settle. Its history says what was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// `None`: the gateway was open to anyone.
    pub by: Option<CallerName>,
    pub why: Why,
    /// When the operator's call came. With the other two it tells one decision from another.
    pub time: Timestamp,
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
    /// The gateway itself: it recorded the settle.
    Gateway,
    /// An operator's decision.
    Operator,
}

/// One entry of a settle's audit trail, for one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    pub revision: i64,
    pub state: StateKind,
    pub source: Source,
    /// Douyin's log id of the message that caused the step.
    pub log_id: Option<String>,
    pub error: Option<Failure>,
    /// The caller on whose request the step was made: who created, asked Douyin, or decided.
    pub by: Option<CallerName>,
    /// Why an operator decided so.
    pub why: Option<Why>,
    pub time: Timestamp,
}

/// One settle as Douyin reports it, in an answer to a query or in a callback.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub settle_id: SettleId,
    pub status: ReportedStatus,
    /// Absent, or equal to `settle_id`, for automatic settlement.
    pub out_settle_no: Option<OutSettleNo>,
    /// `Some("")` if Douyin says that the settle has no item; `None` if it says nothing about it.
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
    /// A word that no document lists. It is kept as it came, and changes no state.
    Unlisted,
}

impl Record {
    /// The record of a new create. The same durable write records the intent and permits the first
    /// send, and the settle begins at the time of that permission.
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
            decision: None,
            version: 1,
            revision: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// The same, if the store went back and may have forgotten an earlier record of it. One send
    /// counts as lost, so that no refusal ends the settle before a query has shown that nothing was
    /// sent earlier.
    #[must_use]
    pub fn perhaps_forgotten(mut self) -> Self {
        self.evidence.lost = 1;
        self
    }

    /// The record of a settle that was not made here. If it has no out_settle_no (automatic
    /// settlement), Douyin's own number is the key.
    pub fn adopted(key: Key, report: &Report, now: Timestamp) -> Self {
        Self {
            key,
            origin: Origin::Platform,
            state: report.state(),
            facts: report.lasting_facts(),
            evidence: Evidence::default(),
            last_error: None,
            contradiction: None,
            decision: None,
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

    /// Whether Douyin must be asked once more although the settle is final: a contradiction is
    /// open, or a query would tell more than is known (a callback showed an adopted settle without
    /// its order, or an operator decided, which brings no facts).
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

    /// The entry of the audit trail for the current revision.
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
            by: None,
            why: None,
            time: self.update_time,
        }
    }
}

impl Decision {
    /// Whether the same operator gave the same reason.
    pub fn repeats(&self, earlier: &Decision) -> bool {
        self.by == earlier.by && self.why == earlier.why
    }
}

impl Request {
    pub fn new(
        content: Content,
        sent_ext: Option<String>,
        body: String,
        submit_before: Timestamp,
    ) -> Self {
        let (by_default_app, created_by, trace) = (false, None, None);
        Self { content, sent_ext, body, submit_before, by_default_app, created_by, trace }
    }

    /// What is sent as `ext` for this content: the caller's own, else the mark if it is on.
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
    /// The facts of the number. They stay when the record follows another settle under it.
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
    /// The facts of the report that do not change any more. Amounts before the end are left out,
    /// because no document says that they stay, and the first value of a fact is kept.
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

    /// The state that this report alone would lead to. An unlisted status means at least that the
    /// settle exists.
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

impl Source {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Create => "create",
            Source::Query => "query",
            Source::Callback => "callback",
            Source::Gateway => "gateway",
            Source::Operator => "operator",
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
