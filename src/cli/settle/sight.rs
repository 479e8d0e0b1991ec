//! What comes before a person's decision: that it saw the settle, and that it means this one.
//!
//! What it must not know: what is decided.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use tokio_util::task::TaskTracker;

use super::super::{complain_to_programs, print};
use super::call::{Caller, Failed, timed};
use super::{Format, table};
use crate::proto::v1;
use crate::proto::v1::show_settle_request::Key;

/// The settle that is decided about, as it was seen.
#[derive(Debug, Args)]
pub(super) struct Sight {
    /// The number of the settle.
    #[arg(value_name = "NUMBER")]
    pub(super) out_settle_no: String,
    /// The revision that was seen. Default: the one that the command shows. Required with
    /// --confirm.
    #[arg(long, value_name = "REVISION")]
    revision: Option<i64>,
    /// The number once more, in place of being asked for it.
    #[arg(long, value_name = "NUMBER", requires = "revision")]
    confirm: Option<String>,
}

/// A settle that a person saw and means.
pub(super) struct Seen {
    pub(super) revision: i64,
    /// Whether sending was stopped before.
    pub(super) is_stopped: bool,
}

impl Sight {
    /// Shows the settle and what the decision does, and has the number typed. If this fails,
    /// nothing is decided.
    pub(super) async fn agree(&self, caller: &Caller, does: &str) -> Result<Seen, Failed> {
        self.check()?;
        let shown = show(caller, &self.out_settle_no).await?;
        let text = format!("{}\n{does}\n", table::shown(&shown));
        match (caller.format, &self.confirm) {
            (Format::Table, _) => print(&text),
            // Standard output is a program's.
            (Format::Json, None) => complain_to_programs(text),
            (Format::Json, Some(_)) => {}
        }
        let newest = shown.settle.unwrap_or_default().revision;
        let revision = self.revision.unwrap_or(newest);
        if self.confirm.is_none() {
            if revision != newest {
                let why = format!("it has revision {newest} by now: nothing is done");
                return Err(Failed::Here(why));
            }
            self.is_typed().await?;
        }
        let is_stopped = shown.evidence.is_some_and(|evidence| evidence.sending_stopped);
        Ok(Seen { revision, is_stopped })
    }

    /// A slip, or no person to ask, is found before the gateway is asked for anything.
    fn check(&self) -> Result<(), Failed> {
        match &self.confirm {
            Some(confirm) => self.is_meant(confirm),
            None if std::io::stdin().is_terminal() => Ok(()),
            None => {
                let why = "no terminal to type the number at: give it with --confirm, and the \
                           revision that was seen with --revision";
                Err(Failed::Here(why.to_owned()))
            }
        }
    }

    async fn is_typed(&self) -> Result<(), Failed> {
        // Standard output may be a program's.
        complain_to_programs("Type the number of the settle again to decide so:".to_owned());
        // The connection lives on while a person thinks.
        let read = TaskTracker::new().spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = read.await.map_err(std::io::Error::other).flatten();
        let line = line.map_err(|error| Failed::Here(format!("cannot read the number: {error}")));
        self.is_meant(line?.trim())
    }

    fn is_meant(&self, typed: &str) -> Result<(), Failed> {
        if typed == self.out_settle_no {
            return Ok(());
        }
        let why = "this is another number than that of the settle: nothing is done";
        Err(Failed::Here(why.to_owned()))
    }
}

/// The settle as it is now.
async fn show(caller: &Caller, out_settle_no: &str) -> Result<v1::ShowSettleResponse, Failed> {
    let request = v1::ShowSettleRequest {
        app_id: caller.app_id.clone(),
        trade_system: caller.trade_system.into(),
        key: Some(Key::OutSettleNo(out_settle_no.to_owned())),
    };
    Ok(caller.operator().show_settle(timed(request)).await?.into_inner())
}
