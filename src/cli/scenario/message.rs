//! Which settle a request is about, read from its bytes.
//!
//! What it must not know: what is done with the request.

use std::io::Read as _;

use flate2::read::GzDecoder;
use prost::Message;

use crate::grpc::enums;
use crate::grpc::rpc::Rpc;
use crate::grpc::server::arriving::REQUEST_BYTES_MAX;
use crate::grpc::status::Names;
use crate::proto::v1::wait_settle_request::Key as WaitKey;
use crate::proto::v1::watch_settle_request::Key as WatchKey;
use crate::proto::v1::{self, CreateSettleRequest, WaitSettleRequest, WatchSettleRequest};
use crate::settle::{AppId, Key, OutSettleNo};

/// What a call names.
#[derive(Debug)]
pub(super) struct About {
    /// The caller's number; Douyin's if the caller follows a settle by that.
    pub(super) number: String,
    pub(super) names: Names,
}

/// The calls with which a scenario does something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Create,
    Watch,
    Wait,
}

impl Call {
    pub(super) fn of(path: &str) -> Option<Self> {
        let is_path = |call: &Call| {
            let rpc = call.rpc();
            path == format!("/{}/{}", rpc.service(), rpc.name())
        };
        [Call::Create, Call::Watch, Call::Wait].into_iter().find(is_path)
    }

    pub(super) fn rpc(self) -> Rpc {
        match self {
            Call::Create => Rpc::CreateSettle,
            Call::Watch => Rpc::WatchSettle,
            Call::Wait => Rpc::WaitSettle,
        }
    }

    /// `None`: the gateway will say what is wrong with the request.
    pub(super) fn about(self, body: &[u8], default_app: &str) -> Option<About> {
        let message = message(body)?;
        let message = message.as_slice();
        let (app_id, system, number) = match self {
            Call::Create => {
                let request = CreateSettleRequest::decode(message).ok()?;
                (request.app_id, request.trade_system, request.out_settle_no)
            }
            Call::Watch => {
                let request = WatchSettleRequest::decode(message).ok()?;
                let (WatchKey::OutSettleNo(number) | WatchKey::SettleId(number)) = request.key?;
                (request.app_id, request.trade_system, number)
            }
            Call::Wait => {
                let request = WaitSettleRequest::decode(message).ok()?;
                let (WaitKey::OutSettleNo(number) | WaitKey::SettleId(number)) = request.key?;
                (request.app_id, request.trade_system, number)
            }
        };
        let app_id = if app_id.is_empty() { default_app } else { &app_id };
        let app_id = AppId::parse(app_id).ok()?;
        let out_settle_no = OutSettleNo::parse(number.as_str()).ok()?;
        let trade_system = enums::asked(v1::TradeSystem::try_from(system).ok()?);
        let key = Key { app_id, trade_system, out_settle_no };
        Some(About { number, names: Names::of_key(&key) })
    }
}

/// The message in the only frame of a request: a flag, four bytes of length, the message.
fn message(body: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = body.split_at_checked(5)?;
    match head.first()? {
        0 => Some(rest.to_vec()),
        _ => {
            let mut message = Vec::new();
            let bytes_max = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
            GzDecoder::new(rest).take(bytes_max).read_to_end(&mut message).ok()?;
            Some(message)
        }
    }
}
