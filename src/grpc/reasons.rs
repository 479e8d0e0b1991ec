//! The gateway's own reasons: the second error table, beside Douyin's numbers.
//!
//! A row states what can happen, so a test (`tests/it/errors_own.rs`) provokes each of its cells:
//! the reason, from each of its RPCs, with each of its outcomes.

use std::time::Duration;

use tonic::Code;

use super::rpc::Rpc;
use crate::douyin::codes::{About, Retry};
use crate::settle::Reason;

/// The promise that an error of CreateSettle makes; see the proto.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    NotSent,
    Refused,
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotSent => "not_sent",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        }
    }
}

/// One reason of the gateway's own.
#[derive(Debug)]
pub struct Row {
    pub reason: Reason,
    pub code: Code,
    pub retry: Retry,
    pub about: About,
    /// The RPCs that can answer it. Empty, if it answers calls that are not in the contract.
    pub rpcs: &'static [Rpc],
    /// The outcomes that it can have from CreateSettle.
    pub outcomes: &'static [Outcome],
    /// What happened: one sentence.
    pub meaning: &'static str,
    pub meaning_zh: &'static str,
    /// What to do: one sentence.
    pub advice: &'static str,
}

const SOON: Retry = Retry::Now(Duration::from_secs(1));
const LATER: Retry = Retry::Now(Duration::from_secs(5));

const CREATES: &[Rpc] = &[Rpc::CreateSettle];
const STREAMS: &[Rpc] = &[Rpc::WatchSettle];
const WATCHES: &[Rpc] = &[Rpc::WatchSettle, Rpc::WaitSettle];
const RESOLVES: &[Rpc] = &[Rpc::ResolveContradiction];
const DECIDES: &[Rpc] = &[Rpc::ResolveContradiction, Rpc::StopSending, Rpc::EndSettle];
const ENDS: &[Rpc] = &[Rpc::EndSettle];
const STOPS_AND_ENDS: &[Rpc] = &[Rpc::StopSending, Rpc::EndSettle];
/// ListStuckSettles reads what is in memory.
const USING_THE_STORE: &[Rpc] = &[
    Rpc::CreateSettle,
    Rpc::WatchSettle,
    Rpc::WaitSettle,
    Rpc::GetSettle,
    Rpc::QuerySettles,
    Rpc::ListSettles,
    Rpc::ShowSettle,
    Rpc::ResolveContradiction,
    Rpc::StopSending,
    Rpc::EndSettle,
];

const NOT_SENT: &[Outcome] = &[Outcome::NotSent];
const REFUSED: &[Outcome] = &[Outcome::Refused];
const UNKNOWN: &[Outcome] = &[Outcome::Unknown];
const NOT_SENT_OR_UNKNOWN: &[Outcome] = &[Outcome::NotSent, Outcome::Unknown];

/// Sorted by reason.
pub static TABLE: &[Row] = &[
    Row {
        reason: Reason::AcceptedWithoutId,
        code: Code::Unavailable,
        retry: LATER,
        about: About::Douyin,
        rpcs: CREATES,
        outcomes: UNKNOWN,
        meaning: "Douyin accepted the settle but named no settle_id.",
        meaning_zh: "抖音已受理分账，但未返回 settle_id。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::AppNotConfigured,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::App,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The gateway does not serve this app.",
        meaning_zh: "网关未配置该小程序。",
        advice: "Check app_id, or have the app added to the gateway's configuration.",
    },
    Row {
        reason: Reason::BudgetExhausted,
        code: Code::ResourceExhausted,
        retry: SOON,
        about: About::App,
        rpcs: Rpc::ASKING,
        outcomes: NOT_SENT,
        meaning: "The app's own budget of requests to Douyin is used up.",
        meaning_zh: "该小程序在网关的抖音请求预算已用完。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::CompressionNotSupported,
        code: Code::Unimplemented,
        retry: Retry::Never,
        about: About::Request,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The request is compressed in a way that the gateway does not know.",
        meaning_zh: "网关不支持该请求的压缩方式。",
        advice: "Send it uncompressed, or in an encoding that grpc-accept-encoding names.",
    },
    // Shown in the history of a settle only, never as the answer of an RPC.
    Row {
        reason: Reason::Contradiction,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: &[],
        outcomes: &[],
        meaning: "A report of Douyin's contradicts what is recorded.",
        meaning_zh: "抖音的结果与已记录的结果矛盾。",
        advice: "Have the gateway's operator find out which of the two is true.",
    },
    Row {
        reason: Reason::ContradictionNotOpen,
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: RESOLVES,
        outcomes: &[],
        meaning: "The settle has no open contradiction.",
        meaning_zh: "该分账没有待处理的矛盾结果。",
        advice: "Look at the settle with ShowSettle: an operator may have resolved it.",
    },
    Row {
        reason: Reason::DeadlineReached,
        code: Code::DeadlineExceeded,
        retry: SOON,
        about: About::Gateway,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT_OR_UNKNOWN,
        meaning: "The caller's deadline came before an answer was known.",
        meaning_zh: "在调用方的截止时间之前未得到结果。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::DecisionNotAllowed,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: RESOLVES,
        outcomes: &[],
        meaning: "The settle is not final, or the decision would leave a success for another \
                  settle.",
        meaning_zh: "该分账尚未结束，或该决定会以另一笔分账取代已成功的分账。",
        advice: "Wait for Douyin's next word, or keep the recorded one and mend the money at \
                 Douyin.",
    },
    Row {
        reason: Reason::DouyinSaysOtherwise,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: ENDS,
        outcomes: &[],
        meaning: "Douyin's last answer ended or changed the settle, or speaks against the outcome.",
        meaning_zh: "抖音的最新查询结果已改变该分账，或与所填结果不符。",
        advice: "Look at the settle with ShowSettle: what Douyin showed stands.",
    },
    Row {
        reason: Reason::EndedByOperator,
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: CREATES,
        outcomes: REFUSED,
        meaning: "An operator learned from Douyin that it never took the settle, and ended it.",
        meaning_zh: "运维人员已向抖音确认其未受理该分账，并已结束该分账。",
        advice: "Pay the intent under another out_settle_no if it is still wanted.",
    },
    Row {
        reason: Reason::EndTooEarly,
        code: Code::Unavailable,
        retry: LATER,
        about: About::Settle,
        rpcs: ENDS,
        outcomes: &[],
        meaning: "Something of ours may still be on its way to Douyin, or a worker is on the \
                  settle.",
        meaning_zh: "网关此前发出的请求可能仍在途中，或网关正在处理该分账。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::Forbidden,
        code: Code::PermissionDenied,
        retry: Retry::AfterChange,
        about: About::App,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The caller has no right to such calls, or none for this app.",
        meaning_zh: "调用方无权进行此类调用，或无权使用该小程序。",
        advice: "Check app_id, or have the gateway's operator give the right to the caller.",
    },
    Row {
        reason: Reason::InternalError,
        code: Code::Internal,
        retry: Retry::Never,
        about: About::Gateway,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT_OR_UNKNOWN,
        meaning: "The gateway met a defect of its own.",
        meaning_zh: "网关内部错误。",
        advice: "Report it to the gateway's operator, with the time of the call.",
    },
    Row {
        reason: Reason::InvalidRequest,
        code: Code::InvalidArgument,
        retry: Retry::Never,
        about: About::Request,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The request breaks the rules of its fields.",
        meaning_zh: "请求参数不符合要求。",
        advice: "Correct the fields that BadRequest names.",
    },
    Row {
        reason: Reason::NameNotFound,
        code: Code::NotFound,
        retry: Retry::Never,
        about: About::Gateway,
        rpcs: &[],
        outcomes: &[],
        meaning: "The gateway has no service, file or symbol of this name.",
        meaning_zh: "网关没有该名称的服务、文件或符号。",
        advice: "Ask reflection for what there is.",
    },
    Row {
        reason: Reason::NewerVersion,
        code: Code::Unavailable,
        retry: LATER,
        about: About::Gateway,
        rpcs: USING_THE_STORE,
        outcomes: NOT_SENT,
        meaning: "A newer version of the gateway wrote the record, and this one leaves it alone.",
        meaning_zh: "该记录由更新版本的网关写入，当前网关不予处理。",
        advice: "Repeat the same call after the delay in RetryInfo: a gateway of the newer version \
                 answers it.",
    },
    Row {
        reason: Reason::NotShownYet,
        code: Code::Unavailable,
        retry: LATER,
        about: About::Settle,
        rpcs: CREATES,
        outcomes: UNKNOWN,
        meaning: "Douyin accepted the call, and does not show yet whose settle the number has.",
        meaning_zh: "抖音已受理分账，但尚未确认该分账单属于本次请求。",
        advice: "Repeat the same call after the delay in RetryInfo, or watch the settle.",
    },
    Row {
        reason: Reason::OutSettleNoConflict,
        code: Code::AlreadyExists,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: CREATES,
        outcomes: &[Outcome::NotSent, Outcome::Refused],
        meaning: "The number is recorded here with other content, or in another trade system or \
                  app.",
        meaning_zh: "该 out_settle_no 已用于内容不同的分账，或已用于其他交易系统或小程序。",
        advice: "Read the recorded settle with GetSettle, in the app and system that the metadata \
                 names if any; another intent needs its own number.",
    },
    Row {
        reason: Reason::Overloaded,
        code: Code::ResourceExhausted,
        retry: SOON,
        about: About::Gateway,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The gateway has too many calls in flight, or answers that this caller leaves \
                  unread.",
        meaning_zh: "网关正在处理的请求过多，或该调用方未读取的响应过多。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::RequestMalformed,
        code: Code::InvalidArgument,
        retry: Retry::Never,
        about: About::Request,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The request is no message of this RPC.",
        meaning_zh: "请求无法按该接口的消息解析。",
        advice: "Send one message as the contract describes it.",
    },
    Row {
        reason: Reason::RequestTooLarge,
        code: Code::InvalidArgument,
        retry: Retry::Never,
        about: About::Request,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "The request has more than 64 KiB.",
        meaning_zh: "请求超过 64 KiB。",
        advice: "Send less: the largest settle that Douyin takes has under 8 KiB.",
    },
    Row {
        reason: Reason::RevisionChanged,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: DECIDES,
        outcomes: &[],
        meaning: "The settle has another revision than the one that the operator saw.",
        meaning_zh: "该分账的版本已变化，与运维人员所见不同。",
        advice: "Look at the settle again with ShowSettle, and decide about what it shows now.",
    },
    Row {
        reason: Reason::RevisionFromFuture,
        code: Code::OutOfRange,
        retry: Retry::Never,
        about: About::Request,
        rpcs: WATCHES,
        outcomes: &[],
        meaning: "after_revision is greater than the newest revision recorded here.",
        meaning_zh: "after_revision 大于网关当前的最新版本。",
        advice: "Come back with after_revision 0.",
    },
    Row {
        reason: Reason::RpcNotFound,
        code: Code::Unimplemented,
        retry: Retry::Never,
        about: About::Request,
        rpcs: &[],
        outcomes: &[],
        meaning: "The gateway has no such RPC.",
        meaning_zh: "网关没有该接口。",
        advice: "Check the names of service and method against the contract.",
    },
    Row {
        reason: Reason::SendingNotStopped,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: ENDS,
        outcomes: &[],
        meaning: "The gateway may still send the settle.",
        meaning_zh: "网关仍可能向抖音提交该分账。",
        advice: "Stop sending with StopSending, and ask Douyin again after that.",
    },
    Row {
        reason: Reason::ServerDraining,
        code: Code::Unavailable,
        retry: SOON,
        about: About::Gateway,
        rpcs: &[Rpc::CreateSettle, Rpc::WatchSettle, Rpc::WaitSettle],
        outcomes: NOT_SENT,
        meaning: "This replica of the gateway is stopping.",
        meaning_zh: "该网关副本正在停止。",
        advice: "Come back after the delay in RetryInfo, a watcher with its last revision.",
    },
    Row {
        reason: Reason::SettleFinal,
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: STOPS_AND_ENDS,
        outcomes: &[],
        meaning: "The settle has ended already.",
        meaning_zh: "该分账已经结束。",
        advice: "Look at the settle with ShowSettle.",
    },
    Row {
        reason: Reason::SettleNotFound,
        code: Code::NotFound,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: &[
            Rpc::WatchSettle,
            Rpc::WaitSettle,
            Rpc::GetSettle,
            Rpc::ShowSettle,
            Rpc::ResolveContradiction,
            Rpc::StopSending,
            Rpc::EndSettle,
        ],
        outcomes: &[],
        meaning: "No such settle is known at present.",
        meaning_zh: "当前没有找到该分账单。",
        advice: "Take no other number for that: it may still be on its way.",
    },
    Row {
        reason: Reason::SettleNotInDoubt,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: STOPS_AND_ENDS,
        outcomes: &[],
        meaning: "Douyin handles the settle, and its next word ends it.",
        meaning_zh: "抖音正在处理该分账，其后续结果会使之结束。",
        advice: "Wait for Douyin's word; GetSettle with refresh asks for it.",
    },
    Row {
        reason: Reason::SlowConsumer,
        code: Code::ResourceExhausted,
        retry: SOON,
        about: About::Gateway,
        rpcs: STREAMS,
        outcomes: &[],
        meaning: "A message was ready and was not taken in time.",
        meaning_zh: "消息就绪后长时间未被读取。",
        advice: "Come back with the last revision received, and read promptly.",
    },
    Row {
        reason: Reason::StopNotConfirmed,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Settle,
        rpcs: ENDS,
        outcomes: &[],
        meaning: "What Douyin said before may be out of date, and no answer of its checks it now.",
        meaning_zh: "此前从抖音得到的说法可能已经过时，而当前没有抖音的查询结果可以核实。",
        advice: "Call StopSending once more, and ask Douyin's support again after that.",
    },
    Row {
        reason: Reason::StoreUnavailable,
        code: Code::Unavailable,
        retry: SOON,
        about: About::Gateway,
        rpcs: USING_THE_STORE,
        outcomes: NOT_SENT_OR_UNKNOWN,
        meaning: "The gateway cannot read or write its records now.",
        meaning_zh: "网关暂时无法读写存储。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::StreamRotated,
        code: Code::Unavailable,
        retry: SOON,
        about: About::Gateway,
        rpcs: STREAMS,
        outcomes: &[],
        meaning: "The stream reached its greatest age.",
        meaning_zh: "该流已达到最长存活时间。",
        advice: "Open a new stream with the last revision received.",
    },
    Row {
        reason: Reason::SubmissionExpired,
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        about: About::Settle,
        rpcs: CREATES,
        outcomes: REFUSED,
        meaning: "The submission window ended and Douyin never had the settle.",
        meaning_zh: "提交时限已过，抖音未受理该分账。",
        advice: "Pay the intent under another out_settle_no if it is still wanted.",
    },
    Row {
        reason: Reason::SystemHasNoCreate,
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        about: About::App,
        rpcs: CREATES,
        outcomes: NOT_SENT,
        meaning: "Douyin settles by itself in this trade system and takes no creates there.",
        meaning_zh: "该交易系统由抖音自动分账，不支持发起分账。",
        advice: "Do not settle there; find its settles with QuerySettles.",
    },
    Row {
        reason: Reason::SystemHasNoUnsettledAmount,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::Request,
        rpcs: &[Rpc::GetUnsettledAmount],
        outcomes: &[],
        meaning: "Whether Douyin tells what is left of an order in this trade system is unproven.",
        meaning_zh: "尚未证实该交易系统支持查询可分账余额。",
        advice: "Ask in the trade system GUARANTEED, or have the gateway's operator set \
                 douyin.unsettled_amount_elsewhere.",
    },
    Row {
        reason: Reason::TimeLimitReached,
        code: Code::Unavailable,
        retry: SOON,
        about: About::Gateway,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT_OR_UNKNOWN,
        meaning: "The gateway's own time limit came before an answer was known.",
        meaning_zh: "在网关的时间限制内未得到结果。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::TradeSystemNotConfigured,
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        about: About::App,
        rpcs: Rpc::ASKING,
        outcomes: NOT_SENT,
        meaning: "The app does not settle in this trade system, as the gateway is configured.",
        meaning_zh: "网关未为该小程序配置该交易系统。",
        advice: "Take a trade system that configured_trade_systems names, or have this one added \
                 to the gateway's configuration.",
    },
    Row {
        reason: Reason::Unauthenticated,
        code: Code::Unauthenticated,
        retry: Retry::AfterChange,
        about: About::App,
        rpcs: Rpc::ALL,
        outcomes: NOT_SENT,
        meaning: "Nothing in the call identifies a caller that the gateway knows.",
        meaning_zh: "调用未携带网关认可的调用方身份。",
        advice: "Send the metadata authorization with Bearer and your token, or show your \
                 certificate.",
    },
    Row {
        reason: Reason::UpstreamUnavailable,
        code: Code::Unavailable,
        retry: LATER,
        about: About::Douyin,
        rpcs: Rpc::ASKING,
        outcomes: NOT_SENT_OR_UNKNOWN,
        meaning: "No answer that can be used came from Douyin.",
        meaning_zh: "未从抖音得到可用的响应。",
        advice: "Repeat the same call after the delay in RetryInfo.",
    },
    Row {
        reason: Reason::WatchLimitReached,
        code: Code::ResourceExhausted,
        retry: LATER,
        about: About::Gateway,
        rpcs: WATCHES,
        outcomes: &[],
        meaning: "The gateway has too many watchers.",
        meaning_zh: "网关的监听数已达上限。",
        advice: "Come back after the delay in RetryInfo, or follow fewer settles at once.",
    },
];

/// The row of a reason; `None` if it is not one of the gateway's own.
pub fn row(reason: Reason) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.reason == reason)
}

#[cfg(test)]
mod tests;
