//! What a callback tells an app, and why one is refused: the same for both kinds of callbacks.
//!
//! What it must not know: how a callback is verified or read.

use serde_json::Value;

use super::signature::BadSignature;
use super::wire::values::Fields;
use super::wire::{Unreadable, json};
use crate::settle::{Report, TradeSystem};

/// What a callback tells one app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Settles {
        /// The one system that they are of, or those that they may be of. Which of them has the
        /// settle is asked in this order; if none has it, the first one is taken.
        trade_systems: Vec<TradeSystem>,
        reports: Vec<Report>,
    },
    /// Douyin sends other events to the same address, which the gateway ignores: payments, refunds,
    /// withdrawals.
    Other { kind: String },
}

/// Why a callback is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    #[error("the app has no platform public key")]
    NoKey,
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error("the message {0}")]
    Malformed(#[from] Unreadable),
    #[error("the message is signed for this app and names another one")]
    OtherApp,
}

/// What is kept of the name of another type. Douyin's names are short.
const KIND_BYTES_MAX: usize = 64;

/// It is logged, and its length is the sender's choice.
pub(super) fn kind_shown(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_control()).take(KIND_BYTES_MAX / 4).collect()
}

pub(super) fn object(bytes: &[u8], wrong: &'static str) -> Result<Fields, Unreadable> {
    // The parser limits its depth, the listener its size.
    match json::parse(bytes) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Err(Unreadable(wrong)),
    }
}
