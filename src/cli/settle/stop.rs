//! `settle stop`: nothing of a settle in doubt is sent any more.

use std::time::Duration;

use clap::Args;

use super::call::{Caller, Failed, timed};
use super::table;
use crate::proto::v1;
use crate::proto::v1::show_settle_request::Key;

#[derive(Debug, Args)]
pub(super) struct Stop {
    /// The number of the settle.
    #[arg(value_name = "NUMBER")]
    out_settle_no: String,
    /// The revision that was shown. Default: the newest.
    #[arg(long, value_name = "REVISION")]
    revision: Option<i64>,
    /// Why. It is kept with the settle, and callers see it.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

impl Stop {
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let revision = match self.revision {
            Some(revision) => revision,
            None => {
                let shown = show(caller, &self.out_settle_no).await?;
                shown.settle.unwrap_or_default().revision
            }
        };
        let stopped = stop(caller, &self.out_settle_no, revision, &self.why).await?;
        caller.tell("StopSendingResponse", &stopped, table::stopped);
        Ok(())
    }
}

/// The settle as it is now.
pub(super) async fn show(
    caller: &Caller,
    out_settle_no: &str,
) -> Result<v1::ShowSettleResponse, Failed> {
    let request = v1::ShowSettleRequest {
        app_id: caller.app_id.clone(),
        key: Some(Key::OutSettleNo(out_settle_no.to_owned())),
        ..Default::default()
    };
    Ok(caller.operator().show_settle(timed(request)).await?.into_inner())
}

pub(super) async fn stop(
    caller: &Caller,
    out_settle_no: &str,
    revision: i64,
    why: &str,
) -> Result<v1::StopSendingResponse, Failed> {
    let request = v1::StopSendingRequest {
        app_id: caller.app_id.clone(),
        out_settle_no: out_settle_no.to_owned(),
        revision,
        why: why.to_owned(),
        ..Default::default()
    };
    Ok(caller.operator().stop_sending(timed(request)).await?.into_inner())
}

/// How long until the settle can be ended.
pub(super) fn wait_of(stopped: &v1::StopSendingResponse) -> Duration {
    stopped.wait.and_then(|wait| wait.try_into().ok()).unwrap_or_default()
}
