//! How answers look on a terminal.

use std::fmt::Write as _;

use prost_types::Timestamp;

use crate::proto::v1;

/// A terminal has at least this many columns.
const COLUMNS: usize = 80;
/// Where values begin.
const INDENT: usize = 16;

/// Lines of a name and its value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:INDENT$}{}", value.as_ref());
    }

    fn add_some(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Sentences, broken between words.
    fn add_text(&mut self, name: &str, text: &str) {
        let mut line = String::new();
        let mut name = name;
        for word in text.split_whitespace() {
            let columns = line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && INDENT + columns > COLUMNS {
                self.add(std::mem::take(&mut name), std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.add(name, line);
    }
}

/// One settle, a line for each thing that is known.
pub(super) fn settle(settle: &v1::Settle) -> String {
    let mut lines = Lines::default();
    lines.add("settle", named(&settle.app_id, settle.trade_system(), &settle.out_settle_no));
    let (state, revision) = (state(settle.state()), settle.revision);
    let douyins = settle.settle_status.as_ref();
    let douyins = douyins.map_or(String::new(), |word| format!(", {word} at Douyin"));
    lines.add("state", format!("{state}, revision {revision}{douyins}"));
    lines.add_some("settle_id", settle.settle_id.as_ref());
    lines.add_some("inner id", settle.inner_settle_id.as_ref());
    lines.add_some("out_order_no", settle.out_order_no.as_ref());
    lines.add_some("order_id", settle.order_id.as_ref());
    lines.add_some("item_order_id", settle.item_order_id.as_ref());
    lines.add_some("settle_desc", settle.settle_desc.as_ref());
    for param in &settle.settle_params {
        lines.add("receiver", format!("{} {} fen", param.merchant_uid, param.amount_fen));
    }
    if settle.origin() == v1::SettleOrigin::Platform {
        lines.add("origin", "learned from Douyin, not created here");
    }
    let by = settle.created_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    lines.add_some("created", settle.create_time.as_ref().map(|at| format!("{at}{by}")));
    lines.add_some("changed", settle.update_time.as_ref().map(time));
    lines.add_some("submit_before", settle.submit_before.as_ref().map(time));
    if let Some(result) = &settle.result {
        result_lines(&mut lines, result);
    }
    lines.add_some("rejection", settle.rejection.as_ref().map(error));
    lines.add_some("last_error", settle.last_error.as_ref().map(error));
    if let Some(claim) = &settle.contradiction {
        let claimed = name(claim.claimed_state().as_str_name(), "SETTLE_STATE_");
        let (id, at) = (claim.settle_id(), claim.time.as_ref().map(time).unwrap_or_default());
        lines.add("contradiction", format!("Douyin also said {claimed} ({id}), at {at}"));
    }
    if let Some(decision) = &settle.decision {
        let by = decision.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let at = decision.time.as_ref().map(time).unwrap_or_default();
        lines.add_text("decided", &format!("{at}{by}: {}", decision.why));
    }
    lines.0
}

fn result_lines(lines: &mut Lines, result: &v1::SettleResult) {
    let fen = |amount: Option<i64>| amount.map(|amount| format!("{amount} fen"));
    lines.add_some("settle_amount", fen(result.settle_amount_fen));
    lines.add_some("rake", fen(result.rake_fen));
    lines.add_some("commission", fen(result.commission_fen));
    lines.add_some("message", result.message.as_ref());
    lines.add_some("settled", result.settle_time.as_ref().map(time));
}

/// A settle with all that the gateway knows of it.
pub(super) fn shown(shown: &v1::ShowSettleResponse) -> String {
    let mut lines = Lines(shown.settle.as_ref().map(settle).unwrap_or_default());
    if let Some(outlook) = &shown.outlook {
        lines.0.push('\n');
        lines.add_text("why", &outlook.explanation);
        lines.add_some("then", outlook.until.as_ref().map(time));
        lines.add_some("next check", outlook.next_check_time.as_ref().map(time));
        lines.add_some("stuck as", outlook.stuck_kind.as_ref());
    }
    if let Some(evidence) = &shown.evidence {
        lines.0.push('\n');
        evidence_lines(&mut lines, evidence);
    }
    lines.0 + "\n" + &history(&shown.history)
}

/// A settle of which nothing is sent any more.
pub(super) fn stopped(stopped: &v1::StopSendingResponse) -> String {
    let mut lines = Lines(stopped.settle.as_ref().map(settle).unwrap_or_default());
    let wait = stopped.wait.as_ref().map_or("now".to_owned(), |wait| format!("in {wait}"));
    lines.add("can be ended", wait);
    lines.0
}

fn evidence_lines(lines: &mut Lines, evidence: &v1::SettleEvidence) {
    lines.add("unanswered", evidence.unanswered_sends.to_string());
    lines.add_some("last send", evidence.last_send_time.as_ref().map(time));
    lines.add_some("exists since", evidence.exists_since.as_ref().map(time));
    lines.add_some("refused", evidence.refused.as_ref().map(error));
    lines.add_some("failed", evidence.failed_settle_id.as_ref());
    if let Some(unlisted) = &evidence.unlisted {
        lines.add("unlisted", format!("{}, {} times", error(unlisted), evidence.unlisted_times));
    }
    if evidence.set_back {
        lines.add("set back", "restored from a backup, never sent again");
    }
    if evidence.sending_stopped {
        let confirmed = if evidence.stop_confirmed { ", confirmed" } else { "" };
        lines.add("stopped", format!("by an operator, never sent again{confirmed}"));
    }
    lines.add("calls", evidence.attempts.to_string());
    lines.add_some("sent ext", evidence.sent_ext.as_ref());
}

fn history(entries: &[v1::HistoryEntry]) -> String {
    let names = ["revision", "time", "state", "learned from", "by", "log id", "why"];
    let mut rows = vec![names.map(str::to_owned)];
    for entry in entries {
        let source = name(entry.source().as_str_name(), "OBSERVATION_SOURCE_");
        rows.push([
            entry.revision.to_string(),
            entry.time.as_ref().map(time).unwrap_or_default(),
            state(entry.state()),
            source,
            entry.by().to_owned(),
            entry.log_id().to_owned(),
            entry.why().to_owned(),
        ]);
    }
    aligned(&rows)
}

/// The settle of a create.
pub(super) fn created(created: &v1::CreateSettleResponse) -> String {
    let replayed = if created.replayed { "The number was recorded already.\n" } else { "" };
    created.settle.as_ref().map(settle).unwrap_or_default() + replayed
}

/// A change of a settle on one line.
pub(super) fn change(settle: &v1::Settle) -> String {
    let changed = settle.update_time.as_ref().map(time).unwrap_or_default();
    let why = settle.rejection.as_ref().or(settle.last_error.as_ref());
    let why = why.map_or(String::new(), |why| format!("  {}", error(why)));
    let disputed = if settle.contradiction.is_some() { "  DISPUTED" } else { "" };
    let (revision, state) = (settle.revision, state(settle.state()));
    format!("{changed}  revision {revision:<3} {state:10}  {}{why}{disputed}\n", settle.settle_id())
}

/// A list of settles.
/// What of an order can still be settled. An amount that was not told is left out.
pub(super) fn left(left: &v1::GetUnsettledAmountResponse) -> String {
    let lines = [
        ("unsettled", Some(left.unsettled_amount_fen)),
        ("paid", left.paid_amount_fen),
        ("refunded", left.refunded_amount_fen),
        ("payment rake", left.payment_rake_fen),
        ("life rake", left.life_rake_fen),
        ("commission", left.commission_fen),
    ];
    let told = lines.into_iter().filter_map(|(name, fen)| fen.map(|fen| (name, fen)));
    let rows: Vec<_> = told.map(|(name, fen)| [name.to_owned(), format!("{fen} fen")]).collect();
    aligned(&rows)
}

pub(super) fn settles(settles: &[v1::Settle], more: bool) -> String {
    let mut rows = vec![["created", "state", "settle", "order", "settle_id"].map(str::to_owned)];
    for settle in settles {
        rows.push([
            settle.create_time.as_ref().map(time).unwrap_or_default(),
            state(settle.state()),
            named(&settle.app_id, settle.trade_system(), &settle.out_settle_no),
            settle.out_order_no().to_owned(),
            settle.settle_id().to_owned(),
        ]);
    }
    aligned(&rows) + if more { "and more\n" } else { "" }
}

/// What is stuck.
pub(super) fn stuck(told: &v1::ListStuckSettlesResponse) -> String {
    let Some(looked) = &told.looked_time else {
        return "the gateway has not looked through all settles yet\n".to_owned();
    };
    let total: i64 = told.counts.iter().map(|count| count.settles).sum();
    let mut text = format!("looked at {}: {total} stuck\n", time(looked));
    let counts: Vec<_> = told
        .counts
        .iter()
        .map(|count| [count.settles.to_string(), count.kind.clone(), count.app_id.clone()])
        .collect();
    text += &aligned(&counts);
    if !told.settles.is_empty() {
        let mut rows = vec![["since", "kind", "state", "settle"].map(str::to_owned)];
        for settle in &told.settles {
            rows.push([
                settle.since_time.as_ref().map(time).unwrap_or_default(),
                settle.kind.clone(),
                state(settle.state()),
                named(&settle.app_id, settle.trade_system(), &settle.out_settle_no),
            ]);
        }
        text.push('\n');
        text += &aligned(&rows);
    }
    if told.unlisted > 0 {
        let _ = writeln!(text, "and {} more", told.unlisted);
    }
    text
}

/// Rows whose columns begin below each other.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn error(error: &v1::SettleError) -> String {
    let said = error.douyin_error.as_ref();
    let number = said.and_then(|said| said.err_no).map(|number| format!(" {number}"));
    let text = said.map_or("", |said| said.err_msg());
    let text = if text.is_empty() { &error.message } else { text };
    format!("{}{}: {text}", error.reason, number.unwrap_or_default())
}

/// As the log names a settle.
fn named(app_id: &str, trade_system: v1::TradeSystem, out_settle_no: &str) -> String {
    match trade_system {
        v1::TradeSystem::Unspecified | v1::TradeSystem::General => {
            format!("{app_id}/{out_settle_no}")
        }
        v1::TradeSystem::SelfOperated
        | v1::TradeSystem::Industry
        | v1::TradeSystem::Agency
        | v1::TradeSystem::Guaranteed => {
            let system = name(trade_system.as_str_name(), "TRADE_SYSTEM_").to_lowercase();
            format!("{app_id}/{system}/{out_settle_no}")
        }
    }
}

fn state(state: v1::SettleState) -> String {
    match state {
        v1::SettleState::Unspecified => "UNKNOWN".to_owned(),
        v1::SettleState::Submitting
        | v1::SettleState::Processing
        | v1::SettleState::Succeeded
        | v1::SettleState::Failed
        | v1::SettleState::Rejected => name(state.as_str_name(), "SETTLE_STATE_"),
    }
}

fn name(value: &str, prefix: &str) -> String {
    value.trim_start_matches(prefix).to_owned()
}

fn time(time: &Timestamp) -> String {
    time.to_string()
}
