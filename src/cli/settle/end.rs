//! `settle end`: what a person learned from Douyin ends a settle in doubt.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::super::{complain_to_programs, print};
use super::call::{Caller, Failed, timed};
use super::stop::{show, stop, wait_of};
use super::{Format, table};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct End {
    /// The number of the settle.
    #[arg(value_name = "NUMBER")]
    out_settle_no: String,
    /// How it ended at Douyin.
    #[arg(long = "as", value_enum)]
    outcome: Outcome,
    /// Douyin's id of the settle that succeeded or failed.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    settle_id: String,
    /// Why: what a person learned from Douyin. It is kept with the settle, and callers see it.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Only stops sending if the settle cannot be ended yet, and says when to come back.
    #[arg(long)]
    no_wait: bool,
    /// The number once more, in place of being asked for it.
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Outcome {
    /// Douyin never took it and never will: its caller may pay again under another number.
    Rejected,
    /// Its money moved.
    Succeeded,
    /// It failed at Douyin: its caller may pay again under another number.
    Failed,
}

impl Outcome {
    fn of_the_contract(self) -> v1::EndOutcome {
        match self {
            Outcome::Rejected => v1::EndOutcome::Rejected,
            Outcome::Succeeded => v1::EndOutcome::Succeeded,
            Outcome::Failed => v1::EndOutcome::Failed,
        }
    }

    fn warning(self) -> &'static str {
        match self {
            Outcome::Rejected => {
                "It will be REJECTED: its caller may pay again under another number. If Douyin \
                 takes it after all, the money moves twice."
            }
            Outcome::Succeeded => "It will be SUCCEEDED: its caller delivers on it.",
            Outcome::Failed => {
                "It will be FAILED: its caller may pay again under another number. If it did not \
                 fail, the money moves twice."
            }
        }
    }
}

/// A worker can be on the settle; longer waits are for the grace.
const WAITS_MAX: usize = 5;

impl End {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        self.check_confirm()?;
        let remark = |text: &str| {
            if caller.format == Format::Table {
                print(&format!("{text}\n"));
            }
        };
        let shown = show(caller, &self.out_settle_no).await?;
        if caller.format == Format::Table {
            print(&table::shown(&shown));
        }
        let revision = shown.settle.unwrap_or_default().revision;
        remark(
            "\nSending stops for good. Then Douyin is asked once more, and what it says stands.",
        );
        remark(self.outcome.warning());
        let stopped = stop(caller, &self.out_settle_no, revision, &self.why).await?;
        let revision = stopped.settle.as_ref().map_or(revision, |settle| settle.revision);
        let wait = wait_of(&stopped);
        if !wait.is_zero() {
            let seconds = wait.as_secs() + 1;
            if self.no_wait {
                let why = "sending is stopped and the settle is not ended: come back in";
                return Err(Failed::Here(format!("{why} {seconds} s, and ask Douyin after that")));
            }
            remark(&format!("Waits {seconds} s for what may be on its way to Douyin."));
            tokio::time::sleep(wait).await;
        }
        let request = v1::EndSettleRequest {
            app_id: caller.app_id.clone(),
            confirm_out_settle_no: self.confirmed()?,
            out_settle_no: self.out_settle_no,
            revision,
            outcome: self.outcome.of_the_contract().into(),
            settle_id: self.settle_id,
            why: self.why,
            ..Default::default()
        };
        let ended = end(caller, request).await?;
        caller.tell("EndSettleResponse", &ended, |ended| {
            ended.settle.as_ref().map(table::settle).unwrap_or_default()
        });
        Ok(())
    }

    /// A slip, or no person to ask, is found before anything is decided.
    fn check_confirm(&self) -> Result<(), Failed> {
        let asks = !self.no_wait && !std::io::stdin().is_terminal();
        match &self.confirm {
            Some(confirm) if *confirm != self.out_settle_no => {
                let why = "--confirm is another number than that of the settle: nothing is done";
                Err(Failed::Here(why.to_owned()))
            }
            None if asks => {
                let why = "no terminal to type the number at: give it with --confirm";
                Err(Failed::Here(why.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn confirmed(&self) -> Result<String, Failed> {
        if let Some(confirm) = &self.confirm {
            return Ok(confirm.clone());
        }
        // Standard output may be a program's.
        complain_to_programs("Type the number of the settle again to end it:".to_owned());
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failed::Here(format!("cannot read the number: {error}")))?;
        Ok(line.trim().to_owned())
    }
}

/// Comes back where the gateway says that it is too early.
async fn end(
    caller: &Caller,
    request: v1::EndSettleRequest,
) -> Result<v1::EndSettleResponse, Failed> {
    let mut waits = 0;
    loop {
        let status = match caller.operator().end_settle(timed(request.clone())).await {
            Ok(ended) => return Ok(ended.into_inner()),
            Err(status) => status,
        };
        let Some(wait) = too_early(&status).filter(|_| waits < WAITS_MAX) else {
            return Err(status.into());
        };
        waits += 1;
        tokio::time::sleep(wait).await;
    }
}

fn too_early(status: &Status) -> Option<Duration> {
    let info = status.get_details_error_info()?;
    let retry = status.get_details_retry_info()?;
    (info.reason == "END_TOO_EARLY").then_some(retry.retry_delay?)
}
