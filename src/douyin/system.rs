//! The door to the trade systems: what each has of its own, as one value. `client`, `outcome`,
//! `codes` and `callback` reach a system's module by it only. A new system is a module with its
//! value, and its line in [`of`].
//!
//! What it must not know: how any system does it.

use serde_json::Value;

use super::codes::Row;
pub(super) use super::transport::Site;
use super::wire::values::Fields;
use super::wire::{QueryBy, Unreadable};
use super::{agency, industry, self_operated, trade_basic};
use crate::settle::{AcceptedIds, AppId, Content, Key, NotifyUrl, Report, TradeSystem};

/// A trade system at Douyin.
pub(super) struct System {
    pub(super) site: Site,
    pub(super) credentials: Credentials,
    /// `None`: Douyin settles its orders by itself, and has no call for that.
    pub(super) create: Option<Create>,
    pub(super) query_path: &'static str,
    pub(super) query_body: fn(&AppId, QueryBy<'_>) -> String,
    /// The settles in the `data` of an answer to a query, all of them or none.
    pub(super) reports: fn(&Value) -> Result<Vec<Report>, Unreadable>,
    /// The settle in the message of a callback.
    pub(super) report: fn(&Fields) -> Result<Report, Unreadable>,
    /// `None`: it has none.
    pub(super) callbacks: Option<Callbacks>,
    /// Tables of the numbers that it does not share with the platform, each sorted. One that
    /// several list, the platform's included, is as the last of these has it.
    pub(super) codes: &'static [&'static [Row]],
}

/// How its calls show which app they are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Credentials {
    /// By an access token.
    Token,
    /// By a signature of the app's own key.
    Signature,
}

/// The call that makes a settle.
pub(super) struct Create {
    pub(super) path: &'static str,
    /// Of a key, a content, the text to pass through, and the callback address of an app.
    pub(super) body: fn(&Key, &Content, Option<&str>, Option<&NotifyUrl>) -> String,
    /// The ids in the `data` of an acceptance. `None`: Douyin names no settle, or the name cannot
    /// be used.
    pub(super) accepted_ids: fn(&Value) -> Option<AcceptedIds>,
}

/// By which version its callbacks are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Callbacks {
    Version2,
    Version3,
}

pub(super) fn of(trade_system: TradeSystem) -> &'static System {
    match trade_system {
        TradeSystem::General => &trade_basic::SYSTEM,
        TradeSystem::SelfOperated => &self_operated::SYSTEM,
        TradeSystem::Industry => &industry::SYSTEM,
        TradeSystem::Agency => &agency::SYSTEM,
    }
}
