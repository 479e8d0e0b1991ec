//! `stuck`: which settles do not come to their end, as the running gateway sees them.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{ConfigFile, admin, complain, print};
use crate::http::admin::stuck::{Asked, STUCK_PATH, Told};

#[derive(Debug, Args)]
pub struct Stuck {
    #[command(flatten)]
    file: ConfigFile,
    /// Only the settles of this app.
    #[arg(long, value_name = "APP_ID")]
    app_id: Option<String>,
    /// The most settles that are listed, those first that have been stuck longest; all are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    /// How they are printed. Default: a table on a terminal, JSON otherwise.
    #[arg(long, value_enum)]
    format: Option<ReportFormat>,
    /// The gateway's admin address. Default: the one of the configuration.
    #[arg(long, value_name = "ADDR")]
    admin_addr: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum ReportFormat {
    Table,
    Json,
}

impl Stuck {
    pub async fn run(self) -> ExitCode {
        let addr = match admin::address(self.admin_addr, &self.file) {
            Ok(addr) => addr,
            Err(problems) => {
                complain(problems);
                return ExitCode::FAILURE;
            }
        };
        let asked = Asked { app_id: self.app_id, limit: self.limit };
        let answer = admin::ask(addr, STUCK_PATH, &asked).await;
        let told = answer.and_then(|text| {
            let told: Told = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            Ok((text, told))
        });
        let is_terminal = std::io::stdout().is_terminal();
        let format = self.format.unwrap_or(if is_terminal {
            ReportFormat::Table
        } else {
            ReportFormat::Json
        });
        match (told, format) {
            (Ok((text, _)), ReportFormat::Json) => print(&text),
            (Ok((_, told)), ReportFormat::Table) => print(&table(&told)),
            (Err(why), _) => {
                complain(format_args!("{addr}: {}", why.trim_end()));
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }
}

fn table(told: &Told) -> String {
    let Some(looked) = &told.looked_time else {
        return "the gateway has not looked through all settles yet\n".to_owned();
    };
    let mut text = format!("looked at {looked}: {} stuck\n", told.total);
    for count in &told.counts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>8}  {:20} {}", count.settles, count.kind, count.app_id);
    }
    if !told.settles.is_empty() {
        let _ = writeln!(text, "\n{:24}  {:20} {:10}  settle", "since", "kind", "state");
    }
    for settle in &told.settles {
        let (since, kind, state) = (&settle.since_time, &settle.kind, &settle.state);
        let (app_id, number) = (&settle.app_id, &settle.out_settle_no);
        let _ = writeln!(text, "{since:24}  {kind:20} {state:10}  {app_id}/{number}");
    }
    if told.unlisted > 0 {
        let _ = writeln!(text, "and {} more", told.unlisted);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_counts_settles_and_what_is_left_out() {
        let told = json!({
            "looked_time": "2026-11-28T05:00:00Z", "total": 3, "unlisted": 2,
            "counts": [{ "app_id": "tt1", "kind": "unproven", "settles": 3 }],
            "settles": [{
                "app_id": "tt1", "out_settle_no": "no-1", "kind": "unproven",
                "state": "SUBMITTING", "since_time": "2026-11-28T04:00:00Z",
            }],
        });
        let expected = [
            "looked at 2026-11-28T05:00:00Z: 3 stuck",
            "       3  unproven             tt1",
            "",
            "since                     kind                 state       settle",
            "2026-11-28T04:00:00Z      unproven             SUBMITTING  tt1/no-1",
            "and 2 more",
            "",
        ];
        assert_eq!(table(&serde_json::from_value(told).unwrap()), expected.join("\n"));
        let none = json!({ "looked_time": null, "total": 0, "unlisted": 0, "counts": [],
            "settles": [] });
        assert!(table(&serde_json::from_value(none).unwrap()).contains("not looked"));
    }
}
