//! The rows of the error table.
//!
//! Sources, in words: "settle_create" are the business numbers of that page (1.7); "family" are
//! those of its sibling systems; "platform" are the gateway and common numbers (1.8), most of them
//! from the error-code pages and the platform's status-code page. Douyin does not document which of
//! the platform numbers trade_basic answers, so all of them are here.

use std::time::Duration;

use tonic::Code;

use super::{About, Handling, Retry, Row};
use crate::settle::Reason;

/// settle_create and family: a parameter is wrong, and Douyin's message says which.
const PARAM_ERROR: Row = Row {
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

/// family: one field is wrong. The gateway checks most of them itself, so they mean a changed rule.
const FIELD: Row = Row { advice: "Correct the field that BadRequest names.", ..PARAM_ERROR };

/// settle_create: "re-send the same parameters". platform: internal errors, mostly timeouts.
const SYSTEM_ERROR: Row = Row {
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

/// platform: busy. Its documents add that a parameter of a wrong type usually shows up as this.
const SYSTEM_BUSY: Row = Row {
    reason: Reason::SystemBusy,
    meaning: "Douyin reports that it is busy.",
    meaning_zh: "抖音系统繁忙。",
    advice: "Repeat the same call; if it goes on, a value has perhaps a type that Douyin refuses.",
    ..SYSTEM_ERROR
};

/// platform: the parent number of a class; a second number should say more. It is no refusal by
/// itself, because nothing says that every failure of a class is one.
pub(super) const CLASS_ONLY: Row = Row {
    reason: Reason::UnspecifiedFailure,
    code: Code::Unknown,
    retry: Retry::Now(Duration::from_secs(5)),
    meaning: "Douyin names only the class of the failure.",
    meaning_zh: "抖音仅返回了错误的类别。",
    ..SYSTEM_ERROR
};

/// platform: the token, or the key and secret that fetch it.
const CREDENTIALS: Row = Row {
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
const PERMISSION: Row = Row {
    err_no: 28001014,
    reason: Reason::UpstreamPermissionMissing,
    code: Code::FailedPrecondition,
    handling: Handling::Refused,
    retry: Retry::AfterChange,
    about: About::App,
    field: None,
    meaning: "The app lacks the capability or the scope at Douyin.",
    meaning_zh: "该小程序未获得所需的能力或权限。",
    advice: "Have the capability for general-trading settlement granted in Douyin's console.",
};

/// platform: "banned, disabled or offline".
const APP_DISABLED: Row = Row {
    reason: Reason::UpstreamAppDisabled,
    code: Code::PermissionDenied,
    meaning: "Douyin has banned, disabled or taken down the app.",
    meaning_zh: "该小程序已被封禁、停用或下线。",
    advice: "Have the app's owner settle it with Douyin.",
    ..PERMISSION
};

/// platform: "wait 2 to 3 s, then retry".
const RATE_LIMITED: Row = Row {
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

/// platform: a quota, which comes back only with time.
const QUOTA_EXHAUSTED: Row = Row {
    reason: Reason::UpstreamQuotaExhausted,
    retry: Retry::Now(Duration::from_secs(600)),
    meaning: "A quota of this app at Douyin is used up.",
    meaning_zh: "该小程序在抖音的调用配额已用完。",
    ..RATE_LIMITED
};

/// settle_create: the order as it is does not allow the settle.
const ORDER: Row = Row {
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
const ORDER_NOT_FOUND: Row = Row {
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
const ITEM_MISMATCH: Row = Row {
    err_no: 23025,
    reason: Reason::ItemOrderMismatch,
    about: About::Item,
    field: Some("item_order_id"),
    meaning: "The item does not belong to the order.",
    meaning_zh: "商品单与订单不匹配。",
    advice: "Check item_order_id against the items of the order.",
    ..PARAM_ERROR
};

/// Whatever number no document lists. It is no part of the table, because it has no number.
pub(super) const OTHER: Row = Row {
    err_no: 0,
    reason: Reason::DouyinError,
    code: Code::Unknown,
    retry: Retry::Now(Duration::from_secs(5)),
    meaning: "Douyin answered a number that the gateway does not know.",
    meaning_zh: "抖音返回了网关未收录的错误码。",
    advice: "Repeat the same call, and report the number to the gateway's operator.",
    ..SYSTEM_ERROR
};

/// Every number that a document lists, sorted.
pub static TABLE: &[Row] = &[
    PARAM_ERROR,
    Row { err_no: 10002, ..PARAM_ERROR },
    // client_token: client_key unknown.
    Row { err_no: 10003, ..CREDENTIALS },
    Row { err_no: 10004, ..PERMISSION },
    Row { err_no: 10008, ..CREDENTIALS },
    // client_token: key or secret wrong.
    Row { err_no: 10013, ..CREDENTIALS },
    // client_token: more than 500 calls in 5 minutes.
    Row { err_no: 10020, retry: Retry::Now(Duration::from_secs(300)), ..QUOTA_EXHAUSTED },
    Row { err_no: 11001, ..PERMISSION },
    Row { err_no: 11002, ..CREDENTIALS },
    // Only the signed variants check one; here it would mean that Douyin changed its calls.
    Row {
        err_no: 11004,
        reason: Reason::UpstreamSignatureRejected,
        about: About::Gateway,
        meaning: "Douyin rejects the signature of the call.",
        meaning_zh: "抖音签名校验失败。",
        advice: "Report it to the gateway's operator.",
        ..PERMISSION
    },
    Row {
        err_no: 11006,
        meaning: "The merchant has not authorized the provider that the app belongs to.",
        meaning_zh: "商家与服务商的关系未授权。",
        advice: "Have the merchant authorize the provider at Douyin.",
        ..PERMISSION
    },
    Row { err_no: 11016, ..CREDENTIALS },
    RATE_LIMITED,
    Row {
        err_no: 12002,
        reason: Reason::UpstreamRiskControl,
        meaning: "Douyin's risk control has flagged the account.",
        meaning_zh: "账号被抖音风控标记为异常。",
        advice: "Do not simply repeat it; clear it with Douyin, quoting the log id.",
        ..PERMISSION
    },
    Row { err_no: 13000, ..SYSTEM_ERROR },
    Row { err_no: 20000, ..ORDER_NOT_FOUND },
    Row {
        err_no: 20001,
        reason: Reason::OrderStateWrong,
        meaning: "The order is not in a state that allows this.",
        meaning_zh: "订单状态不正确。",
        advice: "Check the state of the order.",
        ..ORDER
    },
    Row {
        err_no: 20005,
        meaning: "Douyin failed to look up the order.",
        meaning_zh: "抖音查询订单信息失败。",
        ..SYSTEM_ERROR
    },
    Row { err_no: 21000, ..ITEM_MISMATCH },
    SYSTEM_ERROR,
    Row {
        err_no: 23001,
        reason: Reason::AppIdInvalid,
        field: Some("app_id"),
        meaning: "Douyin finds app_id wrong.",
        meaning_zh: "app_id 不正确。",
        ..FIELD
    },
    Row {
        err_no: 23002,
        reason: Reason::OrderOrSettleIdMissing,
        field: Some("out_order_no"),
        meaning: "Douyin misses the number of an order or a settle.",
        meaning_zh: "订单号和分账单号至少需要一个。",
        ..FIELD
    },
    Row {
        err_no: 23003,
        reason: Reason::OutOrderNoEmpty,
        field: Some("out_order_no"),
        meaning: "Douyin finds out_order_no empty.",
        meaning_zh: "out_order_no 为空。",
        ..FIELD
    },
    Row {
        err_no: 23004,
        reason: Reason::OutSettleNoEmpty,
        field: Some("out_settle_no"),
        meaning: "Douyin finds out_settle_no empty.",
        meaning_zh: "out_settle_no 为空。",
        ..FIELD
    },
    Row {
        err_no: 23005,
        reason: Reason::SettleDescEmpty,
        field: Some("settle_desc"),
        meaning: "Douyin finds settle_desc empty.",
        meaning_zh: "settle_desc 为空。",
        ..FIELD
    },
    Row {
        err_no: 23006,
        reason: Reason::ExtTooLong,
        field: Some("ext"),
        meaning: "Douyin finds ext (cp_extra) too long.",
        meaning_zh: "ext（cp_extra）过长。",
        ..FIELD
    },
    Row {
        err_no: 23007,
        reason: Reason::SettleParamsTooLong,
        field: Some("settle_params"),
        meaning: "Douyin finds settle_params too long.",
        meaning_zh: "settle_params 过长。",
        ..FIELD
    },
    Row {
        err_no: 23008,
        reason: Reason::MerchantUidEmpty,
        field: Some("settle_params.merchant_uid"),
        meaning: "Douyin finds the merchant_uid of a receiver empty.",
        meaning_zh: "分账方的 merchant_uid 为空。",
        ..FIELD
    },
    Row {
        err_no: 23009,
        reason: Reason::AmountTooSmall,
        field: Some("settle_params.amount_fen"),
        meaning: "Douyin finds the amount of a receiver smaller than one fen.",
        meaning_zh: "分账方的金额小于 1 分。",
        ..FIELD
    },
    Row {
        err_no: 23010,
        reason: Reason::SettleDescTooLong,
        field: Some("settle_desc"),
        meaning: "Douyin finds settle_desc too long.",
        meaning_zh: "settle_desc 过长。",
        ..FIELD
    },
    Row {
        err_no: 23024,
        reason: Reason::ItemOrderNotFound,
        code: Code::NotFound,
        about: About::Item,
        field: Some("item_order_id"),
        meaning: "Douyin does not know the item.",
        meaning_zh: "商品单不存在。",
        advice: "Check item_order_id against the items of the order.",
        ..PARAM_ERROR
    },
    ITEM_MISMATCH,
    ORDER_NOT_FOUND,
    Row {
        err_no: 23102,
        reason: Reason::OrderNotPaid,
        meaning: "The order is not paid.",
        meaning_zh: "订单未支付。",
        advice: "Settle it once it is paid.",
        ..ORDER
    },
    Row {
        err_no: 23107,
        reason: Reason::OrderNotFinished,
        meaning: "The order is not fulfilled, or not for as long as the app's rule asks.",
        meaning_zh: "订单未履约完成，或未到可分账时间。",
        advice: "Settle it once the time of the app's settlement rule has come.",
        ..ORDER
    },
    Row {
        err_no: 23111,
        reason: Reason::OutSettleNoExists,
        code: Code::AlreadyExists,
        handling: Handling::Exists,
        retry: Retry::Never,
        about: About::Settle,
        meaning: "A settle with this out_settle_no exists at Douyin.",
        meaning_zh: "该 out_settle_no 在抖音已存在。",
        advice: "Repeat the same call; the gateway asks Douyin whose settle it is.",
        ..ORDER
    },
    Row {
        err_no: 23112,
        reason: Reason::NoMoneyToSettle,
        retry: Retry::Never,
        meaning: "No money of the order is left to settle.",
        meaning_zh: "该订单没有可分账的金额。",
        advice: "Check which settles of the order exist already.",
        ..ORDER
    },
    ORDER,
    Row {
        err_no: 23117,
        reason: Reason::AutomaticSettlementConfigured,
        retry: Retry::Never,
        about: About::App,
        meaning: "Douyin settles the orders of this app by itself.",
        meaning_zh: "该小程序已配置自动分账。",
        advice: "Do not settle; watch the settles that Douyin makes.",
        ..ORDER
    },
    Row {
        err_no: 23118,
        reason: Reason::EntireSettleNotAllowed,
        retry: Retry::Never,
        meaning: "An item of the order was settled by itself, so the order cannot be as a whole.",
        meaning_zh: "该订单已按商品单分账，不允许整单分账。",
        advice: "Settle the rest item by item, with item_order_id.",
        ..ORDER
    },
    Row {
        err_no: 23124,
        reason: Reason::PartialSettleNotEnabled,
        about: About::App,
        meaning: "Douyin has not enabled partial settlement for this app.",
        meaning_zh: "该小程序未开通部分分账（灰度中）。",
        advice: "Ask Douyin's operations to enable it.",
        ..ORDER
    },
    Row {
        err_no: 40006,
        reason: Reason::UpstreamIpNotAllowed,
        code: Code::PermissionDenied,
        about: About::Gateway,
        meaning: "The gateway's address is not on the white list at Douyin.",
        meaning_zh: "网关的 IP 不在抖音白名单中。",
        advice: "Have the gateway's egress address added to the white list.",
        ..PERMISSION
    },
    Row { err_no: 2100004, ..SYSTEM_BUSY },
    Row { err_no: 2100005, ..PARAM_ERROR },
    Row { err_no: 2100007, ..PERMISSION },
    Row { err_no: 2190001, ..QUOTA_EXHAUSTED },
    Row { err_no: 2190002, ..CREDENTIALS },
    Row { err_no: 2190004, ..PERMISSION },
    Row { err_no: 2190008, ..CREDENTIALS },
    Row { err_no: 2190016, ..APP_DISABLED },
    Row { err_no: 2191000, ..SYSTEM_ERROR },
    // The classes: risk control, general trade, forward trade, verification, reverse trade, funds,
    // external extension, marketing, settlement.
    Row { err_no: 2191001, ..CLASS_ONLY },
    Row { err_no: 2191002, ..CLASS_ONLY },
    Row { err_no: 2191003, ..CLASS_ONLY },
    Row { err_no: 2191004, ..CLASS_ONLY },
    Row { err_no: 2191005, ..CLASS_ONLY },
    Row { err_no: 2191006, ..CLASS_ONLY },
    Row { err_no: 2191007, ..CLASS_ONLY },
    Row { err_no: 2191008, ..CLASS_ONLY },
    Row { err_no: 2191009, ..CLASS_ONLY },
    CREDENTIALS,
    Row { err_no: 28001005, ..SYSTEM_BUSY },
    // Status-code page: "network call failed, please retry".
    Row { err_no: 28001006, ..SYSTEM_ERROR },
    Row { err_no: 28001007, ..PARAM_ERROR },
    Row { err_no: 28001008, ..CREDENTIALS },
    PERMISSION,
    Row { err_no: 28001016, ..APP_DISABLED },
    Row { err_no: 28001018, ..PERMISSION },
    Row { err_no: 28001019, ..PERMISSION },
    Row { err_no: 28003017, ..QUOTA_EXHAUSTED },
    // Status-code page: "requests too frequent".
    Row { err_no: 28003018, ..RATE_LIMITED },
];
