//! The trade systems of a run, each by the names that gateways, callers and Douyin have for it.

use douyin_sim::System;
use settlement_gateway::proto::v1;
use settlement_gateway::settle::TradeSystem;

/// One trade system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// In a gateway's configuration.
    pub configured: TradeSystem,
    /// In the contract.
    pub told: v1::TradeSystem,
    /// At Douyin.
    pub there: System,
}

pub const GENERAL: Known = Known {
    configured: TradeSystem::General,
    told: v1::TradeSystem::General,
    there: System::General,
};

pub const SELF_OPERATED: Known = Known {
    configured: TradeSystem::SelfOperated,
    told: v1::TradeSystem::SelfOperated,
    there: System::SelfOperated,
};

/// Its calls are signed with the time of day.
pub const INDUSTRY: Known = Known {
    configured: TradeSystem::Industry,
    told: v1::TradeSystem::Industry,
    there: System::Industry,
};

/// It is asked by number only, and shows no order.
pub const GUARANTEED: Known = Known {
    configured: TradeSystem::Guaranteed,
    told: v1::TradeSystem::Guaranteed,
    there: System::Guaranteed,
};

/// In which Douyin settles by itself.
pub const AGENCY: Known =
    Known { configured: TradeSystem::Agency, told: v1::TradeSystem::Agency, there: System::Agency };

/// Those in which callers settle.
pub const WITH_CREATES: [Known; 4] = [GENERAL, SELF_OPERATED, INDUSTRY, GUARANTEED];

impl Known {
    /// As a caller asks for it: one that has always used the general system names none.
    pub fn asked(self) -> i32 {
        if self == GENERAL { v1::TradeSystem::Unspecified.into() } else { self.told.into() }
    }
}

/// The one that a settle is shown in.
pub fn of(settle: &v1::Settle) -> Known {
    let told = settle.trade_system();
    let known = WITH_CREATES.into_iter().chain([AGENCY]).find(|known| known.told == told);
    known.expect("gateways show settles of the configured systems only")
}
