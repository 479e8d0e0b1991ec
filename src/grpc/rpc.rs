//! The RPCs of the contract by name.

use tonic::Code;

use crate::callers::Right;
use crate::proto::v1::{operator_service_server, settlement_service_server};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rpc {
    CreateSettle,
    WatchSettle,
    WaitSettle,
    GetSettle,
    QuerySettles,
    ListSettles,
    GetUnsettledAmount,
    ShowSettle,
    ListStuckSettles,
    ResolveContradiction,
    StopSending,
    EndSettle,
}

impl Rpc {
    /// In the order of the contract: SettlementService, then OperatorService.
    pub const ALL: &'static [Rpc] = &[
        Rpc::CreateSettle,
        Rpc::WatchSettle,
        Rpc::WaitSettle,
        Rpc::GetSettle,
        Rpc::QuerySettles,
        Rpc::ListSettles,
        Rpc::GetUnsettledAmount,
        Rpc::ShowSettle,
        Rpc::ListStuckSettles,
        Rpc::ResolveContradiction,
        Rpc::StopSending,
        Rpc::EndSettle,
    ];
    /// The RPCs that can ask Douyin before they answer, so that an error from Douyin can be their
    /// answer.
    pub const ASKING: &'static [Rpc] = &[
        Rpc::CreateSettle,
        Rpc::WatchSettle,
        Rpc::WaitSettle,
        Rpc::GetSettle,
        Rpc::QuerySettles,
        Rpc::GetUnsettledAmount,
        Rpc::EndSettle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Rpc::CreateSettle => "CreateSettle",
            Rpc::WatchSettle => "WatchSettle",
            Rpc::WaitSettle => "WaitSettle",
            Rpc::GetSettle => "GetSettle",
            Rpc::QuerySettles => "QuerySettles",
            Rpc::ListSettles => "ListSettles",
            Rpc::GetUnsettledAmount => "GetUnsettledAmount",
            Rpc::ShowSettle => "ShowSettle",
            Rpc::ListStuckSettles => "ListStuckSettles",
            Rpc::ResolveContradiction => "ResolveContradiction",
            Rpc::StopSending => "StopSending",
            Rpc::EndSettle => "EndSettle",
        }
    }

    /// The full name of its service.
    pub fn service(self) -> &'static str {
        match self {
            Rpc::CreateSettle
            | Rpc::WatchSettle
            | Rpc::WaitSettle
            | Rpc::GetSettle
            | Rpc::QuerySettles
            | Rpc::ListSettles
            | Rpc::GetUnsettledAmount => settlement_service_server::SERVICE_NAME,
            Rpc::ShowSettle
            | Rpc::ListStuckSettles
            | Rpc::ResolveContradiction
            | Rpc::StopSending
            | Rpc::EndSettle => operator_service_server::SERVICE_NAME,
        }
    }

    /// The right that a caller needs for it.
    pub fn right(self) -> Right {
        match self {
            Rpc::CreateSettle => Right::Create,
            Rpc::WatchSettle
            | Rpc::WaitSettle
            | Rpc::GetSettle
            | Rpc::QuerySettles
            | Rpc::ListSettles
            | Rpc::GetUnsettledAmount => Right::Read,
            Rpc::ShowSettle
            | Rpc::ListStuckSettles
            | Rpc::ResolveContradiction
            | Rpc::StopSending
            | Rpc::EndSettle => Right::Operate,
        }
    }

    /// Its full name, as OpenTelemetry spells it.
    pub fn method(self) -> String {
        format!("{}/{}", self.service(), self.name())
    }

    /// The RPC of a request's path; `None`: the contract has no such RPC.
    pub fn of_path(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let mut all = Self::ALL.iter().copied();
        all.find(|rpc| service == rpc.service() && rpc.name() == method)
    }

    /// The fields of its request that go to Douyin, as paths: Douyin can find them wrong.
    pub fn sent_fields(self) -> &'static [&'static str] {
        match self {
            Rpc::CreateSettle => &[
                "app_id",
                "out_order_no",
                "out_settle_no",
                "settle_desc",
                "settle_params",
                "settle_params.merchant_uid",
                "settle_params.amount_fen",
                "item_order_id",
                "ext",
                "notify_url",
            ],
            Rpc::WatchSettle | Rpc::WaitSettle | Rpc::GetSettle => {
                &["app_id", "out_settle_no", "settle_id"]
            }
            Rpc::QuerySettles => {
                &["app_id", "settle_id", "order_id", "out_settle_no", "out_order_no"]
            }
            Rpc::GetUnsettledAmount => &["app_id", "out_order_no"],
            Rpc::EndSettle => &["app_id", "out_settle_no"],
            Rpc::ListSettles
            | Rpc::ShowSettle
            | Rpc::ListStuckSettles
            | Rpc::ResolveContradiction
            | Rpc::StopSending => &[],
        }
    }
}

/// A gRPC code as its specification spells it.
pub fn spelled(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rpc_is_known_by_the_path_that_clients_call() {
        for (service, rpc) in [
            ("SettlementService", Rpc::CreateSettle),
            ("SettlementService", Rpc::ListSettles),
            ("OperatorService", Rpc::ShowSettle),
            ("OperatorService", Rpc::ResolveContradiction),
        ] {
            let path = format!("/douyin.settlement.v1.{service}/{}", rpc.name());
            assert_eq!(Rpc::of_path(&path), Some(rpc));
        }
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::of_path(&format!("/{}/{}", rpc.service(), rpc.name())), Some(*rpc));
        }
        let mixed = "/douyin.settlement.v1.SettlementService/ShowSettle";
        for other in ["", "/", "CreateSettle", "/x/CreateSettle", mixed] {
            assert_eq!(Rpc::of_path(other), None, "{other}");
        }
    }
}
