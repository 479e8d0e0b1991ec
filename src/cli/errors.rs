//! `errors`: both error tables, for people and for programs.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tonic::Code;

use super::print;
use crate::douyin::codes::{self, Handling, Retry};
use crate::grpc::{reasons, status};
use crate::settle::Failure;

#[derive(Debug, Args)]
pub struct Errors {
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Markdown,
    Json,
}

impl Errors {
    pub fn run(&self) -> ExitCode {
        print(&match self.format {
            Format::Markdown => markdown(),
            Format::Json => json(),
        });
        ExitCode::SUCCESS
    }
}

/// Both tables as they are printed in JSON. Names are kept and orders too: by number, by reason.
#[derive(Serialize)]
struct Tables {
    douyin: Table<DouyinError>,
    /// What a number is that Douyin answers and no document lists.
    douyin_unlisted: Common,
    gateway: Table<Common>,
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
    /// Whether the same number can be an answer to a send that took effect.
    handling: &'static str,
    field: Option<&'static str>,
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
    meaning: &'static str,
    meaning_zh: &'static str,
    advice: &'static str,
}

fn tables() -> Tables {
    let douyin = codes::TABLE.iter().map(|row| DouyinError {
        err_no: row.err_no,
        handling: handling(row.handling),
        field: row.field,
        common: Common {
            reason: row.reason,
            code: code(row.code),
            retry: retry(row.retry).0,
            retry_delay_ms: retry(row.retry).1,
            meaning: row.meaning,
            meaning_zh: row.meaning_zh,
            advice: row.advice,
        },
    });
    let gateway = reasons::TABLE.iter().map(|row| Common {
        reason: row.reason,
        code: code(row.code),
        retry: retry(row.retry).0,
        retry_delay_ms: retry(row.retry).1,
        meaning: row.meaning,
        meaning_zh: row.meaning_zh,
        advice: row.advice,
    });
    let unlisted = status::words(&Failure::own(codes::UNLISTED));
    Tables {
        douyin: Table { domain: status::DOMAIN_DOUYIN, errors: douyin.collect() },
        douyin_unlisted: Common {
            reason: unlisted.reason,
            code: code(unlisted.code),
            retry: retry(unlisted.retry).0,
            retry_delay_ms: retry(unlisted.retry).1,
            meaning: unlisted.meaning,
            meaning_zh: unlisted.meaning_zh,
            advice: unlisted.advice,
        },
        gateway: Table { domain: status::DOMAIN_GATEWAY, errors: gateway.collect() },
    }
}

fn json() -> String {
    let text = serde_json::to_string_pretty(&tables());
    text.expect("texts and numbers can always be written") + "\n"
}

fn markdown() -> String {
    let Tables { douyin, douyin_unlisted, gateway } = tables();
    let mut page = INTRO.to_owned();
    page += &format!("## Douyin's numbers (domain `{}`)\n\n{HANDLING}", douyin.domain);
    page += "| err_no | reason | code | handling | retry | field | meaning | 含义 | what to do |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for DouyinError { err_no, handling, field, common } in &douyin.errors {
        let Common { reason, code, meaning, meaning_zh, advice, .. } = common;
        let (retry, field) = (shown(common), field.unwrap_or("–"));
        let _ = writeln!(
            page,
            "| {err_no} | `{reason}` | {code} | {handling} | {retry} | {field} | {meaning} | \
             {meaning_zh} | {advice} |"
        );
    }
    let Common { reason, code, meaning, meaning_zh, advice, .. } = &douyin_unlisted;
    let retry = shown(&douyin_unlisted);
    let _ = writeln!(
        page,
        "| any other | `{reason}` | {code} | unknown | {retry} | – | {meaning} | {meaning_zh} | \
         {advice} |"
    );
    page += &format!("\n## The gateway's own reasons (domain `{}`)\n\n", gateway.domain);
    page += "| reason | code | retry | meaning | 含义 | what to do |\n";
    page += "| --- | --- | --- | --- | --- | --- |\n";
    for common in &gateway.errors {
        let Common { reason, code, meaning, meaning_zh, advice, .. } = common;
        let retry = shown(common);
        let _ = writeln!(
            page,
            "| `{reason}` | {code} | {retry} | {meaning} | {meaning_zh} | {advice} |"
        );
    }
    page
}

const INTRO: &str = "\
# Errors

Every error carries one `google.rpc.ErrorInfo` with `reason` and `domain`. An error of
`CreateSettle` also has the promise `outcome` in its metadata, which alone says whether another
number is permitted. `retry` is `now` (after the delay), `after_change` (something outside must
happen first) or `never`; the outcome of a create can change it.

";

const HANDLING: &str = "\
`handling` says what a number means for the request that it answers: `refused` took no effect,
`unknown` may have taken effect, `exists` found something under its number, `reauthenticate` took no
effect because of the access token, `throttled` is as `unknown` and slows the whole app down.

";

fn shown(common: &Common) -> String {
    match common.retry_delay_ms {
        Some(ms) => format!("{}, {ms} ms", common.retry),
        None => common.retry.to_owned(),
    }
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

fn retry(retry: Retry) -> (&'static str, Option<u128>) {
    match retry {
        Retry::Now(delay) => ("now", Some(delay.as_millis())),
        Retry::AfterChange => ("after_change", None),
        Retry::Never => ("never", None),
    }
}

/// A gRPC code as its specification spells it.
fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
