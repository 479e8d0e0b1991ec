//! The calls that the simulator knows, and which one a path is.

use super::system::System;
use super::systems::Reading;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Token,
    Create,
    Query,
    /// What is left of an order, which only guaranteed payment tells.
    AmountLeft,
    /// What the platform settled of an order by itself; the same.
    PlatformOrder,
}

impl Endpoint {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Create => "create",
            Self::Query => "query",
            Self::AmountLeft => "amount left",
            Self::PlatformOrder => "platform order",
        }
    }
}

/// A call of a system. The token call belongs to none, and is written as one of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) system: System,
    pub(super) endpoint: Endpoint,
}

impl Route {
    pub(super) const TOKEN: Self = Self { system: System::General, endpoint: Endpoint::Token };

    /// Both forms are routed, with and without the slash at the end. Where two systems differ in
    /// that only, each has its own.
    pub(super) fn of(path: &str) -> Option<Self> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        if bare == "/oauth/client_token" {
            return Some(Self::TOKEN);
        }
        let is = |wanted: &str| {
            System::ALL.into_iter().find_map(|system| {
                let mut paths = Reading::of(system).paths.iter();
                let (_, endpoint) = paths.find(|(own, _)| *own == wanted)?;
                Some(Self { system, endpoint: *endpoint })
            })
        };
        is(path).or_else(|| is(bare))
    }

    pub(super) fn reading(self) -> &'static Reading {
        Reading::of(self.system)
    }
}
