//! The names of things at Douyin, of its merchants and of our callers. Each is parsed once, at the
//! edge. After that it cannot be empty, too long or unprintable. A clone shares the text.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a valid name. Limits are in bytes of UTF-8, as Douyin counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    #[error("must not be empty")]
    Empty,
    #[error("is {bytes} bytes long in UTF-8; at most {bytes_max} are allowed")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("contains a control character")]
    ControlCharacter,
    #[error("must be an https:// address")]
    NotHttps,
}

fn bounded(text: &str, bytes_max: usize) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.len() > bytes_max {
        return Err(Invalid::TooLong { bytes: text.len(), bytes_max });
    }
    Ok(())
}

fn printable(text: &str) -> Result<(), Invalid> {
    if text.chars().any(char::is_control) { Err(Invalid::ControlCharacter) } else { Ok(()) }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $bytes_max:expr, $($check:path),*) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes of UTF-8 that are accepted.
            pub const BYTES_MAX: usize = $bytes_max;

            pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, Invalid> {
                let text = text.into();
                bounded(&text, Self::BYTES_MAX)?;
                $($check(&text)?;)*
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// The mini-program. Douyin states no length; 64 bytes is our bound.
    AppId, 64, printable
);
text!(
    /// The caller's number of one settle, the idempotency key (settle_create, `out_settle_no` ≤ 64
    /// bytes).
    OutSettleNo, 64, printable
);
text!(
    /// The caller's number of the order (settle_create, `out_order_no` ≤ 64 bytes).
    OutOrderNo, 64, printable
);
text!(
    /// Douyin's number of one item of an order. Douyin states no length; 64 bytes is our bound.
    ItemOrderId, 64, printable
);
text!(
    /// A merchant that Douyin onboarded (进件). Douyin states no length; 64 bytes is our bound. The
    /// receivers together have a bound anyway.
    MerchantUid, 64, printable
);
text!(
    /// What the settle is for (settle_create, `settle_desc` ≤ 512 bytes).
    SettleDesc, 512,
);
text!(
    /// Text that Douyin shows as `cp_extra` (settle_create, `ext` ≤ 2048 bytes).
    Ext, 2048,
);
text!(
    /// Where Douyin shall send the callback of this settle (settle_create, `notify_url` ≤ 512
    /// bytes, https).
    NotifyUrl, 512, printable, https
);
text!(
    /// A caller of the gateway, as the configuration names it. The bound is ours.
    CallerName, 64, printable
);
text!(
    /// Douyin's number of a settle (`ots…`). The bound is ours: wider than any id seen.
    SettleId, 128, printable
);
text!(
    /// Douyin's number in its wallet system. The bound is ours.
    WalletSettleId, 128, printable
);
text!(
    /// Douyin's number of a settle within its payment system, which some trade systems show. The
    /// bound is ours.
    InnerSettleId, 128, printable
);
text!(
    /// Douyin's number of an order (`mot…`). The bound is ours.
    OrderId, 128, printable
);
text!(
    /// An operator's reason in words.
    Why, 500, printable
);

fn https(text: &str) -> Result<(), Invalid> {
    let host = text.strip_prefix("https://").ok_or(Invalid::NotHttps)?;
    let named = !host.is_empty() && !host.starts_with(['/', '?', '#', ':', '@']);
    if named && !host.contains(char::is_whitespace) { Ok(()) } else { Err(Invalid::NotHttps) }
}

/// Which of Douyin's settlement systems a settle belongs to. Part of its key, because each system
/// numbers its settles by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TradeSystem {
    /// 通用交易系统, `trade_basic/v1`.
    General,
    /// 生活服务交易系统 (账号融合版), `apps/trade/v2`.
    SelfOperated,
    /// 行业交易系统, `apps/trade/v2` of the developer host.
    Industry,
    /// 全融合版 or 金融融合版, where Douyin settles by itself: its settles can be read only.
    Agency,
    /// 担保支付, `apps/ecpay/v1`, which Douyin retires.
    Guaranteed,
}

/// What Douyin answers to a create whose number it knows already. It decides what an acceptance and
/// a FAIL prove.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Repeats {
    /// 23111, unless the settle has failed: that frees the number for another one.
    Refused,
    /// What it answered to the first one, also if another system made that, and also if it failed.
    /// So an acceptance proves that a settle exists, and not whose it is; and a number has one
    /// settle for ever.
    AnsweredAlike,
}

impl TradeSystem {
    pub const ALL: [Self; 5] =
        [Self::General, Self::SelfOperated, Self::Industry, Self::Agency, Self::Guaranteed];

    /// Its name in the configuration, in logs, metrics and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::SelfOperated => "self_operated",
            Self::Industry => "industry",
            Self::Agency => "agency",
            Self::Guaranteed => "guaranteed",
        }
    }

    pub fn repeats(self) -> Repeats {
        match self {
            Self::General | Self::SelfOperated | Self::Industry | Self::Agency => Repeats::Refused,
            Self::Guaranteed => Repeats::AnsweredAlike,
        }
    }

    /// `None`: no system has this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.as_str() == name)
    }
}

/// Names one settle.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    pub app_id: AppId,
    pub trade_system: TradeSystem,
    pub out_settle_no: OutSettleNo,
}

impl OutSettleNo {
    /// The key of a settle without an out_settle_no: Douyin's own number, which may be longer than
    /// a caller's.
    pub fn of_settle_id(settle_id: &SettleId) -> Self {
        Self(Arc::clone(&settle_id.0))
    }

    /// Whether the two differ only in case or in spaces at their ends, so that a less exact system
    /// takes them for one.
    pub fn is_like(&self, other: &OutSettleNo) -> bool {
        let plain = |number: &OutSettleNo| number.0.trim().to_lowercase();
        self != other && plain(self) == plain(other)
    }

    /// A number as Douyin reports it. It may be longer than a caller's.
    pub fn reported(text: impl Into<Arc<str>>) -> Result<Self, Invalid> {
        SettleId::parse(text).map(|text| Self(text.0))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trade_system {
            TradeSystem::General => write!(f, "{}/{}", self.app_id, self.out_settle_no),
            TradeSystem::SelfOperated
            | TradeSystem::Industry
            | TradeSystem::Agency
            | TradeSystem::Guaranteed => {
                let trade_system = self.trade_system.as_str();
                write!(f, "{}/{trade_system}/{}", self.app_id, self.out_settle_no)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_the_log_shows_it() {
        let key = Key {
            app_id: AppId::parse("tt1").unwrap(),
            trade_system: TradeSystem::General,
            out_settle_no: OutSettleNo::parse("s-1").unwrap(),
        };
        assert_eq!(key.to_string(), "tt1/s-1");
        let elsewhere = Key { trade_system: TradeSystem::SelfOperated, ..key };
        assert_eq!(elsewhere.to_string(), "tt1/self_operated/s-1");
    }

    #[test]
    fn limits_are_counted_in_bytes_of_utf8() {
        assert!(OutSettleNo::parse("x".repeat(64)).is_ok());
        let chinese = "分".repeat(22);
        let too_long = Invalid::TooLong { bytes: 66, bytes_max: 64 };
        assert_eq!(OutSettleNo::parse(chinese), Err(too_long));
        assert_eq!(OutSettleNo::parse(""), Err(Invalid::Empty));
        assert_eq!(OutSettleNo::parse("a\nb"), Err(Invalid::ControlCharacter));
    }

    #[test]
    fn a_notify_url_is_https_and_names_a_host() {
        assert!(NotifyUrl::parse("https://pay.example/cb?x=1").is_ok());
        for bad in ["http://pay.example/", "https://", "https:///x", "ftp://x", "https://a b"] {
            assert_eq!(NotifyUrl::parse(bad), Err(Invalid::NotHttps), "{bad}");
        }
    }
}
