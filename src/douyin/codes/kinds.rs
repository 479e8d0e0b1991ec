//! What rows of one kind have in common. A row of a table starts from its kind and adds its own.
//!
//! Sources: "settle_create" is the page of the general trading system's create (1.7), "family" are
//! the pages of its sibling systems, "platform" those of Douyin's API gateway and of the common
//! numbers (1.8).

use std::time::Duration;

use tonic::Code;

use super::{About, Handling, Retry, Row};
use crate::settle::Reason;

/// settle_create and family: a parameter is wrong, and Douyin's message says which.
pub(in crate::douyin) const PARAM_ERROR: Row = Row {
    err_no: 10000,
    reason: Reason::ParamError,
    code: Code::InvalidArgument,
    handling: Handling::Refused,
    retry: Retry::Never,
    about: About::Request,
    field: None,
    meaning: "Douyin finds a parameter wrong.",
    meaning_zh: "抖音认为参数错误。",
    advice: "Correct what Douyin's message names.",
};

/// family: one field is wrong. The gateway checks most fields itself, so these mean that a rule
/// changed at Douyin.
pub(in crate::douyin) const FIELD: Row =
    Row { advice: "Correct the field that BadRequest names.", ..PARAM_ERROR };

/// settle_create: "re-send the same parameters". platform: internal errors, mostly timeouts.
pub(in crate::douyin) const SYSTEM_ERROR: Row = Row {
    err_no: 23000,
    reason: Reason::SystemError,
    code: Code::Unavailable,
    handling: Handling::Unknown,
    retry: Retry::Now(Duration::from_secs(2)),
    about: About::Douyin,
    field: None,
    meaning: "Douyin reports an internal error.",
    meaning_zh: "抖音系统内部错误。",
    advice: "Repeat the same call; quote the log id to Douyin if it goes on.",
};

/// platform: busy. Its documents add that a parameter of a wrong type usually causes this.
pub(in crate::douyin) const SYSTEM_BUSY: Row = Row {
    reason: Reason::SystemBusy,
    meaning: "Douyin reports that it is busy.",
    meaning_zh: "抖音系统繁忙。",
    advice: "Repeat the same call; if it goes on, a value has perhaps a type that Douyin refuses.",
    ..SYSTEM_ERROR
};

/// platform: the parent number of a class; a second number should say more. It is no refusal by
/// itself, because no document says that every failure of the class is one.
pub(in crate::douyin) const CLASS_ONLY: Row = Row {
    reason: Reason::UnspecifiedFailure,
    code: Code::Unknown,
    retry: Retry::Now(Duration::from_secs(5)),
    meaning: "Douyin names only the class of the failure.",
    meaning_zh: "抖音仅返回了错误的类别。",
    ..SYSTEM_ERROR
};

/// platform: the token, or the key and secret that fetch it.
pub(in crate::douyin) const CREDENTIALS: Row = Row {
    err_no: 28001003,
    reason: Reason::UpstreamCredentialsRejected,
    code: Code::FailedPrecondition,
    handling: Handling::Reauthenticate,
    retry: Retry::AfterChange,
    about: About::App,
    field: None,
    meaning: "Douyin rejects the gateway's credentials for this app.",
    meaning_zh: "抖音拒绝了网关为该小程序配置的凭证。",
    advice: "Have the gateway's operator check the app's client secret, and who else uses it.",
};

/// platform: the app lacks the capability, the scope or the relation that the call needs.
pub(in crate::douyin) const PERMISSION: Row = Row {
    err_no: 28001014,
    reason: Reason::UpstreamPermissionMissing,
    code: Code::FailedPrecondition,
    handling: Handling::Refused,
    retry: Retry::AfterChange,
    about: About::App,
    field: None,
    meaning: "The app lacks the capability or the scope at Douyin.",
    meaning_zh: "该小程序未获得所需的能力或权限。",
    advice: "Have the capability for settlement granted to the app in Douyin's console.",
};

/// platform: "banned, disabled or offline".
pub(in crate::douyin) const APP_DISABLED: Row = Row {
    reason: Reason::UpstreamAppDisabled,
    code: Code::PermissionDenied,
    meaning: "Douyin has banned, disabled or taken down the app.",
    meaning_zh: "该小程序已被封禁、停用或下线。",
    advice: "Have the app's owner settle it with Douyin.",
    ..PERMISSION
};

/// platform: "wait 2 to 3 s, then retry".
pub(in crate::douyin) const RATE_LIMITED: Row = Row {
    err_no: 12001,
    reason: Reason::UpstreamRateLimited,
    code: Code::ResourceExhausted,
    handling: Handling::Throttled,
    retry: Retry::Now(Duration::from_secs(3)),
    about: About::App,
    field: None,
    meaning: "Douyin limits the rate of this app's calls.",
    meaning_zh: "该小程序的调用过于频繁，被抖音限流。",
    advice: "Come back after the delay in RetryInfo; the gateway slows the whole app down.",
};

/// platform: a quota. It is free again only after some time.
pub(in crate::douyin) const QUOTA_EXHAUSTED: Row = Row {
    reason: Reason::UpstreamQuotaExhausted,
    retry: Retry::Now(Duration::from_secs(600)),
    meaning: "A quota of this app at Douyin is used up.",
    meaning_zh: "该小程序在抖音的调用配额已用完。",
    ..RATE_LIMITED
};

/// settle_create: the present state of the order does not allow the settle.
pub(in crate::douyin) const ORDER: Row = Row {
    err_no: 23113,
    reason: Reason::OrderNotSettleable,
    code: Code::FailedPrecondition,
    handling: Handling::Refused,
    retry: Retry::AfterChange,
    about: About::Order,
    field: None,
    meaning: "Nothing of the order can be settled at present.",
    meaning_zh: "该订单当前没有可分账的部分。",
    advice: "Try again when more of the order is fulfilled.",
};

/// settle_create: "order does not exist", or not in this app.
pub(in crate::douyin) const ORDER_NOT_FOUND: Row = Row {
    err_no: 23101,
    reason: Reason::OrderNotFound,
    code: Code::NotFound,
    retry: Retry::Never,
    meaning: "Douyin does not know the order in this app.",
    meaning_zh: "订单不存在或不属于该小程序。",
    advice: "Check out_order_no and app_id.",
    ..ORDER
};

/// settle_create: the item belongs to another order.
pub(in crate::douyin) const ITEM_MISMATCH: Row = Row {
    err_no: 23025,
    reason: Reason::ItemOrderMismatch,
    about: About::Item,
    field: Some("item_order_id"),
    meaning: "The item does not belong to the order.",
    meaning_zh: "商品单与订单不匹配。",
    advice: "Check item_order_id against the items of the order.",
    ..PARAM_ERROR
};

/// Any number that no document lists. It is not in the table, because it has no number.
pub(in crate::douyin) const OTHER: Row = Row {
    err_no: 0,
    reason: Reason::DouyinError,
    code: Code::Unknown,
    retry: Retry::Now(Duration::from_secs(5)),
    meaning: "Douyin answered a number that the gateway does not know.",
    meaning_zh: "抖音返回了网关未收录的错误码。",
    advice: "Repeat the same call, and report the number to the gateway's operator.",
    ..SYSTEM_ERROR
};
