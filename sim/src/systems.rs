//! How each trade system speaks, by this simulator's reading of its documents: one [`Reading`] per
//! system, in a module of its own.
//!
//! A reading is data. What is done with it is the same for every system, and elsewhere:
//! `create.rs`, `query.rs`, `answers.rs`, `callbacks/`. A system is added by a module here.

mod agency;
mod general;
mod guaranteed;
mod industry;
mod self_operated;
mod trade_v2;

pub(super) use self::guaranteed::{amount_left, platform_order, seconds};
use super::answers::Refusal;
use super::callbacks::Ladder;
use super::choices::{CallbackVersion, Choices};
use super::endpoint::Endpoint;
use super::fields::Problem;
use super::query::KeyField;
use super::settles::AppliedSettle;
use super::system::System;

/// What a system's documents say about its wire.
pub(super) struct Reading {
    /// The paths of its calls.
    pub(super) paths: &'static [(&'static str, Endpoint)],
    pub(super) guard: Guard,
    /// `None`: the platform settles by itself.
    pub(super) create: Option<CreateForm>,
    /// What a query can ask for, in the order of their priority.
    pub(super) keys: &'static [KeyField],
    /// Further fields of a query.
    pub(super) query_listed: &'static [&'static str],
    /// The answer to a query that found these.
    pub(super) report: fn(&[&AppliedSettle], &Choices) -> Result<serde_json::Value, Refusal>,
    /// The number for a bad field.
    pub(super) field_number: fn(&str, Problem) -> i64,
    /// This system's number for one of the general system's that the common rules give.
    pub(super) rule_number: fn(i64) -> i64,
    pub(super) shell: Shell,
    /// Before the 19 or more digits of a settle's id.
    pub(super) id_prefix: &'static str,
    /// `None`: it announces nothing.
    pub(super) callback: Option<CallbackForm>,
    /// When its callbacks are sent again.
    pub(super) ladder: Ladder,
    /// The system whose calls have the same paths, but for the slash at the end.
    pub(super) neighbour: Option<System>,
}

impl Reading {
    pub(super) fn of(system: System) -> &'static Self {
        match system {
            System::General => &general::READING,
            System::SelfOperated => &self_operated::READING,
            System::Industry => &industry::READING,
            System::Agency => &agency::READING,
            System::Guaranteed => &guaranteed::READING,
        }
    }
}

/// How a call shows which app it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// The header `access-token`.
    AccessToken,
    /// The header `Byte-Authorization` (§7).
    ByteAuthorization,
    /// `app_id` and `sign` in the body (§6.3).
    SignField,
}

/// What a create may say.
pub(super) struct CreateForm {
    /// Every field.
    pub(super) listed: &'static [&'static str],
    /// The field that comes back as `cp_extra`.
    pub(super) mark: &'static str,
    pub(super) desc: DescLimit,
    pub(super) settle_params_bytes_max: usize,
    pub(super) notify_url_bytes_max: usize,
    /// `None`: as the choices say.
    pub(super) receivers_max: Option<usize>,
    /// `None`: as the choices say.
    pub(super) settles_per_order_max: Option<usize>,
    /// Whether numbers are made of digits, letters and `_-*` only.
    pub(super) plain_numbers: bool,
    /// Whether further settles of an order are refused until the first one has ended.
    pub(super) first_alone: bool,
    pub(super) repeat: Repeat,
    /// The fields of an answer that name the settle.
    pub(super) accepted: fn(settle_id: &str, wallet_settle_id: &str) -> serde_json::Value,
}

/// The limit of `settle_desc`.
#[derive(Clone, Copy, Debug)]
pub(super) enum DescLimit {
    Bytes(usize),
    Characters(usize),
}

/// How a number is answered that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// 23111.
    Refused,
    /// Like the first time, whatever it says now.
    AnsweredAgain,
}

/// What is around the fields of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    /// `{err_no, err_msg, log_id, data}`.
    ErrMsg,
    /// `{err_no, err_tips, data}`.
    ErrTips,
    /// `{data, extra: {error_code, description, sub_error_code, sub_description, logid, now}}`.
    Extra,
    /// `{err_no, err_tips, …}`, with the fields beside them.
    Beside,
}

/// How a callback is written and signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallbackForm {
    /// §3. `None`: the version that the choices name.
    Byte(Option<CallbackVersion>),
    /// §6.3: signed in the body, with the token of the console.
    Token,
}
