//! Why a database is not opened, with what to do.

use super::super::moving::Closed;
use super::fault::Fault;

/// Why the database was not opened. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("cannot speak TLS to a database: {0}")]
    Tls(String),
    #[error("{0}")]
    Unreachable(String),
    #[error(
        "{address} has no tables of the gateway. If this is a new installation, make them: \
         settlement-gateway init, with the same --config. If not, the address names another \
         database: do not make tables in it, which would know of no settle"
    )]
    Missing { address: String },
    #[error("{address} has the gateway's tables already: nothing was changed")]
    Exists { address: String },
    #[error(
        "{address} was changed by a newer gateway: its schema has version {found}, which needs a \
         gateway that knows version {oldest_reader}, and this gateway knows versions up to \
         {known}. Start the newer gateway"
    )]
    Newer { address: String, found: i64, oldest_reader: i64, known: i64 },
    #[error("{address} is closed: {closed}")]
    Closed { address: String, closed: Closed },
    #[error("{address}: cannot {doing}: {why}")]
    Failed { address: String, doing: &'static str, why: String },
}

impl From<Fault> for PostgresError {
    fn from(fault: Fault) -> Self {
        PostgresError::Unreachable(told(fault))
    }
}

/// In words for the operator.
pub(super) fn told(fault: Fault) -> String {
    match fault {
        Fault::Down(why) | Fault::Lost(why) => why,
        Fault::Refused { text, .. } => text,
        Fault::Closed(closed) => closed.to_string(),
        Fault::Unreadable(what) => what,
    }
}
