//! Why something went wrong, by a stable name: callers see it and the store keeps it.
//!
//! What a reason means and what to do is in its row: in the error table (`douyin/codes.rs`) if
//! Douyin answered it, else in `grpc/reasons.rs`.

/// One list makes both directions, so that they agree.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $word:literal,)*) => {
        /// One name of the error tables.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            #[cfg(test)]
            pub const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// UPPER_SNAKE and stable.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$reason => $word),* }
            }

            /// `None`: this version has no such reason.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$reason),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    // Answers of Douyin: rows of the error table, `douyin/codes.rs`.
    AmountTooSmall = "AMOUNT_TOO_SMALL",
    AppIdInvalid = "APP_ID_INVALID",
    AutomaticSettlementConfigured = "AUTOMATIC_SETTLEMENT_CONFIGURED",
    /// Every number that the table does not list.
    DouyinError = "DOUYIN_ERROR",
    EntireSettleNotAllowed = "ENTIRE_SETTLE_NOT_ALLOWED",
    ExtTooLong = "EXT_TOO_LONG",
    ItemOrderMismatch = "ITEM_ORDER_MISMATCH",
    ItemOrderNotFound = "ITEM_ORDER_NOT_FOUND",
    MerchantUidEmpty = "MERCHANT_UID_EMPTY",
    NoMoneyToSettle = "NO_MONEY_TO_SETTLE",
    OrderNotFinished = "ORDER_NOT_FINISHED",
    OrderNotFound = "ORDER_NOT_FOUND",
    OrderNotPaid = "ORDER_NOT_PAID",
    OrderNotSettleable = "ORDER_NOT_SETTLEABLE",
    OrderOrSettleIdMissing = "ORDER_OR_SETTLE_ID_MISSING",
    OrderStateWrong = "ORDER_STATE_WRONG",
    OutOrderNoEmpty = "OUT_ORDER_NO_EMPTY",
    OutSettleNoEmpty = "OUT_SETTLE_NO_EMPTY",
    /// Also the rejection when the number is taken and nothing of ours is alive under it.
    OutSettleNoExists = "OUT_SETTLE_NO_EXISTS",
    ParamError = "PARAM_ERROR",
    PartialSettleNotEnabled = "PARTIAL_SETTLE_NOT_ENABLED",
    SettleDescEmpty = "SETTLE_DESC_EMPTY",
    SettleDescTooLong = "SETTLE_DESC_TOO_LONG",
    SettleParamsTooLong = "SETTLE_PARAMS_TOO_LONG",
    SystemBusy = "SYSTEM_BUSY",
    SystemError = "SYSTEM_ERROR",
    UnspecifiedFailure = "UNSPECIFIED_FAILURE",
    UpstreamAppDisabled = "UPSTREAM_APP_DISABLED",
    /// Douyin rejects the app's client secret, or a freshly fetched token.
    UpstreamCredentialsRejected = "UPSTREAM_CREDENTIALS_REJECTED",
    UpstreamIpNotAllowed = "UPSTREAM_IP_NOT_ALLOWED",
    UpstreamPermissionMissing = "UPSTREAM_PERMISSION_MISSING",
    UpstreamQuotaExhausted = "UPSTREAM_QUOTA_EXHAUSTED",
    UpstreamRateLimited = "UPSTREAM_RATE_LIMITED",
    UpstreamRiskControl = "UPSTREAM_RISK_CONTROL",
    UpstreamSignatureRejected = "UPSTREAM_SIGNATURE_REJECTED",

    // Callers see all of these as UPSTREAM_UNAVAILABLE: Douyin gave no usable answer.
    /// The permission to send ended before the first byte: nothing left this machine.
    SendTooLate = "SEND_TOO_LATE",
    /// The answer cannot be understood: HTML, empty, too large, wrong types.
    UpstreamBadAnswer = "UPSTREAM_BAD_ANSWER",
    /// The connection ended after the request may have been written.
    UpstreamConnectionLost = "UPSTREAM_CONNECTION_LOST",
    /// An HTTP error status without a readable number.
    UpstreamHttpError = "UPSTREAM_HTTP_ERROR",
    /// The HTTP request was written and not answered in time.
    UpstreamTimeout = "UPSTREAM_TIMEOUT",
    /// Nothing left this machine: no connection to Douyin could be made.
    UpstreamUnreachable = "UPSTREAM_UNREACHABLE",

    // The gateway's own: rows of `grpc/reasons.rs`.
    /// `err_no` 0 and no `settle_id`: Douyin took the settle and did not name it.
    AcceptedWithoutId = "ACCEPTED_WITHOUT_ID",
    AppNotConfigured = "APP_NOT_CONFIGURED",
    BudgetExhausted = "BUDGET_EXHAUSTED",
    CompressionNotSupported = "COMPRESSION_NOT_SUPPORTED",
    /// Only in the history: a report contradicts a final state.
    Contradiction = "CONTRADICTION",
    ContradictionNotOpen = "CONTRADICTION_NOT_OPEN",
    DeadlineReached = "DEADLINE_REACHED",
    DecisionNotAllowed = "DECISION_NOT_ALLOWED",
    DouyinSaysOtherwise = "DOUYIN_SAYS_OTHERWISE",
    /// Only as a rejection: an operator learned from Douyin that it never took the settle.
    EndedByOperator = "ENDED_BY_OPERATOR",
    EndTooEarly = "END_TOO_EARLY",
    Forbidden = "FORBIDDEN",
    InternalError = "INTERNAL_ERROR",
    InvalidRequest = "INVALID_REQUEST",
    NameNotFound = "NAME_NOT_FOUND",
    NewerVersion = "NEWER_VERSION",
    /// Douyin answers a repeat like the first create, so its acceptance does not say whose settle
    /// that is, and no query has shown it yet.
    NotShownYet = "NOT_SHOWN_YET",
    OutSettleNoConflict = "OUT_SETTLE_NO_CONFLICT",
    Overloaded = "OVERLOADED",
    RequestMalformed = "REQUEST_MALFORMED",
    RequestTooLarge = "REQUEST_TOO_LARGE",
    RevisionChanged = "REVISION_CHANGED",
    RevisionFromFuture = "REVISION_FROM_FUTURE",
    RpcNotFound = "RPC_NOT_FOUND",
    SendingNotStopped = "SENDING_NOT_STOPPED",
    ServerDraining = "SERVER_DRAINING",
    SettleFinal = "SETTLE_FINAL",
    SettleNotFound = "SETTLE_NOT_FOUND",
    SettleNotInDoubt = "SETTLE_NOT_IN_DOUBT",
    SlowConsumer = "SLOW_CONSUMER",
    StopNotConfirmed = "STOP_NOT_CONFIRMED",
    StoreUnavailable = "STORE_UNAVAILABLE",
    StreamRotated = "STREAM_ROTATED",
    /// Only as a rejection: the window ended, and Douyin had never accepted the settle.
    SubmissionExpired = "SUBMISSION_EXPIRED",
    SystemHasNoCreate = "SYSTEM_HAS_NO_CREATE",
    SystemHasNoUnsettledAmount = "SYSTEM_HAS_NO_UNSETTLED_AMOUNT",
    TimeLimitReached = "TIME_LIMIT_REACHED",
    TradeSystemNotConfigured = "TRADE_SYSTEM_NOT_CONFIGURED",
    Unauthenticated = "UNAUTHENTICATED",
    UpstreamUnavailable = "UPSTREAM_UNAVAILABLE",
    WatchLimitReached = "WATCH_LIMIT_REACHED",
}

/// A reason in a record. One that a newer version wrote stays as it was written. It is not
/// evidence, so a settle goes on with a reason that this version does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordedReason {
    Known(Reason),
    Newer(String),
}

impl RecordedReason {
    pub fn parse(word: &str) -> Self {
        Reason::parse(word).map_or_else(|| Self::Newer(word.to_owned()), Self::Known)
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(reason) => reason.as_str(),
            Self::Newer(word) => word,
        }
    }

    pub fn known(&self) -> Option<Reason> {
        match self {
            Self::Known(reason) => Some(*reason),
            Self::Newer(_) => None,
        }
    }
}

impl PartialEq<Reason> for RecordedReason {
    fn eq(&self, other: &Reason) -> bool {
        self.known() == Some(*other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SystemBusy` is SYSTEM_BUSY. It is short enough for `ErrorInfo`.
    #[test]
    fn a_reason_is_the_name_of_its_variant_in_upper_snake() {
        for reason in Reason::ALL {
            let mut name = String::new();
            for c in format!("{reason:?}").chars() {
                if c.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(c.to_ascii_uppercase());
            }
            assert_eq!(reason.as_str(), name);
            assert!(name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        for reason in Reason::ALL {
            let read = RecordedReason::parse(reason.as_str());
            assert_eq!(read, RecordedReason::Known(*reason));
            assert_eq!(read.as_str(), reason.as_str());
        }
        let newer = RecordedReason::parse("FROM_THE_FUTURE");
        assert_eq!((newer.known(), newer.as_str()), (None, "FROM_THE_FUTURE"));
    }
}
