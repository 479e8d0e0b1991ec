//! The numbers of the family: those on the page of the general system's create (1.7), and those on
//! the pages of the others. Each page lists a part of them, under the same meanings, so every
//! system of the family may answer each.

use tonic::Code;

use crate::douyin::codes::kinds::{
    FIELD, ITEM_MISMATCH, ORDER, ORDER_NOT_FOUND, PARAM_ERROR, SYSTEM_ERROR,
};
use crate::douyin::codes::{About, Handling, Retry, Row};
use crate::settle::Reason;

/// Sorted.
pub(in crate::douyin) static TABLE: &[Row] = &[
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
];
