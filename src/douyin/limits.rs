//! What a create may say in a trade system, beside what holds in every system.
//!
//! What it must not know: what is done with a request that says more.

use serde::Serialize;

use crate::settle::SettleParam;

/// `None`: no bound but the one of every system.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of [`settle_params_text`].
    pub settle_params_bytes_max: usize,
    pub receivers_max: Option<usize>,
    pub merchant_uid_bytes_max: Option<usize>,
    /// In characters, and not in bytes.
    pub settle_desc_characters_max: Option<usize>,
    pub notify_url_bytes_max: Option<usize>,
    /// Whether one item of an order can be settled.
    pub has_items: bool,
    /// Whether an `out_settle_no` is made of ASCII letters, digits, `_`, `-` and `*` only.
    pub has_plain_numbers: bool,
}

/// Element of `settle_params` (1.4): here the amount is a JSON number.
#[derive(Serialize)]
struct Receiver<'a> {
    merchant_uid: &'a str,
    amount: i64,
}

/// The receivers as Douyin receives and measures them: an array without spaces.
pub fn settle_params_text(params: &[SettleParam]) -> String {
    let receivers: Vec<Receiver<'_>> = params
        .iter()
        .map(|param| Receiver {
            merchant_uid: param.merchant_uid.as_str(),
            amount: param.amount.get(),
        })
        .collect();
    serde_json::to_string(&receivers).expect("texts and numbers always serialize")
}
