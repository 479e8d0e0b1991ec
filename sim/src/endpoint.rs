//! The three calls that the simulator knows, and their paths.

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Token,
    Create,
    Query,
}

impl Endpoint {
    /// Both forms are routed, with and without the slash at the end.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/oauth/client_token" => Some(Self::Token),
            "/api/trade_basic/v1/developer/settle_create" => Some(Self::Create),
            "/api/trade_basic/v1/developer/settle_query" => Some(Self::Query),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Create => "create",
            Self::Query => "query",
        }
    }
}
