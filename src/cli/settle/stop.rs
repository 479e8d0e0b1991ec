//! `settle stop`: nothing of a settle in doubt is sent any more.

use clap::Args;

use super::call::{Caller, Failed, timed};
use super::sight::Sight;
use super::table;
use crate::proto::v1;

#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    sight: Sight,
    /// Why. It is kept with the settle, and callers see it.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

const DOES: &str = "Sending stops for good. What was sent before may still arrive at Douyin.";

impl Stop {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let seen = self.sight.agree(caller, DOES).await?;
        let number = &self.sight.out_settle_no;
        let stopped = stop(caller, number, seen.revision, &self.why).await?;
        caller.tell("StopSendingResponse", &stopped, table::stopped);
        Ok(())
    }
}

pub(super) async fn stop(
    caller: &Caller,
    out_settle_no: &str,
    revision: i64,
    why: &str,
) -> Result<v1::StopSendingResponse, Failed> {
    let request = v1::StopSendingRequest {
        app_id: caller.app_id.clone(),
        trade_system: caller.trade_system.into(),
        out_settle_no: out_settle_no.to_owned(),
        revision,
        why: why.to_owned(),
    };
    Ok(caller.operator().stop_sending(timed(request)).await?.into_inner())
}
