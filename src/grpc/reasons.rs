//! The gateway's own reasons: the second error table, beside Douyin's numbers.

use std::time::Duration;

use tonic::Code;

use crate::douyin::codes::Retry;

/// One reason of the gateway's own.
#[derive(Debug)]
pub struct Row {
    /// UPPER_SNAKE and stable.
    pub reason: &'static str,
    pub code: Code,
    pub retry: Retry,
    /// What happened: one sentence.
    pub meaning: &'static str,
    pub meaning_zh: &'static str,
    /// What to do: one sentence.
    pub advice: &'static str,
}

const SOON: Retry = Retry::Now(Duration::from_secs(1));
const LATER: Retry = Retry::Now(Duration::from_secs(5));

/// Sorted by reason.
pub static TABLE: &[Row] = &[
    Row {
        reason: "ACCEPTED_WITHOUT_ID",
        code: Code::Unavailable,
        retry: LATER,
        meaning: "Douyin accepted the settle but named no settle_id.",
        meaning_zh: "抖音已受理分账，但未返回 settle_id。",
        advice: "Repeat or watch the same out_settle_no.",
    },
    Row {
        reason: "APP_NOT_CONFIGURED",
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        meaning: "The gateway does not serve this app.",
        meaning_zh: "网关未配置该小程序。",
        advice: "Check app_id, or have the app added to the gateway's configuration.",
    },
    Row {
        reason: "DEADLINE_REACHED",
        code: Code::DeadlineExceeded,
        retry: SOON,
        meaning: "The caller's deadline passed before an answer was known.",
        meaning_zh: "在调用方的截止时间之前未得到结果。",
        advice: "Repeat or watch the same out_settle_no; the gateway goes on with it.",
    },
    Row {
        reason: "INTERNAL_ERROR",
        code: Code::Internal,
        retry: Retry::Never,
        meaning: "The gateway met a defect of its own.",
        meaning_zh: "网关内部错误。",
        advice: "Report it to the gateway's operator with the time and the out_settle_no.",
    },
    Row {
        reason: "INVALID_REQUEST",
        code: Code::InvalidArgument,
        retry: Retry::Never,
        meaning: "The request breaks the rules of its fields.",
        meaning_zh: "请求参数不符合要求。",
        advice: "Correct the fields named in BadRequest and use the same out_settle_no.",
    },
    Row {
        reason: "OUT_SETTLE_NO_CONFLICT",
        code: Code::AlreadyExists,
        retry: Retry::Never,
        meaning: "The number is recorded here with other content.",
        meaning_zh: "该 out_settle_no 已用于内容不同的分账。",
        advice: "Read the recorded settle with GetSettle; another intent needs its own number.",
    },
    Row {
        reason: "OVERLOADED",
        code: Code::ResourceExhausted,
        retry: SOON,
        meaning: "The gateway has too many creates in flight.",
        meaning_zh: "网关正在处理的请求过多。",
        advice: "Repeat the same request after the delay in RetryInfo.",
    },
    Row {
        reason: "REVISION_FROM_FUTURE",
        code: Code::OutOfRange,
        retry: Retry::Never,
        meaning: "after_revision is greater than the newest revision recorded here.",
        meaning_zh: "after_revision 大于网关当前的最新版本。",
        advice: "Open a new stream with after_revision 0.",
    },
    Row {
        reason: "SEND_TOO_LATE",
        code: Code::Unavailable,
        retry: SOON,
        meaning: "The permission to send ran out before the request could be sent.",
        meaning_zh: "发送许可在请求发出前已过期。",
        advice: "Repeat or watch the same out_settle_no; the gateway sends it again.",
    },
    Row {
        reason: "SERVER_DRAINING",
        code: Code::Unavailable,
        retry: SOON,
        meaning: "This replica of the gateway is stopping.",
        meaning_zh: "该网关副本正在停止。",
        advice: "Come back after the delay in RetryInfo, a stream with its last revision.",
    },
    Row {
        reason: "SETTLE_NOT_FOUND",
        code: Code::NotFound,
        retry: Retry::Never,
        meaning: "No such settle is known at present.",
        meaning_zh: "当前没有找到该分账单。",
        advice: "It may still be on its way: this permits no other number.",
    },
    Row {
        reason: "SLOW_CONSUMER",
        code: Code::ResourceExhausted,
        retry: SOON,
        meaning: "A message was ready and was not taken in time.",
        meaning_zh: "消息就绪后长时间未被读取。",
        advice: "Come back with the last revision received and read promptly.",
    },
    Row {
        reason: "STORE_UNAVAILABLE",
        code: Code::Unavailable,
        retry: SOON,
        meaning: "The gateway cannot read or write its records now.",
        meaning_zh: "网关暂时无法读写存储。",
        advice: "Repeat the same request after the delay in RetryInfo.",
    },
    Row {
        reason: "STREAM_ROTATED",
        code: Code::Unavailable,
        retry: SOON,
        meaning: "The stream reached its greatest age.",
        meaning_zh: "该流已达到最长存活时间。",
        advice: "Open a new stream with the last revision received.",
    },
    Row {
        reason: "SUBMISSION_EXPIRED",
        code: Code::FailedPrecondition,
        retry: Retry::Never,
        meaning: "The submission window ended and Douyin never had the settle.",
        meaning_zh: "提交时限已过，抖音未受理该分账。",
        advice: "Pay the intent under another out_settle_no if it is still wanted.",
    },
    Row {
        reason: "TIME_LIMIT_REACHED",
        code: Code::Unavailable,
        retry: SOON,
        meaning: "The gateway's own time limit passed before an answer was known.",
        meaning_zh: "在网关的时间限制内未得到结果。",
        advice: "Repeat or watch the same out_settle_no; the gateway goes on with it.",
    },
    Row {
        reason: "UPSTREAM_CREDENTIALS_REJECTED",
        code: Code::FailedPrecondition,
        retry: Retry::AfterChange,
        meaning: "Douyin rejects the gateway's credentials for this app.",
        meaning_zh: "抖音拒绝了网关为该小程序配置的凭证。",
        advice: "Have the gateway's operator check the app's client secret; keep the same number.",
    },
    Row {
        reason: "UPSTREAM_UNAVAILABLE",
        code: Code::Unavailable,
        retry: LATER,
        meaning: "Douyin did not answer, or not in a way that can be understood.",
        meaning_zh: "抖音未响应或响应无法识别。",
        advice: "Repeat or watch the same out_settle_no; the gateway goes on with it.",
    },
    Row {
        reason: "WATCH_LIMIT_REACHED",
        code: Code::ResourceExhausted,
        retry: LATER,
        meaning: "The gateway has too many watchers.",
        meaning_zh: "网关的监听数已达上限。",
        advice: "Come back after the delay in RetryInfo, or follow fewer settles at once.",
    },
];

/// The row of a reason; `None` if it is not one of the gateway's own.
pub fn row(reason: &str) -> Option<&'static Row> {
    let found = TABLE.binary_search_by_key(&reason, |row| row.reason).ok()?;
    TABLE.get(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_unique_and_upper_snake() {
        assert!(TABLE.windows(2).all(|pair| pair[0].reason < pair[1].reason));
        for row in TABLE {
            let upper_snake = |c: char| c.is_ascii_uppercase() || c == '_';
            assert!(row.reason.chars().all(upper_snake), "{}", row.reason);
            assert!(row.meaning.ends_with('.') && row.advice.ends_with('.'), "{}", row.reason);
        }
    }
}
