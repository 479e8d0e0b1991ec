//! `settle watch`: a settle until its end.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

use super::super::print;
use super::call::{Caller, Failed};
use super::name::Which;
use super::{Format, json, table};
use crate::proto::v1;
use crate::proto::v1::watch_settle_request::Key;
use crate::proto::v1::watch_settle_response::Event;

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    which: Which,
    /// Prints only what is newer than this revision, and the end.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    after_revision: i64,
}

/// A stream brings a message at least this often.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// One that brings nothing for this long is dead.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Until the stream is opened again, where the gateway does not say when.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How a stream ended.
enum Ended {
    WithTheSettle,
    /// It is opened again after this.
    Early(Duration),
}

impl Watch {
    /// Opens the stream again wherever it ends early, from the last revision on.
    pub(super) async fn run(self, caller: &Caller) -> Result<(), Failed> {
        let mut told = self.after_revision;
        let mut stream = self.open(caller, told).await?;
        loop {
            match follow(&mut stream, &mut told, caller.format).await? {
                Ended::WithTheSettle => return Ok(()),
                Ended::Early(wait) => tokio::time::sleep(wait).await,
            }
            stream = loop {
                match self.open(caller, told).await {
                    Ok(stream) => break stream,
                    Err(status) => tokio::time::sleep(again_after(status)?).await,
                }
            };
        }
    }

    async fn open(
        &self,
        caller: &Caller,
        after_revision: i64,
    ) -> Result<Streaming<v1::WatchSettleResponse>, Status> {
        let heartbeat_interval = prost_types::Duration::try_from(HEARTBEAT).ok();
        let request = v1::WatchSettleRequest {
            app_id: caller.app_id.clone(),
            trade_system: caller.trade_system.into(),
            key: self.which.key(Key::OutSettleNo, Key::SettleId),
            after_revision,
            heartbeat_interval,
        };
        // A stream has no deadline.
        let opened = caller.settles().watch_settle(Request::new(request)).await;
        opened.map(tonic::Response::into_inner)
    }
}

/// Prints what the stream brings, until it ends.
async fn follow(
    stream: &mut Streaming<v1::WatchSettleResponse>,
    told: &mut i64,
    format: Format,
) -> Result<Ended, Failed> {
    loop {
        let Ok(message) = timeout(SILENT_MAX, stream.message()).await else {
            return Ok(Ended::Early(AGAIN_AFTER));
        };
        let event = match message {
            Ok(Some(message)) => message.event,
            Ok(None) => return Ok(Ended::WithTheSettle),
            Err(status) => return again_after(status).map(Ended::Early),
        };
        match event {
            Some(Event::Settle(settle)) => {
                *told = settle.revision;
                print(&match format {
                    Format::Table => table::change(&settle),
                    Format::Json => json::line("Settle", &settle),
                });
            }
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
}

/// When a stream that ended so is opened again, if that helps.
fn again_after(status: Status) -> Result<Duration, Failed> {
    let told = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let is_temporary = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    // tonic says in several ways that a connection broke off.
    let broke_off = matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled)
        && status.details().is_empty();
    match is_temporary || broke_off {
        true => Ok(told.unwrap_or(AGAIN_AFTER)),
        false => Err(status.into()),
    }
}
