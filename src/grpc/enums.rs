//! Enums as the contract spells them, for answers and for errors.
//!
//! What it must not know: what they are told in.

use crate::douyin::codes::Retry;
use crate::proto::v1;
use crate::settle::{StateKind, TradeSystem};

pub(super) fn retry(retry: Retry) -> v1::Retry {
    match retry {
        Retry::Now(_) => v1::Retry::Now,
        Retry::AfterChange => v1::Retry::AfterChange,
        Retry::Never => v1::Retry::Never,
    }
}

pub(super) fn state(kind: StateKind) -> v1::SettleState {
    match kind {
        StateKind::Submitting => v1::SettleState::Submitting,
        StateKind::Processing => v1::SettleState::Processing,
        StateKind::Succeeded => v1::SettleState::Succeeded,
        StateKind::Failed => v1::SettleState::Failed,
        StateKind::Rejected => v1::SettleState::Rejected,
    }
}

pub(crate) fn trade_system(trade_system: TradeSystem) -> v1::TradeSystem {
    match trade_system {
        TradeSystem::General => v1::TradeSystem::General,
        TradeSystem::SelfOperated => v1::TradeSystem::SelfOperated,
        TradeSystem::Industry => v1::TradeSystem::Industry,
        TradeSystem::Agency => v1::TradeSystem::Agency,
        TradeSystem::Guaranteed => v1::TradeSystem::Guaranteed,
    }
}

/// The system that a request means.
pub(crate) fn asked(trade_system: v1::TradeSystem) -> TradeSystem {
    match trade_system {
        v1::TradeSystem::Unspecified | v1::TradeSystem::General => TradeSystem::General,
        v1::TradeSystem::SelfOperated => TradeSystem::SelfOperated,
        v1::TradeSystem::Industry => TradeSystem::Industry,
        v1::TradeSystem::Agency => TradeSystem::Agency,
        v1::TradeSystem::Guaranteed => TradeSystem::Guaranteed,
    }
}
