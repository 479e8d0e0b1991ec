//! `settle end`: what a person learned from Douyin ends a settle in doubt.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::super::print;
use super::call::{Caller, Failed, timed};
use super::sight::Sight;
use super::stop::stop;
use super::{Format, table};
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct End {
    #[command(flatten)]
    sight: Sight,
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
    /// Ends it also if Douyin gives no answer to the gateway's last question. Needs a stop that was
    /// repeated once nothing could be on its way, and Douyin's word from after that.
    #[arg(long)]
    although_unanswered: bool,
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
        let does = format!(
            "Sending stops for good. Then the gateway asks Douyin once more, and what Douyin shows \
             stands.\n{}",
            self.outcome.warning()
        );
        let seen = self.sight.agree(caller, &does).await?;
        let number = &self.sight.out_settle_no;
        let revision = if seen.is_stopped {
            seen.revision
        } else {
            let stopped = stop(caller, number, seen.revision, &self.why).await?;
            stopped.settle.unwrap_or_default().revision
        };
        let request = v1::EndSettleRequest {
            app_id: caller.app_id.clone(),
            trade_system: caller.trade_system.into(),
            out_settle_no: number.clone(),
            revision,
            // The person typed it.
            confirm_out_settle_no: number.clone(),
            outcome: self.outcome.of_the_contract().into(),
            settle_id: self.settle_id.clone(),
            why: self.why.clone(),
            although_unanswered: self.although_unanswered,
        };
        let ended = self.end(caller, request).await?;
        caller.tell("EndSettleResponse", &ended, |ended| {
            ended.settle.as_ref().map(table::settle).unwrap_or_default()
        });
        Ok(())
    }

    /// Comes back where the gateway says that it is too early.
    async fn end(
        &self,
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
            let (seconds, revision) = (wait.as_secs() + 1, request.revision);
            if self.no_wait {
                return Err(Failed::Here(format!(
                    "sending is stopped and the settle is not ended: come back in {seconds} s, ask \
                     Douyin after that, and decide about revision {revision}"
                )));
            }
            if caller.format == Format::Table {
                print(&format!("Waits {seconds} s for what may be on its way to Douyin.\n"));
            }
            tokio::time::sleep(wait).await;
        }
    }
}

fn too_early(status: &Status) -> Option<Duration> {
    let info = status.get_details_error_info()?;
    let retry = status.get_details_retry_info()?;
    (info.reason == "END_TOO_EARLY").then_some(retry.retry_delay?)
}
