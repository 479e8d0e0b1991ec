//! The numbers that all trade systems share: of Douyin's API gateway, of access tokens, and those
//! common to its services (1.8), most of them from the error-code pages and the platform's
//! status-code page. Douyin does not document which of them a trade system can answer, so all of
//! them are here.

use std::time::Duration;

use tonic::Code;

use super::kinds::{
    APP_DISABLED, CLASS_ONLY, CREDENTIALS, ITEM_MISMATCH, ORDER, ORDER_NOT_FOUND, PARAM_ERROR,
    PERMISSION, QUOTA_EXHAUSTED, RATE_LIMITED, SYSTEM_BUSY, SYSTEM_ERROR,
};
use super::{About, Retry, Row};
use crate::settle::Reason;

/// Sorted.
pub(super) static TABLE: &[Row] = &[
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
    // Only signed calls check a signature. From these calls it would mean that Douyin changed them.
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
