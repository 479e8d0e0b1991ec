//! `errors`: both error tables, for people and for programs.

mod markdown;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tonic::Code;

use super::print;
use crate::douyin::codes::{self, Handling, Retry};
use crate::grpc::rpc::{Rpc, spelled};
use crate::grpc::{reasons, status};
use crate::settle::TradeSystem;

#[derive(Debug, Args)]
pub struct Errors {
    #[arg(long, value_enum, default_value_t = TableFormat::Markdown)]
    format: TableFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TableFormat {
    Markdown,
    Json,
}

impl Errors {
    pub fn run(&self) -> ExitCode {
        print(&match self.format {
            TableFormat::Markdown => markdown::page(&tables()),
            TableFormat::Json => json(),
        });
        ExitCode::SUCCESS
    }
}

/// Both tables as they are printed in JSON. Names and orders are stable: by number, by reason.
#[derive(Serialize)]
struct Tables {
    douyin: Table<DouyinError>,
    /// The row of a number that Douyin answers and no document lists.
    douyin_unlisted: Common,
    gateway: Table<OwnError>,
}

#[derive(Serialize)]
struct Table<T> {
    /// `ErrorInfo.domain` of these errors.
    domain: &'static str,
    errors: Vec<T>,
}

#[derive(Serialize)]
struct DouyinError {
    err_no: i32,
    /// The trade systems whose calls it can answer.
    trade_systems: Vec<&'static str>,
    /// Whether the same number can be an answer to a send that took effect.
    handling: &'static str,
    field: Option<&'static str>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct OwnError {
    /// The RPCs that can answer it.
    rpcs: Vec<&'static str>,
    /// The outcomes that it can have from CreateSettle.
    outcomes: Vec<&'static str>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Common {
    reason: &'static str,
    code: &'static str,
    retry: &'static str,
    /// With `retry` `now` only.
    retry_delay_ms: Option<u128>,
    /// The detail that this error has beside those of all errors of its kind.
    detail: Option<&'static str>,
    meaning: &'static str,
    meaning_zh: &'static str,
    advice: &'static str,
    /// Where this reason is described.
    link: String,
}

fn tables() -> Tables {
    let douyin = codes::table().into_iter().map(|(row, systems)| DouyinError {
        err_no: row.err_no,
        trade_systems: systems.into_iter().map(TradeSystem::as_str).collect(),
        handling: handling(row.handling),
        field: row.field,
        common: of_douyin(row),
    });
    let gateway = reasons::TABLE.iter().map(|row| OwnError {
        rpcs: row.rpcs.iter().copied().map(Rpc::name).collect(),
        outcomes: row.outcomes.iter().map(|outcome| outcome.as_str()).collect(),
        common: Common {
            reason: row.reason.as_str(),
            code: spelled(row.code),
            retry: status::retry_word(row.retry),
            retry_delay_ms: delay_ms(row.retry),
            detail: detail(row.code),
            meaning: row.meaning,
            meaning_zh: row.meaning_zh,
            advice: row.advice,
            link: status::link(row.reason.as_str()),
        },
    });
    Tables {
        douyin: Table { domain: status::DOMAIN_DOUYIN, errors: douyin.collect() },
        douyin_unlisted: of_douyin(codes::other()),
        gateway: Table { domain: status::DOMAIN_GATEWAY, errors: gateway.collect() },
    }
}

fn of_douyin(row: &codes::Row) -> Common {
    Common {
        reason: row.reason.as_str(),
        code: spelled(row.code),
        retry: status::retry_word(row.retry),
        retry_delay_ms: delay_ms(row.retry),
        detail: detail(row.code),
        meaning: row.meaning,
        meaning_zh: row.meaning_zh,
        advice: row.advice,
        link: status::link(row.reason.as_str()),
    }
}

fn json() -> String {
    let text = serde_json::to_string_pretty(&tables());
    text.expect("texts and numbers can always be written") + "\n"
}

fn detail(code: Code) -> Option<&'static str> {
    status::fitting(code).map(|fitting| match fitting {
        status::Fitting::ResourceInfo => "ResourceInfo",
        status::Fitting::PreconditionFailure => "PreconditionFailure",
        status::Fitting::QuotaFailure => "QuotaFailure",
    })
}

fn handling(handling: Handling) -> &'static str {
    match handling {
        Handling::Refused => "refused",
        Handling::Unknown => "unknown",
        Handling::Exists => "exists",
        Handling::Reauthenticate => "reauthenticate",
        Handling::Throttled => "throttled",
    }
}

fn delay_ms(retry: Retry) -> Option<u128> {
    match retry {
        Retry::Now(delay) => Some(delay.as_millis()),
        Retry::AfterChange | Retry::Never => None,
    }
}
