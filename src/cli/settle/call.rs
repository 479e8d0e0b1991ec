//! A call to the gateway: its deadline, how its answer is printed, and what its error says.

use std::fmt::Write as _;
use std::time::Duration;

use prost::Message;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::super::connect::Line;
use super::super::print;
use super::{Format, json};
use crate::grpc::enums;
use crate::proto::v1;
use crate::proto::v1::operator_service_client::OperatorServiceClient;
use crate::proto::v1::settlement_service_client::SettlementServiceClient;
use crate::settle::TradeSystem;

/// Longer than the gateway's own limit of a call, so that the gateway's answer is seen.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The largest page has 3 MiB.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What every command of `settle` uses.
pub(super) struct Caller {
    line: Line,
    pub(super) app_id: String,
    pub(super) trade_system: v1::TradeSystem,
    pub(super) format: Format,
}

/// Why a command failed.
pub(super) enum Failed {
    /// The gateway, or something on the way to it, answered with an error.
    Status(Box<Status>),
    /// As the status, with what it means for the money.
    Create(Box<Status>),
    /// The command did not come to ask, or stopped by itself.
    Here(String),
}

impl Caller {
    pub(super) fn new(
        line: Line,
        app_id: String,
        trade_system: TradeSystem,
        format: Format,
    ) -> Self {
        let trade_system = enums::trade_system(trade_system);
        Self { line, app_id, trade_system, format }
    }

    pub(super) fn settles(&self) -> SettlementServiceClient<Line> {
        let client = SettlementServiceClient::new(self.line.clone());
        client.max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn operator(&self) -> OperatorServiceClient<Line> {
        let client = OperatorServiceClient::new(self.line.clone());
        client.max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Prints an answer, whose message has this name in the contract.
    pub(super) fn tell<M: Message>(&self, name: &str, answer: &M, table: impl Fn(&M) -> String) {
        match self.format {
            Format::Table => print(&table(answer)),
            Format::Json => print(&json::pretty(name, answer)),
        }
    }
}

impl Failed {
    /// What it says, as it is printed.
    pub(super) fn text(&self, format: Format) -> String {
        match (self, format) {
            (Failed::Status(status) | Failed::Create(status), Format::Json) => json::status(status),
            (Failed::Here(why), Format::Json) => json::message(why),
            (Failed::Status(status), Format::Table) => in_words(status),
            (Failed::Create(status), Format::Table) => {
                format!("{}\n  {}", in_words(status), may_be_paid(status))
            }
            (Failed::Here(why), Format::Table) => why.clone(),
        }
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// A request with a deadline.
pub(super) fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIME_MAX);
    request
}

fn in_words(status: &Status) -> String {
    let info = status.get_details_error_info();
    let reason = info.as_ref().map_or("", |info| &info.reason);
    let mut text = format!("{} {reason}", status.code()).trim_end().to_owned();
    let message = match status.message() {
        "" => "the connection ended without an answer",
        message => message,
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "\n  {message}");
    let fields = status.get_details_bad_request().map(|bad| bad.field_violations);
    for violation in fields.unwrap_or_default() {
        let _ = write!(text, "\n  {} {}", violation.field, violation.description);
    }
    let log_id = info.as_ref().and_then(|info| info.metadata.get("log_id"));
    if let Some(log_id) = log_id {
        let _ = write!(text, "\n  Douyin's log id: {log_id}");
    }
    text
}

/// What the outcome of a failed create permits. One without an outcome is unknown.
fn may_be_paid(status: &Status) -> &'static str {
    let info = status.get_details_error_info();
    let outcome = info.as_ref().and_then(|info| info.metadata.get("outcome"));
    match outcome.map(String::as_str) {
        Some("refused") => {
            "Outcome refused: Douyin does not have it. Another number is permitted for it."
        }
        Some("not_sent") => {
            "Outcome not_sent: this call sent nothing. Repeat it with the same number."
        }
        _ => {
            "Outcome unknown: Douyin may have it. Repeat it with the same number, or watch it; \
             take no other number."
        }
    }
}
