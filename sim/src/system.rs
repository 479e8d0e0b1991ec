//! The platform's trade systems, by name. What each has of its own is in `systems/`.

use serde::{Deserialize, Serialize};

/// A trade system. An app can use several; each has numbers and settles of its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// 通用交易系统.
    #[default]
    General,
    /// 生活服务交易系统 账号融合版.
    SelfOperated,
    /// 行业交易系统.
    Industry,
    /// 金融融合版, 全融合版: the platform settles by itself, and developers only read.
    Agency,
    /// 担保支付.
    Guaranteed,
}

impl System {
    pub const ALL: [Self; 5] =
        [Self::General, Self::SelfOperated, Self::Industry, Self::Agency, Self::Guaranteed];

    /// Its name in JSON and in what is drawn from seeds.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::SelfOperated => "self_operated",
            Self::Industry => "industry",
            Self::Agency => "agency",
            Self::Guaranteed => "guaranteed",
        }
    }
}

/// An app in one of the systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account<'a> {
    pub(super) system: System,
    pub(super) app_id: &'a str,
}

impl Account<'_> {
    /// One of its numbers, as a key.
    pub(super) fn number(self, out_settle_no: &str) -> (System, String, String) {
        (self.system, self.app_id.to_owned(), out_settle_no.to_owned())
    }
}
