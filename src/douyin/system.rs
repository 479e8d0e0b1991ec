//! The door to the trade systems: what each has of its own, as one value. `client`, `outcome`,
//! `codes` and `callback` reach a system's module by it only. A new system is a module with its
//! value, and its line in [`of`].
//!
//! What it must not know: how any system does it.

use super::codes::Row;
use super::limits::Limits;
pub(super) use super::transport::Site;
use super::wire::values::Fields;
use super::wire::{Answer, QueryBy, Unreadable};
use super::{agency, guaranteed, industry, self_operated, trade_basic};
use crate::settle::{AcceptedIds, AppId, Content, Key, NotifyUrl, Report, TradeSystem};

/// A trade system at Douyin.
pub(super) struct System {
    pub(super) site: Site,
    pub(super) credentials: Credentials,
    /// `None`: Douyin settles its orders by itself, and has no call for that.
    pub(super) create: Option<Create>,
    /// `None`: it has no query by this key.
    pub(super) question: fn(&AppId, QueryBy<'_>) -> Option<Question>,
    /// The settles in an answer to a query, all of them or none.
    pub(super) reports: fn(&Answer) -> Result<Vec<Report>, Unreadable>,
    /// The number by which a query says that there is none. `None`: it answers with none.
    pub(super) absent: Option<i32>,
    /// The settle in the message of a callback.
    pub(super) report: fn(&Fields) -> Result<Report, Unreadable>,
    /// `None`: it has none.
    pub(super) callbacks: Option<Callbacks>,
    /// What a create may say, beside what holds in every system.
    pub(super) limits: Limits,
    /// Tables of the numbers that it does not share with the platform, each sorted. One that
    /// several list, the platform's included, is as the last of these has it.
    pub(super) codes: &'static [&'static [Row]],
}

/// How its calls show which app they are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// By an access token, which is fetched with the client secret.
    Token,
    /// By a signature of the app's own key.
    Signature,
    /// By a field in the body, signed with the app's salt.
    Salt,
}

/// The call that makes a settle.
pub(super) struct Create {
    pub(super) path: &'static str,
    /// Of a key, a content, the text to pass through, and the callback address of an app.
    pub(super) body: fn(&Key, &Content, Option<&str>, Option<&NotifyUrl>) -> String,
    /// The ids in an acceptance. `None`: Douyin names no settle, or the name cannot be used.
    pub(super) accepted_ids: fn(&Answer) -> Option<AcceptedIds>,
}

/// One query to Douyin.
pub(super) struct Question {
    pub(super) path: &'static str,
    pub(super) body: String,
}

/// By what its callbacks are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callbacks {
    /// Their version, signed with the platform's key.
    Version2,
    Version3,
    /// Their signature, made with a token, which stands in the body.
    Token,
}

pub(super) fn of(trade_system: TradeSystem) -> &'static System {
    match trade_system {
        TradeSystem::General => &trade_basic::SYSTEM,
        TradeSystem::SelfOperated => &self_operated::SYSTEM,
        TradeSystem::Industry => &industry::SYSTEM,
        TradeSystem::Agency => &agency::SYSTEM,
        TradeSystem::Guaranteed => &guaranteed::SYSTEM,
    }
}
