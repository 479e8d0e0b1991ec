//! The page of errors: `docs/ERRORS.md`, printed from the tables.
//!
//! Each reason has a heading of its own, which is the anchor that `Help` links to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Common, DouyinError, OwnError, Tables};
use crate::grpc::rpc::Rpc;
use crate::settle::TradeSystem;

pub(super) fn page(tables: &Tables) -> String {
    let Tables { douyin, douyin_unlisted, gateway } = tables;
    let mut page = INTRO.to_owned();
    page += &format!("## Douyin's numbers (domain `{}`)\n\n{HANDLING}", douyin.domain);
    page += "| err_no | systems | reason | code | handling | retry | field | meaning | 含义 |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for DouyinError { err_no, trade_systems, handling, field, common } in &douyin.errors {
        let number = format!("{err_no} | {}", systems_in_words(trade_systems));
        number_row(&mut page, &number, handling, field.unwrap_or("–"), common);
    }
    number_row(&mut page, "any other | all", "unknown", "–", douyin_unlisted);
    page += &format!("\n## The gateway's own reasons (domain `{}`)\n\n", gateway.domain);
    page += "| reason | code | retry | RPCs | outcomes | meaning | 含义 |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for OwnError { rpcs, outcomes, common } in &gateway.errors {
        let Common { reason, code, meaning, meaning_zh, .. } = common;
        let (link, retry) = (linked(reason), retry(common));
        let (rpcs, outcomes) = (rpcs_in_words(rpcs), outcomes.join(", "));
        let _ = writeln!(
            page,
            "| {link} | {code} | {retry} | {rpcs} | {outcomes} | {meaning} | {meaning_zh} |"
        );
    }
    page += "\n## Reason by reason\n";
    for (reason, section) in sections(tables) {
        let _ = write!(page, "\n### {reason}\n\n{}", wrapped(&section));
    }
    page
}

/// Lines that a person reads beside others; those of one item are indented.
fn wrapped(section: &str) -> String {
    let mut text = String::new();
    for line in section.lines() {
        let (indent, mut columns) = (if line.starts_with("- ") { "  " } else { "" }, 0);
        for word in line.split(' ') {
            let long = word.chars().count();
            if columns > 0 && columns + 1 + long > COLUMNS_MAX {
                text = text + "\n" + indent;
                columns = indent.len();
            } else if columns > 0 {
                text.push(' ');
                columns += 1;
            }
            text += word;
            columns += long;
        }
        text.push('\n');
    }
    text
}

const COLUMNS_MAX: usize = 100;

fn number_row(page: &mut String, number: &str, handling: &str, field: &str, common: &Common) {
    let Common { reason, code, meaning, meaning_zh, .. } = common;
    let (link, retry) = (linked(reason), retry(common));
    let _ = writeln!(
        page,
        "| {number} | {link} | {code} | {handling} | {retry} | {field} | {meaning} | \
         {meaning_zh} |"
    );
}

/// The text below the heading of each reason.
fn sections(tables: &Tables) -> BTreeMap<&'static str, String> {
    let mut sections = BTreeMap::new();
    for DouyinError { err_no, common, .. } in &tables.douyin.errors {
        let section = sections.entry(common.reason).or_insert_with(|| {
            let (domain, code) = (tables.douyin.domain, common.code);
            format!("{code}, from Douyin (`{domain}`). {}\n\n", details(common))
        });
        let Common { meaning, meaning_zh, advice, .. } = common;
        let retry = retry(common);
        let _ = writeln!(
            section,
            "- **{err_no}**: {meaning} {meaning_zh} What to do: {advice} Retry: {retry}."
        );
    }
    let unlisted = &tables.douyin_unlisted;
    let Common { meaning, meaning_zh, advice, code, .. } = unlisted;
    let (domain, retry_unlisted) = (tables.douyin.domain, retry(unlisted));
    let section = format!(
        "{code}, from Douyin (`{domain}`). {}\n\n- **any other number**: {meaning} {meaning_zh} \
         What to do: {advice} Retry: {retry_unlisted}.\n",
        details(unlisted)
    );
    sections.insert(unlisted.reason, section);
    for OwnError { rpcs, outcomes, common } in &tables.gateway.errors {
        let Common { reason, meaning, meaning_zh, advice, code, .. } = common;
        let (domain, retry) = (tables.gateway.domain, retry(common));
        let mut section = format!("{code}, from the gateway (`{domain}`). {}\n\n", details(common));
        let _ = writeln!(section, "- {meaning} {meaning_zh}");
        let _ = writeln!(section, "- What to do: {advice} Retry: {retry}.");
        let _ = writeln!(section, "- Answered by: {}.", rpcs_in_words(rpcs));
        if !outcomes.is_empty() {
            let _ = writeln!(section, "- Outcome of a CreateSettle: {}.", outcomes.join(" or "));
        }
        sections.insert(reason, section);
    }
    sections
}

fn details(common: &Common) -> String {
    let retry = common.retry_delay_ms.map(|_| "RetryInfo");
    let field = (common.code == "INVALID_ARGUMENT" || common.code == "OUT_OF_RANGE")
        .then_some("BadRequest where a field is known");
    let besides: Vec<_> = [retry, common.detail, field].into_iter().flatten().collect();
    match besides.is_empty() {
        true => String::new(),
        false => format!("Besides what every error has: {}.", besides.join(", ")),
    }
}

fn rpcs_in_words(rpcs: &[&str]) -> String {
    match rpcs.len() {
        0 => "no RPC of the contract".to_owned(),
        every if every == Rpc::ALL.len() => "every RPC".to_owned(),
        _ => rpcs.join(", "),
    }
}

fn systems_in_words(systems: &[&str]) -> String {
    match systems.len() {
        every if every == TradeSystem::ALL.len() => "all".to_owned(),
        _ => systems.join(", "),
    }
}

fn linked(reason: &str) -> String {
    format!("[{reason}](#{})", crate::grpc::status::anchor(reason))
}

fn retry(common: &Common) -> String {
    match common.retry_delay_ms {
        Some(ms) => format!("{}, {ms} ms", common.retry),
        None => common.retry.to_owned(),
    }
}

const INTRO: &str = "\
# Errors

Printed by `settlement-gateway errors`; `--format json` prints the same for programs.

Every error of the gateway is a `google.rpc.Status` in `grpc-status-details-bin` with exactly one
`SettlementFailure`, one `google.rpc.ErrorInfo`, and each kind of detail at most once:

| detail | there | says |
| --- | --- | --- |
| `douyin.settlement.v1.SettlementFailure` | always | all that a program decides by, typed |
| `google.rpc.ErrorInfo` | always | `reason` (a name of this page, stable), `domain`, and metadata |
| `google.rpc.RetryInfo` | exactly if `retry` is `now` | when to come back |
| `google.rpc.BadRequest` | if fields are known to be wrong | their paths, at most 20, and a count |
| `google.rpc.PreconditionFailure` | FAILED_PRECONDITION, PERMISSION_DENIED | what must change |
| `google.rpc.ResourceInfo` | NOT_FOUND, ALREADY_EXISTS | what is not there, or there already |
| `google.rpc.QuotaFailure` | RESOURCE_EXHAUSTED | whose limit is reached |
| `douyin.settlement.v1.DouyinError` | if Douyin said something | what it said |
| `google.rpc.RequestInfo` | if Douyin gave a log id | the log id, to quote to Douyin |
| `google.rpc.LocalizedMessage` | always | what happened, in Chinese (zh-CN) |
| `google.rpc.Help` | always | the link to the reason on this page |

The metadata of `ErrorInfo` has `retry`, from CreateSettle `outcome`, and where known `app_id`,
`out_settle_no`, `settle_id`, `out_order_no`, `item_order_id`, `order_id`, `trade_system` (if it is
not `general`), `err_no`, `err_msg`, `log_id`, and `cause` (which of several causes of one reason it
was). An answer without a number adds its `http_status`, OUT_SETTLE_NO_CONFLICT `differing_fields`
and, if the number is recorded elsewhere, `recorded_app_id` and `recorded_trade_system`;
TRADE_SYSTEM_NOT_CONFIGURED adds `configured_trade_systems`, REVISION_FROM_FUTURE `revision`, a
repeat of a refused create `replayed`.

**May money have moved?** Only `outcome` says it, and every error of CreateSettle has it.
`not_sent`: this request was not sent and will not be; repeat it with the same number. `unknown`:
Douyin may have it; repeat or watch the same number. `refused`: nothing of it is alive under its
number; only then another number is permitted. The same reason can come with different outcomes.

**May it be tried again, and when?** `retry` is `now` (after the delay in `RetryInfo`),
`after_change` (something outside must happen first) or `never`. The outcome of a create decides
along: while it is `unknown`, `never` and `after_change` become `now` (5000 ms) where Douyin
refused, because coming back with the same number is right whatever the last answer was; once it is
`refused`, `now` becomes `never`. Delays can be longer than on this page: an app that Douyin
throttles is paused for a while, and a caller that lost a watch together with many others comes back
up to 4 s later.

**What carries no details:** what is no request yet. Headers of more than 16 KiB are answered with
HTTP 431, frames that break HTTP/2 with a reset or GOAWAY, and streams beyond 1024 on one connection
are refused by HTTP/2 itself. Client libraries make an error of their own of these. Nothing was
sent then.

";

const HANDLING: &str = "\
`handling` says what a number means for the request that it answers: `refused` took no effect,
`unknown` may have taken effect, `exists` found something under its number, `reauthenticate` took no
effect because of the access token, `throttled` is as `unknown` and slows the whole app down. Any of
them can be the answer to each RPC that asks Douyin: CreateSettle, QuerySettles, GetSettle with
`refresh`, and WatchSettle and WaitSettle for a settle that is not recorded here. `systems` are the
trade systems that answer with it; where a system answers with two numbers, the second one decides.

";
