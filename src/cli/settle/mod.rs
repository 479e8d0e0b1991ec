//! `settle`: what a person does with settles at a running gateway. Tables on a terminal, JSON for
//! programs.
//!
//! What it must not know: how a settle changes. It says what the gateway answers.

mod call;
mod create;
mod end;
mod json;
mod left;
mod list;
mod name;
mod resolve;
mod show;
mod sight;
mod stop;
mod stuck;
mod table;
mod watch;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::connect::{Own, Reach};
use super::{complain, complain_to_programs};
use crate::settle::TradeSystem;
use call::{Caller, Failed};

#[derive(Debug, Args)]
pub struct Settle {
    #[command(flatten)]
    reach: Reach,
    /// The app of the settle. Default: the gateway's default app.
    #[arg(
        long,
        value_name = "APP_ID",
        default_value = "",
        hide_default_value = true,
        global = true
    )]
    app_id: String,
    /// The trade system of the settle at Douyin, as the configuration names it. Default: general;
    /// of `list`: all of them.
    #[arg(long, value_name = "SYSTEM", value_parser = system, global = true)]
    trade_system: Option<TradeSystem>,
    /// How answers and errors are printed. Default: tables on a terminal, JSON otherwise, with the
    /// names of protobuf's JSON.
    #[arg(long, value_enum, global = true)]
    format: Option<Format>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows a settle with its history and its evidence, why it waits, and until when.
    Show(name::Which),
    /// Follows a settle until it is final: prints it now and after each change.
    Watch(watch::Watch),
    /// Lists recorded settles, the newest first.
    List(list::List),
    /// Asks Douyin for settles, and records what it says.
    Query(list::Query),
    /// Asks Douyin how much of an order can still be settled; in the trade system guaranteed.
    Left(left::Left),
    /// Creates a settle, or repeats a create: always with the number of the intent.
    Create(create::Create),
    /// Lists the settles that do not come to their end by themselves, of all apps or of --app-id.
    Stuck(stuck::Stuck),
    /// Decides which word of a contradiction is true. Ask Douyin first.
    Resolve(resolve::Resolve),
    /// Stops sending a settle whose outcome is in doubt, for good.
    Stop(stop::Stop),
    /// Ends a settle in doubt with what a person learned from Douyin. Stops sending first.
    End(end::End),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn system(name: &str) -> Result<TradeSystem, String> {
    let names = || TradeSystem::ALL.map(TradeSystem::as_str).join(", ");
    TradeSystem::parse(name).ok_or_else(|| format!("is none of {}", names()))
}

impl Settle {
    pub async fn run(self) -> ExitCode {
        let is_terminal = std::io::stdout().is_terminal();
        let by_itself = if is_terminal { Format::Table } else { Format::Json };
        let format = self.format.unwrap_or(by_itself);
        match self.act(format).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failed) => match format {
                Format::Table => complain(failed.text(format)),
                Format::Json => complain_to_programs(failed.text(format)),
            },
        }
        ExitCode::FAILURE
    }

    async fn act(self, format: Format) -> Result<(), Failed> {
        let line = self.reach.connect(Own::ItsCertificate).await.map_err(Failed::Here)?;
        let named = self.trade_system;
        let trade_system = named.unwrap_or(TradeSystem::General);
        let caller = Caller::new(line, self.app_id, trade_system, format);
        match self.action {
            Action::Show(which) => show::run(&caller, which).await,
            Action::Watch(watch) => watch.run(&caller).await,
            Action::List(list) => list.run(&caller, named).await,
            Action::Query(query) => query.run(&caller).await,
            Action::Left(left) => left.run(&caller).await,
            Action::Create(create) => create.run(&caller).await,
            Action::Stuck(stuck) => stuck.run(&caller).await,
            Action::Resolve(resolve) => resolve.run(&caller).await,
            Action::Stop(stop) => stop.run(&caller).await,
            Action::End(end) => end.run(&caller).await,
        }
    }
}
