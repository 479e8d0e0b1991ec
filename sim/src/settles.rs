//! What goes into the books, and what they say about one settle.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::orders::Promotion;
use super::system::{Account, System};

/// A settle in Douyin's books, ours or another system's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppliedSettle {
    pub system: System,
    pub app_id: String,
    pub out_settle_no: String,
    /// The platform's id; guaranteed payment calls it `settle_no`.
    pub settle_id: String,
    /// `inner_settle_id` in the systems that call it so.
    pub wallet_settle_id: String,
    pub order_id: String,
    pub out_order_no: String,
    /// `None`: the whole order.
    pub item_order_id: Option<String>,
    pub settle_params: Vec<Receiver>,
    /// What came as `ext` or `cp_extra`, or empty.
    pub cp_extra: String,
    pub notify_url: Option<String>,
    /// What it took from the order. In fen.
    pub amount_fen: i64,
    /// What of it a promotion costs. In fen.
    pub commission_fen: i64,
    pub status: Status,
    /// It came through settle_create. Otherwise a test or the platform itself put it here.
    pub by_gateway: bool,
    pub is_auto_settle: bool,
    pub accepted_at_ms: u64,
    pub finished_at_ms: Option<u64>,
    /// The exact bytes of the create; empty if there was none.
    #[serde(skip)]
    pub body: Bytes,
}

impl AppliedSettle {
    /// A settle of an app about which nothing is said.
    pub(super) fn nothing(account: Account<'_>, settle_id: String) -> Self {
        Self {
            system: account.system,
            app_id: account.app_id.to_owned(),
            out_settle_no: String::new(),
            settle_id,
            wallet_settle_id: String::new(),
            order_id: String::new(),
            out_order_no: String::new(),
            item_order_id: None,
            settle_params: Vec::new(),
            cp_extra: String::new(),
            notify_url: None,
            amount_fen: 0,
            commission_fen: 0,
            status: Status::Success,
            by_gateway: false,
            is_auto_settle: false,
            accepted_at_ms: 0,
            finished_at_ms: None,
            body: Bytes::new(),
        }
    }

    pub(super) fn account(&self) -> Account<'_> {
        Account { system: self.system, app_id: &self.app_id }
    }
}

/// `settle_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Init,
    Processing,
    #[default]
    Success,
    Fail,
}

impl Status {
    /// Douyin's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Fail => "FAIL",
        }
    }

    /// SUCCESS or FAIL.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Success | Self::Fail => true,
            Self::Init | Self::Processing => false,
        }
    }
}

/// An element of `settle_params`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receiver {
    pub merchant_uid: String,
    /// In fen.
    pub amount_fen: i64,
}

/// A settle that did not come from the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrangerSettle {
    /// In whose books it is. By default, the general system's.
    pub system: System,
    pub out_order_no: String,
    pub item_order_id: Option<String>,
    pub settle_params: Vec<Receiver>,
    pub cp_extra: String,
    /// It stays so until a test moves it.
    pub status: Status,
    /// `None`: all that is left of the order. In fen.
    pub amount_fen: Option<i64>,
}

/// A create that passed the rules.
pub(super) struct Accepted {
    pub(super) system: System,
    pub(super) app_id: String,
    pub(super) out_settle_no: String,
    pub(super) out_order_no: String,
    pub(super) item_order_id: Option<String>,
    pub(super) settle_params: Vec<Receiver>,
    pub(super) cp_extra: String,
    pub(super) notify_url: Option<String>,
    pub(super) amount_fen: i64,
    /// How its order was sold.
    pub(super) promotion: Promotion,
    pub(super) body: Bytes,
}

/// The keys of settle_query. Each system has some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    SettleId(String),
    OrderId(String),
    OutSettleNo(String),
    OutOrderNo(String),
}
