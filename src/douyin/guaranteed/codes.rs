//! The numbers of guaranteed payment (6.3): those common to its calls, and those of its settle.

use crate::douyin::codes::Row;
use crate::douyin::codes::kinds::{
    CREDENTIALS, FIELD, ORDER, ORDER_NOT_FOUND, PARAM_ERROR, PERMISSION, RATE_LIMITED, SYSTEM_ERROR,
};
use crate::settle::Reason;

/// "No such record": the order of a create, and the settle of a query.
pub(super) const RECORD_MISSING: i32 = 2000;

/// Sorted.
pub(super) static TABLE: &[Row] = &[
    // "It may have succeeded or not: repeat it with the same parameters."
    Row { err_no: 1000, ..SYSTEM_ERROR },
    // "Busy, or limited: try again with the same number."
    Row { err_no: 1001, ..RATE_LIMITED },
    Row { err_no: RECORD_MISSING, ..ORDER_NOT_FOUND },
    Row {
        err_no: 2008,
        meaning: "Douyin rejects the signature of the gateway's call.",
        meaning_zh: "抖音拒绝了网关请求的签名。",
        advice: "Have the gateway's operator check the app's salt.",
        ..CREDENTIALS
    },
    Row { err_no: 2010, ..PARAM_ERROR },
    Row {
        err_no: 2014,
        meaning: "It exceeds the share that may be settled, or no money of the order is left.",
        meaning_zh: "分账超过授权比例，或已无可分账金额。",
        advice: "Check the receivers' amounts, and which settles of the order exist already.",
        ..ORDER
    },
    APP_ID,
    Row { err_no: 2042, ..APP_ID },
    Row {
        err_no: 2047,
        meaning: "Douyin finds the provider of the app wrong.",
        meaning_zh: "服务商 thirdparty_id 不正确。",
        advice: "Have the app's owner check its provider at Douyin.",
        ..PERMISSION
    },
    Row {
        err_no: 2048,
        meaning: "The merchant has not authorized the provider that the app belongs to.",
        meaning_zh: "商家与服务商的关系未授权。",
        advice: "Have the merchant authorize the provider at Douyin.",
        ..PERMISSION
    },
];

const APP_ID: Row = Row {
    err_no: 2020,
    reason: Reason::AppIdInvalid,
    field: Some("app_id"),
    meaning: "Douyin finds app_id wrong.",
    meaning_zh: "app_id 不正确。",
    ..FIELD
};
